"""What a run found out, per version and column of the table, for ``table.py``."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from compat.environments import ROOT

if TYPE_CHECKING:
    import pytest

FOLDER = ROOT / "build" / "compat"
"""One JSON file per version."""
COLUMN = "column"
"""The marker of a test, and the key of what is noted."""

PASSED, FAILED, MISSING = "passed", "failed", "missing"
_WORST_LAST = [MISSING, PASSED, FAILED]

_found: dict[str, dict[str, str]] = defaultdict(dict)
"""Version -> column -> the worst of its tests."""


def server_of(item: pytest.Item) -> str:
    """Return the server that a test is about, as ``make compat`` names it; "" for none."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return str(params.get("environment", ""))


def note(item: pytest.Item, report: pytest.TestReport) -> None:
    """Note with a report which cell of the table it is about."""
    marker = item.get_closest_marker(COLUMN)
    if marker and (version := server_of(item)):
        report.user_properties.append((COLUMN, [version, *marker.args]))


def collect(report: pytest.TestReport) -> None:
    """Add a report to what was found, and write that: a failure of any phase, or how a test ended."""
    if report.when != "call" and report.passed:
        return
    outcome = {"passed": PASSED, "failed": FAILED, "skipped": MISSING}[report.outcome]
    for key, value in report.user_properties:
        if key == COLUMN:
            version, *columns = value
            for column in columns:
                worst = [_found[version].get(column, outcome), outcome]
                _found[version][column] = max(worst, key=_WORST_LAST.index)
            _write(version)


def _write(version: str) -> None:
    """Write the file of a version; columns that were not tried now stay as they were today."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    columns = {**_read(version), **_found[version]}
    document = {"version": version, "date": today(), "columns": columns}
    path = FOLDER / f"{version}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _read(version: str) -> dict[str, str]:
    path = FOLDER / f"{version}.json"
    if not path.exists():
        return {}
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return dict(document["columns"]) if document["date"] == today() else {}


def today() -> str:
    """Return the date, in UTC."""
    return f"{datetime.now(timezone.utc):%Y-%m-%d}"
