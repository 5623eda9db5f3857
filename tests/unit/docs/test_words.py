"""One word for one thing: what only this project said stays out of code, documents and schemas."""

from __future__ import annotations

import re

import pytest
from support import ROOT

OLD = [
    *(
        "for good",
        "regret",
        "place[_ ]holders?",
        "whereabouts",
        "breathes?",
        "garbled",
        "senseless",
    ),
    *("nonsensical", "heeds", "put back", "puts back", "look back", "second look", "once more"),
    *("under way", "any more", "cannot stand", "stands? beside", "tripped", "unsettled", "owed"),
    *("pretends?", "only_look", "alarms?", "rulebook", "although old", "wired?", "mend"),
    *("there already", "cannot be true"),
]
"""Terms that were replaced, as regular expressions."""

KEPT = {"put_back"}
"""Codes of published documents stay as they are within a major version."""


def _files() -> list[str]:
    names = [
        path.relative_to(ROOT).as_posix()
        for folder in ("mlflow_gc", "docs", "schemas")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".yml", ".js", ".html", ".json", ".md"}
    ]
    return [name for name in [*names, "README.md"] if not name.startswith(("docs/_", "docs/build"))]


@pytest.mark.parametrize("term", OLD)
def test_no_file_says_it(term: str) -> None:
    pattern = re.compile(rf"(?<![\w-])(?:{term})(?![\w-])", re.IGNORECASE)
    found = [
        f"{name}:{number}: {line.strip()[:120]}"
        for name in _files()
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line) and not any(code in line for code in KEPT)
    ]
    assert not found, "\n".join(found)
