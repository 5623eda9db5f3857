"""``mlflow-gc restore``: undo what a prune did, as far as MLflow can."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlflow_gc.cli import options
from mlflow_gc.errors import ExitCode, GcError, Refused
from mlflow_gc.invocation import command, file_argument

if TYPE_CHECKING:
    from mlflow_gc.apply.journal.file import Session


def restore(
    context: typer.Context,
    journal_file: Annotated[
        Path, typer.Argument(metavar="JOURNAL", help="The journal that a prune wrote.")
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
    from mlflow_gc.apply.journal.file import Journal, earlier_sessions, journal_path
    from mlflow_gc.apply.restore import Restorer
    from mlflow_gc.apply.restore_plan import plan_undo
    from mlflow_gc.cli.output import console, say
    from mlflow_gc.cli.session import begin
    from mlflow_gc.render.common.escape import plain
    from mlflow_gc.render.terminal import outcomes
    from mlflow_gc.settings import resolve_connection
    from mlflow_gc.workflows.apply import graceful_stop, refuse_other_server
    from mlflow_gc.workflows.reporter import Phase
    from mlflow_gc.workflows.survey import open_server

    reporter = begin(context, events=events, quiet=quiet, no_color=no_color, dry_run=dry_run)
    # A setting that cannot be used is found before anything is read.
    connection = resolve_connection(
        tracking_uri=tracking_uri,
        registry_uri=registry_uri,
        workspace=workspace,
        max_parallel=max_parallel,
    )
    sessions = _read(journal_file, expect)
    header = sessions[0].header
    undo = plan_undo(sessions, only or ())
    own_journal = journal_path(
        journal_file.with_name(f"{journal_file.name}.restore.jsonl"), header["plan_id"]
    )
    earlier = earlier_sessions(own_journal, header["plan_id"], "restore")
    gateway = open_server(connection, verbose=verbose, reporter=reporter)
    with reporter.phase(Phase.CONNECT):
        refuse_other_server(gateway, header["server"], journal_file)
        restorer = Restorer(gateway, undo, earlier, header, keep=keep)
        old_trash, left_active = restorer.preview()
    screen = console(no_color=no_color)
    if not quiet:
        outcomes.undo(
            undo,
            screen,
            plan_id=header["plan_id"],
            old_trash=[entry["run_id"] for entry in old_trash],
            left_active={run_id: finding.detail for run_id, finding in left_active.items()},
        )
    if not yes and not dry_run and (undo.runs or undo.experiments):
        if not sys.stdin.isatty():
            raise Refused(
                "restore asks before it changes anything, and here is no terminal to ask on.",
                hint="Use --yes.",
            )
        back = f", and put {len(old_trash):,} runs back into the trash," if old_trash else ""
        uri = plain(header["server"]["tracking_uri"])
        sys.stderr.write(f"Restore them{back} on {uri}? Only 'yes': ")
        sys.stderr.flush()
        if sys.stdin.readline().strip() != "yes":
            say("Nothing was restored.")
            return ExitCode.REFUSED
    totals = {"experiments": len(undo.experiments), "runs": len(undo.runs) + len(old_trash)}
    with (
        graceful_stop(gateway, reporter, pretend=dry_run) as (_, signals),
        Journal(
            own_journal, header, action="restore", dry_run=dry_run, told=reporter.entity
        ) as journal,
    ):
        if not dry_run:
            reporter.journal(own_journal, header["plan_id"])
        with reporter.phase(Phase.RESTORE, totals):
            fatal = restorer.run(journal, dry_run=dry_run)
    again = ["restore", file_argument(journal_file), *(["--expect", expect] if expect else [])]
    if not quiet:
        outcomes.restored(
            journal.counts,
            journal.kept,
            screen,
            None if dry_run else own_journal,
            keep_command=None if keep else command(*again, "--keep"),
            notes=restorer.notes,
        )
    if fatal:
        raise fatal
    if signals:
        say(f"Stopped in order. To go on: {command(*again, *_options_again(only, keep=keep))}")
        return 128 + signals[0]
    # Model versions, which MLflow cannot bring back, count only where somebody names them.
    lost = bool(only) and bool(undo.model_versions or undo.registered_models)
    return ExitCode.PARTIAL if restorer.is_incomplete or lost else ExitCode.OK


def _read(path: Path, expect: str | None) -> list[Session]:
    """Read the journal of a prune.

    Raises:
        GcError: it is empty, or the journal of a restore.
        Refused: it is not of the plan that was expected.
    """
    from mlflow_gc.apply.journal.file import read_journal

    sessions = read_journal(path)
    if not sessions:
        raise GcError(f"The journal {path} is empty: there is nothing to restore.")
    if all(session.header["action"] == "restore" for session in sessions):
        raise GcError(
            f"{path} is the journal of a restore: it says what came back.",
            hint="Name the journal of the prune, which has the same name without .restore.jsonl.",
        )
    found = sessions[0].header["plan_id"]
    if expect is not None and expect != found:
        raise Refused(
            f"The journal {path} belongs to the plan {found}, expected was {expect}.",
            hint="This is not the journal of the plan that was approved.",
        )
    return sessions


def _options_again(only: Sequence[str] | None, *, keep: bool) -> list[str]:
    named = [word for name in only or () for word in ("--only", name)]
    return [*named, *(["--keep"] if keep else [])]
