"""Small git repositories for tests, on disk and behind a server."""

from __future__ import annotations

import base64
import gzip
import os
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# Whoever runs the tests has settings of their own, such as signing every commit.
_ENV = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.com",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.com",
}


def run_git(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run git in ``directory``, without the settings of whoever runs the tests."""
    return subprocess.run(
        ["git", *words], cwd=directory, env=_ENV, capture_output=True, text=True, check=False
    )


def git(directory: Path, *words: str) -> str:
    """Run git in ``directory``; a failure fails the test."""
    done = run_git(directory, *words)
    assert done.returncode == 0, f"git {' '.join(words)}: {done.stderr}"
    return done.stdout


def repository(directory: Path, files: dict[str, str]) -> Path:
    """A repository with one commit on main that has these files."""
    directory.mkdir(parents=True)
    git(directory, "init", "--quiet", "--initial-branch=main")
    commit(directory, files)
    return directory


def commit(directory: Path, files: dict[str, str]) -> None:
    """Commit these files."""
    for name, text in files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--allow-empty", "--message", "A change")


def snapshot(directory: Path) -> Path:
    """A repository with what the work tree has of the package: what the next release will have."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    needed = ("mlflow_gc/", "schemas/", "pyproject.toml", "README.md", "LICENSE", ".pre-commit")
    for name in listed.split("\0"):
        if name.startswith(needed) and (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, directory / name)
    git(directory, "init", "--quiet", "--initial-branch=main")
    commit(directory, {})
    return directory


class GitServer:
    """A repository over HTTP for those who know the token, as on github.com.

    Attributes:
        asked: the Authorization header of every request.
    """

    def __init__(self, repository: Path, token: str) -> None:
        self.asked: list[str | None] = []
        word = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        attributes = {"server_": self, "root": repository, "wanted": f"basic {word}"}
        handler = type("Handler", (_GitHandler,), attributes)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def uri(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


class _GitHandler(BaseHTTPRequestHandler):
    server_: GitServer
    root: Path
    wanted: str

    def _handle(self) -> None:
        self.server_.asked.append(self.headers["Authorization"])
        if self.headers["Authorization"] != self.wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        done = subprocess.run(
            ["git", "http-backend"],
            env={
                **_ENV,
                "GIT_PROJECT_ROOT": str(self.root.parent),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            },
            input=body,
            capture_output=True,
            check=True,
        )
        head, _, payload = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = _handle  # noqa: N815 - the names are http.server's

    def log_message(self, *_: object) -> None:
        """Say nothing."""
