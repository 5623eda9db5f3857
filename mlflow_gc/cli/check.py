"""``mlflow-gc check``: which entries of a plan would still be deleted; read-only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlflow_gc.cli import options
from mlflow_gc.errors import ExitCode

if TYPE_CHECKING:
    from mlflow_gc.plan.document import Json


def check(
    context: typer.Context,
    plan_file: options.PlanFile,
    tracking_uri: options.TrackingUri = None,
    registry_uri: options.RegistryUri = None,
    workspace: options.Workspace = None,
    max_parallel: options.MaxParallel = None,
    output_format: Annotated[
        options.DiffFormat, typer.Option("--format", help="How to print it.")
    ] = options.DiffFormat.TEXT,
    everything: Annotated[bool, typer.Option("--all", help="Do not cut long lists.")] = False,
    detailed_exitcode: options.DetailedExitcode = False,
    events: options.Events = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    no_color: options.NoColor = False,
) -> int:
    """Compare a plan with the server, entity by entity; nothing is deleted."""
    from mlflow_gc.cli.session import begin
    from mlflow_gc.plan.verification import load_plan, verify
    from mlflow_gc.settings import resolve_connection
    from mlflow_gc.workflows.check import check_plan
    from mlflow_gc.workflows.server import open_server

    reporter = begin(context, events=events, quiet=quiet, no_color=no_color, dry_run=True)
    # Invalid settings are reported before anything is read.
    connection = resolve_connection(
        tracking_uri=tracking_uri,
        registry_uri=registry_uri,
        workspace=workspace,
        max_parallel=max_parallel,
    )
    plan = load_plan(plan_file)
    verify(plan, plan_file)
    reporter.plan(plan, plan_file)
    gateway = open_server(connection, verbose=verbose, reporter=reporter)
    found, applied = check_plan(gateway, plan, plan_file, reporter)
    _show(found, plan_file, output_format, everything=everything, quiet=quiet, no_color=no_color)
    if applied.result.interrupted:
        return 128 + applied.signum
    if applied.result.fatal:
        raise applied.result.fatal
    if applied.result.failures:
        return ExitCode.ERROR
    return ExitCode.SOMETHING if detailed_exitcode and found["differs"] else ExitCode.OK


def _show(
    found: Json,
    plan_file: Path,
    output_format: options.DiffFormat,
    *,
    everything: bool,
    quiet: bool,
    no_color: bool,
) -> None:
    import orjson

    from mlflow_gc.cli.output import console, write_output
    from mlflow_gc.render.common.budget import DEFAULT
    from mlflow_gc.render.markdown import check_markdown
    from mlflow_gc.render.terminal import check_text

    if output_format is options.DiffFormat.JSON:
        write_output(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    elif output_format is options.DiffFormat.MARKDOWN:
        write_output(
            check_markdown.check(found, most_bytes=None if everything else DEFAULT).encode()
        )
    elif not quiet:
        screen = console(no_color=no_color)
        check_text.check(found, screen, path=str(plan_file), everything=everything)
