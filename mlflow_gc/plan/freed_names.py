"""Names of experiments in the trash, if a policy frees their original names."""

from __future__ import annotations

import re

from mlflow_gc.plan.document import Plan

_LONGEST = 256
"""Characters that MLflow's database has for the name of an experiment (2.3 to 3.18)."""


def frees_names(plan: Plan) -> bool:
    """Tell whether experiments are renamed before deletion; never by plans before 1.1."""
    return bool(plan["policy"].get("free_experiment_names", False))


def freed_name(name: str, experiment_id: str, time: str) -> str:
    """Return the unique name of an experiment after its original name is freed.

    Args:
        name: of the experiment; truncated if the result would be too long.
        experiment_id: of the experiment.
        time: of the deletion, ``2026-11-29T12:00:00Z``.
    """
    added = f" (deleted {time}, id {experiment_id})"
    return name[: _LONGEST - len(added)] + added


def is_freed(name: str, experiment_id: str) -> bool:
    """Tell whether the name of an experiment is a result of :func:`freed_name`."""
    return bool(_before(name, experiment_id))


def name_before(freed: str, experiment_id: str, known: str | None) -> str | None:
    """Return the original name of an experiment.

    Args:
        freed: its current name.
        experiment_id: of the experiment.
        known: the original name in a journal, which may have been edited.

    Returns:
        The name; None if it was truncated and is unknown.
    """
    left = _before(freed, experiment_id) or ""
    if known and known.startswith(left):
        return known
    return left if len(freed) < _LONGEST else None


def _before(name: str, experiment_id: str) -> str | None:
    added = rf" \(deleted [0-9T:.-]+Z, id {re.escape(experiment_id)}\)"
    found = re.fullmatch(f"(.*?)(?:{added})+", name, re.DOTALL)
    return found[1] if found else None
