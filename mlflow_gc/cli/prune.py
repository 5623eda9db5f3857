"""``mlflow-gc prune``: apply a saved plan, or build one, show it, ask, and apply it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlflow_gc.cli import options
from mlflow_gc.errors import UsageProblem

if TYPE_CHECKING:
    from mlflow_gc.backend.interface import Gateway
    from mlflow_gc.plan.document import Plan
    from mlflow_gc.retention.policy import Policy
    from mlflow_gc.workflows.apply import Applied


def prune(
    *,
    context: typer.Context,
    plan_files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PLAN...]",
            help="A reviewed plan; several with --all-workspaces. Without one, a new plan is shown and, if confirmed, applied.",
        ),
    ] = None,
    given: options.Apply,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Output file of a new plan [prune-plan-<time>.json, in MLFLOW_GC_DIR if set].",
        ),
    ] = None,
    server: options.Server,
    all_workspaces: options.AllWorkspaces = False,
    backend_store_uri: options.BackendStoreUri = None,
    policy_options: options.PolicyOptions,
    sizes: options.Sizes = False,
    artifacts_destination: options.ArtifactsDestination = None,
    as_of: options.AsOf = None,
    accept_partial_view: options.AcceptPartialView = False,
    events: options.Events = None,
    output: options.Output,
) -> int:
    """Delete what a plan lists; each entity is re-checked immediately before."""
    from mlflow_gc.apply.recheck.live_guards import local_maxima
    from mlflow_gc.cli.apply import Action, run
    from mlflow_gc.cli.session import begin
    from mlflow_gc.workflows.apply import apply_plan
    from mlflow_gc.workflows.report import make_plan
    from mlflow_gc.workflows.server import open_stores

    reporter = begin(context, output, events=events, dry_run=given.dry_run)
    connection = server.connection(backend_store_uri)
    local_maxima()
    part = given.part(plan_files or ())
    if plan_files and backend_store_uri is not None:
        raise UsageProblem(
            "--backend-store-uri cannot be combined with a PLAN: what is deleted is re-checked over "
            "the server.",
            hint="Leave it out.",
        )

    def policy() -> Policy:
        return policy_options.resolve(
            reporter, output, as_of=as_of, accept_partial_view=accept_partial_view
        )

    def make(gateway: Gateway, policy: Policy) -> Plan:
        stores = open_stores(gateway, artifacts_destination) if sizes else None
        return make_plan(gateway, policy, reporter, stores=stores)

    def apply(gateway: Gateway, plan: Plan, plan_file: Path, journal: Path) -> Applied:
        return apply_plan(
            gateway,
            plan,
            plan_file,
            journal_path=journal,
            reporter=reporter,
            dry_run=given.dry_run,
            shard=part,
        )

    of_policy = options.names_of(options.PolicyOptions)
    selecting = [*of_policy, "as_of", "accept_partial_view", "sizes"]
    action = Action(prune, selecting, policy, make, apply, part)
    return run(
        action,
        context,
        reporter,
        connection,
        given,
        plan_files=plan_files or (),
        all_workspaces=all_workspaces,
        out=out,
        output=output,
    )
