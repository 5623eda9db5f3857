"""Every link from a page of the repository to another leads to a file, and to a heading in it.

The site is checked when it is built; this is what readers on the code host follow, README included.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
from support import ROOT
from support.pages import PAGES

ALL = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
_CODE = re.compile(r"^( *)```.*?^\1```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")


def links(text: str) -> list[str]:
    """Return where the links of a page lead to, code left out."""
    return _LINK.findall(_CODE.sub("", text))


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return what a link into a page can end in: its headings as GitHub names them, its targets."""
    text = page.read_text(encoding="utf-8")
    plain = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.DOTALL | re.MULTILINE)
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.+?) *$", plain, re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
        if found[slug]:
            found[f"{slug}-{found[slug]}"] = 0
    targets = re.findall(r"^\(([\w-]+)\)=|<a (?:id|name)=\"([^\"]+)\"", text, re.MULTILINE)
    return frozenset(found) | {name for pair in targets for name in pair if name}


def broken(page: Path, text: str) -> list[str]:
    """Return the links of a page within the repository that lead nowhere."""
    missing = []
    for link in links(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target)
        ):
            missing.append(link)
    return missing


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert not broken(page, page.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "link", ["docs/gone.md", "docs/policy.md#gone", "#gone", "docs/gone.md#keep"]
)
def test_a_broken_link_is_found(link: str) -> None:
    assert broken(ROOT / "README.md", f"[a page]({link})") == [link]


def test_there_are_links() -> None:
    assert sum(len(links(page.read_text(encoding="utf-8"))) for page in ALL) > 300
