"""``mlflow-gc restore``: undo what a prune did, as far as MLflow can."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from mlflow_gc.cli import options
from mlflow_gc.errors import ExitCode, GcError, Refused


def restore(
    context: typer.Context,
    journal_file: Annotated[
        Path, typer.Argument(metavar="JOURNAL", help="The journal that a prune wrote.")
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND|ID", help="Only runs, experiments or these ids; repeatable."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing.")] = False,
    tracking_uri: options.TrackingUri = None,
    registry_uri: options.RegistryUri = None,
    workspace: options.Workspace = None,
    max_parallel: options.MaxParallel = None,
    events: options.Events = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    no_color: options.NoColor = False,
) -> int:
    """Bring back the runs and experiments that a prune deleted."""
    from mlflow_gc.apply.journal import Journal, read_journal
    from mlflow_gc.apply.restore import Restorer
    from mlflow_gc.apply.undo import plan_undo
    from mlflow_gc.cli.applying import graceful_stop, refuse_other_server
    from mlflow_gc.cli.output import console, say
    from mlflow_gc.cli.planning import open_server
    from mlflow_gc.cli.progress import Phase
    from mlflow_gc.cli.session import begin
    from mlflow_gc.views import outcomes
    from mlflow_gc.views.plan_head import shell_path

    progress = begin(context, events=events, quiet=quiet, no_color=no_color, dry_run=dry_run)
    sessions = read_journal(journal_file)
    if not sessions:
        raise GcError(f"The journal {journal_file} is empty: there is nothing to restore.")
    header = sessions[0].header
    if len({session.header["plan_id"] for session in sessions}) > 1:
        raise Refused(f"The journal {journal_file} holds sessions of different plans.")
    undo = plan_undo(sessions, only or ())
    gateway = open_server(
        tracking_uri=tracking_uri,
        registry_uri=registry_uri,
        workspace=workspace,
        max_parallel=max_parallel,
        verbose=verbose,
        progress=progress,
    )
    with progress.phase(Phase.CONNECT):
        refuse_other_server(gateway, header["server"], journal_file)
    screen = console(no_color=no_color)
    if not quiet:
        outcomes.undo(undo, screen, plan_id=header["plan_id"])
    if not yes and not dry_run and (undo.runs or undo.experiments):
        if not sys.stdin.isatty():
            raise Refused(
                "restore asks before it changes anything, and here is no terminal to ask on.",
                hint="Use --yes.",
            )
        sys.stderr.write(f"Restore them on {header['server']['tracking_uri']}? Only 'yes': ")
        sys.stderr.flush()
        if sys.stdin.readline().strip() != "yes":
            say("Nothing was restored.")
            return ExitCode.REFUSED
    own_journal = journal_file.with_name(f"{journal_file.name}.restore.jsonl")
    totals = {"experiments": len(undo.experiments), "runs": len(undo.runs)}
    with graceful_stop(gateway, pretend=dry_run) as (stop, signals):
        journal = Journal(
            Path(os.devnull) if dry_run else own_journal,
            header,
            action="restore",
            told=progress.entity,
        )
        if not dry_run:
            progress.journal(own_journal, header["plan_id"])
        with progress.phase(Phase.RESTORE, totals):
            fatal = Restorer(gateway, undo, journal, stop=stop, dry_run=dry_run).run()
    if not quiet:
        outcomes.restored(journal.counts, journal.kept, screen, None if dry_run else own_journal)
    if fatal:
        raise fatal
    if signals:
        again = f"mlflow-gc restore {shell_path(str(journal_file))}"
        say(f"Stopped in order. To go on: {again}")
        return 128 + signals[0]
    failed = any(o in {"failed", "skipped:forbidden"} for _, o in journal.counts)
    return ExitCode.PARTIAL if failed else ExitCode.OK
