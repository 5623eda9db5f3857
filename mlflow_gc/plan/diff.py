"""The difference between two plans, entity by entity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mlflow_gc.domain.kinds import KINDS, PURGE, is_purge, kinds_of
from mlflow_gc.plan.document import DiagnosticEntry, Fields, Json, Plan, deletions_of, protected_of
from mlflow_gc.plan.schema import DIFF_SCHEMA_ID
from mlflow_gc.plan.unlisted import GONE, IN_USE, Unlisted

FORMAT = "mlflow-gc/plan-diff"
FORMAT_VERSION = "1.1"

# Texts, times and sizes that have no effect.
_NOT_COMPARED = frozenset({"reasons", "size_bytes", "file_count"})
_NOT_COMPARED_POLICY = frozenset({"cutoff"})
_NOT_COMPARED_SERVER = frozenset({"read_from"})


def diff_plans(base: Plan, head: Plan, *, edited: tuple[bool, bool] = (False, False)) -> Json:
    """Return the difference as a document: what ``head`` deletes that ``base`` did not, and so on.

    ``diff_plans(a, a)`` has no differences.  Time of creation, ``as_of``, counts and
    ``reasons`` are not compared.

    Args:
        base: the earlier plan.
        head: the later plan.
        edited: whether their ``plan_id`` does not match their content.
    """
    old, new = _Side(base), _Side(head)
    # The published lists are those of a prune plan; a purge plan has more.
    kinds = KINDS if is_purge(head) else kinds_of(head)
    entities = {kind: _diff_kind(kind, old, new) for kind in kinds}
    protected = {kind: _diff_protected(kind, old, new) for kind in kinds}
    server = _fields(base["server"], head["server"], _server_fields_left_out(base, head))
    policy = _fields(base["policy"], head["policy"], _NOT_COMPARED_POLICY)
    state = [
        {"field": key, "old": base[key], "new": head[key]}
        for key in ("complete", "applyable")
        if base[key] != head[key]
    ]
    diagnostics = {
        "added": list(_only_in(head["diagnostics"], base["diagnostics"])),
        "removed": list(_only_in(base["diagnostics"], head["diagnostics"])),
    }
    lists = (*entities.values(), *protected.values(), diagnostics)
    different = any((server, policy, state)) or any(
        changes for of_one in lists for changes in of_one.values()
    )
    return {
        "$schema": DIFF_SCHEMA_ID,
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **({"action": PURGE} if is_purge(head) else {}),
        "base": _about(base, edited=edited[0]),
        "head": _about(head, edited=edited[1]),
        "different": different,
        "same_server": base["server"]["identity"] == head["server"]["identity"],
        "server": server,
        "policy": policy,
        "state": state,
        "diagnostics": diagnostics,
        "summary": {
            **{kind: _counts(kind, base, head, entities[kind], protected[kind]) for kind in kinds},
            "irreversible": {
                "base": sum(old.deleted[kind].irreversible for kind in kinds),
                "head": sum(new.deleted[kind].irreversible for kind in kinds),
                "added": _irreversible(entities[kind]["added"] for kind in kinds),
                "removed": _irreversible(entities[kind]["removed"] for kind in kinds),
            },
        },
        **entities,
        "protected": protected,
    }


class _Side:
    """One of the plans, indexed by kind and id."""

    def __init__(self, plan: Plan) -> None:
        self.deleted = {kind: _ById(kind, deletions_of(plan, kind)) for kind in KINDS}
        self.protected = {kind: _ById(kind, protected_of(plan, kind)) for kind in KINDS}
        self.unlisted = Unlisted(plan)


class _ById(Mapping[str, Fields]):
    """Entries by id; only their indexes are kept in memory.

    Attributes:
        irreversible: number of irreversible deletions.
    """

    def __init__(self, kind: str, entities: Sequence[Fields]) -> None:
        self._entities = entities
        self._indexes: dict[str, int] = {}
        self.irreversible = 0
        for index, entity in enumerate(entities):
            self._indexes[KINDS[kind].id_of(entity)] = index
            self.irreversible += not entity.get("reversible", True)

    def __getitem__(self, entity_id: str) -> Fields:
        return self._entities[self._indexes[entity_id]]

    def __contains__(self, entity_id: object) -> bool:
        return entity_id in self._indexes

    def __iter__(self) -> Iterator[str]:
        return iter(self._indexes)

    def __len__(self) -> int:
        return len(self._indexes)


def _about(plan: Plan, *, edited: bool) -> Json:
    return {
        "plan_id": plan["plan_id"],
        "as_of": plan["as_of"],
        "expires_at": plan["expires_at"],
        "complete": plan["complete"],
        "applyable": plan["applyable"],
        "tracking_uri": plan["server"]["tracking_uri"],
        "policy_source": plan.get("policy_source"),
        "edited": edited,
    }


def _server_fields_left_out(*plans: Plan) -> frozenset[str]:
    # Plans of older versions do not say what their server has.
    if all("capabilities" in plan["server"] for plan in plans):
        return _NOT_COMPARED_SERVER
    return _NOT_COMPARED_SERVER | {"capabilities"}


def _only_in(
    diagnostics: list[DiagnosticEntry], others: list[DiagnosticEntry]
) -> Iterator[DiagnosticEntry]:
    known = {(d["code"], d["message"]) for d in others}
    yield from (d for d in diagnostics if (d["code"], d["message"]) not in known)


def _counts(kind: str, base: Plan, head: Plan, changes: Json, protected: Json) -> Json:
    return {
        "base": len(deletions_of(base, kind)),
        "head": len(deletions_of(head, kind)),
        **{key: len(changes[key]) for key in ("added", "removed", "changed")},
        "protected": {
            "base": len(protected_of(base, kind)),
            "head": len(protected_of(head, kind)),
            **{key: len(protected[key]) for key in ("added", "removed", "changed")},
        },
    }


def _irreversible(lists: Iterable[Iterable[Json]]) -> int:
    return sum(not entity["reversible"] for entities in lists for entity in entities)


def _diff_kind(kind: str, base: _Side, head: _Side) -> Json:
    before, after = base.deleted[kind], head.deleted[kind]
    added, removed, changed = [], [], []
    replaced = set()
    for i, entity in after.items():
        old = before.get(i)
        if old is None:
            why = _why_added(kind, entity, base.protected[kind].get(i), base.unlisted)
            added.append({**_entity(kind, i, entity), **why})
        elif _is_alike(old, entity):
            continue
        elif KINDS[kind].is_reused and old[KINDS[kind].created] != entity[KINDS[kind].created]:
            replaced.add(i)
            why = {"category": "another", "why": "another one under the same id"}
            added.append({**_entity(kind, i, entity), **why})
        elif fields := _fields(old, entity, _NOT_COMPARED):
            named = _entity(kind, i, entity)
            del named["reasons"]
            changed.append({**named, "fields": fields})
    for i in before:
        if i in after and i not in replaced:
            continue
        entity = before[i]
        if i in replaced:
            why = {"category": "another", "why": "gone: another one has its id now"}
        else:
            why = _why_removed(kind, entity, head.protected[kind].get(i), head.unlisted)
        removed.append({**_entity(kind, i, entity), **why})
    return {"added": added, "removed": removed, "changed": changed}


def _is_alike(old: Fields, new: Fields) -> bool:
    """Tell whether only ``reasons`` differ; fast, because it is called for each entity."""
    return old == new or {**old, "reasons": new["reasons"]} == new


def _entity(kind: str, entity_id: str, entity: Fields) -> Json:
    named: Json = {"id": entity_id, "name": KINDS[kind].name_of(entity)}
    if kind == "runs":
        named |= {key: entity[key] for key in ("experiment_id", "experiment_name")}
    return {
        **named,
        "last_active": entity[KINDS[kind].active[-1]],
        "reversible": entity["reversible"],
        "reasons": entity["reasons"],
    }


def _why_added(kind: str, entity: Fields, old_protected: Fields | None, unlisted: Unlisted) -> Json:
    if old_protected is not None:
        why = f"no longer protected ({old_protected['reason']}{_other_name(entity, old_protected)})"
        return {"category": "protection_lost", "why": why, "protection": _protection(old_protected)}
    certain, _ = unlisted.of(kind, entity)
    if certain == GONE:
        return {"category": "appeared", "why": "was not there, or in the trash"}
    return {"category": "became_stale", "why": "became stale"}


def _why_removed(
    kind: str, entity: Fields, new_protected: Fields | None, unlisted: Unlisted
) -> Json:
    if new_protected is not None:
        chain = ", ".join([new_protected["reason"], *new_protected["via"]])
        why = f"now protected: {chain}{_other_name(entity, new_protected)}"
        return {
            "category": "protection_gained",
            "why": why,
            "protection": _protection(new_protected),
        }
    certain, why = unlisted.of(kind, entity)
    if certain in {GONE, IN_USE}:
        return {"category": certain, "why": why}
    detail = "" if why == "not stale, or gone" else f" ({why})"
    return {"category": certain, "why": f"no longer stale, or gone{detail}"}


def _other_name(entity: Fields, protected: Fields) -> str:
    """Return text about a changed name: a renamed experiment, or another one with the same id."""
    if "experiment_id" in entity and entity.get("name") != protected.get("name"):
        return f", under the name {protected['name']}"
    return ""


def _protection(protected: Fields) -> Json:
    return {"reason": protected["reason"], "via": protected["via"]}


def _diff_protected(kind: str, base: _Side, head: _Side) -> Json:
    """Return changed protections of entities that neither plan deletes."""
    before, after = base.protected[kind], head.protected[kind]
    added, removed, changed = [], [], []
    for i, protected in after.items():
        old = before.get(i)
        if old is None and i not in base.deleted[kind]:
            added.append(_protected(kind, i, protected))
        elif old is not None and _protection(old) != _protection(protected):
            changed.append({**_protected(kind, i, protected), "old": _protection(old)})
    for i in before:
        if i not in after and i not in head.deleted[kind]:
            protected = before[i]
            removed.append(
                {
                    **_protected(kind, i, protected),
                    **_why_removed(kind, protected, None, head.unlisted),
                }
            )
    return {"added": added, "removed": removed, "changed": changed}


def _protected(kind: str, entity_id: str, protected: Fields) -> Json:
    named: Json = {"id": entity_id, "name": KINDS[kind].name_of(protected)}
    if kind == "runs":
        named["experiment_id"] = protected["experiment_id"]
    return {**named, **_protection(protected)}


def _fields(
    before: Mapping[str, Any], after: Mapping[str, Any], leave_out: frozenset[str]
) -> list[dict[str, Any]]:
    """Return the changed fields; nested ones as ``expect.status``.

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
            if key == "expect":
                # Plans of older versions lack the fields of newer ones.
                shared = old.keys() & new.keys()
                old, new = ({k: v for k, v in side.items() if k in shared} for side in (old, new))
            inner = _fields(old, new, frozenset())
            changes += [{**change, "field": f"{key}.{change['field']}"} for change in inner]
        else:
            changes.append({"field": key, "old": old, "new": new})
    return changes


def _is_named(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in value
    )
