"""Bar charts as tables, which screen readers can read and which can be printed.

A bar has its number next to it.  Colours come from the style sheet; if a viewer blocks that, the
``fill`` of each shape is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mlflow_gc.render.html.markup import text

_MOST = 8
_LONGEST_NAME = 60
_SHORT = len("of 1,234")

FILLS = {
    "irreversible": 'fill="#c0262d"',
    "deleted": 'fill="#3b63b8"',
    "protected": 'fill="#4f8c7d"',
    "fresh": 'fill="none" stroke="#868e99"',
}
"""Colour classes with their fill without a style sheet."""

COLOURS = {
    "irreversible": "deleted permanently",
    "deleted": "deleted, can be restored",
    "protected": "protected",
    "fresh": "fresh (not stale)",
}
"""Texts of colour classes."""


@dataclass(frozen=True)
class Bar:
    """One line of a chart.

    Attributes:
        label: its name.
        link: the fragment that selects its entities, escaped.
        count: its number.
        parts: (colour class, length) pairs, from left to right.
        note: text after the number.
    """

    label: str
    link: str
    count: int
    parts: tuple[tuple[str, int], ...]
    note: str = ""


def chart(
    title: str, subtitle: str, columns: tuple[str, str], bars: Sequence[Bar]
) -> Iterator[str]:
    """Yield a chart of the first bars, if there are any."""
    if not bars:
        return
    yield f'<section class="card"><h3>{title}</h3><p class="sub">{subtitle}</p>'
    used = {name for bar in bars for name, length in bar.parts if length}
    if len(used) > 1:
        yield legend(used)
    notes = max(len(bar.note) for bar in bars)
    width = "" if not notes else " short-notes" if notes <= _SHORT else " long-notes"
    yield f'<table class="bars{width}"><caption class="unseen">{title}</caption>'
    yield '<colgroup><col class="label"><col><col class="number">'
    yield ('<col class="note">' if notes else "") + "</colgroup>"
    yield f'<thead class="unseen"><tr><th scope="col">{columns[0]}</th>'
    yield f'<th scope="col">Bar</th><th scope="col">{columns[1]}</th>'
    yield ('<th scope="col">Share</th>' if notes else "") + "</tr></thead><tbody>"
    longest = max(sum(length for _, length in bar.parts) for bar in bars[:_MOST]) or 1
    for bar in bars[:_MOST]:
        yield (
            f'<tr><th scope="row"><a href="{bar.link}">{text(bar.label, most=_LONGEST_NAME)}</a>'
            f'</th><td class="bar">{_drawn(bar.parts, longest)}</td>'
            f'<td class="number">{bar.count:,}</td>'
        )
        yield (f'<td class="note">{bar.note}</td>' if notes else "") + "</tr>"
    yield "</tbody></table>"
    if rest := bars[_MOST:]:
        together = sum(bar.count for bar in rest)
        yield f'<p class="rest">{len(rest):,} more with {together:,} in all</p>'
    yield "</section>"


def legend(used: Iterable[str]) -> str:
    """Return the meaning of the used colours."""
    found = set(used)
    items = "".join(
        f'<li><svg class="swatch" width="12" height="12" aria-hidden="true">'
        f'<rect class="{name}" {FILLS[name]} x="1" y="1" width="10" height="10"/></svg>{text}</li>'
        for name, text in COLOURS.items()
        if name in found
    )
    return f'<ul class="legend">{items}</ul>'


def _drawn(parts: Iterable[tuple[str, int]], longest: int) -> str:
    shapes, start = [], 0.0
    for name, length in parts:
        if not length:
            continue
        # Non-zero parts are always visible.
        width = max(length * 100 / longest, 0.4)
        shapes.append(
            f'<rect class="{name}" {FILLS[name]} x="{start:.2f}%" y="1" '
            f'width="{min(width, 100 - start):.2f}%" height="12"/>'
        )
        start = min(start + width, 99.6)
    return f'<svg width="100%" height="14" aria-hidden="true">{"".join(shapes)}</svg>'
