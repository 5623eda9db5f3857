"""``mlflow-gc check``: which entries of a plan would still be deleted; read-only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlflow_gc.cli import options
from mlflow_gc.errors import ExitCode


def check(
    *,
    context: typer.Context,
    plan_files: Annotated[
        list[Path],
        typer.Argument(
            metavar="PLAN...", help="A plan file; - is stdin. Several with --all-workspaces."
        ),
    ],
    server: options.Server,
    backend_store_uri: options.BackendStoreUri = None,
    artifacts_destination: options.ArtifactsDestination = None,
    all_workspaces: options.AllWorkspaces = False,
    output_format: options.DiffFormat = "text",
    everything: options.Everything = False,
    detailed_exitcode: options.DetailedExitcode = False,
    events: options.Events = None,
    output: options.Output,
) -> int:
    """Compare a plan with the server, entity by entity; nothing is deleted."""
    from mlflow_gc.cli import workspaces
    from mlflow_gc.cli.output import console, write_json, write_output
    from mlflow_gc.cli.session import begin
    from mlflow_gc.plan.verification import load_plan, verify
    from mlflow_gc.render.common.budget import DEFAULT
    from mlflow_gc.render.markdown import check_markdown
    from mlflow_gc.render.terminal import check_text
    from mlflow_gc.workflows.check import check_plan
    from mlflow_gc.workflows.server import open_server

    reporter = begin(context, output, events=events, dry_run=True)
    connection = server.connection(backend_store_uri)
    if len(plan_files) > 1:
        return workspaces.each_file(context, check, "plan_files", plan_files)
    plan_file = plan_files[0]
    plan = load_plan(plan_file)
    verify(plan, plan_file)
    if all_workspaces:
        connection = workspaces.of_document(context, connection, plan["server"], plan_file)
    reporter.plan(plan, plan_file)
    gateway = open_server(connection, verbose=output.verbose, reporter=reporter)
    found, applied = check_plan(
        gateway, plan, plan_file, reporter, artifacts_destination=artifacts_destination
    )
    if output_format == "json":
        write_json(found)
    elif output_format == "markdown":
        most_bytes = None if everything else DEFAULT
        write_output(check_markdown.check(found, most_bytes=most_bytes).encode())
    elif not output.quiet:
        screen = console(no_color=output.no_color)
        check_text.check(found, screen, path=str(plan_file), everything=everything)
    if applied.result.interrupted:
        return 128 + applied.signum
    if applied.result.fatal:
        raise applied.result.fatal
    if applied.result.failures:
        return ExitCode.ERROR
    return ExitCode.SOMETHING if detailed_exitcode and found["differs"] else ExitCode.OK
