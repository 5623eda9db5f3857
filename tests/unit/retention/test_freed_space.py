"""What is promised to be freed: the trash, tombstones and orphans, at once or later, and nothing else."""

from __future__ import annotations

import pytest

from mlflow_gc.retention.freed_space import KINDS, STAGES, Freed, freed

FREED = {
    *((kind, stage) for kind in KINDS for stage in ("trash", "tombstone")),
    ("link", "orphaned"),
    ("file", "orphaned"),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_files_are_freed_at_once_rows_and_old_versions_later(kind: str, stage: str) -> None:
    for is_retained in (False, True):
        found = freed(
            kind,
            stage,
            database_bytes=100,
            file_bytes=50,
            version_bytes=20,
            is_retained=is_retained,
        )
        is_freed = (kind, stage) in FREED and not is_retained
        assert found == (Freed(30, 120, 0) if is_freed else Freed(0, 0, 150))
