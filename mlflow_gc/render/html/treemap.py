"""Rectangles whose areas are proportional to sizes, as square as possible.

Bruls, Huizing, van Wijk: Squarified Treemaps (2000).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle: its left upper corner and its extent."""

    x: float
    y: float
    width: float
    height: float


def squarified(sizes: Sequence[int], area: Box) -> Iterator[Box]:
    """Yield a rectangle for each size; sizes are positive, and the largest is first."""
    scale = area.width * area.height / (sum(sizes) or 1)
    areas = [size * scale for size in sizes]
    start = 0
    while start < len(areas):
        side = min(area.width, area.height)
        end = start + 1
        while end < len(areas) and _worst(areas[start : end + 1], side) <= _worst(
            areas[start:end], side
        ):
            end += 1
        row = areas[start:end]
        # What is left beside something much larger has lost digits; it must not exceed the area.
        thickness = min(sum(row) / side, max(area.width, area.height)) if side else 0.0
        is_wide = area.width >= area.height
        offset = 0.0
        for each in row:
            length = min(each / thickness, side - offset) if thickness else 0.0
            yield (
                Box(area.x, area.y + offset, thickness, length)
                if is_wide
                else Box(area.x + offset, area.y, length, thickness)
            )
            offset += length
        area = (
            Box(area.x + thickness, area.y, max(area.width - thickness, 0.0), area.height)
            if is_wide
            else Box(area.x, area.y + thickness, area.width, max(area.height - thickness, 0.0))
        )
        start = end


def _worst(row: Sequence[float], side: float) -> float:
    """Return the worst ratio of sides of a row of rectangles along a side."""
    total = sum(row)
    if not total or not side:
        return float("inf")
    return max(side**2 * max(row) / total**2, total**2 / (side**2 * min(row)))
