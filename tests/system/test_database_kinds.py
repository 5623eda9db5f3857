"""Reading a database of its own kind behind a server: PostgreSQL and MariaDB."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from support import ROOT, estate
from support.bench import Bench
from support.databases import DATABASES, Database
from support.plans import Plan
from support.readers import SAME_BUT, assert_same, differing, read
from support.world import FRESH, KEEP_TAG

from mlflow_gc.backend.address import Address
from mlflow_gc.backend.interface import ServerError
from mlflow_gc.demo.server import LocalServer
from mlflow_gc.inventory.sql import runs, snapshot
from mlflow_gc.inventory.sql.snapshot import Snapshot
from mlflow_gc.settings import BACKEND_STORE_URI, Value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from support.cli import Cli


FLAG = "--backend-store-uri"
READER, READER_PASSWORD = "gc_reader", "pwd-reader-canary"


@dataclass(frozen=True)
class Kind:
    """A server on a database.

    Attributes:
        database: its kind.
        server: of MLflow.
        uri: of the database, with user and password.
    """

    database: Database
    server: LocalServer
    uri: str

    @property
    def name(self) -> str:
        """``postgresql`` or ``mariadb``."""
        return self.database.name

    def rows(self, uri: str) -> AbstractContextManager[Any]:
        """Open a cursor on a database of this kind."""
        return self.database.rows(uri)

    @property
    def address(self) -> Address:
        """As the settings name the database."""
        value = Value(BACKEND_STORE_URI, self.uri, "a test")
        return Address.of(self.uri, value, "backend store URI")


@pytest.fixture(
    scope="module",
    params=[pytest.param("postgresql", marks=pytest.mark.postgres), "mariadb"],
)
def kind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kind]:
    """The server of this module, on each of the databases that are installed."""
    database = DATABASES[request.param]
    programs = database.programs()
    if programs is None:
        pytest.skip(f"{database.title} is not installed")
    with (
        database.running(programs) as uri,
        LocalServer(tmp_path_factory.mktemp("kind"), backend_store_uri=uri) as server,
    ):
        yield Kind(database, server, uri)


@pytest.fixture
def bench(kind: Kind, cli: Cli, tmp_path: Path, as_of_ms: int) -> Iterator[Bench]:
    """The server, emptied for this test."""
    kind.database.empty(kind.uri)
    world = kind.database.world(kind.server.uri, kind.uri, as_of_ms)
    yield Bench(world, cli, tmp_path)
    world.close()


def _env(kind: Kind) -> dict[str, str | None]:
    return {"MLFLOW_TRACKING_URI": kind.server.uri}


def _active(kind: Kind) -> set[str]:
    with kind.rows(kind.uri) as cursor:
        cursor.execute("SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active'")
        return {str(run_id) for (run_id,) in cursor.fetchall()}


# The same ---------------------------------------------------------------------------------------


def test_everything_is_the_same_as_over_rest(
    kind: Kind, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entity for entity, line by line, and however few rows come at once."""
    estate.settle(bench.world)
    over_rest = read(kind.server.uri)
    assert not over_rest.diagnostics
    assert_same(over_rest, read(kind.server.uri, kind.uri))
    assert_same(read(kind.server.uri, wanted=None), read(kind.uri, wanted=None))
    policy = bench.dir / "policy.yml"
    policy.write_text(estate.POLICY)
    for args in ((), ("--policy", policy)):
        plans = [
            bench.report(*args, *how, name=f"{len(how)}.json", env=_env(kind))
            for how in ((), (FLAG, kind.uri))
        ]
        assert plans[0].entities
        assert differing(*plans) <= SAME_BUT
    for size in (1, 2, 7):
        monkeypatch.setattr(runs, "RUNS_A_CHUNK", size)
        monkeypatch.setattr(snapshot, "ROWS_AT_ONCE", size)
        assert_same(over_rest, read(kind.server.uri, kind.uri))


def test_a_server_that_is_mostly_trash_is_the_same(kind: Kind, bench: Bench) -> None:
    """Then only the rows of active runs are asked for."""
    world = bench.world
    home = world.experiment()
    for n in range(9):
        run = world.run(home, tags={"note": f"{n}"}, metrics={"auc": world.ago(90)})
        if n % 4:
            world.delete_run(run)
    found = read(kind.server.uri, kind.uri)
    assert len(found.runs) == 3
    assert_same(read(kind.server.uri), found)


def test_a_scan_sees_one_moment_whatever_is_written_meanwhile(kind: Kind, bench: Bench) -> None:
    """Nobody waits for anybody."""
    world = bench.world
    home = world.experiment("home")
    run, model = world.run(home, tags={"note": "before"}), world.model()
    later: list[str] = []

    def write(what: str, _count: int) -> None:
        if what == "experiments" and not later:
            world.tag_run(run, "note", "after")
            world.tag_run(run, "team", "new")
            world.version(model)
            later.append(world.run(home))
            later.append(world.experiment())

    before = read(kind.server.uri)
    found = read(kind.server.uri, kind.uri, progress=write)
    assert len(later) == 2
    assert_same(before, found)
    after = read(kind.server.uri, kind.uri)
    assert set(later) <= {*after.runs, *after.experiments}
    assert dict(after.runs[run].tags) == {"note": "after", "team": "new"}


