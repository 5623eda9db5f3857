"""The difference of two plans as text, on a terminal or in a job's log.

The most important parts come first: another server, another policy, the numbers, and new
irreversible deletions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import orjson

from mlflow_gc.domain.kinds import KINDS, action_of, kinds_of
from mlflow_gc.domain.timestamps import parse_time
from mlflow_gc.invocation import command, file_argument
from mlflow_gc.plan.document import Plan
from mlflow_gc.plan.preconditions import DIGESTS
from mlflow_gc.plan.verification import Applicability
from mlflow_gc.render.common import policy_sentences
from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.common.grouped import Entity, numbers, section
from mlflow_gc.render.common.lines import Column, counted, line, rows, table
from mlflow_gc.render.common.plan_summary import fate_of_names
from mlflow_gc.render.common.reason_text import protection_text

if TYPE_CHECKING:
    from rich.console import Console

STDIN = "-"
"""The path of a plan from stdin, which no other command can read again."""

_VALUE = 80
NUMBERS = ("base", "head", "added", "removed", "changed")
# New deletions, the riskiest first; then withdrawn ones, the most certain first.
ADDED = {
    "protection_lost": "protected before",
    "another": "another one under the same id",
    "appeared": "not there before",
    "became_stale": "became stale",
}
REMOVED = {
    "protection_gained": "protected now",
    "in_use": "no longer stale",
    "another": "gone, another one has the id",
    "gone": "gone, or in the trash",
    "unknown": "no longer stale, or gone (the plan does not tell)",
}


def diff(
    changes: dict[str, Any],
    later: Applicability,
    console: Console,
    *,
    plan: Plan | None = None,
    base: str = "BASE",
    head: str = "HEAD",
    everything: bool = False,
) -> None:
    """Print the result of :func:`mlflow_gc.plan.diff.diff_plans`.

    ``plan`` is the later plan; ``base`` and ``head`` are the paths, for the next commands.
    """
    if not changes["different"]:
        line(console, "No differences.")
        return
    line(console, f"From {base} to {head} of {changes['head']['tracking_uri']}", "bold")
    for sentence, style in comparison_warnings(changes):
        line(console, sentence, style)
    for sentence in policy_files(changes):
        line(console, sentence)
    for title, fields in (("server", "server"), ("policy", "policy"), ("plan", "state")):
        for field in without_echoes(changes[fields]):
            line(console, f"! {title} {change(field, everything=everything)}", "yellow")
    for title, key in (("new warning", "added"), ("no more warning", "removed")):
        for diagnostic in changes["diagnostics"][key]:
            line(console, f"! {title} {diagnostic['code']}: {diagnostic['message']}", "yellow")
    _numbers(changes, console)
    if names := names_of_experiments(changes, plan):
        line(console, names)
    _legend(changes, console)
    _entities(changes, console, everything=everything)
    _protected(changes, console, everything=everything)
    _next(changes, later, console, head, plan)


def names_of_experiments(changes: dict[str, Any], plan: Plan | None) -> str | None:
    """Return what happens to the names of experiments that only the later plan deletes."""
    return fate_of_names(plan) if plan and changes["experiments"]["added"] else None


def policy_files(changes: dict[str, Any]) -> list[str]:
    """Return the policy file of the later plan, and that of the earlier one if it differs."""
    before, after = (changes[side]["policy_source"] for side in ("base", "head"))
    sentences = [policy_sentences.source(after)]
    return (
        sentences if before == after else [f"Before: {policy_sentences.source(before)}", *sentences]
    )


def comparison_warnings(changes: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield warnings about the comparison as a whole, with a style."""
    if not changes["same_server"]:
        yield "THESE PLANS WERE MADE FOR DIFFERENT SERVERS: equal ids mean nothing.", "bold red"
    for side, name in (("base", "The earlier plan"), ("head", "The later plan")):
        if changes[side]["edited"]:
            yield f"{name} was edited after it was made: prune refuses it.", "bold red"
        if not changes[side]["complete"]:
            yield f"{name} is incomplete: its scan was incomplete.", "bold red"
    if parse_time(changes["head"]["as_of"]) < parse_time(changes["base"]["as_of"]):
        as_of = f"as of {changes['head']['as_of']}, before {changes['base']['as_of']}"
        yield f"The later plan is the older one: {as_of}.", "bold yellow"


