"""Loading a policy file: YAML to policy settings; each error has its line.

The file only limits what a plan may contain; it cannot cause a deletion.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from mlflow_gc.domain.timestamps import DAY_MS, parse_duration, parse_time
from mlflow_gc.errors import UsageProblem
from mlflow_gc.invocation import command
from mlflow_gc.plan import schema
from mlflow_gc.policy.yaml_loader import KeyPath, YamlFile, read_yaml
from mlflow_gc.retention.policy import (
    DURATIONS,
    LIMITS,
    UTC,
    Guards,
    Policy,
    PolicySource,
    PurgeSettings,
)
from mlflow_gc.retention.rules import AGES, NEVER, SCOPES, Rule, parse_age, regex_problem

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_DURATION = re.compile(r"[0-9]+[smhdw]", re.ASCII)
_LONGEST_MS = 1000 * 365 * DAY_MS
_LONGEST_MESSAGE = 840
_LONGEST_RULE = 100
_NUMBER_OF_A_RULE = re.compile(r"\brules\.[0-9]+[. ]")
# They are a different zone on each machine, or not a zone.
_NO_ZONES = {"localtime", "posixrules", "Factory"}
_WHOLE = {"policy": "a policy", "policy-tests": "a file of policy tests"}
_DURATION_KEYS = {*DURATIONS, *LIMITS, *AGES, "ttl", "within", "shortest_ttl"}


class Mistakes(UsageProblem):
    """The errors in a file, each with its line.

    Args:
        found: one sentence each, at least one.
        name: of its schema.

    Attributes:
        found: all errors; the message contains the first few.
    """

    def __init__(self, found: Sequence[str], name: str) -> None:
        self.found = tuple(found)
        first = [found[0]]
        for message in found[1:]:
            if len("\n".join([*first, message])) > _LONGEST_MESSAGE:
                break
            first.append(message)
        if more := len(found) - len(first):
            first.append(f"And {more} more: mlflow-gc validate names all.")
        super().__init__("\n".join(first), hint=f"Its schema: {command('schema', name)}")


DEFAULT_NAMES = ("mlflow-gc.yml", "mlflow-gc.yaml")
"""Names of the policy file that is found in the working directory by default."""


def find_policy_file(directory: Path) -> Path | None:
    """Return the policy file of a directory, or None.

    Raises:
        UsageProblem: There are two.
    """
    # lexists: a dangling link is a lost policy, not a missing one.
    found = [directory / name for name in DEFAULT_NAMES if os.path.lexists(directory / name)]
    if len(found) > 1:
        raise UsageProblem(
            f"There are two policy files here, {found[0]} and {found[1]}.",
            hint="Remove one of them, or name the one that counts: --policy FILE.",
        )
    return found[0] if found else None


_OTHER_FORMATS = {f"mlflowgc{ending}" for ending in ("", "toml", "json", "cfg", "conf", "ini")}
_NEAR_NAMES = (
    *("mlflowgcyml", "mlflowgcyaml", "mlflowgcymltxt", "mlflowgcyamltxt", "mlflowgcjson"),
    *("mlflowgcpolicyyml", "mlflowgcpolicyyaml", "mlflowgcconfigyml", "mlflowgcconfigyaml"),
)
_NEAR = 0.88
_LONGEST_NAME = 24


def near_misses(directory: Path) -> list[str]:
    """Return names of files that may have been meant as the policy file of a directory."""
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries if not entry.is_dir()]
    except OSError:
        return []
    return sorted(name for name in names if name not in DEFAULT_NAMES and _is_near(name))


def _is_near(name: str) -> bool:
    letters = "".join(character for character in name.casefold() if character.isalnum())
    if letters in _OTHER_FORMATS:
        return True
    if len(letters) > _LONGEST_NAME or not ({"gc", "cg"} & {letters[5:7], letters[6:8]}):
        return False
    return any(SequenceMatcher(None, letters, near).ratio() >= _NEAR for near in _NEAR_NAMES)


def read_policy_file(path: Path) -> dict[str, Any]:
    """Read a policy file and check it against its schema.

    Raises:
        GcError: the file cannot be read.
        UsageProblem: with the line of each mistake.
    """
    return read_policy(path)[0]


def read_policy(path: Path) -> tuple[dict[str, Any], PolicySource]:
    """Read a policy file as :func:`read_policy_file` does; also return its source."""
    file = read_yaml(path, "policy")
    if found := list(mistakes(file, "policy")) or list(_contradictions(file)):
        raise Mistakes(found, "policy")
    document: dict[str, Any] = file.document
    return document, PolicySource(str(path), file.digest)


def starter() -> str:
    """Return a commented policy as a starting point."""
    return (Path(__file__).parent / "template.yml").read_text(encoding="utf-8")


def apply_policy(
    document: Mapping[str, Any], policy: Policy, *, ttl_is_default: bool = True
) -> Policy:
    """Return the policy with the settings of a checked document.

    Args:
        document: of a policy file.
        policy: with the values of settings that the file does not contain.
        ttl_is_default: whether the default TTL of the file counts; an option or variable that sets
            one has priority, except over ``never``.
    """
    owners = {f"owners_{key}": value for key, value in (document.get("owners") or {}).items()}
    guards = document.get("guards") or {}
    shares = (guards.get("max_share") or {}).items()
    defaults = dict(document.get("defaults") or {})
    if not ttl_is_default and defaults.get("ttl") != NEVER:
        defaults.pop("ttl", None)
    default = Rule.from_document({"name": "default", **defaults}, policy.default)
    return replace(
        policy.with_settings({**document, **owners}),
        default=default,
        rules=tuple(Rule.from_document(rule, default) for rule in document.get("rules") or ()),
        guards=Guards(
            max_deletions=guards.get("max_deletions") or {},
            max_share_percent={key: int(share.rstrip("%")) for key, share in shares},
        ),
        purge=_purge_settings(document.get("purge") or {}),
    )


_BYTES = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}


def _purge_settings(document: Mapping[str, Any]) -> PurgeSettings:
    found = PurgeSettings()
    if size := document.get("max_bytes"):
        number, unit = str(size).split()
        found = replace(found, max_bytes=int(number) * _BYTES[unit])
    if share := document.get("max_share"):
        found = replace(found, max_share_percent=int(share.rstrip("%")))
    if since := document.get("unknown_since"):
        found = replace(found, unknown_since_ms=parse_time(str(since)))
    if "orphans_after" in document:
        found = replace(found, orphans_after_ms=parse_age(document["orphans_after"]))
    if "tombstones" in document:
        found = replace(found, tombstones=bool(document["tombstones"]))
    return found


def mistakes(file: YamlFile, name: str) -> Iterator[str]:
    """Yield the violations of a schema (``policy``, ``policy-tests``), in the order of the file."""
    found = [
        (file.line(key_path), _rule_of(file.document, key_path), message)
        for error in schema.violations(file.document, name)
        for key_path, message in _explain(error, name)
    ]
    for line, rule, message in sorted(found):
        # The number of a rule is useless next to its name.
        shown = _NUMBER_OF_A_RULE.sub("", message, count=1) if rule else message
        yield f"{file.path} line {line}: {rule}{shown}."


def _rule_of(document: Any, key_path: KeyPath) -> str:
    """Return ``rule 'sandboxes': `` for a key path in a named rule, else an empty text."""
    if key_path[:1] != ("rules",) or len(key_path) < len(("rules", 0)):
        return ""
    rule = document["rules"][key_path[1]]
    name = rule.get("name") if isinstance(rule, dict) else None
    return f"rule {name[:_LONGEST_RULE]!r}: " if isinstance(name, str) and name else ""


def _contradictions(file: YamlFile) -> Iterator[str]:
    """Yield well-formed settings that contradict each other."""
    document = file.document
    for key_path, value in _values(document, ()):
        is_duration = isinstance(value, str) and _DURATION.fullmatch(value)
        if key_path[-1] in _DURATION_KEYS and is_duration and parse_duration(value) > _LONGEST_MS:
            yield f"{file.where(key_path)}: {key_path[-1]}: {value} is more than 1,000 years."
    if since := (document.get("purge") or {}).get("unknown_since"):
        try:
            parse_time(str(since))
        except ValueError:
            where = file.where(("purge", "unknown_since"))
            yield f"{where}: purge.unknown_since: {_shown(str(since))} is not a date such as 2026-05-01."
    if not _is_time_zone(zone := str(document.get("time_zone", UTC))):
        message = f"time_zone: {zone!r} is not an IANA time zone"
        if not available_timezones():
            message = "time_zone: this machine knows none but UTC; install tzdata"
        yield f"{file.where(('time_zone',))}: {message}."
    names: set[str] = set()
    for number, rule in enumerate(document.get("rules") or ()):
        where = file.where(("rules", number))
        name = str(rule["name"])
        if name in names or name == "default":
            yield f"{where}: a second rule is named {name!r}."
        names.add(name)
        match = rule.get("match") or {}
        of_models = sorted({*SCOPES["models"]} & set(match))
        others = sorted({*SCOPES["experiments"], *SCOPES["runs"]} & set(match))
        if of_models and others:
            yield (
                f"{where}: rule {name!r} can never match: {of_models[0]} applies to "
                f"models, {others[0]} about runs."
            )
        for key, glob in _globs(match):
            if glob.startswith("!"):
                yield (
                    f"{file.where(('rules', number, 'match', key))}: rule {name!r}: {key}: "
                    f"{_shown(glob)}: a glob has no ! for not. Put a rule for the exceptions before "
                    "this one; for the character itself write ?."
                )
        for key in ("experiment_regex", "model_regex"):
            if problem := regex_problem(str(match.get(key, ""))):
                yield f"{where}: rule {name!r}: {key}: {problem}."


def _globs(match: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the globs of a selector with their keys."""
    for key in ("experiment", "model", "user", "run_name", "workspace"):
        if key in match:
            yield key, str(match[key])
    for glob in (match.get("tags") or {}).values():
        yield "tags", str(glob)


