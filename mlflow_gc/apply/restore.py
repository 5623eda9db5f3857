"""Undo what a prune did, as far as MLflow can, from its journal.

Experiments come first: restoring one brings back every run in it, whenever that was deleted
(HAZARDS 0.6), so the runs that were in its trash before go back there.  Then the runs.  Model
versions cannot be restored; what is known of them is in the journal.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from mlflow_gc.apply.journal import Journal
from mlflow_gc.apply.undo import Undo, restore_experiment, settled
from mlflow_gc.inventory import wire
from mlflow_gc.inventory.gateway import Failure, Gateway, ServerError
from mlflow_gc.inventory.scan import IDS_A_CALL, chunks, read_experiments, runs_by_id

_FATAL = {Failure.UNAUTHORIZED, Failure.UNREACHABLE, Failure.GARBLED}


class Restorer:
    """Carries out an undo.

    Args:
        gateway: the server the journal is of.
        undo: what to bring back.
        journal: of this restore; an earlier one of the same journal is continued.
        stop: set from outside to end after the calls under way.
        dry_run: look at everything, change nothing.
    """

    def __init__(
        self,
        gateway: Gateway,
        undo: Undo,
        journal: Journal,
        *,
        stop: threading.Event,
        dry_run: bool,
    ) -> None:
        self._gateway = gateway
        self._undo = undo
        self._journal = journal
        self._stop = stop
        self._dry_run = dry_run
        # Begun by an earlier session and not brought to its end: killed, or failed in the middle.
        intended = {
            entity_id
            for session in journal.earlier
            for intent in session.intents
            if intent["kind"] == "experiment"
            for entity_id in intent["ids"]
        }
        self._begun = intended - {
            record["id"]
            for session in journal.earlier
            for record in session.records
            if record["kind"] == "experiment" and record["outcome"] == "restored"
        }
        self._restored_experiments: set[str] = set()
        self._planned_runs = frozenset(undo.runs)

    def run(self) -> ServerError | None:
        """Restore; returns the error that ended it early, if one did."""
        fatal: ServerError | None = None
        try:
            for experiment_id, trash in self._undo.experiments.items():
                if not self._stop.is_set():
                    self._one("experiment", experiment_id, partial(self._experiment, trash))
            for group in chunks(self._undo.runs, IDS_A_CALL):
                if not self._stop.is_set():
                    self._runs(group)
        except ServerError as error:
            fatal = error
        for kind, keys in (
            ("model_version", self._undo.model_versions),
            ("registered_model", self._undo.registered_models),
        ):
            for key in keys:
                self._journal.record(
                    kind,
                    key,
                    "skipped",
                    reason="irreversible",
                    detail=f"MLflow cannot restore a {kind.replace('_', ' ')}; the journal holds "
                    "what is known",
                )
        interrupted = "interrupted" if self._stop.is_set() else "completed"
        self._journal.close("failed" if fatal else interrupted)
        return fatal

    def _one(self, kind: str, entity_id: str, restore: Callable[[str], None]) -> None:
        """Restore one entity; its failure does not stop the others.

        Raises:
            ServerError: the server is gone or locked us out.
        """
        try:
            restore(entity_id)
        except ServerError as error:
            if error.failure in _FATAL:
                raise
            if error.failure is Failure.FORBIDDEN:
                self._skip(kind, entity_id, "forbidden", error.message)
            else:
                self._journal.record(kind, entity_id, "failed", detail=error.message)

    def _experiment(self, trash_before: Sequence[str], experiment_id: str) -> None:
        found = self._gateway.get_experiment(experiment_id)
        if found is None:
            self._skip("experiment", experiment_id, "gone", "it was deleted for good meanwhile")
            return
        is_active = wire.experiment(found).lifecycle_stage == "active"
        if is_active and experiment_id not in self._begun:
            self._skip("experiment", experiment_id, "already_active", "somebody restored it before")
            return
        back_to_trash = sorted(set(trash_before) - self._planned_runs)
        if not self._dry_run:
            self._journal.intend("experiment", [experiment_id])
            restore_experiment(self._gateway, experiment_id, back_to_trash, self._stop)
        self._restored_experiments.add(experiment_id)
        self._journal.record("experiment", experiment_id, "restored")
        self._journal.sync()

    def _runs(self, run_ids: Sequence[str]) -> None:
        experiments = read_experiments(self._gateway)
        found = {run.run_id: run for run in runs_by_id(self._gateway, run_ids, sorted(experiments))}
        if not self._dry_run:
            self._journal.intend("run", run_ids)
        going: list[str] = []
        for run_id in run_ids:
            run = found.get(run_id)
            if run is None:
                self._skip("run", run_id, "gone", "it was deleted for good meanwhile")
            elif run.lifecycle_stage == "active":
                # A restored experiment brought it along, or somebody restored it before.
                if run.experiment_id in self._restored_experiments:
                    self._record_run(run_id)
                else:
                    self._skip("run", run_id, "already_active", "somebody restored it before")
            elif (
                experiments[run.experiment_id].lifecycle_stage != "active"
                and run.experiment_id not in self._restored_experiments
            ):
                self._skip(
                    "run", run_id, "changed", f"its experiment {run.experiment_id} is in the trash"
                )
            else:
                going.append(run_id)
        self._restore_runs(going)
        self._journal.sync()

    def _restore_runs(self, run_ids: Sequence[str]) -> None:
        """Restore some runs, several at a time; after a fatal error no further one begins."""
        is_over = threading.Event()

        def one(run_id: str) -> None:
            if self._stop.is_set() or is_over.is_set():
                return
            try:
                self._one("run", run_id, self._restore_run)
            except BaseException:
                is_over.set()
                raise

        with ThreadPoolExecutor(self._gateway.max_parallel) as pool:
            futures = [pool.submit(one, run_id) for run_id in run_ids]
        for future in futures:
            future.result()

    def _restore_run(self, run_id: str) -> None:
        if not self._dry_run:
            # restore_run on an active run changes nothing: sending it again is harmless.
            settled(partial(self._gateway.restore_run, run_id), self._stop)
        self._record_run(run_id)

    def _record_run(self, run_id: str) -> None:
        lost = run_id in self._undo.without_assessments
        detail = "without its assessments: deleting it wiped them for good" if lost else None
        self._journal.record("run", run_id, "restored", detail=detail)

    def _skip(self, kind: str, entity_id: str, code: str, detail: str) -> None:
        self._journal.record(kind, entity_id, "skipped", reason=code, detail=detail)
