"""Tiles and charts say what the plan says."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from unit.busy_server import busy_plan
from unit.render.html.reading import read
from unit.worlds import AS_OF

from mlflow_gc.domain.quantities import number_of
from mlflow_gc.plan.statistics import AGE_BOUNDS_DAYS
from mlflow_gc.render.common.lines import listed
from mlflow_gc.render.common.plan_groups import percent
from mlflow_gc.render.html.ages import spans
from mlflow_gc.render.html.charts import Bar, Chart, segments
from mlflow_gc.render.html.entries import Fate, age_group, entries
from mlflow_gc.render.html.links import filter_link
from mlflow_gc.render.html.page import environment, show

PLAN = busy_plan(600, AS_OF)
FOUND = entries(PLAN)
PAGE = "".join(show(PLAN))


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [
        (0, 0, ""),
        (0, 9, "0 %"),
        (1, 1_000, "<1 %"),
        (1, 3, "33 %"),
        (999, 1_000, ">99 %"),
        (9, 9, "100 %"),
    ],
)
def test_a_share_is_never_nothing_or_all_unless_it_is(part, whole, words):
    assert percent(part, whole) == words


def test_words():
    assert number_of(1, "run", "runs") == "1 run"
    assert number_of(1_204, "run", "runs") == "1,204 runs"
    assert listed([]) == ""
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert filter_link(q="a&b=\u202e<", kind="run") == "#q=a%26b%3D%5Cu202e%3C&kind=run"


def test_what_cannot_be_undone_comes_first():
    fates = [entry.fate for entry in FOUND]
    assert fates == sorted(fates)
    assert fates.count(Fate.IRREVERSIBLE) == PLAN["summary"]["irreversible"]


def test_ages_are_counted_as_the_plan_counts_them():
    """From the entries alone come the same numbers as in ``statistics``."""
    for kind in ("experiment", "run", "model_version"):
        counts = Counter(
            age_group(entry.last_ms, AS_OF, AGE_BOUNDS_DAYS)
            for entry in FOUND
            if entry.kind == kind and entry.is_deleted
        )
        expected = PLAN["statistics"]["ages"][f"{kind}s"]["delete"]
        assert [counts[n] for n in range(len(expected))] == expected


def test_the_chart_of_ages_holds_every_number():
    runs = PLAN["statistics"]["ages"]["runs"]
    table = PAGE[PAGE.index("Runs by age") :]
    rows = re.findall(r'<th scope="row">([^<]+)</th>((?:<td class="number">[\d,]+</td>)+)', table)
    for n, (span, cells) in enumerate(rows[:7]):
        assert span == spans(AGE_BOUNDS_DAYS)[n]
        numbers = [int(c.replace(",", "")) for c in re.findall(r">([\d,]+)<", cells)]
        assert numbers == [runs["delete"][n], runs["protected"][n], runs["fresh"][n]]
    heights = [
        float(h) for h in re.findall(r'<rect class="deleted"[^>]* height="([\d.]+)"/></a>', PAGE)
    ]
    assert min(heights) > 1, "what is there can be seen"


def test_spans():
    assert spans((7, 30, 365, 730)) == [
        *("under 7 d", "7 d to 30 d", "30 d to 1 y", "1 y to 2 y", "over 2 y"),
        "unknown age",
    ]


def test_charts_count_the_entries():
    owners = Counter(run["user_id"] for run in PLAN["runs"])
    for owner, number in owners.items():
        assert f">{owner or 'not recorded'}</a>" in PAGE
        assert f'<td class="number">{number:,}</td>' in PAGE
    experiments = Counter(run["experiment_id"] for run in PLAN["runs"])
    own, number = experiments.most_common(1)[0]
    (share,) = [e for e in PLAN["statistics"]["by_experiment"] if e["experiment_id"] == own]
    total = share["delete"] + share["protected"] + share["fresh"]
    assert f"of {total:,} · {percent(number, total)}" in PAGE
    assert "What protects the others?" in PAGE


def test_bars_stay_inside_the_picture():
    parts = (("deleted", 10**9), ("irreversible", 1), ("protected", 1))
    for length in (1, 10**9):
        for _, start, width in segments(parts, length):
            assert width > 0.3
            assert start + width <= 100.01
    assert list(segments(parts, 0)) == list(segments((("deleted", 0),), 1)) == []


def test_a_long_chart_says_what_is_left_out():
    bars = [Bar(str(n), "#", 10, (("deleted", 10),)) for n in range(11)]
    draw = environment().get_template("charts.html").module
    assert "3 more with 30 in total" in draw.chart(Chart("t", "s", ("a", "b"), bars))


def test_tiles_say_what_the_summary_says():
    words = " ".join(" ".join(read(PLAN).words).split())
    for kind in ("runs", "experiments", "model_versions"):
        counts = PLAN["summary"][kind]
        assert f"{counts['delete']:,} to delete" in words
        share = percent(counts["delete"], counts["scanned"])
        share = f"{share} of " if share else ""
        assert f"{share}{counts['scanned']:,} scanned" in words
    assert f"{PLAN['summary']['irreversible']:,} irreversible" in words