def test_a_plan_from_the_database_is_applied_over_the_server(kind: Kind, bench: Bench) -> None:
    """With a second look that sees what came after; and in the database through MLflow."""
    world = bench.world
    home = world.experiment(age=FRESH)
    runs = [world.run(home) for _ in range(4)]
    plan = bench.report(FLAG, kind.uri, env=_env(kind))
    assert plan.runs == set(runs)
    world.tag_run(runs[0], KEEP_TAG, "true")
    _, journal = bench.prune(plan, env=_env(kind))
    assert journal.skips == {("run", runs[0]): "protected"}
    assert _active(kind) == {runs[0]}
    bench.cli("restore", bench.journal_path(plan), "--yes", env=_env(kind)).expect(0)
    assert _active(kind) == set(runs)
    world.call("POST", "runs/delete-tag", {"run_id": runs[0], "key": KEEP_TAG})
    alone = {"MLFLOW_TRACKING_URI": kind.uri}
    bench.prune(bench.report(name="alone.json", env=alone), env=alone)
    assert not _active(kind)


# Rights and secrets -----------------------------------------------------------------------------


def test_assessments_are_found_as_the_database_finds_them(kind: Kind, bench: Bench) -> None:
    """MariaDB compares without regard to case when MLflow wipes them, PostgreSQL does not."""
    world = bench.world
    named, plain, trace = estate.assessed_in_other_case(world)
    for how in ((), (FLAG, kind.uri)):
        assert bench.report(*how, name=f"{len(how)}.json", env=_env(kind)).runs == {plain}
    for run in named:
        world.delete_run(run)
    left = [] if kind.name == "mariadb" else ["correctness"] * 2
    assert world.assessments(trace) == left


FOR_LONG = {
    "postgresql": "SELECT pg_sleep(60)",
    "mariadb": "SELECT COUNT(*) FROM information_schema.columns AS a, information_schema.columns AS b,"
    " information_schema.columns AS c WHERE a.column_name > b.column_name",
}


@pytest.mark.parametrize("what", ["a statement", "a pause"])
def test_the_database_waits_for_nobody_for_ever(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """After a second, here: it ends a statement, and a transaction in which nothing is asked."""
    begin = [
        # The larger one first; it is in ms.
        statement.replace("900000", "1000").replace("900", "1")
        for statement in snapshot._BEGIN[kind.name]
    ]
    assert begin != [*snapshot._BEGIN[kind.name]]
    monkeypatch.setitem(snapshot._BEGIN, kind.name, tuple(begin))
    with Snapshot(kind.address) as opened:
        if what == "a pause":
            time.sleep(2.5)
        with pytest.raises(ServerError):
            opened.read(text(FOR_LONG[kind.name] if what == "a statement" else "SELECT 1"))


def test_nothing_can_be_written_through_it(kind: Kind) -> None:
    """Not even by the owner of the database."""
    with (
        Snapshot(kind.address) as opened,
        pytest.raises(ServerError, match=r"(?i)read.only"),
    ):
        opened.read(text("DELETE FROM experiments"))


def test_the_documented_rights_are_enough_and_all_are_needed(kind: Kind, bench: Bench) -> None:
    """An account that can only SELECT, from the tables that the documentation lists."""
    estate.settle(bench.world)
    tables = _documented_tables()
    account = _account(kind)
    for table in tables[:-1]:
        _grant(kind, table)
    env = _env(kind)
    path = bench.dir / "p.json"
    outcome = bench.cli("report", "-o", path, FLAG, account, env=env).expect(1)
    assert tables[-1] in outcome.err
    assert "SELECT" in outcome.err
    assert "canary" not in outcome.err
    assert not path.exists()
    _grant(kind, tables[-1])
    plans = [bench.report(*how, name=f"{len(how)}.json", env=env) for how in ((), (FLAG, account))]
    assert differing(*plans) <= SAME_BUT


def _documented_tables() -> list[str]:
    page = (ROOT / "docs/how-to/database.md").read_text()
    found = re.search(r"GRANT SELECT ON\s+([\w,\s]+?)\s+TO", page)
    assert found
    return found[1].replace(",", " ").split()


def _account(kind: Kind) -> str:
    """Make an account that may do nothing; gives the URI."""
    with kind.rows(kind.uri) as cursor:
        if kind.name == "postgresql":
            cursor.execute(f"CREATE ROLE {READER} LOGIN PASSWORD '{READER_PASSWORD}'")
        else:
            cursor.execute(f"CREATE USER {READER} IDENTIFIED BY '{READER_PASSWORD}'")
    return re.sub(r"//[^@]*@", f"//{READER}:{READER_PASSWORD}@", kind.uri)


def _grant(kind: Kind, table: str) -> None:
    with kind.rows(kind.uri) as cursor:
        cursor.execute(f"GRANT SELECT ON {table} TO {READER}")


def test_the_password_is_in_no_file_and_no_output(kind: Kind, bench: Bench) -> None:
    """Neither the right one nor a wrong one."""
    bench.world.run(bench.world.experiment())
    path = bench.dir / "p.json"
    args = ("report", "-v", "-o", path, FLAG)
    output = bench.cli(*args, kind.uri, env=_env(kind)).expect(0).text + path.read_text()
    assert "127.0.0.1" in output
    assert Plan.load(path).document["server"]["tracking_uri"] == kind.server.uri
    wrong = kind.uri.replace("pwd-canary", "wrong-canary")
    output += bench.cli(*args, wrong, env=_env(kind)).expect(1).text
    assert "canary" not in output
