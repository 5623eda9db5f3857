"""A server with workspaces (``mlflow server --enable-workspaces``, MLflow 3.10 and newer).

Workspaces repeat the names of experiments and registered models; ids of experiments and runs are
unique over all of them.  A plan is of one workspace.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
import requests
from support import ROOT, accounts, nginx, workspaces
from support import server as store
from support.accounts import ADMIN, password
from support.plans import Plan
from support.proxy import HTML_200, Fault, Proxy, deletions
from support.readers import SAME_BUT, assert_same, differing, read
from support.workspaces import WorkspaceWorld
from support.world import FRESH, World

import mlflow_gc
from mlflow_gc import Server
from mlflow_gc.demo.server import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cli import Cli, Outcome
    from support.oracle import Entity

TEAMS = ("team-a", "team-b")
ALL = ("default", *TEAMS)


@dataclass(frozen=True)
class Workspaces:
    """The workspaces of one server, and the program.

    Attributes:
        server: it.
        worlds: workspace -> its content.
        cli: the program.
        dir: for plans and journals.
    """

    server: LocalServer
    worlds: dict[str, WorkspaceWorld]
    cli: Cli
    dir: Path

    def env(self, workspace: str | None, uri: str | None = None) -> dict[str, str | None]:
        """The settings for a workspace; None sets none, which means the default one."""
        return {"MLFLOW_TRACKING_URI": uri or self.server.uri, "MLFLOW_WORKSPACE": workspace}

    def report(self, workspace: str | None, *, uri: str | None = None, name: str = "") -> Plan:
        """Make a plan of a workspace."""
        path = self.dir / f"{name or workspace or 'none'}.json"
        as_of = self.worlds["default"].as_of
        self.cli("report", "-o", path, "--as-of", as_of, env=self.env(workspace, uri)).expect(0)
        return Plan.load(path)

    def prune(self, plan: Plan, workspace: str | None, *codes: int, uri: str | None = None) -> Path:
        """Apply a plan in a workspace; gives the path of the journal."""
        journal = plan.path.with_suffix(".journal.jsonl")
        env = self.env(workspace, uri)
        self.cli("prune", plan.path, "--journal", journal, env=env).expect(*codes or (0,))
        return journal

    def active(self) -> dict[str, set[Entity]]:
        """Workspace -> its living entities, from the database alone."""
        return workspaces.active(self.server.database)


def _start(directory: Path) -> LocalServer:
    server = store.local(directory, "--enable-workspaces").start()
    workspaces.make(server, *TEAMS)
    return server


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[LocalServer]]:
    """Two servers that have nothing but the names of their workspaces in common."""
    directories = [tmp_path_factory.mktemp(name) for name in ("workspaces", "more-workspaces")]
    with ThreadPoolExecutor(2) as pool:
        started = list(pool.map(_start, directories))
    yield started
    for server in started:
        server.stop()


@pytest.fixture
def spaces(
    servers: list[LocalServer], as_of_ms: int, cli: Cli, tmp_path: Path
) -> Iterator[Workspaces]:
    """The first of the servers, emptied for this test."""
    store.empty(servers[0].database)
    worlds = {name: WorkspaceWorld(servers[0], as_of_ms, name) for name in ALL}
    yield Workspaces(servers[0], worlds, cli, tmp_path)
    for world in worlds.values():
        world.close()


def _settle(world: World) -> dict[str, Any]:
    """The same names in every workspace; the model protects a run that others may not."""
    nightly = world.experiment("nightly")
    runs = {world.run(nightly, name=f"run-{n}") for n in range(3)}
    live = world.experiment("live", age=FRESH)
    registered = world.run(live, name="registered")
    model = world.model("fraud")
    spare = world.version(model, source="s3://bucket/spare")
    world.version(model, run_id=registered, aliases=["champion"], age=FRESH)
    return {
        "nightly": nightly,
        "planned": {("experiment", nightly), ("model_version", spare)} | {("run", r) for r in runs},
    }


def test_a_prune_in_one_workspace_leaves_the_others_alone(spaces: Workspaces) -> None:
    """Same names everywhere: experiments, runs, models, version numbers, aliases."""
    settled = {name: _settle(world) for name, world in spaces.worlds.items()}
    before = spaces.active()
    for name in ALL:
        plan = spaces.report(name)
        assert plan.document["server"]["workspace"] == name
        assert plan.entities == settled[name]["planned"]
    spaces.prune(Plan.load(spaces.dir / "team-a.json"), "team-a")
    after = spaces.active()
    assert before["team-a"] - after["team-a"] == settled["team-a"]["planned"]
    assert {name: after[name] for name in ("default", "team-b")} == {
        name: before[name] for name in ("default", "team-b")
    }
    journal = spaces.dir / "team-a.journal.jsonl"
    spaces.cli("restore", journal, "--yes", env=spaces.env("team-b")).expect(5)
    assert spaces.active() == after
    spaces.cli("restore", journal, "--yes", env=spaces.env("team-a")).expect(0)
    restored = spaces.active()
    assert before["team-a"] - restored["team-a"] == {("model_version", "fraud/1")}
    assert restored["team-b"] == before["team-b"]


def test_a_plan_of_one_workspace_is_refused_in_every_other(
    spaces: Workspaces,
) -> None:
    """By name, by flag, and where none is named; nothing is touched."""
    for world in spaces.worlds.values():
        _settle(world)
    before = spaces.active()
    with Proxy(spaces.server.uri) as proxy:
        for mine, theirs in (("team-a", "team-b"), ("team-a", None), ("default", "team-a")):
            plan = spaces.report(mine, uri=proxy.uri)
            journal = spaces.prune(plan, theirs, 5, uri=proxy.uri)
            assert not journal.exists()
            env = spaces.env(theirs, proxy.uri)
            refused = spaces.cli("check", plan.path, env=env).expect(5)
            assert f"of the workspace {mine}, not {theirs or 'default'}" in refused.err
        assert not deletions(proxy.seen)
    assert spaces.active() == before


def test_no_workspace_means_the_default_one(spaces: Workspaces) -> None:
    """And the plan says so: it is the same whether it is named or not."""
    settled = _settle(spaces.worlds["default"])
    _settle(spaces.worlds["team-a"])
    unnamed, named = spaces.report(None), spaces.report("default")
    assert unnamed.document["server"]["workspace"] == "default"
    assert unnamed.plan_id == named.plan_id
    spaces.prune(unnamed, "default")
    assert settled["planned"] & spaces.active()["default"] == set()


def test_the_flag_wins_over_the_variable(spaces: Workspaces) -> None:
    """``--workspace team-b`` beside ``MLFLOW_WORKSPACE=team-a``."""
    for world in spaces.worlds.values():
        _settle(world)
    path = spaces.dir / "flag.json"
    as_of = spaces.worlds["default"].as_of
    env = spaces.env("team-a")
    spaces.cli("report", "--workspace", "team-b", "-o", path, "--as-of", as_of, env=env).expect(0)
    assert Plan.load(path).plan_id == spaces.report("team-b").plan_id
    before = spaces.active()
    spaces.cli("prune", path, env=env).expect(5)
    assert spaces.active() == before
    spaces.cli("prune", path, "--workspace", "team-b", env=env).expect(0)
    assert spaces.active()["team-a"] == before["team-a"]
    assert len(before["team-b"] - spaces.active()["team-b"]) == 5


def test_interference_in_the_workspace(spaces: Workspaces) -> None:
    """A version there protects, one of the same name elsewhere is another model's."""
    world = spaces.worlds["team-a"]
    home = world.experiment(age=FRESH)
    first, second = sorted(world.run(home) for _ in range(2))
    for each in spaces.worlds.values():
        each.model("fraud")
    plan = spaces.report("team-a")
    assert plan.runs == {first, second}
    world.version("fraud", run_id=first)
    spaces.prune(plan, "team-a")
    active = spaces.active()["team-a"]
    assert ("run", first) in active
    assert ("run", second) not in active


