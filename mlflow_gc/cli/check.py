"""``mlflow-gc check``: would each entry of a plan still be deleted?  Read-only."""

from __future__ import annotations

import typer

from mlflow_gc.cli import options
from mlflow_gc.errors import ExitCode


def check(
    context: typer.Context,
    plan_file: options.PlanFile,
    tracking_uri: options.TrackingUri = None,
    registry_uri: options.RegistryUri = None,
    workspace: options.Workspace = None,
    detailed_exitcode: options.DetailedExitcode = False,
    events: options.Events = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    no_color: options.NoColor = False,
) -> int:
    """Compare a plan with the server, entity by entity; nothing is deleted."""
    from mlflow_gc.cli.applying import apply_plan
    from mlflow_gc.cli.output import console
    from mlflow_gc.cli.planning import open_server
    from mlflow_gc.cli.progress import Phase
    from mlflow_gc.cli.session import begin
    from mlflow_gc.plan.verify import load_plan, verify
    from mlflow_gc.views import outcomes

    progress = begin(context, events=events, quiet=quiet, no_color=no_color, dry_run=True)
    plan = load_plan(plan_file)
    verify(plan, plan_file)
    progress.plan(plan, plan_file)
    gateway = open_server(
        tracking_uri=tracking_uri,
        registry_uri=registry_uri,
        workspace=workspace,
        verbose=verbose,
        progress=progress,
    )
    applied = apply_plan(
        gateway, plan, plan_file, journal_path=None, progress=progress, phase=Phase.CHECK
    )
    if not quiet:
        outcomes.check(applied.result, applied.skips, console(no_color=no_color))
    if applied.result.interrupted:
        return 128 + applied.signum
    if applied.result.fatal:
        raise applied.result.fatal
    if applied.result.failures:
        return ExitCode.ERROR
    differs = applied.result.total("skipped")
    raise typer.Exit(ExitCode.SOMETHING if detailed_exitcode and differs else ExitCode.OK)
