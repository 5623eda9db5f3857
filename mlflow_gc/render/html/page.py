"""The page as a whole: security policy, assets, and the order of its parts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

from mlflow_gc.plan.document import Plan
from mlflow_gc.plan.verification import Applicability, applicability
from mlflow_gc.render.html import sections
from mlflow_gc.render.html.ages import ages
from mlflow_gc.render.html.charts import charts
from mlflow_gc.render.html.data import embedded
from mlflow_gc.render.html.entries import entries, milliseconds
from mlflow_gc.render.html.lists import FIRST_ROWS, first_rows, protected
from mlflow_gc.render.html.markup import text

STYLE = "report.css"
SCRIPTS = ("report.js", "entities.js", "drawing.js", "table.js")


def show(
    plan: Plan,
    *,
    file_name: str = "prune-plan.json",
    problems: Sequence[Applicability] = (),
) -> Iterator[str]:
    """Yield a plan as one HTML file in pieces; ``file_name`` is for the command to apply it."""
    found = entries(plan)
    state = applicability(plan, problems, for_others=True)
    yield from _head(plan)
    yield '<body><a class="skip" href="#entities">Skip to the table of all entities</a>\n'
    yield '<header class="top"><p><b>mlflow-gc</b></p>'
    yield '<button type="button" id="theme" hidden>Dark</button></header>\n'
    expires = milliseconds(plan["expires_at"]) if state.may_be_applied else None
    yield f'<main data-expires="{"" if expires is None else expires}">\n'
    for part in (
        sections.banner(plan, state),
        sections.intro(plan, found, state),
        sections.tiles(plan, found),
        sections.notes(plan),
        sections.apply(plan, state, file_name),
    ):
        yield from part
        yield "\n"
    pictures = [*ages(plan, found), *charts(plan, found)]
    if pictures:
        yield '<section aria-labelledby="charts"><h2 id="charts">What is deleted, and what is retained</h2>'
        yield '<div class="charts">'
        yield from pictures
        yield "</div></section>\n"
    yield from _entities(plan, found)
    total = sum(not entry.is_deleted for entry in found)
    yield f'<section class="protected" aria-labelledby="protected"><h2 id="protected">Protected, stale but retained: {total:,}</h2>'
    yield from protected(found)
    yield "</section>\n"
    yield from sections.policy(plan)
    yield "</main>\n"
    yield _footer(plan)
    yield '<script type="application/json" id="data">'
    yield from embedded(plan, found)
    yield "</script></body></html>\n"


def asset(name: str) -> str:
    """Return the text of a style sheet or script of this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def content_security_policy() -> str:
    """Return the policy: run and show the content of the page, load and send nothing."""
    scripts = " ".join(_digest(asset(name)) for name in SCRIPTS)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {scripts}",
            f"style-src {_digest(asset(STYLE))}",
            "base-uri 'none'",
            "form-action 'none'",
            # Text cannot become markup or code, not even through a bug in our own scripts.
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _digest(content: str) -> str:
    found = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{found}'"


def _head(plan: Plan) -> Iterator[str]:
    title = text(f"Prune plan of {plan['server']['tracking_uri']}", most=200)
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
    yield (f'<meta http-equiv="Content-Security-Policy" content="{content_security_policy()}">\n')
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield '<meta name="color-scheme" content="light dark">\n'
    yield '<meta name="referrer" content="no-referrer">\n'
    yield f"<title>{title}</title>\n"
    yield f"<style>{asset(STYLE)}</style>\n"
    for name in SCRIPTS:
        yield f"<script>{asset(name)}</script>\n"
    yield "</head>\n"


def _entities(plan: Plan, found: Sequence[Any]) -> Iterator[str]:
    yield '<section id="entities" aria-labelledby="entities-title">'
    yield '<h2 id="entities-title" tabindex="-1">Every entity</h2>'
    yield '<p class="sub">All entities to delete, and all that are protected.</p>'
    yield asset("table.html")
    yield '<div class="without-script">'
    if any(entry.is_deleted for entry in found):
        yield (
            f'<p class="note">Without scripts this page shows the first {FIRST_ROWS} of each list. '
            "The plan contains all of them, and show --all prints them.</p>"
        )
        yield from first_rows(plan, found)
    else:
        yield "<p>Nothing is to be deleted.</p>"
    yield "</div></section>\n"


def _footer(plan: Plan) -> str:
    tool = plan["tool"]
    return (
        f"<footer><p>Made by {text(tool['name'])} {text(tool['version'])} at "
        f"{text(plan['created_at'])} for the server "
        f"<code>{text(plan['server']['identity'])}</code>. This file is complete in itself: it "
        "loads nothing and sends nothing.</p></footer>\n"
    )
