"""What was decided for an entity, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from mlflow_gc.domain.reasons import DeleteReason, Link


class Verdict(Enum):
    """What becomes of an entity."""

    DELETE = "delete"
    PROTECT = "protect"
    """Old by age, or of unknown age, and kept for a reason that the plan names."""
    FRESH = "fresh"
    """Not stale; not worth a line."""


class Reason(str, Enum):
    """Why an entity is kept; the codes that a plan shows under ``protected``."""

    KEEP_TAG = "keep_tag"
    """It, its experiment or its registered model has the tag `mlflow_gc.keep`."""
    REGISTERED_MODEL = "registered_model"
    """A registered model version names the run, by `run_id` or by its source."""
    ALIAS = "alias"
    """The version has an alias."""
    STAGE = "stage"
    """The version is in a stage."""
    HIGHEST_VERSION = "highest_version"
    """The highest version of its model, or of a stage: `models:/m/latest` means it."""
    COPIED = "copied"
    """Another version was copied from it."""
    PROMPT = "prompt"
    """A prompt: its text would go with it."""
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
    """It made a logged model that a kept run uses."""
    GENAI_EVALUATE = "genai_evaluate"
    """Assessments name it, or a run in the trash of the experiment, and would be lost permanently; or it
    is a run of `mlflow.genai.evaluate`."""
    TRACES_UNREAD = "traces_unread"
    """This account may not read traces, so nobody knows whether assessments would be lost."""
    EXPERIMENT_DELETED = "experiment_deleted"
    """The experiment of the run is in the trash already."""
    NOT_TERMINAL = "not_terminal"
    """RUNNING or SCHEDULED: a resumed run looks the same as a dead one."""
    UNKNOWN_TIME = "unknown_time"
    """A timestamp is missing or implausible."""
    LIVE_RUN = "live_run"
    """The experiment holds a run that is kept."""
    HAS_LOGGED_MODELS = "has_logged_models"
    """The experiment holds logged models that emptying the trash would take along."""
    HAS_TRACES = "has_traces"
    """The experiment holds traces that emptying the trash would take along."""
    HAS_CONTENTS = "has_contents"
    """The experiment holds scorers, issues, review queues, label schemas or evaluation datasets that
    emptying the trash would take along."""
    RECENT_TRASH = "recent_trash"
    """A run in the trash of the experiment was active after the cutoff."""
    NOT_SEEN = "not_seen"
    """The scan could not look into it."""
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
    """It, or what it is in, has a tag of this program whose key or value cannot be understood."""
    GRACE = "grace"
    """It is not marked, or not long enough."""
    MIN_AGE = "min_age"
    """Younger than the policy's `min_age`."""
    CHANGED = "changed"
    """Only at prune time: it is not what the plan saw."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on one entity.

    Attributes:
        verdict: delete, protect or fresh.
        reason: why it is kept; None unless protected.
        via: the chain that leads to what protects it, nearest first.
        reasons: why it is deleted; empty unless it is.
        reversible: whether MLflow can bring it back, if deleted.
        also: the other keep rules that keep it.
    """

    verdict: Verdict
    reason: Reason | None = None
    via: tuple[Link, ...] = ()
    reasons: tuple[DeleteReason, ...] = ()
    reversible: bool = True
    also: tuple[Reason, ...] = ()

    @property
    def chain(self) -> tuple[str, ...]:
        """What leads to what protects it, as a plan writes it."""
        return tuple(map(str, self.via))

    @property
    def why(self) -> tuple[str, ...]:
        """Why it is deleted, as a plan writes it."""
        return tuple(map(str, self.reasons))


FRESH = Decision(Verdict.FRESH)


def protect(reason: Reason, *via: Link | str) -> Decision:
    """Return a decision to retain something stale; text in the chain names nothing."""
    return Decision(Verdict.PROTECT, reason, _links(via))


def _links(via: Sequence[Link | str]) -> tuple[Link, ...]:
    return tuple(Link(note=link) if isinstance(link, str) else link for link in via)


def protect_by_rules(kept: Sequence[tuple[str, str]], rule_name: str) -> Decision:
    """Return a decision to keep something for keep rules: the first gives the reason.

    Args:
        kept: (rule, words) pairs, at least one.
        rule_name: of the policy's rule they stand in.
    """
    first, *others = (Reason(f"keep_{rule}") for rule, _ in kept)
    via = tuple(Link(note=words) for _, words in kept)
    return Decision(Verdict.PROTECT, first, (*via, Link("rule", rule_name)), also=tuple(others))


@lru_cache(maxsize=100_000)
def delete(*reasons: DeleteReason | None, reversible: bool = True) -> Decision:
    """Return a decision to delete; the same one for the same reasons, of which None is none."""
    return Decision(Verdict.DELETE, reasons=tuple(filter(None, reasons)), reversible=reversible)


@dataclass(frozen=True)
class Decisions:
    """The verdict on every active experiment, active run and model version that was looked at."""

    experiments: Mapping[str, Decision] = field(default_factory=dict)
    runs: Mapping[str, Decision] = field(default_factory=dict)
    model_versions: Mapping[tuple[str, str], Decision] = field(default_factory=dict)
    registered_models: Mapping[str, Decision] = field(default_factory=dict)
    """Only those without versions."""
    unused_rules: tuple[str, ...] = ()
    """Rules of the policy that are about nothing in the inventory."""
