"""What is really in the server, read from its database and from nothing of the program.

A database is a SQLite file, or the SQLAlchemy URI of a PostgreSQL or MariaDB server.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy

from support.server import open_database

if TYPE_CHECKING:
    from collections.abc import Iterable

Entity = tuple[str, str]
"""("run", run id), ("experiment", experiment id) or ("model_version", "name/version")."""

_QUERIES = {
    "run": "SELECT run_uuid, lifecycle_stage = 'active' FROM runs",
    "experiment": "SELECT experiment_id, lifecycle_stage = 'active' FROM experiments",
    "model_version": """
        SELECT name, version, current_stage <> 'Deleted_Internal' FROM model_versions
    """,
    "alias": "SELECT name, alias, version FROM registered_model_aliases",
    "deletion": "SELECT run_uuid, deleted_time FROM runs WHERE deleted_time IS NOT NULL",
}
"""What is asked: of entities the parts of the key, and whether it is alive."""


@dataclass(frozen=True)
class State:
    """The living entities of a server, and the tombstones, at one moment."""

    active: frozenset[Entity]
    trashed: frozenset[Entity]
    aliases: frozenset[tuple[str, str, str]]
    deleted_times: frozenset[tuple[str, int]]

    def gone_since(self, before: State) -> set[Entity]:
        """Entities that were alive ``before`` and are not now."""
        return set(before.active - self.active)


def look(database: Path | str) -> State:
    """Read the state of the server behind ``database``."""
    if isinstance(database, Path):
        with open_database(database) as db:
            return _state({what: db.execute(query).fetchall() for what, query in _QUERIES.items()})
    with _connected(database) as connection:
        return _state(
            {
                what: connection.execute(sqlalchemy.text(query)).all()
                for what, query in _QUERIES.items()
            }
        )


def _state(found: dict[str, Iterable[Any]]) -> State:
    active: set[Entity] = set()
    trashed: set[Entity] = set()
    for kind in ("run", "experiment", "model_version"):
        for *key, alive in found[kind]:
            (active if alive else trashed).add((kind, "/".join(map(str, key))))
    aliases = frozenset((str(n), str(a), str(v)) for n, a, v in found["alias"])
    deleted_times = frozenset((str(r), int(t)) for r, t in found["deletion"])
    return State(frozenset(active), frozenset(trashed), aliases, deleted_times)


def _connected(uri: str) -> sqlalchemy.Connection:
    return sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool).connect()


Row = tuple[str, str]
"""Table and primary key, the parts of the key joined by ``/``."""
Rows = dict[Row, dict[str, Any]]


def rows(database: Path | str) -> Rows:
    """Read every row of every table that has a primary key, whatever the version of the server."""
    found: Rows = {}
    if not isinstance(database, Path):
        with _connected(database) as connection:
            inspector = sqlalchemy.inspect(connection)
            for table in inspector.get_table_names():
                key = inspector.get_pk_constraint(table)["constrained_columns"]
                for row in connection.execute(
                    sqlalchemy.select(sqlalchemy.text("*")).select_from(sqlalchemy.table(table))
                ).mappings():
                    found[table, "/".join(str(row[name]) for name in key)] = dict(row)
        return found
    with open_database(database) as db:
        db.row_factory = sqlite3.Row
        tables = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = db.execute(f'PRAGMA table_info("{table}")').fetchall()
            key = [c["name"] for c in sorted(columns, key=lambda c: c["pk"]) if c["pk"]]
            for row in db.execute(f'SELECT * FROM "{table}"'):
                found[table, "/".join(str(row[name]) for name in key)] = dict(row)
    return found


def changes(before: Rows, after: Rows) -> dict[Row, set[str]]:
    """The rows that differ, with the names of the columns; ``lost`` or ``new`` for whole rows."""
    found: dict[Row, set[str]] = {}
    for row in before.keys() | after.keys():
        if row not in after:
            found[row] = {"lost"}
        elif row not in before:
            found[row] = {"new"}
        elif before[row] != after[row]:
            found[row] = {c for c, v in before[row].items() if after[row].get(c) != v}
    return found