def test_a_version_in_another_workspace_protects_its_run(spaces: Workspaces) -> None:
    """MLflow checks no run id: any workspace's registry may stand behind a run."""
    home = spaces.worlds["team-a"].experiment(age=FRESH)
    behind, free = (spaces.worlds["team-a"].run(home) for _ in range(2))
    other = spaces.worlds["team-b"]
    other.call("POST", "registered-models/create", {"name": "shared"})
    body = {"name": "shared", "source": f"runs:/{behind}/model", "run_id": behind}
    other.call("POST", "model-versions/create", body)
    plan = spaces.report("team-a")
    spaces.prune(plan, "team-a")
    active = spaces.active()["team-a"]
    assert ("run", behind) in active
    assert ("run", free) not in active


def test_a_workspace_keeps_its_fingerprint_at_another_address(spaces: Workspaces) -> None:
    """A server is known by several names, inside and outside of a cluster (contract, section 5)."""
    _settle(spaces.worlds["team-a"])
    plan = spaces.report("team-a")
    with Proxy(spaces.server.uri) as proxy:
        again = spaces.report("team-a", uri=proxy.uri, name="again")
        assert again.document["server"]["identity"] == plan.document["server"]["identity"]
        spaces.prune(plan, "team-a", uri=proxy.uri)
    assert not plan.entities & spaces.active()["team-a"]


