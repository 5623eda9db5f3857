"""From settings to a gateway: the kind of store of a URI, and whether it can be reached."""

from __future__ import annotations

import logging
import os
import re
import warnings
from urllib.parse import urlsplit

from mlflow_gc.backend.address import DIRECTLY_READABLE, Address, first_line
from mlflow_gc.backend.interface import Failure, Gateway, ServerError
from mlflow_gc.backend.sql_connection import try_database
from mlflow_gc.errors import Refused, UsageProblem
from mlflow_gc.settings import Connection, Value, without_secrets


def connect(connection: Connection) -> Gateway:
    """Open the tracking server and registry that the settings name.

    Raises:
        UsageProblem: The URI is not supported (a ``file:`` store, no URI).
        Refused: It is the URI of a service other than MLflow's server.
        ServerError: A database cannot be opened.  A server is not contacted yet.
    """
    _quieten_mlflow()
    tracking = _tracking(connection)
    registry = _given(connection.registry_uri, "registry URI") or tracking
    addresses = dict.fromkeys((tracking, registry))
    for address in addresses:
        _refuse_hosted(address)
        _refuse_files(address)
    if len({address.is_database for address in addresses}) > 1:
        raise UsageProblem(
            f"The tracking URI {tracking.shown} and the registry URI {registry.shown} are a server "
            "and a database.",
            hint="Give two servers or two databases.",
        )
    # Only reports use it.
    database = _given(connection.backend_store_uri, "backend store URI")
    if tracking.is_database:
        from mlflow_gc.backend.mlflow_store import (
            NO_WORKSPACES,
            NO_WORKSPACES_HINT,
            StoreGateway,
        )

        if connection.workspace.text:
            raise UsageProblem(NO_WORKSPACES, hint=NO_WORKSPACES_HINT)
        for address in addresses:
            try_database(address)
        if database is None and tracking.database in DIRECTLY_READABLE and len(addresses) == 1:
            database = tracking
        return StoreGateway(tracking.uri, registry.uri, database=database)
    from mlflow_gc.backend.rest.backend import RestGateway
    from mlflow_gc.backend.rest.connections import open_session

    for address in addresses:
        _refuse_no_server(address)
    _refuse_unusable_settings()
    max_parallel = int(connection.max_parallel.text or 1)
    open_session(max_parallel)
    _detect_databricks_once()
    return RestGateway(
        tracking.uri,
        registry.uri,
        token=connection.token.text,
        workspace=connection.workspace.text,
        max_parallel=max_parallel,
        database=database,
    )


def database_of(connection: Connection) -> Address | None:
    """Return the database behind the server that the settings name; None if they name none.

    Raises:
        UsageProblem: It cannot be read directly.
    """
    _quieten_mlflow()
    address = _given(connection.backend_store_uri, "backend store URI")
    if address is None:
        address = _tracking(connection)
        if not address.is_database:
            return None
    address.refuse_unreadable()
    return address


def _given(setting: Value, what: str) -> Address | None:
    return Address.of(setting.text, setting, what) if setting.text else None


def _tracking(connection: Connection) -> Address:
    import mlflow

    setting = connection.tracking_uri
    return Address.of(setting.text or mlflow.get_tracking_uri(), setting, "tracking URI")


def _refuse_unusable_settings() -> None:
    """Refuse settings of MLflow's HTTP client that it cannot parse; each request would fail.

    Raises:
        UsageProblem: With the variable.
    """
    from mlflow import environment_variables

    for variable in vars(environment_variables).values():
        name = str(getattr(variable, "name", ""))
        if name.startswith(("MLFLOW_HTTP_", "MLFLOW_TRACKING_")) and name in os.environ:
            try:
                variable.get()
            except ValueError as error:
                wanted = "true or false" if isinstance(variable.default, bool) else "a number"
                raise UsageProblem(
                    f"The value of {name} cannot be used.",
                    hint=f"It is {wanted}; without it MLflow's default applies.",
                ) from error


def _detect_databricks_once() -> None:
    """Detect once whether this is a Databricks notebook, job or cluster.

    MLflow checks for every request and searches for missing packages each time: half a millisecond,
    two fifths of the client time of a deletion (3.10 to 3.17).
    """
    try:
        from mlflow.tracking.request_header.databricks_request_header_provider import (
            DatabricksRequestHeaderProvider as Provider,
        )

        is_databricks = bool(Provider().in_context())
    except Exception:  # noqa: BLE001 - only a shortcut, into what another version may not have
        return

    def in_context(_: object) -> bool:
        return is_databricks

    Provider.in_context = in_context


