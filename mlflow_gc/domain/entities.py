"""What a server holds, as plain frozen data.  No I/O, no MLflow types.

Times are ms since the epoch, UTC; None where the server has none.  Ids are strings, as in
MLflow's REST API.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from sys import intern
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from mlflow_gc.domain.traces import Traces

LifecycleStage = Literal["active", "deleted"]

ReadFrom = Literal["rest", "database"]
"""Where a server was read: over its REST API, or in its database."""


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


class MetricHistory(NamedTuple):
    """What was ever logged to metrics of a run.

    Attributes:
        values: how many.
        oldest: time stamp of the oldest, ms since the epoch.
        newest: time stamp of the newest.
    """

    values: int
    oldest: int
    newest: int


@dataclass(frozen=True, slots=True)
class RunDetails:
    """What a scan does not tell of a run; read only where it can matter, None until then.

    Attributes:
        metric_count: how many values were ever logged to its metrics.
        content_digest: over its parameters, datasets and models (see run_content.py).
        traces_digest: over the traces that it made (see traces.py).
        assessments_digest: over the assessments that name it.
        loses_assessments: deleting it would delete assessments permanently.
        traces_are_hidden: this account may not read traces, so nobody knows.
    """

    metric_count: int | None = None
    content_digest: str | None = None
    traces_digest: str | None = None
    assessments_digest: str | None = None
    loses_assessments: bool = False
    traces_are_hidden: bool = False


NO_DETAILS = RunDetails()
"""One for all runs of which only the scan is known."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run as far as the decision needs it; metrics and parameters are not kept.

    ``newest_metric_time`` and ``oldest_metric_time`` span the time stamps of its metrics: of each
    metric's highest step at first, and of the whole history once that was read (``read_histories``).
    ``metric_keys`` are the metrics whose history a reader has to ask the server for, by name.
    ``tags`` holds all tags, or those that a decision may need; then ``tags_digest`` is over all of
    them (see run_tags.py), so that a later look can tell whether someone edited one.
    ``model_ids`` are the logged models it names as outputs or inputs (MLflow 3).
    ``metrics`` holds the latest values of those metrics that the policy asks for.
    ``details`` is what a scan does not tell.
    ``artifact_root`` is where its artifacts lie, or with ``has_own_folder`` what MLflow puts
    ``/<run_id>/artifacts`` behind: one text for all runs of an experiment (see :func:`artifact_root`).
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
        """Where its artifacts lie, as the server says it."""
        if self.has_own_folder:
            return f"{self.artifact_root}{_own_folder(self.run_id)}"
        return self.artifact_root

    @property
    def parent_run_id(self) -> str | None:
        """The run it is nested in, or None."""
        # Nesting is only this tag, without a foreign key (MLflow 2.3 to 3.18).
        return self.tags.get("mlflow.parentRunId") or None

    def activity_times(self, experiment: Experiment | None) -> tuple[int | None, ...]:
        """Return the times whose latest is its last activity, ms since the epoch; None is no time.

        Args:
            experiment: the one that it is in; None where that is not known.
        """
        # A resumed run keeps its old end time (tracking/fluent.py), and logging to a finished
        # run does not move it: no single time stamp tells when a run was last used.  All of them
        # come from the client; a run that was imported with its original times has been on this
        # server no longer than its experiment, whose creation the server stamps itself (a server
        # before 1.28 did not: such an experiment is old, and its creation is not known).
        created = experiment.creation_time if experiment else None
        return (self.start_time, self.end_time, self.newest_metric_time, created)

    def last_activity_time(self, experiment: Experiment | None) -> int | None:
        """Return the latest of :meth:`activity_times`, or None when there is none of them."""
        latest: int | None = None
        for ms in self.activity_times(experiment):
            if ms is not None and (latest is None or ms > latest):
                latest = ms
        return latest


