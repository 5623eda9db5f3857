"""The files of what a plan deletes; they decide nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mlflow_gc.domain.entities import Diagnostic
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.kinds import EXPERIMENT, RUN
from mlflow_gc.domain.quantities import Size
from mlflow_gc.domain.redaction import hide
from mlflow_gc.domain.trash import Key
from mlflow_gc.inventory.progress import Progress
from mlflow_gc.plan.builder import SIZES_UNKNOWN
from mlflow_gc.retention.decision import Decision, Decisions, Verdict
from mlflow_gc.storage.interface import Store, StoredFile, StoreError, UnreadableFolders
from mlflow_gc.storage.stores import ArtifactStores, Place


class _Entity(NamedTuple):
    kind: str
    id: str
    folder: str


def measure_deletions(
    inventory: Inventory, decisions: Decisions, stores: ArtifactStores, progress: Progress
) -> tuple[dict[Key, Size], list[Diagnostic]]:
    """Return the files of runs and experiments to delete, and what could not be listed.

    Those of an experiment are without those of runs of the plan.  An experiment has no size if
    others are located in the same place.  Versions and registered models have no files of their
    own.
    """
    reasons: dict[str, list[str]] = defaultdict(list)
    by_store: dict[str, tuple[Store, list[_Entity]]] = {}

    def find(kind: str, entity_id: str, uri: str) -> Place | None:
        try:
            place = stores.find(uri)
        except StoreError as error:
            reasons[error.hint or error.message].append(f"{kind} {entity_id}: {error.message}")
            return None
        by_store.setdefault(place.store.uri, (place.store, []))[1].append(
            _Entity(kind, entity_id, place.folder)
        )
        return place

    for run_id in _deleted(decisions.runs):
        find(RUN.name, run_id, inventory.runs[run_id].artifact_uri)
    for experiment_id in _deleted(decisions.experiments):
        find(EXPERIMENT.name, experiment_id, inventory.experiments[experiment_id].artifact_location)
    others = _locations(inventory, decisions, stores)
    sizes: dict[Key, Size] = {}
    for uri, (store, entities) in by_store.items():
        try:
            for kind, entity_id, size in _sizes(store, entities, others.get(uri, set())):
                sizes[kind, entity_id] = size
                progress("files", size.file_count)
        except StoreError as error:
            unknown = sum((e.kind, e.id) not in sizes for e in entities)
            reasons[error.hint or error.message] += [f"{uri}: {error.message}"] * unknown
    return sizes, [
        Diagnostic(
            SIZES_UNKNOWN,
            hide(
                f"The files of {len(found):,} runs and experiments could not be listed: {found[0]}"
                + (f" {hint}" if hint not in found[0] else "")
            ),
        )
        for hint, found in reasons.items()
    ]


def _deleted(decisions: Mapping[str, Decision]) -> Iterator[str]:
    return (i for i, decision in decisions.items() if decision.verdict is Verdict.DELETE)


def _locations(
    inventory: Inventory, decisions: Decisions, stores: ArtifactStores
) -> dict[str, set[str]]:
    """Return by store the folders of experiments that are not deleted."""
    folders: dict[str, set[str]] = {}
    deleted = set(_deleted(decisions.experiments))
    for experiment in inventory.experiments.values():
        if deleted and experiment.experiment_id not in deleted:
            try:
                place = stores.find(experiment.artifact_location)
            except StoreError:
                continue  # in no store that is listed here
            folders.setdefault(place.store.uri, set()).add(place.folder)
    return folders


def _sizes(
    store: Store, entities: Iterable[_Entity], others: set[str]
) -> Iterator[tuple[str, str, Size]]:
    runs: dict[str, list[str]] = defaultdict(list)
    experiments: dict[str, list[str]] = defaultdict(list)
    for kind, entity_id, folder in entities:
        (runs if kind == RUN.name else experiments)[folder].append(entity_id)
    found: dict[str, Size] = {}
    unreadable: UnreadableFolders | None = None
    try:
        for folder, files in store.files_of(sorted(runs)):
            found[folder] = _sum(files)
            for run_id in runs[folder]:
                yield RUN.name, run_id, found[folder]
    except UnreadableFolders as error:
        unreadable = error
    for folder, ids in experiments.items():
        if len(ids) > 1 or any(_are_nested(folder, other) for other in others):
            continue
        try:
            total = sum(map(_sum, store.files(folder)), start=Size())
        except UnreadableFolders as error:
            unreadable = unreadable or error
            continue
        in_it = (size for run_folder, size in found.items() if _is_in(run_folder, folder))
        of_runs = sum(in_it, start=Size())
        # Files may come and go in between.
        rest = Size(
            max(total.size_bytes - of_runs.size_bytes, 0),
            max(total.file_count - of_runs.file_count, 0),
        )
        yield EXPERIMENT.name, ids[0], rest
    if unreadable:
        raise unreadable


def _sum(files: Sequence[StoredFile]) -> Size:
    return Size(sum(file.size_bytes for file in files), len(files))


def _is_in(folder: str, other: str) -> bool:
    return not other or f"{folder}/".startswith(f"{other}/")


def _are_nested(folder: str, other: str) -> bool:
    return _is_in(folder, other) or _is_in(other, folder)
