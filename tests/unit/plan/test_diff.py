from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from unit import worlds
from unit.worlds import POLICY, RUN_IDS, a_model, a_run, a_version, an_experiment

from mlflow_gc.domain.entities import Diagnostic
from mlflow_gc.domain.kinds import kinds_of
from mlflow_gc.domain.timestamps import DAY_MS
from mlflow_gc.plan import schema
from mlflow_gc.plan.diff import diff_plans
from mlflow_gc.retention.keep_rules import Keep
from mlflow_gc.retention.policy import Guards
from mlflow_gc.retention.rules import Rule, Selector

KINDS = kinds_of({})

ONE, TWO, THREE = RUN_IDS[:3]


def _plan(*entities, policy=POLICY):
    return worlds.plan_of(worlds.inventory(*entities), policy)


def _ids(entities):
    return {entity["id"] for entity in entities}


@given(worlds.inventories(), worlds.inventories())
def test_added_and_removed_turn_one_list_into_the_other(before, after):
    base, head = worlds.plan_of(before), worlds.plan_of(after)
    diff = diff_plans(base, head)
    assert schema.problems(diff, "diff") == []
    for kind in KINDS:
        ids = {KINDS[kind].id_of(e) for e in base[kind]}
        ids -= _ids(diff[kind]["removed"])
        ids |= _ids(diff[kind]["added"])
        assert ids == {KINDS[kind].id_of(e) for e in head[kind]}
        assert _ids(diff[kind]["changed"]) <= ids - _ids(diff[kind]["added"])
        counts = diff["summary"][kind]
        assert counts["base"] - counts["removed"] + counts["added"] == counts["head"]
        of_kind = diff["protected"][kind]
        retained = {KINDS[kind].id_of(e) for e in base["protected"][kind]} - _ids(
            of_kind["removed"]
        )
        planned = {KINDS[kind].id_of(e) for plan in (base, head) for e in plan[kind]}
        retained_after = {KINDS[kind].id_of(e) for e in head["protected"][kind]}
        assert (retained | _ids(of_kind["added"])) - planned == retained_after - planned


@given(worlds.inventories())
def test_a_plan_does_not_differ_from_itself(found):
    plan = worlds.plan_of(found)
    diff = diff_plans(plan, plan)
    assert diff["different"] is False
    assert not any(lists for kind in KINDS for lists in diff[kind].values())


@given(worlds.inventories(), worlds.inventories())
def test_the_way_back_is_the_mirror_image(before, after):
    """What was added is removed, what was old is new, and a category has its counterpart."""
    base, head = worlds.plan_of(before), worlds.plan_of(after)
    forth, back = diff_plans(base, head), diff_plans(head, base)
    assert forth["different"] == back["different"]
    if not forth["different"]:
        assert all(base[kind] == head[kind] for kind in KINDS)
    for kind in KINDS:
        assert _categories(forth[kind]["added"]) == _mirrored(back[kind]["removed"])
        assert _categories(back[kind]["added"]) == _mirrored(forth[kind]["removed"])
        assert _turned(forth[kind]["changed"]) == {
            (e["id"], f["field"], str(f["old"]), str(f["new"]))
            for e in back[kind]["changed"]
            for f in e["fields"]
        }
        for one, other in (("added", "removed"), ("changed", "changed")):
            of_kind = forth["protected"][kind], back["protected"][kind]
            assert _ids(of_kind[0][one]) == _ids(of_kind[1][other])
    for part in ("server", "policy", "state"):
        assert {(f["field"], str(f["old"]), str(f["new"])) for f in forth[part]} == {
            (f["field"], str(f["new"]), str(f["old"])) for f in back[part]
        }
    assert forth["diagnostics"]["added"] == back["diagnostics"]["removed"]


def _categories(added):
    return {(e["id"], e["category"]) for e in added}


def _mirrored(removed):
    back = {"protection_gained": "protection_lost", "gone": "appeared", "another": "another"}
    return {(e["id"], back.get(e["category"], "became_stale")) for e in removed}


def _turned(changed):
    return {
        (e["id"], f["field"], str(f["new"]), str(f["old"])) for e in changed for f in e["fields"]
    }


