"""Opening the database of an MLflow server."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mlflow_gc.backend.address import Address, first_line
from mlflow_gc.backend.interface import Failure, ServerError
from mlflow_gc.errors import GcError, Refused, UsageProblem
from mlflow_gc.settings import without_secrets

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine import URL

_WRONG_URI_HINT = (
    "Name the server or database with --tracking-uri or MLFLOW_TRACKING_URI, the database behind "
    "a server with --backend-store-uri or MLFLOW_BACKEND_STORE_URI."
)

_CONNECT_S = 8
"""Connection timeout of a driver, in seconds."""
_GIVE_UP_S = 20
"""Total timeout: names may have several addresses, and some drivers have no timeout."""

_TIMEOUT_OPTION = {
    # The option for the connection timeout, from the documentation of each driver's connect().
    "psycopg2": "connect_timeout",
    "psycopg": "connect_timeout",
    "pg8000": "timeout",
    "mysqldb": "connect_timeout",
    "pymysql": "connect_timeout",
    "mysqlconnector": "connection_timeout",
    "mariadbconnector": "connect_timeout",
    "pymssql": "login_timeout",
    "pyodbc": "timeout",
    "pysqlite": "timeout",
}
_PIP_NAME = {
    # Packages whose name differs from that of their module.
    "psycopg2": "psycopg2-binary",
    "psycopg": "'psycopg[binary]'",
    "MySQLdb": "mysqlclient",
    "mysql": "mysql-connector-python",
}


def try_database(address: Address, *, any_version: bool = False) -> None:
    """Connect once, and check that the database has the schema of the installed MLflow.

    ``any_version`` accepts the schema of any version of MLflow.

    MLflow's own store retries ten times in a hundred seconds, whatever the reason; and it creates
    missing tables, or migrates a database that an older server uses (``_initialize_tables`` in
    mlflow/store/db/utils.py).  A report must do neither.

    Raises:
        UsageProblem: The URI is not supported by any driver.
        ServerError: No response, login refused, or no data of MLflow.
        Refused: Its schema is that of another version of MLflow.
    """
    url = _parsed(address)
    if url.get_backend_name() == "sqlite" and not _is_file(url.database or ""):
        # MLflow would create an empty one for a typo.
        raise GcError(f"There is no MLflow database at {address.shown}.", hint=_WRONG_URI_HINT)
    raised: list[Exception] = []

    def attempt() -> None:
        try:
            _check_tables(address, any_version=any_version)
        except Exception as error:  # noqa: BLE001 - raised in the waiting thread
            raised.append(error)

    # In a daemon thread: not every driver respects a timeout.
    thread = threading.Thread(target=attempt, name="connect", daemon=True)
    thread.start()
    thread.join(_GIVE_UP_S)
    if thread.is_alive():
        raise ServerError(
            f"{address.name} does not answer within {_GIVE_UP_S} seconds.",
            Failure.UNREACHABLE,
            hint=_WRONG_URI_HINT,
        )
    if raised:
        raise explained(raised[0], address) from raised[0]


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:  # a name that is too long, a folder without permission
        return False


def _parsed(address: Address) -> URL:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    hint = (
        "It looks like sqlite:///mlflow.db or postgresql+psycopg2://user:password@host:5432/name. "
        "Characters such as @ / : # ? in a password are written as %40 %2F %3A %23 %3F."
    )
    try:
        url = make_url(address.uri)
        # Loads only SQLAlchemy's dialect, not yet the driver.
        dialect = url.get_dialect()
    except NoSuchModuleError as error:
        raise UsageProblem(
            f"{address.name} names a driver that SQLAlchemy does not know.", hint=hint
        ) from error
    except (ArgumentError, ValueError) as error:
        raise UsageProblem(
            f"{address.name} is not the address of a database.", hint=hint
        ) from error
    if dialect.is_async:
        raise UsageProblem(
            f"{address.name} names an asynchronous driver, which MLflow cannot use.", hint=hint
        )
    if url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}:
        raise UsageProblem(f"{address.name} is a database in memory, which is empty.", hint=hint)
    return url


def _check_tables(address: Address, *, any_version: bool) -> None:
    with open_engine(address).connect() as connection:
        _refuse_other_schema(connection, address, any_version=any_version)


def open_engine(address: Address, *, read_only: bool = True) -> Engine:
    """Return an engine without a connection pool.

    A SQLite file is opened read-only, or not created at least.

    Raises:
        UsageProblem: The URI is not supported by any driver.  ImportError: Its driver is not
            installed.
    """
    from mlflow.environment_variables import (
        MLFLOW_MYSQL_SSL_CA,
        MLFLOW_MYSQL_SSL_CERT,
        MLFLOW_MYSQL_SSL_KEY,
    )
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    url = _parsed(address)
    if url.get_backend_name() == "sqlite":
        url = _existing_file(url, "ro" if read_only else "rw")
    option = _TIMEOUT_OPTION.get(url.get_dialect().driver)
    options: dict[str, Any] = {option: _CONNECT_S} if option and option not in url.query else {}
    if url.get_backend_name() == "mysql":
        # As MLflow's own stores do (create_sqlalchemy_engine in mlflow/store/db/utils.py).
        files = {
            "ssl_ca": MLFLOW_MYSQL_SSL_CA.get(),
            "ssl_cert": MLFLOW_MYSQL_SSL_CERT.get(),
            "ssl_key": MLFLOW_MYSQL_SSL_KEY.get(),
        }
        options |= {key: file for key, file in files.items() if file}
    return create_engine(url, poolclass=NullPool, connect_args=options)


def _existing_file(url: URL, mode: str) -> URL:
    """Return the URL that opens an existing SQLite file: ``ro`` or ``rw``."""
    # SQLite's own URIs; SQLAlchemy passes unknown query parameters on.
    file = f"file:{quote(str(Path(url.database or '').absolute()))}"
    return url.set(database=file).update_query_dict({"uri": "true", "mode": mode})


def _refuse_other_schema(connection: Connection, address: Address, *, any_version: bool) -> None:
    from alembic.migration import MigrationContext

    found = MigrationContext.configure(connection).get_current_heads()
    if not found:
        raise ServerError(
            f"{address.name} contains no data of MLflow.", Failure.REJECTED, hint=_WRONG_URI_HINT
        )
    if any_version:
        return
    # Importing MLflow's tables and reading its migrations takes a second.
    import mlflow
    from mlflow.store.db.utils import _get_latest_schema_revision

    expected = _get_latest_schema_revision()
    if found != (expected,):
        raise Refused(
            f"{address.name} has the schema {', '.join(found)}; MLflow {mlflow.__version__}, which "
            f"is installed here, works with {expected}.",
            hint="Use the URI of the server alone instead, or install the version of mlflow here that the "
            "server has. After an update of the server: mlflow db upgrade, with a backup.",
        )


def explained(error: Exception, address: Address) -> GcError:
    """Convert an exception while opening a database to an error with a message."""
    if isinstance(error, GcError):
        return error
    if isinstance(error, ImportError):
        module = (error.name or "").split(".")[0]
        package = _PIP_NAME.get(module, module.lower())
        return ServerError(
            f"{address.name} needs a driver that is not installed here: "
            f"{first_line(str(error)).rstrip('.')}.",
            Failure.UNREACHABLE,
            hint=f"pip install {package} (or name a driver that is installed in the URI, as "
            "postgresql+psycopg2:// does)"
            if package
            else None,
        )
    return ServerError(
        f"{address.name} cannot be opened: {driver_message(error, address)}.",
        Failure.UNREACHABLE,
        hint="Check the address, the user and the password, and whether the database runs.",
    )


def driver_message(error: Exception, address: Address) -> str:
    """Return the message of a driver without secrets and the final full stop."""
    from sqlalchemy.exc import DBAPIError

    reason = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return first_line(without_secrets(str(reason), address.uri)).rstrip(".")
