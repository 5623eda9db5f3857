"""Start the program again and again without paying for ``import mlflow`` each time.

Importing MLflow takes four seconds or more; the program needs it in every command that talks to a
server.  This process imports MLflow and the program once, then forks for every request: the child
gets its own arguments, environment, directory and standard streams and runs ``python -m mlflow_gc``
from its first line.  What the program itself imports cannot be seen through it: tests about imports
start a new interpreter instead.

Run as ``python zygote.py SOCKET_FD``.  A request is a JSON document of up to 64 kB with four file
descriptors: stdin, stdout, stderr, and a pipe on which the process id and then the return code
(negative for a signal, as in :mod:`subprocess`) are written, one per line.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import pkgutil
import resource
import runpy
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

REQUEST_LIMIT = 65_536
FIRST_WAIT_S = 0.02
"""Before a request is sent again: tests have no time to lose."""


def serve(connection: socket.socket) -> None:
    """Fork a monitor for every request until the peer closes the connection."""
    # Monitors are never waited for: the kernel reaps them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        data, fds, _, _ = socket.recv_fds(connection, REQUEST_LIMIT, 4)
        if not data:
            return
        if os.fork() == 0:
            connection.close()
            _monitor(json.loads(data), fds)
        for fd in fds:
            os.close(fd)


def _monitor(request: dict[str, Any], fds: list[int]) -> NoReturn:
    """Fork the program, tell its process id and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status_fd = fds[3]
    pid = os.fork()
    if pid == 0:
        os.close(status_fd)
        _become_program(request, fds[:3])
    for fd in fds[:3]:
        os.close(fd)
    with contextlib.suppress(BrokenPipeError):
        os.write(status_fd, f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        os.write(status_fd, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become_program(request: dict[str, Any], fds: list[int]) -> NoReturn:
    """Turn this fork into a process that looks as if it had been started from a shell."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()
    for target, fd in enumerate(fds):
        os.dup2(fd, target)
        os.close(fd)
    if os.isatty(0):
        import fcntl
        import termios

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(request["cwd"])
    # ``python -m`` looks in the working directory first.
    sys.path[0] = request["cwd"]
    os.environ.clear()
    os.environ.update(request["env"])
    if request["file_size_limit"] is not None:
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (request["file_size_limit"], resource.RLIM_INFINITY)
        )
    # A shell gives unbuffered binary streams below and the encoding of the locale above.
    # They live as long as the process.
    sys.stdin = os.fdopen(0, "r", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    sys.argv = ["mlflow_gc", *request["args"]]
    if Path("mlflow_gc").is_dir():
        # A stub takes the place of the program.
        for name in [n for n in sys.modules if n.partition(".")[0] == "mlflow_gc"]:
            del sys.modules[name]
    _measure_again()
    os._exit(_run_to_the_end())


def _measure_again() -> None:
    """Let coverage.py, where it runs, measure this fork into a file of its own."""
    if "COVERAGE_PROCESS_CONFIG" in os.environ or "COVERAGE_PROCESS_START" in os.environ:
        import coverage

        if (parent := coverage.Coverage.current()) is not None:
            parent.stop()
        atexit._clear()
        coverage.process_startup(force=True)


def _run_to_the_end() -> int:
    """Run the program, its exit handlers, and return its exit code."""
    code: object = 0
    try:
        runpy.run_module("mlflow_gc", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())
        code = 130
    except BaseException:  # noqa: BLE001 - what the interpreter itself does with an exception
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()
    # The full disk of the test is not that of coverage.py, which writes its data at exit.
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        # What CPython does when the last flush of stdout fails.
        code = 120
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    if code is None:
        return 0
    return code & 0xFF if isinstance(code, int) else 1


def _preload() -> None:
    """Import all that commands import."""
    for name in (
        "mlflow.store.model_registry.rest_store",
        "mlflow.store.model_registry.sqlalchemy_store",
        "mlflow.store.tracking.rest_store",
        "mlflow.store.tracking.sqlalchemy_store",
        "mlflow.tracking",
    ):
        importlib.import_module(name)
    import mlflow_gc
    from mlflow_gc.backend import retries

    for module in pkgutil.walk_packages(mlflow_gc.__path__, "mlflow_gc."):
        if module.name.endswith("__main__"):  # Python warns of running what is imported
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError:
            # The clients of artifact stores are extras, which not every environment has.
            if not module.name.startswith("mlflow_gc.storage."):
                raise
    retries.FIRST_WAIT_S = FIRST_WAIT_S


if __name__ == "__main__":
    # A forked BLAS thread pool would be dead in the child.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    _preload()
    peer = socket.socket(fileno=int(sys.argv[1]))
    peer.send(b"ready")
    serve(peer)
