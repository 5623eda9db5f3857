"""What a purge does differently for each kind of entity in the trash: one record for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from mlflow_gc.apply.purge.database import Database
from mlflow_gc.domain.kinds import EXPERIMENT, LINK, LOGGED_MODEL, MODEL_VERSION, RUN, Kind
from mlflow_gc.domain.trash import Trash
from mlflow_gc.inventory.sql.tables import Statement, Tables
from mlflow_gc.inventory.sql.trash_leftovers import numbers_of
from mlflow_gc.plan.document import Entry, Json, LinkEntry
from mlflow_gc.plan.preconditions import expect_model_version
from mlflow_gc.plan.purge_builder import (
    expect_link,
    expect_trashed_experiment,
    expect_trashed_model,
    expect_trashed_run,
)
from mlflow_gc.retention.trash import folders_of_traces

Entries = Mapping[str, Entry]
"""Of a plan, by id."""


@dataclass(frozen=True)
class PurgedKind:
    """How entities of one kind are purged.

    Attributes:
        kind: the kind.
        expect: returns the current values of the preconditions of an entity that exists.
        find: returns the entities of this kind that exist, by id.
        lock: locks the rows of entries.
        delete: returns the statements that delete entries; the last argument is the workspace.
        folders: returns the URIs of the folders whose files are deleted with an entity; None if this
            kind has no files.
        is_parallel: two of them share no row, so that two batches do not wait for each other.
    """

    kind: Kind
    find: Callable[[Trash], Mapping[str, Any]]
    expect: Callable[[str, Trash], Mapping[str, Any]]
    lock: Callable[[Database, Entries], None]
    delete: Callable[[Tables, Entries, str | None], Iterator[Statement]]
    folders: Callable[[str, Trash], list[str]] | None = None
    is_parallel: bool = False


def _lock_versions(database: Database, entries: Entries) -> None:
    # Also the highest number of each model, which must stay.
    names = {str(cast("Json", entry)["name"]) for entry in entries.values()}
    column = database.tables["model_versions"].c.name
    database.lock_rows("model_versions", column.in_(sorted(names)))


def _lock_links(database: Database, entries: Entries) -> None:
    for table, keys in _link_keys(entries.values()).items():
        database.lock_rows(table, database.tables.is_link(table, keys))


def _link_keys(entries: Iterable[Entry]) -> dict[str, list[tuple[str, ...]]]:
    """Return the keys of links, by table."""
    found: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for entry in cast("Iterable[LinkEntry]", entries):
        source, _, source_id = entry["source"].partition(" ")
        destination, _, destination_id = entry["destination"].partition(" ")
        found[entry["table"]].append((source, source_id, destination, destination_id))
    return found


_LINKS = PurgedKind(
    LINK,
    find=lambda trash: trash.links,
    expect=lambda i, trash: expect_link(trash.links[i]),
    lock=_lock_links,
    delete=lambda tables, entries, _: tables.delete_links(_link_keys(entries.values())),
)
_RUNS = PurgedKind(
    RUN,
    find=lambda trash: trash.inventory.runs,
    expect=lambda i, trash: expect_trashed_run(trash.inventory.runs[i], trash),
    lock=lambda database, entries: database.lock(RUN.name, entries),
    delete=lambda tables, entries, _: tables.delete_runs([*entries]),
    folders=lambda i, trash: [trash.inventory.runs[i].artifact_uri],
    is_parallel=True,
)
_LOGGED_MODELS = PurgedKind(
    LOGGED_MODEL,
    find=lambda trash: trash.models,
    expect=lambda i, trash: expect_trashed_model(trash.models[i]),
    lock=lambda database, entries: database.lock(LOGGED_MODEL.name, entries),
    delete=lambda tables, entries, _: tables.delete_models([*entries]),
    folders=lambda i, trash: [trash.models[i].artifact_uri],
    is_parallel=True,
)
_EXPERIMENTS = PurgedKind(
    EXPERIMENT,
    find=lambda trash: trash.inventory.experiments,
    expect=expect_trashed_experiment,
    lock=lambda database, entries: database.lock(EXPERIMENT.name, entries),
    delete=lambda tables, entries, _: tables.delete_experiments([int(i) for i in entries]),
    folders=folders_of_traces,
)
_TOMBSTONES = PurgedKind(
    MODEL_VERSION,
    find=lambda trash: trash.tombstones,
    expect=lambda i, trash: expect_model_version(trash.tombstones[i], ()),
    lock=_lock_versions,
    delete=lambda tables, entries, workspace: tables.delete_tombstones(
        numbers_of(entries), workspace
    ),
)

IN_ORDER = (_LINKS, _RUNS, _LOGGED_MODELS, _EXPERIMENTS, _TOMBSTONES)
"""In the order of deletion; links first, because they would be deleted with an end of theirs."""

PURGED_KINDS = {purged.kind.name: purged for purged in IN_ORDER}
"""By ``Kind.name``."""

WITH_FILES = tuple(purged for purged in IN_ORDER if purged.folders)
"""The kinds with files of their own."""


def folders_of(kind: str, entity_id: str, trash: Trash) -> list[str]:
    """Return the URIs of the folders whose files are deleted with an entity of a kind."""
    folders = PURGED_KINDS[kind].folders
    return folders(entity_id, trash) if folders else []
