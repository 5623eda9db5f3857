"""Writing a plan: one entity per line, atomically."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from mlflow_gc.domain.kinds import KINDS
from mlflow_gc.errors import GcError
from mlflow_gc.plan.lazy_entries import Entries

_BEGINNING = 4096


def render(plan: Mapping[str, Any]) -> bytes:
    """Return the plan as the bytes of a file: UTF-8, LF, one entity per line, fixed order."""
    return b"".join(pieces(plan))


def pieces(plan: Mapping[str, Any]) -> Iterator[bytes | memoryview]:
    """Yield the result of :func:`render` in pieces, without copying long ones."""
    yield b"{\n"
    yield from _members(plan)
    yield b"}\n"


def _members(container: Mapping[str, Any]) -> Iterator[bytes | memoryview]:
    last = next(reversed([*container]), None)
    for key, value in container.items():
        end = b"\n" if key == last else b",\n"
        if key in KINDS and isinstance(value, (list, Entries)):
            yield from _entity_lines(key, value, end)
        elif key == "protected" and isinstance(value, dict):
            yield orjson.dumps(key) + b": {\n"
            yield from _members(value)
            yield b"}" + end
        else:
            yield orjson.dumps(key) + b": " + orjson.dumps(value) + end


def _entity_lines(
    key: str, entities: list[Any] | Entries[Any], end: bytes
) -> Iterator[bytes | memoryview]:
    if not entities:
        yield orjson.dumps(key) + b": []" + end
        return
    yield orjson.dumps(key) + b": [\n"
    if isinstance(entities, Entries):
        yield entities.text
        yield b"\n"
    else:
        final = len(entities) - 1
        for index, entity in enumerate(entities):
            yield orjson.dumps(entity) + (b"\n" if index == final else b",\n")
    yield b"]" + end


def write(content: Iterable[bytes | memoryview], path: Path, *, is_private: bool = True) -> None:
    """Write a file atomically: to a temporary file next to it, then rename.

    An existing file keeps its mode.  The target of a symbolic link is replaced, not the link.

    Args:
        content: the pieces of the file.
        path: the file.
        is_private: a new file is readable only by its owner, whatever the umask: plans name people
            and models.

    Raises:
        GcError: The path is not writable or the disk is full; an existing file is unchanged.
    """
    # A device or pipe (/dev/stdout, process substitution) cannot be renamed over.
    in_place = path.exists() and not path.is_file()
    temporary: Path | None = None
    try:
        if in_place:
            with path.open("wb") as file:
                file.writelines(content)
            return
        target = Path(os.path.realpath(path))
        if target.exists() and not path.exists():
            # "missing/../notes", or a link to it: the system finds no such file, realpath does.
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        beside = target.with_name(f".{target.name[:64]}.{secrets.token_hex(8)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        handle = os.open(beside, flags, 0o600 if is_private else 0o666)
        temporary = beside
        with os.fdopen(handle, "wb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o777)
        temporary.replace(target)
        temporary = None
    except OSError as error:
        raise GcError(
            f"The file {path} cannot be written: {error.strerror or error}.",
            hint="Nothing was changed. Choose another place or make room.",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def refuse_overwriting(path: Path, signatures: Collection[str], what: str) -> None:
    """Refuse to overwrite a file with other content, such as a policy or a journal.

    Args:
        path: the file to write; ``-`` and devices are accepted.
        signatures: one of these texts is at the beginning of a file that may be replaced.
        what: the kind of file that may be replaced, for messages.

    Raises:
        GcError: It has other content, or cannot be read; or its folder is missing.
    """
    if str(path) == "-":
        return
    if not path.parent.is_dir():
        raise GcError(
            f"The file {path} cannot be written: the folder {path.parent} does not exist.",
            hint="Nothing was changed. Create the folder, or name another file.",
        )
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING)
    except OSError as error:
        raise GcError(f"The file {path} cannot be read: {error.strerror or error}.") from error
    if beginning.strip() and not any(
        f'"{signature}"'.encode() in beginning for signature in signatures
    ):
        raise GcError(
            f"The file {path} exists and is not {what}; it is not overwritten.",
            hint="Nothing was changed. Name another file.",
        )
