"""A throw-away PostgreSQL server, for MLflow to keep its store in."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_gc.demo.server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

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
