"""What has changed on the server since a plan was made, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlflow_gc.views.check_text import CODES, NUMBERS, doubts, in_all, why
from mlflow_gc.views.escape import plain
from mlflow_gc.views.lines import KIND_WORDS, NAME
from mlflow_gc.views.markdown import escape
from mlflow_gc.views.markdown_tables import COMMENT, Table, fitted

_ADDRESS = 200


def check(found: dict[str, Any], *, budget: int | None = COMMENT) -> str:
    """Return a check as Markdown.

    Args:
        found: as :func:`mlflow_gc.apply.check.check_document` returns it.
        budget: most bytes of UTF-8; None for no limit.
    """
    plan = found["plan"]
    bottom = [f"plan_id `{plan['plan_id']}`, checked at {found['checked_at']}"]
    return fitted(list(_top(found)), list(_tables(found)), bottom, budget=budget)


def _top(found: dict[str, Any]) -> Iterator[str]:
    uri = plain(found["plan"]["tracking_uri"], most=_ADDRESS)
    yield f"## Check of the prune plan of {escape(uri)}"
    yield ""
    yield in_all(found)
    for sentence in doubts(found):
        yield ""
        yield f"**{escape(sentence)}**"
    yield ""
    yield f"| | {' | '.join(NUMBERS)} |"
    yield f"| --- |{' ---: |' * len(NUMBERS)}"
    for kind, (_, words) in KIND_WORDS.items():
        counts = found["summary"][kind]
        if kind != "registered_models" or any(counts.values()):
            yield f"| {words} | {' | '.join(f'{counts[key]:,}' for key in NUMBERS)} |"


def _tables(found: dict[str, Any]) -> Iterator[Table]:
    for kind, (word, words) in KIND_WORDS.items():
        if entities := found[kind]:
            where = ("experiment",) if kind == "runs" else ()
            title = f"{words.capitalize()}: {len(entities):,} not as planned"
            yield Table(title, ("", word, *where, "what"), _rows(kind, entities), len(entities))


def _rows(kind: str, entities: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for code, (title, _, _) in CODES.items():
        for entity in entities:
            if entity["code"] != code:
                continue
            name = f" {entity['name']}" if kind in {"runs", "experiments"} else ""
            cells = [f"{escape(entity['id'])}{escape(plain(name, most=NAME))}"]
            if kind == "runs":
                where = f"{entity['experiment_id']} {plain(entity['experiment_name'], most=NAME)}"
                cells.append(escape(where))
            yield title.lower(), *cells, escape(why(entity))
