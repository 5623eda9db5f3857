"""Checks of a scan: its duration and the clock skew."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_gc.domain.entities import CLOCK_SKEW, SCAN_TOO_LONG, Diagnostic
from mlflow_gc.domain.timestamps import format_duration
from mlflow_gc.retention.policy import Evidence

# A smaller skew is noise and would make two plans differ.
_NOTED_FROM_MS = 60_000


def judge_scan(evidence: Evidence, *, took_ms: int, clock_skew_ms: int) -> Iterator[Diagnostic]:
    """Yield diagnostics on the duration of a scan, and the server's clock minus this machine's."""
    if took_ms > evidence.max_scan_ms:
        yield Diagnostic(
            SCAN_TOO_LONG,
            f"The scan took {_seconds(took_ms)}, longer than max_scan_duration "
            f"{format_duration(evidence.max_scan_ms)}: what was read first is too old.",
            blocks=True,
        )
    if abs(clock_skew_ms) >= min(_NOTED_FROM_MS, evidence.max_clock_skew_ms + 1):
        yield Diagnostic(
            CLOCK_SKEW,
            describe_skew(clock_skew_ms, evidence),
            blocks=is_skewed(clock_skew_ms, evidence),
        )


def is_skewed(clock_skew_ms: int, evidence: Evidence) -> bool:
    """Tell whether the clock skew exceeds its limit."""
    return abs(clock_skew_ms) > evidence.max_clock_skew_ms


def describe_skew(clock_skew_ms: int, evidence: Evidence) -> str:
    """Return a sentence about the clock skew."""
    direction = "ahead of" if clock_skew_ms > 0 else "behind"
    return (
        f"The server's clock is {_seconds(abs(clock_skew_ms))} {direction} this machine's; ages "
        f"may be wrong by that. At most max_clock_skew {format_duration(evidence.max_clock_skew_ms)} "
        "is accepted."
    )


def _seconds(ms: int) -> str:
    return format_duration(ms // 60_000 * 60_000 if ms >= 3_600_000 else ms // 1000 * 1000)