def test_the_same_state_a_day_later_does_not_differ():
    """Though all words about ages do, and everything else is compared."""
    world = (an_experiment(), a_run(), a_model(), a_version("1"), a_version("2"))
    later = replace(POLICY, as_of_ms=POLICY.as_of_ms + 86_400_000)
    base, head = _plan(*world), _plan(*world, policy=later)
    assert base["runs"][0]["reasons"] != head["runs"][0]["reasons"]
    assert diff_plans(base, head)["different"] is False


def _one(entities):
    (entity,) = entities
    return entity


KEEP = {"mlflow_gc.keep": "1"}
FRESH_RUN = {"start_time": worlds.NEW, "end_time": worlds.NEW}


@pytest.mark.parametrize(
    ("before", "after", "category", "why"),
    [
        (
            [an_experiment(), a_run(ONE, tags=KEEP)],
            [an_experiment(), a_run(ONE)],
            "protection_lost",
            "no longer protected (keep_tag)",
        ),
        (
            # The other run of the experiment is fresh in both, so nobody knows about this one.
            [an_experiment(), a_run(TWO, **FRESH_RUN), a_run(ONE, **FRESH_RUN)],
            [an_experiment(), a_run(TWO, **FRESH_RUN), a_run(ONE)],
            "became_stale",
            "became stale",
        ),
        (
            # All runs of the experiment are listed.
            [an_experiment(), a_run(TWO)],
            [an_experiment(), a_run(TWO), a_run(ONE)],
            "appeared",
            "was not there, or in the trash",
        ),
    ],
    ids=["protection lost", "became stale", "appeared"],
)
def test_why_a_run_is_new(before, after, category, why):
    added = _one(diff_plans(_plan(*before), _plan(*after))["runs"]["added"])
    assert (added["id"], added["category"], added["why"]) == (ONE, category, why)
    assert added["reasons"] == ["FINISHED, no activity for 399 days"]
    if category == "protection_lost":
        assert added["protection"] == {"reason": "keep_tag", "via": ["tag mlflow_gc.keep=1"]}


@pytest.mark.parametrize(
    ("after", "category", "why"),
    [
        (
            [an_experiment(), a_run(TWO), a_run(ONE, tags=KEEP)],
            "protection_gained",
            "now protected: keep_tag, tag mlflow_gc.keep=1",
        ),
        ([an_experiment(), a_run(TWO)], "gone", "gone, or in the trash"),
        ([an_experiment(), a_run(TWO, tags=KEEP)], "gone", "gone, or in the trash"),
        (
            [an_experiment(), a_run(TWO), a_run(ONE, **FRESH_RUN)],
            "unknown",
            "no longer stale, or gone",
        ),
        # The same words for what is gone, where another run is fresh: the plan does not tell.
        ([an_experiment(), a_run(TWO, **FRESH_RUN)], "unknown", "no longer stale, or gone"),
        ([], "unknown", "no longer stale, or gone"),
    ],
)
def test_why_a_run_is_not_planned_any_more(after, category, why):
    base = _plan(an_experiment(), a_run(TWO), a_run(ONE))
    removed = diff_plans(base, _plan(*after))["runs"]["removed"]
    found = _one(entity for entity in removed if entity["id"] == ONE)
    assert (found["category"], found["why"]) == (category, why)


def test_an_incomplete_plan_tells_of_nothing_that_it_is_gone():
    """What a scan did not see may be there."""
    blind = (Diagnostic("x", "Blind.", blocks=True),)
    world = worlds.inventory(an_experiment(), a_run(TWO), diagnostics=blind)
    head = worlds.plan_of(world)
    assert head["complete"] is False
    diff = diff_plans(_plan(an_experiment(), a_run(TWO), a_run(ONE)), head)
    removed = _one(diff["runs"]["removed"])
    assert removed["category"] == "unknown"
    assert removed["why"] == "no longer stale, or gone (the scan was incomplete)"
    assert {"field": "complete", "old": True, "new": False} in diff["state"]
    assert diff["diagnostics"]["added"] == [{"code": "x", "message": "Blind."}]


def test_a_plan_without_statistics_tells_less():
    """Those of older versions have none."""
    base, head = (
        _plan(an_experiment(), a_run(TWO, tags=KEEP), a_run(ONE)),
        _plan(an_experiment(), a_run(TWO, tags=KEEP)),
    )
    assert _one(diff_plans(base, head)["runs"]["removed"])["category"] == "gone"
    del head["statistics"]
    assert _one(diff_plans(base, head)["runs"]["removed"])["category"] == "unknown"


