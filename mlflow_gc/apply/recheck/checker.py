"""The re-check itself: is an entity unchanged since the plan, and does nothing protect it?

Pure functions of an entry of the plan, live evidence and the policy.  The evidence passes through
the same decision that made the plan, as of the time of the plan; both that decision and the
expectations of the plan must allow the deletion.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mlflow_gc.domain.entities import (
    UNPROBED,
    Experiment,
    ModelVersion,
    RegisteredModel,
    Run,
)
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.kinds import BY_NAME
from mlflow_gc.domain.reasons import Reason
from mlflow_gc.domain.timestamps import parse_time
from mlflow_gc.plan.document import (
    ExperimentEntry,
    Json,
    ModelVersionEntry,
    ModelVersionExpectations,
    RegisteredModelEntry,
    RegisteredModelExpectations,
    RunEntry,
)
from mlflow_gc.plan.preconditions import (
    differences,
    drift,
    expect_experiment,
    expect_model_version,
    expect_registered_model,
    expect_run,
    text_differences,
)
from mlflow_gc.retention.decision import Decision, Decisions, Verdict, protect
from mlflow_gc.retention.engine import decide
from mlflow_gc.retention.explain import explain
from mlflow_gc.retention.model_versions import refused_name
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.runs import is_evaluation

RECHECK_VALID_S = 5.0
"""Maximum number of seconds between the re-check of an entity and its deletion."""

GONE = frozenset({"gone", "already_deleted"})
"""Finding codes of entities that no longer exist or are in the trash."""

_LOSES_ASSESSMENTS = "assessments would be lost permanently, which the plan does not say"
_NOT_PLANNED = protect(Reason.CHANGED, "it is not in the plan")
_RENAMED_WITHIN_MS = 5 * 60 * 1000
_ROLLED_BACK_FOR = {"changed", "protected"}
# Reasons that mean "it changed since the plan", not "somebody protects it".
_CHANGES = {
    None,
    Reason.CHANGED,
    Reason.NOT_TERMINAL,
    Reason.UNKNOWN_TIME,
    Reason.NOT_SEEN,
    Reason.EXPERIMENT_DELETED,
    Reason.RECENT_TRASH,
}


@dataclass(frozen=True)
class Finding:
    """The result of a re-check of one entity.

    Attributes:
        code: None if it is to be deleted; else why not: ``changed``, ``gone``,
            ``already_deleted`` or ``protected``.
        detail: the same as text.
        checked_at: ``time.monotonic()`` of the oldest evidence, in seconds.
        changes: differences to the plan, ``{"field", "planned", "current"}`` each.
        protection: the decision that protects it now, or None.
    """

    code: str | None = None
    detail: str = ""
    checked_at: float = field(default_factory=time.monotonic)
    changes: tuple[Json, ...] = ()
    protection: Decision | None = None


@dataclass(frozen=True)
class RunEvidence:
    """The current state of planned runs, and of what may protect them.

    Attributes:
        read_at: ``time.monotonic()`` of the oldest part, in seconds.
        found: the planned runs that exist, of any lifecycle stage, by id.
        inventory: the active planned runs, and all other active runs that may protect them.
        retained: decisions on planned runs that an earlier re-check retained.
        skipped: planned runs that are not deleted, with the reason; their trees are retained, too.
        deleted: runs that this prune deleted; decisions treat them as active.
    """

    read_at: float
    found: Mapping[str, Run]
    inventory: Inventory
    retained: Mapping[str, Decision] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    deleted: Collection[str] = ()

    @property
    def planned(self) -> set[str]:
        """The planned runs to decide on."""
        return {*self.found} & self.inventory.runs.keys()


@dataclass(frozen=True)
class ExperimentEvidence:
    """The current state of planned experiments.

    Attributes:
        read_at: ``time.monotonic()`` of the oldest part, in seconds.
        found: the planned experiments that exist, of any lifecycle stage, by id.
        inventory: the active planned experiments with their active runs, logged models and probes.
        is_after_delete: this prune deleted them; decisions treat them as active.
    """

    read_at: float
    found: Mapping[str, Experiment]
    inventory: Inventory
    is_after_delete: bool = False


@dataclass(frozen=True)
class RegistryEvidence:
    """The current state of a planned model version or registered model.

    Attributes:
        read_at: ``time.monotonic()`` of the oldest part, in seconds.
        inventory: the entity, if it exists, with its model and all versions that may protect it.
        aliases: of the version.
        refusal: why the server refuses every request that names the model, or empty.
    """

    read_at: float
    inventory: Inventory
    aliases: tuple[str, ...] = ()
    refusal: str = ""


def protected_runs(entries: Sequence[RunEntry], evidence: RunEvidence) -> dict[str, Decision]:
    """Return decisions on runs that are retained whatever their age (see :func:`decide`).

    These are runs outside the plan, skipped runs, and runs that changed since the plan.
    """
    planned, others = evidence.planned, evidence.inventory.runs.keys() - evidence.found.keys()
    protected = {run_id: evidence.retained.get(run_id, _NOT_PLANNED) for run_id in others}
    protected.update(
        (run_id, protect(Reason.CHANGED, why)) for run_id, why in evidence.skipped.items()
    )
    for entry in entries:
        if entry["run_id"] in planned and (changed := _compare_run(entry, evidence)[0]):
            protected[entry["run_id"]] = protect(Reason.CHANGED, *changed)
    return protected


def check_runs(
    entries: Sequence[RunEntry], evidence: RunEvidence, policy: Policy, decisions: Decisions
) -> dict[str, Finding]:
    """Return a finding for each of some planned runs, by id; nested trees must be complete.

    ``decisions`` are on the inventory in the evidence, with :func:`protected_runs`.
    """
    return {entry["run_id"]: _check_run(entry, evidence, policy, decisions) for entry in entries}


def _check_run(
    entry: RunEntry, evidence: RunEvidence, policy: Policy, decisions: Decisions
) -> Finding:
    run_id = entry["run_id"]
    if run_id not in evidence.found:
        return _gone(evidence.read_at)
    if run_id not in decisions.runs:
        return _already_deleted(evidence.read_at)
    decision = _decision_on("run", run_id, evidence.inventory, policy, decisions)
    changed, changes = _compare_run(entry, evidence)
    return replace(_judged(decision, evidence.read_at), changes=changes if changed else ())


def _compare_run(entry: RunEntry, evidence: RunEvidence) -> tuple[list[str], tuple[Json, ...]]:
    """Return the changes of a run since the plan: as texts, and field by field."""
    run = evidence.inventory.runs[entry["run_id"]]
    expected: Mapping[str, Any] = entry["expect"]
    if run.run_id in evidence.deleted:
        expected = _without_assessments(expected)
    now = expect_run(run, evidence.inventory.experiments.get(run.experiment_id))
    changed = drift(expected, now)
    if is_evaluation(run) and entry.get("reversible") is True:
        changed.append(_LOSES_ASSESSMENTS)
    if not changed:
        return [], ()
    # The name is part of tags_digest, and the plan contains it.
    named = differences({"run_name": entry["run_name"]}, {"run_name": run.run_name})
    return changed, (*named, *differences(expected, now))


def check_experiments(
    entries: Sequence[ExperimentEntry],
    evidence: ExperimentEvidence,
    policy: Policy,
    decisions: Decisions,
) -> dict[str, Finding]:
    """Return a finding for each of some planned experiments, by id.

    Their planned runs were processed before.  ``decisions`` are on the inventory in the evidence.
    """
    run_counts = Counter(run.experiment_id for run in evidence.inventory.runs.values())
    return {
        i: _check_experiment(entry, evidence, policy, decisions, run_counts[i])
        for i, entry in ((entry["experiment_id"], entry) for entry in entries)
    }


def _check_experiment(
    entry: ExperimentEntry,
    evidence: ExperimentEvidence,
    policy: Policy,
    decisions: Decisions,
    run_count: int,
) -> Finding:
    experiment_id, read_at = entry["experiment_id"], evidence.read_at
    if experiment_id not in evidence.found:
        return _gone(read_at)
    if experiment_id not in evidence.inventory.experiments:
        return _already_deleted(read_at)
    decision = _decision_on("experiment", experiment_id, evidence.inventory, policy, decisions)
    expected: Mapping[str, Any] = entry["expect"]
    if evidence.is_after_delete:
        expected = _without_assessments(expected)
    assessed = evidence.inventory.probes.get(experiment_id, UNPROBED).assessed_runs
    now = expect_experiment(evidence.found[experiment_id], assessed)
    if run_count:
        # This plan did not delete these runs, so the experiment is retained.
        finding = _protected_or(decision, "changed", f"{run_count} active runs in it", read_at)
    elif decision.verdict is Verdict.DELETE and not decision.reversible and entry["reversible"]:
        finding = Finding("changed", _LOSES_ASSESSMENTS, read_at)
    elif changed := drift(expected, now):
        finding = _protected_or(decision, "changed", "; ".join(changed), read_at)
    else:
        finding = _judged(decision, read_at)
    return replace(finding, changes=tuple(differences(expected, now)))


def check_version(entry: ModelVersionEntry, evidence: RegistryEvidence, policy: Policy) -> Finding:
    """Return the finding for an entry of the plan's ``model_versions``."""
    key = (entry["name"], entry["version"])
    version = evidence.inventory.model_versions.get(key)
    if version is None:
        return _gone_or_refused(entry, evidence)
    decision = _decision_on("model_version", key, evidence.inventory, policy)
    now = expect_model_version(version, evidence.aliases)
    return _compared(entry, version, now, decision, evidence.read_at)


