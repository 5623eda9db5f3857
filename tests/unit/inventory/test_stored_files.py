"""Each file belongs to the entity under whose location it lies, whatever the paths look like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import depth

from mlflow_gc.inventory.stored_files import UNKNOWN, Owner, StoredFiles
from mlflow_gc.storage.interface import StoredFile, StoreError, StoreNotes
from mlflow_gc.storage.stores import Place

A, B, GONE = "a" * 32, "b" * 32, "f" * 32
MODEL, TRACE = f"m-{A}", f"tr-{A}"
HOMES = {("run", A): "1", ("run", B): "2", ("logged_model", MODEL): "1", ("trace", TRACE): "1"}


class FakeStore:
    """A bucket of given files; counts its listings."""

    uri = "s3://bucket"

    def __init__(self, *paths: str, breaks: bool = False, notes: StoreNotes | None = None) -> None:
        self.paths, self.breaks, self.listed = paths, breaks, list[str]()
        self._notes = notes or StoreNotes()

    def files(self, folder: str) -> Iterator[Sequence[StoredFile]]:
        self.listed.append(folder)
        inside = f"{folder}/" if folder else ""
        yield [StoredFile(path, 10, 0) for path in self.paths if path.startswith(inside)]
        if self.breaks:
            raise StoreError("The store is gone.")

    def is_there(self, _folder: str) -> bool:
        return True

    def notes(self, _folder: str) -> StoreNotes:
        return self._notes


class Stores:
    def __init__(self, store: FakeStore) -> None:
        self.store = store

    def find(self, uri: str) -> Place:
        if not uri.startswith("s3://bucket/"):
            raise StoreError(f"{uri} is elsewhere.", hint="Go there.")
        return Place(cast("Any", self.store), uri.removeprefix("s3://bucket/").strip("/"))


def _files(store: FakeStore, **experiments: str) -> StoredFiles:
    files = StoredFiles(cast("Any", Stores(store)))
    for name, uri in experiments.items():
        files.add_experiment(name.removeprefix("e"), uri)
    return files


def _experiment_of(kind: str, entity_id: str) -> str | None:
    return HOMES.get((kind, entity_id))


def _owner(path: str, **experiments: str) -> Owner:
    places = experiments or {"e1": "s3://bucket/root/1", "e2": "s3://bucket/root/2"}
    (owner,) = _files(FakeStore(path), **places).measure(_experiment_of)
    return owner


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        (f"root/1/{A}/artifacts/x", Owner("run", A)),
        (f"root/1/{A}/artifacts/deep/er/x", Owner("run", A)),
        (f"root/1/models/{MODEL}/artifacts/MLmodel", Owner("logged_model", MODEL)),
        (f"root/1/traces/{TRACE}/artifacts/traces.json", Owner("trace", TRACE)),
        # What a run logged under the name of another one is its own.
        (f"root/1/{A}/artifacts/{B}/artifacts/x", Owner("run", A)),
        (f"root/1/{A}/artifacts/../../2/{B}/artifacts/x", Owner("run", A)),
        # Siblings whose names begin the same.
        (f"root/1/{A}/artifacts.bak/x", UNKNOWN),
        (f"root/10/{A}/artifacts/x", UNKNOWN),
        (f"root/1.bak/{A}/artifacts/x", UNKNOWN),
        # Not the layout of MLflow.
        (f"root/1/{A}/x", UNKNOWN),
        (f"root/1/models/{A}/artifacts/x", UNKNOWN),
        ("root/1/notes/artifacts/x", UNKNOWN),
        ("root/1/artifacts/x", UNKNOWN),
        # A copy below another experiment is neither the run's nor an orphan.
        (f"root/2/{A}/artifacts/x", UNKNOWN),
        # In no table.
        (f"root/1/{GONE}/artifacts/x", Owner("run", GONE, is_orphan=True)),
        (f"root/1/models/m-{GONE}/artifacts/x", Owner("logged_model", f"m-{GONE}", is_orphan=True)),
        (f"root/1/traces/tr-{GONE}/artifacts/x", Owner("trace", f"tr-{GONE}", is_orphan=True)),
        (f"root/1/{GONE}/artifacts/../x", UNKNOWN),
        (f"root/1/{GONE}/artifacts//x", UNKNOWN),
        (f"root/1/{GONE.upper()}/artifacts/x", UNKNOWN),
        # Under no known experiment: of whom nobody knows.
        (f"root/7/{GONE}/artifacts/x", UNKNOWN),
        (f"root/workspaces/w/1/{GONE}/artifacts/x", UNKNOWN),
        (f"root/skills/{GONE}/artifacts/x", UNKNOWN),
    ],
)
def test_a_file_belongs_to(path: str, owner: Owner) -> None:
    assert _owner(path) == owner


def test_an_experiment_inside_the_artifacts_of_a_run() -> None:
    """The deepest location that knows the entity counts; nothing there is an orphan."""
    inside = f"root/1/{A}/artifacts/sub"
    places = {"e1": "s3://bucket/root/1", "e2": f"s3://bucket/{inside}"}
    assert _owner(f"{inside}/{B}/artifacts/x", **places) == Owner("run", B)
    assert _owner(f"{inside}/mine.txt", **places) == Owner("run", A)
    assert _owner(f"{inside}/{GONE}/artifacts/x", **places) == Owner("run", A)


def test_a_copy_of_known_files_inside_what_is_left_of_a_run_is_no_orphan() -> None:
    places = {"e1": "s3://bucket/root/1", "e2": f"s3://bucket/root/1/{GONE}/artifacts"}
    assert _owner(f"root/1/{GONE}/artifacts/{A}/artifacts/x", **places) == UNKNOWN
    assert _owner(f"root/1/{GONE}/artifacts/x", **places).is_orphan


def test_nothing_is_an_orphan_where_the_ids_are_not_known() -> None:
    files = _files(FakeStore(f"root/1/{GONE}/artifacts/x"), e1="s3://bucket/root/1")
    assert set(files.measure(lambda _kind, _id: "")) == {UNKNOWN}


def test_experiments_that_share_a_location() -> None:
    places = {"e1": "s3://bucket/shared", "e2": "s3://bucket//shared/"}
    assert _owner(f"shared/{A}/artifacts/x", **places) == Owner("run", A)
    assert _owner(f"shared/{B}/artifacts/x", **places) == Owner("run", B)


def test_an_entity_that_is_located_elsewhere() -> None:
    """Its files are there; what lies where they would be is not deleted with it."""
    store = FakeStore(f"root/1/{A}/artifacts/old", "archive/x/new", "archive/xy/other")
    files = _files(store, e1="s3://bucket/root/1")
    files.add(Owner("run", A), "s3://bucket/archive/x")
    sizes = files.measure(_experiment_of)
    assert {owner: size.files for owner, size in sizes.items()} == {
        UNKNOWN: 1,
        Owner("run", A): 1,
    }


def test_each_root_is_listed_once() -> None:
    store = FakeStore()
    places = {f"e{n}": f"s3://bucket/root/{n}" for n in range(200)}
    _files(
        store, **places, e300=f"s3://bucket/root/7/{A}/artifacts/in", e301="s3://bucket/own"
    ).measure(_experiment_of)
    assert sorted(store.listed) == ["own", "root"]


def test_one_experiment_is_no_reason_to_list_a_bucket() -> None:
    store = FakeStore()
    _files(store, e5="s3://bucket/5").measure(_experiment_of)
    assert store.listed == ["5"]


def test_a_store_that_breaks_is_named_and_what_it_said_counts() -> None:
    files = _files(FakeStore(f"root/1/{A}/artifacts/x", breaks=True), e1="s3://bucket/root/1")
    assert files.measure(_experiment_of)[Owner("run", A)].bytes == 10
    assert not files.roots[0].is_complete
    assert files.problems == ["s3://bucket/root/1 could not be listed. The store is gone."]


def test_locations_that_cannot_be_listed_are_counted_by_remedy() -> None:
    files = _files(FakeStore(), e1="hdfs://a/1", e2="hdfs://a/2")
    assert files.unlisted() == [
        "2 locations of files cannot be listed. hdfs://a/1 is elsewhere. Go there."
    ]


def test_bytes_of_a_store_that_keeps_versions_are_freed_later() -> None:
    store = FakeStore(f"root/1/{A}/artifacts/x", notes=StoreNotes(keeps_versions=True))
    size = _files(store, e1="s3://bucket/root/1").measure(_experiment_of)[Owner("run", A)]
    assert (size.bytes, size.later_bytes) == (10, 10)


_segments = st.sampled_from(
    [
        "1",
        "2",
        "root",
        "models",
        "traces",
        "artifacts",
        A,
        B,
        GONE,
        MODEL,
        f"m-{GONE}",
        TRACE,
        "..",
        "",
        "x",
    ]
)
_locations = st.lists(_segments.filter(bool), min_size=1, max_size=4).map("/".join)


@depth.examples(1)
@given(
    st.lists(st.lists(_segments, min_size=1, max_size=7).map("/".join), max_size=12, unique=True),
    st.dictionaries(st.sampled_from(["e1", "e2", "e3"]), _locations, min_size=1),
)
def test_every_file_of_a_root_is_counted_once_and_no_orphan_is_known(
    paths: list[str], places: dict[str, str]
) -> None:
    store = FakeStore(*paths)
    files = _files(store, **{name: f"s3://bucket/{place}" for name, place in places.items()})
    sizes = files.measure(_experiment_of)
    # "" is the whole bucket.
    listed = [
        p
        for p in paths
        if any(f"/{p}".startswith(f"/{at}/".replace("//", "/")) for at in store.listed)
    ]
    assert sum(size.files for size in sizes.values()) == len(listed)
    without = list(files.without_entity(_experiment_of))
    assert len(without) == sum(size.files for o, size in sizes.items() if o.is_orphan or not o.kind)
    for owner, _, file in without:
        if not owner.is_orphan:
            assert owner == UNKNOWN
            continue
        assert _experiment_of(owner.kind, owner.id) is None
        segments = file.path.split("/")
        assert not {"", ".", ".."} & set(segments)
        # Its own name, and the folder of MLflow's layout below.
        assert segments[segments.index(owner.id) + 1] == "artifacts"
        # Under the location of an experiment, with nothing of a known entity above.
        assert any(file.path.startswith(f"{place}/") for place in places.values())
