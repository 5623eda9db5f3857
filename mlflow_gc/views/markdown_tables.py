"""Markdown that fits where it goes: tables that are cut, with counts, and say what was cut.

A comment on GitHub holds 65,536 characters; the API refuses what is longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

COMMENT = 65_536 - 1_024
"""What fits into a comment, in bytes, with some left for what a bot puts around it."""

_AT_LEAST = 10
_SMALLEST_ROW = 100
_SLACK = 600
_NOT_TEXT = "What gets approved is the plan with the `plan_id` below, not this text."


@dataclass
class Table:
    """A table under a title.

    Attributes:
        title: Markdown, with the counts that have to be said in any case.
        header: Markdown.
        rows: Markdown; the most important first, for the last are cut.
        count: how many rows there are.
        is_folded: shown when somebody opens it.
    """

    title: str
    header: Sequence[str]
    rows: Iterator[Sequence[str]]
    count: int
    is_folded: bool = True
    _lines: list[str] = field(default_factory=list)

    def frame(self) -> Iterator[str]:
        """Yield all but the rows that were left out."""
        yield ""
        yield f"<details><summary>{self.title}</summary>" if self.is_folded else self.title
        yield ""
        yield _row(self.header)
        yield f"|{' --- |' * len(self.header)}"
        yield from self._lines
        if self.is_cut:
            yield ""
            yield f"... and {self.count - len(self._lines):,} more."
        if self.is_folded:
            yield ""
            yield "</details>"

    def fill(self, room: int, most: int | None) -> int:
        """Take in rows while there is room for them, and return how much room is left.

        Args:
            room: in bytes.
            most: so many rows, or None for all.
        """
        for row in islice(self.rows, most):
            line = _row(row)
            size = len(line.encode()) + 1
            if size <= room:
                self._lines.append(line)
                room -= size
            elif room < _SMALLEST_ROW:
                break  # a hundred thousand more need not be written to be left out
        return room

    @property
    def is_cut(self) -> bool:
        """Whether a row was left out (so far)."""
        return len(self._lines) < self.count


def fitted(
    top: Sequence[str], tables: Sequence[Table], bottom: Sequence[str], *, budget: int | None
) -> str:
    """Return a page: what is at its top and bottom whole, of the tables as many rows as fit.

    Args:
        top: lines.
        tables: in their order; each gets some rows before the first gets all.
        bottom: lines.
        budget: bytes of UTF-8 for all of it; None for no limit.
    """
    frames = [line for table in tables for line in (*table.frame(), "")]
    fixed = "\n".join((*top, *frames, *bottom))
    # The sentence about what is left out takes some room of its own.
    room = 2**60 if budget is None else budget - len(fixed.encode()) - _SLACK
    for most in (_AT_LEAST, None):
        for table in tables:
            room = table.fill(room, most)
    lines = list(top)
    if any(table.is_cut for table in tables):
        lines += ["", f"**This text is cut to fit.** {_NOT_TEXT}"]
    for table in tables:
        lines += table.frame()
    return "\n".join([*lines, "", *bottom, ""])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
