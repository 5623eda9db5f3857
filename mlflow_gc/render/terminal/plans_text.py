"""The plans of several workspaces as text: one line each, and the command that applies them all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from mlflow_gc.domain.kinds import KINDS
from mlflow_gc.invocation import command, file_argument
from mlflow_gc.plan.document import Plan, counts_of
from mlflow_gc.plan.verification import applicability
from mlflow_gc.render.common.lines import Column, Span, line, number_of, rows, spans
from mlflow_gc.render.common.plan_summary import BAD
from mlflow_gc.workflows.reporter import Listener

if TYPE_CHECKING:
    from rich.console import Console


_LONGEST = 63
"""Characters of a name; MLflow accepts no longer ones."""


class _Facts(NamedTuple):
    deletes: int
    irreversible: int
    protected: int
    is_applicable: bool


class Made(Listener):
    """Collects the numbers of plans, not the plans."""

    def __init__(self) -> None:
        self._by_path: dict[Path, _Facts] = {}

    def plan(self, document: Mapping[str, Any], path: Path) -> None:
        """Note a plan."""
        plan = cast("Plan", document)
        self._by_path[path] = _Facts(
            sum(counts_of(plan, kind)["delete"] for kind in KINDS),
            plan["summary"]["irreversible"],
            sum(counts_of(plan, kind)["protected"] for kind in KINDS),
            applicability(plan).may_be_applied,
        )

    def show(self, files: Mapping[str, Path], console: Console) -> None:
        """Print the plans.

        Args:
            files: the path of the plan of each workspace; a missing plan was not made.
            console: output.
        """
        table: list[tuple[str | Span, ...]] = [
            ("", "to delete", "permanently", "protected", "file")
        ]
        for workspace, path in files.items():
            # A name alone could begin a line like a command of a CI system.
            name = f"workspace {workspace[:_LONGEST]}"
            facts = self._by_path.get(path)
            if facts is None:
                table.append((name, "", "", "", ("NO PLAN WAS MADE", BAD)))
                continue
            numbers = (f"{n:,}" for n in (facts.deletes, facts.irreversible, facts.protected))
            state: Span = ("" if facts.is_applicable else "CANNOT BE APPLIED", BAD)
            table.append((name, *numbers, str(path), state))
        columns = [Column(), *[Column(right=True)] * 3, Column(), Column()]
        line(console, "")
        line(console, f"Plans of {number_of(len(files), 'workspace', 'workspaces')}", "bold")
        rows(console, columns, table)
        to_apply = [
            file_argument(path)
            for path in files.values()
            if (facts := self._by_path.get(path)) and facts.is_applicable and facts.deletes
        ]
        if to_apply:
            written = command("prune", "--all-workspaces", *to_apply)
            spans(console, [("Apply all: ", "dim"), (written, "cyan")])
