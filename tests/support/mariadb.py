"""A throw-away MariaDB server for MLflow's store, which speaks MySQL's protocol."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql

from mlflow_gc.demo.server import free_port
from support.world import DatabaseWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

USER = "mlflow"
PASSWORD = "pwd-canary"
DATABASE = "mlflow"
_START_S = 60.0


def binary() -> Path | None:
    """The server program, if MariaDB is installed."""
    # Debian keeps it where only root's PATH leads.
    found = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin:/usr/libexec")
    return Path(found) if found and shutil.which("mariadb-install-db") else None


def _unprivileged() -> str | None:
    """The user to run as: MariaDB refuses to run as root."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("mysql").pw_name
    return "nobody"


@contextlib.contextmanager
def running(server: Path) -> Iterator[str]:
    """Start a server; gives the SQLAlchemy URI, password included, of an empty database."""
    user = _unprivileged()
    with tempfile.TemporaryDirectory(prefix="mariadb-") as name:
        directory = Path(name)
        if user is not None:
            os.chown(directory, pwd.getpwnam(user).pw_uid, -1)
        data, port = directory / "data", free_port()
        log = (directory / "log").open("wb")
        subprocess.run(
            [
                "mariadb-install-db", "--no-defaults", f"--datadir={data}",
                "--auth-root-authentication-method=normal", "--skip-test-db",
            ],
            check=True, user=user, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        process = subprocess.Popen(
            [
                server, "--no-defaults", f"--datadir={data}", f"--port={port}",
                "--bind-address=127.0.0.1", f"--socket={directory / 'socket'}",
                f"--pid-file={directory / 'pid'}", f"--tmpdir={directory}", "--skip-name-resolve",
                "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M",
            ],
            user=user, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            with _as_root(directory / "socket", process) as cursor:
                cursor.execute(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")
                cursor.execute(f"CREATE USER {USER} IDENTIFIED BY '{PASSWORD}'")
                # With the right to hand rights on, for accounts of tests.
                cursor.execute(f"GRANT ALL ON *.* TO {USER} WITH GRANT OPTION")
            yield f"mysql+pymysql://{USER}:{PASSWORD}@127.0.0.1:{port}/{DATABASE}"
        finally:
            process.kill()
            process.wait()
            log.close()


@contextlib.contextmanager
def _as_root(socket: Path, process: subprocess.Popen[bytes]) -> Iterator[Any]:
    deadline = time.monotonic() + _START_S
    while not socket.exists():
        assert process.poll() is None, "MariaDB ended"
        assert time.monotonic() < deadline, "MariaDB does not answer"
        time.sleep(0.1)
    connection = pymysql.connect(unix_socket=str(socket), user="root")
    with connection, connection.cursor() as cursor:
        yield cursor


@contextlib.contextmanager
def rows(uri: str) -> Iterator[Any]:
    """Open a cursor on the database behind a SQLAlchemy URI; commits on success."""
    port = int(uri.rpartition(":")[2].partition("/")[0])
    connection = pymysql.connect(
        host="127.0.0.1", port=port, user=USER, password=PASSWORD, database=DATABASE
    )
    with connection:
        with connection.cursor() as cursor:
            yield cursor
        connection.commit()


def empty(uri: str) -> None:
    """Bring the store back to that of a fresh server; Default keeps its row (see ``server``)."""
    with rows(uri) as cursor:
        cursor.execute("SET foreign_key_checks = 0")
        cursor.execute("SHOW TABLES")
        for (name,) in cursor.fetchall():
            if name not in {"alembic_version", "workspaces", "experiments"}:
                cursor.execute(f"DELETE FROM `{name}`")
        cursor.execute("DELETE FROM experiments WHERE experiment_id <> 0")
        cursor.execute(
            "UPDATE experiments SET name = 'Default', lifecycle_stage = 'active',"
            " last_update_time = creation_time"
        )


class MariadbWorld(DatabaseWorld):
    """The content of a server on MariaDB."""

    def rows(self) -> AbstractContextManager[Any]:
        """Open a cursor on the database; commits on success."""
        return rows(self.database_uri)
