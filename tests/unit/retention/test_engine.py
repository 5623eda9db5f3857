"""What must hold for any server whatsoever."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import depth
from unit import naive, worlds
from unit.worlds import AS_OF, CUTOFF, OLD, POLICY

from mlflow_gc.domain.reasons import Reason
from mlflow_gc.domain.timestamps import DAY_MS
from mlflow_gc.retention.decision import Verdict
from mlflow_gc.retention.engine import (
    decide,
    decide_after_probe,
    experiments_to_probe,
    runs_needing_inputs,
)
from mlflow_gc.retention.rules import Rule, Selector

KINDS = ("experiments", "runs", "model_versions")


def _stage(version):
    return version.current_stage or "None"


def _gone(decisions, kind):
    return {i for i, d in getattr(decisions, kind).items() if d.verdict is Verdict.DELETE}


def test_rules_of_other_workspaces_are_not_unused():
    """One policy file serves all workspaces; where there are none, such a rule is of no use."""
    rules = (
        Rule("here", Selector(workspace="team-a", experiment="no such experiment")),
        Rule("elsewhere", Selector(workspace="team-b")),
        Rule("anywhere", Selector(workspace="team-*")),
    )
    found = worlds.inventory(worlds.an_experiment())
    policy = replace(POLICY, rules=rules)
    assert decide(replace(found, workspace="team-a"), policy).unused_rules == ("here",)
    assert decide(found, policy).unused_rules == ("here", "elsewhere", "anywhere")


@given(worlds.inventories())
def test_every_verdict_is_one_of_three_and_says_why(found):
    decisions = decide(found, POLICY)
    active = {e for e, x in found.experiments.items() if x.lifecycle_stage == "active"}
    assert set(decisions.experiments) == active
    assert set(decisions.runs) == {
        r for r, x in found.runs.items() if x.lifecycle_stage == "active"
    }
    assert set(decisions.model_versions) == set(found.model_versions)
    for kind in KINDS:
        for decision in getattr(decisions, kind).values():
            assert (decision.verdict is Verdict.PROTECT) == (decision.reason is not None)
            assert (decision.verdict is Verdict.DELETE) == bool(decision.reasons)


# Most worlds have the plain policy in all but one field: more of them find more.
oracle = depth.examples(1.7)


@oracle
@given(worlds.inventories(), worlds.policies)
def test_runs_that_go_are_those_of_the_naive_oracle(found, policy):
    assert _gone(decide(found, policy), "runs") == naive.deleted_runs(found, policy)


@oracle
@given(worlds.inventories(), worlds.policies)
def test_versions_that_go_are_those_of_the_naive_oracle(found, policy):
    assert _gone(decide(found, policy), "model_versions") == naive.deleted_versions(found, policy)


@oracle
@given(worlds.inventories(), worlds.policies)
def test_experiments_that_go_are_those_of_the_naive_oracle(found, policy):
    assert _gone(decide(found, policy), "experiments") == naive.deleted_experiments(found, policy)


@given(worlds.inventories())
def test_a_deleted_run_is_over_old_untagged_and_not_behind_a_version(found):
    for run_id in _gone(decide(found, POLICY), "runs"):
        run = found.runs[run_id]
        assert run.lifecycle_stage == "active"
        assert run.status in {"FINISHED", "FAILED", "KILLED"}
        assert run.last_activity_time(found.experiments[run.experiment_id]) < CUTOFF
        assert not naive.protected_by_tag(run.tags)
        assert not any(run_id in naive.runs_behind(found, v) for v in found.model_versions.values())


@given(worlds.inventories())
def test_a_tree_is_deleted_as_a_whole_or_not_at_all(found):
    decisions = decide(found, POLICY)
    gone = _gone(decisions, "runs")
    for tree in naive.trees(found):
        active = tree & set(decisions.runs)
        assert not active & gone or active <= gone


@given(worlds.inventories())
def test_a_deleted_experiment_keeps_no_run_alive(found):
    decisions = decide(found, POLICY)
    gone = _gone(decisions, "runs")
    for experiment_id in _gone(decisions, "experiments"):
        assert {r for r in decisions.runs if found.runs[r].experiment_id == experiment_id} <= gone


@given(worlds.inventories())
def test_the_highest_version_is_retained_overall_and_in_each_stage(found):
    left = set(found.model_versions) - _gone(decide(found, POLICY), "model_versions")
    versions = found.model_versions.values()
    for v in versions:
        for group in (
            [w for w in versions if w.name == v.name],
            [w for w in versions if (w.name, _stage(w)) == (v.name, _stage(v))],
        ):
            highest = max(group, key=lambda w: int(w.version))
            assert (highest.name, highest.version) in left


@given(worlds.inventories(), st.integers(1, 500), st.integers(1, 500))
def test_a_longer_ttl_never_deletes_more(found, one, other):
    longer, shorter = (
        decide(found, replace(POLICY, default=Rule.of_days(days)))
        for days in sorted((one, other), reverse=True)
    )
    for kind in KINDS:
        assert _gone(longer, kind) <= _gone(shorter, kind)


@given(worlds.inventories(), worlds.policies, st.integers(0, 4), st.integers(0, 300))
def test_a_stricter_policy_never_deletes_more(found, policy, more_last, older_days):
    """Each of its fields alone, and all together."""
    stricter = {
        "keep_last_runs": policy.keep_last_runs + more_last,
        "keep_last_versions": policy.keep_last_versions + more_last,
        "min_age_ms": policy.min_age_ms + older_days * DAY_MS,
        "delete_evaluations": False,
    }
    decided = decide(found, policy)
    for changes in (*({field: value} for field, value in stricter.items()), stricter):
        less = decide(found, replace(policy, **changes))
        for kind in KINDS:
            assert _gone(less, kind) <= _gone(decided, kind)


@given(worlds.inventories(), worlds.policies)
def test_so_many_runs_and_versions_are_left(found, policy):
    """Of each experiment and model at least as many as the policy keeps, if there were as many."""
    decisions = decide(found, policy)
    for kind, keep, group in (
        ("runs", policy.keep_last_runs, lambda r: found.runs[r].experiment_id),
        ("model_versions", policy.keep_last_versions, lambda v: v[0]),
    ):
        there = Counter(group(key) for key in getattr(decisions, kind))
        gone = Counter(group(key) for key in _gone(decisions, kind))
        for name, count in gone.items():
            assert there[name] - count >= min(keep, there[name])


@given(worlds.inventories(), worlds.policies)
def test_nothing_younger_than_min_age_is_deleted(found, policy):
    decisions = decide(found, policy)
    # Without a min_age there is still the TTL, and that is longer than nothing.
    youngest = AS_OF - policy.min_age_ms
    for run_id in _gone(decisions, "runs"):
        run = found.runs[run_id]
        assert run.last_activity_time(found.experiments[run.experiment_id]) < youngest
    for key in _gone(decisions, "model_versions"):
        version = found.model_versions[key]
        assert max(version.creation_timestamp, version.last_updated_timestamp) < youngest
    for experiment_id in _gone(decisions, "experiments"):
        experiment = found.experiments[experiment_id]
        assert max(experiment.creation_time, experiment.last_update_time) < youngest


@given(worlds.inventories(), worlds.policies)
def test_what_cannot_be_restored_is_versions_and_evaluations(found, policy):
    """And each of them is marked."""
    decisions = decide(found, policy)
    for run_id in _gone(decisions, "runs"):
        run = found.runs[run_id]
        is_typed = run.tags.get("mlflow.runType") == "genai_evaluate"
        is_evaluation = is_typed or run.details.loses_assessments
        assert decisions.runs[run_id].reversible is not is_evaluation
        assert policy.delete_evaluations or not is_evaluation
    for experiment_id in _gone(decisions, "experiments"):
        probe = found.probes.get(experiment_id)
        loses = bool(probe and probe.assessed_runs)
        assert decisions.experiments[experiment_id].reversible is not loses
    assert not any(
        decisions.model_versions[v].reversible for v in _gone(decisions, "model_versions")
    )


@given(worlds.inventories(), worlds.policies, st.integers(0, 2**16))
def test_the_order_of_reading_changes_nothing(found, policy, seed):
    assert decide(worlds.shuffled(found, seed), policy) == decide(found, policy)


@given(worlds.inventories())
def test_after_a_probe_all_is_as_if_decided_anew(found):
    blind = decide(replace(found, probes={}), POLICY)
    seen = {e: found.probes[e] for e in experiments_to_probe(blind) if e in found.probes}
    looked = replace(found, probes=seen)
    assert decide_after_probe(looked, POLICY, blind) == decide(looked, POLICY)


@given(worlds.inventories())
def test_without_probes_no_experiment_goes_and_the_probed_ones_are_all_that_can(found):
    blind = decide(replace(found, probes={}), POLICY)
    assert not _gone(blind, "experiments")
    assert _gone(decide(found, POLICY), "experiments") <= set(experiments_to_probe(blind))


@given(worlds.inventories(), st.sampled_from(worlds.RUN_IDS))
def test_a_run_held_by_the_caller_is_retained_with_its_tree(found, run_id):
    retained = decide(found, POLICY).runs.get(run_id)
    if retained is None:
        return
    changed = {
        run_id: replace(retained, verdict=Verdict.PROTECT, reason=Reason.CHANGED, reasons=())
    }
    held = decide(found, POLICY, changed)
    assert not any(_gone(held, "runs") & tree for tree in naive.trees(found) if run_id in tree)
    assert _gone(held, "runs") <= _gone(decide(found, POLICY), "runs")


@pytest.mark.deep
def test_random_worlds_are_not_all_empty_of_deletions():
    seen = dict.fromkeys(KINDS, 0)
    reasons: Counter[Reason] = Counter()

    @settings(max_examples=300, derandomize=True)  # the same worlds, so many that all occurs
    @given(worlds.inventories(), worlds.policies)
    def count(found, policy):
        decisions = decide(found, policy)
        for kind in KINDS:
            seen[kind] += len(_gone(decisions, kind))
            reasons.update(d.reason for d in getattr(decisions, kind).values() if d.reason)

    count()
    if min(seen.values()) < 10:
        pytest.fail(f"the random worlds test too little: {seen}")
    if missing := {Reason.KEEP_LAST, Reason.MIN_AGE, Reason.TREE} - set(reasons):
        pytest.fail(f"the random worlds never have these reasons: {missing}")


@pytest.mark.parametrize(
    ("run", "made", "is_asked"),
    [
        ({}, OLD + 30 * DAY_MS, False),
        ({}, OLD, True),
        # The clocks of two machines may be apart.
        ({}, OLD + DAY_MS, True),
        ({}, None, True),
        ({"newest_metric_time": OLD + 29 * DAY_MS}, OLD + 30 * DAY_MS, True),
        ({"status": "RUNNING"}, OLD + 30 * DAY_MS, True),
        ({"end_time": None}, OLD + 30 * DAY_MS, True),
        # It was imported with its original times: when it was at work here is not known.
        ({"start_time": OLD - 1}, OLD + 30 * DAY_MS, True),
    ],
)
def test_a_retained_run_is_asked_what_it_read_if_it_can_have_read_a_model_of_a_stale_one(
    run, made, is_asked
):
    maker, other = worlds.RUN_IDS[:2]
    model = worlds.a_logged_model(source_run_id=maker, creation_time=made)
    reader = worlds.a_run(other, tags={"mlflow_gc.keep": "true"}, **run)
    found = worlds.inventory(worlds.an_experiment(), worlds.a_run(maker), reader, model)
    asked = runs_needing_inputs(found, decide(found, POLICY))
    assert asked == ({other} if is_asked else set())


def test_nobody_is_asked_where_no_run_that_is_deleted_made_a_model():
    maker, other = worlds.RUN_IDS[:2]
    fresh = worlds.a_run(maker, end_time=worlds.NEW)
    model = worlds.a_logged_model(source_run_id=maker, creation_time=OLD)
    found = worlds.inventory(worlds.an_experiment(), fresh, worlds.a_run(other), model)
    assert runs_needing_inputs(found, decide(found, POLICY)) == set()
