"""What a journal says that can be undone, and the single steps of undoing it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

from mlflow_gc.apply.journal import RECORD_KINDS, Session
from mlflow_gc.inventory import wire
from mlflow_gc.inventory.gateway import Failure, Gateway, ServerError
from mlflow_gc.inventory.retries import wait_s
from mlflow_gc.inventory.scan import runs_by_id
from mlflow_gc.plan.entries import Document

_ATTEMPTS = 3


LOST_ASSESSMENTS = "assessments"
"""What the journal says a deleted run has lost for good."""


@dataclass(frozen=True)
class Undo:
    """What a journal says can and cannot be undone.

    Attributes:
        experiments: for each deleted experiment, the runs that were in its trash before.
        runs: deleted runs, in the order of their deletion.
        without_assessments: those of them whose assessments went for good.
        model_versions: what is known of the deleted versions.
        registered_models: the same of deleted registered models.
    """

    experiments: dict[str, list[str]] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    without_assessments: set[str] = field(default_factory=set)
    model_versions: dict[str, Document] = field(default_factory=dict)
    registered_models: dict[str, Document] = field(default_factory=dict)


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
        intended = intended_undo(session)
        for key in sorted(session.unsettled()):
            touched.setdefault(key, intended.get(key))
        for record in session.records:
            if record["outcome"] == "deleted":
                touched[record["kind"], record["id"]] = record.get("undo")
            elif record["outcome"] == "restored":  # put back by the prune itself
                touched.pop((record["kind"], record["id"]), None)
    undo = Undo()
    for (kind, entity_id), known in touched.items():
        if only and kind not in only and f"{kind}s" not in only and entity_id not in only:
            continue
        if kind == "experiment":
            undo.experiments[entity_id] = list((known or {}).get("deleted_runs", ()))
        elif kind == "run":
            undo.runs.append(entity_id)
            if (known or {}).get("lost") == LOST_ASSESSMENTS:
                undo.without_assessments.add(entity_id)
        elif kind == "model_version":
            undo.model_versions[entity_id] = known or {}
        else:
            undo.registered_models[entity_id] = known or {}
    return undo


def intended_undo(session: Session) -> dict[tuple[str, str], Document]:
    """Return, by kind and id, the undo information that a session wrote into its intents."""
    found: dict[tuple[str, str], Document] = {}
    for intent in session.intents:
        if "undo" in intent:
            for entity_id in intent["ids"]:
                found.setdefault((intent["kind"], entity_id), intent["undo"])
    return found


def deleted_since_completion(sessions: Sequence[Session]) -> dict[str, set[str]]:
    """Return, by kind, the ids of what is still ours to put back.

    A session that was cut off leaves its batch to the next one; what a completed session deleted
    is settled, and may be somebody else's by now, unless it should have been put back and could
    not be.
    """
    deleted: dict[str, set[str]] = {kind: set() for kind in RECORD_KINDS}
    owed: dict[str, set[str]] = {kind: set() for kind in deleted}
    for session in sessions:
        for record in session.records:
            kind, entity_id, outcome = record["kind"], record["id"], record["outcome"]
            if outcome == "deleted":
                deleted[kind].add(entity_id)
            elif outcome == "restored":
                deleted[kind].discard(entity_id)
                owed[kind].discard(entity_id)
            elif outcome == "failed" and entity_id in deleted[kind]:
                owed[kind].add(entity_id)
        if session.end and session.end["ended"] == "completed":
            deleted = {kind: set(ids) for kind, ids in owed.items()}
    return deleted


def settled(
    send: Callable[[], None],
    stop: threading.Event,
    is_done: Callable[[], bool] = lambda: False,
) -> None:
    """Restore something: after an unclear answer look, and send again if it did not happen.

    Args:
        send: the restore.
        stop: cuts waiting short.
        is_done: the look; not needed where restoring twice is the same as once.

    Raises:
        ServerError: it could not be done, or nobody knows.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            send()
        except ServerError as error:
            if error.failure not in {Failure.AMBIGUOUS, Failure.THROTTLED, Failure.GARBLED}:
                raise
            if attempt == _ATTEMPTS:
                raise
            stop.wait(wait_s(error, attempt))
            if is_done():
                return
        else:
            return


def restore_experiment(
    gateway: Gateway, experiment_id: str, trash_before: Collection[str], stop: threading.Event
) -> None:
    """Bring an experiment back with exactly the runs that were active when it was deleted.

    Restoring brings back every run in it, whenever that was deleted (HAZARDS 0.6); those of
    ``trash_before`` go back into the trash.

    Raises:
        ServerError: one of the steps could not be done; it can be repeated.
    """

    def is_active() -> bool:
        found = gateway.get_experiment(experiment_id)
        return found is not None and wire.experiment(found).lifecycle_stage == "active"

    if not is_active():
        settled(partial(gateway.restore_experiment, experiment_id), stop, is_active)
    for run in runs_by_id(gateway, sorted(trash_before), [experiment_id]):
        if run.lifecycle_stage == "active":
            # Deleting a run twice is the same as once.
            settled(partial(gateway.delete_run, run.run_id), stop)
