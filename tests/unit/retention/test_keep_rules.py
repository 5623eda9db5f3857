"""What the rules of ``keep`` hold of a group, as tables: docs/policy.md, "Keep".

That counting is restic's is tested in test_restic.py.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from datetime import timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_gc.domain.timestamps import DAY_MS, parse_time
from mlflow_gc.retention.keep_rules import CALENDAR, Best, Candidate, Keep, winners

AS_OF = parse_time("2026-05-01T10:00:00.000Z")
INF, NAN = math.inf, math.nan


def _run(key: str, time: str | int, **metrics: float) -> Candidate:
    """A run that started then and was not active later."""
    ms = parse_time(time) if isinstance(time, str) else time
    return Candidate(
        key=key, time_ms=ms, order=(ms, key), active_ms=ms, metrics=tuple(metrics.items())
    )


def _at(*times: str) -> list[Candidate]:
    """Runs that are named after their start, which is local time with an offset or UTC."""
    return [_run(f"{number} {text}", text) for number, text in enumerate(times)]


def _keep(**document: Any) -> Keep:
    return Keep.from_document(document)


def _retained(
    candidates: Iterable[Candidate],
    *,
    zone: tzinfo = timezone.utc,
    as_of: int = AS_OF,
    **rules: Any,
) -> set[str]:
    return set(winners(list(candidates), _keep(**rules), as_of_ms=as_of, zone=zone))


def _times_retained(times: list[str], zone: str, **rules: Any) -> list[str]:
    """Those of some starts that stay, in the order given; it does not matter how they come in."""
    candidates = _at(*times)
    found = {order: _retained(order, zone=ZoneInfo(zone), **rules) for order in _orders(candidates)}
    assert len({frozenset(keys) for keys in found.values()}) == 1
    keys = next(iter(found.values()))
    return [
        text for candidate, text in zip(candidates, times, strict=True) if candidate.key in keys
    ]


def _orders(candidates: list[Candidate]) -> list[tuple[Candidate, ...]]:
    mixed = random.Random(3).sample(candidates, len(candidates))
    return [tuple(candidates), tuple(reversed(candidates)), tuple(mixed)]


# -- nothing -------------------------------------------------------------------------------------


def test_no_rule_keeps_nothing():
    assert _retained(_at("2026-04-30", "2026-04-29")) == set()


def test_an_empty_group_has_no_winners():
    every = {"last": 3, "daily": 1, "yearly": "all", "within": "9d"}
    assert _retained([], **every, best={"metric": "auc", "mode": "max", "count": 1}) == set()


# -- last ----------------------------------------------------------------------------------------

RUNS = [_run("a", 10), _run("b", 30), _run("c", 20), _run("e", 40), _run("d", 40)]


@pytest.mark.parametrize(
    ("count", "wanted"),
    [(1, "e"), (2, "ed"), (3, "edb"), (4, "edbc"), (5, "edbca"), (6, "edbca"), ("all", "edbca")],
)
def test_last_keeps_so_many_newest_by_start_then_id(count, wanted):
    """Unlike at the border of ``keep_last``, no more of those that tie."""
    assert _retained(RUNS, last=count) == set(wanted)


def test_newest_is_what_the_order_says_not_the_time():
    """Versions are ordered by number: a lower number that was made later is older."""
    candidates = [
        Candidate(key=n, time_ms=ms, order=(n, str(n)), active_ms=ms)
        for n, ms in ((9, 500), (10, 400), (11, 100))
    ]
    assert _retained(candidates, last=1) == {11}
    assert _retained(candidates, last=2) == {11, 10}
    # All of one day: the newest of it is the highest number, the oldest the lowest.
    assert _retained(candidates, daily=1) == {11}
    assert _retained(candidates, daily=2) == {11, 9}


def test_a_day_is_one_day_wherever_its_versions_stand():
    """A version that was made on a day that a higher number has already takes no other day's place.

    ``daily: 3`` keeps the newest of each of three days, however numbers and days are mixed.
    """
    days = {5: "2026-03-04", 4: "2026-03-03", 3: "2026-03-04", 2: "2026-03-02", 1: "2026-03-01"}
    candidates = [
        Candidate(key=n, time_ms=parse_time(day), order=(n, str(n)), active_ms=parse_time(day))
        for n, day in days.items()
    ]
    assert _retained(candidates, daily=3) == {5, 4, 2}
    assert _retained(candidates, daily="all") == {5, 4, 2, 1}


# -- the calendar --------------------------------------------------------------------------------

CALENDARS = {
    "days end at midnight": (
        "UTC",
        {"daily": 2},
        ["2026-03-03T00:00:00Z", "2026-03-02T23:59:59.999Z", "2026-03-02T00:00:00Z", "2026-03-01"],
        [0, 1],
    ),
    "days without anything use up none": (
        "UTC",
        {"daily": 3},
        ["2026-03-09", "2026-02-01T08:00:00Z", "2026-02-01", "2025-07-07", "2024-01-01"],
        [0, 1, 3],
    ),
    "the oldest stays while some are left": (
        "UTC",
        {"daily": 3},
        ["2026-03-09T12:00:00Z", "2026-03-08T12:00:00Z", "2026-03-08T11:00:00Z", "2026-03-08"],
        [0, 1, 3],
    ),
    "the oldest goes when none is left": (
        "UTC",
        {"daily": 2},
        ["2026-03-09T12:00:00Z", "2026-03-08T12:00:00Z", "2026-03-08T11:00:00Z", "2026-03-08"],
        [0, 1],
    ),
    "all days keep the oldest, too": (
        "UTC",
        {"daily": "all"},
        ["2026-03-09T12:00:00Z", "2026-03-08T12:00:00Z", "2026-03-08T11:00:00Z", "2026-03-08"],
        [0, 1, 3],
    ),
    "the day on which Berlin has 23 hours": (
        "Europe/Berlin",
        {"daily": 3},
        [
            *("2026-03-30T00:00:00+02:00", "2026-03-29T23:59:59.999+02:00"),
            *("2026-03-29T03:00:00+02:00", "2026-03-29T01:59:59.999+01:00"),
            *("2026-03-29T00:00:00+01:00", "2026-03-28T23:59:59.999+01:00", "2026-03-27"),
        ],
        [0, 1, 5],
    ),
    "the same moments in UTC": (
        "UTC",
        {"daily": 3},
        [
            *("2026-03-30T00:00:00+02:00", "2026-03-29T23:59:59.999+02:00"),
            *("2026-03-29T03:00:00+02:00", "2026-03-29T01:59:59.999+01:00"),
            *("2026-03-29T00:00:00+01:00", "2026-03-28T23:59:59.999+01:00", "2026-03-27"),
        ],
        [0, 4, 6],
    ),
    "the day on which Berlin has 25 hours": (
        "Europe/Berlin",
        {"daily": 2},
        [
            *("2025-10-26T23:59:59.999+01:00", "2025-10-26T02:30:00+01:00"),
            *("2025-10-26T02:30:00+02:00", "2025-10-26T00:00:00+02:00"),
            *("2025-10-25T23:59:59.999+02:00", "2025-10-25T22:00:00+02:00"),
        ],
        [0, 4],
    ),
    "New York's evening is the day before in UTC": (
        "America/New_York",
        {"daily": 2},
        ["2026-03-09T03:30:00Z", "2026-03-08T05:00:00Z", "2026-03-08T04:59:59.999Z", "2026-03-06"],
        [0, 2],
    ),
    "the leap day is a day of February": (
        "UTC",
        {"monthly": 2},
        ["2024-03-01", "2024-02-29T23:59:59.999Z", "2024-02-29", "2024-02-28", "2024-01-31"],
        [0, 1],
    ),
    "the leap day is a day of its own": (
        "UTC",
        {"daily": 3},
        ["2024-03-01", "2024-02-29T23:59:59.999Z", "2024-02-29", "2024-02-28", "2024-02-27"],
        [0, 1, 3],
    ),
    "1 January 2021 is in week 53 of 2020": (
        "UTC",
        {"weekly": 2},
        ["2021-01-04", "2021-01-03T23:59:59.999Z", "2021-01-01", "2020-12-28", "2020-12-27"],
        [0, 1],
    ),
    "30 December 2024 is in week 1 of 2025": (
        "UTC",
        {"weekly": 2},
        ["2025-01-05", "2025-01-01", "2024-12-30", "2024-12-29", "2024-12-23", "2024-12-22"],
        [0, 3],
    ),
    "week 1 of one year is not that of another": (
        "UTC",
        {"weekly": 2},
        ["2026-01-02", "2025-01-02", "2024-01-02"],
        [0, 1],
    ),
    "weeks begin on Monday": (
        "UTC",
        {"weekly": 2},
        ["2026-11-23", "2026-11-22T23:59:59.999Z", "2026-11-16", "2026-11-15T23:59:59.999Z"],
        [0, 1],
    ),
    "June of one year is not that of another": (
        "UTC",
        {"monthly": 2},
        ["2026-06-02", "2025-06-02", "2024-06-02"],
        [0, 1],
    ),
    "years end where the zone is": (
        "Pacific/Auckland",
        {"yearly": 2},
        ["2025-12-31T11:00:00Z", "2025-12-31T10:59:59.999Z", "2025-06-01", "2024-06-01"],
        [0, 1],
    ),
    "years without anything use up none": (
        "UTC",
        {"yearly": 3},
        ["2026-01-01", "2021-06-01", "2021-01-01", "2016-02-29", "2015-01-01"],
        [0, 1, 3],
    ),
    "weeks in a zone west of UTC": (
        "America/New_York",
        {"weekly": 2},
        ["2021-01-05", "2021-01-04T04:59:59.999Z", "2020-12-28T05:00:00Z", "2020-12-28"],
        [0, 1],
    ),
}


@pytest.mark.parametrize(
    ("zone", "rules", "times", "wanted"), CALENDARS.values(), ids=CALENDARS.keys()
)
def test_the_newest_of_each_bucket_is_retained(zone, rules, times, wanted):
    """Starts from the newest to the oldest, and the places of those that stay."""
    assert [times.index(text) for text in _times_retained(times, zone, **rules)] == wanted


@pytest.mark.parametrize("name", CALENDAR)
def test_the_newest_of_all_is_always_kept(name):
    assert _retained(RUNS, **{name: 1}) == {"e"}


def test_of_one_moment_the_highest_id_is_retained():
    """Runs of one start are ordered by id, so that the same one stays every time."""
    twins = [_run(key, "2026-03-03") for key in "bcad"]
    assert _retained(twins, daily=1) == {"d"}
    # The last of them by id is the oldest.
    assert _retained(twins, daily=2) == {"d", "a"}


# -- within --------------------------------------------------------------------------------------


@pytest.mark.parametrize("within", ["1s", "1m", "1h", "1d", "60d"])
def test_within_includes_its_first_moment(within):
    ages = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": DAY_MS}
    age = int(within[:-1]) * ages[within[-1]]
    times = {"before": AS_OF - age - 1, "first": AS_OF - age, "after": AS_OF - age + 1}
    assert _retained([_run(k, ms) for k, ms in times.items()], within=within) == {"first", "after"}


def test_within_counts_from_the_last_activity_and_includes_what_lies_ahead():
    """A run that started long ago and logged yesterday was active."""
    long_ago = AS_OF - 900 * DAY_MS
    candidates = [
        Candidate("resumed", long_ago, (long_ago, "a"), AS_OF - DAY_MS),
        Candidate("quiet", long_ago, (long_ago, "b"), long_ago),
        Candidate("ahead", AS_OF + 1, (AS_OF + 1, "c"), AS_OF + 1),
    ]
    assert _retained(candidates, within="2d") == {"resumed", "ahead"}


# -- best ----------------------------------------------------------------------------------------

BEST: dict[str, tuple[dict[str, float], str, int, str]] = {
    "the highest": ({"a": 1.0, "b": 3.0, "c": 2.0}, "max", 1, "b"),
    "the lowest": ({"a": 1.0, "b": 3.0, "c": 2.0}, "min", 1, "a"),
    "two": ({"a": 1.0, "b": 3.0, "c": 2.0}, "max", 2, "bc"),
    "more than there are": ({"a": 1.0, "b": 3.0}, "min", 9, "ab"),
    "ties with the last stay": ({"a": 1.0, "b": 3.0, "c": 3.0, "d": 3.0}, "max", 2, "bcd"),
    "ties with the first take places": ({"a": 1.0, "b": 3.0, "c": 3.0, "d": 2.0}, "max", 2, "bc"),
    "ties of the lowest": ({"a": 0.5, "b": 0.5, "c": 0.6, "d": 0.6}, "min", 3, "abcd"),
    "NaN is never the highest": ({"a": NAN, "b": 1.0, "c": 2.0}, "max", 2, "bc"),
    "NaN is never the lowest": ({"a": NAN, "b": 1.0, "c": 2.0}, "min", 1, "b"),
    "NaN takes no place": ({"a": NAN, "b": NAN, "c": 2.0}, "max", 2, "c"),
    "NaN alone": ({"a": NAN, "b": NAN}, "max", 2, ""),
    "infinity is the highest": ({"a": INF, "b": 1.0, "c": -INF}, "max", 1, "a"),
    "infinity is the lowest": ({"a": INF, "b": 1.0, "c": -INF}, "min", 1, "c"),
    "infinity is a number at the end, too": ({"a": -INF, "b": 1.0, "c": NAN}, "max", 2, "ab"),
    "infinities tie": ({"a": INF, "b": INF, "c": 1.0}, "max", 1, "ab"),
    "zero has one value": ({"a": 0.0, "b": -0.0, "c": -1.0}, "max", 1, "ab"),
    "values a hair apart": ({"a": 1.0, "b": math.nextafter(1.0, 2.0)}, "max", 1, "b"),
    "tiny and huge": ({"a": 5e-324, "b": 0.0, "c": -1.7e308}, "min", 2, "cb"),
    "nobody has it": ({}, "max", 1, ""),
}


@pytest.mark.parametrize(("values", "mode", "count", "wanted"), BEST.values(), ids=BEST.keys())
def test_best(values, mode, count, wanted):
    """``z`` has another metric only, ``y`` none: neither is ever among the best."""
    candidates = [
        _run(key, number, auc=value) for number, (key, value) in enumerate(values.items())
    ]
    candidates += [_run("z", 90, loss=99.0), _run("y", 91)]
    for order in _orders(candidates):
        rule = {"metric": "auc", "mode": mode, "count": count}
        assert _retained(order, best=rule) == set(wanted)


def test_several_metrics_keep_the_best_of_each():
    candidates = [
        _run("a", 1, auc=0.9, loss=0.9),
        _run("b", 2, auc=0.8, loss=0.1),
        _run("c", 3, auc=0.7, loss=0.8),
    ]
    auc = {"metric": "auc", "mode": "max", "count": 1}
    loss = {"metric": "loss", "mode": "min", "count": 1}
    assert _retained(candidates, best=[auc, loss]) == {"a", "b"}
    assert _retained(candidates, best=[auc]) == _retained(candidates, best=auc) == {"a"}
    assert _retained(candidates, best=[{**loss, "mode": "max"}, auc]) == {"a"}


def test_best_does_nothing_without_metrics():
    """Versions have none."""
    assert _retained(RUNS, best={"metric": "auc", "mode": "max", "count": 5}) == set()


# -- all together --------------------------------------------------------------------------------


def test_rules_are_ored_and_each_says_why():
    """What one keeps is kept; all that do are named, in a fixed order."""
    candidates = [
        _run("new", "2026-04-30T12:00:00Z", auc=0.5),
        _run("same day", "2026-04-30T11:00:00Z", auc=0.9),
        _run("march", "2026-03-02", auc=0.9),
        _run("older", "2026-03-01", auc=0.1),
        _run("oldest", "2025-12-31", auc=0.1),
    ]
    rules = _keep(
        last=1,
        daily=1,
        weekly=1,
        monthly=2,
        yearly=2,
        within="1d",
        best={"metric": "auc", "mode": "max", "count": 1},
    )
    for order in _orders(candidates):
        found = winners(list(order), rules, as_of_ms=AS_OF, zone=timezone.utc)
        assert {key: [rule for rule, _ in rules] for key, rules in found.items()} == {
            "new": ["last", "daily", "weekly", "monthly", "yearly", "within"],
            "same day": ["within", "best"],
            "march": ["monthly", "best"],
            "oldest": ["yearly"],
        }
    assert dict(found["new"]) == {
        "last": "one of the newest 1",
        "daily": "day 2026-04-30",
        "weekly": "week 2026-W18",
        "monthly": "month 2026-04",
        "yearly": "year 2026",
        "within": "active within 1d",
    }
    assert dict(found["march"])["best"] == "max auc, one of the best 1"


def test_the_words_tell_when_it_is_only_the_oldest():
    candidates = _at("2026-03-03T02:00:00Z", "2026-03-03T01:00:00Z")
    found = winners(candidates, _keep(daily=2), as_of_ms=AS_OF, zone=timezone.utc)
    assert list(found.values()) == [
        [("daily", "day 2026-03-03")],
        [("daily", "oldest, while daily is not used up")],
    ]


# Minutes to years apart, some at the same moment.
_moments = st.one_of(
    st.sampled_from([0, 1, 59_999, 60_000, DAY_MS - 1, DAY_MS, 7 * DAY_MS, 366 * DAY_MS]),
    st.integers(0, 900 * DAY_MS),
).map(lambda age: AS_OF - age)
_values = st.sampled_from([0.0, 0.5, 0.9, 1.0, INF, -INF, NAN])
_groups = st.lists(
    st.tuples(_moments, st.dictionaries(st.sampled_from(["auc", "loss"]), _values)), max_size=12
).map(lambda found: [_run(str(n), ms, **metrics) for n, (ms, metrics) in enumerate(found)])
_zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland"])


@given(_groups, _zones, st.sampled_from(["last", *CALENDAR]), st.integers(1, 14))
def test_a_larger_count_keeps_all_that_a_smaller_one_does(candidates, zone, rule, count):
    smaller = _retained(candidates, zone=ZoneInfo(zone), **{rule: count})
    larger = _retained(candidates, zone=ZoneInfo(zone), **{rule: count + 1})
    everything = _retained(candidates, zone=ZoneInfo(zone), **{rule: "all"})
    assert smaller <= larger <= everything
    assert len(smaller) <= count
    assert rule != "last" or len(smaller) == min(count, len(candidates))
    assert bool(smaller) == bool(candidates)


@given(_groups, st.sampled_from(["max", "min"]), st.integers(1, 5))
def test_the_best_are_not_beaten_by_any_that_is_deleted(candidates, mode, count):
    """As many as asked for, if there are so many with a number; and nobody better is left out."""
    found = _retained(candidates, best={"metric": "auc", "mode": mode, "count": count})
    values = {m.key: dict(m.metrics)["auc"] for m in candidates if "auc" in dict(m.metrics)}
    numbers = {key: value for key, value in values.items() if value == value}  # noqa: PLR0124
    assert found <= set(numbers)
    assert len(found) >= min(count, len(numbers))
    sign = 1 if mode == "max" else -1
    for key in set(numbers) - found:
        better = [k for k in numbers if sign * numbers[k] > sign * numbers[key]]
        assert len(better) >= count


@given(_groups, _zones, st.permutations(["last", *CALENDAR]), st.integers(1, 4))
def test_two_rules_keep_what_either_does(candidates, zone, names, count):
    one, two = {names[0]: count}, {names[1]: 2}
    at = ZoneInfo(zone)
    assert _retained(candidates, zone=at, **one, **two) == (
        _retained(candidates, zone=at, **one) | _retained(candidates, zone=at, **two)
    )


# -- as documents --------------------------------------------------------------------------------

_counts = st.one_of(st.integers(1, 10**6), st.just("all"))
keeps = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(["last", *CALENDAR], _counts),
        "within": st.tuples(st.integers(1, 999), st.sampled_from("smhdw")).map(
            lambda t: f"{t[0]}{t[1]}"
        ),
        "best": st.lists(
            st.fixed_dictionaries(
                {
                    "metric": st.sampled_from(["auc", "val/loss", "größe"]),
                    "mode": st.sampled_from(["max", "min"]),
                    "count": st.integers(1, 99),
                }
            ),
            min_size=1,
            max_size=3,
        ),
    },
)


@given(keeps)
def test_a_document_says_all_of_it(document):
    """What a plan holds is what the policy file said, and is read back the same."""
    keep = Keep.from_document(document)
    written = keep.to_document()
    assert Keep.from_document(written) == keep
    assert set(written) == set(document)
    assert {k: v for k, v in written.items() if k != "within"} == {
        k: v for k, v in document.items() if k != "within"
    }
    assert keep.is_empty == (not document)
    assert keep.needs_group == bool(set(document) - {"within"})


def test_one_best_may_stand_without_a_list():
    output = {"metric": "auc", "mode": "max", "count": 3}
    assert Keep.from_document({"best": output}).best == (Best("auc", "max", 3),)
