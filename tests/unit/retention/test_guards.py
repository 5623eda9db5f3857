"""Guards: exact arithmetic at the border, for every key, and never stricter for a larger limit."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from unit import worlds
from unit.worlds import (
    AS_OF,
    NEW,
    POLICY,
    RUN_IDS,
    a_model,
    a_run,
    a_version,
    an_experiment,
    inventory,
    plan_of,
)

from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.kinds import kinds_of
from mlflow_gc.domain.reasons import Reason
from mlflow_gc.domain.timestamps import DAY_MS
from mlflow_gc.plan.builder import GUARD
from mlflow_gc.retention.decision import FRESH, Decisions, delete, protect
from mlflow_gc.retention.engine import decide
from mlflow_gc.retention.guards import Share, Tally, exceeded, tally
from mlflow_gc.retention.policy import Guards

KINDS = kinds_of({})

KEYS = ("total", *KINDS)
GROUPS = {"experiment": "experiments", "registered_model": "registered_models"}
HUGE = 10**15


def _tally(key: str, deleted: int, existing: int) -> Tally:
    """A tally in which one key alone has numbers."""
    none = dict.fromkeys(KINDS, Share(0, 0))
    if key in GROUPS:
        return Tally(none, **{GROUPS[key]: {"7": Share(deleted, existing)}})
    return Tally({**none, ("runs" if key == "total" else key): Share(deleted, existing)})


def _deletions(key: str, most: int, found: Tally) -> list[str]:
    return list(exceeded(Guards(max_deletions={key: most}), found))


def _share(key: str, percent: int, found: Tally) -> list[str]:
    return list(exceeded(Guards(max_share_percent={key: percent}), found))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("deleted", "most", "trips"),
    [
        (0, 0, False),
        (1, 0, True),
        (1, 1, False),
        (2, 1, True),
        (5000, 5000, False),
        (5001, 5000, True),
        (HUGE, HUGE, False),
        (HUGE + 1, HUGE, True),
        (0, 5, False),
    ],
)
def test_at_most_so_many(key, deleted, most, trips):
    """As many as allowed pass, one more trips; 0 means none."""
    assert bool(_deletions(key, most, _tally(key, deleted, deleted + 10))) is trips


@pytest.mark.parametrize("key", [*KEYS, *GROUPS])
@pytest.mark.parametrize(
    ("deleted", "existing", "percent", "trips"),
    [
        (1, 3, 33, True),  # 33.33 %
        (1, 3, 34, False),
        (2, 3, 66, True),
        (2, 3, 67, False),
        (30, 100, 30, False),
        (31, 100, 30, True),
        (29, 97, 29, True),  # 29.9 %
        (0, 0, 0, False),
        (0, 10, 0, False),
        (1, 10**9, 0, True),
        (1, 1, 99, True),
        (1, 1, 100, False),
        (10, 10, 100, False),
        # In floating point these are 33.0 % and 50.0 %.
        (33 * HUGE + 1, 100 * HUGE, 33, True),
        (33 * HUGE, 100 * HUGE, 33, False),
        (50 * 10**17 + 1, 10**19, 50, True),
    ],
)
def test_at_most_such_a_share(key, deleted, existing, percent, trips):
    """Exact: 1 of 3 is more than 33 %; nothing of nothing is no share at all."""
    assert bool(_share(key, percent, _tally(key, deleted, existing))) is trips


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 100))
def test_a_share_is_compared_as_a_fraction(deleted, others, percent):
    existing = deleted + others
    assume(existing)
    more = Fraction(deleted, existing) > Fraction(percent, 100)
    assert Share(deleted, existing).exceeds(percent) is more


@pytest.mark.parametrize("kind", KINDS)
def test_a_guard_counts_its_own_kind_only(kind):
    """Two others may lose everything."""
    found = Tally({k: Share(0, 9) if k == kind else Share(9, 9) for k in KINDS})
    assert not _deletions(kind, 0, found)
    assert not _share(kind, 0, found)
    for other in set(KINDS) - {kind}:
        assert _deletions(other, 8, found)
        assert _share(other, 99, found)


def test_the_total_is_of_all_kinds_together():
    """3 of 4 runs alone would trip; of all 12 entities they are 25 %."""
    found = Tally({"experiments": Share(0, 4), "runs": Share(3, 4), "model_versions": Share(0, 4)})
    assert found.total == Share(3, 12)
    assert not _share("total", 25, found)
    assert _share("total", 24, found)
    assert _share("runs", 74, found)
    each = Tally(dict.fromkeys(KINDS, Share(1, 5)))
    assert not _deletions("total", len(KINDS), each)
    assert _deletions("total", len(KINDS) - 1, each)


@pytest.mark.parametrize("key", GROUPS)
def test_a_group_trips_alone(key):
    """One experiment that loses too much is enough, whatever the rest of the server loses."""
    groups = {"1": Share(0, 1000), "2": Share(1, 2), "3": Share(9, 10)}
    found = Tally(dict.fromkeys(KINDS, Share(10, 1012)), **{GROUPS[key]: groups})
    assert not _share(key, 90, found)
    (output,) = _share(key, 89, found)
    assert "9 of its 10" in output
    assert len(_share(key, 49, found)) == 2


def test_many_groups_are_counted_not_listed():
    """Three by name, the rest as a number."""
    groups = {str(n): Share(1, 1) for n in range(8)}
    output = _share("experiment", 50, Tally(dict.fromkeys(KINDS, Share(0, 0)), experiments=groups))
    assert len(output) == 4
    assert "5 more" in output[-1]
    exactly_three = dict(list(groups.items())[:3])
    found = Tally(dict.fromkeys(KINDS, Share(0, 0)), experiments=exactly_three)
    assert not any("more lose" in words for words in _share("experiment", 50, found))


def test_without_guards_nothing_trips():
    """A guard that is not there sets no limit, an empty mapping is none."""
    found = Tally(dict.fromkeys(KINDS, Share(HUGE, HUGE)), {"1": Share(9, 9)}, {"m": Share(9, 9)})
    assert not list(exceeded(Guards(), found))
    assert not list(exceeded(Guards({}, {}), found))


@pytest.mark.parametrize("key", KEYS)
def test_the_words_name_the_guard_and_the_numbers(key):
    found = _tally(key, 1234, 5678)
    (words,) = _deletions(key, 1000, found)
    assert words.startswith(f"guards.max_deletions.{key}: ")
    assert re.findall(r"[\d,]+\d", words) == ["1,234", "1,000"]
    (words,) = _share(key, 20, found)
    assert words.startswith(f"guards.max_share.{key}: ")
    assert re.findall(r"[\d,]*\d", words) == ["1,234", "5,678", "20"]


_shares = st.builds(
    lambda deleted, others: Share(deleted, deleted + others), st.integers(0, 40), st.integers(0, 40)
)
_groups = st.dictionaries(st.sampled_from("abcdef"), _shares, max_size=6)
_tallies = st.builds(
    Tally, st.fixed_dictionaries(dict.fromkeys(KINDS, _shares)), experiments=_groups,
    registered_models=_groups,
)  # fmt: skip
_guards = st.builds(
    Guards,
    st.dictionaries(st.sampled_from(KEYS), st.integers(0, 50)),
    st.dictionaries(st.sampled_from([*KEYS, *GROUPS]), st.integers(0, 100)),
)


def _names(guards: Guards, found: Tally) -> set[str]:
    return {words.split(":", 1)[0] for words in exceeded(guards, found)}


@given(_tallies, _guards, st.data())
def test_a_larger_limit_never_trips_more(found, guards, data):
    def raised(limits, most):
        return {
            key: data.draw(st.integers(limit, most), label=key) for key, limit in limits.items()
        }

    laxer = Guards(raised(guards.max_deletions, 60), raised(guards.max_share_percent, 100))
    assert _names(laxer, found) <= _names(guards, found)


@given(_tallies, _guards, st.data())
def test_deleting_fewer_never_trips_more(found, guards, data):
    def fewer(shares):
        return {
            key: replace(share, deleted=data.draw(st.integers(0, share.deleted)))
            for key, share in shares.items()
        }

    less = Tally(fewer(found.kinds), fewer(found.experiments), fewer(found.registered_models))
    assert _names(guards, less) <= _names(guards, found)


@given(_tallies, _guards)
def test_without_a_guard_only_its_own_words_are_missing(found, guards):
    """No guard depends on another one."""
    output = list(exceeded(guards, found))
    for key in guards.max_deletions:
        rest = {k: v for k, v in guards.max_deletions.items() if k != key}
        left = list(exceeded(replace(guards, max_deletions=rest), found))
        assert left == [w for w in output if not w.startswith(f"guards.max_deletions.{key}:")]
    for key in guards.max_share_percent:
        rest = {k: v for k, v in guards.max_share_percent.items() if k != key}
        left = list(exceeded(replace(guards, max_share_percent=rest), found))
        assert left == [w for w in output if not w.startswith(f"guards.max_share.{key}:")]


# -- what is counted ---------------------------------------------------------------------------


def test_deleted_counts_deletions_and_existing_all_decisions():
    """Fresh and protected entities exist; they count in the whole, and nothing else does.

    Of registered models only those without versions are decided over, and all count.
    """
    retained, gone = protect(Reason.KEEP_TAG, "x"), delete("old")
    found = inventory(
        a_run(RUN_IDS[0], experiment_id="1"),
        a_run(RUN_IDS[1], experiment_id="1"),
        a_run(RUN_IDS[2], experiment_id="2"),
        *map(a_model, ("m", "n", "empty")),
    )
    decisions = Decisions(
        experiments={"1": retained, "2": gone, "3": FRESH},
        runs={RUN_IDS[0]: gone, RUN_IDS[1]: FRESH, RUN_IDS[2]: gone},
        model_versions={("m", "1"): gone, ("m", "2"): retained, ("n", "1"): FRESH},
        registered_models={"empty": gone},
    )
    assert tally(found, decisions) == Tally(
        kinds={
            "experiments": Share(1, 3),
            "runs": Share(2, 3),
            "model_versions": Share(1, 3),
            "registered_models": Share(1, 3),
        },
        experiments={"1": Share(1, 2), "2": Share(1, 1)},
        registered_models={"m": Share(1, 2), "n": Share(0, 1)},
    )


def test_the_trash_does_not_count_as_existing():
    """Active entities only: otherwise a full trash would hide a large share."""
    found = inventory(
        an_experiment("1"),
        an_experiment("2", lifecycle_stage="deleted"),
        a_run(RUN_IDS[0]),
        a_run(RUN_IDS[1], lifecycle_stage="deleted"),
    )
    counted = tally(found, decide(found, POLICY))
    assert counted.kinds["runs"] == Share(1, 1)
    assert counted.kinds["experiments"] == Share(1, 1)
    assert counted.experiments == {"1": Share(1, 1)}


def test_an_experiment_that_is_deleted_as_a_whole_loses_all():
    """100 %, which a guard of 90 % does not allow."""
    found = inventory(an_experiment("1"), *(a_run(r) for r in RUN_IDS[:4]))
    counted = tally(found, decide(found, POLICY))
    assert _share("experiment", 99, counted)
    assert not _share("experiment", 100, counted)


@given(worlds.inventories())
def test_the_tally_agrees_with_the_plan(found: Inventory):
    """The numbers of the guards are the numbers people read in the summary."""
    plan = plan_of(found)
    counted = tally(found, decide(found, POLICY))
    for kind in KINDS:
        summary = plan["summary"][kind]
        assert counted.kinds[kind].deleted == summary["delete"]
        if kind != "registered_models":
            assert counted.kinds[kind].existing == summary["scanned"]
    assert sum(s.deleted for s in counted.experiments.values()) == len(plan["runs"])
    assert (
        sum(s.existing for s in counted.experiments.values()) == plan["summary"]["runs"]["scanned"]
    )
    assert sum(s.deleted for s in counted.registered_models.values()) == len(plan["model_versions"])


@given(worlds.inventories(), st.sampled_from(list(KINDS)))
def test_zero_means_that_a_plan_with_a_deletion_cannot_be_applied(found, kind):
    """And one without any can, as far as the guard goes."""
    policy = replace(POLICY, guards=Guards(max_deletions={kind: 0}))
    plan = plan_of(found, policy)
    codes = [d["code"] for d in plan["diagnostics"]]
    assert (GUARD in codes) == bool(plan[kind])
    assert plan["applyable"] == (not plan[kind])


def test_an_exceeded_guard_changes_nothing_but_applyable_and_diagnostics():
    """A guard is a stop, not a filter."""
    found = inventory(an_experiment(), a_run(), a_model(), a_version("1"), a_version("2"))
    free = plan_of(found)
    guards = Guards(max_deletions={"total": 1}, max_share_percent={"runs": 50})
    stopped = plan_of(found, replace(POLICY, guards=guards))
    assert free["applyable"]
    assert not stopped["applyable"]
    assert stopped["complete"]
    assert [d["code"] for d in stopped["diagnostics"]] == [GUARD, GUARD]
    different = {key for key in free if free[key] != stopped[key]}
    assert different - {"created_at"} == {"plan_id", "policy", "applyable", "diagnostics"}


def test_a_guard_that_holds_leaves_no_trace_but_in_the_policy():
    found = inventory(
        an_experiment(), a_run(RUN_IDS[0]), a_run(RUN_IDS[1], start_time=NEW, end_time=NEW)
    )
    guards = Guards({"runs": 1}, {"runs": 50, "experiment": 50})
    plan = plan_of(found, replace(POLICY, guards=guards))
    assert plan["applyable"]
    assert plan["diagnostics"] == []
    assert plan["policy"]["guards"] == {
        "max_deletions": {"runs": 1},
        "max_share_percent": {"experiment": 50, "runs": 50},
    }


def test_a_forecast_that_trips_a_guard_says_both():
    """An ``as_of`` ahead is where guards are most useful."""
    future = replace(
        POLICY, as_of_ms=AS_OF + 100_000 * DAY_MS, guards=Guards(max_deletions={"runs": 0})
    )
    plan = plan_of(inventory(an_experiment(), a_run()), future)
    assert not plan["applyable"]
    assert {d["code"] for d in plan["diagnostics"]} == {"forecast", GUARD}
