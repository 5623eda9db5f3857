"""A plan as text, on a terminal or in a job's log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlflow_gc.domain.kinds import is_purge
from mlflow_gc.domain.quantities import number_of
from mlflow_gc.plan.document import Plan, counts_of
from mlflow_gc.plan.verification import Applicability, applicability
from mlflow_gc.render.common import plan_summary, policy_sentences
from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.common.lines import line
from mlflow_gc.render.terminal import plan_deletions, plan_protected

if TYPE_CHECKING:
    from rich.console import Console


def summary(plan: Plan, console: Console, *, path: str) -> None:
    """Print the summary of a report: numbers, largest groups, and the next command."""
    state = applicability(plan)
    plan_summary.headline(plan, console, state)
    line(console, "")
    plan_summary.totals(plan, console)
    plan_deletions.largest(plan, console)
    if not plan_summary.deletes(plan):
        plan_protected.why_nothing_is_deleted(plan, console)
    line(console, "")
    steps = ("show", "check", "prune", "expect", "explain", "ttl", "usage")
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
    """Print the deletions of a plan by experiment and model, and its protections.

    ``steps`` are the commands to print at the end, see :func:`plan_summary.footer`.
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
    plan_protected.protected(plan, console, everything=everything)
    line(console, "")
    plan_summary.footer(plan, console, state, path=path, steps=steps)


def question(plan: Plan) -> str:
    """Return the confirmation prompt of a prune without a saved plan."""
    counts = ", ".join(
        number_of(counts_of(plan, kind)["delete"], *nouns)
        for kind, nouns in plan_summary.kinds(plan)
    )
    irreversible = plan["summary"]["irreversible"]
    server = plan["server"]
    where = f"{server['tracking_uri']}, workspace {server['workspace']}"
    what = "Delete permanently" if is_purge(plan) else "Delete"
    lines = [
        f"{what} {counts} on {where if server['workspace'] else server['tracking_uri']}?",
        policy_sentences.source(plan.get("policy_source")),
        *plan_summary.consequences(plan),
        f"{irreversible:,} of these deletions are irreversible. Only 'yes' is accepted: ",
    ]
    return "\n" + "\n".join(map(plain, lines))
