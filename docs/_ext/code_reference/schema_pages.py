"""A page for each published JSON Schema: every field with its type and description."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from code_reference.entries import Entry, Inline, code, entry_list, link, paragraph, section, text
from code_reference.schema import (
    Field,
    Part,
    Schema,
    anchor_of,
    definition_of,
    parts,
    users_of,
)
from mlflow_gc.plan.schema import SCHEMAS, schema_text

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FOLDER = "reference/schemas"
"""Where the pages are, below the folder of the documentation; not under version control."""

_LIMITS = (
    ("minimum", "at least {}"),
    ("maximum", "at most {}"),
    ("minLength", "at least {} long"),
    ("maxLength", "at most {} long"),
    ("minItems", "at least {} of them"),
    ("maxItems", "at most {} of them"),
    ("minProperties", "at least {} of them"),
)


def write_pages(app: Sphinx) -> None:
    """Write a page for each schema, and remove those of schemas that are gone."""
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    pages = {folder / f"{name}.md": _page(name) for name in SCHEMAS}
    for old in set(folder.glob("*.md")) - set(pages):
        old.unlink()
    for file, content in pages.items():
        # Another build may read it at this moment.
        if not file.exists() or file.read_text(encoding="utf-8") != content:
            file.write_text(content, encoding="utf-8")


def _page(name: str) -> str:
    title = json.loads(schema_text(name))["title"].removeprefix("mlflow-gc ")
    return f"# {title[:1].upper()}{title[1:]}\n\n```{{json-schema}} {name}\n```\n"


class JsonSchemaDirective(SphinxDirective):
    """All fields of the schema named by the argument."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the introduction and a section for each part."""
        name = self.arguments[0]
        root = json.loads(schema_text(name))
        return [*_introduction(name, root), *(_section(part, root) for part in parts(root))]


def _introduction(name: str, root: Schema) -> list[nodes.Node]:
    printed = code(f"mlflow-gc schema {name}")
    lines = [
        paragraph(text(root["description"])),
        paragraph(printed, text(" prints the schema itself, "), code(SCHEMAS[name]), text(".")),
    ]
    if "oneOf" in root:
        lines.append(paragraph(text("Each is one of: "), *_type(root, root), text(".")))
    return lines


def _section(part: Part, root: Schema) -> nodes.Node:
    children: list[nodes.Node] = []
    if part.name and (words := part.schema.get("description")):
        children.append(paragraph(text(words)))
    if part.definition and (users := users_of(part.name, root)):
        links: list[Inline] = [[link(anchor, code(path))] for path, anchor in users]
        children.append(paragraph(text("It is the type of "), *_joined(links, " and "), text(".")))
    children += [paragraph(*condition) for condition in _conditions(part.schema)]
    children.append(entry_list((_entry(f, part, root) for f in part.fields), "field"))
    title = code(part.name) if part.name else text("Top level")
    return section([title], part.anchor, *children)


def _entry(field: Field, part: Part, root: Schema) -> Entry:
    anchor = anchor_of(field.path)
    words = _description(field.schema, root)
    pattern = field.schema.get("pattern")
    more: list[nodes.Node] = [text("Pattern: "), code(pattern)] if pattern else []
    if not part.name and any(p.name == field.path for p in parts(root) if not p.definition):
        more = [text("Its fields: "), link(f"{anchor}-fields", code(field.path))]
    return Entry(
        anchor=f"{part.anchor}-{anchor}" if part.definition else anchor,
        name=field.name,
        prefix=field.parents,
        value=_type(field.schema, root),
        marks=("required",) if field.required else (),
        body=([text(words)] if words else [],),
        facts=more,
    )


def _description(schema: Schema, root: Schema) -> str:
    if "description" in schema:
        return str(schema["description"])
    referred = definition_of(schema, root)
    return str(referred[1].get("description", "")) if referred else ""


def _type(schema: Schema, root: Schema) -> Inline:
    """Return what a value must be, in a few words."""
    if referred := definition_of(schema, root):
        name, definition = referred
        if "properties" in definition:
            return [link(f"type-{name}", text(name))]
        return _type(definition, root)
    if "const" in schema:
        return [text("always "), code(_json(schema["const"]))]
    if "enum" in schema:
        return _joined([[code(_json(value))] for value in schema["enum"]])
    for keyword in ("oneOf", "anyOf"):
        if keyword in schema:
            return _joined([_type(s, root) for s in schema[keyword]])
    types = schema.get("type", [])
    names = [types] if isinstance(types, str) else types
    if not names:
        return [text("any value")]
    limits = [words.format(schema[key]) for key, words in _LIMITS if key in schema]
    found = _joined([_one_type(name, schema, root) for name in names])
    return [*found, text(f", {', '.join(limits)}")] if limits else found


def _one_type(name: str, schema: Schema, root: Schema) -> Inline:
    if name == "array":
        return [text("list of "), *_type(schema.get("items", {}), root)]
    if name == "object" and isinstance(free := schema.get("additionalProperties"), Mapping):
        return [text("object, any name to "), *_type(free, root)]
    if name == "string" and schema.get("format") == "date-time":
        return [text("time")]
    return [text(name)]


def _joined(alternatives: list[Inline], last: str = " or ") -> Inline:
    found: list[nodes.Node] = []
    for number, alternative in enumerate(alternatives):
        between = last if number == len(alternatives) - 1 else ", "
        found += [*([text(between)] if number else []), *alternative]
    return found


def _conditions(schema: Schema) -> list[Inline]:
    """Return ``if`` and ``then`` in words; the schemas use them for one constant only."""
    if "if" not in schema:
        return []
    found: list[nodes.Node] = [text("Where ")]
    for name, wanted in schema["if"]["properties"].items():
        found += [code(name), text(" is "), code(_json(wanted["const"]))]
    for name, wanted in schema["then"]["properties"].items():
        found += [text(", "), code(name), text(f" is a {wanted['type']}")]
    return [[*found, text(".")]]


def _json(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)