def _is_time_zone(name: str) -> bool:
    if name in _NO_ZONES or name.startswith(("posix/", "right/")):
        return False
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return name == UTC
    return True


def _values(value: Any, key_path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _values(inner, (*key_path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _values(inner, (*key_path, number))
    elif key_path:
        yield key_path, value


def _explain(
    error: ValidationError, name: str, description: str = ""
) -> Iterator[tuple[KeyPath, str]]:
    """Yield messages, each with its key path; ``description`` is that of the parent schema."""
    key_path = tuple(error.absolute_path)
    parts = [str(part) for part in key_path]
    rule: dict[str, Any] = dict(error.schema) if isinstance(error.schema, Mapping) else {}
    description = str(rule.get("description", description or error.message)).rstrip(".")
    if meant := _meant(error):
        for inner in meant:
            yield from _explain(inner, name, description)
    elif error.validator == "additionalProperties":
        known = sorted(rule["properties"])
        instance: Any = error.instance
        for key in instance:
            if key not in known:
                full = ".".join([*parts, str(key)])
                close = get_close_matches(str(key), known, n=1)
                question = f"did you mean {close[0]!r}? " if close else ""
                message = f"unknown key {full!r} ({question}known here: {', '.join(known)})"
                yield (*key_path, key), message
    elif error.validator == "required":
        missing = error.message.split(" ", 1)[0]  # one error for each missing name
        yield key_path, f"{'.'.join(parts) or _WHOLE[name]} needs {missing}"
    elif not parts:
        yield (), f"{_WHOLE[name]} is a mapping that begins with version: 1"
    else:
        shown = _shown(error.instance)
        if error.validator == "uniqueItems":
            shown += " with one thing twice"
        yield key_path, f"{'.'.join(parts)}: {shown}. {description}"


def _meant(error: ValidationError) -> list[ValidationError]:
    """Return the errors of the only alternative of ``oneOf`` with the right type."""
    left = [
        branch
        for branch in schema.branches_of(error)
        if not any(e.validator == "type" and not e.relative_path for e in branch)
    ]
    return left[0] if len(left) == 1 else []


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        message = "mapping" if isinstance(value, dict) else "list"
        return f"a {message}" if value else f"an empty {message}"
    return repr(value if not isinstance(value, str) else value[:80])
