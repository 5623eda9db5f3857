"""What is really in the server, read from its SQLite file and from nothing of the program."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from support.server import open_database

if TYPE_CHECKING:
    from pathlib import Path

Entity = tuple[str, str]
"""("run", run id), ("experiment", experiment id) or ("model_version", "name/version")."""

_QUERIES = {
    "run": "SELECT run_uuid, lifecycle_stage = 'active' FROM runs",
    "experiment": "SELECT experiment_id, lifecycle_stage = 'active' FROM experiments",
    "model_version": """
        SELECT name || '/' || version, current_stage <> 'Deleted_Internal' FROM model_versions
    """,
}
"""Kind -> (key, is it alive)."""


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


def look(database: Path) -> State:
    """Read the state of the server behind ``database``."""
    active: set[Entity] = set()
    trashed: set[Entity] = set()
    with open_database(database) as db:
        for kind, query in _QUERIES.items():
            for key, alive in db.execute(query):
                (active if alive else trashed).add((kind, str(key)))
        aliases = frozenset(
            (str(n), str(a), str(v))
            for n, a, v in db.execute("SELECT name, alias, version FROM registered_model_aliases")
        )
        deleted_times = frozenset(
            (str(r), int(t))
            for r, t in db.execute(
                "SELECT run_uuid, deleted_time FROM runs WHERE deleted_time IS NOT NULL",
            )
        )
    return State(frozenset(active), frozenset(trashed), aliases, deleted_times)


Row = tuple[str, str]
"""Table and primary key, the parts of the key joined by ``/``."""
Rows = dict[Row, dict[str, Any]]


def rows(database: Path) -> Rows:
    """Read every row of every table that has a primary key, whatever the version of the server."""
    found: Rows = {}
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
