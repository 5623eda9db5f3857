"""What a policy can ask for and a server has to understand: other writes than deletions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support import oracle
from support.plans import Plan
from support.world import FRESH, KEEP_TAG, OLD, World

if TYPE_CHECKING:
    from pathlib import Path

    from compat.environments import Environment
    from support.cli import Cli


AFTER = "mlflow_gc.delete_after"
SINCE_TAG_REMOVAL = (3, 2)
NAMES = ["nightly", "команда/модель 🦄", 'it\'s \u202e"odd"\n<b>', "x" * 250]


def _rows(world: World, table: str) -> list[dict[str, str]]:
    """Return the rows of a table, whatever its primary key is."""
    rows = oracle.rows(world.store)
    return [
        {column: str(value) for column, value in row.items()}
        for (name, _), row in rows.items()
        if name == table
    ]


def _experiments(world: World) -> dict[str, str]:
    return {row["experiment_id"]: row["name"] for row in _rows(world, "experiments")}


def _policy(folder: Path, *lines: str) -> Path:
    path = folder / "policy.yml"
    path.write_text("\n".join(["version: 1", *lines, ""]), encoding="utf-8")
    return path


@pytest.mark.column("policies")
def test_names_are_freed_and_given_back(world: World, program: Cli, tmp_path: Path) -> None:
    """Experiments are renamed for their deletion; ``restore --keep`` sets the keep tag as well."""
    policy = _policy(tmp_path, "free_experiment_names: true", "defaults: {empty_models: 30d}")
    experiments = {world.experiment(name): name for name in NAMES}
    runs = {world.run(experiment) for experiment in experiments}
    empty = [world.model(f"{n}{name}"[:250].replace("/", "-")) for n, name in enumerate(NAMES)]
    full = world.model("not empty")
    world.version(full, age=FRESH)
    path, journal = tmp_path / "plan.json", tmp_path / "journal.jsonl"
    env = {"MLFLOW_TRACKING_URI": world.uri}
    options = ("--as-of", world.as_of, "--policy", policy)
    program("report", "-o", path, *options, env=env).expect(0)
    plan = Plan.load(path)
    assert {m["name"] for m in plan.document["registered_models"]} == set(empty)
    assert plan.experiments == experiments.keys()
    before = oracle.rows(world.store)
    program("prune", path, "--journal", journal, env=env).expect(0)
    names = _experiments(world)
    assert not {names[e] for e in experiments} & set(NAMES)
    assert all(f"id {e})" in names[e] for e in experiments)
    assert {row["name"] for row in _rows(world, "registered_models")} == {full}
    program("restore", journal, "--yes", "--keep", env=env).expect(0)
    names = _experiments(world)
    assert {e: names[e] for e in experiments} == experiments
    changed = oracle.changes(before, oracle.rows(world.store))
    # Which covers the runs in them.
    tags = {("experiment_tags", f"{KEEP_TAG}/{e}") for e in experiments}
    assert {row for row, columns in changed.items() if columns == {"new"}} == tags
    program("report", "-o", tmp_path / "next.json", *options, env=env).expect(0)
    following = Plan.load(tmp_path / "next.json")
    assert not following.entities
    assert all(set(following.protection(("run", r))) == {"keep_tag"} for r in runs)


@pytest.mark.column("policies")
def test_deletions_are_announced_and_wait(
    world: World, environment: Environment, program: Cli, tmp_path: Path
) -> None:
    """``mark`` sets tags on all kinds, a prune waits for their day, ``mark --clear`` takes them."""
    policy = _policy(tmp_path, "grace: 14d", "defaults: {empty_models: 30d}")
    home = world.experiment(age=FRESH)
    run, empty = world.run(home), world.experiment()
    version, model = world.spare_version(world.model()), world.model("to delete")
    expected = {
        *(("run", run), ("experiment", empty), ("model_version", version)),
        ("registered_model", model),
    }
    tables = {
        "run": ("tags", ["run_uuid"]),
        "experiment": ("experiment_tags", ["experiment_id"]),
        "model_version": ("model_version_tags", ["name", "version"]),
        "registered_model": ("registered_model_tags", ["name"]),
    }

    def announced() -> set[oracle.Entity]:
        return {
            (kind, "/".join(row[part] for part in key))
            for kind, (table, key) in tables.items()
            for row in _rows(world, table)
            if row["key"] == AFTER
        }

    env = {"MLFLOW_TRACKING_URI": world.uri}
    before = oracle.rows(world.store)
    program("mark", "--policy", policy, env=env).expect(0)
    assert announced() == expected
    path = tmp_path / "plan.json"
    program("report", "-o", path, "--policy", policy, env=env).expect(0)
    plan = Plan.load(path)
    assert not plan.entities
    assert set(plan.protection(("run", run))) == {"grace"}
    past = time.strftime("%Y-%m-%d", time.gmtime(world.ago(OLD - 60) / 1000))
    for table, _ in tables.values():
        # With the table: "key" alone is a word of SQL in MariaDB.
        world.sql(f"UPDATE {table} SET value = ? WHERE {table}.key = ?", past, AFTER)
    program("report", "-o", path, "--policy", policy, env=env).expect(0)
    assert Plan.load(path).entities == expected - {("registered_model", model)}
    assert [m["name"] for m in Plan.load(path).document["registered_models"]] == [model]
    program("mark", "--clear", "--policy", policy, env=env).expect(0)
    # docs/explanation/mlflow-facts.md#old-servers-keep-experiment-tags
    left = set() if environment.number >= SINCE_TAG_REMOVAL else {("experiment", empty)}
    assert announced() == left
    program("report", "-o", path, "--policy", policy, env=env).expect(0)
    assert Plan.load(path).protection(("experiment", empty)).keys() == {"grace"}
    program("mark", "--clear", "--policy", policy, env=env).expect(0)
    changed = oracle.changes(before, oracle.rows(world.store))
    tag = ("experiment_tags", f"{AFTER}/{empty}")
    assert set(changed) <= {
        tag,
        ("registered_models", model),
        ("registered_models", f"default/{model}"),
    }
    assert (tag in changed) is bool(left)
