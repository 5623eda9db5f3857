"""Purge on databases that are no file: the tests on SQLite, and what only many writers can do."""

from __future__ import annotations

import random
import re
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from integration.test_artifact_stores import moto, open_estate  # noqa: F401 - a fixture
from integration.test_purge import (  # noqa: F401 - collected here, too
    test_a_dry_run_changes_nothing_and_says_the_same,
    test_a_limit_on_the_time_ends_a_purge_after_the_batches_in_progress,
    test_a_link_between_what_is_deleted_counts_once,
    test_a_link_whose_end_is_back_stays,
    test_a_model_that_a_version_or_an_active_run_needs_is_retained,
    test_a_restored_run_survives_with_its_files,
    test_a_run_that_was_deleted_again_waits,
    test_a_tombstone_that_became_the_highest_number_stays,
    test_an_experiment_goes_with_its_traces_and_tags,
    test_an_experiment_waits_for_what_is_in_it,
    test_check_says_what_a_purge_would_do,
    test_exactly_what_the_plan_lists_goes,
    test_links_to_what_no_longer_exists_are_deleted,
    test_rows_without_a_foreign_key_go_with_their_experiment,
    test_shards_purge_a_plan_together,
    test_tombstones_are_listed_and_deleted_only_when_asked,
    test_what_is_needed_is_not_planned_and_not_purged,
    test_what_usage_promises_is_what_purge_frees,
)
from integration.test_purge_on_stores import (  # noqa: F401 - collected here, too
    Stored,
    test_a_run_restored_while_a_purge_is_in_progress_is_there_or_gone,
)
from integration.test_purge_scope import (  # noqa: F401 - collected here, too
    test_exactly_what_an_independent_oracle_names_goes,
)
from sqlalchemy import create_engine, text
from support import depth
from support.bench import Bench
from support.databases import DATABASES, Database
from support.plans import Journal
from support.trash import Trash, ids

import mlflow_gc
from mlflow_gc.apply.purge import database, purger
from mlflow_gc.apply.purge.batch import BATCH
from mlflow_gc.demo.server import LocalServer
from mlflow_gc.storage.local import LocalStore

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Engine
    from support.cli import Cli

    from mlflow_gc.inventory.sql.tables import Statement


ID = re.compile(r"(m-|tr-)?[0-9a-f]{32}")
KINDS = ("runs", "logged_models", "trace_info")
KILLS = 100 if depth.chosen.share >= 1 else max(4, round(60 * depth.chosen.share))
KILLS_IN_A_ROW = 4
"""Of one purge, before it may finish."""


@pytest.fixture(
    scope="module",
    params=[pytest.param("postgresql", marks=pytest.mark.postgres), "mariadb"],
)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Database, LocalServer, str]]:
    """A server on each of the databases that are installed."""
    database = DATABASES[request.param]
    programs = database.programs()
    if programs is None:
        pytest.skip(f"{database.title} is not installed")
    with (
        database.running(programs) as uri,
        LocalServer(tmp_path_factory.mktemp("purge"), backend_store_uri=uri) as server,
    ):
        yield database, server, uri


@pytest.fixture
def trash(
    served: tuple[Database, LocalServer, str], cli: Cli, tmp_path: Path, as_of_ms: int
) -> Iterator[Trash]:
    database, server, uri = served
    database.empty(uri)
    world = database.world(server.uri, uri, as_of_ms)
    yield Trash(Bench(world, cli, tmp_path), server.directory / "artifacts", uri)
    world.close()


@pytest.fixture
def stored(request: pytest.FixtureRequest, trash: Trash, tmp_path: Path) -> Stored:
    """A trash whose files are on a store."""
    return Stored(trash, open_estate(request.param, request, tmp_path))


