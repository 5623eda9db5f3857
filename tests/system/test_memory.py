"""A plan takes the memory of its file, not that of half a million dictionaries."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support import depth
from unit.busy_server import busy_plan

from mlflow_gc.domain.timestamps import now_ms
from mlflow_gc.plan.writer import pieces, write

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")

RUNS = 40_000


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("memory") / "plan.json"
    write(pieces(busy_plan(RUNS, now_ms())), path)
    return path


def _peak(*words: str) -> int:
    """Run the program without coverage, whose own memory would count; peak memory in bytes."""
    # Linux counts the memory of the parent into a child's peak: a small process stands between.
    small = (
        "import os, subprocess, sys\n"
        "process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
        "_, status, usage = os.wait4(process.pid, 0)\n"
        "print(os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024)\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    command = [sys.executable, "-m", "mlflow_gc", *words]
    out = subprocess.run(
        [sys.executable, "-c", small, *command],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    code, peak = map(int, out.split())
    assert code in {0, 2}
    return peak


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("words", "plans"),
    depth.some(
        [
            (("diff", "PLAN", "PLAN"), 2),
            (("show", "PLAN"), 1),
            (("validate", "PLAN"), 1),
            (("show", "PLAN", "--format", "json"), 1),
            (("show", "PLAN", "--format", "ndjson"), 1),
            (("show", "PLAN", "--format", "markdown"), 1),
        ],
        2,
    ),
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_memory_is_that_of_the_files(plan: Path, words: tuple[str, ...], plans: int) -> None:
    """Twice that at most, beside the program's own; as dictionaries it would be six times."""
    alone = _peak("schema", "plan")
    peak = _peak(*(str(plan) if word == "PLAN" else word for word in words))
    assert peak < alone + 30 * 1024**2 + 2 * plans * plan.stat().st_size
