"""Entry point: runs the command line and turns every outcome into an exit code.

The one place where errors become text: no traceback for anything a user can cause.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType

from mlflow_gc.errors import ExitCode, GcError


class Interrupted(BaseException):
    """SIGINT or SIGTERM outside of a prune, which handles them itself."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def main() -> None:
    """Run ``mlflow-gc`` and exit."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        # A job's log may be ASCII; a name that it cannot hold is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run(sys.argv[1:]))


def _interrupt(signum: int, _frame: FrameType | None) -> None:
    raise Interrupted(signum)


def _run(arguments: list[str]) -> int:
    import typer

    from mlflow_gc.cli import app
    from mlflow_gc.cli.output import say

    usage_error: type[Exception] = typer.BadParameter.__mro__[1]  # UsageError, in every version
    try:
        code = app(arguments, prog_name="mlflow-gc", standalone_mode=False)
        # Python flushes stdout at exit, when nobody could catch a full disk any more.
        sys.stdout.flush()
    except usage_error as error:
        say(f"Error: {error.format_message()}")  # type: ignore[attr-defined]
        say("Try: mlflow-gc --help")
        return ExitCode.USAGE
    except typer.Exit as leave:
        return int(leave.exit_code)
    except typer.Abort:
        return ExitCode.SIGINT
    except GcError as error:
        say(f"Error: {error.message}")
        for line in (error.hint or "").splitlines():
            say(line)
        return error.exit_code
    except Interrupted as stopped:
        say("Stopped.")
        return 128 + stopped.signum
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        _silence_stdout()
        return ExitCode.OK
    except OSError as error:
        say(f"Error: the output cannot be written: {error.strerror or error}.")
        _silence_stdout()
        return ExitCode.ERROR
    return int(code) if isinstance(code, int) else ExitCode.OK


def _silence_stdout() -> None:
    """Point stdout at nothing, so that the flush at exit does not fail a second time."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    main()
