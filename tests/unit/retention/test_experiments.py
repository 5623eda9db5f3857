from __future__ import annotations

from dataclasses import replace

import pytest
from unit.worlds import (
    CUTOFF,
    MODEL_IDS,
    NEW,
    OLD,
    POLICY,
    RUN_IDS,
    a_logged_model,
    a_model,
    a_run,
    a_version,
    an_experiment,
    inventory,
)

from mlflow_gc.domain.entities import Probe
from mlflow_gc.domain.reasons import Reason
from mlflow_gc.retention.decision import Verdict
from mlflow_gc.retention.engine import decide

ONE = RUN_IDS[0]


def _of(experiment, *others, probe=None):
    world = inventory(experiment, *others)
    if probe is not None:
        world = replace(world, probes={experiment.experiment_id: probe} if probe else {})
    return decide(world, POLICY).experiments[experiment.experiment_id]


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([], "has no runs"),
        ([a_run(ONE)], "its only run is deleted"),
        ([a_run(r) for r in RUN_IDS[:3]], "all its 3 runs are deleted"),
    ],
)
def test_an_old_experiment_is_deleted_with_its_runs(runs, words):
    found = _of(an_experiment(), *runs)
    assert (found.verdict, found.why) == (
        Verdict.DELETE,
        (words, "not changed for 400 days"),
    )


@pytest.mark.parametrize("field", ["creation_time", "last_update_time"])
@pytest.mark.parametrize(
    ("ms", "verdict"),
    [
        (CUTOFF - 1, Verdict.DELETE),
        (CUTOFF, Verdict.FRESH),
        (None, Verdict.PROTECT),
        (0, Verdict.PROTECT),
        (2**62, Verdict.PROTECT),
    ],
)
def test_age(field, ms, verdict):
    assert _of(an_experiment(**{field: ms})).verdict is verdict


@pytest.mark.parametrize(
    ("experiment", "others", "probe", "reason", "via"),
    [
        (an_experiment("0"), [], None, Reason.DEFAULT_EXPERIMENT, ()),
        (an_experiment("7", name="Default"), [], None, Reason.DEFAULT_EXPERIMENT, ()),
        (
            an_experiment(tags={"mlflow_gc.keep": "yes"}),
            [],
            None,
            Reason.KEEP_TAG,
            ("tag mlflow_gc.keep=yes",),
        ),
        (
            an_experiment(tags={"mlflow.experiment.isGateway": "true"}),
            [],
            None,
            Reason.GATEWAY,
            (),
        ),
        (
            an_experiment(),
            [a_run(ONE, status="RUNNING")],
            None,
            Reason.LIVE_RUN,
            (f"run {ONE}", "not_terminal", "status RUNNING"),
        ),
        (
            an_experiment(),
            [a_model(), a_version("4", source="mlflow-artifacts:/1/models/x")],
            None,
            Reason.REGISTERED_MODEL,
            ("model_version fraud/4",),
        ),
        (
            an_experiment(),
            [a_logged_model(MODEL_IDS[0])],
            None,
            Reason.HAS_LOGGED_MODELS,
            (f"logged_model {MODEL_IDS[0]}",),
        ),
        (an_experiment(), [], Probe(has_traces=True), Reason.HAS_TRACES, ()),
        (
            an_experiment(),
            [],
            Probe(contents=("issues: 1", "scorers: 2")),
            Reason.HAS_CONTENTS,
            ("issues: 1", "scorers: 2"),
        ),
        (
            an_experiment(),
            [],
            Probe(newest_deleted_run=("x", POLICY.as_of_ms)),
            Reason.RECENT_TRASH,
            ("deleted run x",),
        ),
        (
            an_experiment(),
            [],
            Probe(unseen_run="x"),
            Reason.LIVE_RUN,
            ("run x", "appeared during the scan"),
        ),
        (an_experiment(), [], False, Reason.NOT_SEEN, ("not read",)),
    ],
)
def test_protected(experiment, others, probe, reason, via):
    found = _of(experiment, *others, probe=probe)
    assert (found.verdict, found.reason, found.chain) == (Verdict.PROTECT, reason, via)


def test_something_new_inside_makes_it_fresh():
    assert _of(an_experiment(), a_run(ONE, end_time=NEW)).verdict is Verdict.FRESH
    new_model = a_logged_model(MODEL_IDS[0], last_updated_time=NEW)
    assert _of(an_experiment(), new_model).verdict is Verdict.FRESH


def test_a_deleted_experiment_is_not_looked_at():
    world = inventory(an_experiment(lifecycle_stage="deleted", creation_time=OLD))
    assert decide(world, POLICY).experiments == {}


def test_a_location_is_a_folder_and_no_prefix():
    near = a_version("1", source="mlflow-artifacts:/10/x")
    assert _of(an_experiment("1"), a_model(), near).verdict is Verdict.DELETE


def test_a_version_inside_keeps_every_experiment_above_it():
    """Experiments may lie inside each other's location: the model is in both."""
    outer = an_experiment("1", artifact_location="s3://bucket/team")
    inner = an_experiment("2", artifact_location="s3://bucket/team/sub")
    world = inventory(outer, inner, a_model(), a_version(source="s3://bucket/team/sub/model"))
    decisions = decide(world, POLICY).experiments
    assert decisions["2"].reason is Reason.REGISTERED_MODEL
    assert decisions["1"].reason is Reason.REGISTERED_MODEL


@pytest.mark.parametrize(("ms", "reason"), [(CUTOFF - 1, None), (CUTOFF, Reason.RECENT_TRASH)])
def test_a_run_in_its_trash_has_to_be_strictly_older(ms, reason):
    found = _of(an_experiment(), probe=Probe(newest_deleted_run=("x", ms)))
    assert found.reason is reason


def test_a_version_of_another_workspace_inside_keeps_an_experiment():
    version = a_version(source="mlflow-artifacts:/1/models/x")
    world = replace(inventory(an_experiment()), probes={"1": Probe()})
    assert decide(world, POLICY).experiments["1"].verdict is Verdict.DELETE
    found = decide(replace(world, foreign_versions=(version,)), POLICY).experiments["1"]
    assert found.reason is Reason.REGISTERED_MODEL
    assert found.chain == ("model_version fraud/1",)
