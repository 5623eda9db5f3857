"""Entry point: runs the command line and converts every outcome to an exit code.

The only place where errors become text: no traceback for anything a user can cause.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import cache
from types import FrameType
from typing import TYPE_CHECKING, Any

from mlflow_gc import invocation
from mlflow_gc.domain.redaction import FilteredStream, keep_environment_secret
from mlflow_gc.errors import ExitCode, GcError

if TYPE_CHECKING:
    from mlflow_gc.cli.session import Session


class Interrupted(BaseException):
    """SIGINT or SIGTERM outside of a prune, which handles them itself."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def main() -> None:
    """Run ``mlflow-gc`` as a process, and exit: process-wide settings are made here."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _interrupt)
    _filter_streams()
    for name in [n for n in os.environ if n.startswith("MLFLOW_") and not os.environ[n].strip()]:
        # MLflow takes a blank variable for a value; see settings.resolve.
        del os.environ[name]
    # Read when MLflow is imported.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    sys.exit(run(sys.argv[1:]))


def _filter_streams() -> None:
    """Hide secrets in all output of this process, tracebacks of bugs included."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and not isinstance(stream, FilteredStream):
            setattr(sys, name, FilteredStream(stream))


def _interrupt(signum: int, _frame: FrameType | None) -> None:
    raise Interrupted(signum)


def run(arguments: Sequence[str]) -> int:
    """Run one command line, without the program, and return its exit code.

    It has no side effects on this process: what commands print about the options of this one ends
    with it.
    """
    return copy_context().run(_run, arguments)


def _run(arguments: Sequence[str]) -> int:
    from mlflow_gc.cli.session import Session

    invocation.started(sys.argv, sys.orig_argv)
    keep_environment_secret(os.environ)
    session = Session()
    code: int = ExitCode.ERROR  # for a bug, which Python reports with a traceback
    try:
        code = _exit_code(list(arguments), session)
    finally:
        session.end(code)
        # Large readers freeze objects for the garbage collector.
        gc.unfreeze()
    return code


@cache
def _command() -> Callable[..., object]:
    """Return all commands, cached: Typer would rebuild them for each call, which is slow."""
    import typer

    from mlflow_gc.cli import app

    return typer.main.get_command(app)


def _exit_code(arguments: list[str], session: Session) -> int:
    import typer

    from mlflow_gc.cli.output import print_error, print_message

    # UsageError, in every version; Typer vendors Click or imports it.
    usage_error: type[Exception] = typer.BadParameter.__mro__[1]
    try:
        code = _command()(arguments, prog_name="mlflow-gc", standalone_mode=False, obj=session)
        # Flush now: at exit Python could not report a full disk.
        sys.stdout.flush()
    except usage_error as error:
        return _print_usage(error)
    except typer.Exit as leave:
        return int(leave.exit_code)
    except SystemExit as end:  # Click exits itself for shell completion
        return end.code if isinstance(end.code, int) else ExitCode.OK
    except typer.Abort:
        return ExitCode.SIGINT
    except GcError as error:
        session.failed(error.message, error.hint)
        print_error(error.message, error.hint)
        return error.exit_code
    except Interrupted as stopped:
        session.failed("Stopped.")
        print_message("Stopped.")
        return 128 + stopped.signum
    except BrokenPipeError:
        # The reader (head, less) closed the pipe.
        _silence_stdout()
        return ExitCode.OK
    except OSError as error:
        message = f"the output cannot be written: {error.strerror or error}."
        session.failed(message)
        print_message(f"Error: {message}")
        _silence_stdout()
        return ExitCode.ERROR
    return int(code) if isinstance(code, int) else ExitCode.OK


def _print_usage(error: Any) -> int:
    """Print a usage error (Click's ``UsageError``), or help if there is no command at all."""
    from mlflow_gc.cli.output import print_message

    context = error.ctx
    if type(error).__name__ == "NoArgsIsHelpError":  # since Click 8.2
        sys.stdout.write(context.get_help() + "\n")
        return ExitCode.USAGE
    print_message(f"Error: {error.format_message()}")
    names = context.command_path.split()[1:] if context is not None else []
    print_message(f"Try: {invocation.command(*names, '--help')}")
    return ExitCode.USAGE


def _silence_stdout() -> None:
    """Redirect stdout to nowhere, so that the flush at exit does not fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


if __name__ == "__main__":
    main()
