"""What the program prints to go on with can be pasted as it stands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import depth
from support.world import FRESH

if TYPE_CHECKING:
    from support.world import World

BIN = Path(sys.executable).parent
STARTS = {
    "module": [sys.executable, "-I", "-m", "mlflow_gc"],
    "script": [str(BIN / "mlflow-gc")],
}


def paste(line: str, where: Path) -> subprocess.CompletedProcess[str]:
    """Run a line in a shell that knows nothing of the server, and has no mlflow-gc on its path."""
    return subprocess.run(
        ["sh", "-c", line],
        cwd=where,
        env={"PATH": "/usr/bin:/bin", "HOME": str(where), "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def offered(label: str, printed: str) -> str:
    """The command that stands behind a label."""
    found = re.search(rf"^{label}:? +(.*)$", printed, re.MULTILINE)
    assert found, printed
    return found[1]


@pytest.mark.parametrize("start", depth.some([*STARTS], 1))
def test_from_report_to_undo(start: str, world: World, tmp_path: Path) -> None:
    """Report, review, apply, undo: each step is the line that the one before printed."""
    runs = world.bulk_runs(world.experiment(age=FRESH), 2)
    first = shlex.join(
        [*STARTS[start], "report", "-o", "my plan.json", "--tracking-uri", world.uri]
    )
    report = paste(first, tmp_path)
    assert report.returncode == 0, report.stderr
    review = paste(offered("Review", report.stdout), tmp_path)
    assert review.returncode == 0, review.stderr
    # show was told nothing of the server: the plan was.
    apply = offered("In CI", review.stdout)
    assert apply == offered("In CI", report.stdout)
    applied = paste(apply, tmp_path)
    assert applied.returncode == 0, applied.stderr
    assert "2 deleted" in applied.stdout
    undone = paste(f"{offered('Undo', applied.stdout)} --yes", tmp_path)
    assert undone.returncode == 0, undone.stderr
    assert {("run", run) for run in runs} <= _active(world)


def _active(world: World) -> set[tuple[str, str]]:
    from support import oracle

    return oracle.look(world.database).active
