"""Which rule applies to which entity, the age it sets after TTL overrides, and what it keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlflow_gc.domain.entities import (
    TERMINAL_STATUSES,
    Experiment,
    ModelVersion,
    RegisteredModel,
    Run,
)
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.reasons import Link, Reason
from mlflow_gc.domain.timestamps import format_duration
from mlflow_gc.retention.decision import Decision, Verdict
from mlflow_gc.retention.keep_rules import Candidate, winners
from mlflow_gc.retention.owner_tags import ttl_override
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rules import UNFINISHED_STATUSES, Rule


@dataclass(frozen=True, slots=True)
class Age:
    """The age from which an entity is stale.

    Attributes:
        ms: the age; None for never.  That of the rule alone if a tag is malformed.
        by: the tag or rule that sets it; None for the default rule.
        malformed: an invalid TTL tag, or None.
        ignored: a TTL tag that may not shorten the age, and why, for people; empty for none.
    """

    ms: int | None
    by: Link | None = None
    malformed: Link | None = None
    ignored: str = ""


class RuleResolver:
    """The rules of a policy for an inventory; the first that matches decides.

    Args:
        policy: its rules.
        inventory: the entities to match.
    """

    def __init__(self, policy: Policy, inventory: Inventory) -> None:
        self._policy = policy
        self._models = inventory.registered_models
        self._workspace = inventory.workspace
        # Few rules match a given experiment: resolved once per experiment, not once per run.
        self._rules_by_experiment: dict[str, tuple[Rule, ...]] = {}
        self._used: set[str] = set()

    @property
    def unused(self) -> tuple[str, ...]:
        """Names of the rules that matched nothing so far, in the order of the policy.

        Rules of other workspaces are not among them.
        """
        here = self._workspace
        return tuple(
            r.name
            for r in self._policy.rules
            if r.name not in self._used and (here is None or r.match.applies_in(here))
        )

    def of_experiment(self, experiment: Experiment) -> Rule:
        """Return the rule for an experiment as such."""
        return self._first(
            r for r in self._policy.rules if r.match.matches_experiment(experiment, self._workspace)
        )

    def of_run(self, run: Run, experiment: Experiment | None) -> Rule:
        """Return the rule for a run; the default if its experiment is unknown."""
        if experiment is None or not self._policy.rules:
            return self._policy.default
        rules = self._rules_by_experiment.get(experiment.experiment_id)
        if rules is None:
            rules = self._rules_by_experiment[experiment.experiment_id] = tuple(
                r
                for r in self._policy.rules
                if r.match.may_match_runs_in(experiment, self._workspace)
            )
        return self._first(r for r in rules if r.match.matches_run(run, experiment))

    def of_model(self, entity: RegisteredModel | ModelVersion) -> Rule:
        """Return the rule for a registered model as such, or for a model version."""
        model = self._models.get(entity.name)
        return self._first(
            r
            for r in self._policy.rules
            if r.match.matches_model(entity.name, entity.tags, model, self._workspace)
        )

    def _first(self, rules: Iterator[Rule]) -> Rule:
        rule = next(rules, self._policy.default)
        self._used.add(rule.name)
        return rule

    def age_of_run(
        self, rule: Rule, run: Run, experiment: Experiment | None, *, reversible: bool
    ) -> Age:
        """Return the age from which a run is stale, by the rule that applies to it.

        ``reversible`` tells whether its deletion can be undone completely.
        """
        is_over = run.status in TERMINAL_STATUSES
        may_be_abandoned = run.status in UNFINISHED_STATUSES and rule.abandoned_ms is not None
        limit = rule.ttl_of(run) if may_be_abandoned or is_over else rule.ttl_ms
        why_not_shorter = self._why_not_shorter(reversible=reversible)
        if may_be_abandoned:
            # The owner may have meant finished runs; a run that may be alive is not deleted for
            # that.
            why_not_shorter = f"no tag may shorten the age of {run.status} runs"
        by = self._by(rule)
        if is_over and run.status not in rule.statuses:
            by = Link("status", run.status, f"is not among the statuses of {by or 'the default'}")
        tags = (run.tags, experiment.tags if experiment else {})
        return self._age(by, limit, *tags, why_not_shorter=why_not_shorter)

    def age_of_experiment(self, experiment: Experiment, run_count: int, *, reversible: bool) -> Age:
        """Return the age from which an experiment with a number of active runs is stale.

        ``reversible`` tells whether deleting it loses nothing.
        """
        rule = self.of_experiment(experiment)
        limit = rule.experiment_ttl_ms if run_count else rule.empty_ms
        why_not_shorter = self._why_not_shorter(reversible=reversible)
        return self._age(self._by(rule), limit, experiment.tags, why_not_shorter=why_not_shorter)

    def age_of_model(self, entity: RegisteredModel | ModelVersion) -> Age:
        """Return the age from which an empty registered model or a model version is stale."""
        rule = self.of_model(entity)
        model = self._models.get(entity.name)
        limit = rule.ttl_ms if isinstance(entity, ModelVersion) else rule.empty_model_ms
        tags = (entity.tags, model.tags if model else {})
        why_not_shorter = self._why_not_shorter(reversible=False)
        return self._age(self._by(rule), limit, *tags, why_not_shorter=why_not_shorter)

    def _by(self, rule: Rule) -> Link | None:
        return None if rule is self._policy.default else Link("rule", rule.name)

    def _why_not_shorter(self, *, reversible: bool) -> str:
        """Return why no tag may shorten the age of the rule, for people; empty if one may.

        Setting a tag needs fewer permissions than deleting (EDIT and MANAGE of MLflow's basic
        auth): shortening an age makes an administrator's job delete for the owner.
        """
        if not self._policy.owners_may_shorten:
            return "owners.may_shorten is false"
        if not reversible and not self._policy.owners_may_shorten_irreversible:
            return "the deletion is irreversible, and owners.may_shorten_irreversible is false"
        return ""

    def _age(
        self, by: Link | None, ms: int | None, *tags: Mapping[str, str], why_not_shorter: str
    ) -> Age:
        """Return the age from which something is stale.

        Args:
            by: what sets the age without overrides.
            ms: the age without overrides; None for never.
            tags: of the entity, then of its experiment or registered model.
            why_not_shorter: why no tag may shorten the age, or empty.
        """
        floor_ms = self._policy.owners_shortest_ttl_ms
        ignored = ""
        for each in tags:
            override = ttl_override(each)
            if override is None:
                continue
            if override.is_malformed:
                return Age(ms, override.tag, malformed=override.tag)
            if override.ttl_ms is None or (ms is not None and override.ttl_ms >= ms):
                return Age(override.ttl_ms, override.tag)
            # "never" in a policy is final: an owner can shorten an age, not switch deletion on.
            why = "the policy says never" if ms is None else why_not_shorter
            if not why and ms is not None and floor_ms < ms:
                if override.ttl_ms >= floor_ms:
                    return Age(override.ttl_ms, override.tag)
                shortest = format_duration(floor_ms)
                return Age(
                    floor_ms,
                    replace(override.tag, note=f", raised to owners.shortest_ttl {shortest}"),
                )
            why = why or f"owners.shortest_ttl is {format_duration(floor_ms)}"
            ignored = ignored or f"{override.tag}: {why}"
        return Age(ms, by, ignored=ignored)


def protect_winners(
    rule: Rule, candidates: Sequence[Candidate], decisions: Mapping[Any, Decision], policy: Policy
) -> Iterator[tuple[Any, Decision]]:
    """Yield the key and the protection of each keep-rule winner that would be deleted.

    Args:
        rule: with the keep rules.
        candidates: all that it applies to in one group; fresh and protected ones are ranked, too.
        decisions: on the candidates, by key.
        policy: of the rule.
    """
    stale = {
        candidate.key
        for candidate in candidates
        if decisions[candidate.key].verdict is Verdict.DELETE
        # For a run that changed since the plan, a keep rule is the more helpful reason.
        or decisions[candidate.key].reason is Reason.CHANGED
    }
    if not stale:
        return
    found = winners(candidates, rule.keep, as_of_ms=policy.as_of_ms, zone=policy.zone)
    for key in stale & found.keys():
        reason, *also = (Reason(f"keep_{name}") for name, _ in found[key])
        via = (*(Link(note=note) for _, note in found[key]), Link("rule", rule.name))
        yield key, Decision(Verdict.PROTECT, reason, via, also=tuple(also))
