"""What the program needs of an artifact store.

A store is one bucket, one container, the local file system, or a server that passes files on.  Paths
are relative to it, with ``/`` between segments.  No method deletes a folder or a prefix: a prefix
also fits its siblings (docs/explanation/mlflow-facts.md#prefix-deletes-hit-siblings).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mlflow_gc.errors import GcError


class StoreError(GcError):
    """A store cannot be reached, refuses the login, or answers with something implausible."""


class UnreadableFolders(StoreError):
    """Some folders cannot be read, although the rest of the store can.

    Attributes:
        folders: the requested folders that cannot be read, with the error messages.
    """

    def __init__(self, folders: Mapping[str, StoreError]) -> None:
        first = next(iter(folders.values()))
        more = f" ({len(folders) - 1:,} more cannot be read either.)" if len(folders) > 1 else ""
        super().__init__(f"{first.message}{more}", hint=first.hint)
        self.folders = {folder: error.message for folder, error in folders.items()}


class StoredFile(NamedTuple):
    """A file of a store.

    ``modified_ms`` is ms since the epoch, UTC, by the clock of the store; None if the store does not
    say it, as a server that passes files on: such a file is of unknown age, not an old one.
    """

    path: str
    size_bytes: int
    modified_ms: int | None


@dataclass(frozen=True)
class StoreNotes:
    """What keeps a store from returning the space of deleted files at once.

    Attributes:
        keeps_versions: deleted files remain as old versions (versioning, soft delete, object lock).
        unfinished_uploads: number of multipart uploads that were begun and never ended; they take
            space, and no listing shows them.
        unfinished_bytes: their size.
        unknown: questions that this account may not ask, as sentences for people.
    """

    keeps_versions: bool = False
    unfinished_uploads: int = 0
    unfinished_bytes: int = 0
    unknown: tuple[str, ...] = ()


class Store(Protocol):
    """One artifact store; every method raises :class:`StoreError`."""

    @property
    def uri(self) -> str:
        """Its URI for people, without secrets: ``s3://bucket``; ``/`` for local files."""

    def files(self, folder: str) -> Iterator[Sequence[StoredFile]]:
        """Yield all files below a folder, in chunks, by one flat listing.

        A folder that does not exist has no files.  Symbolic links are files of size 0 and are not
        followed.  The folder ``""`` is a whole bucket, container or server.

        Raises:
            UnreadableFolders: after the files that can be listed.
        """

    def files_of(self, folders: Sequence[str]) -> Iterator[tuple[str, Sequence[StoredFile]]]:
        """Yield each of some folders once, in the order given, with all files below it.

        Costs no more requests than one listing of each, and, where a store can begin a listing at
        any path (S3, Google Cloud Storage), no more than one flat listing of what lies between
        them.  Folders in sorted order are not kept in memory.

        Raises:
            UnreadableFolders: after the folders that can be listed.
        """

    def is_there(self, folder: str) -> bool:
        """Tell whether a folder exists and contains something; the first request to a store.

        Raises:
            UnreadableFolders: it exists and cannot be read.
            StoreError: also if the store itself does not exist.
        """

    def linked_parent(self, folder: str) -> str | None:
        """Return the first part of the path to a folder that is a symbolic link, or None.

        What lies behind a link is listed, and never deleted.

        Raises:
            UnreadableFolders: this cannot be found out.
        """

    def delete(self, paths: Sequence[str]) -> Mapping[str, str]:
        """Delete files, and return an error message for each path that could not be deleted.

        A file that is already gone is no error.

        Raises:
            StoreError: Nothing can be deleted: the connection, the login, or the store is gone.
        """

    def delete_empty_folders(self, *folders: str) -> None:
        """Delete folders and those below them, if they are empty; object stores have none."""

    def notes(self, folder: str) -> StoreNotes:
        """Return what keeps the store from returning the space of files below a folder."""
