"""Every row of every table, and every file, before and after a purge: as an independent oracle says.

The world has something of all that MLflow stores, in the trash and beside it; a table that MLflow adds
fails the test until somebody decides what a purge does with it.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import pytest
from support.purge_oracle import Oracle, Scope, tuples
from support.trash import Trash, ids

if TYPE_CHECKING:
    from support.bench import Bench
    from support.plans import Plan

HOSTILE = "'; DROP TABLE runs; --\"<b>%s{0}\\ä😀/../_%"
STAY = {
    # What belongs to no experiment.
    *("alembic_version", "workspaces", "jobs", "job_locks", "scheduler_leases"),
    *("budget_policies", "secrets", "webhooks", "webhook_events"),
    *("endpoints", "endpoint_tags", "endpoint_model_mappings", "model_definitions"),
    *("guardrails", "guardrail_configs"),
    *("evaluation_datasets", "evaluation_dataset_records", "evaluation_dataset_tags"),
    # The model registry, but for tombstones.
    *("registered_models", "registered_model_tags", "registered_model_aliases"),
    *("mcp_servers", "mcp_server_tags", "mcp_server_aliases", "mcp_access_endpoints"),
    *("mcp_server_versions", "mcp_server_version_tags"),
}
"""Tables in which a purge deletes nothing."""


@pytest.fixture
def trash(bench: Bench) -> Trash:
    database = bench.world.database
    return Trash(bench, database.parent / "artifacts", f"sqlite:///{database}")


def test_exactly_what_an_independent_oracle_names_goes(trash: Trash) -> None:
    """Nothing more, nothing less: entities in the plan, rows, references, files, and their numbers."""
    _make_everything(trash)
    before = trash.state()
    assert not [name for name, rows in before.rows.items() if not rows], "the world lacks something"
    modified = {f: int((trash.root / f).lstat().st_mtime * 1000) for f in before.files}
    scope = Oracle(before, trash.tables, modified, trash.world.as_of_ms).scope()
    assert before.rows.keys() - {*scope.rows} == STAY
    assert not scope.rows.keys() & STAY
    policy = trash.bench.dir / "policy.yml"
    policy.write_text("version: 1\npurge: {orphans_after: 30d, tombstones: true}\n")
    plan = trash.report("--policy", policy)
    _compare_plan(plan, scope)
    outcome = trash.purge(plan)
    after = trash.state()
    for table in trash.tables:
        rows = [dict(zip(table.c.keys(), row, strict=True)) for row in before.rows[table.name]]
        for row in scope.rows[table.name]:
            rows.remove(row)
        for row, column in scope.nulled[table.name]:
            rows[rows.index(row)] = {**row, column: None}
        assert after.rows[table.name] == tuples(rows), table.name
    assert after.files.keys() == before.files.keys() - scope.files
    assert not [
        path for path in _empty_folders(trash) if any(i in path for i in scope.entities["run"])
    ]
    freed = plan.document["summary"]["freed"]
    assert freed["rows"] == sum(map(len, scope.rows.values()))
    assert freed["files"] == len(scope.files)
    assert freed["file_bytes"] == sum(before.files[path] for path in scope.files)
    assert f"{len(scope.files)} files, and {freed['rows']:,} rows" in outcome.out
    trash.purge(plan)
    assert trash.state() == after


def _compare_plan(plan: Plan, scope: Scope) -> None:
    for kind, entries, key in (
        ("run", "runs", "run_id"),
        ("logged_model", "logged_models", "model_id"),
        ("experiment", "experiments", "experiment_id"),
    ):
        assert scope.entities[kind]
        assert ids(plan, entries, key) == scope.entities[kind]
    versions = {f"{e['name']}/{e['version']}" for e in plan.document["model_versions"]}
    assert versions == scope.entities["model_version"] != set()
    folders = {entry["uri"].split("/artifacts/", 1)[1] for entry in plan.document["files"]}
    assert folders == scope.orphans != set()
    links = {
        (
            f"{row['source_type']} {row['source_id']}",
            f"{row['destination_type']} {row['destination_id']}",
        )
        for row in scope.links
    }
    assert {(e["source"], e["destination"]) for e in plan.document["links"]} == links != set()
    assert scope.nulled


def _empty_folders(trash: Trash) -> list[str]:
    return [folder for folder, folders, files in os.walk(trash.root) if not (folders or files)]


# The world ---------------------------------------------------------------------------------------


def _make_everything(trash: Trash) -> None:
    """Something of each kind that a purge deletes, and of each that it must not."""
    world = trash.world
    home = world.experiment(HOSTILE, tags={"note": HOSTILE})
    kept = world.experiment(tags={"mlflow_gc.keep": ""})
    gone, young, busy, late, used, guarded = (world.experiment() for _ in range(6))
    world.model("fraud", tags={"a": "b"})
    _registry(trash, home)
    _runs(trash, home)
    trash.run(kept)
    trash.model(kept)
    for experiment in (home, gone, young, busy, late, used, guarded, kept):
        _contents(trash, experiment)
    # What its requests log is traces of this experiment.
    trash.fill("endpoints", experiment_id=int(used), usage_tracking=True)
    (scorer,) = trash.find("scorers", experiment_id=int(guarded))
    trash.fill("guardrails", scorer_id=scorer["scorer_id"], scorer_version=1)
    (queue, *_) = trash.find("review_queues", experiment_id=int(home))
    for trace in trash.find("trace_info"):
        item = {"item_type": "trace", "item_id": trace["request_id"]}
        if not trash.find("review_queue_items", queue_id=queue["queue_id"], **item):
            trash.fill("review_queue_items", queue_id=queue["queue_id"], **item)
    _locations(trash)
    _traces(trash, gone, home)
    trash.model(busy, deleted=None)
    for experiment in (gone, busy, late, used, guarded, kept):
        trash.drop_experiment(experiment, 90)
    trash.drop_experiment(young, 3)
    world.trace(late, age=50)
    for experiment in (home, gone, young):
        _orphans(trash, experiment)
    _links(trash, home)
    for path in (
        f"{home}/mine.txt",
        "skills/s/1/a",
        f"workspaces/w/1/{'a' * 32}/artifacts/a",
        "x/y",
    ):
        trash.put(path)
    empty = {name for name, rows in trash.state().rows.items() if not rows}
    for table in trash.tables:
        if table.name in empty:
            trash.fill(table.name)


def _runs(trash: Trash, home: str) -> None:
    """In one active experiment: what is old in the trash, and what retains it nevertheless."""
    world = trash.world
    old = trash.run(home, name=HOSTILE, tags={"note": HOSTILE})
    world.sql("UPDATE params SET value = ? WHERE run_uuid = ?", HOSTILE, old)
    for path in ("a b/%2e%2e/ü", "-rf", "..a", "z\n", "artifacts/artifacts"):
        trash.put(f"{home}/{old}/artifacts/{path}")
    trash.put(f"{home}/{old}/artifacts2/a")
    trash.put(f"{home}/{old}0/artifacts/a")
    trash.put(f"{home}0/{old}/artifacts/a")
    trash.put(f"{home}/{old}/notes.txt")
    trash.put(f"{home}/models/{old}/artifacts/a")
    # It read and made something, and something that is retained remembers it.
    reader = trash.run(home, deleted=None)
    world.read_dataset(reader, HOSTILE)
    world.tag_input(reader, "mlflow.data.context", HOSTILE)
    model, young = trash.model(home), trash.model(home, deleted=3)
    for each in (model, young):
        world.sql("UPDATE logged_models SET lifecycle_stage = 'active' WHERE model_id = ?", each)
        world.use_model(reader, each)
        world.put_out_model(reader, each)
        world.measure_model(reader, each)
        world.sql("UPDATE logged_models SET lifecycle_stage = 'deleted' WHERE model_id = ?", each)
    trash.fill("logged_model_params", model_id=model, experiment_id=int(home))
    trash.fill("logged_model_params", model_id=young, experiment_id=int(home))
    world.sql("UPDATE logged_models SET source_run_id = ? WHERE model_id = ?", reader, young)
    trash.delete(reader)
    trace = world.source_trace(home, reader)
    world.assess(trace, reader)
    trash.put(f"{home}/traces/{trace}/artifacts/traces.json")
    trash.fill("issues", experiment_id=int(home), source_run_id=reader)
    # A tree that is deleted as a whole, and one with an active run in it.
    for deleted in (100, None):
        root = trash.run(home)
        middle = trash.run(home, parent=root)
        trash.run(home, parent=middle, deleted=deleted)
    # Exactly the limit, younger, without a time, active.
    for deleted in (30, 29, 3, None):
        trash.run(home, deleted=deleted)
        trash.model(home, deleted=deleted)
    untimed, tagged, measured = (trash.run(home, deleted=None) for _ in range(3))
    world.tag_run(tagged, "mlflow_gc.keep", "")
    world.measure_model(measured, trash.model(home, deleted=None))
    trash.delete(tagged)
    trash.delete(measured)
    trash.delete(untimed)
    world.sql("UPDATE runs SET deleted_time = NULL WHERE run_uuid = ?", untimed)
    world.read_dataset(trash.run(home, deleted=None), "orders")


def _registry(trash: Trash, home: str) -> None:
    """What versions need by run, by path and by model; prompts and tombstones."""
    world = trash.world
    by_run, by_uri, by_path = (trash.run(home) for _ in range(3))
    by_model, read, made = (trash.model(home, deleted=None) for _ in range(3))
    world.version("fraud", run_id=by_run, tags={"a": "b"}, aliases=["champion"])
    world.version("fraud", source=f"runs:/{by_uri}/model")
    world.version("fraud", source=f"mlflow-artifacts:/{home}//{by_path}/artifacts/model")
    world.version("fraud", source=f"models:/{by_model}")
    world.use_model(trash.run(home, deleted=None), read)
    world.put_out_model(trash.run(home, deleted=None), made)
    for model in (by_model, read, made):
        trash.drop_model(model)
    world.prompt("greeting")
    for name in ("churn", "kept"):
        world.model(name, tags={"mlflow_gc.keep": ""} if name == "kept" else None)
        for number in range(1, 5):
            world.version(name, tags={"a": "b"})
            world.delete_version(f"{name}/{number}")
    world.sql(
        "UPDATE model_versions SET last_updated_time = ? WHERE current_stage = 'Deleted_Internal'",
        world.ago(90),
    )
    world.sql(
        "UPDATE model_versions SET last_updated_time = ? WHERE name = 'churn' AND version = 2",
        world.ago(3),
    )


def _contents(trash: Trash, experiment: str) -> None:
    """What else an experiment can hold, in each table that says so."""
    world, home = trash.world, int(experiment)
    run = trash.run(experiment, deleted=None)
    world.read_dataset(run, f"data-{run}")
    world.tag_input(run, "mlflow.data.context", "train")
    model = trash.model(experiment, run, deleted=None)
    world.put_out_model(run, model)
    world.measure_model(run, model)
    trash.fill("logged_model_params", model_id=model, experiment_id=home)
    trash.fill("logged_model_tags", model_id=model, experiment_id=home)
    trash.drop_model(model)
    world.tag_experiment(experiment, "team", HOSTILE)
    traces = [world.source_trace(experiment, run), world.assessed_trace(experiment, run)]
    for trace in traces:
        trash.put(f"{experiment}/traces/{trace}/artifacts/traces.json")
        trash.put(f"{experiment}/traces/{trace}/artifacts/attachments/{secrets.token_hex(4)}")
        archive = f"archive/{experiment}/traces/{trace}/artifacts"
        trash.put(f"{archive}/traces.pb")
        tag = {"key": "mlflow.trace.archiveLocation", "value": f"mlflow-artifacts:/{archive}"}
        trash.fill("trace_tags", request_id=trace, **tag)
        world.assess(trace)
        span = trash.fill("spans", trace_id=trace, experiment_id=home)
        trash.fill("span_metrics", trace_id=trace, span_id=span["span_id"])
        trash.fill("trace_metrics", request_id=trace)
        trash.fill("trace_tags", request_id=trace)
        _associate(trash, ("trace", trace), ("run", run), ("prompt_version", "greeting/1"))
    world.scorer(experiment)
    (scorer,) = trash.find("scorers", experiment_id=home)
    trash.fill("online_scoring_configs", scorer_id=scorer["scorer_id"], experiment_id=home)
    endpoint = trash.fill("endpoints")["endpoint_id"]
    binding = {"resource_type": "scorer", "resource_id": scorer["scorer_id"]}
    trash.fill("endpoint_bindings", endpoint_id=endpoint, **binding)
    world.issue(experiment)
    world.label_schema(experiment)
    world.default_label_schema(experiment)
    world.review_queue(experiment)
    queue = trash.fill("review_queues", experiment_id=home)["queue_id"]
    trash.fill("review_queue_users", queue_id=queue)
    trash.fill("review_queue_label_schemas", queue_id=queue)
    trash.fill("review_queue_items", queue_id=queue, item_type="trace", item_id=traces[0])
    dataset = world.evaluation_dataset(experiment)
    trash.fill("evaluation_dataset_records", dataset_id=dataset)
    trash.fill("evaluation_dataset_tags", dataset_id=dataset)
    world.sql("UPDATE entity_associations SET created_time = ?", world.ago(90))
    for table in trash.tables:
        if table.name.startswith("sql_"):
            trash.fill(table.name, experiment_id=home)


def _traces(trash: Trash, experiment: str, home: str) -> None:
    """Traces whose location, which is a tag that anybody may write, is not their own folder."""
    victim = trash.find("trace_info", experiment_id=int(home))[0]["request_id"]
    active = trash.run(home, deleted=None)
    for folder in (
        f"{home}/traces/{victim}/artifacts",
        f"{home}/traces",
        f"{home}/{active}/artifacts",
        f"{home}/{trash.run(home)}/artifacts/{{trace}}/artifacts",
        f"{experiment}/traces/{{trace}}",
        f"{experiment}/traces/{{trace}}/artifacts/artifacts",
        f"{experiment}0/{{trace}}/artifacts",
    ):
        trace = trash.world.source_trace(experiment, active)
        place = folder.format(trace=trace)
        trash.put(f"{place}/file.bin")
        trash.world.sql(
            "UPDATE trace_tags SET value = ? WHERE request_id = ? AND value LIKE ?",
            *(f"mlflow-artifacts:/{place}", trace, "mlflow-artifacts:%"),
        )
    stray = f"tr-{secrets.token_hex(16)}"
    path = trash.put(f"archive/{experiment}/traces/{stray}/artifacts/traces.pb")
    os.utime(trash.root / path, (trash.world.ago(100) / 1000,) * 2)


def _associate(trash: Trash, source: tuple[str, str], *destinations: tuple[str, str]) -> None:
    for destination in destinations:
        trash.fill(
            "entity_associations",
            source_type=source[0],
            source_id=source[1],
            destination_type=destination[0],
            destination_id=destination[1],
            created_time=trash.world.ago(90),
        )


def _locations(trash: Trash) -> None:
    """Experiments that share a location of their own, and some within the folders of others."""
    world = trash.world

    def located(uri: str) -> str:
        body = {"name": f"at {secrets.token_hex(4)}", "artifact_location": uri}
        experiment = str(world.call("POST", "experiments/create", body)["experiment_id"])
        old = world.ago(3000)
        world.date_experiment(experiment, created=old, updated=old)
        return experiment

    shared = [located("mlflow-artifacts:/team/a"), located("mlflow-artifacts:/team//a/")]
    for experiment, deleted in zip(shared, (None, 100), strict=True):
        run = trash.run(experiment, deleted=deleted, files=0)
        trash.put(f"team/a/{run}/artifacts/file.bin")
    trash.drop_experiment(shared[1], 90)
    lost = trash.put(f"team/a/{secrets.token_hex(16)}/artifacts/file.bin")
    os.utime(trash.root / lost, (world.ago(100) / 1000,) * 2)
    home = world.experiment()
    outer = trash.run(home)
    trace, model = world.source_trace(home, outer), trash.model(home, deleted=3)
    for folder in (
        f"{outer}/artifacts/./sub",
        f"traces/{trace}/artifacts",
        f"models/{model}/artifacts/x",
    ):
        inner = located(f"mlflow-artifacts:/{home}/{folder}")
        run = trash.run(inner, deleted=None, files=0)
        trash.put(f"{home}/{folder}/{run}/artifacts/file.bin".replace("/./", "/"))
        trash.drop_experiment(inner, 90)


def _orphans(trash: Trash, experiment: str) -> None:
    """Files of entities in no table: old, young, both, named by a version, and of another layout."""
    world = trash.world
    folders = {
        "old": (100,), "young": (3,), "both": (100, 3), "named": (100,), "edge": (30.001, 40),
    }  # fmt: skip
    for what, ages in folders.items():
        for kind in ("", "models/m-", "traces/tr-"):
            i = secrets.token_hex(16)
            for number, days in enumerate(ages):
                path = trash.put(f"{experiment}/{kind}{i}/artifacts/{number}/file.bin", 7)
                os.utime(trash.root / path, (world.ago(days) / 1000,) * 2)
            if what == "named":
                world.version("fraud", source=f"{trash.root}/{experiment}/{kind}{i}/artifacts/0")
    i = secrets.token_hex(16)
    for path in (
        *(f"{i[:-1]}/artifacts/a", f"{i}0/artifacts/a", f"{i.upper()}/artifacts/a"),
        *(f"models/{i}/artifacts/a", f"models/m-{i}.bak/a", f"m-{i}/artifacts/a"),
        *(f"traces/{i}/artifacts/a", f"tr-{i}/artifacts/a", f"models/tr-{i}/artifacts/a"),
        *(f"folder/{i}/artifacts/a", i, f"models/m-{i}"),
    ):
        trash.put(f"{experiment}/{path}")
        os.utime(trash.root / experiment / path, (world.ago(100) / 1000,) * 2)


def _links(trash: Trash, home: str) -> None:
    """What MLflow leaves of deleted entities, and what only looks like it."""
    world = trash.world
    lost = trash.run(home, deleted=None, files=0)
    world.read_dataset(lost, f"data-{lost}")
    world.tag_input(lost, "mlflow.data.context", "train")
    world.put_out_model(lost, trash.model(home, deleted=None))
    world.purge_run(lost)
    run = trash.run(home, deleted=None)
    dataset = world.evaluation_dataset(home)
    _associate(trash, ("evaluation_dataset", dataset), ("experiment", "987654321"))
    _associate(trash, ("trace", f"tr-{'a' * 32}"), ("run", run), ("prompt_version", "p/1"))
    _associate(trash, ("prompt_version", "p/1"), ("run", "b" * 32))
    _associate(trash, ("skill", "s/1"), ("run", "b" * 32))
    _associate(trash, ("trace", f"tr-{'b' * 32}"), ("run", run))
    world.sql(
        "UPDATE entity_associations SET created_time = ? WHERE source_id = ?",
        world.ago(3),
        f"tr-{'b' * 32}",
    )
