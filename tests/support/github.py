"""GitHub as far as a workflow sees it: a runner for jobs and composite actions, and the REST API.

The runner does what actions/runner does (v2.336): it starts ``bash --noprofile --norc -e -o
pipefail FILE`` for each ``run``, reads outputs and summaries from files, and acts on the workflow
commands in the log (``ActionCommandManager.cs``, ``ActionCommand.cs``, ``FileCommandManager.cs``).
Actions by others that a recipe uses are played by a few lines each.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from support import REPOSITORY, ROOT
from support.expressions import condition, interpolate

SUMMARY_LIMIT = 1024 * 1024
COMMENT_LIMIT = 65_536
JOB_TOKEN = "job-token"
_COMMANDS = frozenset(
    {
        *("notice", "warning", "error", "debug", "group", "endgroup", "add-mask", "echo"),
        *("add-matcher", "remove-matcher", "save-state", "set-output", "set-env", "add-path"),
        "stop-commands",
    }
)


@dataclass
class Step:
    """How one step ended.

    Attributes:
        name: of the step.
        code: exit code of a ``run``; 0 or 1 of an action.
        log: everything it printed.
        outputs: what it set.
        summary: what it wrote for the run's page; the runner drops what is too long.
        commands: the workflow commands that the runner acted on.
    """

    name: str
    code: int = 0
    log: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    commands: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Job:
    """How a job or an action ended: its steps, those that were skipped left out."""

    steps: list[Step] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    name: str = ""

    @property
    def failed(self) -> Step | None:
        """The step that failed first."""
        return next((step for step in self.steps if step.code), None)

    @property
    def code(self) -> int:
        """Exit code of the step that failed, or 0."""
        return self.failed.code if self.failed else 0

    @property
    def log(self) -> str:
        """Everything that was printed."""
        return "".join(step.log for step in self.steps)

    @property
    def summary(self) -> str:
        """The run's page."""
        return "".join(step.summary for step in self.steps)

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Every workflow command that was acted on."""
        return [command for step in self.steps for command in step.commands]

    def expect(self, code: int) -> Job:
        """Assert how it ended; returns itself."""
        assert self.code == code, f"ended with {self.code}:\n{self.log}"
        return self


class Runner:
    """A machine that runs one workflow.

    Args:
        scratch: an empty directory for everything.
        api: address of the REST API.
        env: environment of every process, on top of the least a runner has.
        event: name and payload of what started the workflow.
        base_ref: the branch that a pull request goes to.
    """

    def __init__(
        self,
        scratch: Path,
        api: str,
        *,
        env: dict[str, str] | None = None,
        event: tuple[str, dict[str, Any]] = ("workflow_dispatch", {}),
        base_ref: str = "",
        token: str = JOB_TOKEN,
    ) -> None:
        self.workspace = scratch / "workspace"
        self.artifacts = scratch / "artifacts"
        self._temp = scratch / "temp"
        for directory in (self.workspace, self.artifacts, self._temp, scratch / "home"):
            directory.mkdir(parents=True, exist_ok=True)
        event_file = scratch / "event.json"
        event_file.write_text(json.dumps(event[1]))
        self.github: dict[str, Any] = {
            "token": token,
            "event_name": event[0],
            "base_ref": base_ref,
            "ref": "refs/heads/main",
            "repository": "example-org/ml",
            "run_attempt": "1",
            "run_id": "77",
            "server_url": api,
        }
        self.inputs: dict[str, str] = {}
        self.variables: dict[str, str] = {}
        self.secrets: dict[str, str] = {}
        self.used: list[tuple[str, dict[str, str]]] = []
        """Actions by others, with their inputs."""
        self.checkout: Callable[[Path, dict[str, str]], None] = lambda _path, _inputs: None
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(scratch / "home"),
            "LANG": "C.UTF-8",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": api,
            "GITHUB_SERVER_URL": api,
            "GITHUB_REPOSITORY": "example-org/ml",
            "GITHUB_EVENT_NAME": event[0],
            "GITHUB_EVENT_PATH": str(event_file),
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_BASE_REF": base_ref,
            "RUNNER_TEMP": str(self._temp),
            **{k: v for k, v in os.environ.items() if k.startswith("COVERAGE_")},
            **(env or {}),
        }
        self._count = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._cancelled = False
        self.preinstall()

    def preinstall(self, python: str = "python3") -> None:
        """Put the tests' own environment where install.sh would build one from the lock file."""
        venv = self._temp / "mlflow-gc" / "venv"
        (venv / "bin").mkdir(parents=True)
        program = venv / "bin" / "python"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        program.chmod(0o755)
        (venv / "made-from").write_text(f"{ROOT} {python}")

    def forget_installation(self) -> None:
        """Let install.sh do its work."""
        shutil.rmtree(self._temp / "mlflow-gc")

    def cancel(self) -> None:
        """Cancel the job as a person does: SIGINT to the step's own process, and to no other."""
        self._cancelled = True
        assert self._process
        self._process.send_signal(signal.SIGINT)

    def action(self, env: dict[str, str] | None = None, **inputs: str) -> Job:
        """Run this repository's action; underscores in the names of inputs are hyphens."""
        given = {key.replace("_", "-"): value for key, value in inputs.items()}
        return self._composite(ROOT, given, env or {})

    def job(self, workflow: dict[str, Any], name: str, needs: dict[str, Job] | None = None) -> Job:
        """Run one job of a workflow whose conditions are fulfilled.

        Args:
            workflow: parsed YAML.
            name: key of the job.
            needs: the jobs before it.
        """
        definition = workflow["jobs"][name]
        context = {
            **self._context(),
            "needs": {key: {"outputs": job.outputs} for key, job in (needs or {}).items()},
        }
        job = Job(name=interpolate(definition.get("name", name), context))
        if not condition(definition.get("if", "success()"), context):
            job.name = ""
            return job
        self._steps(
            definition["steps"],
            context,
            {**workflow.get("env", {}), **definition.get("env", {})},
            job,
        )
        job.outputs = {
            key: interpolate(value, context) for key, value in definition.get("outputs", {}).items()
        }
        return job

    def _context(self) -> dict[str, Any]:
        return {
            "github": self.github,
            "vars": self.variables,
            "secrets": self.secrets,
            "inputs": self.inputs,
            "needs": {},
            "steps": {},
            "status": {"always": True, "success": True, "failure": False, "cancelled": False},
        }

    def _composite(self, path: Path, given: dict[str, str], env: dict[str, str]) -> Job:
        action = yaml.safe_load((path / "action.yml").read_text())
        unknown = set(given) - set(action["inputs"])
        assert not unknown, f"unknown inputs: {unknown}"
        context = self._context()
        context["inputs"] = {
            key: given.get(key, interpolate(each["default"], context))
            for key, each in action["inputs"].items()
        }
        job = Job()
        own = {**env, "GITHUB_ACTION_PATH": str(path)}
        self._steps(action["runs"]["steps"], context, own, job)
        job.outputs = {
            key: interpolate(each["value"], context) for key, each in action["outputs"].items()
        }
        return job

    def _steps(
        self, steps: list[dict[str, Any]], context: dict[str, Any], env: dict[str, str], job: Job
    ) -> None:
        for step in steps:
            context["status"] = {
                "always": True,
                "success": job.code == 0 and not self._cancelled,
                "failure": job.code != 0 and not self._cancelled,
                "cancelled": self._cancelled,
            }
            if not condition(step.get("if", "success()"), context):
                continue
            own_env = {
                **{key: interpolate(value, context) for key, value in env.items()},
                **{key: interpolate(value, context) for key, value in step.get("env", {}).items()},
            }
            if "run" in step:
                # Composite steps name their shell; of a job's steps bash is the default.
                done = self._run(step, own_env)
            else:
                inputs = {k: interpolate(v, context) for k, v in step.get("with", {}).items()}
                done = self._use(step, inputs, own_env, job)
            if step.get("continue-on-error"):
                done.code = 0
            job.steps.append(done)
            if "id" in step:
                context["steps"][step["id"]] = {"outputs": done.outputs}

    def _run(self, step: dict[str, Any], env: dict[str, str]) -> Step:
        assert step.get("shell", "bash") == "bash"
        assert "${{" not in step["run"], "an expression inside a shell script is an injection"
        self._count += 1
        files = {
            name: self._temp / f"{name.lower()}-{self._count}"
            for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV", "GITHUB_PATH")
        }
        for file in files.values():
            file.touch()
        script = self._temp / f"script-{self._count}.sh"
        script.write_text(step["run"])
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
            cwd=self.workspace,
            env={**self._env, **env, **{name: str(file) for name, file in files.items()}},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A shell cannot trap what was ignored when it began, as it is for `make test &`.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        printed, _ = self._process.communicate(timeout=300)
        log = printed.decode("utf-8", errors="surrogateescape")
        assert "Traceback" not in log, log
        for name in ("GITHUB_ENV", "GITHUB_PATH"):
            assert not files[name].read_text(), "the action changes the job around it"
        summary = files["GITHUB_STEP_SUMMARY"].read_text()
        return Step(
            str(step.get("name", step["run"])),
            self._process.returncode,
            log,
            read_outputs(files["GITHUB_OUTPUT"].read_text()),
            summary if len(summary.encode()) <= SUMMARY_LIMIT else "",
            read_commands(log),
        )

    def _use(
        self, step: dict[str, Any], inputs: dict[str, str], env: dict[str, str], job: Job
    ) -> Step:
        name = step["uses"].partition("@")[0]
        if name in {REPOSITORY, "./"}:
            inner = self._composite(ROOT, inputs, env)
            job.steps += inner.steps
            return Step(name, 0, outputs=inner.outputs)
        self.used.append((name, inputs))
        done = Step(name)
        if name == "actions/checkout":
            self.checkout(self.workspace / inputs.get("path", "."), inputs)
        elif name == "actions/setup-python":
            done.outputs["python-path"] = "python3"
        elif name == "actions/upload-artifact":
            self._upload(inputs, done)
        elif name == "actions/download-artifact":
            target = self.workspace / inputs.get("path", ".")
            shutil.copytree(self.artifacts / inputs["name"], target, dirs_exist_ok=True)
        else:
            assert name == "actions/attest", f"nobody plays {name} here"
        return done

    def _upload(self, inputs: dict[str, str], done: Step) -> None:
        source = self.workspace / inputs["path"]
        target = self.artifacts / inputs["name"]
        assert re.fullmatch(r"[\w.-]+", inputs["name"])
        if not source.exists():
            done.code = int(inputs["if-no-files-found"] == "error")
            return
        if target.exists():
            if inputs.get("overwrite") != "true":
                done.code = 1
                return
            shutil.rmtree(target)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            target.mkdir()
            shutil.copy(source, target)
        done.outputs["artifact-url"] = f"{self.github['server_url']}/artifacts/{inputs['name']}"


