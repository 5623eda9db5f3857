"""Why something is deleted, or what protects it: as data, and as the text that a plan holds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlflow_gc.domain.timestamps import DAY_MS

_WITH_IDS = ("run", "deleted run", "model_version", "registered_model", "logged_model", "alias")


@dataclass(frozen=True, slots=True)
class Link:
    """One link; a plan holds its text.

    Attributes:
        kind: what it names: a kind of entity, ``alias``, ``stage``, ``tag`` or ``rule``; empty for
            one that names nothing.
        id: of what it names.
        note: text after that, or alone; after a comma where it begins with one.
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
    """Tell whether the text of a link names something to its end, so that it must not be cut."""
    return text.startswith(tuple(f"{kind} " for kind in _WITH_IDS))


@dataclass(frozen=True, slots=True)
class Inactivity:
    """How long nothing has happened, as a reason to delete.

    Attributes:
        sign: what there was not, such as ``no activity``.
        days: for how many whole days.
        status: of a run; empty for other kinds.
    """

    sign: str
    days: int
    status: str = ""

    @classmethod
    def since(cls, ms: int, as_of_ms: int, sign: str, status: str = "") -> Inactivity:
        """Return the inactivity between two moments, ms since the epoch."""
        return cls(sign, (as_of_ms - ms) // DAY_MS, status)

    def __str__(self) -> str:
        began = f"{self.status}, " if self.status else ""
        return f"{began}{self.sign} for {self.days} day{'' if self.days == 1 else 's'}"


NO_ACTIVITY = "no activity"
NO_SIGN_OF_LIFE = "no sign of life"
"""Of a run that is not over."""
NOT_CHANGED = "not changed"
NOT_UPDATED = "not updated"

_AGE = re.compile(
    rf"(^|, )({NO_ACTIVITY}|{NO_SIGN_OF_LIFE}|{NOT_CHANGED}|{NOT_UPDATED}) for [\d,]+ days?$"
)


def without_age(text: str) -> str:
    """Return the text of a reason without its inactivity, which a column of ages says better."""
    return _AGE.sub("", text)


DeleteReason = Inactivity | Link | str
"""Why something is deleted: its inactivity, the rule or tag that sets the age, or text."""
