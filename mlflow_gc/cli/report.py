"""``mlflow-gc report``: scan, decide, write the plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlflow_gc.cli import options
from mlflow_gc.errors import ExitCode, UsageProblem
from mlflow_gc.plan.document import total_of

if TYPE_CHECKING:
    from mlflow_gc.workflows.reporter import Reporter


def report(
    *,
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Output file of the plan; - is stdout "
            "[prune-plan.json, or in MLFLOW_GC_DIR prune-plan-<time>.json].",
        ),
    ] = None,
    server: options.Server,
    all_workspaces: options.AllWorkspaces = False,
    backend_store_uri: options.BackendStoreUri = None,
    policy_options: options.PolicyOptions,
    sizes: options.Sizes = False,
    as_of: options.AsOf = None,
    accept_partial_view: options.AcceptPartialView = False,
    trash: Annotated[
        bool,
        typer.Option(
            "--trash", help="Write a purge plan: what to delete permanently from the trash."
        ),
    ] = False,
    trash_options: options.TrashOptions,
    journal: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With --trash: only what the prune with this journal deleted."
        ),
    ] = None,
    artifacts_destination: options.ArtifactsDestination = None,
    detailed_exitcode: options.DetailedExitcode = False,
    events: options.Events = None,
    output: options.Output,
) -> int:
    """Read a server and write a prune plan: every stale entity, its times, and why."""
    from mlflow_gc.cli import workspaces
    from mlflow_gc.cli.output import console, print_message, write_output
    from mlflow_gc.cli.plan_file import default_plan_file
    from mlflow_gc.cli.session import begin
    from mlflow_gc.plan.builder import SIGNATURES
    from mlflow_gc.plan.verification import applicability, is_only_a_forecast
    from mlflow_gc.plan.writer import pieces, refuse_overwriting, write
    from mlflow_gc.render.terminal import plan_text
    from mlflow_gc.workflows.report import make_plan
    from mlflow_gc.workflows.server import open_server, open_stores

    reporter = begin(context, output, events=events)
    connection = server.connection(backend_store_uri)
    to_stdout = str(out) == "-"
    if not trash:
        options.refuse_given(
            context,
            ["journal", *options.names_of(options.TrashOptions)],
            "is for a purge plan.",
            hint="Add --trash, or leave it out.",
        )
    if out is None:
        stem = "purge-plan" if trash else "prune-plan"
        out = default_plan_file(stem, reporter, output, otherwise="prune-plan.json")
    if all_workspaces:
        if to_stdout:
            raise UsageProblem(
                "The plans of all workspaces cannot be written to stdout.", hint="Name a file."
            )
        names = workspaces.names(context, connection, reporter)
        files = {name: workspaces.path_for(out, name) for name in names}
        return _report_each(context, files, as_of, reporter, output)
    refuse_overwriting(out, SIGNATURES, "a plan")
    policy = policy_options.resolve(
        reporter, output, as_of=as_of, accept_partial_view=accept_partial_view
    )
    gateway = open_server(connection, verbose=output.verbose, reporter=reporter)
    stores = open_stores(gateway, artifacts_destination) if sizes or trash else None
    if trash and stores:
        from mlflow_gc.workflows.trash_report import deleted_by, make_purge_plan

        plan = make_purge_plan(
            gateway,
            trash_options.applied_to(policy),
            stores,
            reporter,
            only=None if journal is None else deleted_by(journal),
        )
    else:
        plan = make_plan(gateway, policy, reporter, stores=stores)
    if to_stdout:
        write_output(*pieces(plan))
    else:
        write(pieces(plan), out)
    reporter.plan(plan, out)
    for diagnostic in plan["diagnostics"]:
        reporter.warning(diagnostic["code"], diagnostic["message"])
    if not to_stdout and not output.quiet:
        plan_text.summary(plan, console(no_color=output.no_color), path=str(out))
    if not plan["applyable"]:
        print_message(applicability(plan).advice)
        # A forecast cannot be applied, as requested.
        if as_of is None or not is_only_a_forecast(plan):
            return ExitCode.REFUSED
    return ExitCode.SOMETHING if detailed_exitcode and total_of(plan, "delete") else ExitCode.OK


def _report_each(
    context: typer.Context,
    files: Mapping[str, Path],
    as_of: str | None,
    reporter: Reporter,
    output: options.Output,
) -> int:
    """Write the plan of each of several workspaces; return the worst exit code."""
    from mlflow_gc.cli import workspaces
    from mlflow_gc.cli.output import console
    from mlflow_gc.domain.timestamps import format_ms, now_ms
    from mlflow_gc.render.terminal import plans_text

    # One moment for all.
    as_of = as_of or format_ms(now_ms())
    made = workspaces.Made()
    reporter.add(made)
    code = workspaces.each_workspace(
        context, report, {name: {"out": path, "as_of": as_of} for name, path in files.items()}
    )
    if not output.quiet:
        plans_text.show(files, made.by_path, console(no_color=output.no_color))
    return code
