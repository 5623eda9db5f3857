"""A SQLite file under a server's feet: what a reader sees, and how long a writer waits for it."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from support import server as store

from mlflow_gc.backend.address import Address
from mlflow_gc.backend.interface import ServerError
from mlflow_gc.inventory.sql import snapshot as module
from mlflow_gc.inventory.sql.snapshot import Snapshot
from mlflow_gc.settings import BACKEND_STORE_URI, Value

if TYPE_CHECKING:
    from pathlib import Path

    from support.world import World

COUNT = text("SELECT count(*) FROM experiments")
ADD = "INSERT INTO experiments (name, lifecycle_stage) VALUES ('new', 'active')"


def _address(path: Path) -> Address:
    uri = f"sqlite:///{path}"
    return Address.of(uri, Value(BACKEND_STORE_URI, uri, "a test"), "backend store URI")


@pytest.fixture(params=["delete", "wal"])
def database(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Path:
    """A copy of the server's database, in both modes of SQLite."""
    path = tmp_path / "copy.db"
    with store.open_database(world.database) as db:
        db.execute("VACUUM INTO ?", (str(path),))
    with store.open_database(path) as db:
        assert db.execute(f"PRAGMA journal_mode = {request.param}").fetchone() == (request.param,)
    return path


@pytest.fixture
def locks(request: pytest.FixtureRequest) -> bool:
    """Whether a reader holds up writers in this mode."""
    return request.node.callspec.params["database"] == "delete"


def _write(path: Path, *, wait_s: float = 0) -> None:
    with closing(sqlite3.connect(path, timeout=wait_s)) as db, db:
        db.execute(ADD)


def test_it_sees_one_moment(database: Path, locks: bool) -> None:
    """Where it cannot go on seeing it without holding up others, it lets go between phases."""
    with Snapshot(_address(database)) as snapshot:
        ((before,),) = snapshot.read(COUNT)
        if locks:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                _write(database)
            snapshot.release()
        _write(database)
        assert snapshot.read(COUNT) == [(before + locks,)]
    assert _count(database) == before + 1


def test_nothing_can_be_written_through_it(database: Path) -> None:
    with (
        Snapshot(_address(database)) as snapshot,
        pytest.raises(ServerError, match="readonly"),
    ):
        snapshot.read(text(ADD))


def test_a_writer_that_waits_gets_its_turn_and_the_reader_notices(
    database: Path, locks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before would not fit to what comes after."""
    monkeypatch.setattr(module, "LOCK_S", 0.0)
    with Snapshot(_address(database)) as snapshot:
        before = snapshot.read(COUNT)
        snapshot.yield_lock()
        assert snapshot.read(COUNT) == before
        writer = threading.Thread(target=_write, args=(database,), kwargs={"wait_s": 60})
        writer.start()
        if not locks:
            writer.join(60)
            snapshot.yield_lock()
            assert snapshot.read(COUNT) == before
            return
        _wait_until_it_waits(database)
        with pytest.raises(ServerError, match="written to while it was read") as caught:
            snapshot.yield_lock()
        assert "WAL" in str(caught.value.hint)
    writer.join(60)


def test_a_short_read_is_not_interrupted(
    database: Path, locks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock of some seconds is what MLflow's writers bear; they wait for twenty."""
    monkeypatch.setattr(module, "LOCK_S", 1000.0)
    writer = threading.Thread(target=_write, args=(database,), kwargs={"wait_s": 60})
    with Snapshot(_address(database)) as snapshot:
        before = snapshot.read(COUNT)
        writer.start()
        if locks:
            _wait_until_it_waits(database)
        else:
            writer.join(60)
        snapshot.yield_lock()
        assert snapshot.read(COUNT) == before
    writer.join(60)
    assert [(_count(database),)] != before


def _wait_until_it_waits(path: Path) -> None:
    """Wait until a writer has taken the last step before the lock that only a reader denies it."""
    deadline = time.monotonic() + 60
    while True:
        try:
            _count(path)
        except sqlite3.OperationalError:
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _count(path: Path) -> int:
    with closing(sqlite3.connect(path, timeout=0)) as db:
        return int(db.execute(str(COUNT)).fetchone()[0])
