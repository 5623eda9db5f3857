"""The post-delete check, and the rollback of deletions that something depends on.

MLflow has no conditional delete: between the re-check of an entity and its deletion anything may
happen.  So recoverable entities are checked again after their deletion.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from mlflow_gc.apply import batching
from mlflow_gc.apply.experiment_names import FREED_NAME, ExperimentNames, rename_back
from mlflow_gc.apply.outcomes import Recorder
from mlflow_gc.apply.recheck.checker import Finding
from mlflow_gc.apply.recheck.recheck import Recheck
from mlflow_gc.apply.restore_plan import OldTrash
from mlflow_gc.backend.interface import ABORT_ON, Gateway, ServerError
from mlflow_gc.backend.retries import retry_until_confirmed
from mlflow_gc.domain.kinds import EXPERIMENT, RUN
from mlflow_gc.plan.document import ExperimentEntry, Json, Plan, RunEntry, deletions_of

OnRollback = Callable[[str], None]
"""Called with a sentence about each rollback."""


class Rollback:
    """Checks deleted entities and rolls back.  Every method raises ``ServerError``.

    Failed checks are left to the next session, which begins with them.
    """

    def __init__(
        self,
        gateway: Gateway,
        plan: Plan,
        recheck: Recheck,
        recorder: Recorder,
        names: ExperimentNames,
        *,
        stop: threading.Event,
        on_rollback: OnRollback,
    ) -> None:
        self._gateway = gateway
        self._plan = plan
        self._recheck = recheck
        self._recorder = recorder
        self._names = names
        self._stop = stop
        self._on_rollback = on_rollback
        self._lossy = {
            (kind.name, kind.id_of(entry))
            for kind in (EXPERIMENT, RUN)
            for entry in deletions_of(plan, kind.entries)
            if not entry["reversible"]
        }

    def check_runs(self, entries: Sequence[RunEntry], skipped: Mapping[str, str]) -> None:
        """Roll back runs of a batch that something depends on, and the rest of retained trees.

        ``skipped`` are planned runs that are not deleted, with the reason.
        """
        deleted = self._recorder.deleted["run"] & {entry["run_id"] for entry in entries}
        if not deleted:
            return
        self._recheck.evidence.refresh()
        for run_id, finding in self._recheck.runs_to_roll_back(entries, deleted, skipped).items():
            self._roll_back("run", run_id, finding, partial(self._gateway.restore_run, run_id))
        self._recorder.journal.sync()

    def check_all_runs(self) -> None:
        """Check all runs once at the end, also for dependents with misleading times."""
        if not self._recorder.deleted["run"]:
            return
        skipped = self._recorder.runs_not_deleted()
        restored = self._recheck.evidence.active_among(self._recorder.deleted["run"])
        skipped |= dict.fromkeys(restored, "somebody restored it meanwhile")
        self._recorder.deleted["run"] -= restored
        self._recheck.check_other_shards(self._plan["runs"])
        needed = self._recheck.evidence.needed_among(self._recorder.deleted["run"], skipped)
        needed -= {i for kind, i, _ in self._recorder.result.failures if kind == "run"}
        if not needed:
            return
        for levels in batching.run_batches(self._plan["runs"], lambda: batching.BATCH):
            entries = batching.flat(levels)
            if any(entry["run_id"] in needed for entry in entries):
                self.check_runs(entries, skipped)

    def check_experiments(
        self, entries: Sequence[ExperimentEntry], undo: Mapping[str, Json]
    ) -> None:
        """Roll back experiments that somebody started to use while they were deleted.

        ``undo`` is their undo information by id.
        """
        if not entries:
            return
        self._recheck.evidence.refresh()
        before = {i: frozenset(known.get("deleted_runs", ())) for i, known in undo.items()}
        for experiment_id, known in undo.items():
            if FREED_NAME in known:
                self._names.expect(experiment_id, known[FREED_NAME])
        findings = self._recheck.experiments_to_roll_back(entries, before)
        for experiment_id, finding in findings.items():
            known = undo[experiment_id]
            trash = self._old_trash(experiment_id, known)
            restore = partial(self._restore_experiment, trash, experiment_id, known)
            self._roll_back("experiment", experiment_id, finding, restore)
        self._recorder.journal.sync()

    def _roll_back(
        self, kind: str, entity_id: str, finding: Finding, restore: Callable[[], object]
    ) -> None:
        """Undo a deletion of this session, and record it prominently."""
        why = f"{finding.code}: {finding.detail}"
        try:
            retry_until_confirmed(restore, self._stop)
        except ServerError as error:
            detail = f"It should be rolled back ({why}). {error.message}"
            self._recorder.record_failure(kind, entity_id, detail)
            if error.failure in ABORT_ON:
                raise
            return
        if (kind, entity_id) in self._lossy:
            whose = "its assessments" if kind == "run" else "assessments of runs in its trash"
            why = f"{why} (without {whose}: they were deleted permanently with it)"
        self._record(kind, entity_id, finding, why)
        what = f"{kind.replace('_', ' ')} {entity_id}"
        self._on_rollback(f"{what} was deleted and rolled back at once: {why}")

    def _old_trash(self, experiment_id: str, undo: Json) -> OldTrash:
        policy = self._recheck.policy
        return OldTrash(
            self._gateway,
            {experiment_id: undo},
            # Once started it is completed: a later session would find it active.
            threading.Event(),
            since_ms=policy.as_of_ms,
            workspace=self._plan["server"]["workspace"],
            evidence=policy.evidence,
        )

    def _restore_experiment(self, trash: OldTrash, experiment_id: str, undo: Json) -> None:
        trash.restore(experiment_id, record=self._record_old_trash)
        if problem := rename_back(self._gateway, experiment_id, undo, self._stop):
            self._on_rollback(f"experiment {experiment_id} is back, but {problem}")

    def _record_old_trash(self, run_id: str, finding: Finding | None) -> None:
        """Record why a run of the old trash of a restored experiment is active now."""
        if finding is None or finding.code == "already_active":
            return
        why = f"{finding.code}: {finding.detail}"
        self._record("run", run_id, finding, why)
        self._on_rollback(f"run {run_id} came back with its experiment and is left active: {why}")

    def _record(self, kind: str, entity_id: str, finding: Finding, why: str) -> None:
        self._recorder.deleted[kind].discard(entity_id)
        self._recorder.journal.record(kind, entity_id, "restored", reason=finding.code, detail=why)
