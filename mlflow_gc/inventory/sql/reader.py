"""Read the inventory from the database of a server, in one consistent snapshot.

The result equals that of ``scan.py`` over REST: rows become entities as by MLflow's
``to_mlflow_entity`` and ``to_proto`` (3.17) and then our ``json_parser.py``.  Nothing is ever
written here; deletions and the re-check of each entity use MLflow's API.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlflow_gc.backend.experiment_contents import LABEL_SCHEMAS, Contents, named
from mlflow_gc.backend.mlflow_tables import tracking
from mlflow_gc.domain.entities import (
    INCOMPLETE_SCAN,
    Assessment,
    Diagnostic,
    Experiment,
    LoggedModel,
    MetricHistory,
    ModelVersion,
    Probe,
    ReadFrom,
    Run,
    ServerInfo,
    with_histories,
)
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.run_content import content_digest
from mlflow_gc.domain.source_references import logged_model_ids
from mlflow_gc.domain.tag_selection import Wanted
from mlflow_gc.domain.traces import Traces, are_assessments_lost, named_runs
from mlflow_gc.inventory.lookup import parents_above
from mlflow_gc.inventory.progress import Progress
from mlflow_gc.inventory.sql.experiments import read_experiments
from mlflow_gc.inventory.sql.identity import refuse_other_server
from mlflow_gc.inventory.sql.registry import read_registry
from mlflow_gc.inventory.sql.runs import read_runs
from mlflow_gc.inventory.sql.snapshot import ROWS_AT_ONCE, Rows, Snapshot
from mlflow_gc.inventory.sql.statements import Statements
from mlflow_gc.inventory.sql.tables import Tables, chunks, tags_of
from mlflow_gc.inventory.traces import with_traces

if TYPE_CHECKING:
    from sqlalchemy import Select

_NAMED = 5


class DatabaseReader:
    """Reads the database of a server; every method raises ``ServerError``.

    Raises:
        ServerError: the database cannot be read.
        Refused: it is of another server than the one on which entities are deleted.
    """

    read_from: ReadFrom = "database"

    def __init__(self, snapshot: Snapshot, server: ServerInfo) -> None:
        self._snapshot = snapshot
        self._workspace = server.workspace
        self._statements = Statements(server.workspace)
        self._loses_assessments = are_assessments_lost(server.mlflow_version)
        refuse_other_server(snapshot, server.identity, server.tracking_uri, server.workspace)

    def scan(self, progress: Progress, *, wanted: Wanted | None = None) -> Inventory:
        """Read all experiments, active runs, registered models, versions and logged models."""
        tables, read = Tables(tracking.SqlExperiment.metadata), self._snapshot.read
        experiments = read_experiments(tables, read, self._workspace)
        progress("experiments", len(experiments))
        runs: dict[str, Run] = {}
        unreadable = read_runs(self._snapshot, self._statements, wanted, runs, progress)
        registry = read_registry(tables, read, self._workspace)
        logged = self._logged_models([*registry.versions.values(), *registry.foreign_versions])
        progress("logged models", len(logged))
        progress("registered models", len(registry.models))
        progress("model versions", len(registry.versions))
        above = parents_above(runs.values(), runs, self._parents_of)
        self._snapshot.release()
        return Inventory(
            experiments=experiments,
            runs=runs,
            parents_in_trash=above,
            registered_models=registry.models,
            model_versions=registry.versions,
            logged_models=logged,
            diagnostics=tuple(_unreadable_rows(experiments.values(), unreadable)),
            workspace=self._workspace,
            foreign_versions=registry.foreign_versions,
            foreign_models=registry.foreign_models,
        )

    def read_inputs(
        self, inventory: Inventory, run_ids: Collection[str], progress: Progress
    ) -> Inventory:
        """Return the inventory unchanged: the scan has read inputs and outputs of runs."""
        progress("runs", len(run_ids))
        return inventory

    def read_histories(
        self, inventory: Inventory, run_ids: Collection[str], progress: Progress
    ) -> Inventory:
        """Return the inventory with the times of all that was ever logged to metrics of runs."""
        found: dict[str, Run] = {}
        for ids in self._groups(run_ids, progress):
            rows = self._snapshot.read(self._statements.histories(ids))
            of_run = {run_id: MetricHistory(*history) for run_id, *history in rows}
            for run_id in ids:
                histories = [of_run[run_id]] if run_id in of_run else []
                found[run_id] = with_histories(inventory.runs[run_id], histories)
        return replace(inventory, runs={**inventory.runs, **found})

    def read_content_digests(
        self, inventory: Inventory, run_ids: Collection[str], progress: Progress
    ) -> Inventory:
        """Return the inventory with digests over parameters, datasets and models of runs."""
        found: dict[str, Run] = {}
        for ids in self._groups(run_ids, progress):
            digests = self._contents(ids, with_inputs=bool(inventory.logged_models))
            for run_id in ids:
                run = inventory.runs[run_id]
                details = replace(run.details, content_digest=digests[run_id])
                found[run_id] = replace(run, details=details)
        return replace(inventory, runs={**inventory.runs, **found})

    def read_traces(
        self, inventory: Inventory, run_ids: Collection[str], progress: Progress
    ) -> Inventory:
        """Return the inventory with the traces and assessments of runs."""
        traces = inventory.traces
        if traces is None:
            traces = Traces(self._loses_assessments)
            for rows in self._in_parts(self._statements.traces_of_runs):
                for trace_id, run_id in rows:
                    if run_id:
                        traces.add_trace(trace_id, run_id)
                progress("traces", len(rows))
            for rows in self._in_parts(self._statements.assessments):
                for assessment_id, updated_ms, metadata, made_by in rows:
                    named = named_runs(metadata or "")
                    assessment = Assessment(assessment_id, updated_ms, named)
                    traces.add_assessment(assessment, made_by or "")
            self._snapshot.release()
        return with_traces(inventory, traces, run_ids)

    def probe(
        self,
        inventory: Inventory,
        experiment_ids: Collection[str],
        *,
        since_ms: int,
        progress: Progress,
    ) -> Inventory:
        """Probe experiments that may be deleted: traces, their trash, unlisted runs."""
        found: dict[str, Probe] = {}
        traces = inventory.traces or Traces(are_lost=False)
        lost = traces.would_be_lost() - inventory.runs.keys()
        for ids in chunks(experiment_ids):
            numbers = [int(i) for i in ids]
            assessed: dict[str, dict[str, str]] = {}
            for run_ids in chunks(lost):
                for run_id, experiment in self._snapshot.read(
                    self._statements.deleted_runs(run_ids, numbers)
                ):
                    assessed.setdefault(str(experiment), {})[run_id] = traces.naming(run_id)
            traced = {
                str(row[0]) for row in self._snapshot.read(self._statements.with_traces(numbers))
            }
            in_trash = self._snapshot.read(self._statements.trash(numbers, max(since_ms, 0)))
            trash = _newest(in_trash)
            quiet = [n for n in numbers if trash.get(str(n), ("", 0))[1] < since_ms]
            measured = self._statements.measured_trash(quiet, max(since_ms, 0))
            trash |= _newest(self._snapshot.read(measured))
            # A server cannot read a run without a start time, and so cannot delete its experiment.
            unseen = {
                str(experiment): run_id
                for run_id, experiment, start, *_ in in_trash
                if start is None
            }
            # Unlisted runs exist only if somebody wrote since the scan (SQLite without WAL).
            for run_id, experiment_id in self._snapshot.read(self._statements.active_runs(numbers)):
                if run_id not in inventory.runs:
                    unseen.setdefault(str(experiment_id), run_id)
            waiting = [i for i in ids if i not in traced and i not in unseen]
            contents = self._contents_of(waiting)
            for i in ids:
                found[i] = Probe(
                    has_traces=i in traced,
                    newest_deleted_run=trash.get(i),
                    unseen_run=unseen.get(i),
                    assessed_runs=assessed.get(i, {}),
                    contents=contents.get(i, ()),
                )
            progress("experiments", len(ids))
        self._snapshot.release()
        return replace(inventory, probes={**inventory.probes, **found})

    def _groups(self, run_ids: Collection[str], progress: Progress) -> Iterator[list[str]]:
        """Yield groups of runs to read, with the progress after each."""
        for ids in chunks(run_ids):
            yield ids
            progress("runs", len(ids))
            self._snapshot.yield_lock()
        self._snapshot.release()

    def _in_parts(self, statement: Callable[[str, int], Select[Any]]) -> Iterator[Rows]:
        """Yield rows ordered by their first column, in chunks."""
        last = ""
        while rows := self._snapshot.read(statement(last, ROWS_AT_ONCE)):
            yield rows
            last = str(rows[-1][0])
            self._snapshot.yield_lock()

    def _contents(self, run_ids: Collection[str], *, with_inputs: bool) -> dict[str, str]:
        """Return digests by run, see run_content.py."""
        params: dict[str, list[tuple[str, str]]] = {}
        for run_id, key, value in self._snapshot.read(self._statements.params(run_ids)):
            params.setdefault(run_id, []).append((key, value or ""))
        datasets: dict[str, dict[str, tuple[str, str, list[tuple[str, str]]]]] = {}
        for run_id, dataset_id, *dataset in self._snapshot.read(self._statements.datasets(run_ids)):
            name, version, tag, value = dataset
            known = datasets.setdefault(run_id, {}).setdefault(dataset_id, (name, version, []))
            if tag is not None:
                known[2].append((tag, value or ""))
        outputs: dict[str, list[tuple[str, int]]] = {}
        for run_id, *output in self._snapshot.read(
            self._statements.models_of(run_ids, inputs=False)
        ):
            outputs.setdefault(run_id, []).append((output[0], output[1] or 0))
        inputs: dict[str, list[str]] = {}
        if with_inputs:
            rows = self._snapshot.read(self._statements.models_of(run_ids, inputs=True))
            for run_id, model_id, _ in rows:
                inputs.setdefault(run_id, []).append(model_id)
        return {
            run_id: content_digest(
                params=params.get(run_id, ()),
                datasets=datasets.get(run_id, {}).values(),
                inputs=inputs.get(run_id, ()),
                outputs=outputs.get(run_id, ()),
            )
            for run_id in run_ids
        }

    def _contents_of(self, experiment_ids: Sequence[str]) -> Contents:
        counts: list[tuple[str, str, int]] = []
        for kind, statement in self._statements.contents(experiment_ids).items():
            counts += ((str(i), kind, count) for i, count in self._snapshot.read(statement))
        # Contents that only a database shows are named only if they alone decide, so that plans do
        # not depend on the data source.
        shown = {i for i, kind, _ in counts if kind != LABEL_SCHEMAS}
        return named(h for h in counts if h[1] != LABEL_SCHEMAS or h[0] not in shown)

    def _parents_of(self, run_ids: Collection[str]) -> Iterator[tuple[Any, ...]]:
        for ids in chunks(run_ids):
            yield from self._snapshot.read(self._statements.parents(ids))

    def _logged_models(self, versions: Iterable[ModelVersion]) -> dict[str, LoggedModel]:
        """Return logged models that exist or that a version names (see :func:`read_logged_models_of`)."""
        named = {model_id for version in versions for model_id in logged_model_ids(version)}
        tags = tags_of(self._snapshot.read(self._statements.logged_model_tags()))
        measured_by: dict[str, list[str]] = {}
        for model_id, run_id in self._snapshot.read(self._statements.logged_model_metrics()):
            measured_by.setdefault(model_id, []).append(run_id)
        rows = self._snapshot.read(self._statements.logged_models())
        return {
            model_id: LoggedModel(
                model_id=model_id,
                experiment_id=str(experiment_id),
                source_run_id=source_run_id or "",
                artifact_uri=artifact_location or "",
                last_updated_time=max(created, updated),
                tags=tags.get(model_id, {}),
                metric_run_ids=tuple(sorted(measured_by.get(model_id, ()))),
                creation_time=created,
                name=name or "",
            )
            for (
                stage,
                model_id,
                name,
                experiment_id,
                source_run_id,
                artifact_location,
                created,
                updated,
            ) in rows
            if stage != "deleted" or model_id in named
        }


def _newest(rows: Rows) -> dict[str, tuple[str, int]]:
    """Return, by experiment, the last active run and its last activity."""
    newest: dict[str, tuple[str, int]] = {}
    for run_id, experiment_id, start, end, metric in rows:
        last = max((t for t in (start, end or None, metric) if t is not None), default=0)
        known = newest.get(str(experiment_id), (run_id, last))
        newest[str(experiment_id)] = max(known, (run_id, last), key=lambda pair: (pair[1], pair[0]))
    return newest


def _unreadable_rows(
    experiments: Iterable[Experiment], unreadable: Sequence[str]
) -> Iterator[Diagnostic]:
    """Yield a diagnostic if MLflow itself cannot read some rows.

    A server responds with 500 to a search that finds such a row.
    """
    names = [
        f"the artifact_location of experiment {e.experiment_id}"
        for e in experiments
        if not e.artifact_location
    ]
    names += unreadable
    if names:
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        yield Diagnostic(
            INCOMPLETE_SCAN,
            f"MLflow cannot show all that is in the database, because NULL stands where it needs "
            f"a value: {', '.join(names[:_NAMED])}{more}.",
            blocks=True,
        )
