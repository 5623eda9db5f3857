"""One command from its first moment to its exit code: who is told what it does, and how it ends."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from mlflow_gc import invocation
from mlflow_gc.cli.output import Messages
from mlflow_gc.workflows.reporter import Listener, Reporter


class Session:
    """What the entry point makes for a command, and ends when the command is over."""

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
        """Open what a command reports to.

        Args:
            command: its name.
            events: where events go, or None.
            quiet: nothing but the result, warnings and errors.
            no_color: of bars.
            dry_run: nothing is going to be changed.

        Raises:
            GcError: the events file cannot be written.
        """
        listeners: list[Listener] = [Messages()]
        if events is not None:
            from mlflow_gc.cli.events import Events

            file = Events(events, command, dry_run=dry_run)
            # Two things on one stream would tear each other's lines.
            quiet = quiet or file.is_stderr()
            listeners.append(file)
        if not quiet:
            from mlflow_gc.cli import progress_text

            listeners.append(progress_text.listener(no_color=no_color))
        self._progress = Reporter(listeners)
        return self._progress

    def failed(self, message: str, hint: str | None = None) -> None:
        """Remember what was said about the end."""
        self._error = (message, hint)

    def end(self, exit_code: int) -> None:
        """Close the connections to the server, and tell everybody how the command ended."""
        # Looked up, because most commands need neither MLflow nor the network.
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
    """Begin the session of the command that is called.  See :meth:`Session.begin`."""
    invocation.given(context.params)
    session = context.ensure_object(Session)
    return session.begin(
        context.info_name or "", events=events, quiet=quiet, no_color=no_color, dry_run=dry_run
    )
