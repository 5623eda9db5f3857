"""A gateway for dry runs: reads are real, deletions are only simulated.

With it a dry run and ``check`` use the same executor as a prune.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlflow_gc.backend.interface import Gateway, Page
from mlflow_gc.domain.entities import Run, Trace


class DryRun:
    """Wraps a real gateway; later reads do not return "deleted" entities."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._deleted_runs: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        """Pass reads on to the real gateway."""
        if name.startswith("restore_"):
            raise AttributeError(name)
        return getattr(self._gateway, name)

    def search_runs(self, experiment_ids: Sequence[str], **kwargs: Any) -> Page[Run]:
        """Search runs, without those that a real prune would have deleted."""
        while True:
            found, token = self._gateway.search_runs(experiment_ids, **kwargs)
            left = [run for run in found if run.run_id not in self._deleted_runs]
            if left or not token:
                return left, token
            kwargs["token"] = token

    def search_traces(self, experiment_ids: Sequence[str], **kwargs: Any) -> Page[Trace]:
        """Search traces, without assessments that would have been deleted with these runs."""
        found, token = self._gateway.search_traces(experiment_ids, **kwargs)
        left = [
            trace._replace(
                assessments=[a for a in trace.assessments if not a.run_ids & self._deleted_runs]
            )
            for trace in found
        ]
        return left, token

    def delete_run(self, run_id: str) -> None:
        """Record a run as deleted."""
        self._deleted_runs.add(run_id)

    def rename_experiment(self, experiment_id: str, name: str) -> None:
        """Do nothing: nothing reads the name of a deleted experiment."""

    def delete_experiment(self, experiment_id: str) -> None:
        """Do nothing: nothing reads a deleted experiment again."""

    def delete_model_version(self, name: str, version: str) -> None:
        """Do nothing: the highest versions are never deleted, so no other version depends on it."""

    def delete_registered_model(self, name: str) -> None:
        """Do nothing: it has no versions that could depend on it."""
