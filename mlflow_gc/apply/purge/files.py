"""The files of a batch: found, deleted, and checked against the plan."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from mlflow_gc.apply.purge.batch import Batch
from mlflow_gc.apply.purge.purged_kinds import WITH_FILES, folders_of
from mlflow_gc.domain.kinds import EXPERIMENT
from mlflow_gc.domain.quantities import number_of
from mlflow_gc.domain.trash import Key, Trash
from mlflow_gc.plan.document import Json, Plan, deletions_of
from mlflow_gc.storage.interface import Store, StoreError, UnreadableFolders
from mlflow_gc.storage.stores import ArtifactStores


@dataclass
class FoundFiles:
    """The folders in a store with their entities, and the files there with entity and size."""

    folders: dict[str, str] = field(default_factory=dict)
    paths: dict[str, tuple[str, int]] = field(default_factory=dict)


def find_files(
    batch: Batch,
    ids: Sequence[str],
    trash: Trash,
    stores: ArtifactStores,
    intended: Collection[Key],
) -> dict[Store, FoundFiles]:
    """List the files of entities, by store; note as failures those whose files must be left alone.

    Args:
        batch: gets the failures.
        ids: of the entities.
        trash: what the re-check has read.
        stores: of the artifacts.
        intended: what an earlier session began to delete, so that it may have no files.

    Raises:
        StoreError: a store is not reachable, or lists what is not in the folder.
    """
    by_store: dict[Store, FoundFiles] = defaultdict(FoundFiles)
    for i in ids:
        for uri in folders_of(batch.kind, i, trash):
            store, folder = stores.find(uri)
            by_store[store].folders[folder] = i
    listed: Counter[str] = Counter()
    for store, found in by_store.items():
        for folder, i in found.folders.items():
            try:
                if linked := store.linked_parent(folder):
                    batch.failures[i] = f"{linked} is a symbolic link; its files are left alone"
            except UnreadableFolders as error:
                batch.failures[i] = error.message
        safe = sorted(f for f, i in found.folders.items() if i not in batch.failures)
        try:
            for folder, files in store.files_of(safe):
                i = found.folders[folder]
                listed[i] += len(files)
                for file in files:
                    if not file.path.startswith(f"{folder}/"):
                        raise StoreError(f"{store.uri} lists {file.path!r} below {folder!r}.")
                    found.paths[file.path] = i, file.size_bytes
        except UnreadableFolders as error:
            batch.failures |= {found.folders[f]: why for f, why in error.folders.items()}
    for i in ids:
        planned = cast("int", batch.entries[i].get("file_count", 0))
        # Or they were deleted before: by an attempt, or a session, that was cut off.
        deleted = i in batch.files or (batch.kind, i) in intended
        if planned and not listed[i] and not deleted and i not in batch.failures:
            batch.failures[i] = (
                f"the plan lists {number_of(planned, 'file', 'files')} of it, and none is there; is this "
                "the right --artifacts-destination, and the journal of an earlier purge of this plan "
                "beside it?"
            )
    return by_store


def delete_files(batch: Batch, found: Mapping[Store, FoundFiles]) -> None:
    """Delete files, and the folders that are empty then; note failures, and count the files.

    Raises:
        StoreError: a store is not reachable.
    """
    for store, files in found.items():
        pending = files.paths
        for path, message in store.delete([*pending]).items():
            entity_id, _ = pending.pop(path)
            why = f"its file {path!r} could not be deleted: {message}"
            batch.failures.setdefault(entity_id, why)
        for entity_id, size in pending.values():
            count, total = batch.files.get(entity_id, (0, 0))
            batch.files[entity_id] = count + 1, total + size
        done = [folder for folder, i in files.folders.items() if i not in batch.failures]
        store.delete_empty_folders(*(folder.rsplit("/", 1)[0] for folder in done))


def delete_empty_experiment_folders(
    ids: Sequence[str], trash: Trash, stores: ArtifactStores
) -> None:
    """Delete the folders of experiments, if they are empty and named by their id.

    Raises:
        StoreError: a store cannot be used.
    """
    for i in ids:
        uri = trash.inventory.experiments[i].artifact_location
        if uri.rstrip("/").endswith(f"/{i}"):
            place = stores.find(uri)
            if not place.store.linked_parent(place.folder):
                place.store.delete_empty_folders(place.folder)


def empty_roots(part: Plan, stores: ArtifactStores) -> dict[tuple[str, str], set[Key]]:
    """Return the artifact roots that hold nothing, with the entities that have files there.

    Args:
        part: of a plan; only entities for which it lists files count.
        stores: of the artifacts.

    Returns:
        Kind and id of the entities, by the URI of a store and a folder in it.

    Raises:
        StoreError: one cannot be read.
    """
    is_there: dict[tuple[str, str], bool] = {}
    missing: dict[tuple[str, str], set[Key]] = defaultdict(set)
    for purged in WITH_FILES:
        kind = purged.kind
        for entry in deletions_of(part, kind.entries):
            if not entry.get("file_count"):
                continue
            store, folder = stores.find(str(cast("Json", entry)["artifact_uri"]))
            root = folder.rpartition("/")[0] if kind is EXPERIMENT else root_of(folder)
            place = store.uri, root
            if place not in is_there:
                is_there[place] = store.is_there(root)
            if not is_there[place]:
                missing[place].add((kind.name, kind.id_of(entry)))
    return missing


def root_of(folder: str) -> str:
    """Return the folder that contains the folder of the experiment of a run, model or trace."""
    parts = folder.split("/")
    return "/".join(parts[:-4] if parts[-3:-2] in (["models"], ["traces"]) else parts[:-3])
