"""The guards of a plan, checked against the current state of the server.

The deletions of a plan are fixed; the number of other entities may have shrunk since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from functools import partial

from mlflow_gc.apply.recheck.recheck import Recheck
from mlflow_gc.backend.interface import Gateway, pages
from mlflow_gc.domain.entities import Run
from mlflow_gc.domain.tag_selection import ALWAYS_WANTED
from mlflow_gc.errors import Refused
from mlflow_gc.inventory.lookup import EXPERIMENTS_A_CALL, chunks
from mlflow_gc.inventory.run_scanner import read_runs
from mlflow_gc.plan.document import Plan, deletion_counts
from mlflow_gc.plan.verification import guard_hint
from mlflow_gc.retention.guards import Share, Tally, exceeded
from mlflow_gc.retention.policy import Guards
from mlflow_gc.settings import MAX_DELETIONS, MAX_SHARE, resolve_maximum


def refuse_exceeded(gateway: Gateway, plan: Plan, recheck: Recheck, local: Guards) -> None:
    """Refuse a plan that deletes a larger share than its guards, or this machine, allow.

    Entries that are already deleted count as existing, so that a partly applied plan can be
    completed.

    ``local`` are the limits of this machine, which no plan can raise.

    Raises:
        Refused: With the numbers.
        ServerError: The existing entities cannot be read.
    """
    guards = recheck.policy.guards
    shares = {*guards.max_share_percent, *local.max_share_percent}
    if not guards.max_deletions and not local.max_deletions and not shares:
        return
    tally = _tally_now(gateway, plan, recheck, shares)
    if broken := list(exceeded(local, tally)):
        raise Refused(
            "This machine allows less than the plan deletes. " + " ".join(broken[:5]),
            hint=f"{MAX_DELETIONS.variable} and {MAX_SHARE.variable} are set here, whatever guards "
            "a plan brings along. Make a smaller plan, or ask whoever set them.",
        )
    if broken := list(exceeded(guards, tally)):
        raise Refused(
            "A guard of the plan is exceeded by what the server holds now. " + " ".join(broken[:5]),
            hint=guard_hint(plan),
        )


def local_maxima() -> Guards:
    """Return the limits of this machine for any plan.

    Raises:
        UsageProblem: one of the settings cannot be understood.
    """
    deletions = resolve_maximum(MAX_DELETIONS)
    share = resolve_maximum(MAX_SHARE, most=100)
    return Guards(
        max_deletions={} if deletions is None else {"total": deletions},
        max_share_percent={} if share is None else {"total": share},
    )


def _tally_now(gateway: Gateway, plan: Plan, recheck: Recheck, shares: Collection[str]) -> Tally:
    planned = deletion_counts(plan)
    if not shares:
        return Tally({kind: Share(n, n) for kind, n in planned.items()})
    runs = Counter(entry["experiment_id"] for entry in plan["runs"])
    versions = Counter(entry["name"] for entry in plan["model_versions"])
    run_ids = {entry["run_id"] for entry in plan["runs"]}
    keys = {(entry["name"], entry["version"]) for entry in plan["model_versions"]}
    models = {entry["name"] for entry in plan["registered_models"]}
    counts_models = plan["summary"]["registered_models"]["scanned"] > 0
    experiments = {entry["experiment_id"] for entry in plan["experiments"]}
    search = partial(gateway.search_experiments, view="ACTIVE_ONLY")
    active = {experiment.experiment_id for experiment in pages(search)}
    other_versions = Counter(
        name for name, v in recheck.evidence.registry.versions if (name, v) not in keys
    )
    other_runs: Counter[str] = Counter()
    # Counting runs means reading them: only in experiments that a guard needs.
    where = sorted(active) if {"total", "runs"} & {*shares} else sorted(runs)
    if {"total", "runs", "experiment"} & {*shares}:
        found: dict[str, Run] = {}
        read_runs(gateway, [*chunks(where, EXPERIMENTS_A_CALL)], found, ALWAYS_WANTED)
        other_runs.update(found[i].experiment_id for i in found.keys() - run_ids)
    others = {
        "experiments": len(active - experiments),
        "runs": other_runs.total(),
        "model_versions": other_versions.total(),
        "registered_models": len(set(recheck.evidence.registry.models) - models)
        if counts_models
        else 0,
    }
    return Tally(
        kinds={kind: Share(n, n + others[kind]) for kind, n in planned.items()},
        experiments={e: Share(n, n + other_runs[e]) for e, n in sorted(runs.items())},
        registered_models={m: Share(n, n + other_versions[m]) for m, n in sorted(versions.items())},
    )
