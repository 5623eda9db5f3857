"""The program as its users meet it: arguments, environment, streams and an exit code.

A command that needs no process of its own (for a signal, a terminal, a limit, a locale, a cold
start) runs in this one: importing MLflow takes four seconds or more, a fork with its imports a third of one.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

from support import ROOT, is_readable, zygote

TIMEOUT_S = 240.0

_SHAPES_THE_INTERPRETER = {
    *("LANG", "LC_ALL", "TZ", "PYTHONIOENCODING", "PYTHONPATH", "PYTHONUTF8"),
}
"""Variables that Python or the C library reads once."""

TRACEBACK_MARK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it wrote."""

    args: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    @property
    def text(self) -> str:
        """Everything a person at the terminal saw."""
        return self.out + self.err

    def json(self) -> Any:
        """The document on stdout; fails when anything else is there too."""
        return json.loads(self.out)

    def expect(self, *codes: int) -> Outcome:
        """Assert that the command ended with one of ``codes``; returns itself."""
        assert self.code in codes, f"{self}"
        return self

    def __str__(self) -> str:
        return (
            f"mlflow-gc {' '.join(self.args)}\nexit {self.code} after {self.seconds:.1f} s\n"
            f"--- stdout\n{self.out[-4000:]}\n--- stderr\n{self.err[-4000:]}"
        )


def read_output(path: Path) -> str:
    """Read what a command wrote.

    Bytes that are no UTF-8 are a defect that must not hide behind a replacement character; no
    translation keeps a carriage return visible.
    """
    return path.read_bytes().decode("utf-8", errors="surrogateescape")


