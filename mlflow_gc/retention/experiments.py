"""Which experiments are stale, and what protects them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from mlflow_gc.domain.entities import UNPROBED, Experiment, Probe
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.reasons import NOT_CHANGED, Inactivity, Link, Reason, show
from mlflow_gc.domain.source_references import by_location, folders_of
from mlflow_gc.retention.decision import FRESH, Decision, Verdict, delete, protect
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rule_resolution import RuleResolver
from mlflow_gc.retention.runs import in_grace, is_gateway, newest_activity


def decide_experiments(
    inventory: Inventory, policy: Policy, resolver: RuleResolver, runs: Mapping[str, Decision]
) -> dict[str, Decision]:
    """Decide on all active experiments, given the decisions on their runs."""
    facts = _Facts(inventory, policy, runs)
    return {
        experiment_id: _decide(experiment, facts, resolver, policy)
        for experiment_id, experiment in inventory.experiments.items()
        if experiment.lifecycle_stage == "active"
    }


class _Facts:
    """Facts about each experiment from the rest of the inventory; times are ms since the epoch."""

    def __init__(self, inventory: Inventory, policy: Policy, runs: Mapping[str, Decision]) -> None:
        self.probes = inventory.probes
        self.run_count: dict[str, int] = defaultdict(int)
        self.newest: dict[str, int] = defaultdict(int)
        self.fresh: set[str] = set()
        self.retained_run: dict[str, tuple[str, Decision]] = {}
        for run_id in sorted(runs):
            run = inventory.runs[run_id]
            experiment_id = run.experiment_id
            self.run_count[experiment_id] += 1
            if runs[run_id].verdict is Verdict.FRESH:
                self.fresh.add(experiment_id)
                continue
            experiment = inventory.experiments.get(experiment_id)
            newest = newest_activity(run, experiment, policy) or 0
            self.newest[experiment_id] = max(self.newest[experiment_id], newest)
            if runs[run_id].verdict is Verdict.PROTECT:
                self.retained_run.setdefault(experiment_id, (run_id, runs[run_id]))
        self.logged_model: dict[str, str] = {}
        for model_id, model in sorted(inventory.logged_models.items()):
            self.logged_model.setdefault(model.experiment_id, model_id)
            newest = model.last_updated_time or 0
            self.newest[model.experiment_id] = max(self.newest[model.experiment_id], newest)
        self.version_inside = _versions_inside(inventory)


def _decide(
    experiment: Experiment, facts: _Facts, resolver: RuleResolver, policy: Policy
) -> Decision:
    experiment_id = experiment.experiment_id
    count = facts.run_count[experiment_id]
    lost = facts.probes.get(experiment_id, UNPROBED).assessed_runs
    age = resolver.age_of_experiment(experiment, count, reversible=not lost)
    stamps = (
        ("creation_time", experiment.creation_time),
        ("last_update_time", experiment.last_update_time),
    )
    if age.ms is None or experiment_id in facts.fresh:
        return FRESH
    cutoff_ms = policy.as_of_ms - age.ms
    # Runs may have another TTL than their experiment.
    plausible = [ms for _, ms in stamps if ms is not None and policy.is_plausible(ms)]
    newest = max([facts.newest[experiment_id], *plausible])
    if newest >= cutoff_ms:
        return FRESH
    if protection := _protection_at_any_age(experiment, policy):
        return protection
    if age.malformed:
        return protect(Reason.MALFORMED_TAG, age.malformed)
    implausible = [show(name, ms) for name, ms in stamps if not policy.is_plausible(ms)]
    if implausible:
        return protect(Reason.UNKNOWN_TIME, *implausible)
    if protection := _protection_by_contents(experiment_id, facts, cutoff_ms, policy):
        return protection
    latest = max(ms for _, ms in stamps if ms is not None)
    if policy.is_too_young(latest):
        return protect(Reason.MIN_AGE, show("last change", latest))
    if waiting := in_grace(experiment.tags, newest, policy):
        return waiting
    why_empty = {0: "has no runs", 1: "its only run is deleted"}.get(
        count, f"all its {count} runs are deleted"
    )
    inactivity = Inactivity.since(latest, policy.as_of_ms, NOT_CHANGED)
    irreversible = None
    if lost:
        whose = Link("run", min(lost), _and_more(lost))
        irreversible = f"IRREVERSIBLE: assessments of {whose} in its trash are deleted permanently"
    return delete(why_empty, inactivity, age.by, irreversible, reversible=not lost)


def _protection_by_contents(
    experiment_id: str, facts: _Facts, cutoff_ms: int, policy: Policy
) -> Decision | None:
    """Return a protection of an experiment by something in it, or None."""
    if experiment_id in facts.retained_run:
        run_id, of_run = facts.retained_run[experiment_id]
        reason = of_run.reason.value if of_run.reason else ""
        return protect(Reason.LIVE_RUN, Link("run", run_id), reason, *of_run.via)
    if version := facts.version_inside.get(experiment_id):
        return protect(Reason.REGISTERED_MODEL, Link("model_version", version))
    # Purging the experiment (mlflow gc) deletes these permanently.
    if model_id := facts.logged_model.get(experiment_id):
        return protect(Reason.HAS_LOGGED_MODELS, Link("logged_model", model_id))
    return _protection_by_probe(facts.probes.get(experiment_id), cutoff_ms, policy)


def is_default(experiment: Experiment) -> bool:
    """Tell whether it is the experiment that MLflow falls back to."""
    # Runs without an experiment are created there and fail if it does not exist.  In a workspace
    # its id may differ from 0, so the name counts, too
    # (docs/explanation/mlflow-facts.md#default-experiment-can-be-deleted).
    return experiment.experiment_id == "0" or experiment.name == "Default"


def _protection_at_any_age(experiment: Experiment, policy: Policy) -> Decision | None:
    """Return a protection of an experiment that does not depend on its age, or None."""
    if protected_by := policy.protected_by(experiment.tags):
        return protected_by
    if is_default(experiment):
        return protect(Reason.DEFAULT_EXPERIMENT)
    if is_gateway(experiment):
        return protect(Reason.GATEWAY)
    return None


def _protection_by_probe(probe: Probe | None, cutoff_ms: int, policy: Policy) -> Decision | None:
    if probe is None:
        return protect(Reason.NOT_SEEN, "not read")
    if probe.traces_are_hidden:
        return protect(Reason.TRACES_UNREAD)
    if probe.has_traces:
        return protect(Reason.HAS_TRACES)
    if probe.unseen_run:
        return protect(Reason.LIVE_RUN, Link("run", probe.unseen_run), "appeared during the scan")
    # Deleting an experiment deletes the runs in its trash again, and their assessments.
    if probe.assessed_runs and not policy.delete_evaluations:
        whose = "its" if len(probe.assessed_runs) == 1 else "their"
        return protect(
            Reason.GENAI_EVALUATE,
            Link("deleted run", min(probe.assessed_runs), _and_more(probe.assessed_runs)),
            f"{whose} assessments would be lost permanently",
        )
    if probe.newest_deleted_run:
        run_id, active_ms = probe.newest_deleted_run
        if active_ms >= cutoff_ms or policy.is_too_young(active_ms):
            return protect(Reason.RECENT_TRASH, Link("deleted run", run_id))
    if probe.contents:
        return protect(Reason.HAS_CONTENTS, *probe.contents)
    return None


def _and_more(run_ids: Collection[str]) -> str:
    return f"and {len(run_ids) - 1:,} more" if len(run_ids) > 1 else ""


def _versions_inside(inventory: Inventory) -> dict[str, str]:
    """Return experiments whose artifact location contains the source of a model version."""
    experiments_at = by_location(
        (e.experiment_id, e.artifact_location)
        for e in inventory.experiments.values()
        if e.artifact_location
    )
    inside: dict[str, str] = {}
    versions = [*inventory.model_versions.values(), *inventory.foreign_versions]
    for version in sorted(versions, key=lambda v: v.order):
        for folder in folders_of(version):
            for experiment_id in experiments_at.get(folder, ()):
                inside.setdefault(experiment_id, version.key)
    return inside
