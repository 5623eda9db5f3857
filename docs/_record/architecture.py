"""Draw the packages of the program and who imports whom: ``make architecture``.

The picture is drawn from the import statements. An arrow points to what a package imports; arrows
that follow from others are left out, so that a new import changes the picture only where it leads
somewhere new. ``tests/unit/docs/test_architecture.py`` fails when picture and code disagree.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mlflow_gc"
PICTURE = ROOT / "docs" / "images" / "architecture.svg"

# Modules at the top of the package that anybody may use are drawn as one box with ``domain``.
FOUNDATION = "domain"
FOUNDATION_MODULES = {"errors", "settings", "invocation", "version"}
MLFLOW = "mlflow"
# Entry points: they belong to whoever starts the program.
NOT_DRAWN = {"__init__", "__main__"}

_BOX, _CROSSING, _GAP, _ROW, _HEIGHT, _MARGIN = 156, 8, 32, 88, 48, 24

Graph = dict[str, set[str]]


def imports() -> Graph:
    """Return what each package imports: other packages, and ``mlflow``."""
    graph: Graph = defaultdict(set)
    for file in sorted(PACKAGE.rglob("*.py")):
        importer = _package(file.relative_to(PACKAGE).with_suffix("").parts[0])
        if importer in NOT_DRAWN:
            continue
        graph[importer] |= set()
        for name in _imported(ast.parse(file.read_text(encoding="utf-8"))):
            top, _, rest = name.partition(".")
            if top == MLFLOW:
                graph[importer].add(MLFLOW)
            elif top == PACKAGE.name and rest:
                graph[importer].add(_package(rest.split(".")[0]))
        graph[importer] -= {importer, *NOT_DRAWN}
    # ``from mlflow_gc import x`` names a package or a constant of the root.
    return {
        importer: {i for i in found if i in graph or i == MLFLOW}
        for importer, found in graph.items()
    }


def _imported(tree: ast.Module) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def _package(name: str) -> str:
    return FOUNDATION if name in FOUNDATION_MODULES else name


def arrows(graph: Mapping[str, set[str]]) -> Graph:
    """Return the imports that do not follow from others (the transitive reduction)."""
    reached: Graph = {}
    for package in TopologicalSorter(graph).static_order():
        direct = graph.get(package, set())
        reached[package] = direct.union(*(reached[p] for p in direct))
    return {
        package: {p for p in direct if not any(p in reached[q] for q in direct - {p})}
        for package, direct in graph.items()
    }


def layers(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the packages in rows: each one row above the highest that it imports.

    What nobody imports stands at the top. Where an arrow crosses a row, ``from>to`` keeps a place for
    it there.
    """
    height: dict[str, int] = {}
    for package in TopologicalSorter(graph).static_order():
        height[package] = 1 + max((height[p] for p in graph.get(package, ())), default=-1)
    imported = set().union(*graph.values())
    top = max(height.values())
    height.update(dict.fromkeys(graph.keys() - imported, top))
    rows: list[list[str]] = [[] for _ in range(top + 1)]
    for package in sorted(height):
        rows[height[package]].append(package)
        for other in sorted(graph[package]):
            for row in range(height[other] + 1, height[package]):
                rows[row].append(f"{package}>{other}")
    place: dict[str, float] = {}
    for row in rows:
        # Above what it leads to, as far as there is room.
        row.sort(key=lambda name: (_middle_below(name, graph, place), name))
        place.update(zip(row, _across(row), strict=True))
    return rows


def _middle_below(name: str, graph: Mapping[str, set[str]], place: Mapping[str, float]) -> float:
    package, crossing, target = name.partition(">")
    if crossing:
        return place.get(name, place[target])
    below = [place.get(f"{package}>{other}", place[other]) for other in graph[package]]
    return sum(below) / max(len(below), 1)


def _across(row: list[str]) -> list[int]:
    """Return the middle of each name of a row, counted from the middle of the row."""
    widths = [_CROSSING if ">" in name else _BOX for name in row]
    left = -(sum(widths) + _GAP * (len(row) - 1)) // 2
    middles = []
    for width in widths:
        middles.append(left + width // 2)
        left += width + _GAP
    return middles


def draw() -> str:
    """Return the picture as SVG."""
    graph = imports()
    knows_mlflow = {package for package, found in graph.items() if MLFLOW in found}
    reduced = arrows({package: found - {MLFLOW} for package, found in graph.items()})
    rows = layers(reduced)
    half = max(-_across(row)[0] for row in rows) + _BOX // 2 + _MARGIN
    height = 2 * _MARGIN + len(rows) * _ROW - (_ROW - _HEIGHT)
    at = {
        (name, number): (half + x, height - _MARGIN - _HEIGHT // 2 - number * _ROW)
        for number, row in enumerate(rows)
        for x, name in zip(_across(row), row, strict=True)
    }
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * half} {height}" '
            f'width="{2 * half}" height="{height}" role="img" font-family="sans-serif" font-size="15">'
        ),
        "<title>The packages of mlflow_gc; an arrow points to what a package imports</title>",
        (
            '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
            'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#6b6f76"/></marker></defs>'
        ),
        f'<rect width="{2 * half}" height="{height}" rx="8" fill="#ffffff"/>',
    ]
    boxes = {name: (number, *at[name, number]) for name, number in at if ">" not in name}
    for package in sorted(reduced):
        for other in sorted(reduced[package]):
            (above, x, y), (below, to_x, to_y) = boxes[package], boxes[other]
            crossed = [
                (crossing_x, crossing_y + side)
                for row in range(above - 1, below, -1)
                for crossing_x, crossing_y in [at[f"{package}>{other}", row]]
                for side in (-_HEIGHT // 2 - 4, _HEIGHT // 2)
            ]
            first, last = [*crossed, (to_x, to_y)][0], [(x, y), *crossed][-1]
            # Arrows that come from the right end right of the middle, so that they can be told apart.
            points = [
                (x + _lean(first[0] - x), y + _HEIGHT // 2),
                *crossed,
                (to_x + _lean(last[0] - to_x), to_y - _HEIGHT // 2 - 1),
            ]
            path = "L".join(f"{px} {py}" for px, py in points)
            lines.append(
                f'<path d="M{path}" stroke="#6b6f76" stroke-width="1.3" fill="none" '
                'marker-end="url(#head)"/>'
            )
    for package, (_, x, y) in sorted(boxes.items()):
        fill = "#d5ecea" if package in knows_mlflow else "#f3f4f6"
        second = _note(package, knows_mlflow)
        lines += [
            (
                f'<rect x="{x - _BOX // 2}" y="{y - _HEIGHT // 2}" width="{_BOX}" height="{_HEIGHT}" '
                f'rx="6" fill="{fill}" stroke="#0b6e6e"/>'
            ),
            f'<text x="{x}" y="{y - 2 if second else y + 5}" text-anchor="middle">{package}</text>',
        ]
        if second:
            lines.append(
                f'<text x="{x}" y="{y + 14}" text-anchor="middle" font-size="11" '
                f'fill="#4b5058">{second}</text>'
            )
    return "\n".join([*lines, "</svg>", ""])


def _lean(distance: int) -> int:
    return max(-_BOX // 3, min(_BOX // 3, distance // 5))


def _note(package: str, knows_mlflow: set[str]) -> str:
    if package == FOUNDATION:
        return ", ".join(sorted(FOUNDATION_MODULES))
    return "imports mlflow" if package in knows_mlflow else ""


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
