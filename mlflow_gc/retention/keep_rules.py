"""Keep rules: the winners of a group are retained although stale.  Pure functions.

The calendar rules are restic's: from the newest to the oldest, the first of each calendar day, ISO
week, month or year is kept until the count is used up; empty buckets do not count; the oldest of
all is kept while a count is left.  Rules are ORed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone, tzinfo
from functools import cached_property
from heapq import nlargest, nsmallest
from typing import Any, Literal, TypeVar

from mlflow_gc.domain.timestamps import format_duration, parse_duration

ALL = -1
"""An unlimited count, ``all`` in a policy file."""

CALENDAR = ("daily", "weekly", "monthly", "yearly")

K = TypeVar("K")
"""What identifies an entity of a group."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Best:
    """Keep the runs with the best latest values of a metric, and ties with the last of them."""

    metric: str
    mode: Literal["max", "min"]
    count: int


@dataclass(frozen=True)
class Keep:
    """The keep rules of one group (the runs of an experiment, the versions of a model).

    Attributes:
        last: number of the newest; :data:`ALL` keeps all.
        calendar: counts by ``daily``, ``weekly``, ``monthly``, ``yearly``; 0 by default.
        within_ms: keeps everything active less than this before ``as_of``; 0 keeps none.
        best: for runs only.
    """

    last: int = 0
    calendar: Mapping[str, int] = field(default_factory=dict)
    within_ms: int = 0
    best: tuple[Best, ...] = ()

    @cached_property
    def is_empty(self) -> bool:
        """Whether it keeps nothing."""
        return not (self.needs_group or self.within_ms)

    @property
    def needs_group(self) -> bool:
        """Whether a decision on one candidate needs the whole group."""
        return bool(self.last or any(self.calendar.values()) or self.best)

    def to_document(self) -> dict[str, Any]:
        """Return the form used in plans and policy files."""
        document: dict[str, Any] = {}
        if self.last:
            document["last"] = _count(self.last)
        document.update({k: _count(n) for k in CALENDAR if (n := self.calendar.get(k, 0))})
        if self.within_ms:
            document["within"] = format_duration(self.within_ms)
        if self.best:
            document["best"] = [asdict(best) for best in self.best]
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Keep:
        """Return the keep rules in a plan or a policy file."""
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
class Candidate:
    """One entity of a group.

    Attributes:
        key: run id, or (name, version).
        time_ms: its creation, ms since the epoch, UTC; decides its calendar bucket.
        order: sort key; the last is the newest.
        active_ms: its last activity.
        metrics: latest values, for ``best``.
    """

    key: Any
    time_ms: int
    order: tuple[Any, ...]
    active_ms: int
    metrics: tuple[tuple[str, float], ...] = ()


def winners(
    candidates: Sequence[Candidate], keep: Keep, *, as_of_ms: int, zone: tzinfo
) -> dict[Any, list[tuple[str, str]]]:
    """Return the winners, each with (rule, note) for every rule that keeps it.

    Args:
        candidates: the whole group in any order; fresh ones are ranked, too.
        keep: the rules.
        as_of_ms: the time from which ``within`` counts back.
        zone: the time zone of the calendar.
    """
    found: dict[Any, list[tuple[str, str]]] = defaultdict(list)
    if not candidates or keep.is_empty:
        return found
    newest_first = sorted(candidates, key=lambda m: m.order, reverse=True)
    for candidate, note in _last(newest_first, keep.last):
        found[candidate.key].append(("last", note))
    for name in CALENDAR:
        for candidate, note in _calendar(newest_first, name, keep.calendar.get(name, 0), zone):
            found[candidate.key].append((name, note))
    if keep.within_ms:
        for candidate in newest_first:
            if candidate.active_ms >= as_of_ms - keep.within_ms:
                note = f"active within {format_duration(keep.within_ms)}"
                found[candidate.key].append(("within", note))
    for best in keep.best:
        for candidate, note in _best(candidates, best):
            found[candidate.key].append(("best", note))
    return found


def newest_of_groups(ranked: Iterable[tuple[K, str, int]], count: int) -> set[K]:
    """Return the ``count`` keys of highest rank in each group, with all ties at the border.

    Args:
        ranked: key, group and rank of each.
        count: 0 for none.
    """
    groups: dict[str, list[tuple[int, K]]] = defaultdict(list)
    for key, group, rank in ranked if count else ():
        groups[group].append((rank, key))
    newest: set[K] = set()
    for found in groups.values():
        border = nlargest(count, (rank for rank, _ in found))[-1]
        newest.update(key for rank, key in found if rank >= border)
    return newest


def _last(newest_first: Sequence[Candidate], count: int) -> Iterator[tuple[Candidate, str]]:
    shown = "all" if count == ALL else f"the newest {count}"
    for candidate in newest_first if count == ALL else newest_first[: max(count, 0)]:
        yield candidate, f"one of {shown}"


def _calendar(
    newest_first: Sequence[Candidate], name: str, count: int, zone: tzinfo
) -> Iterator[tuple[Candidate, str]]:
    bucket_of = _BUCKETS[name]
    seen: set[str] = set()
    left = count
    for position, candidate in enumerate(newest_first):
        if left == 0:
            return
        bucket = bucket_of((_EPOCH + timedelta(milliseconds=candidate.time_ms)).astimezone(zone))
        is_oldest = position == len(newest_first) - 1
        # Versions are ordered by number, which may differ from the order of their days.
        if bucket not in seen or is_oldest:
            yield candidate, f"oldest, while {name} is not used up" if bucket in seen else bucket
            seen.add(bucket)
            left -= left > 0


_BUCKETS: dict[str, Callable[[datetime], str]] = {
    "daily": lambda t: f"day {t.year:04}-{t.month:02}-{t.day:02}",
    "weekly": lambda t: "week {:04}-W{:02}".format(*t.isocalendar()[:2]),
    "monthly": lambda t: f"month {t.year:04}-{t.month:02}",
    "yearly": lambda t: f"year {t.year:04}",
}


def _best(candidates: Sequence[Candidate], best: Best) -> Iterator[tuple[Candidate, str]]:
    """Yield the best; NaN and missing values are never ranked, infinities are."""
    values = [
        (value, candidate)
        for candidate in candidates
        for name, value in candidate.metrics
        if name == best.metric and not math.isnan(value)
    ]
    if not values or not best.count:
        return
    numbers = [value for value, _ in values]
    pick = nlargest if best.mode == "max" else nsmallest
    border = pick(best.count, numbers)[-1]
    for value, candidate in values:
        if value >= border if best.mode == "max" else value <= border:
            yield candidate, f"{best.mode} {best.metric}, one of the best {best.count}"


def _count(number: int) -> int | str:
    return "all" if number == ALL else number


def _number(count: int | str) -> int:
    return ALL if count == "all" else int(count)
