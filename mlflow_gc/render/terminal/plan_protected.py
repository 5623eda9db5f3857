"""Protected entities of a plan: a line for each reason, with the chain of an example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlflow_gc.domain.kinds import KINDS, is_purge, kinds_of
from mlflow_gc.domain.reasons import ends_in_id
from mlflow_gc.plan.document import Plan, ProtectedEntry, counts_of
from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.common.lines import (
    NAME,
    Column,
    cell_width,
    counted,
    cut,
    line,
    rows,
    spans,
    width_of,
)
from mlflow_gc.render.common.plan_groups import protections
from mlflow_gc.render.common.plan_summary import ages_of, protected_title
from mlflow_gc.render.common.reason_text import protection_text

if TYPE_CHECKING:
    from rich.console import Console

_LINK = " <- "
_BELOW = 6
"""The indent of lines below a row."""


def why_nothing_is_deleted(plan: Plan, console: Console) -> None:
    """Print what a plan without deletions protects, by reason, and that the rest is not stale."""
    line(console, "")
    purge = is_purge(plan)
    if not purge and not any(
        counts_of(plan, kind)["scanned"] for kind in ("runs", "model_versions")
    ):
        line(console, "This server has no runs and no model versions. Is it the one you mean?")
        return
    found = sorted(protections(plan).items(), key=lambda item: -len(item[1]))
    if found:
        line(console, "In the trash, but protected:" if purge else "Stale, but protected:")
        cells = [
            (*counted(kind, len(entries)).split(" ", 1), protection_text(reason))
            for (kind, reason), entries in found
        ]
        rows(console, [Column(right=True), Column(), Column("green")], cells, indent=2)
    nothing = "Nothing else" if found else "Nothing"
    # A sentence as a whole can be searched for.
    stale = "Nothing else is stale" if found else "Nothing is stale"
    line(console, f"{nothing} is {ages_of(plan)}." if purge else f"{stale} ({ages_of(plan)}).")


def protected(plan: Plan, console: Console, *, everything: bool) -> None:
    """Print protected entities: a line for each reason, with an example."""
    found = protections(plan)
    line(console, "")
    example = " (one example for each reason)" if found and not everything else ""
    spans(console, [(protected_title(plan), "bold"), (example, "dim")])
    room = width_of(console)
    cells: list[tuple[str, ...]] = []
    below = []
    order = [*kinds_of(plan)]
    for kind, reason in sorted(found, key=lambda key: (order.index(key[0]), -len(found[key]))):
        entries = found[kind, reason]
        cells.append((*counted(kind, len(entries)).split(" ", 1), protection_text(reason)))
        chains = [_chain(kind, entry) for entry in (entries if everything else entries[:1])]
        below.append([text for chain in chains for text in _wrapped(chain, room)])
    # What is printed below has the style of the last column.
    columns = [Column(right=True), Column(), Column("green"), Column("dim")]
    rows(console, columns, [(*row, "") for row in cells], indent=2, below=below)


def _wrapped(chain: Sequence[str], room: int | None) -> list[str]:
    """Return a chain on as many lines as a terminal needs, broken between its links."""
    lines = [chain[0]]
    for link in chain[1:]:
        if room is None or cell_width(plain(lines[-1] + _LINK + link)) <= room - _BELOW:
            lines[-1] += _LINK + link
        else:
            lines.append(f" {_LINK}{link}")
    return lines


def _chain(kind: str, entry: ProtectedEntry) -> list[str]:
    """Return the entity and the chain to its protection."""
    first = f"{KINDS[kind].name} {KINDS[kind].id_of(entry)}"
    if kind == "experiments":
        first += f" {cut(KINDS[kind].name_of(entry), NAME)}"
    links = [via if ends_in_id(via) else cut(via, NAME * 2) for via in entry["via"]]
    return [first, *links]
