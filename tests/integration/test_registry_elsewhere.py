"""Runs on one server, their registered models on another (``MLFLOW_REGISTRY_URI``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support import oracle
from support import server as store
from support.bench import Bench
from support.plans import Plan
from support.proxy import Proxy, deletions
from support.world import FRESH, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cli import Cli

    from mlflow_gc.demo.server import LocalServer


@dataclass(frozen=True)
class Pair:
    """A tracking server and a registry.

    Attributes:
        bench: the tracking server.
        registry: the content of the registry.
    """

    bench: Bench
    registry: World

    @property
    def env(self) -> dict[str, str | None]:
        """The settings that name both servers."""
        return {"MLFLOW_REGISTRY_URI": self.registry.uri}

    @property
    def databases(self) -> dict[str, str | None]:
        """The settings that name both databases."""
        return {
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.bench.world.database}",
            "MLFLOW_REGISTRY_URI": f"sqlite:///{self.registry.database}",
        }

    def states(self) -> tuple[oracle.State, oracle.State]:
        """What is in both."""
        return self.bench.state(), oracle.look(self.registry.database)


@pytest.fixture
def pair(
    world: World, cli: Cli, tmp_path: Path, other_server: LocalServer, as_of_ms: int
) -> Iterator[Pair]:
    """Both servers, emptied before and (``other_server`` is to be empty for all) after."""
    store.empty(other_server.database)
    registry = World(other_server.uri, other_server.database, as_of_ms)
    yield Pair(Bench(world, cli, tmp_path), registry)
    registry.close()
    store.empty(other_server.database)


@dataclass(frozen=True)
class Content:
    """What :func:`_settle` put in.

    Attributes:
        free: stale runs that nobody needs.
        behind: stale runs behind versions in the registry, by the form of the version's source.
        spare: a stale version in the registry.
    """

    free: set[str]
    behind: dict[str, str]
    spare: str


def _settle(pair: Pair) -> Content:
    tracking, registry = pair.bench.world, pair.registry
    home = tracking.experiment(age=FRESH)
    behind = {form: tracking.run(home, name=form) for form in ("run id", "runs:", "path", "model")}
    model_id = tracking.logged_model(home, behind["model"])
    name = registry.model("fraud")
    registry.version(name, run_id=behind["run id"], aliases=["champion"])
    registry.version(name, source=f"runs:/{behind['runs:']}/model", aliases=["a"])
    registry.version(name, source=f"s3://bucket/{home}/{behind['path']}/artifacts/m", aliases=["b"])
    registry.version(name, source=f"models:/{model_id}", aliases=["c"])
    spare = registry.version(name)
    registry.version(name, age=FRESH)
    # The tracking server has a registry too, which is not the one that was named.
    tracking.spare_version(tracking.model("fraud"))
    free = {tracking.run(home) for _ in range(3)}
    return Content(free, behind, spare)


@pytest.mark.parametrize("way", ["rest", "database"])
def test_versions_there_protect_runs_here(pair: Pair, way: str) -> None:
    """Through every form of source; each entity is deleted where it is, and only there."""
    content = _settle(pair)
    env = pair.env if way == "rest" else pair.databases
    plan = pair.bench.report(env=env)
    assert plan.runs == content.free
    assert plan.versions == {content.spare}
    for run in content.behind.values():
        assert "registered_model" in plan.protection(("run", run))
    here, there = pair.states()
    pair.bench.cli("check", plan.path, "--detailed-exitcode", env=env).expect(0)
    _, journal = pair.bench.prune(plan, env=env)
    after_here, after_there = pair.states()
    assert after_here.gone_since(here) == {("run", run) for run in content.free}
    assert after_there.gone_since(there) == {("model_version", content.spare)}
    assert after_there.aliases == there.aliases
    assert not journal.skips
    pair.bench.cli("restore", pair.bench.journal_path(plan), "--yes", env=env).expect(0)
    assert pair.states() == (here, after_there)


def test_the_plan_is_the_same_over_rest_and_databases(pair: Pair) -> None:
    """Both fingerprints too."""
    _settle(pair)
    rest = pair.bench.report(env=pair.env, name="rest.json")
    direct = pair.bench.report(env=pair.databases, name="direct.json")
    servers = rest.document["server"], direct.document["server"]
    assert servers[0]["identity"] == servers[1]["identity"]
    left, right = ({**plan.document} for plan in (rest, direct))
    for document in (left, right):
        for key in ("plan_id", "created_at", "server"):
            del document[key]
    assert left == right


@pytest.mark.parametrize("made_with", ["both", "tracking alone"])
def test_a_plan_of_another_registry_is_refused(pair: Pair, made_with: str) -> None:
    """What protected would be looked for in the wrong place."""
    _settle(pair)
    own: dict[str, str | None] = {"MLFLOW_REGISTRY_URI": None}
    made, applied = (pair.env, own) if made_with == "both" else (own, pair.env)
    plan = pair.bench.report(env=made)
    before = pair.states()
    refused, _ = pair.bench.prune(plan, env=applied, codes=(5,))
    assert "registry" in refused.err
    pair.bench.cli("check", plan.path, env=applied).expect(5)
    assert pair.states() == before
    assert not pair.bench.journal_path(plan).exists()
    # Swapped, both servers are there, and each is the wrong one.
    swapped = {
        "MLFLOW_TRACKING_URI": pair.registry.uri,
        "MLFLOW_REGISTRY_URI": pair.bench.world.uri,
    }
    pair.bench.prune(plan, env=swapped, codes=(5,))
    assert pair.states() == before


def test_a_journal_of_another_registry_is_refused(pair: Pair) -> None:
    """Restore is for the servers that were pruned."""
    content = _settle(pair)
    plan = pair.bench.report(env=pair.env)
    pair.bench.prune(plan, env=pair.env)
    before = pair.states()
    journal = pair.bench.journal_path(plan)
    pair.bench.cli("restore", journal, "--yes").expect(5)
    assert pair.states() == before
    pair.bench.cli("restore", journal, "--yes", env=pair.env).expect(0)
    assert {("run", run) for run in content.free} <= pair.states()[0].active


@pytest.mark.parametrize("way", ["rest", "database"])
def test_interference_in_the_registry(pair: Pair, way: str) -> None:
    """Between report and prune: a version of a planned run, a copy, an alias on a planned version."""
    content = _settle(pair)
    env = pair.env if way == "rest" else pair.databases
    plan = pair.bench.report(env=env)
    by_id, by_source, last = sorted(content.free)
    pair.registry.version(pair.registry.model("new"), run_id=by_id, age=FRESH)
    pair.registry.version("fraud", source=f"runs:/{by_source}/model", age=FRESH)
    pair.registry.alias(content.spare, "challenger")
    # In the other registry the same acts mean nothing.
    pair.bench.world.version("fraud", run_id=last, age=FRESH)
    here, there = pair.states()
    _, journal = pair.bench.prune(plan, env=env)
    after_here, after_there = pair.states()
    assert after_there == there
    assert {("run", by_id), ("run", by_source)} <= after_here.active
    assert after_here.gone_since(here) <= {("run", last)}
    assert journal.skips["run", by_id] == "protected"
    assert journal.skips["run", by_source] == "protected"
    assert journal.skips["model_version", content.spare] == "protected"


def test_a_version_that_appears_in_the_midst_of_the_prune(pair: Pair) -> None:
    """Of a run of a later batch, while the first is going."""
    world = pair.bench.world
    world.bulk_runs(world.experiment(age=FRESH), 150)
    model = pair.registry.model("fraud")
    plan = pair.bench.report(env=pair.env)
    chosen = plan.document["runs"][-1]["run_id"]
    before = pair.bench.state()
    with Proxy(world.uri) as proxy:
        proxy.before(
            "POST", "runs/delete", lambda: pair.registry.version(model, run_id=chosen, age=FRESH)
        )
        env = {**pair.env, "MLFLOW_TRACKING_URI": proxy.uri}
        _, journal = pair.bench.prune(plan, env=env)
    assert journal.skips == {("run", chosen): "protected"}
    assert pair.bench.state().gone_since(before) == plan.entities - {("run", chosen)}


def test_a_registry_that_does_not_answer(pair: Pair) -> None:
    """No plan without what protects, and no prune of one that was made in better times."""
    _settle(pair)
    plan = pair.bench.report(env=pair.env)
    dead: dict[str, str | None] = {"MLFLOW_REGISTRY_URI": "http://127.0.0.1:9"}
    before = pair.states()
    path = pair.bench.dir / "new.json"
    outcome = pair.bench.cli("report", "-o", path, env=dead).expect(1)
    assert "127.0.0.1:9" in outcome.err
    assert not path.exists() or Plan.load(path).document["applyable"] is False
    with Proxy(pair.bench.world.uri) as proxy:
        env = {**dead, "MLFLOW_TRACKING_URI": proxy.uri}
        pair.bench.prune(plan, env=env, codes=(1, 5))
        assert not deletions(proxy.seen)
    assert pair.states() == before


def test_a_server_and_a_database_do_not_go_together(pair: Pair) -> None:
    """A usage error that names both."""
    env = {"MLFLOW_REGISTRY_URI": f"sqlite:///{pair.registry.database}"}
    outcome = pair.bench.cli("report", "-o", pair.bench.dir / "p.json", env=env).expect(64)
    assert "sqlite" in outcome.err
    assert pair.bench.world.uri in outcome.err
