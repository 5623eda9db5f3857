"""From the JSON of MLflow's REST API to entities: the one place that knows field names."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from sys import intern
from typing import Any

from mlflow_gc.backend.interface import Failure, Json, ServerError
from mlflow_gc.domain.entities import (
    NO_DETAILS,
    Assessment,
    Experiment,
    LoggedModel,
    MetricHistory,
    ModelVersion,
    RegisteredModel,
    Run,
    RunDetails,
    Trace,
    artifact_root,
)
from mlflow_gc.domain.run_content import content_of_wire
from mlflow_gc.domain.tag_selection import NO_TAGS, Wanted, tags_digest
from mlflow_gc.domain.timestamps import parse_time

SOURCE_RUN = "mlflow.sourceRun"
"""Metadata of a trace: the run that was active when it was made."""

_NAMED_RUN = re.compile(
    # The server shows a value that is no text as Python does, and in quotes.
    r"""mlflow\.assessment\.sourceRunId\\?["']\s*:\s*\\?["']([^"'\\]+)""",
    re.IGNORECASE,
)
"""In the metadata of an assessment: the run that made it."""


def experiment(wire: Json) -> Experiment:
    """Parse ``experiments/search`` and ``experiments/get`` entries."""
    return Experiment(
        experiment_id=_key(wire, "experiment_id", "experiment"),
        name=_text(wire, "name"),
        lifecycle_stage=_text(wire, "lifecycle_stage"),
        artifact_location=_text(wire, "artifact_location"),
        # Absent for experiments made before MLflow 1.28: the columns are nullable.
        creation_time=_time(wire, "creation_time"),
        last_update_time=_time(wire, "last_update_time"),
        tags=_tags(wire),
    )


def run(wire: Json, wanted: Wanted | None = None) -> Run:
    """Parse a ``runs/search`` or ``runs/get`` entry.

    Args:
        wire: the entry.
        wanted: what to keep of its metrics and tags; None for all tags and no metric.

    Raises:
        ServerError: it is no run of MLflow.
    """
    info = _mapping(wire, "info")
    run_id = info.get("run_id") or info.get("run_uuid")
    if not isinstance(run_id, str) or not run_id:
        raise _garbled("a run without run_id")
    data = wire.get("data") or {}
    metrics = data.get("metrics") or ()
    return record(
        run_id=run_id,
        run_name=_text(info, "run_name"),
        experiment_id=_key(info, "experiment_id", f"run {run_id}"),
        user_id=_text(info, "user_id"),
        status=_text(info, "status"),
        lifecycle_stage=_text(info, "lifecycle_stage"),
        start_time=_time(info, "start_time"),
        end_time=_time(info, "end_time"),
        metric_times=[t for m in metrics if (t := _time(m, "timestamp")) is not None],
        metric_keys=[str(m.get("key", "")) for m in metrics],
        artifact_uri=_text(info, "artifact_uri"),
        tags=_tags(data),
        model_ids=_model_ids(wire, metrics),
        metrics=_values(metrics, wanted.metrics) if wanted and wanted.metrics else (),
        wanted=wanted,
        details=RunDetails(content_digest=content_of_wire(wire))
        if wanted and wanted.contents
        else NO_DETAILS,
    )


def record(
    *,
    run_id: str,
    run_name: str,
    experiment_id: str,
    user_id: str,
    status: str,
    lifecycle_stage: str,
    start_time: int | None,
    end_time: int | None,
    metric_times: Collection[int],
    metric_keys: Iterable[str],
    artifact_uri: str,
    tags: dict[str, str],
    model_ids: Collection[str],
    wanted: Wanted | None,
    metrics: tuple[tuple[str, float], ...] = (),
    details: RunDetails = NO_DETAILS,
) -> Run:
    """Return a run of what was read of one, see :func:`run`; all times in ms."""
    # run_name is a field of its own since 2.0; before, only the tag held it.
    name = run_name or tags.get("mlflow.runName", "")
    user_id = intern(user_id)
    root, has_own_folder = artifact_root(artifact_uri, run_id)
    newest, oldest = max(metric_times, default=None), min(metric_times, default=None)
    return Run(
        run_id=run_id,
        run_name=name,
        experiment_id=intern(experiment_id),
        user_id=user_id,
        status=intern(status),
        lifecycle_stage=intern(lifecycle_stage),
        start_time=start_time,
        end_time=end_time,
        newest_metric_time=newest,
        # Two numbers for one time of a million runs would be 32 MB.
        oldest_metric_time=newest if oldest == newest else oldest,
        artifact_root=root,
        has_own_folder=has_own_folder,
        tags=tags if wanted is None else wanted.of(tags, user_id) or NO_TAGS,
        model_ids=tuple(sorted(model_ids)) if model_ids else (),
        metrics=metrics,
        tags_digest="" if wanted is None else tags_digest(tags, name),
        metric_keys=_shared(tuple(sorted(metric_keys))),
        details=details,
    )


@lru_cache(maxsize=1024)
def _shared(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return one and the same names for all the runs that have these: a million runs have few sets."""
    return keys


