"""The first ten minutes of a new user: the commands of the README, as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import REPOSITORY, ROOT
from support.pages import blocks
from support.repository import snapshot
from support.world import FRESH

from mlflow_gc import __version__

if TYPE_CHECKING:
    from support.bench import Bench

BIN = Path(sys.executable).parent
README = ROOT / "README.md"
SHELL = [block.text for block in blocks(README) if block.language == "bash"]
(QUICKSTART,) = [text for text in SHELL if "MLFLOW_TRACKING_URI" in text]
INSTALL = [
    line for text in SHELL for line in text.splitlines() if "install" in line or "uvx" in line
]
URL = f"git+https://github.com/{REPOSITORY}"
FROM_REPOSITORY = [line for line in INSTALL if URL in line]


def commands() -> list[str]:
    """The five of the quickstart, without what the comments say."""
    lines = (line.partition(" #")[0].strip() for line in QUICKSTART.splitlines())
    return [line for line in lines if line.startswith("mlflow-gc")]


@pytest.mark.smoke
def test_the_quickstart_works_on_a_server(bench: Bench) -> None:
    """Five commands, each on what the one before has left."""
    runs = {("run", run) for run in bench.world.bulk_runs(bench.world.experiment(age=FRESH), 3)}
    *first, undo = [shlex.split(line)[1:] for line in commands()]
    assert [words[0] for words in [*first, undo]] == ["report", "show", "check", "prune", "restore"]
    for words in first:
        assert runs <= bench.state().active
        done = bench.cli(*words, cwd=bench.dir).expect(0)
    assert "3 deleted" in done.out
    assert not runs & bench.state().active
    code, _ = bench.cli.ask(*undo, answer="yes\n", prompt="Only 'yes': ", cwd=bench.dir)
    assert code == 0
    assert runs <= bench.state().active


@pytest.mark.smoke
def test_what_is_installed_from_the_repository_is_installed_from_an_index_too() -> None:
    """Three programs, each with both."""
    others = [line for line in INSTALL if URL not in line]
    assert len(FROM_REPOSITORY) == len(others) == 3
    for one, other in zip(FROM_REPOSITORY, others, strict=True):
        assert one.split()[0] == other.split()[0]
        assert other.partition("#")[0].strip().startswith(one.split()[0])
        assert "mlflow-gc" in other


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a repository with today's package."""
    return f"git+file://{snapshot(tmp_path_factory.mktemp('repository') / 'mlflow-gc')}"


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("line", FROM_REPOSITORY, ids=lambda line: line.split()[0])
def test_it_installs_from_a_repository(line: str, url: str, tmp_path: Path) -> None:
    """Without a checkout, into an environment of its own; needs a package index."""
    home = tmp_path / "home"
    subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True)
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PYTHON"))},
        "HOME": str(home),
        "PATH": f"{home / 'venv/bin'}:{home / '.local/bin'}:{BIN}:/usr/bin:/bin",
        "UV_NO_CONFIG": "1",
        "SSL_CERT_FILE": os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT", ""),
        "UV_DEFAULT_INDEX": os.environ.get("PIP_INDEX_URL", ""),
    }
    env = {name: value for name, value in env.items() if value}
    command = line.partition(" #")[0].replace(URL, url)
    if not command.startswith("uvx"):
        # What it depends on and is built with is found where the tests have it: pip takes minutes.
        env |= {"PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}
        env["PYTHONPATH"] = sysconfig.get_path("purelib")
    if command.startswith("pipx"):
        command = f"uvx {command}"
    done = _run(command, env)
    if not command.startswith("uvx --from"):
        assert re.search(str(home), _run("command -v mlflow-gc", env))
        assert "prune-plan.v1" in _run("mlflow-gc schema plan", env), "it brings its schemas along"
        done = _run("mlflow-gc --version", env)
    assert done.split()[-2:] == ["mlflow-gc", __version__]


def _run(command: str, env: dict[str, str]) -> str:
    done = subprocess.run(
        ["sh", "-c", command], env=env, capture_output=True, text=True, check=False, cwd=env["HOME"]
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout
