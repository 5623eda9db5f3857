"""The decision on an entity, and its reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from mlflow_gc.domain.kinds import PRUNED
from mlflow_gc.domain.reasons import DeleteReason, Link


class Verdict(Enum):
    """What happens to an entity."""

    DELETE = "delete"
    PROTECT = "protect"
    """Stale, or of unknown age, and retained for a reason that the plan names."""
    FRESH = "fresh"
    """Not stale; not listed in a plan."""


class Reason(str, Enum):
    """Why an entity is protected: the codes in a plan under ``protected``, with what views say."""

    _value_: str
    sentence: str

    def __new__(cls, code: str, sentence: str = "") -> Reason:
        """Return a member; its value is the code alone."""
        reason = str.__new__(cls, code)
        reason._value_ = code
        reason.sentence = sentence
        return reason

    KEEP_TAG = "keep_tag", "its owner set the keep tag"
    REGISTERED_MODEL = "registered_model", "a registered model version needs it"
    ALIAS = "alias", "it has an alias"
    STAGE = "stage", "it is in a stage"
    HIGHEST_VERSION = "highest_version", "the highest version of its model or stage"
    COPIED = "copied", "another version was copied from it"
    PROMPT = "prompt", "a prompt; its text would be deleted with it"
    REFUSED_NAME = "refused_name", "the server refuses the name of its registered model"
    UNKNOWN_MODEL = "unknown_model", "its registered model was not listed"
    DEFAULT_EXPERIMENT = "default_experiment", "MLflow's default experiment"
    GATEWAY = "gateway", "MLflow's gateway needs it"
    TREE = "tree", "nested with a run that is retained"
    MODEL_IN_USE = "model_in_use", "it made a model that a retained run uses"
    GENAI_EVALUATE = "genai_evaluate", "assessments would be lost with it"
    TRACES_UNREAD = "traces_unread", "its traces could not be read"
    EXPERIMENT_DELETED = "experiment_deleted", "its experiment is already in the trash"
    NOT_TERMINAL = "not_terminal", "status RUNNING or SCHEDULED"
    UNKNOWN_TIME = "unknown_time", "its timestamps are missing or implausible"
    LIVE_RUN = "live_run", "it holds a run that is retained"
    HAS_LOGGED_MODELS = "has_logged_models", "it holds logged models"
    HAS_TRACES = "has_traces", "it holds traces"
    HAS_CONTENTS = (
        "has_contents",
        "it holds scorers, issues, review queues, label schemas or evaluation datasets",
    )
    RECENT_TRASH = "recent_trash", "a run in its trash was active not long ago"
    NOT_SEEN = "not_seen", "the scan could not read it"
    KEEP_LAST = "keep_last", "one of the newest, by a keep rule"
    KEEP_BEST = "keep_best", "one of the best, by a keep rule"
    KEEP_DAILY = "keep_daily", "the newest of a day, by a keep rule"
    KEEP_WEEKLY = "keep_weekly", "the newest of a week, by a keep rule"
    KEEP_MONTHLY = "keep_monthly", "the newest of a month, by a keep rule"
    KEEP_YEARLY = "keep_yearly", "the newest of a year, by a keep rule"
    KEEP_WITHIN = "keep_within", "recently active, by a keep rule"
    MALFORMED_TAG = "malformed_tag", "a tag of its owner cannot be understood"
    GRACE = "grace", "not announced, or not for long enough"
    MIN_AGE = "min_age", "younger than the policy's minimum age"
    # Only in purge plans; there HIGHEST_VERSION means that MLflow would use its number again.
    ACTIVE = "active", "something active needs it"
    NEEDED_FILES = (
        "needed_files",
        "files of something else are within its folder, or around it",
    )
    UNKNOWN_LAYOUT = "unknown_layout", "its files are not in a folder of its own"
    UNKNOWN_DELETION_TIME = "unknown_deletion_time", "MLflow did not store when it was deleted"
    UNREACHABLE_STORE = (
        "unreachable_store",
        "its artifact store cannot be read, or looks as if it were not mounted",
    )
    TOMBSTONE = "tombstone", "the row that MLflow keeps of a deleted model version"
    # Only during a prune.
    CHANGED = "changed", "it changed since the plan was made"


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on one entity.

    Attributes:
        verdict: delete, protect or fresh.
        reason: why it is protected; None for other verdicts.
        via: the chain that leads to what protects it, nearest first.
        reasons: why it is deleted; empty for other verdicts.
        reversible: whether MLflow can bring it back, if deleted.
        also: the other keep rules that protect it.
    """

    verdict: Verdict
    reason: Reason | None = None
    via: tuple[Link, ...] = ()
    reasons: tuple[DeleteReason, ...] = ()
    reversible: bool = True
    also: tuple[Reason, ...] = ()

    @property
    def chain(self) -> tuple[str, ...]:
        """The chain to what protects it, as a plan writes it."""
        return tuple(map(str, self.via))

    @property
    def why(self) -> tuple[str, ...]:
        """Why it is deleted, as a plan writes it."""
        return tuple(map(str, self.reasons))


FRESH = Decision(Verdict.FRESH)


def protect(reason: Reason, *via: Link | str) -> Decision:
    """Return a decision to protect; text in ``via`` becomes a link that names nothing."""
    links = (Link(note=link) if isinstance(link, str) else link for link in via)
    return Decision(Verdict.PROTECT, reason, tuple(links))


@lru_cache(maxsize=100_000)
def delete(*reasons: DeleteReason | None, reversible: bool = True) -> Decision:
    """Return a decision to delete, cached by its reasons; None among them is ignored."""
    return Decision(Verdict.DELETE, reasons=tuple(filter(None, reasons)), reversible=reversible)


@dataclass(frozen=True)
class Decisions:
    """The decisions on all active experiments and runs, model versions and empty models."""

    experiments: Mapping[str, Decision]
    runs: Mapping[str, Decision]
    model_versions: Mapping[tuple[str, str], Decision]
    registered_models: Mapping[str, Decision]
    """Only registered models without versions."""
    unused_rules: tuple[str, ...] = ()
    """Rules of the policy that apply to nothing in the inventory."""

    @property
    def by_kind(self) -> dict[str, Mapping[Any, Decision]]:
        """The decisions on each kind, by the field of a plan that lists it."""
        return {kind.entries: getattr(self, kind.entries) for kind in PRUNED}
