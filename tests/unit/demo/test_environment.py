"""The demo talks to its own server, whatever the user's settings say."""

from __future__ import annotations

import os
import urllib.request

import pytest

from mlflow_gc.demo.environment import demo_environment

URI = "http://127.0.0.1:5999"


def test_the_users_mlflow_settings_do_not_reach_the_demo(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://real.example")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team")
    monkeypatch.setenv("MLFLOW_TRACKING_ENTITY_TTL", "1")
    with demo_environment(URI):
        assert os.environ["MLFLOW_TRACKING_URI"] == URI
        assert os.environ["MLFLOW_REGISTRY_URI"] == URI
        assert os.environ["MLFLOW_TRACKING_ENTITY_TTL"] == "30"
        assert "MLFLOW_TRACKING_TOKEN" not in os.environ
        assert "MLFLOW_WORKSPACE" not in os.environ


def test_a_proxy_is_not_asked_for_the_way_to_this_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "intranet.example")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    with demo_environment(URI):
        assert urllib.request.proxy_bypass("127.0.0.1:5999")
        assert urllib.request.proxy_bypass("intranet.example")
        assert not urllib.request.proxy_bypass("elsewhere.example")


@pytest.mark.parametrize("problem", [None, KeyboardInterrupt])
def test_the_environment_is_as_before_in_the_end(
    problem: type[BaseException] | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://real.example")
    before = dict(os.environ)
    try:
        with demo_environment(URI):
            if problem is not None:
                raise problem
    except KeyboardInterrupt:
        pass
    assert dict(os.environ) == before