def _quieten_mlflow() -> None:
    """Suppress MLflow's logging and warnings; this program reports errors itself."""
    warnings.filterwarnings("ignore", module="mlflow")
    # credentials.py has a warning of its own, once.
    warnings.filterwarnings("ignore", message="Unverified HTTPS request")
    # The import sets the levels of MLflow's loggers.
    import mlflow  # noqa: F401

    for name in ("mlflow", "alembic", "urllib3", "databricks"):
        # Even critical ones: MLflow's stores log database errors with a traceback.
        logging.getLogger(name).setLevel(logging.CRITICAL)


_HOSTED = (
    # Service, pattern of its URIs, and what it lacks by its own documentation.
    (
        "Databricks",
        (
            r"(databricks|databricks-uc|uc)(:.*)?"
            r"|https?://[^/]*\.(databricks\.(com|us)|azuredatabricks\.net|databricks\.azure\.[a-z]+)\.?(:\d+)?(/.*)?"
        ),
        "its trash and its model registry (Unity Catalog) are not those of MLflow's server",
    ),
    (
        "Azure Machine Learning",
        (
            r"azureml:.*|https?://[^/]*\.((api|experiments)\.azureml\.[a-z]+|api\.ml\.azure\.[a-z]+)"
            r"\.?(:\d+)?(/.*)?"
        ),
        "its runs are jobs of Azure, and its model registry is not that of MLflow's server",
    ),
    (
        "Amazon SageMaker",
        r"arn:aws[a-z-]*:sagemaker:.*|https?://[^/]*\.experiments\.sagemaker\.aws\.?(:\d+)?(/.*)?",
        "its permissions are those of IAM, so it cannot say whether an account sees everything",
    ),
    ("GitLab", r"https?://.*/api/v4/projects/[^/]+/ml/mlflow(/.*)?", "it cannot delete runs"),
)


def _refuse_hosted(address: Address) -> None:
    """Refuse a service that offers MLflow's API and is not MLflow's server."""
    for service, pattern, lack in _HOSTED:
        if re.fullmatch(pattern, address.uri, re.IGNORECASE | re.DOTALL):
            raise Refused(
                f"{address.name} is {service}, which is not supported: {lack}.",
                hint="mlflow-gc works with MLflow's own server: "
                "https://github.com/mlflow-gc/mlflow-gc/blob/main/docs/compatibility.md",
            )


def _refuse_files(address: Address) -> None:
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


def _refuse_no_server(address: Address) -> None:
    """Refuse a URI to which no request can be sent.

    Raises:
        UsageProblem: Unknown scheme, no host, or invalid port.
        ServerError: MLflow finds no credentials for it (plugins).
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
        message = without_secrets(str(error.message), address.uri)
        if error.error_code == "INVALID_PARAMETER_VALUE":
            raise UsageProblem(
                f"{address.name} cannot be used. MLflow's message: {message}"
            ) from error
        raise ServerError(
            f"{address.name} cannot be used. MLflow's message: {message}", Failure.UNREACHABLE
        ) from error
    except Exception as error:  # plugins and SDKs raise any exception
        message = first_line(without_secrets(str(error), address.uri))
        raise ServerError(
            f"{address.name} cannot be used ({type(error).__name__}): {message}",
            Failure.UNREACHABLE,
        ) from error


def _refuse_bad_address(address: Address) -> None:
    import requests

    request = requests.models.PreparedRequest()
    try:
        request.prepare_url(address.uri, None)
        usable = urlsplit(address.uri).port != 0
    except (requests.exceptions.RequestException, ValueError):
        usable = False
    if not usable:
        raise UsageProblem(
            f"{address.name} is not the address of a server.",
            hint="It looks like https://host or http://host:5000. Characters such as @ / : # ? in "
            "a password are written as %40 %2F %3A %23 %3F; better, set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
        )
    if "?" in address.uri or "#" in address.uri:
        # MLflow appends its paths to it, which no server would understand.
        raise UsageProblem(
            f"{address.name} continues after its path with a ? or #.",
            hint="Leave that out. For a token, set MLFLOW_TRACKING_TOKEN.",
        )
