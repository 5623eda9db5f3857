"""A database URI (``sqlite:///mlflow.db``, ``postgresql://...``) through MLflow's own stores.

Writes use the same code as a server, with all side effects besides the flag (deletion times,
assessments).  Results are converted to the JSON of the REST API by MLflow's own converters, exactly
as in its server, and parsed as that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from mlflow_gc.backend import experiment_contents
from mlflow_gc.backend.address import Address, first_line
from mlflow_gc.backend.experiment_contents import Contents
from mlflow_gc.backend.interface import (
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
from mlflow_gc.backend.rest import json_parser as parse
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
from mlflow_gc.errors import UsageProblem
from mlflow_gc.settings import redact_uri, without_secrets

_T = TypeVar("_T")
NO_WORKSPACES = "A workspace can only be chosen on a server, not on a database URI."
NO_WORKSPACES_HINT = "Use the URI of the mlflow server, or leave out the workspace."


class StoreGateway:
    """Gateway to MLflow stores opened in this process.

    Args:
        tracking_uri: URI of a database that can be opened and has MLflow's tables (see
            ``connect.py``): MLflow retries for long without a response, and creates missing tables.
        registry_uri: a database URI too, usually the same.
        database: the database to read a plan from directly, or None to read it through this
            gateway.

    Raises:
        ServerError: The database cannot be opened, or its schema is not that of the installed
            MLflow.
    """

    read_from: ReadFrom = "database"
    max_parallel = 1
    """SQLite has a single writer, and no network latency has to be hidden."""
    has_short_trace_searches = False

    def __init__(self, tracking_uri: str, registry_uri: str, *, database: Address | None) -> None:
        from mlflow.tracking._model_registry.utils import _get_store as get_registry
        from mlflow.tracking._tracking_service.utils import _get_store as get_tracking

        self.database = database
        self.registry_is_separate = registry_uri != tracking_uri
        self._tracking_uri = tracking_uri
        self._registry_uri = registry_uri
        self.stopped = threading.Event()
        self._tracking: Any = _guard(tracking_uri, lambda: get_tracking(tracking_uri))
        self._registry: Any = _guard(registry_uri, lambda: get_registry(registry_uri, tracking_uri))

    def server_metadata(self) -> ServerInfo:
        """Address, and the version of the MLflow that reads the database."""
        import mlflow

        return ServerInfo(
            tracking_uri=redact_uri(self._tracking_uri),
            registry_uri=redact_uri(self._registry_uri),
            mlflow_version=mlflow.__version__,
            workspace=None,
        )

    def capabilities(self) -> Capabilities:
        """All that the schema of the installed MLflow (3.10 or newer) has.

        Accounts are those of a server in front of the database, if there is one.
        """
        return Capabilities(accounts=None, aliases=True, logged_models=True, traces=True)

    def clock_skew_ms(self) -> int:
        """0: there is no server with another clock."""
        return 0

    def warnings(self) -> list[str]:
        return []

    def partial_view(self) -> str | None:
        """None: a database shows everything."""
        return None

    def search_experiments(
        self, *, view: str, filter_string: str = "", token: str | None = None
    ) -> Page[Experiment]:
        """One page of experiments; order creation time, then id: new ones come last."""
        return self._page(
            parse.experiment,
            lambda: self._tracking.search_experiments(
                view_type=_view(view),
                filter_string=filter_string or None,
                max_results=1000,
                order_by=["creation_time ASC", "experiment_id ASC"],
                page_token=token,
            ),
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
        return self._page(
            partial(parse.run, wanted=wanted),
            lambda: self._tracking.search_runs(
                list(experiment_ids),
                filter_string,
                _view(view),
                max_results=max_results,
                order_by=list(order_by),
                page_token=token,
            ),
        )

    def search_registered_models(
        self,
        *,
        filter_string: str = "",
        order_by: Sequence[str] = ("name ASC",),
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[RegisteredModel]:
        return self._page(
            parse.registered_model,
            lambda: self._registry.search_registered_models(
                filter_string=filter_string or None,
                max_results=max_results,
                order_by=list(order_by),
                page_token=token,
            ),
        )

    def search_model_versions(
        self, *, filter_string: str = "", token: str | None = None
    ) -> Page[ModelVersion]:
        """One page of model versions; order name, then number."""
        return self._page(
            parse.model_version,
            lambda: self._registry.search_model_versions(
                filter_string=filter_string or None,
                max_results=200_000,
                order_by=["name ASC", "version_number ASC"],
                page_token=token,
            ),
        )

    def search_logged_models(
        self,
        experiment_ids: Sequence[str],
        *,
        newest_first: bool = False,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[LoggedModel]:
        field = "last_updated_timestamp" if newest_first else "creation_timestamp"
        return self._page(
            parse.logged_model,
            lambda: self._tracking.search_logged_models(
                experiment_ids=list(experiment_ids),
                max_results=max_results,
                order_by=[{"field_name": field, "ascending": not newest_first}],
                page_token=token,
            ),
        )

    def has_traces(self, experiment_ids: Sequence[str]) -> bool:
        found, _ = self._call(
            lambda: self._tracking.search_traces(list(experiment_ids), max_results=1)
        )
        return bool(found)

    @property
    def loses_assessments(self) -> bool:
        import mlflow

        return are_assessments_lost(mlflow.__version__)

    def search_traces(
        self, experiment_ids: Sequence[str], *, since_ms: int | None, token: str | None = None
    ) -> Page[Trace]:
        found, next_token = self._call(
            lambda: self._tracking.search_traces(
                list(experiment_ids),
                filter_string=None if since_ms is None else f"timestamp_ms >= {since_ms}",
                max_results=TRACES_A_PAGE,
                order_by=["timestamp_ms ASC"],
                page_token=token,
            )
        )
        return [parse.trace(_payload(trace)) for trace in found], next_token or None

    def contents_of(self, experiment_ids: Sequence[str]) -> Contents:
        return experiment_contents.named(
            (experiment_id, kind, len(found))
            for experiment_id in experiment_ids
            for kind, found in self._contents_of(experiment_id)
        )

    def _contents_of(self, experiment_id: str) -> Iterator[tuple[str, Sequence[Any]]]:
        """Yield kinds of contents with their entities; only kinds of the installed MLflow."""
        one = {"experiment_id": experiment_id}
        for kind, name, arguments in (
            (experiment_contents.DATASETS, "search_datasets", {"experiment_ids": [experiment_id]}),
            (experiment_contents.SCORERS, "list_scorers", one),
            (experiment_contents.ISSUES, "search_issues", {**one, "max_results": 50_000}),  # 3.11
            (experiment_contents.REVIEW_QUEUES, "list_review_queues", one),  # 3.14
        ):
            if search := getattr(self._tracking, name, None):
                yield kind, self._call(partial(search, **arguments))

    def get_experiment(self, experiment_id: str) -> Experiment | None:
        return self._get(parse.experiment, lambda: self._tracking.get_experiment(experiment_id))

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        return self._get(parse.experiment, lambda: self._tracking.get_experiment_by_name(name))

    def get_default_experiment(self, *, of_registry: bool = False) -> Experiment | None:
        from mlflow.tracking._tracking_service.utils import _get_store as get_tracking

        store = self._tracking
        if of_registry:
            # A database with a registry has MLflow's tracking tables, too: it is one schema.
            store = _guard(self._registry_uri, lambda: get_tracking(self._registry_uri))
        return self._get(parse.experiment, lambda: store.get_experiment("0")) or self._get(
            parse.experiment, lambda: store.get_experiment_by_name("Default")
        )

    def workspaces(self) -> list[str]:
        """No names.

        Raises:
            UsageProblem: Always, because only a server has workspaces.
        """
        raise UsageProblem(NO_WORKSPACES, hint=NO_WORKSPACES_HINT)

    def other_workspaces(self) -> list[Gateway]:
        """No gateways: a database with other workspaces cannot be opened."""
        return []

    def artifacts(self) -> None:
        return None

    def get_run(self, run_id: str, wanted: Wanted | None = None) -> Run | None:
        parsed = partial(parse.run, wanted=wanted)
        return self._get(parsed, lambda: self._tracking.get_run(run_id))

    def metric_histories(self, run_ids: Sequence[str], key: str) -> dict[str, MetricHistory]:
        histories: dict[str, MetricHistory] = {}
        for run_id in run_ids:
            found = self._call(partial(self._tracking.get_metric_history, run_id, key))
            if stamps := [metric.timestamp for metric in found]:
                histories[run_id] = MetricHistory(len(stamps), min(stamps), max(stamps))
        return histories

    def get_model_version(self, name: str, version: str) -> VersionDetails | None:
        return self._get(
            parse.version_details, lambda: self._registry.get_model_version(name, version)
        )

    def get_download_uri(self, name: str, version: str) -> str | None:
        read = partial(self._registry.get_model_version_download_uri, name, version)
        return str(none_if_not_found(lambda: self._call(read)) or "") or None

    def get_registered_model(self, name: str) -> ModelDetails | None:
        return self._get(parse.model_details, lambda: self._registry.get_registered_model(name))

    def get_logged_model(
        self, model_id: str, *, include_deleted: bool = False
    ) -> LoggedModel | None:
        return self._get(
            parse.logged_model,
            lambda: self._tracking.get_logged_model(model_id, allow_deleted=include_deleted),
        )

    def delete_run(self, run_id: str) -> None:
        self._call(lambda: self._tracking.delete_run(run_id))

    def restore_run(self, run_id: str) -> None:
        self._call(lambda: self._tracking.restore_run(run_id))

    def delete_experiment(self, experiment_id: str) -> None:
        self._call(lambda: self._tracking.delete_experiment(experiment_id))

    def rename_experiment(self, experiment_id: str, name: str) -> None:
        self._call(lambda: self._tracking.rename_experiment(experiment_id, name))

    def restore_experiment(self, experiment_id: str) -> None:
        self._call(lambda: self._tracking.restore_experiment(experiment_id))

    def delete_model_version(self, name: str, version: str) -> None:
        self._call(lambda: self._registry.delete_model_version(name, version))

    def delete_registered_model(self, name: str) -> None:
        self._call(lambda: self._registry.delete_registered_model(name))

    def set_tag(self, kind: str, entity_id: str, key: str, value: str) -> None:
        from mlflow.entities import ExperimentTag, RunTag
        from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag

        name, _, version = entity_id.rpartition("/")
        tracking, registry = self._tracking, self._registry
        calls: dict[str, Callable[[], None]] = {
            "run": lambda: tracking.set_tag(entity_id, RunTag(key, value)),
            "experiment": lambda: tracking.set_experiment_tag(entity_id, ExperimentTag(key, value)),
            "model_version": lambda: registry.set_model_version_tag(
                name, version, ModelVersionTag(key, value)
            ),
            "registered_model": lambda: registry.set_registered_model_tag(
                entity_id, RegisteredModelTag(key, value)
            ),
        }
        self._call(calls[kind])

    def delete_tag(self, kind: str, entity_id: str, key: str) -> None:
        name, _, version = entity_id.rpartition("/")
        tracking, registry = self._tracking, self._registry
        calls: dict[str, Callable[[], None]] = {
            "run": lambda: tracking.delete_tag(entity_id, key),
            "experiment": lambda: tracking.delete_experiment_tag(entity_id, key),
            "model_version": lambda: registry.delete_model_version_tag(name, version, key),
            "registered_model": lambda: registry.delete_registered_model_tag(entity_id, key),
        }
        self._call(calls[kind])

    def _call(self, call: Callable[[], _T]) -> _T:
        return _guard(self._tracking_uri, call)

    def _page(self, parsed: Callable[[Json], _T], search: Callable[[], Any]) -> Page[_T]:
        found = self._call(search)
        return [parsed(_payload(entity)) for entity in found], found.token or None

    def _get(self, parsed: Callable[[Json], _T], call: Callable[[], Any]) -> _T | None:
        entity = none_if_not_found(lambda: self._call(call))
        return None if entity is None else parsed(_payload(entity))


def _view(view: str) -> int:
    from mlflow.entities import ViewType

    return int(ViewType.from_string(view.lower()))


def _payload(entity: Any) -> Json:
    """Return the JSON that a server would return for an MLflow entity."""
    import orjson
    from mlflow.utils.proto_json_utils import message_to_json

    payload: Json = orjson.loads(message_to_json(entity.to_proto()))
    return payload


def _guard(uri: str, call: Callable[[], _T]) -> _T:
    """Run a store call and convert its exceptions to :class:`ServerError`."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return call()
    except MlflowException as error:
        failure = {
            "RESOURCE_DOES_NOT_EXIST": Failure.NOT_FOUND,
            "PERMISSION_DENIED": Failure.FORBIDDEN,
            "TEMPORARILY_UNAVAILABLE": Failure.AMBIGUOUS,
            "INTERNAL_ERROR": Failure.AMBIGUOUS,
        }.get(error.error_code, Failure.REJECTED)
        # The message of a database error is the exception itself, with the statement.
        detail = first_line(without_secrets(str(error.message), uri))
        raise ServerError(f"{redact_uri(uri)}: {detail}", failure) from error
    except SQLAlchemyError as error:
        # str(error) would add the statement and its parameters.
        detail = first_line(without_secrets(str(getattr(error, "orig", None) or error), uri))
        raise ServerError(
            f"The database {redact_uri(uri)} answers: {detail}", Failure.AMBIGUOUS
        ) from error
