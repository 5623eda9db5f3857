"""A database as it is at one moment: read-only, and gentle to the server that works with it.

PostgreSQL, MySQL and MariaDB keep old versions of rows, so one transaction sees one moment for as
long as it lasts, and holds up nobody.  So does SQLite in WAL mode.  In its older mode with a rollback
journal, which is what MLflow leaves it in, a reader holds a lock that every commit waits for.  That
lock is let go as soon as the rows are read, and after some seconds in any case; it is noticed if
somebody wrote meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from mlflow_gc.backend.address import Address
from mlflow_gc.backend.interface import Failure, ServerError
from mlflow_gc.backend.sql_connection import driver_words, explained, open_engine

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

Rows = Sequence[tuple[Any, ...]]

LOCK_S = 5.0
"""How long a SQLite file without WAL is locked in one go; MLflow's writers wait for 20 s."""

_BUSY_MS = 20_000
_STATEMENT_S = 900
"""After so many seconds the database ends a statement of ours: nobody still waits for it."""
_IDLE_S = 900
"""After so many seconds without a question it ends our transaction, which keeps old rows alive.  To
decide over millions of runs takes a minute."""
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
        # All rows of a cursor are read, so the first ones need not come quickly.
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
        # In KiB; with the 2 MB of the default, reading takes half as long again.
        "PRAGMA cache_size = -32768",
        "BEGIN",
    ),
}


class Snapshot:
    """A connection to a database inside one transaction that only reads.

    Args:
        address: of a database that was tried (``try_database``) and is of a kind in
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
        """The words for the database."""
        return self._address.name

    @property
    def keeps_cursors(self) -> bool:
        """Whether several results may be open at once, read as they come."""
        return self._dialect == "postgresql"

    def read(self, statement: Select[Any]) -> Rows:
        """Return all rows of a statement.

        Raises:
            ServerError: the database refuses it or is gone.
        """
        with self._explaining():
            if not self._connection.in_transaction():
                self._begin()
            return cast("Rows", self._connection.execute(statement).all())

    def stream(self, statement: Select[Any]) -> Iterator[Rows]:
        """Yield the rows of a statement, some thousands at once, as they come.

        Raises:
            ServerError: the database refuses it or is gone.
        """
        options = {"stream_results": True, "yield_per": ROWS_AT_ONCE}
        with self._explaining():
            result = self._connection.execute(statement, execution_options=options)
            yield from cast("Iterator[Rows]", result.partitions())

    def yield_lock(self) -> None:
        """Let those write who wait for us, if they have waited for some seconds.

        Raises:
            ServerError: somebody did, so that what comes would not fit to what was read.
        """
        if self._locked_since is None or time.monotonic() - self._locked_since < LOCK_S:
            return
        with self._explaining():
            before = self._version
            self.rest()
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

    def rest(self) -> None:
        """Let go of what others wait for until the next question, which may see a later moment."""
        if self._locked_since is not None:
            self._connection.rollback()
            self._locked_since = None

    def close(self) -> None:
        """End the transaction and the connection."""
        # What a broken connection says at its end is no news.
        from sqlalchemy.exc import SQLAlchemyError

        try:
            self._connection.close()
        except SQLAlchemyError:
            self._connection.invalidate()

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> Connection:
        try:
            engine = open_engine(self._address).execution_options(**_OPTIONS[self._dialect])
            return engine.connect()
        except Exception as error:
            raise explained(error, self._address) from error

    def _begin(self) -> None:
        # MySQL's URIs are MariaDB's as well; which of them it is, the first connection tells.
        is_mariadb = getattr(self._connection.dialect, "is_mariadb", False)
        for statement in _BEGIN["mariadb" if is_mariadb else self._dialect]:
            self._connection.exec_driver_sql(statement)
        if self._dialect == "sqlite":
            # The lock comes with the first read, and only then is the version that of the file.
            self._connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar()
            if self._ask("PRAGMA journal_mode") != "wal":
                self._locked_since = time.monotonic()
            self._version = self._ask("PRAGMA data_version")

    def _ask(self, question: str) -> object:
        return self._connection.exec_driver_sql(question).scalar()

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except SQLAlchemyError as error:
            words = driver_words(error, self._address)
            raise ServerError(
                f"{self._address.name} cannot be read: {words}.",
                Failure.AMBIGUOUS,
                hint="The account needs the right to SELECT from all of MLflow's tables."
                if "denied" in words
                else None,
            ) from error
