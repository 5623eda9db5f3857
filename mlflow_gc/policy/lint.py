"""Warnings about settings of a policy file that have no effect.

They depend on the file alone.  Rules that match nothing on a server are a diagnostic of the plan
(``unused_rule``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlflow_gc.domain.entities import TERMINAL_STATUSES
from mlflow_gc.domain.timestamps import format_duration, parse_duration
from mlflow_gc.retention.keep_rules import ALL, Keep
from mlflow_gc.retention.rules import (
    AGES,
    NEVER,
    OFF,
    UNFINISHED_STATUSES,
    Rule,
    Selector,
    finds,
    has_wildcards,
)

Json = Mapping[str, Any]


def warnings(document: Json) -> Iterator[str]:
    """Yield settings of a checked document without effect, one sentence each."""
    given_defaults = document.get("defaults") or {}
    default = Rule.from_document({"name": "default", **given_defaults}, Rule.of_days(30))
    min_age_ms = parse_duration(document["min_age"]) if "min_age" in document else 0
    before: list[Rule] = []
    for given in document.get("rules") or ():
        rule = Rule.from_document(given, default)
        where = f"rule {rule.name!r}"
        if shadow := next((r for r in before if r.match.covers(rule.match)), None):
            yield f"{where} never matches: {shadow.name!r} before it matches all that it could"
        before.append(rule)
        yield from _contradicting(where, rule.match)
        if idle := _idle_keys(given, rule, default):
            yield f"{where}: {', '.join(idle)} {'has' if len(idle) == 1 else 'have'} no effect on what the rule applies to"
        yield from _of_ages_and_keep(where, given, rule, min_age_ms)
    yield from _of_ages_and_keep("defaults", given_defaults, default, min_age_ms)
    yield from _idle_owners(document.get("owners") or {})
    for group, count in (document.get("keep_last") or {}).items():
        if count == 0:
            yield f"keep_last.{group}: 0 keeps nothing"
    yield from _idle_guards(document.get("guards") or {})


def _of_ages_and_keep(where: str, given: Json, rule: Rule, min_age_ms: int) -> Iterator[str]:
    yield from _too_short(where, given, min_age_ms)
    yield from _emptied(where, given, rule)
    if "keep" in given:
        yield from _redundant(where, rule.keep, min_age_ms)


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


def _idle_keys(given: Json, rule: Rule, default: Rule) -> list[str]:
    """Return the keys of a rule that concern entities it can never match."""
    match = rule.match
    statuses = {*(match.status or (*TERMINAL_STATUSES, *UNFINISHED_STATUSES))}
    of_runs = set() if match.is_of_models else statuses
    deletable = of_runs & {*rule.statuses}
    failed = bool(deletable & {"FAILED", "KILLED"})
    may_be_abandoned = bool(of_runs & {*UNFINISHED_STATUSES})
    of_experiments = not match.is_of_models and not match.is_of_runs
    acts = {
        "ttl": not match.is_of_runs
        or "FINISHED" in deletable
        or (failed and "failed_ttl" not in given)
        # "never" disables what the defaults allow.
        or (
            may_be_abandoned
            and rule.abandoned_ms != default.abandoned_ms
            and "zombies" not in given
        ),
        "failed_ttl": failed,
        "statuses": bool(of_runs & {*TERMINAL_STATUSES}),
        "zombies": may_be_abandoned,
        "experiments": of_experiments,
        "empty_experiments": of_experiments,
        "empty_models": not match.is_of_experiments,
    }
    idle = [key for key, acts_on_some in acts.items() if key in given and not acts_on_some]
    if match.is_of_models and rule.keep.best and "keep" in given:
        idle.append("keep.best")
    return idle


# The maximum number of days in a week, a month, and so on.  The newest of a month is the newest of
# its day, too, but not of its week, which may end later.
_MOST_IN_ONE = (
    ("daily", "weekly", 7),
    ("daily", "monthly", 31),
    ("daily", "yearly", 366),
    ("monthly", "yearly", 12),
)


def _redundant(where: str, keep: Keep, min_age_ms: int) -> Iterator[str]:
    """Yield keep rules that ``min_age`` or another keep rule of the same rule makes redundant."""
    if 0 < keep.within_ms <= min_age_ms:
        yield f"{where}: keep.within retains only what min_age retains anyway"
    document = keep.to_document()
    if keep.last == ALL and len(document) > 1:
        yield f"{where}: keep.last: all retains everything, the other keep rules have no effect"
        return
    finer = {}
    for fine, coarse, most_in_one in _MOST_IN_ONE:
        many, few = keep.calendar.get(fine, 0), keep.calendar.get(coarse, 0)
        # Everything before the newest of the third week lies in two weeks, which have at most 14
        # days: 15 days reach it.
        if few and many and (many == ALL or (few != ALL and many > (few - 1) * most_in_one)):
            finer[coarse] = fine
    for coarse, fine in finer.items():
        yield (
            f"{where}: keep.{fine}: {document[fine]} keeps all that "
            f"keep.{coarse}: {document[coarse]} would"
        )
    for best in keep.best:
        alike = (b.count for b in keep.best if (b.metric, b.mode) == (best.metric, best.mode))
        if best.count < (most := max(alike)):
            yield (
                f"{where}: keep.best: count {most} of {best.mode} {best.metric!r} "
                f"keeps all that count {best.count} would"
            )


def _idle_guards(guards: Json) -> Iterator[str]:
    """Yield guards that no plan can exceed, or only together with another one."""
    limits: Mapping[str, int] = guards.get("max_deletions") or {}
    total = limits.get("total")
    for key, most in limits.items():
        if key != "total" and total is not None and most >= total:
            yield f"guards.max_deletions.{key}: {most} stops nothing that total: {total} does not"
    for key, share in (guards.get("max_share") or {}).items():
        if share == "100%":
            yield f"guards.max_share.{key}: 100% stops nothing"
