"""The moving picture of the README shows what the program does today."""

from __future__ import annotations

import re
import sys

import pytest
from support import ROOT

sys.path.insert(0, str(ROOT / "docs" / "_record"))

from recording import PICTURE, record
from rich.text import Text
from session import Step, lasting
from terminal import Block, as_svg, lines_of


def lasting_lines(svg: str) -> list[str]:
    """The lines without ids, times and addresses, which are others in every session."""
    whole = "".join(f"{line}\n" for line in lines_of(svg))
    # A terminal breaks them at its last column.
    whole = re.sub(r"(sha256:)[0-9a-f]+(\n[0-9a-f]+$)?", r"\1<id>", whole, flags=re.MULTILINE)
    return lasting(Step("", whole)).splitlines()


@pytest.mark.timeout(1800)
def test_the_recording_is_what_the_program_does():
    found = lasting_lines(PICTURE.read_text(encoding="utf-8"))
    assert any("mlflow-gc restore" in line for line in found)
    assert found == lasting_lines(record()), "make recording"


def test_a_screen_is_shown_from_its_beginning_to_its_end():
    lines = (Text.from_ansi("a  \x1b[1;31mb<c\x1b[0m"),)
    svg = as_svg([Block(lines, 0, 0, 5), Block((Text("later"),), 3, 5, 10)])
    assert lines_of(svg) == ["a b<c", "later"]
    assert 'font-weight="bold">b&lt;c</tspan>' in svg
    assert "#b0 { visibility: visible; animation: k0 10s" in svg
    assert "#b1 { visibility: hidden; animation: k1 10s" in svg
    assert "50.00% { visibility: visible; }" in svg
