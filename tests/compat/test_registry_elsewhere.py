"""Runs and model registry on two servers: one of each version, the other of the installed one."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from compat.content import adapt
from support import oracle
from support import server as store
from support.plans import Plan
from support.world import FRESH, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compat.conftest import Served
    from compat.environments import Environment
    from support.cli import Cli

    from mlflow_gc.demo.server import LocalServer


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server of the MLflow that is installed beside the program."""
    python = Path(sys.executable)
    with store.of_version(python, tmp_path_factory.mktemp("installed")) as running:
        yield running


@pytest.mark.column("other registry")
@pytest.mark.parametrize("is_registry", [False, True], ids=["tracking server", "registry"])
def test_what_a_registry_elsewhere_names_is_protected(
    served: Served,
    installed: LocalServer,
    environment: Environment,
    program: Cli,
    tmp_path: Path,
    is_registry: bool,
) -> None:
    """The server of that version is the one or the other, and need not know logged models."""
    as_of_ms = (int(time.time()) - 600) * 1000 + 123
    store.empty(installed.database)
    worlds = [served.world(as_of_ms), World(installed.uri, installed.database, as_of_ms)]
    adapt(worlds[0], environment.number)
    world, registry = reversed(worlds) if is_registry else worlds
    home = world.experiment(age=FRESH)
    deleted = {("run", world.run(home)), ("experiment", world.experiment())}
    by_id, by_source = world.run(home), world.run(home)
    model = registry.model("fraud")
    spare = registry.version(model)
    registry.version(model, run_id=by_id, aliases=["champion"])
    registry.version(model, source=f"runs:/{by_source}/model", age=FRESH)
    protected = {by_id, by_source}
    if registry.columns("logged_models"):
        theirs = registry.logged_model(registry.experiment(age=FRESH))
        registry.version(model, source=f"models:/{theirs}", age=FRESH)
    if world.columns("logged_models"):
        protected.add(maker := world.run(home))
        logged = world.logged_model(home, maker)
        registry.version(model, source=f"models:/{logged}", age=FRESH)
    env = {"MLFLOW_TRACKING_URI": world.uri, "MLFLOW_REGISTRY_URI": registry.uri}
    path, journal = tmp_path / "plan.json", tmp_path / "journal.jsonl"
    states = oracle.look(world.store), oracle.look(registry.store)
    program("report", "-o", path, "--as-of", world.as_of, env=env).expect(0)
    plan = Plan.load(path)
    assert plan.document["complete"] is True
    assert plan.entities == {*deleted, ("model_version", spare)}
    assert {r["run_id"] for r in plan.document["protected"]["runs"]} == protected
    program("check", path, "--detailed-exitcode", env=env).expect(0)
    program("prune", path, "--journal", journal, env=env).expect(0)
    assert oracle.look(world.store).gone_since(states[0]) == deleted
    assert oracle.look(registry.store).gone_since(states[1]) == {("model_version", spare)}
    program("restore", journal, "--yes", env=env).expect(0)
    assert oracle.look(world.store).gone_since(states[0]) == set()
    for content in worlds:
        content.close()
