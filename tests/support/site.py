"""A built documentation site, read as a browser would: pages, their ids, links and words."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_ADDRESSES = {("a", "href"), ("img", "src"), ("script", "src"), ("link", "href")}
_SILENT = {"script", "style", "svg"}


@dataclass
class Page:
    """One page.

    Attributes:
        ids: what a link can end in.
        addresses: (tag, address) of all that it links to and loads.
    """

    ids: set[str] = field(default_factory=set)
    addresses: list[tuple[str, str]] = field(default_factory=list)
    words: str = ""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self._silent = 0

    def handle_starttag(self, tag, attrs):
        known = {key: value or "" for key, value in attrs}
        if "id" in known:
            self.page.ids.add(known["id"])
        for name, value in known.items():
            if (tag, name) in _ADDRESSES:
                self.page.addresses.append((tag, value))
        self._silent += tag in _SILENT

    def handle_endtag(self, tag):
        self._silent -= tag in _SILENT

    def handle_data(self, data):
        if not self._silent:
            self.page.words += data


class Site:
    """All pages of a folder.

    Args:
        folder: where the site was built.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.html"))

    @cache  # noqa: B019 - as long-lived as the tests
    def page(self, name: str) -> Page:
        """Read a page by its path below the folder."""
        reader = _Reader()
        reader.feed((self.folder / name).read_text(encoding="utf-8"))
        page = reader.page
        page.words = " ".join(page.words.split())
        return page

    def broken_links(self) -> list[str]:
        """Return every link within the site that leads nowhere, as ``page: address``."""
        return [
            f"{name}: {address}"
            for name in self.names
            for _, address in self.page(name).addresses
            if not self._leads_somewhere(name, address)
        ]

    def _leads_somewhere(self, name: str, address: str) -> bool:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            return True
        target = (self.folder / name).parent / unquote(parts.path) if parts.path else None
        if target is not None and not target.is_file():
            return False
        if not parts.fragment or (target is not None and target.suffix != ".html"):
            return True
        other = target.resolve().relative_to(self.folder.resolve()).as_posix() if target else name
        # Themes use a lonely # for buttons.
        return unquote(parts.fragment) in self.page(other).ids
