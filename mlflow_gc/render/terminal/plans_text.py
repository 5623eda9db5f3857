"""The plans of several workspaces as text: one line each, and the command that applies them all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mlflow_gc.domain.quantities import number_of
from mlflow_gc.invocation import command, file_argument
from mlflow_gc.plan.document import Plan, total_of
from mlflow_gc.plan.verification import applicability
from mlflow_gc.render.common.lines import Column, Span, line, rows, spans
from mlflow_gc.render.common.plan_summary import BAD

if TYPE_CHECKING:
    from rich.console import Console

_LONGEST = 63
"""Characters of a name; MLflow accepts no longer ones."""


class Facts(NamedTuple):
    """What the line of a plan says."""

    deletes: int
    irreversible: int
    protected: int
    is_applicable: bool

    @classmethod
    def of(cls, plan: Plan) -> Facts:
        """Return the facts about a plan."""
        return cls(
            total_of(plan, "delete"),
            plan["summary"]["irreversible"],
            total_of(plan, "protected"),
            applicability(plan).may_be_applied,
        )


def show(files: Mapping[str, Path], made: Mapping[Path, Facts], console: Console) -> None:
    """Print the plans.

    Args:
        files: the path of the plan of each workspace.
        made: the plans that were made, by path.
        console: output.
    """
    table: list[tuple[str | Span, ...]] = [("", "to delete", "permanently", "protected", "file")]
    for workspace, path in files.items():
        # A name alone could begin a line like a command of a CI system.
        name = f"workspace {workspace[:_LONGEST]}"
        if path not in made:
            table.append((name, "", "", "", ("NO PLAN WAS MADE", BAD)))
            continue
        numbers = (f"{n:,}" for n in made[path][:3])
        state: Span = ("" if made[path].is_applicable else "CANNOT BE APPLIED", BAD)
        table.append((name, *numbers, str(path), state))
    columns = [Column(), *[Column(right=True)] * 3, Column(), Column()]
    line(console, "")
    line(console, f"Plans of {number_of(len(files), 'workspace', 'workspaces')}", "bold")
    rows(console, columns, table)
    to_apply = [
        file_argument(path)
        for path in files.values()
        if path in made and made[path].is_applicable and made[path].deletes
    ]
    if to_apply:
        written = command("prune", "--all-workspaces", *to_apply)
        spans(console, [("Apply all: ", "dim"), (written, "cyan")])
