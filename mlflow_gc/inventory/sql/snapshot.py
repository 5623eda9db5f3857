"""A read-only snapshot of a database that does not block the server.

PostgreSQL, MySQL and MariaDB keep old row versions, so one transaction is a consistent snapshot and
blocks nobody.  So does SQLite in WAL mode.  In its older mode with a rollback journal, MLflow's
default, a reader holds a lock that every commit waits for.  That lock is released after each read,
and after some seconds in any case; writes in between are detected.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from mlflow_gc.backend.address import Address
from mlflow_gc.backend.interface import Failure, ServerError
from mlflow_gc.backend.sql_connection import driver_message, explained, open_engine

if TYPE_CHECKING:
    from sqlalchemy import Connection, Executable, MetaData, Select

Rows = Sequence[tuple[Any, ...]]

LOCK_S = 5.0
"""Maximum time to lock a SQLite file without WAL; MLflow's writers wait for 20 s."""

_BUSY_MS = 20_000
_STATEMENT_S = 900
"""Timeout of a statement in the database, in seconds."""
_IDLE_S = 900
"""Idle timeout of the transaction in the database, in seconds: it keeps old rows alive.

Decisions on millions of runs take a minute."""
ROWS_AT_ONCE = 10_000
_OPTIONS: dict[str, dict[str, Any]] = {
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
    "mysql": {"isolation_level": "REPEATABLE READ"},
    "sqlite": {},
}
_BEGIN = {
    "postgresql": (
        f"SET LOCAL statement_timeout = '{_STATEMENT_S}s'",
        f"SET LOCAL idle_in_transaction_session_timeout = '{_IDLE_S}s'",
        # All rows of a cursor are read, so optimize for all, not for the first.
        "SET LOCAL cursor_tuple_fraction = 1",
        "SET LOCAL work_mem = '64MB'",
    ),
    "mysql": (
        f"SET SESSION wait_timeout = {_IDLE_S}",
        f"SET SESSION max_execution_time = {_STATEMENT_S * 1000}",  # in ms
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    ),
    "mariadb": (
        f"SET SESSION wait_timeout = {_IDLE_S}",
        f"SET SESSION max_statement_time = {_STATEMENT_S}",  # in seconds
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    ),
    "sqlite": (
        "PRAGMA query_only = ON",
        f"PRAGMA busy_timeout = {_BUSY_MS}",
        # In KiB; with the default of 2 MB, reading takes 50 % longer.
        "PRAGMA cache_size = -32768",
        "BEGIN",
    ),
}


class Snapshot:
    """A connection to a database in one read-only transaction.

    Every method raises ``ServerError`` if the database refuses it or the connection is lost.

    Args:
        address: of a database that was tried (``try_database``), of a kind in
            ``DIRECTLY_READABLE``.

    Raises:
        ServerError: it cannot be opened.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._dialect = address.database
        self._locked_since: float | None = None
        self._version: object = None
        self._connection: Connection = self._open()
        try:
            with self._explaining():
                self._begin()
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """The name of the database for messages."""
        return self._address.name

    @property
    def keeps_cursors(self) -> bool:
        """Whether several cursors can be open at once."""
        return self._dialect == "postgresql"

    @property
    def kind(self) -> str:
        """``postgresql``, ``mysql``, ``mariadb`` or ``sqlite``."""
        return "mariadb" if self._is_mariadb else self._dialect

    def columns(self) -> dict[str, set[str]]:
        """Return the names of the columns by table, as they are."""
        from sqlalchemy import inspect

        with self._explaining():
            found = inspect(self._connection).get_multi_columns()
            self.release()
        return {name: {str(c["name"]) for c in columns} for (_, name), columns in found.items()}

    def read(self, statement: Executable) -> Rows:
        """Return all rows of a statement."""
        with self._explaining():
            if not self._connection.in_transaction():
                self._begin()
            return cast("Rows", self._connection.execute(statement).all())

    def stream(self, statement: Select[Any]) -> Iterator[Rows]:
        """Yield the rows of a statement in chunks as they arrive."""
        options = {"stream_results": True, "yield_per": ROWS_AT_ONCE}
        with self._explaining():
            result = self._connection.execute(statement, execution_options=options)
            yield from cast("Iterator[Rows]", result.partitions())

    def reflect(self) -> MetaData:
        """Return the tables of the database as they are there."""
        from sqlalchemy import MetaData

        metadata = MetaData()
        with self._explaining():
            metadata.reflect(self._connection)
        return metadata

    def yield_lock(self) -> None:
        """Release the lock for waiting writers, if it was held for some seconds.

        Raises:
            ServerError: Somebody wrote, so further reads would be inconsistent.
        """
        if self._locked_since is None or time.monotonic() - self._locked_since < LOCK_S:
            return
        with self._explaining():
            before = self._version
            self.release()
            self._begin()
            if self._version != before:
                raise ServerError(
                    f"{self._address.name} is a SQLite file that was written to while it was read. "
                    f"It takes longer than {LOCK_S:.0f} seconds to read, and is not locked for "
                    "longer than that.",
                    Failure.AMBIGUOUS,
                    hint="Switch it to WAL, in which readers and writers do not wait for each other "
                    "(sqlite3 mlflow.db 'PRAGMA journal_mode=WAL'), or read over the server.",
                )

    def release(self) -> None:
        """Release the lock until the next statement, which may see later data."""
        if self._locked_since is not None:
            self._connection.rollback()
            self._locked_since = None

    def close(self) -> None:
        """End the transaction and the connection."""
        # Errors of a broken connection while closing are irrelevant.
        from sqlalchemy.exc import SQLAlchemyError

        try:
            self._connection.close()
        except SQLAlchemyError:
            self._connection.invalidate()

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _open(self) -> Connection:
        try:
            engine = open_engine(self._address).execution_options(**_OPTIONS[self._dialect])
            return engine.connect()
        except Exception as error:
            raise explained(error, self._address) from error

    def _begin(self) -> None:
        for statement in _BEGIN[self.kind]:
            self._connection.exec_driver_sql(statement)
        if self._dialect == "sqlite":
            # The first read takes the lock; only then the version is that of the file.
            self._connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar()
            if self._scalar("PRAGMA journal_mode") != "wal":
                self._locked_since = time.monotonic()
            self._version = self._scalar("PRAGMA data_version")

    @property
    def _is_mariadb(self) -> bool:
        # MySQL and MariaDB share URIs; the first connection tells which it is.
        return bool(getattr(self._connection.dialect, "is_mariadb", False))

    def _scalar(self, statement: str) -> object:
        return self._connection.exec_driver_sql(statement).scalar()

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except SQLAlchemyError as error:
            message = driver_message(error, self._address)
            raise ServerError(
                f"{self._address.name} cannot be read: {message}.",
                Failure.AMBIGUOUS,
                hint="The account needs the right to SELECT from all of MLflow's tables."
                if "denied" in message
                else None,
            ) from error
