"""The published JSON Schemas, and validation against them.

They are in ``schemas/`` of the repository and inside the package in a wheel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import orjson

from mlflow_gc.domain.timestamps import parse_time
from mlflow_gc.errors import GcError
from mlflow_gc.plan.lazy_entries import Entries

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_BASE = "urn:mlflow-gc:schemas"
PLAN_SCHEMA_ID = f"{_BASE}:prune-plan.v1.schema.json"
DIFF_SCHEMA_ID = f"{_BASE}:plan-diff.v1.schema.json"
USAGE_SCHEMA_ID = f"{_BASE}:usage.v1.schema.json"
CHECK_SCHEMA_ID = f"{_BASE}:plan-check.v1.schema.json"

SCHEMAS = {
    "plan": "prune-plan.v1.schema.json",
    "journal": "journal.v1.schema.json",
    "diff": "plan-diff.v1.schema.json",
    "check": "plan-check.v1.schema.json",
    "usage": "usage.v1.schema.json",
    "events": "events.v1.schema.json",
    "policy": "retention-policy.v1.schema.json",
    "policy-tests": "policy-tests.v1.schema.json",
}
_PACKAGE = Path(__file__).resolve().parent.parent


def schema_text(name: str) -> str:
    """Return a published schema, a key of :data:`SCHEMAS`, as text."""
    for folder in (_PACKAGE / "schemas", _PACKAGE.parent / "schemas"):
        file = folder / SCHEMAS[name]
        if file.is_file():
            return file.read_text(encoding="utf-8")
    raise GcError(
        f"The schema {SCHEMAS[name]} is missing from this installation.",
        hint="Install mlflow-gc again.",
    )


@cache
def thorough_validator(name: str) -> Any:
    """Return the authoritative validator of a schema, which also produces the messages."""
    from jsonschema import Draft202012Validator, FormatChecker, validators

    # jsonschema checks no times without another package.
    times = FormatChecker(formats=())
    times.checks("date-time", raises=ValueError)(_is_time)
    strict: Any = validators.extend(  # type: ignore[no-untyped-call]
        Draft202012Validator,
        {"pattern": _matches},
        type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
            "array", lambda _, value: isinstance(value, (list, Entries))
        ),
    )
    return strict(orjson.loads(schema_text(name)), format_checker=times)


def _is_time(value: object) -> bool:
    if isinstance(value, str):
        parse_time(value)
    return True


def _matches(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    """Check ``pattern`` as in JSON Schema: ``$`` is the end, not before a final newline."""
    from jsonschema.exceptions import ValidationError

    if isinstance(instance, str) and not _to_the_end(pattern).search(instance):
        yield ValidationError(f"{_json(instance)} does not match {pattern}")


@cache
def _to_the_end(pattern: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\$\Z", r"\\Z", pattern))


@cache
def quick_validator(name: str, *keys: str) -> Any:
    """Return a hundred times faster validator that accepts only valid documents; or None.

    Args:
        name: of a schema.
        keys: path to a list of the document; the validator is for its entries then.
    """
    try:
        import jsonschema_rs
    except ImportError:
        # Anaconda's channels, which AE5 installs from, do not provide it.
        return None
    whole = part = orjson.loads(schema_text(name))
    if time := whole.get("$defs", {}).get("time"):
        # RFC 3339 has these two, Python's datetime has not.
        time["not"] = {"pattern": "^0000-|:60"}
    for key in keys:
        part = part["properties"][key]
    if keys:
        part = {"$schema": whole["$schema"], "$defs": whole["$defs"], **part["items"]}
    return jsonschema_rs.Draft202012Validator(part, validate_formats=True)


def is_surely_valid(document: Any, name: str) -> bool:
    """Tell quickly that a document matches a schema; False means unknown."""
    quick = quick_validator(name)
    if quick is None:
        return False
    try:
        frame, lists = _taken_apart(document)
        return quick.is_valid(frame) and all(
            entries.are_valid or all(map(quick_validator(name, *keys).is_valid, entries))
            for keys, entries in lists
        )
    except ValueError:  # nested too deeply, or unsupported text
        return False


def _taken_apart(document: Any) -> tuple[Any, list[tuple[tuple[str, ...], Entries[Any]]]]:
    """Return a document without the entries of its lists, and the entries with their paths."""
    if not isinstance(document, dict):
        return document, []
    frame = dict(document)
    lists: list[tuple[tuple[str, ...], Entries[Any]]] = []
    for key, value in document.items():
        if isinstance(value, Entries):
            frame[key] = []
            lists.append(((key,), value))
        elif isinstance(value, dict):
            frame[key], inner = _taken_apart(value)
            lists += [((key, *keys), entries) for keys, entries in inner]
    return frame, lists


def problems(document: Any, name: str, *, most: int = 5) -> list[str]:
    """Return violations of a schema, a key of :data:`SCHEMAS`, one sentence each."""
    return [_sentence(error) for error in violations(document, name, most=most)]


def violations(document: Any, name: str, *, most: int | None = None) -> list[ValidationError]:
    """Return violations of a schema, for callers with their own messages; all without ``most``."""
    if is_surely_valid(document, name):
        return []
    return list(islice(thorough_validator(name).iter_errors(document), most))


_LONGEST = 80
_TYPE_NAMES = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}


_RULES = {
    "pattern": "does not match {}",
    "format": "is not a time that exists",
    "minimum": "is less than {}",
    "maximum": "is more than {}",
}


def _sentence(error: ValidationError) -> str:
    path = "/".join(_short(str(part)) for part in error.absolute_path) or "the document"
    return f"{path} {_rule(error)}"


def _rule(error: ValidationError) -> str:
    """Return a message about the violated rule; jsonschema's are for Python developers."""
    wanted: Any = error.validator_value
    if error.validator == "required":
        # One error for each missing name; only the message contains the name.
        return f"lacks {error.message.split(' ', 1)[0]}"
    if error.validator == "oneOf" and error.context:
        return _alternatives(error)
    if error.validator == "type":
        types = [wanted] if isinstance(wanted, str) else wanted
        rule = "is not " + " or ".join(_TYPE_NAMES.get(t, t) for t in types)
    elif error.validator in {"const", "enum"}:
        values = [wanted] if error.validator == "const" else wanted
        rule = "is not " + " or ".join(_json(value) for value in values)
    elif error.validator == "additionalProperties":
        schema: Any = error.schema
        known = schema.get("properties", {})
        unknown = next(str(key) for key in cast("Any", error.instance) if key not in known)
        return f"has a name that is not known: {_json(unknown)}"
    else:
        rule = _RULES.get(str(error.validator), f"breaks the rule {error.validator}").format(wanted)
    return f"{rule} ({_json(error.instance)})"


def branches_of(error: ValidationError) -> list[list[ValidationError]]:
    """Return the violations of each alternative of ``oneOf``."""
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.schema_path[0], []).append(inner)
    return list(branches.values())


def _alternatives(error: ValidationError) -> str:
    """Return the violation of each alternative, or of the one that a constant selects."""
    branches = branches_of(error)
    meant = [branch for branch in branches if not any(e.validator == "const" for e in branch)]
    firsts = [branch[0] for branch in (meant if len(meant) == 1 else branches)]
    return ", and ".join(
        dict.fromkeys(
            _sentence(error) if error.relative_path else _rule(error) for error in firsts[:4]
        )
    )


def _json(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return _TYPE_NAMES["object" if isinstance(value, dict) else "array"]
    return _short(orjson.dumps(value).decode())


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 20]} ..."
