"""The digest that identifies a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow_gc.canonical import canonical, digest

__all__ = ["canonical", "digest", "plan_id"]

_NOT_DIGESTED = frozenset({"$schema", "plan_id", "created_at", "tool"})


def plan_id(plan: Mapping[str, Any]) -> str:
    """Return the digest that identifies a plan: over all of it but four descriptive fields."""
    return digest({key: value for key, value in plan.items() if key not in _NOT_DIGESTED})
