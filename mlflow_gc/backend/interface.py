"""The few calls that this program makes to MLflow, whatever is behind the URI.

Two implementations: ``rest/backend.py`` (an ``mlflow server``) and ``mlflow_store.py`` (a database,
through MLflow's own store classes).  Both return entities, made by one parser (``json_parser.py``)
from the JSON of MLflow's REST API, so that one decision serves both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Protocol, TypeVar

from mlflow_gc.backend.address import Address
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
from mlflow_gc.errors import GcError

Json = dict[str, Any]
_T = TypeVar("_T")
Page = tuple[list[_T], str | None]
"""Entities and the token of the next page, None on the last."""


class Failure(Enum):
    """What went wrong with a call, as far as it matters for what to do next."""

    NOT_FOUND = "not found"
    FORBIDDEN = "forbidden"
    UNAUTHORIZED = "not authorized"
    REJECTED = "rejected"
    UNSUPPORTED = "not supported by this server"
    THROTTLED = "throttled"
    UNREACHABLE = "not reachable"
    """The request was never sent."""
    AMBIGUOUS = "ambiguous"
    """Sent, and no usable response: it may or may not have been carried out."""
    INVALID_RESPONSE = "not an MLflow answer"


TEMPORARY = frozenset({Failure.THROTTLED, Failure.AMBIGUOUS, Failure.UNREACHABLE})
"""These may pass: a read is sent again."""
NO_ACCESS = frozenset({Failure.UNAUTHORIZED, Failure.UNREACHABLE})
"""Nothing of the rest can be read either, and more attempts would only hide why."""
ABORT_ON = NO_ACCESS | {Failure.INVALID_RESPONSE}
"""All further writes would fail as well."""
UNCLEAR = frozenset({Failure.AMBIGUOUS, Failure.THROTTLED, Failure.INVALID_RESPONSE})
"""Nobody knows whether a write was carried out."""


class ServerError(GcError):
    """A call to MLflow failed.

    Attributes:
        failure: the kind of failure.
        retry_after: seconds the server asked us to wait, or None.
        code: MLflow's own error code (``INVALID_STATE``), empty where there is none.
    """

    def __init__(
        self,
        message: str,
        failure: Failure,
        *,
        hint: str | None = None,
        retry_after: float | None = None,
        code: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.failure = failure
        self.retry_after = retry_after
        self.code = code


@dataclass(frozen=True)
class ServerMetadata:
    """What the server says of itself.

    ``version`` None where the server has no such endpoint (before 1.x, Databricks, a proxy).
    """

    tracking_uri: str
    registry_uri: str
    version: str | None
    workspace: str | None


class VersionDetails(NamedTuple):
    """A model version that was read by itself, with the aliases that no search returns."""

    version: ModelVersion
    aliases: tuple[str, ...]


class ModelDetails(NamedTuple):
    """A registered model that was read by itself, with the highest version of each stage."""

    model: RegisteredModel
    latest_versions: tuple[ModelVersion, ...]


class Gateway(Protocol):
    """Reads and the few writes, in MLflow's own terms.

    Every method raises :class:`ServerError`.  ``get_*`` return None for what does not exist
    (an entity in the trash does exist).  Reads are retried inside; writes are sent once.
    """

    stopped: threading.Event
    """Set to cut waiting between attempts short (an interrupt)."""

    @property
    def max_parallel(self) -> int:
        """How many requests may be in flight at once."""

    @property
    def registry_is_separate(self) -> bool:
        """Whether the registry has another URI than the tracking server."""

    @property
    def read_from(self) -> ReadFrom:
        """What it reads: a server's REST API, or a database through MLflow's own stores."""

    @property
    def database(self) -> Address | None:
        """The database to read all that a plan needs from, faster than through here, or None."""

    def warnings(self) -> list[str]:
        """Return what is unsafe about the connection, one sentence each; no request is sent for it."""

    def server_metadata(self) -> ServerMetadata:
        """Address and version; the first contact, so its errors explain the connection."""

    def clock_skew_ms(self) -> int:
        """How far the server's clock is ahead of this machine's, by all responses so far.

        As far as the responses prove: 0 as long as the clocks may agree.  0 where there is no
        server, only a database.
        """

    def partial_view(self) -> str | None:
        """Say why this account may not see everything, or None when it does.

        Servers leave out what an account may not read without a word, and what is left out is the
        evidence that protects (docs/explanation/mlflow-facts.md#hidden-by-permissions).
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
        """One page of runs, with what ``wanted`` keeps of them (None: all tags, no metric)."""

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
        """Whether any of the experiments holds a trace; False on servers without traces."""

    @property
    def loses_assessments(self) -> bool:
        """Whether deleting a run deletes assessments that name it.

        Only known after :meth:`server_metadata`.
        """

    def search_traces(
        self, experiment_ids: Sequence[str], *, since_ms: int | None, token: str | None = None
    ) -> Page[Trace]:
        """One page of traces, oldest first; empty on servers without traces (before 2.14).

        Args:
            experiment_ids: of any lifecycle stage.
            since_ms: made at this time or later, ms since the epoch; None for all.
            token: of the page.
        """

    def contents_of(self, experiment_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """What active experiments hold besides runs, logged models and traces; see experiment_contents.py."""

    def get_experiment(self, experiment_id: str, *, of_registry: bool = False) -> Experiment | None:
        """One experiment of any lifecycle stage."""

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        """The experiment of a name, of any lifecycle stage."""

    def get_default_experiment(self, *, of_registry: bool = False) -> Experiment | None:
        """The experiment that a server makes when it begins; whatever workspace is looked at."""

    def other_workspaces(self) -> list[Gateway]:
        """Gateways to the other workspaces of the server; none where it has none.

        Only known after :meth:`server_metadata`.
        """

    def get_run(self, run_id: str, wanted: Wanted | None = None) -> Run | None:
        """One run of any lifecycle stage, with the models that it read, and what is wanted of it."""

    def metric_histories(self, run_ids: Sequence[str], key: str) -> dict[str, MetricHistory]:
        """All that was ever logged to a metric, by run.

        Args:
            run_ids: at most 100, of any lifecycle stage; one without such a metric is left out.
            key: name of the metric.
        """

    def get_model_version(self, name: str, version: str) -> VersionDetails | None:
        """One model version, with aliases."""

    def get_download_uri(self, name: str, version: str) -> str | None:
        """Where the files of a model version lie, as the server resolved it."""

    def get_registered_model(self, name: str) -> ModelDetails | None:
        """One registered model, with aliases and the newest version of each stage."""

    def get_logged_model(self, model_id: str, *, or_deleted: bool = False) -> LoggedModel | None:
        """One logged model; a deleted one only on request, and by servers from 3.10 on."""

    def delete_run(self, run_id: str) -> None:
        """Move a run to the trash."""

    def restore_run(self, run_id: str) -> None:
        """Bring a run back from the trash."""

    def delete_experiment(self, experiment_id: str) -> None:
        """Move an experiment and its runs to the trash."""

    def rename_experiment(self, experiment_id: str, name: str) -> None:
        """Give an active experiment another name, which no other one may have, of either stage."""

    def restore_experiment(self, experiment_id: str) -> None:
        """Bring an experiment and all its runs back from the trash."""

    def delete_model_version(self, name: str, version: str) -> None:
        """Delete a model version permanently."""

    def delete_registered_model(self, name: str) -> None:
        """Delete a registered model and all its versions permanently."""

    def set_tag(self, kind: str, entity_id: str, key: str, value: str) -> None:
        """Set a tag.

        Args:
            kind: ``run``, ``experiment``, ``model_version`` or ``registered_model``.
            entity_id: its id; ``name/version`` for a version, the name for a model.
            key: of the tag.
            value: of the tag.
        """

    def delete_tag(self, kind: str, entity_id: str, key: str) -> None:
        """Take a tag away; the arguments are those of :meth:`set_tag`."""


TRACES_A_PAGE = 500
"""The most traces that a server hands out at once (2.14 to 3.18)."""

REPEATS = "The server answers a search with the same page again and again."


def pages(search: Callable[..., Page[_T]]) -> Iterator[_T]:
    """Yield every entity of a paged search; ``search`` takes the page's token as ``token=``.

    Follows the token, never the page length: permission filters shorten pages and can leave one
    empty with a token (server/auth, 3.10 and newer).

    Raises:
        ServerError: a page failed, or the server handed out a token for the second time.
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
