"""Re-checks of planned entities: live evidence and the pure checker."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from mlflow_gc.apply.recheck.checker import (
    Finding,
    RunEvidence,
    check_experiments,
    check_registered_model,
    check_runs,
    check_version,
    protected_runs,
    to_roll_back,
)
from mlflow_gc.apply.recheck.live_evidence import LiveEvidence
from mlflow_gc.backend.interface import Gateway
from mlflow_gc.inventory.lookup import IDS_A_CALL, chunks
from mlflow_gc.plan.document import (
    ExperimentEntry,
    ModelVersionEntry,
    Plan,
    RegisteredModelEntry,
    RunEntry,
)
from mlflow_gc.retention.decision import Decisions, Verdict
from mlflow_gc.retention.engine import decide, decide_after_probe
from mlflow_gc.retention.policy import Policy


class Recheck:
    """Re-checks planned entities, before and after they are deleted.

    Every method raises ``ServerError`` if the evidence cannot be read; then nothing may be deleted.

    With a policy, which replaces that of the plan, only ``runs``, ``protected`` runs and ``server``
    of the plan are used.

    Attributes:
        policy: the policy of the decisions.
        evidence: reads the evidence.
    """

    def __init__(self, gateway: Gateway, plan: Plan, policy: Policy | None = None) -> None:
        self.policy = policy or Policy.from_document(plan["policy"], as_of=plan["as_of"])
        self.evidence = LiveEvidence(gateway, plan, self.policy)
        self._renames: dict[str, list[tuple[str, int]]] = {}

    def check_runs(self, entries: Sequence[RunEntry]) -> dict[str, Finding]:
        """Return a finding for each of some planned runs, by id; nested trees must be complete."""
        return self._check_runs(entries, (), {})

    def runs_to_roll_back(
        self, entries: Sequence[RunEntry], deleted: Collection[str], skipped: Mapping[str, str]
    ) -> dict[str, Finding]:
        """Post-delete check of runs, as if they were not deleted.

        MLflow has no conditional delete, so something may have become dependent on a run between
        the re-check and the deletion.

        Nested trees should be complete.  ``skipped`` are those that are not deleted, with the
        reason; their trees are retained, too.

        Returns:
            Why a deletion has to be rolled back, by id.
        """
        if not deleted:
            return {}
        findings = to_roll_back(self._check_runs(entries, deleted, skipped))
        return {run_id: finding for run_id, finding in findings.items() if run_id in deleted}

    def check_other_shards(self, of_shard: Sequence[RunEntry]) -> None:
        """Re-check the planned runs of other shards, as far as they may use models of own runs.

        Those that are retained protect the runs that made what they use.

        ``of_shard`` are the planned runs of this shard; without shards those of the plan.
        """
        if of_shard is self.evidence.entries:
            return
        own = {entry["run_id"] for entry in of_shard}
        if self.evidence.dependents.source_runs.isdisjoint(own):
            return
        others = [entry for entry in self.evidence.entries if entry["run_id"] not in own]
        for entries in chunks(others, IDS_A_CALL):
            self._check_runs(entries, (), {})

    def check_experiments(self, entries: Sequence[ExperimentEntry]) -> dict[str, Finding]:
        """Return a finding for each of some planned experiments, by id; after their runs."""
        return self._check_experiments(entries, None)

    def experiments_to_roll_back(
        self, entries: Sequence[ExperimentEntry], trash_before: Mapping[str, Collection[str]]
    ) -> dict[str, Finding]:
        """Post-delete check of experiments, as if they were not deleted.

        ``trash_before`` are the runs that were in the trash of each before.

        Returns:
            Why a deletion has to be rolled back, by id.
        """
        return to_roll_back(self._check_experiments(entries, trash_before))

    def check_version(self, entry: ModelVersionEntry) -> Finding:
        """Return the finding for an entry of the plan's ``model_versions``."""
        return check_version(entry, self.evidence.of_version(entry), self.policy)

    def check_registered_model(self, entry: RegisteredModelEntry) -> Finding:
        """Return the finding for an entry of the plan's ``registered_models``."""
        return check_registered_model(entry, self.evidence.of_registered_model(entry), self.policy)

    def expect_rename(self, experiment_id: str, name: str, moment_ms: int) -> None:
        """Register that this plan renames an experiment, or renames it back.

        ``moment_ms`` is the server time of the change, ms since the epoch.
        """
        self._renames.setdefault(experiment_id, []).append((name, moment_ms))

    def _check_runs(
        self, entries: Sequence[RunEntry], deleted: Collection[str], skipped: Mapping[str, str]
    ) -> dict[str, Finding]:
        evidence = self.evidence.of_runs(entries, deleted, skipped)
        evidence, decisions = self._decide_runs(entries, evidence)
        return check_runs(entries, evidence, self.policy, decisions)

    def _decide_runs(
        self, entries: Sequence[RunEntry], evidence: RunEvidence
    ) -> tuple[RunEvidence, Decisions]:
        """Decide, with the input models of retained planned runs: their source runs are retained, too.

        Only a decision tells which runs are retained, and only ``runs/get`` returns inputs, so this
        repeats.
        """
        protected = protected_runs(entries, evidence)
        planned, known_inputs = evidence.planned, set[str]()
        while True:
            decisions = decide(evidence.inventory, self.policy, protected)
            retained = {i for i in planned if decisions.runs[i].verdict is not Verdict.DELETE}
            known = evidence.inventory.runs
            runs = dict(known)
            for run in self.evidence.dependents.read_inputs_of(retained - known_inputs):
                self.evidence.dependents.retain(run, decisions.runs[run.run_id])
                # The other data of the run must stay as it was for this decision.
                model_ids = tuple(sorted({*known[run.run_id].model_ids, *run.model_ids}))
                runs[run.run_id] = replace(known[run.run_id], model_ids=model_ids)
            known_inputs |= retained
            if runs == known:
                break
            evidence = replace(evidence, inventory=replace(evidence.inventory, runs=runs))
        for run_id in planned - retained:
            self.evidence.dependents.release(run_id)
        return evidence, decisions

    def _check_experiments(
        self, entries: Sequence[ExperimentEntry], deleted_with: Mapping[str, Collection[str]] | None
    ) -> dict[str, Finding]:
        evidence = self.evidence.of_experiments(entries, self._renames, deleted_with)
        decisions = decide(evidence.inventory, self.policy)
        evidence = self.evidence.probed(evidence, decisions)
        decisions = decide_after_probe(evidence.inventory, self.policy, decisions)
        return check_experiments(entries, evidence, self.policy, decisions)
