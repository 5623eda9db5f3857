"""From settings to a gateway: which kind of store a URI means, and whether anybody is there."""

from __future__ import annotations

import logging
import os
import re
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlflow_gc.errors import GcError, UsageProblem
from mlflow_gc.inventory.gateway import Failure, Gateway, ServerError
from mlflow_gc.settings import (
    REGISTRY_URI,
    TRACKING_TOKEN,
    TRACKING_URI,
    WORKSPACE,
    Connection,
    Value,
    redact_uri,
    without_secrets,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection as DatabaseConnection
    from sqlalchemy.engine import URL

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_WRONG_URI_HINT = "Name the server or database with --tracking-uri or MLFLOW_TRACKING_URI."


MAX_PARALLEL = 16
"""Calls that may be under way at once; the pace is found below that (pace.py)."""


def connect(connection: Connection) -> Gateway:
    """Open the tracking server and registry that the settings name.

    Raises:
        UsageProblem: a URI that this program cannot work with (a ``file:`` store, no URI).
        ServerError: a database that cannot be opened.  A server is not contacted yet.
    """
    # MLflow reads its variables itself and would take the blank of an unset one for a value.
    for setting in (TRACKING_URI, REGISTRY_URI, TRACKING_TOKEN, WORKSPACE):
        if not os.environ.get(setting.variable, "x").strip():
            del os.environ[setting.variable]
    if connection.token.text:
        # MLflow's HTTP client reads the token from the environment only; an AE5 secret file
        # has to be put there.
        os.environ["MLFLOW_TRACKING_TOKEN"] = connection.token.text
    _quieten_mlflow()
    import mlflow

    tracking_uri = connection.tracking_uri.text or mlflow.get_tracking_uri()
    registry_uri = connection.registry_uri.text or tracking_uri
    tracking = _Address.of(tracking_uri, connection.tracking_uri, "tracking URI")
    registry = (
        _Address.of(registry_uri, connection.registry_uri, "registry URI")
        if connection.registry_uri.text
        else tracking
    )
    addresses = dict.fromkeys((tracking, registry))
    for address in addresses:
        _refuse_files(address)
    if len({address.is_database for address in addresses}) > 1:
        raise UsageProblem(
            f"The tracking URI {tracking.shown} and the registry URI {registry.shown} are a server "
            "and a database.",
            hint="Give two servers or two databases.",
        )
    if tracking.is_database:
        from mlflow_gc.inventory.store import StoreGateway

        if connection.workspace.text:
            raise UsageProblem(
                "A workspace can only be chosen on a server, not on a database URI.",
                hint="Use the URI of the mlflow server, or leave out the workspace.",
            )
        for address in addresses:
            _try_database(address)
        return StoreGateway(tracking.uri, registry.uri)
    from mlflow_gc.inventory.prompt_ack import acknowledge_at_once
    from mlflow_gc.inventory.rest import RestGateway

    for address in addresses:
        _refuse_no_server(address)
    # MLflow keeps so many connections open; more calls at once would open a new one each time.
    os.environ.setdefault("MLFLOW_HTTP_POOL_MAXSIZE", str(MAX_PARALLEL))
    acknowledge_at_once()
    return RestGateway(
        tracking.uri,
        registry.uri,
        workspace=connection.workspace.text,
        max_parallel=MAX_PARALLEL,
    )


def _quieten_mlflow() -> None:
    """Keep MLflow's logging and warnings out of our output; errors reach the user through us."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    warnings.filterwarnings("ignore", module="mlflow")
    # Importing it sets the levels of its loggers.
    import mlflow  # noqa: F401

    for name in ("mlflow", "alembic", "urllib3", "databricks"):
        # Even critical: its stores log an error of the database with its traceback.
        logging.getLogger(name).setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class _Address:
    """A URI and the words for it.

    Attributes:
        uri: as given, secrets included.
        shown: what a message may say of it.
        name: ``The tracking URI http://host (from flag --tracking-uri)``.
    """

    uri: str
    shown: str
    name: str

    @classmethod
    def of(cls, uri: str, value: Value, what: str) -> _Address:
        """Name a URI after the setting that it came from."""
        uri = uri.strip()
        shown = redact_uri(uri)
        return cls(uri, shown, f"The {what} {shown} (from {value.origin})")

    @property
    def scheme(self) -> str:
        """``postgresql+psycopg2``; empty for a path."""
        found = _SCHEME.match(self.uri)
        return found[1].lower() if found else ""

    @property
    def is_database(self) -> bool:
        """Whether SQLAlchemy opens it."""
        return self.scheme.split("+", 1)[0] in _DATABASES


def _refuse_files(address: _Address) -> None:
    # A one-letter scheme is a Windows drive.
    if address.scheme in {"", "file"} or len(address.scheme) == 1:
        raise UsageProblem(
            f"{address.name} is a file store; mlflow-gc works with servers and databases only. "
            "MLflow itself is phasing file stores out, and deleting in one moves artifacts away.",
            hint="Give the URI of a server, with its http:// or https://. Or move the data to a "
            "database first, then use its URI: mlflow migrate-filestore "
            "--source mlruns --target sqlite:///mlflow.db",
        )


# -- servers -----------------------------------------------------------------------------------


def _refuse_no_server(address: _Address) -> None:
    """Refuse a URI that no request can ever be sent to.

    Raises:
        UsageProblem: no scheme that MLflow knows, no host, no port.
        ServerError: MLflow finds no credentials for it (Databricks, plugins).
    """
    if address.scheme in {"http", "https"}:
        _refuse_bad_address(address)
        return
    from mlflow.exceptions import MlflowException
    from mlflow.tracking._tracking_service.utils import _get_store
    from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException

    try:
        _get_store(address.uri).get_host_creds()
    except UnsupportedModelRegistryStoreURIException as error:
        raise UsageProblem(
            f"{address.name} is not one that MLflow can use here.",
            hint="It begins with http:// or https:// for a server, with sqlite://, postgresql://, "
            "mysql:// or mssql:// for a database. Other schemes need a plugin of MLflow.",
        ) from error
    except AttributeError as error:
        raise UsageProblem(
            f"{address.name} is of a kind of store that this program does not know."
        ) from error
    except MlflowException as error:
        words = without_secrets(str(error.message), address.uri)
        if error.error_code == "INVALID_PARAMETER_VALUE":
            raise UsageProblem(f"{address.name} cannot be used. MLflow says: {words}") from error
        raise ServerError(
            f"{address.name} cannot be used. MLflow says: {words}", Failure.UNREACHABLE
        ) from error
    except Exception as error:  # plugins and SDKs raise what they like
        words = _first_line(without_secrets(str(error), address.uri))
        raise ServerError(
            f"{address.name} cannot be used ({type(error).__name__}): {words}", Failure.UNREACHABLE
        ) from error


def _refuse_bad_address(address: _Address) -> None:
    import requests

    request = requests.models.PreparedRequest()
    try:
        request.prepare_url(address.uri, None)
        usable = urlsplit(address.uri).port != 0
    except (requests.exceptions.RequestException, ValueError):
        usable = False
    if not usable:
        raise UsageProblem(
            f"{address.name} is no address of a server.",
            hint="It looks like https://host or http://host:5000. Characters such as @ / : # ? in "
            "a password are written as %40 %2F %3A %23 %3F; better, set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
        )
    if "?" in address.uri or "#" in address.uri:
        # MLflow puts its paths behind it, where no server would look for them.
        raise UsageProblem(
            f"{address.name} goes on behind its path, with a ? or #.",
            hint="Leave that out. For a token, set MLFLOW_TRACKING_TOKEN.",
        )


# -- databases ---------------------------------------------------------------------------------

_CONNECT_S = 8
"""How long a driver may try to connect, in seconds."""
_GIVE_UP_S = 20
"""How long all of it may take: names with several addresses, drivers that have no such setting."""

_TIMEOUT_OPTION = {
    # What drivers call the time to connect; each is in their documentation of connect().
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
    # The packages of modules that are named otherwise.
    "psycopg2": "psycopg2-binary",
    "psycopg": "'psycopg[binary]'",
    "MySQLdb": "mysqlclient",
    "mysql": "mysql-connector-python",
}


def _try_database(address: _Address) -> None:
    """Connect once, ourselves, and look whether an MLflow of this version keeps its data there.

    MLflow's own store tries ten times over a hundred seconds, whatever the reason; and where it
    finds tables missing it creates them, or migrates a database that an older server uses
    (``_initialize_tables`` in mlflow/store/db/utils.py).  A report must do neither.

    Raises:
        UsageProblem: a URI that no driver can work with.
        ServerError: nobody answers, the login is refused, or it holds no MLflow of this version.
    """
    url = _parsed(address)
    if url.get_backend_name() == "sqlite" and not _is_file(url.database or ""):
        # MLflow would create an empty one for a typo.
        raise GcError(f"There is no MLflow database at {address.shown}.", hint=_WRONG_URI_HINT)
    raised: list[Exception] = []

    def attempt() -> None:
        try:
            _look_into(url, address)
        except Exception as error:  # noqa: BLE001 - goes on in the thread that waits
            raised.append(error)

    # In a thread of its own, which ends with the process: not every driver keeps to a time.
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
        raise _explained(raised[0], address) from raised[0]


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:  # too long a name, a folder that is closed to us
        return False


def _parsed(address: _Address) -> URL:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    hint = (
        "It looks like sqlite:///mlflow.db or postgresql+psycopg2://user:password@host:5432/name. "
        "Characters such as @ / : # ? in a password are written as %40 %2F %3A %23 %3F."
    )
    try:
        url = make_url(address.uri)
        # Loads SQLAlchemy's part only, not yet the driver.
        dialect = url.get_dialect()
    except NoSuchModuleError as error:
        raise UsageProblem(
            f"{address.name} names a driver that SQLAlchemy does not know.", hint=hint
        ) from error
    except (ArgumentError, ValueError) as error:
        raise UsageProblem(f"{address.name} is no address of a database.", hint=hint) from error
    if dialect.is_async:
        raise UsageProblem(
            f"{address.name} names an asynchronous driver, which MLflow cannot use.", hint=hint
        )
    if url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}:
        raise UsageProblem(f"{address.name} is a database in memory, which is empty.", hint=hint)
    return url


def _look_into(url: URL, address: _Address) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    option = _TIMEOUT_OPTION.get(url.get_dialect().driver)
    mine: dict[str, Any] = {option: _CONNECT_S} if option and option not in url.query else {}
    with create_engine(url, poolclass=NullPool, connect_args=mine).connect() as connection:
        _refuse_other_schema(connection, address)


def _refuse_other_schema(connection: DatabaseConnection, address: _Address) -> None:
    import mlflow
    from alembic.migration import MigrationContext
    from mlflow.store.db.utils import _get_latest_schema_revision

    found = MigrationContext.configure(connection).get_current_heads()
    if not found:
        raise ServerError(
            f"{address.name} holds no data of MLflow.", Failure.REJECTED, hint=_WRONG_URI_HINT
        )
    ours = _get_latest_schema_revision()
    if found != (ours,):
        raise ServerError(
            f"{address.name} has the schema {', '.join(found)}; MLflow {mlflow.__version__}, which "
            f"is installed here, works with {ours}.",
            Failure.REJECTED,
            hint="Use the URI of the server instead, or install the version of mlflow here that the "
            "server has. After an update of the server: mlflow db upgrade, with a backup.",
        )


def _explained(error: Exception, address: _Address) -> GcError:
    """Turn what a driver raised into words; they may quote the URI."""
    from sqlalchemy.exc import DBAPIError

    if isinstance(error, GcError):
        return error
    if isinstance(error, ImportError):
        module = (error.name or "").split(".")[0]
        package = _PIP_NAME.get(module, module.lower())
        return ServerError(
            f"{address.name} needs a driver that is not installed here: "
            f"{_first_line(str(error)).rstrip('.')}.",
            Failure.UNREACHABLE,
            hint=f"pip install {package} (or name a driver that is installed in the URI, as "
            "postgresql+psycopg2:// does)"
            if package
            else None,
        )
    said = error.orig if isinstance(error, DBAPIError) and error.orig else error
    words = _first_line(without_secrets(str(said), address.uri)).rstrip(".")
    return ServerError(
        f"{address.name} cannot be opened: {words}.",
        Failure.UNREACHABLE,
        hint="Check the address, the user and the password, and whether the database runs.",
    )


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["an unknown error"])[0][:500]
