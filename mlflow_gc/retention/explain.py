"""Why one entity is deleted or retained: the rule, the age and the decision, for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_gc.domain.entities import UNPROBED, Inventory
from mlflow_gc.retention.decision import FRESH, Decision, Decisions, Verdict
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rule_resolution import Age, RuleResolver
from mlflow_gc.retention.rules import NEVER, Rule
from mlflow_gc.retention.runs import is_evaluation


@dataclass(frozen=True)
class Explanation:
    """How a policy decides on one entity.

    Attributes:
        rule: the rule that applies to it.
        age: the age from which it is stale, and what sets it.
        limit_ms: the age that the rule alone sets; None for never.
        active_ms: its last activity, ms since the epoch; None if unknown.
        decision: the decision on it.
        tags: its own.
    """

    rule: Rule
    age: Age
    limit_ms: int | None
    active_ms: int | None
    decision: Decision
    tags: Mapping[str, str]

    @property
    def is_deleted(self) -> bool:
        """Whether it would be deleted."""
        return self.decision.verdict is Verdict.DELETE

    @property
    def code(self) -> str:
        """The reason for which it is retained; empty if it is deleted.

        ``fresh`` if it is not stale, ``never`` if no age makes it stale.
        """
        if self.is_deleted:
            return ""
        if self.decision.reason:
            return self.decision.reason.value
        return NEVER if self.age.ms is None and not self.age.malformed else "fresh"

    @property
    def via(self) -> tuple[str, ...]:
        """The chain that leads to what protects it, as a plan writes it."""
        if self.code == NEVER:
            return (str(self.age.by or "the default"),)
        return self.decision.chain


def explain(
    inventory: Inventory, decisions: Decisions, policy: Policy, kind: str, key: Any
) -> Explanation:
    """Explain one entity of an inventory.

    Args:
        inventory: what is known.
        decisions: on the inventory.
        policy: of these decisions.
        kind: ``run``, ``experiment``, ``model_version`` or ``registered_model``.
        key: its key in the inventory.

    Raises:
        KeyError: The inventory does not contain it.
    """
    resolver = RuleResolver(policy, inventory)
    explainers: dict[str, Callable[[], Explanation]] = {
        "run": lambda: _run(inventory, decisions, policy, resolver, key),
        "experiment": lambda: _experiment(inventory, decisions, resolver, key),
        "model_version": lambda: _version(inventory, decisions, resolver, key),
        "registered_model": lambda: _model(inventory, decisions, resolver, key),
    }
    return explainers[kind]()


def _run(
    inventory: Inventory, decisions: Decisions, policy: Policy, resolver: RuleResolver, run_id: str
) -> Explanation:
    run = inventory.runs[run_id]
    experiment = inventory.experiments.get(run.experiment_id)
    rule = resolver.of_run(run, experiment) if experiment else policy.default
    age, limit = resolver.age_of_run(rule, run, experiment, reversible=not is_evaluation(run))
    decision = decisions.runs.get(run_id, FRESH)
    last = run.last_activity_time(experiment)
    return Explanation(rule, age, limit, last, decision, run.tags)


def _experiment(
    inventory: Inventory, decisions: Decisions, resolver: RuleResolver, experiment_id: str
) -> Explanation:
    experiment = inventory.experiments[experiment_id]
    runs = [
        run
        for run in inventory.runs.values()
        if run.experiment_id == experiment_id and run.lifecycle_stage == "active"
    ]
    lost = inventory.probes.get(experiment_id, UNPROBED).assessed_runs
    age, limit = resolver.age_of_experiment(experiment, len(runs), reversible=not lost)
    stamps = [experiment.creation_time, experiment.last_update_time]
    stamps += [run.last_activity_time(experiment) for run in runs]
    newest = max((ms for ms in stamps if ms is not None), default=None)
    decision = decisions.experiments.get(experiment_id, FRESH)
    rule = resolver.of_experiment(experiment)
    return Explanation(rule, age, limit, newest, decision, experiment.tags)


def _version(
    inventory: Inventory, decisions: Decisions, resolver: RuleResolver, key: tuple[str, str]
) -> Explanation:
    version = inventory.model_versions[key]
    age, limit = resolver.age_of_version(version)
    decision = decisions.model_versions.get(key, FRESH)
    rule = resolver.of_version(version)
    return Explanation(rule, age, limit, version.active_ms or None, decision, version.tags)


def _model(
    inventory: Inventory, decisions: Decisions, resolver: RuleResolver, name: str
) -> Explanation:
    model = inventory.registered_models[name]
    age, limit = resolver.age_of_model(model)
    newest = max(model.creation_timestamp or 0, model.last_updated_timestamp or 0) or None
    decision = decisions.registered_models.get(name, FRESH)
    return Explanation(resolver.of_model(model), age, limit, newest, decision, model.tags)
