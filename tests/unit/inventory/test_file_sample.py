"""The files behind a server: exact if all can be listed, else an estimate that tells its error."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from mlflow_gc.backend.interface import Failure, ServerError
from mlflow_gc.inventory import file_sample
from mlflow_gc.inventory.file_sample import FEWEST, FOLDERS, FileSample, margin
from mlflow_gc.inventory.stored_files import Owner, StoredSize
from mlflow_gc.storage.interface import StoredFile, StoreError
from mlflow_gc.storage.stores import ArtifactStores


class FakeServer:
    """Runs of given sizes, each with one file in a folder of its own."""

    uri = "mlflow-artifacts:/"

    def __init__(self, sizes: dict[str, int], *, deep: int = 1) -> None:
        self.sizes, self.deep = sizes, deep
        self.errors: dict[str, StoreError] = {}
        self.listed: list[str] = []
        self._lock = threading.Lock()

    def files(self, folder: str) -> Iterator[Sequence[StoredFile]]:
        with self._lock:
            self.listed.append(folder)
        if error := self.errors.get(folder.split("/", maxsplit=1)[0]):
            raise error
        run = folder.split("/")[1]
        for n in range(self.deep):
            yield [StoredFile(f"{folder}/f{n}/a", self.sizes[run] // self.deep, None)]


def _sample(server: FakeServer, experiments: dict[str, list[str]]) -> FileSample:
    stores = ArtifactStores(server=cast("Any", server))
    sample = FileSample(stores, cast("Any", server), 4)
    for experiment, runs in experiments.items():
        for run in runs:
            uri = f"mlflow-artifacts:/{experiment}/{run}/artifacts"
            assert sample.add(Owner("run", run), experiment, "active", uri)
    sample.measure()
    return sample


def _estimate(sample: FileSample) -> tuple[float, float]:
    unlisted = list(sample.unlisted())
    listed = sum(size.bytes for size in sample.sizes.values())
    return (
        listed + sum(spread.bytes for _, spread in unlisted),
        margin(Counter(spread for _, spread in unlisted)),
    )


def _of_cause(failure: Failure) -> StoreError:
    error = StoreError("It says no.", hint="Do this.")
    error.__cause__ = ServerError("It says no.", failure)
    return error


def test_all_are_listed_where_there_are_few() -> None:
    sizes = {f"r{n}": n for n in range(100)}
    sample = _sample(FakeServer(sizes), {"1": list(sizes)[:90], "2": list(sizes)[90:]})
    assert {owner.id: size.bytes for owner, size in sample.sizes.items()} == sizes
    assert not list(sample.unlisted())
    assert not list(sample.problems())
    assert sample.requests == 200  # the folder of each run, and one in it


def test_many_are_estimated_within_a_bounded_number_of_requests() -> None:
    chance = random.Random(7)
    sizes = {f"r{n}": int(chance.lognormvariate(10, 1)) for n in range(20_000)}
    server = FakeServer(sizes)
    sample = _sample(server, {str(n): list(sizes)[n::40] for n in range(40)})
    assert sample.requests <= file_sample.REQUESTS + 100
    estimate, error = _estimate(sample)
    assert abs(estimate - sum(sizes.values())) < error < 0.2 * estimate
    again = _sample(FakeServer(sizes), {str(n): list(sizes)[n::40] for n in range(40)})
    assert again.sizes == sample.sizes


def test_the_interval_contains_the_truth_as_often_as_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sizes of two experiments that differ a thousandfold; 95 of 100 samples, or nearly so."""
    monkeypatch.setattr(file_sample, "REQUESTS", 200)
    hits = 0
    for seed in range(100):
        chance = random.Random(seed)
        small = {f"{seed}-s{n}": int(chance.gammavariate(2, 1e3)) for n in range(400)}
        large = {f"{seed}-l{n}": int(chance.gammavariate(2, 1e6)) for n in range(100)}
        sizes = {**small, **large}
        estimate, error = _estimate(_sample(FakeServer(sizes), {"1": [*small], "2": [*large]}))
        hits += abs(estimate - sum(sizes.values())) <= error
    assert hits >= 90


def test_most_is_listed_where_most_bytes_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_sample, "REQUESTS", 400)
    sizes = {f"s{n}": 10 for n in range(5_000)} | {f"l{n}": n * 10**9 for n in range(60)}
    runs = {"1": [r for r in sizes if r[0] == "s"], "2": [r for r in sizes if r[0] == "l"]}
    sample = _sample(FakeServer(sizes), runs)
    assert sum(owner.id[0] == "l" for owner in sample.sizes) == 60
    _, error = _estimate(sample)
    assert error == 0  # all runs of the other experiment look the same


def test_a_server_that_passes_nothing_on_gets_one_request() -> None:
    server = FakeServer({f"r{n}": 1 for n in range(100)})
    server.errors = {"1": _of_cause(Failure.UNSUPPORTED)}
    sample = _sample(server, {"1": list(server.sizes)})
    assert len(server.listed) == 1
    assert list(sample.problems()) == [
        "Files of 100 of 100 runs and logged models are unknown. It says no. Do this."
    ]
    assert not list(sample.unlisted())


def test_an_experiment_that_may_not_be_read_is_unknown_and_the_others_are_listed() -> None:
    server = FakeServer({f"r{n}": 1 for n in range(100)})
    server.errors = {"1": _of_cause(Failure.FORBIDDEN)}
    runs = list(server.sizes)
    sample = _sample(server, {"1": runs[:60], "2": runs[60:]})
    assert {owner.id for owner in sample.sizes} == set(runs[60:])
    (problem,) = sample.problems()
    assert problem.startswith("Files of 60 of 100 runs")
    assert len(server.listed) == 40 + FEWEST
    assert not list(sample.unlisted())


def test_a_run_with_too_many_folders_is_said_to_be_larger() -> None:
    sample = _sample(FakeServer({"r": 10_000}, deep=2 * FOLDERS), {"1": ["r"]})
    (size,) = sample.sizes.values()
    assert size == StoredSize(FOLDERS - 1, 25 * (FOLDERS - 1))
    assert sample.requests == FOLDERS
    (problem,) = sample.problems()
    assert "larger than shown" in problem


@pytest.mark.parametrize("uri", ["s3://bucket/1/r/artifacts", "/1/r/artifacts", ""])
def test_what_is_not_behind_the_server_is_not_of_the_sample(uri: str) -> None:
    server = cast("Any", FakeServer({}))
    sample = FileSample(ArtifactStores(server=server), server, 1)
    assert not sample.add(Owner("run", "r"), "1", "active", uri)
    assert not sample.covers(uri)
    assert sample.entities == 0


def test_a_named_destination_is_listed_directly(tmp_path: Any) -> None:
    server = cast("Any", FakeServer({}))
    stores = ArtifactStores(server=server, artifacts_destination=str(tmp_path))
    assert not FileSample(stores, server, 1).covers("mlflow-artifacts:/1")
