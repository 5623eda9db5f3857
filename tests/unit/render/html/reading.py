"""Reads a report as a browser does, as far as unit tests need it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

from mlflow_gc.render import html


class Reader(HTMLParser):
    """Collects tags with their attributes, the words of the page, and what scripts and styles hold."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.raw:
            self._inside = tag
            self.raw[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside][-1] += data
        else:
            self.words.append(data)

    @property
    def data(self) -> dict[str, Any]:
        """The entities that the table's script reads."""
        found: dict[str, Any] = json.loads(self.raw["script"][-1])
        return found

    def links(self) -> list[str]:
        """Where the page leads."""
        return [attributes["href"] or "" for tag, attributes in self.tags if tag == "a"]


def read(plan: dict[str, Any], **options: Any) -> Reader:
    """The report of a plan, read."""
    return Reader("".join(html.show(plan, **options)))
