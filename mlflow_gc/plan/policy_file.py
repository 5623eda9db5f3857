"""The policy file: YAML in, the policy's settings out, every mistake with its line.

The file only narrows and limits what a plan may hold; nothing in it deletes anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_gc.clock import parse_duration
from mlflow_gc.errors import UsageProblem
from mlflow_gc.plan import schema
from mlflow_gc.plan.yaml_file import Place, YamlFile, read_yaml
from mlflow_gc.retention.policy import NEVER, Guards, Policy

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

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
    file = read_yaml(path, "policy")
    if mistakes := list(_mistakes(file)):
        raise UsageProblem(
            " ".join(mistakes[:5]),
            hint="mlflow-gc schema policy prints all that a policy can say.",
        )
    document: dict[str, Any] = file.document
    return document


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


def _mistakes(file: YamlFile) -> Iterator[str]:
    """Yield what the schema does not allow, with lines, in the order of the file."""
    found = [
        (file.line(place), words)
        for error in schema.violations(file.document, "policy")
        for place, words in _explain(error)
    ]
    for line, words in sorted(found):
        yield f"{file.path} line {line}: {words}."


def _explain(error: ValidationError) -> Iterator[tuple[Place, str]]:
    place = tuple(error.absolute_path)
    parts = [str(part) for part in place]
    rule: dict[str, Any] = dict(error.schema) if isinstance(error.schema, Mapping) else {}
    if error.validator == "additionalProperties":
        known = sorted(rule["properties"])
        instance: Any = error.instance
        for key in instance:
            if key not in known:
                full = ".".join([*parts, str(key)])
                yield (*place, key), f"unknown key {full!r} (known here: {', '.join(known)})"
    elif error.validator == "required":
        missing = ", ".join(repr(name) for name in rule["required"])
        yield place, f"{'.'.join(parts) or 'a policy'} needs {missing}"
    elif not parts:
        yield (), "a policy is a mapping that begins with version: 1"
    else:
        description = str(rule.get("description", error.message)).rstrip(".")
        yield place, f"{'.'.join(parts)}: {_shown(error.instance)}. {description}"


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(value if not isinstance(value, str) else value[:80])
