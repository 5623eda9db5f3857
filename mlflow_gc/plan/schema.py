"""The published JSON Schemas, and validation against them.

They live in ``schemas/`` of the repository and inside the package in a wheel.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from mlflow_gc.clock import parse_time
from mlflow_gc.errors import GcError

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_BASE = "urn:mlflow-gc:schemas"
PLAN_SCHEMA_ID = f"{_BASE}:prune-plan.v1.schema.json"
JOURNAL_SCHEMA_ID = f"{_BASE}:journal.v1.schema.json"
DIFF_SCHEMA_ID = f"{_BASE}:plan-diff.v1.schema.json"

SCHEMAS = {
    "plan": "prune-plan.v1.schema.json",
    "journal": "journal.v1.schema.json",
    "diff": "plan-diff.v1.schema.json",
}
_PACKAGE = Path(__file__).resolve().parent.parent


def schema_text(name: str) -> str:
    """Return a published schema as text.

    Args:
        name: a key of :data:`SCHEMAS`.
    """
    for folder in (_PACKAGE / "schemas", _PACKAGE.parent / "schemas"):
        file = folder / SCHEMAS[name]
        if file.is_file():
            return file.read_text(encoding="utf-8")
    raise GcError(
        f"The schema {SCHEMAS[name]} is missing from this installation.",
        hint="Install mlflow-gc again.",
    )


@cache
def _validator(name: str) -> Any:
    from jsonschema import Draft202012Validator, FormatChecker

    # jsonschema checks no times unless yet another package is there.
    times = FormatChecker(formats=())
    times.checks("date-time", raises=ValueError)(_is_time)
    return Draft202012Validator(orjson.loads(schema_text(name)), format_checker=times)


def _is_time(value: object) -> bool:
    if isinstance(value, str):
        parse_time(value)
    return True


def problems(document: Any, name: str, *, most: int = 5) -> list[str]:
    """Return what a document does not keep of a schema, one sentence each, worst first.

    Args:
        document: parsed JSON.
        name: a key of :data:`SCHEMAS`.
        most: how many problems to look for.
    """
    found: list[str] = []
    for error in _validator(name).iter_errors(document):
        found.append(_sentence(error))
        if len(found) >= most:
            break
    return found


def _sentence(error: ValidationError) -> str:
    place = "/".join(str(part) for part in error.absolute_path) or "the document"
    message = error.message
    # The message repeats the value, which may be the whole plan.
    return f"{place}: {message if len(message) <= 200 else message[:100] + ' ... ' + message[-90:]}"
