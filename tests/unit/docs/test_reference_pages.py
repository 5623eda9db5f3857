"""The tables in docs/reference are those that the code gives today: ``make reference``."""

from __future__ import annotations

import sys

import pytest
from support import ROOT

sys.path.insert(0, str(ROOT / "docs" / "_record"))

import markdown
import reference

WRITTEN = reference.pages()


@pytest.mark.parametrize("page", sorted(WRITTEN), ids=lambda page: page.stem)
def test_a_page_is_what_make_reference_writes(page):
    assert page.read_text(encoding="utf-8") == WRITTEN[page], "run make reference"


def test_there_is_no_page_of_something_that_no_longer_exists():
    assert set(reference.FOLDER.rglob("*.md")) == set(WRITTEN)


def test_text_has_no_effect():
    assert markdown.with_code("a|b <x> *y* plan_id _z_ ``c*`` [d]") == (
        r"a|b \<x\> \*y\* plan_id \_z\_ `c*` \[d\]"
    )
    assert markdown.table(("A",), [("`a|b`",)]) == "| A |\n| --- |\n| `a\\|b` |\n"
