from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from unit import worlds
from unit.worlds import POLICY, RUN_IDS, a_model, a_run, a_version, an_experiment

from mlflow_gc.plan import schema
from mlflow_gc.plan.diff import diff_plans
from mlflow_gc.plan.verify import KINDS, identify
from mlflow_gc.retention.rules import Rule

ONE = RUN_IDS[0]


def _plan(*entities, policy=POLICY):
    return worlds.plan_of(worlds.inventory(*entities), policy)


@given(worlds.inventories(), worlds.inventories())
def test_added_and_removed_turn_one_list_into_the_other(before, after):
    base, head = worlds.plan_of(before), worlds.plan_of(after)
    diff = diff_plans(base, head)
    assert schema.problems(diff, "diff") == []
    for kind in KINDS:
        ids = {identify(kind, e) for e in base[kind]}
        ids |= {e["id"] for e in diff[kind]["added"]}
        ids -= {e["id"] for e in diff[kind]["removed"]}
        assert ids == {identify(kind, e) for e in head[kind]}
    back = diff_plans(head, base)
    assert back["different"] == diff["different"]
    if not diff["different"]:
        assert all(base[kind] == head[kind] for kind in KINDS)


def test_the_same_state_a_day_later_does_not_differ():
    world = (an_experiment(), a_run(), a_model(), a_version("1"), a_version("2"))
    later = replace(POLICY, as_of_ms=POLICY.as_of_ms + 86_400_000)
    assert diff_plans(_plan(*world), _plan(*world, policy=later))["different"] is False


def test_words():
    base = _plan(an_experiment(), a_run(ONE))
    kept = _plan(an_experiment(), a_run(ONE, tags={"mlflow_gc.keep": "1"}))
    (removed,) = diff_plans(base, kept)["runs"]["removed"]
    assert removed["why"] == "now protected: keep_tag, tag mlflow_gc.keep=1"
    (added,) = diff_plans(kept, base)["runs"]["added"]
    assert added["why"] == "no longer protected (keep_tag)"
    (changed,) = diff_plans(base, _plan(an_experiment(), a_run(ONE, status="FAILED")))["runs"][
        "changed"
    ]
    assert {f["field"] for f in changed["fields"]} == {"status", "expect.status"}
    policy = diff_plans(base, _plan(policy=replace(POLICY, default=Rule.of_days(31))))["policy"]
    assert {"field": "ttl_days", "old": 30, "new": 31} in policy
