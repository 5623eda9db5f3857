"""Fast tests inside this process: no server, no MLflow, no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from pathlib import Path

# A machine under load must not fail a test: time is watched by pytest-timeout only.
settings.register_profile(
    "unit",
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unit")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for files of tests that hypothesis runs many times."""
    return tmp_path_factory.mktemp("unit")
