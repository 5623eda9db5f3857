"""What changed between two plans, entity by entity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mlflow_gc.domain.kinds import KINDS
from mlflow_gc.plan.document import DiagnosticEntry, Fields, Json, Plan, deletions_of, protected_of
from mlflow_gc.plan.schema import DIFF_SCHEMA_ID
from mlflow_gc.plan.unlisted import GONE, IN_USE, Unlisted

FORMAT = "mlflow-gc/plan-diff"
FORMAT_VERSION = "1.1"

# Words and moments that differ between any two nights and decide nothing.
_NOT_COMPARED = frozenset({"reasons"})
_NOT_COMPARED_POLICY = frozenset({"cutoff"})
_NOT_COMPARED_SERVER = frozenset({"read_from"})


def diff_plans(base: Plan, head: Plan, *, edited: tuple[bool, bool] = (False, False)) -> Json:
    """Return the difference as a document: what ``head`` deletes that ``base`` did not, and so on.

    ``diff_plans(a, a)`` has no differences.  Time of creation, ``as_of``, numbers and the words in
    ``reasons`` are not compared.

    Args:
        base: the earlier plan.
        head: the later plan.
        edited: whether they are not what their ``plan_id`` says.
    """
    old, new = _Side(base), _Side(head)
    entities = {kind: _diff_kind(kind, old, new) for kind in KINDS}
    protected = {kind: _diff_protected(kind, old, new) for kind in KINDS}
    server = _fields(base["server"], head["server"], _NOT_COMPARED_SERVER)
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
        "base": _about(base, edited=edited[0]),
        "head": _about(head, edited=edited[1]),
        "different": different,
        "same_server": base["server"]["identity"] == head["server"]["identity"],
        "server": server,
        "policy": policy,
        "state": state,
        "diagnostics": diagnostics,
        "summary": {
            **{kind: _counts(kind, base, head, entities[kind], protected[kind]) for kind in KINDS},
            "irreversible": {
                "base": sum(old.deleted[kind].irreversible for kind in KINDS),
                "head": sum(new.deleted[kind].irreversible for kind in KINDS),
                "added": _irreversible(entities[kind]["added"] for kind in KINDS),
                "removed": _irreversible(entities[kind]["removed"] for kind in KINDS),
            },
        },
        **entities,
        "protected": protected,
    }


class _Side:
    """One of the plans, by kind and id."""

    def __init__(self, plan: Plan) -> None:
        self.deleted = {kind: _ById(kind, deletions_of(plan, kind)) for kind in KINDS}
        self.kept = {kind: _ById(kind, protected_of(plan, kind)) for kind in KINDS}
        self.told = Unlisted(plan)


class _ById(Mapping[str, Fields]):
    """Entries by id; only where they stand is kept in memory.

    Attributes:
        irreversible: how many of them cannot be undone.
    """

    def __init__(self, kind: str, entities: Sequence[Fields]) -> None:
        self._entities = entities
        self._places: dict[str, int] = {}
        self.irreversible = 0
        for place, entity in enumerate(entities):
            self._places[KINDS[kind].id_of(entity)] = place
            self.irreversible += not entity.get("reversible", True)

    def __getitem__(self, entity_id: str) -> Fields:
        return self._entities[self._places[entity_id]]

    def __contains__(self, entity_id: object) -> bool:
        return entity_id in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


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


def _only_in(
    ours: list[DiagnosticEntry], theirs: list[DiagnosticEntry]
) -> Iterator[DiagnosticEntry]:
    known = {(d["code"], d["message"]) for d in theirs}
    yield from (d for d in ours if (d["code"], d["message"]) not in known)


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
            why = _why_added(kind, entity, base.kept[kind].get(i), base.told)
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
            why = _why_removed(kind, entity, head.kept[kind].get(i), head.told)
        removed.append({**_entity(kind, i, entity), **why})
    return {"added": added, "removed": removed, "changed": changed}


def _is_alike(old: Fields, new: Fields) -> bool:
    """Tell whether nothing but the words in ``reasons`` differs; quick, for it is asked often."""
    return old == new or {**old, "reasons": new["reasons"]} == new


def _entity(kind: str, entity_id: str, entity: Fields) -> Json:
    named: Json = {"id": entity_id, "name": KINDS[kind].name_of(entity)}
    if kind == "runs":
        named |= {key: entity[key] for key in ("experiment_id", "experiment_name")}
    return {
        **named,
        "last_active": entity[KINDS[kind].last_active],
        "reversible": entity["reversible"],
        "reasons": entity["reasons"],
    }


def _why_added(kind: str, entity: Fields, was_kept: Fields | None, told: Unlisted) -> Json:
    if was_kept is not None:
        why = f"no longer protected ({was_kept['reason']}{_other_name(entity, was_kept)})"
        return {"category": "protection_lost", "why": why, "protection": _protection(was_kept)}
    certain, _ = told.of(kind, entity)
    if certain == GONE:
        return {"category": "appeared", "why": "was not there, or in the trash"}
    return {"category": "became_stale", "why": "became stale"}


def _why_removed(kind: str, entity: Fields, is_kept: Fields | None, told: Unlisted) -> Json:
    if is_kept is not None:
        chain = ", ".join([is_kept["reason"], *is_kept["via"]])
        why = f"now protected: {chain}{_other_name(entity, is_kept)}"
        return {"category": "protection_gained", "why": why, "protection": _protection(is_kept)}
    certain, words = told.of(kind, entity)
    if certain in {GONE, IN_USE}:
        return {"category": certain, "why": words}
    return {"category": certain, "why": f"no longer stale, or gone{_unless_plain(words)}"}


def _unless_plain(words: str) -> str:
    return "" if words == "not stale, or gone" else f" ({words})"


def _other_name(entity: Fields, kept: Fields) -> str:
    """Return words where an experiment has another name: renamed, or another one with its id."""
    if "experiment_id" in entity and entity.get("name") != kept.get("name"):
        return f", under the name {kept['name']}"
    return ""


def _protection(kept: Fields) -> Json:
    return {"reason": kept["reason"], "via": kept["via"]}


def _diff_protected(kind: str, base: _Side, head: _Side) -> Json:
    """Return protection gained, lost and changed of what neither plan deletes."""
    before, after = base.kept[kind], head.kept[kind]
    added, removed, changed = [], [], []
    for i, kept in after.items():
        old = before.get(i)
        if old is None and i not in base.deleted[kind]:
            added.append(_kept(kind, i, kept))
        elif old is not None and _protection(old) != _protection(kept):
            changed.append({**_kept(kind, i, kept), "old": _protection(old)})
    for i in before:
        if i not in after and i not in head.deleted[kind]:
            kept = before[i]
            removed.append({**_kept(kind, i, kept), **_why_removed(kind, kept, None, head.told)})
    return {"added": added, "removed": removed, "changed": changed}


def _kept(kind: str, entity_id: str, kept: Fields) -> Json:
    named: Json = {"id": entity_id, "name": KINDS[kind].name_of(kept)}
    if kind == "runs":
        named["experiment_id"] = kept["experiment_id"]
    return {**named, **_protection(kept)}


def _fields(
    before: Mapping[str, Any], after: Mapping[str, Any], leave_out: frozenset[str]
) -> list[dict[str, Any]]:
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
            if key == "expect":
                # A plan of an older version says nothing about what that did not read.
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