def test_tables_that_lost_rows_are_named_for_maintenance(trash: Trash) -> None:
    """And only these; ``--vacuum`` executes what it would name."""
    experiment = trash.world.experiment()
    for _ in range(3):
        trash.run(experiment)
    trash.run(experiment, deleted=None)
    statement = "VACUUM (FULL, ANALYZE)" if "postgresql" in trash.database_uri else "OPTIMIZE TABLE"
    outcome = trash.purge(trash.report())
    named = {
        line.split(statement)[1].split()[0]
        for line in outcome.out.splitlines()
        if statement in line
    }
    assert named == {"runs", "metrics", "latest_metrics", "params", "tags"}
    assert "up to about 1 s" in outcome.out
    assert "While one runs, nobody can" in outcome.out
    trash.run(experiment)
    outcome = trash.purge(trash.report(name="second.json"), "--vacuum")
    assert "To return it" not in outcome.out
    assert outcome.err.count(statement) == 5


@pytest.mark.parametrize(
    "served",
    [
        pytest.param("postgresql", marks=[pytest.mark.postgres, pytest.mark.smoke]),
        "mariadb",
    ],
    indirect=True,
    scope="module",
)
def test_nobody_restores_what_is_being_purged(trash: Trash) -> None:
    """A restore waits for the lock, and then finds nothing: no run without its files."""
    active = _active(trash)
    run = trash.run(trash.world.experiment(), files=5)
    runs = [run, *trash.copies(run, 2 * BATCH + 40)]
    plan = trash.report()
    restored: set[str] = set()
    stop = threading.Event()

    def interfere() -> None:
        while not stop.is_set():
            for run in runs[::8]:
                answer = trash.world.http.post(
                    f"{trash.world.uri}/api/2.0/mlflow/runs/restore",
                    json={"run_id": run},
                    timeout=60,
                )
                if answer.ok:
                    restored.add(run)
            time.sleep(0.01)

    thread = threading.Thread(target=interfere)
    thread.start()
    try:
        trash.purge(plan)
    finally:
        stop.set()
        thread.join()
    state = trash.state()
    left = {row[0] for row in state.rows["runs"]} - active
    assert left == restored
    for run in runs:
        files = [path for path in state.files if run in path]
        assert len(files) == (5 if run in left else 0)


