"""The demo from start to end: server, data, commands, cleanup."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.text import Text

from mlflow_gc.demo.backdating import backdate
from mlflow_gc.demo.colleague import interfere
from mlflow_gc.demo.environment import demo_environment
from mlflow_gc.demo.seeding import Seeder
from mlflow_gc.demo.server import LocalServer
from mlflow_gc.demo.story import tell
from mlflow_gc.domain.timestamps import now_ms
from mlflow_gc.errors import ExitCode, GcError
from mlflow_gc.invocation import command, program
from mlflow_gc.plan.verification import load_plan
from mlflow_gc.render.common.escape import plain

PLAN = "prune-plan.json"
LATER_PLAN = "later-plan.json"
# SIGHUP: the terminal was closed.
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def walk_through(console: Console, status: Console, *, keep: bool) -> None:
    """Show the tool on a throw-away server.

    The status is the output of progress, on a terminal only; ``keep`` leaves the server and its
    directory, and prints how to use them.

    Raises:
        GcError: The server did not start, or a command failed.
    """
    began = time.monotonic()
    try:
        with _signals_raise(), ExitStack() as cleanup:
            directory = Path(tempfile.mkdtemp(prefix="mlflow-gc-demo-"))
            cleanup.callback(shutil.rmtree, directory, ignore_errors=True)
            server = LocalServer(directory / "server")
            cleanup.callback(server.stop)
            # Called first at the end: a second Ctrl-C must not interrupt the cleanup.
            cleanup.callback(_ignore_signals)
            with demo_environment(server.uri):
                with status.status("Starting a local MLflow server ..."):
                    server.start()
                _print(console, f"A local MLflow server with an SQLite file runs at {server.uri}.")
                _seed(console, status, server)
                _prune(console, directory, server.uri)
            _print(console, f"That took {time.monotonic() - began:.0f} seconds.")
            if keep:
                _print_next_steps(console, directory, server)
                server.leave_running()
                cleanup.pop_all()
    except SystemExit:
        _print(status, "Stopped. The demo's server and its directory are removed.")
        raise
    if not keep:
        _print(console, "The server and its directory are removed; --keep leaves them up.")


def _seed(console: Console, status: Console, server: LocalServer) -> None:
    scenario = tell(now_ms())
    with status.status("Writing a year of work to it ...") as line:
        seeder = Seeder(
            server.uri,
            lambda done: line.update(f"Writing runs: {done} of {len(scenario.runs)} ..."),
        )
        ids = seeder.seed(scenario)
    backdate(server.database, scenario, ids)
    _print(
        console,
        f"It contains a generated year of work: {len(scenario.experiments) + 1} experiments with "
        f"{len(scenario.runs)} runs, {len(scenario.models)} registered models with "
        f"{len(scenario.versions)} versions, prompts and traces. All was written through MLflow; "
        "only the times that MLflow stamps itself were then shifted in the SQLite file, which is "
        "the demo's own.",
    )


def _prune(console: Console, directory: Path, tracking_uri: str) -> None:
    """Report, show, interfere, and prune by the first plan."""
    run = partial(_run, console, directory)
    _print(console, "First: what is stale? The report writes a plan and deletes nothing.")
    run("report", "-o", PLAN)
    run("show", PLAN)
    plan = load_plan(directory / PLAN)
    _print(console, "While that plan is under review, a colleague")
    for deed in interfere(tracking_uri, plan):
        console.print(Text(f"  - {plain(deed)}"))
    _print(console, "A second report shows what that changed (2: there are differences).")
    run("report", "-o", LATER_PLAN)
    run("diff", PLAN, LATER_PLAN, expected=ExitCode.SOMETHING)
    _print(
        console,
        "The first plan is applied nevertheless: prune re-checks each entity, and skips "
        "what changed.",
    )
    run("prune", PLAN)


def _run(console: Console, directory: Path, *arguments: str, expected: int = ExitCode.OK) -> None:
    """Run ``mlflow-gc`` as a user would, with its command line printed before its output.

    Raises:
        GcError: the command ended with another exit code than expected.
    """
    line = command(*arguments)
    console.print()
    console.print(Text(f"$ {line}", style="bold cyan"), soft_wrap=True)
    # The command writes to the same terminal or pipe without our buffer.
    console.file.flush()
    # If the demo is stopped, this kills the command: what it was doing is removed, too.
    code = subprocess.call(
        [*program(), *arguments],
        cwd=directory,
        # Options of the demo apply to its commands, too.
        env={**os.environ, **({"NO_COLOR": "1"} if console.no_color else {})},
        stdin=subprocess.DEVNULL,
    )
    if code != expected:
        message = f"`{line}` ended with exit code {code}."
        raise GcError(message, hint="Its own message stands above.")
    if code != ExitCode.OK:
        console.print(Text(f"(exit code {code})", style="dim"))


def _print_next_steps(console: Console, directory: Path, server: LocalServer) -> None:
    _print(console, "The server stays up (--keep).")
    for what, how in (
        ("look at it", f"open {server.uri} in a browser"),
        ("use it", f"export MLFLOW_TRACKING_URI={server.uri}"),
        ("", command("report")),
        ("plans and journal", f"cd {shlex.quote(str(directory))}"),
        # The process group, so that the server's workers end with it.
        ("stop and remove", f"kill -- -{server.pid}; rm -rf {shlex.quote(str(directory))}"),
    ):
        console.print(Text(f"  {what:<18}  {how}"), soft_wrap=True)


def _print(console: Console, sentence: str) -> None:
    console.print()
    console.print(Text(sentence))


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Convert terminating signals to exceptions, so that everything is cleaned up."""

    def stop(number: int, _frame: FrameType | None) -> None:
        # The exit code of a shell for a process that a signal ended.
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in _ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    for number in _ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
