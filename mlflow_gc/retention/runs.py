"""Which runs are stale, and what protects them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from mlflow_gc.domain.entities import TERMINAL_STATUSES, Experiment, ModelVersion, Run
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.reasons import NO_ACTIVITY, NO_SIGN_OF_LIFE, Inactivity, Link, Reason, show
from mlflow_gc.domain.source_references import (
    by_location,
    folders_of,
    logged_model_ids,
    possible_run_ids,
    run_ids_in_model,
)
from mlflow_gc.retention.decision import FRESH, Decision, Verdict, delete, protect
from mlflow_gc.retention.keep_rules import Candidate, newest_of_groups, winners
from mlflow_gc.retention.owner_tags import DELETE_AFTER, delete_after_ms, is_outdated
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rule_resolution import RuleResolver, protect_winners
from mlflow_gc.retention.rules import UNFINISHED_STATUSES, Rule
from mlflow_gc.retention.run_trees import spread

GATEWAY_TAG = "mlflow.experiment.isGateway"


def decide_runs(
    inventory: Inventory, policy: Policy, resolver: RuleResolver, protected: Mapping[str, Decision]
) -> dict[str, Decision]:
    """Decide on all active runs; ``protected`` are decisions on runs that the caller protects."""
    behind_registry = runs_behind_registry(inventory)
    decisions: dict[str, Decision] = {}
    groups: dict[tuple[str, str], tuple[Rule, list[Run]]] = {}
    for run_id, run in inventory.runs.items():
        if run.lifecycle_stage != "active":
            continue
        experiment = inventory.experiments.get(run.experiment_id)
        rule = resolver.of_run(run, experiment)
        decisions[run_id] = _decide(
            run,
            experiment,
            resolver,
            rule,
            behind_registry.get(run_id),
            protected.get(run_id),
            policy,
        )
        if not rule.keep.is_empty:
            groups.setdefault((run.experiment_id, rule.name), (rule, []))[1].append(run)
    for rule, runs in groups.values():
        experiment = inventory.experiments.get(runs[0].experiment_id)
        candidates = _candidates(runs, experiment, policy)
        decisions.update(protect_winners(rule, candidates, decisions, policy))
    for run_id in _newest_runs((inventory.runs[run_id] for run_id in decisions), policy):
        if decisions[run_id].verdict is Verdict.DELETE:
            where = Link("experiment", inventory.runs[run_id].experiment_id)
            note = f"one of the newest {policy.keep_last_runs} runs"
            decisions[run_id] = protect(Reason.KEEP_LAST, note, where)
    decisions = spread(inventory, decisions)
    # The grace period concerns only what would be deleted, so it is checked last; a tree waits as a
    # whole.
    waiting = {
        run_id: wait
        for run_id, decision in decisions.items()
        if decision.verdict is Verdict.DELETE and (wait := _wait(inventory, run_id, policy))
    }
    return spread(inventory, {**decisions, **waiting}) if waiting else decisions


def keep_rule_winners(
    runs: Collection[Run], experiment: Experiment, policy: Policy, inventory: Inventory
) -> set[str]:
    """Return the winners of keep rules or ``keep_last_runs`` among all active runs of an experiment.

    As long as these are unchanged, no other run of the experiment becomes a winner.
    """
    resolver = RuleResolver(policy, inventory)
    groups: dict[str, tuple[Rule, list[Run]]] = {}
    for run in runs:
        rule = resolver.of_run(run, experiment)
        groups.setdefault(rule.name, (rule, []))[1].append(run)
    winner_ids: set[str] = set()
    for rule, of_rule in groups.values():
        candidates = _candidates(of_rule, experiment, policy)
        winner_ids.update(
            winners(candidates, rule.keep, as_of_ms=policy.as_of_ms, zone=policy.zone)
        )
    return winner_ids | _newest_runs(runs, policy)


def _candidates(
    runs: Iterable[Run], experiment: Experiment | None, policy: Policy
) -> list[Candidate]:
    return [
        Candidate(
            key=run.run_id,
            time_ms=run.start_time,
            order=(run.start_time, run.run_id),
            active_ms=run.last_activity_time(experiment) or 0,
            metrics=run.metrics,
        )
        for run in runs
        if run.start_time is not None and policy.is_plausible(run.start_time)
    ]


def _decide(
    run: Run,
    experiment: Experiment | None,
    resolver: RuleResolver,
    rule: Rule,
    behind_registry: Decision | None,
    by_caller: Decision | None,
    policy: Policy,
) -> Decision:
    by_age = _by_age(run, experiment, resolver, rule, policy)
    if by_caller is None and by_age.verdict is Verdict.FRESH:
        return by_age
    protection = _protection_at_any_age(run, experiment, behind_registry, policy)
    if by_caller and protection and protection.reason is Reason.NOT_SEEN:
        # The experiment of a run outside the plan may be unknown.
        return by_caller
    if found := protection or by_caller:
        return found
    if by_age.verdict is Verdict.DELETE and is_evaluation(run):
        return replace(
            by_age,
            reasons=(*by_age.reasons, "IRREVERSIBLE: its assessments are deleted permanently"),
            reversible=False,
        )
    return by_age


def _wait(inventory: Inventory, run_id: str, policy: Policy) -> Decision | None:
    run = inventory.runs[run_id]
    experiment = inventory.experiments.get(run.experiment_id)
    return in_grace(run.tags, run.last_activity_time(experiment), policy)


def in_grace(tags: Mapping[str, str], active_ms: int | None, policy: Policy) -> Decision | None:
    """Return a protection if the grace period of a stale entity is not over.

    Args:
        tags: of the entity itself.
        active_ms: its last activity; an earlier announcement does not count.
        policy: with the grace period.  An announced time counts without one, too.
    """
    if not policy.checks_announcements:
        return None
    if DELETE_AFTER not in tags:
        return None if policy.grace_ms is None else protect(Reason.GRACE, "not announced yet")
    after = delete_after_ms(tags, policy.zone)
    if after is None:
        return protect(Reason.MALFORMED_TAG, Link("tag", f"{DELETE_AFTER}={tags[DELETE_AFTER]}"))
    if policy.grace_ms and is_outdated(after, active_ms, policy.grace_ms):
        return protect(Reason.GRACE, "announced before its last activity")
    if after > policy.as_of_ms:
        return protect(Reason.GRACE, show("announced, to be deleted after", after))
    return None


def _protection_at_any_age(
    run: Run, experiment: Experiment | None, behind_registry: Decision | None, policy: Policy
) -> Decision | None:
    """Return a protection of a run that does not depend on its age, or None."""
    if protected_by := policy.protected_by(run.tags):
        return protected_by
    if experiment is None:
        return protect(Reason.NOT_SEEN, Link("experiment", run.experiment_id, "was not listed"))
    where = Link("experiment", experiment.experiment_id, experiment.name)
    if protected_by := policy.protected_by(experiment.tags, where):
        return protected_by
    if behind_registry:
        return behind_registry
    if is_gateway(experiment):
        return protect(Reason.GATEWAY, where)
    # From 3.11 on delete_run deletes the assessments that name the run, and restore_run does not
    # bring them back (docs/explanation/mlflow-facts.md#run-deletion-deletes-assessments).
    if is_evaluation(run) and not policy.delete_evaluations:
        return protect(Reason.GENAI_EVALUATE, "its assessments would be lost permanently")
    if run.details.traces_are_hidden:
        return protect(Reason.TRACES_UNREAD)
    if experiment.lifecycle_stage != "active":
        return protect(Reason.EXPERIMENT_DELETED, where)
    return None


def _by_age(
    run: Run, experiment: Experiment | None, resolver: RuleResolver, rule: Rule, policy: Policy
) -> Decision:
    if not policy.checks_age:
        return delete("in the trash before")
    is_over = run.status in TERMINAL_STATUSES
    # A resumed run is RUNNING with its old end time, and the run of a killed job may stay RUNNING
    # for ever.  Both look the same, so such runs are deleted only if the policy says so
    # (docs/explanation/mlflow-facts.md#resumed-run-keeps-end-time).
    may_be_abandoned = run.status in UNFINISHED_STATUSES and rule.abandoned_ms is not None
    age = resolver.age_of_run(rule, run, experiment, reversible=not is_evaluation(run))
    newest = newest_activity(run, experiment, policy)
    if age.ms is None or (newest is not None and newest >= policy.as_of_ms - age.ms):
        return FRESH
    if age.malformed:
        return protect(Reason.MALFORMED_TAG, age.malformed)
    if not is_over and not may_be_abandoned:
        return protect(Reason.NOT_TERMINAL, f"status {run.status or 'unknown'}")
    implausible = _implausible_times(run, experiment, policy, is_over=is_over)
    last = run.last_activity_time(experiment)
    if implausible or last is None:
        return protect(Reason.UNKNOWN_TIME, *implausible)
    if policy.is_too_young(last):
        return protect(Reason.MIN_AGE, show("last activity", last))
    sign = NO_ACTIVITY if is_over else NO_SIGN_OF_LIFE
    return delete(Inactivity.since(last, policy.as_of_ms, sign, run.status), age.by)


def newest_activity(run: Run, experiment: Experiment | None, policy: Policy) -> int | None:
    """Return the newest plausible time of a run, ms since the epoch, or None."""
    newest: int | None = None
    for ms in run.activity_times(experiment):
        if ms is not None and (newest is None or ms > newest) and policy.is_plausible(ms):
            newest = ms
    return newest


def _implausible_times(
    run: Run, experiment: Experiment | None, policy: Policy, *, is_over: bool
) -> list[str]:
    """Return texts that name the implausible times of a run."""
    created = experiment.creation_time if experiment else None
    implausible = [
        show(name, ms)
        for name, ms, required in (
            ("start_time", run.start_time, True),
            ("end_time", run.end_time, is_over),
            ("newest metric timestamp", run.newest_metric_time, False),
            ("oldest metric timestamp", run.oldest_metric_time, False),
            ("creation_time of its experiment", created, False),
        )
        if (required or ms is not None) and not policy.is_plausible(ms)
    ]
    if not implausible and run.end_time is not None and run.end_time < (run.start_time or 0):
        implausible = [show("end_time", run.end_time) + " before its start"]
    return implausible


def _newest_runs(runs: Iterable[Run], policy: Policy) -> set[str]:
    """Return the newest runs of each experiment by start time (``keep_last_runs``).

    All ties at the border are among them; a run with an implausible start time is not ranked.
    """
    starts = (
        (run.run_id, run.experiment_id, run.start_time)
        for run in runs
        if run.start_time is not None and policy.is_plausible(run.start_time)
    )
    return newest_of_groups(starts, policy.keep_last_runs)


def is_evaluation(run: Run) -> bool:
    """Tell whether a run has, or may have, assessments.

    ``mlflow.genai.evaluate`` sets the tag only if the run has no type yet, and assessments may name
    any run.  A run with the tag but without assessments had some, or may get some.
    """
    return run.details.loses_assessments or run.tags.get("mlflow.runType") == "genai_evaluate"


def is_gateway(experiment: Experiment) -> bool:
    """Tell whether an experiment is the AI gateway's own."""
    return experiment.tags.get(GATEWAY_TAG, "false").strip().lower() not in {"false", ""}