def test_a_workspace_of_another_server_is_refused_at_the_same_address(
    spaces: Workspaces, servers: list[LocalServer]
) -> None:
    """An address moves from one server to the next, and the plan must not move along."""
    _settle(spaces.worlds["team-a"])
    with Proxy(spaces.server.uri) as proxy:
        plan = spaces.report("team-a", uri=proxy.uri)
        proxy._state.upstream = ("127.0.0.1", servers[1].port)
        spaces.prune(plan, "team-a", 5, uri=proxy.uri)


def test_a_workspace_that_does_not_exist_is_a_clear_error(spaces: Workspaces) -> None:
    """Not an empty plan."""
    path = spaces.dir / "plan.json"
    outcome = spaces.cli("report", "-o", path, env=spaces.env("team-c")).expect(5)
    assert "team-c" in outcome.err
    assert len(outcome.err.strip().splitlines()) <= 4
    assert not path.exists()


def test_a_proxy_that_loses_the_workspace_makes_no_plan(spaces: Workspaces, tmp_path: Path) -> None:
    """The server would respond with the contents of another workspace."""
    to = f"location / {{ proxy_pass {spaces.server.uri};"
    with nginx.running(tmp_path / "passes", f"server {{ listen PORT; {to} }} }}") as front:
        spaces.report("team-a", uri=front.uri)
    for number, value in enumerate(('""', "default")):
        header = f"proxy_set_header X-MLFLOW-WORKSPACE {value};"
        config = f"server {{ listen PORT; {to} {header} }} }}"
        with nginx.running(tmp_path / f"loses-{number}", config) as front:
            for workspace in (None, "default", "team-a"):
                path = tmp_path / "none.json"
                env = spaces.env(workspace, front.uri)
                outcome = spaces.cli("report", "-o", path, env=env).expect(1)
                assert "header X-MLFLOW-WORKSPACE" in outcome.err
                assert not path.exists()


def test_a_proxy_with_a_default_of_its_own_does_not_change_the_workspace(
    spaces: Workspaces, tmp_path: Path
) -> None:
    """Without ``--workspace`` a plan is of ``default``, not of what a proxy sets."""
    for world in spaces.worlds.values():
        _settle(world)
    direct = spaces.report(None, name="direct")
    given = "$http_x_mlflow_workspace"
    config = (
        f'map {given} $workspace {{ "" team-b; default {given}; }}'
        f" server {{ listen PORT; location / {{ proxy_pass {spaces.server.uri};"
        " proxy_set_header X-MLFLOW-WORKSPACE $workspace; } }"
    )
    with nginx.running(tmp_path / "sets", config) as front:
        plan = spaces.report(None, uri=front.uri, name="through")
    assert plan.document["server"]["workspace"] == "default"
    assert plan.entities == direct.entities


