"""Entities on a terminal, grouped by experiment and model; long lists are truncated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.common.lines import CUT_AT, NAME, counted, line

if TYPE_CHECKING:
    from rich.console import Console

_MOST_GROUPS = 8
# One very long id must not push the texts of all others off the screen.
_WIDEST = 60


def grouped(
    console: Console,
    kind: str,
    entities: Sequence[dict[str, Any]],
    describe: Callable[[dict[str, Any]], str],
    *,
    sign: str,
    style: str | None,
    everything: bool,
) -> None:
    """Print entities of one kind, a line each, in groups with counts.

    Args:
        console: output.
        kind: a field of a plan, such as ``runs``.
        entities: with ``id`` and ``name``; runs with ``experiment_id`` and maybe
            ``experiment_name``.
        describe: returns the text about one entity.
        sign: in front of each.
        style: of each.
        everything: do not truncate.
    """
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entity in entities:
        groups[_group_of(kind, entity)].append(entity)
    # The largest first: the reader may read only some lines.
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    shown = ordered if everything else ordered[:_MOST_GROUPS]
    most = len(entities) if everything else CUT_AT // max(len(shown), 1)
    for title, entries in shown:
        if title:
            line(console, f"  {title}: {counted(kind, len(entries))}")
        indent = "    " if title else "  "
        # A line with "and 1 more" takes the same room as the one.
        first = entries if len(entries) == most + 1 else entries[:most]
        for text in aligned(_cells(kind, entity, describe(entity)) for entity in first):
            line(console, f"{indent}{sign} {text}", style)
        if left := len(entries) - len(first):
            line(console, f"{indent}... and {counted(kind, left)} more (--all shows them)")
    if rest := ordered[len(shown) :]:
        left = sum(len(entries) for _, entries in rest)
        where = "experiments" if kind == "runs" else "models"
        line(
            console,
            f"  ... and {counted(kind, left)} in {len(rest):,} more {where} (--all shows them)",
        )


def aligned(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return rows of cells as lines, in columns."""
    rows = list(rows)
    widths = [min(max(map(len, column)), _WIDEST) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _group_of(kind: str, entity: dict[str, Any]) -> str:
    if kind == "runs":
        name = plain(entity.get("experiment_name", ""), most=NAME)
        return f"experiment {entity['experiment_id']} {name}".rstrip()
    if kind == "model_versions":
        return f"model {plain(entity['name'])}"
    return ""


def _cells(kind: str, entity: dict[str, Any], description: str) -> tuple[str, ...]:
    # Versions and models have no other name than their id.
    named = kind in {"experiments", "runs"}
    name = (plain(entity["name"], most=NAME),) if named else ()
    day = ((entity["last_active"] or "")[:10],) if "last_active" in entity else ()
    return (plain(entity["id"]), *name, *day, plain(description))
