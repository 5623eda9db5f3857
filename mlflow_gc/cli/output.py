"""What goes where: stdout carries the result, stderr everything else."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, TextIO

from mlflow_gc.views.escape import plain

if TYPE_CHECKING:
    from rich.console import Console

_PROGRESS_LINE_EVERY_S = 10.0
_PROGRESS_REDRAW_EVERY_S = 0.2


def say(message: str) -> None:
    """Write one line to stderr, safe whatever the server put into it."""
    sys.stderr.write(plain(message) + "\n")
    sys.stderr.flush()


def put(document: bytes) -> None:
    """Write a document to stdout and nothing else."""
    sys.stdout.buffer.write(document)
    sys.stdout.buffer.flush()


def console(*, no_color: bool, stream: TextIO | None = None) -> Console:
    """Return a console on stdout (or ``stream``) that respects NO_COLOR and non-terminals."""
    from rich.console import Console

    file = stream or sys.stdout
    return Console(
        file=file,
        no_color=no_color or bool(os.environ.get("NO_COLOR")),
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
    )


class Progress:
    """Counts on stderr: redrawn on a terminal, a line every ten seconds elsewhere.

    Args:
        quiet: say nothing.
        doing: the verb in front ("Read").
        totals: how many are expected per kind, where known.
    """

    def __init__(self, doing: str, *, quiet: bool, totals: dict[str, int] | None = None) -> None:
        self._doing = doing
        self._quiet = quiet
        self._totals = totals or {}
        self._counts: Counter[str] = Counter()
        self._tty = sys.stderr.isatty()
        self._began = time.monotonic()
        self._drawn = self._began
        self._width = 0

    def __call__(self, what: str, count: int) -> None:
        """Count what was done since the last call."""
        self._counts[what] += count
        now = time.monotonic()
        every = _PROGRESS_REDRAW_EVERY_S if self._tty else _PROGRESS_LINE_EVERY_S
        if not self._quiet and now - self._drawn >= every:
            self._drawn = now
            self._draw(now)

    def close(self) -> None:
        """Clear the line on a terminal."""
        if self._tty and self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()

    def _draw(self, now: float) -> None:
        seconds = max(now - self._began, 0.001)
        parts = []
        for what, count in self._counts.items():
            total = self._totals.get(what)
            parts.append(f"{count:,} of {total:,} {what}s" if total else f"{count:,} {what}")
        done = sum(self._counts.values())
        text = f"{self._doing} {', '.join(parts)} ({done / seconds:,.0f}/s)"
        if self._tty:
            sys.stderr.write("\r" + text.ljust(self._width))
            self._width = len(text)
            sys.stderr.flush()
        else:
            say(text)
