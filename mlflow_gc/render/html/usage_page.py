"""What takes space on a server, as one self-contained HTML file.

The map needs no script: each of its panels is a place in the page, and a style shows the one that
the address names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mlflow_gc.domain.quantities import number_of
from mlflow_gc.render.common.lines import cut
from mlflow_gc.render.common.usage_tables import (
    NOUNS,
    basis,
    sentences,
    size,
    tables,
)
from mlflow_gc.render.html.page import STYLE, content_security_policy, environment
from mlflow_gc.render.html.treemap import Box, squarified
from mlflow_gc.retention.freed_space import STAGES

_STYLES = (STYLE, "usage.css")
_SCRIPTS = ("report.js",)
_AREA = Box(0, 0, 1000, 360)
_LABELLED = (70, 34)
"""Width and height from which a rectangle has room for its name."""
_LABELLED_ON_PHONE = (200, 90)
"""The same where the map is half as wide, and its letters twice as large."""
_CHARACTER = 9.5


class Part(NamedTuple):
    """A rectangle of the map, divided by stage."""

    node: Node
    box: Box
    text: str
    is_small: bool
    slices: list[tuple[str, Box]]


@dataclass
class Node:
    """A part of the map.

    Attributes:
        place: its fragment of the address.
        label: its name.
        bytes: in database and files together.
        stages: the same by stage.
        inner: its parts, the largest first.
        path: the nodes above it, the whole first.
    """

    place: str
    label: str
    bytes: int
    stages: Counter[str] = field(default_factory=Counter)
    inner: list[Node] = field(default_factory=list)
    path: tuple[Node, ...] = ()

    @property
    def boxes(self) -> Iterator[Part]:
        """The rectangles of the parts."""
        inner = [node for node in self.inner if node.bytes]
        for node, box in zip(inner, squarified([node.bytes for node in inner], _AREA), strict=True):
            is_small = box.width < _LABELLED_ON_PHONE[0] or box.height < _LABELLED_ON_PHONE[1]
            yield Part(node, box, _fitting(node.label, box), is_small, list(_slices(node, box)))

    def panels(self) -> Iterator[Node]:
        """Yield this and all parts that have parts."""
        if self.inner:
            yield self
        for node in self.inner:
            yield from node.panels()


def _slices(node: Node, box: Box) -> Iterator[tuple[str, Box]]:
    """Yield a part of a rectangle for each stage, from left to right or from top to bottom."""
    start = 0.0
    for stage in STAGES:
        if not (share := node.stages[stage] / node.bytes):
            continue
        yield (
            stage,
            Box(box.x + start * box.width, box.y, share * box.width, box.height)
            if box.width >= box.height
            else Box(box.x, box.y + start * box.height, box.width, share * box.height),
        )
        start += share


def _fitting(label: str, box: Box) -> str:
    if box.width < _LABELLED[0] or box.height < _LABELLED[1]:
        return ""
    return cut(label, int((box.width - 16) / _CHARACTER))


def show(found: dict[str, Any]) -> str:
    """Return a usage document (``mlflow-gc schema usage``) as one HTML file."""
    server = found["server"]
    return (
        environment()
        .get_template("usage.html")
        .render(
            found=found,
            address=server["tracking_uri"] or server["database"],
            content_security_policy=content_security_policy(_SCRIPTS, _STYLES),
            styles=_STYLES,
            scripts=_SCRIPTS,
            panels=list(_tree(found).panels()),
            stages=[s for s in STAGES if any(row["stage"] == s for row in found["rows"])],
            sentences=list(sentences(found)),
            basis=list(basis(found)),
            tables=list(tables(found)),
            size=size,
        )
    )


def _tree(found: dict[str, Any]) -> Node:
    """Return the whole: experiments, their kinds, their stages."""
    largest = found["largest"]
    rest = Counter(
        {
            (row["kind"], row["stage"]): row["table_bytes"] + row["index_bytes"] + row["file_bytes"]
            for row in found["rows"]
        }
    )
    whole = Node("map", "Everything", 0)
    others = largest["other_experiments"]
    groups = [
        (f"e{e['experiment_id']}", e["name"] or "(no name)", e["parts"])
        for e in largest["experiments"]
    ]
    label = number_of(others["count"], "other experiment", "other experiments")
    if not others.get("experiments"):
        groups.append(("others", label, others["parts"]))
    for place, label, found_parts in groups:
        parts = {(part["kind"], part["stage"]): _bytes(part) for part in found_parts}
        rest.subtract(parts)
        _add(whole, place, label, parts)
    if others.get("experiments"):
        whole.inner.append(_others(others, label))
        for part in others["parts"]:
            rest[part["kind"], part["stage"]] -= _bytes(part)
    # Shares of tables are rounded.
    _add(whole, "none", "Not in an experiment", {k: max(n, 0) for k, n in rest.items() if n > 1})
    _finish(whole, ())
    return whole


def _bytes(part: dict[str, Any]) -> int:
    return int(part["database_bytes"] + part["file_bytes"])


def _others(others: dict[str, Any], label: str) -> Node:
    """Return the experiments after the largest: each is one part, the smallest are one together."""
    node = Node("others", label, 0)
    left: Counter[str] = Counter()
    for part in others["parts"]:
        left[part["stage"]] += _bytes(part)
    for each in others["experiments"]:
        stages = Counter(each["stages"])
        left.subtract(stages)
        place, name = f"e{each['experiment_id']}", each["name"] or "(no name)"
        node.inner.append(Node(place, name, stages.total(), stages))
    if number := others["count"] - len(others["experiments"]):
        rest = Counter({stage: max(size, 0) for stage, size in left.items()})
        name = number_of(number, "smaller experiment", "smaller experiments")
        node.inner.append(Node("others-rest", name, rest.total(), rest))
    return node


def _add(whole: Node, place: str, label: str, parts: dict[tuple[str, str], int]) -> None:
    node = Node(place, label, 0)
    for (kind, stage), number in parts.items():
        if not number:
            continue
        of_kind = next((n for n in node.inner if n.label == NOUNS[kind]), None)
        if of_kind is None:
            of_kind = Node(f"{place}-{kind}", NOUNS[kind], 0)
            node.inner.append(of_kind)
        of_stage = Node(f"{place}-{kind}-{stage}", stage, number, Counter({stage: number}))
        of_kind.inner.append(of_stage)
    if node.inner:
        whole.inner.append(node)


def _finish(node: Node, path: tuple[Node, ...]) -> None:
    """Sum up, sort, and connect."""
    node.path = path
    for inner in node.inner:
        _finish(inner, (*path, node))
    if node.inner:
        node.bytes = sum(inner.bytes for inner in node.inner)
        node.inner.sort(key=lambda inner: -inner.bytes)
        for inner in node.inner:
            node.stages.update(inner.stages)
