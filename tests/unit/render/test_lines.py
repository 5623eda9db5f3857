"""Columns stay aligned whatever stands in them; names are cut by what they fill, ids never."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.render.screens import HOSTILE, assert_harmless, lines, log, shown, terminal, width

from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.common.lines import Column, counted, cut, more, rows, table

texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60))


@given(texts, st.integers(2, 60))
def test_a_cut_text_fills_no_more_than_asked_for(text: str, most: int) -> None:
    shown = cut(text, most)
    assert width(shown) <= most
    assert plain(shown) == shown
    if width(plain(text)) > most:
        assert shown.endswith("…")


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("fraud-detection", 40, "fraud-detection"),
        ("fraud-detection", 8, "fraud-d…"),
        ("模型模型模型", 7, "模型模…"),
        ("模型模型模型", 6, "模型…"),  # half a character is no character
        ("e\u0301" * 3, 3, "e\u0301" * 3),
        ("a\nb", 3, "a\\…"),
    ],
)
def test_examples_of_cutting(text: str, most: int, expected: str) -> None:
    assert cut(text, most) == expected


def test_accents_without_end_are_no_way_into_other_lines() -> None:
    assert len(cut("a" + "\u0300" * 10_000, 10)) <= 41


@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=6), st.integers(30, 160))
def test_columns_stand_under_each_other(cells: list[tuple[str, str, str]], most: int) -> None:
    """Each row is told apart by a mark between the columns, always at the same place."""
    columns = [Column(), Column(least=4), Column(right=True, least=4), Column()]
    for console in (terminal(most), log()):
        rows(console, columns, [("-", a, b, f"|{c}") for a, b, c in cells], indent=2)
        assert_harmless(console)
        found = lines(console)
        assert len(found) == len(cells)
        places = {
            width(line[: line.rindex("|" + plain(c).rstrip())])
            for line, (_, _, c) in zip(found, cells, strict=True)
        }
        assert len(places) == 1


def test_columns_are_cut_to_the_terminal_the_widest_first() -> None:
    console = terminal(40)
    cells = [("0123456789", "n" * 30, "why " * 10), ("1", "short", "")]
    rows(console, [Column(), Column(least=8), Column(least=8)], cells)
    assert lines(console) == [
        "0123456789  nnnnnnnnnnnn…  why why why…",
        "1           short",
    ]


def test_an_id_is_never_cut_even_where_it_does_not_fit() -> None:
    console = terminal(20)
    rows(console, [Column(), Column(least=8)], [("i" * 40, "name-of-it")])
    assert lines(console) == ["i" * 40 + "  name-of…"]


def test_without_a_terminal_nothing_is_cut() -> None:
    console = log()
    rows(console, [Column(), Column(least=8)], [("i", "n" * 500)])
    assert lines(console) == ["i  " + "n" * 500]


def test_an_empty_column_leaves_no_gap() -> None:
    console = log()
    rows(console, [Column(), Column(), Column()], [("a", "", "b"), ("c", "", "d")])
    assert lines(console) == ["a  b", "c  d"]


def test_a_table_without_rows_is_nothing() -> None:
    for console in (log(), terminal(80)):
        rows(console, [Column(), Column(least=8)], [])
        assert lines(console) == []


def test_styles_are_there_on_a_terminal_only() -> None:
    colourful, plain_text = terminal(80), log()
    for console in (colourful, plain_text):
        rows(console, [Column("bold"), Column()], [("a", ("b", "red"))])
    assert shown(colourful) == shown(plain_text) == "a  b\n"
    assert "\x1b[31m" in colourful.file.getvalue()
    assert "\x1b" not in plain_text.file.getvalue()
    grey = terminal(80, no_color=True)
    rows(grey, [Column()], [(("b", "red"),)])
    assert "\x1b[31m" not in grey.file.getvalue()


def test_a_cut_list_says_how_much_is_missing() -> None:
    console = log()
    more(console, 0, indent=2)
    assert console.file.getvalue() == ""
    more(console, 5, "runs", indent=2)
    assert lines(console) == ["  ... and 5 more runs (--all shows them)"]


def test_numbers_stand_at_the_right() -> None:
    console = log()
    table(console, [("", "deleted"), ("runs", "1,200"), ("experiments", "3")])
    assert lines(console) == [
        "             deleted",
        "runs           1,200",
        "experiments        3",
    ]


def test_one_and_many() -> None:
    assert counted("runs", 1) == "1 run"
    assert counted("model_versions", 1200) == "1,200 model versions"
    assert counted("experiments", 0) == "0 experiments"
