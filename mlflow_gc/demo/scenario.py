"""The content of the demo's server as plain data: experiments, runs, models, prompts, traces.

:mod:`mlflow_gc.demo.story` creates these values and :mod:`mlflow_gc.demo.seeding` writes them
through MLflow's API.  All times are milliseconds since the epoch, UTC; runs are referred to by
``key``, because the server chooses their ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000


@dataclass(frozen=True)
class MetricPoint:
    """One value of a metric at one time."""

    name: str
    value: float
    time_ms: int
    step: int


@dataclass(frozen=True)
class ExperimentSpec:
    """An experiment; its ``name`` is what runs refer to."""

    name: str
    created_ms: int
    tags: Mapping[str, str] = field(default_factory=dict)
    deleted: bool = False


@dataclass(frozen=True)
class RunSpec:
    """A run.

    Attributes:
        key: its name in other values; not sent to the server.
        start_ms: None leaves the start time out of the request, which MLflow stores as 0.
        end_ms: None for a run that never reported its end.
        status: the final status.
        parent: key of the parent run, or None.
        logged_model: it logged an MLflow 3 model.
        resumed: it was FINISHED at ``end_ms`` and is RUNNING again; MLflow keeps the end time.
        deleted: whether it is in the trash.
    """

    key: str
    experiment: str
    name: str
    user: str
    start_ms: int | None
    end_ms: int | None
    status: str = "FINISHED"
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[MetricPoint] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None
    logged_model: bool = False
    resumed: bool = False
    deleted: bool = False


@dataclass(frozen=True)
class RegisteredModelSpec:
    """A registered model without its versions."""

    name: str
    created_ms: int
    tags: Mapping[str, str] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True)
class VersionSpec:
    """A model version; the server numbers them in this order.

    Attributes:
        source: ``runs`` (``runs:/<run>/model``), ``artifacts`` (the run's artifact URI), ``s3``
            (an absolute URI that holds the run's id), ``logged_model`` (``models:/m-...``, of a
            run that has one) or ``copy`` (``models:/<name>/<version>`` of ``copy_of``).
        run: key of the run it was registered from; None for a copy.
        copy_of: model name and version, for a copy.
    """

    model: str
    created_ms: int
    source: str = "runs"
    run: str | None = None
    copy_of: tuple[str, int] | None = None
    stage: str | None = None
    aliases: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True)
class PromptSpec:
    """A prompt and its versions; ``aliases`` maps an alias to a version number."""

    name: str
    created_ms: int
    templates: Sequence[str]
    aliases: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TraceSpec:
    """A trace of an experiment; ``scored_by`` is the key of the evaluation run that scored it."""

    experiment: str
    created_ms: int
    question: str
    scored_by: str | None = None


@dataclass(frozen=True)
class Scenario:
    """The content of the demo's server before the first report."""

    experiments: list[ExperimentSpec]
    runs: list[RunSpec]
    models: list[RegisteredModelSpec]
    versions: list[VersionSpec]
    prompts: list[PromptSpec]
    traces: list[TraceSpec]
