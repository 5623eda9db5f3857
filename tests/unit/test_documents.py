"""README and docs say what the program does: codes, reasons, links (commands: tests/docs)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT
from support.pages import PAGES

from mlflow_gc.domain.reasons import Reason
from mlflow_gc.errors import ExitCode


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links name files of the repository."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_reason_is_explained() -> None:
    """All that a plan can say, but the one of prune's own."""
    text = (ROOT / "docs" / "decisions.md").read_text()
    missing = {r.value for r in Reason} - set(re.findall(r"`(\w+)`", text))
    assert not missing


def test_every_exit_code_is_explained() -> None:
    """In the table of the reference."""
    text = (ROOT / "docs" / "reference.md").read_text()
    table = text[text.index("## Exit codes") : text.index("## The plan")]
    first_cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("|")]
    listed = {int(code) for cell in first_cells for code in re.findall(r"\d+", cell)}
    assert listed == {int(code) for code in ExitCode}


def test_the_policy_of_the_readme_is_one(tmp_path: Path) -> None:
    """And the program understands all of it."""
    text = (ROOT / "README.md").read_text()
    (policy,) = re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "mlflow-gc.yml").write_text(policy)
    found = subprocess.run(
        [sys.executable, "-m", "mlflow_gc", "policy", "explain"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(ROOT)},
    ).stdout
    assert "1. production: experiments named prod/*, and their runs" in found
    assert "the newest of each of the last 12 months that have something" in found
    assert "the 3 with the highest auc (runs only)" in found
