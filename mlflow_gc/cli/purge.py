"""``mlflow-gc purge``: apply a purge plan, or build one, show it, ask, and apply it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlflow_gc.cli import options
from mlflow_gc.errors import UsageProblem

if TYPE_CHECKING:
    from mlflow_gc.apply.purge.purger import Budget
    from mlflow_gc.backend.interface import Gateway
    from mlflow_gc.plan.document import Plan
    from mlflow_gc.retention.policy import Policy
    from mlflow_gc.workflows.purge import Purged

_SIZE = re.compile(r"([0-9]{1,12})\s*(B|kB|MB|GB|TB)?")
_TIME = re.compile(r"([0-9]{1,9})([smh])")
_UNITS = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def purge(
    *,
    context: typer.Context,
    plan_files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PLAN...]",
            help="A reviewed purge plan (report --trash); several with --all-workspaces. Without "
            "one, a new plan is shown and, if confirmed, applied.",
        ),
    ] = None,
    given: options.Apply,
    max_bytes: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="End after so many bytes of files, such as 500GB; the rest stays."
        ),
    ] = None,
    max_time: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="End after such a time, such as 2h; the rest stays."),
    ] = None,
    vacuum: Annotated[
        bool,
        typer.Option(
            "--vacuum",
            help="Return the space of the rows to the disk afterwards; locks the tables meanwhile.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Output file of a new plan [purge-plan-<time>.json, in MLFLOW_GC_DIR if set].",
        ),
    ] = None,
    server: options.Server,
    all_workspaces: options.AllWorkspaces = False,
    backend_store_uri: options.BackendStoreUri = None,
    artifacts_destination: options.ArtifactsDestination = None,
    trash: options.TrashOptions,
    policy_options: options.PolicyOptions,
    as_of: options.AsOf = None,
    events: options.Events = None,
    output: options.Output,
) -> int:
    """Delete permanently what a purge plan lists in the trash: rows and files."""
    from mlflow_gc.cli.apply import Action, run
    from mlflow_gc.cli.session import begin
    from mlflow_gc.workflows.purge import apply_purge
    from mlflow_gc.workflows.server import open_stores
    from mlflow_gc.workflows.trash_report import make_purge_plan

    reporter = begin(context, output, events=events, dry_run=given.dry_run)
    connection = server.connection(backend_store_uri)
    budget = _budget(max_bytes, max_time)
    part = given.part(plan_files or ())

    def policy() -> Policy:
        return trash.applied_to(policy_options.resolve(reporter, output, as_of=as_of))

    def make(gateway: Gateway, policy: Policy) -> Plan:
        stores = open_stores(gateway, artifacts_destination)
        return make_purge_plan(gateway, policy, stores, reporter)

    def apply(gateway: Gateway, plan: Plan, plan_file: Path, journal: Path) -> Purged:
        return apply_purge(
            gateway,
            plan,
            plan_file,
            open_stores(gateway, artifacts_destination),
            reporter,
            journal_path=journal,
            budget=budget,
            dry_run=given.dry_run,
            vacuum=vacuum,
            shard=part,
        )

    of_policy, of_trash = map(options.names_of, (options.PolicyOptions, options.TrashOptions))
    selecting = [*of_policy, "as_of", *of_trash]
    limits = (("--max-bytes", max_bytes), ("--max-time", max_time))
    repeated = [word for flag, value in limits if value for word in (flag, value)]
    repeated += ["--vacuum"] if vacuum else []
    action = Action(purge, selecting, policy, make, apply, part, repeated)
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


def _budget(max_bytes: str | None, max_time: str | None) -> Budget:
    from mlflow_gc.apply.purge.purger import Budget

    size = seconds = None
    if max_bytes is not None:
        if not (found := _SIZE.fullmatch(max_bytes.strip())):
            raise UsageProblem(
                f"--max-bytes {max_bytes[:40]!r} is not a size.", hint="Write 500GB, or 20 MB."
            )
        size = int(found[1]) * _UNITS[found[2] or "B"]
    if max_time is not None:
        if not (found := _TIME.fullmatch(max_time.strip())):
            raise UsageProblem(
                f"--max-time {max_time[:40]!r} is not a duration.", hint="Write 90s, 30m or 2h."
            )
        seconds = float(int(found[1]) * _SECONDS[found[2]])
    return Budget(size, seconds)
