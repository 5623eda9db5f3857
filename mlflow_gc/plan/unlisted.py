"""What can be concluded about an entity that a plan does not list.

A plan lists stale entities.  Others are fresh, or in the trash, or do not exist; only sometimes the
rest of the plan tells which.  Nothing here guesses.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from mlflow_gc.domain.kinds import is_purge
from mlflow_gc.plan.document import Plan

GONE = "gone"
"""It certainly does not exist, or is in the trash."""
IN_USE = "in_use"
"""It certainly exists and is not stale."""
UNKNOWN = "unknown"
"""Not stale, or does not exist: the plan does not tell which."""


class Unlisted:
    """Conclusions from one plan.

    Args:
        plan: a valid plan.
    """

    def __init__(self, plan: Plan) -> None:
        statistics = plan.get("statistics")
        by_experiment = statistics["by_experiment"] if statistics else []
        by_model = statistics["by_model"] if statistics else []
        self._complete: bool = plan["complete"]
        self._is_purge = is_purge(plan)
        # The numbers of fresh runs and versions.  Only experiments and models with stale entities
        # are included.
        self._experiments = {e["experiment_id"]: e for e in by_experiment}
        self._fresh_runs = {i: e["fresh"] for i, e in self._experiments.items()}
        self._fresh_versions = {m["name"]: m["fresh"] for m in by_model}
        for entry in plan["experiments"]:
            # An experiment is deleted only with all of its runs, so all are listed.
            self._fresh_runs[entry["experiment_id"]] = 0
        empty = chain(plan["registered_models"], plan["protected"]["registered_models"])
        self._empty_models = {entry["name"] for entry in empty}
        versions = chain(plan["model_versions"], plan["protected"]["model_versions"])
        self._models = {entry["name"] for entry in versions} | set(self._fresh_versions)

    def of(self, kind: str, entity: Mapping[str, Any]) -> tuple[str, str]:
        """Return what is certain about an entity that the plan does not list, as code and text.

        Args:
            kind: a field of a plan, such as ``runs``.
            entity: its entry in another plan.
        """
        if not self._complete:
            return UNKNOWN, "the scan was incomplete"
        if self._is_purge:
            return UNKNOWN, "not long enough in the trash, restored, or purged"
        if kind == "runs":
            # A run never changes its experiment, and all active runs of the experiment are known.
            if self._fresh_runs.get(entity["experiment_id"]) == 0:
                return GONE, "gone, or in the trash"
        elif kind == "model_versions":
            if (
                entity["name"] in self._empty_models
                or self._fresh_versions.get(entity["name"]) == 0
            ):
                return GONE, "gone"
        elif kind == "experiments":
            here = self._experiments.get(entity["experiment_id"])
            # With another name it may be another experiment, see plan/diff.py.
            if here and here["fresh"] and here["name"] == entity["name"]:
                return IN_USE, f"{here['fresh']:,} of its runs are not stale"
        elif kind == "registered_models" and entity["name"] in self._models:
            return IN_USE, "it has versions"
        return UNKNOWN, "not stale, or gone"
