"""What changed between two plans, entity by entity."""

from __future__ import annotations

from typing import Any

from mlflow_gc.plan.build import Document
from mlflow_gc.plan.schema import DIFF_SCHEMA_ID
from mlflow_gc.plan.verify import KINDS, identify

FORMAT = "mlflow-gc/plan-diff"
FORMAT_VERSION = "1.0"

# Words and moments that differ between any two nights and decide nothing.
_NOT_COMPARED = frozenset({"reasons"})
_NOT_COMPARED_POLICY = frozenset({"cutoff"})
_NOT_COMPARED_SERVER = frozenset({"read_from"})


def diff_plans(base: Document, head: Document) -> Document:
    """Return the difference as a document: what ``head`` deletes that ``base`` did not, and so on.

    ``diff_plans(a, a)`` has no differences.  Time of creation, ``as_of`` and the words in
    ``reasons`` are not compared.
    """
    entities = {kind: _diff_kind(kind, base, head) for kind in KINDS}
    policy = _fields(base["policy"], head["policy"], _NOT_COMPARED_POLICY)
    server = _fields(base["server"], head["server"], _NOT_COMPARED_SERVER)
    state = _fields(
        {key: base[key] for key in ("complete", "applyable")},
        {key: head[key] for key in ("complete", "applyable")},
        frozenset(),
    )
    different = bool(policy or server or state) or any(
        changes for lists in entities.values() for changes in lists.values()
    )
    return {
        "$schema": DIFF_SCHEMA_ID,
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "base": {key: base[key] for key in ("plan_id", "as_of")},
        "head": {key: head[key] for key in ("plan_id", "as_of")},
        "different": different,
        "server": server,
        "policy": policy,
        "state": state,
        **entities,
    }


def _diff_kind(kind: str, base: Document, head: Document) -> Document:
    before = {identify(kind, e): e for e in base[kind]}
    after = {identify(kind, e): e for e in head[kind]}
    kept_before = {identify(kind, e): e for e in base["protected"][kind]}
    kept_after = {identify(kind, e): e for e in head["protected"][kind]}
    return {
        "added": [
            {**_name(kind, after[i]), "why": _why_added(kept_before.get(i))}
            for i in after
            if i not in before
        ],
        "removed": [
            {**_name(kind, before[i]), "why": _why_removed(kept_after.get(i))}
            for i in before
            if i not in after
        ],
        "changed": [
            {**_name(kind, after[i]), "fields": fields}
            for i in after
            if i in before and (fields := _fields(before[i], after[i], _NOT_COMPARED))
        ],
    }


def _name(kind: str, entity: Document) -> Document:
    if kind == "experiments":
        return {"id": entity["experiment_id"], "name": entity["name"]}
    if kind == "runs":
        return {"id": entity["run_id"], "name": entity["run_name"]}
    return {"id": identify(kind, entity), "name": entity["name"]}


def _why_added(was_kept: Document | None) -> str:
    if was_kept is None:
        return "became stale"
    return f"no longer protected ({was_kept['reason']})"


def _why_removed(is_kept: Document | None) -> str:
    if is_kept is None:
        return "no longer stale, or gone"
    return f"now protected: {', '.join([is_kept['reason'], *is_kept['via']])}"


def _fields(before: Document, after: Document, leave_out: frozenset[str]) -> list[dict[str, Any]]:
    """Return the fields that differ; of nested objects the inner ones, as ``expect.status``.

    Lists of named objects (rules) are compared by name, and by their order.
    """
    changes: list[dict[str, Any]] = []
    for key in [*before, *(k for k in after if k not in before)]:
        old, new = before.get(key), after.get(key)
        if key in leave_out or old == new:
            continue
        if _is_named(old) and _is_named(new):
            old = {entry["name"]: entry for entry in old or ()}
            new = {entry["name"]: entry for entry in new or ()}
            orders = [[name for name in side if name in old and name in new] for side in (old, new)]
            if orders[0] != orders[1]:
                changes.append({"field": f"{key} order", "old": orders[0], "new": orders[1]})
        if isinstance(old, dict) and isinstance(new, dict):
            inner = _fields(old, new, frozenset())
            changes += [{**change, "field": f"{key}.{change['field']}"} for change in inner]
        else:
            changes.append({"field": key, "old": old, "new": new})
    return changes


def _is_named(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in value
    )
