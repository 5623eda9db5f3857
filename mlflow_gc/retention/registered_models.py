"""Which registered models without versions are stale.  Off by default."""

from __future__ import annotations

from mlflow_gc.domain.entities import RegisteredModel
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.reasons import NOT_UPDATED, Inactivity, Link, Reason, show
from mlflow_gc.retention.decision import FRESH, Decision, delete, protect
from mlflow_gc.retention.model_versions import is_prompt, refused_name
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rule_resolution import RuleResolver
from mlflow_gc.retention.runs import in_grace


def decide_registered_models(
    inventory: Inventory, policy: Policy, resolver: RuleResolver
) -> dict[str, Decision]:
    """Decide on all registered models without versions."""
    populated = {name for name, _ in inventory.model_versions}
    decisions = {
        name: _decide(model, inventory, resolver, policy)
        for name, model in inventory.registered_models.items()
        if name not in populated and not model.highest_version
    }
    is_on = any(rule.empty_model_ms is not None for rule in policy.all_rules())
    return decisions if is_on else {}


def _decide(
    model: RegisteredModel, inventory: Inventory, resolver: RuleResolver, policy: Policy
) -> Decision:
    age = resolver.age_of_model(model)
    if age.ms is None:
        return FRESH
    stamps = (
        ("creation_timestamp", model.creation_timestamp),
        ("last_updated_timestamp", model.last_updated_timestamp),
    )
    newest = max((ms for _, ms in stamps if ms is not None and policy.is_plausible(ms)), default=0)
    if newest >= policy.as_of_ms - age.ms:
        return FRESH
    if protected_by := policy.protected_by(model.tags):
        return protected_by
    if age.malformed:
        return protect(Reason.MALFORMED_TAG, age.malformed)
    implausible = [show(name, ms) for name, ms in stamps if not policy.is_plausible(ms)]
    if implausible:
        return protect(Reason.UNKNOWN_TIME, *implausible)
    if is_prompt(model.tags):
        return protect(Reason.PROMPT, Link("registered_model", model.name, "is a prompt"))
    if model.aliases:
        aliases = sorted(alias for names in model.aliases.values() for alias in names)
        return protect(Reason.ALIAS, *(Link("alias", alias) for alias in aliases))
    if policy.is_too_young(newest):
        return protect(Reason.MIN_AGE, show("last change", newest))
    if waiting := in_grace(model.tags, newest, policy):
        return waiting
    if model.name in inventory.refused_names:
        return refused_name(model.name)
    inactivity = Inactivity.since(newest, policy.as_of_ms, NOT_UPDATED)
    return delete("has no versions", inactivity, age.by, reversible=False)
