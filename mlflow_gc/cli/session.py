"""One command from its start to its exit code: listeners and cleanup."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from mlflow_gc import invocation
from mlflow_gc.cli.output import Messages
from mlflow_gc.workflows.reporter import Listener, Reporter


class Session:
    """The session of a command, created and ended by the entry point."""

    def __init__(self) -> None:
        self._progress: Reporter | None = None
        self._error: tuple[str, str | None] | None = None

    def begin(
        self,
        command: str,
        *,
        events: Path | None,
        quiet: bool,
        no_color: bool,
        dry_run: bool = False,
    ) -> Reporter:
        """Open the listeners of a command.

        Args:
            command: its name.
            events: path of the events file, or None.
            quiet: only the result, warnings and errors.
            no_color: no colours in bars.
            dry_run: nothing will be changed.

        Raises:
            GcError: The events file cannot be written.
        """
        listeners: list[Listener] = [Messages()]
        if events is not None:
            from mlflow_gc.cli.events import Events

            file = Events(events, command, dry_run=dry_run)
            # Two writers on one stream would break each other's lines.
            quiet = quiet or file.is_stderr()
            listeners.append(file)
        if not quiet:
            from mlflow_gc.cli import progress_text

            listeners.append(progress_text.listener(no_color=no_color))
        self._progress = Reporter(listeners)
        return self._progress

    def failed(self, message: str, hint: str | None = None) -> None:
        """Store the error that ended the command."""
        self._error = (message, hint)

    def end(self, exit_code: int) -> None:
        """Close the connections to the server, and report the end of the command."""
        # Only if imported, because most commands need neither MLflow nor the network.
        if (connections := sys.modules.get("mlflow_gc.backend.rest.connections")) is not None:
            connections.close_session()
        if self._progress is not None:
            self._progress.finish(exit_code, self._error)


def begin(
    context: typer.Context,
    *,
    events: Path | None,
    quiet: bool,
    no_color: bool,
    dry_run: bool = False,
) -> Reporter:
    """Begin the session of the current command.  See :meth:`Session.begin`."""
    invocation.given(context.params)
    session = context.ensure_object(Session)
    return session.begin(
        context.info_name or "", events=events, quiet=quiet, no_color=no_color, dry_run=dry_run
    )
