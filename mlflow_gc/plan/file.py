"""The plan as a file: one entity per line, written whole or not at all, read with suspicion."""

from __future__ import annotations

import gc
import json
import os
import re
import secrets
import stat
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from mlflow_gc.domain.kinds import KINDS
from mlflow_gc.errors import GcError
from mlflow_gc.invocation import command, file_argument
from mlflow_gc.plan.lazy_entries import Document, Entries
from mlflow_gc.plan.schema import quick_validator


def render(plan: Document) -> bytes:
    """Return the plan as its file holds it: UTF-8, LF, one entity per line, fixed order."""
    return b"".join(pieces(plan))


def pieces(plan: Document) -> Iterator[bytes | memoryview]:
    """Yield what :func:`render` returns piece by piece; without copying what is long."""
    yield b"{\n"
    yield from _members(plan)
    yield b"}\n"


def _members(holder: Document) -> Iterator[bytes | memoryview]:
    last = next(reversed(holder), None)
    for key, value in holder.items():
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
    key: str, entities: list[Any] | Entries, end: bytes
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
    """Write a file whole: to a temporary one beside it, then rename.

    One that exists keeps its mode.  What a symbolic link names is replaced, not the link.

    Args:
        content: its pieces.
        path: the file.
        is_private: a new one can be read by its owner only, whatever the umask: plans name people
            and models.

    Raises:
        GcError: the place is not writable or the disk is full; what was there is untouched.
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


_BEGINNING = 4096


def refuse_overwriting(path: Path, marks: Collection[str], what: str) -> None:
    """Refuse to write over a file that holds something else: a policy, or what an undo depends on.

    Args:
        path: where something is going to be written; ``-`` and what is no file hold nothing.
        marks: texts of which one stands early in what may be replaced: a format, a schema's id.
        what: what may be replaced, in words.

    Raises:
        GcError: it holds something else, or cannot be read.
    """
    if str(path) == "-" or not path.is_file():
        return
    try:
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING)
    except OSError as error:
        raise GcError(f"The file {path} cannot be read: {error.strerror or error}.") from error
    if beginning.strip() and not any(f'"{mark}"'.encode() in beginning for mark in marks):
        raise GcError(
            f"The file {path} exists and is not {what}; it is not overwritten.",
            hint="Nothing was changed. Name another file.",
        )


MOST_BYTES = 2 * 1024**3
"""No plan, journal or policy is larger: half a million runs make about 400 MB."""
_CHUNK = 16 * 1024**2
_LARGE = 4 * 1024**2


def read_bytes(path: Path, what: str, *, most: int | None = None) -> bytes:
    """Read a file (``-`` is stdin) whole; pipes are fine, devices that never end are not.

    Args:
        path: the file.
        what: it is, for messages.
        most: read no more bytes than this; None for the whole file.

    Raises:
        GcError: it cannot be read, is larger than :data:`MOST_BYTES`, or is another document of
            this program.
    """
    content = _read(path, what, most)
    _refuse_another_kind(content, path, what)
    return content


def _read(path: Path, what: str, most: int | None) -> bytes:
    try:
        if str(path) == "-":
            if most is not None:
                return sys.stdin.buffer.read(most)
            return _read_stream(sys.stdin.buffer, path, what)
        found = path.stat()
        if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
            raise GcError(f"The {what} {path} cannot be read: it is a device.")
        with path.open("rb") as file:
            if most is not None:
                return file.read(most)
            return _read_stream(file, path, what, expected=found.st_size)
    except FileNotFoundError:
        make = {"plan": ("report",), "policy": ("policy", "init")}.get(what)
        hint = f"Check the path, or make one: {command(*make)}" if make else "Check the path."
        raise GcError(f"There is no {what} {path}.", hint=hint) from None
    except OSError as error:
        raise GcError(f"The {what} {path} cannot be read: {error.strerror or error}.") from error


_FORMAT = re.compile(rb'"format"\s*:\s*"mlflow-gc/([a-z-]+)"')
_FORMAT_WITHIN = 1_000
_KINDS = {
    # Of the name of a format: what it is called where one is asked for, and in a sentence.
    b"prune-plan": ("plan", "a prune plan"),
    b"journal": ("journal", "a journal"),
    b"events": ("events file", "an events file"),
    b"plan-diff": ("", "the difference of two plans"),
    b"plan-check": ("", "the check of a plan"),
}


def _refuse_another_kind(content: bytes, path: Path, what: str) -> None:
    """Say which document of this program it is, where another one is needed.

    Raises:
        GcError: it is another one.
    """
    found = _FORMAT.search(content[:_FORMAT_WITHIN])
    kind, named = _KINDS.get(found[1], ("", "")) if found else ("", "")
    if not named or kind == what:
        return
    hint = "Check the path."
    if (kind, what) == ("journal", "plan"):
        hint = f"To undo what it tells: {command('restore', file_argument(path))}"
    elif (kind, what) == ("plan", "journal"):
        hint = "prune writes its journal beside the plan and prints its name: name that file."
    raise GcError(
        f"{path} is {named}, not {'an' if what[0] in 'aeiou' else 'a'} {what}.", hint=hint
    )


def _read_stream(stream: BinaryIO, path: Path, what: str, *, expected: int = 0) -> bytes:
    chunks: list[bytes] = []
    # A file comes in one piece, which need not be joined with others: that takes twice its memory.
    size, at_once = 0, max(min(expected, MOST_BYTES) + 1, _CHUNK)
    while chunk := stream.read(at_once):
        chunks.append(chunk)
        size += len(chunk)
        at_once = _CHUNK
        if size > MOST_BYTES:
            raise GcError(f"The {what} {path} is larger than {MOST_BYTES // 1024**3} GiB.")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def read_plan(path: Path) -> Any:
    """Read a plan (``-`` is stdin) and refuse what two readers could understand differently.

    Its lists are :class:`~mlflow_gc.plan.lazy_entries.Entries` if it is written as :func:`render` does
    it, else Python's lists, which take six times the memory.

    Raises:
        GcError: it cannot be read, or see :func:`parse_json`.
    """
    content = read_bytes(path, "plan")
    plan = _parse_rendered(content)
    if plan is not None:
        return plan
    name = f"The plan {path}"
    if len(content) < _LARGE or not gc.isenabled():
        return parse_json(content, name)
    # Millions of values that stay and hold each other in no circle: Python's collector need not
    # walk them again and again.
    gc.disable()
    try:
        return parse_json(content, name)
    finally:
        gc.freeze()
        gc.enable()


def _parse_rendered(content: bytes) -> Document | None:
    """Parse a plan that is written as :func:`render` does it; None for all else."""
    spans = _entity_spans(content)
    frame: list[bytes] = []
    at = 0
    for number, (start, end) in enumerate(spans):
        # A number, on a line of its own as entries are, holds their place.
        frame += (content[at:start], b"%d" % number)
        at = end
    frame.append(content[at:])
    written = b"".join(frame)
    try:
        plan = orjson.loads(written)
        if not (_is_rendered(plan, written) and _has_plain_numbers(content)):
            return None
        left = set(range(len(spans)))
        for names in ((), ("protected",)):
            holder = plan.get(*names) if names else plan
            for key in KINDS if isinstance(holder, dict) else ():
                if isinstance(found := holder.get(key), list) and found:
                    # Numbers that stood in the file as entries are none of ours.
                    if len(found) != 1 or type(found[0]) is not int or found[0] not in left:
                        return None
                    left.remove(found[0])
                    quick = quick_validator("plan", *names, key)
                    is_valid = quick.is_valid if quick else _unknown
                    entries = Entries.read(content, *spans[found[0]], is_valid)
                    if entries is None:
                        return None
                    holder[key] = entries
    except ValueError:  # will be put in words by who reads it in one piece
        return None
    return None if left else cast("Document", plan)


def _unknown(_: Document) -> bool:
    return False


def _entity_spans(content: bytes) -> list[tuple[int, int]]:
    """Return where the entries of the lists begin and end, in the order of the file."""
    spans = []
    for key in KINDS:
        opening = b'\n"%s": [\n' % key.encode()
        at = content.find(opening)
        while at >= 0:
            start = at + len(opening)
            end = content.find(b"\n]", start)
            if end < 0:
                break
            spans.append((start, end))
            at = content.find(opening, end)
    return sorted(spans)


_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_LARGEST = 2**53 - 1
_SURELY_PLAIN_DIGITS = 15
_MOST_DIGITS = 20


def parse_json(content: bytes, name: str) -> Any:
    """Parse JSON and refuse what two readers could understand differently.

    That is a name twice in one object (some take the first, some the last), and a number that is
    not whole or beyond 2^53 (many round those, so that two files would have one digest).  The
    documents of this program have neither, in any version 1.x.

    Args:
        content: one document, UTF-8.
        name: how messages begin, ``The plan plan.json``.

    Raises:
        GcError: it is no JSON, or ambiguous, or nested more than 250 deep.
    """
    hint = "Was it cut off, or edited by hand?"
    if name.startswith("The plan "):
        hint += f" Make a new one: {command('report')}"
    if not content.strip():
        raise GcError(f"{name} is empty.", hint=hint)
    if content.startswith(_MARKS):
        raise GcError(
            f"{name} begins with a byte order mark; it has to be plain UTF-8.",
            hint="On Windows, > of PowerShell writes UTF-16: use -o/--out instead.",
        )
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise GcError(f"{name} is not valid JSON: {error}.", hint=hint) from error
    if not (_is_rendered(document, content) and _has_plain_numbers(content)):
        refuse_ambiguous(content, name)
    try:
        # The digest is made from what can be written again, which goes less deep than reading.
        orjson.dumps(document)
    except orjson.JSONEncodeError:
        raise GcError(f"{name} is nested too deeply.") from None
    return document


def _is_compact(content: bytes) -> bool:
    """Tell whether writing what these bytes say gives them again: no name stands there twice."""
    try:
        return orjson.dumps(orjson.loads(content)) == content
    except orjson.JSONEncodeError:
        return False


def _is_rendered(document: Any, content: bytes) -> bool:
    """Tell whether writing what was read gives the same bytes: then no name stood there twice."""
    if not isinstance(document, dict):
        return False
    at = 0
    try:
        for line in pieces(document):
            if not content.startswith(line, at):
                return False
            at += len(line)
    except orjson.JSONEncodeError:
        return False
    return at == len(content)


# Where a rendered document may hold a number that not all readers keep: behind a name, first in
# an element of a list on a line of its own, or in a list of more than plain texts.  Texts may look
# the same, so that a match only means that the line is worth a look.
_ODD_MEMBER = re.compile(rb'":(?: ?-?[0-9]+(?:[.eE]|(?<=[0-9]{16})))')
_ODD_LINE = re.compile(rb"\n-?[0-9]")
_ODD_LIST = re.compile(rb'\[(?!(?:"[^"\\]*",?)*\]|\n)')
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NUMBER = re.compile(rb"[-0-9][-+.0-9eE]*")


def _has_plain_numbers(content: bytes) -> bool:
    """Tell quickly that a rendered document has only numbers of one meaning; False means maybe."""
    for odd in (_ODD_MEMBER, _ODD_LINE, _ODD_LIST):
        found = odd.search(content)
        while found:
            begin = content.rfind(b"\n", 0, found.end()) + 1
            end = content.find(b"\n", found.end())
            line = content[begin : len(content) if end < 0 else end]
            numbers = _NUMBER.findall(_TEXT.sub(b"", line))
            if any(not n.isdigit() or len(n) > _SURELY_PLAIN_DIGITS for n in numbers):
                return False
            found = odd.search(content, begin + len(line))
    return True


def refuse_ambiguous(content: bytes, name: str, *, numbers: bool = True) -> None:
    """Refuse JSON that two readers could understand differently, see :func:`parse_json`.

    Args:
        content: valid JSON.
        name: how messages begin.
        numbers: refuse all numbers that not every reader keeps as they are; else only those that
            not even ours does.

    Raises:
        GcError: it is ambiguous.
    """
    if not numbers and _is_compact(content):
        return

    def names(pairs: list[tuple[str, Any]]) -> None:
        if len({key for key, _ in pairs}) != len(pairs):
            counts = Counter(key for key, _ in pairs)
            twice = json.dumps(next(key for key, count in counts.items() if count > 1))
            raise GcError(f"{name} has the name {_short(twice)} twice in one object.")

    allowed = range(-_LARGEST, _LARGEST + 1) if numbers else range(-(2**63), 2**64)

    def whole(text: str) -> None:
        # The length first: Python takes its time for a number of a million digits.
        if len(text) > _MOST_DIGITS or int(text) not in allowed or (numbers and text == "-0"):
            refuse(text)

    def not_whole(text: str) -> None:
        if numbers:
            refuse(text)

    def refuse(text: str) -> None:
        raise GcError(
            f"{name} has the number {_short(text)}; only whole ones up to 2^53 have one meaning."
        )

    try:
        json.loads(content, object_pairs_hook=names, parse_int=whole, parse_float=not_whole)
    except RecursionError:
        raise GcError(f"{name} is nested too deeply.") from None


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:50]} ... ({len(text):,} characters)"
