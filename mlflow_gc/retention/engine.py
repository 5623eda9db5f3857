"""The decision: which entities are deleted, and why the others are retained.

One function, :func:`decide`, is used for the plan and, on freshly read evidence, again immediately
before each deletion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mlflow_gc.domain.entities import oldest_model_ms
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.reasons import Reason
from mlflow_gc.retention.decision import Decision, Decisions, Verdict
from mlflow_gc.retention.experiments import decide_experiments
from mlflow_gc.retention.model_versions import decide_model_versions
from mlflow_gc.retention.owner_tags import TTL, ttl_override
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.registered_models import decide_registered_models
from mlflow_gc.retention.rule_resolution import RuleResolver
from mlflow_gc.retention.runs import decide_runs


def decide(
    inventory: Inventory, policy: Policy, protected_runs: Mapping[str, Decision] | None = None
) -> Decisions:
    """Decide on everything in an inventory.

    Args:
        inventory: what is known.  Its order does not matter.
        policy: what is stale and what is protected.
        protected_runs: decisions on runs that the caller protects; their nested trees are retained,
            too.

    Returns:
        A decision for every active run and experiment and every model version.
    """
    resolver = RuleResolver(policy, inventory)
    runs = decide_runs(inventory, policy, resolver, protected_runs or {})
    return Decisions(
        experiments=decide_experiments(inventory, policy, resolver, runs),
        runs=runs,
        model_versions=decide_model_versions(inventory, policy, resolver),
        registered_models=decide_registered_models(inventory, policy, resolver),
        unused_rules=resolver.unused,
    )


def decide_after_probe(inventory: Inventory, policy: Policy, decisions: Decisions) -> Decisions:
    """Return decisions for an inventory whose experiments were probed since ``decide``.

    The result is that of ``decide``, without deciding on a million runs again.
    """
    resolver = RuleResolver(policy, inventory)
    experiments = decide_experiments(inventory, policy, resolver, decisions.runs)
    return replace(decisions, experiments=experiments)


def experiments_to_probe(decisions: Decisions) -> list[str]:
    """Return the experiments that have to be probed before a decision (``scan.probe``)."""
    return [e for e, d in decisions.experiments.items() if d.reason is Reason.NOT_SEEN]


def trash_since(policy: Policy, inventory: Inventory) -> int:
    """Return the time after which activity in the trash protects experiments, ms since the epoch.

    That is the largest age that a rule or an owner of an experiment sets.
    """
    ages: list[int | None] = [policy.min_age_ms]
    ages += [ms for rule in policy.all_rules() for ms in (rule.experiment_ttl_ms, rule.empty_ms)]
    overrides = (ttl_override(e.tags) for e in inventory.experiments.values() if TTL in e.tags)
    ages += [override.ttl_ms for override in overrides if override]
    return policy.as_of_ms - max((ms for ms in ages if ms is not None), default=0)


def runs_needing_details(_inventory: Inventory, decisions: Decisions) -> set[str]:
    """Return the runs whose details have to be read (metrics, contents, traces).

    These are the runs to delete: a search may not return their newest metrics, assessments may name
    them, and the plan contains digests of their contents.
    """
    return {run_id for run_id, d in decisions.runs.items() if d.verdict is Verdict.DELETE}


def runs_needing_inputs(inventory: Inventory, decisions: Decisions) -> set[str]:
    """Return the runs whose inputs have to be read (``scan.read_inputs``).

    If a run to delete made a logged model, these are the retained runs that may use it: those that
    were active after the model was made.
    """
    to_delete = runs_needing_details(inventory, decisions)
    made_ms = oldest_model_ms(
        m for m in inventory.logged_models.values() if m.source_run_id in to_delete
    )
    if made_ms is None:
        return set()
    runs = (inventory.runs[run_id] for run_id in decisions.runs.keys() - to_delete)
    return {
        run.run_id
        for run in runs
        if run.may_have_read_model(made_ms, inventory.experiments.get(run.experiment_id))
    }
