"""A plan as one self-contained HTML file: no script, no network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape as escape_html
from typing import Any

from mlflow_gc.plan.verify import KINDS
from mlflow_gc.views import policy_in_words
from mlflow_gc.views.escape import plain

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 2rem; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8884; }
td { overflow-wrap: anywhere; vertical-align: top; }
td.n, th.n { text-align: right; }
code { font-size: .9em; overflow-wrap: anywhere; }
.warning { border-left: .3rem solid #c60; padding-left: .8rem; }
"""


def show(plan: dict[str, Any]) -> str:
    """Return a plan as an HTML page."""
    return "".join(f"{line}\n" for line in _page(plan))


def _page(plan: dict[str, Any]) -> Iterator[str]:
    uri = _text(plan["server"]["tracking_uri"])
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield (
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    )
    yield '<meta name="viewport" content="width=device-width">'
    yield f"<title>Prune plan of {uri}</title><style>{_STYLE}</style></head><body>"
    yield f"<h1>Prune plan of {uri}</h1>"
    yield f"<p><code>{_text(plan['plan_id'])}</code></p>"
    yield (
        f"<p>As of {_text(plan['as_of'])}, {_text(policy_in_words.ages(plan['policy']))}; "
        f"expires {_text(plan['expires_at'] or 'never')}.</p>"
    )
    for diagnostic in plan["diagnostics"]:
        yield f'<p class="warning">{_text(diagnostic["message"])}</p>'
    yield from _numbers(plan)
    yield from _section(
        "Experiments to delete",
        ("Id", "Name", "Last activity", "Why"),
        [
            (e["experiment_id"], e["name"], e["last_activity_time"], "; ".join(e["reasons"]))
            for e in plan["experiments"]
        ],
    )
    yield from _section(
        "Runs to delete",
        ("Run", "Name", "Experiment", "User", "Status", "Last activity", "Why"),
        [
            (
                *(r[key] for key in ("run_id", "run_name", "experiment_name", "user_id")),
                *(r[key] for key in ("status", "last_activity_time")),
                "; ".join(r["reasons"]),
            )
            for r in plan["runs"]
        ],
    )
    yield from _section(
        "Model versions to delete (irreversible)",
        ("Model", "Version", "Last updated", "Why"),
        [
            (v["name"], v["version"], v["last_updated_timestamp"], "; ".join(v["reasons"]))
            for v in plan["model_versions"]
        ],
    )
    if plan["registered_models"]:
        yield from _section(
            "Registered models to delete (irreversible)",
            ("Model", "Last updated", "Why"),
            [
                (m["name"], m["last_updated_timestamp"], "; ".join(m["reasons"]))
                for m in plan["registered_models"]
            ],
        )
    protected = plan["protected"]
    yield from _section(
        "Kept although old",
        ("Kind", "Id", "Name", "Because", "Via"),
        [
            ("experiment", e["experiment_id"], e["name"], e["reason"], ", ".join(e["via"]))
            for e in protected["experiments"]
        ]
        + [
            ("run", e["run_id"], e["run_name"], e["reason"], ", ".join(e["via"]))
            for e in protected["runs"]
        ]
        + [
            ("model version", e["version"], e["name"], e["reason"], ", ".join(e["via"]))
            for e in protected["model_versions"]
        ]
        + [
            ("registered model", "", e["name"], e["reason"], ", ".join(e["via"]))
            for e in protected["registered_models"]
        ],
    )
    yield "</body></html>"


def _numbers(plan: dict[str, Any]) -> Iterator[str]:
    yield '<table><tr><th></th><th class="n">scanned</th><th class="n">stale</th>'
    yield '<th class="n">kept</th><th class="n">to delete</th></tr>'
    for kind in KINDS:
        counts = plan["summary"][kind]
        if kind == "registered_models" and not counts["scanned"]:
            continue
        cells = "".join(
            f'<td class="n">{counts[key]:,}</td>'
            for key in ("scanned", "stale", "protected", "delete")
        )
        yield f"<tr><th>{kind.replace('_', ' ')}</th>{cells}</tr>"
    yield "</table>"


def _section(
    title: str, header: Sequence[str], rows: Sequence[Iterable[str | None]]
) -> Iterator[str]:
    yield f"<h2>{title}: {len(rows):,}</h2>"
    if not rows:
        return
    yield "<table><tr>" + "".join(f"<th>{name}</th>" for name in header) + "</tr>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{_text(cell or '')}</td>" for cell in row) + "</tr>"
    yield "</table>"


def _text(text: str) -> str:
    return escape_html(plain(str(text)), quote=True)
