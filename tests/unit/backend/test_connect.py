"""What is done once, when a server is opened, and not again for each request."""

from __future__ import annotations

import pytest

from mlflow_gc.backend.connect import connect
from mlflow_gc.settings import resolve_connection


@pytest.mark.parametrize("answer", [False, True])
def test_databricks_is_looked_for_once(monkeypatch, answer):
    """MLflow's header provider would import packages that are not there for every request."""
    from mlflow.tracking.request_header.databricks_request_header_provider import (
        DatabricksRequestHeaderProvider,
    )
    from mlflow.utils import databricks_utils

    asked = []
    monkeypatch.setattr(
        DatabricksRequestHeaderProvider,
        "in_context",
        lambda _: databricks_utils.is_in_cluster(),
    )
    monkeypatch.setattr(databricks_utils, "is_in_cluster", lambda: asked.append(1) or answer)
    connect(resolve_connection(tracking_uri="http://127.0.0.1:9"))
    assert len(asked) == 1
    for _ in range(3):
        assert DatabricksRequestHeaderProvider().in_context() is answer
    assert len(asked) == 1


def test_a_version_of_mlflow_without_it_does_no_harm(monkeypatch):
    from mlflow.tracking.request_header import databricks_request_header_provider as module

    monkeypatch.delattr(module, "DatabricksRequestHeaderProvider")
    connect(resolve_connection(tracking_uri="http://127.0.0.1:9"))
