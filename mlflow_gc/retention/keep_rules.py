"""Keep rules: which of a group stay although they are old.  Pure functions of times and numbers.

The calendar rules are restic's: walk from the newest to the oldest, keep the first of each natural
day, ISO week, month or year until the count is used up; buckets without anything do not count; the
oldest of all stays while a count is left.  Rules are ORed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone, tzinfo
from functools import cached_property
from heapq import nlargest, nsmallest
from typing import Any, Literal

from mlflow_gc.domain.timestamps import format_duration, parse_duration

ALL = -1
"""A count without end, ``all`` in a policy file."""

CALENDAR = ("daily", "weekly", "monthly", "yearly")

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Best:
    """Keep the runs with the best values of a metric.

    Attributes:
        metric: its name; the latest value of a run counts.
        mode: whether the highest or the lowest is best.
        count: how many; runs that tie with the last of them stay too.
    """

    metric: str
    mode: Literal["max", "min"]
    count: int


@dataclass(frozen=True)
class Keep:
    """What to keep of one group (the runs of an experiment, the versions of a model).

    Attributes:
        last: so many newest; :data:`ALL` keeps all.
        calendar: counts by ``daily``, ``weekly``, ``monthly``, ``yearly``; 0 and missing keep none.
        within_ms: everything active less than this before ``as_of``; 0 keeps none.
        best: by metric; for runs only.
    """

    last: int = 0
    calendar: Mapping[str, int] = field(default_factory=dict)
    within_ms: int = 0
    best: tuple[Best, ...] = ()

    @cached_property
    def is_empty(self) -> bool:
        """Whether it keeps nothing."""
        return not (self.last or any(self.calendar.values()) or self.within_ms or self.best)

    @property
    def needs_group(self) -> bool:
        """Whether the rest of the group has to be known to judge one of it."""
        return bool(self.last or any(self.calendar.values()) or self.best)

    def to_document(self) -> dict[str, Any]:
        """Return it as a plan and a policy file hold it."""
        document: dict[str, Any] = {}
        if self.last:
            document["last"] = _count(self.last)
        document.update({k: _count(n) for k in CALENDAR if (n := self.calendar.get(k, 0))})
        if self.within_ms:
            document["within"] = format_duration(self.within_ms)
        if self.best:
            document["best"] = [
                {"metric": b.metric, "mode": b.mode, "count": b.count} for b in self.best
            ]
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Keep:
        """Return what :meth:`to_document` wrote, or a policy file of the same shape says."""
        best = document.get("best") or []
        return cls(
            last=_number(document.get("last", 0)),
            calendar={k: _number(document[k]) for k in CALENDAR if document.get(k)},
            within_ms=parse_duration(document["within"]) if document.get("within") else 0,
            best=tuple(
                Best(str(b["metric"]), b["mode"], int(b["count"]))
                for b in (best if isinstance(best, list) else [best])
            ),
        )


@dataclass(frozen=True, slots=True)
class Member:
    """One of a group.

    Attributes:
        key: run id, or (name, version).
        time_ms: when it was made, ms since the epoch, UTC; decides its place in the calendar.
        order: what comes last is newest.
        active_ms: its last activity.
        metrics: latest values, for ``best``.
    """

    key: Any
    time_ms: int
    order: tuple[Any, ...]
    active_ms: int
    metrics: tuple[tuple[str, float], ...] = ()


def kept(
    members: Sequence[Member], keep: Keep, *, as_of_ms: int, zone: tzinfo
) -> dict[Any, list[tuple[str, str]]]:
    """Return the members that stay, each with (rule, words) for every rule that keeps it.

    Args:
        members: the whole group in any order, fresh ones included: they take their places.
        keep: the rules.
        as_of_ms: what ``within`` counts back from.
        zone: whose days, weeks, months and years are meant.
    """
    found: dict[Any, list[tuple[str, str]]] = defaultdict(list)
    if not members or keep.is_empty:
        return found
    newest_first = sorted(members, key=lambda m: m.order, reverse=True)
    for member, words in _last(newest_first, keep.last):
        found[member.key].append(("last", words))
    for name in CALENDAR:
        for member, words in _calendar(newest_first, name, keep.calendar.get(name, 0), zone):
            found[member.key].append((name, words))
    if keep.within_ms:
        for member in newest_first:
            if member.active_ms >= as_of_ms - keep.within_ms:
                words = f"active within {format_duration(keep.within_ms)}"
                found[member.key].append(("within", words))
    for best in keep.best:
        for member, words in _best(members, best):
            found[member.key].append(("best", words))
    return found


def _last(newest_first: Sequence[Member], count: int) -> Iterator[tuple[Member, str]]:
    shown = "all" if count == ALL else f"the newest {count}"
    for member in newest_first if count == ALL else newest_first[: max(count, 0)]:
        yield member, f"one of {shown}"


def _calendar(
    newest_first: Sequence[Member], name: str, count: int, zone: tzinfo
) -> Iterator[tuple[Member, str]]:
    bucket_of = _BUCKETS[name]
    seen: set[str] = set()
    left = count
    for position, member in enumerate(newest_first):
        if left == 0:
            return
        bucket = bucket_of((_EPOCH + timedelta(milliseconds=member.time_ms)).astimezone(zone))
        is_oldest = position == len(newest_first) - 1
        # Versions are in the order of their numbers, which need not be that of their days.
        if bucket not in seen or is_oldest:
            yield member, f"oldest, while {name} is not used up" if bucket in seen else bucket
            seen.add(bucket)
            left -= left > 0


_BUCKETS: dict[str, Callable[[datetime], str]] = {
    "daily": lambda t: f"day {t.year:04}-{t.month:02}-{t.day:02}",
    "weekly": lambda t: "week {:04}-W{:02}".format(*t.isocalendar()[:2]),
    "monthly": lambda t: f"month {t.year:04}-{t.month:02}",
    "yearly": lambda t: f"year {t.year:04}",
}


def _best(members: Sequence[Member], best: Best) -> Iterator[tuple[Member, str]]:
    """Yield the best; NaN and missing values are never among them, infinities are numbers."""
    values = [
        (value, member)
        for member in members
        for name, value in member.metrics
        if name == best.metric and not math.isnan(value)
    ]
    if not values or not best.count:
        return
    numbers = [value for value, _ in values]
    pick = nlargest if best.mode == "max" else nsmallest
    border = pick(best.count, numbers)[-1]
    for value, member in values:
        if value >= border if best.mode == "max" else value <= border:
            yield member, f"{best.mode} {best.metric}, one of the best {best.count}"


def _count(number: int) -> int | str:
    return "all" if number == ALL else number


def _number(count: int | str) -> int:
    return ALL if count == "all" else int(count)