def read_outputs(text: str) -> dict[str, str]:
    """Read a ``GITHUB_OUTPUT`` file as the runner does."""
    found: dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        equals, heredoc = line.find("="), line.find("<<")
        if heredoc >= 0 and (equals < 0 or heredoc < equals):
            name, _, end = line.partition("<<")
            found[name] = "\n".join(itertools.takewhile(lambda each, end=end: each != end, lines))
        elif equals >= 0:
            name, _, value = line.partition("=")
            found[name] = value
        else:
            assert not line, f"the runner refuses {line!r}"
    return found


def read_commands(log: str) -> list[tuple[str, str]]:
    """Return the workflow commands in a log that the runner acts on, with their data."""
    found: list[tuple[str, str]] = []
    resume: str | None = None
    for line in re.split(r"\r\n|\r|\n", log):
        command = _command(line, _COMMANDS | {resume or "stop-commands"})
        if command is None:
            continue
        if resume is not None:
            resume = None if command[0] == resume else resume
        elif command[0] == "stop-commands":
            resume = command[1].lower()
        else:
            found.append(command)
    assert resume is None, "commands were never let in again"
    return found


def _command(line: str, known: frozenset[str]) -> tuple[str, str] | None:
    """Read ``::name properties::data``, first in a line, or ``##[name properties]data``, anywhere."""
    stripped = line.lstrip()
    if stripped.startswith("::") and (end := stripped.find("::", 2)) >= 0:
        name = stripped[2:end].partition(" ")[0]
        if name.lower() in known:
            return name.lower(), stripped[end + 2 :]
    begin = line.find("##[")
    if begin >= 0 and (end := line.find("]", begin)) >= 0:
        name = line[begin + 3 : end].partition(" ")[0]
        if name.lower() in known:
            return name.lower(), line[end + 1 :]
    return None