def test_who_waits_for_a_lock_waits_while_a_batch_is_tried_again(
    trash: Trash, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of another run cannot be deleted, when those of this one are gone already."""
    experiment = trash.world.experiment()
    run, refused = trash.run(experiment), trash.run(experiment)
    plan = trash.report()
    restored: list[int] = []

    def restore() -> None:
        statement = "UPDATE runs SET lifecycle_stage = 'active' WHERE run_uuid = :run"
        with create_engine(trash.database_uri).begin() as connection:
            restored.append(connection.execute(text(statement), {"run": run}).rowcount)

    waiting = threading.Thread(target=restore)
    delete = LocalStore.delete

    def refuse(self: LocalStore, paths: Sequence[str]) -> Mapping[str, str]:
        if not waiting.ident:
            waiting.start()
            time.sleep(1)  # until it waits for the row
        locked = {path: "it is locked" for path in paths if f"{refused}/artifacts/folder/0" in path}
        return {**delete(self, [path for path in paths if path not in locked]), **locked}

    monkeypatch.setattr(LocalStore, "delete", refuse)
    server = mlflow_gc.Server(trash.world.uri, backend_store_uri=trash.database_uri)
    mlflow_gc.purge(plan.path, server, artifacts_destination=str(trash.root))
    waiting.join()
    assert restored == [0]
    left = {row[0] for row in trash.state().rows["runs"]}
    assert refused in left
    assert run not in left


def test_what_becomes_needed_while_the_rows_are_deleted_stays(
    trash: Trash, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of a run lets others register a version of it, and nest a run in it."""
    world = trash.world
    home = world.experiment()
    named, parent, other = (trash.run(home) for _ in range(3))
    world.model("fraud")
    plan = trash.report()
    execute = database.Database.execute
    made: list[str] = []

    def execute_slowly(self: database.Database, statements: Iterator[Statement]) -> Counter[str]:
        rows = execute(self, statements)
        if not made:
            made.extend([world.version("fraud", run_id=named), world.run(home, parent=parent)])
        return rows

    monkeypatch.setattr(purger, "_VALID_S", 0.0)
    monkeypatch.setattr(database.Database, "execute", execute_slowly)
    server = mlflow_gc.Server(world.uri, backend_store_uri=trash.database_uri)
    found = mlflow_gc.purge(plan.path, server, artifacts_destination=str(trash.root))
    assert found.counts == {("run", "deleted"): 1, ("run", "skipped:protected"): 2}
    state = trash.state()
    runs = {row[0] for row in state.rows["runs"]}
    assert {named, parent, made[1]} <= runs
    assert other not in runs
    assert {row[-1] for row in state.rows["params"]} >= {named, parent}
    for run in (named, parent, other):
        assert sum(run in path for path in state.files) == (0 if run == other else 2)


def test_what_becomes_needed_while_files_are_listed_stays_if_the_rows_do(
    trash: Trash, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = trash.world
    named, other = (trash.run(world.experiment()) for _ in range(2))
    world.model("fraud")
    plan = trash.report("--keep-rows")
    find = purger.find_files
    made: list[str] = []

    def find_slowly(*arguments: Any) -> Any:
        found = find(*arguments)
        if not made:
            made.append(world.version("fraud", run_id=named))
        return found

    monkeypatch.setattr(purger, "_VALID_S", 0.0)
    monkeypatch.setattr(purger, "find_files", find_slowly)
    server = mlflow_gc.Server(world.uri, backend_store_uri=trash.database_uri)
    found = mlflow_gc.purge(plan.path, server, artifacts_destination=str(trash.root))
    assert found.counts == {("run", "deleted"): 1, ("run", "skipped:protected"): 1}
    for run in (named, other):
        assert sum(run in path for path in trash.state().files) == (0 if run == other else 2)


def test_what_fails_in_one_batch_stops_no_other(trash: Trash) -> None:
    """A run whose files cannot be deleted stays, with its rows; the batches beside it go."""
    active = _active(trash)
    run = trash.run(trash.world.experiment())
    copies = trash.copies(run, 3 * BATCH)
    plan = trash.report()
    kept = {copies[0], copies[-1]}
    for each in kept:
        folder = next(trash.root.glob(f"*/{each}"))
        folder.rename(trash.bench.dir / each)
        folder.symlink_to(trash.bench.dir / each)
    before = trash.state()
    assert "symbolic link" in trash.purge(plan, codes=(3,)).text
    after = trash.state()
    assert {row[0] for row in after.rows["runs"]} == kept | active
    assert len(after.files_gone_since(before)) == 2 * (3 * BATCH + 1 - len(kept))
    after.rows_gone_since(before)


def test_shards_at_the_same_time_lose_nothing(trash: Trash) -> None:
    """Also where two wait for each other's rows; one more run finds what any of them left."""
    active = _active(trash)
    homes = [trash.world.experiment() for _ in range(4)]
    copied = [(run, *trash.copies(run, BATCH)) for run in map(trash.run, homes)]
    for home in homes:
        trash.drop_experiment(home)
    plan = trash.report()
    planned = {run for runs in copied for run in runs}
    assert plan.runs == planned
    command = ("purge", plan.path, *trash.options, "--shard")
    running = [trash.bench.cli.start(*command, f"{number}/3") for number in (1, 2, 3)]
    for shard in running:
        assert shard.wait().code == 0
    trash.purge(plan)
    state = trash.state()
    assert {row[0] for row in state.rows["runs"]} == active
    assert not {str(row[0]) for row in state.rows["experiments"]} & set(homes)
    assert not [f for f in state.files if any(run in f for run in planned)]


def test_a_batch_that_the_database_rolled_back_is_deleted_again(trash: Trash) -> None:
    """After a deadlock with somebody else, who goes on."""
    _active(trash)
    run = trash.run(trash.world.experiment())
    runs = sorted([run, *trash.copies(run, 3)])
    plan = trash.report()
    lock = "SELECT run_uuid FROM runs WHERE run_uuid = '{}' FOR UPDATE"
    engine = create_engine(trash.database_uri, isolation_level="READ COMMITTED")
    with engine.connect() as other:
        if "postgresql" in trash.database_uri:
            # The one who looks first gives way, after a second.
            other.execute(text("SET LOCAL deadlock_timeout = '60s'"))
        else:
            # The one who has changed less gives way.
            other.execute(text("UPDATE runs SET name = 'x' WHERE lifecycle_stage = 'active'"))
        other.execute(text(lock.format(runs[-1])))
        running = trash.bench.cli.start("purge", plan.path, *trash.options)
        deadline = time.monotonic() + 60
        while not _count(engine, _WAITING):
            assert time.monotonic() < deadline, "no batch is begun"
            time.sleep(0.2)  # InnoDB tells nothing new to who asks more often than each 0.1 s
        other.execute(text(lock.format(runs[0])))
        other.commit()
    engine.dispose()
    assert running.wait().code == 0
    assert not {row[0] for row in trash.state().rows["runs"]} & set(runs)


@pytest.mark.timeout(900 if depth.chosen.share < 1 else 3600)
def test_a_purge_killed_at_any_moment_is_finished_by_the_next(trash: Trash) -> None:
    """Again and again; in the end all is as without a kill, and meanwhile nothing has files alone."""
    active = _active(trash)
    home, dropped = (trash.world.experiment() for _ in range(2))
    run, inside = trash.run(home), trash.run(dropped, deleted=None)
    survivor = trash.run(home, deleted=3)
    runs = {run, inside, *trash.copies(run, 3 * BATCH), *trash.copies(inside, 20)}
    models = {trash.model(home) for _ in range(3)}
    trace = trash.world.source_trace(dropped, inside)
    trash.put(f"{dropped}/traces/{trace}/artifacts/traces.json")
    trash.drop_experiment(dropped)
    plan = trash.report()
    planned = {*runs, *models, dropped}
    assert {i for _, i in plan.entities} | ids(plan, "logged_models", "model_id") == planned
    before, journal = trash.state(), trash.bench.dir / "purge.json.journal.jsonl"
    running = trash.bench.cli.start("purge", plan.path, *trash.options)
    _await_intent(journal, 1)
    began = time.monotonic()
    running.wait().expect(0)
    longest = time.monotonic() - began
    expected = trash.state()
    assert {row[0] for row in expected.rows["runs"]} == {survivor, *active}
    assert len(expected.files_gone_since(before)) == 2 * len(runs) + len(models) + 1
    rng, engine = random.Random(depth.seed), create_engine(trash.database_uri)
    kills = cut = most = 0
    while kills < KILLS:
        trash.put_back(before)
        assert trash.state() == before
        journal.unlink()
        for session in range(1, KILLS_IN_A_ROW + 1):
            running = trash.bench.cli.start("purge", plan.path, *trash.options)
            _await_intent(journal, session)
            time.sleep(rng.uniform(0, longest))
            most = max(most, _count(engine, _OPEN))
            running.kill(signal.SIGKILL)
            running.wait()
            kills += 1
            state = trash.state()
            state.rows_gone_since(before)
            # What has no rows has no files: rows are committed last.
            found = {str(row[0]) for kind in KINDS for row in state.rows[kind]}
            assert not [f for f in state.files if (i := ID.search(f)) and i[0] not in found]
            cut += before != state != expected
            if _is_over(journal):
                break
        trash.purge(plan)
        assert trash.state() == expected
        lines = Journal.load(journal, torn=True).lines
        assert {line["id"] for line in lines if line.get("outcome") == "deleted"} == planned
    engine.dispose()
    assert cut >= KILLS // 10, f"only {cut} of {KILLS} kills came in the middle"
    if "postgresql" in trash.database_uri and KILLS > 10:
        assert most > 1, "no kill came while two batches were in progress"


def _await_intent(journal: Path, session: int) -> None:
    """Wait until a session, by its number in the journal, deletes something, or is over."""
    deadline = time.monotonic() + 120
    while True:
        lines = Journal.load(journal, torn=True).lines if journal.exists() else []
        begun = [n for n, line in enumerate(lines) if line["type"] == "header"]
        if len(begun) >= session and any(
            line["type"] in {"intent", "end"} for line in lines[begun[-1] :]
        ):
            return
        assert time.monotonic() < deadline, "no batch is begun"
        time.sleep(0.001)


def _active(trash: Trash) -> set[str]:
    """Some active runs: no plan may delete nearly everything."""
    run = trash.run(trash.world.experiment(), deleted=None)
    return {run, *trash.copies(run, 20)}


_WAITING = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
    "mysql": "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
}
_OPEN = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL",
    "mysql": "SELECT count(*) FROM information_schema.innodb_trx",
}


