"""The picture of the packages is that of the import statements, and the page names all of them."""

from __future__ import annotations

import re
import sys

import pytest
from support import ROOT

sys.path.insert(0, str(ROOT / "docs" / "_record"))

from architecture import MLFLOW, PICTURE, arrows, draw, imports, layers

PAGE = ROOT / "docs" / "explanation" / "architecture.md"


def test_the_picture_is_that_of_the_code() -> None:
    """Else: ``make architecture``, and look whether the new arrow is meant."""
    assert PICTURE.read_text(encoding="utf-8") == draw()


def test_each_package_has_a_paragraph() -> None:
    """Packages and the Python API, neither more nor fewer."""
    part = PAGE.read_text(encoding="utf-8").split("## The packages")[1].split("\n## ")[0]
    assert set(re.findall(r"^\*\*(\w+)\*\*", part, re.MULTILINE)) == imports().keys()


def test_the_files_that_the_page_names_exist() -> None:
    """Modules, tests, schemas and pages."""
    text = PAGE.read_text(encoding="utf-8")
    named = re.findall(r"`((?:\w+/)[\w./]*)`", text)
    assert len(named) > 20
    places = (ROOT, ROOT / "mlflow_gc")
    rest = [n for n in named if not any((place / n).exists() for place in places)]
    assert rest == ["runs/search", "runs/delete"]


def test_arrows_that_follow_from_others_are_left_out() -> None:
    """But not the only way to something."""
    graph = {"top": {"middle", "low"}, "middle": {"low"}, "low": set(), "other": {"low"}}
    assert arrows(graph) == {
        "top": {"middle"},
        "middle": {"low"},
        "low": set(),
        "other": {"low"},
    }


def test_rows_go_up_and_keep_a_place_for_arrows_that_cross_them() -> None:
    """What nobody imports stands at the top."""
    rows = layers({"top": {"middle"}, "middle": {"low"}, "low": set(), "other": {"low"}})
    assert rows[0] == ["low"]
    assert set(rows[1]) == {"middle", "other>low"}
    assert set(rows[2]) == {"top", "other"}


@pytest.mark.parametrize("package", ["backend", "demo"])
def test_who_knows_mlflow_is_marked(package: str) -> None:
    """No other package imports it: ``test_layers.py``."""
    assert MLFLOW in imports()[package]
    assert "imports mlflow" in PICTURE.read_text(encoding="utf-8")