class Running:
    """A command that was started and may still be running."""

    def __init__(
        self,
        args: tuple[str, ...],
        pid: int,
        wait: Callable[[float], int],
        out: Path,
        err: Path,
    ) -> None:
        self.args = args
        self.pid = pid
        self._wait = wait
        self._out = out
        self._err = err
        self._started = time.monotonic()

    def kill(self, sig: signal.Signals) -> None:
        """Send ``sig`` to the process itself; harmless once it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, sig)

    def output(self) -> str:
        """What stdout got so far."""
        return read_output(self._out)

    def wait(self, timeout: float = TIMEOUT_S) -> Outcome:
        """Wait for the end; a command that hangs is killed and fails the test."""
        try:
            code = self._wait(timeout)
        except TimeoutError:
            self.kill(signal.SIGKILL)
            out, err = read_output(self._out), read_output(self._err)
            message = f"mlflow-gc {' '.join(self.args)} hangs:\n{out[-2000:]}\n{err[-2000:]}"
            raise AssertionError(message) from None
        outcome = Outcome(
            self.args,
            code,
            read_output(self._out),
            read_output(self._err),
            time.monotonic() - self._started,
        )
        assert TRACEBACK_MARK not in outcome.text, f"a traceback:\n{outcome}"
        return outcome


def _writer(path: Path) -> io.TextIOWrapper:
    """Open a file as ``main`` sets up the standard streams."""
    return io.TextIOWrapper(path.open("wb"), "utf-8", "backslashreplace", write_through=True)


@contextlib.contextmanager
def _working_directory(directory: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


class Cli:
    """Runs ``mlflow-gc`` with a clean environment.

    Args:
        scratch: directory for captured output and the home of the program's user.
        env: what every command gets on top of the minimal environment.
        python: interpreter of another environment with what the program needs; this one when None.
        path: where that one finds more packages.
    """

    def __init__(
        self,
        scratch: Path,
        env: Mapping[str, str] | None = None,
        python: Path | None = None,
        path: tuple[Path, ...] = (),
    ) -> None:
        self.scratch = scratch
        self.env = dict(env or {})
        self._python = python
        self._path = (ROOT, *path)
        self._warm: socket.socket | None = None
        self._warm_process: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """End the warm process."""
        if self._warm is not None:
            self._warm.close()
        if self._warm_process is not None:
            self._warm_process.wait(30)

    def __call__(
        self,
        *args: object,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
        cold: bool = False,
        process: bool = False,
        timeout: float = TIMEOUT_S,
        stdout: Path | None = None,
        file_size_limit: int | None = None,
    ) -> Outcome:
        """Run a command to its end, in this process where that makes no difference.

        See :meth:`start`; ``process`` wants a process of its own in any case.
        """
        full_env = self._environment(env)
        of_its_own = process or cold or stdout or file_size_limit or self._python
        if not (of_its_own or _SHAPES_THE_INTERPRETER & set(env or {})):
            return self._run_here(tuple(str(a) for a in args), full_env, cwd, stdin)
        return self.start(
            *args,
            env=env,
            cwd=cwd,
            stdin=stdin,
            cold=cold,
            stdout=stdout,
            file_size_limit=file_size_limit,
        ).wait(timeout)

    def start(
        self,
        *args: object,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
        cold: bool = False,
        stdout: Path | None = None,
        file_size_limit: int | None = None,
    ) -> Running:
        """Start a command.

        Args:
            args: the arguments after ``mlflow-gc``.
            env: environment variables on top of the usual ones; None takes one away.
            cwd: working directory; the scratch directory when None.
            stdin: what the command can read before the end of its input.  Never a terminal.
            cold: start a new interpreter, for tests about what is imported.
            stdout: file or device that stdout goes to, instead of being captured.
            file_size_limit: bytes after which writing a file fails, as on a full disk.
        """
        words = tuple(str(a) for a in args)
        work = Path(tempfile.mkdtemp(dir=self.scratch, prefix="call-"))
        (work / "stdin").write_text(stdin)
        (work / "stdout").touch()
        with (
            (work / "stdin").open("rb") as source,
            (stdout or work / "stdout").open("wb") as out,
            (work / "stderr").open("wb") as err,
        ):
            files = (source.fileno(), out.fileno(), err.fileno())
            where = str(cwd or self.scratch)
            pid, wait = (self._start_cold if cold else self._start_warm)(
                words, self._environment(env), where, files, file_size_limit
            )
        return Running(words, pid, wait, work / "stdout", work / "stderr")

    def _run_here(
        self, words: tuple[str, ...], env: dict[str, str], cwd: Path | None, stdin: str
    ) -> Outcome:
        """Run a command in this process, as if it had one of its own."""
        from mlflow_gc import __main__ as program

        work = Path(tempfile.mkdtemp(dir=self.scratch, prefix="call-"))
        (work / "stdin").write_text(stdin)
        began = time.monotonic()
        with (
            (work / "stdin").open(encoding="utf-8", errors="surrogateescape") as source,
            _writer(work / "stdout") as out_stream,
            _writer(work / "stderr") as err_stream,
            patch.multiple(sys, stdin=source, stdout=out_stream, stderr=err_stream),
            patch.object(sys, "argv", [str(program.__file__), *words]),
            patch.dict(os.environ, env, clear=True),
            _working_directory(cwd or self.scratch),
        ):
            code = program.run(words)
        seconds = time.monotonic() - began
        out, err = read_output(work / "stdout"), read_output(work / "stderr")
        outcome = Outcome(words, code, out, err, seconds)
        assert TRACEBACK_MARK not in outcome.text, f"a traceback:\n{outcome}"
        return outcome

    def ask(
        self,
        *args: object,
        answer: str,
        prompt: str,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        timeout: float = TIMEOUT_S,
        stdout: Path | None = None,
    ) -> tuple[int, str]:
        """Run a command on a terminal, type ``answer`` once ``prompt`` is seen.

        Args:
            args: the arguments after ``mlflow-gc``.
            answer: what to type.
            prompt: what to wait for.
            env: environment variables on top of the usual ones.
            cwd: working directory.
            timeout: seconds until the command counts as hanging.
            stdout: a file for the result, which then is not on the terminal.

        Returns:
            The exit code, and everything the terminal showed.
        """
        ours, theirs = pty.openpty()
        try:
            full_env = {**self._environment(env), "TERM": "xterm", "COLUMNS": "100"}
            words = tuple(str(a) for a in args)
            with (stdout or Path(os.devnull)).open("wb") as file:
                out = file.fileno() if stdout else theirs
                _, wait = self._start_warm(
                    words, full_env, str(cwd or self.scratch), (theirs, out, theirs), None
                )
            os.close(theirs)
            theirs = -1
            shown = self._converse(ours, prompt, answer, timeout)
            code = wait(timeout)
        finally:
            os.close(ours)
            if theirs >= 0:
                os.close(theirs)
        assert TRACEBACK_MARK not in shown, shown
        return code, shown

    @staticmethod
    def _converse(terminal: int, prompt: str, answer: str, timeout: float) -> str:
        shown, answered = b"", False
        deadline = time.monotonic() + timeout
        while True:
            remaining = deadline - time.monotonic()
            assert remaining > 0, f"no end on the terminal: {shown.decode(errors='replace')}"
            if not is_readable(terminal, min(remaining, 1.0)):
                continue
            try:
                data = os.read(terminal, 65_536)
            except OSError:  # Linux: the other side closed the terminal
                break
            if not data:
                break
            shown += data
            if not answered and prompt.encode() in shown:
                os.write(terminal, answer.encode())
                answered = True
        return shown.decode("utf-8", errors="replace")

    def _environment(self, extra: Mapping[str, str | None] | None) -> dict[str, str]:
        home = self.scratch / "home"
        home.mkdir(exist_ok=True)
        env: dict[str, str | None] = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # Nobody waits for a wrapped line: what is printed must not depend on a terminal.
            "COLUMNS": "200",
            **{k: v for k, v in os.environ.items() if k.startswith("COVERAGE_")},
            **self.env,
            **(extra or {}),
        }
        return {k: v for k, v in env.items() if v is not None}

    @staticmethod
    def _start_cold(
        words: tuple[str, ...],
        env: dict[str, str],
        cwd: str,
        files: tuple[int, int, int],
        file_size_limit: int | None,
    ) -> tuple[int, Callable[[float], int]]:
        assert file_size_limit is None, "only the warm start limits files"
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow_gc", *words],
            env=env,
            cwd=cwd,
            stdin=files[0],
            stdout=files[1],
            stderr=files[2],
            start_new_session=True,
        )

        def wait(timeout: float) -> int:
            try:
                return process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise TimeoutError from None

        return process.pid, wait

    def _start_warm(
        self,
        words: tuple[str, ...],
        env: dict[str, str],
        cwd: str,
        files: tuple[int, int, int],
        file_size_limit: int | None,
    ) -> tuple[int, Callable[[float], int]]:
        connection = self._warm or self._warm_up()
        request = json.dumps(
            {"args": words, "env": env, "cwd": cwd, "file_size_limit": file_size_limit}
        ).encode()
        assert len(request) < zygote.REQUEST_LIMIT
        read_end, write_end = os.pipe()
        socket.send_fds(connection, [request], [*files, write_end])
        os.close(write_end)
        # Unbuffered: is_readable() must see a return code that came together with the process id.
        status = os.fdopen(read_end, "rb", buffering=0)
        pid = int(status.readline())

        def wait(timeout: float) -> int:
            with status:
                if not is_readable(status, timeout):
                    raise TimeoutError
                return int(status.readline())

        return pid, wait

    def _warm_up(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._warm_process = subprocess.Popen(
                [
                    self._python or sys.executable,
                    str(Path(zygote.__file__)),
                    str(theirs.fileno()),
                ],
                cwd=self.scratch,
                # MLflow's own settings of whoever runs the tests must not shape what is imported.
                env={
                    **{k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")},
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                    **({"PYTHONPATH": ":".join(map(str, self._path))} if self._python else {}),
                },
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        assert ours.recv(16) == b"ready"
        self._warm = ours
        return ours
