"""Listing many folders of a bucket at once gives what listing each of them gives, for less."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_gc.storage import object_store
from mlflow_gc.storage.interface import StoredFile, StoreError, StoreNotes
from mlflow_gc.storage.object_store import ObjectStore, Page
from mlflow_gc.storage.paths import why_refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class Memory(ObjectStore):
    """A bucket that counts its requests, and begins after ``start`` as S3 does."""

    batch = 2
    page = 3

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__("s3://memory")
        self.keys = sorted(set(keys))
        self.requests = 0
        self.locked: set[str] = set()
        self.answers: list[list[str]] = []
        """Pages that are sent in place of the true ones."""

    def _pages(self, prefix: str, start: str = "", size: int = 0) -> Iterator[Page]:
        size = size or self.page
        keys = [key for key in self.keys if key.startswith(prefix) and key > start]
        for at in range(0, max(len(keys), 1), size):
            self.requests += 1
            page = self.answers.pop(0) if self.answers else keys[at : at + size]
            yield Page([StoredFile(key, len(key), 0) for key in page], at + size >= len(keys))

    def _delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        assert len(keys) <= self.batch
        self.keys = [key for key in self.keys if key not in keys or key in self.locked]
        return {}

    def _explain(self, error: Exception) -> StoreError:
        return StoreError(str(error))

    def notes(self, folder: str) -> StoreNotes:
        raise NotImplementedError


def below(keys: Sequence[str], folder: str) -> list[str]:
    return [key for key in sorted(set(keys)) if key.startswith(f"{folder}/") or not folder]


names = st.text("1/.~ é", min_size=1, max_size=5).filter(lambda name: ".." not in name.split("/"))


@given(st.lists(names, max_size=40), st.lists(names | st.just(""), max_size=8), st.booleans())
def test_folders_at_once_are_the_folders_one_by_one(
    keys: list[str], folders: list[str], is_sorted: bool
) -> None:
    store = Memory(keys)
    store.is_sorted = is_sorted
    found = [(folder, [f.path for f in files]) for folder, files in store.files_of(folders)]
    assert found == [(folder, below(keys, folder)) for folder in dict.fromkeys(folders)]


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4)), max_size=150),
    st.lists(st.integers(0, 30), max_size=30, unique=True),
)
def test_no_more_requests_than_either_way(files: list[tuple[int, int]], numbers: list[int]) -> None:
    keys = [f"root/{folder:032x}/artifacts/{name}" for folder, name in files]
    folders = [f"root/{number:032x}/artifacts" for number in numbers]
    store = Memory(keys)
    list(store.files_of(folders))
    at_once, store.requests = store.requests, 0
    for folder in folders:
        list(store.files(folder))
    one_by_one, store.requests = store.requests, 0
    list(store.files("root"))
    assert at_once <= min(one_by_one, store.requests)


def test_sorted_folders_are_yielded_as_soon_as_they_are_complete() -> None:
    store = Memory([f"{folder}/{name}" for folder in "abcdefgh" for name in "123"])
    for number, (folder, files) in enumerate(store.files_of(list("abcdefgh")), 1):
        assert [file.path for file in files] == [f"{folder}/{name}" for name in "123"]
        assert store.requests <= number + 1


@given(st.lists(names, min_size=1, max_size=40, unique=True), st.data())
def test_exactly_the_given_keys_are_deleted(keys: list[str], data: st.DataObject) -> None:
    store = Memory(keys)
    chosen = data.draw(st.sets(st.sampled_from(keys)))
    store.locked = data.draw(st.sets(st.sampled_from(keys)))
    with patch.object(object_store, "_FIRST", data.draw(st.integers(1, 4))):
        errors = store.delete(sorted(chosen))
    assert set(store.keys) == set(keys) - (chosen - store.locked)
    # A confirmation is not believed.
    assert errors.keys() == chosen & store.locked


def test_after_a_deletion_few_of_the_other_keys_are_listed() -> None:
    store = Memory([f"{number:04}" for number in range(2_000)])
    store.batch = store.page = 1_000
    listed = list[int]()
    pages = store._pages

    def count(*arguments: Any) -> Iterator[Page]:
        for page in pages(*arguments):
            listed.append(len(page.files))
            yield page

    store._pages = count  # type: ignore[method-assign]
    assert not store.delete(store.keys[:900])
    assert listed == [50]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([["b/1"]], "below 'a/'"),
        ([["a/2", "a/1"]], "not list its files in order"),
        ([["a/1", "a/1"]], "not list its files in order"),
        ([["a/2"], ["a/1"]], "not list its files in order"),
    ],
)
def test_a_listing_that_cannot_be_is_an_error(answers: list[list[str]], message: str) -> None:
    for ask in (
        lambda store: list(store.files("a")),
        lambda store: list(store.files_of(["a"])),
    ):
        store = Memory([f"a/{number}" for number in range(9)])
        store.answers = [list(page) for page in answers]
        with pytest.raises(StoreError, match=message):
            ask(store)


@pytest.mark.parametrize(
    ("path", "is_refused", "is_refused_as_key"),
    [
        ("a/b", False, False),
        ("...", False, False),
        ("a/..b", False, False),
        ("", True, True),
        ("..", True, True),
        ("a/../b", True, True),
        ("a/..", True, True),
        ("a\0b", True, True),
        (".", True, False),
        ("a/./b", True, False),
        ("a//b", True, False),
        ("/a", True, False),
        ("a/", True, False),
    ],
)
def test_paths_that_may_mean_others(path: str, is_refused: bool, is_refused_as_key: bool) -> None:
    assert bool(why_refused(path)) == is_refused
    assert bool(why_refused(path, literal=True)) == is_refused_as_key
