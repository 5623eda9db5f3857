"""The files in artifact stores, each with its entity, by one flat listing of each artifact root.

A file belongs to the entity under whose location it lies.  Of nested locations the deepest counts
that knows the entity: an experiment may be located inside the artifacts of a run
(docs/explanation/mlflow-facts.md#prefix-deletes-hit-siblings).  Nothing is stored per file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from mlflow_gc.domain.kinds import LOGGED_MODEL, RUN
from mlflow_gc.domain.redaction import hide
from mlflow_gc.inventory.progress import Progress, no_progress
from mlflow_gc.retention.freed_space import TRACE
from mlflow_gc.settings import redact_uri
from mlflow_gc.storage.interface import StoredFile, StoreError, StoreNotes

if TYPE_CHECKING:
    from mlflow_gc.storage.stores import ArtifactStores, Place

_COUNTED = 1000

ExperimentOf = Callable[[str, str], str | None]
"""Returns the experiment id of an entity by kind and id.

None if it is in no table of any workspace: then its files are orphans.  Empty if that is not known.
A run that was made since the ids were read looks like an orphan: ask again before a deletion.
"""

_FOLDERS = {"models": LOGGED_MODEL.name, "traces": TRACE}
_ORPHANS = {
    # Only these ids are made by MLflow alone; anything else may be a folder of somebody's own.
    RUN.name: re.compile(r"[0-9a-f]{32}"),
    LOGGED_MODEL.name: re.compile(r"m-[0-9a-f]{32}"),
    TRACE: re.compile(r"tr-[0-9a-f]{32}"),
}


class Owner(NamedTuple):
    """An entity that has files, or had before it was deleted.

    Attributes:
        kind: ``run``, ``logged_model`` or ``trace``; empty for an unknown layout.
        id: its id.
        is_orphan: the id is in no table.
    """

    kind: str = ""
    id: str = ""
    is_orphan: bool = False


UNKNOWN = Owner()


@dataclass
class StoredSize:
    """A number of files and their bytes; those on stores that keep versions are freed later.

    Attributes:
        newest_ms: when the newest was written, ms since the epoch, UTC; None if one is without a time.
    """

    files: int = 0
    bytes: int = 0
    later_bytes: int = 0
    newest_ms: int | None = 0

    def add(self, other: StoredSize) -> None:
        """Add another size."""
        self.files += other.files
        self.bytes += other.bytes
        self.later_bytes += other.later_bytes
        self.newest_ms = newest(self.newest_ms, other.newest_ms)


def newest(one_ms: int | None, other_ms: int | None) -> int | None:
    """Return the later of two times; None if one of them is unknown."""
    return None if one_ms is None or other_ms is None else max(one_ms, other_ms)


@dataclass
class Root:
    """A listed folder of a store.

    Attributes:
        uri: for people.
        experiments: the ids of those that are located in it.
        is_there: whether it contains anything.
        is_complete: whether its listing reached the end.
        notes: what keeps its store from returning space.
        size: what was listed.
    """

    uri: str
    experiments: frozenset[str]
    is_there: bool = True
    is_complete: bool = False
    notes: StoreNotes = field(default_factory=StoreNotes)
    size: StoredSize = field(default_factory=StoredSize)


@dataclass
class _Located:
    """What is located in a folder: experiments, or one entity apart from its experiment."""

    experiments: set[str] = field(default_factory=set)
    owner: Owner | None = None


class StoredFiles:
    """The files of the entities whose locations were added.

    Args:
        stores: finds the store of a URI.
    """

    def __init__(self, stores: ArtifactStores) -> None:
        self._stores = stores
        self._places: dict[str, tuple[Place, dict[str, _Located]]] = {}
        self._elsewhere: set[Owner] = set()
        self._unknown: dict[str, list[str]] = {}
        self.roots: list[Root] = []
        """The roots that were listed so far."""
        self.problems: list[str] = []
        """What could not be listed, and why, as sentences."""

    def add_experiment(self, experiment_id: str, uri: str) -> str | None:
        """Add the location of an experiment; return it without differences of spelling."""
        if (found := self._located(uri)) is None:
            return None
        place, located = found
        located.experiments.add(experiment_id)
        return f"{place.store.uri}\n{place.folder}"

    def add(self, owner: Owner, uri: str) -> None:
        """Add the location of an entity that is not where its experiment has such entities."""
        if (found := self._located(uri)) is not None:
            found[1].owner = owner
        self._elsewhere.add(owner)

    def _located(self, uri: str) -> tuple[Place, _Located] | None:
        try:
            place = self._stores.find(uri)
        except StoreError as error:
            self._unknown.setdefault(error.hint or "", []).append(error.message)
            return None
        _, folders = self._places.setdefault(place.store.uri, (place, {}))
        return place, folders.setdefault(place.folder, _Located())

    def unlisted(self) -> list[str]:
        """Return why locations are in no store that can be listed, one sentence for each remedy."""
        return [
            hide(f"{len(found):,} locations of files cannot be listed. {found[0]} {hint}".strip())
            for hint, found in self._unknown.items()
        ]

    def measure(
        self, experiment_of: ExperimentOf, progress: Progress = no_progress
    ) -> dict[Owner, StoredSize]:
        """List everything, and return the sizes by owner; :data:`UNKNOWN` has the rest."""
        sizes: dict[Owner, StoredSize] = {}
        for number, (owner, _, file, root) in enumerate(self._files(experiment_of), 1):
            if number % _COUNTED == 0:
                progress("files", _COUNTED)
            size = sizes.get(owner)
            if size is None:
                size = sizes[owner] = StoredSize()
            size.files += 1
            size.bytes += file.size_bytes
            size.newest_ms = newest(size.newest_ms, file.modified_ms)
            if root.notes.keeps_versions:
                size.later_bytes += file.size_bytes
        return sizes

    def without_entity(
        self, experiment_of: ExperimentOf
    ) -> Iterator[tuple[Owner, Place, StoredFile]]:
        """List everything; yield files of entities that are in no table, and of unknown layout."""
        for owner, place, file, _ in self._files(experiment_of):
            if owner.is_orphan or owner == UNKNOWN:
                yield owner, place, file

    def _files(
        self, experiment_of: ExperimentOf
    ) -> Iterator[tuple[Owner, Place, StoredFile, Root]]:
        self.roots, self.problems = [], []
        for place, located in self._places.values():
            for folder in _roots(place, located):
                root = Root(
                    redact_uri(f"{place.store.uri.rstrip('/')}/{folder}"),
                    frozenset(_experiments_in(folder, located)),
                )
                self.roots.append(root)
                try:
                    root.is_there = place.store.is_there(folder)
                    root.notes = place.store.notes(folder)
                    for owner, file in self._owned(place, folder, located, experiment_of):
                        root.size.files += 1
                        root.size.bytes += file.size_bytes
                        yield owner, place, file, root
                    root.is_complete = True
                except StoreError as error:
                    self.problems.append(hide(f"{root.uri} could not be listed. {error.message}"))

    def _owned(
        self, place: Place, folder: str, located: dict[str, _Located], experiment_of: ExperimentOf
    ) -> Iterator[tuple[Owner, StoredFile]]:
        before, owner = None, UNKNOWN
        for chunk in place.store.files(folder):
            for file in chunk:
                directory = file.path.rpartition("/")[0]
                # A listing gives the files of a directory one after the other.
                if directory != before:
                    before, owner = directory, self._owner_of(directory, located, experiment_of)
                if owner.is_orphan and not _is_literal(file.path):
                    yield UNKNOWN, file
                else:
                    yield owner, file

    def _owner_of(
        self, directory: str, located: dict[str, _Located], experiment_of: ExperimentOf
    ) -> Owner:
        """Return the owner of the files of a directory."""
        orphan: Owner | None = None
        may_exist = False
        for folder in _ancestors(directory):
            if (here := located.get(folder)) is None:
                continue
            inside = directory[len(folder) + 1 :] if folder else directory
            if owner := _by_layout(inside):
                experiment = experiment_of(owner.kind, owner.id)
                if experiment in here.experiments and owner not in self._elsewhere:
                    return owner
                if experiment is not None:
                    # Or these are a copy of the files of one that is elsewhere.
                    may_exist = True
                elif _ORPHANS[owner.kind].fullmatch(owner.id):
                    orphan = orphan or owner._replace(is_orphan=True)
            if here.owner is not None:
                return here.owner
        return UNKNOWN if orphan is None or may_exist else orphan


def _experiments_in(root: str, located: dict[str, _Located]) -> Iterator[str]:
    for folder, here in located.items():
        if not root or f"{folder}/".startswith(f"{root}/"):
            yield from here.experiments


def _ancestors(directory: str) -> Iterator[str]:
    """Yield a directory and all above it, the top of the store last."""
    while directory:
        yield directory
        directory = directory.rpartition("/")[0]
    yield ""


def _by_layout(path: str) -> Owner | None:
    """Return the owner of a path below the location of an experiment, by MLflow's layout.

    ``<run>/artifacts/…``, ``models/<model>/artifacts/…``, ``traces/<trace>/artifacts/…``.
    """
    first, _, rest = path.partition("/")
    if kind := _FOLDERS.get(first):
        first, _, rest = rest.partition("/")
    if not first or rest.partition("/")[0] != "artifacts":
        return None
    return Owner(kind or RUN.name, first)


def _is_literal(path: str) -> bool:
    """Tell whether no program could take a path for another one."""
    return not {"", ".", ".."} & set(path.split("/"))


def _roots(place: Place, located: dict[str, _Located]) -> list[str]:
    """Return the fewest folders that contain all locations of a store.

    The root under which a server creates experiments is above several of them that are named after
    their ids.  One experiment alone may have been put into somebody's bucket.
    """
    above: Counter[str] = Counter()
    for folder, here in located.items():
        parent, _, name = folder.rpartition("/")
        # The top of a file system is nobody's artifact root.
        if name in here.experiments and (parent or place.store.uri != "/"):
            above[parent] += 1
    folders = {*located, *(parent for parent, count in above.items() if count > 1)}
    roots: list[tuple[str, ...]] = []
    for parts in sorted(tuple(folder.split("/")) if folder else () for folder in folders):
        if not roots or parts[: len(roots[-1])] != roots[-1]:
            roots.append(parts)
    return ["/".join(parts) for parts in roots]
