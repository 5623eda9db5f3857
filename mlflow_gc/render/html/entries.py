"""The lists of a plan as one: an entry for each deleted or protected entity."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from sys import intern
from typing import Any

from mlflow_gc.domain.kinds import BY_NAME, REGISTERED_MODEL, Kind, is_purge, kinds_of
from mlflow_gc.domain.timestamps import DAY_MS
from mlflow_gc.plan.document import Plan, deletions_of, protected_of
from mlflow_gc.plan.statistics import AGE_BOUNDS_DAYS
from mlflow_gc.render.common.plan_groups import aged_from, milliseconds, statistics
from mlflow_gc.render.common.reason_text import reason_group


class Fate(IntEnum):
    """What happens to an entity; the order for sorting, irreversible first."""

    IRREVERSIBLE = 0
    RESTORABLE = 1
    PROTECTED = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One entity of a plan.  All text is as the server sent it.

    Attributes:
        kind: name of its kind.
        fate: what happens to it.
        id: run id, experiment id or version; empty for a registered model.
        name: of the run, the experiment or the model.
        place: id of the run's experiment, own id of an experiment, name of a model.
        owner: user of a run, if known.
        status: of a run, if known.
        last_ms: what its age counts from, ms since the epoch; None if unknown.
        why: the reasons of a deletion; the code of a protection.
        via: the chain that leads to what protects it.
        position: its list in the plan, and the index.
    """

    kind: str
    fate: Fate
    id: str
    name: str
    place: str
    owner: str
    status: str
    last_ms: int | None
    why: tuple[str, ...]
    via: tuple[str, ...]
    position: tuple[Sequence[Mapping[str, Any]], int]

    @property
    def document(self) -> Mapping[str, Any]:
        """Its entry in the plan."""
        entities, index = self.position
        return entities[index]

    @property
    def is_deleted(self) -> bool:
        """Whether the plan deletes it."""
        return self.fate is not Fate.PROTECTED

    @property
    def is_of_model(self) -> bool:
        """Whether its place is a model, not an experiment."""
        return BY_NAME[self.kind].belongs_to == REGISTERED_MODEL.name

    @property
    def groups(self) -> tuple[str, ...]:
        """Its reasons without details of this entity; the code of a protection."""
        return tuple(map(reason_group, self.why)) if self.is_deleted else self.why


def entries(plan: Plan) -> list[Entry]:
    """Return all entities of a plan: irreversible deletions, other deletions, protected."""
    return sorted(_entries(plan), key=lambda entry: entry.fate)


def _entries(plan: Plan) -> Iterator[Entry]:
    for kind in kinds_of(plan).values():
        deleted = deletions_of(plan, kind.entries)
        for index, deletion in enumerate(deleted):
            fate = Fate.RESTORABLE if deletion["reversible"] else Fate.IRREVERSIBLE
            yield _entry(kind, fate, deletion, deletion["reasons"], (), (deleted, index))
        protected = protected_of(plan, kind.entries)
        for index, stale in enumerate(protected):
            why, via = (stale["reason"],), stale["via"]
            yield _entry(kind, Fate.PROTECTED, stale, why, via, (protected, index))


def _entry(
    kind: Kind,
    fate: Fate,
    document: Mapping[str, Any],
    why: Sequence[str],
    via: Sequence[str],
    position: tuple[Sequence[Mapping[str, Any]], int],
) -> Entry:
    name = kind.name_of(document)
    is_of_model = kind.belongs_to == REGISTERED_MODEL.name
    return Entry(
        kind=kind.name,
        fate=fate,
        id=document.get("version", "") if is_of_model else kind.id_of(document),
        name=name,
        # Each entry is parsed separately: without interning, common texts of half a million entries
        # would be stored as often.
        place=intern(name if is_of_model else document.get("experiment_id") or ""),
        owner=intern(document.get("user_id", "")),
        status=intern(document.get("status", "")),
        last_ms=milliseconds(aged_from(kind.entries, document)),
        why=tuple(map(intern, why)),
        via=tuple(map(intern, via)),
        position=position,
    )


def since(plan: Plan) -> str:
    """Return what the ages of its entities count from."""
    return "Deleted or last written" if is_purge(plan) else "Last activity"


def age_bounds_days(plan: Plan) -> tuple[int, ...]:
    """Return the bounds of the age buckets, in days."""
    return tuple(statistics(plan).get("age_bounds_days") or AGE_BOUNDS_DAYS)


def age_group(last_ms: int | None, as_of_ms: int | None, bounds_days: Sequence[int]) -> int:
    """Return the age bucket, as in the statistics of a plan."""
    if last_ms is None or as_of_ms is None:
        return len(bounds_days) + 1
    return bisect_right(bounds_days, (as_of_ms - last_ms) / DAY_MS)
