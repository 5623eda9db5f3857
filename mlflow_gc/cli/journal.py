"""``mlflow-gc journal merge``: merge the journals of the shards of a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlflow_gc.domain.kinds import PRUNE
from mlflow_gc.errors import GcError
from mlflow_gc.invocation import command, file_argument

app = typer.Typer(no_args_is_help=True, help="Work with journals; offline.")


@app.callback()
def _group() -> None:
    """Work with journals; offline."""


@app.command()
def merge(
    journals: Annotated[
        list[Path], typer.Argument(metavar="JOURNAL...", help="Journals of one plan.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Output file.")],
) -> None:
    """Put the journals of a plan's shards together, for the record and for restore."""
    from mlflow_gc.apply.journal.reader import merge_journals, read_journal
    from mlflow_gc.cli.output import print_message, write_output
    from mlflow_gc.plan.writer import write

    sessions = [session for path in journals for session in read_journal(path)]
    merged = merge_journals(sessions)
    if str(out) == "-":
        write_output(merged)
        return
    if out.exists() and not any(out.samefile(path) for path in journals):
        raise GcError(
            f"{out} already exists.",
            hint="An undo may depend on it: name another file, or merge it, too.",
        )
    write([merged], out)
    message = f"{len(sessions)} sessions of {len(journals)} journals."
    header = sessions[0].header
    if header["action"] == PRUNE:
        message += f" Undo: {command('restore', file_argument(out), server=header['server'])}"
    print_message(message)