class GitHubApi:
    """``api.github.com`` for the comments of one pull request, with real pages.

    Attributes:
        comments: of pull request 7, oldest first.
        refuse: status that every call gets instead of an answer.
        requests: method and path of every call.
    """

    def __init__(self, token: str = JOB_TOKEN) -> None:
        self.comments: list[dict[str, Any]] = []
        self.refuse: int | None = None
        self.requests: list[tuple[str, str]] = []
        self.login = "github-actions[bot]"
        self._token = token
        handler = type("Handler", (_ApiHandler,), {"api": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def uri(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def add(self, login: str | None, body: str | None) -> int:
        """Somebody writes a comment."""
        number = 1000 + len(self.comments)
        user = {"login": login} if login else None
        self.comments.append({"id": number, "user": user, "body": body})
        return number

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()

    def answer(
        self, method: str, path: str, query: dict[str, str], headers: Any, body: dict[str, Any]
    ) -> tuple[int, Any, dict[str, str]]:
        """Answer one call: status, document, headers."""
        self.requests.append((method, path))
        if self.refuse:
            return self.refuse, {"message": "no"}, {}
        if headers["Authorization"] != f"Bearer {self._token}":
            return 401, {"message": "Bad credentials"}, {}
        if len(body.get("body", "")) > COMMENT_LIMIT:
            return 422, {"message": "body is too long (maximum is 65536 characters)"}, {}
        base = "/repos/example-org/ml/issues"
        if method == "GET" and path == f"{base}/7/comments":
            return 200, *self._page(query)
        if method == "POST" and path == f"{base}/7/comments":
            return 201, {"id": self.add(self.login, body["body"])}, {}
        if method == "PATCH" and (found := re.fullmatch(rf"{base}/comments/(\d+)", path)):
            (comment,) = [c for c in self.comments if c["id"] == int(found[1])]
            comment["body"] = body["body"]
            return 200, comment, {}
        return 404, {"message": "Not Found"}, {}

    def _page(self, query: dict[str, str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
        size, page = min(int(query.get("per_page", "30")), 100), int(query.get("page", "1"))
        last = max(1, -(-len(self.comments) // size))
        links = [f'<{self.uri}/next>; rel="next"'] if page < last else []
        links += [f'<{self.uri}/last>; rel="last"'] if last > 1 else []
        headers = {"Link": ", ".join(links)} if links else {}
        return self.comments[(page - 1) * size : page * size], headers


class _ApiHandler(BaseHTTPRequestHandler):
    api: GitHubApi

    def _handle(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        status, document, headers = self.api.answer(
            self.command, url.path, query, self.headers, body
        )
        payload = json.dumps(document).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = do_PATCH = _handle  # noqa: N815 - the names are http.server's

    def log_message(self, *_: object) -> None:
        """Say nothing."""
