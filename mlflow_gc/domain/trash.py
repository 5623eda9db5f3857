"""What is in the trash, and what may still need it."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from mlflow_gc.domain.entities import LoggedModel, ModelVersion
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.reasons import Link
from mlflow_gc.domain.source_references import location, with_parents

Key = tuple[str, str]
"""The name of a kind and an id: ``("run", "4b3f…")``."""
PlaceOf = Callable[[str], str]
"""Returns a text for the URI of a folder, as :func:`~mlflow_gc.domain.source_references.location`."""
_IN_FOLDER = re.compile(r"/([^/]+)(?=/artifacts/)")


@dataclass(frozen=True, slots=True)
class TrashedModel(LoggedModel):
    """A logged model in the trash, with what a purge plan shows of it."""

    status: str = ""
    lifecycle_stage: str = ""


@dataclass(frozen=True, slots=True)
class OrphanedFiles:
    """The files in the folder of an entity that is in no table.

    Attributes:
        uri: of the folder, without secrets.
        entity: the name of its kind and its id: ``run 4b3f…``.
        size_bytes: of the files.
        file_count: their number.
        newest_ms: when the newest was written, ms since the epoch, UTC; None if the store does not
            say that.
    """

    uri: str
    entity: str
    size_bytes: int
    file_count: int
    newest_ms: int | None


@dataclass(frozen=True, slots=True)
class DanglingLink:
    """A row that links two entities, of which one at least is in no table.

    Attributes:
        table: ``inputs`` or ``entity_associations``.
        source: its type and id, as MLflow writes them: ``RUN_OUTPUT 4b3f…``.
        destination: the same.
        missing: the ends that do not exist.
        created_ms: when the link was made, ms since the epoch, UTC; None in tables without a time.
        row_count: its row, and those of its tags.
    """

    table: str
    source: str
    destination: str
    missing: tuple[str, ...]
    created_ms: int | None
    row_count: int

    @property
    def id(self) -> str:
        """Its id in plans and journals."""
        return f"{self.table}/{self.source}/{self.destination}"


class Locations:
    """The folders of entities, to find those within and around others.

    Args:
        owned: owners and URIs.
        place_of: returns a text for a URI: equal folders may have unequal URIs.
    """

    def __init__(self, owned: Iterable[tuple[Key, str]] = (), place_of: PlaceOf = location) -> None:
        found: dict[str, set[Key]] = {}
        self._inside: dict[str, set[Key]] = {}
        for owner, uri in owned:
            if uri:
                place = place_of(uri)
                found.setdefault(place, set()).add(owner)
                for entity_id in _IN_FOLDER.findall(f"{place}/"):
                    self._inside.setdefault(entity_id, set()).add(owner)
        self._owners = found
        self._sorted = sorted(found)
        self._place_of = place_of

    def within(self, uri: str) -> set[Key]:
        """Return the owners of a folder, and of every folder below it."""
        folder = self._place_of(uri)
        found = set(self._owners.get(folder, ()))
        below = f"{folder}/"
        index = bisect_left(self._sorted, below)
        while index < len(self._sorted) and self._sorted[index].startswith(below):
            found |= self._owners[self._sorted[index]]
            index += 1
        return found

    def named(self, entity_id: str) -> set[Key]:
        """Return the owners of folders that are in one with an id, ``<id>/artifacts``, of any store.

        A bucket, or the disk of a server, may have another name for somebody else.
        """
        return self._inside.get(entity_id, set())

    def around(self, uri: str) -> set[Key]:
        """Return the owners of the folders above a folder."""
        above = (self._owners.get(at, ()) for at in with_parents(self._place_of(uri))[1:])
        return {owner for owners in above for owner in owners}


@dataclass(frozen=True)
class Trash:
    """Everything that decisions on the trash need.

    Attributes:
        inventory: its ``runs`` are those in the trash, or those that were named; its ``experiments`` are all; its
            registry is complete.
        models: logged models in the trash, or those that were named, by id.
        deleted_ms: when each was deleted, ms since the epoch, UTC; None if MLflow did not store it.
        rows: number of the rows of each in the database, as if it were deleted alone.
        shared_rows: number of those that are counted with a run and with a logged model, by both ids.
        links_between: number of the links between two entities in the trash, traces as their experiment.
        needed_by: what something active needs, with the chain to it.
        children: runs of any stage by the run in which they are nested.
        active_runs: the active ones of these.
        needed_experiments: experiments that must stay, with the chain to the reason.
        contents: what else is deleted with an experiment, for people.
        locations: folders that are not in the usual place below their experiment.
        totals: number of existing entities, active ones included, by the field of a plan.
        trace_locations: ids and folders of the traces of experiments in the trash.
        tombstones: the rows that MLflow keeps of deleted model versions, by ``name/version``.
        highest_versions: the highest number of each model that has tombstones, these included.
        links: links with an end that does not exist, by id.
        link_experiments: the experiments with which each is deleted, by id.
    """

    inventory: Inventory
    models: Mapping[str, TrashedModel] = field(default_factory=dict)
    deleted_ms: Mapping[Key, int | None] = field(default_factory=dict)
    rows: Mapping[Key, int] = field(default_factory=dict)
    shared_rows: Mapping[tuple[str, str], int] = field(default_factory=dict)
    links_between: Mapping[tuple[Key, Key], int] = field(default_factory=dict)
    needed_by: Mapping[Key, tuple[Link, ...]] = field(default_factory=dict)
    children: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    active_runs: frozenset[str] = frozenset()
    needed_experiments: Mapping[str, tuple[Link, ...]] = field(default_factory=dict)
    contents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    locations: Locations = field(default_factory=Locations)
    totals: Mapping[str, int] = field(default_factory=dict)
    trace_locations: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    tombstones: Mapping[str, ModelVersion] = field(default_factory=dict)
    highest_versions: Mapping[str, int] = field(default_factory=dict)
    links: Mapping[str, DanglingLink] = field(default_factory=dict)
    link_experiments: Mapping[str, frozenset[str]] = field(default_factory=dict)
