"""A plan is read in the server's database, all else goes over the server (``--backend-store-uri``)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support import estate
from support import server as store
from support.bench import Bench
from support.plans import Plan, plan_digest
from support.proxy import Proxy
from support.readers import SAME_BUT, WANTED, assert_same, differing, read
from support.world import FRESH, KEEP_TAG

from mlflow_gc.backend.rest import run_pages

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow_gc.demo.server import LocalServer

FLAG = "--backend-store-uri"
NO_METRICS = replace(WANTED, metrics=frozenset())
VARIABLE = "MLFLOW_BACKEND_STORE_URI"


def _uri(bench: Bench) -> str:
    return f"sqlite:///{bench.world.database}"


@pytest.fixture(scope="module")
def full(shared_bench: Bench) -> Bench:
    """A server with something of everything in it; these tests only look."""
    estate.settle(shared_bench.world)
    (shared_bench.dir / "policy.yml").write_text(estate.POLICY)
    return shared_bench


# The same ---------------------------------------------------------------------------------------


def test_every_entity_is_the_same_as_over_rest(full: Bench) -> None:
    """With the metrics and tags that a policy asks for, and with all tags."""
    for wanted in ({}, {"wanted": None}, {"wanted": NO_METRICS}):
        over_rest = read(full.world.uri, **wanted)
        assert not over_rest.diagnostics
        assert_same(over_rest, read(full.world.uri, _uri(full), **wanted))
        assert_same(over_rest, read(_uri(full), **wanted))


def test_every_entity_is_the_same_where_msgspec_is_not_installed(
    full: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of runs are then decoded by orjson."""
    quick = read(full.world.uri, wanted=NO_METRICS)
    monkeypatch.setattr(run_pages, "_decoder", None)
    assert_same(quick, read(full.world.uri, wanted=NO_METRICS))


@pytest.mark.parametrize("args", [(), ("--policy", "policy.yml"), ("--ttl", "1")])
def test_the_plan_is_the_same_byte_for_byte(full: Bench, args: tuple[str, ...]) -> None:
    """But for the word that says how it was read, and the digest over it."""
    args = tuple(str(full.dir / a) if a.endswith(".yml") else a for a in args)
    over_rest = full.report(*args, name="rest.json")
    database = full.report(*args, FLAG, _uri(full), name="database.json")
    assert over_rest.entities
    assert differing(over_rest, database) <= SAME_BUT
    assert over_rest.document["server"]["read_from"] == "rest"
    assert database.document["server"]["read_from"] == "database"
    assert database.plan_id == plan_digest(database.document)
    difference = full.cli("diff", over_rest.path, database.path, "--format", "json").expect(0)
    assert not difference.json()["different"]
    full.cli("check", database.path, "--detailed-exitcode").expect(0)


def test_metrics_decide_the_same(full: Bench) -> None:
    """The best runs by a metric stay; the policy of these tests would do nothing otherwise."""
    plan = full.report("--policy", full.dir / "policy.yml", FLAG, _uri(full), name="best.json")
    reasons = {entry["reason"] for entry in plan.document["protected"]["runs"]}
    assert "keep_best" in reasons


# What goes where --------------------------------------------------------------------------------


def test_deletions_and_the_re_check_use_the_server(bench: Bench) -> None:
    """What changed after the plan stays, although the plan was read elsewhere."""
    world = bench.world
    runs = world.bulk_runs(world.experiment(age=FRESH), 3)
    with Proxy(world.uri) as proxy:
        env = {"MLFLOW_TRACKING_URI": proxy.uri, VARIABLE: _uri(bench)}
        plan = bench.report(env=env)
        assert plan.runs == set(runs)
        assert not [seen for seen in proxy.seen if "/runs/search" in seen.path]
        world.tag_run(runs[0], KEEP_TAG, "true")
        before = bench.state()
        _, journal = bench.prune(plan, env=env)
        assert [seen for seen in proxy.seen if "/runs/delete" in seen.path]
    assert bench.state().gone_since(before) == {("run", run) for run in runs[1:]}
    assert journal.skips == {("run", runs[0]): "protected"}


