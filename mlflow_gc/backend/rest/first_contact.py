"""The first contact with a server: location of its API, version, workspace."""

from __future__ import annotations

import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit, urlunsplit

from mlflow_gc.backend.interface import TEMPORARY, Failure, Json, ServerError
from mlflow_gc.backend.rest.mlflow_api import (
    SERVER_INFO,
    SERVER_INFO_SINCE,
    V2,
    V3,
    VERSION,
    WORKSPACE_HEADER,
    MlflowApi,
)
from mlflow_gc.backend.rest.response_errors import not_mlflow
from mlflow_gc.errors import Refused

_EXPERIMENT_0 = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
_OLDEST = (2, 0)
"""No server that this program works with is older."""


def read_server_info(api: MlflowApi) -> Json | None:
    """Return the server info of a tracking server (3.9 and newer), after locating its API."""
    info = _server_info(api)
    if info is None and urlsplit(api.client.credentials.host).path.strip("/"):
        # Up to 3.10 a static prefix applies only to this endpoint and the pages.
        api.version = read_version(api)
        if move_to_root(api):
            info = _server_info(api)
    api.has_server_info = info is not None
    return info


def _server_info(api: MlflowApi) -> Json | None:
    info = api.optional("GET", SERVER_INFO, attempts=2)
    if info is not None and not info.keys() & {"store_type", "workspaces_enabled"}:
        # Taken for MLflow's, it would say that there are no workspaces.
        raise not_mlflow(api.client.address, f"no 'store_type' in the answer to {SERVER_INFO}")
    return info


def move_to_root(api: MlflowApi) -> bool:
    """Tell whether the API is at the root of the host; if so, use it there.

    A server with ``--static-prefix`` has its pages and ``/version`` under the prefix; its API is at
    the root up to 3.10, and under the prefix from 3.13 on.
    """
    credentials = api.client.credentials
    parts = urlsplit(credentials.host)
    if not parts.path.strip("/") or parts.scheme not in {"http", "https"}:
        return False
    params = {"experiment_name": "Default"}
    try:
        found = api.optional("GET", f"{V2}/experiments/get-by-name", params=params)
    except ServerError as error:
        # Any server info of MLflow proves that the API is here.
        if error.failure not in {Failure.NOT_FOUND, Failure.FORBIDDEN, Failure.REJECTED}:
            raise
        return False
    if found is None:
        credentials.host = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
    return found is None


def read_version(api: MlflowApi) -> str | None:
    """Return the version of MLflow on the server; None if unknown."""
    try:
        raw = api.read_as(bytes, "GET", VERSION, as_json=False)
    except ServerError as error:
        # A proxy that hides it lets the API pass, or the next request tells why not.
        if error.failure not in TEMPORARY:
            return None
        raise
    text = raw.decode(errors="replace").strip()
    # What is in between may respond with an HTML page, or with a version of its own.
    found = re.fullmatch(r"(\d+)\.(\d+)[\w.+-]{0,56}", text)
    if found is None:
        return None
    least = SERVER_INFO_SINCE if api.has_server_info else _OLDEST
    return text if (int(found[1]), int(found[2])) >= least else None


def refuse_hidden_server_info(api: MlflowApi) -> None:
    """Refuse a proxy that hides the server info, which tells whether there are workspaces.

    Raises:
        ServerError: The server has, or may have, this endpoint.
    """
    is_older = api.version is not None and not api.is_at_least(SERVER_INFO_SINCE)
    if not api.has_server_info and not is_older:
        api.optional("GET", SERVER_INFO, since=SERVER_INFO_SINCE)


def refuse_lost_workspace(api: MlflowApi, *, has_registry: bool) -> None:
    """Refuse a proxy that removes or replaces the header with the workspace.

    The server would respond with the contents of another workspace.  A proxy has rules for paths,
    so this reads each kind of entity that protects something.

    Args:
        api: of the tracking server.
        has_registry: whether the registry is on the same server.

    Raises:
        ServerError: With the header.
    """
    of_registry = (f"{V2}/registered-models/search", f"{V2}/model-versions/search")
    one: Json = {"max_results": 1}
    of_experiment: Json = {"experiment_ids": ["0"], **one}
    lists = [
        ("POST", f"{V2}/experiments/search", {"json": one}),
        ("POST", f"{V2}/runs/search", {"json": of_experiment}),
        ("POST", f"{V2}/logged-models/search", {"json": of_experiment}),
        ("POST", f"{V3}/traces/search", {"json": {"locations": [_EXPERIMENT_0], **one}}),
        *(("GET", path, {"params": one}) for path in of_registry if has_registry),
    ]
    nowhere = f"mlflow-gc-{secrets.token_hex(8)}"
    with ThreadPoolExecutor(len(lists)) as pool:
        [*pool.map(lambda search: _refuse_answer(api, nowhere, *search), lists)]


def _refuse_answer(
    api: MlflowApi, nowhere: str, method: str, path: str, arguments: dict[str, Json]
) -> None:
    """Refuse an answer from a workspace that does not exist."""
    try:
        api.read(method, path, workspace=nowhere, **arguments)
    except ServerError as error:
        if error.failure in TEMPORARY:
            raise
        return  # there is no such workspace, so the header arrived
    raise ServerError(
        f"A proxy before the server {api.client.address} removes or replaces the header "
        f"{WORKSPACE_HEADER}, which names the workspace, in requests to {path}.",
        Failure.INVALID_RESPONSE,
        hint=f"It has to pass the header (nginx: no proxy_set_header {WORKSPACE_HEADER}).",
    )


def refuse_missing_workspace(api: MlflowApi, *, has_workspaces: bool) -> None:
    """Refuse a workspace that the server does not have."""
    name = api.workspace
    if not name:
        return
    if not has_workspaces:
        # Any request with the header would fail with 500 FEATURE_DISABLED.
        raise Refused(
            f"The server {api.client.address} has no workspaces, and the workspace "
            f"{name!r} was asked for.",
            hint="Leave out --workspace and MLFLOW_WORKSPACE.",
        )
    try:
        api.optional("GET", f"{V3}/workspaces/{quote(name, safe='')}")
    except ServerError as error:
        # Further requests tell whether it may be read.
        if error.failure is Failure.NOT_FOUND:
            raise Refused(
                f"The server {api.client.address} has no workspace {name!r}.",
                hint="Name one that it has with --workspace or MLFLOW_WORKSPACE.",
            ) from error
        if error.failure is not Failure.FORBIDDEN:
            raise
