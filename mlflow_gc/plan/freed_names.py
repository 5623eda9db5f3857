"""What experiments are called in the trash, where a policy frees their names."""

from __future__ import annotations

import re

from mlflow_gc.plan.document import Plan

_LONGEST = 256
"""Characters that MLflow's database has for the name of an experiment (2.3 to 3.18)."""


def frees_names(plan: Plan) -> bool:
    """Tell whether experiments are renamed before they are deleted; plans before 1.1 do not say."""
    return bool(plan["policy"].get("free_experiment_names", False))


def freed_name(name: str, experiment_id: str, time: str) -> str:
    """Return what an experiment is called once its name is free; no other one is called so.

    Args:
        name: of the experiment; its end is left out where all of it would be too long.
        experiment_id: of the experiment.
        time: of the deletion, ``2026-11-29T12:00:00Z``.
    """
    added = f" (deleted {time}, id {experiment_id})"
    return name[: _LONGEST - len(added)] + added


def is_freed(name: str, experiment_id: str) -> bool:
    """Tell whether an experiment is called by one of its :func:`freed_name`."""
    return bool(_before(name, experiment_id))


def name_before(freed: str, experiment_id: str, known: str | None) -> str | None:
    """Return the name of an experiment from before it was freed.

    Args:
        freed: its name now.
        experiment_id: of the experiment.
        known: what it was called, as a journal says; anybody may have edited that.

    Returns:
        The name; None where not all of it is left and nobody knows it.
    """
    left = _before(freed, experiment_id) or ""
    if known and known.startswith(left):
        return known
    return left if len(freed) < _LONGEST else None


def _before(name: str, experiment_id: str) -> str | None:
    added = rf" \(deleted [0-9T:.-]+Z, id {re.escape(experiment_id)}\)"
    found = re.fullmatch(f"(.*?)(?:{added})+", name, re.DOTALL)
    return found[1] if found else None
