"""The command line: Typer wiring only, one small module per command."""

from __future__ import annotations

from typing import Annotated

import typer

import mlflow_gc
from mlflow_gc.cli import (
    check,
    demo,
    diff,
    journal,
    mark,
    policy,
    prune,
    report,
    restore,
    schema,
    show,
    validate,
)

_EPILOG = (
    "Exit codes: 0 done; 1 error; 2 there is something (differences, deletions, changes); "
    "3 some entities failed; 5 refused before anything was touched; 64 usage; "
    "130/143 stopped by SIGINT/SIGTERM."
)

app = typer.Typer(
    name="mlflow-gc",
    help="Plan/apply pruning for MLflow: report writes a plan, people review it, prune applies it.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mlflow-gc {mlflow_gc.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Plan/apply pruning for MLflow: report writes a plan, people review it, prune applies it."""


app.command()(report.report)
app.command()(prune.prune)
app.command()(show.show)
app.command()(diff.diff)
app.command()(check.check)
app.command()(restore.restore)
app.command()(mark.mark)
app.command()(validate.validate)
app.command()(schema.schema)
app.add_typer(policy.app, name="policy")
app.add_typer(journal.app, name="journal")
app.command()(demo.demo)