@pytest.mark.parametrize(
    "path",
    ["registered-models/", "model-versions/", "runs/", "logged-models/", "traces/"],
)
def test_a_proxy_that_loses_the_workspace_for_some_paths_makes_no_plan(
    spaces: Workspaces, tmp_path: Path, path: str
) -> None:
    """The versions of another workspace protect nothing in this one."""
    to = f"proxy_pass {spaces.server.uri};"
    lost = f'location ~ /mlflow/{path} {{ {to} proxy_set_header X-MLFLOW-WORKSPACE ""; }}'
    config = f"server {{ listen PORT; location / {{ {to} }} {lost} }}"
    with nginx.running(tmp_path / "loses", config) as front:
        plan = tmp_path / "none.json"
        env = spaces.env("team-a", front.uri)
        outcome = spaces.cli("report", "-o", plan, env=env).expect(1)
        assert "header X-MLFLOW-WORKSPACE" in outcome.err
        assert path in outcome.err
        assert not plan.exists()


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_a_workspace_on_a_server_without_workspaces_is_a_clear_error(
    cli: Cli, tmp_path: Path, by: str
) -> None:
    """At once: MLflow's own client would try again for four minutes (hazard 11)."""
    path = tmp_path / "plan.json"
    args = ("--workspace", "team-a") if by == "flag" else ()
    env = {"MLFLOW_WORKSPACE": "team-a"} if by == "variable" else {}
    outcome = cli("report", "-o", path, *args, env=env, timeout=60).expect(5)
    assert "no workspaces" in outcome.err
    assert "team-a" in outcome.err
    assert "--workspace" in outcome.err
    assert not path.exists()


def test_a_database_with_workspaces_is_not_read_past_them(spaces: Workspaces) -> None:
    """Its rows of all workspaces would be one heap: refused, in words."""
    _settle(spaces.worlds["team-a"])
    path = spaces.dir / "plan.json"
    uri = f"sqlite:///{spaces.server.database}"
    for workspace in (None, "team-a"):
        outcome = spaces.cli("report", "-o", path, env=spaces.env(workspace, uri)).expect(1, 5, 64)
        assert "workspace" in outcome.err
        assert not path.exists()


def test_the_database_behind_a_server_is_read_in_one_workspace(spaces: Workspaces) -> None:
    """Row for row what the server shows of it, and the versions of the others as protection."""
    settled = {name: _settle(world) for name, world in spaces.worlds.items()}
    spaces.worlds["team-b"].prompt("greeting")
    behind = spaces.worlds["team-a"].run(settled["team-a"]["nightly"], name="behind")
    other = spaces.worlds["team-b"]
    body = {"name": "fraud", "source": f"runs:/{behind}/model", "run_id": behind}
    other.call("POST", "model-versions/create", body)
    logged = other.logged_model(settled["team-b"]["nightly"])
    spaces.worlds["team-a"].version("fraud", source=f"models:/{logged}")
    uri = f"sqlite:///{spaces.server.database}"
    for name in ALL:
        over_rest = read(spaces.server.uri, workspace=name)
        assert over_rest.foreign_versions
        assert_same(over_rest, read(spaces.server.uri, uri, workspace=name))
        env = {**spaces.env(name), "MLFLOW_BACKEND_STORE_URI": uri}
        path = spaces.dir / "database.json"
        spaces.cli("report", "-o", path, "--as-of", other.as_of, env=env).expect(0)
        plan = Plan.load(path)
        assert plan.entities
        assert ("run", behind) not in plan.entities
        assert differing(spaces.report(name), plan) <= SAME_BUT
    before = spaces.active()
    spaces.prune(plan, "team-b")
    after = spaces.active()
    assert before["team-b"] - after["team-b"] == plan.entities
    assert after["team-a"] == before["team-a"]


