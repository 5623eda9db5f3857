"""A plan as Markdown, for a pull request or a job summary."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mlflow_gc.views import policy_in_words
from mlflow_gc.views.escape import plain

_CUT_AT = 100
# Everything that GitHub, GitLab or plain CommonMark could take for markup, mentions and raw
# HTML included.
_SPECIAL = re.compile(r"[\\`*_{}\[\]()<>#+\-.!|~@&:$=\"']")
_KINDS = {
    "experiments": ("Experiments", ("experiment", "last activity", "why")),
    "runs": ("Runs", ("run", "experiment", "last activity", "why")),
    "model_versions": ("Model versions (irreversible)", ("version", "last updated", "why")),
    "registered_models": ("Registered models (irreversible)", ("model", "last updated", "why")),
}


def show(plan: dict[str, Any]) -> str:
    """Return a plan as Markdown: numbers, what goes, what stays and why."""
    return "\n".join(_plan(plan)) + "\n"


def escape(text: str) -> str:
    """Return text that no Markdown renderer takes for anything but text."""
    return _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", plain(text))


def _plan(plan: dict[str, Any]) -> Iterator[str]:
    yield f"## Prune plan of {escape(plan['server']['tracking_uri'])}"
    yield ""
    yield f"`{plan['plan_id']}`"
    yield ""
    yield f"As of {plan['as_of']}, {escape(policy_in_words.ages(plan['policy']))}."
    for diagnostic in plan["diagnostics"]:
        yield ""
        yield f"**Warning:** {escape(diagnostic['message'])}"
    yield ""
    keys = ("scanned", "stale", "protected", "delete")
    yield from _table(
        ("", "scanned", "stale", "kept", "to delete"),
        [
            (title, *(str(plan["summary"][kind][key]) for key in keys))
            for kind, (title, _) in _KINDS.items()
            if kind != "registered_models" or plan["summary"][kind]["scanned"]
        ],
    )
    if irreversible := plan["summary"]["irreversible"]:
        yield ""
        yield f"**{irreversible} of the deletions are irreversible.**"
    if not plan["applyable"]:
        yield ""
        yield "**This plan cannot be applied.**"
    for kind, (title, header) in _KINDS.items():
        if plan[kind]:
            # What cannot be undone comes first: a long list is cut.
            entities = sorted(plan[kind], key=lambda entity: entity["reversible"])
            yield from _folded(
                f"{title}: {len(entities)} to delete",
                _table(header, [_row(kind, entity) for entity in entities[:_CUT_AT]]),
                len(entities),
            )
    kept = [(kind, entity) for kind in _KINDS for entity in plan["protected"][kind]]
    if kept:
        rows = [
            (escape(_id_of(kind, e)), e["reason"].replace("_", " "), escape(", ".join(e["via"])))
            for kind, e in kept[:_CUT_AT]
        ]
        yield from _folded(
            f"Kept although old: {len(kept)}", _table(("kept", "because", "via"), rows), len(kept)
        )


def _row(kind: str, entity: dict[str, Any]) -> tuple[str, ...]:
    why = escape("; ".join(entity["reasons"]))
    if kind == "experiments":
        last = entity["last_activity_time"] or entity["last_update_time"] or ""
        return escape(f"{entity['experiment_id']} {entity['name']}"), last[:10], why
    if kind == "runs":
        run = escape(f"{entity['run_id']} {entity['run_name']}")
        last = entity["last_activity_time"] or ""
        return run, escape(entity["experiment_name"]), last[:10], why
    name = _id_of(kind, entity).removeprefix("model version ").removeprefix("registered model ")
    return escape(name), (entity["last_updated_timestamp"] or "")[:10], why


def _id_of(kind: str, entity: dict[str, Any]) -> str:
    if kind == "experiments":
        return f"experiment {entity['experiment_id']} {entity['name']}"
    if kind == "runs":
        return f"run {entity['run_id']}"
    if kind == "registered_models":
        return f"registered model {entity['name']}"
    return f"model version {entity['name']}/{entity['version']}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{' --- |' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _folded(title: str, lines: Iterable[str], total: int) -> Iterator[str]:
    yield ""
    yield f"<details><summary>{title}</summary>"
    yield ""
    yield from lines
    if total > _CUT_AT:
        yield ""
        yield f"... and {total - _CUT_AT} more. What is approved is the digest, not this text."
    yield ""
    yield "</details>"
