"""Which rule is about which entity, and the age it sets there once the owner was heard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from mlflow_gc.domain.entities import Experiment, Inventory, ModelVersion, RegisteredModel, Run
from mlflow_gc.domain.reasons import Link
from mlflow_gc.domain.timestamps import format_duration
from mlflow_gc.retention.owner_tags import wished_ttl
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rules import TERMINAL_STATUSES, UNFINISHED_STATUSES, Rule


@dataclass(frozen=True, slots=True)
class Age:
    """From which age something is stale.

    Attributes:
        ms: the age; None for never.
        by: the tag or rule that says so; None for the default rule.
        malformed: a tag that should say so and cannot be understood, or None.
        ignored: a tag that asks for less and may not, and why, for people; empty for none.
    """

    ms: int | None
    by: Link | None = None
    malformed: Link | None = None
    ignored: str = ""


class RuleResolver:
    """The rules of a policy over an inventory; the first that matches decides.

    Args:
        policy: its rules.
        inventory: what they are about.
    """

    def __init__(self, policy: Policy, inventory: Inventory) -> None:
        self._policy = policy
        self._inventory = inventory
        # Of ten rules about experiments few are about this one: asked once per experiment.
        self._places: dict[str, tuple[Rule, ...]] = {}
        self._used: set[str] = set()

    @property
    def unused(self) -> tuple[str, ...]:
        """Names of the rules that nobody asked for was about, in the order of the policy."""
        return tuple(r.name for r in self._policy.rules if r.name not in self._used)

    def of_experiment(self, experiment: Experiment) -> Rule:
        """Return the rule for an experiment as such."""
        workspace = self._inventory.workspace
        return self._first(
            r for r in self._policy.rules if r.match.matches_experiment(experiment, workspace)
        )

    def of_run(self, run: Run, experiment: Experiment) -> Rule:
        """Return the rule for a run."""
        if not self._policy.rules:
            return self._policy.default
        places = self._places.get(experiment.experiment_id)
        if places is None:
            workspace = self._inventory.workspace
            places = tuple(
                r for r in self._policy.rules if r.match.matches_place(experiment, workspace)
            )
            self._places[experiment.experiment_id] = places
        for rule in places:
            if rule.match.matches_run(run, experiment):
                self._used.add(rule.name)
                return rule
        return self._policy.default

    def of_version(self, version: ModelVersion) -> Rule:
        """Return the rule for a model version."""
        return self._of_model(version.name, version.tags)

    def of_model(self, model: RegisteredModel) -> Rule:
        """Return the rule for a registered model as such."""
        return self._of_model(model.name, model.tags)

    def _of_model(self, name: str, tags: Mapping[str, str]) -> Rule:
        model = self._inventory.registered_models.get(name)
        workspace = self._inventory.workspace
        return self._first(
            r for r in self._policy.rules if r.match.matches_model(name, tags, model, workspace)
        )

    def _first(self, rules: Iterator[Rule]) -> Rule:
        rule = next(rules, self._policy.default)
        self._used.add(rule.name)
        return rule

    def age_of_run(
        self, rule: Rule, run: Run, experiment: Experiment | None, *, reversible: bool
    ) -> tuple[Age, int | None]:
        """Return the age from which a run is stale, and what its rule alone sets, ms.

        Args:
            rule: that is about it.
            run: the run.
            experiment: that it is in, if that is known.
            reversible: whether all of it comes back when its deletion is undone.
        """
        is_zombie = run.status in UNFINISHED_STATUSES and rule.zombies_ms is not None
        limit = rule.ttl_of(run) if is_zombie or run.status in TERMINAL_STATUSES else rule.ttl_ms
        obstacle = self._no_less(reversible=reversible)
        if is_zombie:
            # An owner may think of finished runs; no run that may live goes for that.
            obstacle = f"no tag may shorten the age of {run.status} runs"
        tags = (run.tags, experiment.tags if experiment else {})
        by = _by(rule, self._policy)
        if run.status in TERMINAL_STATUSES and run.status not in rule.statuses:
            by = Link("status", run.status, f"is not among the statuses of {by or 'the default'}")
        return self._age(by, limit, *tags, no_less=obstacle), limit

    def age_of_experiment(
        self, experiment: Experiment, run_count: int, *, reversible: bool
    ) -> tuple[Age, int | None]:
        """Return the age from which an experiment is stale, and what its rule alone sets, ms.

        Args:
            experiment: the experiment.
            run_count: how many active runs it has.
            reversible: whether deleting it loses nothing.
        """
        rule = self.of_experiment(experiment)
        limit = rule.experiment_ttl_ms if run_count else rule.empty_ms
        no_less = self._no_less(reversible=reversible)
        return self._age(_by(rule, self._policy), limit, experiment.tags, no_less=no_less), limit

    def age_of_version(self, version: ModelVersion) -> tuple[Age, int | None]:
        """Return the age from which a version is stale, and what its rule alone sets, ms."""
        rule = self.of_version(version)
        model = self._inventory.registered_models.get(version.name)
        tags = (version.tags, model.tags if model else {})
        no_less = self._no_less(reversible=False)
        return self._age(_by(rule, self._policy), rule.ttl_ms, *tags, no_less=no_less), rule.ttl_ms

    def age_of_model(self, model: RegisteredModel) -> tuple[Age, int | None]:
        """Return the age from which an empty model is stale, and what its rule alone sets, ms."""
        rule = self.of_model(model)
        limit = rule.empty_model_ms
        no_less = self._no_less(reversible=False)
        return self._age(_by(rule, self._policy), limit, model.tags, no_less=no_less), limit

    def _no_less(self, *, reversible: bool) -> str:
        """Return why no tag may ask for less than the rule, for people; empty where one may.

        Setting a tag takes less rights than deleting (EDIT and MANAGE of MLflow's basic auth): who
        may shorten an age lets an administrator's job delete for him.
        """
        if not self._policy.owners_may_shorten:
            return "owners.may_shorten is false"
        if not reversible and not self._policy.owners_may_shorten_irreversible:
            return "the deletion is irreversible, and owners.may_shorten_irreversible is false"
        return ""

    def _age(self, by: Link | None, ms: int | None, *tags: Mapping[str, str], no_less: str) -> Age:
        """Return the age from which something is stale.

        Args:
            by: who sets it, before owners are heard.
            ms: what it is then; None for never.
            tags: of the thing itself, then of what holds it.
            no_less: why no tag may ask for less, or empty.
        """
        floor_ms = self._policy.owners_shortest_ttl_ms
        ignored = ""
        for each in tags:
            wish = wished_ttl(each)
            if wish is None:
                continue
            if wish.is_malformed:
                return Age(None, wish.tag, malformed=wish.tag)
            if wish.ttl_ms is None or (ms is not None and wish.ttl_ms >= ms):
                return Age(wish.ttl_ms, wish.tag)
            # "never" in a policy is final: an owner can shorten an age, not switch deletion on.
            why = "the policy says never" if ms is None else no_less
            if not why and ms is not None and floor_ms < ms:
                if wish.ttl_ms >= floor_ms:
                    return Age(wish.ttl_ms, wish.tag)
                shortest = format_duration(floor_ms)
                return Age(
                    floor_ms, replace(wish.tag, note=f", raised to owners.shortest_ttl {shortest}")
                )
            why = why or f"owners.shortest_ttl is {format_duration(floor_ms)}"
            ignored = ignored or f"{wish.tag}: {why}"
        return Age(ms, by, ignored=ignored)


def _by(rule: Rule, policy: Policy) -> Link | None:
    return None if rule is policy.default else Link("rule", rule.name)
