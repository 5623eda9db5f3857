"""The difference of two plans as text, on a terminal or in a job's log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlflow_gc.views.escape import plain
from mlflow_gc.views.lines import KIND_WORDS, NAME, line

if TYPE_CHECKING:
    from rich.console import Console


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


def _change(field: dict[str, Any]) -> str:
    return f"{field['field']} {_value(field['old'])} -> {_value(field['new'])}"


def _value(value: Any) -> str:
    return plain("none" if value is None else str(value), most=NAME * 2)
