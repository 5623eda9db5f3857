"""``mlflow-gc restore``: undo a prune, as far as MLflow can."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mlflow_gc.cli import options
from mlflow_gc.errors import ExitCode, Refused
from mlflow_gc.invocation import command, file_argument


def restore(
    *,
    context: typer.Context,
    journal_files: Annotated[
        list[Path],
        typer.Argument(
            metavar="JOURNAL...",
            help="The journal that a prune wrote. Several with --all-workspaces.",
        ),
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND|ID",
            help="Only runs, experiments (each with its runs) or these ids; repeatable.",
        ),
    ] = None,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep", help="Set the keep tag on them, so that the next prune retains them."
        ),
    ] = False,
    expect: Annotated[
        str | None,
        typer.Option(metavar="sha256:...", help="Refuse a journal of a plan with another plan_id."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing.")] = False,
    server: options.Server,
    all_workspaces: options.AllWorkspaces = False,
    events: options.Events = None,
    output: options.Output,
) -> int:
    """Bring back the runs and experiments that a prune deleted."""
    from mlflow_gc.cli import workspaces
    from mlflow_gc.cli.output import console, print_message
    from mlflow_gc.cli.session import begin
    from mlflow_gc.render.terminal import outcomes
    from mlflow_gc.workflows.restore import Restore, only_of_each
    from mlflow_gc.workflows.server import open_server

    reporter = begin(context, output, events=events, dry_run=dry_run)
    connection = server.connection()
    if len(journal_files) > 1:
        chosen = {
            file: {"only": names} for file, names in only_of_each(journal_files, only or ()).items()
        }
        return workspaces.each_file(context, restore, "journal_files", chosen, chosen)
    journal_file = journal_files[0]
    undoing = Restore(journal_file, only=only or (), keep=keep, expect=expect)
    undo, header = undoing.undo, undoing.header
    if all_workspaces:
        connection = workspaces.of_document(context, connection, header["server"], journal_file)
    gateway = open_server(connection, verbose=output.verbose, reporter=reporter)
    old_trash, left_active = undoing.preview(gateway, reporter)
    screen = console(no_color=output.no_color)
    if not output.quiet:
        outcomes.undo(
            undo,
            screen,
            plan_id=header["plan_id"],
            old_trash=[entry["run_id"] for entry in old_trash],
            left_active={run_id: finding.detail for run_id, finding in left_active.items()},
        )
    must_ask = not yes and not dry_run and (undo.runs or undo.experiments)
    if must_ask and not _confirmed(header["server"]["tracking_uri"], len(old_trash)):
        print_message("Nothing was restored.")
        return ExitCode.REFUSED
    ended = undoing.run(reporter, dry_run=dry_run)
    again = ["restore", file_argument(journal_file), *(["--expect", expect] if expect else [])]
    again += [argument for name in only or () for argument in ("--only", name)]
    if not output.quiet:
        outcomes.restored(
            ended.counts,
            ended.not_restored,
            screen,
            None if dry_run else undoing.own_journal,
            keep_command=None if keep else command(*again, "--keep"),
            notes=ended.notes,
        )
    if ended.fatal:
        raise ended.fatal
    if ended.signum:
        again += ["--keep"] if keep else []
        print_message(f"Stopped in order. To go on: {command(*again)}")
        return 128 + ended.signum
    # Model versions, which MLflow cannot restore, count only if they were named.
    lost = bool(only) and bool(undo.model_versions or undo.registered_models)
    return ExitCode.PARTIAL if ended.is_incomplete or lost else ExitCode.OK


def _confirmed(uri: str, old_trash: int) -> bool:
    """Ask whether to restore; ``old_trash`` is the number of runs that go back into the trash.

    Raises:
        Refused: There is nobody to ask.
    """
    from mlflow_gc.cli.output import confirmed
    from mlflow_gc.render.common.escape import plain

    if not sys.stdin.isatty():
        raise Refused(
            "restore asks before it changes anything, and this is not an interactive terminal.",
            hint="Use --yes.",
        )
    back = f", and put {old_trash:,} runs back into the trash," if old_trash else ""
    return confirmed(f"Restore them{back} on {plain(uri)}? Only 'yes': ")
