"""A real MLflow server whose store can be emptied between tests.

Starting ``mlflow server`` takes 5 to 20 seconds, emptying its SQLite file 30 ms, so tests share
one server.  MLflow 3.17 keeps no rows in memory between requests: a server whose rows were deleted
under it answers like a new one.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_gc.demo.server import LocalServer
from support import depth

if TYPE_CHECKING:
    from collections.abc import Iterator

_FASTER = (
    "--gunicorn-opts",
    f"--worker-class sync --config {Path(__file__).with_name('gunicorn_settings.py')}",
)
"""MLflow's application without the layers of its default server, one request after the other: less
than half the processor time for a request."""

_PATIENCE_S = 600.0
"""For a server of another environment: its first start compiles what the installer left."""

_KEEP_TABLES = frozenset({"alembic_version", "workspaces"})


def local(directory: Path, *arguments: str, env: dict[str, str] | None = None) -> LocalServer:
    """Return a server that is not started yet; the quick tests run it under gunicorn."""
    faster = _FASTER if depth.chosen.smoke else ()
    return LocalServer(directory, extra_args=(*arguments, *faster), env=env)


def of_version(
    python: Path,
    directory: Path,
    *arguments: str,
    backend_store_uri: str | None = None,
    env: dict[str, str] | None = None,
    health: str = "/health",
) -> LocalServer:
    """Return a server of another environment, as users start it, that is not started yet."""
    return LocalServer(
        directory,
        backend_store_uri=backend_store_uri,
        extra_args=arguments,
        env=env,
        python=python,
        health=health,
        patience_s=_PATIENCE_S,
    )


@contextlib.contextmanager
def open_database(database: Path) -> Iterator[sqlite3.Connection]:
    """Open the server's SQLite file; commits on success, always closes."""
    connection = sqlite3.connect(database, timeout=60)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def set_aside(database: Path) -> Iterator[None]:
    """Bring all rows back afterwards."""
    with contextlib.closing(sqlite3.connect(":memory:")) as copy:
        with open_database(database) as db:
            db.backup(copy)
        try:
            yield
        finally:
            with open_database(database) as db:
                copy.backup(db)


def empty(database: Path) -> None:
    """Bring the store back to that of a fresh server: the Default experiment and nothing else.

    The Default experiment keeps its row: it is what a fresh server has, and a fingerprint of the
    server may be built on it.
    """
    with open_database(database) as db:
        names = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in sorted(set(names) - _KEEP_TABLES - {"experiments"}):
            db.execute(f'DELETE FROM "{name}"')
        db.execute("DELETE FROM experiments WHERE experiment_id <> 0")
        db.execute(
            "UPDATE experiments SET name = 'Default', lifecycle_stage = 'active',"
            " last_update_time = creation_time",
        )
