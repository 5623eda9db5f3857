"""What a plan tells about something that it does not list.

A plan names what is stale.  What it does not name is fresh, or in the trash, or does not exist; which
of these can be told only now and then, from what the plan says about the rest.  Nothing here
guesses.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from mlflow_gc.plan.document import Plan

GONE = "gone"
"""It is certain that it is not there, or in the trash."""
IN_USE = "in_use"
"""It is certain that it is there, and why it is not stale."""
UNKNOWN = "unknown"
"""Not stale, or not there: this plan does not tell."""


class Unlisted:
    """Answers from one plan.

    Args:
        plan: keeps to its schema.
    """

    def __init__(self, plan: Plan) -> None:
        statistics = plan.get("statistics")
        by_experiment = statistics["by_experiment"] if statistics else []
        by_model = statistics["by_model"] if statistics else []
        self._complete: bool = plan["complete"]
        # How many active runs, or versions, are not stale.  An experiment or model in which nothing
        # is stale is not among them.
        self._experiments = {e["experiment_id"]: e for e in by_experiment}
        self._fresh_runs = {i: e["fresh"] for i, e in self._experiments.items()}
        self._fresh_versions = {m["name"]: m["fresh"] for m in by_model}
        for entry in plan["experiments"]:
            # An experiment goes only when all of its runs do, so that all are listed.
            self._fresh_runs[entry["experiment_id"]] = 0
        empty = chain(plan["registered_models"], plan["protected"]["registered_models"])
        self._empty_models = {entry["name"] for entry in empty}
        versions = chain(plan["model_versions"], plan["protected"]["model_versions"])
        self._models = {entry["name"] for entry in versions} | set(self._fresh_versions)

    def of(self, kind: str, entity: Mapping[str, Any]) -> tuple[str, str]:
        """Return what is certain about something that the plan does not list, and in words.

        Args:
            kind: a list of a plan, such as ``runs``.
            entity: its entry in another plan.
        """
        if not self._complete:
            return UNKNOWN, "the scan did not see everything"
        if kind == "runs":
            # A run stays in its experiment for life, and all active ones of it are known.
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
            # Under another name it may be another one, see plan/diff.py.
            if here and here["fresh"] and here["name"] == entity["name"]:
                return IN_USE, f"{here['fresh']:,} of its runs are not stale"
        elif entity["name"] in self._models:
            return IN_USE, "it has versions"
        return UNKNOWN, "not stale, or gone"
