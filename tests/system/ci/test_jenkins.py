"""docs/how-to/jenkins.md: the shell of the Jenkinsfile, step by step."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import oracle
from support.pages import block_for
from support.plans import Plan
from support.world import FRESH

if TYPE_CHECKING:
    from support.world import World

TEXT = block_for("how-to/jenkins.md", "Jenkinsfile")
SCRIPTS = re.findall(r"sh '([^']+)'|script: '([^']+)'", TEXT)
REPORT, PLAN_ID, HTML, APPLY = (
    words for words in (a or b for a, b in SCRIPTS) if "mlflow-gc " in words
)


@pytest.fixture
def workspace(world: World, tmp_path: Path) -> Path:
    """A workspace with the environment that the first step makes."""
    world.bulk_runs(world.experiment(age=FRESH), 3)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    return tmp_path


def run(script: str, where: Path, uri: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run one ``sh`` step as Jenkins does."""
    return subprocess.run(
        ["sh", "-xe", "-c", script],
        cwd=where,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(where),
            "MLFLOW_TRACKING_URI": uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            **env,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_report_approve_apply(world: World, workspace: Path) -> None:
    """2 is "there is something"; the digest binds what is applied to what was shown."""
    assert run(REPORT, workspace, world.uri).returncode == 2
    plan_id = run(PLAN_ID, workspace, world.uri).stdout.strip()
    assert plan_id == Plan.load(workspace / "prune-plan.json").plan_id
    assert run(HTML, workspace, world.uri).returncode == 0
    assert "<!doctype html>" in (workspace / "prune-plan.html").read_text().lower()
    before = oracle.look(world.database)
    for wrong in ("", "sha256:" + "0" * 64):
        assert run(APPLY, workspace, world.uri, PLAN_ID=wrong).returncode == 5
    assert oracle.look(world.database) == before
    assert run(APPLY, workspace, world.uri, PLAN_ID=plan_id).returncode == 0
    assert list(workspace.glob("*.journal.jsonl")), "what is archived"
    assert run(REPORT, workspace, world.uri).returncode == 0, "nothing is left, nobody is asked"


def test_the_question_comes_before_the_job_that_deletes() -> None:
    """No executor waits, the token that deletes is bound after the approval only."""
    assert re.search(r"pipeline \{\s+agent none", TEXT)
    stages = re.split(r"stage\('", TEXT)[1:]
    assert [stage.partition("'")[0] for stage in stages] == ["Report", "Approve", "Apply"]
    report, approve, apply = stages
    assert 'input message: "Apply ${env.PLAN_ID}?"' in approve
    assert "agent" not in approve
    bound = re.search(r"credentialsId: 'mlflow-prune-token'[^{]*\{([^}]*)\}", apply)
    assert bound, "the token that deletes"
    assert re.findall(r"sh '(.*)'", bound[1]) == [APPLY], "prune alone gets it"
    assert "(env.BRANCH_NAME ?: 'main') == 'main'" in apply
    assert "environment { MLFLOW" not in TEXT, "a token of a whole stage"
    assert "mlflow-prune-token" not in report + approve


def test_braces_are_balanced() -> None:
    """As far as can be told without Groovy."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"|//[^\n]*", "", TEXT)
    for opened, closed in ("{}", "()", "[]"):
        assert bare.count(opened) == bare.count(closed)
