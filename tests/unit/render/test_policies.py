"""What `policy explain` prints of one entity."""

from __future__ import annotations

import pytest

from mlflow_gc.domain.timestamps import DAY_MS, parse_time
from mlflow_gc.render.terminal.policies import last_active


@pytest.mark.parametrize(
    ("days", "words"), [(2, "2 days before"), (0, "0 days before"), (-1, "1 day after")]
)
def test_no_distance_is_negative(days: int, words: str) -> None:
    """A run of a machine whose clock is fast was active after the moment of the question."""
    as_of_ms = parse_time("2026-05-01T00:00:00.000Z")
    assert last_active(as_of_ms - days * DAY_MS, as_of_ms).endswith(f", {words}")
