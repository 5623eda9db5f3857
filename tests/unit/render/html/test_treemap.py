"""Rectangles fill the area, do not overlap, and have the shares of their sizes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlflow_gc.render.html.treemap import Box, squarified

AREA = Box(0, 0, 1000, 360)


@given(st.lists(st.integers(1, 10**15), min_size=1, max_size=25))
@example([1, 87_349_018_600])
def test_areas_are_proportional_and_apart(sizes: list[int]) -> None:
    sizes.sort(reverse=True)
    boxes = list(squarified(sizes, AREA))
    for size, box in zip(sizes, boxes, strict=True):
        share = size / sum(sizes) * AREA.width * AREA.height
        assert box.width * box.height == pytest.approx(share, rel=1e-3, abs=1e-3)
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= AREA.width + 1e-3
        assert box.y + box.height <= AREA.height + 1e-3
    for one, other in itertools.combinations(boxes, 2):
        width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
        height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
        assert min(width, height) <= 1e-3


def test_nothing_has_no_rectangles() -> None:
    assert list(squarified([], AREA)) == []
