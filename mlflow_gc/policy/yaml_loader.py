"""YAML as configuration: plain data, each key with its line.

ruamel.yaml parses, but its loaders are not used: unusual numbers (``0x10``, ``1_000``, ``1:30``)
stay text, tags construct nothing, and nested aliases cannot expand a few hundred bytes to
gigabytes.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_gc.errors import GcError, UsageProblem
from mlflow_gc.plan.reader import read_bytes

_MAX_BYTES = 100_000
_MAX_NODES = 10_000
_PREFIX = "tag:yaml.org,2002:"
_PLAIN = {_PREFIX + name for name in ("str", "int", "float", "bool", "null", "timestamp")}
_DEEPEST = 50
_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,14})", re.ASCII)
_SECOND_ANCHOR = re.compile(r"^second occurrence .*, line (\d+), column \d+:$", re.MULTILINE)

KeyPath = tuple[Any, ...]
"""Keys and indexes from the top of the document."""


@dataclass
class YamlFile:
    """A parsed file.

    Attributes:
        path: where it was read.
        document: dictionaries, lists, text, whole numbers, true, false and None.
        lines: the line of each key and list item, counted from 1.
        digest: ``sha256:<hex>`` over its bytes.
    """

    path: Path
    document: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    digest: str = ""

    def line(self, key_path: KeyPath) -> int:
        """Return the line of a key path, or of its nearest parent."""
        while key_path and key_path not in self.lines:
            key_path = key_path[:-1]
        return self.lines.get(key_path, 1)

    def where(self, key_path: KeyPath) -> str:
        """Return ``mlflow-gc.yml line 12``."""
        return f"{self.path} line {self.line(key_path)}"


def read_yaml(path: Path, what: str) -> YamlFile:
    """Read a YAML file; ``what`` it is, such as ``policy``, is for messages.

    Raises:
        GcError: it cannot be read.
        UsageProblem: It is not YAML or has a duplicate key, with the line.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
    from ruamel.yaml.reader import ReaderError

    content = read_bytes(path, what, most=_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise UsageProblem(f"The {what} {path} has more than {_MAX_BYTES:,} bytes.")
    try:
        text = content.decode("utf-8-sig")
        with warnings.catch_warnings():
            # Parsers disagree which of the two an alias refers to.
            warnings.simplefilter("error", ReusedAnchorWarning)
            _refuse_large(YAML(pure=True).parse(text), path)
            node = YAML(pure=True).compose(text)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UsageProblem(f"{path} line {line}: it is not UTF-8 text.") from error
    except ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise UsageProblem(f"{path} line {line}: a character that no text has.") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path} line {mark.line + 1}" if mark else str(path)
        raise UsageProblem(f"{where}: {_first_line(error.problem or error.context)}.") from error
    except ReusedAnchorWarning as error:
        second = _SECOND_ANCHOR.search(str(error))
        where = f"{path} line {second[1]}" if second else str(path)
        raise UsageProblem(f"{where}: an anchor (&) that is already defined.") from error
    except RecursionError as error:
        raise UsageProblem(f"{path}: it is nested too deeply.") from error
    except (YAMLError, ValueError) as error:
        raise UsageProblem(f"{path} is not valid YAML: {_first_line(str(error))}.") from error
    file = YamlFile(path, digest=f"sha256:{hashlib.sha256(content).hexdigest()}")
    if node is not None:
        file.document = _Reader(file).value(node, ())
    return file


def _refuse_large(events: Iterable[Any], path: Path) -> None:
    """Refuse a document that is too large or nested too deeply, before all of it is parsed.

    Raises:
        UsageProblem: With the line at which the limit is exceeded.
    """
    from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent, NodeEvent

    nodes = depth = 0
    for event in events:
        nodes += isinstance(event, NodeEvent)
        depth += isinstance(event, CollectionStartEvent)
        depth -= isinstance(event, CollectionEndEvent)
        if nodes > _MAX_NODES or depth > _DEEPEST:
            message = "it is nested too deeply" if depth > _DEEPEST else "it is too large"
            raise UsageProblem(f"{path} line {event.start_mark.line + 1}: {message}.")


class _Reader:
    """Turns ruamel's nodes into plain data; an alias counts as often as it is used."""

    def __init__(self, file: YamlFile) -> None:
        self._file = file
        self._left = _MAX_NODES
        self._open: set[int] = set()

    def value(self, node: Any, key_path: KeyPath) -> Any:
        self._left -= 1
        line = node.start_mark.line + 1
        if self._left < 0 or id(node) in self._open:
            raise self._problem(line, "aliases make it too large")
        if len(self._open) >= _DEEPEST:
            raise self._problem(line, "it is nested too deeply")
        self._open.add(id(node))
        try:
            return self._value(node, key_path, line)
        finally:
            self._open.discard(id(node))

    def _value(self, node: Any, key_path: KeyPath, line: int) -> Any:
        tag = str(node.tag)
        if tag == f"{_PREFIX}map":
            return dict(self._items(node, key_path))
        if tag == f"{_PREFIX}seq":
            return [self._item(child, (*key_path, n)) for n, child in enumerate(node.value)]
        if tag not in _PLAIN or not isinstance(node.value, str):
            raise self._problem(line, f"the tag {tag.removeprefix(_PREFIX)!r} has no meaning here")
        if _HALF_A_CHARACTER.search(node.value):
            raise self._problem(line, "half a character, which no text has")
        return _scalar(node.value, tag.removeprefix(_PREFIX))

    def _item(self, node: Any, key_path: KeyPath) -> Any:
        self._file.lines.setdefault(key_path, node.start_mark.line + 1)
        return self.value(node, key_path)

    def _items(self, node: Any, key_path: KeyPath) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        merged: list[Any] = []
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node.value, str):
                raise self._problem(line, "a key has to be a word")
            key = key_node.value
            if _HALF_A_CHARACTER.search(key):
                raise self._problem(line, "half a character, which no text has")
            if str(key_node.tag) == f"{_PREFIX}merge":
                if merged:
                    raise self._problem(line, "the key '<<' stands there twice; it takes a list")
                is_list = isinstance(value_node.value, list) and str(value_node.tag).endswith("seq")
                merged += value_node.value if is_list else [value_node]
                continue
            if key in seen:
                raise self._problem(line, f"the key {key!r} stands there twice")
            seen.add(key)
            self._file.lines.setdefault((*key_path, key), line)
            yield key, self.value(value_node, (*key_path, key))
        for source in merged:
            found = self.value(source, key_path)
            if not isinstance(found, dict):
                raise self._problem(source.start_mark.line + 1, "only a mapping can be merged")
            for key, value in found.items():
                if key not in seen:
                    seen.add(key)
                    yield key, value

    def _problem(self, line: int, message: str) -> GcError:
        return UsageProblem(f"{self._file.path} line {line}: {message}.")


def _scalar(text: str, kind: str) -> Any:
    if kind == "null":
        return None
    if kind == "bool" and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if kind == "int" and _WHOLE.fullmatch(text):
        return int(text)
    return text


def _first_line(text: str | None) -> str:
    return (text or "it cannot be parsed").strip().splitlines()[0].rstrip(".")
