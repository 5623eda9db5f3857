"""What takes space on a server, by groups of entities, whether read from its database or its API."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from mlflow_gc.domain.quantities import number_of
from mlflow_gc.domain.timestamps import DAY_MS
from mlflow_gc.retention.freed_space import ACTIVE, OTHER

UNKNOWN_LINKS = "unknown_links"
"""Diagnostic code: links have ends of a type that this program does not know, and stay."""


class Group(NamedTuple):
    """What entities have in common that are counted together.

    Attributes:
        kind: of ``freed_space.KINDS``.
        stage: of ``freed_space.STAGES``.
        is_retained: purge does not delete it, although it deletes such things.
        experiment: the id of the experiment, or empty.
        owner: the user of the run, or empty.
        month: of the start or creation, ``2026-05``; empty if unknown.
        item: the id of a logged model, the name of a registered model; else empty.
    """

    kind: str
    stage: str
    is_retained: bool = False
    experiment: str = ""
    owner: str = ""
    month: str = ""
    item: str = ""


@dataclass
class Table:
    """A table of the database; bytes are None where the database does not tell."""

    rows: int = 0
    table_bytes: int | None = None
    index_bytes: int | None = None


@dataclass
class DatabaseUsage:
    """What takes space in a database.

    Attributes:
        kind: ``postgresql``, ``mysql``, ``mariadb`` or ``sqlite``.
        tables: by name.
        rows: number of rows by table and group.
        groups: by kind and id, the group of each entity.
        complete: the kinds of which every id is known, of all workspaces and stages.
        names: names of experiments and logged models by kind and id.
        total_bytes: of the database, also what is not in a table.
        reusable_bytes: inside the database, free for new rows; None if unknown.
        sizes_are_estimates: also the sizes of whole tables.
        unreadable: tables whose rows the account may not read.
        untimed_runs: number of runs in the trash that stay, as they have no time of deletion.
        unknown_ends: number of links with an end of a type that this program does not know, by type.
    """

    kind: str
    tables: dict[str, Table] = field(default_factory=dict)
    rows: dict[str, Counter[Group]] = field(default_factory=lambda: defaultdict(Counter))
    groups: dict[str, dict[Any, Group]] = field(default_factory=lambda: defaultdict(dict))
    complete: set[str] = field(default_factory=set)
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    total_bytes: int = 0
    reusable_bytes: int | None = None
    sizes_are_estimates: bool = False
    unreadable: list[str] = field(default_factory=list)
    untimed_runs: int = 0
    unknown_ends: Counter[str] = field(default_factory=Counter)

    def experiment_of(self, kind: str, entity_id: str) -> str | None:
        """Return the experiment id of an entity; empty if unknown, None if it is in no table."""
        if (group := self.groups[kind].get(entity_id)) is not None:
            return group.experiment
        return None if kind in self.complete else ""

    @property
    def unknown_links(self) -> str | None:
        """A sentence about links with ends of unknown types; None if there are none."""
        if not self.unknown_ends:
            return None
        types = ", ".join(map(repr, sorted(self.unknown_ends)))
        links = number_of(self.unknown_ends.total(), "link has", "links have")
        return (
            f"{links} an end of a type that this program does not know ({types}): it is taken to exist, "
            "and purge deletes such a link with its other end only."
        )


def bytes_by_group(usage: DatabaseUsage) -> dict[Group, tuple[int, float, float]]:
    """Return, by group, the rows and the bytes of tables and of indexes.

    Each row of a table counts the same.  What empty tables take has no entity.
    """
    found: dict[Group, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    for name, t in usage.tables.items():
        rows_of = usage.rows.get(name) or {Group(OTHER, ACTIVE): 0}
        for group, rows in rows_of.items():
            share = rows / t.rows if t.rows else 1.0
            of_group = found[group]
            of_group[0] += rows
            of_group[1] += share * (t.table_bytes or 0)
            of_group[2] += share * (t.index_bytes or 0)
    return {group: (int(n), a, b) for group, (n, a, b) in found.items()}


def month(moment_ms: Any) -> str:
    """Return the month of a time in ms since the epoch, as ``2026-05``; empty if unknown."""
    return _month_of_day(int(moment_ms) // DAY_MS) if moment_ms else ""


@cache
def _month_of_day(day: int) -> str:
    try:
        return time.strftime("%Y-%m", time.gmtime(day * 86_400))
    except (OverflowError, ValueError, OSError):
        return ""
