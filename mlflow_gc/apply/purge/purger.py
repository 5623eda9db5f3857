"""Applying a purge plan: runs, then logged models, then experiments, batch by batch.

For each batch: a lock on the rows, a decision on evidence that is read under the lock, the rows, a
list of the files, an intent in the journal, the files, the commit.  Nobody can restore what is locked,
also while a batch is tried again without those whose files cannot be deleted.  A crash rolls the rows
back: they are in the trash, and the same plan finishes them.  Files that are gone before a crash cannot
come back, so a run that is restored after one may lack them; its intent is in the journal.  No other
entity has one: a later session takes the missing files of an intended entity for deleted ones.

On PostgreSQL two workers do this at the same time, each with its own connection: while one deletes files,
the database deletes the rows of the other one's batch.  They take batches of one kind only, and
finish them before the next kind begins.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from mlflow_gc.apply.journal.file import Journal, Session
from mlflow_gc.apply.outcomes import OnSkip, Recorder, Result
from mlflow_gc.apply.purge.database import Database, Deadlock
from mlflow_gc.apply.recheck.checker import Finding
from mlflow_gc.backend.interface import Failure, ServerError
from mlflow_gc.domain.kinds import EXPERIMENT, FILE, LINK, LOGGED_MODEL, MODEL_VERSION, RUN, Kind
from mlflow_gc.domain.quantities import files_of, number_of
from mlflow_gc.domain.reasons import Link
from mlflow_gc.domain.trash import Key, OrphanedFiles, Trash
from mlflow_gc.errors import Refused
from mlflow_gc.inventory.sql.tables import Statement
from mlflow_gc.inventory.sql.trash import TrashReader
from mlflow_gc.inventory.sql.trash_leftovers import numbers_of
from mlflow_gc.plan.document import (
    Entry,
    FileEntry,
    FileExpectations,
    Json,
    LinkEntry,
    Plan,
    deletions_of,
)
from mlflow_gc.plan.preconditions import drift, expect_model_version
from mlflow_gc.plan.purge_builder import (
    expect_files,
    expect_link,
    expect_trashed_experiment,
    expect_trashed_model,
    expect_trashed_run,
)
from mlflow_gc.plan.sharding import Part
from mlflow_gc.retention.decision import Reason, Verdict
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.trash import decide_trash, folders_of_traces, named_in_registry
from mlflow_gc.storage.interface import Store, StoreError
from mlflow_gc.storage.stores import ArtifactStores

BATCH = 300
"""Entities that are locked at once, so that a request to a store names up to a thousand files."""
_MOST_ROWS = 500_000
"""Rows that are deleted in one transaction: half a second on PostgreSQL."""
_MOST_FILES = 5_000
"""Files that are deleted while the rows of their entities are locked."""
# Links first: the rows of an end that the same plan deletes would be deleted with it.
_ORDER = (LINK, RUN, LOGGED_MODEL, EXPERIMENT, MODEL_VERSION)
_PARALLEL = frozenset({RUN, LOGGED_MODEL})
"""Kinds of which two entities share no row, so that two batches do not wait for each other."""
_WITH_FILES = frozenset({RUN.name, LOGGED_MODEL.name, EXPERIMENT.name})
_NAMED_S = 5.0
"""For how long what the registry names is not read again for the files of other entities."""
_MOST_DEADLOCKS = 20
"""Of one batch; each time the other transaction is the one that continues."""


@dataclass(frozen=True)
class Budget:
    """Limits on one session; what is left is done by the next one.

    Attributes:
        max_bytes: most bytes of files to delete; None for no limit.
        max_seconds: longest duration; None for no limit.
    """

    max_bytes: int | None = None
    max_seconds: float | None = None


@dataclass
class Freed:
    """What was freed so far; ``by_table`` are rows of the database."""

    file_bytes: int = 0
    files: int = 0
    by_table: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.by_table.total()


@dataclass
class _Batch:
    """One batch: entries, re-checks, failures, files (number, bytes) by id; rows by table.

    ``left`` are experiments in which other shards still have something to delete, ``intended`` are
    in the journal.
    """

    kind: str
    entries: Mapping[str, Entry]
    findings: dict[str, Finding] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    rows: Counter[str] = field(default_factory=Counter)
    left: Sequence[str] = ()
    intended: set[str] = field(default_factory=set)

    def to_delete(self) -> list[str]:
        """Return the ids of those that pass the re-check, and whose files can be deleted."""
        found = self.findings.items()
        return [i for i, finding in found if finding.code is None and i not in self.failures]


@dataclass
class _Found:
    """The folders in a store with their entities, and the files there with entity and size."""

    folders: dict[str, str] = field(default_factory=dict)
    paths: dict[str, tuple[str, int]] = field(default_factory=dict)


class _Worker:
    """Deletes one batch after the other in transactions of its own connection."""

    def __init__(
        self, database: Database, plan: Plan, policy: Policy, stores: ArtifactStores
    ) -> None:
        self.database = database
        self.reader = TrashReader(
            database.tables,
            database.read,
            plan["server"]["workspace"],
            policy.wanted,
            stores.place_of,
        )


class _FilesFailed(Exception):
    """Some files could not be deleted: the rows of their entities must stay."""


class Purger:
    """Applies one verified purge plan of this server.

    Args:
        database: of the server.
        plan: the whole plan.
        part: what is deleted of it.
        policy: of the plan.
        stores: of the artifacts.
        journal: of the purge.
        budget: limits on this session.
        dry_run: decide under the same locks, and delete nothing.
        stop: set from outside to end after the batch in progress.
        others: sessions of other parts of the plan.
        on_skip: called with each finding.
    """

    def __init__(
        self,
        database: Database,
        plan: Plan,
        part: Part,
        policy: Policy,
        stores: ArtifactStores,
        journal: Journal,
        *,
        budget: Budget,
        dry_run: bool,
        stop: threading.Event,
        others: Sequence[Session] = (),
        on_skip: OnSkip = lambda _kind, _id, _finding: None,
    ) -> None:
        self._plan = plan
        self._part = part.plan
        self._shared = part.shared_experiments
        self._policy = policy
        self._stores = stores
        self._journal = journal
        self._budget = budget
        self._dry_run = dry_run
        self._stop = stop
        earlier = () if dry_run else journal.earlier
        self._recorder = Recorder(journal, earlier, on_skip)
        self._intended = {
            (intent["kind"], i)
            for session in (*journal.earlier, *others)
            for intent in session.intents
            for i in intent["ids"]
        }
        self._unconfirmed = {key for s in journal.earlier for key in s.unconfirmed()}
        self._first = _Worker(database, plan, policy, stores)
        self._lock = threading.Lock()
        """Held while a batch is taken, and while its outcome is recorded."""
        self._failed = threading.Event()
        self._named: Mapping[str, Link] = {}
        self._named_at = -_NAMED_S
        self._began = time.monotonic()
        self.freed = Freed()
        self.left = 0

    @cached_property
    def _planned(self) -> frozenset[Key]:
        """What the whole plan deletes; only some purges need it, and it grows with the plan."""
        return frozenset(
            (kind.name, kind.id_of(entry))
            for kind in _ORDER
            for entry in deletions_of(self._plan, kind.entries)
        )

    def run(self) -> Result:
        """Apply the plan until it is done, something fails, or the user stops it.

        Raises:
            GcError: the journal cannot be written.
        """
        result = self._recorder.result
        try:
            with self._first.database.second() as second:
                workers = [self._first]
                # One batch after the other exceeds a limit on bytes by one batch at most.
                if second is not None and self._budget.max_bytes is None:
                    workers.append(_Worker(second, self._plan, self._policy, self._stores))
                for kind in _ORDER:
                    batches = _batches(deletions_of(self._part, kind.entries))
                    self._purge_all(kind, batches, workers if kind in _PARALLEL else workers[:1])
            orphans: Iterator[list[Entry]] = ([entry] for entry in self._part.get("files", ()))
            while taken := self._take(orphans):
                self._purge_orphan(cast("FileEntry", taken[0]))
        except StoreError as error:
            result.fatal = ServerError(error.message, Failure.UNREACHABLE, hint=error.hint)
        except ServerError as error:
            result.fatal = error
        ended = "failed" if result.fatal else "completed"
        self._journal.close("interrupted" if result.interrupted or self.left else ended)
        return result

    def _purge_all(
        self, kind: Kind, batches: Iterator[list[Entry]], workers: Sequence[_Worker]
    ) -> None:
        """Delete the batches of one kind; if one worker fails, the others end after their batch."""

        def work(worker: _Worker) -> None:
            try:
                while batch := self._take(batches):
                    self._purge(worker, kind.name, {kind.id_of(entry): entry for entry in batch})
            except BaseException:
                self._failed.set()
                raise

        if len(workers) == 1:
            work(workers[0])
            return
        with ThreadPoolExecutor(len(workers)) as pool:
            for done in [pool.submit(work, worker) for worker in workers]:
                done.result()

    def _take(self, batches: Iterator[list[Entry]]) -> list[Entry] | None:
        """Return the next batch; None if there is none, or if no more may be begun."""
        with self._lock:
            for batch in batches:
                if self._stop.is_set():
                    self._recorder.result.interrupted = True
                    return None
                if self._failed.is_set():
                    return None
                if not self._is_spent():
                    return batch
                self.left += len(batch)
        return None

    def _is_spent(self) -> bool:
        most, seconds = self._budget.max_bytes, self._budget.max_seconds
        return (most is not None and self.freed.file_bytes >= most) or (
            seconds is not None and time.monotonic() - self._began >= seconds
        )

    def refuse_other_stores(self) -> None:
        """Refuse to begin if a store has none of the files that the plan lists.

        Only what still has rows counts, and what no earlier session had begun to delete.

        Raises:
            Refused: It looks as if it were not mounted.
            StoreError: It cannot be read.
        """
        if self._policy.purge.keep == "files":
            return
        is_there: dict[tuple[str, str], bool] = {}
        missing: dict[tuple[str, str], set[Key]] = defaultdict(set)
        for kind in (RUN, LOGGED_MODEL, EXPERIMENT):
            for entry in deletions_of(self._part, kind.entries):
                if not entry.get("file_count"):
                    continue
                store, folder = self._stores.find(str(cast("Json", entry)["artifact_uri"]))
                root = folder.rpartition("/")[0] if kind is EXPERIMENT else root_of(folder)
                place = store.uri, root
                if place not in is_there:
                    is_there[place] = store.is_there(root)
                if not is_there[place]:
                    missing[place].add((kind.name, kind.id_of(entry)))
        for (uri, root), keys in missing.items():
            if self._has_rows(keys - self._intended):
                raise Refused(
                    f"{uri} holds nothing below {root!r}, and held files when the plan was made.",
                    hint="Nothing was deleted. Is the volume mounted, and is this the right "
                    "--artifacts-destination?",
                )

    def _has_rows(self, keys: Collection[Key]) -> bool:
        """Tell whether one of some entities is in the database."""
        database = self._first.database
        with database.transaction():
            return any(
                database.existing(kind, [i for name, i in keys if name == kind])
                for kind in {name for name, _ in keys}
            )

    # -- one batch -------------------------------------------------------------------------------

    def _purge(self, worker: _Worker, kind: str, entries: Mapping[str, Entry]) -> None:
        batch = _Batch(kind, entries)
        deadlocks = 0
        while True:
            try:
                self._delete(worker, batch)
                break
            except Deadlock:
                # Another shard, or the server: the database chose this transaction to give way.
                deadlocks += 1
                if deadlocks > _MOST_DEADLOCKS:
                    raise
        self._record(batch)

    def _delete(self, worker: _Worker, batch: _Batch) -> None:
        """Delete a batch in one transaction, except for those whose files cannot be deleted."""
        batch.rows = Counter()
        with worker.database.transaction():
            _lock(worker.database, batch)
            # A dry run has not deleted what it would have deleted by now, and rows may be kept.
            left = self._dry_run or self._policy.purge.keep == "rows"
            without = self._planned if left else ()
            trash = worker.reader.trash({batch.kind: batch.entries}, without=without)
            batch.findings = self._check(batch, trash)
            if shared := self._shared.intersection(i for i, f in batch.findings.items() if f.code):
                # Without what the other shards delete.
                those = _Batch(batch.kind, {i: batch.entries[i] for i in shared})
                rest = worker.reader.trash({those.kind: shared}, without=self._planned)
                alone = self._check(those, rest)
                batch.left = [i for i in sorted(shared) if alone[i].code is None]
            while not self._dry_run and (ids := batch.to_delete()):
                with suppress(_FilesFailed), worker.database.savepoint(_FilesFailed):
                    self._delete_entities(worker, batch, ids, trash)
                    return

    def _delete_entities(
        self, worker: _Worker, batch: _Batch, ids: Sequence[str], trash: Trash
    ) -> None:
        """Delete the rows and files of some entities of a batch.

        Raises:
            _FilesFailed: files of some cannot be deleted, which ``batch.failures`` names.
        """
        failed_before = len(batch.failures)
        has_files = self._policy.purge.keep != "files" and batch.kind in _WITH_FILES
        found = self._find_files(ids, trash, batch) if has_files else {}
        if len(batch.failures) > failed_before:
            raise _FilesFailed
        if self._policy.purge.keep != "rows":
            batch.rows = worker.database.execute(self._statements(batch.kind, ids, batch.entries))
        self._intend(batch, ids)
        for store, files in found.items():
            _send(store, files.paths, batch)
            done = [folder for folder, i in files.folders.items() if i not in batch.failures]
            store.delete_empty_folders(*(folder.rsplit("/", 1)[0] for folder in done))
        if has_files and batch.kind == EXPERIMENT.name:
            self._delete_empty_folders(ids, trash)
        if len(batch.failures) > failed_before:
            batch.rows = Counter()
            raise _FilesFailed

    def _intend(self, batch: _Batch, ids: Sequence[str]) -> None:
        if new := sorted({*ids} - batch.intended):
            self._journal.intend(batch.kind, new)
            batch.intended.update(new)

    def _purge_orphan(self, entry: FileEntry) -> None:
        """Delete the files of an entity that is in no table, if they are as planned."""
        kind, uri = FILE.name, entry["uri"]
        _, _, entity_id = entry["entity"].partition(" ")
        place = self._stores.find(uri)
        if why := self._why_needed(entity_id, place.folder):
            self._recorder.record_skip(kind, uri, Finding("protected", why))
            return
        if linked := place.store.linked_parent(place.folder):
            self._recorder.count_failure(kind, uri, f"{linked} is a symbolic link")
            return
        files = [file for chunk in place.store.files(place.folder) for file in chunk]
        stamps = [file.modified_ms for file in files]
        newest = None if None in stamps else max(filter(None, stamps), default=None)
        size = sum(file.size_bytes for file in files)
        current = expect_files(OrphanedFiles(uri, "", size, len(files), newest))
        changes = drift(entry["expect"], current)
        # What a session left that was cut off, or to which the store refused some.
        is_begun = (kind, uri) in (self._intended if files else self._unconfirmed)
        is_rest = is_begun and _is_part(current, entry["expect"])
        if changes and not is_rest:
            code, why = ("changed", ", ".join(changes)) if files else ("gone", "no file is there")
            self._recorder.record_skip(kind, uri, Finding(code, why))
            return
        errors: Mapping[str, str] = {}
        if not self._dry_run:
            self._journal.intend(kind, [uri])
            errors = place.store.delete([file.path for file in files])
            gone = [file.size_bytes for file in files if file.path not in errors]
            self.freed.files += len(gone)
            self.freed.file_bytes += sum(gone)
        if errors:
            path, message = next(iter(errors.items()))
            detail = f"its file {path!r} could not be deleted: {message}"
            self._recorder.count_failure(kind, uri, detail)
            return
        if not self._dry_run:
            place.store.delete_empty_folders(place.folder)
        detail = files_of(len(files), size)
        self._recorder.record_deleted(kind, uri, detail=detail, undo=None)
        self._journal.sync()

    def _why_needed(self, entity_id: str, folder: str) -> str | None:
        """Return why the files of an entity that was in no table are not deleted, or None."""
        with self._first.database.transaction():
            if self._first.reader.knows(entity_id):
                return "an entity has this id"
            if time.monotonic() - self._named_at > _NAMED_S:
                self._named = named_in_registry(self._first.reader.trash({}).inventory)
                self._named_at = time.monotonic()
        if named_by := self._named.get(entity_id):
            return f"{Reason.REGISTERED_MODEL.value}: {named_by}"
        # MLflow alone makes such ids, and each is in its folder: what is listed below it is its own.
        return (
            None if folder.rpartition("/")[2] == entity_id else "it is not the folder of one entity"
        )

    def _check(self, batch: _Batch, trash: Trash) -> dict[str, Finding]:
        """Return the finding of the re-check of each entity."""
        decisions = decide_trash(trash, self._policy).by_key
        found: dict[str, Finding] = {}
        for i, entry in batch.entries.items():
            current = _expected(batch.kind, i, trash)
            decision = decisions.get((batch.kind, i))
            if current is None or decision is None:
                found[i] = Finding("gone", "it no longer exists")
            elif changes := drift(entry["expect"], current):
                found[i] = Finding("changed", ", ".join(changes))
            elif batch.kind == EXPERIMENT.name and (more := _added_rows(entry, i, trash)):
                found[i] = Finding("changed", more)
            elif decision.verdict is Verdict.PROTECT:
                reason = decision.reason.value if decision.reason else ""
                detail = f"{reason}: {' <- '.join(decision.chain)}"
                found[i] = Finding("protected", detail, protection=decision)
            elif decision.verdict is Verdict.FRESH:
                found[i] = Finding("changed", "the policy of the plan retains it now")
            else:
                found[i] = Finding()
        return found

    def _statements(
        self, kind: str, ids: Sequence[str], entries: Mapping[str, Entry]
    ) -> Iterator[Statement]:
        tables = self._first.database.tables
        if kind == RUN.name:
            return tables.delete_runs(ids)
        if kind == LOGGED_MODEL.name:
            return tables.delete_models(ids)
        if kind == MODEL_VERSION.name:
            workspace = self._plan["server"]["workspace"]
            return tables.delete_tombstones(numbers_of(ids), workspace)
        if kind == LINK.name:
            return tables.delete_links(_link_keys(entries[i] for i in ids))
        return tables.delete_experiments([int(i) for i in ids])

    def _record(self, batch: _Batch) -> None:
        """Record the outcome of each entity of a batch.

        Raises:
            ServerError: Too many failed in a row.
        """
        too_many: ServerError | None = None
        with self._lock:
            self.freed.by_table += batch.rows
            for i in batch.entries:
                try:
                    self._record_one(batch, i)
                except ServerError as error:  # it is recorded, and so are those after it
                    too_many = too_many or error
        self._journal.sync()
        if too_many:
            raise too_many

    def _record_one(self, batch: _Batch, i: str) -> None:
        finding, key = batch.findings[i], (batch.kind, i)
        count, size = batch.files.get(i, (0, 0))
        self.freed.files += count
        self.freed.file_bytes += size
        if i in batch.left:
            self._recorder.result.left.append(i)
        elif i in batch.failures:
            self._recorder.count_failure(*key, batch.failures[i])
        elif finding.code is None:
            self._recorder.record_deleted(*key, detail=files_of(count, size), undo=None)
        elif count:
            # A deadlock rolled back the rows, and with them the lock, after the files were deleted.
            detail = f"{files_of(count, size)} of it were deleted before this: {finding.detail}"
            self._recorder.count_failure(*key, detail)
        elif finding.code == "gone" and key in self._unconfirmed:
            detail = "by an earlier session that was cut off"
            self._recorder.record_deleted(*key, detail=detail, undo=None)
        else:
            self._recorder.record_skip(*key, finding)

    # -- files -----------------------------------------------------------------------------------

    def _find_files(self, ids: Sequence[str], trash: Trash, batch: _Batch) -> dict[Store, _Found]:
        """List the files of entities, by store; note those whose files must be left alone.

        Raises:
            StoreError: a store is not reachable.
        """
        by_store: dict[Store, _Found] = defaultdict(_Found)
        for i in ids:
            for uri in folders_of(batch.kind, i, trash):
                store, folder = self._stores.find(uri)
                by_store[store].folders[folder] = i
        listed: Counter[str] = Counter()
        for store, found in by_store.items():
            for folder, i in found.folders.items():
                if linked := store.linked_parent(folder):
                    batch.failures[i] = f"{linked} is a symbolic link; its files are left alone"
            safe = sorted(f for f, i in found.folders.items() if i not in batch.failures)
            for folder, files in store.files_of(safe):
                i = found.folders[folder]
                listed[i] += len(files)
                for file in files:
                    if not file.path.startswith(f"{folder}/"):
                        raise StoreError(f"{store.uri} lists {file.path!r} below {folder!r}.")
                    found.paths[file.path] = i, file.size_bytes
        for i in ids:
            planned = cast("int", batch.entries[i].get("file_count", 0))
            # Or they were deleted before: by an attempt, or a session, that was cut off.
            deleted = i in batch.files or (batch.kind, i) in self._intended
            if planned and not listed[i] and not deleted and i not in batch.failures:
                batch.failures[i] = (
                    f"the plan lists {number_of(planned, 'file', 'files')} of it, and none is there; is this "
                    "the right --artifacts-destination, and the journal of an earlier purge of this plan "
                    "beside it?"
                )
        return by_store

    def _delete_empty_folders(self, ids: Sequence[str], trash: Trash) -> None:
        for i in ids:
            uri = trash.inventory.experiments[i].artifact_location
            if uri.rstrip("/").endswith(f"/{i}"):
                place = self._stores.find(uri)
                if not place.store.linked_parent(place.folder):
                    place.store.delete_empty_folders(place.folder)


def _lock(database: Database, batch: _Batch) -> None:
    """Lock the rows of a batch."""
    if batch.kind == LINK.name:
        for table, keys in _link_keys(batch.entries.values()).items():
            database.lock_rows(table, database.tables.is_link(table, keys))
    elif batch.kind == MODEL_VERSION.name:
        # Also the highest number of each model, which must stay.
        names = {str(cast("Json", entry)["name"]) for entry in batch.entries.values()}
        column = database.tables["model_versions"].c.name
        database.lock_rows("model_versions", column.in_(sorted(names)))
    else:
        database.lock(batch.kind, batch.entries)


def _link_keys(entries: Iterable[Entry]) -> dict[str, list[tuple[str, ...]]]:
    """Return the keys of links, by table."""
    found: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for entry in cast("Iterable[LinkEntry]", entries):
        source, _, source_id = entry["source"].partition(" ")
        destination, _, destination_id = entry["destination"].partition(" ")
        found[entry["table"]].append((source, source_id, destination, destination_id))
    return found


def _send(store: Store, pending: dict[str, tuple[str, int]], batch: _Batch) -> None:
    """Delete files, and count those of each entity."""
    for path, message in store.delete([*pending]).items():
        entity_id, _ = pending.pop(path)
        batch.failures.setdefault(entity_id, f"its file {path!r} could not be deleted: {message}")
    for entity_id, size in pending.values():
        count, total = batch.files.get(entity_id, (0, 0))
        batch.files[entity_id] = count + 1, total + size


def _added_rows(entry: Entry, experiment_id: str, trash: Trash) -> str | None:
    """Return that an experiment has more rows than the plan lists, for people; None if it has not.

    What is in no plan must not be deleted with it: traces, assessments, issues.
    """
    planned = cast("Json", entry).get("row_count")
    current = trash.rows.get((EXPERIMENT.name, experiment_id), 0)
    if planned is None or current <= planned:
        return None
    return f"row_count was {planned:,}, is {current:,}"


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


def _expected(kind: str, entity_id: str, trash: Trash) -> Mapping[str, Any] | None:
    """Return the current values of the preconditions of an entity; None if it does not exist."""
    if kind == RUN.name:
        run = trash.inventory.runs.get(entity_id)
        return expect_trashed_run(run, trash) if run else None
    if kind == LOGGED_MODEL.name:
        model = trash.models.get(entity_id)
        return expect_trashed_model(model) if model else None
    if kind == MODEL_VERSION.name:
        version = trash.tombstones.get(entity_id)
        return expect_model_version(version, ()) if version else None
    if kind == LINK.name:
        link = trash.links.get(entity_id)
        return expect_link(link) if link else None
    if entity_id not in trash.inventory.experiments:
        return None
    return expect_trashed_experiment(entity_id, trash)


def folders_of(kind: str, entity_id: str, trash: Trash) -> list[str]:
    """Return the URIs of the folders whose files are deleted with an entity."""
    if kind == RUN.name:
        return [trash.inventory.runs[entity_id].artifact_uri]
    if kind == LOGGED_MODEL.name:
        return [trash.models[entity_id].artifact_uri]
    return folders_of_traces(entity_id, trash)


def root_of(folder: str) -> str:
    """Return the folder that contains the folder of the experiment of a run, model or trace."""
    parts = folder.split("/")
    return "/".join(parts[:-4] if parts[-3:-2] in (["models"], ["traces"]) else parts[:-3])


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Yield entries in the order of the plan, bounded in number, files and rows."""
    batch: list[Entry] = []
    files = rows = 0
    for entry in entries:
        own = [cast("int", entry.get(field, 0)) for field in ("file_count", "row_count")]
        files, rows = files + own[0], rows + own[1]
        if batch and (len(batch) == BATCH or files > _MOST_FILES or rows > _MOST_ROWS):
            yield batch
            batch, (files, rows) = [], own
        batch.append(entry)
    if batch:
        yield batch
