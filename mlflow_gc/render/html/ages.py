"""The charts of ages of deleted and retained entities: a column per span, for each kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from mlflow_gc.domain.kinds import MODEL_VERSION, PRUNED, RUN, Kind, ordered
from mlflow_gc.domain.quantities import number_of
from mlflow_gc.plan.document import Plan
from mlflow_gc.render.common.plan_groups import milliseconds, statistics
from mlflow_gc.render.html.charts import COLOURS
from mlflow_gc.render.html.entries import Entry, Fate, age_bounds_days, age_group
from mlflow_gc.render.html.links import filter_link

# The area of the columns, in the picture of charts.html.
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 380, 20, 156
_STEPS = (1, 2, 2.5, 5, 10)

Counts = Mapping[str, Sequence[int]]
"""Colour class -> counts, youngest first, unknown age last."""


@dataclass(frozen=True)
class Panel:
    """The ages of entities of one kind: what the picture in ``charts.html`` shows."""

    kind: Kind
    counts: Counts
    bounds_days: Sequence[int]

    @property
    def colours(self) -> list[str]:
        """The colour classes in use."""
        return [colour for colour, numbers in self.counts.items() if any(numbers)]

    @property
    def spans(self) -> list[tuple[int, str]]:
        """The spans with a column: its number and text.  Unknown ages only if there are any."""
        names = spans(self.bounds_days)
        return list(enumerate(names if self.total(len(names) - 1) else names[:-1]))

    @property
    def width(self) -> float:
        """Width of a column."""
        return (_RIGHT - _LEFT) / len(self.spans)

    @property
    def top(self) -> int:
        """The number at the upper end."""
        return _nice(max(self.total(n) for n, _ in self.spans))

    def total(self, n: int) -> int:
        """Return the number of all entities of a span."""
        return sum(numbers[n] for numbers in self.counts.values())

    def column(self, n: int, span: str) -> Iterator[Box]:
        """Yield the parts of a column, from the bottom."""
        base = 0.0
        for colour, numbers in self.counts.items():
            if not (number := numbers[n]):
                continue
            height = max(number / self.top, 0.012)
            base += height
            fate = {"irreversible": "irreversible", "deleted": "restorable"}.get(colour)
            yield Box(
                colour,
                y(base),
                y(0) - y(height),
                f"{number_of(number, *self.kind.nouns)}, {span}, {COLOURS[colour]}",
                filter_link(kind=self.kind.name, fate=fate, age=str(n)) if fate else None,
            )


class Box(NamedTuple):
    """A part of a column; with a link if its entities are in the table."""

    colour: str
    y: float
    height: float
    label: str
    link: str | None


def ages(plan: Plan, found: Sequence[Entry]) -> list[Panel]:
    """Return the pictures of all kinds with anything to show."""
    bounds = age_bounds_days(plan)
    return [
        Panel(kind, counts, bounds)
        for kind in ordered(RUN, MODEL_VERSION, among=PRUNED)
        if any(map(any, (counts := _counts(plan, found, kind, bounds)).values()))
    ]


def spans(bounds: Sequence[int]) -> list[str]:
    """Return the spans of ages as text, youngest first, unknown age last."""
    inner = [f"{age(a)} to {age(b)}" for a, b in pairwise(bounds)]
    return [f"under {age(bounds[0])}", *inner, f"over {age(bounds[-1])}", "unknown age"]


def _counts(plan: Plan, found: Sequence[Entry], kind: Kind, bounds: Sequence[int]) -> Counts:
    """Return deletions from the entries, and retained entities from the statistics of a plan."""
    as_of = milliseconds(plan["as_of"])
    none = [0] * (len(bounds) + 2)
    counts = {"irreversible": none.copy(), "deleted": none.copy()}
    for entry in found:
        if entry.kind == kind.name and entry.is_deleted:
            colour = "irreversible" if entry.fate is Fate.IRREVERSIBLE else "deleted"
            counts[colour][age_group(entry.last_ms, as_of, bounds)] += 1
    retained = statistics(plan).get("ages", {}).get(kind.entries, {})
    for colour in ("protected", "fresh"):
        counts[colour] = [*retained.get(colour, ()), *none][: len(none)]
    return counts


def y(share: float) -> float:
    """Return the place of a share of the upper end."""
    return _BOTTOM - share * (_BOTTOM - _TOP)


def _nice(most: int) -> int:
    """Return a round number as upper bound."""
    size = 1
    while most > size * 10:
        size *= 10
    return next(int(size * step) for step in _STEPS if size * step >= most and size * step % 1 == 0)


def short(number: float) -> str:
    """Return ``12k`` or ``1.5M``."""
    for size, letter in ((1_000_000, "M"), (10_000, "k")):
        if number >= size:
            scaled = number / (1000 if letter == "k" else size)
            return f"{scaled:.1f}".removesuffix(".0") + letter
    return f"{number:,.0f}" if number % 1 == 0 else f"{number:,.1f}"


def age(days: int) -> str:
    """Return ``30 d`` or ``1 y``."""
    if days % 365 == 0:
        return f"{days // 365} y"
    return f"{days} d"
