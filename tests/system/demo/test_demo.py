"""``mlflow-gc demo`` as a process: it tells its story, and leaves nothing or what was asked for."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlflow_gc.apply.journal.reader import read_journal
from mlflow_gc.demo.story import tell
from mlflow_gc.demo.walkthrough import PLAN
from mlflow_gc.plan.verification import load_plan

TIMEOUT_S = 280

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Shown:
    """How a demo ended, what it wrote and where it worked."""

    code: int
    out: str
    err: str
    temporary: Path

    @property
    def uri(self) -> str:
        found = re.search(r"http://127\.0\.0\.1:\d+", self.out)
        assert found, self.out + self.err
        return found[0]


def start(temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    # Settings of a user that must not matter.
    env = {
        **os.environ,
        "TMPDIR": str(temporary),
        "COLUMNS": "250",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "MLFLOW_TRACKING_ENTITY_TTL": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "mlflow_gc", "demo", *arguments],
        env=env,
        cwd=temporary,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[str], temporary: Path) -> Shown:
    out, err = process.communicate(timeout=TIMEOUT_S)
    return Shown(process.returncode, out, err, temporary)


def answers(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def wait_for(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    temporary = tmp_path_factory.mktemp("demo")
    return finish(start(temporary), temporary)


@pytest.fixture(scope="module")
def retained(tmp_path_factory: pytest.TempPathFactory):
    temporary = tmp_path_factory.mktemp("kept")
    shown = finish(start(temporary, "--keep"), temporary)
    found = re.search(r"kill -- -(\d+)", shown.out)
    try:
        yield shown
    finally:
        if found:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(found[1]), signal.SIGKILL)


@pytest.mark.smoke
def test_the_demo_runs_the_real_commands_in_order(shown: Shown):
    assert shown.code == 0, shown.out + shown.err
    commands = re.findall(r"^\$ .* -m mlflow_gc (.*)$", shown.out, re.MULTILINE)
    assert [command.split()[0] for command in commands] == [
        "report", "show", "report", "diff", "prune",
    ]  # fmt: skip


@pytest.mark.smoke
def test_names_from_the_server_cannot_attack_the_reader(shown: Shown):
    assert not set(shown.out + shown.err) & {"\x1b", "\u202e", "\r", "\x07", "\x08"}
    # A second line of a name would begin a line of its own.
    attacks = {line for run in tell(0).runs for line in run.name.split("\n")[1:]}
    assert attacks
    for line in (shown.out + shown.err).splitlines():
        assert not line.strip().startswith(tuple(attacks)), line


@pytest.mark.smoke
def test_nothing_is_left_behind(shown: Shown):
    assert list(shown.temporary.iterdir()) == []
    assert not answers(shown.uri)


def test_keep_leaves_the_server_and_its_files(retained: Shown):
    assert retained.code == 0, retained.out + retained.err
    assert answers(retained.uri)
    assert f"export MLFLOW_TRACKING_URI={retained.uri}" in retained.out
    (directory,) = retained.temporary.iterdir()
    assert str(directory) in retained.out


def test_the_server_lacks_what_the_journal_deleted(retained: Shown):
    (directory,) = retained.temporary.iterdir()
    plan = load_plan(directory / PLAN)
    (session,) = read_journal(directory / f"{PLAN}.journal.jsonl")
    assert not [r for r in session.records if r["outcome"] == "failed"]
    deleted = Counter(r["kind"] for r in session.records if r["outcome"] == "deleted")
    again = retained.temporary / "again.json"
    report = [sys.executable, "-m", "mlflow_gc", "report", "-o", str(again)]
    subprocess.run(report, check=True, env={**os.environ, "MLFLOW_TRACKING_URI": retained.uri})
    left = load_plan(again)
    again.unlink()
    for kind in ("experiment", "run", "model_version"):
        before, after = (p["summary"][f"{kind}s"]["scanned"] for p in (plan, left))
        assert deleted[kind] == before - after > 0


def test_what_the_colleague_protected_is_skipped_with_a_reason(retained: Shown):
    (directory,) = retained.temporary.iterdir()
    (session,) = read_journal(directory / f"{PLAN}.journal.jsonl")
    skipped = {(r["kind"], r["reason"]) for r in session.records if r["outcome"] == "skipped"}
    assert {kind for kind, _ in skipped} == {"run", "model_version"}
    assert all(reason for _, reason in skipped)
    assert "not deleted: run" in retained.out


def test_what_keep_prints_stops_and_removes_everything(retained: Shown):
    found = re.search(r"kill -- -\d+; rm -rf \S+", retained.out)
    assert found, retained.out
    subprocess.run(["sh", "-c", found[0]], check=True)
    wait_for(lambda: not answers(retained.uri))
    assert list(retained.temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
@pytest.mark.parametrize("moment", ["starting", "writing", "reporting"])
def test_a_signal_cleans_up(number: signal.Signals, code: int, moment: str, tmp_path: Path):
    process = start(tmp_path)
    assert process.stdout
    seen = ""
    try:
        if moment == "starting":
            wait_for(lambda: list(tmp_path.glob("*/server/server.log")))
        else:
            mark = {"writing": "runs at", "reporting": "report -o prune-plan.json"}[moment]
            for line in process.stdout:
                seen += line
                if mark in line:
                    break
        time.sleep(1.0)
    finally:
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, seen + out + err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
    uris = re.findall(r"http://127\.0\.0\.1:\d+", seen)
    assert not [uri for uri in uris if answers(uri)]
