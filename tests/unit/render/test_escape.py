from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_gc.render.common.escape import plain

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_any_text = st.text(st.one_of(st.characters(), st.sampled_from("\x1b\r\n\t\x00\x7f\x9b" + BIDI)))


@given(_any_text)
def test_nothing_that_steers_a_terminal_survives(text):
    shown = plain(text)
    for char in shown:
        assert unicodedata.category(char) not in {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
        assert unicodedata.category(char) != "Cf" or char == "\u200d"
        assert char not in BIDI
    assert len(shown.splitlines()) <= 1
    shown.encode()  # lone surrogates would not be UTF-8


@given(_any_text)
def test_escaping_twice_is_escaping_once(text):
    assert plain(plain(text)) == plain(text)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_printable_ascii_stays_as_it_is(text):
    assert plain(text) == text


@given(_any_text, st.integers(1, 20))
def test_cut_text_has_no_more_than_asked_for(text, most):
    assert len(plain(text, most=most)) <= most


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("x\u202ey", "x\\u202ey"),
        ("Größe 𝒳 日本", "Größe 𝒳 日本"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("\ufeffbom", "\\ufeffbom"),
        # Letters, symbols and marks that are not seen: one name would look like another.
        ("a\u115f", "a\\u115f"),
        ("a\u1160", "a\\u1160"),
        ("a\u2800", "a\\u2800"),
        ("a\u3164", "a\\u3164"),
        ("a\uffa0", "a\\uffa0"),
        ("a\u034f", "a\\u034f"),
    ],
)
def test_examples(text, shown):
    assert plain(text) == shown
