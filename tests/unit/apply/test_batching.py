"""Batches of planned entities."""

from __future__ import annotations

from mlflow_gc.apply.batching import (
    BATCH,
    batches,
    experiment_batches,
    flat,
    next_size,
    run_batches,
)
from mlflow_gc.plan.document import Json

Levels = list[list[Json]]


def run(run_id: str, parent: str | None = None) -> Json:
    return {"run_id": run_id, "parent_run_id": parent}


def ids(found: list[Levels]) -> list[list[list[str]]]:
    return [[sorted(e["run_id"] for e in level) for level in levels] for levels in found]


def test_children_come_before_parents_and_trees_stay_whole() -> None:
    entries = [run("a"), run("b", "a"), run("c", "b"), run("d"), run("e", "a")]
    (levels,) = run_batches(entries, lambda: 100)
    depth = {entry["run_id"]: n for n, level in enumerate(levels) for entry in level}
    assert depth["c"] < depth["b"] < depth["a"]
    assert depth["e"] < depth["a"]
    assert sorted(entry["run_id"] for entry in flat(levels)) == list("abcde")
    several = list(run_batches(entries, lambda: 1))
    assert sorted(sorted(e["run_id"] for e in flat(levels)) for levels in several) == [
        ["a", "b", "c", "e"],
        ["d"],
    ]


def test_the_size_may_change_from_batch_to_batch() -> None:
    sizes = iter([1, 2, 2, 100])
    found = [*run_batches([run(f"{n}") for n in range(4)], lambda: next(sizes))]
    assert [len(flat(levels)) for levels in found] == [1, 2, 1]


def test_trees_with_some_runs_come_last() -> None:
    entries = [run("a"), run("b", "a"), run("c")]
    assert ids([*run_batches(entries, lambda: 1, last={"b"})]) == [[["c"]], [["b"], ["a"]]]


def test_entries_are_cut_into_batches() -> None:
    entries = [run(f"{n}") for n in range(BATCH + 1)]
    assert [len(batch) for batch in batches(entries)] == [BATCH, 1]
    assert list(batches([])) == []


def test_experiments_with_many_runs_come_in_small_batches() -> None:
    entries = [{"run_count": n} for n in (1500, 500, 1, 5000, 0)]
    counts = [[e["run_count"] for e in batch] for batch in experiment_batches(entries)]
    assert counts == [[1500, 500], [1], [5000], [0]]


def test_a_batch_is_as_large_as_is_deleted_in_time() -> None:
    assert next_size(100, took_s=1.0) == 200
    assert next_size(100, took_s=60.0) == BATCH // 2
    assert next_size(100, took_s=0.0) == 500
