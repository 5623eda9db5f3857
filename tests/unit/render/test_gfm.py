"""Hostile text comes out of a renderer as exactly that text, in every place it can stand."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unit.render.markdown_reader import assert_inert, parse, tables, visible

from mlflow_gc.render.common.budget import fit
from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.markdown.gfm import code, folded, head, inline, row

HOSTILE = [
    "@org/team please approve",
    "fixes #1, GH-1, org/repo#12, !5, %3, ~bug, &2, JIRA-12",
    "https://evil.example www.evil.example a@evil.example a&#64;evil.example",
    "![x](https://evil.example/x.png) [y](javascript:alert(1)) <https://evil.example>",
    "<script>alert(1)</script><img src=x onerror=alert(1)><!-- --><br></details></td></table>",
    "a | b || c \\| d \\\\| e\\",
    "`code` ``more`` ``` ` |`| \\` `",
    "line\n\n# heading\r\n- [ ] task\n::error::x\n/close\n| --- |",
    "**b** __i__ ~~s~~ $x$ $`x`$ :smile: ==m== ^s^ [[_TOC_]] [^1] {+x+} {{x}}",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709 #ffffff",
    "&lt;b&gt; &amp; &#x41; &nbsp;",
    "see www. or WWW.x", "## heading", "1. one", "- item", "> quote", "    indented", "---", "***", "+ x", "=",
    " ", "   ", " x ", " `x` ", "a  b", "", "\t", "\u202ex\u200b", "\u00a0", " \u00a0 ", "日本 😀 é",
]  # fmt: skip

_pieces = st.sampled_from(["|", "`", "``", "\\", " ", "  ", "<", ">", "&", "&#64;", "@a", "#1", "x",
    "www.", "http://x", "*", "_", "[", "](", "!", "\n", "1.", ":", "::", "a,", "b.", "c;", "</td>",
    "😀", "\u202e", "GH-1", "deadbeef1", "$", "~~"])  # fmt: skip
texts = st.one_of(
    st.sampled_from(HOSTILE),
    st.lists(_pieces, max_size=12).map("".join),
    st.lists(_pieces, max_size=8).map(" ".join),
    st.text(max_size=30),
)


@pytest.mark.parametrize("write", [code, inline])
@given(texts, texts)
def test_in_a_cell_any_text_is_that_text(write, one, other):
    tokens = parse(head("a", "b") + row(write(one), write(other)) + row(write(other), "x"))
    assert_inert(tokens)
    ((_, first, second),) = tables(tokens)
    assert first == [plain(one), plain(other)]
    assert second == [plain(other), "x"]


@pytest.mark.parametrize("write", [code, inline])
@pytest.mark.parametrize(
    "place", ["## Of {}\n", "- So: {}\n", "- **So {}.**\n", "So: {}, and {}.\n"]
)
@example("Awww")
@given(texts)
def test_inside_of_a_line_any_text_is_that_text(write, place, text):
    tokens = parse(place.format(write(text), write(text)))
    assert_inert(tokens)
    (content,) = [token for token in tokens if token.type == "inline"]
    if plain(text):
        shown = place.lstrip("#- ").replace("**", "").rstrip("\n")
        assert visible(content).rstrip() == shown.format(plain(text), plain(text)).rstrip()


@given(texts)
def test_there_is_no_tag_and_no_bar_that_is_not_ours(text):
    for written in (code(text), inline(text)):
        assert "<" not in written
        assert "|" not in written
        assert len(written.splitlines()) <= 1


@given(texts, st.integers(1, 20))
def test_cut_text_is_the_beginning_and_a_mark(text, most):
    (_, (cell,)) = tables(parse(head("a") + row(code(text, most=most))))[0]
    assert cell == plain(text, most=most)
    (_, (cell,)) = tables(parse(head("a") + row(inline(text, most=most))))[0]
    assert cell == plain(text, most=most)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("FINISHED, no activity for 400 days", "FINISHED, no activity for 400 days"),
        ("not updated; stage None.", "not updated; stage None."),
        ("alias champion-2, tag a=b", "alias `champion-2`, tag `a=b`"),
        ("stale before 2026-05-01: all", "stale before 2026-05-01: all"),
        ("The rule 'x y' is unused.", "The rule `'x y'` is unused."),
        ("http://a b@c", "`http://a b@c`"),
        ("a|b", "`a`&#124;`b`"),
        ("a<b", "`a`&lt;`b`"),
        ("a`b", "``a`b``"),
        ("1234567", "`1234567`"),
    ],
)
def test_plain_words_stay_plain_and_the_rest_is_code(text, written):
    assert inline(text) == written


def test_a_folded_table_is_one():
    block = folded("2 things", ("a", "b:"), [row("x", "1"), row("y", "2")], 2, nouns="things")
    tokens = parse(fit([block], None) + "after\n")
    assert_inert(tokens)
    assert tables(tokens) == [[["a", "b"], ["x", "1"], ["y", "2"]]]
    assert [t.content for t in tokens if t.type == "html_block"] == [
        "<details>\n<summary>2 things</summary>\n",
        "</details>\n",
    ]
