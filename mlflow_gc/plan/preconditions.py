"""Preconditions: the state of an entity when the plan was made.

``prune`` compares them with the server immediately before each deletion.  The keys of one kind are
a closed set: a plan with an unknown precondition was made by a newer version and is refused,
because ignoring a precondition would be unsafe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlflow_gc.domain.canonical_json import digest
from mlflow_gc.domain.entities import Experiment, ModelVersion, RegisteredModel, Run
from mlflow_gc.domain.tag_selection import OWN_TAGS, tags_digest
from mlflow_gc.domain.timestamps import format_ms, is_writable
from mlflow_gc.plan.document import (
    ExperimentExpectations,
    FileExpectations,
    LinkExpectations,
    LoggedModelExpectations,
    ModelVersionExpectations,
    RegisteredModelExpectations,
    RunExpectations,
)
from mlflow_gc.settings import redact_uri


def time_or_none(ms: int | None) -> str | None:
    """Return a time as text; None if RFC 3339 cannot express it."""
    return format_ms(ms) if ms is not None and is_writable(ms) else None


def expect_run(run: Run, experiment: Experiment | None) -> RunExpectations:
    """Return the preconditions of a run; its experiment is None if it no longer exists."""
    expected: RunExpectations = {
        "experiment_id": run.experiment_id,
        "lifecycle_stage": run.lifecycle_stage,
        "status": run.status,
        "start_time": time_or_none(run.start_time),
        "end_time": time_or_none(run.end_time),
        "last_activity_time": time_or_none(run.last_activity_time(experiment)),
        "artifact_uri": redact_uri(run.artifact_uri),
        # An id is not an identity, and editing a note updates no timestamp: the name and all tags
        # are part of the review.
        "tags_digest": run.tags_digest or tags_digest(run.tags, run.run_name),
    }
    # None of these updates a timestamp: a metric value at a lower step or with an old timestamp, a
    # parameter, a dataset, a model, a trace, an assessment.
    details = run.details
    if details.metric_count is not None:
        expected["metric_count"] = details.metric_count
    if details.content_digest is not None:
        expected["content_digest"] = details.content_digest
    if details.traces_digest is not None:
        expected["traces_digest"] = details.traces_digest
    if details.assessments_digest is not None:
        expected["assessments_digest"] = details.assessments_digest
    return expected


def expect_experiment(
    experiment: Experiment, assessed_runs: Mapping[str, str] | None = None
) -> ExperimentExpectations:
    """Return the preconditions of an experiment; ``assessed_runs`` as in :class:`Probe`."""
    expected: ExperimentExpectations = {
        "name": experiment.name,
        "lifecycle_stage": experiment.lifecycle_stage,
        # SQLite assigns the id of an experiment again after mlflow gc
        # (docs/explanation/mlflow-facts.md#ids-are-reused).
        "creation_time": time_or_none(experiment.creation_time),
        "last_update_time": time_or_none(experiment.last_update_time),
        "artifact_location": redact_uri(experiment.artifact_location),
        "tags_digest": tags_digest(experiment.tags),
    }
    if assessed_runs:
        # These runs are not entries of the plan, so their digests are stored here.
        lost = digest(sorted(map(list, assessed_runs.items())))
        expected["trash_assessments_digest"] = lost
    return expected


def expect_model_version(
    version: ModelVersion, aliases: tuple[str, ...]
) -> ModelVersionExpectations:
    """Return the preconditions of a model version."""
    return {
        # A registered model that is created again starts at version 1
        # (docs/explanation/mlflow-facts.md#ids-are-reused).
        "creation_timestamp": time_or_none(version.creation_timestamp),
        "last_updated_timestamp": time_or_none(version.last_updated_timestamp),
        "current_stage": version.current_stage,
        "aliases": list(aliases),
        "run_id": version.run_id,
        "source": redact_uri(version.source),
        "tags_digest": tags_digest(version.tags, version.description),
    }


def expect_registered_model(model: RegisteredModel) -> RegisteredModelExpectations:
    """Return the preconditions of a registered model without versions."""
    return {
        "creation_timestamp": time_or_none(model.creation_timestamp),
        "last_updated_timestamp": time_or_none(model.last_updated_timestamp),
        "tags_digest": tags_digest(model.tags, model.description),
    }


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the differences, each as ``{"field", "planned", "current"}``."""
    return [
        {"field": key, "planned": value, "current": found.get(key)}
        for key, value in expected.items()
        if found.get(key) != value
    ]


def text_differences(
    entry: Mapping[str, Any], tags: Mapping[str, str], description: str
) -> Iterator[dict[str, Any]]:
    """Yield differences to current tags and description, which a plan contains in full."""
    if entry["description"] != description:
        yield {
            "field": "description",
            "planned": entry["description"],
            "current": description,
        }
    for key in sorted({*entry["tags"], *tags}):
        planned, current = entry["tags"].get(key), tags.get(key)
        if planned != current and key not in OWN_TAGS:
            yield {"field": f"tags.{key}", "planned": planned, "current": current}


DIGESTS = {
    "content_digest": "its parameters, datasets or models",
    "traces_digest": "its traces",
    "assessments_digest": "the assessments that name it",
    "trash_assessments_digest": "the assessments that name runs in its trash",
}
"""Readable names of digests."""


def drift(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return the differences, each as ``status was FINISHED, is RUNNING``."""
    return [
        f"{DIGESTS.get(change['field'], change['field'])} changed"
        if change["field"].endswith("_digest")
        else f"{change['field']} was {_show(change['planned'])}, is {_show(change['current'])}"
        for change in differences(expected, found)
    ]


def _show(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "not set" if value in {None, ""} else str(value)


DELETED_TIME = "deleted_time"
KNOWN_KEYS = {
    kind: frozenset(expectations.__annotations__) - {DELETED_TIME}
    for kind, expectations in (
        ("experiments", ExperimentExpectations),
        ("runs", RunExpectations),
        ("model_versions", ModelVersionExpectations),
        ("registered_models", RegisteredModelExpectations),
        ("logged_models", LoggedModelExpectations),
        ("files", FileExpectations),
        ("links", LinkExpectations),
    )
}
"""The known preconditions, by the field of the plan; ``purge`` also knows DELETED_TIME."""
