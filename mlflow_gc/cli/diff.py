"""``mlflow-gc diff``: what changed between two plans, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlflow_gc.cli import options
from mlflow_gc.errors import ExitCode, UsageProblem


def diff(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="The earlier plan.")],
    head: Annotated[Path, typer.Argument(metavar="HEAD", help="The later plan.")],
    output_format: Annotated[
        options.Format, typer.Option("--format", help="How to print it.")
    ] = options.Format.TEXT,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> int:
    """Show what changed from one plan to another; exit 2 when anything did."""
    import orjson

    from mlflow_gc.cli.output import console, put, say
    from mlflow_gc.plan.diff import diff_plans
    from mlflow_gc.plan.verify import edited, load_plan
    from mlflow_gc.views import diff_text

    if output_format is options.Format.HTML:
        raise UsageProblem("diff has no HTML format.", hint="Use text, markdown or json.")
    plans = [load_plan(base), load_plan(head)]
    for path, plan in zip((base, head), plans, strict=True):
        if problem := edited(plan):
            say(f"Warning: {path}: {problem}")
    changes = diff_plans(*plans)
    if output_format is options.Format.JSON:
        put(orjson.dumps(changes, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    elif output_format is options.Format.MARKDOWN:
        from mlflow_gc.views import diff_markdown

        put(diff_markdown.diff(changes).encode())
    elif not quiet:
        diff_text.diff(changes, console(no_color=no_color))
    return ExitCode.SOMETHING if changes["different"] else ExitCode.OK