def without_echoes(fields: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return changed fields without redundant ones."""
    fields = list(fields)
    known = {(f["field"], str(f["old"]), str(f["new"])) for f in fields}
    names = {field["field"] for field in fields}
    lists_tags = any(name.startswith("tags.") or name == "description" for name in names)

    def is_echo(field: dict[str, Any]) -> bool:
        name = field["field"]
        inner = name.removeprefix("expect.")
        if inner == "tags_digest":
            return lists_tags
        if inner != name:
            return (inner, str(field["old"]), str(field["new"])) in known
        # The default rule contains these, too.
        return (name == "ttl_days" and "default.ttl" in names) or (
            name == "run_statuses" and "default.statuses" in names
        )

    return [field for field in fields if not is_echo(field)]


def change(field: dict[str, Any], *, everything: bool = False) -> str:
    """Return ``status: FINISHED -> FAILED``."""
    name = field["field"].removeprefix("expect.")
    if name == "tags_digest":
        # Digests are unreadable.  That of a run is over its name, too.
        return "tags (or name) changed"
    if name in DIGESTS:
        return f"{DIGESTS[name]} changed"
    most = None if everything else _VALUE
    old, new = (plain(format_value(field[key]), most=most) for key in ("old", "new"))
    return f"{plain(name)}: {old} -> {new}"


def format_value(value: Any) -> str:
    """Return a value of a plan as text for people."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value or "empty"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {format_value(inner)}" for key, inner in value.items()) or "none"
    return orjson.dumps(value).decode()


def _numbers(changes: dict[str, Any], console: Console) -> None:
    summary = changes["summary"]
    head = ("to delete", "before", "after", "new", "withdrawn", "changed")
    table(console, [head, *numbers(summary, NUMBERS)])
    before, after = (sum(summary[k][side] for k in kinds_of(changes)) for side in ("base", "head"))
    lost = summary["irreversible"]
    line(
        console,
        f"Total: {before:,} -> {after:,} deletions ({after - before:+,}), of which "
        f"{lost['base']:,} -> {lost['head']:,} cannot be undone ({lost['head'] - lost['base']:+,}).",
        "bold",
    )


def _legend(changes: dict[str, Any], console: Console) -> None:
    """Print the meaning of the signs in front of the lines."""
    signs = {
        "- new deletion": any(
            e["reversible"] for k in kinds_of(changes) for e in changes[k]["added"]
        ),
        "! new deletion, irreversible": bool(changes["summary"]["irreversible"]["added"]),
        "= no longer to delete": any(changes[kind]["removed"] for kind in kinds_of(changes)),
        "~ changed": any(changes[kind]["changed"] for kind in kinds_of(changes)),
    }
    if shown := [sign for sign, is_used in signs.items() if is_used]:
        line(console, "    ".join(shown), "dim")


def _entities(changes: dict[str, Any], console: Console, *, everything: bool) -> None:
    for undo, sign, style in ((", CANNOT BE UNDONE", "!", "bold red"), ("", "-", "red")):
        for category, how in ADDED.items():
            lists = _lists(changes, "added", category=category, reversible=not undo)
            title = f"New deletions, {how}{undo}"
            section(console, title, lists, why_new, sign=sign, style=style, everything=everything)
    for category, how in REMOVED.items():
        lists = _lists(changes, "removed", category=category)
        title = f"No longer to delete, {how}"
        section(console, title, lists, why_not, sign="=", style="green", everything=everything)

    def describe(entity: Entity) -> str:
        fields = without_echoes(entity["fields"])
        return "; ".join(change(field, everything=everything) for field in fields)

    title, lists = "Still to delete, but changed", _lists(changes, "changed")
    section(console, title, lists, describe, sign="~", style="yellow", everything=everything)


def _lists(changes: dict[str, Any], key: str, **values: Any) -> dict[str, list[Entity]]:
    """Return the entities that have these values, by kind."""
    return {
        kind: [entity for entity in changes[kind][key] if values.items() <= entity.items()]
        for kind in kinds_of(changes)
    }