@pytest.mark.parametrize("where", ["description", "tag"])
def test_the_texts_of_a_model_of_another_workspace_protect(spaces: Workspaces, where: str) -> None:
    """As those of its versions do, over REST and from the database, in the plan and at its prune."""
    here, elsewhere = spaces.worlds["team-a"], spaces.worlds["team-b"]
    home = here.experiment(f"by {where}", age=FRESH)
    known, later, unused = (here.run(home) for _ in range(3))

    def register(name: str, run: str) -> None:
        texts = {
            "description": {"description": f"made by {run}"},
            "tag": {"tags": [{"key": "run", "value": run}]},
        }
        elsewhere.call("POST", "registered-models/create", {"name": name, **texts[where]})

    register(f"{where}-known", known)
    uri = f"sqlite:///{spaces.server.database}"
    over_rest = read(spaces.server.uri, workspace="team-a")
    assert f"{where}-known" in {model.name for model in over_rest.foreign_models}
    assert_same(over_rest, read(spaces.server.uri, uri, workspace="team-a"))
    plan = spaces.report("team-a", name=f"{where}.json")
    assert {later, unused} <= plan.runs
    assert plan.protection(("run", known)) == {
        "registered_model": [f"registered_model {where}-known", "another workspace"]
    }
    register(f"{where}-later", later)
    spaces.prune(plan, "team-a")
    active = spaces.active()["team-a"]
    assert {("run", known), ("run", later)} <= active
    assert ("run", unused) not in active


# All workspaces at once ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Settled:
    """Three workspaces with the same names, and a run that a version of another workspace names.

    Attributes:
        spaces: the server.
        planned: workspace -> what is stale in it.
        across: the run, in ``team-a``.
    """

    spaces: Workspaces
    planned: dict[str, set[Entity]]
    across: str

    def run(self, *args: object, uri: str | None = None, **env: str | None) -> Outcome:
        """Run the program; no workspace is chosen."""
        return self.spaces.cli(*args, env={**self.spaces.env(None, uri), **env})

    def report(self, *args: object, uri: str | None = None) -> Outcome:
        """Make plans of all workspaces."""
        out, as_of = self.spaces.dir / "plan.json", self.spaces.worlds["default"].as_of
        options = ("--all-workspaces", "-o", out, "--as-of", as_of)
        return self.run("report", *options, *args, uri=uri)

    def plans(self, *names: str) -> list[Plan]:
        """The plans of workspaces, all without names."""
        return [Plan.load(self.spaces.dir / f"plan.{name}.json") for name in names or ALL]


@pytest.fixture
def settled(spaces: Workspaces) -> Settled:
    """Content in each workspace."""
    planned = {name: _settle(world)["planned"] for name, world in spaces.worlds.items()}
    across = spaces.worlds["team-a"].run(spaces.worlds["team-a"].experiment(age=FRESH))
    spaces.worlds["team-b"].version("fraud", source=f"runs:/{across}/model", age=FRESH)
    return Settled(spaces, planned, across)


def test_all_workspaces_give_a_plan_each(settled: Settled) -> None:
    """The same as one after the other, whatever the environment names."""
    events = settled.spaces.dir / "events.jsonl"
    outcome = settled.report("--detailed-exitcode", "--events", events).expect(2)
    settled.run("validate", events).expect(0)
    happened = [json.loads(line) for line in events.read_text().splitlines()]
    made = [event["server"]["workspace"] for event in happened if event["event"] == "plan"]
    assert made == list(ALL)
    plans = dict(zip(ALL, settled.plans(), strict=True))
    for name, plan in plans.items():
        assert plan.document["server"]["workspace"] == name
        assert plan.entities == settled.planned[name]
        assert plan.plan_id == settled.spaces.report(name, name=f"alone-{name}").plan_id
        assert f"{plan.path}" in outcome.out
    assert "registered_model" in plans["team-a"].protection(("run", settled.across))
    files = sorted(str(plan.path) for plan in plans.values())
    assert f"prune --all-workspaces {' '.join(files)}" in outcome.out.replace("'", "")
    # The page shows the same table, of another server.
    page = (ROOT / "docs/how-to/workspaces.md").read_text(encoding="utf-8")
    shown = page.partition("Plans of ")[2].partition("```")[0].splitlines()
    _, columns, *of_each, _ = outcome.out.partition("Plans of ")[2].splitlines()
    assert shown[1].split() == columns.split()
    assert len(of_each) == len(shown) - 3
    for row, example in zip(of_each, shown[2:], strict=False):
        assert len(row.split()) == len(example.split()), row
    assert sorted(p.name for p in settled.spaces.dir.glob("plan.*")) == sorted(
        plan.path.name for plan in plans.values()
    )
    assert settled.report("-q").expect(0).out == ""