def _count(engine: Engine, statements: Mapping[str, str]) -> int:
    """The number of transactions of some kind in the database."""
    with engine.connect() as connection:
        return int(connection.execute(text(statements[engine.dialect.name])).scalar() or 0)


def _is_over(journal: Path) -> bool:
    """Whether the last session ended in order."""
    return journal.exists() and Journal.load(journal, torn=True).lines[-1]["type"] == "end"


def test_three_rights_are_sufficient(
    served: tuple[Database, LocalServer, str], trash: Trash
) -> None:
    """SELECT alone makes the plan and checks it; without UPDATE or DELETE nothing is deleted.

    One connection at a time is sufficient, too.
    """
    database, _, uri = served
    account = re.sub(r"//[^@]*@", "//purger:purger-canary@", uri)
    experiment = trash.world.experiment()
    run = trash.run(experiment, deleted=None)
    trash.drop_experiment(experiment)
    before = trash.state()
    with database.rows(uri) as cursor:
        login = (
            "CREATE ROLE purger LOGIN PASSWORD"
            if database.name == "postgresql"
            else "CREATE USER purger IDENTIFIED BY"
        )
        cursor.execute(f"{login} 'purger-canary'")

    def grant(right: str) -> None:
        with database.rows(uri) as cursor:
            for table in before.rows:
                cursor.execute(f"GRANT {right} ON {table} TO purger")

    trash.database_uri = account
    grant("SELECT")
    plan = trash.report()
    assert plan.runs == {run}
    check = ("check", plan.path, "--detailed-exitcode", *trash.options)
    checked = trash.bench.cli(*check).expect(0)
    assert "2 matching, 0 changed" in checked.out
    trash.world.sql("UPDATE runs SET deleted_time = deleted_time + 1")
    changed = trash.bench.cli(*check, "--format", "json").expect(2).json()
    assert {e["id"]: e["code"] for e in changed["runs"]} == {run: "changed"}
    trash.world.sql("UPDATE runs SET deleted_time = deleted_time - 1")
    assert trash.state() == before
    for right in ("UPDATE", "DELETE"):
        outcome = trash.purge(plan, codes=(1,))
        assert "rights to SELECT, UPDATE and DELETE" in outcome.err
        assert "canary" not in outcome.text
        assert trash.state() == before
        grant(right)
    if database.name == "postgresql":
        # Without a second connection it deletes one batch after the other.
        with database.rows(uri) as cursor:
            cursor.execute("ALTER ROLE purger CONNECTION LIMIT 1")
    trash.purge(plan)
    after = trash.state()
    assert not after.rows["runs"]
    assert not [path for path in after.files if run in path]
