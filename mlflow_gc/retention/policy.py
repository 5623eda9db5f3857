"""The policy of a plan, resolved: every value that a decision depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_gc.clock import (
    DAY_MS,
    format_duration,
    format_ms,
    is_writable,
    parse_duration,
    parse_time,
)
from mlflow_gc.errors import UsageProblem

KEEP_TAG = "mlflow_gc.keep"
TERMINAL_STATUSES = ("FINISHED", "FAILED", "KILLED")
DEFAULT_EXPIRY_MS = 7 * DAY_MS
NEVER = "never"

# Clients send start, end and metric times, in seconds or zero at times (HAZARDS j).  MLflow was
# published in 2018; nothing before 2015 is real, not even what was imported from elsewhere.
_SENSIBLE_SINCE_MS = parse_time("2015-01-01")
_SENSIBLE_AHEAD_MS = DAY_MS


@dataclass(frozen=True)
class Guards:
    """Limits on what one plan may delete; a plan that breaks one is refused as a whole.

    Attributes:
        max_deletions: most deletions, by ``total``, ``experiments``, ``runs`` or
            ``model_versions``; a key that is missing sets no limit, 0 allows none.
        max_share_percent: most deletions in percent (0 to 100) of what exists: by the same keys,
            or in any one ``experiment`` (of its runs) or ``registered_model`` (of its versions).
    """

    max_deletions: Mapping[str, int] = field(default_factory=dict)
    max_share_percent: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """What a scan has to be worth for its plan to be applyable.

    Attributes:
        accept_partial_view: go on although the server may hide things from this account.
        max_scan_ms: a scan that takes longer is too old at its beginning.
        max_clock_skew_ms: how far this machine's clock and the server's may be apart.
    """

    accept_partial_view: bool = False
    max_scan_ms: int = 2 * 60 * 60 * 1000
    max_clock_skew_ms: int = 5 * 60 * 1000


@dataclass(frozen=True)
class Policy:
    """What is old, relative to ``as_of``, what stays all the same, and how much may go.

    Attributes:
        as_of_ms: the moment the decision is made for, ms since the epoch, UTC.
        ttl_days: age from which an entity is stale, whole days, at least 1.
        keep_tag: a tag of this name keeps the thing that carries it.
        expire_after_ms: how long a plan may be applied, counted from ``as_of``; None for ever.
        min_age_ms: nothing younger than this goes, whatever the TTL says.
        keep_last_runs: so many newest runs of each experiment never go.
        keep_last_versions: so many newest versions of each registered model never go.
        delete_evaluations: let runs of ``mlflow.genai.evaluate`` go, for good with their
            assessments.
        guards: limits on what one plan may delete.
        evidence: what the scan has to be worth.
    """

    as_of_ms: int
    ttl_days: int
    keep_tag: str = KEEP_TAG
    expire_after_ms: int | None = DEFAULT_EXPIRY_MS
    min_age_ms: int = 0
    keep_last_runs: int = 0
    keep_last_versions: int = 0
    delete_evaluations: bool = False
    guards: Guards = field(default_factory=Guards)
    evidence: Evidence = field(default_factory=Evidence)

    def __post_init__(self) -> None:
        """Refuse times that no plan can write."""
        if not is_writable(self.cutoff_ms):
            raise UsageProblem(f"A TTL of {self.ttl_days} days reaches behind the year 1.")
        if self.expires_at_ms is not None and not is_writable(self.expires_at_ms):
            raise UsageProblem("The plan would expire after the year 9999.", hint="Use never.")

    @property
    def cutoff_ms(self) -> int:
        """Strictly older than this is stale; equal is not."""
        return self.as_of_ms - self.ttl_days * DAY_MS

    @property
    def trash_since_ms(self) -> int:
        """From when on activity in the trash of an experiment keeps it."""
        return min(self.cutoff_ms, self.as_of_ms - self.min_age_ms)

    @property
    def expires_at_ms(self) -> int | None:
        """From when on a plan by this policy is refused, or None."""
        return None if self.expire_after_ms is None else self.as_of_ms + self.expire_after_ms

    def is_sensible(self, ms: int | None) -> bool:
        """Tell whether a time stamp can be true at all; a missing one cannot."""
        return ms is not None and _SENSIBLE_SINCE_MS <= ms <= self.as_of_ms + _SENSIBLE_AHEAD_MS

    def is_too_young(self, ms: int) -> bool:
        """Tell whether something last active at this time is below the minimum age."""
        return ms > self.as_of_ms - self.min_age_ms

    def keeps(self, tags: Mapping[str, str]) -> bool:
        """Tell whether tags hold the keep tag.

        Anything but a clear no keeps: an owner who wrote ``yes`` or made a typing mistake wanted
        the thing kept.
        """
        value = tags.get(self.keep_tag)
        return value is not None and value.strip().lower() not in {"false", "no", "0"}

    def to_document(self) -> dict[str, Any]:
        """Return the policy as the plan holds it."""
        return {
            "ttl_days": self.ttl_days,
            "cutoff": format_ms(self.cutoff_ms),
            "keep_tag": self.keep_tag,
            "run_statuses": list(TERMINAL_STATUSES),
            "sensible_since": format_ms(_SENSIBLE_SINCE_MS),
            "min_age": format_duration(self.min_age_ms),
            "keep_last": {"runs": self.keep_last_runs, "model_versions": self.keep_last_versions},
            "evaluation_runs": "delete" if self.delete_evaluations else "keep",
            "guards": {
                "max_deletions": dict(sorted(self.guards.max_deletions.items())),
                "max_share_percent": dict(sorted(self.guards.max_share_percent.items())),
            },
            "expire_after": (
                NEVER if self.expire_after_ms is None else format_duration(self.expire_after_ms)
            ),
            "accept_partial_view": self.evidence.accept_partial_view,
            "max_scan_duration": format_duration(self.evidence.max_scan_ms),
            "max_clock_skew": format_duration(self.evidence.max_clock_skew_ms),
        }

    @classmethod
    def from_document(cls, policy: Mapping[str, Any], *, as_of: str) -> Policy:
        """Return the policy that a plan was made with."""
        expire_after = policy["expire_after"]
        return cls(
            as_of_ms=parse_time(as_of),
            ttl_days=policy["ttl_days"],
            keep_tag=policy["keep_tag"],
            expire_after_ms=None if expire_after == NEVER else parse_duration(expire_after),
            min_age_ms=parse_duration(policy["min_age"]),
            keep_last_runs=policy["keep_last"]["runs"],
            keep_last_versions=policy["keep_last"]["model_versions"],
            delete_evaluations=policy["evaluation_runs"] == "delete",
            guards=Guards(
                max_deletions=policy["guards"]["max_deletions"],
                max_share_percent=policy["guards"]["max_share_percent"],
            ),
            evidence=Evidence(
                accept_partial_view=policy["accept_partial_view"],
                max_scan_ms=parse_duration(policy["max_scan_duration"]),
                max_clock_skew_ms=parse_duration(policy["max_clock_skew"]),
            ),
        )
