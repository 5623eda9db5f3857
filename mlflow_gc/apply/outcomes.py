"""The outcome of each planned entity: written to the journal, counted, and reported."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_gc.apply.journal.reader import Session, unconfirmed_in
from mlflow_gc.apply.journal.writer import Journal
from mlflow_gc.apply.recheck.checker import GONE, Finding
from mlflow_gc.backend.interface import Failure, ServerError
from mlflow_gc.domain.kinds import BY_NAME
from mlflow_gc.plan.document import E, Entry, Json

MAX_FAILURES_IN_A_ROW = 25
"""Number of consecutive failures after which a prune ends: the rest would fail, too."""
UNREADABLE = "unreadable"
"""Finding code of an entity that could not be re-checked; becomes a failure."""

OnSkip = Callable[[str, str, Finding], None]
"""Called with kind, id and finding of each entity that is not deleted."""


@dataclass
class Result:
    """The result of a prune.

    Attributes:
        counts: number of entities by (kind, outcome), skips as ``skipped:<code>``.
        interrupted: a requested stop ended it.
        fatal: the error that ended it early, or None.
        failures: kind, id and message of each failure.
        left: experiments in which other shards of the plan still have runs to delete.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    interrupted: bool = False
    fatal: ServerError | None = None
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def is_partial(self) -> bool:
        """Whether a planned deletion failed or was forbidden by the server."""
        return bool(self.failures) or any(o == "skipped:forbidden" for _, o in self.counts)

    def total(self, outcome: str) -> int:
        """Return the number of entities with an outcome, of all kinds."""
        return sum(n for (_, o), n in self.counts.items() if o.split(":", 1)[0] == outcome)


class Recorder:
    """Records outcomes in a journal; ``earlier`` are the sessions that this one continues.

    Attributes:
        journal: the same.
        result: so far.
        deleted: by kind, ids of deleted entities that may have to be rolled back, those of an
            interrupted session included.
        aborted: set when no further request may be sent.
    """

    def __init__(self, journal: Journal, earlier: Sequence[Session], on_skip: OnSkip) -> None:
        self.journal = journal
        self.result = Result(counts=journal.counts)
        self.deleted = _pending_rollback(earlier)
        self.aborted = threading.Event()
        self._unconfirmed = unconfirmed_in(earlier)
        self._intended = {k: undo for s in earlier for k, undo in s.intended_undo().items()}
        self._on_skip = on_skip
        self._failed_in_a_row = 0
        self._hints: set[str] = set()

    def to_delete(
        self, kind: str, entries: Sequence[E], findings: Mapping[str, Finding]
    ) -> list[E]:
        """Record entries that are skipped by their findings, and return the others."""
        wanted: list[E] = []
        gone = "already_deleted" if BY_NAME[kind].is_recoverable else "gone"
        for entry in entries:
            entity_id = BY_NAME[kind].id_of(entry)
            finding = findings[entity_id]
            if finding.code is None:
                wanted.append(entry)
            elif finding.code == gone and (kind, entity_id) in self._unconfirmed:
                # Deleted by a session that was killed before it could record it.
                detail = "by an earlier session that was cut off"
                undo = self.intended_undo(kind, entity_id)
                self.record_deleted(kind, entity_id, detail=detail, undo=undo)
            else:
                self.record_skip(kind, entity_id, finding)
        return wanted

    def intended_undo(self, kind: str, entity_id: str) -> Json | None:
        """Return the undo information in the intent of an earlier session."""
        return self._intended.get((kind, entity_id))

    def intend(self, kind: str, entries: Sequence[Entry], undo: Json | None = None) -> None:
        """Write an intent for the entries to delete, if any."""
        if entries:
            self.journal.intend(kind, [BY_NAME[kind].id_of(entry) for entry in entries], undo)

    def record_deleted(
        self, kind: str, entity_id: str, *, detail: str | None = None, undo: Json | None
    ) -> None:
        """Record a deletion."""
        self._failed_in_a_row = 0
        self.journal.record(kind, entity_id, "deleted", detail=detail, undo=undo)
        self.deleted[kind].add(entity_id)

    def record_skip(self, kind: str, entity_id: str, finding: Finding) -> None:
        """Record that an entity is not deleted, with its finding.

        Raises:
            ServerError: see :meth:`count_failure`.
        """
        if finding.code == UNREADABLE:
            self.count_failure(kind, entity_id, finding.detail)
            return
        self._failed_in_a_row = 0
        self.journal.record(kind, entity_id, "skipped", reason=finding.code, detail=finding.detail)
        self._on_skip(kind, entity_id, finding)

    def record_failure(
        self,
        kind: str,
        entity_id: str,
        detail: str,
        undo: Json | None = None,
        *,
        unconfirmed: bool = False,
    ) -> None:
        """Record a failure; see :meth:`~mlflow_gc.apply.journal.writer.Journal.record`."""
        self.journal.record(
            kind, entity_id, "failed", detail=detail, undo=undo, unconfirmed=unconfirmed
        )
        self.result.failures.append((kind, entity_id, detail))

    def count_failure(
        self,
        kind: str,
        entity_id: str,
        detail: str,
        *,
        hint: str | None = None,
        unconfirmed: bool = False,
    ) -> None:
        """Record that a re-check or a deletion failed; with the hint, if it is a new one.

        Raises:
            ServerError: Too many failed in a row.
        """
        last = detail
        if hint and hint not in self._hints:
            self._hints.add(hint)
            detail = f"{detail} {hint}"
        self.record_failure(kind, entity_id, detail, unconfirmed=unconfirmed)
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= MAX_FAILURES_IN_A_ROW:
            self.aborted.set()
            raise ServerError(
                f"{MAX_FAILURES_IN_A_ROW} re-checks or deletions failed one after the other, the last with: "
                f"{last}",
                Failure.AMBIGUOUS,
                hint=hint,
            )

    def runs_not_deleted(self, since: int = 0) -> dict[str, str]:
        """Return existing runs that this session did not delete, with the reason.

        The first ``since`` records of skips and failures are left out.
        """
        return {
            record["id"]: record.get("detail") or record["outcome"]
            for record in self.journal.skipped_or_failed[since:]
            if record["kind"] == "run" and record["reason"] not in GONE
        }


