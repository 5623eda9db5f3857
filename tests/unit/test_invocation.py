"""Printed commands: the program as it was started, and the server where nothing else names it."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import pytest

from mlflow_gc import invocation

if TYPE_CHECKING:
    from pathlib import Path

SERVER = {
    "tracking_uri": "http://mlflow:5000",
    "registry_uri": "http://mlflow:5000",
    "workspace": None,
}
ID = "sha256:abc"


@pytest.fixture(autouse=True)
def alone():
    """What a test tells about the start of the program ends with it."""
    tokens = [
        (variable, variable.set(value))
        for variable, value in ((invocation._started_by, ("mlflow-gc",)), (invocation._flags, {}))
    ]
    yield
    for variable, token in tokens:
        variable.reset(token)


@pytest.mark.parametrize(
    ("orig_argv", "shown"),
    [
        (["python", "-m", "mlflow_gc", "report", "-q"], "python -m mlflow_gc"),
        (["python3", "-I", "-m", "mlflow_gc", "report", "-q"], "python3 -I -m mlflow_gc"),
        (["python3", "-Im", "mlflow_gc", "report", "-q"], "python3 -Im mlflow_gc"),
        (["/my env/bin/python", "-m", "mlflow_gc", "report", "-q"], "'/my env/bin/python' -m mlflow_gc"),
        (["python", "/usr/bin/pytest", "-q"], "mlflow-gc"),
    ],
)  # fmt: skip
def test_as_a_module(orig_argv, shown):
    invocation.started(["/site/mlflow_gc/__main__.py", "report", "-q"], orig_argv)
    assert invocation.command("prune", "p.json") == f"{shown} prune p.json"
    others = "python -m mlflow_gc" if "-m" in shown or "-Im" in shown else "mlflow-gc"
    assert invocation.command("prune", "p.json", for_others=True) == f"{others} prune p.json"


def test_as_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By its name where the shell finds the same one, else by its path, from any directory."""
    script = tmp_path / "bin" / "mlflow-gc"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    start = ["/usr/bin/python", "bin/mlflow-gc", "report"]
    invocation.started(["bin/mlflow-gc", "report"], start)
    assert invocation.command("report") == f"{script} report"
    assert invocation.command("report", for_others=True) == "mlflow-gc report"
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    invocation.started(["bin/mlflow-gc", "report"], start)
    assert invocation.command("report") == "mlflow-gc report"
    assert invocation.program() == ["mlflow-gc"]


def test_flags_about_the_server_are_kept_and_secrets_are_not():
    given = {
        "tracking_uri": "https://me:s3cret@mlflow.example.com/base",
        "registry_uri": "http://other:1",
        "workspace": "team a",
        "ttl": "5",
        "quiet": True,
    }
    invocation.given(given)
    line = shlex.split(invocation.command("prune", "p.json", "--expect", ID))
    assert line[:5] == ["mlflow-gc", "prune", "p.json", "--expect", ID]
    assert line[5:] == [
        *("--tracking-uri", "https://mlflow.example.com/base"),
        *("--registry-uri", "http://other:1"),
        *("--workspace", "team a"),
    ]
    assert invocation.command("show", "p.json") == "mlflow-gc show p.json", "it talks to no server"