def test_plans_of_several_workspaces_are_applied_and_undone_at_once(settled: Settled) -> None:
    """Each in its own workspace, each only if it was approved."""
    settled.report().expect(0)
    before = settled.spaces.active()
    plans = settled.plans()
    files = [plan.path for plan in plans]
    approved = [word for plan in plans for word in ("--expect", plan.plan_id)]
    several = ("--all-workspaces", *files)
    settled.run("check", *several, "--detailed-exitcode").expect(0)
    settled.run("prune", *several, MLFLOW_GC_REQUIRE_EXPECT="1").expect(5)
    assert settled.spaces.active() == before
    # One was not approved: the others are applied.
    output = settled.run("prune", *several, *approved[2:], MLFLOW_GC_REQUIRE_EXPECT="1").expect(5)
    assert f"{files[0]}: The plan" in output.err
    after = settled.spaces.active()
    assert after["default"] == before["default"]
    for name in TEAMS:
        assert before[name] - after[name] == settled.planned[name]
    settled.run("prune", *several, *approved).expect(0)
    assert before["default"] - settled.spaces.active()["default"] == settled.planned["default"]
    assert settled.run("check", *several, "--detailed-exitcode").expect(2)
    journals = [f"{file}.journal.jsonl" for file in files]
    settled.run("restore", "--all-workspaces", *journals, "--yes").expect(0)
    restored = settled.spaces.active()
    assert {name: before[name] - restored[name] for name in ALL} == {
        name: {("model_version", "fraud/1")} for name in ALL
    }


def test_some_ids_are_restored_from_several_journals(settled: Settled) -> None:
    """An id is of one journal; one that is in none changes nothing."""
    settled.report().expect(0)
    files = [plan.path for plan in settled.plans(*TEAMS)]
    settled.run("prune", "--all-workspaces", *files).expect(0)
    after = settled.spaces.active()
    journals = [f"{file}.journal.jsonl" for file in files]
    restore = ("restore", "--all-workspaces", *journals, "--yes")
    planned = settled.planned["team-b"]
    home = next(i for kind, i in planned if kind == "experiment")
    output = settled.run(*restore, "--only", home, "--only", "0" * 32).expect(64)
    assert "none of the 2 journals" in output.err
    assert settled.spaces.active() == after
    settled.run(*restore, "--only", home).expect(0)
    back = {entity for entity in planned if entity[0] != "model_version"}
    assert settled.spaces.active() == {**after, "team-b": after["team-b"] | back}


def test_one_plan_finds_its_workspace(settled: Settled) -> None:
    """With the flag, instead of ``--workspace`` or the variable; its commands name it."""
    settled.report().expect(0)
    before = settled.spaces.active()
    (plan,) = settled.plans("team-b")
    output = settled.run("prune", "--all-workspaces", plan.path, MLFLOW_WORKSPACE="team-a")
    assert "--workspace team-b" in output.expect(0).out
    after = settled.spaces.active()
    assert before["team-b"] - after["team-b"] == settled.planned["team-b"]
    assert after["team-a"] == before["team-a"]


def test_a_prune_of_all_workspaces_on_the_spot(settled: Settled) -> None:
    """A plan and a journal for each; without a terminal and ``--yes`` nothing is read."""
    before = settled.spaces.active()
    with Proxy(settled.spaces.server.uri) as proxy:
        settled.run("prune", "--all-workspaces", uri=proxy.uri).expect(5)
        assert proxy.seen == []
    out = settled.spaces.dir / "spot.json"
    settled.run("prune", "--all-workspaces", "--yes", "-o", out, "--dry-run").expect(0)
    assert settled.spaces.active() == before
    output = settled.run("prune", "--all-workspaces", "--yes", "-o", out).expect(0)
    after = settled.spaces.active()
    assert {name: before[name] - after[name] for name in ALL} == settled.planned
    for name in ALL:
        assert (settled.spaces.dir / f"spot.{name}.json.journal.jsonl").exists()
        assert f"Workspace {name} (" in output.err


