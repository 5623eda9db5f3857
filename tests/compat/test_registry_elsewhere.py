"""Runs on a server of each version, the model registry on a server of the installed one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from compat.content import SINCE_MODELS, adapt
from support import oracle
from support import server as store
from support.plans import Plan
from support.world import FRESH, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compat.environments import Environment
    from support.cli import Cli

    from mlflow_gc.demo.server import LocalServer


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server of the MLflow that is installed beside the program."""
    with store.local(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.mark.column("other registry")
def test_what_a_registry_elsewhere_names_is_protected(
    served: LocalServer,
    registry: LocalServer,
    environment: Environment,
    program: Cli,
    tmp_path: Path,
) -> None:
    """Also if it holds versions of logged models, and the tracking server has never heard of any."""
    as_of_ms = (int(time.time()) - 600) * 1000 + 123
    store.empty(served.database)
    store.empty(registry.database)
    world = World(served.uri, served.database, as_of_ms)
    adapt(world, environment.number)
    elsewhere = World(registry.uri, registry.database, as_of_ms)
    home = world.experiment(age=FRESH)
    deleted = {("run", world.run(home)), ("experiment", world.experiment())}
    by_id, by_source = world.run(home), world.run(home)
    model = elsewhere.model("fraud")
    spare = elsewhere.version(model)
    elsewhere.version(model, run_id=by_id, aliases=["champion"])
    elsewhere.version(model, source=f"runs:/{by_source}/model", age=FRESH)
    theirs = elsewhere.logged_model(elsewhere.experiment(age=FRESH))
    elsewhere.version(model, source=f"models:/{theirs}", age=FRESH)
    protected = {by_id, by_source}
    if environment.number >= SINCE_MODELS:
        protected.add(maker := world.run(home))
        logged = world.logged_model(home, maker)
        elsewhere.version(model, source=f"models:/{logged}", age=FRESH)
    env = {"MLFLOW_TRACKING_URI": served.uri, "MLFLOW_REGISTRY_URI": registry.uri}
    path, journal = tmp_path / "plan.json", tmp_path / "journal.jsonl"
    states = oracle.look(served.database), oracle.look(registry.database)
    program("report", "-o", path, "--as-of", world.as_of, env=env).expect(0)
    plan = Plan.load(path)
    assert plan.document["complete"] is True
    assert plan.entities == {*deleted, ("model_version", spare)}
    assert {r["run_id"] for r in plan.document["protected"]["runs"]} == protected
    program("check", path, "--detailed-exitcode", env=env).expect(0)
    program("prune", path, "--journal", journal, env=env).expect(0)
    assert oracle.look(served.database).gone_since(states[0]) == deleted
    assert oracle.look(registry.database).gone_since(states[1]) == {("model_version", spare)}
    program("restore", journal, "--yes", env=env).expect(0)
    assert oracle.look(served.database).gone_since(states[0]) == set()
    world.close()
    elsewhere.close()
