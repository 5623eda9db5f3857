"""What must hold for any server whatsoever."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit import naive, worlds
from unit.worlds import CUTOFF, POLICY

from mlflow_gc.retention.rules import Rule
from mlflow_gc.retention.decide import decide, experiments_to_probe
from mlflow_gc.retention.decision import Reason, Verdict

KINDS = ("experiments", "runs", "model_versions")


def _stage(version):
    return version.current_stage or "None"


def _gone(decisions, kind):
    return {i for i, d in getattr(decisions, kind).items() if d.verdict is Verdict.DELETE}


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


@given(worlds.inventories())
def test_runs_that_go_are_those_of_the_naive_oracle(found):
    assert _gone(decide(found, POLICY), "runs") == naive.deleted_runs(found, CUTOFF)


@given(worlds.inventories())
def test_versions_that_go_are_those_of_the_naive_oracle(found):
    assert _gone(decide(found, POLICY), "model_versions") == naive.deleted_versions(found, CUTOFF)


@given(worlds.inventories())
def test_experiments_that_go_are_those_of_the_naive_oracle(found):
    assert _gone(decide(found, POLICY), "experiments") == naive.deleted_experiments(found, CUTOFF)


@given(worlds.inventories())
def test_a_deleted_run_is_over_old_untagged_and_not_behind_a_version(found):
    for run_id in _gone(decide(found, POLICY), "runs"):
        run = found.runs[run_id]
        assert run.lifecycle_stage == "active"
        assert run.status in {"FINISHED", "FAILED", "KILLED"}
        assert run.last_activity_time < CUTOFF
        assert not naive.kept_by_tag(run.tags)
        assert not any(run_id in naive.runs_behind(found, v) for v in found.model_versions.values())


@given(worlds.inventories())
def test_a_tree_goes_as_a_whole_or_not_at_all(found):
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
def test_the_highest_version_stays_overall_and_in_each_stage(found):
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
        decide(found, replace(POLICY, default=Rule.of_days(days))) for days in sorted((one, other), reverse=True)
    )
    for kind in KINDS:
        assert _gone(longer, kind) <= _gone(shorter, kind)


@given(worlds.inventories())
def test_without_probes_no_experiment_goes_and_the_probed_ones_are_all_that_can(found):
    blind = decide(replace(found, probes={}), POLICY)
    assert not _gone(blind, "experiments")
    assert _gone(decide(found, POLICY), "experiments") <= set(experiments_to_probe(blind))


@given(worlds.inventories(), st.sampled_from(worlds.RUN_IDS))
def test_a_run_held_by_the_caller_stays_with_its_tree(found, run_id):
    kept = decide(found, POLICY).runs.get(run_id)
    if kept is None:
        return
    changed = {run_id: replace(kept, verdict=Verdict.PROTECT, reason=Reason.CHANGED, reasons=())}
    held = decide(found, POLICY, changed)
    assert not any(_gone(held, "runs") & tree for tree in naive.trees(found) if run_id in tree)
    assert _gone(held, "runs") <= _gone(decide(found, POLICY), "runs")


def test_random_worlds_are_not_all_empty_of_deletions():
    seen = dict.fromkeys(KINDS, 0)

    @settings(max_examples=300, derandomize=True)
    @given(worlds.inventories())
    def count(found):
        decisions = decide(found, POLICY)
        for kind in KINDS:
            seen[kind] += len(_gone(decisions, kind))

    count()
    if min(seen.values()) < 10:
        pytest.fail(f"the random worlds test too little: {seen}")
