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
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from mlflow_gc.apply.journal.reader import Session
from mlflow_gc.apply.journal.writer import Journal
from mlflow_gc.apply.outcomes import OnSkip, Result
from mlflow_gc.apply.purge.batch import Batch, batches_of
from mlflow_gc.apply.purge.database import Database, Deadlock
from mlflow_gc.apply.purge.files import (
    delete_empty_experiment_folders,
    delete_files,
    empty_roots,
    find_files,
)
from mlflow_gc.apply.purge.orphans import OrphanPurger
from mlflow_gc.apply.purge.purged_kinds import IN_ORDER, PURGED_KINDS, PurgedKind
from mlflow_gc.apply.purge.recheck import recheck
from mlflow_gc.apply.purge.record import Freed, PurgeRecord
from mlflow_gc.backend.interface import Failure, ServerError
from mlflow_gc.domain.kinds import EXPERIMENT
from mlflow_gc.domain.quantities import files_of
from mlflow_gc.domain.trash import Key, Trash
from mlflow_gc.errors import Refused
from mlflow_gc.inventory.sql.trash import TrashReader
from mlflow_gc.plan.document import Entry, FileEntry, Plan, deletions_of
from mlflow_gc.plan.sharding import Part
from mlflow_gc.retention.policy import Policy
from mlflow_gc.storage.interface import StoreError
from mlflow_gc.storage.stores import ArtifactStores

