"""The decision on an entity, and its reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """Why an entity is protected; the codes in a plan under ``protected``."""

    KEEP_TAG = "keep_tag"
    """It, its experiment or its registered model has the tag `mlflow_gc.keep`."""
    REGISTERED_MODEL = "registered_model"
    """A registered model version names the run, by `run_id` or by its source."""
    ALIAS = "alias"
    """The version has an alias."""
    STAGE = "stage"
    """The version is in a stage."""
    HIGHEST_VERSION = "highest_version"
    """The highest version of its model, or of a stage: `models:/m/latest` means it. In a purge plan: MLflow
    would use its number again."""
    COPIED = "copied"
    """Another version was copied from it."""
    PROMPT = "prompt"
    """A prompt: its text would be deleted with it."""
    REFUSED_NAME = "refused_name"
    """The server refuses every call that names the registered model, the deletion too: newer MLflow
    allows no `/` or `:` in such names, and older ones did."""
    UNKNOWN_MODEL = "unknown_model"
    """The registered model was not listed, so its aliases are unknown."""
    DEFAULT_EXPERIMENT = "default_experiment"
    """The experiment that MLflow itself falls back to."""
    GATEWAY = "gateway"
    """The experiment of MLflow's AI gateway."""
    TREE = "tree"
    """A run of the same nested tree is retained; a tree is deleted as a whole or not at all."""
    MODEL_IN_USE = "model_in_use"
    """It made a logged model that a retained run uses."""
    GENAI_EVALUATE = "genai_evaluate"
    """Assessments name it, or a run in the trash of the experiment, and would be lost permanently; or it
    is a run of `mlflow.genai.evaluate`."""
    TRACES_UNREAD = "traces_unread"
    """This account may not read traces, so whether assessments would be lost is unknown."""
    EXPERIMENT_DELETED = "experiment_deleted"
    """The experiment of the run is in the trash already."""
    NOT_TERMINAL = "not_terminal"
    """RUNNING or SCHEDULED: a resumed run and an abandoned one look alike."""
    UNKNOWN_TIME = "unknown_time"
    """A timestamp is missing or implausible."""
    LIVE_RUN = "live_run"
    """The experiment contains a run that is retained."""
    HAS_LOGGED_MODELS = "has_logged_models"
    """The experiment contains logged models that purging it would delete."""
    HAS_TRACES = "has_traces"
    """The experiment contains traces that purging it would delete."""
    HAS_CONTENTS = "has_contents"
    """The experiment contains scorers, issues, review queues, label schemas or evaluation
    datasets that purging it would delete."""
    RECENT_TRASH = "recent_trash"
    """A run in the trash of the experiment was active after the cutoff."""
    NOT_SEEN = "not_seen"
    """The scan could not read it."""
    KEEP_LAST = "keep_last"
    """Among the newest of its group."""
    KEEP_BEST = "keep_best"
    """Among the runs of its group with the best value of a metric."""
    KEEP_DAILY = "keep_daily"
    """The newest of its group on its day."""
    KEEP_WEEKLY = "keep_weekly"
    """The newest of its group in its week."""
    KEEP_MONTHLY = "keep_monthly"
    """The newest of its group in its month."""
    KEEP_YEARLY = "keep_yearly"
    """The newest of its group in its year."""
    KEEP_WITHIN = "keep_within"
    """Active recently enough for the keep rule `within`."""
    MALFORMED_TAG = "malformed_tag"
    """It, its experiment or its registered model has an invalid tag of this program."""
    GRACE = "grace"
    """It was not announced, or its grace period is not over."""
    MIN_AGE = "min_age"
    """Younger than the policy's `min_age`."""
    ACTIVE = "active"
    """In a purge plan: something active needs it."""
    NEEDED_FILES = "needed_files"
    """In a purge plan: something that is retained has its files within those of the entity, or around
    them."""
    UNKNOWN_LAYOUT = "unknown_layout"
    """In a purge plan: its files are not in a folder of its own."""
    UNKNOWN_DELETION_TIME = "unknown_deletion_time"
    """In a purge plan: MLflow did not store when it was deleted."""
    UNREACHABLE_STORE = "unreachable_store"
    """In a purge plan: its artifact store cannot be read, or looks as if it were not mounted."""
    TOMBSTONE = "tombstone"
    """In a purge plan: the row that MLflow keeps of a deleted model version, which
    `purge: {tombstones: true}` deletes."""
    CHANGED = "changed"
    """Only during a prune: it changed since the plan was made."""


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

    experiments: Mapping[str, Decision] = field(default_factory=dict)
    runs: Mapping[str, Decision] = field(default_factory=dict)
    model_versions: Mapping[tuple[str, str], Decision] = field(default_factory=dict)
    registered_models: Mapping[str, Decision] = field(default_factory=dict)
    """Only registered models without versions."""
    unused_rules: tuple[str, ...] = ()
    """Rules of the policy that apply to nothing in the inventory."""

    @property
    def by_kind(self) -> dict[str, Mapping[Any, Decision]]:
        """The decisions on each kind, by the field of a plan that lists it."""
        return {kind.entries: getattr(self, kind.entries) for kind in PRUNED}
