"""Servers of each version with ``--static-prefix``, by the address that people have: with it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import requests
from compat.content import adapt
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

PREFIX = "/team/ml"
SINCE_HEALTH = (3, 7)
"""From here on the health check is behind the prefix."""


@pytest.fixture(scope="session")
def prefixed(
    environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalServer]:
    """A server behind a prefix."""
    directory = tmp_path_factory.mktemp(f"prefixed-{environment.version}")
    health = f"{PREFIX}/health" if environment.number >= SINCE_HEALTH else "/health"
    arguments = ("--static-prefix", PREFIX)
    with store.of_version(environment.python, directory, *arguments, health=health) as server:
        yield server


@pytest.mark.column("static prefix")
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_plan_is_made_applied_and_undone(
    prefixed: LocalServer, environment: Environment, program: Cli, tmp_path: Path, slash: str
) -> None:
    """With the version, and with links to the pages."""
    store.empty(prefixed.database)
    address = prefixed.uri + PREFIX
    search = "api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
    roots = [r for r in (address, prefixed.uri) if requests.get(f"{r}/{search}", timeout=60).ok]
    world = World(roots[0], prefixed.database, (int(time.time()) - 600) * 1000 + 123)
    adapt(world, environment.number)
    home = world.experiment(age=FRESH)
    deleted = {("run", world.run(home)), ("experiment", world.experiment())}
    behind = world.run(home)
    world.version(world.model(), run_id=behind, age=FRESH)
    env = {"MLFLOW_TRACKING_URI": address + slash}
    path, journal = tmp_path / "plan.json", tmp_path / "journal.jsonl"
    before = oracle.look(prefixed.database)
    program("report", "-o", path, "--as-of", world.as_of, env=env).expect(0)
    plan = Plan.load(path)
    assert deleted <= plan.entities
    assert ("run", behind) not in plan.entities
    assert plan.document["complete"] is True
    assert plan.document["server"]["mlflow_version"] == environment.version
    assert plan.document["server"]["tracking_uri"] == address
    page = program("show", path, "--format", "html", env=env).out
    assert f"{address}/#/experiments/{home}" in page
    assert requests.get(f"{address}/", timeout=60).ok
    program("check", path, "--detailed-exitcode", env=env).expect(0)
    program("prune", path, "--journal", journal, env=env).expect(0)
    assert oracle.look(prefixed.database).gone_since(before) == plan.entities
    program("restore", journal, "--yes", env=env).expect(0)
    assert oracle.look(prefixed.database).gone_since(before) == set()
    world.close()