def test_prune_without_a_plan_mark_and_explain_read_the_database(bench: Bench) -> None:
    """Every command that makes a plan, or decides as if."""
    world = bench.world
    run = world.run(world.experiment(age=FRESH))
    policy = bench.dir / "policy.yml"
    policy.write_text("version: 1\ngrace: 7d\n")
    with Proxy(world.uri) as proxy:
        env = {"MLFLOW_TRACKING_URI": proxy.uri}
        args = (FLAG, _uri(bench), "--policy", policy)
        bench.cli("mark", *args, env=env).expect(0)
        explained = bench.cli("policy", "explain", "--run", run, *args, env=env).expect(0)
        assert "grace" in explained.out
        bench.cli("mark", "--clear", FLAG, _uri(bench), env=env).expect(0)
        assert not [seen for seen in proxy.seen if "/runs/search" in seen.path]
        written = [seen.path for seen in proxy.seen if "-tag" in seen.path]
    assert [path.rpartition("/")[2] for path in written] == ["set-tag", "delete-tag"]
    before = bench.state()
    path = bench.dir / "made.json"
    bench.cli("prune", "--yes", "-o", path, FLAG, _uri(bench)).expect(0)
    assert bench.state().gone_since(before) == {("run", run)}
    assert json.loads(path.read_bytes())["server"]["read_from"] == "database"


def test_beside_a_plan_the_flag_is_a_usage_error_and_the_variable_is_not_looked_at(
    bench: Bench,
) -> None:
    bench.world.run(bench.world.experiment())
    plan = bench.report()
    outcome = bench.cli("prune", plan.path, FLAG, _uri(bench)).expect(64)
    assert FLAG in outcome.err
    env = {VARIABLE: "postgresql+psycopg2://usr:pwd-canary@127.0.0.1:9/x"}
    outcome = bench.cli("check", "-v", plan.path, env=env).expect(0)
    assert f"{VARIABLE} = postgresql+psycopg2://127.0.0.1:9/x" in outcome.err
    assert "canary" not in outcome.text
    bench.prune(plan, env=env)


def test_nothing_is_written_to_the_database(bench: Bench) -> None:
    """Not a byte, neither with a server nor without one."""
    estate.settle(bench.world)
    before = hashlib.sha256(bench.world.database.read_bytes()).digest()
    bench.report(FLAG, _uri(bench))
    bench.report(env={"MLFLOW_TRACKING_URI": _uri(bench)})
    assert hashlib.sha256(bench.world.database.read_bytes()).digest() == before
    assert not list(bench.world.database.parent.glob("mlflow.db-*"))


# Refusals ---------------------------------------------------------------------------------------


def test_the_database_of_another_server_is_refused(
    bench: Bench, other_server: LocalServer, tmp_path: Path
) -> None:
    """Evidence from the wrong place would delete what is needed in the right one."""
    bench.world.run(bench.world.experiment())
    uri = f"sqlite:///{other_server.database}"
    outcome = bench.cli("report", "-o", tmp_path / "p.json", FLAG, uri).expect(5)
    assert "is not of the server" in outcome.err
    before = bench.state()
    bench.cli("prune", "--yes", "-o", tmp_path / "p.json", FLAG, uri).expect(5)
    assert bench.state() == before
    assert not (tmp_path / "p.json").exists()


def test_a_database_with_another_schema_is_refused_and_not_migrated(
    bench: Bench, tmp_path: Path
) -> None:
    """As MLflow itself would refuse it."""
    old = _copy(bench, tmp_path / "old.db")
    with store.open_database(old) as db:
        db.execute("UPDATE alembic_version SET version_num = '0584bdc529eb'")
    before = old.read_bytes()
    args = ("report", "-o", tmp_path / "p.json", FLAG, f"sqlite:///{old}")
    outcome = bench.cli(*args).expect(5)
    assert "0584bdc529eb" in outcome.err
    assert "backend store URI" in outcome.err
    assert old.read_bytes() == before


