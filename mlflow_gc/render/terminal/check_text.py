"""A check as text: changes on the server since a plan was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mlflow_gc.domain.kinds import action_of, kinds_of
from mlflow_gc.invocation import command, file_argument
from mlflow_gc.plan.verification import report_command
from mlflow_gc.render.common import policy_sentences
from mlflow_gc.render.common.grouped import numbers, section
from mlflow_gc.render.common.lines import line, table
from mlflow_gc.render.terminal.diff_text import STDIN, change, without_echoes

if TYPE_CHECKING:
    from rich.console import Console

NUMBERS = ("matching", "changed", "gone", "failed")
CODES = {
    # Code, title, sign and style: the most important first.
    "failed": ("Could not be checked", "?", "bold red"),
    "protected": ("Protected now", "=", "green"),
    "changed": ("Changed", "~", "yellow"),
    "already_deleted": ("Already in the trash", "x", None),
    "gone": ("Gone", "x", None),
}


def check(found: dict[str, Any], console: Console, *, path: str, everything: bool) -> None:
    """Print the result of :func:`mlflow_gc.apply.check.check_document`.

    These are the numbers of matching entries, and the changes of the others.  ``path`` is that of
    the plan.
    """
    table(console, [("", *NUMBERS), *numbers_of(found)])
    line(console, totals_sentence(found), "bold")
    for code, (title, sign, style) in CODES.items():
        lists = {kind: [e for e in found[kind] if e["code"] == code] for kind in kinds_of(found)}
        section(console, title, lists, why, sign=sign, style=style, everything=everything)
    line(console, "")
    for sentence in problems(found):
        line(console, sentence, "bold red")
    line(console, policy_sentences.source(found["plan"]["policy_source"]))
    line(console, f"Plan {path}  {found['plan']['plan_id']}")
    if path == STDIN:
        return
    if matching := count_deletable(found):
        noun = "entity" if matching == 1 else "entities"
        line(console, f"Apply what still matches, {matching:,} {noun}:")
        line(console, f"  {command(action_of(found), file_argument(path))}")
    elif found["refusals"] or found["differs"]:
        line(console, f"Make a new plan: {report_command(found)}")


def numbers_of(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield a row of numbers for each kind that the plan lists."""
    yield from numbers({kind: found["summary"][kind] for kind in kinds_of(found)}, NUMBERS)


def totals_sentence(found: dict[str, Any]) -> str:
    """Return the totals of all kinds as a sentence."""
    totals = {
        key: sum(found["summary"][kind][key] for kind in kinds_of(found))
        for key in (*NUMBERS, "protected")
    }
    protected = f" ({totals['protected']:,} of them protected)" if totals["protected"] else ""
    return (
        f"Total: {totals['matching']:,} matching, {totals['changed']:,} changed{protected}, "
        f"{totals['gone']:,} gone, {totals['failed']:,} failed."
    )


def count_deletable(found: dict[str, Any]) -> int:
    """Return the number of entities that would be deleted now."""
    if found["refusals"] or found["ended"] != "completed":
        return 0
    return sum(found["summary"][kind]["matching"] for kind in kinds_of(found))


def problems(found: dict[str, Any]) -> Iterator[str]:
    """Yield why the plan as a whole cannot be applied, or the check is incomplete."""
    if found["ended"] != "completed":
        yield "The check did not finish: not all entries were checked."
    for refusal in found["refusals"]:
        yield f"{action_of(found)} would refuse the plan now. {refusal}"


def why(entity: Mapping[str, Any]) -> str:
    """Return the changes of an entity, and its protection."""
    if entity["code"] in {"gone", "already_deleted"}:
        return ""
    fields = [
        {"field": c["field"], "old": c["planned"], "new": c["current"]} for c in entity["changes"]
    ]
    changes = [change(field) for field in without_echoes(fields)]
    if entity["code"] == "changed" and changes:
        return "; ".join(changes)
    return "; ".join([entity["detail"], *changes])
