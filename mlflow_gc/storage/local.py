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
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path

from mlflow_gc.storage.interface import StoredFile, StoreError, StoreNotes
from mlflow_gc.storage.paths import checked, why_refused

_CHUNK = 1000
_GONE = (FileNotFoundError, NotADirectoryError)


class LocalStore:
    """The files of this machine; paths are absolute ones without their first slash."""

    uri = "/"

    def files(self, folder: str) -> Iterator[Sequence[StoredFile]]:
        top = checked(folder, self.uri)
        waiting, chunk = [top], []
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
                raise _cannot(path, error) from error
            while len(chunk) >= _CHUNK:
                yield chunk[:_CHUNK]
                del chunk[:_CHUNK]
        if chunk:
            yield chunk

    def files_of(self, folders: Sequence[str]) -> Iterator[tuple[str, Sequence[StoredFile]]]:
        for folder in dict.fromkeys(folders):
            yield folder, [file for chunk in self.files(folder) for file in chunk]

    def is_there(self, folder: str) -> bool:
        try:
            with os.scandir(f"/{checked(folder, self.uri)}") as entries:
                return any(True for _ in entries)
        except _GONE:
            return False
        except OSError as error:
            raise _cannot(folder, error) from error

    def linked_parent(self, folder: str) -> str | None:
        path = Path("/", checked(folder, self.uri))
        try:
            links = (each for each in (*reversed(path.parents), path) if each.is_symlink())
            return str(next(links, "")) or None
        except OSError as error:
            raise _cannot(folder, error) from error

    def delete(self, paths: Sequence[str]) -> Mapping[str, str]:
        errors = {
            path: f"Not deleted: the path {why}." for path in paths if (why := why_refused(path))
        }
        usable = sorted({path for path in paths if path not in errors}, key=_split)
        for parent, group in groupby(usable, key=lambda path: _split(path)[0]):
            inside = list(group)
            try:
                with _opened(parent) as directory:
                    for path in inside:
                        try:
                            os.unlink(_split(path)[1], dir_fd=directory)
                        except FileNotFoundError:
                            continue
                        except OSError as error:
                            errors[path] = _text(error)
            except FileNotFoundError:
                continue
            except OSError as error:
                errors |= dict.fromkeys(inside, _text(error))
        return errors

    def delete_empty_folders(self, folder: str) -> None:
        parent, name = _split(checked(folder, self.uri))
        # A folder that is not empty, or whose parent may not be changed, stays.
        with suppress(OSError), _opened(parent) as directory:
            inner = os.fwalk(name, topdown=False, follow_symlinks=False, dir_fd=directory)
            for _, names, _, opened in inner:
                for each in names:
                    with suppress(OSError):
                        os.rmdir(each, dir_fd=opened)
            os.rmdir(name, dir_fd=directory)

    def notes(self, folder: str) -> StoreNotes:
        checked(folder, self.uri)
        return StoreNotes()


def _split(path: str) -> tuple[str, str]:
    """Return the folder and the name of a path."""
    parent, _, name = path.rpartition("/")
    return parent, name


def _stored(path: str, status: os.stat_result) -> StoredFile:
    size = 0 if stat.S_ISLNK(status.st_mode) else status.st_size
    return StoredFile(path, size, status.st_mtime_ns // 1_000_000)


@contextmanager
def _opened(folder: str) -> Iterator[int]:
    """Open a folder part by part, without following a link.

    Raises:
        OSError: It does not exist, or a part of its path is a link.
    """
    directory = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in filter(None, folder.split("/")):
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            os.close(directory)
            directory = inner
        yield directory
    finally:
        os.close(directory)


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