def deleted_before(
    sessions: Sequence[Session], restores: Sequence[Session]
) -> frozenset[tuple[str, str]]:
    """Return (kind, id) of entities that earlier sessions deleted and nobody restored."""
    deleted: set[tuple[str, str]] = set()
    for session in sorted([*sessions, *restores], key=lambda s: str(s.header["started_at"])):
        for record in session.records:
            key = (record["kind"], record["id"])
            if record["outcome"] == "restored":
                deleted.discard(key)
            # A restore records as deleted what it moved back to the trash.
            elif record["outcome"] == "deleted" and session.header["action"] == "prune":
                deleted.add(key)
    return frozenset(deleted)


def _pending_rollback(sessions: Sequence[Session]) -> dict[str, set[str]]:
    """Return, by kind, the ids of deletions that may still have to be rolled back.

    An interrupted session leaves the post-delete check of its batch to the next one.  The deletions
    of a completed session are confirmed unless a rollback failed, and may belong to somebody else
    by now.
    """
    deleted: dict[str, set[str]] = {kind: set() for kind in BY_NAME}
    failed: dict[str, set[str]] = {kind: set() for kind in deleted}
    for session in sessions:
        for record in session.records:
            kind, entity_id, outcome = record["kind"], record["id"], record["outcome"]
            if outcome == "deleted":
                deleted[kind].add(entity_id)
            elif outcome == "restored":
                deleted[kind].discard(entity_id)
                failed[kind].discard(entity_id)
            elif outcome == "failed" and entity_id in deleted[kind]:
                failed[kind].add(entity_id)
        if session.end and session.end["ended"] == "completed":
            deleted = {kind: set(ids) for kind, ids in failed.items()}
    return deleted
