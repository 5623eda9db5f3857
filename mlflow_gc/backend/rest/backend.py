"""An ``mlflow server`` over HTTP: the endpoint of each method of the gateway."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import Any
from urllib.parse import quote

from mlflow_gc.backend.address import Address
from mlflow_gc.backend.credentials import unsafe
from mlflow_gc.backend.experiment_contents import Contents, RestContents
from mlflow_gc.backend.interface import (
    NO_ACCESS,
    TRACES_A_PAGE,
    Failure,
    Gateway,
    Json,
    ModelDetails,
    Page,
    ServerError,
    VersionDetails,
    none_if_not_found,
)
from mlflow_gc.backend.rest import first_contact, run_pages
from mlflow_gc.backend.rest import json_parser as parse
from mlflow_gc.backend.rest.account import Account
from mlflow_gc.backend.rest.artifacts import ServerArtifacts
from mlflow_gc.backend.rest.http_client import HttpClient
from mlflow_gc.backend.rest.metric_histories import MetricHistories
from mlflow_gc.backend.rest.mlflow_api import V2, V3, MlflowApi, with_token
from mlflow_gc.backend.rest.response_errors import not_mlflow
from mlflow_gc.backend.retries import ATTEMPTS
from mlflow_gc.domain.entities import (
    Capabilities,
    Experiment,
    LoggedModel,
    MetricHistory,
    ModelVersion,
    ReadFrom,
    RegisteredModel,
    Run,
    ServerInfo,
    Trace,
)
from mlflow_gc.domain.tag_selection import ALWAYS_WANTED, Wanted
from mlflow_gc.domain.traces import are_assessments_lost
from mlflow_gc.settings import redact_uri

_MODELS_PAGE = 1000
# One page if possible: between pages a deletion would shift a version out of the result, and an
# unseen version does not protect its run (docs/explanation/mlflow-facts.md#paging-is-by-offset).
_VERSIONS_PAGE = 200_000
_TRACES_V3_SINCE = (3, 2)


class RestGateway:
    """Gateway to a tracking server, and to a registry that may be another server.

    Args:
        tracking_uri: as given; its credentials are used and never shown.
        registry_uri: the same for the registry.
        token: bearer token for both, or None; MLflow's own environment variable is ignored.
        workspace: sent as ``X-MLFLOW-WORKSPACE`` if set (MLflow 3.10 and newer).
        max_parallel: maximum number of concurrent requests; further ones wait.
        database: the database of the server, to read a plan from, or None.
    """

    read_from: ReadFrom = "rest"

    def __init__(
        self,
        tracking_uri: str,
        registry_uri: str,
        *,
        token: str | None,
        workspace: str | None,
        max_parallel: int,
        database: Address | None,
    ) -> None:
        self.database = database
        self._tracking_uri = tracking_uri
        self._registry_uri = registry_uri
        self.max_parallel = max_parallel
        self.registry_is_separate = registry_uri.rstrip("/") != tracking_uri.rstrip("/")
        self.stopped = threading.Event()
        """Set to cut waiting between attempts short (an interrupt)."""
        slots = threading.BoundedSemaphore(max_parallel)

        def api(uri: str) -> MlflowApi:
            return MlflowApi(HttpClient(uri, token, slots=slots, stopped=self.stopped), workspace)

        self._tracking = api(tracking_uri)
        self._registry = self._tracking if registry_uri == tracking_uri else api(registry_uri)
        apis = [self._tracking, self._registry] if self.registry_is_separate else [self._tracking]
        self._accounts = [Account(server) for server in apis]
        self._contents = RestContents(max_parallel)
        self._histories = MetricHistories()
        self._has_logged_models = True
        self._has_traces_v3 = True
        self._here: str | None = None  # the workspace; set once the server is known to have some

    def warnings(self) -> list[str]:
        clients = dict.fromkeys((self._tracking.client, self._registry.client))
        return unsafe([client.credentials for client in clients])

    def server_metadata(self) -> ServerInfo:
        """Address and version; the first contact, so its errors explain the connection.

        Raises:
            Refused: The server does not have the requested workspace.
        """
        api = self._tracking
        info = first_contact.read_server_info(api) or {}
        if self.registry_is_separate:
            first_contact.move_to_root(self._registry)
        api.version = api.version or first_contact.read_version(api)
        first_contact.refuse_hidden_server_info(api)
        has_workspaces = bool(info.get("workspaces_enabled"))
        first_contact.refuse_missing_workspace(api, has_workspaces=has_workspaces)
        if has_workspaces:
            first_contact.refuse_lost_workspace(api, has_registry=not self.registry_is_separate)
            # Named in each request: a proxy may set another one where none is named.
            self._here = api.workspace = api.workspace or "default"
        return ServerInfo(
            tracking_uri=redact_uri(self._tracking_uri),
            registry_uri=redact_uri(self._registry_uri),
            mlflow_version=api.version,
            workspace=self._here,
        )

    def capabilities(self) -> Capabilities:
        """What the server has, by requests of which only the status counts."""
        # Neither the experiment nor the model has to exist.
        one = {"max_results": 1}
        alias = {"name": "mlflow-gc", "alias": "mlflow-gc"}
        return Capabilities(
            accounts=_is_there(lambda: any(account.exists() for account in self._accounts) or None),
            aliases=_is_there(
                lambda: self._registry.optional(
                    "GET", f"{V2}/registered-models/alias", since=(2, 3), params=alias
                )
            ),
            logged_models=_is_there(
                lambda: self._logged_models("POST", "search", json={"experiment_ids": ["0"], **one})
            ),
            traces=_is_there(lambda: self._find_traces(["0"], one)),
        )

    def clock_skew_ms(self) -> int:
        """The certain clock skew (server minus this machine), by ``Date`` headers."""
        clients = (self._tracking.client, self._registry.client)
        return max((client.clock_skew_ms for client in clients), key=abs)

    def partial_view(self) -> str | None:
        return next(filter(None, (account.partial_view() for account in self._accounts)), None)

    def workspaces(self) -> list[str]:
        if self._here is None:
            return []
        found = self._tracking.read("GET", f"{V3}/workspaces")
        workspaces, _ = self._tracking.entries(found, "workspaces")
        return sorted({str(w["name"]) for w in workspaces if w.get("name")})

    def other_workspaces(self) -> list[Gateway]:
        return [self._in_workspace(name) for name in self.workspaces() if name != self._here]

    def _in_workspace(self, name: str) -> RestGateway:
        other = copy(self)
        other._here = name  # noqa: SLF001 - one of us
        other._tracking = self._tracking.in_workspace(name)  # noqa: SLF001
        other._registry = self._registry.in_workspace(name)  # noqa: SLF001
        return other

    def artifacts(self) -> ServerArtifacts:
        return ServerArtifacts(self._tracking, self.max_parallel)

    # -- experiments ---------------------------------------------------------------------------

    def search_experiments(
        self, *, view: str, filter_string: str = "", token: str | None = None
    ) -> Page[Experiment]:
        """One page of experiments; order creation time, then id: new ones come last."""
        body = {
            "view_type": view,
            "filter": filter_string,
            # REST has no default here: without it the response is 400 "Invalid value 0".
            "max_results": 1000,
            "order_by": ["creation_time ASC", "experiment_id ASC"],
        }
        return self._tracking.search(
            "POST",
            "experiments/search",
            "experiments",
            parse.experiment,
            json=with_token(body, token),
        )

    def get_experiment(self, experiment_id: str) -> Experiment | None:
        return _experiment(self._tracking, experiment_id)

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        return _experiment_by_name(self._tracking, name)

    def get_default_experiment(self, *, of_registry: bool = False) -> Experiment | None:
        api = self._registry if of_registry else self._tracking
        # In a default workspace with another name it has another id
        # (sqlalchemy_workspace_store.py).
        return _experiment(
            api, "0", workspace="default" if api.workspace else None
        ) or _experiment_by_name(api, "Default")

    def delete_experiment(self, experiment_id: str) -> None:
        self._tracking.write("POST", "experiments/delete", {"experiment_id": experiment_id})

    def rename_experiment(self, experiment_id: str, name: str) -> None:
        body = {"experiment_id": experiment_id, "new_name": name}
        self._tracking.write("POST", "experiments/update", body)

    def restore_experiment(self, experiment_id: str) -> None:
        self._tracking.write("POST", "experiments/restore", {"experiment_id": experiment_id})

    def contents_of(self, experiment_ids: Sequence[str]) -> Contents:
        return self._contents.read(self._tracking, experiment_ids)

    # -- runs ----------------------------------------------------------------------------------

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
        api = self._tracking
        body = {
            "experiment_ids": list(experiment_ids),
            "filter": filter_string,
            "run_view_type": view,
            "max_results": max_results,
            "order_by": list(order_by),
        }

        def decode(content: bytes) -> Page[Run]:
            needs_all = wanted and (wanted.metrics or wanted.content_digest)
            found = None if needs_all else run_pages.decode(content)
            if found is None:
                found = api.client.decode(content)
            return api.page(found, "runs", partial(parse.run, wanted=wanted))

        return api.read_as(decode, "POST", f"{V2}/runs/search", json=with_token(body, token))

    def get_run(self, run_id: str, wanted: Wanted | None = None) -> Run | None:
        parsed = partial(parse.run, wanted=wanted)
        return self._tracking.get("runs/get", {"run_id": run_id}, "run", parsed)

    def metric_histories(self, run_ids: Sequence[str], key: str) -> dict[str, MetricHistory]:
        return self._histories.read(self._tracking, run_ids, key)

    def delete_run(self, run_id: str) -> None:
        self._tracking.write("POST", "runs/delete", {"run_id": run_id})

    def restore_run(self, run_id: str) -> None:
        self._tracking.write("POST", "runs/restore", {"run_id": run_id})

    # -- traces --------------------------------------------------------------------------------

    def has_traces(self, experiment_ids: Sequence[str]) -> bool:
        return bool(self._traces(experiment_ids, {"max_results": 1})[0])

    @property
    def loses_assessments(self) -> bool:
        return are_assessments_lost(self._tracking.version)

    @property
    def has_short_trace_searches(self) -> bool:
        return not self._tracking.is_at_least(_TRACES_V3_SINCE)

    def search_traces(
        self, experiment_ids: Sequence[str], *, since_ms: int | None, token: str | None = None
    ) -> Page[Trace]:
        search = {"max_results": TRACES_A_PAGE, "order_by": ["timestamp_ms ASC"]}
        if since_ms is not None:
            search["filter"] = f"timestamp_ms >= {since_ms}"
        return self._traces(experiment_ids, with_token(search, token))

    def _traces(self, experiment_ids: Sequence[str], search: Json) -> Page[Trace]:
        found = self._find_traces(experiment_ids, search)
        if found is None:
            return [], None
        return self._tracking.page(found, "traces", parse.trace)

    def _find_traces(self, experiment_ids: Sequence[str], search: Json) -> Json | None:
        """Return the response to a search; None on servers without traces."""
        found: Json | None = None
        if self._has_traces_v3:
            locations = [
                {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": e}}
                for e in experiment_ids
            ]
            body = {"locations": locations, **search}
            found = self._tracking.optional(
                "POST", f"{V3}/traces/search", since=_TRACES_V3_SINCE, json=body
            )
            self._has_traces_v3 = found is not None
        if found is None:  # before MLflow 3.2
            # Before MLflow 2.14 there is no such endpoint, and there are no traces.
            params = {"experiment_ids": list(experiment_ids), **search}
            found = self._tracking.optional("GET", f"{V2}/traces", since=(2, 14), params=params)
        return found

    # -- logged models -------------------------------------------------------------------------

    def search_logged_models(
        self,
        experiment_ids: Sequence[str],
        *,
        newest_first: bool = False,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[LoggedModel]:
        field = "last_updated_timestamp" if newest_first else "creation_timestamp"
        body = {
            "experiment_ids": list(experiment_ids),
            "max_results": max_results,
            "order_by": [{"field_name": field, "ascending": not newest_first}],
        }
        found = self._logged_models("POST", "search", json=with_token(body, token))
        if found is None:
            return [], None
        return self._tracking.page(found, "models", parse.logged_model)

    def get_logged_model(
        self, model_id: str, *, include_deleted: bool = False
    ) -> LoggedModel | None:
        path = quote(model_id, safe="")
        # Servers before 3.10 ignore this.
        params = {"allow_deleted": "true"} if include_deleted else {}
        found = none_if_not_found(lambda: self._logged_models("GET", path, params=params))
        if found is None:
            return None
        return parse.logged_model(self._tracking.entity(found, "model"))

    def _logged_models(self, method: str, path: str, **arguments: Any) -> Json | None:
        # The registry may be on a newer server, whose versions name logged models.
        if not self._has_logged_models:
            return None
        path = f"{V2}/logged-models/{path}"
        found = self._tracking.optional(method, path, since=(3, 0), **arguments)
        if found is None:
            self._has_logged_models = False
        return found

    # -- model registry ------------------------------------------------------------------------

    def search_registered_models(
        self,
        *,
        filter_string: str = "",
        order_by: Sequence[str] = ("name ASC",),
        max_results: int = _MODELS_PAGE,
        token: str | None = None,
    ) -> Page[RegisteredModel]:
        params = {"filter": filter_string, "max_results": max_results, "order_by": list(order_by)}
        return self._registry.search(
            "GET",
            "registered-models/search",
            "registered_models",
            parse.registered_model,
            params=with_token(params, token),
        )

    def search_model_versions(
        self, *, filter_string: str = "", token: str | None = None
    ) -> Page[ModelVersion]:
        """One page of model versions; order name, then number."""
        # The default order is last_updated DESC, where any edit moves rows between pages.
        params = {
            "filter": filter_string,
            "max_results": _VERSIONS_PAGE,
            "order_by": ["name ASC", "version_number ASC"],
        }
        return self._registry.search(
            "GET",
            "model-versions/search",
            "model_versions",
            parse.model_version,
            params=with_token(params, token),
        )

    def get_model_version(self, name: str, version: str) -> VersionDetails | None:
        return self._registry.get(
            "model-versions/get",
            {"name": name, "version": version},
            "model_version",
            parse.version_details,
        )

    def get_download_uri(self, name: str, version: str) -> str | None:
        path, params = f"{V2}/model-versions/get-download-uri", {"name": name, "version": version}
        found = none_if_not_found(lambda: self._registry.read("GET", path, params=params))
        if found is None:
            return None
        if "artifact_uri" not in found:
            raise not_mlflow(self._registry.client.address, "no 'artifact_uri' in the answer")
        return str(found["artifact_uri"] or "") or None

    def get_registered_model(self, name: str) -> ModelDetails | None:
        return self._registry.get(
            "registered-models/get",
            {"name": name},
            "registered_model",
            parse.model_details,
        )

    def delete_model_version(self, name: str, version: str) -> None:
        body = {"name": name, "version": version}
        self._registry.write("DELETE", "model-versions/delete", body)

    def delete_registered_model(self, name: str) -> None:
        self._registry.write("DELETE", "registered-models/delete", {"name": name})

    # -- tags ----------------------------------------------------------------------------------

    def set_tag(self, kind: str, entity_id: str, key: str, value: str) -> None:
        """Set a tag; retried, because it is idempotent."""
        self._write_tag("POST", "set", kind, entity_id, {"key": key, "value": value})

    def delete_tag(self, kind: str, entity_id: str, key: str) -> None:
        """Delete a tag; retried, because it is idempotent."""
        method = "DELETE" if kind in _OF_REGISTRY else "POST"
        self._write_tag(method, "delete", kind, entity_id, {"key": key})

    def _write_tag(self, method: str, verb: str, kind: str, entity_id: str, tag: Json) -> None:
        api = self._registry if kind in _OF_REGISTRY else self._tracking
        path = _TAG_ENDPOINTS[kind].format(verb)
        api.write(method, path, {**_ids(kind, entity_id), **tag}, attempts=ATTEMPTS)


_OF_REGISTRY = {"model_version", "registered_model"}
_TAG_ENDPOINTS = {
    "run": "runs/{}-tag",
    "experiment": "experiments/{}-experiment-tag",
    "model_version": "model-versions/{}-tag",
    "registered_model": "registered-models/{}-tag",
}


def _is_there(read: Callable[[], object | None]) -> bool | None:
    """Tell whether a server has an endpoint; None if it does not show that.

    Args:
        read: sends a request to it; the result is None for a missing endpoint.

    Raises:
        ServerError: Further requests would fail, too.
    """
    try:
        return read() is not None
    except ServerError as error:
        if error.failure in NO_ACCESS:
            raise
        # An endpoint that answers with an error of MLflow is there.
        is_answer = error.failure in {Failure.NOT_FOUND, Failure.FORBIDDEN, Failure.REJECTED}
        return True if is_answer else None


def _ids(kind: str, entity_id: str) -> dict[str, str]:
    """Return the fields that identify an entity in a request."""
    if kind == "model_version":
        name, _, version = entity_id.rpartition("/")
        return {"name": name, "version": version}
    return {"name" if kind == "registered_model" else f"{kind}_id": entity_id}


def _experiment(
    api: MlflowApi, experiment_id: str, *, workspace: str | None = None
) -> Experiment | None:
    return api.get(
        "experiments/get",
        {"experiment_id": experiment_id},
        "experiment",
        parse.experiment,
        workspace=workspace,
    )


def _experiment_by_name(api: MlflowApi, name: str) -> Experiment | None:
    return api.get(
        "experiments/get-by-name",
        {"experiment_name": name},
        "experiment",
        parse.experiment,
    )
