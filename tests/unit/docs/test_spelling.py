"""Every word of README and docs is in Hunspell's English dictionary, or in ``words.txt`` beside this file."""

from __future__ import annotations

import re
import warnings
from functools import cache
from pathlib import Path

import pytest
from spylls.hunspell import Dictionary
from support import ROOT
from support.pages import PAGES

_OURS = Path(__file__).with_name("words.txt")
# What is not prose: code, places, references, comments, and names of files and settings.
_NOT_PROSE = re.compile(
    r"( *)(```|~~~).*?\n\1\2|``[^`]+``|`[^`]+`|<[^>\n]+>|\]\([^)]*\)|https?://\S+|\[\^\w+\]"
    r"|^\s*:{3,}.*?$|^\{\w+\}|\([\w-]+\)=|&\w+;|\S*[_/@]\S*|\b\w+\.\w+\S*",
    re.DOTALL | re.MULTILINE,
)
_WORD = re.compile(r"[A-Za-z]+(?:['’][a-z]+)?")


@cache
def _dictionary() -> Dictionary:
    with warnings.catch_warnings():
        # It leaves its files to be closed when they are collected.
        warnings.simplefilter("ignore", ResourceWarning)
        return Dictionary.from_files("en_US")


@cache
def is_word(word: str) -> bool:
    """Whether it is in the dictionary or in our list."""
    return word.lower() in _ours() or _dictionary().lookup(word)


@cache
def _ours() -> frozenset[str]:
    return frozenset(_OURS.read_text(encoding="utf-8").lower().split())


def words_of(page: Path) -> set[str]:
    """The words of the prose of a page."""
    prose = _NOT_PROSE.sub(" ", page.read_text(encoding="utf-8"))
    return {word.replace("’", "'").removesuffix("'s") for word in _WORD.findall(prose)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_word_is_spelt_as_in_a_dictionary(page: Path) -> None:
    wrong = sorted(word for word in words_of(page) if len(word) > 2 and not is_word(word))
    assert not wrong, "correct them, or add what is a word to tests/unit/docs/words.txt"


def test_a_misspelt_word_is_found() -> None:
    assert not is_word("seperate")
    assert not is_word("experiement")
    assert is_word("experiment")


def test_the_list_names_no_word_twice_and_none_of_the_dictionary() -> None:
    listed = _OURS.read_text(encoding="utf-8").split()
    assert listed == sorted(set(listed), key=str.lower)
    assert not [word for word in listed if _dictionary().lookup(word)]
