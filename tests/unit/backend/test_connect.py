"""What is done once, when a server is opened, and not again for each request."""

from __future__ import annotations

import sys

import pytest

from mlflow_gc.backend.connect import connect
from mlflow_gc.backend.interface import ServerError
from mlflow_gc.errors import UsageProblem
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


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("MLFLOW_HTTP_POOL_MAXSIZE", "x", "a number"),
        ("MLFLOW_HTTP_POOL_CONNECTIONS", "many", "a number"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "5s", "a number"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "0", "seconds"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "-1", "seconds"),
        ("MLFLOW_TRACKING_INSECURE_TLS", "maybe", "true or false"),
        ("MLFLOW_TRACKING_AWS_SIGV4", "maybe", "true or false"),
    ],
)
def test_a_setting_that_mlflow_cannot_parse_is_named(monkeypatch, name, value, wanted):
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageProblem, match=name) as caught:
        connect(resolve_connection(tracking_uri="http://127.0.0.1:9"))
    assert wanted in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "value"),
    [("MLFLOW_TRACKING_AWS_SIGV4", "true"), ("MLFLOW_TRACKING_AUTH", "kubernetes")],
)
def test_a_login_that_needs_a_package_names_it(monkeypatch, name, value):
    # None in sys.modules is a package that is not installed.
    for package in ("requests_auth_aws_sigv4", "kubernetes"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setenv(name, value)
    gateway = connect(resolve_connection(tracking_uri="http://127.0.0.1:9"))
    with pytest.raises(ServerError, match="needs the Python package") as caught:
        gateway.server_metadata()
    assert name in str(caught.value.hint)
