"""A plan and its difference as text, on a terminal or in a job's log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlflow_gc.views import plan_deletions, plan_head, plan_kept
from mlflow_gc.views.escape import plain
from mlflow_gc.views.lines import KIND_WORDS, NAME, line

if TYPE_CHECKING:
    from rich.console import Console


def summary(plan: dict[str, Any], console: Console, *, path: str) -> None:
    """Print what a report found: the numbers, where most of it is, and the next command."""
    plan_head.headline(plan, console)
    line(console, "")
    plan_head.totals(plan, console)
    plan_deletions.largest(plan, console)
    line(console, "")
    plan_head.footer(plan, console, path=path, steps=("show", "check", "prune", "expect"))


def show(
    plan: dict[str, Any],
    console: Console,
    *,
    path: str,
    everything: bool,
    steps: tuple[str, ...] = ("check", "prune", "expect"),
) -> None:
    """Print what a plan deletes by experiment and model, what it keeps and why.

    Args:
        plan: the document.
        console: where to.
        path: where it was read.
        everything: do not cut long lists.
        steps: which commands to offer at the end, see :func:`plan_head.footer`.
    """
    plan_head.headline(plan, console)
    line(console, "")
    plan_head.totals(plan, console)
    line(console, "")
    plan_head.basis(plan, console)
    plan_head.diagnostics(plan, console, everything=everything)
    line(console, "")
    plan_head.legend(plan, console)
    plan_deletions.deletions(plan, console, everything=everything)
    plan_kept.kept(plan, console, everything=everything)
    line(console, "")
    plan_head.footer(plan, console, path=path, steps=steps)


def diff(changes: dict[str, Any], console: Console) -> None:
    """Print what changed between two plans; server and policy first."""
    if not changes["different"]:
        line(console, "No differences.")
        return
    for part in ("server", "policy", "state"):
        for field in changes[part]:
            line(console, f"! {part} {_change(field)}", "bold yellow")
    counts = []
    for kind, (word, words) in KIND_WORDS.items():
        lists = changes[kind]
        for sign, key, style in (("+", "added", "red"), ("-", "removed", "green")):
            for entity in lists[key]:
                name = plain(entity["name"], most=NAME)
                line(console, f"{sign} {word} {entity['id']}  {name}  {entity['why']}", style)
        for entity in lists["changed"]:
            name = plain(entity["name"], most=NAME)
            fields = "; ".join(_change(field) for field in entity["fields"])
            line(console, f"~ {word} {entity['id']}  {name}  {fields}", "yellow")
        numbers = [len(lists[key]) for key in ("added", "removed", "changed")]
        if any(numbers) or kind != "registered_models":
            counts.append("{} +{} -{} ~{}".format(words, *numbers))
    line(console, "; ".join(counts))


def question(plan: dict[str, Any]) -> str:
    """Return what prune asks before it applies a plan made on the spot."""
    counts = ", ".join(
        f"{plan['summary'][kind]['delete']:,} {words}" for kind, (_, words) in plan_head.kinds(plan)
    )
    irreversible = plan["summary"]["irreversible"]
    uri = plain(plan["server"]["tracking_uri"])
    return (
        f"\nDelete {counts} on {uri}?\n"
        f"{irreversible:,} of these deletions are irreversible. Only 'yes' is accepted: "
    )


def _change(field: dict[str, Any]) -> str:
    return f"{field['field']} {_value(field['old'])} -> {_value(field['new'])}"


def _value(value: Any) -> str:
    return plain("none" if value is None else str(value), most=NAME * 2)
