"""The scripts of the HTML report parse, and the wheel brings them along."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from support import ROOT

from mlflow_gc.render.html.page import SCRIPTS, STYLE, asset

TEMPLATES = ("page.html", "charts.html", "table.html")


@pytest.mark.smoke
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_parse(name, tmp_path):
    script = tmp_path / name
    script.write_text(asset(name), encoding="utf-8")
    subprocess.run(["node", "--check", script], check=True)


def test_the_wheel_holds_the_assets():
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            [
                sys.executable,
                "-m",
                "hatchling",
                "build",
                "--target",
                "wheel",
                "--directory",
                directory,
            ],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        (wheel,) = Path(directory).glob("*.whl")
        names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"mlflow_gc/render/html/{name}" for name in (STYLE, *TEMPLATES, *SCRIPTS)} <= names
