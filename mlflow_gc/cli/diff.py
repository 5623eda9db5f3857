"""``mlflow-gc diff``: what changed between two plans, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlflow_gc.cli import options
from mlflow_gc.domain.kinds import action_of
from mlflow_gc.errors import ExitCode, UsageProblem


def diff(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="The earlier plan; - is stdin.")],
    head: Annotated[Path, typer.Argument(metavar="HEAD", help="The later plan; - is stdin.")],
    output_format: options.DiffFormat = "text",
    everything: options.Everything = False,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> int:
    """Show what changed from one plan to another; exit 2 when anything did."""
    from mlflow_gc.cli.output import console, print_message, write_json, write_output
    from mlflow_gc.plan.diff import diff_plans
    from mlflow_gc.plan.verification import applicability, file_problems, load_plan
    from mlflow_gc.render.terminal import diff_text

    if str(base) == str(head) == "-":
        raise UsageProblem("Only one of the plans can come from stdin.")
    paths = (base, head)
    plans = [load_plan(path) for path in paths]
    actions = [action_of(plan) for plan in plans]
    if actions[0] != actions[1]:
        raise UsageProblem(
            f"{base} is a {actions[0]} plan and {head} a {actions[1]} plan.",
            hint="Compare two plans for the same command.",
        )
    problems = [file_problems(plan) for plan in plans]
    for path, found in zip(paths, problems, strict=True):
        for problem in found:
            print_message(
                f"Warning: {path}: {' '.join(problem.details)} prune will refuse this plan."
            )
    was_edited = [any(not problem.is_genuine for problem in found) for found in problems]
    changes = diff_plans(*plans, edited=(was_edited[0], was_edited[1]))
    later = applicability(plans[1], problems[1])
    if output_format == "json":
        write_json(changes)
    elif output_format == "markdown":
        from mlflow_gc.render.common.budget import DEFAULT
        from mlflow_gc.render.markdown import diff_markdown

        most_bytes = None if everything else DEFAULT
        write_output(
            diff_markdown.diff(
                changes, later, plan=plans[1], head=str(head), most_bytes=most_bytes
            ).encode()
        )
    elif not quiet:
        diff_text.diff(
            changes,
            later,
            console(no_color=no_color),
            plan=plans[1],
            base=str(base),
            head=str(head),
            everything=everything,
        )
    return ExitCode.SOMETHING if changes["different"] else ExitCode.OK