def test_what_is_certain_about_an_experiment():
    base = _plan(an_experiment(), a_run(ONE))
    used = _plan(an_experiment(), a_run(ONE), a_run(TWO, **FRESH_RUN), a_run(THREE, **FRESH_RUN))
    removed = _one(diff_plans(base, used)["experiments"]["removed"])
    assert (removed["category"], removed["why"]) == ("in_use", "2 of its runs are not stale")
    # Under that id and another name it may be another one.
    renamed = _plan(an_experiment(name="x"), a_run(ONE), a_run(TWO, **FRESH_RUN))
    assert _one(diff_plans(base, renamed)["experiments"]["removed"])["category"] == "unknown"
    retained = _plan(an_experiment(name="x", tags=KEEP), a_run(ONE))
    removed = _one(diff_plans(base, retained)["experiments"]["removed"])
    assert removed["why"] == "now protected: keep_tag, tag mlflow_gc.keep=1, under the name x"


def test_what_is_certain_about_versions_and_models():
    versions = [a_version("1"), a_version("2"), a_version("3")]
    base = _plan(a_model(), *versions)
    assert len(base["model_versions"]) == 2
    gone = diff_plans(base, _plan(a_model(), *versions[1:]))["model_versions"]["removed"]
    assert _one(gone)["category"] == "gone"
    fresh = replace(versions[2], last_updated_timestamp=worlds.NEW)
    unknown = diff_plans(base, _plan(a_model(), versions[1], fresh))["model_versions"]["removed"]
    assert _one(unknown)["category"] == "unknown"
    empty_go = replace(POLICY, default=replace(POLICY.default, empty_model_ms=DAY_MS))
    old = {"creation_timestamp": worlds.OLD}
    empty = _plan(a_model(**old), policy=empty_go)
    assert len(empty["registered_models"]) == 1
    all_gone = diff_plans(base, empty)["model_versions"]["removed"]
    assert {entity["category"] for entity in all_gone} == {"gone"}
    filled = _plan(a_model(**old), *versions, policy=empty_go)
    removed = _one(diff_plans(empty, filled)["registered_models"]["removed"])
    assert (removed["category"], removed["why"]) == ("in_use", "it has versions")


@pytest.mark.parametrize(
    ("kind", "world"),
    [
        ("experiments", lambda time: [an_experiment(creation_time=time), a_run(ONE)]),
        (
            "model_versions",
            lambda time: [a_model(), a_version("1", creation_timestamp=time), a_version("2")],
        ),
    ],
)
def test_an_id_is_not_an_identity(kind, world):
    """SQLite hands out the id of an experiment again after mlflow gc, a model made anew its numbers."""
    base, head = _plan(*world(worlds.OLD)), _plan(*world(worlds.OLD + 5))
    lists = diff_plans(base, head)[kind]
    assert lists["changed"] == []
    added, removed = _one(lists["added"]), _one(lists["removed"])
    assert added["id"] == removed["id"]
    assert {added["category"], removed["category"]} == {"another"}
    assert added["why"] == "another one under the same id"
    assert removed["why"] == "gone: another one has its id now"


def test_a_renamed_experiment_is_the_same_one():
    base, head = (_plan(an_experiment(name=name), a_run(ONE)) for name in ("old", "new"))
    lists = diff_plans(base, head)["experiments"]
    assert (lists["added"], lists["removed"]) == ([], [])
    assert {f["field"] for f in _one(lists["changed"])["fields"]} == {"name", "expect.name"}


def test_each_tag_of_a_version_is_a_field():
    def plan(tags, description):
        return _plan(a_model(), a_version("1", tags=tags, description=description), a_version("2"))

    base, head = plan({"a": "1", "b": "2"}, "x"), plan({"a": "3", "c": "4"}, "y")
    fields = _one(diff_plans(base, head)["model_versions"]["changed"])["fields"]
    found = {f["field"]: (f["old"], f["new"]) for f in fields}
    del found["expect.tags_digest"]
    assert found == {
        "description": ("x", "y"),
        "tags.a": ("1", "3"),
        "tags.b": ("2", None),
        "tags.c": (None, "4"),
    }


