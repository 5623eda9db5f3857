"""Re-checks of planned entities: live evidence, judged by the pure checker."""

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

    Every method raises ``ServerError`` when the evidence cannot be read; then nothing may be deleted.

    Args:
        gateway: where to read.
        plan: a verified plan; with a policy only its ``runs``, ``protected`` runs and ``server``.
        policy: judges in place of the plan's.

    Attributes:
        policy: what judges.
        evidence: where all that is judged is read.
    """

    def __init__(self, gateway: Gateway, plan: Plan, policy: Policy | None = None) -> None:
        self.policy = policy or Policy.from_document(plan["policy"], as_of=plan["as_of"])
        self.evidence = LiveEvidence(gateway, plan, self.policy)
        self._renames: dict[str, list[tuple[str, int]]] = {}

    def check_runs(self, entries: Sequence[RunEntry]) -> dict[str, Finding]:
        """Return a finding for each of some planned runs, by id; nested trees come together."""
        return self._check_runs(entries, (), {})

    def runs_to_roll_back(
        self, entries: Sequence[RunEntry], deleted: Collection[str], kept: Mapping[str, str]
    ) -> dict[str, Finding]:
        """Check runs after their deletion, as if they were not deleted.

        MLflow has no conditional delete, so between the re-check and the deletion someone may have
        come to need a run.

        Args:
            entries: entries of the plan's ``runs``; whole nested trees should come together.
            deleted: which of them this prune deleted.
            kept: which of them are not deleted, with words why; their trees are retained, too.

        Returns:
            Why a deletion has to be rolled back, by id.
        """
        if not deleted:
            return {}
        findings = to_roll_back(self._check_runs(entries, deleted, kept))
        return {run_id: finding for run_id, finding in findings.items() if run_id in deleted}

    def check_experiments(self, entries: Sequence[ExperimentEntry]) -> dict[str, Finding]:
        """Return a finding for each of some planned experiments, by id, after their planned runs."""
        return self._check_experiments(entries, None)

    def experiments_to_roll_back(
        self, entries: Sequence[ExperimentEntry], trash_before: Mapping[str, Collection[str]]
    ) -> dict[str, Finding]:
        """Check experiments after their deletion, as if they were not deleted.

        Args:
            entries: entries of the plan's ``experiments``.
            trash_before: for each of them the runs that were in its trash right before.

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
        """Take note that whoever applies this plan renames an experiment, or renames it back.

        Args:
            experiment_id: of a planned experiment.
            name: what it is called from then on, if nobody else renames it.
            moment_ms: when, by the server's clock, ms since the epoch.
        """
        self._renames.setdefault(experiment_id, []).append((name, moment_ms))

    def _check_runs(
        self, entries: Sequence[RunEntry], deleted: Collection[str], kept: Mapping[str, str]
    ) -> dict[str, Finding]:
        evidence = self.evidence.of_runs(entries, deleted, kept)
        evidence, decisions = self._decide_runs(entries, evidence)
        return check_runs(entries, evidence, self.policy, decisions)

    def _decide_runs(
        self, entries: Sequence[RunEntry], evidence: RunEvidence
    ) -> tuple[RunEvidence, Decisions]:
        """Decide, with what those planned runs read that are retained: its makers are, as well.

        Which of them are retained only a decision can tell, and what a run reads only ``runs/get``.
        """
        protected = protected_runs(entries, evidence)
        planned, asked = evidence.planned, set[str]()
        while True:
            decisions = decide(evidence.inventory, self.policy, protected)
            retained = {i for i in planned if decisions.runs[i].verdict is not Verdict.DELETE}
            known = evidence.inventory.runs
            runs = dict(known)
            for run in self.evidence.dependents.read_inputs_of(retained - asked):
                self.evidence.dependents.retain(run, decisions.runs[run.run_id])
                # All else about it is as it was when this decision was made.
                model_ids = tuple(sorted({*known[run.run_id].model_ids, *run.model_ids}))
                runs[run.run_id] = replace(known[run.run_id], model_ids=model_ids)
            asked |= retained
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
