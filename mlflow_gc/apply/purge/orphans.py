"""Deleting the files of entities that are in no table."""

from __future__ import annotations

import time
from collections.abc import Mapping

from mlflow_gc.apply.purge.database import Database
from mlflow_gc.apply.purge.record import PurgeRecord
from mlflow_gc.apply.recheck.checker import Finding
from mlflow_gc.domain.kinds import FILE
from mlflow_gc.domain.quantities import files_of
from mlflow_gc.domain.reasons import Link, Reason
from mlflow_gc.domain.trash import OrphanedFiles
from mlflow_gc.inventory.sql.trash import TrashReader
from mlflow_gc.plan.document import FileEntry, FileExpectations
from mlflow_gc.plan.preconditions import drift
from mlflow_gc.plan.purge_builder import expect_files
from mlflow_gc.retention.trash import named_in_registry
from mlflow_gc.storage.interface import UnreadableFolders
from mlflow_gc.storage.stores import ArtifactStores

_NAMED_S = 5.0
"""For how long what the registry names is not read again for the files of other entities."""


class OrphanPurger:
    """Deletes orphaned files, folder by folder.

    Args:
        database: in which an entity, or a model version, may have come to need them.
        reader: of this database.
        stores: of the artifacts.
        record: of the purge.
        dry_run: delete nothing.
    """

    def __init__(
        self,
        database: Database,
        reader: TrashReader,
        stores: ArtifactStores,
        record: PurgeRecord,
        *,
        dry_run: bool,
    ) -> None:
        self._database = database
        self._reader = reader
        self._stores = stores
        self._record = record
        self._dry_run = dry_run
        self._named: Mapping[str, Link] = {}
        self._named_at = -_NAMED_S

    def purge(self, entry: FileEntry) -> None:
        """Delete the files of an entity that is in no table, if they are as planned.

        Raises:
            ServerError: the database cannot be read, or too many entities failed in a row.
            StoreError: the store is not reachable.
            GcError: the journal cannot be written.
        """
        kind, uri = FILE.name, entry["uri"]
        recorder = self._record.recorder
        _, _, entity_id = entry["entity"].partition(" ")
        store, folder = self._stores.find(uri)
        if why := self._why_needed(entity_id, folder):
            recorder.record_skip(kind, uri, Finding("protected", why))
            return
        try:
            if linked := store.linked_parent(folder):
                recorder.count_failure(kind, uri, f"{linked} is a symbolic link")
                return
            files = [file for chunk in store.files(folder) for file in chunk]
        except UnreadableFolders as error:
            recorder.count_failure(kind, uri, error.message, hint=error.hint)
            return
        stamps = [file.modified_ms for file in files]
        newest = None if None in stamps else max(filter(None, stamps), default=None)
        size = sum(file.size_bytes for file in files)
        current = expect_files(OrphanedFiles(uri, "", size, len(files), newest))
        changes = drift(entry["expect"], current)
        # What a session left that was cut off, or to which the store refused some.
        begun = self._record.intended if files else self._record.unconfirmed
        is_rest = (kind, uri) in begun and _is_part(current, entry["expect"])
        if changes and not is_rest:
            code, why = ("changed", ", ".join(changes)) if files else ("gone", "no file is there")
            recorder.record_skip(kind, uri, Finding(code, why))
            return
        if not self._dry_run:
            self._record.journal.intend(kind, [uri])
            errors = store.delete([file.path for file in files])
            gone = [file.size_bytes for file in files if file.path not in errors]
            self._record.freed.count_files(len(gone), sum(gone))
            if errors:
                path, message = next(iter(errors.items()))
                detail = f"its file {path!r} could not be deleted: {message}"
                recorder.count_failure(kind, uri, detail)
                return
            store.delete_empty_folders(folder)
        recorder.record_deleted(kind, uri, detail=files_of(len(files), size), undo=None)
        self._record.journal.sync()

    def _why_needed(self, entity_id: str, folder: str) -> str | None:
        """Return why the files of an entity that was in no table are not deleted, or None."""
        with self._database.transaction():
            if self._reader.knows(entity_id):
                return "an entity has this id"
            if time.monotonic() - self._named_at > _NAMED_S:
                self._named = named_in_registry(self._reader.registry())
                self._named_at = time.monotonic()
        if named_by := self._named.get(entity_id):
            return f"{Reason.REGISTERED_MODEL.value}: {named_by}"
        # MLflow alone makes such ids, and each is in its folder: what is listed below it is its own.
        return (
            None if folder.rpartition("/")[2] == entity_id else "it is not the folder of one entity"
        )


def _is_part(current: FileExpectations, planned: FileExpectations) -> bool:
    """Tell whether files may be a part of those that were planned: not more, and none is newer."""
    if not current["file_count"]:
        return True
    newest, newest_planned = current["last_modified_time"], planned["last_modified_time"]
    return (
        current["file_count"] <= planned["file_count"]
        and current["size_bytes"] <= planned["size_bytes"]
        and newest is not None
        and newest_planned is not None
        and newest <= newest_planned
    )
