"""The charts of a plan, for the questions of a reviewer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from mlflow_gc.domain.kinds import is_purge
from mlflow_gc.plan.document import Plan
from mlflow_gc.render.common.plan_groups import experiment_names, percent, statistics
from mlflow_gc.render.common.reason_text import protection_text
from mlflow_gc.render.html.entries import Entry, Fate
from mlflow_gc.render.html.links import filter_link

MOST_BARS = 8
"""Number of bars that are drawn."""

_SHORT = len("of 1,234")

FILLS = {
    "irreversible": {"fill": "#c0262d"},
    "deleted": {"fill": "#3b63b8"},
    "protected": {"fill": "#4f8c7d"},
    "fresh": {"fill": "none", "stroke": "#868e99"},
}
"""Colour classes, with their fill if a viewer blocks the style sheet."""

COLOURS = {
    "irreversible": "deleted permanently",
    "deleted": "deleted, can be restored",
    "protected": "protected",
    "fresh": "fresh (not stale)",
}
"""Texts of colour classes."""

NOBODY = "-"
"""The owner of runs without one, in a link."""

Parts = Sequence[tuple[str, int]]
"""(Colour class, length) pairs, from left to right."""


@dataclass(frozen=True)
class Bar:
    """One line of a chart, with the fragment that selects its entities as link."""

    label: str
    link: str
    count: int
    parts: Parts
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart of its first bars."""

    title: str
    subtitle: str
    columns: tuple[str, str]
    bars: Sequence[Bar]

    @property
    def colours(self) -> set[str]:
        """The colour classes in use."""
        return {name for bar in self.bars for name, length in bar.parts if length}

    @property
    def longest(self) -> int:
        """The length of the longest drawn bar."""
        return max(sum(length for _, length in bar.parts) for bar in self.bars[:MOST_BARS])

    @property
    def note_width(self) -> str:
        """The class for the width of the notes; empty without any."""
        most = max(len(bar.note) for bar in self.bars)
        return "" if not most else " short-notes" if most <= _SHORT else " long-notes"


def segments(parts: Parts, whole: int) -> Iterator[tuple[str, float, float]]:
    """Yield the colour class, start and width of each part of a bar, in percent."""
    start = 0.0
    for name, length in parts:
        if length and whole:
            # Non-zero parts are always visible.
            width = max(length * 100 / whole, 0.4)
            yield name, start, min(width, 100 - start)
            start = min(start + width, 99.6)


def charts(plan: Plan, found: Sequence[Entry]) -> list[Chart]:
    """Return the non-empty charts by experiment, model, owner and reason."""
    made = (
        Chart(
            "Which experiments lose runs?",
            "Runs to delete, by experiment."
            if is_purge(plan)
            else "Runs to delete, of all active runs of the experiment.",
            ("Experiment", "Runs to delete"),
            list(_by_experiment(plan, found)),
        ),
        Chart(
            "Which models lose versions?",
            "Rows of versions that were deleted before."
            if is_purge(plan)
            else "Versions to delete, compared with those that are retained.",
            ("Registered model", "Versions to delete"),
            list(_by_model(plan, found)),
        ),
        Chart(
            "Whose runs are deleted?",
            "By the user that MLflow recorded.",
            ("Owner", "Runs to delete"),
            list(_by_owner(found)),
        ),
        Chart(
            "Why are they deleted?",
            "All kinds; one with several reasons counts for each.",
            ("Reason", "Entities to delete"),
            list(_by_reason(found)),
        ),
        Chart(
            "What protects the others?",
            "All kinds; stale entities that are retained.",
            ("Reason", "Protected entities"),
            list(_by_protection(found)),
        ),
    )
    return [chart for chart in made if chart.bars]


def _by_experiment(plan: Plan, found: Iterable[Entry]) -> Iterator[Bar]:
    names = experiment_names(plan)
    totals = {
        e["experiment_id"]: e["delete"] + e["protected"] + e["fresh"]
        for e in statistics(plan).get("by_experiment", ())
    }
    for place, count, parts in _by_group(_runs(found), lambda run: (run.place,)):
        total = totals.get(place, 0)
        # Older versions lack the total; edited plans may have a wrong one.
        note = f"of {total:,} · {percent(count, total)}" if total >= count else ""
        link = filter_link(**{"kind": "run", "fate": "deleted", "in": f"experiment:{place}"})
        yield Bar(names.get(place) or f"experiment {place}", link, count, parts, note)


def _by_model(plan: Plan, found: Iterable[Entry]) -> Iterator[Bar]:
    fresh = {m["name"]: m["fresh"] for m in statistics(plan).get("by_model", ())}
    versions = [entry for entry in found if entry.kind == "model_version"]
    protected = Counter(version.place for version in versions if not version.is_deleted)
    for name, count, parts in _by_group(
        (v for v in versions if v.is_deleted), lambda v: (v.place,)
    ):
        retained = (("protected", protected[name]), ("fresh", fresh.get(name, 0)))
        note = f"of {count + protected[name] + fresh[name]:,}" if name in fresh else ""
        link = filter_link(**{"kind": "model_version", "fate": "deleted", "in": f"model:{name}"})
        yield Bar(name, link, count, (*parts, *retained), note)


def _by_owner(found: Iterable[Entry]) -> Iterator[Bar]:
    runs = _runs(found)
    for owner, count, parts in _by_group(runs, lambda run: (run.owner,)):
        link = filter_link(kind="run", fate="deleted", owner=owner or NOBODY)
        yield Bar(owner or "not recorded", link, count, parts, percent(count, len(runs)))


def _by_reason(found: Iterable[Entry]) -> Iterator[Bar]:
    to_delete = (entry for entry in found if entry.is_deleted)
    for group, count, parts in _by_group(to_delete, lambda entry: set(entry.groups)):
        yield Bar(group, filter_link(fate="deleted", reason=group), count, parts)


def _by_protection(found: Iterable[Entry]) -> Iterator[Bar]:
    protected = Counter(entry.why[0] for entry in found if not entry.is_deleted)
    for code, count in ranked(protected):
        link = filter_link(fate="protected", reason=code)
        yield Bar(protection_text(code), link, count, (("protected", count),))


def _runs(found: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in found if entry.kind == "run" and entry.is_deleted]


def _by_group(
    to_delete: Iterable[Entry], groups_of: Callable[[Entry], Collection[str]]
) -> Iterator[tuple[str, int, tuple[tuple[str, int], ...]]]:
    """Yield groups with their counts, largest first, split by irreversible and restorable."""
    restorable: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for entry in to_delete:
        (lost if entry.fate is Fate.IRREVERSIBLE else restorable).update(groups_of(entry))
    for group, count in ranked(restorable + lost):
        yield group, count, (("irreversible", lost[group]), ("deleted", restorable[group]))


def ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    """Return groups with their counts, largest first."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
