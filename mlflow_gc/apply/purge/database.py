"""The database in which a purge deletes: one transaction checks and deletes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

from sqlalchemy import Delete, MetaData, select
from sqlalchemy.exc import SQLAlchemyError

from mlflow_gc.backend.address import Address
from mlflow_gc.backend.interface import Failure, ServerError
from mlflow_gc.backend.sql_connection import driver_message, explained, open_engine
from mlflow_gc.domain.kinds import EXPERIMENT, LOGGED_MODEL, RUN
from mlflow_gc.inventory.sql.table_sizes import table_sizes
from mlflow_gc.inventory.sql.tables import Statement, Tables, chunks

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Engine, Select

_BUSY_MS = 20_000
"""How long SQLite waits for other writers; as long as MLflow's own writers."""
_LOCK_S = 30
"""How long the others wait for a row that somebody else has locked."""
_TABLES = {
    RUN.name: ("runs", "run_uuid"),
    LOGGED_MODEL.name: ("logged_models", "model_id"),
    EXPERIMENT.name: ("experiments", "experiment_id"),
}


class Deadlock(ServerError):
    """The database rolled this transaction back, because two waited for each other."""


class Database:
    """A database of MLflow, open for deletions.

    Args:
        address: of a kind in ``DIRECTLY_READABLE``.
        read_only: nothing is locked, and nothing can be deleted.

    Raises:
        ServerError: it cannot be opened.
    """

    def __init__(self, address: Address, *, read_only: bool = False) -> None:
        self._address = address
        self._read_only = read_only
        try:
            self._engine = _opened(address, read_only=read_only)
            self._connection = self._engine.connect()
            metadata = MetaData()
            metadata.reflect(self._connection)
            self._connection.rollback()
        except Exception as error:
            raise explained(error, address) from error
        self.tables = Tables(metadata)

    @contextmanager
    def second(self) -> Iterator[Database | None]:
        """Open a second connection, for transactions beside those of the first.

        None where they would wait for each other: SQLite has one writer, and InnoDB also locks
        rows that a statement only reads on its way.  None, too, if the database has no connection left.
        """
        if self.dialect != "postgresql":
            yield None
            return
        try:
            connection = self._engine.connect()
        except SQLAlchemyError:
            yield None
            return
        with connection:
            other = copy(self)
            other._connection = connection  # noqa: SLF001 - of the same class
            yield other

    @property
    def dialect(self) -> str:
        """``sqlite``, ``postgresql``, ``mysql`` or ``mariadb``."""
        dialect = self._connection.dialect
        return "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Begin a transaction, commit it at the end; roll it back after an exception.

        Raises:
            ServerError: it cannot begin or commit.
        """
        connection = self._connection
        with _explaining(self._address):
            for statement in (_BEGIN_READ_ONLY if self._read_only else _BEGIN)[self.dialect]:
                connection.exec_driver_sql(statement)
        try:
            yield
            with _explaining(self._address):
                connection.commit()
        finally:
            if connection.in_transaction():
                connection.rollback()

    @contextmanager
    def savepoint(self, error: type[Exception]) -> Iterator[None]:
        """Undo what follows if an error of one class is raised; the locks from before are kept.

        Raises:
            ServerError: the database refuses it.
        """
        with _explaining(self._address):
            point = self._connection.begin_nested()
        try:
            yield
        except error:
            with _explaining(self._address):
                point.rollback()
            raise
        with _explaining(self._address):
            point.commit()

    def read(self, statement: Select[Any]) -> Sequence[Sequence[Any]]:
        """Return all rows of a statement in the current transaction.

        Raises:
            ServerError: the database refuses it, or the connection is lost.
        """
        with _explaining(self._address):
            return self._connection.execute(statement).all()

    def existing(self, kind: str, ids: Collection[str]) -> set[str]:
        """Return those of some entities that have a row, in whatever stage.

        Raises:
            ServerError: the database refuses it.
        """
        found: set[str] = set()
        for some in chunks(ids):
            column, condition = self._rows_of(kind, some)
            found.update(str(i) for (i,) in self.read(select(column).where(condition)))
        return found

    def lock(self, kind: str, ids: Collection[str]) -> None:
        """Lock the rows of some entities: nobody restores them before the end of the transaction.

        Raises:
            ServerError: somebody else has locked one of them.
        """
        column, condition = self._rows_of(kind, ids)
        self.lock_rows(column.table.name, condition)

    def _rows_of(self, kind: str, ids: Collection[str]) -> tuple[Any, ColumnElement[bool]]:
        """Return the key of the table of a kind, and the condition for some ids."""
        table, key = _TABLES[kind]
        column = self.tables[table].c[key]
        values = [int(i) for i in ids] if kind == EXPERIMENT.name else sorted(ids)
        return column, column.in_(values)

    def lock_rows(self, table: str, condition: ColumnElement[bool]) -> None:
        """Lock the rows of a table that meet a condition.

        Raises:
            ServerError: somebody else has locked one of them.
        """
        if self._read_only:
            return
        key = [*self.tables[table].primary_key.columns]
        # SQLite has no FOR UPDATE: BEGIN IMMEDIATE has locked the whole file.
        self.read(select(*key).where(condition).order_by(*key).with_for_update())

    def execute(self, statements: Iterator[Statement]) -> Counter[str]:
        """Execute statements that delete; return the number of rows by table.

        Raises:
            ServerError: one is refused; the transaction is rolled back.
        """
        with _explaining(self._address):
            done = [(s, self._connection.execute(s).rowcount) for s in statements]
        found: Counter[str] = Counter()
        for statement, count in done:
            if isinstance(statement, Delete):
                found[str(statement.table)] += count
        return found

    def size_bytes(self) -> int:
        """Return the size of the whole database, also of what it can use again.

        Raises:
            ServerError: the database refuses it.
        """
        with _explaining(self._address):
            found = self._connection.exec_driver_sql(_SIZE[self.dialect]).scalar()
            self._connection.rollback()
        return int(found or 0)

    def table_sizes(self) -> dict[str, int]:
        """Return the sizes of the tables with their indexes, in bytes; not for SQLite.

        Raises:
            ServerError: the database refuses it.
        """
        sizes = {name: sum(parts) for name, *parts in table_sizes(self.read, self.dialect)}
        self._connection.rollback()
        return sizes

    def maintain(self, statement: str) -> None:
        """Execute a statement outside of a transaction, such as VACUUM.

        Raises:
            ServerError: the database refuses it.
        """
        with _explaining(self._address), self._engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(statement)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        self._engine.dispose()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


_SIZE_OF_TABLES = (
    "SELECT sum(data_length + index_length + data_free) FROM information_schema.tables"
    " WHERE table_schema = database()"
)
_SIZE = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgresql": "SELECT pg_database_size(current_database())",
    "mysql": _SIZE_OF_TABLES,
    "mariadb": _SIZE_OF_TABLES,
}
_BEGIN = {
    # Each needs to see what others commit while it waits for a lock.
    "postgresql": (f"SET LOCAL lock_timeout = '{_LOCK_S}s'",),
    "mysql": (f"SET SESSION innodb_lock_wait_timeout = {_LOCK_S}",),
    "mariadb": (f"SET SESSION innodb_lock_wait_timeout = {_LOCK_S}",),
    # Only with the pragma do MLflow's foreign keys count
    # (PRAGMA foreign_keys in mlflow/store/db/utils.py).
    "sqlite": (
        "PRAGMA foreign_keys = ON",
        f"PRAGMA busy_timeout = {_BUSY_MS}",
        "BEGIN IMMEDIATE",
    ),
}


_BEGIN_READ_ONLY = {
    "postgresql": ("SET TRANSACTION READ ONLY",),
    "mysql": ("START TRANSACTION READ ONLY",),
    "mariadb": ("START TRANSACTION READ ONLY",),
    "sqlite": (f"PRAGMA busy_timeout = {_BUSY_MS}", "BEGIN"),
}


def _opened(address: Address, *, read_only: bool) -> Engine:
    engine = open_engine(address, read_only=read_only)
    if address.database != "sqlite":
        return engine.execution_options(isolation_level="READ COMMITTED")
    from sqlalchemy import event

    @event.listens_for(engine, "connect")
    def begin_by_hand(connection: Any, _record: object) -> None:
        # pysqlite would begin its own transactions, and only before the first write.
        connection.isolation_level = None

    return engine


@contextmanager
def _explaining(address: Address) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        message = driver_message(error, address)
        failure = Deadlock if "deadlock" in message.lower() else ServerError
        raise failure(
            f"{address.name} refused: {message}.",
            Failure.AMBIGUOUS,
            hint="The account needs the rights to SELECT, UPDATE and DELETE in all of MLflow's tables."
            if "denied" in message
            else None,
        ) from error
