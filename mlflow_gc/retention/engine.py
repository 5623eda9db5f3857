"""The decision: which experiments, runs and model versions go, and why the others stay.

One function, :func:`decide`, is used for the plan and, on freshly read evidence, again immediately
before each deletion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mlflow_gc.domain.entities import Inventory, Run
from mlflow_gc.domain.timestamps import DAY_MS
from mlflow_gc.retention.decision import Decision, Decisions, Reason, Verdict
from mlflow_gc.retention.experiments import decide_experiments
from mlflow_gc.retention.model_versions import decide_model_versions
from mlflow_gc.retention.owner_tags import TTL, wished_ttl
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.registered_models import decide_registered_models
from mlflow_gc.retention.rule_resolution import RuleResolver
from mlflow_gc.retention.rules import TERMINAL_STATUSES
from mlflow_gc.retention.runs import decide_runs


def decide(
    inventory: Inventory, policy: Policy, held_runs: Mapping[str, Decision] | None = None
) -> Decisions:
    """Decide over everything in an inventory.

    Args:
        inventory: what is known.  Its order does not matter.
        policy: what is old.
        held_runs: runs to keep for reasons that only the caller knows, with the decision to give
            them; trees they belong to stay as well.

    Returns:
        A decision for every active run and experiment and every model version.
    """
    resolver = RuleResolver(policy, inventory)
    runs = decide_runs(inventory, policy, resolver, held_runs or {})
    return Decisions(
        experiments=decide_experiments(inventory, policy, resolver, runs),
        runs=runs,
        model_versions=decide_model_versions(inventory, policy, resolver),
        registered_models=decide_registered_models(inventory, policy, resolver),
        unused_rules=resolver.unused,
    )


def decide_after_look(inventory: Inventory, policy: Policy, decisions: Decisions) -> Decisions:
    """Return decisions for an inventory that only had its experiments looked into since.

    What ``decide`` returns, without deciding over a million runs again.

    Args:
        inventory: the one that was decided over, with more ``probes``.
        policy: the same.
        decisions: over the inventory as it was.
    """
    resolver = RuleResolver(policy, inventory)
    experiments = decide_experiments(inventory, policy, resolver, decisions.runs)
    return replace(decisions, experiments=experiments)


def experiments_to_probe(decisions: Decisions) -> list[str]:
    """Return the experiments that only wait for a look into them (``scan.probe``)."""
    return [e for e, d in decisions.experiments.items() if d.reason is Reason.NOT_SEEN]


def trash_since(policy: Policy, inventory: Inventory) -> int:
    """Return from when on activity in the trash of experiments can matter, ms since the epoch.

    That is the largest age that a rule or an owner of an experiment sets.
    """
    ages: list[int | None] = [policy.min_age_ms]
    ages += [ms for rule in policy.all_rules() for ms in (rule.experiment_ttl_ms, rule.empty_ms)]
    wishes = (wished_ttl(e.tags) for e in inventory.experiments.values() if TTL in e.tags)
    ages += [wish.ttl_ms for wish in wishes if wish]
    return policy.as_of_ms - max((ms for ms in ages if ms is not None), default=0)


def runs_to_know(_inventory: Inventory, decisions: Decisions) -> set[str]:
    """Return the runs of which all has to be known (metrics, contents, traces).

    Those that go: what is known of their metrics may not be the newest, assessments may name them,
    and their plan says what they look like.
    """
    return {run_id for run_id, d in decisions.runs.items() if d.verdict is Verdict.DELETE}


def runs_that_may_read(inventory: Inventory, decisions: Decisions) -> set[str]:
    """Return the runs whose inputs have to be known (``scan.read_inputs``).

    Those that stay, if a run that goes has made a logged model: one of them may use it, unless it
    was over before there was such a model.
    """
    going = {i for i, d in decisions.runs.items() if d.verdict is Verdict.DELETE}
    made = [m.creation_time for m in inventory.logged_models.values() if m.source_run_id in going]
    if not made:
        return set()
    known = [ms for ms in made if ms is not None]
    since_ms = min(known) if len(known) == len(made) else None
    return {
        run_id
        for run_id in decisions.runs.keys() - going
        if _may_have_read(inventory, inventory.runs[run_id], since_ms)
    }


def _may_have_read(inventory: Inventory, run: Run, since_ms: int | None) -> bool:
    """Tell whether a run was still at work at some time; when in doubt, it was.

    Args:
        inventory: what else is known.
        run: the run.
        since_ms: when the server stamped the first model that matters; None where it is not known.
    """
    experiment = inventory.experiments.get(run.experiment_id)
    last = run.last_activity_time(experiment)
    if since_ms is None or last is None or run.end_time is None:
        return True
    if run.status not in TERMINAL_STATUSES or experiment is None:
        return True
    # Its own times come from another machine, and those of an imported run from another server.
    was_here = experiment.creation_time is None or (run.start_time or 0) >= experiment.creation_time
    return not was_here or last + DAY_MS >= since_ms