@pytest.mark.parametrize(
    ("env", "server", "flags"),
    [
        ({}, {}, []),
        ({"MLFLOW_TRACKING_URI": "http://mlflow:5000/"}, {}, []),
        ({"MLFLOW_TRACKING_URI": "http://me:pw@mlflow:5000"}, {}, []),
        ({"MLFLOW_TRACKING_URI": ""}, {}, ["--tracking-uri", "http://mlflow:5000"]),
        ({"MLFLOW_TRACKING_URI": "", "MLFLOW_TRACKING_TOKEN": "t"}, {}, []),
        ({"MLFLOW_TRACKING_URI": "http://b"}, {}, []),
        ({"MLFLOW_REGISTRY_URI": "http://r"}, {}, []),
        ({"MLFLOW_TRACKING_TOKEN": "t"}, {"registry_uri": "http://r"}, []),
        ({}, {"registry_uri": "http://r"}, ["--registry-uri", "http://r"]),
        ({}, {"workspace": "a"}, ["--workspace", "a"]),
        ({"MLFLOW_WORKSPACE": "a"}, {"workspace": "a"}, []),
        ({"MLFLOW_WORKSPACE": "b"}, {"workspace": "a"}, ["--workspace", "a"]),
        ({"MLFLOW_TRACKING_URI": ""}, {"tracking_uri": "http://***", "registry_uri": "http://***"}, []),
    ],
)  # fmt: skip
def test_a_plan_names_what_the_environment_does_not(env, server, flags, monkeypatch):
    """``show`` runs where no server is set: what it prints is for the server of the plan.

    Never where a token could be led astray by a file that somebody made.
    """
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    line = invocation.command("check", "p.json", server={**SERVER, **server})
    assert shlex.split(line) == ["mlflow-gc", "check", "p.json", *flags]


@pytest.mark.parametrize(
    ("env", "flags"),
    [
        ({"MLFLOW_TRACKING_URI": ""}, []),
        ({"MLFLOW_TRACKING_URI": "http://mlflow:5000/"}, ["--tracking-uri", "http://mlflow:5000/"]),
        ({"MLFLOW_TRACKING_URI": "http://a", "MLFLOW_TRACKING_TOKEN": "t"}, ["--tracking-uri", "http://a"]),
        ({"MLFLOW_TRACKING_URI": "http://me:pw@mlflow:5000"}, []),
        ({"MLFLOW_TRACKING_URI": " ", "MLFLOW_TRACKING_TOKEN": "t"}, []),
        ({"MLFLOW_TRACKING_URI": "", "MLFLOW_TRACKING_TOKEN": "t", "MLFLOW_WORKSPACE": "a"}, ["--workspace", "a"]),
    ],
)  # fmt: skip
def test_a_folder_for_other_containers_needs_commands_for_them(
    env: dict[str, str], flags: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """The variables of this job are not set in the container where the command is pasted."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert shlex.split(invocation.command("restore", "j")) == ["mlflow-gc", "restore", "j"]
    monkeypatch.setenv("MLFLOW_GC_DIR", str(tmp_path))
    assert shlex.split(invocation.command("restore", "j")) == ["mlflow-gc", "restore", "j", *flags]
    assert invocation.command("show", "p.json") == "mlflow-gc show p.json"


def test_a_purge_is_continued_on_the_same_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """As far as that can be printed."""
    given = {
        "tracking_uri": "http://mlflow:5000",
        "backend_store_uri": "sqlite:///mlflow.db",
        "artifacts_destination": "s3://bucket/path",
    }
    invocation.given(given)
    on_server = ["--tracking-uri", "http://mlflow:5000"]
    on_storage = ["--backend-store-uri", "sqlite:///mlflow.db"]
    on_storage += ["--artifacts-destination", "s3://bucket/path"]
    line = shlex.split(invocation.command("purge", "p.json"))
    assert line == ["mlflow-gc", "purge", "p.json", *on_server, *on_storage]
    line = shlex.split(invocation.command("prune", "p.json"))
    assert line == ["mlflow-gc", "prune", "p.json", *on_server]
    invocation.given({"backend_store_uri": "postgresql://me:s3cret@db/mlflow"})
    assert invocation.command("purge", "p.json") == "mlflow-gc purge p.json"
    invocation.given({})
    monkeypatch.setenv("MLFLOW_GC_DIR", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "sqlite:///mlflow.db")
    line = shlex.split(invocation.command("purge", "p.json"))
    assert line == ["mlflow-gc", "purge", "p.json", "--backend-store-uri", "sqlite:///mlflow.db"]


def test_paths_are_arguments():
    assert invocation.file_argument("-rf.json") == "./-rf.json"
    assert invocation.file_argument("-") == "PLAN"
    assert invocation.command("restore", "my plan.json") == "mlflow-gc restore 'my plan.json'"
