"""A plan as text, on a terminal or in a job's log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlflow_gc.plan.document import Plan, counts_of
from mlflow_gc.plan.verification import Applicability, applicability
from mlflow_gc.render.common import plan_summary, policy_sentences
from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.common.lines import line
from mlflow_gc.render.terminal import plan_deletions, plan_protected

if TYPE_CHECKING:
    from rich.console import Console


def summary(plan: Plan, console: Console, *, path: str) -> None:
    """Print what a report found: the numbers, where most of it is, and the next command."""
    state = applicability(plan)
    plan_summary.headline(plan, console, state)
    line(console, "")
    plan_summary.totals(plan, console)
    plan_deletions.largest(plan, console)
    line(console, "")
    steps = ("show", "check", "prune", "expect")
    plan_summary.footer(plan, console, state, path=path, steps=steps)


def show(
    plan: Plan,
    console: Console,
    *,
    path: str,
    everything: bool,
    steps: tuple[str, ...] = ("check", "prune", "expect"),
    problems: Sequence[Applicability] = (),
) -> None:
    """Print what a plan deletes by experiment and model, what it keeps and why.

    Args:
        plan: the document.
        console: where to.
        path: where it was read.
        everything: do not cut long lists.
        steps: which commands to offer at the end, see :func:`plan_head.footer`.
        problems: what :func:`mlflow_gc.plan.verification.file_problems` found in the file.
    """
    state = applicability(plan, problems)
    plan_summary.headline(plan, console, state)
    line(console, "")
    plan_summary.totals(plan, console)
    line(console, "")
    plan_summary.basis(plan, console)
    plan_summary.diagnostics(plan, console, state, everything=everything)
    line(console, "")
    plan_summary.legend(plan, console)
    plan_deletions.deletions(plan, console, everything=everything)
    plan_protected.kept(plan, console, everything=everything)
    line(console, "")
    plan_summary.footer(plan, console, state, path=path, steps=steps)


def question(plan: Plan) -> str:
    """Return what prune asks before it applies a plan made on the spot."""
    counts = ", ".join(
        f"{counts_of(plan, kind)['delete']:,} {words}"
        for kind, (_, words) in plan_summary.kinds(plan)
    )
    irreversible = plan["summary"]["irreversible"]
    lines = [
        f"Delete {counts} on {plan['server']['tracking_uri']}?",
        policy_sentences.source(plan.get("policy_source")),
        plan_summary.fate_of_names(plan),
        f"{irreversible:,} of these deletions are irreversible. Only 'yes' is accepted: ",
    ]
    return "\n" + "\n".join(plain(words) for words in lines if words)
