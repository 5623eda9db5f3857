"""What the program prints to go on with can be pasted as it stands."""

from __future__ import annotations

import math
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import depth
from support.proxy import FORBIDDEN, SERVER_ERROR
from support.world import FRESH

if TYPE_CHECKING:
    from support.bench import Bench
    from support.proxy import Proxy
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


def test_what_to_ask_when_nothing_is_deleted(world: World, tmp_path: Path) -> None:
    """Each question is a line that can be pasted, with the server that was given as a flag."""
    world.run(world.experiment(age=FRESH), tags={"mlflow_gc.keep": "true"})
    start = [*STARTS["script"], "report", "--tracking-uri", world.uri]
    report = paste(shlex.join(start), tmp_path)
    assert "Nothing to delete." in report.stdout
    assert "its owner set the keep tag (keep_tag)" in report.stdout
    for label, answer in (("Explain", "keep_tag"), ("Younger", "Plan:"), ("Space", world.uri)):
        asked = paste(offered(label, report.stdout), tmp_path)
        assert asked.returncode == 0, asked.stderr
        assert answer in asked.stdout


def _active(world: World) -> set[tuple[str, str]]:
    from support import oracle

    return oracle.look(world.database).active


def test_the_approval_stays_in_the_commands_to_go_on(bench: Bench, proxy: Proxy) -> None:
    """``--expect``, of a prune that failed in part and of a restore, where this machine asks for it."""
    world = bench.world
    runs = {*world.bulk_runs(world.experiment(age=FRESH), 3)}
    plan = bench.report()
    env = {"MLFLOW_TRACKING_URI": proxy.uri, "MLFLOW_GC_REQUIRE_EXPECT": "1"}
    approved = ("--expect", plan.document["plan_id"])
    proxy.fail("POST", "runs/delete$", SERVER_ERROR, body=min(runs), times=math.inf)
    failed = bench.cli("prune", plan.path, *approved, env=env).expect(3)
    proxy.forget()
    go_on = offered(".*To go on", failed.err)
    assert shlex.join(approved) in go_on
    bench.cli(*shlex.split(go_on)[1:], env=env).expect(0)
    assert not {("run", run) for run in runs} & bench.state().active
    journal = plan.path.with_name(f"{plan.path.name}.journal.jsonl")
    restored = bench.cli("restore", journal, *approved, "--yes", env=env).expect(0)
    assert shlex.join(approved) in offered("Keep", restored.text)


def test_an_account_that_sees_less_is_not_another_server(bench: Bench, proxy: Proxy) -> None:
    """Whichever of the two made the plan: what the other may not read is named, not an address."""
    world = bench.world
    world.run(world.experiment(age=FRESH))
    plan = bench.report()
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    proxy.fail("GET", "experiments/get$", FORBIDDEN, query="experiment_id=0", times=math.inf)
    for command in ("prune", "check"):
        refused = bench.cli(command, plan.path, env=env).expect(5)
        assert "account may not read it" in refused.text
        assert "Use an account that may" in refused.text
    lesser = bench.report(env=env, name="lesser.json", codes=(0, 5))
    refused = bench.cli("prune", lesser.path).expect(5)
    assert "the account that made it" in refused.err
    assert "was made for another server" not in refused.err
