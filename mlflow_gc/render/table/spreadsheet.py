"""The rows of a plan as CSV for spreadsheets and as JSON lines for programs.

CSV is made for spreadsheet programs: text of a server is never evaluated as a formula.  JSON lines
contain every value unchanged.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import orjson

from mlflow_gc.plan.document import Plan
from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.table.rows import COLUMNS, Row, rows

_AT_ONCE = 1000
# Where a formula can begin: at the start, after spaces, which many programs strip, and after
# characters that other separator or quote settings take for the start of a cell (OWASP, "CSV
# Injection"). Japanese and Chinese programs accept fullwidth signs.
_FORMULA = re.compile(r"(^|[,;|\"'])(\s*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?", re.ASCII)
# Legal in JSON, but some programs end a line or change the text direction at them.
_RISKY = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def csv_pieces(plan: Plan, *, is_genuine: bool = True) -> Iterator[bytes]:
    """Yield a plan as CSV: RFC 4180, a header, UTF-8 with a byte order mark."""
    # Without the byte order mark Excel assumes a legacy encoding.
    yield ("\ufeff" + _csv([COLUMNS])).encode()
    all_rows = rows(plan, is_genuine=is_genuine)
    while piece := _csv(
        [_cell(row[name]) for name in COLUMNS] for row in islice(all_rows, _AT_ONCE)
    ):
        yield piece.encode()


def _csv(lines: Iterable[Iterable[Any]]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, dialect="excel", strict=True).writerows(lines)
    return buffer.getvalue()


def ndjson_pieces(plan: Plan, *, is_genuine: bool = True) -> Iterator[bytes]:
    """Yield a plan as JSON lines, an object with all columns for each entity."""
    all_rows = rows(plan, is_genuine=is_genuine)
    while piece := "".join(map(_line, islice(all_rows, _AT_ONCE))):
        yield piece.encode()


def _line(row: Row) -> str:
    text = orjson.dumps(row).decode()
    return _RISKY.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (value.isascii() and value.isalnum()) or _NUMBER.fullmatch(value):
        return value
    return _FORMULA.sub(r"\1'\2", plain(value))