@pytest.mark.parametrize(
    "uri",
    [
        "mlruns",
        "file:///mlruns",
        "http://127.0.0.1:9",
        "mssql+pyodbc://usr:pwd-canary@host/x",
        "postgresql+asyncpg://usr:pwd-canary@host/x",
        "sqlite://",
    ],
)
def test_what_cannot_be_read_directly_is_a_usage_error(
    bench: Bench, tmp_path: Path, uri: str
) -> None:
    """It names where the URI came from, and keeps its password."""
    outcome = bench.cli("report", "-o", tmp_path / "p.json", env={VARIABLE: uri}).expect(64)
    assert VARIABLE in outcome.err
    assert "canary" not in outcome.text
    assert not (tmp_path / "p.json").exists()


def test_a_registry_elsewhere_is_a_usage_error(
    bench: Bench, other_server: LocalServer, tmp_path: Path
) -> None:
    """The database would hold another registry than the one that was named."""
    env = {"MLFLOW_REGISTRY_URI": other_server.uri}
    args = ("report", "-o", tmp_path / "p.json", FLAG, _uri(bench))
    assert "registry" in bench.cli(*args, env=env).expect(64).err


def test_what_mlflow_cannot_show_makes_the_plan_incomplete(bench: Bench) -> None:
    """Over REST the whole search fails with 500; here the plan says which row it is."""
    world = bench.world
    home = world.experiment()
    broken, fine = world.run(home), world.run(home)
    world.sql("UPDATE runs SET start_time = NULL WHERE run_uuid = ?", broken)
    for args in ((), (FLAG, _uri(bench))):
        plan = bench.report(*args, codes=(5,))
        assert not plan.document["complete"]
        assert not plan.document["applyable"]
    (diagnostic,) = plan.document["diagnostics"]
    assert diagnostic["code"] == "incomplete_scan"
    assert f"the start_time of run {broken}" in diagnostic["message"]
    assert "unknown_time" in plan.protection(("run", broken))
    assert fine in plan.runs


def _copy(bench: Bench, path: Path) -> Path:
    with store.open_database(bench.world.database) as db:
        db.execute("VACUUM INTO ?", (str(path),))
    return path


# A moment that lasts ----------------------------------------------------------------------------


def test_a_scan_sees_one_moment_whatever_is_written_meanwhile(bench: Bench, tmp_path: Path) -> None:
    """In WAL mode a writer does not wait for the scan, nor does the scan see what it wrote."""
    world = bench.world
    run = world.run(world.experiment(), tags={"note": "before"})
    model = world.model()
    path = _copy(bench, tmp_path / "wal.db")
    with store.open_database(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
    written = []

    def write(what: str, _count: int) -> None:
        if what == "experiments" and not written:
            with store.open_database(path) as db:
                db.execute("UPDATE tags SET value = 'after' WHERE key = 'note'")
                db.execute("UPDATE registered_models SET description = 'after'")
                db.execute("INSERT INTO experiments (name, lifecycle_stage) VALUES ('x', 'active')")
            written.append(what)

    found = read(f"sqlite:///{path}", progress=write)
    assert written
    assert found.runs[run].tags["note"] == "before"
    assert found.registered_models[model].description == ""
    after = read(f"sqlite:///{path}")
    assert after.runs[run].tags["note"] == "after"
    assert len(after.experiments) == len(found.experiments) + 1


def test_a_plan_of_a_database_alone_is_applied_through_mlflow(bench: Bench) -> None:
    """Which sets the deleted time, as a server would."""
    run = bench.world.run(bench.world.experiment(age=FRESH))
    env = {"MLFLOW_TRACKING_URI": _uri(bench)}
    plan = bench.report(env=env)
    assert Plan.load(plan.path).document["server"]["read_from"] == "database"
    bench.prune(plan, env=env)
    assert {r for r, _ in bench.state().deleted_times} == {run}
