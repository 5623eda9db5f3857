"""The documentation as the tests read it: pages, and the blocks of code in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from support import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        page: where it stands.
        line: number of its first line.
        language: as the fence says, such as ``yaml``.
        text: what is in it.
    """

    page: Path
    line: int
    language: str
    text: str

    @property
    def file(self) -> str:
        """The file that it is meant for, when its first line is a comment that names one."""
        found = re.match(r"(?:#|//) ([\w./-]*[\w-]\.?[\w-]+)\s*\n", self.text)
        return found[1] if found and ("." in found[1] or "file" in found[1]) else ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order; fences inside lists count."""
    found, inside, begin = [], None, 0
    lines: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = re.match(r"( *)```\s*([\w{}-]*)", line)
        if inside is None and fence:
            inside, begin, lines = fence, number + 1, []
        elif inside is not None and fence and not fence[2]:
            found.append(Block(page, begin, inside[2], "\n".join([*lines, ""])))
            inside = None
        elif inside is not None:
            lines.append(line.removeprefix(inside[1]))
    assert inside is None, f"{page}: a fence is not closed"
    return found


def block_for(page: str, file: str) -> str:
    """Return the one block of ``docs/<page>`` that is meant for ``file``."""
    (found,) = [b.text for b in blocks(ROOT / "docs" / page) if b.file == file]
    return found
