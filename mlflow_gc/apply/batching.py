"""Batches of planned entities, and the levels of nested runs.  Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from mlflow_gc.inventory.lookup import chunks
from mlflow_gc.plan.document import E, ExperimentEntry, RunEntry
from mlflow_gc.retention.run_trees import nested_order

BATCH = 100
"""Number of entities that are re-checked together; for runs see :func:`next_size`."""
_LARGEST_BATCH = 500
_RUNS_OF_A_BATCH = 2000
"""Limit for the runs of a batch of experiments: they are in the trash then, and all are read."""
_BATCH_S = 2.0


def next_size(count: int, took_s: float) -> int:
    """Return the size of the next batch of runs: as many as are deleted while a re-check is valid.

    The fixed cost of a re-check (registry, new runs, permissions) is shared by all of them.

    ``took_s`` is the duration of the deletions of the previous batch of ``count`` runs, in s.
    """
    fit = int(count / max(took_s, 0.001) * _BATCH_S)
    return min(max(fit, BATCH // 2), _LARGEST_BATCH)


def batches(entries: Sequence[E]) -> Iterator[list[E]]:
    """Yield batches of entries of any kind."""
    return chunks(entries, BATCH)


def experiment_batches(entries: Iterable[ExperimentEntry]) -> Iterator[list[ExperimentEntry]]:
    """Yield batches of planned experiments, limited by the number of their runs."""
    batch: list[ExperimentEntry] = []
    runs = 0
    for entry in entries:
        if batch and (len(batch) == BATCH or runs + entry["run_count"] > _RUNS_OF_A_BATCH):
            yield batch
            batch, runs = [], 0
        batch.append(entry)
        runs += entry["run_count"]
    if batch:
        yield batch


def run_batches(
    entries: Sequence[RunEntry], most: Callable[[], int], last: Collection[str] = ()
) -> Iterator[list[list[RunEntry]]]:
    """Yield batches of about ``most()`` planned runs, whole trees each, split into levels.

    The levels of a batch are ordered children first; the runs of one level may be deleted
    concurrently.  Trees with runs of ``last`` come after all others.
    """
    parents = {entry["run_id"]: entry["parent_run_id"] for entry in entries}
    indices = {run_id: index for index, run_id in enumerate(parents)}
    batch: list[list[RunEntry]] = []
    size = 0
    for tree in _with_last(parents, last):
        for depth, level in enumerate(tree):
            while len(batch) <= depth:
                batch.append([])
            batch[depth].extend(entries[indices[run_id]] for run_id in level)
            size += len(level)
        if size >= most():
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def flat(levels: Iterable[Iterable[RunEntry]]) -> list[RunEntry]:
    """Return the runs of all levels of a batch."""
    return [entry for level in levels for entry in level]


def trees(entries: Iterable[RunEntry]) -> dict[str, list[RunEntry]]:
    """Return for each run, by id, the runs of its nested tree."""
    by_id = {entry["run_id"]: entry for entry in entries}
    found: dict[str, list[RunEntry]] = {}
    for tree in nested_order({run_id: entry["parent_run_id"] for run_id, entry in by_id.items()}):
        runs = [by_id[run_id] for level in tree for run_id in level]
        found |= dict.fromkeys((entry["run_id"] for entry in runs), runs)
    return found


def _with_last(
    parents: Mapping[str, str | None], last: Collection[str]
) -> Iterator[list[list[str]]]:
    """Yield nested trees, those with runs of ``last`` after all others."""
    for is_last in (False, True) if last else (False,):
        for tree in nested_order(parents):
            if any(run_id in last for level in tree for run_id in level) is is_last:
                yield tree
