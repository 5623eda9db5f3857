"""``mlflow-gc purge``: apply a purge plan, or build one, show it, ask, and apply it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlflow_gc.cli import options
from mlflow_gc.cli.prune import exit_code, refuse_selecting_options
from mlflow_gc.errors import Refused, UsageProblem

if TYPE_CHECKING:
    from mlflow_gc.apply.purge.purger import Budget

_SIZE = re.compile(r"([0-9]{1,12})\s*(B|kB|MB|GB|TB)?")
_TIME = re.compile(r"([0-9]{1,9})([smh])")
_UNITS = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def purge(
    *,
    context: typer.Context,
    plan_file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PLAN]",
            help="A reviewed purge plan (report --trash). Without it one is made on the spot.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask (without PLAN).")] = False,
    expect: Annotated[
        list[str] | None,
        typer.Option(metavar="sha256:...", help="Refuse a plan with another plan_id."),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File of the journal [<plan>.journal.jsonl]."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do everything but the deletes.")
    ] = False,
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
            help="Output file of a plan made on the spot [purge-plan-<time>.json, in MLFLOW_GC_DIR if set].",
        ),
    ] = None,
    server: options.Server,
    backend_store_uri: options.BackendStoreUri = None,
    artifacts_destination: options.ArtifactsDestination = None,
    trash: options.TrashOptions,
    policy_options: options.PolicyOptions,
    as_of: options.AsOf = None,
    events: options.Events = None,
    output: options.Output,
) -> int:
    """Delete permanently what a purge plan lists in the trash: rows and files."""
    from mlflow_gc.apply.journal.file import default_path, journal_path, refuse_no_file
    from mlflow_gc.cli.output import confirmed, console, print_message
    from mlflow_gc.cli.plan_file import default_plan_file
    from mlflow_gc.cli.session import begin
    from mlflow_gc.domain.kinds import PURGE, kinds_of
    from mlflow_gc.errors import ExitCode
    from mlflow_gc.invocation import file_argument
    from mlflow_gc.plan.builder import SIGNATURES
    from mlflow_gc.plan.document import counts_of
    from mlflow_gc.plan.verification import load_plan, refuse_action, verify, verify_applyable
    from mlflow_gc.plan.writer import pieces, refuse_overwriting, write
    from mlflow_gc.render.terminal import outcomes, plan_text
    from mlflow_gc.workflows.apply import refuse_unexpected
    from mlflow_gc.workflows.purge import apply_purge, make_purge_plan
    from mlflow_gc.workflows.server import open_server, open_stores

    reporter = begin(context, output, events=events, dry_run=dry_run)
    connection = server.connection(backend_store_uri)
    budget = _budget(max_bytes, max_time)
    made_here = plan_file is None
    if plan_file is not None:
        refuse_selecting_options(
            {
                "--ttl": policy_options.ttl,
                "--as-of": as_of,
                "--policy": policy_options.policy_file,
                "--no-policy": policy_options.no_policy or None,
                "--out": out,
                **trash.given(),
            }
        )
        plan = load_plan(plan_file)
        verify(plan, plan_file)
        refuse_action(plan, plan_file, PURGE)
    else:
        policy = trash.applied_to(policy_options.resolve(reporter, output, as_of=as_of))
        if not yes and not dry_run and not sys.stdin.isatty():
            raise Refused(
                "Without a PLAN purge asks before it deletes, and this is not an interactive terminal.",
                hint="Hand it a reviewed plan, or use --yes.",
            )
        plan_file = out or default_plan_file("purge-plan", reporter, output)
        refuse_overwriting(plan_file, SIGNATURES, "a plan")
    if journal is not None:
        refuse_no_file(journal)
    gateway = open_server(connection, verbose=output.verbose, reporter=reporter)
    stores = open_stores(gateway, artifacts_destination)
    screen = console(no_color=output.no_color)
    if made_here:
        plan = make_purge_plan(gateway, policy, stores, reporter)
        write(pieces(plan), plan_file)
        if not output.quiet or not yes:
            plan_text.show(plan, screen, path=str(plan_file), everything=False, steps=("show",))
    reporter.plan(plan, plan_file)
    verify_applyable(plan, plan_file)
    refuse_unexpected(plan, plan_file, expect or (), is_required=not made_here and not dry_run)
    deletes = sum(counts_of(plan, kind)["delete"] for kind in kinds_of(plan))
    must_ask = made_here and deletes and not yes and not dry_run
    if must_ask and not confirmed(plan_text.question(plan)):
        print_message("Nothing was deleted.")
        return ExitCode.REFUSED
    beside = default_path(plan_file)
    written = journal_path(journal or beside, plan["plan_id"])
    purged = apply_purge(
        gateway,
        plan,
        plan_file,
        stores,
        reporter,
        journal_path=written,
        budget=budget,
        dry_run=dry_run,
        vacuum=vacuum,
    )
    if not output.quiet:
        outcomes.purged(purged, screen, journal=None if dry_run else written)
    options_again = ["--expect", plan["plan_id"]] if expect else []
    if journal or written != beside:
        options_again += ["--journal", file_argument(written)]
    return exit_code(purged.result, purged.signum, plan_file, options_again, command_name=PURGE)


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