def test_protection_of_what_neither_plan_deletes():
    """Gained, lost, and for another reason; what is planned in one of them is not told twice."""

    def plan(**tags_of):
        runs = [a_run(i, tags=tags) for i, tags in zip(RUN_IDS, tags_of.values(), strict=False)]
        return _plan(an_experiment(tags=KEEP), *runs)

    base = plan(a=KEEP, b={"mlflow_gc.keep": "2"}, c=KEEP)
    head = plan(a=KEEP, b={"mlflow_gc.keep": "3"}, c=KEEP, d=KEEP)
    head["protected"]["runs"] = [r for r in head["protected"]["runs"] if r["run_id"] != THREE]
    head["statistics"]["by_experiment"] = []
    found = diff_plans(base, head)["protected"]["runs"]
    assert _ids(found["added"]) == {RUN_IDS[3]}
    assert (_one(found["removed"])["id"], found["removed"][0]["category"]) == (THREE, "unknown")
    changed = _one(found["changed"])
    assert (changed["id"], changed["via"]) == (TWO, ["tag mlflow_gc.keep=3"])
    assert changed["old"] == {"reason": "keep_tag", "via": ["tag mlflow_gc.keep=2"]}


def test_another_server_is_reported_at_once():
    base = _plan(an_experiment())
    head = {**base, "server": {**base["server"], "identity": "other", "mlflow_version": "9"}}
    diff = diff_plans(base, head)
    assert diff["different"]
    assert diff["same_server"] is False
    assert [field["field"] for field in diff["server"]] == ["mlflow_version", "identity"]
    newer = {**base, "server": {**base["server"], "mlflow_version": "9"}}
    assert diff_plans(base, newer)["same_server"] is True


def test_what_a_server_has_is_compared_if_both_plans_say_it():
    base = _plan(an_experiment())
    server = base["server"]
    without = {**base, "server": {k: v for k, v in server.items() if k != "capabilities"}}
    assert diff_plans(base, without)["different"] is False
    assert diff_plans(without, base)["different"] is False
    capabilities = {**server["capabilities"], "traces": False}
    upgraded = {**base, "server": {**server, "capabilities": capabilities}}
    change = {"field": "capabilities.traces", "old": False, "new": True}
    assert diff_plans(upgraded, base)["server"] == [change]


def test_guards_and_other_findings():
    """A guard that is tripped now, and one that is not any more."""
    tight = replace(POLICY, guards=Guards(max_deletions={"runs": 0}))
    base, head = (
        _plan(an_experiment(), a_run(ONE)),
        _plan(an_experiment(), a_run(ONE), policy=tight),
    )
    diff = diff_plans(base, head)
    assert diff["state"] == [{"field": "applyable", "old": True, "new": False}]
    assert _one(diff["diagnostics"]["added"])["code"] == "guard"
    assert {"field": "guards.max_deletions.runs", "old": None, "new": 0} in diff["policy"]
    assert _one(diff_plans(head, base)["diagnostics"]["removed"])["code"] == "guard"
    twice = {**head, "diagnostics": head["diagnostics"] * 2}
    assert diff_plans(head, twice)["different"] is False


def test_numbers():
    """Of the headline: what can be undone and what not."""
    lossy = {"tags": {"mlflow.runType": "genai_evaluate"}}
    policy = replace(POLICY, delete_evaluations=True)
    base = _plan(an_experiment(), a_run(ONE), a_run(TWO, **lossy), policy=policy)
    head = _plan(
        *(an_experiment(), a_run(ONE), a_run(THREE, **lossy)),
        *(a_model(), a_version("1"), a_version("2")),
        policy=policy,
    )
    summary = diff_plans(base, head)["summary"]
    assert summary["irreversible"] == {"base": 1, "head": 2, "added": 2, "removed": 1}
    assert summary["runs"]["added"] == summary["runs"]["removed"] == 1
    assert summary["runs"]["protected"]["base"] == 0


def test_words():
    base = _plan(an_experiment(), a_run(ONE))
    retained = _plan(an_experiment(), a_run(ONE, tags={"mlflow_gc.keep": "1"}))
    (removed,) = diff_plans(base, retained)["runs"]["removed"]
    assert removed["why"] == "now protected: keep_tag, tag mlflow_gc.keep=1"
    (added,) = diff_plans(retained, base)["runs"]["added"]
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
