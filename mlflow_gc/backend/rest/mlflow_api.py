"""The common part of all REST endpoints: workspaces, pages, older versions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, TypeVar

from mlflow_gc.backend.interface import Failure, Json, Page, ServerError, none_if_not_found
from mlflow_gc.backend.rest.http_client import HttpClient
from mlflow_gc.backend.rest.response_errors import not_mlflow
from mlflow_gc.backend.retries import ATTEMPTS, retried

V2 = "/api/2.0/mlflow"
V3 = "/api/3.0/mlflow"
SERVER_INFO = f"{V3}/server-info"
VERSION = "/version"
WORKSPACE_HEADER = "X-MLFLOW-WORKSPACE"

_SECOND_ATTEMPT_S = 0.1
SERVER_INFO_SINCE = (3, 9)
# Sent before workspaces are known to exist; on other servers the header causes a 500.
_WITHOUT_WORKSPACE = frozenset({SERVER_INFO, VERSION})

_T = TypeVar("_T")


def with_token(arguments: Json, token: str | None) -> Json:
    """Return the arguments of a search for the page of a token; None for the first page."""
    return {**arguments, "page_token": token} if token else arguments


class MlflowApi:
    """The REST API of one server.

    Args:
        client: sends the requests.
        workspace: sent as ``X-MLFLOW-WORKSPACE`` if set (MLflow 3.10 and newer).

    Attributes:
        version: of MLflow on the server; None if not known (yet).
        has_server_info: whether the server has that endpoint.
    """

    def __init__(self, client: HttpClient, workspace: str | None) -> None:
        self.client = client
        self.workspace = workspace
        self.version: str | None = None
        self.has_server_info = False

    def in_workspace(self, name: str) -> MlflowApi:
        """Return the same API for another workspace."""
        other = copy(self)
        other.workspace = name
        return other

    def read(self, method: str, path: str, **arguments: Any) -> Json:
        """Send a read; the arguments are those of :meth:`read_as`."""
        return self.read_as(self.client.decode, method, path, **arguments)

    def read_as(
        self,
        decode: Callable[[bytes], _T],
        method: str,
        path: str,
        *,
        attempts: int = ATTEMPTS,
        workspace: str | None = None,
        **arguments: Any,
    ) -> _T:
        """Send a read, with retries, and return its decoded response.

        ``workspace`` replaces that of this API; the other arguments are those of
        :meth:`HttpClient.send`.

        Raises:
            ServerError: Of the last attempt; AMBIGUOUS also for a truncated response.
        """
        client, workspace = self.client, workspace or self.workspace
        if workspace and path not in _WITHOUT_WORKSPACE:
            arguments["headers"] = {WORKSPACE_HEADER: workspace}
        return retried(
            lambda: decode(client.send(method, path, **arguments)), client.stopped, attempts
        )

    def write(self, method: str, path: str, body: Json, *, attempts: int = 1) -> None:
        """Send a write: once, unless it is idempotent.

        The path is below version 2 of the API.  A response that is not MLflow's leaves the outcome
        unknown.
        """
        self.read_as(self.client.decode, method, f"{V2}/{path}", attempts=attempts, json=body)

    def optional(
        self,
        method: str,
        path: str,
        *,
        since: tuple[int, int] | None = None,
        by_server: bool = False,
        **arguments: Any,
    ) -> Json | None:
        """Read from an endpoint that older servers lack; None on those.

        A front end also returns 404 while its server restarts, or for a path that it does not pass
        on, which must not be taken for a missing endpoint: so the 404 is confirmed by a second
        request, and a server that is new enough must have the endpoint.  If the version is unknown,
        the 404 must be MLflow's own, and with ``by_server`` in any case.

        ``since`` is the first version (major, minor) that has it; None if it can be disabled.

        Raises:
            ServerError: The response is not that of an MLflow server.
        """
        for is_last in (False, True):
            try:
                return self.read(method, path, **arguments)
            except ServerError as error:
                if error.failure is not Failure.UNSUPPORTED:
                    raise
                is_unsure = by_server or (since is not None and self.version is None)
                is_hidden = since is not None and self.is_at_least(since)
                if is_last and (is_hidden or (is_unsure and error.is_foreign)):
                    raise ServerError(
                        error.message, Failure.INVALID_RESPONSE, hint=error.hint
                    ) from error
            if not is_last:
                self.client.stopped.wait(_SECOND_ATTEMPT_S)
        return None

    def optional_page(
        self, method: str, path: str, key: str, *, since: tuple[int, int], **arguments: Any
    ) -> Page[Json] | None:
        """Return a page of an :meth:`optional` list; ``path`` is below that of version 3."""
        found = self.optional(method, f"{V3}/{path}", since=since, **arguments)
        return None if found is None else self.entries(found, key)

    def get(
        self,
        path: str,
        params: Mapping[str, str],
        key: str,
        parse: Callable[[Json], _T],
        *,
        workspace: str | None = None,
    ) -> _T | None:
        """Return one entity; None if it does not exist.

        The path is below version 2 of the API; ``key`` is that of the entity in the response, and
        ``workspace`` replaces that of this API.
        """
        path = f"{V2}/{path}"
        found = none_if_not_found(
            lambda: self.read("GET", path, params=params, workspace=workspace)
        )
        return None if found is None else parse(self._requested(self.entity(found, key), params))

    def _requested(self, entity: Json, params: Mapping[str, str]) -> Json:
        """Return an entity; a cache that ignores the query responds with another one."""
        fields = entity.get("info", entity)
        for name, wanted in params.items():
            found = fields.get(name) if isinstance(fields, dict) else None
            # Some databases ignore case.
            if found is not None and str(found).casefold() != wanted.casefold():
                what = f"{name} is {str(found)!r} in the answer, not {wanted!r}"
                raise not_mlflow(self.client.address, what)
        return entity

    def search(
        self, method: str, path: str, key: str, parse: Callable[[Json], _T], **arguments: Any
    ) -> Page[_T]:
        """Return one page of entities; the arguments are those of :meth:`get` and :meth:`read`."""
        return self.page(self.read(method, f"{V2}/{path}", **arguments), key, parse)

    def page(self, found: Json, key: str, parse: Callable[[Json], _T]) -> Page[_T]:
        """Return the entities in the response to a search, and the token of the next page."""
        entries, token = self.entries(found, key)
        return [parse(entry) for entry in entries], token

    def entries(self, found: Json, key: str) -> Page[Json]:
        """Return the entries of a page as JSON.

        MLflow leaves out an empty list, and then sends nothing else.  What a gateway sends in its
        place, such as ``{"message": ...}`` with status 200, is not an empty page.
        """
        entries, token = found.get(key, []), found.get("next_page_token")
        if key not in found and found.keys() - {"next_page_token"}:
            raise not_mlflow(self.client.address, f"no {key!r} in the answer")
        if not isinstance(entries, list) or not isinstance(token, (str, type(None))):
            raise not_mlflow(self.client.address, f"{key!r} is not a list")
        if not all(isinstance(entry, dict) for entry in entries):
            raise not_mlflow(self.client.address, f"{key!r} contains something other than objects")
        return entries, token or None

    def entity(self, found: Json, key: str) -> Json:
        """Return the one entity in a response, as JSON."""
        entity = found.get(key)
        if not isinstance(entity, dict):
            raise not_mlflow(self.client.address, f"no {key!r} in the answer")
        return entity

    def is_at_least(self, version: tuple[int, int]) -> bool:
        """Whether the server is known to have at least this version (major, minor)."""
        found = re.match(r"(\d+)\.(\d+)", self.version or "")
        if found is None:
            return self.has_server_info and version <= SERVER_INFO_SINCE
        return (int(found[1]), int(found[2])) >= version
