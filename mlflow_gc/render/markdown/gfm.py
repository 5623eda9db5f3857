"""Parts of a Markdown document for GitHub and GitLab, with safely escaped text.

Escaping characters is not enough: both sites first render and then search for mentions, issues,
commits, addresses and emoji in the *rendered* text, where ``&#64;`` is an @ again (cmark-gfm links
``a&#64;b.com``). Only code is left unchanged by all of them (GitLab: "references within
<pre>, <code>, <a>, and <style> elements are ignored"), so everything but plain words
becomes code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby

from mlflow_gc.render.common.budget import Block
from mlflow_gc.render.common.escape import plain

# A bar would end a table's cell even inside code. A tag inside code is harmless, but unknown
# programs read Markdown: the only tags in a document are ours.
_BETWEEN_CODE = {"|": "&#124;", "<": "&lt;"}
_PIECES = re.compile(r"[|<]|[^|<]+")
# Letters of one word, a small number or a day: no markup, no name, no commit id. And nothing that ends
# in "www": cmark-gfm takes that for a URL before a full stop.
_WORD = re.compile(
    r"(?![A-Za-z]*(?i:www)\b)(?:[A-Za-z]{1,30}|[0-9]{1,6}|[0-9]{4}-[0-9]{2}-[0-9]{2})[,;:.]?"
)
_STOP = re.compile(r"(?<=[^,;:.])[,;:.]\Z")


def code(text: str, *, most: int | None = None) -> str:
    """Return text as inline code, unchanged, on one line; ``most`` is never used for ids."""
    pieces = _PIECES.findall(_plain(text, most))
    return "".join(_BETWEEN_CODE.get(piece) or _span(piece) for piece in pieces)


def inline(text: str, *, most: int | None = None) -> str:
    """Return a sentence for the inside of a line: plain words as they are, all else as code."""
    tokens = _plain(text, most).split(" ")
    if "" in tokens:  # leading, trailing or repeated spaces: only code preserves them
        return code(text, most=most)
    return " ".join(
        " ".join(group) if harmless else _code_before_stop(" ".join(group))
        for harmless, group in groupby(tokens, key=lambda token: bool(_WORD.fullmatch(token)))
    )


def _plain(text: str, most: int | None) -> str:
    # Each character takes at least one, so the rest need not be escaped.
    return plain(text) if most is None else plain(text[: most + 1], most=most)


def _code_before_stop(text: str) -> str:
    stop = _STOP.search(text)
    return code(text[:-1]) + stop[0] if stop else code(text)


def row(*cells: str) -> str:
    """Return a row of a table; cells are Markdown without bars and line breaks."""
    return f"| {' | '.join(cells)} |\n"


def head(*columns: str) -> str:
    """Return the first two lines of a table; a column whose name ends in ``:`` is for numbers."""
    lines = ("---:" if column.endswith(":") else "---" for column in columns)
    return row(*(column.removesuffix(":") for column in columns)) + row(*lines)


def folded(
    title: str,
    columns: Sequence[str],
    rows: Iterable[str],
    total: int,
    *,
    nouns: str,
    weight: int = 1,
) -> Block:
    """Return a table that is collapsed under its title, which is trusted: it becomes HTML."""
    block = table(columns, rows, total, nouns=nouns, weight=weight)
    opening = f"<details>\n<summary>{title}</summary>\n\n{block.opening}"
    return replace(block, opening=opening, closing="\n</details>\n\n")


def table(
    columns: Sequence[str], rows: Iterable[str], total: int, *, nouns: str, weight: int = 1
) -> Block:
    """Return a table, or a list.

    Args:
        columns: as of :func:`head`; none for a list.
        rows: results of :func:`row`, or lines of a list.
        total: number of rows.
        nouns: their kind, for the note of a truncated table.
        weight: see :class:`mlflow_gc.render.common.budget.Block`.
    """
    return Block(head(*columns) if columns else "", rows, total, "\n", shown(nouns), weight)


def shown(nouns: str) -> Callable[[int, int], str]:
    """Return the note of a truncated list."""
    return lambda count, total: f"\nShown: {count:,} of {total:,} {nouns}.\n"


def _span(text: str) -> str:
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    # CommonMark strips one space from both ends, unless there are only spaces.
    edges = text[0] + text[-1]
    padded = "`" in edges or (edges == "  " and text.strip(" ") != "")
    return f"{fence} {text} {fence}" if padded else f"{fence}{text}{fence}"
