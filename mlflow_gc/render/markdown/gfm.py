"""Pieces of a document in Markdown as GitHub and GitLab read it, with text that stays text.

Escaping characters would not be enough: both sites first render and then look for mentions, issues,
commits, addresses and emoji in the *rendered* text, where ``&#64;`` is an @ again (cmark-gfm links
``a&#64;b.com``). Code is the one place that all of them leave alone (GitLab: "references within
<pre>, <code>, <a>, and <style> elements are ignored"), so whatever is more than a plain word
becomes code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from mlflow_gc.render.common.budget import Block
from mlflow_gc.render.common.escape import plain

# A bar would end a table's cell even inside of code. A tag there would not be one, but who knows
# all the programs that read Markdown: the only tags in a document are ours.
_BETWEEN_CODE = {"|": "&#124;", "<": "&lt;"}
_PIECES = re.compile(r"[|<]|[^|<]+")
# Letters of one word, a small number or a day: no markup, no name of anything, no commit's id. And
# not "www": before a full stop cmark-gfm takes it for an address, whatever follows.
_WORD = re.compile(r"(?!(?i:www)\b)(?:[A-Za-z]{1,30}|[0-9]{1,6}|[0-9]{4}-[0-9]{2}-[0-9]{2})[,;:.]?")
_STOP = re.compile(r"(?<=[^,;:.])[,;:.]\Z")


def code(text: str, *, most: int | None = None) -> str:
    """Return text that is shown as code, exactly as it is, on one line.

    Args:
        text: anything.
        most: cut to so many characters, the last one then being ``…``; never used for ids.
    """
    pieces = _PIECES.findall(_plain(text, most))
    return "".join(_BETWEEN_CODE.get(piece) or _span(piece) for piece in pieces)


def words(text: str, *, most: int | None = None) -> str:
    """Return a sentence for the inside of a line: plain words plain, all else as code.

    Args:
        text: anything.
        most: as of :func:`code`.
    """
    tokens = _plain(text, most).split(" ")
    if "" in tokens:  # spaces at an end, or several: only code keeps them
        return code(text, most=most)
    return " ".join(
        " ".join(group) if harmless else _code_before_stop(" ".join(group))
        for harmless, group in groupby(tokens, key=lambda token: bool(_WORD.fullmatch(token)))
    )


def _plain(text: str, most: int | None) -> str:
    # No character is shown as less than one: what lies behind need not be looked at.
    return plain(text) if most is None else plain(text[: most + 1], most=most)


def _code_before_stop(text: str) -> str:
    stop = _STOP.search(text)
    return code(text[:-1]) + stop[0] if stop else code(text)


def row(*cells: str) -> str:
    """Return a table's row; cells are Markdown without bars and line breaks."""
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
    """Return a table that is folded under its title.

    Args:
        title: words of our own: it is HTML, where nothing else is harmless.
        columns: as of :func:`head`; none for a list.
        rows: made by :func:`row`, or lines of a list.
        total: how many there are.
        nouns: what they are, for the note of a cut table.
        weight: see :class:`mlflow_gc.render.common.budget.Block`.
    """
    opening = f"<details>\n<summary>{title}</summary>\n\n" + (head(*columns) if columns else "")
    return Block(opening, rows, total, "\n</details>\n\n", shown(nouns), weight)


def unfolded(
    columns: Sequence[str],
    rows: Iterable[str],
    total: int,
    *,
    nouns: str,
    weight: int = 1,
) -> Block:
    """Return a table that is open from the start; arguments as of :func:`folded`."""
    opening = head(*columns) if columns else ""
    return Block(opening, rows, total, "\n", shown(nouns), weight)


def shown(nouns: str) -> Callable[[int, int], str]:
    """Return the note of a cut list."""
    return lambda count, total: f"\nShown: {count:,} of {total:,} {nouns}.\n"


def _span(text: str) -> str:
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    # CommonMark takes one space off both ends, unless there is nothing but spaces.
    edges = text[0] + text[-1]
    padded = "`" in edges or (edges == "  " and text.strip(" ") != "")
    return f"{fence} {text} {fence}" if padded else f"{fence}{text}{fence}"
