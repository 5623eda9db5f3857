"""Why one entity is deleted or retained: the rule, the age and the decision, for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_gc.domain.entities import UNPROBED, ModelVersion, RegisteredModel
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.kinds import BY_NAME
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
        active_ms: its last activity, ms since the epoch; None if unknown.
        decision: the decision on it.
        tags: its own.
    """

    rule: Rule
    age: Age
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
            return str(self.decision.reason.value)
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
    """Explain one entity of an inventory, by the name of its kind and its key in the inventory.

    Raises:
        KeyError: The inventory does not contain it.
    """
    resolver = RuleResolver(policy, inventory)
    decision = decisions.by_kind[BY_NAME[kind].entries].get(key, FRESH)
    if kind == "run":
        run = inventory.runs[key]
        experiment = inventory.experiments.get(run.experiment_id)
        rule = resolver.of_run(run, experiment)
        age = resolver.age_of_run(rule, run, experiment, reversible=not is_evaluation(run))
        last = run.last_activity_time(experiment)
        return Explanation(rule, age, last, decision, run.tags)
    if kind == "experiment":
        experiment = inventory.experiments[key]
        runs = [
            run
            for run in inventory.runs.values()
            if run.experiment_id == key and run.lifecycle_stage == "active"
        ]
        lost = inventory.probes.get(key, UNPROBED).assessed_runs
        age = resolver.age_of_experiment(experiment, len(runs), reversible=not lost)
        stamps = [experiment.creation_time, experiment.last_update_time]
        stamps += [run.last_activity_time(experiment) for run in runs]
        newest = max((ms for ms in stamps if ms is not None), default=None)
        rule = resolver.of_experiment(experiment)
        return Explanation(rule, age, newest, decision, experiment.tags)
    entity: ModelVersion | RegisteredModel = (
        inventory.model_versions[key]
        if kind == "model_version"
        else inventory.registered_models[key]
    )
    newest = max(entity.creation_timestamp or 0, entity.last_updated_timestamp or 0) or None
    age = resolver.age_of_model(entity)
    return Explanation(resolver.of_model(entity), age, newest, decision, entity.tags)
