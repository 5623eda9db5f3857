"""From settings to a gateway: which kind of store a URI means."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from urllib.parse import urlsplit

from mlflow_gc.errors import GcError, UsageProblem
from mlflow_gc.inventory.gateway import Gateway
from mlflow_gc.settings import (
    REGISTRY_URI,
    TRACKING_TOKEN,
    TRACKING_URI,
    WORKSPACE,
    Connection,
    redact_uri,
)

_DATABASES = ("sqlite", "postgresql", "postgres", "mysql", "mssql")


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
    for uri in (tracking_uri, registry_uri):
        _refuse_files(uri)
        _refuse_missing_sqlite(uri)
    kinds = {_is_database(uri) for uri in (tracking_uri, registry_uri)}
    if kinds == {True}:
        from mlflow_gc.inventory.store import StoreGateway

        if connection.workspace.text:
            raise UsageProblem(
                "A workspace can only be chosen on a server, not on a database URI.",
                hint="Use the URI of the mlflow server, or leave out the workspace.",
            )
        return StoreGateway(tracking_uri, registry_uri)
    if kinds == {False}:
        from mlflow_gc.inventory.rest import RestGateway

        return RestGateway(tracking_uri, registry_uri, workspace=connection.workspace.text)
    raise UsageProblem(
        f"The tracking URI {redact_uri(tracking_uri)} and the registry URI "
        f"{redact_uri(registry_uri)} are a server and a database.",
        hint="Give two servers or two databases.",
    )


def _quieten_mlflow() -> None:
    """Keep MLflow's logging and warnings out of our output; errors reach the user through us."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    warnings.filterwarnings("ignore", module="mlflow")
    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _is_database(uri: str) -> bool:
    return urlsplit(uri).scheme.split("+", 1)[0] in _DATABASES


def _refuse_files(uri: str) -> None:
    scheme = urlsplit(uri).scheme
    # A one-letter scheme is a Windows drive.
    if scheme in {"", "file"} or len(scheme) == 1:
        raise UsageProblem(
            f"{uri} is a file store; mlflow-gc works with servers and databases only. MLflow "
            "itself is phasing file stores out, and deleting in one moves artifacts away.",
            hint="Move the data to a database first, then use its URI: mlflow migrate-filestore "
            "--source mlruns --target sqlite:///mlflow.db",
        )


def _refuse_missing_sqlite(uri: str) -> None:
    """Refuse a SQLite file that is not there: MLflow would create an empty one for a typo."""
    if urlsplit(uri).scheme.split("+", 1)[0] != "sqlite":
        return
    from sqlalchemy.engine import make_url

    database = make_url(uri).database
    if not database or not Path(database).is_file():
        raise GcError(
            f"There is no MLflow database at {redact_uri(uri)}.",
            hint="Name the server or database with --tracking-uri or MLFLOW_TRACKING_URI.",
        )
