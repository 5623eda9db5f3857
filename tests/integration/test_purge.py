"""``report --trash`` and ``purge``: exactly what the plan lists goes for good, rows and files."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shlex
import shutil
import sqlite3
import threading
import time
from contextlib import AbstractContextManager, closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import typer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sqlalchemy import select
from support import ROOT, depth
from support.durability import Snapshot
from support.plans import Journal, rfc3339
from support.server import open_database
from support.trash import Trash, ids, make_unreadable, protected

import mlflow_gc
from integration import test_events as events
from mlflow_gc import settings
from mlflow_gc.apply.outcomes import MAX_FAILURES_IN_A_ROW
from mlflow_gc.apply.purge import batch, purger
from mlflow_gc.apply.purge.batch import BATCH
from mlflow_gc.apply.purge.database import Database
from mlflow_gc.cli import app
from mlflow_gc.domain.quantities import size_of
from mlflow_gc.inventory.sql.trash import TrashReader
from mlflow_gc.plan import schema
from mlflow_gc.storage.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import ColumnElement
    from support.bench import Bench
    from support.plans import Plan
    from support.world import World

    from mlflow_gc.demo.server import LocalServer

ERROR, PARTIAL, REFUSED, USAGE = 1, 3, 5, 64


@pytest.fixture
def trash(bench: Bench) -> Trash:
    database = bench.world.database
    return Trash(bench, database.parent / "artifacts", f"sqlite:///{database}")


def _journal(plan: Plan) -> Path:
    return plan.path.with_name(f"{plan.path.name}.journal.jsonl")


def _own_rows(gone: dict[str, list[tuple[object, ...]]], *ids: str) -> bool:
    return all(any(i in map(str, row) for i in ids) for rows in gone.values() for row in rows)


# Exactly this ------------------------------------------------------------------------------------


def test_exactly_what_the_plan_lists_goes(trash: Trash) -> None:
    """Every other row of every table, and every other file, stays."""
    world = trash.world
    experiment = world.experiment()
    old = [trash.run(experiment) for _ in range(3)]
    young = trash.run(experiment, deleted=10)
    active = trash.run(experiment, deleted=None)
    world.read_dataset(active, "customers")
    reader = trash.run(experiment, deleted=None)
    world.read_dataset(reader, "orders")
    trash.delete(reader)
    model = trash.model(experiment)
    used = trash.model(experiment, deleted=None)
    plan = trash.report()
    assert plan.runs == {*old, reader}
    assert ids(plan, "logged_models", "model_id") == {model}
    assert plan.document["summary"]["freed"]["files"] == 9
    assert {entry["file_count"] for entry in plan.document["runs"]} == {2}
    before = trash.state()
    trash.purge(plan)
    after = trash.state()
    gone = after.rows_gone_since(before)
    assert {row[0] for row in gone["runs"]} == {*old, reader}
    assert {row[0] for row in gone["logged_models"]} == {model}
    assert {"params", "tags", "metrics", "latest_metrics", "inputs"} <= gone.keys()
    assert sum(map(len, gone.values())) == plan.document["summary"]["freed"]["rows"]
    assert not any(
        young in map(str, row) or used in map(str, row) for rs in gone.values() for row in rs
    )
    files = after.files_gone_since(before)
    assert len(files) == 9
    assert all(any(i in path for i in (*old, reader, model)) for path in files)
    assert not (trash.root / experiment / old[0]).exists()
    trash.purge(plan)
    assert trash.state() == after


def test_an_experiment_goes_with_its_traces_and_tags(trash: Trash) -> None:
    world = trash.world
    experiment, other = world.experiment(tags={"team": "a"}), world.experiment(tags={"team": "b"})
    run, stays = trash.run(experiment, deleted=None), trash.run(other, deleted=None)
    trace, other_trace = world.source_trace(experiment, run), world.source_trace(other, stays)
    for home, trace_id in ((experiment, trace), (other, other_trace)):
        trash.put(f"{home}/traces/{trace_id}/artifacts/traces.json")
    world.scorer(experiment)
    world.scorer(other)
    trash.drop_experiment(experiment)
    plan = trash.report()
    assert plan.experiments == {experiment}
    before = trash.state()
    trash.purge(plan)
    after = trash.state()
    gone = after.rows_gone_since(before)
    assert len(gone["trace_info"]) == len(gone["scorers"]) == len(gone["experiments"]) == 1
    assert not _own_rows(gone, other, stays, other_trace)
    kept = [path for path in after.files if other_trace in path or stays in path]
    assert len(kept) == 3
    assert not [path for path in after.files if trace in path or run in path]
    assert not (trash.root / experiment).exists()


def test_traces_that_a_service_makes_in_a_deleted_experiment_retain_it(trash: Trash) -> None:
    """MLflow takes them by OpenTelemetry; also an old trace that is in no plan."""
    world = trash.world
    live, late, quiet = (world.experiment() for _ in range(3))
    for experiment in (live, late, quiet):
        trash.run(experiment, deleted=None)
        trash.drop_experiment(experiment)
    plan = trash.report()
    assert plan.experiments == {live, late, quiet}
    if depth.chosen.smoke:  # gunicorn does not have the endpoint
        world.trace(live, age=0)
    else:
        _send_trace(world, live)
    world.trace(late, age=300)
    before = trash.state()
    assert len(before.rows["trace_info"]) == 2
    for again in ("--dry-run", "-v"):
        outcome = trash.purge(plan, again)
        assert f"experiment {live}: row_count was 1, is" in outcome.out
        assert f"experiment {late}: row_count was 1, is 2" in outcome.out
    gone = trash.state().rows_gone_since(before)
    assert {str(row[0]) for row in gone["experiments"]} == {quiet}
    assert "trace_info" not in gone
    later = trash.report()
    assert later.experiments == {late}
    assert protected(later, "experiments", "experiment_id") == {live: "active"}
    trash.purge(later)


def _send_trace(world: World, experiment: str) -> None:
    """Make a trace as a service does, by OpenTelemetry."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = bytes(range(16)), bytes(range(8)), "call"
    span.start_time_unix_nano = span.end_time_unix_nano = time.time_ns()
    headers = {"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": experiment}
    sent = world.http.post(f"{world.uri}/v1/traces", request.SerializeToString(), headers=headers)
    assert sent.ok, "the server refuses them now, and this rule is not needed for newer ones"


def test_rows_without_a_foreign_key_go_with_their_experiment(trash: Trash) -> None:
    """Sums by day, which an experiment with the same id would show, and bindings of its scorers."""
    world = trash.world
    experiment, other = world.experiment(), world.experiment()
    scorers = {}
    for home in (experiment, other):
        world.scorer(home)
        rollup = (
            "sql_trace_metric_daily_rollups (experiment_id, rollup_day, metric_name, grouping_set"
        )
        world.sql(
            f"INSERT INTO {rollup}, sample_count) VALUES (?, '2026-01-01', 'latency', 'all', 7)",
            int(home),
        )
        world.sql(
            "INSERT INTO sql_trace_rollup_rebuild_queue VALUES (?, '2026-01-01', 'assessment')",
            int(home),
        )
    rows = trash.state().rows["scorers"]
    for home in (experiment, other):
        (scorers[home],) = [row for row in rows if int(home) in row]
    # Its endpoint logs to the other experiment, which stays for that.
    world.sql(
        "INSERT INTO endpoints (endpoint_id, name, created_at, last_updated_at, experiment_id,"
        " usage_tracking) VALUES ('ep', 'chat', 1, 1, ?, ?)",
        *(int(other), True),
    )
    for home in (experiment, other):
        (scorer,) = (str(value) for value in scorers[home] if len(str(value)) > 30)
        world.sql(
            "INSERT INTO endpoint_bindings (endpoint_id, resource_type, resource_id, created_at,"
            " last_updated_at) VALUES ('ep', 'scorer', ?, 1, 1)",
            scorer,
        )
    # Its traces are in a queue of the other one, and linked to a run and to a prompt.
    run = trash.run(experiment, deleted=None)
    trace = world.source_trace(experiment, run)
    world.review_queue(other)
    world.sql(
        "INSERT INTO review_queue_items (queue_id, item_type, item_id, status, creation_time_ms,"
        " last_update_time_ms) SELECT queue_id, 'trace', ?, 'pending', 1, 1 FROM review_queues",
        trace,
    )
    link = "INSERT INTO entity_associations VALUES (?, 'trace', ?, ?, ?, 1)"
    world.sql(link, "a1", trace, "run", run)
    world.sql(link, "a2", trace, "prompt_version", "p/1")
    for home in (experiment, other):
        trash.drop_experiment(home)
    plan = trash.report()
    assert plan.experiments == {experiment}
    assert protected(plan, "experiments", "experiment_id") == {other: "active"}
    before = trash.state()
    trash.purge(plan)
    gone = trash.state().rows_gone_since(before)
    tables = ("sql_trace_metric_daily_rollups", "sql_trace_rollup_rebuild_queue")
    assert [len(gone[table]) for table in (*tables, "endpoint_bindings", "scorers")] == [1] * 4
    assert len(gone["review_queue_items"]) == 1
    assert len(gone["entity_associations"]) == 2
    assert sum(map(len, gone.values())) == plan.document["summary"]["freed"]["rows"]
    assert not _own_rows({table: gone[table] for table in tables}, other)
    world.sql("DELETE FROM endpoint_bindings")
    world.sql("DELETE FROM endpoints")


def test_rows_of_a_run_and_its_model_count_once(trash: Trash) -> None:
    """A younger run stays, and the model is deleted with their rows."""
    world = trash.world
    home = world.experiment()
    for days in (100, 3):
        run = trash.run(home, deleted=None)
        model = trash.model(home, run, deleted=None)
        world.put_out_model(run, model)
        world.measure_model(run, model)
        trash.delete(run, days)
        trash.drop_model(model)
    plan = trash.report()
    assert len(plan.runs) == 1
    assert len(plan.document["logged_models"]) == 2
    before = trash.state()
    trash.purge(plan)
    gone = trash.state().rows_gone_since(before)
    assert len(gone["logged_model_metrics"]) == len(gone["inputs"]) == 2
    deleted = sum(map(len, gone.values()))
    assert plan.document["summary"]["freed"]["rows"] == deleted
    listed = [*plan.document["runs"], *plan.document["logged_models"]]
    assert sum(entry["row_count"] for entry in listed) == deleted


