"""``mlflow-gc show``: render a plan, offline."""

from __future__ import annotations

from mlflow_gc.cli import options
from mlflow_gc.errors import ExitCode, UsageProblem
from mlflow_gc.plan.document import deletion_counts


def show(
    plan_file: options.PlanFile,
    output_format: options.Format = "text",
    everything: options.Everything = False,
    most_bytes: options.MarkdownBudget = None,
    detailed_exitcode: options.DetailedExitcode = False,
    _quiet: options.Quiet = False,  # accepted, but there is no progress to hide
    no_color: options.NoColor = False,
) -> int:
    """Show what a plan deletes, what it protects, and why."""
    from mlflow_gc.cli.output import console, print_message, write_output
    from mlflow_gc.plan.verification import file_problems, load_plan
    from mlflow_gc.plan.writer import pieces
    from mlflow_gc.render.terminal import plan_text

    if most_bytes is not None and (everything or output_format != "markdown"):
        raise UsageProblem(
            "--budget applies to --format markdown without --all.",
            hint="The other formats, and --all, cut nothing to fit a size.",
        )
    plan = load_plan(plan_file)
    problems = file_problems(plan)
    for problem in problems:
        print_message(f"Warning: {' '.join(problem.details)} prune will refuse this plan.")
    # A path of this machine is meaningless for readers elsewhere.
    name = plan_file.name if str(plan_file) != "-" else "prune-plan.json"
    if output_format == "json":
        write_output(*pieces(plan))
    elif output_format == "markdown":
        from mlflow_gc.render.common import budget
        from mlflow_gc.render.markdown import plan_markdown

        limit = None if everything else most_bytes or budget.DEFAULT
        write_output(plan_markdown.show(plan, limit, file_name=name, problems=problems).encode())
    elif output_format == "html":
        from mlflow_gc.render import html

        for text_piece in html.show(plan, file_name=name, problems=problems):
            write_output(text_piece.encode())
    elif output_format in {"csv", "ndjson"}:
        from mlflow_gc.render.table import spreadsheet

        is_csv = output_format == "csv"
        pieces_of = spreadsheet.csv_pieces if is_csv else spreadsheet.ndjson_pieces
        for piece in pieces_of(plan, is_genuine=all(problem.is_genuine for problem in problems)):
            write_output(piece)
    else:
        plan_text.show(
            plan,
            console(no_color=no_color),
            path=str(plan_file),
            everything=everything,
            problems=problems,
        )
    deletes = any(deletion_counts(plan).values())
    return ExitCode.SOMETHING if detailed_exitcode and deletes else ExitCode.OK
