"""Returning the space of deleted rows to the disk: the statements, what they lock, and how long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mlflow_gc.apply.purge.database import Database

_MOST = 5
"""Most tables to name: the others are smaller."""

_LOCKS = {
    "sqlite": "nobody can write, and it needs room for a copy",
    "postgresql": "nobody can read or write the table, and it needs room for a copy",
    "mysql": "nobody can write the table at its beginning and end, and it needs room for a copy",
}

_BYTES_A_SECOND = {
    # Half of what was measured with a table that lost nothing (docs/how-to/purge.md): one that
    # lost most of its rows takes less, a slower disk more.
    "sqlite": 90_000_000,
    "postgresql": 90_000_000,
    "mysql": 40_000_000,
}


@dataclass(frozen=True)
class Maintenance:
    """A statement that returns space to the disk.

    Attributes:
        statement: SQL, to be executed outside of a transaction.
        size_bytes: size of the table with its indexes, or of the whole file, before it.
        seconds: about how long it takes at most.
        locks: a clause for people.
    """

    statement: str
    size_bytes: int
    seconds: int
    locks: str

    @property
    def duration(self) -> str:
        """About how long it takes at most: ``40 s``, ``5 min`` or ``3 h``."""
        if self.seconds < 90:
            return f"{self.seconds} s"
        if self.seconds < 90 * 60:
            return f"{round(self.seconds / 60)} min"
        return f"{round(self.seconds / 3600)} h"


def maintenance(database: Database, rows: Mapping[str, int]) -> Iterator[Maintenance]:
    """Yield the statements for a database, the largest table first.

    Args:
        database: in which rows were deleted.
        rows: their number, by table.

    Raises:
        ServerError: it refuses to say the sizes of its tables.
    """
    if not any(rows.values()):
        return
    dialect = "mysql" if database.dialect == "mariadb" else database.dialect
    if dialect == "sqlite":
        sizes = {"": database.size_bytes()}
    else:
        found = database.table_sizes()
        sizes = {table: found.get(table, 0) for table, count in rows.items() if count}
    for table, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:_MOST]:
        verb = {"sqlite": "VACUUM", "postgresql": "VACUUM (FULL, ANALYZE)"}.get(
            dialect, "OPTIMIZE TABLE"
        )
        seconds = max(1, round(size / _BYTES_A_SECOND[dialect]))
        yield Maintenance(f"{verb} {table}".rstrip(), size, seconds, _LOCKS[dialect])
