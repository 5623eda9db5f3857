"""What buckets and containers have in common: objects by key, in one flat listing.

There are no folders: a folder is the keys that begin with its path and a ``/``, so that the folder
``1`` contains nothing of ``10`` or ``1.bak``.  Keys are text, and are taken as they are: ``a//b``,
``./a`` and ``a/`` are objects like others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from os.path import commonprefix
from typing import NamedTuple, TypeVar

from mlflow_gc.storage.interface import StoredFile, StoreError, StoreNotes
from mlflow_gc.storage.paths import checked, why_refused

_T = TypeVar("_T")


class Page(NamedTuple):
    """The objects in one response, and whether there are no more."""

    files: list[StoredFile]
    is_last: bool


CONNECT_S, READ_S = 10, 60
"""How long to wait for a connection, and for a response."""
_FIRST = 50
"""Number of keys to list first where all should be deleted: a thousand others take much longer."""
PARALLEL = 8
"""Number of concurrent requests to one store."""


class ObjectStore(ABC):
    """A bucket or container.

    Attributes:
        uri: for people.
        is_sorted: whether the store lists keys in the order of their characters and can begin at
            any of them; if not, each folder is listed by itself.
        batch: number of keys that one request deletes.
        page: number of keys that one request lists.
    """

    is_sorted = True
    batch: int
    page: int

    def __init__(self, uri: str) -> None:
        self.uri = uri

    # -- what each SDK does in its own way; exceptions become StoreErrors here -------------------

    @abstractmethod
    def _pages(self, prefix: str, start: str = "", size: int = 0) -> Iterator[Page]:
        """Yield pages of what begins with a prefix, from ``start`` on; ``size`` 0 is :attr:`page`."""

    @abstractmethod
    def _delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Delete a batch, and return an error for each key that the store refuses."""

    @abstractmethod
    def _explain(self, error: Exception) -> StoreError:
        """Return an SDK's exception as an error for people."""

    @abstractmethod
    def notes(self, folder: str) -> StoreNotes:
        """Return what keeps the store from returning the space of files below a folder."""

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # SDKs raise any exception on what is not their service
            raise self._explain(error) from error

    def _not_a_store(self, why: str) -> StoreError:
        return StoreError(
            f"What answers for {self.uri} is not its store: {why}.",
            hint="Check the address of the store and the proxies on the way. Nothing was deleted.",
        )

    # -- reading ---------------------------------------------------------------------------------

    def prefix(self, folder: str) -> str:
        """Return what all keys in a folder begin with."""
        folder = checked(folder, self.uri, literal=True, whole=True)
        return f"{folder}/" if folder else ""

    def _listing(self, prefix: str, start: str = "", size: int = 0) -> Iterator[Page]:
        """Yield checked pages that are not empty."""
        last = ""
        with self._errors():
            for page in self._pages(prefix, start, size):
                for file in page.files:
                    if not file.path.startswith(prefix):
                        raise self._not_a_store(f"it lists {file.path!r} below {prefix!r}")
                    if self.is_sorted and file.path <= last:
                        raise self._not_a_store("it does not list its files in order")
                    last = file.path
                if page.files:
                    yield page

    def files(self, folder: str) -> Iterator[Sequence[StoredFile]]:
        return (page.files for page in self._listing(self.prefix(folder)))

    def is_there(self, folder: str) -> bool:
        return any(True for _ in self._listing(self.prefix(folder), size=1))

    def files_of(self, folders: Sequence[str]) -> Iterator[tuple[str, Sequence[StoredFile]]]:
        prefixes = {folder: self.prefix(folder) for folder in folders}
        if not self.is_sorted:
            with ThreadPoolExecutor(PARALLEL) as pool:
                yield from zip(prefixes, pool.map(self._all, prefixes), strict=True)
            return
        found: dict[str, list[StoredFile]] = {prefix: [] for prefix in prefixes.values()}
        waiting = deque(prefixes)
        for page in self._scan(sorted(found)):
            for file in page:
                for prefix in _prefixes_of(file.path):
                    if prefix in found:
                        found[prefix].append(file)
            while waiting and _is_past(page[-1].path, prefixes[waiting[0]]):
                folder = waiting.popleft()
                yield folder, found.pop(prefixes[folder])
        for folder in waiting:
            yield folder, found.pop(prefixes[folder])

    def _all(self, folder: str) -> list[StoredFile]:
        return [file for page in self.files(folder) for file in page]

    def _scan(self, targets: Sequence[str], first: int = 0) -> Iterator[list[StoredFile]]:
        """Yield pages with all keys that begin with one of some sorted texts, and others.

        Each request begins at or in a target, so there are never more than one for each page of
        each target; and none begins before the end of the one before, so there are never more than
        in a flat listing of everything.  ``first`` is the size of a first page before these, which
        is enough where little is expected.
        """
        shared = commonprefix(list(targets))  # noqa: RUF071 - of texts, cut below
        shared = shared[: shared.rfind("/") + 1]
        left = deque(targets)
        while left:
            size, first = first, 0
            for page in self._listing(shared, _just_before(left[0]), size):
                yield page.files
                last = page.files[-1].path
                while left and _is_past(last, left[0]):
                    left.popleft()
                if page.is_last or not left:
                    return
                if size or last < _just_before(left[0]):
                    break
            else:
                return

    # -- deleting --------------------------------------------------------------------------------

    def refused(self, key: str) -> str | None:
        """Return why a key is never deleted, as the end of a sentence, or None."""
        return why_refused(key, literal=True)

    def delete(self, paths: Sequence[str]) -> Mapping[str, str]:
        errors = {
            path: f"Not deleted: the path {why}." for path in paths if (why := self.refused(path))
        }
        keys = sorted(set(paths) - errors.keys())
        reported: dict[str, str] = {}
        with self._errors(), ThreadPoolExecutor(PARALLEL) as pool:
            for refused in pool.map(self._delete, batches(keys, self.batch)):
                reported.update(refused)
        for key in self._still_there(keys, reported):
            errors[key] = reported.get(
                key, "The store confirmed the deletion and lists the file still."
            )
        return errors

    def _still_there(self, keys: Sequence[str], reported: Mapping[str, str]) -> Iterable[str]:
        """Return the keys that exist, of sorted ones; ``reported`` are the errors of the store."""
        del reported  # neither a confirmation nor an error is believed
        wanted = set(keys)
        pages = self._scan(keys, first=_FIRST)
        return [file.path for page in pages for file in page if file.path in wanted]

    def delete_empty_folders(self, *folders: str) -> None:  # noqa: B027 - there are no folders
        pass

    def linked_parent(self, folder: str) -> str | None:  # noqa: ARG002 - of the interface
        return None


def batches(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Yield pieces of a sequence."""
    return (items[at : at + size] for at in range(0, len(items), size))


def ms(moment: datetime) -> int:
    """Return ms since the epoch, UTC."""
    return round(moment.timestamp() * 1000)


def first_line(error: Exception) -> str:
    """Return the kind of an exception and the first line of its message, for people."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _prefixes_of(key: str) -> Iterator[str]:
    """Yield what the folders that contain a key begin with."""
    at = -1
    yield ""
    while (at := key.find("/", at + 1)) >= 0:
        yield key[: at + 1]


def _is_past(last: str, target: str) -> bool:
    """Tell whether a sorted listing that reached a key has all keys that begin with a target."""
    return last > target and not last.startswith(target)


def _just_before(target: str) -> str:
    """Return a text after which a sorted listing begins with a target, or little before it.

    S3 begins after a key, never at it.  For ``1/`` this is ``1.~``, which leaves out ``1.bak/``.
    """
    head, last = target[:-1], target[-1:]
    return f"{head}{chr(ord(last) - 1)}~" if "!" < last <= "~" else head
