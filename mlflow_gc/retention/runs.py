"""Which runs are stale, and what protects them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from heapq import nlargest

from mlflow_gc.inventory.entities import Experiment, Inventory, ModelVersion, Run
from mlflow_gc.inventory.sources import logged_model_ids, possible_run_ids
from mlflow_gc.retention.age import days_before, show
from mlflow_gc.retention.decision import FRESH, Decision, Reason, Verdict, delete, protect
from mlflow_gc.retention.lineage import spread
from mlflow_gc.retention.policy import TERMINAL_STATUSES, Policy

GATEWAY_TAG = "mlflow.experiment.isGateway"


def decide_runs(
    inventory: Inventory, policy: Policy, held: Mapping[str, Decision]
) -> dict[str, Decision]:
    """Decide over all active runs of an inventory.

    Args:
        inventory: what is known.
        policy: what is old.
        held: runs that the caller wants kept, with the decision to give them.
    """
    behind_versions = _runs_behind_versions(inventory)
    decisions = {
        run_id: _decide(
            run,
            inventory.experiments.get(run.experiment_id),
            behind_versions.get(run_id),
            held.get(run_id),
            policy,
        )
        for run_id, run in inventory.runs.items()
        if run.lifecycle_stage == "active"
    }
    decisions.update(_last_ones(inventory, decisions, policy))
    return spread(inventory, decisions)


def _decide(
    run: Run,
    experiment: Experiment | None,
    version: Decision | None,
    held: Decision | None,
    policy: Policy,
) -> Decision:
    by_age = _by_age(run, policy)
    if held is None and by_age.verdict is Verdict.FRESH:
        return by_age
    declared = _declared(run, experiment, version, policy)
    if declared or held:
        return declared or held or by_age
    if by_age.verdict is Verdict.DELETE and is_evaluation(run):
        return replace(
            by_age,
            reasons=(*by_age.reasons, "IRREVERSIBLE: its assessments go for good"),
            reversible=False,
        )
    return by_age


def _declared(
    run: Run, experiment: Experiment | None, version: Decision | None, policy: Policy
) -> Decision | None:
    """Return what someone declared about a run, or its place, that keeps it whatever its age."""
    if policy.keeps(run.tags):
        return protect(Reason.KEEP_TAG, f"tag {policy.keep_tag}={run.tags[policy.keep_tag]}")
    if experiment is None:
        return protect(Reason.NOT_SEEN, f"experiment {run.experiment_id} was not listed")
    where = f"experiment {experiment.experiment_id} {experiment.name}"
    if policy.keeps(experiment.tags):
        return protect(
            Reason.KEEP_TAG, where, f"tag {policy.keep_tag}={experiment.tags[policy.keep_tag]}"
        )
    if version:
        return version
    if is_gateway(experiment):
        return protect(Reason.GATEWAY, where)
    # From 3.11 on delete_run wipes the assessments that name the run, and restore_run does not
    # bring them back (HAZARDS 0.5).
    if is_evaluation(run) and not policy.delete_evaluations:
        return protect(Reason.GENAI_EVALUATE, "its assessments would be lost for good")
    if experiment.lifecycle_stage != "active":
        return protect(Reason.EXPERIMENT_DELETED, where)
    return None


def _by_age(run: Run, policy: Policy) -> Decision:
    last = run.last_activity_time
    known = [
        t for t in (run.start_time, run.end_time, run.newest_metric_time) if policy.is_sensible(t)
    ]
    if any(t is not None and t >= policy.cutoff_ms for t in known):
        return FRESH
    if run.status not in TERMINAL_STATUSES:
        # A resumed run is RUNNING with its old end time (HAZARDS 0.4), a killed job may stay
        # RUNNING for ever: both look alike from here.
        return protect(Reason.NOT_TERMINAL, f"status {run.status or 'unknown'}")
    doubts = [
        show(name, ms)
        for name, ms, required in (
            ("start_time", run.start_time, True),
            ("end_time", run.end_time, True),
            ("newest metric timestamp", run.newest_metric_time, False),
            ("oldest metric timestamp", run.oldest_metric_time, False),
        )
        if (required or ms is not None) and not policy.is_sensible(ms)
    ]
    if not doubts and (run.end_time or 0) < (run.start_time or 0):
        doubts = [show("end_time", run.end_time) + " before its start"]
    if doubts or last is None:
        return protect(Reason.UNKNOWN_TIME, *doubts)
    if policy.is_too_young(last):
        return protect(Reason.MIN_AGE, show("last activity", last))
    return delete(f"{run.status}, no activity for {days_before(last, policy.as_of_ms)}")


def _last_ones(
    inventory: Inventory, decisions: Mapping[str, Decision], policy: Policy
) -> dict[str, Decision]:
    """Return protections for what would go of the newest runs of each experiment.

    Newest is by start time.  Ties at the border are all kept; a run whose start cannot be true
    takes no place.
    """
    if not policy.keep_last_runs:
        return {}
    starts: dict[str, list[int]] = defaultdict(list)
    for run_id in decisions:
        run = inventory.runs[run_id]
        if run.start_time is not None and policy.is_sensible(run.start_time):
            starts[run.experiment_id].append(run.start_time)
    borders = {
        experiment_id: nlargest(policy.keep_last_runs, times)[-1]
        for experiment_id, times in starts.items()
    }
    kept: dict[str, Decision] = {}
    for run_id, decision in decisions.items():
        run = inventory.runs[run_id]
        if (
            decision.verdict is Verdict.DELETE
            and (run.start_time or 0) >= borders[run.experiment_id]
        ):
            where = f"experiment {run.experiment_id}"
            kept[run_id] = protect(
                Reason.KEEP_LAST, f"one of the newest {policy.keep_last_runs} runs", where
            )
    return kept


def is_evaluation(run: Run) -> bool:
    """Tell whether a run holds the result of ``mlflow.genai.evaluate``."""
    return run.tags.get("mlflow.runType") == "genai_evaluate"


def is_gateway(experiment: Experiment) -> bool:
    """Tell whether an experiment is the AI gateway's own."""
    return experiment.tags.get(GATEWAY_TAG, "false").strip().lower() not in {"false", ""}