def with_histories(run: Run, histories: Iterable[MetricHistory]) -> Run:
    """Return a run whose metrics were read with their whole history.

    Args:
        run: as a search of runs tells it.
        histories: all that were read.
    """
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

    ``storage`` is where its files lie, asked for only where ``source`` does not lead there (a
    copy whose original is gone); empty otherwise.  ``hides_run`` means that the server left out
    the run id, which it does for accounts that may not see runs (MLflow 3.17).
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
        """When it was made or last updated, ms since the epoch; 0 when neither is known."""
        return max(self.last_updated_timestamp or 0, self.creation_timestamp or 0)

    @property
    def number(self) -> int:
        """The version as a number, for order; -1 when it is not one."""
        return int(self.version) if self.version.isascii() and self.version.isdigit() else -1

    @property
    def order(self) -> tuple[str, int, str]:
        """A key to sort versions by: name, number, and for odd ones the version as text."""
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


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """An MLflow 3 logged model.

    ``last_updated_time`` is the later of its creation and its last update.
    ``metric_run_ids`` are the runs that logged metrics for it; the answers about a run name a model
    only where the newest value of a metric is one of its own.
    """

    model_id: str
    experiment_id: str
    source_run_id: str
    artifact_uri: str
    last_updated_time: int | None
    tags: Mapping[str, str] = field(default_factory=dict)
    metric_run_ids: tuple[str, ...] = ()
    creation_time: int | None = None


class Assessment(NamedTuple):
    """One assessment of a trace.

    Attributes:
        assessment_id: its id.
        updated_ms: when it was last updated, ms since the epoch.
        run_ids: the runs with which MLflow deletes it, in lower case; hardly ever more than one.
    """

    assessment_id: str
    updated_ms: int
    run_ids: frozenset[str]


class Trace(NamedTuple):
    """One trace, as far as runs are concerned.

    Attributes:
        trace_id: its id.
        time_ms: when it was made, ms since the epoch; None where that is not known.
        run_id: the run that made it; empty where none did.
        assessments: all of its assessments.
    """

    trace_id: str
    time_ms: int | None
    run_id: str
    assessments: Sequence[Assessment] = ()


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found in one experiment besides the active runs of the scan.

    Attributes:
        has_traces: it holds at least one trace.
        newest_deleted_run: (id, last activity in ms) of the newest run in its trash, as far as it
            could matter.
        unseen_run: id of an active run that the scan did not list.
        assessed_runs: runs in its trash that assessments name, which would be lost: a digest over
            these for each run id.
        traces_are_hidden: this account may not read traces, so nobody knows.
        contents: what else it holds, for people (contents.py).  May be left out where one of the
            above protects it.
    """

    has_traces: bool = False
    newest_deleted_run: tuple[str, int] | None = None
    unseen_run: str | None = None
    assessed_runs: Mapping[str, str] = field(default_factory=dict)
    traces_are_hidden: bool = False
    contents: tuple[str, ...] = ()


UNPROBED = Probe()
"""Stands for what is known of an experiment that nobody looked into."""

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
"""Diagnostic code: the server's clock and this machine's are apart."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """Something the scan could not see or did not understand.

    ``blocks`` means that evidence may be missing: the plan must not be applied.
    """

    code: str
    message: str
    blocks: bool = False


@dataclass(frozen=True, slots=True)
class Inventory:
    """All that was read, ready for a decision.

    Runs are the active ones (of every experiment, also of deleted ones); experiments are of both
    lifecycle stages.  An experiment without an entry in ``probes`` was not looked into and is
    kept.
    """

    experiments: Mapping[str, Experiment]
    runs: Mapping[str, Run]
    registered_models: Mapping[str, RegisteredModel]
    model_versions: Mapping[tuple[str, str], ModelVersion]
    logged_models: Mapping[str, LoggedModel]
    probes: Mapping[str, Probe] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()
    workspace: str | None = None
    parents_in_trash: Mapping[str, str] = field(default_factory=dict)
    """Of runs in the trash that active ones are nested in: what each is nested in itself."""
    foreign_versions: tuple[ModelVersion, ...] = ()
    """Of other workspaces: they are never deleted, and protect the runs and models that they name."""
    foreign_models: tuple[RegisteredModel, ...] = ()
    """Registered models of other workspaces, which protect the runs that their texts name."""
    traces: Traces | None = None
    """What they say about runs; None until they were read."""
    refused_names: frozenset[str] = frozenset()
    """Registered models that the server refuses to delete from, for what they are called."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Which server this is.

    ``identity`` is a fingerprint of what the server holds, not of its address (see identity.py).
    ``read_from`` says how it was read; it is the same server either way.
    """

    tracking_uri: str
    registry_uri: str
    mlflow_version: str | None
    workspace: str | None
    identity: str
    read_from: ReadFrom = "rest"
