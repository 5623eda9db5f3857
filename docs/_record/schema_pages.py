"""A page for each published JSON Schema: every field with its type and description."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markdown import code, table, text, with_code
from schema import Field, Part, Schema, definition_of, parts, users_of

from mlflow_gc.plan.schema import SCHEMAS, schema_text

_LIMITS = (
    ("minimum", "at least {}"),
    ("maximum", "at most {}"),
    ("minLength", "at least {} long"),
    ("maxLength", "at most {} long"),
    ("minItems", "at least {} of them"),
    ("maxItems", "at most {} of them"),
    ("minProperties", "at least {} of them"),
)


def pages() -> dict[str, str]:
    """Return the text of each page, by its path below docs/reference."""
    return {f"schemas/{name}.md": "\n".join(_page(name)) for name in SCHEMAS}


def _page(name: str) -> Iterator[str]:
    root = json.loads(schema_text(name))
    title = root["title"].removeprefix("mlflow-gc ")
    yield f"# {title[:1].upper()}{title[1:]}\n"
    yield f"{with_code(root['description'])}\n"
    yield f"{code(f'mlflow-gc schema {name}')} prints the schema itself, {code(SCHEMAS[name])}.\n"
    if "oneOf" in root:
        yield f"Each is one of: {_type(root, root)}.\n"
    for part in parts(root):
        yield from _section(part, root)


def _section(part: Part, root: Schema) -> Iterator[str]:
    yield f"## {part.title}\n"
    if part.name and (words := part.schema.get("description")):
        yield f"{with_code(words)}\n"
    if part.definition and (users := users_of(part.name, root)):
        links = [f"[{code(path)}](#{anchor})" for path, anchor in users]
        yield f"It is the type of {_joined(links, ' and ')}.\n"
    if condition := _condition(part.schema):
        yield f"{condition}\n"
    yield table(("Field", "Type", "Meaning"), (_row(field, part, root) for field in part.fields))


def _row(field: Field, part: Part, root: Schema) -> tuple[str, str, str]:
    kind = _type(field.schema, root) + (", required" if field.required else "")
    words = [with_code(_description(field.schema, root))]
    inner = [p for p in parts(root) if p.name == field.path and not p.definition]
    if not part.name and inner:
        words.append(f"See [its fields](#{inner[0].anchor}).")
    elif pattern := field.schema.get("pattern"):
        words.append(f"Pattern: {code(pattern)}.")
    return code(field.path), kind, " ".join(filter(None, words))


def _description(schema: Schema, root: Schema) -> str:
    if "description" in schema:
        return str(schema["description"])
    referred = definition_of(schema, root)
    return str(referred[1].get("description", "")) if referred else ""


def _type(schema: Schema, root: Schema) -> str:
    """Return what a value must be, in a few words."""
    if referred := definition_of(schema, root):
        name, definition = referred
        if "properties" in definition:
            return f"[{name}](#type-{name})"
        return _type(definition, root)
    if "const" in schema:
        return f"always {code(_json(schema['const']))}"
    if "enum" in schema:
        return _joined([code(_json(value)) for value in schema["enum"]])
    for keyword in ("oneOf", "anyOf"):
        if keyword in schema:
            return _joined([_type(s, root) for s in schema[keyword]])
    types = schema.get("type", [])
    names = [types] if isinstance(types, str) else types
    if not names:
        return "any value"
    limits = [words.format(schema[key]) for key, words in _LIMITS if key in schema]
    return ", ".join([_joined([_one_type(name, schema, root) for name in names]), *limits])


def _one_type(name: str, schema: Schema, root: Schema) -> str:
    if name == "array":
        return f"list of {_type(schema.get('items', {}), root)}"
    if name == "object" and isinstance(free := schema.get("additionalProperties"), Mapping):
        return f"object, any name to {_type(free, root)}"
    if name == "string" and schema.get("format") == "date-time":
        return "time"
    return text(name)


def _joined(alternatives: Sequence[str], last: str = " or ") -> str:
    *first, end = alternatives
    return f"{', '.join(first)}{last}{end}" if first else end


def _condition(schema: Schema) -> str:
    """Return ``if`` and ``then`` in words; the schemas use them for one constant only."""
    if "if" not in schema:
        return ""
    given = [
        f"{code(name)} is {code(_json(wanted['const']))}"
        for name, wanted in schema["if"]["properties"].items()
    ]
    then = [
        f"{code(name)} is a {wanted['type']}"
        for name, wanted in schema["then"]["properties"].items()
    ]
    return f"Where {', '.join([*given, *then])}."


def _json(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)