def test_files_of_traces_count_in_the_plan_and_its_guards(trash: Trash) -> None:
    """They are deleted with their experiment; without their store it stays."""
    world = trash.world
    experiment = world.experiment()
    trace = world.source_trace(experiment, trash.run(experiment))
    trash.put(f"{experiment}/traces/{trace}/artifacts/traces.json", 7_000)
    trash.drop_experiment(experiment)
    policy = trash.bench.dir / "policy.yml"
    policy.write_text("version: 1\npurge: {max_bytes: 7 kB}\n")
    refused = trash.report("--policy", policy, codes=(REFUSED,))
    assert "7,020 bytes" in refused.document["diagnostics"][0]["message"]
    plan = trash.report()
    (entry,) = plan.document["experiments"]
    assert (entry["size_bytes"], entry["file_count"]) == (7_000, 1)
    assert plan.document["summary"]["freed"]["file_bytes"] == 7_020
    root = trash.root.rename(trash.root.with_name("unmounted"))
    trash.root.mkdir()
    before = trash.state()
    without = trash.report(name="without.json")
    assert protected(without, "experiments", "experiment_id") == {experiment: "unreachable_store"}
    trash.purge(plan, codes=(REFUSED,))
    assert trash.state() == before
    trash.root.rmdir()
    root.rename(trash.root)
    trash.purge(plan)
    after = trash.state()
    assert not after.rows["trace_info"]
    assert not [path for path in after.files if experiment in path.split("/")]


def test_siblings_with_a_common_prefix_stay(trash: Trash) -> None:
    world = trash.world
    experiment = world.experiment()
    run = trash.run(experiment)
    trash.put(f"{experiment}0/{run}/artifacts/a")
    trash.put(f"{experiment}/{run}.bak/artifacts/a")
    trash.put(f"{experiment}/{run}/artifacts2/a")
    trash.put(f"{experiment}/{run}/notes.txt")
    before = trash.state()
    trash.purge(trash.report())
    gone = trash.state().files_gone_since(before)
    assert gone == {f"{experiment}/{run}/artifacts/folder/{n}.bin" for n in range(2)}


# What protects -----------------------------------------------------------------------------------


def _version(trash: Trash, run: str) -> None:
    trash.world.model("fraud")
    trash.world.version("fraud", source=f"runs:/{run}/model", run_id=run)


def _version_by_source(trash: Trash, run: str) -> None:
    uri = trash.world.call("GET", f"runs/get?run_id={run}", {})["run"]["info"]["artifact_uri"]
    trash.world.model("fraud")
    trash.world.version("fraud", source=f"{uri}//model/")


def _child(trash: Trash, run: str) -> None:
    middle = trash.run(_home(trash, run), parent=run)
    trash.run(_home(trash, run), parent=middle, deleted=None)


def _made_a_model(trash: Trash, run: str) -> None:
    trash.model(_home(trash, run), run, deleted=None)


def _measured_a_model(trash: Trash, run: str) -> None:
    trash.world.restore_run(run)
    trash.world.measure_model(run, trash.model(_home(trash, run), deleted=None))
    trash.delete(run)


def _nested_location(trash: Trash, run: str) -> str:
    uri = f"mlflow-artifacts:/{_home(trash, run)}/{run}/artifacts/./sub"
    body = {"name": f"nested-{run}", "artifact_location": uri}
    return str(trash.world.call("POST", "experiments/create", body)["experiment_id"])


def _keep_tag(trash: Trash, run: str) -> None:
    trash.world.restore_run(run)
    trash.world.tag_run(run, "mlflow_gc.keep", "")
    trash.delete(run)


def _keep_tag_on_experiment(trash: Trash, run: str) -> None:
    trash.world.tag_experiment(_home(trash, run), "mlflow_gc.keep", "")


def _home(trash: Trash, run: str) -> str:
    info = trash.world.call("GET", f"runs/get?run_id={run}", {})["run"]["info"]
    return str(info["experiment_id"])


PROTECTIONS: dict[str, tuple[Callable[[Trash, str], object], str]] = {
    "a version by run id": (_version, "registered_model"),
    "a version by its source": (_version_by_source, "registered_model"),
    "an active run nested in it": (_child, "tree"),
    "a model that it made": (_made_a_model, "active"),
    "a model that it measured": (_measured_a_model, "active"),
    "a location in its folder": (_nested_location, "needed_files"),
    "a keep tag": (_keep_tag, "keep_tag"),
    "a keep tag on the experiment": (_keep_tag_on_experiment, "keep_tag"),
}


@pytest.mark.parametrize("what", depth.some([*PROTECTIONS], 3))
def test_what_is_needed_is_not_planned_and_not_purged(trash: Trash, what: str) -> None:
    """Before the plan it protects; after the plan the re-check under the lock sees it."""
    protect, reason = PROTECTIONS[what]
    experiment = trash.world.experiment()
    run, other = trash.run(experiment), trash.run(trash.world.experiment())
    plan = trash.report(name="before.json")
    assert plan.runs == {run, other}
    protect(trash, run)
    later = trash.report(name="after.json")
    assert run not in later.runs
    assert protected(later, "runs", "run_id")[run] == reason
    before = trash.state()
    outcome = trash.purge(plan)
    gone = trash.state().rows_gone_since(before)
    assert {row[0] for row in gone["runs"]} == {other}
    assert not [f for f in trash.state().files_gone_since(before) if run in f]
    assert reason in outcome.out or "changed" in outcome.out or "was" in outcome.out


def test_a_dry_run_sees_what_was_restored_since_the_plan(trash: Trash) -> None:
    """Runs that were to go, too, and protect their parent and their experiment now."""
    parent = trash.run(trash.world.experiment())
    home = trash.world.experiment()
    child = trash.run(home, parent=parent)
    trash.drop_experiment(home)
    plan = trash.report()
    assert plan.entities == {("run", parent), ("run", child), ("experiment", home)}
    trash.world.restore_run(child)
    before = trash.state()
    for outcome in (trash.purge(plan, "--dry-run"), trash.purge(plan)):
        assert f"run {parent}: tree" in outcome.out
        assert f"experiment {home}: active" in outcome.out
    assert trash.state() == before


def test_files_in_the_folder_of_a_run_stay_although_their_owner_may_go(trash: Trash) -> None:
    """Between plan and deletion somebody may restore the owner, and these files would be gone."""
    world = trash.world
    run = trash.run(world.experiment())
    inside = f"{_home(trash, run)}/{run}/artifacts/sub"
    body = {"name": "nested", "artifact_location": f"mlflow-artifacts:/{inside}"}
    nested = str(world.call("POST", "experiments/create", body)["experiment_id"])
    world.run(nested)
    trash.put(f"{inside}/folder/file.bin")
    trash.drop_experiment(nested)
    plan = trash.report()
    assert run not in plan.runs
    assert protected(plan, "runs", "run_id")[run] == "needed_files"


