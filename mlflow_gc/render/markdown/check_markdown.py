"""A check as Markdown: changes on the server since a plan was made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlflow_gc.domain.kinds import action_of, kinds_of
from mlflow_gc.render.common import budget, policy_sentences
from mlflow_gc.render.common.budget import Notice, Part
from mlflow_gc.render.common.lines import NAME
from mlflow_gc.render.markdown.gfm import code, folded, head, inline, row
from mlflow_gc.render.terminal.check_text import (
    CODES,
    NUMBERS,
    numbers_of,
    problems,
    totals_sentence,
    why,
)

_ADDRESS = 200
_SENTENCE = 600

Json = dict[str, Any]


def check(found: Json, *, most_bytes: int | None = budget.DEFAULT) -> str:
    """Return the result of :func:`mlflow_gc.apply.check.check_document` as Markdown.

    Lists are truncated to fit ``most_bytes``; None for no limit.
    """
    plan = found["plan"]
    policy = inline(policy_sentences.source(plan["policy_source"]), most=_SENTENCE)
    last = f"{policy}\n\nplan_id {code(plan['plan_id'])}, checked at {found['checked_at']}\n"
    return budget.fit([*_top(found), *_tables(found), last], most_bytes)


def _top(found: Json) -> Iterator[Part]:
    address = code(found["plan"]["tracking_uri"], most=_ADDRESS)
    yield f"## Check of the {action_of(found)} plan of {address}\n\n"
    yield f"{totals_sentence(found)}\n\n"
    for sentence in problems(found):
        yield f"**{inline(sentence, most=_SENTENCE)}**\n\n"
    yield Notice("This text was cut to fit; check with `--all` shows everything.\n\n")
    yield head("", *(f"{number}:" for number in NUMBERS))
    yield from (row(*cells) for cells in numbers_of(found))
    yield "\n"


def _tables(found: Json) -> Iterator[Part]:
    for kind, of_kind in kinds_of(found).items():
        if entities := found[kind]:
            where = ("experiment",) if kind == "runs" else ()
            yield folded(
                f"{of_kind.plural.capitalize()}: {len(entities):,} not as planned",
                ("", of_kind.singular, *where, "what"),
                _rows(kind, entities),
                len(entities),
                nouns=of_kind.plural,
            )


def _rows(kind: str, entities: list[Json]) -> Iterator[str]:
    for what, (title, _, _) in CODES.items():
        for entity in entities:
            if entity["code"] != what:
                continue
            cells = [code(entity["id"])]
            if kind in {"runs", "experiments"} and entity["name"]:
                cells = [f"{cells[0]} {code(entity['name'], most=NAME)}"]
            if kind == "runs":
                name = entity["experiment_name"]
                cells.append(f"{code(entity['experiment_id'])} {code(name, most=NAME)}")
            yield row(title.lower(), *cells, inline(why(entity)))
