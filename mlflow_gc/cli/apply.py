"""What ``prune`` and ``purge`` do alike: load a plan or make one, show it, ask, apply it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from mlflow_gc.cli import options
from mlflow_gc.domain.kinds import PURGE
from mlflow_gc.domain.quantities import number_of
from mlflow_gc.errors import ExitCode, GcError, Refused, UsageProblem
from mlflow_gc.invocation import command, file_argument
from mlflow_gc.plan.document import Plan, total_of
from mlflow_gc.settings import requires_expect

if TYPE_CHECKING:
    from mlflow_gc.apply.outcomes import Result
    from mlflow_gc.backend.interface import Gateway
    from mlflow_gc.plan.sharding import Shard
    from mlflow_gc.retention.policy import Policy
    from mlflow_gc.settings import Connection
    from mlflow_gc.workflows.apply import Applied
    from mlflow_gc.workflows.purge import Purged
    from mlflow_gc.workflows.reporter import Reporter

_MOST_FAILURES = 20
"""Most failures that are printed."""


@dataclass(frozen=True)
class Action:
    """What differs between ``prune`` and ``purge``.

    Attributes:
        command: the function of the command, called again for each of several workspaces.
        selecting: the parameters of its options that select entities.
        policy: returns the policy; called only if no plan was given.
        make: makes a plan.
        apply: applies a plan, with its file and the path of the journal.
        part: the part of the plan that is applied, if not all of it.
        repeated: options that the command to go on has, too.
    """

    command: Callable[..., int]
    selecting: Sequence[str]
    policy: Callable[[], Policy]
    make: Callable[[Gateway, Policy], Plan]
    apply: Callable[[Gateway, Plan, Path, Path], Applied]
    part: Shard | None = None
    repeated: Sequence[str] = ()

    @property
    def name(self) -> str:
        """Of the action and of its command."""
        return self.command.__name__


def run(
    action: Action,
    context: typer.Context,
    reporter: Reporter,
    connection: Connection,
    given: options.Apply,
    *,
    plan_files: Sequence[Path],
    all_workspaces: bool,
    out: Path | None,
    output: options.Output,
) -> int:
    """Apply the given plan, or one that is made here; return the exit code.

    Raises:
        UsageProblem: The options cannot be used together.
        Refused: The plan may not be applied, or not here, and nothing was changed.
        GcError: It ended early.
    """
    from mlflow_gc.apply.journal.reader import default_path, journal_path, refuse_no_file
    from mlflow_gc.cli import workspaces
    from mlflow_gc.cli.output import confirmed, console, print_message
    from mlflow_gc.cli.plan_file import default_plan_file
    from mlflow_gc.plan.builder import SIGNATURES
    from mlflow_gc.plan.verification import verify_applyable
    from mlflow_gc.plan.writer import pieces, refuse_overwriting, write
    from mlflow_gc.render.terminal import plan_text
    from mlflow_gc.workflows.apply import refuse_unexpected
    from mlflow_gc.workflows.server import open_server

    if len(plan_files) > 1:
        return workspaces.each_file(context, action.command, "plan_files", plan_files)
    made_here = not plan_files
    if plan_files:
        (plan_file,) = plan_files
        plan = _loaded(action, context, plan_file)
        if all_workspaces:
            connection = workspaces.of_document(context, connection, plan["server"], plan_file)
    else:
        policy = action.policy()
        _refuse_without_terminal(action, given)
        plan_file = out or default_plan_file(f"{action.name}-plan", reporter, output)
        if all_workspaces:
            if given.journal is not None:
                raise UsageProblem("--journal is for one workspace.", hint="Leave it out.")
            names = workspaces.names(context, connection, reporter)
            files = {name: {"out": workspaces.path_for(plan_file, name)} for name in names}
            return workspaces.each_workspace(context, action.command, files)
        refuse_overwriting(plan_file, SIGNATURES, "a plan")
    if given.journal is not None:
        refuse_no_file(given.journal)
    gateway = open_server(connection, verbose=output.verbose, reporter=reporter)
    if made_here:
        plan = action.make(gateway, policy)
        write(pieces(plan), plan_file)
        if not output.quiet or not given.yes:
            screen = console(no_color=output.no_color)
            plan_text.show(plan, screen, path=str(plan_file), everything=False, steps=("show",))
    reporter.plan(plan, plan_file)
    verify_applyable(plan, plan_file)
    must_expect = not made_here and not given.dry_run
    refuse_unexpected(plan, plan_file, given.expect or (), is_required=must_expect)
    must_ask = made_here and total_of(plan, "delete") and not given.yes and not given.dry_run
    if must_ask and not confirmed(plan_text.question(plan)):
        print_message("Nothing was deleted.")
        return ExitCode.REFUSED
    beside = default_path(plan_file, action.part.suffix if action.part else "")
    journal = journal_path(given.journal or beside, plan["plan_id"])
    applied = action.apply(gateway, plan, plan_file, journal)
    needs_approval = given.expect or (made_here and requires_expect())
    again = [*(["--expect", plan["plan_id"]] if needs_approval else []), *action.repeated]
    if not output.quiet:
        _print_outcome(action, applied, plan, output, journal=None if given.dry_run else journal)
        if action.part:
            _print_rest(applied.result, action, plan_file, again)
    again += ["--shard", str(action.part)] if action.part else []
    if given.journal or journal != beside:
        again += ["--journal", file_argument(journal)]
    go_on = f"To go on: {command(action.name, file_argument(plan_file), *again)}"
    code = _exit_code(applied.result, applied.signum, go_on)
    if applied.left and code == ExitCode.OK and not (given.dry_run or output.quiet):
        print_message(go_on)
    return code


def _loaded(action: Action, context: typer.Context, plan_file: Path) -> Plan:
    """Return the plan in a file.

    Raises:
        UsageProblem: An option selects something else.
        Refused: It was edited, or is for the other action.
    """
    from mlflow_gc.plan.verification import load_plan, refuse_action, verify

    options.refuse_given(
        context,
        [*action.selecting, "out"],
        "cannot be combined with a PLAN: the plan is the selection.",
        hint="Leave it out, or leave out the PLAN.",
    )
    plan = load_plan(plan_file)
    verify(plan, plan_file)
    refuse_action(plan, plan_file, action.name)
    return plan


def _refuse_without_terminal(action: Action, given: options.Apply) -> None:
    """Refuse to make a plan and apply it where nobody can be asked."""
    if not given.yes and not given.dry_run and not sys.stdin.isatty():
        raise Refused(
            f"Without a PLAN {action.name} asks before it deletes, and this is not an "
            "interactive terminal.",
            hint="Hand it a reviewed plan, or use --yes.",
        )


def _print_outcome(
    action: Action, applied: Applied, plan: Plan, output: options.Output, *, journal: Path | None
) -> None:
    from mlflow_gc.cli.output import console
    from mlflow_gc.render.terminal import outcomes

    screen = console(no_color=output.no_color)
    if action.name == PURGE:
        outcomes.purged(cast("Purged", applied), screen, journal=journal)
    else:
        outcomes.outcome(
            applied.result, applied.skips, screen, plan_id=plan["plan_id"], journal=journal
        )


def _print_rest(result: Result, action: Action, plan_file: Path, again: Sequence[str]) -> None:
    """Print what is left to the other shards."""
    from mlflow_gc.cli.output import print_message

    if result.left:
        experiments = number_of(
            len(result.left),
            "experiment is left to the shard that empties it last",
            "experiments are left to the shard that empties them last",
        )
        print_message(f"{experiments}.")
    print_message(
        f"This was shard {action.part}. When all are done, one more run finds what any of them left: "
        f"{command(action.name, file_argument(plan_file), *again)}"
    )


def _exit_code(result: Result, signum: int, go_on: str) -> int:
    """Print failures and the next command, and return the exit code.

    Raises:
        GcError: It ended early.
    """
    from mlflow_gc.cli.output import print_message

    for kind, entity_id, message in result.failures[:_MOST_FAILURES]:
        print_message(f"Failed: {kind} {entity_id}: {message}")
    if (more := len(result.failures) - _MOST_FAILURES) > 0:
        print_message(f"... and {more} more failures, see the journal.")
    if result.fatal:
        early = f"It ended early; what was done is in the journal. {go_on}"
        hint = "\n".join(filter(None, (result.fatal.hint, early)))
        raise GcError(result.fatal.message, hint=hint)
    if result.interrupted:
        print_message(f"Stopped in order. {go_on}")
        return 128 + signum
    if result.is_partial:
        print_message(f"Some entities failed. {go_on}")
        return ExitCode.PARTIAL
    return ExitCode.OK
