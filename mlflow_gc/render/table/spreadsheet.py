"""The rows of a plan as CSV for spreadsheets and as JSON lines for programs, piece by piece.

CSV is made for people who double-click it: it begins with a byte order mark, without which Excel
takes UTF-8 for the machine's old code page; what a server's text holds is shown and never calculated.
JSON lines hold every value as it is.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from mlflow_gc.plan.document import Plan
from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.table.rows import COLUMNS, Row, rows

_AT_ONCE = 1000
# Where a formula can begin: at the start, after spaces, which many programs drop, and after what a
# program that was told another separator or quote takes for the start of a cell (OWASP, "CSV
# Injection"). Japanese and Chinese programs take fullwidth signs for the plain ones.
_FORMULA = re.compile(r"(^|[,;|\"'])(\s*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?", re.ASCII)
# Legal in JSON, and yet some programs end a line or turn the direction of reading at them.
_RISKY = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def csv_pieces(plan: Plan, *, is_genuine: bool = True) -> Iterator[bytes]:
    """Yield a plan as CSV: RFC 4180, a header, UTF-8 with a byte order mark."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, dialect="excel", strict=True)
    writer.writerow(COLUMNS)
    all_rows = rows(plan, is_genuine=is_genuine)
    mark = "\ufeff"
    while True:
        writer.writerows(
            [_cell(row[name]) for name in COLUMNS] for row in islice(all_rows, _AT_ONCE)
        )
        piece = buffer.getvalue()
        if not piece:
            return
        yield (mark + piece).encode()
        mark = ""
        buffer.seek(0)
        buffer.truncate()


def ndjson_pieces(plan: Plan, *, is_genuine: bool = True) -> Iterator[bytes]:
    """Yield a plan as lines of JSON, an object with all columns for each entity."""
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
