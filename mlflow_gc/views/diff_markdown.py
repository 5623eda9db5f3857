"""The difference of two plans as Markdown, for a pull request or a job summary."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from mlflow_gc.views.diff_text import (
    ADDED,
    REMOVED,
    STDIN,
    alarms,
    by_reason,
    change,
    in_words,
    refused,
    why_new,
    why_not,
    without_echoes,
)
from mlflow_gc.views.escape import plain
from mlflow_gc.views.grouped import counted
from mlflow_gc.views.lines import KIND_WORDS, NAME
from mlflow_gc.views.markdown import escape
from mlflow_gc.views.markdown_tables import COMMENT, Table, fitted

# What cannot be undone comes first, for the last is cut.
_KINDS = {
    "model_versions": "Model versions (irreversible)",
    "registered_models": "Registered models (irreversible)",
    "runs": "Runs",
    "experiments": "Experiments",
}
_VALUE = 160


def diff(changes: dict[str, Any], *, head: str = "HEAD", budget: int | None = COMMENT) -> str:
    """Return the difference of two plans as Markdown.

    Args:
        changes: as :func:`mlflow_gc.plan.diff.diff_plans` returns them.
        head: path of the later plan, for the commands to go on.
        budget: most bytes of UTF-8; None for no limit.
    """
    if not changes["different"]:
        return "## Changes of the prune plan\n\nNo differences.\n"
    return fitted(
        list(_top(changes)), list(_tables(changes)), list(_bottom(changes, head)), budget=budget
    )


def _top(changes: dict[str, Any]) -> Iterator[str]:
    summary = changes["summary"]
    before, after = (sum(summary[k][side] for k in KIND_WORDS) for side in ("base", "head"))
    yield f"## Changes of the prune plan: {before:,} → {after:,} deletions ({after - before:+,})"
    for sentence, _ in alarms(changes):
        yield ""
        yield f"**{escape(sentence)}**"
    if added := summary["irreversible"]["added"]:
        yield ""
        yield f"**{added:,} new deletion{'s' if added > 1 else ''} cannot be undone.**"
    yield ""
    yield "| to delete | before | after | new | no longer | changed |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for kind, (_, words) in KIND_WORDS.items():
        counts = summary[kind]
        if kind != "registered_models" or counts["base"] or counts["head"]:
            keys = ("base", "head", "added", "removed", "changed")
            yield f"| {words} | {' | '.join(f'{counts[key]:,}' for key in keys)} |"


def _bottom(changes: dict[str, Any], head: str) -> Iterator[str]:
    base, later = changes["base"], changes["head"]
    yield f"Before: plan_id `{base['plan_id']}`, as of {base['as_of']}"
    yield ""
    yield f"After: plan_id `{later['plan_id']}`, as of {later['as_of']}"
    if refusal := refused(changes):
        yield ""
        yield f"**{escape(refusal)}**"
    elif head != STDIN:
        command = f"mlflow-gc prune {shlex.quote(head)} --expect {later['plan_id']}"
        yield ""
        yield f"Apply: <code>{escape(command)}</code>"


def _tables(changes: dict[str, Any]) -> Iterator[Table]:
    found = list(_surroundings(changes))
    if found:
        about = ("changed", "before", "after")
        yield Table(
            "**Server, policy and warnings**", about, iter(found), len(found), is_folded=False
        )
    for kind, title in _KINDS.items():
        lists = changes[kind]
        counts = [
            f"{len(lists[key]):,} {words}"
            for key, words in (("added", "new"), ("removed", "no longer"), ("changed", "changed"))
            if lists[key]
        ]
        if counts:
            where = ("experiment",) if kind == "runs" else ()
            header = ("", KIND_WORDS[kind][0], *where, "last active", "why")
            rows = sum(map(len, lists.values()))
            yield Table(f"{title}: {', '.join(counts)}", header, _rows(kind, lists), rows)
    kept = list(_kept(changes))
    if kept:
        keys = ("added", "removed", "changed")
        count = sum(changes["summary"][k]["protected"][key] for k in KIND_WORDS for key in keys)
        title = f"Kept although stale, and deleted by neither: {count:,} changed"
        yield Table(title, ("", "how many", "because", "for example"), iter(kept), len(kept))


def _surroundings(changes: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for title, fields in (("server", "server"), ("policy", "policy"), ("plan", "state")):
        for field in without_echoes(changes[fields]):
            old, new = (escape(plain(in_words(field[k]), most=_VALUE)) for k in ("old", "new"))
            yield f"**{title}** {escape(plain(field['field'], most=_VALUE))}", old, new
    for key in ("added", "removed"):
        for diagnostic in changes["diagnostics"][key]:
            words = escape(plain(diagnostic["message"], most=4 * _VALUE))
            cells = ("", words) if key == "added" else (words, "")
            yield f"**warning** {escape(diagnostic['code'])}", *cells


def _rows(kind: str, lists: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for reversible in (False, True):
        for category, words in ADDED.items():
            for entity in lists["added"]:
                if entity["category"] == category and entity["reversible"] is reversible:
                    new = f"**new**, {words}" + ("" if reversible else ", **cannot be undone**")
                    yield new, *_cells(kind, entity), escape(why_new(entity))
    for category, words in REMOVED.items():
        for entity in lists["removed"]:
            if entity["category"] == category:
                yield f"no longer, {words}", *_cells(kind, entity), escape(why_not(entity))
    for entity in lists["changed"]:
        why = "; ".join(map(change, without_echoes(entity["fields"])))
        yield "changed", *_cells(kind, entity), escape(why)


def _cells(kind: str, entity: dict[str, Any]) -> tuple[str, ...]:
    named = kind in {"experiments", "runs"}
    name = f" {escape(plain(entity['name'], most=NAME))}" if named else ""
    day = (entity["last_active"] or "")[:10]
    if kind == "runs":
        where = f"{entity['experiment_id']} {plain(entity['experiment_name'], most=NAME)}"
        return f"{escape(entity['id'])}{name}", escape(where), day
    return f"{escape(entity['id'])}{name}", day


def _kept(changes: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, sign in (("added", "more"), ("removed", "fewer"), ("changed", "otherwise")):
        for kind in KIND_WORDS:
            for reason, entities in by_reason(changes["protected"][kind][key]).items():
                example = entities[0]
                via = ", ".join(example["via"])
                yield (
                    sign,
                    counted(len(entities), kind),
                    escape(reason),
                    escape(f"{example['id']}{': ' + via if via else ''}"),
                )
