"""Unambiguous JSON: no duplicate names in an object, no numbers that some parsers round."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import orjson

from mlflow_gc.errors import GcError
from mlflow_gc.invocation import command
from mlflow_gc.plan.writer import pieces

_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_LARGEST = 2**53 - 1
_SURELY_PLAIN_DIGITS = 15
_MOST_DIGITS = 20


def parse_json(content: bytes, name: str) -> Any:
    """Parse JSON and refuse what two parsers could understand differently.

    That is a duplicate name in one object (some parsers take the first, some the last), and a
    number that is not whole or beyond 2^53 (many parsers round those, so that two files would have
    one digest).  The documents of this program have neither, in any version 1.x.

    Args:
        content: one document, UTF-8.
        name: the document in messages, ``The plan plan.json``.

    Raises:
        GcError: It is not JSON, or ambiguous, or nested more than 250 deep.
    """
    hint = "Was it cut off, or edited by hand?"
    if name.startswith("The plan "):
        hint += f" Make a new one: {command('report')}"
    if not content.strip():
        raise GcError(f"{name} is empty.", hint=hint)
    if content.startswith(_BYTE_ORDER_MARKS):
        raise GcError(
            f"{name} begins with a byte order mark; it has to be plain UTF-8.",
            hint="On Windows, > of PowerShell writes UTF-16: use -o/--out instead.",
        )
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise GcError(f"{name} is not valid JSON: {error}.", hint=hint) from error
    if not (is_rendered(document, content) and has_plain_numbers(content)):
        refuse_ambiguous(content, name)
    try:
        # The digest needs the document to be written again, which supports less nesting.
        orjson.dumps(document)
    except orjson.JSONEncodeError:
        raise GcError(f"{name} is nested too deeply.") from None
    return document


def _is_compact(content: bytes) -> bool:
    """Tell whether these bytes equal their compact form; then no name is duplicate."""
    try:
        return orjson.dumps(orjson.loads(content)) == content
    except orjson.JSONEncodeError:
        return False


def is_rendered(document: Any, content: bytes) -> bool:
    """Tell whether rendering a document gives the same bytes; then no name is duplicate."""
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


# Where a rendered document may have a number that parsers round: after a name, at the begin of a
# list element on its own line, or in a list of more than plain texts.  Texts may look the same, so
# a match only means that the line has to be checked.
_ODD_PAIR = re.compile(rb'":(?: ?-?[0-9]+(?:[.eE]|(?<=[0-9]{16})))')
_ODD_LINE = re.compile(rb"\n-?[0-9]")
_ODD_LIST = re.compile(rb'\[(?!(?:"[^"\\]*",?)*\]|\n)')
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NUMBER = re.compile(rb"[-0-9][-+.0-9eE]*")


def has_plain_numbers(content: bytes) -> bool:
    """Tell quickly that a rendered document has only exact numbers; False means unknown."""
    for odd in (_ODD_PAIR, _ODD_LINE, _ODD_LIST):
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
    """Refuse ambiguous JSON, see :func:`parse_json`.

    Args:
        content: valid JSON.
        name: the document in messages.
        numbers: refuse all numbers that some parsers round; else only those that Python rounds.

    Raises:
        GcError: It is ambiguous.
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
        # The length first: Python is slow for a number of a million digits.
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
