"""Reasons for a deletion and chains to a protector: as data, and as the text in a plan."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlflow_gc.domain.timestamps import DAY_MS, format_ms, is_writable

_WITH_IDS = ("run", "deleted run", "model_version", "registered_model", "logged_model", "alias")


@dataclass(frozen=True, slots=True)
class Link:
    """One link of a chain; a plan contains its text.

    Attributes:
        kind: a kind of entity, ``alias``, ``stage``, ``tag`` or ``rule``; empty if it names
            nothing.
        id: the id of the named entity.
        note: text after the id, or alone; may begin with a comma.
    """

    kind: str = ""
    id: str = ""
    note: str = ""

    def __str__(self) -> str:
        if not self.kind:
            return self.note
        gap = "" if not self.note or self.note.startswith(",") else " "
        return f"{self.kind} {self.id}{gap}{self.note}"


def ends_in_id(text: str) -> bool:
    """Tell whether the text of a link ends in an id, so that it must not be truncated."""
    return text.startswith(tuple(f"{kind} " for kind in _WITH_IDS))


@dataclass(frozen=True, slots=True)
class Inactivity:
    """The whole days without a sign, such as ``no activity``; kinds but runs have no status."""

    sign: str
    days: int
    status: str = ""

    @classmethod
    def since(cls, ms: int, as_of_ms: int, sign: str, status: str = "") -> Inactivity:
        """Return the inactivity between two moments, ms since the epoch."""
        return cls(sign, (as_of_ms - ms) // DAY_MS, status)

    def __str__(self) -> str:
        began = f"{self.status}, " if self.status else ""
        return f"{began}{self.sign} for {in_days(self.days)}"


def in_days(days: int) -> str:
    """Return ``1 day`` or ``412 days``."""
    return f"{days} day" if days == 1 else f"{days} days"


def show(name: str, ms: int | None) -> str:
    """Return ``end_time 1970-01-01T00:00:00.005Z``, or ``no end_time`` for None."""
    if ms is None:
        return f"no {name}"
    return f"{name} {format_ms(ms)}" if is_writable(ms) else f"{name} {ms} ms"


NO_ACTIVITY = "no activity"
NO_SIGN_OF_LIFE = "no sign of life"
"""For an unfinished run."""
NOT_CHANGED = "not changed"
IN_TRASH = "in the trash"
NOT_UPDATED = "not updated"

_AGE = re.compile(
    rf"(^|, )({NO_ACTIVITY}|{NO_SIGN_OF_LIFE}|{NOT_CHANGED}|{NOT_UPDATED}|{IN_TRASH}) for [\d,]+ days?$"
)


def without_age(text: str) -> str:
    """Return the text of a reason without its inactivity, which tables show in a column."""
    return _AGE.sub("", text)


DeleteReason = Inactivity | Link | str
"""A reason for a deletion: inactivity, the rule or tag that sets the age, or text."""
