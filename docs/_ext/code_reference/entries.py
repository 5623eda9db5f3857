"""What all reference pages are made of: sections, and entries with an anchor each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from docutils import nodes
from sphinx import addnodes

Inline = Sequence[nodes.Node]
"""Nodes within a line."""


@dataclass(frozen=True)
class Entry:
    """One option, field or code.

    Attributes:
        anchor: its id on the page.
        name: shown in bold.
        prefix: shown before the name: the objects that a field is in.
        value: what follows the name: an option's metavar, a field's type.
        marks: short words at the end, such as "required".
        body: a paragraph each.
        facts: a last line in small print.
    """

    anchor: str
    name: str
    prefix: str = ""
    value: Inline = ()
    marks: tuple[str, ...] = ()
    body: tuple[Inline, ...] = ()
    facts: Inline = ()


def entry_list(entries: Iterable[Entry], kind: str) -> nodes.Node:
    """Return a definition list, styled like the documentation of an API.

    Args:
        entries: in the order of the page.
        kind: a class for the style sheet, such as ``option``.
    """
    description = addnodes.desc("", domain="", objtype=kind, desctype=kind, no_index=True)
    description["classes"] += ["reference-entries", kind]
    for entry in entries:
        signature = addnodes.desc_signature("", "", ids=[entry.anchor], is_multiline=False)
        signature["classes"] += ["sig", "sig-object"]
        if entry.prefix:
            signature += addnodes.desc_addname("", entry.prefix)
        signature += addnodes.desc_name("", entry.name)
        if entry.value:
            signature += nodes.inline("", " ")
            signature += nodes.inline("", "", *entry.value, classes=["entry-value"])
        for mark in entry.marks:
            signature += nodes.inline("", " ")
            signature += nodes.inline("", mark, classes=["entry-mark"])
        content = addnodes.desc_content("", *(paragraph(*line) for line in entry.body if line))
        if entry.facts:
            content += nodes.paragraph("", "", *entry.facts, classes=["entry-facts"])
        description += [signature, content]
    return description


def section(title: Inline, anchor: str, *children: nodes.Node) -> nodes.section:
    """Return a section; Sphinx lists it in the table of contents."""
    return nodes.section("", nodes.title("", "", *title), *children, ids=[anchor], names=[])


def paragraph(*inline: nodes.Node) -> nodes.paragraph:
    """Return a paragraph."""
    return nodes.paragraph("", "", *inline)


def text(words: str) -> nodes.Text:
    """Return plain text: nothing in it is markup."""
    return nodes.Text(words)


def code(words: str) -> nodes.literal:
    """Return literal text."""
    return nodes.literal("", words)


def link(anchor: str, *inline: nodes.Node) -> nodes.reference:
    """Return a link within the page."""
    return nodes.reference("", "", *inline, internal=True, refid=anchor)


def with_code(words: str) -> list[nodes.Node]:
    """Return text in which what stands between backticks is literal."""
    parts = words.replace("``", "`").split("`")
    return [code(part) if number % 2 else text(part) for number, part in enumerate(parts) if part]
