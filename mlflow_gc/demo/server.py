"""Start and stop a real local ``mlflow server`` on a SQLite store.

Used by ``mlflow-gc demo`` and by the test suite, so that both use the same real server.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from mlflow_gc.errors import GcError

# The first start after an installation compiles MLflow, which a busy machine does slowly.
_START_TIMEOUT_S = 300.0
_STOP_TIMEOUT_S = 10.0
_LOG_TAIL_CHARS = 2000


def free_port() -> int:
    """Return a currently free TCP port on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def direct_opener() -> urllib.request.OpenerDirector:
    """Return an URL opener that ignores proxy settings, for a server on this machine."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


class LocalServer:
    """A ``mlflow server`` process of this Python environment, bound to 127.0.0.1.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`.  ``stop`` and a second
    ``start`` keep the port and the data, as a restart of a real server does.

    Args:
        directory: for the SQLite file ``mlflow.db``, the artifacts and ``server.log``.
        port: TCP port; a free one is chosen when None.
        backend_store_uri: another store than ``directory``/mlflow.db (PostgreSQL, say).
        extra_args: further arguments of ``mlflow server`` (``--app-name basic-auth``, ...).
        env: environment variables set for the server on top of the caller's.
        workers: number of server processes.
        python: interpreter of the environment whose MLflow serves; this one when None.
        health: path of the health check, which a static prefix moves.
        patience_s: how long the server may take to start.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        backend_store_uri: str | None = None,
        extra_args: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        workers: int = 1,
        python: Path | None = None,
        health: str = "/health",
        patience_s: float = _START_TIMEOUT_S,
    ) -> None:
        self.directory = directory
        self.port = port if port is not None else free_port()
        self.database = directory / "mlflow.db"
        self.backend_store_uri = backend_store_uri or f"sqlite:///{self.database}"
        self._extra_args = extra_args
        self._env = env or {}
        self._workers = workers
        self._python = python or Path(sys.executable)
        self._health = health
        self._patience_s = patience_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """The tracking URI of the server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The id of the server's process and of its process group, None when not started."""
        return None if self._process is None else self._process.pid

    @property
    def log_path(self) -> Path:
        """Path of the server's output."""
        return self.directory / "server.log"

    def start(self) -> LocalServer:
        """Start the server and return once its health check passes.

        Raises:
            GcError: The server ended or did not respond in time; with the end of its log.
        """
        temporary = self.directory / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        # The server must not inherit the caller's client settings: MLFLOW_TRACKING_URI would make
        # it open that store, and it must not get credentials of another server.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        # MLflow starts a gunicorn by its name, and it has to be that of the same environment.
        path = os.pathsep.join(
            [str(self._python.parent), *os.environ.get("PATH", "").split(os.pathsep)]
        )
        env = {
            **inherited,
            "PATH": path,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # Its job queues would be eight more processes that the demo never uses.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            # MLflow writes a lock file per database there.
            "TMPDIR": str(temporary),
            **self._env,
        }
        command = [
            str(self._python), "-m", "mlflow", "server",
            "--host", "127.0.0.1", "--port", str(self.port), "--workers", str(self._workers),
            "--backend-store-uri", self.backend_store_uri,
            "--artifacts-destination", str(self.directory / "artifacts"),
            *self._extra_args,
        ]  # fmt: skip
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A separate process group: workers end with it, and a Ctrl-C for this process does
                # not stop the server while a prune is finishing its journal.
                start_new_session=True,
            )
        try:
            if self._wait(self._process):
                return self
        except BaseException:
            # Ctrl-C, too: `with` calls __exit__ only after __enter__ returned.
            self.stop()
            raise
        ended = self._process.poll() is not None
        self.stop()
        what = (
            "ended before it responded"
            if ended
            else f"did not respond within {self._patience_s:.0f} seconds"
        )
        tail = self.log_path.read_text(errors="replace")[-_LOG_TAIL_CHARS:].rstrip()
        raise GcError(
            f"The local MLflow server {what}.",
            hint=f"The end of its log:\n{tail}" if tail else "It printed nothing.",
        )

    def stop(self) -> None:
        """Stop the server and its workers; harmless when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        for sig in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sig)
            except (ProcessLookupError, PermissionError):
                # Ended; macOS returns EPERM for a process group with only defunct processes.
                break
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                continue
        process.wait()

    def leave_running(self) -> None:
        """Leave the server running after this program; :meth:`stop` does nothing then."""
        process, self._process = self._process, None
        if process is not None:
            # Popen warns if nobody waits for a process.
            process.returncode = 0

    def _wait(self, process: subprocess.Popen[bytes]) -> bool:
        """Return True once the server responds, False if it ended or took too long."""
        deadline = time.monotonic() + self._patience_s
        while time.monotonic() < deadline and process.poll() is None:
            if self._responds():
                return True
            time.sleep(0.1)
        return False

    def _responds(self) -> bool:
        try:
            with direct_opener().open(self.uri + self._health, timeout=2) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def __enter__(self) -> LocalServer:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()
