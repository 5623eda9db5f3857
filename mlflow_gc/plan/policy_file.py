"""The policy file: YAML in, the policy's settings out, every mistake with its line.

The file only narrows and limits what a plan may hold; nothing in it deletes anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mlflow_gc.clock import DAY_MS, parse_duration
from mlflow_gc.errors import UsageProblem
from mlflow_gc.plan import schema
from mlflow_gc.plan.yaml_file import Place, YamlFile, read_yaml
from mlflow_gc.retention.keep import ALL, Keep
from mlflow_gc.retention.policy import Guards, Policy
from mlflow_gc.retention.rules import (
    NEVER,
    OFF,
    TERMINAL_STATUSES,
    UNFINISHED_STATUSES,
    Rule,
    Selector,
)

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_DURATIONS = {"min_age": "min_age_ms", "expire_after": "expire_after_ms", "grace": "grace_ms"}
_DURATION = re.compile(r"[0-9]+[smhdw]", re.ASCII)
_LONGEST_MS = 1000 * 365 * DAY_MS
_WHOLE = {"policy": "a policy", "policy-tests": "a file of policy tests"}
_AGES = {
    "failed_ttl": "failed_ttl_ms",
    "zombies": "zombies_ms",
    "empty_experiments": "empty_ms",
    "empty_models": "empty_model_ms",
}
_DURATION_KEYS = {*_DURATIONS, *_AGES, "ttl", "within", "max_scan_duration", "max_clock_skew"}


def read_policy_file(path: Path) -> dict[str, Any]:
    """Read a policy file and check it against its schema.

    Raises:
        GcError: the file cannot be read.
        UsageProblem: with the line of each mistake.
    """
    file = read_yaml(path, "policy")
    if found := list(mistakes(file, "policy")) or list(_contradictions(file)):
        raise UsageProblem(
            " ".join(found[:5]),
            hint="mlflow-gc schema policy prints all that a policy can say.",
        )
    document: dict[str, Any] = file.document
    return document


def starter() -> str:
    """Return a commented policy to begin with."""
    return (Path(__file__).parent / "policy_starter.yml").read_text(encoding="utf-8")


def apply_policy(
    document: Mapping[str, Any], policy: Policy, *, ttl_is_default: bool = True
) -> Policy:
    """Return the policy with what a checked document says in it.

    Args:
        document: of a policy file.
        policy: with the values where the file says nothing.
        ttl_is_default: whether the file's default TTL counts; a flag or variable that sets one
            comes before it.
    """
    changes: dict[str, Any] = {
        field: None if document[key] in {NEVER, OFF} else parse_duration(document[key])
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
    defaults = dict(document.get("defaults") or {})
    if not ttl_is_default:
        defaults.pop("ttl", None)
    default = _rule({"name": "default", **defaults}, policy.default)
    owners = document.get("owners") or {}
    return replace(
        policy,
        default=default,
        rules=tuple(_rule(rule, default) for rule in document.get("rules") or ()),
        time_zone=str(document.get("time_zone", policy.time_zone)),
        owners_may_shorten=owners.get("may_shorten", policy.owners_may_shorten),
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


def _rule(document: Mapping[str, Any], base: Rule) -> Rule:
    """Return a rule; what it does not say is as in ``base``.

    A rule that sets only ``ttl`` sets it for failed runs and empty experiments, too; ``never``
    also for zombies and empty models.
    """
    changes: dict[str, Any] = {}
    if "ttl" in document:
        ttl_ms = _age(document["ttl"])
        changes = {"ttl_ms": ttl_ms, "failed_ttl_ms": ttl_ms, "empty_ms": ttl_ms}
        if ttl_ms is None:
            # Never is meant for all that the rule is about, whatever the defaults allow.
            changes |= {"zombies_ms": None, "empty_model_ms": None}
    for key, field in _AGES.items():
        if key in document:
            changes[field] = _age(document[key])
    if "statuses" in document:
        changes["statuses"] = tuple(map(str, document["statuses"]))
    if "keep" in document:
        changes["keep"] = Keep.from_document(document["keep"])
    match = Selector.from_document(document.get("match") or {})
    return replace(base, name=str(document["name"]), match=match, **changes)


def _age(text: str) -> int | None:
    return None if text in {NEVER, OFF} else parse_duration(text)


def warnings(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a checked document says without any effect."""
    default = _rule({"name": "default", **(document.get("defaults") or {})}, Rule.of_days(30))
    floors = document.get("keep_last") or {}
    earlier: list[Rule] = []
    for said in document.get("rules") or ():
        rule = _rule(said, default)
        where = f"rule {rule.name!r}"
        if other := next((r for r in earlier if r.match.covers(rule.match)), None):
            yield f"{where} never matches: {other.name!r} before it matches all that it could"
        earlier.append(rule)
        if idle := _idle_keys(said, rule, default):
            yield f"{where}: {', '.join(idle)} can do nothing for what it is about"
        has_ttl = "ttl" in said or "ttl" in (document.get("defaults") or {})
        if "keep" in said:
            yield from _idle_keeps(where, rule, earlier, floors, has_ttl=has_ttl)
    if "keep" in (document.get("defaults") or {}):
        has_ttl = "ttl" in document["defaults"]
        yield from _idle_keeps("defaults", default, [*earlier, default], floors, has_ttl=has_ttl)


