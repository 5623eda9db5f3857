"""What a purge has deleted, in this session and in earlier ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from mlflow_gc.apply.journal.reader import Session, unconfirmed_in
from mlflow_gc.apply.journal.writer import Journal
from mlflow_gc.apply.outcomes import OnSkip, Recorder


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

    def count_files(self, number: int, size_bytes: int) -> None:
        """Count deleted files."""
        self.files += number
        self.file_bytes += size_bytes


class PurgeRecord:
    """The record of a purge; intents and outcomes are in its journal, too.

    Args:
        journal: of this session.
        others: sessions of other parts of the plan.
        dry_run: nothing is deleted, so what was deleted before does not count.
        on_skip: called with each finding.

    Attributes:
        journal: the same.
        recorder: of outcomes.
        intended: kind and id of what earlier sessions and other parts began to delete.
        unconfirmed: of what an earlier session was deleting when it was cut off.
        freed: by this session.
    """

    def __init__(
        self, journal: Journal, others: Sequence[Session], *, dry_run: bool, on_skip: OnSkip
    ) -> None:
        self.journal = journal
        self.recorder = Recorder(journal, () if dry_run else journal.earlier, on_skip)
        self.intended = {
            (intent["kind"], i)
            for session in (*journal.earlier, *others)
            for intent in session.intents
            for i in intent["ids"]
        }
        self.unconfirmed = unconfirmed_in(() if dry_run else journal.earlier)
        self.freed = Freed()