def test_a_workspace_that_fails_stops_no_other(settled: Settled) -> None:
    """It is deleted after it was listed, or cannot be read; that is said, with its exit code."""
    uri = settled.spaces.server.uri
    with Proxy(uri) as proxy:
        gone = Fault(
            "deleted meanwhile", status=404, body=b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}'
        )
        proxy.fail("GET", "workspaces/team-a$", gone, times=float("inf"))
        output = settled.report(uri=proxy.uri).expect(5)
        assert "Error: Workspace team-a: The server" in output.err
        assert "workspace team-a  " in output.out
        assert "NO PLAN WAS MADE" in output.out
        assert [plan.entities for plan in settled.plans("default", "team-b")] == [
            settled.planned[name] for name in ("default", "team-b")
        ]
        assert not (settled.spaces.dir / "plan.team-a.json").exists()
        proxy.forget()
        proxy.fail("GET", "workspaces/team-b$", HTML_200, times=float("inf"))
        settled.report(uri=proxy.uri).expect(1)
        assert settled.plans("team-a")[0].entities == settled.planned["team-a"]
        proxy.forget()
        proxy.refuse(0)
        unreachable = settled.report(uri=proxy.uri).expect(1)
        assert "(1 of" not in unreachable.err


def test_names_of_workspaces_never_leave_the_directory(spaces: Workspaces) -> None:
    """A server, or a store of workspaces that is a plug-in, may name them as it likes."""
    names = [
        "../up",
        "/etc/up",
        "Team",
        "team",
        ".",
        "a\n::error::b",
        "::error::c",
        "\x1b[31m",
        "é" * 300,
        "x/../y",
    ]
    listed = Fault(
        "hostile names",
        status=200,
        body=json.dumps({"workspaces": [{"name": name} for name in names]}).encode(),
    )
    out = spaces.dir / "inside" / "plan.json"
    out.parent.mkdir()
    before = sorted(spaces.dir.rglob("*"))
    with Proxy(spaces.server.uri) as proxy:
        proxy.fail("GET", "workspaces$", listed, times=float("inf"))
        env = spaces.env(None, proxy.uri)
        outcome = spaces.cli("report", "--all-workspaces", "-o", out, env=env).expect(1, 5)
    assert sorted(spaces.dir.rglob("*")) == before
    assert "\x1b" not in outcome.text
    assert not re.search("^::", outcome.text, re.MULTILINE)
    assert outcome.out.count("NO PLAN WAS MADE") == len(names)


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("report", "--all-workspaces", "-o", "-"), 64, "stdout"),
        (("report", "--all-workspaces", "--workspace", "team-a"), 64, "cannot be combined"),
        (("check", "--all-workspaces", "--workspace", "team-a", "PLAN"), 64, "cannot be combined"),
        (("prune", "PLAN", "PLAN"), 64, "need --all-workspaces"),
        (("check", "PLAN", "PLAN"), 64, "need --all-workspaces"),
        (("prune", "--all-workspaces", "--journal", "j", "PLAN", "PLAN"), 64, "--journal"),
        (("prune", "--all-workspaces", "--ttl", "9", "PLAN", "PLAN"), 64, "--ttl"),
        (("prune", "--all-workspaces", "--yes", "--journal", "j"), 64, "--journal"),
    ],
)
def test_what_all_workspaces_cannot_be_combined_with(
    settled: Settled, args: tuple[str, ...], code: int, said: str
) -> None:
    plan = settled.spaces.report("team-a").path
    outcome = settled.run(*(plan if arg == "PLAN" else arg for arg in args)).expect(code)
    assert said in outcome.err
    assert outcome.err.count("Error: ") == 1
    assert len(list(settled.spaces.dir.iterdir())) == 1


def test_all_workspaces_of_a_server_or_database_without_any(
    cli: Cli, spaces: Workspaces, server: LocalServer, tmp_path: Path
) -> None:
    args = ("report", "--all-workspaces", "-o", tmp_path / "plan.json")
    assert "has no workspaces" in cli(*args).expect(5).err
    env = {"MLFLOW_TRACKING_URI": f"sqlite:///{server.database}"}
    assert "not on a database URI" in cli(*args, env=env).expect(64).err
    # With workspaces in it, a database is not opened at all.
    uri = f"sqlite:///{spaces.server.database}"
    assert "workspace" in cli(*args, env=spaces.env(None, uri)).expect(1, 5, 64).err
    assert list(tmp_path.iterdir()) == []


