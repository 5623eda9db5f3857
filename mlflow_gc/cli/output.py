"""Output: results to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

import orjson

from mlflow_gc.domain.redaction import hide
from mlflow_gc.render.common.escape import plain
from mlflow_gc.workflows.reporter import ROLLED_BACK, Listener

if TYPE_CHECKING:
    from rich.console import Console


def print_message(message: str) -> None:
    """Write one escaped line to stderr."""
    sys.stderr.write(plain(hide(message)) + "\n")
    sys.stderr.flush()


def print_error(message: str, hint: str | None) -> None:
    """Write an error and what to do next to stderr."""
    first, *others = message.split("\n")
    print_message(f"Error: {first}")
    for line in (*others, *(hint or "").splitlines()):
        print_message(line)


class Messages(Listener):
    """Writes notes and warnings of a workflow to stderr."""

    def note(self, message: str) -> None:
        """Write a note."""
        print_message(message)

    def warning(self, code: str | None, message: str) -> None:
        """Write a warning; prominently for a rollback."""
        print_message(f"{'WARNING' if code == ROLLED_BACK else 'Warning'}: {message}")


def write_output(*document: bytes | memoryview) -> None:
    """Write a document, possibly in pieces, to stdout."""
    sys.stdout.buffer.writelines(document)
    sys.stdout.buffer.flush()


def write_json(document: Mapping[str, Any]) -> None:
    """Write a document as indented JSON to stdout."""
    write_output(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def confirmed(question: str) -> bool:
    """Ask on the terminal; only the whole word ``yes`` confirms."""
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip() == "yes"


def console(*, no_color: bool, file: IO[str] | None = None) -> Console:
    """Return a console on stdout, or a file, that respects NO_COLOR and non-terminals."""
    from rich.console import Console

    return Console(
        file=file or sys.stdout,
        no_color=no_color or bool(os.environ.get("NO_COLOR")),
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
    )
