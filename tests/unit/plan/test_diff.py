from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from unit import worlds
from unit.worlds import POLICY, RUN_IDS, a_model, a_run, a_version, an_experiment

from mlflow_gc.clock import DAY_MS
from mlflow_gc.plan import schema
from mlflow_gc.plan.diff import diff_plans
from mlflow_gc.plan.verify import KINDS, identify
from mlflow_gc.retention.keep import Keep
from mlflow_gc.retention.rules import Rule, Selector

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


def test_rules_are_compared_by_name_and_order() -> None:
    """One line for each thing that a reviewer has to know, not two lists to compare by eye."""
    rules = [
        Rule("sandboxes", Selector(experiment="sandbox/*"), ttl_ms=7 * DAY_MS),
        Rule("production", Selector(experiment="prod/*"), ttl_ms=None),
        Rule("old one", Selector(user="ada")),
    ]
    shorter = replace(rules[0], ttl_ms=3 * DAY_MS)
    new = Rule("new one", Selector(model="m"), keep=Keep(last=3))
    base = _plan(policy=replace(POLICY, rules=tuple(rules)))
    head = _plan(policy=replace(POLICY, rules=(rules[1], shorter, new)))
    found = {
        field["field"]: (field["old"], field["new"]) for field in diff_plans(base, head)["policy"]
    }
    assert found.pop("rules order") == (["sandboxes", "production"], ["production", "sandboxes"])
    assert found.pop("rules.sandboxes.ttl") == ("7d", "3d")
    assert found.pop("rules.old one")[1] is None
    assert found.pop("rules.new one")[0] is None
    assert found == {}
