"""The difference of two plans as Markdown, for a pull request or a job summary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlflow_gc.views.markdown import _CUT_AT, _KINDS, _folded, _table, escape


def diff(changes: dict[str, Any]) -> str:
    """Return the difference of two plans as Markdown."""
    return "\n".join(_diff(changes)) + "\n"


def _diff(changes: dict[str, Any]) -> Iterator[str]:
    yield "## Changes of the prune plan"
    if not changes["different"]:
        yield ""
        yield "No differences."
        return
    for part in ("server", "policy", "state"):
        for field in changes[part]:
            yield ""
            yield f"**{part}** {_change(field)}"
    for kind, (title, _) in _KINDS.items():
        rows = [
            (sign, escape(entity["id"]), escape(entity["name"]), escape(entity["why"]))
            for sign, key in (("added", "added"), ("removed", "removed"))
            for entity in changes[kind][key]
        ] + [
            ("changed", escape(e["id"]), escape(e["name"]), "; ".join(map(_change, e["fields"])))
            for e in changes[kind]["changed"]
        ]
        if rows:
            yield from _folded(
                f"{title}: {len(rows)} changes",
                _table(("", "id", "name", "why"), rows[:_CUT_AT]),
                len(rows),
            )


def _change(field: dict[str, Any]) -> str:
    return f"{escape(field['field'])}: {escape(str(field['old']))} → {escape(str(field['new']))}"
