"""docs/how-to/gitlab.md: the jobs keep to GitLab's schema, and do what the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support import oracle
from support.pages import block_for
from support.plans import Journal, Plan
from support.world import FRESH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.world import World

BIN = Path(sys.executable).parent
TEXT = block_for("how-to/gitlab.md", ".gitlab-ci.yml")
JOBS = yaml.safe_load(TEXT)
MARKER = "<!-- mlflow-gc -->"


class GitLab:
    """The notes of merge request 7 of project 1."""

    def __init__(self) -> None:
        self.notes: list[dict[str, Any]] = []
        handler = type("Handler", (_Handler,), {"gitlab": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def uri(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}/api/v4"

    def add(self, author: int, body: str) -> None:
        """Somebody writes a note."""
        self.notes.append({"id": 50 + len(self.notes), "author": {"id": author}, "body": body})

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    gitlab: GitLab

    def _handle(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        form = dict(urllib.parse.parse_qsl(self.rfile.read(size).decode()))
        path = urllib.parse.urlsplit(self.path).path
        notes = "/api/v4/projects/1/merge_requests/7/notes"
        status, answer = 404, {}
        if self.headers["PRIVATE-TOKEN"] != "gitlab-token":
            status = 401
        elif self.command == "GET" and path == "/api/v4/user":
            status, answer = 200, {"id": 9}
        elif self.command == "GET" and path == notes:
            status, answer = 200, self.gitlab.notes
        elif self.command == "POST" and path == notes:
            self.gitlab.add(9, form["body"])
            status = 201
        elif self.command == "PUT" and (found := re.fullmatch(rf"{notes}/(\d+)", path)):
            (note,) = [n for n in self.gitlab.notes if n["id"] == int(found[1])]
            # GitLab lets nobody change the words of others.
            status = 200 if note["author"]["id"] == 9 else 403
            note["body"] = form["body"] if status == 200 else note["body"]
        payload = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = do_PUT = _handle  # noqa: N815 - the names are http.server's

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def gitlab() -> Iterator[GitLab]:
    """GitLab's REST API."""
    running = GitLab()
    yield running
    running.close()


def run(job: str, where: Path, uri: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the script of a job, line after line in one shell, as GitLab's runner does."""
    script = "\n".join(["set -eo pipefail", *JOBS[job]["script"]])
    return subprocess.run(
        ["bash", "-c", script],
        cwd=where,
        env={
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(where),
            "MLFLOW_TRACKING_URI": uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "NO_PROXY": "127.0.0.1",
            **env,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def dotenv(where: Path) -> dict[str, str]:
    """The variables that a job hands on."""
    lines = (where / "plan.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_the_jobs_keep_to_the_schema(tmp_path: Path) -> None:
    """GitLab's own, as check-jsonschema has it."""
    file = tmp_path / ".gitlab-ci.yml"
    file.write_text(TEXT)
    schema = ("--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci")
    subprocess.run([BIN / "check-jsonschema", *schema, file], check=True)


@pytest.mark.parametrize("job", ["report", "apply"])
def test_shellcheck_finds_nothing(job: str, tmp_path: Path) -> None:
    """In the scripts of the jobs."""
    script = tmp_path / "job.sh"
    script.write_text("\n".join(["#!/usr/bin/env bash", *JOBS[job]["script"]]))
    subprocess.run([BIN / "shellcheck", script], check=True)


def test_only_a_person_starts_the_job_that_deletes() -> None:
    """In no pipeline does it start by itself, and it has an environment to protect."""
    apply = JOBS["apply"]
    (rule,) = apply["rules"]
    assert rule["when"] == "manual"
    assert rule["if"].endswith("$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"), "main alone deletes"
    assert apply["environment"] == "mlflow-prune"
    assert apply["variables"] == {"GIT_STRATEGY": "none"}
    assert apply["needs"] == ["report"]
    assert apply["artifacts"]["when"] == "always"


def test_report_then_apply(world: World, tmp_path: Path) -> None:
    """The plan of this pipeline is applied, another one is refused."""
    runs = world.bulk_runs(world.experiment(age=FRESH), 3)
    report = run("report", tmp_path, world.uri)
    assert report.returncode == 0, report.stderr
    for file in JOBS["report"]["artifacts"]["paths"]:
        assert (tmp_path / file).stat().st_size
    plan = Plan.load(tmp_path / "plan" / "prune-plan.json")
    handed_on = dotenv(tmp_path)
    assert handed_on == {"PLAN_ID": plan.plan_id}

    before = oracle.look(world.database)
    typed = run("apply", tmp_path, world.uri, **handed_on, EXPECT="sha256:" + "0" * 64)
    assert typed.returncode == 5
    assert oracle.look(world.database) == before

    applied = run("apply", tmp_path, world.uri, **handed_on)
    assert applied.returncode == 0, applied.stderr
    (journal,) = JOBS["apply"]["artifacts"]["paths"]
    deleted = Journal.load(tmp_path / journal).with_outcome("deleted")
    assert deleted == {("run", run_id) for run_id in runs}


def test_without_a_digest_nothing_is_applied(world: World, tmp_path: Path) -> None:
    """The variable of the report job is missing: an empty digest fits no plan."""
    world.bulk_runs(world.experiment(age=FRESH), 3)
    run("report", tmp_path, world.uri)
    before = oracle.look(world.database)
    assert run("apply", tmp_path, world.uri).returncode == 5
    assert oracle.look(world.database) == before


def test_an_exceeded_guard_fails_the_job(world: World, tmp_path: Path) -> None:
    """5, and the plan is there for the artifacts."""
    world.bulk_runs(world.experiment(age=FRESH), 3)
    policy = "version: 1\nguards: {max_deletions: {runs: 1}}\n"
    (tmp_path / "mlflow-gc.yml").write_text(policy)
    report = run("report", tmp_path, world.uri)
    assert report.returncode == 5
    assert (tmp_path / "plan" / "prune-plan.json").exists()


def test_one_note_is_kept_up_to_date(world: World, gitlab: GitLab, tmp_path: Path) -> None:
    """Ours: not one of somebody who copied the first line."""
    gitlab.add(3, f"{MARKER} a copy")
    gitlab.add(9, "another job of this account")
    env = {
        "CI_API_V4_URL": gitlab.uri,
        "CI_PROJECT_ID": "1",
        "CI_MERGE_REQUEST_IID": "7",
        "MLFLOW_GC_GITLAB_TOKEN": "gitlab-token",
    }
    assert run("report", tmp_path, world.uri, **env).returncode == 0
    world.bulk_runs(world.experiment("second", age=FRESH), 3)
    second = run("report", tmp_path, world.uri, **env)
    assert second.returncode == 0, second.stderr
    assert len(gitlab.notes) == 3
    assert gitlab.notes[0]["body"] == f"{MARKER} a copy"
    assert gitlab.notes[2]["body"].startswith(f"{MARKER}\n")
    assert Plan.load(tmp_path / "plan" / "prune-plan.json").plan_id in gitlab.notes[2]["body"]
