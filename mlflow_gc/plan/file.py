"""The plan as a file: one entity per line, written whole or not at all, read with suspicion."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from mlflow_gc.errors import GcError
from mlflow_gc.plan.build import Document

_ENTITY_LISTS = ("experiments", "runs", "model_versions")


def render(plan: Document) -> bytes:
    """Return the plan as its file holds it: UTF-8, LF, one entity per line, fixed order."""
    return b"".join(_lines(plan))


def _lines(plan: Document) -> Iterator[bytes]:
    yield b"{\n"
    last = list(plan)[-1]
    for key, value in plan.items():
        end = b"\n" if key == last else b",\n"
        if key in _ENTITY_LISTS:
            yield from _entity_lines(key, value, end)
        elif key == "protected":
            yield orjson.dumps(key) + b": {\n"
            kinds = list(value)
            for kind in kinds:
                yield from _entity_lines(kind, value[kind], b"\n" if kind == kinds[-1] else b",\n")
            yield b"}" + end
        else:
            yield orjson.dumps(key) + b": " + orjson.dumps(value) + end
    yield b"}\n"


def _entity_lines(key: str, entities: list[Any], end: bytes) -> Iterator[bytes]:
    if not entities:
        yield orjson.dumps(key) + b": []" + end
        return
    yield orjson.dumps(key) + b": [\n"
    final = len(entities) - 1
    for index, entity in enumerate(entities):
        yield orjson.dumps(entity) + (b"\n" if index == final else b",\n")
    yield b"]" + end


def write(content: bytes, path: Path) -> None:
    """Write a file whole: to a temporary one beside it, then rename.

    Raises:
        GcError: the place is not writable or the disk is full; what was there is untouched.
    """
    # A device or pipe (/dev/stdout, process substitution) cannot be renamed over.
    in_place = path.exists() and not path.is_file()
    temporary: str | None = None
    try:
        if in_place:
            path.write_bytes(content)
            return
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:64]}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        raise GcError(
            f"The file {path} cannot be written: {error.strerror or error}.",
            hint="Nothing was changed. Choose another place or make room.",
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    # There is no way to read it without setting it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file (``-`` is stdin) and refuse what two readers could understand differently.

    Raises:
        GcError: it cannot be read, is no JSON, or has a name twice in one object.
    """
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except FileNotFoundError:
        raise GcError(
            f"There is no {what} {path}.", hint="Check the path, or make one: mlflow-gc report."
        ) from None
    except OSError as error:
        raise GcError(f"The {what} {path} cannot be read: {error.strerror or error}.") from error
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise GcError(
            f"The {what} {path} is not valid JSON: {error}.",
            hint="Was it cut off, or edited by hand? Make a new one: mlflow-gc report.",
        ) from error
    _refuse_duplicate_names(content, document, path, what)
    return document


def _refuse_duplicate_names(content: bytes, document: Any, path: Path, what: str) -> None:
    """Refuse an object with a name twice: a reviewer sees the first, a parser takes the last."""
    if isinstance(document, dict) and "protected" in document and _renders_same(document, content):
        return  # written by this program, byte for byte: the slow way can tell nothing more

    def check(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(names) != len(set(names)):
            twice = next(name for name in names if names.count(name) > 1)
            raise GcError(f"The {what} {path} has the name {twice!r} twice in one object.")

    try:
        json.loads(content, object_pairs_hook=check)
    except RecursionError:
        raise GcError(f"The {what} {path} is nested too deeply.") from None


def _renders_same(document: Any, content: bytes) -> bool:
    try:
        return render(document) == content
    except (TypeError, AttributeError, KeyError):
        return False
