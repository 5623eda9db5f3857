"""Fast tests inside this process: no server, no MLflow, no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for files of tests that hypothesis runs many times."""
    return tmp_path_factory.mktemp("unit")
