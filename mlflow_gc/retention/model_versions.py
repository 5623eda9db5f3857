"""Which model versions are stale, and what protects them.  Deletion is irreversible."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from mlflow_gc.domain.entities import ModelVersion, RegisteredModel
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.reasons import NOT_UPDATED, Inactivity, Link, Reason, show
from mlflow_gc.domain.source_references import copied_from, copied_from_alias
from mlflow_gc.domain.tag_selection import PROMPT_TAG
from mlflow_gc.retention.decision import FRESH, Decision, Verdict, delete, protect
from mlflow_gc.retention.keep_rules import Candidate, newest_of_groups
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rule_resolution import RuleResolver, protect_winners
from mlflow_gc.retention.rules import Rule
from mlflow_gc.retention.runs import in_grace

_NO_STAGE = "None"

VersionKey = tuple[str, str]


def decide_model_versions(
    inventory: Inventory, policy: Policy, resolver: RuleResolver
) -> dict[VersionKey, Decision]:
    """Decide on all model versions of an inventory."""
    numbers = ((key, v.name, v.number) for key, v in inventory.model_versions.items())
    last = newest_of_groups(numbers, policy.keep_last_versions)
    roles = _Roles(_highest(inventory), _copies(inventory), last)
    decisions: dict[VersionKey, Decision] = {}
    groups: dict[tuple[str, str], tuple[Rule, list[ModelVersion]]] = {}
    for key, version in inventory.model_versions.items():
        rule = resolver.of_model(version)
        model = inventory.registered_models.get(version.name)
        decisions[key] = _decide(version, model, roles, resolver, policy)
        if not rule.keep.is_empty:
            groups.setdefault((version.name, rule.name), (rule, []))[1].append(version)
    for rule, versions in groups.values():
        candidates = _candidates(versions, policy)
        decisions.update(protect_winners(rule, candidates, decisions, policy))
    for key, decision in decisions.items():
        if decision.verdict is Verdict.DELETE:
            version = inventory.model_versions[key]
            if version.name in inventory.refused_names:
                decisions[key] = refused_name(version.name)
                continue
            decisions[key] = in_grace(version.tags, version.active_ms, policy) or decision
    return decisions


@dataclass(frozen=True)
class _Roles:
    """Relations between versions: which are the highest, copied, among the newest."""

    highest: Mapping[VersionKey, str]
    copies: Mapping[VersionKey, str]
    last: Collection[VersionKey]


def _candidates(versions: Iterable[ModelVersion], policy: Policy) -> list[Candidate]:
    """Return the versions to rank; the highest number is the newest."""
    return [
        Candidate(
            key=(version.name, version.version),
            time_ms=version.creation_timestamp,
            order=(version.number, version.version),
            active_ms=version.active_ms,
        )
        for version in versions
        if version.creation_timestamp is not None
        and policy.is_plausible(version.creation_timestamp)
    ]


def _decide(
    version: ModelVersion,
    model: RegisteredModel | None,
    roles: _Roles,
    resolver: RuleResolver,
    policy: Policy,
) -> Decision:
    # last_updated_timestamp is not usage: nothing records that a version was served.  Therefore so
    # many rules protect a version (docs/explanation/mlflow-facts.md#version-update-is-not-usage).
    age = resolver.age_of_model(version)
    if age.ms is None:
        return FRESH
    updated = version.last_updated_timestamp
    created = version.creation_timestamp
    if (
        updated is None
        or created is None
        or not (policy.is_plausible(updated) and policy.is_plausible(created))
    ):
        return protect(
            Reason.UNKNOWN_TIME,
            show("creation_timestamp", created),
            show("last_updated_timestamp", updated),
        )
    active = max(updated, created, _imported(model, policy))
    if active >= policy.as_of_ms - age.ms:
        return FRESH
    protected_by = _protected(version, model, roles, policy)
    if protected_by:
        return protected_by
    if age.malformed:
        return protect(Reason.MALFORMED_TAG, age.malformed)
    return delete(
        Inactivity.since(active, policy.as_of_ms, NOT_UPDATED),
        "stage None, no alias, not the highest version",
        age.by,
        reversible=False,
    )


def _imported(model: RegisteredModel | None, policy: Policy) -> int:
    """Return the creation of a registered model: its versions are not older on this server."""
    made = model.creation_timestamp if model else None
    return made if made is not None and policy.is_plausible(made) else 0


def _protected(
    version: ModelVersion,
    model: RegisteredModel | None,
    roles: _Roles,
    policy: Policy,
) -> Decision | None:
    if model is None:
        # The registered model has the aliases; without it this may be the champion.
        return protect(
            Reason.UNKNOWN_MODEL, Link("registered_model", version.name, "was not listed")
        )
    protected_by = policy.protected_by(version.tags) or policy.protected_by(
        model.tags, Link("registered_model", model.name)
    )
    if protected_by:
        return protected_by
    if aliases := model.aliases.get(version.version):
        return protect(Reason.ALIAS, *(Link("alias", alias) for alias in aliases))
    if version.current_stage != _NO_STAGE:
        return protect(Reason.STAGE, Link("stage", str(version.current_stage)))
    # Servers before 2.21 list prompts like models; deleting a version deletes the prompt's text.
    if is_prompt(version.tags) or is_prompt(model.tags):
        return protect(Reason.PROMPT, Link("registered_model", version.name, "is a prompt"))
    # ``models:/m/latest`` and ``models:/m/<stage>`` resolve to the highest version: after its
    # deletion its users would silently load another one.
    if role := roles.highest.get((version.name, version.version)):
        return protect(Reason.HIGHEST_VERSION, role)
    if copy := roles.copies.get((version.name, version.version)):
        return protect(Reason.COPIED, Link("model_version", copy))
    if (version.name, version.version) in roles.last:
        note = f"one of the newest {policy.keep_last_versions} versions"
        return protect(Reason.KEEP_LAST, note, Link("registered_model", version.name))
    if policy.is_too_young(version.active_ms):
        return protect(Reason.MIN_AGE, show("last change", version.active_ms))
    return None


def refused_name(name: str) -> Decision:
    """Return the decision on a model whose deletion the server refuses."""
    return protect(Reason.REFUSED_NAME, Link("registered_model", name))


def is_prompt(tags: Mapping[str, str]) -> bool:
    """Tell whether these are tags of a prompt (registered model or version)."""
    return tags.get(PROMPT_TAG, "").lower() == "true"


def _highest(inventory: Inventory) -> dict[VersionKey, str]:
    """Return the versions that are the highest of their model or stage, with its name."""
    roles: dict[VersionKey, str] = {}
    seen: set[str | tuple[str, str | None]] = set()
    versions = inventory.model_versions.values()
    for version in sorted(versions, key=lambda v: v.number, reverse=True):
        key, stage = (version.name, version.version), (version.name, version.current_stage)
        if version.number < 0:
            roles[key] = "its version is not a number; it could be the highest"
        elif version.name not in seen:
            roles[key] = "highest version"
        elif stage not in seen:
            roles[key] = f"highest version in stage {version.current_stage}"
        seen |= {version.name, stage}
    return roles


def _copies(inventory: Inventory) -> dict[VersionKey, str]:
    """Return the versions that have copies, with the lowest copy."""
    by_alias = {
        (model.name, alias): version
        for model in inventory.registered_models.values()
        for version, aliases in model.aliases.items()
        for alias in aliases
    }
    copies: dict[VersionKey, str] = {}
    for version in sorted(inventory.model_versions.values(), key=lambda v: v.order):
        original = copied_from(version)
        if named := copied_from_alias(version):
            target = by_alias.get(named)
            original = (named[0], target) if target else None
        if original and original != (version.name, version.version):
            copies.setdefault(original, version.key)
    return copies
