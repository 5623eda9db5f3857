"""Undo a prune from its journal, as far as MLflow can.

Experiments are restored first, each with exactly the runs that were active in it
(:class:`OldTrash`), then the runs.  Entities that are active when a restore begins are left active.
Model versions cannot be restored; the journal contains their data.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from mlflow_gc.apply.experiment_names import rename_back
from mlflow_gc.apply.journal.reader import Session, unconfirmed_in
from mlflow_gc.apply.journal.writer import Journal
from mlflow_gc.apply.recheck.checker import Finding
from mlflow_gc.apply.restore_plan import CREATED, OldTrash, Undo
from mlflow_gc.backend.interface import ABORT_ON, Failure, Gateway, ServerError
from mlflow_gc.backend.retries import retry_until_confirmed
from mlflow_gc.domain.entities import Experiment
from mlflow_gc.domain.timestamps import parse_time
from mlflow_gc.inventory.lookup import IDS_A_CALL, chunks, runs_by_id
from mlflow_gc.inventory.scan import read_experiments
from mlflow_gc.plan.document import Json, RunEntry
from mlflow_gc.plan.freed_names import is_freed
from mlflow_gc.plan.preconditions import KNOWN_KEYS, time_or_none
from mlflow_gc.retention.owner_tags import KEEP

# Restoring a large experiment takes minutes; the time of its last update is set at the end.
_RESTORED_WITHIN_MS = 60 * 60 * 1000
_CLOCK_MARGIN_MS = 5 * 60 * 1000

_PURGED = "it has been deleted permanently since"
_ANOTHER = "and what has its id now is another one"
_TRASH_LOST = "without assessments of runs in its trash: they were deleted permanently with it"
WAS_IN_TRASH = "it was in the trash before the prune"
"""Detail of the record of a run that returned to the trash."""


class Restorer:
    """Carries out a restore.

    ``earlier`` are interrupted sessions of this restore.  ``keep`` sets the keep tag on restored
    entities, so that the next prune does not delete them again.

    Attributes:
        is_incomplete: after :meth:`run`: whether an entity could not be restored.
        notes: after :meth:`run`: entities that were not restored exactly as before, one sentence
            each.
    """

    def __init__(
        self,
        gateway: Gateway,
        undo: Undo,
        earlier: Sequence[Session],
        header: Json,
        *,
        keep: bool = False,
    ) -> None:
        self._gateway = gateway
        self._undo = undo
        # Set from outside to end after the requests in flight.
        self._stop = gateway.stopped
        self._keep_tag = header.get("keep_tag", KEEP) if keep else None
        self._begun = _begun(earlier)
        self._trash = OldTrash(
            gateway,
            undo.experiments,
            self._stop,
            since_ms=parse_time(header["started_at"]),
            brought_back=undo.runs,
            keep_tag=header.get("keep_tag", KEEP),
            workspace=header["server"]["workspace"],
        )
        self._restored_experiments: set[str] = set()
        self.notes: list[str] = []
        self.is_incomplete = False

    def preview(self) -> tuple[list[RunEntry], dict[str, Finding]]:
        """Return the runs that would return to the trash now, and why others would not.

        Without an old trash or an interrupted restore this takes no request.

        Raises:
            ServerError: the server cannot be read.
        """
        candidates = [
            i for i in self._undo.experiments if self._trash.candidates(i) or i in self._begun
        ]
        if not candidates:
            return [], {}
        experiments = read_experiments(self._gateway)
        found = [experiments[i] for i in candidates if i in experiments]
        deleted = [e.experiment_id for e in found if e.lifecycle_stage != "active"]
        to_trash, retained = self._trash.to_trash(deleted)
        for experiment in found:
            if experiment.lifecycle_stage == "active":
                left, needed = self._still_to_trash(experiment)
                to_trash += left
                retained |= needed
        return to_trash, retained

    def run(self, journal: Journal, *, dry_run: bool = False) -> ServerError | None:
        """Restore; return the error that ended it early, if any."""
        self._journal, self._dry_run = journal, dry_run
        # The current state, under the lock of the journal.
        self._begun = _begun(journal.earlier)
        self._unconfirmed = unconfirmed_in(journal.earlier)
        fatal: ServerError | None = None
        try:
            for experiment_id in self._undo.experiments:
                if not self._stop.is_set():
                    self._one("experiment", experiment_id, self._experiment)
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
                what = f"a {kind.replace('_', ' ')}; the journal contains what is known"
                self._skip(kind, key, "irreversible", f"MLflow cannot restore {what}")
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
            if error.failure in ABORT_ON:
                raise
            if error.failure is Failure.FORBIDDEN:
                self._not_back(kind, entity_id, "forbidden", error.message)
            else:
                self.is_incomplete = True
                self._journal.record(kind, entity_id, "failed", detail=error.message)

    def _experiment(self, experiment_id: str) -> None:
        experiment = self._gateway.get_experiment(experiment_id)
        if experiment is None:
            self._not_back("experiment", experiment_id, "gone", _PURGED)
            return
        created = self._undo.experiments[experiment_id].get(CREATED)
        if created and created != time_or_none(experiment.creation_time):
            self._not_back("experiment", experiment_id, "gone", f"{_PURGED}, {_ANOTHER}")
            return
        is_active = experiment.lifecycle_stage == "active"
        if is_active and experiment_id not in self._begun:
            self._name_back(experiment)
            return
        if self._dry_run:
            to_trash, retained = (
                self._still_to_trash(experiment)
                if is_active
                else self._trash.to_trash([experiment_id])
            )
            for entry in to_trash:
                self._record_old_trash(entry["run_id"], None)
            for run_id, finding in retained.items():
                self._record_old_trash(run_id, finding)
        elif not self._trash.restore(
            experiment_id,
            begun=self._left_to_do(experiment) if is_active else (),
            intend=partial(self._intend, experiment_id),
            record=self._record_old_trash,
        ):
            return
        self._restored_experiments.add(experiment_id)
        self._record_experiment(experiment_id, self._rename_back(experiment_id))

    def _name_back(self, experiment: Experiment) -> None:
        """Restore the name of an experiment that is already active.

        A restore failed to, because the name was taken; or a prune ended, or was killed, between
        renaming and deleting it.
        """
        experiment_id = experiment.experiment_id
        if not is_freed(experiment.name, experiment_id):
            detail = "somebody restored it before; its runs are left as they are"
        elif not (detail := self._rename_back(experiment_id) or ""):
            self._record_experiment(experiment_id, None)
            return
        self._skip("experiment", experiment_id, "already_active", detail)
        self._keep("experiment", experiment_id)

    def _rename_back(self, experiment_id: str) -> str | None:
        """Restore the name of an experiment; return why it keeps the other one, or None."""
        undo = self._undo.experiments[experiment_id]
        try:
            problem = rename_back(
                self._gateway, experiment_id, undo, self._stop, dry_run=self._dry_run
            )
        except ServerError as error:
            if error.failure in ABORT_ON:
                raise
            problem = f"without its name. {error.message}"
        if problem:
            self.is_incomplete = True
            will = "would be" if self._dry_run else "is"
            self.notes.append(f"experiment {experiment_id} {will} back, but {problem}")
        return problem

    def _record_experiment(self, experiment_id: str, problem: str | None) -> None:
        self._keep("experiment", experiment_id)
        lost = experiment_id in self._undo.trash_without_assessments
        detail = "; ".join(filter(None, (problem, _TRASH_LOST if lost else None)))
        self._journal.record("experiment", experiment_id, "restored", detail=detail or None)
        self._journal.sync()

    def _still_to_trash(self, experiment: Experiment) -> tuple[list[RunEntry], dict[str, Finding]]:
        return self._trash.still_to_trash(
            experiment.experiment_id, self._left_to_do(experiment), is_unverified=True
        )

    def _left_to_do(self, experiment: Experiment) -> list[RunEntry]:
        """Return the runs that an earlier session says it still had to move to the trash.

        A journal is a file that anybody may have edited, so the server has to confirm it: that the
        experiment was restored right after the intent of the session; and for each run, in
        :class:`~mlflow_gc.apply.restore_plan.OldTrash`, that it is unchanged since (``expect``) and
        that nothing protects it.
        """
        entries: dict[str, RunEntry] = {}
        allowed = set(self._trash.candidates(experiment.experiment_id))
        updated_ms = experiment.last_update_time or 0
        for since_ms, left in self._begun.get(experiment.experiment_id, ()):
            if since_ms - _CLOCK_MARGIN_MS <= updated_ms <= since_ms + _RESTORED_WITHIN_MS:
                entries.update(
                    (run_id, entry)
                    for run_id, entry in left.items()
                    if run_id in allowed
                    and entry["experiment_id"] == experiment.experiment_id
                    and entry["expect"].keys() >= KNOWN_KEYS["runs"]
                )
        return [entries[run_id] for run_id in sorted(entries)]

    def _intend(self, experiment_id: str, to_trash: Sequence[RunEntry]) -> None:
        undo = {"old_trash": list(to_trash)} if to_trash else None
        self._journal.intend("experiment", [experiment_id], undo)

    def _record_old_trash(self, run_id: str, finding: Finding | None) -> None:
        if finding is None:
            self._journal.record("run", run_id, "deleted", detail=WAS_IN_TRASH)
            return
        # It does not return to the trash, so it is active again.
        code = "protected" if finding.code == "protected" else "already_active"
        self._skip("run", run_id, code, f"{WAS_IN_TRASH} and is left active: {finding.detail}")

    def _keep(self, kind: str, entity_id: str) -> None:
        """Set the keep tag, if requested."""
        if self._keep_tag is not None and not self._dry_run:
            self._gateway.set_tag(kind, entity_id, self._keep_tag, "true")

    def _runs(self, run_ids: Sequence[str]) -> None:
        experiments = read_experiments(self._gateway)
        found = {run.run_id: run for run in runs_by_id(self._gateway, run_ids, sorted(experiments))}
        if not self._dry_run:
            self._journal.intend("run", run_ids)
        to_restore: list[str] = []
        for run_id in run_ids:
            run = found.get(run_id)
            if run is None:
                self._not_back("run", run_id, "gone", _PURGED)
            elif run.lifecycle_stage == "active":
                # Restored with its experiment, or by somebody before.
                if run.experiment_id in self._restored_experiments:
                    self._record_run(run_id)
                elif ("run", run_id) in self._unconfirmed:
                    # An earlier session was interrupted between restoring it and recording that.
                    self._one("run", run_id, self._restore_run)
                else:
                    self._one("run", run_id, partial(self._keep, "run"))
                    self._skip("run", run_id, "already_active", "somebody restored it before")
            elif (
                experiments[run.experiment_id].lifecycle_stage != "active"
                and run.experiment_id not in self._restored_experiments
            ):
                detail = (
                    f"its experiment {run.experiment_id} is in the trash; restore that one first, "
                    "with the runs that were in it"
                )
                self._not_back("run", run_id, "changed", detail)
            else:
                to_restore.append(run_id)
        self._restore_runs(to_restore)
        self._journal.sync()

    def _restore_runs(self, run_ids: Sequence[str]) -> None:
        """Restore some runs in parallel; after a fatal error start no further one."""
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
            # restore_run is idempotent.
            retry_until_confirmed(partial(self._gateway.restore_run, run_id), self._stop)
        # The keep tag of a restored experiment protects everything in it.
        self._keep("run", run_id)
        self._record_run(run_id)

    def _record_run(self, run_id: str) -> None:
        lost = run_id in self._undo.without_assessments
        detail = "without its assessments: they were deleted permanently with it" if lost else None
        self._journal.record("run", run_id, "restored", detail=detail)

    def _not_back(self, kind: str, entity_id: str, code: str, detail: str) -> None:
        """Record an entity that could not be restored."""
        self.is_incomplete = True
        self._skip(kind, entity_id, code, detail)

    def _skip(self, kind: str, entity_id: str, code: str, detail: str) -> None:
        self._journal.record(kind, entity_id, "skipped", reason=code, detail=detail)


def _begun(sessions: Sequence[Session]) -> Mapping[str, list[tuple[int, dict[str, RunEntry]]]]:
    """Return the incomplete restores of experiments of earlier sessions (killed or failed).

    Returns:
        By experiment id: the time (ms since the epoch), and the runs by id that the session was
        about to move to the trash and did not.
    """
    begun: dict[str, list[tuple[int, dict[str, RunEntry]]]] = {}
    for session in sessions:
        for line in session.lines:
            if line["type"] == "intent" and line["kind"] == "experiment":
                undo = line.get("undo", {})
                left = {entry["run_id"]: entry for entry in undo.get("old_trash", ())}
                for experiment_id in line["ids"]:
                    moment = parse_time(line["time"])
                    begun.setdefault(experiment_id, []).append((moment, left))
            elif line["type"] != "record":
                continue
            elif line["kind"] == "experiment" and line["outcome"] == "restored":
                begun.pop(line["id"], None)
            elif line["kind"] == "run":
                # Completed: if it is active now, somebody restored it since.
                for parts in begun.values():
                    for _, left in parts:
                        left.pop(line["id"], None)
    return begun