@pytest.mark.parametrize("by", ["its path", "a link", "a path of the server"])
def test_files_of_an_experiment_that_is_located_by_another_scheme_stay(
    trash: Trash, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server passes on the files of the run, and its clients reach the experiment directly."""
    world = trash.world
    run, free = (trash.run(world.experiment()) for _ in range(2))
    if by == "a path of the server":
        # Where that keeps files is not known then.
        monkeypatch.setattr(Trash, "options", trash.options[:-2])
    plan = trash.report(name="before.json")
    assert plan.runs == {run, free}
    root = trash.root
    if by == "a link":
        root = trash.bench.dir / "link"
        root.symlink_to(trash.root)
    inside = f"{_home(trash, run)}/{run}/artifacts/sub"
    body = {"name": "nested", "artifact_location": f"file://{root}/{inside}"}
    active = world.run(str(world.call("POST", "experiments/create", body)["experiment_id"]))
    file = trash.put(f"{inside}/{active}/artifacts/model.pkl")
    trash.purge(plan)
    assert file in trash.state().files
    later = trash.report()
    assert protected(later, "runs", "run_id") == {run: "needed_files"}


def test_files_stay_where_an_experiment_was_located_before(trash: Trash) -> None:
    """Somebody moved it by SQL: its active runs are still within the folder of another one."""
    world = trash.world
    run = trash.run(world.experiment())
    nested = _nested_location(trash, run)
    world.run(nested)
    world.sql(
        "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
        *(f"mlflow-artifacts:/{nested}", int(nested)),
    )
    plan = trash.report()
    assert not plan.runs
    assert protected(plan, "runs", "run_id") == {run: "needed_files"}


def test_a_restored_run_survives_with_its_files(trash: Trash) -> None:
    run = trash.run(trash.world.experiment())
    plan = trash.report()
    trash.world.restore_run(run)
    before = trash.state()
    trash.purge(plan)
    assert trash.state() == before


def test_a_run_that_was_deleted_again_waits(trash: Trash) -> None:
    run = trash.run(trash.world.experiment())
    plan = trash.report()
    trash.world.restore_run(run)
    trash.world.delete_run(run)
    before = trash.state()
    assert "deleted_time was" in trash.purge(plan).out
    assert trash.state() == before


def test_a_run_without_a_deletion_time_waits_for_the_policy(trash: Trash) -> None:
    run = trash.run(trash.world.experiment())
    trash.world.sql("UPDATE runs SET deleted_time = NULL WHERE run_uuid = ?", run)
    plan = trash.report()
    assert protected(plan, "runs", "run_id") == {run: "unknown_deletion_time"}
    policy = trash.bench.dir / "policy.yml"
    policy.write_text('version: 1\npurge:\n  unknown_since: "2020-01-01"\n')
    plan = trash.report("--policy", policy)
    assert plan.runs == {run}
    trash.purge(plan)
    assert not [r for r in trash.state().rows["runs"] if r[0] == run]


def test_a_model_that_a_version_or_an_active_run_needs_is_retained(trash: Trash) -> None:
    world = trash.world
    experiment = world.experiment()
    named, read, free = (trash.model(experiment, deleted=None) for _ in range(3))
    world.model("fraud")
    world.version("fraud", source=f"models:/{named}")
    reader = trash.run(experiment, deleted=None)
    world.use_model(reader, read)
    for model in (named, read, free):
        world.delete_logged_model(model)
        world.sql(
            "UPDATE logged_models SET last_updated_timestamp_ms = ? WHERE model_id = ?",
            world.ago(100),
            model,
        )
    plan = trash.report()
    assert ids(plan, "logged_models", "model_id") == {free}
    reasons = protected(plan, "logged_models", "model_id")
    assert reasons == {named: "registered_model", read: "active"}


def test_an_experiment_waits_for_what_is_in_it(trash: Trash) -> None:
    """A younger run in the trash, and an active logged model."""
    world = trash.world
    young, busy = world.experiment(), world.experiment()
    trash.run(young, deleted=None)
    trash.model(busy, deleted=None)
    for experiment in (young, busy):
        trash.drop_experiment(experiment)
    run = trash.run(world.experiment(), deleted=None)
    world.sql("UPDATE runs SET experiment_id = ? WHERE run_uuid = ?", int(young), run)
    trash.delete(run, 5)
    plan = trash.report()
    assert plan.experiments == set()
    assert protected(plan, "experiments", "experiment_id") == {young: "live_run", busy: "active"}


# Stores ------------------------------------------------------------------------------------------


def test_an_artifact_root_that_looks_unmounted_stops_everything(trash: Trash) -> None:
    run = trash.run(trash.world.experiment())
    plan = trash.report()
    moved = trash.root.rename(trash.root.with_name("elsewhere"))
    trash.root.mkdir()
    before = trash.state()
    assert "mounted" in trash.purge(plan, codes=(REFUSED,)).err
    assert trash.state() == before
    later = trash.report()
    assert protected(later, "runs", "run_id") == {run: "unreachable_store"}
    trash.root.rmdir()
    moved.rename(trash.root)


def test_a_folder_that_cannot_be_read_retains_its_entity_alone(trash: Trash) -> None:
    """For a plan, and if it comes after the plan: the run, the orphan and the sizes."""
    experiment = trash.world.experiment()
    runs = [trash.run(experiment) for _ in range(3)]
    orphans = [trash.run(experiment) for _ in range(2)]
    for orphan in orphans:
        trash.world.purge_run(orphan)
    for path in trash.root.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    make_unreadable(trash.root / experiment / runs[0] / "artifacts" / "deep")
    plan = trash.report("--policy", _orphaning_policy(trash))
    assert plan.runs == {*runs[1:]}
    (kept,) = plan.document["protected"]["runs"]
    assert (kept["run_id"], kept["reason"]) == (runs[0], "unreachable_store")
    assert "too long" in str(kept["via"])
    (note,) = (d["message"] for d in plan.document["diagnostics"] if d["code"] == "files_unknown")
    assert "too long" in note
    assert len(plan.document["files"]) == 2
    for folder in (runs[1], orphans[0]):
        make_unreadable(trash.root / experiment / folder / "artifacts" / "deep")
    before = trash.state()
    assert "too long" in trash.purge(plan, codes=(PARTIAL,)).err
    after = trash.state()
    gone = after.files_gone_since(before)
    assert {path.split("/")[1] for path in gone} == {runs[2], orphans[1]}
    assert _own_rows(after.rows_gone_since(before), runs[2])


def test_files_in_no_known_layout_are_shown_and_stay(trash: Trash) -> None:
    experiment = trash.world.experiment()
    trash.put(f"{experiment}/notes.txt", size=30)
    trash.put("backup of Anna/model.bin", size=2_000)
    plan = trash.report("--policy", _orphaning_policy(trash))
    (note,) = (d["message"] for d in plan.document["diagnostics"] if d["code"] == "unknown_layout")
    assert f"keeps its files: 3 files ({size_of(2_040)}), for example " in note
    assert str(trash.root) in note
    assert not plan.document["files"]
    # They are looked for with the orphans only.
    assert not trash.report(name="other.json").document["diagnostics"]


def test_an_artifact_root_that_a_purge_emptied_is_no_other_store(trash: Trash) -> None:
    """The same plan finishes what a crash cut off, and then has nothing left to do."""
    experiment = trash.world.experiment()
    runs = {trash.run(experiment) for _ in range(3)}
    trash.drop_experiment(experiment)
    trash.run(trash.world.experiment(), deleted=None, files=0)
    shutil.rmtree(trash.root / "other")
    plan = trash.report()
    assert plan.runs == runs
    rows = Snapshot(trash.world.database)
    trash.purge(plan)
    done = trash.state()
    assert not any(trash.root.iterdir())
    assert "Deleted 0 bytes in 0 files, and 0 rows." in trash.purge(plan).out
    # A crash after the files were deleted, and before the rows were.
    rows.put_back()
    lines = _journal(plan).read_text().splitlines(keepends=True)
    intent = next(n for n, line in enumerate(lines) if '"intent"' in line)
    _journal(plan).write_text("".join(lines[: intent + 1]))
    trash.purge(plan)
    assert trash.state() == done
    assert re.search(r"^runs +0 +3 +0$", trash.purge(plan).out, re.MULTILINE)
    # Without that journal nobody knows that it was a purge.
    rows.put_back()
    before = trash.state()
    _journal(plan).unlink()
    assert "mounted" in trash.purge(plan, codes=(REFUSED,)).err
    assert trash.state() == before
    rows.close()


@pytest.mark.parametrize("count", [2, 7])
def test_shards_purge_a_plan_together(trash: Trash, count: int) -> None:
    """In any order, each once; an experiment goes with the last of its contents."""
    world = trash.world
    large, small = world.experiment(), world.experiment()
    inside = {trash.run(large, deleted=None) for _ in range(9)} | {trash.run(small, deleted=None)}
    models = {trash.model(large), trash.model(small)}
    for experiment in (large, small):
        trash.drop_experiment(experiment)
    survivor = trash.run(world.experiment(), deleted=3)
    plan = trash.report()
    assert (plan.runs, plan.experiments) == (inside, {large, small})
    before = trash.state()
    trash.bench.cli("purge", "--yes", "--shard", "1/2", *trash.options).expect(64)

    def deleted(number: int) -> list[str]:
        journal = plan.path.with_name(f"purge.json.shard-{number}-of-{count}.journal.jsonl")
        records = [r for r in Journal.load(journal).lines if r["type"] == "record"]
        assert {(r["outcome"], r["reason"]) for r in records} <= {
            ("deleted", None),
            ("skipped", "gone"),
        }
        return [str(r["id"]) for r in records if r["outcome"] == "deleted"]

    planned = sorted(inside | models | {large, small})
    left = ""
    for number in reversed(range(1, count + 1)):
        outcome = trash.purge(plan, "--shard", f"{number}/{count}")
        assert f"This was shard {number}/{count}." in outcome.text
        left += outcome.text
    assert "left to the shard that empties" in left
    after = trash.state()
    for _ in range(2):
        assert sorted(i for n in range(1, count + 1) for i in deleted(n)) == planned
        for number in range(1, count + 1):
            trash.purge(plan, "--shard", f"{number}/{count}")
    assert trash.state() == after
    assert {str(row[0]) for row in after.rows["runs"]} >= {survivor}
    assert not {str(row[0]) for row in after.rows["runs"]} & inside
    assert not [path for path in after.files_gone_since(before) if survivor in path]
    rest = trash.purge(plan)
    assert "Deleted 0 bytes in 0 files, and 0 rows." in rest.out
    assert trash.state() == after


def test_the_whole_plan_finishes_a_shard_that_was_killed(trash: Trash) -> None:
    """Between its files and its rows; by the journal of the shard."""
    experiment = trash.world.experiment()
    runs = {trash.run(experiment) for _ in range(6)}
    survivor = trash.run(trash.world.experiment(), deleted=None)
    plan = trash.report()
    rows = Snapshot(trash.world.database)
    trash.purge(plan, "--shard", "1/2")
    rows.put_back()
    journal = plan.path.with_name("purge.json.shard-1-of-2.journal.jsonl")
    lines = journal.read_text().splitlines(keepends=True)
    intent = next(n for n, line in enumerate(lines) if '"intent"' in line)
    journal.write_text("".join(lines[: intent + 1]))
    elsewhere = journal.rename(trash.bench.dir / "elsewhere")
    assert "the journal of an earlier purge" in trash.purge(plan, codes=(PARTIAL,)).out
    assert len(trash.state().rows["runs"]) == 1 + len(runs) // 2
    elsewhere.rename(journal)
    trash.purge(plan)
    assert {row[0] for row in trash.state().rows["runs"]} == {survivor}
    rows.close()


def test_the_artifacts_of_another_server_are_not_taken_for_none(trash: Trash) -> None:
    """Rows stay when their files are looked for in the wrong place."""
    run = trash.run(trash.world.experiment())
    plan = trash.report()
    elsewhere = trash.bench.dir / "elsewhere"
    (elsewhere / "999" / "x").mkdir(parents=True)
    (elsewhere / "999" / "x" / "file").write_text("x")
    before = trash.state()
    wrong = ("--artifacts-destination", elsewhere)
    for dry_run in (("--dry-run",), (), (), ()):
        outcome = trash.purge(plan, *wrong, *dry_run, codes=(PARTIAL,))
        assert "--artifacts-destination" in outcome.text
        assert trash.state() == before
    later = trash.report(*wrong, name="later.json")
    assert protected(later, "runs", "run_id") == {run: "unreachable_store"}
    trash.purge(plan)
    assert not trash.state().rows["runs"]


def test_files_behind_a_symbolic_link_are_left_alone(trash: Trash) -> None:
    experiment = trash.world.experiment()
    run, other = trash.run(experiment), trash.run(experiment)
    plan = trash.report()
    folder = trash.root / experiment / run
    folder.rename(trash.bench.dir / "elsewhere")
    folder.symlink_to(trash.bench.dir / "elsewhere")
    options = (plan.path, *trash.options, "--format", "json")
    check = trash.bench.cli("check", *options).json()
    assert [(r["id"], r["code"]) for r in check["runs"]] == [(run, "failed")]
    for dry_run in (("--dry-run",), ()):
        assert "symbolic link" in trash.purge(plan, *dry_run, codes=(PARTIAL,)).text
    assert (trash.bench.dir / "elsewhere" / "artifacts" / "folder" / "0.bin").exists()
    assert {r[0] for r in trash.state().rows["runs"]} == {run}
    assert other not in str(trash.state().files)
    assert protected(trash.report(), "runs", "run_id") == {run: "unreachable_store"}


def test_an_experiment_stays_with_a_run_whose_files_cannot_be_deleted(trash: Trash) -> None:
    """Although the plan lists both: the rows of the run would be deleted with the experiment."""
    home = trash.world.experiment()
    kept, gone = trash.run(home), trash.run(home)
    trash.drop_experiment(home)
    trash.run(trash.world.experiment(), deleted=None)
    plan = trash.report()
    assert plan.entities == {("run", kept), ("run", gone), ("experiment", home)}
    folder = trash.root / home / kept
    folder.rename(trash.bench.dir / "elsewhere")
    folder.symlink_to(trash.bench.dir / "elsewhere")
    before = trash.state()
    outcome = trash.purge(plan, codes=(PARTIAL,))
    assert f"experiment {home}: active" in outcome.out
    rows = trash.state().rows_gone_since(before)
    assert {row[0] for row in rows["runs"]} == {gone}
    assert "experiments" not in rows
    assert _own_rows(rows, gone)


def test_the_journal_has_all_that_was_deleted_before_too_many_failures(trash: Trash) -> None:
    """Those of the same batch, too: they are gone, and their files count."""
    linked, fine = trash.world.experiment(), trash.world.experiment()
    (run,) = (trash.run(linked, files=1),)
    left = {run, *trash.copies(run, MAX_FAILURES_IN_A_ROW)}
    gone = {trash.run(fine, files=1) for _ in range(3)}
    plan = trash.report()
    folder = trash.root / linked
    folder.rename(trash.bench.dir / "elsewhere")
    folder.symlink_to(trash.bench.dir / "elsewhere")
    outcome = trash.purge(plan, codes=(ERROR,))
    assert "failed one after the other" in outcome.err
    assert "in 3 files" in outcome.out
    assert {row[0] for row in trash.state().rows["runs"]} == left
    journal = Journal.load(_journal(plan))
    assert journal.with_outcome("deleted") == {("run", run) for run in gone}
    assert journal.with_outcome("failed") == {("run", run) for run in left}


def test_a_run_cannot_be_restored_while_its_batch_is_tried_again(
    trash: Trash, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of another run cannot be deleted, when those of this one are gone already."""
    world = trash.world
    experiment = world.experiment()
    run, refused = trash.run(experiment), trash.run(experiment)
    plan = trash.report()
    done = threading.Event()
    restored: list[int] = []

    def restore() -> None:
        with closing(sqlite3.connect(world.database, timeout=0, isolation_level=None)) as live:
            while not done.is_set() and not restored:
                with contextlib.suppress(sqlite3.OperationalError):
                    found = live.execute(
                        "UPDATE runs SET lifecycle_stage = 'active' WHERE run_uuid = ?", (run,)
                    )
                    restored.append(found.rowcount)

    waiting = threading.Thread(target=restore)
    delete, begin = LocalStore.delete, Database.transaction

    def refuse(self: LocalStore, paths: Sequence[str]) -> Mapping[str, str]:
        if not waiting.ident:
            waiting.start()
        locked = {path: "it is locked" for path in paths if f"{refused}/artifacts/folder/0" in path}
        return {**delete(self, [path for path in paths if path not in locked]), **locked}

    def begin_later(self: Database) -> AbstractContextManager[None]:
        if waiting.ident:
            time.sleep(0.2)  # who waits is first
        return begin(self)

    monkeypatch.setattr(LocalStore, "delete", refuse)
    monkeypatch.setattr(Database, "transaction", begin_later)
    server = mlflow_gc.Server(world.uri, backend_store_uri=trash.database_uri)
    mlflow_gc.purge(plan.path, server, artifacts_destination=str(trash.root))
    done.set()
    waiting.join()
    assert restored in ([], [0])
    assert {row[0] for row in trash.state().rows["runs"]} == {refused}
    assert not [path for path in trash.state().files if run in path]
    assert len([path for path in trash.state().files if refused in path]) == 1


def test_what_a_crash_needs_is_on_disk_before_anything_goes(
    trash: Trash, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock before the re-check, the intent before the files, the records before the next batch."""
    world = trash.world
    home, dropped = world.experiment(), world.experiment()
    runs = [trash.run(home) for _ in range(3)] + [trash.run(dropped, deleted=None)]
    model = trash.model(home)
    trace = world.source_trace(dropped, runs[-1])
    trash.put(f"{dropped}/traces/{trace}/artifacts/traces.json")
    trash.drop_experiment(dropped)
    orphan = trash.run(home)
    world.purge_run(orphan)
    for path in trash.root.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    plan = trash.report("--policy", _orphaning_policy(trash))
    assert len(plan.document["files"]) == 1
    monkeypatch.setattr(batch, "BATCH", 2)
    fsync, begin, lock = os.fsync, Database.transaction, Database.lock_rows
    look, delete = TrashReader.trash, LocalStore.delete
    on_disk: list[dict[str, Any]] = []
    locked: set[str] = set()
    checked: set[str] = set()
    deleted: list[str] = []

    def intended() -> set[str]:
        return {i for line in on_disk if line["type"] == "intent" for i in line["ids"]}

    def note(handle: int) -> None:
        fsync(handle)
        if _journal(plan).exists():
            on_disk[:] = map(json.loads, _journal(plan).read_text().splitlines())

    def begin_recorded(self: Database) -> AbstractContextManager[None]:
        assert intended() == {line["id"] for line in on_disk if line["type"] == "record"}
        locked.clear()
        return begin(self)

    def note_lock(self: Database, table: str, condition: ColumnElement[bool]) -> None:
        lock(self, table, condition)
        keys = self.tables[table].primary_key.columns
        locked.update(str(row[0]) for row in self.read(select(*keys).where(condition)))

    def look_locked(self: TrashReader, only: Any = None, **more: Any) -> Any:
        ids = {i for of_kind in only.values() for i in of_kind}
        assert ids <= locked
        checked.update(ids)
        return look(self, only, **more)

    def delete_intended(self: LocalStore, paths: Sequence[str]) -> Mapping[str, str]:
        names = {i.rpartition("/")[2] for i in intended()}
        assert all(names & {*path.split("/")} for path in paths)
        deleted.extend(paths)
        return delete(self, paths)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(Database, "transaction", begin_recorded)
    monkeypatch.setattr(Database, "lock_rows", note_lock)
    monkeypatch.setattr(TrashReader, "trash", look_locked)
    monkeypatch.setattr(LocalStore, "delete", delete_intended)
    server = mlflow_gc.Server(world.uri, backend_store_uri=trash.database_uri)
    mlflow_gc.purge(plan.path, server, artifacts_destination=str(trash.root))
    assert checked == {*runs, model, dropped}
    assert len(deleted) == plan.document["summary"]["freed"]["files"] == 12
    assert not [path for path in trash.state().files if home in path or dropped in path]


def test_a_link_within_the_files_goes_and_its_target_stays(trash: Trash) -> None:
    experiment = trash.world.experiment()
    run = trash.run(experiment)
    target = trash.bench.dir / "precious.txt"
    target.write_text("x")
    (trash.root / experiment / run / "artifacts" / "link").symlink_to(target)
    (trash.root / experiment / run / "artifacts" / "folder-link").symlink_to(trash.bench.dir)
    trash.purge(trash.report())
    assert target.exists()
    assert not (trash.root / experiment / run).exists()


def test_files_or_rows_alone(trash: Trash) -> None:
    """Also files of the traces of an experiment whose runs keep their rows."""
    world = trash.world
    experiment = world.experiment()
    run = trash.run(experiment)
    trace = world.source_trace(experiment, run)
    trash.put(f"{experiment}/traces/{trace}/artifacts/traces.json")
    trash.drop_experiment(experiment)
    trash.run(world.experiment(), deleted=None)
    before = trash.state()
    plan = trash.report("--keep-rows")
    trash.purge(plan)
    assert trash.state().rows == before.rows
    gone = trash.state().files_gone_since(before)
    assert len(gone) == plan.document["summary"]["freed"]["files"] == 3
    trash.purge(plan)
    trash.put(f"{experiment}/x")
    before = trash.state()
    trash.purge(trash.report("--keep-files"))
    assert trash.state().files == before.files
    assert {row[0] for row in trash.state().rows_gone_since(before)["runs"]} == {run}


# Orphans -----------------------------------------------------------------------------------------


def test_files_of_entities_in_no_table_go_when_they_are_old(trash: Trash) -> None:
    """What the purge of MLflow leaves; anything that MLflow does not lay out so stays."""
    world = trash.world
    experiment = world.experiment()
    active = trash.run(experiment, deleted=None)
    gone, young = trash.run(experiment, files=3), trash.run(experiment)
    for run in (gone, young):
        world.purge_run(run)
    model, trace = f"m-{'a' * 32}", f"tr-{'b' * 32}"
    trash.put(f"{experiment}/models/{model}/artifacts/MLmodel")
    trash.put(f"{experiment}/traces/{trace}/artifacts/traces.json")
    others = {
        trash.put(f"{experiment}/{'c' * 31}/artifacts/a"),
        trash.put(f"{experiment}/folder/{'d' * 32}/a"),
        trash.put(f"{'e' * 32}/artifacts/a"),
        trash.put(f"{experiment}/notes.txt"),
    }
    for path in trash.root.rglob("*"):
        if young not in str(path) and path.is_file():
            os.utime(path, (1_600_000_000, 1_600_000_000))
    policy = trash.bench.dir / "policy.yml"
    policy.write_text("version: 1\npurge: {orphans_after: 30d}\n")
    assert not trash.report(name="without.json").document["files"]
    plan = trash.report("--policy", policy)
    entities = {entry["entity"] for entry in plan.document["files"]}
    assert entities == {f"run {gone}", f"logged_model {model}", f"trace {trace}"}
    assert plan.document["summary"]["freed"]["files"] == 5
    before = trash.state()
    # Somebody imported a run with this id meanwhile.
    back = trash.run(experiment, deleted=None, files=0)
    world.sql("UPDATE tags SET run_uuid = ? WHERE run_uuid = ?", "x" * 32, back)
    world.sql("DELETE FROM tags WHERE run_uuid = ?", "x" * 32)
    for table in ("params", "metrics", "latest_metrics"):
        world.sql(f"DELETE FROM {table} WHERE run_uuid = ?", back)
    world.sql("UPDATE runs SET run_uuid = ? WHERE run_uuid = ?", gone, back)
    trash.purge(plan)
    after = trash.state()
    deleted = after.files_gone_since(before)
    assert len(deleted) == 2
    assert all(model in path or trace in path for path in deleted)
    world.purge_run(gone)
    trash.purge(plan)
    after = trash.state()
    assert not [path for path in after.files if gone in path]
    assert others < after.files.keys()
    assert [path for path in after.files if active in path]
    assert [path for path in after.files if young in path]


def test_files_that_a_version_needs_stay_although_their_run_is_in_no_table(trash: Trash) -> None:
    """Somebody deleted the rows of the run alone; usage promises what purge frees."""
    world = trash.world
    experiment = world.experiment()
    trash.run(experiment, deleted=None)
    named, located, later, free = (trash.run(experiment) for _ in range(4))
    model = f"m-{'a' * 32}"
    trash.put(f"{experiment}/models/{model}/artifacts/MLmodel")
    world.model("fraud")
    world.version("fraud", source=f"models:/{model}", run_id=named)
    world.version("fraud", source=f"{trash.root}/{experiment}/{located}/artifacts/model")
    for run in (named, located, later, free):
        world.purge_run(run)
    for path in trash.root.rglob("*"):
        if path.is_file():
            os.utime(path, (1_600_000_000, 1_600_000_000))
    policy = _orphaning_policy(trash)
    args = ("--policy", policy, "--format", "json", *trash.options)
    usage = trash.bench.cli("usage", *args).expect(0).json()
    plan = trash.report("--policy", policy)
    entities = {entry["entity"] for entry in plan.document["files"]}
    assert entities == {f"run {later}", f"run {free}"}
    reasons = protected(plan, "files", "uri")
    assert {uri.rpartition("/")[2]: reason for uri, reason in reasons.items()} == {
        **dict.fromkeys((named, located, model), "registered_model")
    }
    freed = plan.document["summary"]["freed"]["file_bytes"]
    assert usage["totals"]["freed_at_once_bytes"] == freed == 40
    world.version("fraud", source=f"runs:/{later}/model")
    before = trash.state()
    assert "registered_model: model_version fraud/3" in trash.purge(plan).out
    gone = trash.state().files_gone_since(before)
    assert len(gone) == 2
    assert all(free in path for path in gone)


def test_the_same_plan_finishes_the_files_of_an_orphan(
    trash: Trash, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was refused, or cut off; not what somebody wrote meanwhile."""
    world = trash.world
    experiment = world.experiment()
    trash.run(experiment, deleted=None)
    orphan = trash.run(experiment, files=3)
    world.purge_run(orphan)
    for path in trash.root.rglob("*"):
        if path.is_file():
            os.utime(path, (1_600_000_000, 1_600_000_000))
    plan = trash.report("--policy", _orphaning_policy(trash))
    delete = LocalStore.delete

    def refuse(self: LocalStore, paths: Sequence[str]) -> Mapping[str, str]:
        locked = {path: "it is locked" for path in paths if path.endswith("/0.bin")}
        return {**delete(self, [path for path in paths if path not in locked]), **locked}

    with monkeypatch.context() as patched:
        patched.setattr(LocalStore, "delete", refuse)
        server = mlflow_gc.Server(world.uri, backend_store_uri=trash.database_uri)
        root = str(trash.root)
        found = mlflow_gc.purge(plan.path, server, artifacts_destination=root)
    assert found.counts == {("file", "failed"): 1}
    folder = f"{experiment}/{orphan}/artifacts"
    new = trash.put(f"{folder}/new.bin", size=1)
    before = trash.state()
    assert "last_modified_time was" in trash.purge(plan).out
    assert trash.state() == before
    (trash.root / new).unlink()
    assert "in 1 file" in trash.purge(plan).out
    assert not [path for path in trash.state().files if orphan in path]
    assert "no file is there" in trash.purge(plan).out


def test_neither_a_dry_run_nor_a_check_deletes_orphaned_files(trash: Trash) -> None:
    experiment = trash.world.experiment()
    trash.run(experiment, deleted=None)
    orphan = trash.run(experiment)
    trash.world.purge_run(orphan)
    for path in trash.root.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    plan = trash.report("--policy", _orphaning_policy(trash))
    assert len(plan.document["files"]) == 1
    before = trash.state()
    trash.purge(plan, "--dry-run")
    trash.bench.cli("check", plan.path, *trash.options).expect(0)
    assert trash.state() == before
    assert not _journal(plan).exists()
    trash.purge(plan)
    assert not [path for path in trash.state().files if orphan in path]


def test_a_signed_plan_does_not_pass_other_files_off_as_orphaned(trash: Trash) -> None:
    """Anybody can sign a plan: the folder has to be that of the entity, and its parent is not."""
    world = trash.world
    experiment = world.experiment()
    active = trash.run(experiment, deleted=None)
    orphan = trash.run(experiment)
    world.purge_run(orphan)
    for path in trash.root.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    plan = trash.report("--policy", _orphaning_policy(trash))
    (entry,) = plan.document["files"]
    for name in (active, f"{active}/artifacts"):

        def aim(document: dict[str, Any], name: str = name) -> None:
            document["files"][0]["uri"] = entry["uri"].replace(orphan, name)

        signed = plan.edited(trash.bench.dir / "signed.json", aim, sign=True)
        before = trash.state()
        assert "it is not the folder of one entity" in trash.purge(signed).out
        assert trash.state() == before
    trash.purge(plan)
    assert not [path for path in trash.state().files if orphan in path]


def _orphaning_policy(trash: Trash, more: str = "") -> Path:
    policy = trash.bench.dir / "policy.yml"
    policy.write_text(f"version: 1\npurge: {{orphans_after: 30d{more}}}\n")
    return policy


def test_links_to_what_no_longer_exists_are_deleted(trash: Trash) -> None:
    """What ``mlflow gc`` leaves in inputs, input_tags and entity_associations; no other row."""
    world = trash.world
    home, dropped = world.experiment(), world.experiment()
    active, lost = (trash.run(home, deleted=None) for _ in range(2))
    for run in (active, lost):
        world.read_dataset(run, f"data-{run}")
        model = world.logged_model(home, run)
        world.put_out_model(run, model)
    world.tag_input(lost, "mlflow.data.context", "train")
    in_trash = trash.run(home, deleted=None)
    world.read_dataset(in_trash, "customers")
    trash.delete(in_trash)
    world.evaluation_dataset(home)
    orphan = world.evaluation_dataset(dropped)
    world.sql("UPDATE entity_associations SET created_time = ?", world.ago(90))
    young = world.evaluation_dataset(dropped)
    world.sql(
        "UPDATE entity_associations SET created_time = ? WHERE source_id = ?", world.ago(3), young
    )
    insert = "INSERT INTO entity_associations VALUES (?, ?, ?, ?, ?, ?)"
    for kind in ("prompt_version", "skill"):
        world.sql(insert, f"a-{kind}", kind, "p/1", kind, "q/1", world.ago(90))
    world.purge_run(lost)
    world.sql("DELETE FROM experiment_tags WHERE experiment_id = ?", int(dropped))
    world.sql("DELETE FROM experiments WHERE experiment_id = ?", int(dropped))
    assert not trash.report(name="without.json").document["links"]
    plan = trash.report("--policy", _orphaning_policy(trash))
    links = plan.document["links"]
    assert {entry["missing"] for entry in links} == {f"run {lost}", f"experiment {dropped}"}
    assert sum(entry["row_count"] for entry in links) == 4
    before = trash.state()
    dry = trash.purge(plan, "--dry-run")
    assert trash.state() == before
    assert "links" in dry.out
    trash.purge(plan)
    after = trash.state()
    gone = after.rows_gone_since(before)
    of_links = {t: gone[t] for t in ("inputs", "input_tags", "entity_associations")}
    ours = [row for row in of_links["inputs"] if lost in map(str, row)]
    assert len(ours) == 2
    assert [row for row in of_links["inputs"] if row not in ours] == [
        row for row in of_links["inputs"] if in_trash in map(str, row)
    ]
    assert len(of_links["input_tags"]) == 1
    assert [row[2] for row in of_links["entity_associations"]] == [orphan]
    assert sum(map(len, gone.values())) == plan.document["summary"]["freed"]["rows"]
    assert len([row for row in after.rows["inputs"] if active in map(str, row)]) == 2
    assert len(after.rows["entity_associations"]) == 4
    trash.purge(plan)
    assert trash.state() == after


def test_links_that_an_experiment_deletes_count_once(trash: Trash) -> None:
    """Of itself, and of its traces."""
    world = trash.world
    experiment, other = world.experiment(), world.experiment()
    traces = [world.source_trace(e, trash.run(e, deleted=None)) for e in (experiment, other)]
    insert = "INSERT INTO entity_associations VALUES (?, ?, ?, ?, ?, ?)"
    old = world.ago(90)
    for home, trace in zip((experiment, other), traces, strict=True):
        world.sql(insert, f"a-{home}", "trace", trace, "run", "f" * 32, old)
        world.sql(insert, f"b-{home}", "evaluation_dataset", "gone", "experiment", home, old)
    trash.drop_experiment(experiment)
    plan = trash.report("--policy", _orphaning_policy(trash))
    assert plan.experiments == {experiment}
    assert {entry["source"] for entry in plan.document["links"]} == {
        "evaluation_dataset gone",
        f"trace {traces[1]}",
    }
    before = trash.state()
    trash.purge(plan)
    gone = trash.state().rows_gone_since(before)
    assert len(gone["entity_associations"]) == 4
    assert sum(map(len, gone.values())) == plan.document["summary"]["freed"]["rows"]


def test_a_link_between_what_is_deleted_counts_once(trash: Trash) -> None:
    """Whatever its ends are, in the trash or not, and in whichever order these are deleted."""
    world = trash.world
    home, *dropped = (world.experiment() for _ in range(3))
    runs = [trash.run(home), trash.run(home), trash.run(dropped[0], deleted=None)]
    young, active = trash.run(home, deleted=3), trash.run(home, deleted=None)
    models = [trash.model(home), trash.model(dropped[0], deleted=None)]
    traces = [world.source_trace(e, active) for e in (dropped[0], *dropped, home)]
    for model in models[1:]:
        trash.drop_model(model)
    for experiment in dropped:
        trash.drop_experiment(experiment)
    deleted = [
        *(("run", i) for i in (*runs, young)),
        *(("model", i) for i in models),
        *(("trace", i) for i in traces[:-1]),
        *(("experiment", i) for i in dropped),
    ]
    ends = [*deleted, ("run", active), ("trace", traces[-1]), ("experiment", home)]
    for number, (source, destination) in enumerate(itertools.product(ends, repeat=2)):
        insert = "INSERT INTO entity_associations VALUES (?, ?, ?, ?, ?, 1)"
        world.sql(insert, f"a-{number}", *source, *destination)
    plan = trash.report()
    assert (plan.runs, plan.experiments) == ({*runs}, {*dropped})
    retained = {("run", young), ("run", active), *ends[-2:]}
    before = trash.state()
    assert " 0 skipped" not in trash.purge(plan, "--dry-run").expect(0).out
    outcome = trash.purge(plan)
    gone = trash.state().rows_gone_since(before)
    assert len(gone["entity_associations"]) == len(ends) ** 2 - len(retained) ** 2
    freed = plan.document["summary"]["freed"]["rows"]
    assert sum(map(len, gone.values())) == freed
    assert f"{freed:,} rows" in outcome.out


def test_a_link_whose_end_is_back_stays(trash: Trash) -> None:
    """The re-check looks under the lock; only what the plan lists is deleted."""
    world = trash.world
    home = world.experiment()
    back, lost, later = (trash.run(home, deleted=None, files=0) for _ in range(3))
    for run in (back, lost, later):
        world.read_dataset(run, f"data-{run}")
    saved = [row for row in trash.state().rows["runs"] if row[0] == back]
    for run in (back, lost):
        world.purge_run(run)
    plan = trash.report("--policy", _orphaning_policy(trash))
    assert {entry["missing"] for entry in plan.document["links"]} == {f"run {back}", f"run {lost}"}
    marks = ", ".join("?" * len(saved[0]))
    world.sql(f"INSERT INTO runs VALUES ({marks})", *saved[0])
    world.purge_run(later)
    before = trash.state()
    outcome = trash.purge(plan)
    gone = trash.state().rows_gone_since(before)
    assert gone.keys() == {"inputs"}
    assert len(gone["inputs"]) == 1
    assert lost in map(str, gone["inputs"][0])
    assert back in outcome.out


def test_tombstones_are_listed_and_deleted_only_when_asked(trash: Trash) -> None:
    """Never the highest number: MLflow would give it to another version."""
    world = trash.world
    for name in ("fraud", "churn", "kept"):
        world.model(name, tags={"mlflow_gc.keep": ""} if name == "kept" else None)
        for _ in range(4):
            world.version(name, tags={"a": "b"})
    deleted = [*(f"fraud/{n}" for n in (1, 2, 4)), "churn/1", "churn/2", "kept/1"]
    for version in deleted:
        world.delete_version(version)
    updated = "UPDATE model_versions SET last_updated_time = ? WHERE name = ? AND version = ?"
    for version in deleted:
        world.sql(updated, world.ago(3 if version == "churn/2" else 90), *version.split("/"))
    of = "name"
    plan = trash.report(name="without.json")
    assert not plan.document["model_versions"]
    listed = [f"{e['name']}/{e['version']}" for e in plan.document["protected"]["model_versions"]]
    assert listed == ["churn/1", "fraud/1", "fraud/2", "fraud/4", "kept/1"]
    assert set(protected(plan, "model_versions", of).values()) == {"tombstone"}
    policy = trash.bench.dir / "policy.yml"
    policy.write_text("version: 1\npurge: {tombstones: true}\n")
    plan = trash.report("--policy", policy)
    assert [f"{e['name']}/{e['version']}" for e in plan.document["model_versions"]] == [
        *("churn/1", "fraud/1", "fraud/2"),
    ]
    assert protected(plan, "model_versions", of) == {"fraud": "highest_version", "kept": "keep_tag"}
    shown = trash.bench.cli("show", plan.path).expect(0).out
    assert "rows that MLflow keeps of deleted versions" in shown
    before = trash.state()
    trash.purge(plan)
    after = trash.state()
    gone = after.rows_gone_since(before)
    assert gone.keys() == {"model_versions", "model_version_tags"}
    assert len(gone["model_versions"]) == len(gone["model_version_tags"]) == 3
    assert world.version("fraud") == "fraud/5"
    trash.purge(plan)
    assert trash.state().rows["model_versions"] != after.rows["model_versions"]


def test_a_tombstone_that_became_the_highest_number_stays(trash: Trash) -> None:
    """The plan lists it, and the re-check sees that the versions above it are gone."""
    world = trash.world
    world.model("fraud")
    for _ in range(3):
        world.version("fraud")
    world.delete_version("fraud/1")
    world.delete_version("fraud/2")
    world.sql("UPDATE model_versions SET last_updated_time = ? WHERE version < 3", world.ago(90))
    policy = trash.bench.dir / "policy.yml"
    policy.write_text("version: 1\npurge: {tombstones: true}\n")
    plan = trash.report("--policy", policy)
    assert len(plan.document["model_versions"]) == 2
    world.sql("DELETE FROM model_versions WHERE version = 3")
    outcome = trash.purge(plan)
    assert "highest_version" in outcome.out
    assert [row for row in trash.state().rows["model_versions"] if "Deleted_Internal" in row]
    assert len(trash.state().rows["model_versions"]) == 1


# What usage promises -----------------------------------------------------------------------------


def _of_everything(trash: Trash) -> None:
    """What purge deletes, what it retains, and what only a policy deletes, of each kind."""
    world = trash.world
    home, old, young = (world.experiment() for _ in range(3))
    for deleted in (100.0, 3.0, None):
        trash.model(home, deleted=deleted)
        run = trash.run(home, deleted=None)
        world.read_dataset(run, f"data-{run}")
        if deleted:
            trash.delete(run, deleted)
    needed = trash.run(home, deleted=None)
    world.read_dataset(needed, "customers")
    trash.delete(needed)
    _version(trash, needed)
    untimed = trash.run(home)
    world.sql("UPDATE runs SET deleted_time = NULL WHERE run_uuid = ?", untimed)
    for experiment, days in ((old, 100), (young, 3)):
        run = trash.run(experiment, deleted=None)
        world.read_dataset(run, f"data-{run}")
        trace = world.source_trace(experiment, run)
        trash.put(f"{experiment}/traces/{trace}/artifacts/traces.json", 700 + days)
        trash.drop_experiment(experiment, days)
    lost = trash.run(home, deleted=None, files=0)
    world.read_dataset(lost, f"data-{lost}")
    world.purge_run(lost)
    for letter, days in (("e", 100), ("f", 3)):
        path = trash.root / trash.put(f"{home}/{letter * 32}/artifacts/left.bin", 500 + days)
        moment = world.ago(days) / 1000
        os.utime(path, (moment, moment))
    for _ in range(2):
        world.version("fraud", tags={"a": "b"})
    world.delete_version("fraud/2")
    updated = "UPDATE model_versions SET last_updated_time = ? WHERE version = 2"
    world.sql(updated, world.ago(90))


@pytest.mark.parametrize(
    "policy",
    [
        "version: 1",
        "version: 1\npurge: {orphans_after: 30d, tombstones: true, unknown_since: 2020-01-01}",
    ],
    ids=["default", "everything"],
)
def test_what_usage_promises_is_what_purge_frees(trash: Trash, policy: str) -> None:
    """By the same rule: neither more nor less, of each kind and stage."""
    _of_everything(trash)
    file = trash.bench.dir / "policy.yml"
    file.write_text(policy)

    def usage() -> tuple[Any, dict[tuple[str, str], Any]]:
        args = ("--policy", file, "--format", "json", *trash.options)
        found = trash.bench.cli("usage", *args).expect(0).json()
        return found, {(row["kind"], row["stage"]): row for row in found["rows"]}

    found, rows = usage()
    plan = trash.report("--policy", file)
    freed = plan.document["summary"]["freed"]
    assert found["totals"]["freed_at_once_bytes"] == freed["file_bytes"]
    before = trash.state()
    trash.purge(plan)
    after = trash.state()
    gone = after.files_gone_since(before)
    assert sum(before.files[path] for path in gone) == freed["file_bytes"]
    assert len(gone) == freed["files"]
    assert sum(map(len, after.rows_gone_since(before).values())) == freed["rows"]
    later, left = usage()
    assert later["totals"]["freed_at_once_bytes"] == later["totals"]["freed_later_bytes"] == 0
    for key, row in rows.items():
        rest = left.get(key, {"count": 0, "rows": 0, "file_bytes": 0})
        is_freed = row["freed_at_once_bytes"] or row["freed_later_bytes"]
        assert (rest["rows"] < row["rows"] or rest["file_bytes"] < row["file_bytes"]) == bool(
            is_freed
        ), key
        assert bool(rest["rows"] or rest["file_bytes"]) == bool(row["not_freed_bytes"]), key
    assert rows["trace", "trash"]["freed_at_once_bytes"] == 800
    assert rows["trace", "trash"]["not_freed_bytes"] > 703
    assert bool(rows["file", "orphaned"]["freed_at_once_bytes"]) == ("orphans_after" in policy)
    assert bool(rows["link", "orphaned"]["freed_later_bytes"]) == ("orphans_after" in policy)
    assert bool(rows["model_version", "tombstone"]["freed_later_bytes"]) == ("tombstones" in policy)


# Plans -------------------------------------------------------------------------------------------


def test_each_command_refuses_the_plan_of_the_other(trash: Trash) -> None:
    trash.run(trash.world.experiment())
    plan = trash.report()
    server = ("--tracking-uri", trash.world.uri)
    outcome = trash.bench.cli("prune", plan.path, *server).expect(REFUSED)
    assert "mlflow-gc purge" in outcome.err or "mlflow_gc purge" in outcome.err
    prune = trash.bench.report(*server, name="prune.json")
    before = trash.state()
    outcome = trash.bench.cli("purge", prune.path, *trash.options).expect(REFUSED)
    assert "gc prune" in outcome.err
    assert trash.state() == before


def test_a_plan_of_another_server_is_refused(trash: Trash, other_server: LocalServer) -> None:
    """Also where the other one has the same runs in its trash, and shares the files."""
    run = trash.run(trash.world.experiment())
    trash.run(trash.world.experiment(), deleted=None)
    plan = trash.report()
    assert plan.runs == {run}
    copy = trash.bench.dir / "copy.db"
    with open_database(trash.world.database) as ours, open_database(copy) as theirs:
        ours.backup(theirs)
        theirs.execute(
            "UPDATE experiments SET creation_time = creation_time + 1 WHERE experiment_id = 0"
        )
    before, theirs_before = trash.state(), copy.read_bytes()
    there, database = f"sqlite:///{copy}", "--backend-store-uri"
    server = ("--tracking-uri", trash.world.uri)
    for options, message in (
        (("--tracking-uri", there), "was made for another server"),
        (("--tracking-uri", other_server.uri, database, f"sqlite:///{other_server.database}"),
         "was made for another server"),
        ((*server, database, there), "is not of the server"),
    ):  # fmt: skip
        files = ("--artifacts-destination", trash.root)
        for command in ("purge", "check"):
            outcome = trash.bench.cli(command, plan.path, *options, *files).expect(REFUSED)
            assert message in outcome.err
        assert trash.state() == before
        assert copy.read_bytes() == theirs_before
    made = ("report", "--trash", "-o", trash.bench.dir / "other.json", *server, database, there)
    assert "is not of the server" in trash.bench.cli(*made).expect(REFUSED).err
    assert not _journal(plan).exists()
    trash.purge(plan)
    assert run not in str(trash.state().rows["runs"])


def test_an_edited_plan_is_refused(trash: Trash) -> None:
    trash.run(trash.world.experiment())
    active = trash.run(trash.world.experiment(), deleted=None)
    plan = trash.report()

    def aim(document: dict[str, object]) -> None:
        document["runs"][0]["run_id"] = active  # type: ignore[index]

    before = trash.state()
    unsigned = plan.edited(trash.bench.dir / "edited.json", aim, sign=False)
    trash.purge(unsigned, codes=(REFUSED,))
    signed = plan.edited(trash.bench.dir / "signed.json", aim, sign=True)
    trash.purge(signed)
    assert trash.state() == before


def test_approval_and_expiry_are_those_of_a_prune(trash: Trash) -> None:
    """Nothing is deleted without them; the plan is the selection."""
    run = trash.run(trash.world.experiment())
    policy = trash.bench.dir / "policy.yml"
    policy.write_text("version: 1\nexpire_after: 1d\n")
    plan = trash.report("--policy", policy)
    late = trash.report("--policy", policy, "--as-of", "2026-01-01", name="late.json")
    before = trash.state()
    other = "sha256:" + "0" * 64
    assert "plan_id" in trash.purge(plan, "--expect", other, codes=(REFUSED,)).err
    required = {"MLFLOW_GC_REQUIRE_EXPECT": "1"}
    command = ("purge", plan.path, *trash.options)
    assert "--expect" in trash.bench.cli(*command, env=required).expect(REFUSED).err
    trash.purge(plan, "--older-than", "1", codes=(USAGE,))
    trash.purge(plan, "--policy", policy, codes=(USAGE,))
    assert "expired" in trash.purge(late, codes=(REFUSED,)).err
    refused = trash.bench.cli("purge", *trash.options).expect(REFUSED)
    assert "not an interactive terminal" in refused.err
    for answer in ("y\n", "YES\n", "\n"):
        code, shown = trash.bench.cli.ask(
            "purge", *trash.options, answer=answer, prompt="yes", cwd=trash.bench.dir
        )
        assert code == REFUSED
        assert "1 run on" in shown or "1 run," in shown
    assert trash.state() == before
    expected = ("--expect", plan.document["plan_id"])
    trash.bench.cli(*command, *expected, env=required).expect(0)
    assert run not in str(trash.state().rows["runs"])


def test_a_model_that_somebody_changed_in_the_trash_waits(trash: Trash) -> None:
    """MLflow has no deletion time of logged models: any update starts the time again."""
    world = trash.world
    model = trash.model(world.experiment())
    plan = trash.report()
    assert ids(plan, "logged_models", "model_id") == {model}
    body = {"model_id": model, "status": "LOGGED_MODEL_READY"}
    world.call("PATCH", f"logged-models/{model}", body)
    before = trash.state()
    assert "deleted_time was" in trash.purge(plan).out
    assert trash.state() == before
    assert not trash.report(name="later.json").document["logged_models"]


def test_guards_count_entities_bytes_and_shares(trash: Trash) -> None:
    experiment = trash.world.experiment()
    for _ in range(3):
        trash.run(experiment)
    policy = trash.bench.dir / "policy.yml"
    for guard, name in (
        ("guards:\n  max_deletions: {runs: 2}", "guards.max_deletions.runs"),
        ("purge: {max_bytes: 59 B}", "purge.max_bytes"),
        ("purge: {max_share: 50%}", "purge.max_share"),
    ):
        policy.write_text(f"version: 1\n{guard}\n")
        plan = trash.report("--policy", policy, codes=(REFUSED,))
        assert name in json.dumps(plan.document["diagnostics"])
        before = trash.state()
        refused = trash.purge(plan, codes=(REFUSED,))
        assert "make a new plan: mlflow-gc report --trash" in refused.err
        assert trash.state() == before
    policy.write_text("version: 1\npurge: {max_bytes: 60 B, max_share: 60%}\n")
    trash.report("--policy", policy)


def test_nearly_everything_is_never_deleted_unless_the_policy_says_so(trash: Trash) -> None:
    """The default of ``max_share`` is 99 %, of runs, logged models and experiments together."""
    world = trash.world
    home = world.experiment()
    runs = set(world.bulk_runs(home, 199))
    world.sql("UPDATE runs SET lifecycle_stage = 'deleted', deleted_time = ?", world.ago(100))
    refused = trash.report("--keep-files", codes=(REFUSED,))
    (message,) = (d["message"] for d in refused.document["diagnostics"] if d["code"] == "guard")
    assert "the plan deletes 199 of 201" in message
    before = trash.state()
    trash.purge(refused, codes=(REFUSED,))
    assert trash.state() == before
    world.run(home)
    assert trash.report("--keep-files", name="less.json").runs == runs


@pytest.mark.parametrize(
    ("setting", "value"), [("MLFLOW_GC_MAX_DELETIONS", "1"), ("MLFLOW_GC_MAX_SHARE", "40")]
)
def test_a_machine_limits_every_plan(trash: Trash, setting: str, value: str) -> None:
    experiment = trash.world.experiment()
    for _ in range(2):
        trash.run(experiment)
    plan = trash.report()
    before = trash.state()
    command = ("purge", plan.path, *trash.options)
    outcome = trash.bench.cli(*command, env={setting: value}).expect(REFUSED)
    assert setting in outcome.err
    assert trash.state() == before
    trash.bench.cli(*command, env={"MLFLOW_GC_REQUIRE_EXPECT": "1"}).expect(REFUSED)
    trash.bench.cli(*command, "--expect", plan.plan_id, env={setting: "99"}).expect(0)


def test_a_journal_limits_the_plan_to_what_one_prune_deleted(trash: Trash) -> None:
    world = trash.world
    trash.run(world.experiment())
    pruned = world.run(world.experiment(age=3))
    home = world.experiment()
    of_home = world.run(home)
    server = ("--tracking-uri", trash.world.uri)
    plan = trash.bench.report(*server, name="prune.json")
    assert {pruned, of_home} <= plan.runs
    assert home in plan.experiments
    trash.bench.prune(plan, *server)
    journal = trash.bench.journal_path(plan)
    world.sql("UPDATE runs SET deleted_time = ? WHERE run_uuid = ?", world.ago(50), pruned)
    later = trash.report("--journal", journal)
    assert later.runs == {pruned}
    # Deleting an experiment sets the time of its runs again, hours after they were deleted.
    lines = [json.loads(line) for line in journal.read_text().splitlines()]

    def write(days_of: Callable[[Any], float]) -> None:
        at = [{**line, "time": rfc3339(world.ago(days_of(line)))} for line in lines[1:]]
        journal.write_text("".join(json.dumps(line) + "\n" for line in [lines[0], *at]))

    world.date_experiment(home, updated=world.ago(50))
    world.sql("UPDATE runs SET deleted_time = ? WHERE run_uuid = ?", world.ago(50), of_home)
    write(lambda line: 60 if line.get("kind") == "run" else 50)
    assert trash.report("--journal", journal).entities == {
        *(("run", run) for run in (pruned, of_home)),
        ("experiment", home),
    }
    # Its owner restored it in MLflow, and deletes it ten days later: not by this prune.
    write(lambda _line: 60)
    assert trash.report("--journal", journal).entities == set()
    write(lambda _line: 50)
    # Somebody else deletes it after it was restored with this journal.
    trash.bench.cli("restore", journal, "--yes", *server).expect(0)
    world.delete_run(pruned)
    world.sql("UPDATE runs SET deleted_time = ? WHERE run_uuid = ?", world.ago(50), pruned)
    assert trash.report("--journal", journal).runs == set()


def test_rules_of_the_policy_set_the_time_in_the_trash(trash: Trash) -> None:
    world = trash.world
    run, forever = (trash.run(world.experiment(name)) for name in ("sandbox/a", "audit/b"))
    policy = trash.bench.dir / "policy.yml"
    policy.write_text(
        "version: 1\n"
        "defaults: {purge_after: 200d}\n"
        "rules:\n"
        "  - {name: sandboxes, match: {experiment: sandbox/*}, purge_after: 90d}\n"
        "  - {name: audit, match: {experiment: audit/*}, ttl: never}\n"
    )
    assert trash.report("--policy", policy).runs == {run}
    assert trash.report("--older-than", "90").runs == {run, forever}
    assert trash.report("--older-than", "100").runs == set(), "strictly longer"


def test_without_a_database_it_says_what_is_missing(trash: Trash) -> None:
    path = trash.bench.dir / "plan.json"
    server = ("--tracking-uri", trash.world.uri)
    outcome = trash.bench.cli("report", "--trash", "-o", path, *server).expect(USAGE)
    assert "--backend-store-uri" in outcome.err
    assert "neither lists deleted logged models nor deletes anything permanently" in outcome.err
    address = "https://github.com/mlflow-gc/mlflow-gc/blob/main/docs/how-to/purge.md"
    assert f"beside the server in Kubernetes: {address}" in outcome.err
    page = (ROOT / address.partition("/main/")[2]).read_text()
    assert "## Beside the server in Kubernetes" in page
    assert not path.exists()


def test_nothing_but_its_command_purges(trash: Trash) -> None:
    """No policy and no environment variable lets ``prune`` do it, or shortens the time in the trash."""
    home = trash.world.experiment(age=0.5)
    old, young, stale = trash.run(home), trash.run(home, deleted=20), trash.run(home, deleted=None)
    trash.world.run(home, age=0.5)
    policy = trash.bench.dir / "policy.yml"
    policy.write_text(
        "version: 1\ndefaults: {purge_after: 1d}\npurge: {orphans_after: 1d, tombstones: true}\n"
    )
    env = {
        "MLFLOW_TRACKING_URI": trash.world.uri,
        "MLFLOW_BACKEND_STORE_URI": trash.database_uri,
        "MLFLOW_ARTIFACTS_DESTINATION": str(trash.root),
        "MLFLOW_TRACKING_ENTITY_TTL": "1",
        "MLFLOW_GC_POLICY": str(policy),
        "MLFLOW_GC_DIR": str(trash.bench.dir),
        "MLFLOW_GC_MAX_DELETIONS": "1000",
        "MLFLOW_GC_MAX_SHARE": "100",
        "MLFLOW_GC_MAX_PARALLEL": "4",
        "MLFLOW_GC_REQUIRE_EXPECT": "0",
    }
    of_connection = {settings.REGISTRY_URI, settings.TRACKING_TOKEN, settings.WORKSPACE}
    declared = {each for each in vars(settings).values() if isinstance(each, settings.Setting)}
    assert {each.variable for each in declared - of_connection} == env.keys()
    commands = typer.main.get_command(app).commands.values()  # type: ignore[attr-defined]
    assert not [p.name for each in commands for p in each.params if p.envvar]
    before = trash.state()
    trash.bench.cli("prune", "--yes", env=env, cwd=trash.bench.dir).expect(0)
    after = trash.state()
    assert {row[0] for row in after.rows["runs"]} == {row[0] for row in before.rows["runs"]}
    assert len(after.rows["metrics"]) == len(before.rows["metrics"])
    assert after.files == before.files
    env["MLFLOW_GC_POLICY"] = ""
    trash.bench.cli("purge", "--yes", env=env, cwd=trash.bench.dir).expect(0)
    gone = trash.state().rows_gone_since(after)
    assert {row[0] for row in gone["runs"]} == {old}
    assert {young, stale} <= {row[0] for row in trash.state().rows["runs"]}


def test_on_the_spot_with_limits(trash: Trash) -> None:
    """What a limit leaves is done by the next run, whose command is printed."""
    experiment = trash.world.experiment()
    trash.copies(trash.run(experiment, files=1), BATCH + 19)
    trash.world.bulk_runs(experiment, 20)
    args = ("purge", "--yes", *trash.options, "--as-of", trash.world.as_of)
    plan = trash.report()
    env = {"MLFLOW_GC_REQUIRE_EXPECT": "1"}
    outcome = trash.bench.cli(*args, "--max-bytes", "5 B", env=env).expect(0)
    assert "20 deletions are left" in outcome.out
    (go_on,) = (line for line in outcome.err.splitlines() if line.startswith("To go on: "))
    left = trash.state()
    again = shlex.split(go_on)[4:]
    dry_run = trash.bench.cli(*again, "--max-time", "0s", "--dry-run", env=env).expect(0)
    assert "320 deletions are left" in dry_run.out
    assert "To go on" not in dry_run.text
    outcome = trash.bench.cli(*again, env=env).expect(0)
    assert "  300 are gone since an earlier run of this plan\n" in outcome.out
    assert "To go on" not in outcome.text
    trash.put_back(left)
    assert "20 deletions are left" in trash.bench.cli(*args, "--max-time", "0s").expect(0).out
    assert trash.state() == left
    for limit in (("--max-time", "2"), ("--max-bytes", "lots")):
        assert limit[0] in trash.bench.cli(*args, *limit).expect(USAGE).err
    assert trash.state() == left
    # 320 of 342 entities, of which 42 are left; those that are gone count.
    rest = ("purge", plan.path, *trash.options)
    trash.bench.cli(*rest, env={"MLFLOW_GC_MAX_SHARE": "93"}).expect(REFUSED)
    trash.bench.cli(*rest, env={"MLFLOW_GC_MAX_SHARE": "94"}).expect(0)
    assert len(trash.state().rows["runs"]) == 20


def test_a_limit_on_the_time_ends_a_purge_after_the_batches_in_progress(
    trash: Trash, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing failed; what is left has its rows and files, and the next purge of the plan finishes it."""
    world = trash.world
    home, dropped = world.experiment(), world.experiment()
    run, active = trash.run(home), trash.run(home, deleted=None)
    runs = {run, *trash.copies(run, 9), trash.run(dropped, deleted=None)}
    model = trash.model(home)
    trash.drop_experiment(dropped)
    plan = trash.report()
    assert plan.runs == runs
    before = trash.state()
    monkeypatch.setattr(batch, "BATCH", 2)
    delete, calls, lock = LocalStore.delete, itertools.count(1), threading.Lock()
    clock = SimpleNamespace(monotonic=time.monotonic)

    def delete_slowly(self: LocalStore, paths: Sequence[str]) -> Mapping[str, str]:
        with lock:
            if next(calls) == 2:
                clock.monotonic = lambda: time.monotonic() + 1801
        return delete(self, paths)

    with monkeypatch.context() as patched:
        patched.setattr(purger, "time", clock)
        patched.setattr(LocalStore, "delete", delete_slowly)
        outcome = trash.purge(plan, "--max-time", "30m")
    state = trash.state()
    left = {str(row[0]) for row in state.rows_gone_since(before)["runs"]} ^ runs
    # PostgreSQL deletes two batches at the same time.
    assert len(runs) - len(left) in ({4, 5, 6} if "postgresql" in trash.database_uri else {4})
    # The model and the experiment, too.
    assert f"{len(left) + 2} deletions are left: the limit of this run is reached." in outcome.out
    assert "Failed" not in outcome.text
    for each in runs:
        assert len([path for path in state.files if each in path]) == (2 if each in left else 0)
    assert Journal.load(_journal(plan)).lines[-1]["ended"] == "interrupted"
    assert "are left" not in trash.purge(plan).out
    gone = trash.state().rows_gone_since(before)
    assert {row[0] for row in gone["runs"]} == runs
    assert [row[0] for row in gone["logged_models"]] == [model]
    assert [str(row[0]) for row in gone["experiments"]] == [dropped]
    assert not [path for path in trash.state().files if any(i in path for i in (*runs, model))]
    assert len([path for path in trash.state().files if active in path]) == 2
    assert Journal.load(_journal(plan)).lines[-1]["ended"] == "completed"


def test_what_the_database_returns_is_said(trash: Trash) -> None:
    """At once nothing, and with ``--vacuum`` what the file lost."""
    experiment = trash.world.experiment()
    runs = [trash.run(experiment) for _ in range(40)]
    for n in range(30):
        values = [(f"p{n}", "x" * 400, run) for run in runs]
        trash.world.sql_for_each(
            "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", values
        )
    trash.world.bulk_runs(experiment, 20)
    size = trash.world.database.stat().st_size
    for run in runs[20:]:
        trash.world.restore_run(run)
    plan = trash.report()
    promised = plan.document["summary"]["freed"]
    # The parameters alone, without their indexes.
    assert promised["database_bytes"] > 20 * 30 * 400
    outcome = trash.purge(plan)
    assert (
        f"the space of the rows, about {size_of(promised['database_bytes'])}, again" in outcome.out
    )
    assert trash.world.database.stat().st_size == size
    assert f"takes {size_of(size)} now" in outcome.out
    assert f"VACUUM  {size_of(size)}  up to about 1 s" in outcome.out
    assert "nobody can write" in outcome.out
    for run in runs[20:]:
        trash.delete(run)
    outcome = trash.purge(trash.report(name="rest.json"), "--vacuum")
    small = trash.world.database.stat().st_size
    assert small < size - 40 * 30 * 400
    assert f"took {size_of(size)} before, and takes {size_of(small)} now" in outcome.out
    assert "To return it" not in outcome.out


def test_a_dry_run_changes_nothing_and_says_the_same(trash: Trash) -> None:
    experiment = trash.world.experiment()
    trash.run(experiment, deleted=None)
    trash.drop_experiment(experiment)
    plan = trash.report()
    before = trash.state()
    outcome = trash.purge(plan, "--dry-run")
    assert trash.state() == before
    assert "skipped" in outcome.out
    assert "is in it" not in outcome.out


# Its page ----------------------------------------------------------------------------------------


def test_every_link_of_its_page_leads_to_what_mlflow_shows(trash: Trash) -> None:
    """MLflow's own pages of deleted versions and logged models show an error: no link to them."""
    world = trash.world
    experiment = world.experiment()
    run, model = trash.run(experiment), trash.model(experiment)
    world.model("fraud")
    world.version("fraud")
    world.delete_version("fraud/1")
    world.sql("UPDATE model_versions SET last_updated_time = ?", world.ago(90))
    plan = trash.report()
    assert protected(plan, "model_versions", "name") == {"fraud": "tombstone"}
    page = trash.bench.cli("show", plan.path, "--format", "html").out
    links = set(re.findall(rf'href="{world.uri}/#/([^"]+)"', page))
    assert f"experiments/{experiment}/runs/{run}" in links
    assert not [link for link in links if "/models/m-" in link or "/versions/" in link]
    (without,) = re.findall(r'"without":(\[[^\]]*\])', page)
    gone = {
        "model_version": "model-versions/get?name=fraud&version=1",
        "logged_model": f"logged-models/{model}",
    }
    assert set(json.loads(without)) == gone.keys()
    api = f"{world.uri}/api/2.0/mlflow"
    assert {world.http.get(f"{api}/{path}").status_code for path in gone.values()} == {404}
    for path in (f"runs/get?run_id={run}", f"experiments/get?experiment_id={experiment}"):
        assert world.http.get(f"{api}/{path}").ok


# check -------------------------------------------------------------------------------------------


def test_check_says_what_a_purge_would_do(trash: Trash) -> None:
    """As ``purge --dry-run`` decides, read-only, in the form of a check of a prune plan."""
    experiment = trash.world.experiment()
    stays, restored, needed, gone = (trash.run(experiment) for _ in range(4))
    plan = trash.report()
    assert "check" in trash.bench.cli("show", plan.path).out
    check = ("check", plan.path, *trash.options)
    outcome = trash.bench.cli(*check, "--detailed-exitcode").expect(0)
    assert "Total: 4 matching, 0 changed, 0 gone, 0 failed." in outcome.out
    assert "gc purge" in outcome.out
    trash.world.restore_run(restored)
    _version(trash, needed)
    trash.world.purge_run(gone)
    before = trash.state()
    outcome = trash.bench.cli(*check, "--format", "json", "--detailed-exitcode").expect(2)
    found = outcome.json()
    assert not schema.problems(found, "check")
    assert found["action"] == "purge"
    assert found["summary"]["runs"] == {
        "matching": 1,
        "changed": 2,
        "protected": 1,
        "gone": 1,
        "failed": 0,
    }
    assert {e["id"]: e["code"] for e in found["runs"]} == {
        restored: "changed",
        needed: "protected",
        gone: "gone",
    }
    assert (
        trash.bench.cli(*check, "--format", "markdown")
        .expect(0)
        .out.startswith("## Check of the purge plan")
    )
    assert trash.state() == before
    assert not _journal(plan).exists()
    dry = trash.purge(plan, "--dry-run")
    assert all(run in dry.out for run in (restored, needed, gone))
    trash.purge(plan)
    left = {row[0] for row in trash.state().rows["runs"]}
    assert left == {restored, needed}
    assert stays not in left


def test_check_names_why_purge_would_refuse(trash: Trash) -> None:
    """It checks the entries nevertheless."""
    trash.run(trash.world.experiment())
    plan = trash.report()
    check = ("check", plan.path, *trash.options)
    outcome = trash.bench.cli(*check, env={"MLFLOW_GC_MAX_DELETIONS": "0"}).expect(0)
    assert "purge would refuse the plan now" in outcome.out
    assert "1 matching" in outcome.out
    shutil.rmtree(trash.root)
    outcome = trash.bench.cli(*check).expect(0)
    assert "holds nothing below" in outcome.out
    server = ("--tracking-uri", trash.world.uri)
    outcome = trash.bench.cli("check", plan.path, *server).expect(USAGE)
    assert "--backend-store-uri" in outcome.err


# Events ------------------------------------------------------------------------------------------


def test_events_tell_what_a_purge_does(trash: Trash) -> None:
    """The plan, the journal, each entity, and the end; nothing of a dry run counts as deleted."""
    world = trash.world
    experiment = world.experiment()
    run, restored = trash.run(experiment), trash.run(experiment)
    model, lost = trash.model(experiment), trash.run(experiment, deleted=None, files=0)
    world.read_dataset(lost)
    world.purge_run(lost)
    plan = trash.report("--policy", _orphaning_policy(trash))
    world.restore_run(restored)
    path = trash.bench.dir / "events.jsonl"
    trash.purge(plan, "--dry-run", "--events", path)
    dry = events.read(path)
    assert dry[0]["dry_run"]
    assert dry[-1]["counts"]["run"] == {"skipped:changed": 1, "would_delete": 1}
    check = ("check", plan.path, *trash.options, "--events", path)
    trash.bench.cli(*check).expect(0)
    assert events.read(path)[-1]["counts"] == dry[-1]["counts"]
    trash.purge(plan, "--events", path)
    told = events.read(path)
    assert told[0]["command"] == "purge"
    assert events.of(told, "plan")[0]["plan_id"] == plan.plan_id
    assert events.of(told, "plan")[0]["summary"] == plan.document["summary"]
    (journal,) = events.of(told, "journal")
    assert journal["file"] == str(_journal(plan))
    outcomes = {(e["kind"], e["id"]): e["outcome"] for e in events.of(told, "entity")}
    assert [entry["missing"] for entry in plan.document["links"]] == [f"run {lost}"]
    assert {key: outcome for key, outcome in outcomes.items() if key[0] != "link"} == {
        ("run", run): "deleted",
        ("run", restored): "skipped",
        ("logged_model", model): "deleted",
    }
    assert [o for (kind, _), o in outcomes.items() if kind == "link"] == ["deleted"]
    assert told[-1]["exit_code"] == 0
    assert told[-1]["counts"]["link"] == {"deleted": 1}
    done = [e["done"] for e in events.of(told, "progress")]
    assert done[-1]["runs"] == 2
