"""What a reader of Markdown makes of a document, by an independent renderer."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

_PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
# What GitHub and GitLab turn into links, notices or pictures after rendering: mentions, issues,
# merge requests, labels, addresses, emoji, keys of other trackers, ids of commits.
_TRIGGERS = re.compile(
    r"[@#!~$%&*_^\[\]{}\\/`]|://|www|:[\w+-]+:|\w-\d+\b(?<!\d-\d\d)|\b(?=\d*[a-f])[0-9a-f]{7,40}\b"
)
_OUR_HTML = re.compile(
    r"<details>\n<summary>(<strong>)?[A-Za-z0-9 ,:]+(</strong>)?</summary>\n|</details>\n"
)


def parse(text: str) -> list[Token]:
    """The blocks of a document."""
    return _PARSER.parse(text)


def visible(inline: Token) -> str:
    """The text that a paragraph, heading or cell shows."""
    return "".join("\n" if t.content == "<br>" else t.content for t in inline.children or ())


def assert_inert(tokens: list[Token]) -> None:
    """No link, picture or tag but ours, and no text that a site would make one of."""
    for token in tokens:
        if token.type == "html_block":
            assert _OUR_HTML.fullmatch(token.content), token.content
        for child in token.children or ():
            assert child.type in {
                *("text", "code_inline", "html_inline", "text_special"),
                *("strong_open", "strong_close", "softbreak"),
            }, (child.type, token.content)
            if child.type == "html_inline":
                assert child.content == "<br>"
            if child.type in {"text", "text_special"}:
                assert not _TRIGGERS.search(child.content), (child.content, token.content)


def tables(tokens: list[Token]) -> list[list[list[str]]]:
    """All tables: rows of cells, as they are shown."""
    found: list[list[list[str]]] = []
    for number, token in enumerate(tokens):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in {"th_open", "td_open"}:
            found[-1][-1].append(visible(tokens[number + 1]))
    return found
