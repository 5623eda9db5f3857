"""``mlflow-gc mark``: announce by a tag on each entity when it will be deleted."""

from __future__ import annotations

from typing import Annotated

import typer

from mlflow_gc.cli import options
from mlflow_gc.errors import ExitCode, GcError, UsageProblem


def mark(
    *,
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be announced and withdrawn.")
    ] = False,
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove all announcements, whatever is stale.")
    ] = False,
    server: options.Server,
    all_workspaces: options.AllWorkspaces = False,
    backend_store_uri: options.BackendStoreUri = None,
    policy_options: options.PolicyOptions,
    accept_partial_view: options.AcceptPartialView = False,
    events: options.Events = None,
    output: options.Output,
) -> int:
    """Announce by a tag what is deleted after the grace period; untag what is no longer stale."""
    from mlflow_gc.cli import workspaces
    from mlflow_gc.cli.output import console, print_message
    from mlflow_gc.cli.session import begin
    from mlflow_gc.domain.timestamps import format_ms
    from mlflow_gc.render.terminal import outcomes
    from mlflow_gc.workflows.announce import announce
    from mlflow_gc.workflows.server import open_server

    reporter = begin(context, output, events=events, dry_run=dry_run)
    connection = server.connection(backend_store_uri)
    policy = policy_options.resolve(reporter, output, accept_partial_view=accept_partial_view)
    if policy.grace_ms is None and not clear:
        raise UsageProblem(
            "The policy sets no grace, so there is nothing to announce.",
            hint="Put a line such as grace: 14d into the policy file, or use --clear.",
        )
    if all_workspaces:
        found = workspaces.names(context, connection, reporter)
        return workspaces.each_workspace(context, mark, {name: {} for name in found})
    gateway = open_server(connection, verbose=output.verbose, reporter=reporter)
    announcements, signum = announce(gateway, policy, reporter, clear=clear, dry_run=dry_run)
    if not output.quiet:
        deletable_after = "" if clear else format_ms(policy.as_of_ms + (policy.grace_ms or 0))
        outcomes.announcements(
            announcements.counts,
            console(no_color=output.no_color),
            deletable_after=deletable_after,
            dry_run=dry_run,
        )
    for kind, entity_id, message in announcements.failures[:20]:
        print_message(f"Failed: {kind} {entity_id}: {message}")
    if announcements.fatal:
        raise GcError(announcements.fatal.message, hint="It ended early. Run it again.")
    if signum:
        print_message("Stopped in order. To go on, run it again.")
        return 128 + signum
    return ExitCode.PARTIAL if announcements.failures else ExitCode.OK
