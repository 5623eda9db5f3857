"""The documentation site, built once for all tests that look at it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support import ROOT
from support.site import Site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The site, built as ``make docs`` does: a warning is an error."""
    if sys.version_info < (3, 11):
        pytest.skip("Sphinx needs Python 3.11 or newer here")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [
            *[sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-E", "-q"],
            *["-d", str(folder / "doctrees"), str(ROOT / "docs"), str(folder / "html")],
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert not built.stderr
    return Site(folder / "html")
