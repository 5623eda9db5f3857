"""The difference of two plans as Markdown, for a pull request or a job summary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mlflow_gc.domain.kinds import FILE, IRREVERSIBLE_FIRST, KINDS, LINK, action_of, kinds_of
from mlflow_gc.invocation import command, file_argument
from mlflow_gc.plan.document import Plan
from mlflow_gc.plan.verification import Applicability
from mlflow_gc.render.common import budget
from mlflow_gc.render.common.budget import Notice, Part
from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.common.grouped import numbers
from mlflow_gc.render.common.lines import NAME, counted
from mlflow_gc.render.markdown.gfm import code, folded, inline, row, table
from mlflow_gc.render.markdown.gfm import head as table_head
from mlflow_gc.render.terminal.diff_text import (
    ADDED,
    NUMBERS,
    REMOVED,
    STDIN,
    change,
    comparison_warnings,
    format_value,
    names_of_experiments,
    policy_files,
    protected_changes,
    protected_counts,
    refused,
    why_new,
    why_not,
    without_echoes,
)

_TITLES = {FILE: "Orphaned files", LINK: "Links to nothing"}
"""Of kinds whose name does not say enough."""
_VALUE = 160
_SENTENCE = 600
_HEAVY = 6


def diff(
    changes: dict[str, Any],
    later: Applicability,
    *,
    plan: Plan | None = None,
    head: str = "HEAD",
    most_bytes: int | None = budget.DEFAULT,
) -> str:
    """Return the result of :func:`mlflow_gc.plan.diff.diff_plans` as Markdown.

    ``plan`` is the later plan and ``head`` its path; lists are truncated to fit ``most_bytes``.
    """
    if not changes["different"]:
        return "## Changes of the prune plan\n\nNo differences.\n"
    return budget.fit(
        [*_top(changes), *_tables(changes), _bottom(changes, later, head, plan)], most_bytes
    )


def _top(changes: dict[str, Any]) -> Iterator[Part]:
    summary = changes["summary"]
    before, after = (sum(summary[k][side] for k in kinds_of(changes)) for side in ("base", "head"))
    yield (
        f"## Changes of the prune plan: {before:,} → {after:,} deletions ({after - before:+,})\n\n"
    )
    for sentence, _ in comparison_warnings(changes):
        yield f"**{inline(sentence, most=_SENTENCE)}**\n\n"
    if added := summary["irreversible"]["added"]:
        yield f"**{added:,} new deletion{'s' if added > 1 else ''} cannot be undone.**\n\n"
    yield Notice(
        "This text was cut to fit. **What gets approved is the digest of the plan, not this "
        "text**; diff with `--all` shows everything.\n\n"
    )
    yield table_head("to delete", "before:", "after:", "new:", "withdrawn:", "changed:")
    yield from _lines(numbers(summary, NUMBERS))
    yield "\n"


def _bottom(changes: dict[str, Any], later: Applicability, head: str, plan: Plan | None) -> str:
    base, after = changes["base"], changes["head"]
    lines = [
        *(inline(sentence, most=_SENTENCE) for sentence in policy_files(changes)),
        f"Before: plan_id {code(base['plan_id'])}, as of {base['as_of']}",
        f"After: plan_id {code(after['plan_id'])}, as of {after['as_of']}",
    ]
    if names := names_of_experiments(changes, plan):
        lines.insert(0, names)
    if not later.may_be_applied:
        lines.append(f"**{inline(refused(later), most=_SENTENCE)}**")
    elif head != STDIN:
        line = (action_of(changes), file_argument(head), "--expect", after["plan_id"])
        lines.append(
            f"Apply: {code(command(*line, server=plan and plan['server'], for_others=True))}"
        )
    return "".join(f"{line}\n\n" for line in lines).removesuffix("\n")


def _tables(changes: dict[str, Any]) -> Iterator[Part]:
    found = list(_surroundings(changes))
    if found:
        yield "**Server, policy and warnings**\n\n"
        about = ("changed", "before", "after")
        yield table(about, _lines(found), len(found), nouns="changes", weight=_HEAVY)
    # The last are truncated.
    for of_kind in IRREVERSIBLE_FIRST:
        kind = of_kind.entries
        if (lists := changes.get(kind)) is None:
            continue
        counts = [
            f"{len(lists[key]):,} {what}"
            for key, what in (("added", "new"), ("removed", "withdrawn"), ("changed", "changed"))
            if lists[key]
        ]
        if counts:
            title = _TITLES.get(of_kind, of_kind.plural.capitalize())
            title += "" if of_kind.is_recoverable else " (irreversible)"
            where = ("experiment",) if kind == "runs" else ()
            yield folded(
                f"{title}: {', '.join(counts)}",
                ("", of_kind.singular, *where, "last active", "why"),
                _lines(_rows(kind, lists)),
                sum(len(lists[key]) for key in ("added", "removed", "changed")),
                nouns="changes",
                weight=_HEAVY if "models" in kind or "versions" in kind else 2,
            )
    protected = list(_protected(changes))
    if protected:
        count = sum(protected_counts(changes).values())
        title = f"Protected (to delete in neither plan): {count:,} changed"
        columns = ("", "how many", "because", "for example")
        yield folded(title, columns, _lines(protected), len(protected), nouns="reasons")


def _lines(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    return (row(*cells) for cells in rows)


def _surroundings(changes: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for title, fields in (("server", "server"), ("policy", "policy"), ("plan", "state")):
        for field in without_echoes(changes[fields]):
            old, new = (inline(format_value(field[k]), most=_VALUE) for k in ("old", "new"))
            yield f"**{title}** {inline(field['field'], most=_VALUE)}", old, new
    for key in ("added", "removed"):
        for diagnostic in changes["diagnostics"][key]:
            message = inline(diagnostic["message"], most=_SENTENCE)
            cells = ("", message) if key == "added" else (message, "")
            yield f"**warning** {code(diagnostic['code'])}", *cells


def _rows(kind: str, lists: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for reversible in (False, True):
        for category, sense in ADDED.items():
            for entity in lists["added"]:
                if entity["category"] == category and entity["reversible"] is reversible:
                    new = f"**new**, {sense}" + ("" if reversible else ", **cannot be undone**")
                    yield new, *_cells(kind, entity), inline(why_new(entity))
    for category, sense in REMOVED.items():
        for entity in lists["removed"]:
            if entity["category"] == category:
                yield f"withdrawn, {sense}", *_cells(kind, entity), inline(why_not(entity))
    for entity in lists["changed"]:
        why = "; ".join(map(change, without_echoes(entity["fields"])))
        yield "changed", *_cells(kind, entity), inline(why)


def _cells(kind: str, entity: dict[str, Any]) -> tuple[str, ...]:
    name = f" {code(entity['name'], most=NAME)}" if KINDS[kind].has_name else ""
    day = (entity["last_active"] or "")[:10]
    if kind == "runs":
        where = f"{entity['experiment_id']} {plain(entity['experiment_name'], most=NAME)}"
        return f"{code(entity['id'])}{name}", inline(where), day
    return f"{code(entity['id'])}{name}", day


def _protected(changes: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    signs = {"added": "more", "removed": "fewer", "changed": "otherwise"}
    for key, kind, reason, entities in protected_changes(changes):
        via = ", ".join(entities[0]["via"])
        example = inline(f"{entities[0]['id']}{': ' + via if via else ''}")
        yield signs[key], counted(kind, len(entities)), inline(reason), example