_ELSEWHERE = (Link(note="another workspace"),)


def runs_behind_registry(inventory: Inventory) -> dict[str, Decision]:
    """Return the runs that a registry names, each with the chain to what names it."""
    behind: dict[str, Decision] = {}
    # Only runs without their id in the location; the others are found by the id.
    runs_at = by_location(
        (run.run_id, run.artifact_uri)
        for run in inventory.runs.values()
        if run.artifact_root and not run.has_own_folder
    )
    # Sorted, so that always the newest of several versions is named.
    own = [(v, _aliases_and_stage(inventory, v)) for v in inventory.model_versions.values()]
    foreign = [(v, _ELSEWHERE) for v in inventory.foreign_versions]
    for version, aliases_and_stage in sorted(
        [*own, *foreign], key=lambda pair: pair[0].order, reverse=True
    ):
        named_by = (Link("model_version", version.key), *aliases_and_stage)
        for run_id in possible_run_ids(version):
            if run_id in inventory.runs:
                _prefer(behind, run_id, protect(Reason.REGISTERED_MODEL, *named_by))
        for folder in folders_of(version) if runs_at else ():
            for run_id in runs_at.get(folder, ()):
                _prefer(behind, run_id, protect(Reason.REGISTERED_MODEL, *named_by))
        for model_id in sorted(logged_model_ids(version)):
            logged = inventory.logged_models.get(model_id)
            if logged and logged.source_run_id in inventory.runs:
                via = (Link("logged_model", model_id), *named_by)
                _prefer(behind, logged.source_run_id, protect(Reason.REGISTERED_MODEL, *via))
    own_models = [(model, ()) for _, model in sorted(inventory.registered_models.items())]
    foreign_models = [(model, _ELSEWHERE) for model in inventory.foreign_models]
    for model, elsewhere in (*own_models, *foreign_models):
        named_by = (Link("registered_model", model.name), *elsewhere)
        for run_id in run_ids_in_model(model) & inventory.runs.keys():
            _prefer(behind, run_id, protect(Reason.REGISTERED_MODEL, *named_by))
    return behind


def _prefer(behind: dict[str, Decision], run_id: str, decision: Decision) -> None:
    """Keep the first chain found, unless the new one ends in an alias or stage."""
    known = behind.get(run_id)
    if known is None or (_ends_in_alias_or_stage(decision) and not _ends_in_alias_or_stage(known)):
        behind[run_id] = decision


def _ends_in_alias_or_stage(decision: Decision) -> bool:
    return decision.via[-1].kind in {"alias", "stage"}


def _aliases_and_stage(inventory: Inventory, version: ModelVersion) -> tuple[Link, ...]:
    """Return the aliases and the stage of a version as links."""
    model = inventory.registered_models.get(version.name)
    aliases = model.aliases.get(version.version, ()) if model else ()
    stage = version.current_stage
    stages = (Link("stage", stage),) if stage and stage != "None" else ()
    return (*(Link("alias", alias) for alias in aliases), *stages)
