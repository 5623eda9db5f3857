"""Servers of each version that has workspaces (3.10 and newer), and what is said to others."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support import oracle, workspaces
from support import server as store
from support.plans import Plan
from support.workspaces import WorkspaceWorld
from support.world import FRESH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compat.conftest import Served
    from compat.environments import Environment
    from support.cli import Cli, Outcome

    from mlflow_gc.demo.server import LocalServer

SINCE_WORKSPACES = (3, 10)
HERE, THERE = "team-a", "team-b"
ALL = ("default", HERE, THERE)


@dataclass
class Spaces:
    """A server with workspaces that repeat all names.

    Attributes:
        server: it.
        worlds: workspace -> its content.
        program: the program.
        deleted: workspace -> what a plan of it deletes.
        across: a run of :data:`HERE` that only a version of :data:`THERE` names.
    """

    server: LocalServer
    worlds: dict[str, WorkspaceWorld]
    program: Cli
    deleted: dict[str, set[oracle.Entity]]
    across: str

    def run(self, *args: object) -> Outcome:
        """Run the program."""
        return self.program(*args, env={"MLFLOW_TRACKING_URI": self.server.uri})

    def report(self, path: Path, *args: object) -> Outcome:
        """Make a plan."""
        return self.run("report", "-o", path, "--as-of", self.worlds[HERE].as_of, *args)


@pytest.fixture(scope="session")
def spaces(
    environment: Environment, program: Cli, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Spaces]:
    """A server of that version with workspaces and content."""
    if environment.number < SINCE_WORKSPACES:
        pytest.skip("before workspaces")
    directory = tmp_path_factory.mktemp(f"workspaces-{environment.version}")
    with store.of_version(environment.python, directory, "--enable-workspaces") as server:
        workspaces.make(server, HERE, THERE)
        as_of_ms = (int(time.time()) - 600) * 1000 + 123
        worlds = {name: WorkspaceWorld(server, as_of_ms, name) for name in ALL}
        deleted = {name: _settle(world) for name, world in worlds.items()}
        home = worlds[HERE].experiment("home", age=FRESH)
        across = worlds[HERE].run(home)
        model = worlds[THERE].model("pointing across")
        worlds[THERE].version(model, run_id=across, aliases=["champion"])
        yield Spaces(server, worlds, program, deleted, across)
        for world in worlds.values():
            world.close()


def _settle(world: WorkspaceWorld) -> set[oracle.Entity]:
    nightly = world.experiment("nightly")
    runs = {("run", world.run(nightly, name=f"run-{n}")) for n in range(2)}
    registered = world.run(world.experiment("live", age=FRESH))
    model = world.model("fraud")
    spare = world.version(model)
    world.version(model, run_id=registered, aliases=["champion"], age=FRESH)
    return {("experiment", nightly), ("model_version", spare), *runs}


@pytest.mark.column("workspaces")
@pytest.mark.parametrize("workspace", ALL)
def test_a_plan_is_of_one_workspace(spaces: Spaces, tmp_path: Path, workspace: str) -> None:
    """What another workspace names is retained."""
    spaces.report(tmp_path / "plan.json", "--workspace", workspace).expect(0)
    plan = Plan.load(tmp_path / "plan.json")
    assert plan.document["server"]["workspace"] == workspace
    assert plan.entities == spaces.deleted[workspace]
    if workspace == HERE:
        assert "registered_model" in plan.protection(("run", spaces.across))


@pytest.mark.column("workspaces")
def test_plans_of_all_workspaces(spaces: Spaces, tmp_path: Path) -> None:
    spaces.report(tmp_path / "plan.json", "--all-workspaces").expect(0)
    plans = {name: Plan.load(tmp_path / f"plan.{name}.json") for name in ALL}
    assert {name: plan.entities for name, plan in plans.items()} == spaces.deleted
    assert "registered_model" in plans[HERE].protection(("run", spaces.across))


@pytest.mark.column("workspaces")
def test_a_workspace_that_is_not_named_or_not_there(spaces: Spaces, tmp_path: Path) -> None:
    spaces.report(tmp_path / "none.json").expect(0)
    assert Plan.load(tmp_path / "none.json").document["server"]["workspace"] == "default"
    wrong = spaces.report(tmp_path / "wrong.json", "--workspace", "team-c").expect(5)
    assert "has no workspace 'team-c'" in wrong.err
    assert not (tmp_path / "wrong.json").exists()


@pytest.mark.column("workspaces")
def test_a_prune_deletes_nothing_in_other_workspaces(spaces: Spaces, tmp_path: Path) -> None:
    """In no other is the plan accepted; and a restore brings back what it can."""
    before = workspaces.active(spaces.server.database)
    path, journal = tmp_path / "plan.json", tmp_path / "journal.jsonl"
    spaces.report(path, "--workspace", HERE).expect(0)
    prune = ("prune", path, "--journal", journal)
    for other in ((), ("--workspace", THERE)):
        refused = spaces.run(*prune, *other).expect(5)
        assert f"of the workspace {HERE}" in refused.err
    assert workspaces.active(spaces.server.database) == before
    spaces.run(*prune, "--workspace", HERE).expect(0)
    after = workspaces.active(spaces.server.database)
    assert {name: before[name] - after[name] for name in ALL} == {
        **{name: set() for name in ALL},
        HERE: spaces.deleted[HERE],
    }
    spaces.run("restore", journal, "--yes", "--workspace", HERE).expect(0)
    restored = workspaces.active(spaces.server.database)
    assert before[HERE] - restored[HERE] == {("model_version", "fraud/1")}


@pytest.mark.column("report")
def test_a_workspace_of_a_server_without_any(served: Served, program: Cli, tmp_path: Path) -> None:
    """Whatever its version."""
    env = {"MLFLOW_TRACKING_URI": served.uri}
    path = tmp_path / "plan.json"
    for options in (("--workspace", "team-a"), ("--all-workspaces",)):
        said = program("report", "-o", path, *options, env=env).expect(5)
        assert "has no workspaces" in said.err
        assert list(tmp_path.iterdir()) == []
