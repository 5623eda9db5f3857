"""A throw-away PostgreSQL server for MLflow's store; its data, and what is really in it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2

from mlflow_gc.demo.server import free_port
from support import oracle
from support.bench import Bench
from support.world import DatabaseWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


USER = "mlflow"
PASSWORD = "pwd-canary"


def binaries() -> Path | None:
    """The directory of ``initdb`` and ``pg_ctl``, if PostgreSQL is installed."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return versions[-1].parent if versions else None


def _unprivileged() -> int | None:
    """The user to run as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres").pw_uid
    return pwd.getpwnam("nobody").pw_uid


@contextlib.contextmanager
def running(bin_dir: Path) -> Iterator[str]:
    """Start a server; gives the SQLAlchemy URI, password included, of an empty database."""
    user = _unprivileged()
    # The path of its Unix socket may not be longer than 107 bytes: not below pytest's directory.
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        directory = Path(name)
        if user is not None:
            os.chown(directory, user, -1)
        password_file = directory / "password"
        password_file.write_text(PASSWORD)
        if user is not None:
            os.chown(password_file, user, -1)

        def run(*command: object) -> None:
            subprocess.run(
                [str(word) for word in command],
                check=True,
                user=user,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

        data = directory / "data"
        run(
            bin_dir / "initdb", "-D", data, "-U", USER, "--pwfile", password_file,
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-sync",
        )  # fmt: skip
        port = free_port()
        options = f"-c listen_addresses=127.0.0.1 -p {port} -k {directory} -c fsync=off"
        run(bin_dir / "pg_ctl", "-D", data, "-w", "-l", directory / "log", "-o", options, "start")
        try:
            # The driver by name: SQLAlchemy 2.1 takes another one by default than 2.0 did.
            yield f"postgresql+psycopg2://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            run(bin_dir / "pg_ctl", "-D", data, "-m", "immediate", "stop")


@contextlib.contextmanager
def rows(uri: str) -> Iterator[Any]:
    """Open a cursor on the database behind a SQLAlchemy URI; commits on success."""
    connection = psycopg2.connect(uri.replace("+psycopg2", ""))
    try:
        with connection, connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def _tables(cursor: Any) -> list[str]:
    cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return sorted(str(name) for (name,) in cursor.fetchall())


def empty(uri: str) -> None:
    """Bring the store back to that of a fresh server; Default keeps its row (see ``server``)."""
    with rows(uri) as cursor:
        retained = {"alembic_version", "workspaces", "experiments"}
        # DELETE, not TRUNCATE, which makes new files for 90 tables and takes a second; in this
        # mode foreign keys are not looked at.
        cursor.execute("SET session_replication_role = replica")
        for name in set(_tables(cursor)) - retained:
            cursor.execute(f'DELETE FROM "{name}"')
        cursor.execute("DELETE FROM experiments WHERE experiment_id <> 0")
        cursor.execute(
            "UPDATE experiments SET name = 'Default', lifecycle_stage = 'active',"
            " last_update_time = creation_time"
        )


def contents(uri: str) -> dict[str, set[str]]:
    """Return every row of every table as text, but for the two times that a restore must change.

    Those are when an experiment was last updated and when a run went into the trash; that a run is
    in the trash is told by its lifecycle stage.
    """
    found: dict[str, set[str]] = {}
    with rows(uri) as cursor:
        for name in _tables(cursor):
            cursor.execute(
                f"SELECT (to_jsonb(t) - 'last_update_time' - 'deleted_time')::text FROM \"{name}\" t"
            )
            found[name] = {str(text) for (text,) in cursor.fetchall()}
    return found


class PostgresWorld(DatabaseWorld):
    """The content of a server on PostgreSQL."""

    def rows(self) -> AbstractContextManager[Any]:
        """Open a cursor on the database; commits on success."""
        return rows(self.database_uri)

    def simultaneous_runs(self, experiment_id: str, count: int, *, age: float) -> list[str]:
        """Runs that started and ended in the same millisecond, written as the server would."""
        moment = self.ago(age)
        with rows(self.database_uri) as cursor:
            cursor.execute(
                "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name,"
                " user_id, status, start_time, end_time, source_version, lifecycle_stage,"
                " artifact_uri, experiment_id)"
                " SELECT md5(n::text), 'run-' || n, 'UNKNOWN', '', '', 'bulk', 'FINISHED', %s, %s,"
                " '', 'active', 'mlflow-artifacts:/x/' || md5(n::text) || '/artifacts', %s"
                " FROM generate_series(1, %s) n RETURNING run_uuid",
                (moment, moment, int(experiment_id), count),
            )
            return [str(run_id) for (run_id,) in cursor.fetchall()]


@dataclass(frozen=True)
class PostgresBench(Bench):
    """A workbench whose data is in PostgreSQL.

    Attributes:
        world: the data.
    """

    world: PostgresWorld

    def state(self) -> oracle.State:
        """What is in the server now."""
        return oracle.look(self.world.database_uri)
