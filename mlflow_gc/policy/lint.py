"""Warnings about settings of a policy file that have no effect.

They depend on the file alone.  Rules that match nothing on a server are a diagnostic of the plan
(``unused_rule``).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlflow_gc.domain.timestamps import format_duration, parse_duration
from mlflow_gc.policy.loader import AGES, resolve_rule
from mlflow_gc.retention.keep_rules import ALL, Keep
from mlflow_gc.retention.rules import (
    NEVER,
    OFF,
    TERMINAL_STATUSES,
    UNFINISHED_STATUSES,
    Rule,
    Selector,
    finds,
    has_wildcards,
)

_FAILED = {"FAILED", "KILLED"}
# If two keys have the same effect, the later one is the clearer one.
_KEYS = (
    *("statuses", "failed_ttl", "ttl", "zombies"),
    *("experiments", "empty_experiments", "empty_models"),
)
Json = Mapping[str, Any]


def warnings(document: Json) -> Iterator[str]:
    """Yield settings of a checked document without effect, one sentence each."""
    given_defaults = document.get("defaults") or {}
    given_rules = list(document.get("rules") or ())
    default, rules = _resolved(given_defaults, given_rules)
    min_age_ms = parse_duration(document["min_age"]) if "min_age" in document else 0
    floors = document.get("keep_last") or {}
    may_shorten = (document.get("owners") or {}).get("may_shorten", True)

    def ages(about: Sequence[tuple[Json, Rule]]) -> list[tuple[int | None, bool]]:
        return [
            age
            for given, rule in about
            for age in _ages(rule, {*given_defaults, *given}, may_shorten=may_shorten)
        ]

    for number, (given, rule) in enumerate(zip(given_rules, rules, strict=True)):
        where = f"rule {rule.name!r}"
        shadow = next((r for r in rules[:number] if r.match.covers(rule.match)), None)
        if shadow:
            yield f"{where} never matches: {shadow.name!r} before it matches all that it could"
        elif rule is rules[-1] and given.keys() <= {"name", "match"} and default.keep.is_empty:
            # With keep rules it would form a group of its own.
            yield f"{where} sets nothing, and no rule follows it"
        yield from _contradicting(where, rule.match)
        if idle := _idle_keys(given, rule, default):
            yield f"{where}: {', '.join(idle)} {'has' if len(idle) == 1 else 'have'} no effect on what the rule applies to"
        yield from _too_short(where, given, min_age_ms)
        yield from _emptied(where, given, rule)
        if "keep" in given:
            until_here = rules[: number + 1]
            own = ages([(given, rule)])
            yield from _idle_keeps(where, rule, until_here, floors, own, min_age_ms)
    for key in _idle_defaults(given_defaults, given_rules):
        yield f"defaults: {key} has no effect with the statuses and ages there"
    yield from _too_short("defaults", given_defaults, min_age_ms)
    yield from _emptied("defaults", given_defaults, default)
    if "keep" in given_defaults:
        # They also apply to the rules without keep rules.
        inheriting = [
            (given, rule)
            for given, rule in zip(given_rules, rules, strict=True)
            if "keep" not in given
        ]
        all_ages = ages([(given_defaults, default), *inheriting])
        yield from _idle_keeps("defaults", default, [*rules, default], floors, all_ages, min_age_ms)
    yield from _idle_owners(document.get("owners") or {})
    yield from _idle_floors(floors)
    yield from _idle_guards(document.get("guards") or {}, [*rules, default])


def _resolved(given_defaults: Json, given_rules: Sequence[Json]) -> tuple[Rule, list[Rule]]:
    """Return the defaults as a rule, and the rules with inherited values."""
    default = resolve_rule({"name": "default", **given_defaults}, Rule.of_days(30))
    return default, [resolve_rule(each, default) for each in given_rules]


def _contradicting(where: str, match: Selector) -> Iterator[str]:
    for name, glob, pattern in (
        ("experiment", match.experiment, match.experiment_regex),
        ("model", match.model, match.model_regex),
    ):
        is_one = glob is not None and not has_wildcards(glob)
        if is_one and pattern is not None and not finds(pattern, str(glob)):
            yield f"{where} never matches: {name}_regex does not find {name}: {glob!r}"


def _too_short(where: str, given: Json, min_age_ms: int) -> Iterator[str]:
    """Yield ages that are shorter than ``min_age``."""
    for key in ("ttl", *AGES):
        text = given.get(key, NEVER)
        if text not in {NEVER, OFF} and parse_duration(text) < min_age_ms:
            floor = format_duration(min_age_ms)
            yield f"{where}: {key}: {text} is shorter than min_age: {floor}, which counts"


def _emptied(where: str, given: Json, rule: Rule) -> Iterator[str]:
    """Yield an age of experiments that is overridden once their runs are deleted."""
    own, empty = rule.experiments_ms, rule.empty_ms
    if not {"experiments", "empty_experiments"} <= given.keys() or empty is None:
        return
    if own is None or own > empty:
        yield (
            f"{where}: experiments: {given['experiments']} protects an experiment only until its runs "
            f"are deleted, then empty_experiments: {given['empty_experiments']} counts"
        )


def _idle_owners(owners: Json) -> Iterator[str]:
    """Yield owner settings without effect because no tag may shorten an age."""
    if not owners.get("may_shorten", True):
        for key in ("may_shorten_irreversible", "shortest_ttl"):
            if owners.get(key):
                yield f"owners.{key} has no effect with may_shorten: false"


def _statuses(match: Selector) -> set[str]:
    """Return the statuses of the runs that a selector can match."""
    if match.is_of_models:
        return set()
    return {*(match.status or (*TERMINAL_STATUSES, *UNFINISHED_STATUSES))}


def _acts(given: Json, rule: Rule, default: Rule) -> dict[str, bool]:
    """Return, for each key of a rule, whether it can have an effect."""
    match = rule.match
    of_runs = _statuses(match)
    deletable = of_runs & {*rule.statuses}
    may_be_abandoned = bool(of_runs & {*UNFINISHED_STATUSES})
    of_experiments = not match.is_of_models and not match.is_of_runs
    of_models = not match.is_of_experiments
    failed = bool(deletable & _FAILED)
    return {
        "ttl": "FINISHED" in deletable
        or (of_experiments and not {"experiments", "empty_experiments"} <= given.keys())
        or of_models
        or (failed and "failed_ttl" not in given)
        # "never" disables what the defaults allow.
        or (
            may_be_abandoned
            and rule.abandoned_ms != default.abandoned_ms
            and "zombies" not in given
        ),
        "failed_ttl": failed,
        "statuses": ("FINISHED" in of_runs and rule.ttl_ms is not None)
        or (bool(of_runs & _FAILED) and rule.failed_ttl_ms is not None),
        "zombies": may_be_abandoned,
        "experiments": of_experiments,
        "empty_experiments": of_experiments,
        "empty_models": of_models,
    }


def _idle_keys(given: Json, rule: Rule, default: Rule) -> list[str]:
    """Return the keys of a rule that concern entities it can never match.

    All of them can be removed together: of two keys with the same effect only one is returned.
    """
    idle: list[str] = []
    left = dict(given)
    for key in _KEYS:
        if key in left and not _acts(left, resolve_rule(left, default), default)[key]:
            idle.append(key)
            del left[key]
    if rule.match.is_of_models and rule.keep.best and "keep" in given:
        idle.append("keep.best")
    return idle


def _idle_defaults(given_defaults: Json, given_rules: Sequence[Json]) -> Iterator[str]:
    """Yield the keys of the defaults that affect neither the defaults nor any rule."""
    left = dict(given_defaults)
    for key, overruled_by in (("statuses", {"statuses"}), ("failed_ttl", {"failed_ttl", "ttl"})):
        default, rules = _resolved(left, given_rules)
        inheriting = [
            (w, r) for w, r in zip(given_rules, rules, strict=True) if not overruled_by & w.keys()
        ]
        if key in left and not any(
            _acts(given, rule, default)[key] for given, rule in [(left, default), *inheriting]
        ):
            yield key
            del left[key]


def _idle_keeps(
    where: str,
    rule: Rule,
    until_here: Sequence[Rule],
    floors: Mapping[str, int],
    ages: Sequence[tuple[int | None, bool]],
    min_age_ms: int,
) -> Iterator[str]:
    """Yield keep rules whose winners would be retained without them.

    Args:
        where: for people.
        rule: with inherited values.
        until_here: the rules up to and including this one.
        floors: ``keep_last`` of the policy.
        ages: from which matching entities can be deleted, ms, and whether the file alone sets them.
        min_age_ms: ``min_age`` of the policy.
    """
    keep = rule.keep
    yield from _redundant(where, keep)
    if all(is_known and ms is None for ms, is_known in ages):
        yield f"{where}: never deletes anything, so its keep rules have no effect"
        return
    if 0 < keep.within_ms <= min_age_ms:
        yield f"{where}: keep.within retains only what min_age retains anyway"
    elif keep.within_ms and all(
        is_known and (ms is None or keep.within_ms <= ms) for ms, is_known in ages
    ):
        yield f"{where}: keep.within retains only what is too young for its ttl anyway"
    yield from _below_floors(where, rule, until_here, floors)


def _below_floors(
    where: str, rule: Rule, until_here: Sequence[Rule], floors: Mapping[str, int]
) -> Iterator[str]:
    """Yield keep rules that keep no more than ``keep_last``; arguments of :func:`_idle_keeps`."""
    if any(each.match.is_of_runs or each.match.tags for each in until_here):
        # ``keep_last`` counts in a whole experiment or model, a rule in what it matches.
        return
    keep, match = rule.keep, rule.match
    runs, versions = floors.get("runs", 0), floors.get("model_versions", 0)
    if (
        0
        < keep.last
        <= min(
            sys.maxsize if match.is_of_models else runs,
            sys.maxsize if match.is_of_experiments else versions,
        )
    ):
        yield f"{where}: keep.last retains no more than keep_last does"
    elif match.is_of_models:
        for key, count in {"last": keep.last, **keep.calendar}.items():
            if count == 1:
                yield f"{where}: keep.{key} retains no more than the highest version, which is never deleted"


def _ages(rule: Rule, known: set[str], *, may_shorten: bool) -> Iterator[tuple[int | None, bool]]:
    """Yield the ages from which a rule deletes, and whether the file alone sets them.

    Args:
        rule: with inherited values.
        known: the keys that the file sets for it.
        may_shorten: whether a tag may shorten an age; never is final.
    """
    of_runs = _statuses(rule.match)
    deletable = of_runs & {*rule.statuses}
    if "FINISHED" in deletable or not rule.match.is_of_experiments:
        yield rule.ttl_ms, "ttl" in known and (rule.ttl_ms is None or not may_shorten)
    if deletable & _FAILED:
        is_given = bool({"ttl", "failed_ttl"} & known)
        yield rule.failed_ttl_ms, is_given and (rule.failed_ttl_ms is None or not may_shorten)
    if of_runs & {*UNFINISHED_STATUSES}:
        yield rule.abandoned_ms, True


def _redundant(where: str, keep: Keep) -> Iterator[str]:
    """Yield keep rules that another one of the same rule makes redundant."""
    document = keep.to_document()
    if keep.last == ALL and len(document) > 1:
        yield f"{where}: keep.last: all retains everything, the other keep rules have no effect"
        return
    counts = {key: document[key] for key in ("last", *keep.calendar) if key in document}
    found = {coarse: fine for fine, coarse in _finer(keep)}
    # A count of one keeps only the newest, which all the others keep, too.
    most = next((key for key, n in counts.items() if n != 1), next(iter(counts), ""))
    found |= {key: most for key, n in counts.items() if n == 1 and key != most and key not in found}
    for key in (key for key in counts if key in found):
        yield (
            f"{where}: keep.{found[key]}: {document[found[key]]} keeps all that "
            f"keep.{key}: {document[key]} would"
        )
    for number, best in enumerate(keep.best):
        for other_number, other in enumerate(keep.best):
            is_more = (other.count, -other_number) > (best.count, -number)
            if (other.metric, other.mode) == (best.metric, best.mode) and is_more:
                yield (
                    f"{where}: keep.best: count {other.count} of {best.mode} {best.metric!r} "
                    f"keeps all that count {best.count} would"
                )
                break


# The maximum number of days in a week, a month, and so on.  The newest of a month is the newest of
# its day, too, but not of its week, which may end later.
_MOST_IN_ONE = (
    ("daily", "weekly", 7),
    ("daily", "monthly", 31),
    ("daily", "yearly", 366),
    ("monthly", "yearly", 12),
)


def _finer(keep: Keep) -> Iterator[tuple[str, str]]:
    """Yield pairs of calendar rules, the first of which keeps all winners of the second.

    Everything before the newest of the third week lies in two weeks, which have at most 14 days: 15
    days reach it.
    """
    for fine, coarse, most_in_one in _MOST_IN_ONE:
        many, few = keep.calendar.get(fine, 0), keep.calendar.get(coarse, 0)
        if few and many and (many == ALL or (few != ALL and many > (few - 1) * most_in_one)):
            yield fine, coarse


def _idle_floors(floors: Mapping[str, int]) -> Iterator[str]:
    for group, count in floors.items():
        if count == 0:
            yield f"keep_last.{group}: 0 keeps nothing"
    if floors.get("model_versions") == 1:
        yield "keep_last.model_versions: 1 retains only the highest version, which is never deleted"


def _idle_guards(guards: Json, rules: Sequence[Rule]) -> Iterator[str]:
    """Yield guards that no plan can exceed, or only together with another one."""
    limits: Mapping[str, int] = guards.get("max_deletions") or {}
    shares: Mapping[str, str] = guards.get("max_share") or {}
    total = limits.get("total")
    for key, most in limits.items():
        if key != "total" and total is not None and most >= total:
            yield f"guards.max_deletions.{key}: {most} stops nothing that total: {total} does not"
    for key, share in shares.items():
        if share == "100%":
            yield f"guards.max_share.{key}: 100% stops nothing"
    if all(rule.empty_model_ms is None for rule in rules):
        for name, given in (("max_deletions", limits), ("max_share", shares)):
            if "registered_models" in given:
                yield f"guards.{name}.registered_models stops nothing: empty_models is off"
