"""Run the real ``mlflow-gc`` as a user would, each command printed before its output."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection
from pathlib import Path

from rich.console import Console
from rich.text import Text

from mlflow_gc.errors import ExitCode, GcError
from mlflow_gc.invocation import command, program

_STOP_TIMEOUT_S = 10.0


class Commands:
    """Runs commands in one directory; they write to the same terminal as the console."""

    def __init__(self, directory: Path, console: Console) -> None:
        self._directory = directory
        self._console = console

    def run(self, *arguments: str, expected: Collection[ExitCode] = (ExitCode.OK,)) -> None:
        """Run ``mlflow-gc`` with the arguments and wait for its end.

        Raises:
            GcError: the command ended with another exit code.
        """
        line = command(*arguments)
        self._console.print()
        self._console.print(Text(f"$ {line}", style="bold cyan"), soft_wrap=True)
        # The command writes to the same terminal or pipe without our buffer.
        self._console.file.flush()
        process = subprocess.Popen(
            [*program(), *arguments],
            cwd=self._directory,
            # Options of the demo apply to its commands, too.
            env={**os.environ, **({"NO_COLOR": "1"} if self._console.no_color else {})},
            stdin=subprocess.DEVNULL,
        )
        try:
            code = process.wait()
        except BaseException:
            _end(process)
            raise
        if code not in expected:
            message = f"`{line}` ended with exit code {code}."
            raise GcError(message, hint="Its own message stands above.")
        if code != ExitCode.OK:
            self._console.print(Text(f"(exit code {code})", style="dim"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a command when the demo ends; its server is stopped, too."""
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
