"""What is deleted in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from mlflow_gc.apply.recheck.checker import Finding
from mlflow_gc.plan.document import Entry

BATCH = 300
"""Entities that are locked at once, so that a request to a store names up to a thousand files."""
_MOST_ROWS = 500_000
"""Rows that are deleted in one transaction: half a second on PostgreSQL."""
_MOST_FILES = 5_000
"""Files that are deleted while the rows of their entities are locked."""


@dataclass
class Batch:
    """Entries of one kind, and what happened to them.

    Attributes:
        kind: ``Kind.name``.
        entries: by id.
        findings: of the re-check, by id.
        failures: messages by id.
        files: deleted files (number, bytes) by id.
        rows: deleted rows by table.
        left: experiments in which other shards still have something to delete.
        intended: ids that are in the journal.
        read_at: when the evidence was read, by ``time.monotonic``.
    """

    kind: str
    entries: Mapping[str, Entry]
    findings: dict[str, Finding] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    rows: Counter[str] = field(default_factory=Counter)
    left: Sequence[str] = ()
    intended: set[str] = field(default_factory=set)
    read_at: float = 0.0

    def to_delete(self) -> list[str]:
        """Return the ids of those that pass the re-check, and whose files can be deleted."""
        found = self.findings.items()
        return [i for i, finding in found if finding.code is None and i not in self.failures]

    def of(self, ids: Sequence[str]) -> dict[str, Entry]:
        """Return some of the entries."""
        return {i: self.entries[i] for i in ids}


def batches_of(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
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