def metric_history(entries: Iterable[Json], run_id: str = "") -> dict[str, MetricHistory]:
    """Return what ``metrics/get-history``, or ``-bulk``, entries tell, by run.

    Args:
        entries: the entries.
        run_id: whose they are, where they do not say it.
    """
    found: dict[str, MetricHistory] = {}
    for entry in entries:
        ms = _time(entry, "timestamp")
        if ms is None:
            raise _garbled("a metric without time stamp")
        key = run_id or _key(entry, "run_id", "metric")
        values, oldest, newest = found.get(key, (0, ms, ms))
        found[key] = MetricHistory(values + 1, min(oldest, ms), max(newest, ms))
    return found


def _model_ids(wire: Json, metrics: Iterable[Json]) -> set[str]:
    """Return the logged models that a run names."""
    inputs = (wire.get("inputs") or {}).get("model_inputs") or ()
    outputs = (wire.get("outputs") or {}).get("model_outputs") or ()
    # A metric of an evaluation names the model that was evaluated.
    return {str(m["model_id"]) for m in (*inputs, *outputs, *metrics) if m.get("model_id")}


def registered_model(wire: Json) -> RegisteredModel:
    """Parse a ``registered-models/search`` or ``get`` entry."""
    aliases: dict[str, list[str]] = {}
    for alias in wire.get("aliases") or ():
        aliases.setdefault(str(alias["version"]), []).append(str(alias["alias"]))
    return RegisteredModel(
        name=_key(wire, "name", "registered model"),
        tags=_tags(wire),
        aliases={version: tuple(sorted(names)) for version, names in sorted(aliases.items())},
        last_updated_timestamp=_time(wire, "last_updated_timestamp"),
        creation_timestamp=_time(wire, "creation_timestamp"),
        description=_text(wire, "description"),
        highest_version=max(
            (model_version(v).number for v in wire.get("latest_versions") or ()), default=0
        ),
    )


def model_version(wire: Json) -> ModelVersion:
    """Parse a ``model-versions/search`` or ``get`` entry."""
    name = _key(wire, "name", "model version")
    return ModelVersion(
        name=name,
        version=_key(wire, "version", f"version of model {name!r}"),
        creation_timestamp=_time(wire, "creation_timestamp"),
        last_updated_timestamp=_time(wire, "last_updated_timestamp"),
        current_stage=wire.get("current_stage"),
        description=_text(wire, "description"),
        source=_text(wire, "source"),
        run_id=_text(wire, "run_id"),
        run_link=_text(wire, "run_link"),
        # The SQL store of 3.17 does not return it; other stores may.
        model_id=_text(wire, "model_id"),
        tags=_tags(wire),
        hides_run="run_id" not in wire,
    )


def version_aliases(wire: Json) -> tuple[str, ...]:
    """Return the aliases in a ``model-versions/get`` response; a search has none.

    See docs/explanation/mlflow-facts.md#search-omits-aliases.
    """
    # Strings here, objects in registered models.
    return tuple(sorted(str(a) for a in wire.get("aliases") or ()))


