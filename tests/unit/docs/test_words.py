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

OLD_IN_DOCUMENTS = [
    *(
        "(?:may|might|will|would|can) go",
        "never goes?",
        "what goes",
        "goes on",
        "go on",
        "lets? go",
    ),
    *("whoever", "came of", "what came", "bec[ao]mes? of", "touched", "told", "wins", "four eyes"),
    *("clocks? (?:are )?apart", "looked (?:at|into)", "looks? (?:at|into) (?:it|each|every)"),
    *("look before", "right before", "right after", "by hand", "handed out", "thing itself"),
    *("all the same", "in words", "as it stands", "basics", "half-way", "lose most", "at hand"),
    *("time stamps?", "nonsense", "a matter of", "says? otherwise", "is let", "a doubt"),
    *("kept although", "are kept", "is kept for", "stale and kept"),
    *("is no (?:failure|error|mistake|part)", "are no (?:commands?|errors?)"),
]
"""Terms that only the code still has, as regular expressions: no page and no schema says them."""


def _files(*folders: str) -> list[str]:
    names = [
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".yml", ".js", ".html", ".json", ".md", ".rego"}
    ]
    return [name for name in [*names, "README.md"] if not name.startswith(("docs/_", "docs/build"))]


@pytest.mark.parametrize("term", OLD)
def test_no_file_says_it(term: str) -> None:
    found = _found(term, _files("mlflow_gc", "docs", "schemas"))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("term", OLD_IN_DOCUMENTS)
def test_no_document_says_it(term: str) -> None:
    found = _found(term, [*_files("docs", "schemas"), "mlflow_gc/policy/template.yml"])
    assert not found, "\n".join(found)


def _found(term: str, names: list[str]) -> list[str]:
    pattern = re.compile(rf"(?<![\w-])(?:{term})(?![\w-])", re.IGNORECASE)
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name in names
        for number, line in enumerate(_prose(name).splitlines(), 1)
        if pattern.search(line) and not any(code in line for code in KEPT)
    ]


def _prose(name: str) -> str:
    """Return the text of a file; of a page without what the program printed, line by line."""
    text = (ROOT / name).read_text(encoding="utf-8")
    if not name.endswith(".md"):
        return text
    return re.sub(r"```console\n.*?```", lambda m: "\n" * m[0].count("\n"), text, flags=re.DOTALL)
