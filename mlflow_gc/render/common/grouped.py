"""Numbers and entities of a diff or check; entities are grouped by experiment and model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlflow_gc.domain.kinds import KINDS, REGISTERED_MODEL
from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.common.lines import CUT_AT, NAME, counted, line

if TYPE_CHECKING:
    from rich.console import Console

_MOST_GROUPS = 8
# One very long id must not push the texts of all others off the screen.
_WIDEST = 60


Entity = Mapping[str, Any]
"""With ``id`` and ``name``; a run with ``experiment_id`` and maybe ``experiment_name``."""


def numbers(summary: Mapping[str, Any], keys: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield a row of counts for each kind; for registered models only if there are any."""
    for kind, of_kind in KINDS.items():
        if kind not in summary:
            continue
        counts = [summary[kind][key] for key in keys]
        if of_kind is not REGISTERED_MODEL or any(counts):
            yield of_kind.plural, *(f"{count:,}" for count in counts)


def section(
    console: Console,
    title: str,
    lists: Mapping[str, Sequence[Entity]],
    describe: Callable[[Entity], str],
    *,
    sign: str,
    style: str | None,
    everything: bool,
) -> None:
    """Print entities under a title with counts, if there are any.

    ``describe`` returns the text about one entity, ``sign`` is in front of each.
    """
    counts = ", ".join(counted(kind, len(lists[kind])) for kind in lists if lists[kind])
    if not counts:
        return
    line(console, "")
    line(console, f"{title}: {counts}", style)
    for kind, entities in lists.items():
        groups: dict[str, list[Entity]] = defaultdict(list)
        for entity in entities:
            groups[_group_of(kind, entity)].append(entity)
        # The largest first: the reader may read only some lines.
        ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
        shown = ordered if everything else ordered[:_MOST_GROUPS]
        most = len(entities) if everything else CUT_AT // max(len(shown), 1)
        for group, found in shown:
            if group:
                line(console, f"  {group}: {counted(kind, len(found))}")
            indent = "    " if group else "  "
            # A line with "and 1 more" takes the same room as the one.
            first = found if len(found) == most + 1 else found[:most]
            for text in _aligned(_cells(kind, entity, describe(entity)) for entity in first):
                line(console, f"{indent}{sign} {text}", style)
            if left := len(found) - len(first):
                line(console, f"{indent}... and {counted(kind, left)} more (--all shows them)")
        if rest := ordered[len(shown) :]:
            left = sum(len(found) for _, found in rest)
            where = f"{len(rest):,} more {'experiments' if kind == 'runs' else 'models'}"
            line(console, f"  ... and {counted(kind, left)} in {where} (--all shows them)")


def _aligned(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return rows of cells as lines, in columns."""
    rows = list(rows)
    widths = [min(max(map(len, column)), _WIDEST) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _group_of(kind: str, entity: Entity) -> str:
    if kind == "runs":
        name = plain(entity.get("experiment_name", ""), most=NAME)
        return f"experiment {entity['experiment_id']} {name}".rstrip()
    if kind == "model_versions":
        return f"model {plain(entity['name'])}"
    return ""


def _cells(kind: str, entity: Entity, description: str) -> tuple[str, ...]:
    name = (plain(entity["name"], most=NAME),) if KINDS[kind].has_name else ()
    day = ((entity["last_active"] or "")[:10],) if "last_active" in entity else ()
    return (plain(entity["id"]), *name, *day, plain(description))