def test_an_account_that_sees_only_some_workspaces(cli: Cli, tmp_path: Path) -> None:
    """Its plans cannot be applied, and one that sees none is told so."""
    env = accounts.settings(tmp_path, default_permission="READ")
    options = ("--enable-workspaces", "--app-name", "basic-auth")
    with store.local(tmp_path, *options, env=env) as server, requests.Session() as admin:
        admin.auth = (ADMIN, password(ADMIN))
        for path, body in (
            ("3.0/mlflow/workspaces", {"name": "team-a"}),
            ("3.0/mlflow/workspaces", {"name": "team-b"}),
            ("2.0/mlflow/users/create", {"username": "some", "password": password("some")}),
            ("2.0/mlflow/users/create", {"username": "none", "password": password("none")}),
        ):
            admin.post(f"{server.uri}/api/{path}", json=body, timeout=60).raise_for_status()
        roles = admin.get(
            f"{server.uri}/api/3.0/mlflow/roles/list", params={"workspace": "team-a"}, timeout=60
        ).json()["roles"]
        (role,) = (r["id"] for r in roles if (r["workspace"], r["name"]) == ("team-a", "admin"))
        admin.post(
            f"{server.uri}/api/3.0/mlflow/roles/assign",
            json={"username": "some", "role_id": role},
            timeout=60,
        ).raise_for_status()

        def report(account: str, *codes: int) -> str:
            args = ("report", "--all-workspaces", "-o", tmp_path / f"{account}.json")
            login = {
                "MLFLOW_TRACKING_URI": server.uri,
                "MLFLOW_TRACKING_USERNAME": account,
                "MLFLOW_TRACKING_PASSWORD": password(account),
            }
            return cli(*args, env=login).expect(*codes).text

        assert "sees no workspace" in report("none", 5)
        assert "is not an administrator" in report("some", 5)
        report(ADMIN, 0)
    made = {path.name for path in tmp_path.glob("*.*.json")}
    assert made == {"some.team-a.json", *(f"{ADMIN}.{name}.json" for name in ALL)}
    assert Plan.load(tmp_path / "some.team-a.json").document["complete"] is False


def test_all_workspaces_from_the_database_behind_their_server(settled: Settled) -> None:
    settled.report().expect(0)
    over_rest = settled.plans()
    settled.report("--backend-store-uri", f"sqlite:///{settled.spaces.server.database}").expect(0)
    for one, other in zip(over_rest, settled.plans(), strict=True):
        assert other.document["server"]["read_from"] == "database"
        assert one.entities == other.entities
        assert one.document["protected"] == other.document["protected"]


def test_the_python_api_names_all_workspaces(settled: Settled) -> None:
    server = Server(settled.spaces.server.uri)
    assert mlflow_gc.workspaces(server) == sorted(ALL)
    as_of = settled.spaces.worlds["default"].as_of
    for name in mlflow_gc.workspaces(server):
        plan = mlflow_gc.report(replace(server, workspace=name), as_of=as_of, no_policy=True)
        assert plan["server"]["workspace"] == name


def test_deletions_are_announced_in_all_workspaces(settled: Settled) -> None:
    policy = settled.spaces.dir / "policy.yml"
    policy.write_text("version: 1\ngrace: 14d\n")
    settled.run("mark", "--all-workspaces", "--policy", policy).expect(0)
    with store.open_database(settled.spaces.server.database) as database:
        announced = database.execute(
            "SELECT e.workspace, t.experiment_id FROM experiment_tags t"
            " JOIN experiments e USING (experiment_id) WHERE t.key = ?",
            ["mlflow_gc.delete_after"],
        ).fetchall()
    assert {(name, ("experiment", str(key))) for name, key in announced} == {
        (name, entity)
        for name, planned in settled.planned.items()
        for entity in planned
        if entity[0] == "experiment"
    }
