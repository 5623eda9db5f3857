"""The kinds of databases, other than SQLite, that tests put behind an MLflow server."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from support import mariadb, postgres

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.world import DatabaseWorld


@dataclass(frozen=True)
class Database:
    """A kind of database.

    Attributes:
        name: ``postgresql`` or ``mariadb``.
        title: for people.
        driver: the package that an MLflow server needs for it.
        programs: finds what starts it; None where it is not installed.
        running: starts it by these programs; gives the SQLAlchemy URI, password included.
        rows: opens a cursor on the database behind such a URI.
        empty: brings it back to that of a fresh server.
        world: makes its content, from the URIs of server and database and the moment all ages count
            from.
    """

    name: str
    title: str
    driver: str
    programs: Callable[[], Path | None]
    running: Callable[[Path], AbstractContextManager[str]]
    rows: Callable[[str], AbstractContextManager[Any]]
    empty: Callable[[str], None]
    world: Callable[[str, str, int], DatabaseWorld]


DATABASES = {
    found.name: found
    for found in (
        Database(
            name="postgresql",
            title="PostgreSQL",
            driver="psycopg2-binary",
            programs=postgres.binaries,
            running=postgres.running,
            rows=postgres.rows,
            empty=postgres.empty,
            world=postgres.PostgresWorld,
        ),
        Database(
            name="mariadb",
            title="MariaDB",
            driver="pymysql",
            programs=mariadb.binary,
            running=mariadb.running,
            rows=mariadb.rows,
            empty=mariadb.empty,
            world=mariadb.MariadbWorld,
        ),
    )
}
"""By name."""