def check_registered_model(
    entry: RegisteredModelEntry, evidence: RegistryEvidence, policy: Policy
) -> Finding:
    """Return the finding for an entry of the plan's ``registered_models``.

    Deleting a registered model would delete all its versions.
    """
    model = evidence.inventory.registered_models.get(entry["name"])
    if model is None:
        return _gone_or_refused(entry, evidence)
    if count := len(evidence.inventory.model_versions):
        return Finding("protected", f"it has {count} versions now", evidence.read_at)
    decision = _decision_on("registered_model", entry["name"], evidence.inventory, policy)
    return _compared(entry, model, expect_registered_model(model), decision, evidence.read_at)


def to_roll_back(findings: Mapping[str, Finding]) -> dict[str, Finding]:
    """Return the findings on deleted entities whose deletion has to be rolled back."""
    return {i: finding for i, finding in findings.items() if finding.code in _ROLLED_BACK_FOR}


def without_own_changes(
    experiment: Experiment,
    entry: ExperimentEntry,
    renames: Sequence[tuple[str, int]],
    *,
    is_after_delete: bool,
) -> Experiment:
    """Return an experiment without the changes by this plan, if nobody else changed it.

    Renaming, renaming back and deleting set the time of its last update.  Another name, or a name
    from another time (ms since the epoch, by the server's clock), is a change by somebody else.
    """
    planned_ms = (
        None if entry["last_update_time"] is None else parse_time(entry["last_update_time"])
    )
    updated_ms = experiment.last_update_time or 0
    is_own_change = any(
        experiment.name == name
        and (is_after_delete or abs(updated_ms - moment_ms) <= _RENAMED_WITHIN_MS)
        for name, moment_ms in renames
    )
    if is_own_change:
        experiment = replace(experiment, name=entry["name"], last_update_time=planned_ms)
    if is_after_delete:
        return replace(experiment, lifecycle_stage="active", last_update_time=planned_ms)
    return experiment


