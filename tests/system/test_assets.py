"""The scripts of the HTML report parse, and the wheel holds them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from support import REPOSITORY, ROOT

from mlflow_gc import __version__
from mlflow_gc.render.html.page import SCRIPTS, STYLE, asset

TEMPLATES = ("page.html", "charts.html", "table.html")


@pytest.mark.smoke
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_parse(name, tmp_path):
    script = tmp_path / name
    script.write_text(asset(name), encoding="utf-8")
    subprocess.run(["node", "--check", script], check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run([*command, "--directory", folder], cwd=ROOT, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    return zipfile.ZipFile(file)


def test_the_wheel_holds_the_assets(wheel):
    names = set(wheel.namelist())
    assert {f"mlflow_gc/render/html/{name}" for name in (STYLE, *TEMPLATES, *SCRIPTS)} <= names


def test_links_of_the_readme_lead_somewhere_from_the_page_of_an_index(wheel):
    """There is no repository around it; each names a file of this revision."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    text = wheel.read(name).decode().partition("\n\n")[2]
    links = re.findall(r"\]\(([^)#]+)", text)
    page = f"https://github.com/{REPOSITORY}/blob/v{__version__}/"
    image = f"https://raw.githubusercontent.com/{REPOSITORY}/v{__version__}/"
    files = [re.sub(f"^({page}|{image})|[?]sanitize=true$", "", link) for link in links]
    assert len(files) > 30
    assert {"docs/images/session.svg", "docs/tutorial.md"} <= set(files)
    assert not [file for file in files if not (ROOT / file).is_file()]
