"""Parses the JSON of MLflow's REST API into entities; only this module knows its fields."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from functools import lru_cache
from sys import intern
from typing import Any

from mlflow_gc.backend.interface import (
    Failure,
    Json,
    ModelDetails,
    ServerError,
    VersionDetails,
)
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
from mlflow_gc.domain.run_content import Dataset, content_digest
from mlflow_gc.domain.tag_selection import NO_TAGS, RUN_NAME_TAG, Wanted, tags_digest
from mlflow_gc.domain.timestamps import parse_time
from mlflow_gc.domain.traces import SOURCE_RUN, named_runs


def experiment(payload: Json) -> Experiment:
    """Parse ``experiments/search`` and ``experiments/get`` entries."""
    return Experiment(
        experiment_id=_key(payload, "experiment_id", "experiment"),
        name=_text(payload, "name"),
        lifecycle_stage=_text(payload, "lifecycle_stage"),
        artifact_location=_text(payload, "artifact_location"),
        # Missing for experiments created before MLflow 1.28: the columns are nullable.
        creation_time=_time(payload, "creation_time"),
        last_update_time=_time(payload, "last_update_time"),
        tags=_tags(payload),
    )


def run(payload: Json, wanted: Wanted | None = None) -> Run:
    """Parse a ``runs/search`` or ``runs/get`` entry.

    If ``wanted`` is None, with all tags and no metrics.

    Raises:
        ServerError: It is not a run of MLflow.
    """
    info = _mapping(payload, "info")
    run_id = info.get("run_id") or info.get("run_uuid")
    if not isinstance(run_id, str) or not run_id:
        raise _invalid_response("a run without run_id")
    data = payload.get("data") or {}
    metrics = data.get("metrics") or ()
    tags = _tags(data)
    # run_name is a field since 2.0; before, it was only a tag.
    name = _text(info, "run_name") or tags.get(RUN_NAME_TAG, "")
    user_id = intern(_text(info, "user_id"))
    root, has_own_folder = artifact_root(_text(info, "artifact_uri"), run_id)
    metric_times = [ms for m in metrics if (ms := _time(m, "timestamp")) is not None]
    newest, oldest = max(metric_times, default=None), min(metric_times, default=None)
    return Run(
        run_id=run_id,
        run_name=name,
        experiment_id=intern(_key(info, "experiment_id", f"run {run_id}")),
        user_id=user_id,
        status=intern(_text(info, "status")),
        lifecycle_stage=intern(_text(info, "lifecycle_stage")),
        start_time=_time(info, "start_time"),
        end_time=_time(info, "end_time"),
        newest_metric_time=newest,
        # Separate integers for equal times of a million runs would take 32 MB.
        oldest_metric_time=newest if oldest == newest else oldest,
        artifact_root=root,
        has_own_folder=has_own_folder,
        tags=tags if wanted is None else wanted.of(tags, user_id) or NO_TAGS,
        model_ids=tuple(sorted(_model_ids(payload, metrics))),
        metrics=_values(metrics, wanted.metrics) if wanted and wanted.metrics else (),
        tags_digest="" if wanted is None else tags_digest(tags, name),
        metric_keys=_shared(tuple(sorted([str(m.get("key", "")) for m in metrics]))),
        details=RunDetails(content_digest=_content_digest(payload))
        if wanted and wanted.content_digest
        else NO_DETAILS,
    )


@lru_cache(maxsize=1024)
def _shared(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Intern a tuple of names: a million runs have few distinct ones."""
    return keys


def metric_history(entries: Iterable[Json], run_id: str = "") -> dict[str, MetricHistory]:
    """Parse entries of ``metrics/get-history`` or ``get-history-bulk``, by run.

    ``run_id`` is their run, if the entries do not name it.
    """
    found: dict[str, MetricHistory] = {}
    for entry in entries:
        ms = _time(entry, "timestamp")
        if ms is None:
            raise _invalid_response("a metric without a timestamp")
        key = run_id or _key(entry, "run_id", "metric")
        values, oldest, newest = found.get(key, (0, ms, ms))
        found[key] = MetricHistory(values + 1, min(oldest, ms), max(newest, ms))
    return found


def _model_ids(payload: Json, metrics: Iterable[Json]) -> set[str]:
    """Return the ids of logged models that a run names."""
    inputs = (payload.get("inputs") or {}).get("model_inputs") or ()
    outputs = (payload.get("outputs") or {}).get("model_outputs") or ()
    # A metric of an evaluation names the model that was evaluated.
    return {str(m["model_id"]) for m in (*inputs, *outputs, *metrics) if m.get("model_id")}


def _content_digest(run: Json) -> str:
    """Return the digest of a ``runs/search`` or ``runs/get`` entry.

    Only ``runs/get`` returns the input models of a run (3.0 to 3.18).
    """
    data, read = run.get("data") or {}, run.get("inputs") or {}
    put_out = (run.get("outputs") or {}).get("model_outputs") or ()
    return content_digest(
        params=[_pair(param) for param in data.get("params") or ()],
        datasets=[_dataset(entry) for entry in read.get("dataset_inputs") or ()],
        inputs=[str(model.get("model_id")) for model in read.get("model_inputs") or ()],
        outputs=[(str(model.get("model_id")), int(model.get("step") or 0)) for model in put_out],
    )


def _dataset(entry: Json) -> Dataset:
    dataset = entry.get("dataset") or {}
    tags = [_pair(tag) for tag in entry.get("tags") or ()]
    return str(dataset.get("name") or ""), str(dataset.get("digest") or ""), tags


def _pair(entry: Json) -> tuple[str, str]:
    return str(entry.get("key") or ""), str(entry.get("value") or "")


