"""The bytes of tables and indexes, as each kind of database tells them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import text

from mlflow_gc.errors import GcError
from mlflow_gc.inventory.database_usage import DatabaseUsage
from mlflow_gc.inventory.sql.snapshot import Snapshot

_POSTGRESQL = (
    "SELECT relname, pg_table_size(oid), pg_indexes_size(oid), 0 FROM pg_class "
    "WHERE relkind IN ('r', 'p') AND pg_table_is_visible(oid)"
)
_MYSQL = (
    "SELECT table_name, data_length, index_length, data_free "
    "FROM information_schema.tables WHERE table_schema = database()"
)


def table_sizes(read: Callable[[Any], Any], database: str) -> Iterator[tuple[str, int, int, int]]:
    """Yield each table with its bytes, those of its indexes, and those that are free in it.

    ``read`` returns the rows of a statement; ``database`` is the kind, any but SQLite.
    """
    for name, *sizes in read(text(_POSTGRESQL if database == "postgresql" else _MYSQL)):
        of_table, of_indexes, free = (int(size or 0) for size in sizes)
        yield str(name), of_table, of_indexes, free


def unreadable_tables(snapshot: Snapshot) -> set[str]:
    """Return the tables of a database that the account sees and may not read."""
    if snapshot.kind != "postgresql":
        return set()  # MySQL and MariaDB do not show them, SQLite has no accounts
    rows = _read(
        snapshot,
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') "
        "AND pg_table_is_visible(oid) AND NOT has_table_privilege(oid, 'SELECT')",
    )
    return {name for (name,) in rows}


def read_sizes(snapshot: Snapshot, usage: DatabaseUsage) -> None:
    """Set the bytes of the database and of its tables, whose rows are known."""
    if usage.kind == "sqlite":
        _read_sqlite(snapshot, usage)
    else:
        _read_server(snapshot, usage)
    if any(t.table_bytes is None for t in usage.tables.values()):
        _divide(usage)


def _read_server(snapshot: Snapshot, usage: DatabaseUsage) -> None:
    reusable = 0
    for name, of_table, of_indexes, free in table_sizes(snapshot.read, usage.kind):
        if (found := usage.tables.get(name)) is not None:
            found.table_bytes, found.index_bytes = of_table, of_indexes
            reusable += free
    if usage.kind == "postgresql":
        ((usage.total_bytes,),) = _read(snapshot, "SELECT pg_database_size(current_database())")
        return
    usage.sizes_are_estimates, usage.reusable_bytes = True, reusable
    usage.total_bytes = reusable + sum(
        (t.table_bytes or 0) + (t.index_bytes or 0) for t in usage.tables.values()
    )


def _read_sqlite(snapshot: Snapshot, usage: DatabaseUsage) -> None:
    (((pages,),), ((free,),), ((size,),)) = (
        _read(snapshot, f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size")
    )
    usage.total_bytes, usage.reusable_bytes = pages * size, free * size
    objects = _read(snapshot, "SELECT name, type, tbl_name FROM sqlite_master")
    try:
        sizes: dict[str, int] = dict(
            _read(snapshot, "SELECT name, pgsize FROM dbstat WHERE aggregate = TRUE")
        )
    except GcError:  # SQLite was built without this table
        usage.sizes_are_estimates = True
        return
    for name, what, of_table in objects:
        if (found := usage.tables.get(of_table)) is not None and name in sizes:
            if what == "table":
                found.table_bytes = sizes[name] + (found.table_bytes or 0)
                found.index_bytes = found.index_bytes or 0
            else:
                found.index_bytes = sizes[name] + (found.index_bytes or 0)
    snapshot.release()


def _divide(usage: DatabaseUsage) -> None:
    """Divide what is used by the number of rows, where the database tells no sizes."""
    rows = sum(t.rows for t in usage.tables.values()) or 1
    used = usage.total_bytes - (usage.reusable_bytes or 0)
    for t in usage.tables.values():
        t.table_bytes, t.index_bytes = used * t.rows // rows, 0


def _read(snapshot: Snapshot, statement: str) -> Any:
    return snapshot.read(text(statement))
