"""The messages that docs/troubleshooting.md quotes are those of the program."""

from __future__ import annotations

import ast
import re

import pytest
from support import ROOT
from support.pages import blocks

PAGE = ROOT / "docs" / "troubleshooting.md"
QUOTED = [
    line for block in blocks(PAGE) if block.language == "text" for line in block.text.splitlines()
]
LITERALS = "\n".join(
    node.value
    for file in (ROOT / "mlflow_gc").rglob("*.py")
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    if isinstance(node, ast.Constant) and isinstance(node.value, str)
)


def unknown(quote: str) -> list[str]:
    """The parts of a quote, between names, numbers and clauses, that no text of the package has."""
    parts = [part.strip(" .,()") for part in re.split(r"…|[:.] | \(", quote)]
    # Shorter ones are a word or a sign between two values.
    return [part for part in parts if len(part) > 5 and part not in LITERALS]


@pytest.mark.parametrize("quote", QUOTED)
def test_a_message_is_one_of_the_program(quote):
    assert not unknown(quote)


def test_there_are_messages_and_others_would_be_found():
    assert len(QUOTED) > 15
    assert unknown("The plan … cannot be applied: it has run out at ….") == ["it has run out at"]
