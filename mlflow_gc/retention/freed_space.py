"""How much of the space that something takes a purge returns, and when."""

from __future__ import annotations

from typing import NamedTuple

from mlflow_gc.domain.kinds import (
    EXPERIMENT,
    FILE,
    LINK,
    LOGGED_MODEL,
    MODEL_VERSION,
    REGISTERED_MODEL,
    RUN,
)

TRACE, DATASET, PROMPT, OTHER = "trace", "dataset", "prompt", "other"
KINDS = (
    *(EXPERIMENT.name, RUN.name, LOGGED_MODEL.name, TRACE, DATASET),
    *(REGISTERED_MODEL.name, MODEL_VERSION.name, PROMPT, LINK.name, FILE.name, OTHER),
)
"""The kinds, in the order of lists; links are those between runs, datasets and models."""

ACTIVE, STALE, TRASH, ORPHANED, TOMBSTONE, UNKNOWN = (
    "active", "stale", "trash", "orphaned", "tombstone", "unknown",
)  # fmt: skip
STAGES = (ACTIVE, STALE, TRASH, ORPHANED, TOMBSTONE, UNKNOWN)
"""The stages, in the order of lists.

A tombstone is the row that MLflow keeps of a deleted model version; files of an unknown layout have
the stage ``unknown``.
"""


class Freed(NamedTuple):
    """Bytes by when they are returned: their sum is what is taken now.

    Attributes:
        at_once: returned by ``purge`` itself.
        later: by the maintenance of the database (``VACUUM FULL``, ``OPTIMIZE TABLE``, ``VACUUM``),
            or once a store removes old versions of files.
        not_freed: stays.
    """

    at_once: int
    later: int
    not_freed: int


def freed(
    kind: str,
    stage: str,
    *,
    database_bytes: int,
    file_bytes: int,
    version_bytes: int,
    is_retained: bool,
) -> Freed:
    """Return what a purge returns of some space.

    Args:
        kind: of :data:`KINDS`.
        stage: of :data:`STAGES`.
        database_bytes: of tables and indexes.
        file_bytes: of files.
        version_bytes: those of them that remain as old versions in their store.
        is_retained: purge does not delete it: it is protected, too young, of unknown age, or the
            policy does not name it.
    """
    is_purged = stage in {TRASH, TOMBSTONE} or (
        stage == ORPHANED and kind in {LINK.name, FILE.name}
    )
    if is_retained or not is_purged:
        return Freed(0, 0, database_bytes + file_bytes)
    return Freed(file_bytes - version_bytes, database_bytes + version_bytes, 0)
