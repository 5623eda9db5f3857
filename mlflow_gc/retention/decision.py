"""What was decided for an entity, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum


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
    REGISTERED_MODEL = "registered_model"
    ALIAS = "alias"
    STAGE = "stage"
    HIGHEST_VERSION = "highest_version"
    COPIED = "copied"
    PROMPT = "prompt"
    UNKNOWN_MODEL = "unknown_model"
    DEFAULT_EXPERIMENT = "default_experiment"
    GATEWAY = "gateway"
    TREE = "tree"
    MODEL_IN_USE = "model_in_use"
    GENAI_EVALUATE = "genai_evaluate"
    EXPERIMENT_DELETED = "experiment_deleted"
    NOT_TERMINAL = "not_terminal"
    UNKNOWN_TIME = "unknown_time"
    LIVE_RUN = "live_run"
    HAS_LOGGED_MODELS = "has_logged_models"
    HAS_TRACES = "has_traces"
    RECENT_TRASH = "recent_trash"
    NOT_SEEN = "not_seen"
    KEEP_LAST = "keep_last"
    KEEP_BEST = "keep_best"
    KEEP_DAILY = "keep_daily"
    KEEP_WEEKLY = "keep_weekly"
    KEEP_MONTHLY = "keep_monthly"
    KEEP_YEARLY = "keep_yearly"
    KEEP_WITHIN = "keep_within"
    MALFORMED_TAG = "malformed_tag"
    GRACE = "grace"
    MIN_AGE = "min_age"
    CHANGED = "changed"
    """Only at prune time: it is not what the plan saw."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on one entity.

    Attributes:
        verdict: delete, protect or fresh.
        reason: why it is kept; None unless protected.
        via: the chain that leads to what protects it, nearest first, for people.
        reasons: why it goes, for people; empty unless deleted.
        reversible: whether MLflow can bring it back, if deleted.
        also: the other keep rules that keep it.
    """

    verdict: Verdict
    reason: Reason | None = None
    via: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    reversible: bool = True
    also: tuple[Reason, ...] = ()


FRESH = Decision(Verdict.FRESH)


def protect(reason: Reason, *via: str) -> Decision:
    """Return a decision to keep something old."""
    return Decision(Verdict.PROTECT, reason, via)


def protect_by_rules(kept: Sequence[tuple[str, str]], rule_name: str) -> Decision:
    """Return a decision to keep something for keep rules: the first gives the reason.

    Args:
        kept: (rule, words) pairs, at least one.
        rule_name: of the policy's rule they stand in.
    """
    first, *others = (Reason(f"keep_{rule}") for rule, _ in kept)
    via = (*(words for _, words in kept), f"rule {rule_name}")
    return Decision(Verdict.PROTECT, first, via, also=tuple(others))


def delete(*reasons: str, reversible: bool = True) -> Decision:
    """Return a decision to delete."""
    return Decision(Verdict.DELETE, reasons=reasons, reversible=reversible)


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
