"""The progress callback of reading a server."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int], None]
"""Called with the kind ("runs") and the number of new ones since the last call."""


def no_progress(_what: str, _count: int) -> None:
    """Ignore progress."""