def _idle_keys(said: Mapping[str, Any], rule: Rule, default: Rule) -> list[str]:
    """Return the keys of a rule that set something for what it can never be about."""
    match = rule.match
    of_runs = {*(match.status or (*TERMINAL_STATUSES, *UNFINISHED_STATUSES))}
    if match.is_of_models:
        of_runs = set()
    may_go = of_runs & {*rule.statuses}
    may_be_zombies = bool(of_runs & {*UNFINISHED_STATUSES})
    of_experiments = not match.is_of_models and not match.is_of_runs
    of_models = not match.is_of_experiments
    failed = bool(may_go & {"FAILED", "KILLED"})
    acts = {
        "ttl": "FINISHED" in may_go
        or of_experiments
        or of_models
        or (failed and "failed_ttl" not in said)
        # "never" takes away what the defaults allow.
        or (may_be_zombies and rule.zombies_ms != default.zombies_ms and "zombies" not in said),
        "failed_ttl": failed,
        "statuses": bool(of_runs & {*TERMINAL_STATUSES}),
        "zombies": may_be_zombies,
        "empty_experiments": of_experiments,
        "empty_models": of_models,
    }
    idle = [key for key, works in acts.items() if key in said and not works]
    if match.is_of_models and rule.keep.best and "keep" in said:
        idle.append("keep.best")
    return idle


def _idle_keeps(
    where: str, rule: Rule, until_here: Sequence[Rule], floors: Mapping[str, int], *, has_ttl: bool
) -> Iterator[str]:
    """Yield keep rules that keep nothing that would not stay without them.

    Args:
        where: for people.
        rule: with all that it inherits.
        until_here: the rules up to this one, which is the last of them.
        floors: ``keep_last`` of the policy.
        has_ttl: whether the file sets the TTL, or it comes from elsewhere.
    """
    keep = rule.keep
    yield from _swallowed(where, keep)
    ages = [rule.ttl_ms]
    if not rule.match.is_of_models:
        ages += [rule.failed_ttl_ms, rule.zombies_ms]
    if has_ttl and not any(ages):
        yield f"{where}: never lets anything go, so its keep rules can do nothing"
        return
    if keep.within_ms and has_ttl and all(ms is None or keep.within_ms <= ms for ms in ages):
        yield f"{where}: keep.within keeps only what is too young for its ttl to go anyway"
    groups = [
        *([] if rule.match.is_of_models else ["runs"]),
        *([] if rule.match.is_of_experiments else ["model_versions"]),
    ]
    if all(0 < keep.last <= floors.get(group, 0) for group in groups) and not any(
        # A floor is of a whole experiment or model, last of what the rule is about.
        each.match.is_of_runs or each.match.tags
        for each in until_here
    ):
        yield f"{where}: keep.last keeps no more than keep_last does"