def registered_model(payload: Json) -> RegisteredModel:
    """Parse a ``registered-models/search`` or ``get`` entry."""
    aliases: dict[str, list[str]] = {}
    for alias in payload.get("aliases") or ():
        aliases.setdefault(str(alias["version"]), []).append(str(alias["alias"]))
    return RegisteredModel(
        name=_key(payload, "name", "registered model"),
        tags=_tags(payload),
        aliases={version: tuple(sorted(names)) for version, names in sorted(aliases.items())},
        last_updated_timestamp=_time(payload, "last_updated_timestamp"),
        creation_timestamp=_time(payload, "creation_timestamp"),
        description=_text(payload, "description"),
        highest_version=max(
            (model_version(v).number for v in payload.get("latest_versions") or ()), default=0
        ),
    )


def model_version(payload: Json) -> ModelVersion:
    """Parse a ``model-versions/search`` or ``get`` entry."""
    name = _key(payload, "name", "model version")
    return ModelVersion(
        name=name,
        version=_key(payload, "version", f"version of model {name!r}"),
        creation_timestamp=_time(payload, "creation_timestamp"),
        last_updated_timestamp=_time(payload, "last_updated_timestamp"),
        current_stage=payload.get("current_stage"),
        description=_text(payload, "description"),
        source=_text(payload, "source"),
        run_id=_text(payload, "run_id"),
        run_link=_text(payload, "run_link"),
        # The SQL store of 3.17 does not return it; other stores may.
        model_id=_text(payload, "model_id"),
        tags=_tags(payload),
        hides_run="run_id" not in payload,
    )


def version_details(payload: Json) -> VersionDetails:
    """Parse a ``model-versions/get`` entry; a search has no aliases.

    See docs/explanation/mlflow-facts.md#search-omits-aliases.
    """
    # Aliases are strings here, and objects in registered models.
    aliases = tuple(sorted(str(a) for a in payload.get("aliases") or ()))
    return VersionDetails(model_version(payload), aliases)


def model_details(payload: Json) -> ModelDetails:
    """Parse a ``registered-models/get`` entry."""
    latest = tuple(model_version(v) for v in payload.get("latest_versions") or ())
    return ModelDetails(registered_model(payload), latest)


def logged_model(payload: Json) -> LoggedModel:
    """Parse a ``logged-models/search`` or ``get`` entry."""
    info = _mapping(payload, "info")
    metrics = (payload.get("data") or {}).get("metrics") or ()
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
        name=_text(info, "name"),
    )


def trace(payload: Json) -> Trace:
    """Parse an entry of a search for traces, by version 2 or 3 of the API."""
    found = payload.get("trace_metadata") or payload.get("request_metadata") or {}
    # Version 2 (2.14 to 3.1) has pairs in a list, and no assessments.
    metadata = found if isinstance(found, dict) else {m.get("key"): m.get("value") for m in found}
    of_v3 = "trace_id" in payload
    return Trace(
        trace_id=_key(payload, "trace_id" if of_v3 else "request_id", "trace"),
        time_ms=_moment(payload, "request_time") if of_v3 else _time(payload, "timestamp_ms"),
        run_id=str(metadata.get(SOURCE_RUN) or ""),
        assessments=[_assessment(entry) for entry in payload.get("assessments") or ()],
    )


def _assessment(payload: Json) -> Assessment:
    return Assessment(
        assessment_id=_key(payload, "assessment_id", "assessment"),
        updated_ms=_moment(payload, "last_update_time") or 0,
        run_ids=named_runs(json.dumps(payload.get("metadata") or {})),
    )


def _moment(payload: Json, key: str) -> int | None:
    """Return an RFC 3339 time as ms since the epoch."""
    value = payload.get(key)
    try:
        return None if value is None else parse_time(str(value))
    except ValueError:
        raise _invalid_response(f"{key!r} = {value!r}, which is not a time") from None


def _invalid_response(what: str) -> ServerError:
    return ServerError(
        f"The server's response contains {what}.",
        Failure.INVALID_RESPONSE,
        hint="Is the tracking URI that of an MLflow server, without a proxy that rewrites answers?",
    )


def _mapping(payload: Json, key: str) -> Json:
    value = payload.get(key)
    if not isinstance(value, dict):
        raise _invalid_response(f"an entity without {key!r}")
    return value


def _key(payload: Json, key: str, what: str) -> str:
    value = payload.get(key)
    if value is None or value == "" or isinstance(value, (dict, list)):
        raise _invalid_response(f"a {what} without {key!r}")
    return str(value)


def _text(payload: Json, key: str) -> str:
    value = payload.get(key)
    return "" if value is None else str(value)


def _time(payload: Json, key: str) -> int | None:
    value = payload.get(key)
    # Almost all are numbers; a million runs have ten million of them.
    if value is None or type(value) is int:
        return value
    try:
        # Some proxies and stores write int64 as strings, as protobuf's JSON mapping says.
        return int(value)
    except (TypeError, ValueError):
        raise _invalid_response(f"{key!r} = {value!r}, which is not a time in ms") from None


def _values(found: Iterable[Json], names: Collection[str]) -> tuple[tuple[str, float], ...]:
    """Return name and value of some metrics; NaN and infinities are encoded as text."""
    values = []
    for metric in found:
        if metric.get("key") in names:
            try:
                values.append((str(metric["key"]), float(metric.get("value", 0.0))))
            except (TypeError, ValueError):
                raise _invalid_response(
                    f"a metric with the value {metric.get('value')!r}"
                ) from None
    return tuple(sorted(values))


def _tags(payload: Json) -> dict[str, str]:
    tags: Any = payload.get("tags") or ()
    return {
        str(t["key"]): str(t.get("value", "")) for t in sorted(tags, key=lambda t: str(t["key"]))
    }
