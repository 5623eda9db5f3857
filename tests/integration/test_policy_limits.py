"""A policy file that would fill the memory or never ends is refused before it can.

In a process of its own with little memory and little time: a defect must not take the tests along.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from support import ROOT, depth

_BOUNDED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1_000_000_000,) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (20,) * 2)
from pathlib import Path
from mlflow_gc.errors import UsageProblem
from mlflow_gc.policy.loader import read_policy_file
try:
    read_policy_file(Path(sys.argv[1]))
except UsageProblem as problem:
    print(problem.message)
"""


@pytest.mark.parametrize(
    "place",
    depth.some(
        [
            "bomb: {}",
            "guards: {{max_share: {{runs: {}}}}}",
            "? {}\n: 1",
            "min_age: {}",
            "expire_after: {}",
            "keep_last: {}",
            "keep_last: {{runs: {}}}",
            "guards: {{max_share: {}}}",
            "evaluation_runs: {}",
        ],
        3,
    ),
)
def test_a_billion_laughs_do_not_fill_the_memory(tmp_path, place):
    """Ten lists of ten names for the list before: refused without ever being written out."""
    laughs = "l0: &l0 [ha,ha,ha,ha,ha,ha,ha,ha,ha,ha]\n" + "".join(
        f"l{n}: &l{n} [{','.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 11)
    )
    path = tmp_path / "p.yml"
    path.write_text(f"version: 1\n{laughs}{place.format('*l10')}\n")
    ended = subprocess.run(
        [sys.executable, "-c", _BOUNDED, path],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "p.yml" in ended.stdout
    assert len(ended.stdout) < 2000


def test_a_device_that_never_ends_is_refused():
    """Reading it would end with the memory."""
    code = _BOUNDED.replace("UsageProblem", "GcError")
    ended = subprocess.run(
        [sys.executable, "-c", code, "/dev/zero"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stderr[-500:]
    assert "/dev/zero" in ended.stdout
