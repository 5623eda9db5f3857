"""``mlflow-gc mark``: announce on each entity that it is going to be deleted, and when."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mlflow_gc.cli import options
from mlflow_gc.domain.kinds import BY_NAME
from mlflow_gc.errors import ExitCode, GcError, Refused, UsageProblem
from mlflow_gc.invocation import command

if TYPE_CHECKING:
    from mlflow_gc.announce.announcements import Marking
    from mlflow_gc.backend.interface import Gateway
    from mlflow_gc.retention.policy import Policy
    from mlflow_gc.workflows.reporter import Reporter


def mark(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be marked and unmarked.")
    ] = False,
    clear: Annotated[
        bool, typer.Option("--clear", help="Take all marks away, whatever is stale.")
    ] = False,
    tracking_uri: options.TrackingUri = None,
    registry_uri: options.RegistryUri = None,
    workspace: options.Workspace = None,
    backend_store_uri: options.BackendStoreUri = None,
    max_parallel: options.MaxParallel = None,
    ttl: options.Ttl = None,
    policy_file: options.PolicyFile = None,
    no_policy: options.NoPolicy = False,
    accept_partial_view: options.AcceptPartialView = False,
    events: options.Events = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    no_color: options.NoColor = False,
) -> int:
    """Tag what would be deleted after the policy's grace; untag what is stale no more."""
    from mlflow_gc.announce.announcements import dry_counts, plan_clearing, write_marks
    from mlflow_gc.backend.server_identity import read_server_info
    from mlflow_gc.cli.output import console, say
    from mlflow_gc.cli.session import begin
    from mlflow_gc.domain.timestamps import format_ms
    from mlflow_gc.inventory.reader import open_reader
    from mlflow_gc.render.terminal import outcomes
    from mlflow_gc.settings import resolve_connection
    from mlflow_gc.workflows.apply import graceful_stop
    from mlflow_gc.workflows.reporter import Phase
    from mlflow_gc.workflows.survey import open_server, resolve_policy

    reporter = begin(context, events=events, quiet=quiet, no_color=no_color, dry_run=dry_run)
    # A setting that cannot be used is found before anything is read.
    connection = resolve_connection(
        tracking_uri=tracking_uri,
        registry_uri=registry_uri,
        workspace=workspace,
        backend_store_uri=backend_store_uri,
        max_parallel=max_parallel,
    )
    policy = resolve_policy(
        ttl=ttl,
        as_of=None,
        policy_file=policy_file,
        no_policy=no_policy,
        accept_partial_view=accept_partial_view,
        verbose=verbose,
        reporter=reporter,
    )
    if policy.grace_ms is None and not clear:
        raise UsageProblem(
            "The policy sets no grace, so there is nothing to announce.",
            hint="Put a line such as grace: 14d into the policy file, or use --clear.",
        )
    gateway = open_server(connection, verbose=verbose, reporter=reporter)
    if clear:
        with reporter.phase(Phase.SCAN), open_reader(gateway, read_server_info(gateway)) as reader:
            marking = plan_clearing(reader.scan(reporter.advance))
    else:
        marking = _marking(gateway, policy, reporter)
    signum = 0
    totals = Counter(BY_NAME[change.kind].entries for change in marking.changes)
    with reporter.phase(Phase.MARK, totals):
        if dry_run:
            marking.counts += dry_counts(marking.changes, reporter.entity)
        else:
            with graceful_stop(gateway, reporter, pretend=False) as (stop, signals):
                write_marks(gateway, marking, stop, reporter.entity)
            signum = signals[0] if signals else 0
    if not quiet:
        may_go = "" if clear else format_ms(policy.as_of_ms + (policy.grace_ms or 0))
        outcomes.marks(marking.counts, console(no_color=no_color), may_go=may_go, dry_run=dry_run)
    for kind, entity_id, words in marking.failures[:20]:
        say(f"Failed: {kind} {entity_id}: {words}")
    if marking.fatal:
        raise GcError(marking.fatal.message, hint="It ended early. Run it again.")
    if signum:
        say("Stopped in order. To go on, run it again.")
        return 128 + signum
    return ExitCode.PARTIAL if marking.failures else ExitCode.OK


def _marking(gateway: Gateway, policy: Policy, reporter: Reporter) -> Marking:
    """Decide as a report does, marks aside, and return what to mark.

    Raises:
        Refused: a plan by this policy could not be applied.
    """
    from mlflow_gc.announce.announcements import plan_marks
    from mlflow_gc.plan.builder import build_plan
    from mlflow_gc.workflows.survey import survey

    unmarked = replace(policy, heeds_marks=False)
    inventory, decisions, server = survey(gateway, unmarked, reporter)
    plan = build_plan(inventory, decisions, unmarked, server)
    for diagnostic in plan["diagnostics"]:
        reporter.warning(diagnostic["code"], diagnostic["message"])
    if not plan["applyable"]:
        raise Refused(
            "Nothing was marked: a plan could not be applied, for the reasons above.",
            hint=f"Fix the cause first. The plan to look at: {command('report')}",
        )
    return plan_marks(inventory, decisions, policy)