def why_new(entity: Entity) -> str:
    """Return why an entity is to be deleted now, in addition to the title."""
    reasons = "; ".join(entity["reasons"])
    if entity["category"] == "protection_lost":
        return f"before: {chain(entity['protection'])}; now: {reasons}"
    return reasons


def why_not(entity: Entity) -> str:
    """Return why an entity is no longer to be deleted, in addition to the title."""
    if entity["category"] == "protection_gained":
        return chain(entity["protection"])
    return "" if entity["category"] in {"another", "gone", "unknown"} else str(entity["why"])


def chain(protection: dict[str, Any]) -> str:
    """Return the reason of a protection and its chain."""
    return ", ".join([protection_text(protection["reason"]), *protection["via"]])


def _protected(changes: dict[str, Any], console: Console, *, everything: bool) -> None:
    counts = protected_counts(changes)
    if not any(counts.values()):
        return
    line(console, "")
    line(
        console,
        f"Protected (to delete in neither plan): {counts['added']:,} more, "
        f"{counts['removed']:,} fewer, {counts['changed']:,} for another reason",
        "bold",
    )
    signs = {"added": "more", "removed": "fewer", "changed": "other"}
    cells = []
    below = []
    for key, kind, reason, entities in protected_changes(changes):
        lead = "" if everything or len(entities) == 1 else "for example "
        cells.append((signs[key], counted(kind, len(entities)), reason))
        shown = entities if everything else entities[:1]
        # The kind keeps text like a CI system's command off the start of a line.
        below.append(
            [f"{lead}{KINDS[kind].name} {_describe_protection(entity)}" for entity in shown]
        )
    rows(console, [Column()] * 3, cells, indent=2, below=below)


def protected_counts(changes: dict[str, Any]) -> dict[str, int]:
    """Return how many protected entities of all kinds are added, removed and changed."""
    counts = [changes["summary"][kind]["protected"] for kind in kinds_of(changes)]
    return {key: sum(count[key] for count in counts) for key in ("added", "removed", "changed")}


def protected_changes(
    changes: dict[str, Any],
) -> Iterator[tuple[str, str, str, list[dict[str, Any]]]]:
    """Yield protected entities by change, kind, and reason or ``old reason -> new reason``."""
    for key in ("added", "removed", "changed"):
        for kind in kinds_of(changes):
            by_reason: dict[str, list[dict[str, Any]]] = defaultdict(list)
            for entity in changes["protected"][kind][key]:
                by_reason[_reason(entity)].append(entity)
            for reason, entities in by_reason.items():
                yield key, kind, reason, entities


def _reason(entity: dict[str, Any]) -> str:
    if "old" in entity and entity["old"]["reason"] != entity["reason"]:
        return f"{protection_text(entity['old']['reason'])} -> {protection_text(entity['reason'])}"
    return protection_text(entity["reason"])


def _describe_protection(entity: dict[str, Any]) -> str:
    via = ", ".join(entity["via"])
    if "old" in entity:
        via = f"{', '.join(entity['old']['via']) or 'none'} -> {via or 'none'}"
    return f"{entity['id']}{': ' + via if via else ''}"


def refused(later: Applicability) -> str:
    """Return why the later plan cannot be applied, as a sentence."""
    return f"The later plan CANNOT BE APPLIED: {later.why}."


def _next(
    changes: dict[str, Any],
    later: Applicability,
    console: Console,
    head: str,
    plan: Plan | None,
) -> None:
    """Print the next commands."""
    about = changes["head"]
    line(console, "")
    line(console, f"Before: {changes['base']['plan_id']}  as of {changes['base']['as_of']}")
    line(console, f"After:  {about['plan_id']}  as of {about['as_of']}")
    if not later.may_be_applied:
        line(console, refused(later), "bold red")
    if head == STDIN:
        return
    file = file_argument(head)
    line(console, f"Review: {command('show', file)}")
    if later.may_be_applied and any(changes["summary"][kind]["head"] for kind in kinds_of(changes)):
        arguments = (action_of(changes), file, "--expect", about["plan_id"])
        line(console, f"Apply:  {command(*arguments, server=plan and plan['server'])}")
