"""The policy file: YAML in, the policy's settings out, every mistake with its line.

The file only narrows and limits what a plan may hold; nothing in it deletes anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_gc.clock import parse_duration
from mlflow_gc.errors import GcError, UsageProblem
from mlflow_gc.plan import schema
from mlflow_gc.retention.policy import NEVER, Guards, Policy

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_MAX_BYTES = 1_000_000
_DURATIONS = {"min_age": "min_age_ms", "expire_after": "expire_after_ms"}


def apply_policy_file(path: Path, policy: Policy) -> Policy:
    """Return the policy with what the file says.

    Raises:
        GcError: the file cannot be read.
        UsageProblem: it is no YAML, or says something that the schema does not know.
    """
    return apply_policy(read_policy_file(path), policy)


def read_policy_file(path: Path) -> dict[str, Any]:
    """Read a policy file and check it against its schema.

    Raises:
        GcError: the file cannot be read.
        UsageProblem: with the line of each mistake.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise GcError(f"There is no policy {path}.") from None
    except OSError as error:
        raise GcError(f"The policy {path} cannot be read: {error.strerror or error}.") from error
    if len(content) > _MAX_BYTES:
        raise UsageProblem(f"The policy {path} has more than {_MAX_BYTES:,} bytes.")
    try:
        # The default loader builds plain data only, refuses a key twice, and knows every line.
        document = YAML().load(content)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path} line {mark.line + 1}" if mark else str(path)
        raise UsageProblem(f"{where}: {_first_line(error.problem or error.context)}.") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise UsageProblem(f"{path} is not valid YAML: {_first_line(str(error))}.") from error
    mistakes = list(_mistakes(document, path))
    if mistakes:
        raise UsageProblem(
            " ".join(mistakes[:5]),
            hint="mlflow-gc schema policy prints all that a policy can say.",
        )
    found: dict[str, Any] = document
    return found


def apply_policy(document: dict[str, Any], policy: Policy) -> Policy:
    """Return the policy with what a checked document says in it."""
    from dataclasses import replace

    changes: dict[str, Any] = {
        field: None if document[key] == NEVER else parse_duration(document[key])
        for key, field in _DURATIONS.items()
        if key in document
    }
    last = document.get("keep_last") or {}
    guards = document.get("guards") or {}
    evidence = policy.evidence
    if "max_scan_duration" in document:
        evidence = replace(evidence, max_scan_ms=parse_duration(document["max_scan_duration"]))
    if "max_clock_skew" in document:
        evidence = replace(evidence, max_clock_skew_ms=parse_duration(document["max_clock_skew"]))
    return replace(
        policy,
        keep_last_runs=int(last.get("runs", policy.keep_last_runs)),
        keep_last_versions=int(last.get("model_versions", policy.keep_last_versions)),
        delete_evaluations=document.get("evaluation_runs", "keep") == "delete",
        guards=Guards(
            max_deletions={k: int(n) for k, n in (guards.get("max_deletions") or {}).items()},
            max_share_percent={
                k: int(share.rstrip("%")) for k, share in (guards.get("max_share") or {}).items()
            },
        ),
        evidence=evidence,
        **changes,
    )


def _mistakes(document: Any, path: Path) -> Iterator[str]:
    """Yield what the schema does not allow, with lines, in the order of the file."""
    found = [
        (line, words)
        for error in schema.violations(document, "policy")
        for line, words in _explain(error, document)
    ]
    for line, words in sorted(found):
        yield f"{path} line {line}: {words}."


def _explain(error: ValidationError, document: Any) -> Iterator[tuple[int, str]]:
    parts = [str(part) for part in error.absolute_path]
    rule: dict[str, Any] = dict(error.schema) if isinstance(error.schema, Mapping) else {}
    place = ".".join(parts)
    if error.validator == "additionalProperties":
        known = sorted(rule["properties"])
        instance: Any = error.instance
        for key in instance:
            if key not in known:
                full = ".".join([*parts, str(key)])
                yield (
                    _line([*error.absolute_path, key], document),
                    f"unknown key {full!r} (known here: {', '.join(known)})",
                )
    elif error.validator == "required":
        yield 1, f"{error.message} ({rule['properties']['version']['description']})"
    elif not parts:
        yield 1, "a policy is a mapping that begins with version: 1"
    else:
        description = str(rule.get("description", error.message)).rstrip(".")
        value = str(error.instance)[:80]
        yield _line(list(error.absolute_path), document), f"{place}: {value!r}. {description}"


def _line(parts: list[Any], document: Any) -> int:
    """Return the line of a key, counted from 1."""
    line = 1
    node = document
    for part in parts:
        position = getattr(getattr(node, "lc", None), "data", None) or {}
        if part in position:
            line = position[part][0] + 1
        node = node[part] if isinstance(node, (dict, list)) else None
    return line


def _first_line(text: str | None) -> str:
    return (text or "it cannot be parsed").strip().splitlines()[0].rstrip(".")
