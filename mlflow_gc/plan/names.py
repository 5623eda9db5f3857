"""What experiments are called in the trash, where a policy frees their names."""

from __future__ import annotations

from typing import Any

_LONGEST = 256
"""Characters that MLflow's database has for the name of an experiment (2.3 to 3.18)."""


def frees_names(plan: dict[str, Any]) -> bool:
    """Tell whether experiments are renamed before they are deleted; plans before 1.1 do not say."""
    return bool(plan["policy"].get("free_experiment_names", False))


def freed_name(name: str, experiment_id: str, day: str) -> str:
    """Return what an experiment is called once its name is free; no other one is called so.

    Args:
        name: of the experiment; its end is left out where all of it would be too long.
        experiment_id: of the experiment.
        day: of the deletion, ``2026-11-29``.
    """
    added = f" (deleted {day}, id {experiment_id})"
    return name[: _LONGEST - len(added)] + added
