"""One word for one thing: what only this project said stays out of code, documents and schemas."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

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
    *("there already", "cannot be true", "on the spot", "(?:is|was|were) touched", "touches"),
]
"""Terms that were replaced, as regular expressions."""

OLD_IN_CODE = [
    *("goes", "going to go", "lets? go", "may go", "heard", "hears", "wish(?:es|ed)?", "zombies?"),
    *("carriers?", "carries (?:it|them|the tag)", "obstacles?", "heirs?", "heed(?:s|ed|ing)?"),
    *("in words", "looks? at", "looked at", "looks? into", "looked into", "nobody knows"),
    *("nobody can tell", "came to need", "all the same", "so many", "unmarked", "marks aside"),
    *("asks? for", "asked for", "take(?:s|n)? (?:its|their|no) places?", "kept although"),
]
"""Terms that comments and docstrings of the package use no longer; texts for users may be older."""

OLD_IN_NAMES = [
    *("goes", "going", "stays?", "told", "tells", "said", "heard", "wish", "wishes", "wished"),
    *("zombies?", "carriers?", "obstacles?", "heirs?", "heeded", "heeding", "kept", "held"),
    *("doubts?", "marks", "marked", "unmarked", "words", "look", "looks", "members?", "owed"),
    *("for_good", "in_words", "let_go"),
]
"""Parts that names of functions, classes, arguments and variables have no longer."""

NAMES_OF_OTHERS = {"_members", "MarkedYAMLError"}
"""Names of the RFC for JSON, and of libraries."""

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


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of docstrings (of attributes, too) and comments, with their numbers."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            value = getattr(statement, "value", None)
            if isinstance(statement, ast.Expr) and isinstance(value, ast.Constant):
                first, last = statement.lineno, statement.end_lineno or statement.lineno
                yield from enumerate(lines[first - 1 : last], first)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def _names(source: str) -> Iterator[tuple[int, str]]:
    """Yield the names that a module defines, with the numbers of their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id if isinstance(node, ast.Name) else node.attr


def _modules() -> list[Path]:
    return sorted((ROOT / "mlflow_gc").rglob("*.py"))


def test_no_comment_or_docstring_says_it() -> None:
    old = re.compile(rf"(?<![\w-])(?:{'|'.join(OLD_IN_CODE)})(?![\w-])", re.IGNORECASE)
    found = [
        f"{file.relative_to(ROOT)}:{number}: {text.strip()}"
        for file in _modules()
        for number, text in _comments(file.read_text(encoding="utf-8"))
        # Codes of published documents stand in double backticks.
        if old.search(re.sub(r"``[^`]*``", "", text))
    ]
    assert not found, "\n".join(found)


def test_no_name_says_it() -> None:
    old = re.compile(rf"(?:^|_)(?:{'|'.join(OLD_IN_NAMES)})(?:_|$)")
    found = [
        f"{file.relative_to(ROOT)}:{number}: {name}"
        for file in _modules()
        for number, name in _names(file.read_text(encoding="utf-8"))
        if name not in NAMES_OF_OTHERS and old.search(name)
    ]
    assert not found, "\n".join(found)
