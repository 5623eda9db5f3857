"""SELECT statements on MLflow's own table definitions.

Each statement is the counterpart of one of MLflow's own (mlflow/store, 3.17), named if it is not
obvious.  Importing this module imports mlflow.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, false, func, or_, select

from mlflow_gc.backend import experiment_contents
from mlflow_gc.backend.mlflow_tables import tracking
from mlflow_gc.domain.tag_selection import PARENT_TAG
from mlflow_gc.domain.traces import SOURCE_RUN

_ACTIVE, _DELETED = "active", "deleted"

_experiments = tracking.SqlExperiment.__table__.c
_runs = tracking.SqlRun.__table__.c
_tags = tracking.SqlTag.__table__.c
_metrics = tracking.SqlLatestMetric.__table__.c
_history = tracking.SqlMetric.__table__.c
_inputs = tracking.SqlInput.__table__.c
_logged = tracking.SqlLoggedModel.__table__.c
_logged_tags = tracking.SqlLoggedModelTag.__table__.c
_logged_metrics = tracking.SqlLoggedModelMetric.__table__.c
_params = tracking.SqlParam.__table__.c
_datasets = tracking.SqlDataset.__table__.c
_input_tags = tracking.SqlInputTag.__table__.c
_traces = tracking.SqlTraceInfo.__table__.c
_trace_metadata = tracking.SqlTraceMetadata.__table__.c
_assessments = tracking.SqlAssessments.__table__.c

Rows = Select[Any]


@dataclass(frozen=True)
class ByRun:
    """Rows of runs; the first column is the run id.

    Attributes:
        rows: the statement.
        run_id: the column to order and to split by.
    """

    rows: Rows
    run_id: ColumnElement[str]


class Statements:
    """The statements for one database.

    Args:
        workspace: of the experiments to read; None for all, as on a server without workspaces.
    """

    def __init__(self, workspace: str | None) -> None:
        self._here = [_experiments.lifecycle_stage.in_([_ACTIVE, _DELETED])]
        if workspace is not None:
            self._here.append(_experiments.workspace == workspace)

    # -- experiments ---------------------------------------------------------------------------

    def with_traces(self, experiment_ids: Collection[int]) -> Rows:
        """Ids of the experiments with traces."""
        has_trace = exists().where(_traces.experiment_id == _experiments.experiment_id)
        return select(_experiments.experiment_id).where(
            _experiments.experiment_id.in_(experiment_ids), has_trace
        )

    # In chunks ordered by id: there may be millions of both.

    def traces_of_runs(self, after: str, count: int) -> Rows:
        """Trace id and run id of traces that a run made, after a trace id."""
        return (
            select(_trace_metadata.request_id, _trace_metadata.value)
            .join(_traces.request_id.table, _traces.request_id == _trace_metadata.request_id)
            .where(
                _trace_metadata.key == SOURCE_RUN,
                _trace_metadata.request_id > after,
                self._is_here(_traces.experiment_id),
            )
            .order_by(_trace_metadata.request_id)
            .limit(count)
        )

    def assessments(self, after: str, count: int) -> Rows:
        """Id, time of the last update, metadata, id of the run of the trace or NULL."""
        of_trace = _assessments.assessment_id.table.join(
            _traces.request_id.table, _traces.request_id == _assessments.trace_id
        ).outerjoin(
            _trace_metadata.request_id.table,
            and_(
                _trace_metadata.request_id == _assessments.trace_id,
                _trace_metadata.key == SOURCE_RUN,
            ),
        )
        return (
            select(
                _assessments.assessment_id,
                _assessments.last_updated_timestamp,
                _assessments.assessment_metadata,
                _trace_metadata.value,
            )
            .select_from(of_trace)
            .where(_assessments.assessment_id > after, self._is_here(_traces.experiment_id))
            .order_by(_assessments.assessment_id)
            .limit(count)
        )

    def deleted_runs(self, run_ids: Collection[str], experiment_ids: Collection[int]) -> Rows:
        """Ids of runs in the trash of the experiments, and of their experiments."""
        return select(_runs.run_uuid, _runs.experiment_id).where(
            _runs.lifecycle_stage == _DELETED,
            _runs.run_uuid.in_(run_ids),
            _runs.experiment_id.in_(experiment_ids),
        )

    @staticmethod
    def contents(experiment_ids: Collection[str]) -> dict[str, Rows]:
        """Experiment, count; by kind (experiment_contents.py), if this MLflow version has it."""
        numbers = [int(i) for i in experiment_ids]
        scorers = tracking.SqlScorer.__table__.c
        versions = tracking.SqlScorerVersion.__table__.c
        datasets = tracking.SqlEvaluationDataset.__table__.c
        associations = tracking.SqlEntityAssociation.__table__.c
        has_versions = exists().where(versions.scorer_id == scorers.scorer_id)
        is_there = exists().where(datasets.dataset_id == associations.source_id)
        found: dict[str, Rows] = {
            experiment_contents.SCORERS: _count_by(scorers.experiment_id, numbers).where(
                has_versions
            ),
            experiment_contents.DATASETS: _count_by(
                associations.destination_id, experiment_ids
            ).where(
                associations.destination_type == "experiment",
                associations.source_type == "evaluation_dataset",
                is_there,
            ),
        }
        for kind, name in (
            (experiment_contents.ISSUES, "SqlIssue"),  # 3.11
            (experiment_contents.REVIEW_QUEUES, "SqlReviewQueue"),  # 3.14
            (experiment_contents.LABEL_SCHEMAS, "SqlLabelSchema"),  # 3.14
        ):
            if table := getattr(tracking, name, None):
                columns = table.__table__.c
                found[kind] = _count_by(columns.experiment_id, numbers)
                if kind == experiment_contents.LABEL_SCHEMAS:
                    # The server creates one when somebody opens the page of an experiment.
                    found[kind] = found[kind].where(columns.is_default == false())
        return found

    def _is_here(self, experiment_id: ColumnElement[int]) -> ColumnElement[bool]:
        return experiment_id.in_(select(_experiments.experiment_id).where(*self._here))

    # -- runs ----------------------------------------------------------------------------------

    def run_counts(self) -> tuple[Rows, Rows]:
        """The number of active runs, and of all runs."""
        count = select(func.count())
        return count.where(*self._active()), count.select_from(_runs.run_uuid.table)

    def runs(self) -> ByRun:
        """Active runs."""
        return ByRun(
            select(
                _runs.run_uuid,
                _runs.name,
                _runs.experiment_id,
                _runs.user_id,
                _runs.status,
                _runs.start_time,
                _runs.end_time,
                _runs.artifact_uri,
            ).where(*self._active()),
            _runs.run_uuid,
        )

    def run_tags(self, *, active_only: bool) -> ByRun:
        """Run id, key, value."""
        rows = select(_tags.run_uuid, _tags.key, _tags.value)
        return self._by_run(rows, _tags.run_uuid, active_only=active_only)

    def run_times(self, *, active_only: bool) -> ByRun:
        """Run id, timestamps of the oldest and the newest metric."""
        rows = select(
            _metrics.run_uuid, func.min(_metrics.timestamp), func.max(_metrics.timestamp)
        ).group_by(_metrics.run_uuid)
        return self._by_run(rows, _metrics.run_uuid, active_only=active_only)

    def run_metrics(self, names: Collection[str], *, active_only: bool) -> ByRun:
        """Run id, name, value, whether it is NaN; a case-insensitive database returns more."""
        rows = select(_metrics.run_uuid, _metrics.key, _metrics.value, _metrics.is_nan).where(
            _metrics.key.in_(sorted(names))
        )
        return self._by_run(rows, _metrics.run_uuid, active_only=active_only)

    def histories(self, run_ids: Collection[str]) -> Rows:
        """Run id, number of metric values at any step, timestamps of oldest and newest.

        The table of all values is a hundred times larger than the others: only for some runs.
        """
        return (
            select(
                _history.run_uuid,
                func.count(),
                func.min(_history.timestamp),
                func.max(_history.timestamp),
            )
            .where(_history.run_uuid.in_(run_ids))
            .group_by(_history.run_uuid)
        )

    def params(self, run_ids: Collection[str]) -> Rows:
        """Run id, name and value of a parameter."""
        return select(_params.run_uuid, _params.key, _params.value).where(
            _params.run_uuid.in_(run_ids)
        )

    def datasets(self, run_ids: Collection[str]) -> Rows:
        """Run id, dataset id, its name and digest, key and value of a tag or NULL.

        ``_get_run_inputs``.
        """
        tagged = _inputs.input_uuid.table.outerjoin(
            _input_tags.input_uuid.table, _input_tags.input_uuid == _inputs.input_uuid
        ).join(_datasets.dataset_uuid.table, _datasets.dataset_uuid == _inputs.source_id)
        return (
            select(
                _inputs.destination_id,
                _datasets.dataset_uuid,
                _datasets.name,
                _datasets.digest,
                _input_tags.name,
                _input_tags.value,
            )
            .select_from(tagged)
            .where(_inputs.destination_type == "RUN", _inputs.destination_id.in_(run_ids))
        )

    def models_of(self, run_ids: Collection[str], *, inputs: bool) -> Rows:
        """Run id, id of a logged model that is its input (or output), step.

        ``_get_model_inputs`` and ``_get_model_outputs_bulk``.
        """
        source, destination = (
            ("RUN_INPUT", "MODEL_INPUT") if inputs else ("RUN_OUTPUT", "MODEL_OUTPUT")
        )
        return select(_inputs.source_id, _inputs.destination_id, _inputs.step).where(
            _inputs.source_type == source,
            _inputs.destination_type == destination,
            _inputs.source_id.in_(run_ids),
        )

    def run_models(self) -> ByRun:
        """Run id, id of a logged model that is its output or input.

        ``_get_model_outputs_bulk`` and ``_get_model_inputs``; the primary key begins with the type
        and the id of the source.
        """
        rows = select(_inputs.source_id, _inputs.destination_id).where(
            _inputs.source_type.in_(["RUN_INPUT", "RUN_OUTPUT"]),
            _inputs.destination_type.in_(["MODEL_INPUT", "MODEL_OUTPUT"]),
        )
        return ByRun(rows, _inputs.source_id)

    def parents(self, run_ids: Collection[str]) -> Rows:
        """Id of a run of any lifecycle stage, id of its parent."""
        return select(_tags.run_uuid, _tags.value).where(
            _tags.key == PARENT_TAG, _tags.run_uuid.in_(run_ids)
        )

    def trash(self, experiment_ids: Collection[int], since_ms: int) -> Rows:
        """Deleted runs active since, or of unknown age: id, experiment, start, end, metric."""
        of_run = _metrics.run_uuid == _runs.run_uuid
        newest = select(func.max(_metrics.timestamp)).where(of_run).scalar_subquery()
        measured = select(_metrics.run_uuid).where(of_run, _metrics.timestamp >= since_ms).exists()
        return select(
            _runs.run_uuid, _runs.experiment_id, _runs.start_time, _runs.end_time, newest
        ).where(
            _runs.lifecycle_stage == _DELETED,
            _runs.experiment_id.in_(experiment_ids),
            or_(
                _runs.start_time >= since_ms,
                _runs.end_time >= since_ms,
                measured,
                _runs.start_time.is_(None),
            ),
        )

    def measured_trash(self, experiment_ids: Collection[int], since_ms: int) -> Rows:
        """Deleted runs with a metric value since: id, experiment, and its time three times."""
        newest = func.max(_history.timestamp)
        return (
            select(_runs.run_uuid, _runs.experiment_id, newest, newest, newest)
            .join_from(
                tracking.SqlRun.__table__,
                tracking.SqlMetric.__table__,
                _history.run_uuid == _runs.run_uuid,
            )
            .where(
                _runs.lifecycle_stage == _DELETED,
                _runs.experiment_id.in_(experiment_ids),
                _history.timestamp >= since_ms,
            )
            .group_by(_runs.run_uuid, _runs.experiment_id)
        )

    def active_runs(self, experiment_ids: Collection[int]) -> Rows:
        """Ids of active runs, and of their experiments."""
        return select(_runs.run_uuid, _runs.experiment_id).where(
            _runs.lifecycle_stage == _ACTIVE, _runs.experiment_id.in_(experiment_ids)
        )

    def _active(self) -> list[ColumnElement[bool]]:
        return [_runs.lifecycle_stage == _ACTIVE, self._is_here(_runs.experiment_id)]

    def _by_run(self, rows: Rows, run_id: ColumnElement[str], *, active_only: bool) -> ByRun:
        if active_only:
            rows = rows.where(run_id.in_(select(_runs.run_uuid).where(*self._active())))
        return ByRun(rows, run_id)

    # -- logged models -------------------------------------------------------------------------

    def logged_models(self) -> Rows:
        """Logged models, deleted ones included."""
        return select(
            _logged.lifecycle_stage,
            _logged.model_id,
            _logged.name,
            _logged.experiment_id,
            _logged.source_run_id,
            _logged.artifact_location,
            _logged.creation_timestamp_ms,
            _logged.last_updated_timestamp_ms,
        ).where(self._is_here(_logged.experiment_id))

    def logged_model_tags(self) -> Rows:
        """Id, key, value."""
        return select(_logged_tags.model_id, _logged_tags.tag_key, _logged_tags.tag_value)

    def logged_model_metrics(self) -> Rows:
        """Id, id of a run that logged metrics for it."""
        return select(_logged_metrics.model_id, _logged_metrics.run_id).distinct()


def _count_by(owner: ColumnElement[Any], owners: Collection[Any]) -> Rows:
    return select(owner, func.count()).where(owner.in_(owners)).group_by(owner)
