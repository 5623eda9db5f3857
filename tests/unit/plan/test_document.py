"""The types of the plan document say what its schema says."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import typing_extensions
from typing_extensions import NotRequired, is_typeddict

from mlflow_gc.plan import document
from mlflow_gc.plan.preconditions import DELETED_TIME, KNOWN_KEYS
from mlflow_gc.plan.schema import schema_text

_NAMES = {**vars(typing), **vars(typing_extensions)}
_SCHEMA = json.loads(schema_text("plan"))


def _object(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = _SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def _fields(typed: type) -> Iterator[tuple[str, Any, bool]]:
    """Yield name, type and whether it may be missing."""
    for name, hint in get_type_hints(typed, localns=_NAMES, include_extras=True).items():
        is_optional = get_origin(hint) is NotRequired
        yield name, get_args(hint)[0] if is_optional else hint, is_optional


def _differences(typed: type, schema: dict[str, Any], where: str) -> Iterator[str]:
    schema = _object(schema)
    fields = {name: (hint, is_optional) for name, hint, is_optional in _fields(typed)}
    if unlike := fields.keys() ^ schema["properties"].keys():
        yield f"{where}: only one of the two has {sorted(unlike)}"
    required = {name for name, (_, is_optional) in fields.items() if not is_optional}
    if required != set(schema["required"]):
        yield f"{where}: required {sorted(required ^ set(schema['required']))}"
    for name, (hint, _) in fields.items():
        inner = schema["properties"].get(name, {})
        if is_typeddict(hint):
            yield from _differences(hint, inner, f"{where}/{name}")
        elif get_args(hint) and is_typeddict(get_args(hint)[0]):
            yield from _differences(get_args(hint)[0], inner["items"], f"{where}/{name}")


def test_the_types_say_what_the_schema_says() -> None:
    assert list(_differences(document.Plan, _SCHEMA, "plan")) == []


@pytest.mark.parametrize("kind", list(KNOWN_KEYS))
def test_the_preconditions_that_are_compared_are_those_of_the_schema(kind: str) -> None:
    entry = _object(_SCHEMA["properties"][kind]["items"])
    known = {*KNOWN_KEYS[kind], DELETED_TIME}
    assert known == {*entry["properties"]["expect"]["properties"], DELETED_TIME}
