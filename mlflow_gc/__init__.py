"""mlflow-gc: plan/apply pruning for MLflow tracking servers and model registries.

The Python API is :mod:`mlflow_gc.api`; its names are here, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlflow_gc.version import __version__ as __version__

if TYPE_CHECKING:
    from mlflow_gc.api import (
        GcError,
        Listener,
        Outcome,
        Plan,
        Refused,
        Server,
        UsageProblem,
        check,
        diff,
        load_plan,
        prune,
        purge,
        report,
        report_trash,
        restore,
        save_plan,
        usage,
        workspaces,
    )

__all__ = [
    "GcError",
    "Listener",
    "Outcome",
    "Plan",
    "Refused",
    "Server",
    "UsageProblem",
    "check",
    "diff",
    "load_plan",
    "prune",
    "purge",
    "report",
    "report_trash",
    "restore",
    "save_plan",
    "usage",
    "workspaces",
]


def __getattr__(name: str) -> Any:
    # Lazy imports: offline commands and ``import mlflow_gc`` load only what they use.
    if name in __all__:
        from mlflow_gc import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
