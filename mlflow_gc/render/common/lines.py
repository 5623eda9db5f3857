"""Lines, tables and lists on a terminal or in a job's log, for all text views.

Widths are in terminal cells: a Chinese character takes two, a combining accent none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from mlflow_gc.domain.kinds import KINDS
from mlflow_gc.domain.quantities import number_of
from mlflow_gc.render.common.escape import plain

if TYPE_CHECKING:
    from rich.console import Console

CUT_AT = 20
"""A longer list is truncated, with a count."""

NAME = 40
"""Maximum width of names; ids are never truncated."""

Span = tuple[str, "str | None"]
"""Text with its style."""

# Maximum number of combining accents per character; more would overflow into other lines.
_CHARACTERS_A_CELL = 4


def counted(kind: str, count: int) -> str:
    """Return ``1 run`` or ``1,200 runs``; the kind is named as in a plan."""
    return number_of(count, *KINDS[kind].nouns)


def listed(items: Sequence[str], last: str = "and") -> str:
    """Return ``a, b and c``, or another conjunction as ``last``; empty for no items."""
    return f"{', '.join(items[:-1])} {last} {items[-1]}" if len(items) > 1 else "".join(items)


def width_of(console: Console) -> int | None:
    """Return the width of the terminal in cells, or None where there is none."""
    return console.width if console.file.isatty() else None


def cell_width(text: str) -> int:
    """Return the number of cells of an escaped text."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, most: int) -> str:
    """Escape a text and truncate it to a number of cells with ``…``; never for ids."""
    from rich.cells import set_cell_size

    shown = plain(text)
    if len(shown) > most * _CHARACTERS_A_CELL:
        shown = shown[: most * _CHARACTERS_A_CELL] + "…"
    if cell_width(shown) <= most:
        return shown
    # Half of a wide character leaves a blank, which is not needed before the ellipsis.
    return set_cell_size(shown, most - 1).rstrip() + "…"


def line(console: Console, text: str, style: str | None = None) -> None:
    """Print one line, escaped."""
    spans(console, [(text, style)])


def spans(console: Console, parts: Iterable[Span]) -> None:
    """Print one line in several styles, escaped."""
    # Every line passes here: text of a server cannot leave its line.
    shown = [(plain(text), style or "") for text, style in parts]
    while shown and not shown[-1][0].strip():
        shown.pop()
    if shown:
        shown[-1] = (shown[-1][0].rstrip(), shown[-1][1])
    if console.color_system is None:
        console.file.write("".join(text for text, _ in shown) + "\n")
        return
    from rich.text import Text

    console.print(Text.assemble(*shown), soft_wrap=True)


@dataclass(frozen=True)
class Column:
    """The format of a column of a list.

    Attributes:
        style: of its cells.
        right: align right, for numbers.
        least: it may be truncated to this width to fit a terminal; None for ids.
        gap: blanks before the next column.
    """

    style: str | None = None
    right: bool = False
    least: int | None = None
    gap: int = 2


SIGN = Column(gap=1)
"""The sign column; it keeps text like a CI system's command off the start of a line."""


def rows(
    console: Console,
    columns: Sequence[Column],
    cells: Sequence[Sequence[str | Span]],
    *,
    indent: int = 0,
    below: Sequence[Sequence[str]] = (),
) -> None:
    """Print aligned rows, as wide as needed, truncated to the width of a terminal.

    Args:
        console: output.
        columns: from left to right.
        cells: row by row, not escaped yet; one with a style of its own is a span.
        indent: number of leading blanks.
        below: for each row further lines, in the style of the last column.
    """
    if not cells:
        return
    table = [[(plain(t), s) for t, s in map(_span, row)] for row in cells]
    widths = [
        max((cell_width(cell[0]) for cell in column), default=0)
        for column in zip_longest(*table, fillvalue=("", None))
    ]
    widths = _fitted(widths, columns, width_of(console), indent)
    # An empty column has no gap.
    used = [index for index, width in enumerate(widths) if width]
    for number, row in enumerate(table):
        parts: list[Span] = [(" " * indent, None)]
        for index in used:
            text, style = row[index] if index < len(row) else ("", None)
            column, width = columns[index], widths[index]
            if cell_width(text) > width:
                text = cut(text, width)
            blanks = " " * (width - cell_width(text))
            padded = blanks + text if column.right else text + blanks
            parts.append((padded, style or column.style))
            parts.append((" " * column.gap, None))
        spans(console, parts)
        for text in below[number] if below else ():
            spans(console, [(" " * (indent + 4) + text, columns[-1].style)])


def _span(cell: str | Span) -> Span:
    return (cell, None) if isinstance(cell, str) else cell


def _fitted(
    widths: list[int], columns: Sequence[Column], most: int | None, indent: int
) -> list[int]:
    """Return the widths, with truncatable columns reduced until all fit; the widest first."""
    if most is None:
        return widths
    gaps = [c.gap for w, c in zip(widths, columns, strict=True) if w][:-1]
    excess = indent + sum(widths) + sum(gaps) - most
    least = [
        w if c.least is None else min(w, c.least) for w, c in zip(widths, columns, strict=True)
    ]
    fitted = list(widths)
    while excess > 0:
        index = max(range(len(fitted)), key=lambda i: (fitted[i] > least[i], fitted[i]))
        if fitted[index] <= least[index]:
            return fitted
        fitted[index] -= 1
        excess -= 1
    return fitted


def more(
    console: Console, count: int, noun: str = "", *, indent: int, where: str = "--all shows them"
) -> None:
    """Print the number of omitted entries of a list, and where they are."""
    if count:
        of_what = f" {noun}" if noun else ""
        line(console, f"{' ' * indent}... and {count:,} more{of_what} ({where})", "dim")


def table(console: Console, lines: Iterable[tuple[str, ...]]) -> None:
    """Print a small table of numbers, first column left, the rest right."""
    lines = list(lines)
    columns = [Column(), *[Column(right=True)] * (len(lines[0]) - 1)]
    rows(console, columns, lines)
