"""Write what a run found out into the table of ``docs/compatibility.md``.

Run as ``python table.py``.  Rows of versions that were not run today stay as they are.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from compat import environments, results
from support.databases import DATABASES

PAGE = environments.ROOT / "docs" / "compatibility.md"
BEGIN, END = "<!-- written by make compat: begin -->", "<!-- written by make compat: end -->"
COLUMNS = {
    "report": "Report",
    "check": "Check",
    "prune": "Prune",
    "restore": "Restore",
    "re-check": "Re-check",
    "database": "Database",
    "basic auth": "Basic auth",
    "purge": "Purge",
    "workspaces": "Workspaces",
    "static prefix": "Static prefix",
    "other registry": "Other registry",
    "policies": "Policies",
    "file store": "File store",
}
"""Column, as the markers of the tests name it -> its head."""
_WORDS = {results.PASSED: "yes", results.FAILED: "**no**", results.MISSING: "–"}
_NOT_TRIED = "not tried"
_ROW = re.compile(
    r"^\| (?P<version>\d[\d.]*)(?: \(assembled\))?(?: on (?P<database>\w+))?"
    r"(?:, (?P<client>\w+) client)? \|.*$",
    re.MULTILINE,
)


def row(document: dict[str, object], note: str) -> str:
    """Return the line of a server."""
    columns = document["columns"]
    assert isinstance(columns, dict)
    server = environments.Environment.of(str(document["version"]))
    cells = [_WORDS.get(columns.get(name, ""), _NOT_TRIED) for name in COLUMNS]
    name = server.version + (" (assembled)" if note else "")
    name += f" on {DATABASES[server.database].title}" if server.database else ""
    name += f", {server.client} client" if server.client else ""
    return "| " + " | ".join([name, *cells, f"{document['date']}, {server.client_version}"]) + " |"


def table(rows: dict[str, str]) -> str:
    """Return the whole table, the oldest version first."""
    head = ["Server", *COLUMNS.values(), "Run, with client"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    # Databases and clients below, each the oldest version first.
    servers = sorted(rows, key=lambda name: ("@" in name, "+" in name, environments.number(name)))
    return "\n".join([*lines, *(rows[server] for server in servers)])


def update(page: str, documents: list[dict[str, object]], notes: dict[str, str]) -> str:
    """Return a page with the rows of these servers renewed."""
    before, _, rest = page.partition(BEGIN)
    old, _, after = rest.partition(END)
    rows = {}
    for found in _ROW.finditer(old):
        database, client = found["database"], found["client"]
        name = found["version"] + (f"+{database.lower()}" if database else "")
        rows[name + (f"@{client}" if client else "")] = found[0]
    rows |= {str(d["version"]): row(d, notes.get(str(d["version"]), "")) for d in documents}
    return f"{before}{BEGIN}\n\n{table(rows)}\n\n{END}{after}"


def main() -> None:
    """Renew the page."""
    documents = [json.loads(path.read_bytes()) for path in results.FOLDER.glob("*.json")]
    documents = [d for d in documents if d["date"] == results.today()]
    built = {d["version"]: environments.existing(d["version"]) for d in documents}
    notes = {name: found.note if found else "" for name, found in built.items()}
    PAGE.write_text(
        update(PAGE.read_text(encoding="utf-8"), documents, notes),
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
