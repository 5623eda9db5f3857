"""The local file system: symbolic links are never followed to a deletion.

A link below a folder is deleted as a link.  What lies behind a link in the path to a folder, such
as the folder of a run that was moved to another disk, is listed and refused: each part of a path is
opened without following links (``O_NOFOLLOW``), so that one which appears at the last moment is
refused, too.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from os.path import commonprefix

from mlflow_gc.storage.interface import StoredFile, StoreError, StoreNotes, UnreadableFolders
from mlflow_gc.storage.paths import checked, why_refused

_CHUNK = 1000
_GONE = (FileNotFoundError, NotADirectoryError)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class LocalStore:
    """The files of this machine; paths are absolute ones without their first slash."""

    uri = "/"

    def files(self, folder: str) -> Iterator[Sequence[StoredFile]]:
        top = checked(folder, self.uri)
        waiting, chunk = [top], []
        unreadable: StoreError | None = None
        while waiting:
            path = waiting.pop()
            try:
                with os.scandir(f"/{path}") as entries:
                    for entry in entries:
                        inner = f"{path}/{entry.name}"
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(inner)
                            continue
                        with suppress(FileNotFoundError):  # deleted meanwhile
                            chunk.append(_stored(inner, entry.stat(follow_symlinks=False)))
            except _GONE:
                continue
            except OSError as error:
                unreadable = unreadable or _cannot(path, error)
            while len(chunk) >= _CHUNK:
                yield chunk[:_CHUNK]
                del chunk[:_CHUNK]
        if chunk:
            yield chunk
        if unreadable:
            raise UnreadableFolders({folder: unreadable})

    def files_of(self, folders: Sequence[str]) -> Iterator[tuple[str, Sequence[StoredFile]]]:
        unreadable: dict[str, StoreError] = {}
        for folder in dict.fromkeys(folders):
            try:
                files = [file for chunk in self.files(folder) for file in chunk]
            except UnreadableFolders as error:
                unreadable[folder] = error
            else:
                yield folder, files
        if unreadable:
            raise UnreadableFolders(unreadable)

    def is_there(self, folder: str) -> bool:
        try:
            # The artifact location may be at the top: its parent is the whole file system.
            with os.scandir(f"/{checked(folder, self.uri, whole=True)}") as entries:
                return any(True for _ in entries)
        except _GONE:
            return False
        except OSError as error:
            raise UnreadableFolders({folder: _cannot(folder, error)}) from error

    def linked_parent(self, folder: str) -> str | None:
        path = ""
        try:
            for part in checked(folder, self.uri).split("/"):
                path = f"{path}/{part}"
                if stat.S_ISLNK(os.lstat(path).st_mode):
                    return path
        except _GONE:
            return None
        except OSError as error:
            raise UnreadableFolders({folder: _cannot(folder, error)}) from error
        return None

    def delete(self, paths: Sequence[str]) -> Mapping[str, str]:
        errors = {
            path: f"Not deleted: the path {why}." for path in paths if (why := why_refused(path))
        }
        usable = sorted({path for path in paths if path not in errors}, key=_split)
        with _Folders() as folders:
            for parent, group in groupby(usable, key=lambda path: _split(path)[0]):
                inside = list(group)
                try:
                    directory = folders.open(parent)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    errors |= dict.fromkeys(inside, _text(error))
                    continue
                for path in inside:
                    try:
                        os.unlink(_split(path)[1], dir_fd=directory)
                    except FileNotFoundError:
                        continue
                    except OSError as error:
                        errors[path] = _text(error)
        return errors

    def delete_empty_folders(self, *folders: str) -> None:
        with _Folders() as opened:
            for folder in sorted(folders):
                parent, name = _split(checked(folder, self.uri))
                # A folder that is not empty, or whose parent may not be changed, stays.
                with suppress(OSError):
                    _delete_empty(name, opened.open(parent))

    def notes(self, folder: str) -> StoreNotes:
        checked(folder, self.uri, whole=True)
        return StoreNotes()


def _split(path: str) -> tuple[str, str]:
    """Return the folder and the name of a path."""
    parent, _, name = path.rpartition("/")
    return parent, name


def _stored(path: str, status: os.stat_result) -> StoredFile:
    size = 0 if stat.S_ISLNK(status.st_mode) else status.st_size
    return StoredFile(path, size, status.st_mtime_ns // 1_000_000)


def _delete_empty(name: str, parent: int) -> None:
    """Delete a folder and those below it, if they are empty.

    Raises:
        OSError: It is not empty, or it is a link.
    """
    # Most have nothing below them: that costs one call to the operating system.
    with suppress(OSError):
        os.rmdir(name, dir_fd=parent)
        return
    directory = os.open(name, _FOLDER, dir_fd=parent)
    try:
        with os.scandir(directory) as entries:
            inner = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        for each in inner:
            with suppress(OSError):
                _delete_empty(each, directory)
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=parent)


class _Folders:
    """Opens folders part by part, without following a link.

    The parts that the next folder shares with the last one stay open: neighbours cost one part each.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._opened = [os.open("/", _FOLDER)]

    def open(self, folder: str) -> int:
        """Open a folder, until the next one is opened.

        Raises:
            OSError: It does not exist, or a part of its path is a link.
        """
        parts = [part for part in folder.split("/") if part]
        shared = len(commonprefix([parts, self._parts]))  # noqa: RUF071 - of lists
        self._close(shared)
        for part in parts[shared:]:
            self._opened.append(os.open(part, _FOLDER, dir_fd=self._opened[-1]))
            self._parts.append(part)
        return self._opened[-1]

    def _close(self, shared: int) -> None:
        """Close all parts of the path but the first ones, whose number is ``shared``."""
        del self._parts[shared:]
        while len(self._opened) > shared + 1:
            os.close(self._opened.pop())

    def __enter__(self) -> _Folders:
        return self

    def __exit__(self, *_error: object) -> None:
        self._close(0)
        os.close(self._opened.pop())


def _text(error: OSError) -> str:
    # Linux says ENOTDIR of a link that it does not follow, others ELOOP.
    if error.errno in {errno.ENOTDIR, errno.ELOOP}:
        return "A part of its path is a symbolic link (or a file), which is not followed."
    return error.strerror or str(error)


def _cannot(path: str, error: OSError) -> StoreError:
    return StoreError(
        f"The folder /{path} cannot be read: {error.strerror or error}.",
        hint="Run mlflow-gc as a user who may read it, on a machine that has the disk.",
    )
