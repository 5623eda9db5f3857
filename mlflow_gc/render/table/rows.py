"""The entities of a plan as flat rows, for spreadsheets and data frames.

One row for each deleted and each protected entity, with the same columns for all kinds. New columns
are only added at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlflow_gc.domain.kinds import EXPERIMENT, KINDS, REGISTERED_MODEL, kinds_of
from mlflow_gc.plan.document import Fields, Plan, deletions_of, protected_of
from mlflow_gc.render.common.plan_groups import age_days, aged_from, experiment_names

Row = dict[str, Any]
"""Values are text, whole numbers, booleans, or None if unknown."""

COLUMNS = (
    *("action", "kind", "id", "name", "experiment_id", "experiment_name", "model", "version"),
    *("owner", "status", "created", "last_activity", "age_days", "reversible", "reason", "why"),
    *("via", "run_count", "parent_run_id", "source_run_id", "source", "description"),
    *("plan_id", "policy_file", "size_bytes", "file_count", "deleted"),
)
"""All columns in their order; docs/reference.md describes them."""


def rows(plan: Plan, *, is_genuine: bool = True) -> Iterator[Row]:
    """Yield a row for each entity of a plan: kind by kind, deleted before protected.

    ``is_genuine`` tells whether the ``plan_id`` matches the content.
    """
    names = experiment_names(plan)
    source = plan.get("policy_source")
    common = dict.fromkeys(COLUMNS) | {
        # An edited file contains the id of another plan, which must not be approved.
        "plan_id": plan["plan_id"] if is_genuine else None,
        "policy_file": source["path"] if source else None,
    }
    for kind in kinds_of(plan):
        for entity in deletions_of(plan, kind):
            details = _of_deletion(kind, entity, plan["as_of"])
            yield common | {"action": "delete"} | _names(kind, entity, names) | details
        for stale in protected_of(plan, kind):
            details = {"reason": stale["reason"], "via": ", ".join(stale["via"])}
            yield common | {"action": "keep"} | _names(kind, stale, names) | details


def _names(kind: str, entity: Fields, experiment_names: dict[str, str]) -> Row:
    name = KINDS[kind].name_of(entity)
    row: Row = {"kind": KINDS[kind].name, "id": KINDS[kind].id_of(entity), "name": name}
    if KINDS[kind].belongs_to == EXPERIMENT.name:
        of = entity["experiment_id"]
        return row | {"experiment_id": of, "experiment_name": experiment_names.get(of)}
    if KINDS[kind].belongs_to == REGISTERED_MODEL.name:
        return row | {"model": name, "version": entity.get("version")}
    return row


def _of_deletion(kind: str, entity: Fields, as_of: str) -> Row:
    return {
        "owner": entity.get("user_id"),
        "status": entity.get("status"),
        "created": entity[KINDS[kind].created],
        "last_activity": KINDS[kind].last_activity(entity),
        "age_days": age_days(aged_from(kind, entity), as_of),
        "reversible": entity["reversible"],
        "why": "; ".join(entity["reasons"]),
        "run_count": entity.get("run_count"),
        "parent_run_id": entity.get("parent_run_id"),
        "source_run_id": entity.get("run_id") if kind == "model_versions" else None,
        "source": entity.get("source"),
        "description": entity.get("description"),
        "size_bytes": entity.get("size_bytes"),
        "file_count": entity.get("file_count"),
        "deleted": entity.get("deleted_time"),
    }
