"""A JSON Schema as a flat list of named fields, in parts that a page can show one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """One field of a document.

    Attributes:
        path: names from the part's beginning; ``[]`` stands for each element of a list.
        schema: what the field must be; the description beside a ``$ref`` counts.
        required: whether it is always there.
    """

    path: str
    schema: Schema
    required: bool


@dataclass(frozen=True)
class Part:
    """Fields that belong together.

    Attributes:
        name: of the field or definition that holds them; empty for the top level.
        definition: it is an entry of ``$defs``.
        schema: of the object that has the fields.
        fields: all of them, nested ones too, parents first.
    """

    name: str
    definition: bool
    schema: Schema
    fields: tuple[Field, ...]

    @property
    def title(self) -> str:
        """Its heading, in Markdown; definitions and fields may have the same name."""
        if not self.name:
            return "Top level"
        return f"Type `{self.name}`" if self.definition else f"Fields of `{self.name}`"

    @property
    def anchor(self) -> str:
        """What a code host and Sphinx make of the heading."""
        return self.title.lower().replace(" ", "-").replace("`", "")


def parts(schema: Schema) -> Iterator[Part]:
    """Yield the top level, each field of it that has fields, and each definition that has."""
    top = tuple(_fields(schema, "", deep=False))
    if top:
        yield Part("", definition=False, schema=schema, fields=top)
    for field in top:
        inner = tuple(_nested(field))
        if inner:
            yield Part(field.path, definition=False, schema=field.schema, fields=inner)
    for name, definition in schema.get("$defs", {}).items():
        fields = tuple(_fields(definition, "", deep=True))
        if fields:
            yield Part(name, definition=True, schema=definition, fields=fields)


def _fields(schema: Schema, prefix: str, *, deep: bool) -> Iterator[Field]:
    """Yield the fields of an object."""
    required = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        field = Field(f"{prefix}{name}", inner, name in required)
        yield field
        if deep:
            yield from _nested(field)


def _nested(field: Field) -> Iterator[Field]:
    """Yield what is in a field, through lists, free keys and alternatives."""
    yield from _inside(field.schema, field.path)


def _inside(schema: Schema, path: str) -> Iterator[Field]:
    yield from _fields(schema, f"{path}.", deep=True)
    if isinstance(items := schema.get("items"), Mapping):
        yield from _inside(items, f"{path}[]")
    if isinstance(free := schema.get("additionalProperties"), Mapping):
        yield from _inside(free, f"{path}.*")
    for keyword in ("oneOf", "anyOf", "allOf"):
        for alternative in schema.get(keyword, ()):
            yield from _inside(alternative, path)


def definition_of(schema: Schema, root: Schema) -> tuple[str, Schema] | None:
    """Return name and schema of the definition that a ``$ref`` names, or None."""
    reference = schema.get("$ref", "")
    name = reference.removeprefix("#/$defs/")
    return (name, root["$defs"][name]) if reference else None


def users_of(name: str, root: Schema) -> list[tuple[str, str]]:
    """Return (path, anchor of its part) of every field that is of a definition."""
    return [
        (f"{part.name}.{field.path}" if part.definition else field.path, part.anchor)
        for part in parts(root)
        for field in part.fields
        if f"#/$defs/{name}" in _references(field.schema)
    ]


def _references(schema: Schema) -> set[str]:
    """Return the ``$ref`` of a field itself, not of the fields in it."""
    found = {schema["$ref"]} if "$ref" in schema else set()
    for keyword in ("items", "additionalProperties"):
        if isinstance(inner := schema.get(keyword), Mapping):
            found |= _references(inner)
    for keyword in ("oneOf", "anyOf", "allOf"):
        for alternative in schema.get(keyword, ()):
            found |= _references(alternative)
    return found
