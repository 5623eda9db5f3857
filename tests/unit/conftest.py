"""Fast tests inside this process: no server, no MLflow, no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def server_of_the_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names the server of most plans here: commands need not name it again."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    for name in ("MLFLOW_REGISTRY_URI", "MLFLOW_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for files of tests that hypothesis runs many times."""
    return tmp_path_factory.mktemp("unit")
