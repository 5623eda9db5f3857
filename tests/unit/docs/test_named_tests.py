"""The tests that the pages name, as what keeps a promise, are there."""

from __future__ import annotations

import ast
import re

import pytest
from support import ROOT
from support.pages import PAGES

_NAMED = re.compile(r"`(tests/[\w./-]+)(?:::(\w+))?`")
NAMED = sorted(
    {found for page in PAGES for found in _NAMED.findall(page.read_text(encoding="utf-8"))}
)


@pytest.mark.parametrize(("file", "function"), NAMED, ids="::".join)
def test_it_is_there(file: str, function: str) -> None:
    path = ROOT / file
    assert path.exists()
    if function:
        defined = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        assert function in {node.name for node in defined if isinstance(node, ast.FunctionDef)}


def test_some_are_named() -> None:
    assert len([function for _, function in NAMED if function]) > 20


def test_speeds_are_those_that_were_measured() -> None:
    """Each in a table of the page about speed."""
    docs = ROOT / "docs"
    compared = (docs / "explanation" / "compared.md").read_text(encoding="utf-8")
    measured = (docs / "performance.md").read_text(encoding="utf-8")
    (first, *others) = re.findall(r"^\| Speed \|.*", compared, re.MULTILINE)
    speeds = re.findall(r"\b(\d+) (?:runs )?(?:a second|with)", "\n".join([first, *others]))
    assert len(speeds) == 5
    assert not [speed for speed in speeds if f"{speed}/s" not in measured]
