"""``mlflow-gc prune``: apply a saved plan, or build one, show it, ask, and apply it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlflow_gc.cli import options
from mlflow_gc.domain.kinds import PRUNE, kinds_of
from mlflow_gc.errors import ExitCode, GcError, Refused, UsageProblem
from mlflow_gc.invocation import command, file_argument
from mlflow_gc.plan.document import counts_of

if TYPE_CHECKING:
    from mlflow_gc.apply.outcomes import Result
    from mlflow_gc.plan.sharding import Shard


def prune(
    *,
    context: typer.Context,
    plan_files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PLAN...]",
            help="A reviewed plan; several with --all-workspaces. Without it one is made on the spot.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask (without PLAN).")] = False,
    expect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="sha256:...",
            help="Refuse a plan with another plan_id; repeatable for several plans.",
        ),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File of the journal [<plan>.journal.jsonl]."),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="N/COUNT",
            help="Apply one of COUNT parts of a PLAN; other machines apply the others.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do everything but the deletes.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Output file of a plan made on the spot [prune-plan-<time>.json, in MLFLOW_GC_DIR if set].",
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
    from mlflow_gc.apply.journal.file import default_path, journal_path, refuse_no_file
    from mlflow_gc.apply.recheck.live_guards import local_maxima
    from mlflow_gc.cli import workspaces
    from mlflow_gc.cli.output import confirmed, console, print_message
    from mlflow_gc.cli.plan_file import default_plan_file
    from mlflow_gc.cli.session import begin
    from mlflow_gc.plan.builder import SIGNATURES
    from mlflow_gc.plan.sharding import Shard
    from mlflow_gc.plan.verification import load_plan, refuse_action, verify, verify_applyable
    from mlflow_gc.plan.writer import pieces, refuse_overwriting, write
    from mlflow_gc.render.terminal import outcomes, plan_text
    from mlflow_gc.workflows.apply import apply_plan, refuse_unexpected
    from mlflow_gc.workflows.report import make_plan
    from mlflow_gc.workflows.server import open_server, open_stores

    reporter = begin(context, output, events=events, dry_run=dry_run)
    connection = server.connection(backend_store_uri)
    local_maxima()
    if plan_files and len(plan_files) > 1:
        return workspaces.each_file(context, prune, "plan_files", plan_files)
    plan_file = plan_files[0] if plan_files else None
    made_here = plan_file is None
    part = Shard.parse(shard) if shard is not None else None
    if part and made_here:
        raise UsageProblem(
            "--shard needs a saved PLAN: each machine has to apply its part of the same one.",
            hint=f"Make the plan first: {command('report')}",
        )
    if plan_file is not None:
        refuse_selecting_options(
            {
                "--ttl": policy_options.ttl,
                "--as-of": as_of,
                "--policy": policy_options.policy_file,
                "--no-policy": policy_options.no_policy or None,
                "--accept-partial-view": accept_partial_view or None,
                "--out": out,
                "--sizes": sizes or None,
            }
        )
        if backend_store_uri is not None:
            raise UsageProblem(
                "--backend-store-uri cannot be combined with a PLAN: what is deleted is re-checked over "
                "the server.",
                hint="Leave it out.",
            )
        plan = load_plan(plan_file)
        verify(plan, plan_file)
        refuse_action(plan, plan_file, PRUNE)
        if all_workspaces:
            connection = workspaces.of_document(context, connection, plan["server"], plan_file)
    else:
        policy = policy_options.resolve(
            reporter, output, as_of=as_of, accept_partial_view=accept_partial_view
        )
        if not yes and not dry_run and not sys.stdin.isatty():
            raise Refused(
                "Without a PLAN prune asks before it deletes, and this is not an interactive terminal.",
                hint="Hand it a reviewed plan, or use --yes.",
            )
        plan_file = out or default_plan_file("prune-plan", reporter, output)
        if all_workspaces:
            if journal is not None:
                raise UsageProblem("--journal is for one workspace.", hint="Leave it out.")
            found = workspaces.names(context, connection, reporter)
            files = {name: workspaces.path_for(plan_file, name) for name in found}
            return workspaces.each_workspace(
                context, prune, {name: {"out": files[name]} for name in found}
            )
        refuse_overwriting(plan_file, SIGNATURES, "a plan")
    if journal is not None:
        refuse_no_file(journal)
    gateway = open_server(connection, verbose=output.verbose, reporter=reporter)
    stores = open_stores(gateway, artifacts_destination) if sizes else None
    screen = console(no_color=output.no_color)
    if made_here:
        plan = make_plan(gateway, policy, reporter, stores=stores)
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
    of_part = f".shard-{part.number}-of-{part.count}" if part else ""
    beside = default_path(plan_file, of_part)
    written = journal_path(journal or beside, plan["plan_id"])
    applied = apply_plan(
        gateway,
        plan,
        plan_file,
        journal_path=written,
        reporter=reporter,
        dry_run=dry_run,
        shard=part,
    )
    if not output.quiet:
        outcomes.outcome(
            applied.result,
            applied.skips,
            screen,
            plan_id=plan["plan_id"],
            journal=None if dry_run else written,
        )
    options_again = ["--expect", plan["plan_id"]] if expect else []
    if part and not output.quiet:
        _print_rest(applied.result, part, plan_file, options_again)
    options_again += ["--shard", str(part)] if part else []
    if journal or written != beside:
        options_again += ["--journal", file_argument(written)]
    return exit_code(applied.result, applied.signum, plan_file, options_again)


def _print_rest(result: Result, part: Shard, plan_file: Path, options_again: Sequence[str]) -> None:
    """Print what is left to the other shards."""
    from mlflow_gc.cli.output import print_message

    if result.left:
        print_message(
            f"{len(result.left):,} experiments are left to the shard that empties them last."
        )
    print_message(
        f"This was shard {part}. When all are done, one more run finds what any of them left: "
        f"{command('prune', file_argument(plan_file), *options_again)}"
    )


def refuse_selecting_options(given: Mapping[str, object]) -> None:
    """Refuse options that select entities together with a PLAN.

    Raises:
        UsageProblem: One of them was given.
    """
    for flag, value in given.items():
        if value is not None:
            raise UsageProblem(
                f"{flag} cannot be combined with a PLAN: the plan is the selection.",
                hint="Leave it out, or leave out the PLAN.",
            )


def exit_code(
    result: Result,
    signum: int,
    plan_file: Path,
    options_again: Sequence[str],
    *,
    command_name: str = PRUNE,
) -> int:
    """Print the next command, and return the exit code.

    Raises:
        GcError: It ended early.
    """
    from mlflow_gc.cli.output import print_message

    again = f"To go on: {command(command_name, file_argument(plan_file), *options_again)}"
    for kind, entity_id, message in result.failures[:20]:
        print_message(f"Failed: {kind} {entity_id}: {message}")
    if len(result.failures) > 20:
        print_message(f"... and {len(result.failures) - 20} more failures, see the journal.")
    if result.fatal:
        early = f"It ended early; what was done is in the journal. {again}"
        hint = "\n".join(filter(None, (result.fatal.hint, early)))
        raise GcError(result.fatal.message, hint=hint)
    if result.interrupted:
        print_message(f"Stopped in order. {again}")
        return 128 + signum
    if result.is_partial:
        print_message(f"Some entities failed. {again}")
        return ExitCode.PARTIAL
    return ExitCode.OK