def _swallowed(where: str, keep: Keep) -> Iterator[str]:
    """Yield keep rules that another one of the same rule swallows."""
    told = keep.to_document()
    if keep.last == ALL and len(told) > 1:
        yield f"{where}: keep.last: all keeps everything, the other keep rules can do nothing"
        return
    for fine, coarse, most_in_one in _SWALLOWS:
        many, few = keep.calendar.get(fine, 0), keep.calendar.get(coarse, 0)
        if few and many and (many == ALL or (few != ALL and many >= few * most_in_one)):
            yield (
                f"{where}: keep.{fine}: {told[fine]} keeps all that "
                f"keep.{coarse}: {told[coarse]} would"
            )


# The newest of a month is the newest of its day, too; but not of its week, which may end later.
_SWALLOWS = (
    ("daily", "weekly", 7),
    ("daily", "monthly", 31),
    ("daily", "yearly", 366),
    ("monthly", "yearly", 12),
)


def mistakes(file: YamlFile, name: str) -> Iterator[str]:
    """Yield what a schema does not allow, with lines, in the order of the file.

    Args:
        file: a YAML file.
        name: of the schema, ``policy`` or ``policy-tests``.
    """
    found = [
        (file.line(place), words)
        for error in schema.violations(file.document, name)
        for place, words in _explain(error, name)
    ]
    for line, words in sorted(found):
        yield f"{file.path} line {line}: {words}."


def _contradictions(file: YamlFile) -> Iterator[str]:
    """Yield what is well formed and cannot be meant."""
    document = file.document
    for place, value in _values(document, ()):
        is_duration = isinstance(value, str) and _DURATION.fullmatch(value)
        if place[-1] in _DURATION_KEYS and is_duration and parse_duration(value) > _LONGEST_MS:
            yield f"{file.where(place)}: {place[-1]}: {value} is more than 1,000 years."
    if "time_zone" in document:
        try:
            ZoneInfo(str(document["time_zone"]))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            yield f"{file.where(('time_zone',))}: time_zone: {document['time_zone']!r} is no IANA time zone."
    names: set[str] = set()
    for number, rule in enumerate(document.get("rules") or ()):
        where = file.where(("rules", number))
        name = str(rule["name"])
        if name in names or name == "default":
            yield f"{where}: a second rule is named {name!r}."
        names.add(name)
        match = rule.get("match") or {}
        of_models = sorted({"model", "model_regex"} & set(match))
        others = sorted(
            {"experiment", "experiment_regex", "status", "user", "run_name"} & set(match)
        )
        if of_models and others:
            yield (
                f"{where}: rule {name!r} can never match: {of_models[0]} is about "
                f"models, {others[0]} about runs."
            )
        for key in ("experiment_regex", "model_regex"):
            try:
                re.compile(str(match.get(key, "")))
            except (re.error, OverflowError) as error:
                yield f"{where}: rule {name!r}: {key}: {error}."
            except RecursionError:
                yield f"{where}: rule {name!r}: {key}: it is nested too deeply."


def _values(value: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _values(inner, (*place, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _values(inner, (*place, number))
    elif place:
        yield place, value


def _explain(error: ValidationError, name: str) -> Iterator[tuple[Place, str]]:
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
        missing = error.message.split(" ", 1)[0]  # one error for each missing name
        yield place, f"{'.'.join(parts) or _WHOLE[name]} needs {missing}"
    elif not parts:
        yield (), f"{_WHOLE[name]} is a mapping that begins with version: 1"
    else:
        description = str(rule.get("description", error.message)).rstrip(".")
        yield place, f"{'.'.join(parts)}: {_shown(error.instance)}. {description}"


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(value if not isinstance(value, str) else value[:80])
