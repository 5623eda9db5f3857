"""The picture of the packages is that of the import statements, and the page names all of them."""

from __future__ import annotations

import re
import shlex
import sys

import pytest
from support import ROOT
from support.repository import run_git

sys.path.insert(0, str(ROOT / "docs" / "_record"))

from architecture import MLFLOW, PICTURE, arrows, draw, imports, layers

PAGE = ROOT / "docs" / "explanation" / "architecture.md"
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = re.findall(
    r"`git show --stat ([^`]+)`[^`]*(?:`(\S+)`[^`]*)?```text\n(.*?)```", TEXT, re.DOTALL
)
"""What is behind the name of the command, a file that the text names, and the output."""


def test_the_picture_is_that_of_the_code() -> None:
    """Else: ``make architecture``, and look whether the new arrow is meant."""
    assert PICTURE.read_text(encoding="utf-8") == draw()


def test_each_package_has_a_paragraph() -> None:
    """Packages and the Python API, neither more nor fewer."""
    part = TEXT.split("## The packages")[1].split("\n## ")[0]
    assert set(re.findall(r"^\*\*(\w+)\*\*", part, re.MULTILINE)) == imports().keys()


def test_the_files_that_the_page_names_exist() -> None:
    """Modules, tests, schemas and pages."""
    named = re.findall(r"`((?:\w+/)[\w./]*)`", TEXT)
    assert len(named) > 20
    places = (ROOT, ROOT / "mlflow_gc")
    rest = [n for n in named if not any((place / n).exists() for place in places)]
    assert rest == ["runs/search", "runs/delete", *(gone for _, gone, _ in EXAMPLES if gone)]


def git(*words: str) -> str:
    """Run git in the checkout, of whichever user it is, and in 80 columns."""
    done = run_git(ROOT, "-c", "safe.directory=*", *words)
    if done.returncode:
        pytest.skip(f"this is not a clone with the whole history: {done.stderr.strip()}")
    return done.stdout


@pytest.mark.parametrize(
    ("words", "shown"), [(words, shown) for words, _, shown in EXAMPLES], ids=lambda text: text[:7]
)
def test_the_statistics_of_commits_are_those_of_git(words: str, shown: str) -> None:
    """The whole output of the command on the page, without the message of the commit."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a clone: there is no history to compare the page with")
    git("cat-file", "-e", f"{words.split(maxsplit=1)[0]}~^{{commit}}")
    assert git("show", "--stat", "--format=", *shlex.split(words)).strip("\n") == shown.strip("\n")


@pytest.mark.parametrize(("words", "gone", "shown"), EXAMPLES, ids=lambda text: text[:7])
def test_the_files_of_these_commits_still_exist(words: str, gone: str, shown: str) -> None:
    """But for one that the text says is gone: find another commit then."""
    files = [line.split("|")[0].strip() for line in shown.splitlines() if "|" in line]
    assert len(files) > 5, words
    assert [file for file in files if not (ROOT / file).exists()] == [gone] * bool(gone)


def test_each_change_has_an_example() -> None:
    """No block escapes the comparison."""
    part = TEXT.split("## Where to add what")[1]
    assert len(EXAMPLES) == part.count("git show") == part.count("```text") == 5
    assert all("git show" in section for section in part.split("\n### ")[1:])


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
