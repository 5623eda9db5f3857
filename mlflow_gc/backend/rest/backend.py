"""An ``mlflow server`` behind HTTP, through MLflow's own HTTP client.

That client (``mlflow.utils.rest_utils.http_request``) brings credentials, TLS settings, client
certificates, SigV4 and auth plugins.  Its automatic retries are switched off here: it re-sends
every verb on every 5xx, so one refused delete would be sent eight times over four minutes
(HAZARDS 0.11).  Reads are retried by us; writes never are.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import cache
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from mlflow_gc.backend import retries
from mlflow_gc.backend.address import Address
from mlflow_gc.backend.credentials import GivenCredentials, account_of, host_credentials, unsafe
from mlflow_gc.backend.experiment_contents import Contents, RestContents
from mlflow_gc.backend.interface import (
    TRACES_A_PAGE,
    Basics,
    Failure,
    Gateway,
    Json,
    ModelDetails,
    Page,
    ServerError,
    VersionDetails,
    pages,
)
from mlflow_gc.backend.rest import json_parser
from mlflow_gc.backend.rest.http_client import NO_RETRIES
from mlflow_gc.backend.rest.response_errors import checked, decode, no_answer, not_mlflow, skew_ms
from mlflow_gc.domain.entities import (
    Experiment,
    LoggedModel,
    MetricHistory,
    ModelVersion,
    ReadFrom,
    RegisteredModel,
    Run,
    Trace,
)
from mlflow_gc.domain.tag_selection import ALWAYS_WANTED, Wanted
from mlflow_gc.domain.timestamps import now_ms
from mlflow_gc.domain.traces import are_assessments_lost
from mlflow_gc.errors import Refused
from mlflow_gc.settings import redact_uri

_READ_ATTEMPTS = 5
_SECOND_THOUGHT_S = 0.1
_V2 = "/api/2.0/mlflow"
_V3 = "/api/3.0/mlflow"
_RETRIED_READS = {Failure.THROTTLED, Failure.AMBIGUOUS, Failure.UNREACHABLE}
_SERVER_INFO_SINCE = (3, 9)
# Asked before it is known whether there are workspaces; elsewhere the header ends in a 500.
_WITHOUT_WORKSPACE = frozenset({f"{_V3}/server-info", "/version"})
_MODELS_PAGE = 1000
# One page if it can be: between pages a deletion would move a version out of sight, and a version
# that is not seen does not protect its run (HAZARDS 0.9).  Databricks takes 10,000 only.
_VERSIONS_PAGE = 200_000
_SMALL_VERSIONS_PAGE = 10_000
_BULK_HISTORY = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
_HISTORY_PAGE = 10_000
"""Points of metrics in one answer; the server's limit is 25,000, several are under way at once."""
_NOT_LET_THROUGH = {Failure.UNSUPPORTED, Failure.FORBIDDEN, Failure.REJECTED, Failure.GARBLED}
_NAN = re.compile(rb"(?<=\"value\":)\s*-?(?:NaN|Infinity)(?=[,}\s])")

_T = TypeVar("_T")


