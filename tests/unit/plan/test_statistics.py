"""The numbers about what goes and what stays."""

from __future__ import annotations

from dataclasses import replace

from mlflow_gc.domain.entities import Experiment, ModelVersion, RegisteredModel, Run
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.reasons import Reason
from mlflow_gc.domain.timestamps import DAY_MS, parse_time
from mlflow_gc.plan.statistics import AGE_BOUNDS_DAYS, statistics
from mlflow_gc.retention.decision import FRESH, Decisions, delete, protect

AS_OF = parse_time("2026-05-01")


def a_run(run_id: str, experiment_id: str, age_ms: int | None) -> Run:
    time_ms = None if age_ms is None else AS_OF - age_ms
    return Run(
        *(run_id, "", experiment_id, "", "FINISHED", "active", time_ms, None, None, None, ""),
        tags={},
    )


def an_experiment(experiment_id: str, age_ms: int) -> Experiment:
    made = AS_OF - age_ms
    return Experiment(experiment_id, f"name {experiment_id}", "active", "", made, made)


def a_version(name: str, number: str, age_ms: int) -> ModelVersion:
    made = AS_OF - age_ms
    return ModelVersion(name, number, made, made, "None", "", "", "", "", "", {})


def test_what_is_deleted_and_what_is_retained_is_counted_by_age_and_by_group():
    keep = protect(Reason.KEEP_TAG)
    runs = {
        "at-30-days": (a_run("at-30-days", "10", 30 * DAY_MS), keep),
        "before-30-days": (a_run("before-30-days", "10", 30 * DAY_MS - 1), FRESH),
        "old": (a_run("old", "9", 800 * DAY_MS), delete("old")),
        "unknown": (a_run("unknown", "9", None), keep),
        "new": (a_run("new", "8", 0), FRESH),
    }
    versions = {
        ("m", "1"): (a_version("m", "1", 400 * DAY_MS), delete("old")),
        ("m", "2"): (a_version("m", "2", 1), FRESH),
        ("fresh", "1"): (a_version("fresh", "1", 1), FRESH),
    }
    model = RegisteredModel("empty", {}, {}, last_updated_timestamp=AS_OF - 100 * DAY_MS)
    experiments = {e: an_experiment(e, 500 * DAY_MS) for e in ("8", "9", "10")}
    # From before MLflow 1.28: its runs may be older than anything that is known of it.
    experiments["9"] = replace(experiments["9"], creation_time=None)
    inventory = Inventory(
        experiments=experiments,
        runs={i: run for i, (run, _) in runs.items()},
        registered_models={"empty": model},
        model_versions={k: version for k, (version, _) in versions.items()},
        logged_models={},
    )
    decisions = Decisions(
        experiments={"8": FRESH, "9": keep, "10": keep},
        runs={i: decision for i, (_, decision) in runs.items()},
        model_versions={k: decision for k, (_, decision) in versions.items()},
        registered_models={"empty": delete("empty")},
    )
    found = statistics(inventory, decisions, AS_OF)
    assert AGE_BOUNDS_DAYS == (7, 30, 90, 180, 365, 730)
    assert found["ages"] == {
        # An experiment is as old as its newest run: 0 days, 500 and 30.
        "experiments": {
            "delete": [0] * 8,
            "protected": [0, 1, 0, 0, 0, 1, 0, 0],
            "fresh": [1, 0, 0, 0, 0, 0, 0, 0],
        },
        "runs": {
            "delete": [0, 0, 0, 0, 0, 0, 1, 0],
            "protected": [0, 0, 1, 0, 0, 0, 0, 1],
            "fresh": [1, 1, 0, 0, 0, 0, 0, 0],
        },
        "model_versions": {
            "delete": [0, 0, 0, 0, 0, 1, 0, 0],
            "protected": [0] * 8,
            "fresh": [2, 0, 0, 0, 0, 0, 0, 0],
        },
        "registered_models": {
            "delete": [0, 0, 0, 1, 0, 0, 0, 0],
            "protected": [0] * 8,
            "fresh": [0] * 8,
        },
    }
    # Groups in which nothing is stale are left out.
    assert found["by_experiment"] == [
        {"experiment_id": "10", "name": "name 10", "delete": 0, "protected": 1, "fresh": 1},
        {"experiment_id": "9", "name": "name 9", "delete": 1, "protected": 1, "fresh": 0},
    ]
    assert found["by_model"] == [{"name": "m", "delete": 1, "protected": 0, "fresh": 1}]
