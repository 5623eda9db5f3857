"""The entities of a server as plain frozen data.  No I/O, no MLflow types.

Times are ms since the epoch, UTC; None if the server has none.  Ids are strings, as in
MLflow's REST API.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from sys import intern
from typing import Literal, NamedTuple

from mlflow_gc.domain.tag_selection import PARENT_TAG
from mlflow_gc.domain.timestamps import DAY_MS

ReadFrom = Literal["rest", "database"]
"""How a server was read: over its REST API, or from its database."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment.

    ``last_update_time`` is not activity: only create, rename, delete and restore set it, not
    runs and not tags (docs/explanation/mlflow-facts.md#experiment-update-is-not-activity).
    """

    experiment_id: str
    name: str
    lifecycle_stage: str
    artifact_location: str
    creation_time: int | None
    last_update_time: int | None
    tags: Mapping[str, str] = field(default_factory=dict)


TERMINAL_STATUSES = ("FINISHED", "FAILED", "KILLED")


class MetricHistory(NamedTuple):
    """The number of values that were logged to a metric of a run, and their timestamps in ms."""

    values: int
    oldest: int
    newest: int


@dataclass(frozen=True, slots=True)
class RunDetails:
    """What a search of runs does not return; read only if a decision needs it, None until then.

    Attributes:
        metric_count: number of values that were logged to its metrics.
        content_digest: over its parameters, datasets and models (see run_content.py).
        traces_digest: over the traces that it made (see traces.py).
        assessments_digest: over the assessments that name it.
        loses_assessments: deleting it would delete assessments permanently.
        traces_are_hidden: this account may not read traces, so ``loses_assessments`` is unknown.
    """

    metric_count: int | None = None
    content_digest: str | None = None
    traces_digest: str | None = None
    assessments_digest: str | None = None
    loses_assessments: bool = False
    traces_are_hidden: bool = False


NO_DETAILS = RunDetails()
"""Shared by all runs whose details were not read."""


@dataclass(frozen=True, slots=True)
class Run:
    """The part of a run that decisions need; other metrics and parameters are not stored.

    ``newest_metric_time`` and ``oldest_metric_time`` span the timestamps of its metrics: of each
    metric's highest step, or of the whole history after ``read_histories``.
    ``metric_keys`` are the metrics whose history a reader has to request by name.
    ``tags`` holds all tags, or those that a decision may need.  ``tags_digest`` is over all of
    them (see tag_selection.py), so that the re-check detects an edited tag.
    ``model_ids`` are the logged models it names as outputs or inputs (MLflow 3).
    ``metrics`` holds the latest values of the metrics that the policy names.
    ``details`` is what a search of runs does not return.
    ``artifact_root`` is the URI of its artifacts; with ``has_own_folder`` it lacks the suffix
    ``/<run_id>/artifacts``, so that all runs of an experiment share one text
    (see :func:`artifact_root`).
    """

    run_id: str
    run_name: str
    experiment_id: str
    user_id: str
    status: str
    lifecycle_stage: str
    start_time: int | None
    end_time: int | None
    newest_metric_time: int | None
    oldest_metric_time: int | None
    artifact_root: str
    tags: Mapping[str, str]
    model_ids: tuple[str, ...] = ()
    metrics: tuple[tuple[str, float], ...] = ()
    tags_digest: str = ""
    has_own_folder: bool = False
    metric_keys: tuple[str, ...] = ()
    details: RunDetails = NO_DETAILS

    @property
    def artifact_uri(self) -> str:
        """The URI of its artifacts, as the server returns it."""
        if self.has_own_folder:
            return f"{self.artifact_root}{_own_folder(self.run_id)}"
        return self.artifact_root

    @property
    def parent_run_id(self) -> str | None:
        """The run it is nested in, or None."""
        # Nesting is only this tag, without a foreign key (MLflow 2.3 to 3.18).
        return self.tags.get(PARENT_TAG) or None

    def activity_times(self, experiment: Experiment | None) -> tuple[int | None, ...]:
        """Return the times of its activity, ms since the epoch; the latest is its last activity."""
        # A resumed run keeps its old end time (tracking/fluent.py), and logging to a finished
        # run does not change it: no single timestamp is the last activity.  The client sends all
        # of them.  A run that was imported with its original times is not older on this server
        # than its experiment, whose creation time the server sets itself (since 1.28; older
        # experiments have none).
        created = experiment.creation_time if experiment else None
        return (self.start_time, self.end_time, self.newest_metric_time, created)

    def last_activity_time(self, experiment: Experiment | None) -> int | None:
        """Return the latest of :meth:`activity_times`, or None if all are unknown."""
        latest: int | None = None
        for ms in self.activity_times(experiment):
            if ms is not None and (latest is None or ms > latest):
                latest = ms
        return latest

    def may_have_read_model(self, made_ms: int, experiment: Experiment | None) -> bool:
        """Tell whether it may have been active after a model was made; when in doubt, yes.

        Args:
            made_ms: server time of the first model that matters, ms since the epoch; 0 if unknown.
            experiment: the experiment of the run; None if it is unknown.
        """
        last = self.last_activity_time(experiment)
        if not made_ms or last is None or self.end_time is None:
            return True
        if self.status not in TERMINAL_STATUSES or experiment is None:
            return True
        # The times of a run come from its client; those of an imported run from another server.
        created = experiment.creation_time
        was_here = created is None or (self.start_time or 0) >= created
        return not was_here or last + MODEL_CLOCK_MARGIN_MS >= made_ms


def with_histories(run: Run, histories: Iterable[MetricHistory]) -> Run:
    """Return a run with the timestamps of the whole histories of all its metrics."""
    read = [*histories]
    known = (run.oldest_metric_time, run.newest_metric_time)
    stamps = chain.from_iterable((history.oldest, history.newest) for history in read)
    found = [ms for ms in (*known, *stamps) if ms is not None]
    return replace(
        run,
        details=replace(run.details, metric_count=sum(history.values for history in read)),
        oldest_metric_time=min(found, default=None),
        newest_metric_time=max(found, default=None),
        metric_keys=(),
    )


def artifact_root(artifact_uri: str, run_id: str) -> tuple[str, bool]:
    """Return the fields ``artifact_root`` and ``has_own_folder`` of a run."""
    own_folder = _own_folder(run_id)
    if artifact_uri.endswith(own_folder):
        return intern(artifact_uri[: -len(own_folder)]), True
    return artifact_uri, False


def _own_folder(run_id: str) -> str:
    return f"/{run_id}/artifacts"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a registered model.

    ``storage`` is the URI of its files, read only if ``source`` does not contain it (a copy whose
    original no longer exists); empty otherwise.  ``hides_run`` means that the server omits the
    run id because this account may not read runs (MLflow 3.17).
    """

    name: str
    version: str
    creation_timestamp: int | None
    last_updated_timestamp: int | None
    current_stage: str | None
    description: str
    source: str
    run_id: str
    run_link: str
    model_id: str
    tags: Mapping[str, str]
    storage: str = ""
    hides_run: bool = False

    @property
    def key(self) -> str:
        """``name/version``."""
        return f"{self.name}/{self.version}"

    @property
    def active_ms(self) -> int:
        """The time of its creation or last update, ms since the epoch; 0 if both are unknown."""
        return max(self.last_updated_timestamp or 0, self.creation_timestamp or 0)

    @property
    def number(self) -> int:
        """The version as a number, to sort by; -1 if it is not a number."""
        return int(self.version) if self.version.isascii() and self.version.isdigit() else -1

    @property
    def order(self) -> tuple[str, int, str]:
        """The sort key of versions: name, number, and the version as text."""
        return (self.name, self.number, self.version)


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A registered model: its tags, and its aliases by version.

    Aliases are read here because ``model-versions/search`` never returns them
    (docs/explanation/mlflow-facts.md#search-omits-aliases).
    """

    name: str
    tags: Mapping[str, str]
    aliases: Mapping[str, tuple[str, ...]]
    last_updated_timestamp: int | None = None
    creation_timestamp: int | None = None
    description: str = ""
    highest_version: int = 0


MODEL_CLOCK_MARGIN_MS = DAY_MS
"""A run that ended this long before a logged model was created has not read it.

The server stamps the model, and another machine the end of the run.
"""


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """An MLflow 3 logged model.

    ``last_updated_time`` is the later of its creation and its last update.
    ``metric_run_ids`` are the runs that logged metrics for it; a run response names a model only
    if the newest value of a metric belongs to that model.  ``name`` is for people.
    """

    model_id: str
    experiment_id: str
    source_run_id: str
    artifact_uri: str
    last_updated_time: int | None
    tags: Mapping[str, str] = field(default_factory=dict)
    metric_run_ids: tuple[str, ...] = ()
    creation_time: int | None = None
    name: str = ""


def oldest_model_ms(models: Iterable[LoggedModel]) -> int | None:
    """Return the creation of the oldest of some logged models, ms since the epoch, or None.

    It is 0 if the time of one of them is unknown.
    """
    return min((model.creation_time or 0 for model in models), default=None)


class Assessment(NamedTuple):
    """One assessment of a trace.

    ``run_ids`` are the runs with which MLflow deletes it, in lower case; usually one.
    """

    assessment_id: str
    updated_ms: int
    run_ids: frozenset[str]


class Trace(NamedTuple):
    """The part of a trace that concerns runs.

    ``time_ms`` is the time of its creation; ``run_id`` the run that made it, empty if none did.
    """

    trace_id: str
    time_ms: int | None
    run_id: str
    assessments: Sequence[Assessment] = ()


@dataclass(frozen=True, slots=True)
class Probe:
    """The contents of an experiment besides the active runs of the scan.

    Attributes:
        has_traces: it contains at least one trace.
        newest_deleted_run: (id, last activity in ms) of the newest run in its trash, if it is
            recent enough to protect the experiment.
        unseen_run: id of an active run that the scan did not list.
        assessed_runs: runs in its trash whose assessments would be lost: for each run id a digest
            over them.
        traces_are_hidden: this account may not read traces, so ``assessed_runs`` is unknown.
        contents: its other contents, as text for people.  May be empty if one of the above
            protects it.
    """

    has_traces: bool = False
    newest_deleted_run: tuple[str, int] | None = None
    unseen_run: str | None = None
    assessed_runs: Mapping[str, str] = field(default_factory=dict)
    traces_are_hidden: bool = False
    contents: tuple[str, ...] = ()


UNPROBED = Probe()
"""The probe of an experiment that was not probed."""

PARTIAL_VIEW = "partial_view"
"""Diagnostic code: the server may hide things from this account."""

INCOMPLETE_SCAN = "incomplete_scan"
"""Diagnostic code: a part could not be read."""

SCAN_TOO_LONG = "scan_too_long"
"""Diagnostic code: what was read first is too old by now."""

TRACES_UNREAD = "traces_unread"
"""Diagnostic code: this account may not read traces, and so no assessments."""

UNREADABLE_TRASH = "unreadable_trash"
"""Diagnostic code: the server fails on the trash of an experiment, which is retained."""

CLOCK_SKEW = "clock_skew"
"""Diagnostic code: the clocks of the server and this machine differ."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A finding about the scan: something could not be read or is invalid.

    ``blocks`` means that evidence may be missing: the plan must not be applied.
    """

    code: str
    message: str
    blocks: bool = False


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server has, of that which may protect or hide something; None if that is unknown.

    ``accounts`` hide from each other what they may not read; the others protect.
    """

    accounts: bool | None = None
    aliases: bool | None = None
    logged_models: bool | None = None
    traces: bool | None = None


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Which server this is.

    ``identity`` is a fingerprint of the content of the server, not of its address (identity.py).
    ``read_from`` is how it was read; the identity does not depend on it.
    """

    tracking_uri: str
    registry_uri: str
    mlflow_version: str | None
    workspace: str | None
    identity: str = ""
    read_from: ReadFrom = "rest"
    capabilities: Capabilities = Capabilities()
