"""install.sh: what the lock file names and nothing else, and the program of the action's commit."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
import yaml
from support import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def wheel(directory: Path, name: str) -> str:
    """Build a wheel of one module by hand; returns its SHA-256."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256="
        f"{base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},"
        f"{len(text)}\n"
        for path, text in files.items()
    )
    file = directory / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The action's checkout, with a package in place of mlflow and all it needs."""
    action = tmp_path / "action"
    shutil.copytree(ROOT / ".github" / "action", action / ".github" / "action")
    shutil.copytree(ROOT / "scripts", action / "scripts")
    (action / "mlflow_gc").mkdir()
    (action / "mlflow_gc" / "__init__.py").touch()
    (action / "mlflow_gc" / "__main__.py").write_text("import needed; print('mlflow-gc 9.9')\n")
    digest = wheel(tmp_path, "needed")
    (action / "requirements.txt").write_text(f"needed==1.0 --hash=sha256:{digest}\n")
    return action


def install(
    checkout: Path, *, workspace: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the step without any network, in a workspace."""
    temp = checkout.parent / "temp"
    temp.mkdir(exist_ok=True)
    return subprocess.run(
        ["bash", str(checkout / ".github" / "action" / "install.sh")],
        cwd=workspace,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(temp),
            "RUNNER_TEMP": str(temp),
            "MODE": "report",
            "NAME": "x",
            "PYTHON": sys.executable,
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(checkout.parent),
            **env,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_installs_what_the_lock_names(checkout: Path) -> None:
    """The program itself is that of the checkout; the second step of a job finds it ready."""
    done = install(checkout)
    assert done.returncode == 0, done.stderr
    assert "mlflow-gc 9.9" in done.stdout
    (checkout / "requirements.txt").write_text("unknown==1.0\n")
    again = install(checkout)
    assert again.returncode == 0
    assert again.stdout == ""


def test_another_commit_of_the_action_is_installed_anew(checkout: Path) -> None:
    """Two uses of different commits in one job."""
    assert install(checkout).returncode == 0
    other = checkout.rename(checkout.with_name("other"))
    (other / "mlflow_gc" / "__main__.py").write_text("import needed; print('mlflow-gc 8.8')\n")
    assert "mlflow-gc 8.8" in install(other).stdout


def test_a_package_with_another_hash_is_refused(checkout: Path) -> None:
    """Somebody replaced it on the index."""
    wheel_file = checkout.parent / "needed-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel_file, "a") as archive:
        archive.writestr("evil.py", "")
    done = install(checkout)
    assert done.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert "::error title=mlflow-gc::" in done.stdout
    # Half an environment is none.
    assert install(checkout).returncode == 1


def test_a_package_without_hash_is_refused(checkout: Path) -> None:
    """Nothing comes in unlocked."""
    (checkout / "requirements.txt").write_text("needed==1.0\n")
    assert install(checkout).returncode == 1


def test_a_python_that_is_too_old_is_named(checkout: Path, tmp_path: Path) -> None:
    """With the input that helps."""
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = install(checkout, PYTHON=str(old))
    assert done.returncode == 64
    assert "python-version" in done.stdout


PLANTED = ("venv", "ensurepip", "logging", "json", "sysconfig", "pip", "mlflow_gc", "sitecustomize")
"""Modules that an interpreter imports from where it runs, unless it is isolated."""


def plant(directory: Path, marker: Path) -> None:
    """Put modules there that leave a trace when they are imported."""
    for name in PLANTED:
        (directory / f"{name}.py").write_text(f"open({str(marker)!r}, 'a').write('{name} ')\n")


def test_nothing_of_the_workspace_is_run_and_no_credential_is_seen(
    checkout: Path, tmp_path: Path
) -> None:
    """A plan comes as an artifact, and whoever made that could put a ``venv.py`` beside it.

    What is installed are packages of others: neither token nor password is theirs to see.
    """
    workspace, marker, seen = (tmp_path / name for name in ("workspace", "imported", "seen"))
    workspace.mkdir()
    plant(workspace, marker)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nenv >>"{seen}"\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (checkout / "mlflow_gc" / "__main__.py").write_text(
        f"import os; open({str(seen)!r}, 'a').write(repr(dict(os.environ)))\n"
    )
    env = {
        "PYTHON": str(python),
        "PYTHONPATH": str(workspace),
        "MLFLOW_TRACKING_URI": "https://me:s3cret@mlflow.example.com",
        "MLFLOW_TRACKING_TOKEN": "s3cret",
        "MLFLOW_TRACKING_PASSWORD": "s3cret",
    }
    done = install(checkout, workspace=workspace, **env)
    assert done.returncode == 0, done.stderr
    assert not marker.exists(), marker.read_text()
    assert seen.read_text().count("RUNNER_TEMP") == 3, "a check, the environment, the program"
    assert "s3cret" not in seen.read_text()


def test_only_the_steps_that_talk_to_the_server_get_its_credentials() -> None:
    """Actions of others run in the same job, with what the job's own step was handed."""
    steps = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
    hidden = {"MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD"}
    for step in steps:
        blank = {name for name, value in step.get("env", {}).items() if value == ""}
        if step["name"] in {"Report", "Apply"}:
            assert not blank
        else:
            assert hidden <= blank, step["name"]
            # The address, which can hold a password, is needed to refuse before an installation.
            assert "MLFLOW_TRACKING_URI" in blank or step["name"] == "Install mlflow-gc"
