"""A plan as one self-contained HTML file, without network, server or second file.

``page.html`` and ``charts.html`` are its templates, in which all text is escaped; ``sections``,
``charts``, ``ages`` and ``lists`` compute what they show, ``data`` the data for the scripts.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from mlflow_gc.plan.document import Plan
from mlflow_gc.plan.verification import Applicability, applicability
from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.common.plan_groups import milliseconds, percent, statistics
from mlflow_gc.render.html.ages import age, ages, short, y
from mlflow_gc.render.html.charts import COLOURS, FILLS, MOST_BARS, charts, segments
from mlflow_gc.render.html.data import embedded
from mlflow_gc.render.html.entries import entries
from mlflow_gc.render.html.links import filter_link
from mlflow_gc.render.html.lists import FIRST_ROWS, first_rows, protected
from mlflow_gc.render.html.sections import outline, parts

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
    template = environment().get_template("page.html")
    yield from template.generate(
        plan=plan,
        state=state,
        content_security_policy=content_security_policy(),
        expires=milliseconds(plan["expires_at"]) if state.may_be_applied else None,
        has_statistics=bool(statistics(plan)),
        panels=ages(plan, found),
        charts=charts(plan, found),
        first_rows=list(first_rows(plan, found)),
        first=FIRST_ROWS,
        protected=list(protected(found)),
        outline=outline(plan),
        data=map(Markup, embedded(plan, found)),
        **parts(plan, found, state, file_name),
    )


@cache
def environment() -> Environment:
    """Return the templates' environment, in which everything but markup is escaped."""
    made = Environment(
        loader=FunctionLoader(asset),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["count"] = "{:,}".format
    made.filters["cut"] = lambda text, most: plain(text, most=most)
    made.globals |= {
        "age": age,
        "asset": lambda name: Markup(asset(name)),  # noqa: S704 - our own files
        "colours": COLOURS,
        "fills": FILLS,
        "filter_link": filter_link,
        "most_bars": MOST_BARS,
        "percent": percent,
        "scripts": SCRIPTS,
        "segments": segments,
        "short": short,
        "style": STYLE,
        "y": y,
    }
    return made


def _visible(value: Any) -> Any:
    """Make text of a server visible, before it is escaped."""
    return value if isinstance(value, Markup) else plain(str(value))


def asset(name: str) -> str:
    """Return the text of a template, style sheet or script of this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def content_security_policy(
    scripts: Sequence[str] = SCRIPTS, styles: Sequence[str] = (STYLE,)
) -> str:
    """Return the policy: run and show the content of the page, load and send nothing."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(_digest(asset(name)) for name in scripts)}",
            f"style-src {' '.join(_digest(asset(name)) for name in styles)}",
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
