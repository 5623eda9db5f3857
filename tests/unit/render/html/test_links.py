"""Addresses in MLflow's own pages; the browser tests follow them on a real server."""

from __future__ import annotations

import pytest

from mlflow_gc.render.html.links import Links, encode


def links(
    uri: str,
    *,
    registry: str | None = None,
    workspace: str | None = None,
    version: str | None = "3.17.2",
    action: str = "prune",
) -> Links:
    server = {
        "tracking_uri": uri,
        "registry_uri": registry or uri,
        "workspace": workspace,
        "mlflow_version": version,
    }
    return Links.of({"action": action, "server": server})


def test_what_is_in_the_trash_has_no_page_unless_mlflow_shows_it():
    here = links("https://mlflow.example.com", action="purge")
    assert here.address("experiment", "7")
    assert here.address("run", "7", "ab12")
    assert not here.address("model_version", "fraud", "3")
    assert not here.address("logged_model", "7", "m-1")


def test_where_things_are():
    here = links("https://mlflow.example.com/ml/")
    base = "https://mlflow.example.com/ml/#/"
    assert here.address("experiment", "7") == f"{base}experiments/7"
    assert here.address("run", "7", "abc") == f"{base}experiments/7/runs/abc"
    assert here.address("registered_model", "fraud") == f"{base}models/fraud"
    assert here.address("model_version", "fraud", "3") == f"{base}models/fraud/versions/3"
    assert here.address("prompt", "sum up") == f"{base}prompts/sum%20up"


def test_where_no_version_is_there_are_no_pages():
    """At the root of a server with a static prefix (up to 3.10), and on Databricks."""
    here = links("http://mlflow:5000", version=None)
    assert here.address("run", "7", "abc") == here.address("registered_model", "fraud") == ""
    elsewhere = links("http://mlflow:5000", registry="http://registry", version=None)
    assert elsewhere.address("run", "7", "abc") == ""
    assert elsewhere.address("registered_model", "fraud") == "http://registry/#/models/fraud"


def test_a_workspace_is_named_at_the_end():
    here = links("http://mlflow:5000", workspace="team 1%")
    assert (
        here.address("run", "7", "abc")
        == "http://mlflow:5000/#/experiments/7/runs/abc?workspace=team%201%25"
    )


def test_models_are_where_the_registry_is():
    here = links("sqlite:///mlflow.db", registry="http://registry:5000")
    assert here.address("run", "7", "abc") == ""
    assert here.address("registered_model", "fraud") == "http://registry:5000/#/models/fraud"


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:////data/mlflow.db",
        "postgresql://db/mlflow",
        "databricks",
        "databricks://profile",
        "file:///mlruns",
        "./mlruns",
        "",
        "javascript:alert(1)//http://x",
        "JavaScript:alert(1)",
        "data:text/html,x",
        "http:",
        "http:///x",
        "https://user:password@mlflow.example.com",
        "https://mlflow.example.com@evil.example",
        "https://mlf\u03bbow.example.com",
        "https://mlflow.example.com\\@evil.example",
        "http://ho st",
        "http://[::1",
        "http://***",
        'http://x"onclick="alert(1)',
    ],
)
def test_what_is_no_web_page_gets_no_link(uri):
    here = links(uri)
    assert {
        here.tracking,
        here.registry,
        here.address("run", "1", "a"),
        here.address("registered_model", "m"),
    } == {""}


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1:5000", "http://[::1]:5000", "http://mlflow", "https://a-b.example.com"],
)
def test_every_usual_host_gets_links(uri):
    assert links(uri).tracking == f"{uri}/#/"


def test_a_strange_path_stays_a_path():
    assert links("http://h/a b/<x>\"'/").tracking == "http://h/a%20b/%3Cx%3E%22%27/#/"
    assert links("http://h/a?q=1#/x").tracking == "http://h/a/#/"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("a/b?c#d%&", "a%2Fb%3Fc%23d%2525%26"),
        ("größe 🚀", "gr%C3%B6%C3%9Fe%20%F0%9F%9A%80"),
        ("half \ud800", "half%20%3F"),
        ("..", ".."),
        ("100%25", "100%252525"),
        ('<">', "%3C%22%3E"),
    ],
)
def test_names_are_percent_encoded(name, code):
    assert encode(name) == code
