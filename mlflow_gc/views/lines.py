"""Lines, tables and lists on a terminal or in a job's log: what all text views are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mlflow_gc.views.escape import plain

if TYPE_CHECKING:
    from rich.console import Console

CUT_AT = 20
"""A list longer than this is cut, with a count."""

NAME = 40
"""Names are cut at this width; ids never are."""

KIND_WORDS = {
    "experiments": ("experiment", "experiments"),
    "runs": ("run", "runs"),
    "model_versions": ("model version", "model versions"),
    "registered_models": ("registered model", "registered models"),
}
"""Lists of a plan, with the words for one and for many."""


def line(console: Console, text: str, style: str | None = None) -> None:
    """Print one line, escaped."""
    # Every line passes here: whatever a server put into it cannot leave the line.
    console.print(plain(text), style=style, soft_wrap=True)


def listing(
    console: Console,
    rows: Sequence[tuple[str, ...]],
    *,
    everything: bool,
    indent: int = 2,
    cut_at: int = CUT_AT,
) -> None:
    """Print aligned rows; a long list is cut with a count."""
    shown = rows if everything else rows[:cut_at]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        # The dash keeps names that look like a CI system's commands off the start of a line.
        line(console, " " * indent + "- " + "  ".join(cells).rstrip())
    if len(rows) > len(shown):
        line(console, " " * indent + f"... and {len(rows) - len(shown):,} more (--all shows them)")


def table(console: Console, rows: Iterable[tuple[str, ...]]) -> None:
    """Print a small table of numbers, first column left, the rest right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *rest = row
        numbers = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        line(console, f"{first.ljust(widths[0])}  {'  '.join(numbers)}")


def by_record_kind() -> list[tuple[str, str]]:
    """Return the kinds as a journal names them, each with its word for many."""
    return [(kind[:-1], words) for kind, (_, words) in KIND_WORDS.items()]