def logged_model(wire: Json) -> LoggedModel:
    """Parse a ``logged-models/search`` or ``get`` entry."""
    info = _mapping(wire, "info")
    metrics = (wire.get("data") or {}).get("metrics") or ()
    return LoggedModel(
        model_id=_key(info, "model_id", "logged model"),
        experiment_id=_text(info, "experiment_id"),
        source_run_id=_text(info, "source_run_id"),
        artifact_uri=_text(info, "artifact_uri"),
        last_updated_time=max(
            (
                t
                for key in ("creation_timestamp_ms", "last_updated_timestamp_ms")
                if (t := _time(info, key)) is not None
            ),
            default=None,
        ),
        tags=_tags(info),
        metric_run_ids=tuple(sorted({str(m["run_id"]) for m in metrics if m.get("run_id")})),
        creation_time=_time(info, "creation_timestamp_ms"),
    )


def trace(wire: Json) -> Trace:
    """Parse an entry of a search for traces, by version 2 or 3 of the API."""
    said = wire.get("trace_metadata") or wire.get("request_metadata") or {}
    # Version 2 (2.14 to 3.1) has pairs in a list, and no assessments.
    metadata = said if isinstance(said, dict) else {m.get("key"): m.get("value") for m in said}
    of_v3 = "trace_id" in wire
    return Trace(
        trace_id=_key(wire, "trace_id" if of_v3 else "request_id", "trace"),
        time_ms=_moment(wire, "request_time") if of_v3 else _time(wire, "timestamp_ms"),
        run_id=str(metadata.get(SOURCE_RUN) or ""),
        assessments=[_assessment(entry) for entry in wire.get("assessments") or ()],
    )


def _assessment(wire: Json) -> Assessment:
    return Assessment(
        assessment_id=_key(wire, "assessment_id", "assessment"),
        updated_ms=_moment(wire, "last_update_time") or 0,
        run_ids=named_runs(json.dumps(wire.get("metadata") or {})),
    )


def named_runs(metadata: str) -> frozenset[str]:
    """Return the runs that the metadata of an assessment names, in lower case.

    MLflow looks for key and id as one text, wherever that stands, to delete what has it; MySQL and
    SQL Server do so without regard to case.

    Args:
        metadata: as JSON, or what stands in its place in the database.
    """
    return frozenset(found.lower() for found in _NAMED_RUN.findall(metadata))


def _moment(wire: Json, key: str) -> int | None:
    """Return a time that is written out, ms since the epoch."""
    value = wire.get(key)
    try:
        return None if value is None else parse_time(str(value))
    except ValueError:
        raise _garbled(f"{key!r} = {value!r}, which is no time") from None


def _garbled(what: str) -> ServerError:
    return ServerError(
        f"The server's answer holds {what}.",
        Failure.GARBLED,
        hint="Is the tracking URI that of an MLflow server, without a proxy that rewrites answers?",
    )


def _mapping(wire: Json, key: str) -> Json:
    value = wire.get(key)
    if not isinstance(value, dict):
        raise _garbled(f"an entity without {key!r}")
    return value


def _key(wire: Json, key: str, what: str) -> str:
    value = wire.get(key)
    if value is None or value == "" or isinstance(value, (dict, list)):
        raise _garbled(f"a {what} without {key!r}")
    return str(value)


def _text(wire: Json, key: str) -> str:
    value = wire.get(key)
    return "" if value is None else str(value)


def _time(wire: Json, key: str) -> int | None:
    value = wire.get(key)
    # By far the most are numbers already; a million runs have ten million of them.
    if value is None or type(value) is int:
        return value
    try:
        # Some proxies and stores write int64 as strings, as protobuf's JSON mapping says.
        return int(value)
    except (TypeError, ValueError):
        raise _garbled(f"{key!r} = {value!r}, which is no time in ms") from None


def _values(found: Iterable[Json], names: Collection[str]) -> tuple[tuple[str, float], ...]:
    """Return name and value of some metrics; NaN and infinities come as words."""
    values = []
    for metric in found:
        if metric.get("key") in names:
            try:
                values.append((str(metric["key"]), float(metric.get("value", 0.0))))
            except (TypeError, ValueError):
                raise _garbled(f"a metric with the value {metric.get('value')!r}") from None
    return tuple(sorted(values))


def _tags(wire: Json) -> dict[str, str]:
    tags: Any = wire.get("tags") or ()
    return {
        str(t["key"]): str(t.get("value", "")) for t in sorted(tags, key=lambda t: str(t["key"]))
    }