def _runs_behind_versions(inventory: Inventory) -> dict[str, Decision]:
    """Return the runs that a registered model version needs, each with the chain to it."""
    behind: dict[str, Decision] = {}
    # Sorted, so that of several versions always the same one is named: the newest.
    own = [(v, _standing(inventory, v)) for v in inventory.model_versions.values()]
    foreign = [(v, ("another workspace",)) for v in inventory.foreign_versions]
    for version, standing in sorted([*own, *foreign], key=lambda pair: pair[0].order, reverse=True):
        chain = (f"model_version {version.key}", *standing)
        for run_id in possible_run_ids(version):
            if run_id in inventory.runs:
                _prefer(behind, run_id, protect(Reason.REGISTERED_MODEL, *chain))
        for model_id in sorted(logged_model_ids(version)):
            logged = inventory.logged_models.get(model_id)
            if logged and logged.source_run_id in inventory.runs:
                via = (f"logged_model {model_id}", *chain)
                _prefer(behind, logged.source_run_id, protect(Reason.REGISTERED_MODEL, *via))
    return behind


def _prefer(behind: dict[str, Decision], run_id: str, decision: Decision) -> None:
    """Keep the first chain found, unless the new one ends in an alias or stage."""
    known = behind.get(run_id)
    if known is None or (_has_standing(decision) and not _has_standing(known)):
        behind[run_id] = decision


def _has_standing(decision: Decision) -> bool:
    return decision.via[-1].startswith(("alias ", "stage "))


def _standing(inventory: Inventory, version: ModelVersion) -> tuple[str, ...]:
    """Return what makes a version matter to someone: its aliases and stage."""
    model = inventory.registered_models.get(version.name)
    aliases = model.aliases.get(version.version, ()) if model else ()
    stage = version.current_stage
    stages = (f"stage {stage}",) if stage and stage != "None" else ()
    return (*(f"alias {alias}" for alias in aliases), *stages)
