"""What is really in the server, read from its SQLite file and from nothing of the program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
