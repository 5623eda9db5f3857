"""Markdown that a code host and Sphinx show alike: tables, code, and text without effect."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_MARKUP = re.compile(r"[\\*<>\[\]]|(?<!\w)_|_(?!\w)")


def text(words: str) -> str:
    """Return plain text: nothing in it is markup."""
    return _MARKUP.sub(lambda found: f"\\{found[0]}", words)


def code(words: str) -> str:
    """Return literal text."""
    return f"`{words}`"


def with_code(words: str) -> str:
    """Return text in which what stands between backticks is literal."""
    parts = words.replace("``", "`").split("`")
    return "".join(code(part) if number % 2 else text(part) for number, part in enumerate(parts))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; its cells are Markdown."""
    lines = [
        heads,
        ["---"] * len(heads),
        *([cell.replace("|", r"\|") for cell in row] for row in rows),
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
