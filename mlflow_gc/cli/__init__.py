"""The command line: Typer wiring only, one small module per command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from mlflow_gc.cli import (
    check,
    demo,
    diff,
    journal,
    mark,
    options,
    policy,
    prune,
    purge,
    report,
    restore,
    schema,
    show,
    usage,
    validate,
)
from mlflow_gc.version import __version__

_EPILOG = (
    "Exit codes: 0 done; 1 error; 2 there is something (differences, deletions, changes); "
    "3 some entities failed; 5 refused before anything was changed; 64 usage error; "
    "130/143 stopped by SIGINT/SIGTERM."
)
_STOPPED = "64 usage error; 130/143 stopped by SIGINT/SIGTERM."
_EXIT_CODES = {
    "report": "0 the plan was written; 1 error; 2 it deletes something (--detailed-exitcode); "
    f"5 it was written, but cannot be applied; {_STOPPED}",
    "prune": "0 done, also when there was nothing to delete; 1 error; 3 some entities could not be "
    f"deleted; 5 refused before anything was changed; {_STOPPED}",
    "purge": "0 done, also when there was nothing to delete or a limit ended it; 1 error; 3 some "
    f"entities could not be deleted; 5 refused before anything was changed; {_STOPPED}",
    "show": "0 done; 1 error; 2 the plan deletes something (--detailed-exitcode); 5 unknown "
    "version of the format; 64 usage error.",
    "diff": "0 no differences; 1 error; 2 differences; 5 unknown version of the format; 64 usage "
    "error.",
    "check": "0 done; 1 error, or not everything could be compared; 2 something is not as planned "
    f"(--detailed-exitcode); 5 refused; {_STOPPED}",
    "restore": "0 done; 1 error; 3 some entities could not be restored; 5 refused before anything "
    f"was changed; {_STOPPED}",
    "mark": "0 done; 1 error; 3 some entities could not be tagged; 5 refused before anything was "
    f"changed; {_STOPPED}",
    "usage": f"0 done, also if a store could not be listed; 1 error; 5 refused: the database is of "
    f"another server; {_STOPPED}",
    "validate": "0 all files are valid; 1 one is not; 5 one was edited, contradicts itself or has "
    "an unknown version; 64 usage error.",
}
# For the list of commands, which cuts a longer sentence.
_SUMMARIES = {
    "report": "Read a server and write a prune plan; nothing is deleted.",
    "prune": "Delete what a plan lists, after re-checking each entity.",
    "purge": "Delete permanently what a purge plan lists in the trash.",
    "diff": "Show what changed from one plan to another.",
    "check": "Compare a plan with the server; nothing is deleted.",
    "mark": "Announce by a tag what is deleted after the grace period.",
    "usage": "Measure what takes space and how much could be freed.",
    "validate": "Check plans, journals, policy files and events.",
    "demo": "Try the tool on a throw-away local MLflow server.",
}
_CONTEXT = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="mlflow-gc",
    help="Plan/apply pruning for MLflow: report writes a plan, people review it, prune applies it.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=_CONTEXT,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mlflow-gc {__version__}")
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


def _add(command: Callable[..., Any]) -> None:
    name = command.__name__
    codes = _EXIT_CODES.get(name)
    app.command(
        epilog=f"Exit codes: {codes}" if codes else None,
        short_help=_SUMMARIES.get(name),
        context_settings=_CONTEXT,
    )(options.grouped(command))


_add(report.report)
_add(prune.prune)
_add(purge.purge)
_add(show.show)
_add(diff.diff)
_add(check.check)
_add(restore.restore)
_add(mark.mark)
_add(usage.usage)
_add(validate.validate)
_add(schema.schema)
app.add_typer(policy.app, name="policy", context_settings=_CONTEXT)
app.add_typer(journal.app, name="journal", context_settings=_CONTEXT)
_add(demo.demo)
