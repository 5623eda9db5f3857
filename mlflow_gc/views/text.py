"""A plan as text, on a terminal or in a job's log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlflow_gc.plan.verify import Applicability, applicability
from mlflow_gc.views import plan_deletions, plan_head, plan_kept, policy_in_words
from mlflow_gc.views.escape import plain
from mlflow_gc.views.lines import line

if TYPE_CHECKING:
    from rich.console import Console


def summary(plan: dict[str, Any], console: Console, *, path: str) -> None:
    """Print what a report found: the numbers, where most of it is, and the next command."""
    state = applicability(plan)
    plan_head.headline(plan, console, state)
    line(console, "")
    plan_head.totals(plan, console)
    plan_deletions.largest(plan, console)
    line(console, "")
    steps = ("show", "check", "prune", "expect")
    plan_head.footer(plan, console, state, path=path, steps=steps)


def show(
    plan: dict[str, Any],
    console: Console,
    *,
    path: str,
    everything: bool,
    steps: tuple[str, ...] = ("check", "prune", "expect"),
    doubts: Sequence[Applicability] = (),
) -> None:
    """Print what a plan deletes by experiment and model, what it keeps and why.

    Args:
        plan: the document.
        console: where to.
        path: where it was read.
        everything: do not cut long lists.
        steps: which commands to offer at the end, see :func:`plan_head.footer`.
        doubts: what :func:`mlflow_gc.plan.verify.distrust` found in the file.
    """
    state = applicability(plan, doubts)
    plan_head.headline(plan, console, state)
    line(console, "")
    plan_head.totals(plan, console)
    line(console, "")
    plan_head.basis(plan, console)
    plan_head.diagnostics(plan, console, state, everything=everything)
    line(console, "")
    plan_head.legend(plan, console)
    plan_deletions.deletions(plan, console, everything=everything)
    plan_kept.kept(plan, console, everything=everything)
    line(console, "")
    plan_head.footer(plan, console, state, path=path, steps=steps)


def question(plan: dict[str, Any]) -> str:
    """Return what prune asks before it applies a plan made on the spot."""
    counts = ", ".join(
        f"{plan['summary'][kind]['delete']:,} {words}" for kind, (_, words) in plan_head.kinds(plan)
    )
    irreversible = plan["summary"]["irreversible"]
    lines = [
        f"Delete {counts} on {plan['server']['tracking_uri']}?",
        policy_in_words.source(plan.get("policy_source")),
        plan_head.fate_of_names(plan),
        f"{irreversible:,} of these deletions are irreversible. Only 'yes' is accepted: ",
    ]
    return "\n" + "\n".join(plain(words) for words in lines if words)
