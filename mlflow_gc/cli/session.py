"""One command from its start to its exit code: listeners and cleanup."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from mlflow_gc import invocation
from mlflow_gc.cli.options import Output
from mlflow_gc.cli.output import Messages
from mlflow_gc.workflows.reporter import Listener, Reporter


class Session:
    """The session of a command, created and ended by the entry point."""

    def __init__(self) -> None:
        self.reporter: Reporter | None = None
        self._error: tuple[str, str | None] | None = None

    def failed(self, message: str, hint: str | None = None) -> None:
        """Store the error that ended the command."""
        self._error = (message, hint)

    def end(self, exit_code: int) -> None:
        """Close the connections to the server, and report the end of the command."""
        # Only if imported, because most commands need neither MLflow nor the network.
        if (connections := sys.modules.get("mlflow_gc.backend.rest.connections")) is not None:
            connections.close_session()
        if self.reporter is not None:
            self.reporter.finish(exit_code, self._error)


def begin(
    context: typer.Context, output: Output, *, events: Path | None = None, dry_run: bool = False
) -> Reporter:
    """Begin the session of a command, and return the reporter with its listeners.

    Raises:
        GcError: The events file cannot be written.
    """
    invocation.given(context.params)
    session = context.ensure_object(Session)
    if session.reporter is not None:  # the command for the next workspace
        return session.reporter
    listeners: list[Listener] = [Messages()]
    quiet = output.quiet
    if events is not None:
        from mlflow_gc.cli.events import Events

        file = Events(events, context.info_name or "", dry_run=dry_run)
        # Two writers on one stream would break each other's lines.
        quiet = quiet or file.is_stderr()
        listeners.append(file)
    if not quiet:
        from mlflow_gc.cli import progress_text

        listeners.append(progress_text.listener(no_color=output.no_color))
    session.reporter = Reporter(listeners)
    return session.reporter
