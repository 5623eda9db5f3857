"""Undo what a prune did, as far as MLflow can, from its journal.

Experiments come first: restoring one brings back every run in it, whenever that was deleted
(HAZARDS 0.6), so the runs that were in its trash before go back there.  Then the runs.  Model
versions cannot be restored; what is known of them is in the journal.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from mlflow_gc.apply.journal import Journal, Session
from mlflow_gc.inventory import wire
from mlflow_gc.inventory.entities import Run
from mlflow_gc.inventory.gateway import Failure, Gateway, ServerError, pages
from mlflow_gc.inventory.scan import chunks
from mlflow_gc.plan.build import Document

_IDS_A_CALL = 100
_FATAL = {Failure.UNAUTHORIZED, Failure.UNREACHABLE, Failure.GARBLED}


@dataclass(frozen=True)
class Undo:
    """What a journal says can and cannot be undone.

    Attributes:
        experiments: for each deleted experiment, the runs that were in its trash before.
        runs: deleted runs, in the order of their deletion.
        model_versions: what is known of the deleted versions.
    """

    experiments: dict[str, list[str]] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    model_versions: dict[str, Document] = field(default_factory=dict)


def plan_undo(sessions: Sequence[Session], only: Collection[str] = ()) -> Undo:
    """Collect what a prune deleted, or was about to delete when it was killed.

    Args:
        sessions: of the journal.
        only: kinds (``run``) or ids to take; everything when empty.
    """
    touched: dict[tuple[str, str], Document | None] = {}
    for session in sessions:
        if session.header["action"] != "prune":
            continue
        for kind, entity_id in sorted(session.unsettled()):
            touched.setdefault((kind, entity_id), _intended_undo(session, kind, entity_id))
        for record in session.records:
            if record["outcome"] == "deleted":
                touched[record["kind"], record["id"]] = record.get("undo")
    undo = Undo()
    for (kind, entity_id), known in touched.items():
        if only and kind not in only and f"{kind}s" not in only and entity_id not in only:
            continue
        if kind == "experiment":
            undo.experiments[entity_id] = list((known or {}).get("deleted_runs", ()))
        elif kind == "run":
            undo.runs.append(entity_id)
        else:
            undo.model_versions[entity_id] = known or {}
    return undo


def _intended_undo(session: Session, kind: str, entity_id: str) -> Document | None:
    for intent in session.intents:
        if intent["kind"] == kind and entity_id in intent["ids"]:
            return intent.get("undo")
    return None


class Restorer:
    """Carries out an undo.

    Args:
        gateway: the server the journal is of.
        undo: what to bring back.
        journal: of this restore; an earlier one of the same journal is continued.
        stop: set from outside to end after the call under way.
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
        # Restored by a session that was killed before it had put the old trash back.
        self._begun = {
            entity_id
            for session in journal.earlier
            for kind, entity_id in session.unsettled()
            if kind == "experiment"
        }
        self._restored_experiments: set[str] = set()

    def run(self) -> ServerError | None:
        """Restore; returns the error that ended it early, if one did."""
        fatal: ServerError | None = None
        try:
            for experiment_id, trash in self._undo.experiments.items():
                if not self._stop.is_set():
                    self._one("experiment", experiment_id, partial(self._experiment, trash))
            for group in chunks(self._undo.runs, _IDS_A_CALL):
                if not self._stop.is_set():
                    self._runs(group)
        except ServerError as error:
            fatal = error
        for key in self._undo.model_versions:
            self._journal.record(
                "model_version",
                key,
                "skipped",
                reason="irreversible",
                detail="MLflow cannot restore a model version; the journal holds what is known",
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
        back_to_trash = sorted(set(trash_before) - set(self._undo.runs))
        if not self._dry_run:
            self._journal.intend("experiment", [experiment_id])
            if not is_active:
                self._settled(
                    partial(self._gateway.restore_experiment, experiment_id),
                    lambda: self._experiment_is_active(experiment_id),
                )
            for run in self._runs_by_id(back_to_trash, [experiment_id]):
                if run.lifecycle_stage == "active":
                    self._gateway.delete_run(run.run_id)
        self._restored_experiments.add(experiment_id)
        self._journal.record("experiment", experiment_id, "restored")
        self._journal.sync()

    def _runs(self, run_ids: Sequence[str]) -> None:
        experiments = {
            e.experiment_id: e
            for e in map(
                wire.experiment, pages(partial(self._gateway.search_experiments, view="ALL"))
            )
        }
        found = {run.run_id: run for run in self._runs_by_id(run_ids, sorted(experiments))}
        if not self._dry_run:
            self._journal.intend("run", run_ids)
        for run_id in run_ids:
            run = found.get(run_id)
            if self._stop.is_set():
                return
            if run is None:
                self._skip("run", run_id, "gone", "it was deleted for good meanwhile")
            elif run.lifecycle_stage == "active":
                # A restored experiment brought it along, or somebody restored it before.
                if run.experiment_id in self._restored_experiments:
                    self._journal.record("run", run_id, "restored")
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
                self._one("run", run_id, self._restore_run)
        self._journal.sync()

    def _restore_run(self, run_id: str) -> None:
        if not self._dry_run:
            self._settled(
                partial(self._gateway.restore_run, run_id),
                # restore_run on an active run changes nothing: asking again is harmless.
                lambda: False,
            )
        self._journal.record("run", run_id, "restored")

    def _settled(self, send: Callable[[], None], is_done: Callable[[], bool]) -> None:
        """Send once; after an unclear answer look, and send once more if it did not happen."""
        try:
            send()
        except ServerError as error:
            if error.failure not in {Failure.AMBIGUOUS, Failure.THROTTLED}:
                raise
            self._stop.wait(min(error.retry_after or 1.0, 60.0))
            if not is_done():
                send()

    def _experiment_is_active(self, experiment_id: str) -> bool:
        found = self._gateway.get_experiment(experiment_id)
        return found is not None and wire.experiment(found).lifecycle_stage == "active"

    def _runs_by_id(self, run_ids: Sequence[str], experiment_ids: Sequence[str]) -> Iterator[Run]:
        for group in chunks(run_ids, _IDS_A_CALL):
            listed = ", ".join(f"'{run_id}'" for run_id in group)
            for some in chunks(experiment_ids, 1000):
                search = partial(
                    self._gateway.search_runs,
                    some,
                    filter_string=f"attributes.run_id IN ({listed})",
                    view="ALL",
                )
                yield from map(wire.run, pages(search))

    def _skip(self, kind: str, entity_id: str, code: str, detail: str) -> None:
        self._journal.record(kind, entity_id, "skipped", reason=code, detail=detail)
