"""A resolved policy in English, from the ``policy`` object of a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from mlflow_gc.domain.quantities import number_of, size_of
from mlflow_gc.render.common.lines import listed
from mlflow_gc.retention.rules import DEFAULT_PURGE_AFTER_MS, NEVER, OFF, SCOPES, format_age

_UNITS = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week"}
_BUCKETS = {"daily": "days", "weekly": "ISO weeks", "monthly": "months", "yearly": "years"}

_DIGEST = len("sha256:") + 12

Json = Mapping[str, Any]


def ages(policy: Json) -> str:
    """Return the default TTL, in one line."""
    ttl = policy["default"]["ttl"]
    if ttl == NEVER:
        return "TTL never: by default nothing is stale"
    return f"TTL {span(ttl)}: last activity before {policy['cutoff']}"


def times_in_trash(policy: Json) -> str:
    """Return the default time in the trash after which something is purged, in one line."""
    after = _purge_after(policy["default"])
    if after == NEVER:
        return "purge_after never: by default nothing is purged"
    return f"in the trash for longer than {after}"


def source(found: Json | None) -> str:
    """Return a sentence about the ``policy_source`` of a plan; plans before 1.1 have none."""
    if found is None:
        return "Policy file: this plan does not say."
    if found["path"] is None:
        return "No policy file; the defaults apply."
    return f"Policy file {found['path']} ({(found['digest'] or '')[:_DIGEST]})."


def limits(policy: Json) -> Iterator[str]:
    """Yield the settings besides the TTL, a line each, for the head of a plan."""
    rules = policy["rules"]
    if "purge" in policy:
        if rules:
            shown = (f"{rule['name']} ({_purge_after(rule)})" for rule in rules)
            yield "Rules (the first match applies): " + "; ".join(shown)
        yield from _limits_of_purge(policy)
        return
    if rules:
        yield "Rules (the first match applies): " + "; ".join(_short(rule) for rule in rules)
    if keeps := list(_keeps(policy["default"]["keep"])):
        yield "Always retained by default: " + listed(keeps) + "."
    if policy["grace"] != OFF:
        yield _grace(policy)
    yield from _floors(policy)


def explain(policy: Json) -> Iterator[str]:
    """Yield the whole policy in English, line by line; of a purge plan what concerns a purge."""
    if "purge" in policy:
        yield from _explain_purge(policy)
        return
    yield "An entity without activity for the time below is stale, and is deleted unless something protects it."
    yield ""
    yield from _by_rule(policy, _rule)
    yield ""
    yield "Owners"
    yield f"  Whatever has the tag {policy['keep_tag']} is retained, with everything in it."
    yield from (f"  {line}" for line in _ttl_tags(policy))
    yield ""
    yield "Limits"
    yield from (f"  {line}" for line in _floors(policy))
    if policy["grace"] != OFF:
        yield f"  {_grace(policy)}"
    if policy["evaluation_runs"] != "delete":
        yield "  Evaluation runs are retained: their assessments would be lost permanently."
    if policy.get("free_experiment_names", False):
        yield "  Deleted experiments are renamed, so that their names are free."
    yield f"  {_expiry(policy)}"
    yield f"  Days, weeks, months and years are those of {policy['time_zone']}."


def _by_rule(policy: Json, describe: Callable[[Json, Json], Iterable[str]]) -> Iterator[str]:
    """Yield what is described of the default rule and of each rule, with what it matches."""
    rules = policy["rules"]
    yield "Where no rule matches" if rules else "Everything"
    yield from (f"  {line}" for line in describe(policy["default"], {}))
    if rules:
        yield ""
        yield "Rules (the first match applies)"
    for number, rule in enumerate(rules, 1):
        yield f"  {number}. {rule['name']}: {subject(rule['match'])}"
        yield from (f"     {line}" for line in describe(rule, rule["match"]))


def _explain_purge(policy: Json) -> Iterator[str]:
    yield "What has been in the trash for longer than the time below is purged, unless something protects it."
    yield ""
    yield from _by_rule(policy, lambda rule, _match: [_purge_after(rule)])
    yield ""
    yield "Owners"
    yield f"  Whatever has the tag {policy['keep_tag']} is retained, with everything in it."
    yield ""
    yield "Limits"
    yield from (f"  {line}" for line in _limits_of_purge(policy))
    yield f"  {_expiry(policy)}"


def _purge_after(rule: Json) -> str:
    after = rule.get("purge_after", format_age(DEFAULT_PURGE_AFTER_MS))
    return "never" if after == NEVER else span(after)


def _limits_of_purge(policy: Json) -> Iterator[str]:
    purge = policy["purge"]
    if purge["keep"] != "nothing":
        deleted = "files" if purge["keep"] == "rows" else "rows of the database"
        yield f"Only {deleted} are deleted."
    if purge["unknown_since"]:
        yield f"Runs without a deletion time count as deleted at {purge['unknown_since']}."
    if purge["orphans_after"]:
        age = span(purge["orphans_after"])
        yield f"Files of what no longer exists are deleted after {age}, and links to it."
    if purge.get("tombstones"):
        yield "The rows that MLflow keeps of deleted model versions are deleted."
    guards = [f"{key} {n:,}" for key, n in policy["guards"]["max_deletions"].items()]
    if purge["max_bytes"] is not None:
        guards.append(f"{size_of(purge['max_bytes'])} of files")
    guards.append(f"{purge['max_share_percent']} % of all runs, logged models and experiments")
    yield "Guards: at most " + ", ".join(guards)


def _expiry(policy: Json) -> str:
    expiry = policy["expire_after"]
    return f"A plan can be applied {'for ever' if expiry == NEVER else f'for {span(expiry)}'}."


def _ttl_tags(policy: Json) -> Iterator[str]:
    """Yield what TTL tags may set."""
    if not policy["owners_may_shorten"]:
        yield "A tag mlflow_gc.ttl may ask for more than the times above, never for less."
    else:
        # Plans before 1.1 lack these settings; prune uses the defaults.
        shortest = span(policy.get("owners_shortest_ttl", "7d"))
        yield "A tag mlflow_gc.ttl may ask for more than the times above."
        if policy.get("owners_may_shorten_irreversible", False):
            yield f"It may ask for less, down to {shortest}, also where a deletion is irreversible."
        else:
            yield f"It may ask for less, down to {shortest}, where a deletion can be undone;"
            yield "never for model versions, registered models and evaluation runs."
    yield 'It changes nothing where these say "never".'


def subject(match: Json) -> str:
    """Return what a selector matches, as text."""
    scope, experiments = _scope(match), list(_names(match, "experiment"))
    if scope == "runs":
        within = [f"in experiments {listed(experiments)}"] if experiments else []
        what = "runs" + _listed([*_of_the_run(match), *within])
    elif scope == "models":
        what = f"registered models{_listed(list(_names(match, 'model')))}, and their versions"
    elif scope == "experiments":
        what = f"experiments{_listed(experiments)}, and their runs"
    else:
        what = "experiments, runs, registered models and their versions"
    anywhere = [
        f"with a tag {key}" if value == "*" else f"with the tag {key}={value}"
        for key, value in match.get("tags", {}).items()
    ]
    if "workspace" in match:
        anywhere.append(f"in workspace {match['workspace']}")
    return what + (f"; {listed(anywhere)}" if anywhere else "")


def span(text: str) -> str:
    """Return ``90 days`` for ``90d``."""
    number, unit = int(text[:-1]), _UNITS[text[-1]]
    return number_of(number, unit, f"{unit}s")


def _scope(match: Json) -> str:
    """Return what a selector is about: runs, models, experiments, or all of them."""
    for scope, keys in SCOPES.items():
        if not match.keys().isdisjoint(keys):
            return scope
    return ""


def _names(match: Json, kind: str) -> Iterator[str]:
    if kind in match:
        yield f"named {match[kind]}"
    if f"{kind}_regex" in match:
        yield f"whose name matches {match[f'{kind}_regex']}"


def _of_the_run(match: Json) -> Iterator[str]:
    if "status" in match:
        yield f"that are {listed(match['status'], 'or')}"
    if "run_name" in match:
        yield f"named {match['run_name']}"
    if "user" in match:
        yield f"of user {match['user']}"


def _rule(rule: Json, match: Json) -> Iterator[str]:
    """Yield the ages of a rule, for the kinds that it can match, and its keep rules."""
    scope = _scope(match)
    times: list[tuple[str, str]] = []
    if scope != "models":
        times += _times_of_runs(rule, match)
    if scope in {"", "experiments"}:
        own = rule.get("experiments", rule["ttl"])
        if own == rule["empty_experiments"]:
            times.append(("experiments (once all their runs are deleted)", own))
        else:
            times.append(("experiments with runs (once all of these are deleted)", own))
            times.append(("experiments without runs", rule["empty_experiments"]))
    if scope in {"", "models"}:
        times.append(("model versions", rule["ttl"]))
        times.append(("registered models without versions", rule["empty_models"]))
    by_age: dict[str, list[str]] = {}
    for what, age in times:
        by_age.setdefault("never" if age in {NEVER, OFF} else span(age), []).append(what)
    if list(by_age) == ["never"]:
        yield "never: all of it is retained"
        return
    for age, whats in by_age.items():
        yield f"{age}: {', '.join(whats)}"
    keeps = list(_keeps(rule["keep"]))
    if keeps:
        group = {"": "experiment and model", "models": "model"}.get(scope, "experiment")
        yield f"Always retained, per {group}:"
        yield from (f"  {line}" for line in keeps)


def _times_of_runs(rule: Json, match: Json) -> Iterator[tuple[str, str]]:
    by_age: dict[str, list[str]] = {}
    for status in match.get("status") or ["FINISHED", "FAILED", "KILLED", "RUNNING", "SCHEDULED"]:
        if status in {"RUNNING", "SCHEDULED"}:
            age = NEVER if rule["zombies"] == OFF else rule["zombies"]
        elif status in rule["statuses"]:
            age = rule["ttl"] if status == "FINISHED" else rule["failed_ttl"]
        else:
            age = NEVER
        by_age.setdefault(age, []).append(status)
    for age, statuses in by_age.items():
        yield f"{listed(statuses)} runs", age


def _keeps(keep: Json) -> Iterator[str]:
    if "last" in keep:
        yield "all" if keep["last"] == "all" else f"the newest {keep['last']:,}"
    counted = [
        _so_many(keep[name], noun)
        for name, noun in _BUCKETS.items()
        if isinstance(keep.get(name), int)
    ]
    if counted:
        yield f"the newest of each of the last {listed(counted)} that have something"
    if always := [noun for name, noun in _BUCKETS.items() if keep.get(name) == "all"]:
        yield f"the newest of each of all {listed(always)}"
    if "within" in keep:
        yield f"what was active within {span(keep['within'])}"
    for best in keep.get("best", ()):
        end = "highest" if best["mode"] == "max" else "lowest"
        yield f"the {best['count']:,} with the {end} {best['metric']} (runs only)"


def _so_many(number: Any, noun: str) -> str:
    # A newer version may have any value here.
    shown = f"{number:,}" if isinstance(number, int) else number
    return f"{shown} {noun.removesuffix('s') if number == 1 else noun}"


def _grace(policy: Json) -> str:
    return f"Only what mlflow-gc mark announced {span(policy['grace'])} before is deleted."


def _floors(policy: Json) -> Iterator[str]:
    if int(policy["min_age"][:-1]):
        yield f"Nothing younger than {span(policy['min_age'])} is deleted."
    last = {k.replace("_", " "): n for k, n in policy["keep_last"].items() if n}
    if last:
        yield "Always retained, the newest of each group: " + ", ".join(
            _so_many(n, k) for k, n in last.items()
        )
    if policy["evaluation_runs"] == "delete":
        yield "Evaluation runs are deleted; their assessments are lost permanently."
    guards = [f"{key} {n:,}" for key, n in policy["guards"]["max_deletions"].items()]
    guards += [f"{key} {n} %" for key, n in policy["guards"]["max_share_percent"].items()]
    if guards:
        yield "Guards: at most " + ", ".join(guards)
    if policy["accept_partial_view"]:
        yield "A partial view of the server was accepted."


def _short(rule: Json) -> str:
    keeps = ", ".join(rule["keep"])
    ttl = rule["ttl"]
    return f"{rule['name']} ({ttl}{f', keeps {keeps}' if keeps else ''})"


def _listed(parts: Sequence[str]) -> str:
    return f" {' '.join(parts)}" if parts else ""
