"""Reading runs from a database: many, with several times as many tags and metrics.

A chunk of runs is read with its tags and metrics before the next one, so that only the rows of one
chunk are in memory.  PostgreSQL sorts each table once and the cursors are merged; the others are
read by ranges of run ids, by index: MySQL's drivers read one result at a time, and a SQLite file
must not be locked for long.
"""

from __future__ import annotations

import gc
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from sys import intern
from typing import Any

from mlflow_gc.domain.entities import Run, artifact_root
from mlflow_gc.domain.tag_selection import NO_TAGS, RUN_NAME_TAG, Wanted, tags_digest
from mlflow_gc.inventory.sql.snapshot import Rows, Snapshot
from mlflow_gc.inventory.sql.statements import ByRun, Statements

RUNS_A_CHUNK = 10_000

_Chunk = tuple[Rows, Mapping[str, Rows]]
"""Rows of runs, and the rows of their tags, metrics and other parts by the name of the part."""


def read_runs(
    snapshot: Snapshot,
    statements: Statements,
    wanted: Wanted | None,
    runs: MutableMapping[str, Run],
    progress: Callable[[str, int], None],
) -> list[str]:
    """Read the active runs into ``runs``; return messages about rows that MLflow cannot read.

    Raises:
        ServerError: the database cannot be read.
    """
    (active,), (total,) = (snapshot.read(count)[0] for count in statements.run_counts())
    # If most runs are active, it is cheaper to read the rows of the others, too.
    only = active < total / 2
    parts = {
        "tags": statements.run_tags(active_only=only),
        "times": statements.run_times(active_only=only),
        "models": statements.run_models(),
    }
    if wanted and wanted.metrics:
        parts["metrics"] = statements.run_metrics(wanted.metrics, active_only=only)
    read = _by_cursors if snapshot.keeps_cursors else _by_ranges
    unreadable: list[str] = []
    with _no_collection():
        for rows, parts_of_runs in read(snapshot, statements.runs(), parts):
            for run in _runs(rows, parts_of_runs, wanted):
                runs[run.run_id] = run
            unreadable += _unreadable(rows)
            progress("runs", len(rows))
    return unreadable


@contextmanager
def _no_collection() -> Iterator[None]:
    """Disable the garbage collector for millions of rows without reference cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


# -- chunks of rows ------------------------------------------------------------------------------


def _by_ranges(snapshot: Snapshot, runs: ByRun, parts: Mapping[str, ByRun]) -> Iterator[_Chunk]:
    """Yield runs in the order of their ids, with their parts, range by range."""
    ordered = runs.rows.order_by(runs.run_id).limit(RUNS_A_CHUNK)
    last: str | None = None
    while True:
        rows = snapshot.read(ordered if last is None else ordered.where(runs.run_id > last))
        if not rows:
            return
        before, last = last, str(rows[-1][0])
        parts_of_runs: dict[str, Rows] = {}
        for name, part in parts.items():
            cut = part.rows.where(part.run_id <= last)
            parts_of_runs[name] = snapshot.read(
                cut if before is None else cut.where(part.run_id > before)
            )
        yield rows, parts_of_runs
        snapshot.yield_lock()


def _by_cursors(snapshot: Snapshot, runs: ByRun, parts: Mapping[str, ByRun]) -> Iterator[_Chunk]:
    """Yield runs with their parts, by merging open cursors in the order of the run ids."""
    from sqlalchemy import collate

    def stream(part: ByRun) -> Iterator[Rows]:
        # Ordered by code points as in Python, whatever the collation of the database.
        return snapshot.stream(part.rows.order_by(collate(part.run_id, "C")))

    followers = {name: _Follower(stream(part)) for name, part in parts.items()}
    for rows in stream(runs):
        last = str(rows[-1][0])
        yield rows, {name: follower.until(last) for name, follower in followers.items()}


class _Follower:
    """A cursor over ordered rows that is advanced run by run."""

    def __init__(self, stream: Iterator[Rows]) -> None:
        self._stream = stream
        self._left: list[tuple[Any, ...]] = []

    def until(self, run_id: str) -> Rows:
        """Return the next rows, up to and including those of a run."""
        taken = self._left
        while not taken or taken[-1][0] <= run_id:
            rows = next(self._stream, None)
            if rows is None:
                self._left = []
                return taken
            taken.extend(rows)
        border = bisect_right(taken, run_id, key=lambda row: str(row[0]))
        self._left = taken[border:]
        return taken[:border]


# -- from rows to runs ---------------------------------------------------------------------------


def _runs(rows: Rows, parts_of_runs: Mapping[str, Rows], wanted: Wanted | None) -> Iterator[Run]:
    tags_of: dict[str, dict[str, str]] = {}
    for run_id, key, value in parts_of_runs["tags"]:
        tags = tags_of.get(run_id)
        if tags is None:
            tags_of[run_id] = tags = {}
        tags[key] = value or ""
    times_of = {run_id: (oldest, newest) for run_id, oldest, newest in parts_of_runs["times"]}
    models_of: dict[str, set[str]] = {}
    for run_id, model_id in parts_of_runs["models"]:
        if model_id:
            models_of.setdefault(run_id, set()).add(model_id)
    values_of: dict[str, list[tuple[str, float]]] = {}
    for run_id, name, value, is_nan in parts_of_runs.get("metrics", ()):
        # MySQL matches AUC for auc; we do not.
        if wanted and name in wanted.metrics:
            values = values_of.setdefault(run_id, [])
            values.append((intern(name), float("nan") if is_nan else value))
    for run_id, name, experiment_id, user_id, status, start, end, artifact_uri in rows:
        tags = tags_of.get(run_id, {})
        run_name = name or tags.get(RUN_NAME_TAG, "")
        user = intern(user_id or "")
        oldest, newest = times_of.get(run_id, (None, None))
        root, has_own_folder = artifact_root(artifact_uri or "", run_id)
        yield Run(
            run_id=run_id,
            run_name=run_name,
            experiment_id=intern(str(experiment_id)),
            user_id=user,
            status=intern(status or ""),
            lifecycle_stage="active",
            start_time=start,
            # MLflow omits a 0, too.
            end_time=end or None,
            newest_metric_time=newest,
            # Separate integers for equal times of a million runs would take 32 MB.
            oldest_metric_time=newest if oldest == newest else oldest,
            artifact_root=root,
            has_own_folder=has_own_folder,
            tags=_selected_tags(tags, user, wanted),
            model_ids=tuple(sorted(models_of.get(run_id, ()))),
            metrics=tuple(sorted(values_of.get(run_id, ()))),
            tags_digest="" if wanted is None else tags_digest(tags, run_name),
        )


def _selected_tags(
    tags: Mapping[str, str], user_id: str, wanted: Wanted | None
) -> Mapping[str, str]:
    selected = tags if wanted is None else wanted.of(tags, user_id)
    return {intern(key): selected[key] for key in sorted(selected)} if selected else NO_TAGS


def _unreadable(rows: Rows) -> list[str]:
    """Return the NULL columns of runs that make MLflow fail (RunInfo in mlflow/entities, 3.17)."""
    return [
        f"the {column} of run {row[0]}"
        for row in rows
        for column, value in (("user_id", row[3]), ("status", row[4]), ("start_time", row[5]))
        if value is None
    ]
