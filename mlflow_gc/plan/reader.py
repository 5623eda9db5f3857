"""Reading plans, and the bytes of other documents; input is untrusted."""

from __future__ import annotations

import re
import stat
import sys
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from mlflow_gc.domain.kinds import KINDS
from mlflow_gc.errors import GcError
from mlflow_gc.invocation import command, file_argument
from mlflow_gc.plan import strict_json
from mlflow_gc.plan.document import Json
from mlflow_gc.plan.lazy_entries import Entries
from mlflow_gc.plan.schema import quick_validator

MOST_BYTES = 2 * 1024**3
"""Maximum size of a document: half a million runs take about 400 MB."""
_CHUNK = 16 * 1024**2


def read_bytes(path: Path, what: str, *, most: int | None = None) -> bytes:
    """Read a whole file (``-`` is stdin); pipes are allowed, endless devices are not.

    Args:
        path: the file.
        what: what the file is, for messages.
        most: read no more bytes than this; None for the whole file.

    Raises:
        GcError: It cannot be read, is larger than :data:`MOST_BYTES`, or is another document of
            this program.
    """
    try:
        if str(path) == "-":
            content = _read_stream(sys.stdin.buffer, path, what, most)
        else:
            found = path.stat()
            if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
                raise GcError(f"The {what} {path} cannot be read: it is a device.")
            with path.open("rb") as file:
                content = _read_stream(file, path, what, most, expected=found.st_size)
    except FileNotFoundError:
        make = {"plan": ("report",), "policy": ("policy", "init")}.get(what)
        hint = f"Check the path, or make one: {command(*make)}" if make else "Check the path."
        raise GcError(f"There is no {what} {path}.", hint=hint) from None
    except OSError as error:
        raise GcError(f"The {what} {path} cannot be read: {error.strerror or error}.") from error
    _refuse_another_kind(content, path, what)
    return content


_FORMAT = re.compile(rb'"format"\s*:\s*"mlflow-gc/([a-z-]+)"')
_FORMAT_WITHIN = 1_000
_KINDS = {
    # By format: the name as an argument, and in a sentence.
    b"prune-plan": ("plan", "a prune plan"),
    b"journal": ("journal", "a journal"),
    b"events": ("events file", "an events file"),
    b"plan-diff": ("", "the difference of two plans"),
    b"plan-check": ("", "the check of a plan"),
}


def _refuse_another_kind(content: bytes, path: Path, what: str) -> None:
    """Refuse another document of this program, with its name.

    Raises:
        GcError: It is another document.
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


def _read_stream(
    stream: BinaryIO, path: Path, what: str, most: int | None, *, expected: int = 0
) -> bytes:
    if most is not None:
        return stream.read(most)
    chunks: list[bytes] = []
    # A file is read in one piece: joining pieces takes twice the memory.
    size, at_once = 0, max(min(expected, MOST_BYTES) + 1, _CHUNK)
    while chunk := stream.read(at_once):
        chunks.append(chunk)
        size += len(chunk)
        at_once = _CHUNK
        if size > MOST_BYTES:
            raise GcError(f"The {what} {path} is larger than {MOST_BYTES // 1024**3} GiB.")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def read_plan(path: Path) -> Any:
    """Read a plan (``-`` is stdin) and refuse ambiguous JSON.

    Its lists are :class:`~mlflow_gc.plan.lazy_entries.Entries` if it is written as :func:`~mlflow_gc.plan.writer.render` does
    it, else Python's lists, which take six times the memory.

    Raises:
        GcError: It cannot be read, or see :func:`~mlflow_gc.plan.strict_json.parse_json`.
    """
    content = read_bytes(path, "plan")
    plan = _parse_rendered(content)
    return plan if plan is not None else strict_json.parse_json(content, f"The plan {path}")


def _parse_rendered(content: bytes) -> Json | None:
    """Parse a plan that is written as :func:`~mlflow_gc.plan.writer.render` does it; else None."""
    spans = _entity_spans(content)
    frame: list[bytes] = []
    at = 0
    for number, (start, end) in enumerate(spans):
        # A number on its own line replaces the entries.
        frame += (content[at:start], b"%d" % number)
        at = end
    frame.append(content[at:])
    written = b"".join(frame)
    try:
        plan = orjson.loads(written)
        if not (strict_json.is_rendered(plan, written) and strict_json.has_plain_numbers(content)):
            return None
        return cast("Json", plan) if _put_entries(plan, content, spans) else None
    except ValueError:  # the full parser reports it
        return None


def _put_entries(plan: Any, content: bytes, spans: list[tuple[int, int]]) -> bool:
    """Replace the numbers in lists by the entries of the file; tell whether all lists match."""
    left = set(range(len(spans)))
    for names in ((), ("protected",)):
        container = plan.get(*names) if names else plan
        for key in KINDS if isinstance(container, dict) else ():
            found = container.get(key)
            if not isinstance(found, list) or not found:
                continue
            # These numbers were entries in the file, not replacements.
            if len(found) != 1 or type(found[0]) is not int or found[0] not in left:
                return False
            left.remove(found[0])
            quick = quick_validator("plan", *names, key)
            entries = Entries.read(content, *spans[found[0]], quick and quick.is_valid)
            if entries is None:
                return False
            container[key] = entries
    return not left


def _entity_spans(content: bytes) -> list[tuple[int, int]]:
    """Return begin and end of the entries of each list, in the order of the file."""
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
