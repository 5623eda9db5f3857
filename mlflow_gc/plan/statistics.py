"""Counts of deleted and retained entities for charts; no effect on decisions.

A plan lists only deleted and protected entities.  The ages of the others, and the remaining share
of an experiment or model, can be counted only while the inventory is available.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from mlflow_gc.domain.entities import Run
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.timestamps import DAY_MS
from mlflow_gc.plan.document import AgeCounts, Ages, Shares, Statistics
from mlflow_gc.retention.decision import Decision, Decisions, Verdict
from mlflow_gc.retention.guards import verdicts_by_group

AGE_BOUNDS_DAYS = (7, 30, 90, 180, 365, 730)
"""Bounds of the age buckets in days; older and unknown ages have buckets of their own."""


def statistics(inventory: Inventory, decisions: Decisions, as_of_ms: int) -> Statistics:
    """Return the ``statistics`` of a plan; ages count back from ``as_of_ms``."""
    facts = run_facts(inventory)
    runs, versions = inventory.runs, inventory.model_versions

    def newest_in(experiment_id: str) -> int | None:
        experiment = inventory.experiments[experiment_id]
        _, newest = facts.get(experiment_id, (0, None))
        own = (experiment.last_update_time or None, experiment.creation_time or None)
        return max((ms for ms in (newest, *own) if ms is not None), default=None)

    last_active: dict[str, Callable[[Any], int | None]] = {
        "experiments": newest_in,
        "runs": lambda r: _last_activity(inventory, runs[r]),
        "model_versions": lambda v: versions[v].active_ms or None,
        "registered_models": lambda m: inventory.registered_models[m].last_updated_timestamp,
    }
    ages = {
        kind: _ages(((last_active[kind](key), d) for key, d in of_kind.items()), as_of_ms)
        for kind, of_kind in decisions.by_kind.items()
    }
    return {
        "age_bounds_days": list(AGE_BOUNDS_DAYS),
        "ages": cast("Ages", ages),
        "by_experiment": [
            {"experiment_id": e, "name": inventory.experiments[e].name, **shares}
            for e, shares in _shares((runs[r].experiment_id, d) for r, d in decisions.runs.items())
            if e in inventory.experiments
        ],
        "by_model": [
            {"name": name, **shares}
            for name, shares in _shares((v[0], d) for v, d in decisions.model_versions.items())
        ],
    }


def run_facts(inventory: Inventory) -> dict[str, tuple[int, int | None]]:
    """Return the number of active runs of each experiment and their newest activity, ms."""
    facts: dict[str, tuple[int, int | None]] = {}
    for run in inventory.runs.values():
        count, newest = facts.get(run.experiment_id, (0, None))
        last = _last_activity(inventory, run)
        newest = last if newest is None else newest if last is None else max(newest, last)
        facts[run.experiment_id] = (count + 1, newest)
    return facts


def _last_activity(inventory: Inventory, run: Run) -> int | None:
    return run.last_activity_time(inventory.experiments.get(run.experiment_id))


def _ages(found: Iterable[tuple[int | None, Decision]], as_of_ms: int) -> AgeCounts:
    """Count by age, youngest first, unknown ages last."""
    unknown = len(AGE_BOUNDS_DAYS) + 1
    bounds_ms = [days * DAY_MS for days in AGE_BOUNDS_DAYS]
    counts = {verdict: [0] * (unknown + 1) for verdict in Verdict}
    for time_ms, decision in found:
        age = unknown if time_ms is None else bisect_right(bounds_ms, as_of_ms - time_ms)
        counts[decision.verdict][age] += 1
    return {
        "delete": counts[Verdict.DELETE],
        "protected": counts[Verdict.PROTECT],
        "fresh": counts[Verdict.FRESH],
    }


def _shares(found: Iterable[tuple[str, Decision]]) -> Iterator[tuple[str, Shares]]:
    """Count by group, only groups with stale entities, sorted by name."""
    for group, counts in verdicts_by_group(found).items():
        shares: Shares = {
            "delete": counts[Verdict.DELETE],
            "protected": counts[Verdict.PROTECT],
            "fresh": counts[Verdict.FRESH],
        }
        if shares["delete"] or shares["protected"]:
            yield group, shares
