"""How reading a server tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int], None]
"""Called with what is read ("runs") and how many are new since the last call."""


def no_progress(_what: str, _count: int) -> None:
    """Tell nobody."""
