"""The chart of ages of deleted and retained entities: a column per span, for each kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from mlflow_gc.domain.kinds import BY_NAME
from mlflow_gc.plan.document import Plan
from mlflow_gc.render.common.plan_groups import statistics
from mlflow_gc.render.html.bars import COLOURS, FILLS, legend
from mlflow_gc.render.html.entries import Entry, Fate, age_bounds_days, age_group, milliseconds
from mlflow_gc.render.html.markup import filter_link, text

_WIDTH, _HEIGHT = 384, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 380, 20, 156
_STEPS = (1, 2, 2.5, 5, 10)

Counts = Mapping[str, Sequence[int]]
"""Colour class -> counts, youngest first, unknown age last."""


def ages(plan: Plan, found: Sequence[Entry]) -> Iterator[str]:
    """Yield the chart of ages, if there is anything to show."""
    bounds = age_bounds_days(plan)
    panels = [
        (kind, counts)
        for kind in ("run", "model_version", "experiment", "registered_model")
        if any(map(any, (counts := _counts(plan, found, kind, bounds)).values()))
    ]
    if not panels:
        return
    yield '<section class="card wide"><h3>How old is what is deleted, and what is retained?</h3>'
    since = "last activity (model versions: last change)"
    yield f'<p class="sub">Age at {text(plan["as_of"][:10])}, counted from the {since}. '
    if not statistics(plan):
        yield "This plan is of an older version and names only the ages of what is to be deleted."
    yield "</p>"
    yield legend(name for _, counts in panels for name in counts if any(counts[name]))
    yield '<div class="panels">'
    for kind, counts in panels:
        yield from _panel(kind, counts, bounds)
    yield "</div></section>"


def spans(bounds: Sequence[int]) -> list[str]:
    """Return the spans of ages as text, youngest first, unknown age last."""
    inner = [f"{_age(a)} to {_age(b)}" for a, b in pairwise(bounds)]
    return [f"under {_age(bounds[0])}", *inner, f"over {_age(bounds[-1])}", "unknown age"]


def _counts(plan: Plan, found: Sequence[Entry], kind: str, bounds: Sequence[int]) -> Counts:
    """Return deletions from the entries, and retained entities from the statistics of a plan."""
    as_of = milliseconds(plan["as_of"])
    to_delete = {"irreversible": [0] * (len(bounds) + 2), "deleted": [0] * (len(bounds) + 2)}
    for entry in found:
        if entry.kind == kind and entry.is_deleted:
            colour = "irreversible" if entry.fate is Fate.IRREVERSIBLE else "deleted"
            to_delete[colour][age_group(entry.last_ms, as_of, bounds)] += 1
    retained = statistics(plan).get("ages", {}).get(BY_NAME[kind].entries, {})
    groups = len(bounds) + 2
    return to_delete | {
        colour: [*retained.get(name, ()), *[0] * groups][:groups]
        for colour, name in (("protected", "protected"), ("fresh", "fresh"))
    }


def _panel(kind: str, counts: Counts, bounds: Sequence[int]) -> Iterator[str]:
    nouns = BY_NAME[kind].plural
    names = spans(bounds)
    # A column for unknown ages only if there are any.
    shown = [n for n in range(len(names)) if n < len(names) - 1 or _at(counts, n)]
    top = _nice(max(_at(counts, n) for n in shown))
    width = (_RIGHT - _LEFT) / len(shown)
    yield f"<figure><figcaption>{nouns.capitalize()}</figcaption>"
    yield (
        f'<svg class="ages" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="group" '
        f'aria-label="{nouns.capitalize()} by age; the numbers are in the table below">'
    )
    yield from _grid(top)
    for position, n in enumerate(shown):
        yield from _column(kind, counts, n, names[n], _LEFT + position * width, width, top)
    yield from _axis(bounds, width, has_unknown=len(shown) == len(names))
    yield "</svg><details><summary>The numbers</summary>"
    yield from _table(nouns, counts, shown, names)
    yield "</details></figure>"


def _grid(top: int) -> Iterator[str]:
    for share in (0.0, 0.5, 1.0):
        y = _y(share)
        yield f'<path class="grid" stroke="#8888" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>'
        if share and (top > 1 or share == 1):
            label = _short(top * share)
            yield f'<text aria-hidden="true" class="end" x="{_LEFT - 6}" y="{y + 4:.1f}">{label}</text>'


def _column(
    kind: str, counts: Counts, n: int, span: str, left: float, width: float, top: int
) -> Iterator[str]:
    gap = width * 0.14
    base = 0.0
    for colour, numbers in counts.items():
        if not (number := numbers[n]):
            continue
        height = max(number / top, 0.012)
        shape = (
            f'<rect class="{colour}" {FILLS[colour]} x="{left + gap:.1f}" '
            f'y="{_y(base + height):.1f}" width="{width - 2 * gap:.1f}" '
            f'height="{_y(0) - _y(height):.1f}"/>'
        )
        base += height
        nouns = BY_NAME[kind].nouns[0 if number == 1 else 1]
        if colour in {"deleted", "irreversible"}:
            fate = "irreversible" if colour == "irreversible" else "restorable"
            label = f"{number:,} {nouns}, {span}, {COLOURS[colour]}"
            link = filter_link(kind=kind, fate=fate, age=str(n))
            yield f'<a href="{link}" aria-label="{label}"><title>{label}</title>{shape}</a>'
        else:
            state = COLOURS[colour]
            yield f"<g><title>{number:,} {nouns}, {span}, {state}</title>{shape}</g>"
    if total := _at(counts, n):
        yield (
            f'<text aria-hidden="true" class="middle" x="{left + width / 2:.1f}" '
            f'y="{_y(base) - 5:.1f}">{_short(total)}</text>'
        )


def _axis(bounds: Sequence[int], width: float, *, has_unknown: bool) -> Iterator[str]:
    for position, days in enumerate(bounds, 1):
        x = _LEFT + position * width
        yield f'<path class="tick" stroke="#888" d="M{x:.1f} {_BOTTOM}v4"/>'
        yield (
            f'<text aria-hidden="true" class="middle" x="{x:.1f}" y="{_BOTTOM + 16}">'
            f"{_age(days)}</text>"
        )
    if has_unknown:
        x = _RIGHT - width / 2
        yield f'<text aria-hidden="true" class="middle" x="{x:.1f}" y="{_BOTTOM + 16}">no age</text>'
    yield f'<text aria-hidden="true" x="{_LEFT}" y="{_BOTTOM + 31}">younger</text>'
    yield f'<text aria-hidden="true" class="end" x="{_RIGHT}" y="{_BOTTOM + 31}">older</text>'


def _table(nouns: str, counts: Counts, shown: Sequence[int], names: Sequence[str]) -> Iterator[str]:
    yield f'<table class="plain"><caption class="unseen">{nouns.capitalize()} by age</caption>'
    yield '<thead><tr><th scope="col">Age</th><th scope="col" class="number">to delete</th>'
    yield '<th scope="col" class="number">protected</th>'
    yield '<th scope="col" class="number">fresh</th></tr></thead><tbody>'
    for n in shown:
        go = counts["deleted"][n] + counts["irreversible"][n]
        cells = (go, counts["protected"][n], counts["fresh"][n])
        numbers = "".join(f'<td class="number">{number:,}</td>' for number in cells)
        yield f'<tr><th scope="row">{names[n]}</th>{numbers}</tr>'
    yield "</tbody></table>"


def _at(counts: Counts, n: int) -> int:
    return sum(numbers[n] for numbers in counts.values())


def _y(share: float) -> float:
    return _BOTTOM - share * (_BOTTOM - _TOP)


def _nice(most: int) -> int:
    """Return a round number as upper bound."""
    size = 1
    while most > size * 10:
        size *= 10
    return next(int(size * step) for step in _STEPS if size * step >= most and size * step % 1 == 0)


def _short(number: float) -> str:
    for size, letter in ((1_000_000, "M"), (10_000, "k")):
        if number >= size:
            scaled = number / (1000 if letter == "k" else size)
            return f"{scaled:.1f}".removesuffix(".0") + letter
    return f"{number:,.0f}" if number % 1 == 0 else f"{number:,.1f}"


def _age(days: int) -> str:
    if days % 365 == 0:
        return f"{days // 365} y"
    return f"{days} d"