_VALID_S = 1.0
"""Age of the evidence from which it is read again before files are deleted."""
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
    """Some files could not be deleted, or may not: the rows of their entities must stay."""


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
        self._record = PurgeRecord(journal, others, dry_run=dry_run, on_skip=on_skip)
        self._first = _Worker(database, plan, policy, stores)
        self._lock = threading.Lock()
        """Held while a batch is taken, and while its outcome is recorded."""
        self._failed = threading.Event()
        self._began = time.monotonic()
        self._has_stores = policy.purge.keep != "files"
        """Whether to list files; a check continues without them once a store is not there."""
        self.left = 0

    @property
    def freed(self) -> Freed:
        """What this session freed so far."""
        return self._record.freed

    @property
    def begun_before(self) -> Collection[Key]:
        """What earlier sessions and other parts of the plan began to delete."""
        return self._record.intended

    @cached_property
    def _planned(self) -> frozenset[Key]:
        """What the whole plan deletes; only some purges need it, and it grows with the plan."""
        return frozenset(
            (purged.kind.name, purged.kind.id_of(entry))
            for purged in IN_ORDER
            for entry in deletions_of(self._plan, purged.kind.entries)
        )

    def run(self) -> Result:
        """Apply the plan until it is done, something fails, or the user stops it.

        Raises:
            GcError: the journal cannot be written.
        """
        result = self._record.recorder.result
        try:
            with self._first.database.second() as second:
                workers = [self._first]
                # One batch after the other exceeds a limit on bytes by one batch at most.
                if second is not None and self._budget.max_bytes is None:
                    workers.append(_Worker(second, self._plan, self._policy, self._stores))
                for purged in IN_ORDER:
                    self._purge_all(purged, workers if purged.is_parallel else workers[:1])
            self._purge_orphans()
        except StoreError as error:
            result.fatal = ServerError(error.message, Failure.UNREACHABLE, hint=error.hint)
        except ServerError as error:
            result.fatal = error
        ended = "failed" if result.fatal else "completed"
        self._journal.close("interrupted" if result.interrupted or self.left else ended)
        return result

    def _purge_all(self, purged: PurgedKind, workers: Sequence[_Worker]) -> None:
        """Delete the batches of one kind; if one worker fails, the others end after their batch."""
        kind = purged.kind
        batches = batches_of(deletions_of(self._part, kind.entries))

        def work(worker: _Worker) -> None:
            try:
                while taken := self._take(batches):
                    self._purge(worker, Batch(kind.name, {kind.id_of(e): e for e in taken}))
            except BaseException:
                self._failed.set()
                raise

        if len(workers) == 1:
            work(workers[0])
            return
        with ThreadPoolExecutor(len(workers)) as pool:
            for done in [pool.submit(work, worker) for worker in workers]:
                done.result()

    def _purge_orphans(self) -> None:
        purger = OrphanPurger(
            self._first.database,
            self._first.reader,
            self._stores,
            self._record,
            dry_run=self._dry_run,
        )
        orphans: Iterator[list[Entry]] = ([entry] for entry in self._part.get("files", ()))
        while taken := self._take(orphans):
            purger.purge(cast("FileEntry", taken[0]))

    def _take(self, batches: Iterator[list[Entry]]) -> list[Entry] | None:
        """Return the next batch; None if there is none, or if no more may be begun."""
        with self._lock:
            for batch in batches:
                if self._stop.is_set():
                    self._record.recorder.result.interrupted = True
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
        if not self._has_stores:
            return
        for (uri, root), keys in empty_roots(self._part, self._stores).items():
            if self._has_rows(keys - self._record.intended):
                self._has_stores = False
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

    def _purge(self, worker: _Worker, batch: Batch) -> None:
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
        self._record_outcomes(batch)

    def _delete(self, worker: _Worker, batch: Batch) -> None:
        """Delete a batch in one transaction, except for those whose files cannot be deleted."""
        batch.rows = Counter()
        with worker.database.transaction():
            PURGED_KINDS[batch.kind].lock(worker.database, batch.entries)
            # A dry run has not deleted what it would have deleted by now, and rows may be kept.
            left = self._dry_run or self._policy.purge.keep == "rows"
            without = self._planned if left else ()
            batch.read_at = time.monotonic()
            trash = worker.reader.trash({batch.kind: batch.entries}, without=without)
            batch.findings = recheck(batch, trash, self._policy)
            if shared := self._shared.intersection(i for i, f in batch.findings.items() if f.code):
                # Without what the other shards delete.
                those = Batch(batch.kind, batch.of(sorted(shared)))
                rest = worker.reader.trash({those.kind: shared}, without=self._planned)
                alone = recheck(those, rest, self._policy)
                batch.left = [i for i in those.entries if alone[i].code is None]
            while ids := batch.to_delete():
                with suppress(_FilesFailed), worker.database.savepoint(_FilesFailed):
                    batch.rows = self._delete_entities(worker, batch, ids, trash)
                    return

    def _delete_entities(
        self, worker: _Worker, batch: Batch, ids: Sequence[str], trash: Trash
    ) -> Counter[str]:
        """Delete the rows and files of some entities of a batch; a dry run only looks for the files.

        Returns:
            The number of rows by table.

        Raises:
            _FilesFailed: files of some cannot be deleted, which ``batch.failures`` names, or may not.
        """
        failed_before = len(batch.failures)
        purged = PURGED_KINDS[batch.kind]
        has_files = self._has_stores and purged.folders is not None
        found = (
            find_files(batch, ids, trash, self._stores, self._record.intended) if has_files else {}
        )
        if len(batch.failures) > failed_before:
            raise _FilesFailed
        rows: Counter[str] = Counter()
        if self._dry_run:
            return rows
        if self._policy.purge.keep != "rows":
            workspace = self._plan["server"]["workspace"]
            statements = purged.delete(worker.database.tables, batch.of(ids), workspace)
            rows = worker.database.execute(statements)
        self._renew(worker, batch, ids, trash)
        self._intend(batch, ids)
        delete_files(batch, found)
        if has_files and purged.kind is EXPERIMENT:
            delete_empty_experiment_folders(ids, trash, self._stores)
        if len(batch.failures) > failed_before:
            raise _FilesFailed
        return rows

    def _renew(self, worker: _Worker, batch: Batch, ids: Sequence[str], trash: Trash) -> None:
        """Decide again if it took long to list the files and delete the rows.

        Their lock lets nobody restore these entities, and everybody register or nest something.

        Raises:
            _FilesFailed: some are needed by now, which ``batch.findings`` names.
        """
        if time.monotonic() - batch.read_at < _VALID_S:
            return
        batch.read_at = time.monotonic()
        found = recheck(
            Batch(batch.kind, batch.of(ids)), worker.reader.renewed(trash), self._policy
        )
        if needed := {i: finding for i, finding in found.items() if finding.code}:
            batch.findings |= needed
            raise _FilesFailed

    def _intend(self, batch: Batch, ids: Sequence[str]) -> None:
        if new := sorted({*ids} - batch.intended):
            self._journal.intend(batch.kind, new)
            batch.intended.update(new)

    def _record_outcomes(self, batch: Batch) -> None:
        """Record the outcome of each entity of a batch.

        Raises:
            ServerError: Too many failed in a row.
        """
        too_many: ServerError | None = None
        with self._lock:
            self.freed.by_table += batch.rows
            for i in batch.entries:
                try:
                    self._record_outcome(batch, i)
                except ServerError as error:  # it is recorded, and so are those after it
                    too_many = too_many or error
        self._journal.sync()
        if too_many:
            raise too_many

    def _record_outcome(self, batch: Batch, i: str) -> None:
        recorder = self._record.recorder
        finding, key = batch.findings[i], (batch.kind, i)
        count, size = batch.files.get(i, (0, 0))
        self.freed.count_files(count, size)
        if i in batch.left:
            recorder.result.left.append(i)
        elif i in batch.failures:
            recorder.count_failure(*key, batch.failures[i])
        elif finding.code is None:
            recorder.record_deleted(*key, detail=files_of(count, size), undo=None)
        elif count:
            # A deadlock rolled back the rows, and with them the lock, after the files were deleted.
            detail = f"{files_of(count, size)} of it were deleted before this: {finding.detail}"
            recorder.count_failure(*key, detail)
        elif finding.code == "gone" and key in self._record.unconfirmed:
            detail = "by an earlier session that was cut off"
            recorder.record_deleted(*key, detail=detail, undo=None)
        else:
            recorder.record_skip(*key, finding)
