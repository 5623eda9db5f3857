"""The policy of a plan, resolved: every value that a decision depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_gc.clock import DAY_MS, format_ms, is_writable, parse_time
from mlflow_gc.errors import UsageProblem

KEEP_TAG = "mlflow_gc.keep"
TERMINAL_STATUSES = ("FINISHED", "FAILED", "KILLED")
DEFAULT_EXPIRY_DAYS = 7

# Clients send start, end and metric times, in seconds or zero at times (HAZARDS j).  MLflow was
# published in 2018; nothing before 2015 is real, not even what was imported from elsewhere.
_SENSIBLE_SINCE_MS = parse_time("2015-01-01")
_SENSIBLE_AHEAD_MS = DAY_MS


@dataclass(frozen=True)
class Policy:
    """What is old, relative to ``as_of``.

    Attributes:
        as_of_ms: the moment the decision is made for, ms since the epoch, UTC.
        ttl_days: age from which an entity is stale, whole days, at least 1.
        keep_tag: a tag of this name keeps the thing that carries it.
        expire_after_days: how long a plan may be applied, counted from ``as_of``; None for ever.
    """

    as_of_ms: int
    ttl_days: int
    keep_tag: str = KEEP_TAG
    expire_after_days: int | None = DEFAULT_EXPIRY_DAYS

    def __post_init__(self) -> None:
        """Refuse a TTL that reaches behind year 1."""
        if not is_writable(self.cutoff_ms):
            raise UsageProblem(f"A TTL of {self.ttl_days} days reaches behind the year 1.")

    @property
    def cutoff_ms(self) -> int:
        """Strictly older than this is stale; equal is not."""
        return self.as_of_ms - self.ttl_days * DAY_MS

    @property
    def expires_at_ms(self) -> int | None:
        """From when on a plan by this policy is refused, or None."""
        if self.expire_after_days is None:
            return None
        return self.as_of_ms + self.expire_after_days * DAY_MS

    def is_sensible(self, ms: int | None) -> bool:
        """Tell whether a time stamp can be true at all; a missing one cannot."""
        return ms is not None and _SENSIBLE_SINCE_MS <= ms <= self.as_of_ms + _SENSIBLE_AHEAD_MS

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
            "expire_after_days": self.expire_after_days,
        }

    @classmethod
    def from_document(cls, policy: Mapping[str, Any], *, as_of: str) -> Policy:
        """Return the policy that a plan was made with."""
        return cls(
            as_of_ms=parse_time(as_of),
            ttl_days=policy["ttl_days"],
            keep_tag=policy["keep_tag"],
            expire_after_days=policy["expire_after_days"],
        )
