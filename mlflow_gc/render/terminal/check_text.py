"""What has changed on the server since a plan was made, as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlflow_gc.domain.kinds import KINDS
from mlflow_gc.invocation import command, file_argument
from mlflow_gc.render.common.grouped import grouped
from mlflow_gc.render.common.lines import counted, line, table
from mlflow_gc.render.terminal.diff_text import STDIN, change, without_echoes

if TYPE_CHECKING:
    from rich.console import Console

NUMBERS = ("matching", "changed", "gone", "failed")
CODES = {
    # The code, its title, the sign before each and the style: what matters most first.
    "failed": ("Could not be checked", "?", "bold red"),
    "protected": ("Protected now", "=", "green"),
    "changed": ("Changed", "~", "yellow"),
    "already_deleted": ("Already in the trash", "x", None),
    "gone": ("Gone", "x", None),
}


def check(found: dict[str, Any], console: Console, *, path: str, everything: bool) -> None:
    """Print how many entries of a plan match, and what became of the others.

    Args:
        found: as :func:`mlflow_gc.apply.check.check_document` returns it.
        console: where to.
        path: of the plan, for the commands to go on.
        everything: do not cut long lists.
    """
    rows: list[tuple[str, ...]] = [("", *NUMBERS)]
    for kind in KINDS:
        counts = found["summary"][kind]
        if kind != "registered_models" or any(counts.values()):
            rows.append((KINDS[kind].plural, *(f"{counts[key]:,}" for key in NUMBERS)))
    table(console, rows)
    line(console, in_all(found), "bold")
    for code, (title, sign, style) in CODES.items():
        lists = {kind: [e for e in found[kind] if e["code"] == code] for kind in KINDS}
        counts = ", ".join(counted(kind, len(lists[kind])) for kind in lists if lists[kind])
        if not counts:
            continue
        line(console, "")
        line(console, f"{title}: {counts}", style)
        for kind, entities in lists.items():
            grouped(console, kind, entities, why, sign=sign, style=style, everything=everything)
    line(console, "")
    for sentence in doubts(found):
        line(console, sentence, "bold red")
    line(console, f"Plan {path}  {found['plan']['plan_id']}")
    if path == STDIN:
        return
    if matching := can_go(found):
        word = "entity" if matching == 1 else "entities"
        line(console, f"Apply what still matches, {matching:,} {word}:")
        line(console, f"  {command('prune', file_argument(path))}")
    elif found["refusals"] or found["differs"]:
        line(console, f"Make a new plan: {command('report')}")


def in_all(found: dict[str, Any]) -> str:
    """Return the numbers over all kinds as a sentence."""
    totals = {
        key: sum(found["summary"][kind][key] for kind in KINDS) for key in (*NUMBERS, "protected")
    }
    protected = f" ({totals['protected']:,} of them protected)" if totals["protected"] else ""
    return (
        f"Total: {totals['matching']:,} matching, {totals['changed']:,} changed{protected}, "
        f"{totals['gone']:,} gone, {totals['failed']:,} failed."
    )


def can_go(found: dict[str, Any]) -> int:
    """Return how many entities a prune would delete now."""
    if found["refusals"] or found["ended"] != "completed":
        return 0
    return sum(found["summary"][kind]["matching"] for kind in KINDS)


def doubts(found: dict[str, Any]) -> Iterator[str]:
    """Yield why the plan as a whole could not be applied, or the numbers are not all."""
    if found["ended"] != "completed":
        yield "The check did not finish: not all entries were checked."
    for refusal in found["refusals"]:
        yield f"prune would refuse the plan now. {refusal}"


def why(entity: dict[str, Any]) -> str:
    """Return what is not as planned, and what protects it."""
    if entity["code"] in {"gone", "already_deleted"}:
        return ""
    fields = [
        {"field": c["field"], "old": c["planned"], "new": c["current"]} for c in entity["changes"]
    ]
    changes = [change(field) for field in without_echoes(fields)]
    if entity["code"] == "changed" and changes:
        return "; ".join(changes)
    return "; ".join([entity["detail"], *changes])