def _without_assessments(expected: Mapping[str, Any]) -> Json:
    """Return the expectations of a plan without those that the deletion itself invalidates."""
    digests = {"assessments_digest", "trash_assessments_digest"}
    return {key: value for key, value in expected.items() if key not in digests}


def _decision_on(
    kind: str, key: Any, inventory: Inventory, policy: Policy, decisions: Decisions | None = None
) -> Decision:
    """Return a decision; if a TTL tag makes an entity fresh, with that tag as chain."""
    decisions = decisions or decide(inventory, policy)
    decision = decisions.by_kind[BY_NAME[kind].entries][key]
    if decision.verdict is Verdict.FRESH:
        by = explain(inventory, decisions, policy, kind, key).age.by
        return replace(decision, via=(by,)) if by and by.kind == "tag" else decision
    return decision


def _compared(
    entry: ModelVersionEntry | RegisteredModelEntry,
    entity: ModelVersion | RegisteredModel,
    now: ModelVersionExpectations | RegisteredModelExpectations,
    decision: Decision,
    read_at: float,
) -> Finding:
    """Return the finding for an entity of the registry; the plan contains all its texts."""
    changed = drift(entry["expect"], now)
    if not changed:
        return _judged(decision, read_at)
    finding = _protected_or(decision, "changed", "; ".join(changed), read_at)
    texts = text_differences(entry, entity.tags, entity.description)
    return replace(finding, changes=(*differences(entry["expect"], now), *texts))


def _gone(read_at: float) -> Finding:
    return Finding("gone", "it no longer exists", read_at)


def _already_deleted(read_at: float) -> Finding:
    return Finding("already_deleted", "it is in the trash already", read_at)


def _gone_or_refused(
    entry: ModelVersionEntry | RegisteredModelEntry, evidence: RegistryEvidence
) -> Finding:
    if evidence.refusal:
        refused = refused_name(entry["name"])
        return _protected_or(refused, "protected", evidence.refusal, evidence.read_at)
    return _gone(evidence.read_at)


def _judged(decision: Decision, read_at: float) -> Finding:
    """Return the finding for an unchanged entity, by the decision on it."""
    if decision.verdict is Verdict.DELETE:
        return Finding(checked_at=read_at)
    if decision.verdict is Verdict.FRESH and decision.via:
        return Finding("protected", str(decision.via[0]), read_at)
    return _protected_or(decision, "changed", "it was active again", read_at)


def _protected_or(decision: Decision, code: str, detail: str, read_at: float) -> Finding:
    """Return ``protected`` with the chain of the protection, or else the given code and text."""
    if decision.reason in _CHANGES:
        if decision.reason is Reason.CHANGED:
            detail = "; ".join(decision.chain)
        return Finding(code, detail, read_at)
    reason = [decision.reason.value] if decision.reason else []
    chain = ", ".join([*reason, *decision.chain])
    return Finding("protected", chain, read_at, protection=decision)
