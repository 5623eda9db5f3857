"""The few calls that this program makes to MLflow, for any kind of URI.

Two implementations: ``rest/backend.py`` (an ``mlflow server``) and ``mlflow_store.py`` (a database,
through MLflow's own store classes).  Both return entities, made by one parser (``json_parser.py``)
from the JSON of MLflow's REST API, so that one decision serves both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol, TypeVar

from mlflow_gc.backend.address import Address
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
from mlflow_gc.errors import GcError
from mlflow_gc.storage.interface import Store

Json = dict[str, Any]
_T = TypeVar("_T")
Page = tuple[list[_T], str | None]
"""Entities and the token of the next page, None on the last."""


class Failure(Enum):
    """The kinds of failures that need different reactions."""

    NOT_FOUND = "not found"
    FORBIDDEN = "forbidden"
    UNAUTHORIZED = "not authorized"
    REJECTED = "rejected"
    UNSUPPORTED = "not supported by this server"
    BLOCKED = "blocked on the way"
    """Refused by a proxy or gateway in front of the server, by a rule or a limit."""
    THROTTLED = "throttled"
    UNREACHABLE = "not reachable"
    """The request was never sent."""
    AMBIGUOUS = "ambiguous"
    """Sent without a usable response: it may or may not have been executed."""
    INVALID_RESPONSE = "not an MLflow answer"


TEMPORARY = frozenset({Failure.THROTTLED, Failure.AMBIGUOUS, Failure.UNREACHABLE})
"""Temporary: a read is retried."""
NO_ACCESS = frozenset({Failure.UNAUTHORIZED, Failure.UNREACHABLE})
"""All further reads would fail, too, and more attempts would only hide the cause."""
ABORT_ON = NO_ACCESS | {Failure.INVALID_RESPONSE, Failure.BLOCKED}
"""All further writes would fail, too."""
UNCLEAR = frozenset({Failure.AMBIGUOUS, Failure.THROTTLED, Failure.INVALID_RESPONSE})
"""Whether a write was executed is unknown."""


class ServerError(GcError):
    """A call to MLflow failed.

    Attributes:
        failure: the kind of failure.
        retry_after: the ``Retry-After`` of the server in seconds, or None.
        code: MLflow's own error code (``INVALID_STATE``); empty if there is none.
        is_foreign: whether something in front of the server responded, such as a proxy.
    """

    def __init__(
        self,
        message: str,
        failure: Failure,
        *,
        hint: str | None = None,
        retry_after: float | None = None,
        code: str = "",
        is_foreign: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.failure = failure
        self.retry_after = retry_after
        self.code = code
        self.is_foreign = is_foreign

    @property
    def explained(self) -> str:
        """The message with its hint, for places that have room for one text."""
        return f"{self.message} {self.hint}" if self.hint else self.message


class VersionDetails(NamedTuple):
    """A model version from a single read, with aliases, which no search returns."""

    version: ModelVersion
    aliases: tuple[str, ...]


class ModelDetails(NamedTuple):
    """A registered model from a single read, with the highest version of each stage."""

    model: RegisteredModel
    latest_versions: tuple[ModelVersion, ...]


class Gateway(Protocol):
    """Reads and the few writes, in terms of MLflow.

    Every method raises :class:`ServerError`.  ``get_*`` return None for a missing entity (an entity
    in the trash exists).  Reads are retried; writes are sent once.
    """

    stopped: threading.Event
    """Set to cut waiting between attempts short (an interrupt)."""

    @property
    def max_parallel(self) -> int:
        """Maximum number of concurrent requests."""

    @property
    def registry_is_separate(self) -> bool:
        """Whether the registry has another URI than the tracking server."""

    @property
    def read_from(self) -> ReadFrom:
        """The data source: a REST API, or a database through MLflow's own stores."""

    @property
    def database(self) -> Address | None:
        """The database from which a plan can be read faster, or None."""

    def warnings(self) -> list[str]:
        """Return warnings about an unsafe connection, one sentence each; no request is sent."""

    def server_metadata(self) -> ServerInfo:
        """The server without ``identity``; the first contact, so its errors explain the connection.

        ``mlflow_version`` is None without such an endpoint (before 1.x, Databricks, a proxy).
        """

    def capabilities(self) -> Capabilities:
        """What the server has, of that which may protect or hide something.

        Only known after :meth:`server_metadata`.
        """

    def clock_skew_ms(self) -> int:
        """The certain clock skew (server minus this machine), by all responses so far.

        It is 0 as long as the clocks may agree, and for a database.
        """

    def partial_view(self) -> str | None:
        """Return why this account may not see everything, or None if it does.

        Servers silently omit what an account may not read, and the omitted entities may protect
        others (docs/explanation/mlflow-facts.md#hidden-by-permissions).
        """

    def search_experiments(
        self, *, view: str, filter_string: str = "", token: str | None = None
    ) -> Page[Experiment]:
        """One page of experiments, by id; ``view`` is ACTIVE_ONLY, DELETED_ONLY or ALL."""

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
        """One page of runs, with the data in ``wanted`` (None: all tags, no metrics)."""

    def search_registered_models(
        self,
        *,
        filter_string: str = "",
        order_by: Sequence[str] = ("name ASC",),
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[RegisteredModel]:
        """One page of registered models, with aliases."""

    def search_model_versions(
        self, *, filter_string: str = "", token: str | None = None
    ) -> Page[ModelVersion]:
        """One page of model versions, by name and number; without aliases."""

    def search_logged_models(
        self,
        experiment_ids: Sequence[str],
        *,
        newest_first: bool = False,
        max_results: int = 1000,
        token: str | None = None,
    ) -> Page[LoggedModel]:
        """One page of logged models; empty on servers without them (before 3.0)."""

    def has_traces(self, experiment_ids: Sequence[str]) -> bool:
        """Whether any of the experiments has a trace; False on servers without traces."""

    @property
    def loses_assessments(self) -> bool:
        """Whether deleting a run deletes assessments that name it.

        Only known after :meth:`server_metadata`.
        """

    @property
    def has_short_trace_searches(self) -> bool:
        """Whether experiments are in the URL of a search for traces, where few of them fit.

        Only known after :meth:`server_metadata`.
        """

    def search_traces(
        self, experiment_ids: Sequence[str], *, since_ms: int | None, token: str | None = None
    ) -> Page[Trace]:
        """One page of traces, oldest first; empty on servers without traces (before 2.14).

        Of experiments of any lifecycle stage; ``since_ms`` is the minimum time of creation, ms
        since the epoch, None for all.
        """

    def contents_of(self, experiment_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """Other contents of active experiments; see experiment_contents.py."""

    def get_experiment(self, experiment_id: str) -> Experiment | None:
        """One experiment of any lifecycle stage."""

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        """The experiment with a name, of any lifecycle stage."""

    def get_default_experiment(self, *, of_registry: bool = False) -> Experiment | None:
        """The default experiment, which a server creates at its first start; in any workspace."""

    def workspaces(self) -> list[str]:
        """The names of all workspaces that this account sees, sorted; empty without workspaces.

        Only known after :meth:`server_metadata`.

        Raises:
            UsageProblem: It is a database.
        """

    def other_workspaces(self) -> list[Gateway]:
        """Gateways to the other workspaces of the server, if any.

        Only known after :meth:`server_metadata`.
        """

    def artifacts(self) -> Store | None:
        """The artifact store that the server passes files on to; None over a database."""

    def get_run(self, run_id: str, wanted: Wanted | None = None) -> Run | None:
        """One run of any lifecycle stage, with its input models and the data in ``wanted``."""

    def metric_histories(self, run_ids: Sequence[str], key: str) -> dict[str, MetricHistory]:
        """The history of a metric, by run; runs without the metric are left out.

        Of at most 100 runs, of any lifecycle stage.
        """

    def get_model_version(self, name: str, version: str) -> VersionDetails | None:
        """One model version, with aliases."""

    def get_download_uri(self, name: str, version: str) -> str | None:
        """The storage of a model version, as resolved by the server."""

    def get_registered_model(self, name: str) -> ModelDetails | None:
        """One registered model, with aliases and the newest version of each stage."""

    def get_logged_model(
        self, model_id: str, *, include_deleted: bool = False
    ) -> LoggedModel | None:
        """One logged model; a deleted one only on request, and by servers from 3.10 on."""

    def delete_run(self, run_id: str) -> None:
        """Move a run to the trash."""

    def restore_run(self, run_id: str) -> None:
        """Restore a run from the trash."""

    def delete_experiment(self, experiment_id: str) -> None:
        """Move an experiment and its runs to the trash."""

    def rename_experiment(self, experiment_id: str, name: str) -> None:
        """Rename an active experiment; the name must be unique among both lifecycle stages."""

    def restore_experiment(self, experiment_id: str) -> None:
        """Restore an experiment and all its runs from the trash."""

    def delete_model_version(self, name: str, version: str) -> None:
        """Delete a model version permanently."""

    def delete_registered_model(self, name: str) -> None:
        """Delete a registered model and all its versions permanently."""

    def set_tag(self, kind: str, entity_id: str, key: str, value: str) -> None:
        """Set a tag of a run, experiment, model version (``name/version``) or registered model."""

    def delete_tag(self, kind: str, entity_id: str, key: str) -> None:
        """Delete a tag; the arguments are those of :meth:`set_tag`."""


TRACES_A_PAGE = 500
"""The maximum page size of traces (2.14 to 3.18)."""

REPEATS = "The server answers a search with the same page again and again."


def none_if_not_found(read: Callable[[], _T]) -> _T | None:
    """Return the result of a read, or None for a missing entity."""
    try:
        return read()
    except ServerError as error:
        if error.failure is Failure.NOT_FOUND:
            return None
        raise


def pages(search: Callable[..., Page[_T]]) -> Iterator[_T]:
    """Yield every entity of a paged search; ``search`` takes the page's token as ``token=``.

    Follows the token, never the page length: permission filters shorten pages and may return an
    empty page with a token (server/auth, 3.10 and newer).

    Raises:
        ServerError: A page failed, or the server returned a token twice.
    """
    token: str | None = None
    seen: set[str] = set()
    while True:
        entities, token = search(token=token)
        yield from entities
        if not token:
            return
        if token in seen:
            raise ServerError(REPEATS, Failure.INVALID_RESPONSE)
        seen.add(token)