class RestGateway:
    """Gateway to a tracking server, and to a registry that may be another server.

    Args:
        tracking_uri: as given; credentials in it are used and never shown.
        registry_uri: the same for the registry.
        token: bearer token for both, or None; MLflow's own reading of its variable does not count.
        workspace: sent as ``X-MLFLOW-WORKSPACE`` when set (MLflow 3.10 and newer).
        max_parallel: how many calls may be under way at once; further ones wait.
        database: the server's database, to read a plan from, or None.
    """

    read_from: ReadFrom = "rest"

    def __init__(
        self,
        tracking_uri: str,
        registry_uri: str,
        *,
        token: str | None = None,
        workspace: str | None,
        max_parallel: int = 8,
        database: Address | None = None,
    ) -> None:
        self.database = database
        self._tracking_uri = tracking_uri
        self._registry_uri = registry_uri
        self._workspace = workspace
        self._max_parallel = max_parallel
        self._places = threading.BoundedSemaphore(max_parallel)
        self._tracking_creds = host_credentials(tracking_uri, token)
        self._registry_creds = (
            self._tracking_creds
            if registry_uri == tracking_uri
            else host_credentials(registry_uri, token)
        )
        self._has_logged_models = True
        self._has_bulk_history = True
        self._has_traces_v3 = True
        self._contents = RestContents(max_parallel)
        self._clock_skew_ms = 0
        self._versions_page = _VERSIONS_PAGE
        self._server_version: str | None = None
        self._has_server_info = False
        self._here: str | None = None  # the workspace, once the server said that it has some
        self._has_users: dict[bool, bool] = {}
        self._asks_current: dict[bool, bool] = {}
        self._accounts: dict[bool, str] = {}
        self.stopped = threading.Event()
        """Set to cut waiting between attempts short (an interrupt)."""

    @property
    def max_parallel(self) -> int:
        """How many calls may be under way at once."""
        return self._max_parallel

    def warnings(self) -> list[str]:
        """Return what is unsafe about the connection, one sentence each."""
        creds = [self._tracking_creds]
        if self._registry_creds is not self._tracking_creds:
            creds.append(self._registry_creds)
        return unsafe(creds)

    @property
    def registry_is_separate(self) -> bool:
        """Whether the registry has another URI than the tracking server."""
        return self._registry_uri.rstrip("/") != self._tracking_uri.rstrip("/")

    # -- reads ---------------------------------------------------------------------------------

    def basics(self) -> Basics:
        """Address and version; the first contact, so its errors explain the connection.

        Raises:
            Refused: a workspace was asked for that the server does not have.
        """
        info = self._server_info()
        if info is None and urlsplit(self._tracking_creds.host).path.strip("/"):
            # Behind a static prefix up to 3.10 is only this, and the pages.
            self._server_version = self._version()
            if self._is_at_root(registry=False):
                info = self._server_info()
        if self.registry_is_separate:
            self._is_at_root(registry=True)
        self._has_server_info = info is not None
        workspaces = (info or {}).get("workspaces_enabled")
        if self._workspace and not workspaces:
            # Any call with the header would end in 500 FEATURE_DISABLED, retried by clients.
            raise Refused(
                f"The server {self._address()} has no workspaces, and the workspace "
                f"{self._workspace!r} was asked for.",
                hint="Leave out --workspace and MLFLOW_WORKSPACE.",
            )
        if self._workspace:
            self._refuse_unknown_workspace(self._workspace)
        workspace = (self._workspace or "default") if workspaces else None
        self._here = workspace
        self._server_version = self._server_version or self._version()
        return Basics(
            tracking_uri=redact_uri(self._tracking_uri),
            registry_uri=redact_uri(self._registry_uri),
            version=self._server_version,
            workspace=workspace,
        )

    def _refuse_unknown_workspace(self, name: str) -> None:
        try:
            self._optional("GET", f"{_V3}/workspaces/{quote(name, safe='')}")
        except ServerError as error:
            # Whether it may be looked at is told by all that comes.
            if error.failure is Failure.NOT_FOUND:
                raise Refused(
                    f"The server {self._address()} has no workspace {name!r}.",
                    hint="Name one that it has with --workspace or MLFLOW_WORKSPACE.",
                ) from error
            if error.failure is not Failure.FORBIDDEN:
                raise

    def _server_info(self) -> Json | None:
        return self._optional("GET", f"{_V3}/server-info", attempts=2)

    def _is_at_root(self, *, registry: bool) -> bool:
        """Tell whether the API is at the root of the host, and use it there from now on.

        A server with ``--static-prefix`` has its pages and ``/version`` behind the prefix, and its
        API at the root up to 3.10, behind the prefix from 3.13 on.
        """
        creds = self._registry_creds if registry else self._tracking_creds
        parts = urlsplit(creds.host)
        if not parts.path.strip("/") or parts.scheme not in {"http", "https"}:
            return False
        params = {"experiment_name": "Default"}
        path = f"{_V2}/experiments/get-by-name"
        try:
            found = self._optional("GET", path, params=params, registry=registry)
        except ServerError as error:
            # Anything that MLflow says of itself shows that the API is here.
            if error.failure not in {Failure.NOT_FOUND, Failure.FORBIDDEN, Failure.REJECTED}:
                raise
            return False
        if found is None:
            creds.host = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
        return found is None

    def clock_skew_ms(self) -> int:
        """How far the server's clock is ahead of this machine's, by its ``Date`` headers."""
        return self._clock_skew_ms

    def partial_view(self) -> str | None:
        """Say why this account may not see everything, or None when it does.

        Asks MLflow's basic-auth app whether the account is an administrator.  A server without
        that app has no such endpoints and hides nothing.  Whatever else leaves the account in
        doubt is a partial view.
        """
        for registry in (False, True) if self.registry_is_separate else (False,):
            user = self._current_user(registry=registry)
            if user is None or user.get("is_admin") is True:
                continue
            name = user.get("username") or self._accounts.get(registry)
            address = self._address(registry=registry)
            account = (
                f"The account {name!r} is no administrator of {address}"
                if name
                else f"{address} does not tell whether this account is an administrator"
            )
            return (
                f"{account}: the server hides from other accounts what they may not read, and "
                "that may be what protects something."
            )
        return None

    def _current_user(self, *, registry: bool) -> Json | None:
        """Return what the server says of this account, empty where it says nothing of use.

        None means that the server has no accounts.
        """
        if not self._has_users.get(registry, True):
            return None
        try:
            if self._asks_current.get(registry, True):
                # 3.13 and newer.
                found = self._optional("GET", f"{_V2}/users/current", registry=registry)
                if found is not None:
                    # mlflow-oidc-auth answers without the wrapper "user".
                    user = found.get("user", found)
                    return user if isinstance(user, dict) else {}
                self._asks_current[registry] = False
            # 2.5 and newer, by name.  Without a name the answer is 400 where the auth app runs and
            # 404 where it does not (2.14 to 3.18).  Whose name it is, only the credentials tell.
            name = self._accounts.get(registry)
            params = {"username": name} if name else {}
            found = self._optional("GET", f"{_V2}/users/get", params=params, registry=registry)
        except ServerError as error:
            if error.failure in {Failure.FORBIDDEN, Failure.NOT_FOUND, Failure.REJECTED}:
                return {}
            raise
        if found is None:
            self._has_users[registry] = False
            return None
        user = found.get("user")
        # An answer about nobody in particular, or about somebody else, says nothing of this account.
        is_ours = isinstance(user, dict) and bool(name) and user.get("username") == name
        return user if is_ours else {}

    def search_experiments(
        self, *, view: str, filter_string: str = "", token: str | None = None
    ) -> Page[Experiment]:
        """One page of experiments; order creation time, then id: new ones come last."""
        body = {
            "view_type": view,
            "filter": filter_string,
            # REST has no default here: without it the answer is 400 "Invalid value 0".
            "max_results": 1000,
            "order_by": ["creation_time ASC", "experiment_id ASC"],
        }
        return self._page(
            self._read("POST", f"{_V2}/experiments/search", json=_with_token(body, token)),
            "experiments",
            json_parser.experiment,
        )

    def search_runs(
        self,
        experiment_ids: Sequence[str],
        *,
        filter_string: str = "",
        view: str = "ACTIVE_ONLY",
        order_by: Sequence[str] = (),
        max_results: int = 1000,
        token: str | None = None,
        wanted: Wanted | None = ALWAYS_WANTED,
    ) -> Page[Run]:
        """One page of runs, with what ``wanted`` keeps of them (None: all tags, no metric)."""
        body = {
            "experiment_ids": list(experiment_ids),
            "filter": filter_string,
            "run_view_type": view,
            "max_results": max_results,
            "order_by": list(order_by),
        }

        def read() -> Page[Run]:
            content = self._send("POST", f"{_V2}/runs/search", json=_with_token(body, token))
            quick = _quick_runs()
            if quick and wanted is not None and (page := quick(content, wanted)) is not None:
                return page
            found = decode(content, self._address())
            return self._page(found, "runs", lambda entry: json_parser.run(entry, wanted))

        return self._retried(read, _READ_ATTEMPTS)

    def search_registered_models(
        self,
        *,
        filter_string: str = "",
        order_by: Sequence[str] = ("name ASC",),
        max_results: int = _MODELS_PAGE,
        token: str | None = None,
    ) -> Page[RegisteredModel]:
        """One page of registered models, with aliases."""
        params = {"filter": filter_string, "max_results": max_results, "order_by": list(order_by)}
        return self._page(
            self._read(
                "GET",
                f"{_V2}/registered-models/search",
                params=_with_token(params, token),
                registry=True,
            ),
            "registered_models",
            json_parser.registered_model,
        )

    def search_model_versions(
        self, *, filter_string: str = "", token: str | None = None
    ) -> Page[ModelVersion]:
        """One page of model versions; order name, then number."""
        # The default order is last_updated DESC, where any edit moves rows between pages.
        params = {
            "filter": filter_string,
            "max_results": self._versions_page,
            "order_by": ["name ASC", "version_number ASC"],
        }
        try:
            found = self._read(
                "GET",
                f"{_V2}/model-versions/search",
                params=_with_token(params, token),
                registry=True,
            )
        except ServerError as error:
            if error.failure is not Failure.REJECTED or self._versions_page != _VERSIONS_PAGE:
                raise
            self._versions_page = _SMALL_VERSIONS_PAGE
            return self.search_model_versions(filter_string=filter_string, token=token)
        return self._page(found, "model_versions", json_parser.model_version)

    def search_logged_models(
        self,
        experiment_ids: Sequence[str],
        *,
        newest_first: bool = False,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[LoggedModel]:
        """One page of logged models; empty on servers without them (before 3.0)."""
        if not self._has_logged_models:
            return [], None
        field = "last_updated_timestamp" if newest_first else "creation_timestamp"
        body = {
            "experiment_ids": list(experiment_ids),
            "max_results": max_results,
            "order_by": [{"field_name": field, "ascending": not newest_first}],
        }
        found = self._optional(
            "POST", f"{_V2}/logged-models/search", since=(3, 0), json=_with_token(body, token)
        )
        if found is None:
            self._has_logged_models = False
            return [], None
        return self._page(found, "models", json_parser.logged_model)

    def has_traces(self, experiment_ids: Sequence[str]) -> bool:
        """Whether any of the experiments holds a trace; False on servers without traces."""
        return bool(self._traces(experiment_ids, {"max_results": 1})[0])

    @property
    def loses_assessments(self) -> bool:
        """Whether deleting a run deletes assessments that name it; only known after :meth:`basics`."""
        return are_assessments_lost(self._server_version)

    def search_traces(
        self, experiment_ids: Sequence[str], *, since_ms: int | None, token: str | None = None
    ) -> Page[Trace]:
        """One page of traces, oldest first; empty on servers without traces (before 2.14)."""
        search = {"max_results": TRACES_A_PAGE, "order_by": ["timestamp_ms ASC"]}
        if since_ms is not None:
            search["filter"] = f"timestamp_ms >= {since_ms}"
        found, next_token = self._traces(experiment_ids, _with_token(search, token))
        return [json_parser.trace(trace) for trace in found], next_token

    def contents_of(self, experiment_ids: Sequence[str]) -> Contents:
        """What active experiments hold besides runs, logged models and traces."""
        return self._contents.read(self._optional_page, experiment_ids)

    def get_experiment(self, experiment_id: str, *, of_registry: bool = False) -> Experiment | None:
        """One experiment of any lifecycle stage."""
        return self._get(
            f"{_V2}/experiments/get",
            {"experiment_id": experiment_id},
            "experiment",
            json_parser.experiment,
            registry=of_registry,
        )

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        """The experiment of a name, of any lifecycle stage."""
        return self._get(
            f"{_V2}/experiments/get-by-name",
            {"experiment_name": name},
            "experiment",
            json_parser.experiment,
        )

    def get_default_experiment(self, *, of_registry: bool = False) -> Experiment | None:
        """The experiment that a server makes when it begins; whatever workspace is looked at."""
        found = self._get(
            f"{_V2}/experiments/get",
            {"experiment_id": "0"},
            "experiment",
            json_parser.experiment,
            registry=of_registry,
            workspace="default" if self._workspace else None,
        )
        # A default workspace of another name has one with another id
        # (sqlalchemy_workspace_store.py).
        return found or self._get(
            f"{_V2}/experiments/get-by-name",
            {"experiment_name": "Default"},
            "experiment",
            json_parser.experiment,
            registry=of_registry,
        )

    def other_workspaces(self) -> list[Gateway]:
        """Gateways to the other workspaces of the server; none where it has none."""
        if self._here is None:
            return []
        found = self._read("GET", f"{_V3}/workspaces")
        workspaces, _ = self._entries(found, "workspaces")
        return [
            self._in_workspace(str(w["name"]))
            for w in workspaces
            if w.get("name") and w["name"] != self._here
        ]

    def _in_workspace(self, name: str) -> RestGateway:
        other = copy(self)
        other._workspace = other._here = name  # noqa: SLF001 - one of us
        return other

    def get_run(self, run_id: str, wanted: Wanted | None = None) -> Run | None:
        """One run of any lifecycle stage, with the models that it read, and what is wanted of it."""
        return self._get(
            f"{_V2}/runs/get",
            {"run_id": run_id},
            "run",
            lambda entry: json_parser.run(entry, wanted),
        )

    def metric_histories(self, run_ids: Sequence[str], key: str) -> dict[str, MetricHistory]:
        """All that was ever logged to a metric, by run.

        MLflow's own pages read the histories of a hundred runs with one request
        (``/ajax-api/.../get-history-bulk``, the same from 2.14 to 3.18).  Where that is not let
        through, or not under this address (``--static-prefix``), each run is asked for by itself.
        """
        histories: dict[str, MetricHistory] = {}
        left = sorted(run_ids)
        while left and self._has_bulk_history:
            entries = self._bulk_history(left, key)
            if entries is None:
                break
            found = json_parser.metric_history(entries)
            if len(entries) < _HISTORY_PAGE:
                return histories | found
            # Sorted by run: only of the last one there may be more.
            cut_off = str(entries[-1]["run_id"])
            histories |= found
            if len(found) == 1:
                histories |= self._history(cut_off, key)
            else:
                del histories[cut_off]
            left = [run_id for run_id in left if run_id not in histories]
        for run_id in left:
            histories |= self._history(run_id, key)
        return histories

    def _bulk_history(self, run_ids: Sequence[str], key: str) -> list[Json] | None:
        """Return the first entries of some histories; None where the endpoint is not to be had."""
        params = {"run_id": list(run_ids), "metric_key": key, "max_results": _HISTORY_PAGE}
        try:
            found = self._retried(
                # A value that is no number comes as NaN, which is not JSON.
                lambda: decode(
                    _NAN.sub(b"null", self._send("GET", _BULK_HISTORY, params=params)),
                    self._address(),
                ),
                _READ_ATTEMPTS,
            )
            return self._entries(found, "metrics")[0]
        except ServerError as error:
            if error.failure not in _NOT_LET_THROUGH:
                raise
            self._has_bulk_history = False
            return None

    def _history(self, run_id: str, key: str) -> dict[str, MetricHistory]:
        params = {"run_id": run_id, "metric_key": key, "max_results": _HISTORY_PAGE}

        def page(token: str | None) -> Page[Json]:
            # Before 3.10 all of it comes at once.
            asked = _with_token(params, token)
            return self._entries(
                self._read("GET", f"{_V2}/metrics/get-history", params=asked), "metrics"
            )

        try:
            return json_parser.metric_history(pages(page), run_id)
        except ServerError as error:
            if error.failure is Failure.NOT_FOUND:
                return {}
            raise

    def get_model_version(self, name: str, version: str) -> VersionDetails | None:
        """One model version, with aliases."""
        return self._get(
            f"{_V2}/model-versions/get",
            {"name": name, "version": version},
            "model_version",
            json_parser.version_details,
            registry=True,
        )

    def get_download_uri(self, name: str, version: str) -> str | None:
        """Where the files of a model version lie, as the server resolved it."""
        path = f"{_V2}/model-versions/get-download-uri"
        try:
            found = self._read(
                "GET", path, params={"name": name, "version": version}, registry=True
            )
        except ServerError as error:
            if error.failure is Failure.NOT_FOUND:
                return None
            raise
        return str(found.get("artifact_uri") or "") or None

    def get_registered_model(self, name: str) -> ModelDetails | None:
        """One registered model, with aliases and the newest version of each stage."""
        return self._get(
            f"{_V2}/registered-models/get",
            {"name": name},
            "registered_model",
            json_parser.model_details,
            registry=True,
        )

    def get_logged_model(self, model_id: str) -> LoggedModel | None:
        """One logged model; None on servers without them (before 3.0)."""
        # Such a server may have the registry of a newer one, whose versions name logged models.
        if not self._has_logged_models:
            return None
        try:
            found = self._optional(
                "GET", f"{_V2}/logged-models/{quote(model_id, safe='')}", since=(3, 0)
            )
        except ServerError as error:
            if error.failure is Failure.NOT_FOUND:
                return None
            raise
        if found is None:
            self._has_logged_models = False
            return None
        return json_parser.logged_model(self._entity(found, "model"))

    # -- writes --------------------------------------------------------------------------------

    def delete_run(self, run_id: str) -> None:
        """Move a run to the trash."""
        self._write("POST", f"{_V2}/runs/delete", json={"run_id": run_id})

    def restore_run(self, run_id: str) -> None:
        """Bring a run back from the trash."""
        self._write("POST", f"{_V2}/runs/restore", json={"run_id": run_id})

    def delete_experiment(self, experiment_id: str) -> None:
        """Move an experiment and its runs to the trash."""
        self._write("POST", f"{_V2}/experiments/delete", json={"experiment_id": experiment_id})

    def rename_experiment(self, experiment_id: str, name: str) -> None:
        """Give an active experiment another name."""
        body = {"experiment_id": experiment_id, "new_name": name}
        self._write("POST", f"{_V2}/experiments/update", json=body)

    def restore_experiment(self, experiment_id: str) -> None:
        """Bring an experiment and all its runs back from the trash."""
        self._write("POST", f"{_V2}/experiments/restore", json={"experiment_id": experiment_id})

    def delete_model_version(self, name: str, version: str) -> None:
        """Delete a model version for good."""
        self._write(
            "DELETE",
            f"{_V2}/model-versions/delete",
            json={"name": name, "version": version},
            registry=True,
        )

    def delete_registered_model(self, name: str) -> None:
        """Delete a registered model and all its versions for good."""
        self._write("DELETE", f"{_V2}/registered-models/delete", json={"name": name}, registry=True)

    def set_tag(self, kind: str, entity_id: str, key: str, value: str) -> None:
        """Set a tag."""
        path, _, ids, registry = _tag_call(kind, entity_id)
        body = {**ids, "key": key, "value": value}
        # Setting a tag again to what it is changes nothing.
        self._retried(
            lambda: self._write("POST", path, json=body, registry=registry), _READ_ATTEMPTS
        )

    def delete_tag(self, kind: str, entity_id: str, key: str) -> None:
        """Take a tag away."""
        _, path, ids, registry = _tag_call(kind, entity_id)
        method = "DELETE" if registry else "POST"
        body = {**ids, "key": key}
        self._retried(
            lambda: self._write(method, path, json=body, registry=registry), _READ_ATTEMPTS
        )

    # -- plumbing ------------------------------------------------------------------------------

    def _address(self, *, registry: bool = False) -> str:
        return redact_uri(self._registry_uri if registry else self._tracking_uri)

    def _version(self) -> str | None:
        try:
            raw = self._retried(
                lambda: self._send("GET", "/version", as_json=False), _READ_ATTEMPTS
            )
        except ServerError as error:
            if error.failure in {Failure.NOT_FOUND, Failure.UNSUPPORTED, Failure.FORBIDDEN}:
                return None
            raise
        text = raw.decode(errors="replace").strip()
        # A web front end in the way answers any path with its HTML page.
        return text if 0 < len(text) < 64 and "<" not in text else None

    def _traces(self, experiment_ids: Sequence[str], search: Json) -> Page[Json]:
        found: Json | None = None
        if self._has_traces_v3:
            locations = [
                {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": e}}
                for e in experiment_ids
            ]
            body = {"locations": locations, **search}
            found = self._optional("POST", f"{_V3}/traces/search", since=(3, 2), json=body)
            self._has_traces_v3 = found is not None
        if found is None:  # before MLflow 3.2
            # Not there before MLflow 2.14, when there were no traces either.
            params = {"experiment_ids": list(experiment_ids), **search}
            found = self._optional("GET", f"{_V2}/traces", since=(2, 14), params=params)
        return ([], None) if found is None else self._entries(found, "traces")

    def _get(
        self,
        path: str,
        params: Mapping[str, str],
        key: str,
        parse: Callable[[Json], _T],
        *,
        registry: bool = False,
        workspace: str | None = None,
    ) -> _T | None:
        try:
            found = self._read("GET", path, params=params, registry=registry, workspace=workspace)
        except ServerError as error:
            if error.failure is Failure.NOT_FOUND:
                return None
            raise
        return parse(self._entity(found, key, registry=registry))

    def _entity(self, found: Json, key: str, *, registry: bool = False) -> Json:
        entity = found.get(key)
        if not isinstance(entity, dict):
            raise not_mlflow(self._address(registry=registry), f"no {key!r} in the answer")
        return entity

    def _optional(
        self, method: str, path: str, *, since: tuple[int, int] | None = None, **kwargs: Any
    ) -> Json | None:
        """Call an endpoint that older servers do not have; None there.

        A front end whose server restarts says 404 as well, and "there is none" would be believed:
        so it has to say it twice, and a server that is new enough for the endpoint cannot say it.

        Args:
            method: GET or POST.
            path: of the endpoint.
            since: the first version (major, minor) that has it; None where it can be switched off.
            **kwargs: for :meth:`_read`.

        Raises:
            ServerError: it does not answer as an MLflow server would.
        """
        for is_last in (False, True):
            try:
                return self._read(method, path, **kwargs)
            except ServerError as error:
                if error.failure is not Failure.UNSUPPORTED:
                    raise
                if is_last and since and self._is_at_least(since):
                    raise ServerError(error.message, Failure.GARBLED, hint=error.hint) from error
            if not is_last:
                self.stopped.wait(_SECOND_THOUGHT_S)
        return None

    def _optional_page(
        self, method: str, path: str, key: str, *, since: tuple[int, int], **arguments: Any
    ) -> Page[Json] | None:
        found = self._optional(method, f"{_V3}/{path}", since=since, **arguments)
        return None if found is None else self._entries(found, key)

    def _is_at_least(self, version: tuple[int, int]) -> bool:
        found = re.match(r"(\d+)\.(\d+)", self._server_version or "")
        if found is None:
            return self._has_server_info and version <= _SERVER_INFO_SINCE
        return (int(found[1]), int(found[2])) >= version

    def _page(self, found: Json, key: str, parse: Callable[[Json], _T]) -> Page[_T]:
        entries, token = self._entries(found, key)
        return [parse(entry) for entry in entries], token

    def _entries(self, found: Json, key: str) -> Page[Json]:
        entities = found.get(key, [])
        token = found.get("next_page_token")
        if not isinstance(entities, list) or not isinstance(token, (str, type(None))):
            raise not_mlflow(self._address(), f"{key!r} is not a list")
        if not all(isinstance(entity, dict) for entity in entities):
            raise not_mlflow(self._address(), f"{key!r} holds something else than objects")
        return entities, token or None

    def _read(
        self,
        method: str,
        path: str,
        *,
        attempts: int = _READ_ATTEMPTS,
        registry: bool = False,
        **kwargs: Any,
    ) -> Json:
        return self._retried(
            lambda: decode(
                self._send(method, path, registry=registry, **kwargs),
                self._address(registry=registry),
            ),
            attempts,
        )

    def _write(self, method: str, path: str, *, registry: bool = False, **kwargs: Any) -> None:
        """Send a write, once; an answer that is not MLflow's says nothing about what happened."""
        decode(
            self._send(method, path, registry=registry, **kwargs), self._address(registry=registry)
        )

    def _retried(self, call: Callable[[], _T], attempts: int) -> _T:
        for attempt in range(1, attempts + 1):
            try:
                return call()
            except ServerError as error:
                if error.failure not in _RETRIED_READS or attempt == attempts:
                    raise
                if self.stopped.wait(retries.wait_s(error, attempt)):
                    raise
        raise AssertionError("unreachable")  # pragma: no cover

    def _send(
        self,
        method: str,
        path: str,
        *,
        registry: bool = False,
        as_json: bool = True,
        workspace: str | None = None,
        **kwargs: Any,
    ) -> bytes:
        """Send one request, once; ``workspace`` is another one than the gateway's.

        Raises:
            ServerError: anything but a 2xx answer.
        """
        from mlflow.exceptions import MlflowException
        from mlflow.utils.rest_utils import http_request

        creds = self._registry_creds if registry else self._tracking_creds
        address = self._address(registry=registry)
        workspace = workspace or self._workspace
        if workspace and path not in _WITHOUT_WORKSPACE:
            kwargs["extra_headers"] = {"X-MLFLOW-WORKSPACE": workspace}
        with self._places:
            sent_ms = now_ms()
            try:
                response = http_request(
                    creds,
                    path,
                    method,
                    **NO_RETRIES,
                    # A followed 301 or 302 turns a POST into a GET: the delete would do nothing.
                    allow_redirects=False,
                    # MLflow puts that of a plugin or of SigV4 in its place.
                    auth=GivenCredentials(),
                    **kwargs,
                )
            except MlflowException as error:
                raise no_answer(address, error) from error
        sent = getattr(response.request, "headers", None) or {}
        self._accounts[registry] = account_of(sent.get("Authorization")) or ""
        if "Age" not in response.headers:  # else a cache on the way repeats an old Date
            skew = skew_ms(response.headers.get("Date"), sent_ms, now_ms())
            # The largest counts: behind one address there may be several servers.
            self._clock_skew_ms = max(self._clock_skew_ms, skew, key=abs)
        return checked(response, address, as_json=as_json)


def _tag_call(kind: str, entity_id: str) -> tuple[str, str, Json, bool]:
    """Return the paths to set and to delete a tag, the ids to send, and whether to the registry."""
    name, _, version = entity_id.rpartition("/")
    return {
        "run": (f"{_V2}/runs/set-tag", f"{_V2}/runs/delete-tag", {"run_id": entity_id}, False),
        "experiment": (
            f"{_V2}/experiments/set-experiment-tag",
            f"{_V2}/experiments/delete-experiment-tag",
            {"experiment_id": entity_id},
            False,
        ),
        "model_version": (
            f"{_V2}/model-versions/set-tag",
            f"{_V2}/model-versions/delete-tag",
            {"name": name, "version": version},
            True,
        ),
        "registered_model": (
            f"{_V2}/registered-models/set-tag",
            f"{_V2}/registered-models/delete-tag",
            {"name": entity_id},
            True,
        ),
    }[kind]


@cache
def _quick_runs() -> Callable[[bytes, Wanted], Page[Run] | None] | None:
    """Return what decodes plain pages of runs quickly; None where msgspec is not installed."""
    try:
        from mlflow_gc.backend.rest.run_pages import decode
    except ImportError:
        return None
    return decode


def _with_token(arguments: Json, token: str | None) -> Json:
    return {**arguments, "page_token": token} if token else arguments
