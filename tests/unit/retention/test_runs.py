"""Runs one by one: the reason, and the chain that leads to it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.worlds import (
    AS_OF,
    CUTOFF,
    MODEL_IDS,
    NEW,
    OLD,
    POLICY,
    RUN_IDS,
    TTL,
    a_logged_model,
    a_model,
    a_run,
    a_version,
    an_experiment,
    inventory,
)

from mlflow_gc.domain.reasons import Reason
from mlflow_gc.domain.timestamps import DAY_MS
from mlflow_gc.retention.decision import Verdict
from mlflow_gc.retention.engine import decide

ONE, TWO, THREE, FOUR = RUN_IDS[:4]
MODEL = MODEL_IDS[0]


def _of(run_id, *entities):
    return decide(inventory(*entities), POLICY).runs[run_id]


def _verdict(*, home=None, **run):
    return _of(ONE, home or an_experiment(), a_run(ONE, **run))


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_an_old_run_that_is_over_is_deleted_with_its_reason(status):
    found = _verdict(status=status)
    assert found.verdict is Verdict.DELETE
    assert found.why == (f"{status}, no activity for 399 days",)


@pytest.mark.parametrize("field", ["start_time", "end_time", "newest_metric_time"])
@pytest.mark.parametrize(
    ("ms", "verdict"),
    [
        (CUTOFF - 1, Verdict.DELETE),
        (CUTOFF, Verdict.FRESH),
        (CUTOFF + 1, Verdict.FRESH),
        (AS_OF + DAY_MS, Verdict.FRESH),
        (AS_OF + DAY_MS + 1, Verdict.PROTECT),
    ],
)
def test_the_newest_of_three_times_decides_to_the_millisecond(field, ms, verdict):
    times = {"start_time": OLD, "end_time": OLD, "oldest_metric_time": OLD, field: ms}
    if field == "start_time" and verdict is Verdict.DELETE:
        times["end_time"] = ms
    assert _verdict(**times).verdict is verdict


@pytest.mark.parametrize(
    ("created", "verdict"),
    [(CUTOFF - 1, Verdict.DELETE), (CUTOFF, Verdict.FRESH), (NEW, Verdict.FRESH)],
)
@pytest.mark.parametrize("status", ["FINISHED", "RUNNING"])
def test_a_run_is_no_older_than_its_experiment(status, created, verdict):
    """It was imported with its original times: they say nothing of when it came here."""
    policy = replace(POLICY, default=replace(POLICY.default, abandoned_ms=TTL * DAY_MS))
    found = inventory(an_experiment(creation_time=created), a_run(ONE, status=status))
    assert decide(found, policy).runs[ONE].verdict is verdict


def test_an_experiment_from_before_1_28_has_no_time_of_creation():
    assert _verdict(home=an_experiment(creation_time=None)).verdict is Verdict.DELETE


@pytest.mark.parametrize(
    ("times", "via"),
    [
        ({"start_time": None, "end_time": None}, ("no start_time", "no end_time")),
        ({"end_time": None}, ("no end_time",)),
        ({"start_time": 0}, ("start_time 1970-01-01T00:00:00.000Z",)),
        ({"end_time": 5}, ("end_time 1970-01-01T00:00:00.005Z",)),
        ({"end_time": OLD - 1}, ("end_time 2025-03-27T10:02:11.122Z before its start",)),
        ({"end_time": 2**62}, (f"end_time {2**62} ms",)),
        (
            {"home": an_experiment(creation_time=5)},
            ("creation_time of its experiment 1970-01-01T00:00:00.005Z",),
        ),
        (
            {"home": an_experiment(creation_time=AS_OF + DAY_MS + 1)},
            ("creation_time of its experiment 2026-05-02T10:02:11.124Z",),
        ),
        (
            {"newest_metric_time": OLD, "oldest_metric_time": 1},
            ("oldest metric timestamp 1970-01-01T00:00:00.001Z",),
        ),
    ],
)
def test_unknown_time(times, via):
    found = _verdict(**times)
    assert (found.verdict, found.reason, found.chain) == (Verdict.PROTECT, Reason.UNKNOWN_TIME, via)


@pytest.mark.parametrize(
    ("run", "home", "reason", "via"),
    [
        ({"status": "RUNNING"}, {}, Reason.NOT_TERMINAL, ("status RUNNING",)),
        ({"status": "SCHEDULED"}, {}, Reason.NOT_TERMINAL, ("status SCHEDULED",)),
        ({"status": "finished"}, {}, Reason.NOT_TERMINAL, ("status finished",)),
        ({"status": ""}, {}, Reason.NOT_TERMINAL, ("status unknown",)),
        (
            {"tags": {"mlflow_gc.keep": "ja"}},
            {},
            Reason.KEEP_TAG,
            ("tag mlflow_gc.keep=ja",),
        ),
        ({"tags": {"mlflow_gc.keep": ""}}, {}, Reason.KEEP_TAG, ("tag mlflow_gc.keep=",)),
        (
            {},
            {"tags": {"mlflow_gc.keep": "true"}},
            Reason.KEEP_TAG,
            ("experiment 1 exp-1", "tag mlflow_gc.keep=true"),
        ),
        (
            {},
            {"tags": {"mlflow.experiment.isGateway": "True"}},
            Reason.GATEWAY,
            ("experiment 1 exp-1",),
        ),
        (
            {"tags": {"mlflow.runType": "genai_evaluate"}},
            {},
            Reason.GENAI_EVALUATE,
            ("its assessments would be lost permanently",),
        ),
        ({}, {"lifecycle_stage": "deleted"}, Reason.EXPERIMENT_DELETED, ("experiment 1 exp-1",)),
    ],
)
def test_protected(run, home, reason, via):
    found = _verdict(home=an_experiment(**home), **run)
    assert (found.verdict, found.reason, found.chain) == (Verdict.PROTECT, reason, via)


@pytest.mark.parametrize("value", ["false", " NO ", "0", "False"])
def test_a_clear_no_in_the_keep_tag_keeps_nothing(value):
    assert _verdict(tags={"mlflow_gc.keep": value}).verdict is Verdict.DELETE


def test_a_run_of_an_experiment_that_was_not_listed_is_retained():
    found = _of(ONE, an_experiment("2"), a_run(ONE))
    assert (found.reason, found.chain) == (Reason.NOT_SEEN, ("experiment 1 was not listed",))


@pytest.mark.parametrize(
    ("version", "logged", "aliases", "via"),
    [
        ({"run_id": ONE}, None, {}, ("model_version fraud/12",)),
        ({"source": f"runs:/{ONE}/m"}, None, {}, ("model_version fraud/12",)),
        ({"run_link": f"https://x/#/{ONE}"}, None, {}, ("model_version fraud/12",)),
        (
            {"run_id": ONE},
            None,
            {"12": ("b", "champion")},
            ("model_version fraud/12", "alias b", "alias champion"),
        ),
        (
            {"run_id": ONE, "current_stage": "Production"},
            None,
            {},
            ("model_version fraud/12", "stage Production"),
        ),
        (
            {"source": f"models:/{MODEL}"},
            ONE,
            {"12": ("champion",)},
            (f"logged_model {MODEL}", "model_version fraud/12", "alias champion"),
        ),
        ({"model_id": MODEL}, ONE, {}, (f"logged_model {MODEL}", "model_version fraud/12")),
    ],
)
def test_behind_a_registered_model(version, logged, aliases, via):
    models = [a_logged_model(MODEL, source_run_id=logged)] if logged else []
    found = _of(
        ONE,
        an_experiment(),
        a_run(ONE),
        a_model(aliases=aliases),
        a_version("12", **version),
        *models,
    )
    assert (found.reason, found.chain) == (Reason.REGISTERED_MODEL, via)


def test_of_several_versions_the_one_with_standing_is_named():
    found = _of(
        ONE,
        an_experiment(),
        a_run(ONE),
        a_model(aliases={"2": ("champion",)}),
        *(a_version(v, run_id=ONE) for v in ("1", "2", "10")),
    )
    assert found.chain == ("model_version fraud/2", "alias champion")


def test_a_run_behind_a_version_that_is_deleted_itself_is_retained_for_now():
    world = inventory(
        an_experiment(), a_run(ONE), a_model(), a_version("1", run_id=ONE), a_version("2")
    )
    decisions = decide(world, POLICY)
    assert decisions.model_versions["fraud", "1"].verdict is Verdict.DELETE
    assert decisions.runs[ONE].reason is Reason.REGISTERED_MODEL


def test_a_tree_is_retained_for_one_child():
    world = (
        an_experiment(),
        an_experiment("2"),
        a_run(ONE),
        a_run(TWO, parent=ONE),
        a_run(THREE, parent=ONE, experiment_id="2", status="RUNNING", start_time=NEW),
        a_run(FOUR),
    )
    for run_id in (ONE, TWO):
        found = _of(run_id, *world)
        assert (found.reason, found.chain) == (
            Reason.TREE,
            (f"run {THREE}", "RUNNING, not stale"),
        )
    assert _of(FOUR, *world).verdict is Verdict.DELETE


def test_a_tree_carries_the_chain_of_its_nearest_retained_run():
    found = _of(
        TWO,
        an_experiment(),
        a_run(ONE),
        a_run(TWO, parent=ONE),
        a_model(aliases={"1": ("champion",)}),
        a_version("1", run_id=ONE),
    )
    assert found.reason is Reason.TREE
    assert found.chain == (f"run {ONE}", "model_version fraud/1", "alias champion")


def test_siblings_of_a_parent_that_is_gone_hold_together():
    found = _of(
        ONE,
        an_experiment(),
        a_run(ONE, parent="f" * 32),
        a_run(TWO, parent="f" * 32, tags={"mlflow_gc.keep": "1"}),
    )
    assert (found.reason, found.chain) == (Reason.TREE, (f"run {TWO}", "tag mlflow_gc.keep=1"))


def test_a_circle_of_parents_is_deleted_or_retained_as_one():
    circle = [a_run(ONE, parent=TWO), a_run(TWO, parent=THREE), a_run(THREE, parent=ONE)]
    assert _of(ONE, an_experiment(), *circle).verdict is Verdict.DELETE
    retained = a_run(THREE, parent=ONE, status="RUNNING")
    assert _of(TWO, an_experiment(), *circle[:2], retained).reason is Reason.TREE
    assert _of(ONE, an_experiment(), a_run(ONE, parent=ONE)).verdict is Verdict.DELETE


def test_the_maker_of_a_model_is_retained_while_a_retained_run_uses_it():
    maker, user = a_run(ONE), a_run(TWO, model_ids=(MODEL,), start_time=NEW, end_time=NEW)
    logged = a_logged_model(MODEL, source_run_id=ONE)
    found = _of(ONE, an_experiment(), maker, user, logged)
    assert (found.reason, found.chain) == (
        Reason.MODEL_IN_USE,
        (f"run {TWO}", "FINISHED, not stale"),
    )
    unused = _of(ONE, an_experiment(), maker, a_run(TWO, model_ids=(MODEL,)), logged)
    assert unused.verdict is Verdict.DELETE


def test_a_metric_of_a_retained_run_uses_the_model():
    """The model names the run; the run does not name the model."""
    maker, user = a_run(ONE), a_run(TWO, status="RUNNING")
    logged = a_logged_model(MODEL, source_run_id=ONE, metric_run_ids=(ONE, TWO, "in-the-trash"))
    found = _of(ONE, an_experiment(), maker, user, logged)
    assert (found.reason, found.chain[0]) == (Reason.MODEL_IN_USE, f"run {TWO}")
    unused = _of(ONE, an_experiment(), maker, a_run(TWO), logged)
    assert unused.verdict is Verdict.DELETE


def test_using_a_model_that_is_deleted_with_its_maker_protects_no_user():
    user, maker = a_run(TWO, model_ids=(MODEL,)), a_run(ONE, status="RUNNING")
    world = (an_experiment(), maker, user, a_logged_model(MODEL, source_run_id=ONE))
    assert _of(TWO, *world).verdict is Verdict.DELETE
