"""Ages for people, always relative to ``as_of``, so that the same state gives the same text."""

from __future__ import annotations

from mlflow_gc.domain.reasons import in_days
from mlflow_gc.domain.timestamps import DAY_MS, format_ms, is_writable


def days_before(ms: int, as_of_ms: int) -> str:
    """Return ``412 days`` for the time between two moments in ms, rounded down."""
    return in_days((as_of_ms - ms) // DAY_MS)


def show(name: str, ms: int | None) -> str:
    """Return ``end_time 1970-01-01T00:00:00.005Z``, or ``no end_time`` for None."""
    if ms is None:
        return f"no {name}"
    return f"{name} {format_ms(ms)}" if is_writable(ms) else f"{name} {ms} ms"
