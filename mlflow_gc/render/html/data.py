"""The entities as compact JSON for the scripts: a list for each column.

Repeated texts are stored once and referenced by index.  Everything is escaped here, so that the
scripts can show it as it is; link targets are percent-encoded separately.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from mlflow_gc.domain.kinds import BY_NAME, kinds_of
from mlflow_gc.plan.document import Plan
from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.common.plan_groups import experiment_names, milliseconds
from mlflow_gc.render.common.reason_text import protection_text
from mlflow_gc.render.html.ages import spans
from mlflow_gc.render.html.entries import Entry, age_bounds_days, since
from mlflow_gc.render.html.links import Links, encode

_ELSEWHERE = {
    *("reversible", "reasons", "reason", "via", "expect"),
    *("experiment_id", "experiment_name", "user_id", "status"),
}
"""Fields with their own column, besides the identity and the name of each kind."""

# Kinds of further fields; the second kind of expectation equals the field of the same name.
_FIELD, _EXPECTED, _EXPECTED_AS_IS = 0, 1, 2

_DEEPEST = 8
_EXACT = 2**53


def embedded(plan: Plan, found: Sequence[Entry]) -> Iterator[str]:
    """Yield the JSON for a ``<script type="application/json">``, in pieces."""
    columns = _Columns(plan)
    for entry in found:
        columns.add(entry)
    links: dict[str, Any] = asdict(Links.of(plan))
    # Only pages of purge plans have any.
    if without := sorted(links.pop("without")):
        links["without"] = without
    head = {
        "asOf": milliseconds(plan["as_of"]),
        "bounds": age_bounds_days(plan),
        "spans": spans(age_bounds_days(plan)),
        "kinds": columns.kinds,
        "links": links,
        "since": since(plan),
        **{name: interned.found for name, interned in columns.interned.items()},
    }
    separator = "{"
    for name, value in head.items():
        yield f'{separator}"{name}":{_script_safe(value)}\n'
        separator = ","
    for name, column in columns.rows.items():
        yield f',"{name}":['
        yield from column.pieces()
        yield "]\n"
    yield "}"


def _script_safe(value: Any) -> str:
    r"""Return JSON that cannot end a script element or begin a comment or reference.

    These characters occur only inside JSON strings, where ``\u`` escapes are equivalent.
    """
    found: str = orjson.dumps(value).decode()
    for char in "<>&\u2028\u2029":
        found = found.replace(char, f"\\u{ord(char):04x}")
    return found


class _Column:
    """The values of one column as JSON text, to save memory."""

    _AT_ONCE = 4096

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._last: list[Any] = []

    def add(self, value: Any) -> None:
        """Append a value."""
        self._last.append(value)
        if len(self._last) == self._AT_ONCE:
            self._write()

    def _write(self) -> None:
        separator = "," if self._texts else ""
        self._texts.append(separator + _script_safe(self._last)[1:-1])
        self._last.clear()

    def pieces(self) -> Iterator[str]:
        """Yield the JSON of the values, with commas between them."""
        if self._last:
            self._write()
        yield from self._texts


class _Columns:
    """Rows, column by column, and the interned values that they reference."""

    def __init__(self, plan: Plan) -> None:
        self.kinds = [kind.name for kind in kinds_of(plan).values()]
        self._experiments = experiment_names(plan)
        self.interned = {
            "strings": _Interned(plain),
            "places": _Interned(self._place),
            "reasons": _Interned(self._why),
            "groups": _Interned(self._group),
            "shapes": _Interned(lambda fields: [[how, plain(name)] for how, name in fields]),
        }
        names = "kind fate id name place owner status last why via more"
        self.rows = {name: _Column() for name in names.split()}

    def add(self, entry: Entry) -> None:
        """Append a row."""
        string = self.interned["strings"].of
        row = {
            "kind": self.kinds.index(entry.kind),
            "fate": int(entry.fate),
            "id": plain(entry.id),
            "name": string(entry.name),
            "place": self.interned["places"].of((entry.is_of_model, entry.place)),
            "owner": string(entry.owner),
            "status": string(entry.status),
            "last": entry.last_ms,
            "why": self.interned["reasons"].of((entry.is_deleted, entry.why, entry.groups)),
            "via": [string(step) for step in entry.via],
            "more": self._more(entry),
        }
        for name, value in row.items():
            self.rows[name].add(value)

    def _place(self, key: tuple[bool, str]) -> dict[str, Any]:
        is_model, own = key
        shown = plain(own)
        place = {"model": is_model, "id": shown}
        if not is_model:
            place["name"] = plain(self._experiments.get(own, ""))
        if encode(own) != own:
            place["code"] = encode(own)
        return place

    def _why(self, key: tuple[bool, tuple[str, ...], tuple[str, ...]]) -> dict[str, Any]:
        is_deleted, why, groups = key
        return {
            "words": [plain(reason) if is_deleted else protection_text(reason) for reason in why],
            "groups": [self.interned["groups"].of((is_deleted, group)) for group in groups],
        }

    @staticmethod
    def _group(key: tuple[bool, str]) -> dict[str, Any]:
        is_deleted, group = key
        return {
            "key": plain(group),
            "words": plain(group) if is_deleted else protection_text(group),
        }

    def _more(self, entry: Entry) -> list[Any]:
        """Return the other fields of the plan's entry: their names, then their values."""
        document = entry.document
        kind = BY_NAME[entry.kind]
        elsewhere = _ELSEWHERE.union(kind.identity, [kind.display_name])
        fields, values = [], []
        for name, value in document.items():
            if name not in elsewhere:
                fields.append((_FIELD, name))
                values.append(_shown(value))
        for name, value in document.get("expect", {}).items():
            if document.get(name, ...) == value:
                fields.append((_EXPECTED_AS_IS, name))
            else:
                fields.append((_EXPECTED, name))
                values.append(_shown(value))
        return [self.interned["shapes"].of(tuple(fields)), *values]


class _Interned:
    """Interned values, in the order of their first use."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make
        self._known: dict[Any, int] = {}
        self.found: list[Any] = []

    def of(self, key: Any) -> int:
        """Return the index of a value."""
        index = self._known.get(key)
        if index is None:
            index = self._known[key] = len(self.found)
            self.found.append(self._make(key))
        return index


def _shown(value: Any, depth: int = 0) -> Any:
    """Return a value of a plan with escaped text; large numbers as text."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        if depth >= _DEEPEST:
            return "{…}"
        return {plain(name): _shown(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list):
        return "[…]" if depth >= _DEEPEST else [_shown(inner, depth + 1) for inner in value]
    if isinstance(value, int) and abs(value) >= _EXACT:
        return str(value)
    return value
