"""Parts that need no scripts: the first rows of each list, and protections by reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from mlflow_gc.domain.kinds import BY_NAME
from mlflow_gc.plan.document import Plan
from mlflow_gc.render.common.lines import listed, number_of
from mlflow_gc.render.common.plan_groups import experiment_names
from mlflow_gc.render.html.charts import ranked
from mlflow_gc.render.html.entries import Entry, Fate
from mlflow_gc.render.html.links import Links
from mlflow_gc.render.html.markup import filter_link, text
from mlflow_gc.render.html.reasons import protection_text

FIRST_ROWS = 50
"""Number of rows of a list in the plain table."""

_EXAMPLES = 20
_NAME = 200


def first_rows(plan: Plan, found: Sequence[Entry]) -> Iterator[str]:
    """Yield a plain table of the first entities to delete of each kind."""
    names = experiment_names(plan)
    links = Links.of(plan["server"])
    for kind in ("registered_model", "model_version", "run", "experiment"):
        to_delete = [entry for entry in found if entry.kind == kind and entry.is_deleted]
        if not to_delete:
            continue
        title = f"{BY_NAME[kind].plural.capitalize()} to delete"
        if not any(entry.fate is Fate.RESTORABLE for entry in to_delete):
            title += ", IRREVERSIBLE"
        cut = f"the first {FIRST_ROWS} of {len(to_delete):,}"
        count = cut if len(to_delete) > FIRST_ROWS else f"{len(to_delete):,}"
        yield f'<table class="plain first"><caption>{title}: {count}</caption><thead><tr>'
        for heading in ("Name", "Id", "Experiment", "Owner", "Last activity", "Why"):
            yield f'<th scope="col">{heading}</th>'
        yield "</tr></thead><tbody>"
        for entry in to_delete[:FIRST_ROWS]:
            yield _row(entry, names, links)
        yield "</tbody></table>"


def _row(entry: Entry, names: Mapping[str, str], links: Links) -> str:
    own = f"version {entry.id}" if entry.kind == "model_version" else entry.id
    last = entry.document.get("last_activity_time") or entry.document.get("last_updated_timestamp")
    where = names.get(entry.place, "") if entry.kind == "run" else ""
    kind = "prompt" if entry.why == ("prompt",) else entry.kind
    address = links.address(kind, entry.place, entry.id)
    shown = text(entry.name, most=_NAME)
    link = f'<a href="{text(address)}" rel="noopener noreferrer">{shown}</a>'
    cells = (
        f'<th scope="row">{link if address else shown}</th>',
        f"<td><code>{text(own)}</code></td>",
        f"<td>{text(where, most=_NAME)}</td>",
        f"<td>{text(entry.owner, most=_NAME)}</td>",
        f"<td>{text((last or '')[:10])}</td>",
        f"<td>{text('; '.join(entry.why))}</td>",
    )
    return f"<tr>{''.join(cells)}</tr>"


def protected(found: Sequence[Entry]) -> Iterator[str]:
    """Yield protected entities: a line for each reason, with examples and their chains."""
    by_reason: dict[str, list[Entry]] = defaultdict(list)
    for entry in found:
        if not entry.is_deleted:
            by_reason[entry.why[0]].append(entry)
    if not by_reason:
        yield "<p>Nothing is protected.</p>"
    for code, _ in ranked(Counter({code: len(those) for code, those in by_reason.items()})):
        those = by_reason[code]
        kinds = Counter(entry.kind for entry in those)
        counts = listed([number_of(n, *BY_NAME[kind].nouns) for kind, n in kinds.most_common()])
        reason = protection_text(code)
        yield f"<details><summary><strong>{counts}</strong> <span>{text(reason)} "
        yield f'<code class="note">{text(code)}</code></span></summary><ul class="chains">'
        for entry in those[:_EXAMPLES]:
            yield f"<li>{_chain(entry)}</li>"
        link = filter_link(fate="protected", reason=code)
        more = len(those) - _EXAMPLES
        link_text = f"{more:,} more: show all in the table" if more > 0 else "Show in the table"
        yield f'</ul><p><a class="scripted" href="{link}">{link_text}</a></p></details>'


def _chain(entry: Entry) -> str:
    name = text(entry.name, most=_NAME)
    if entry.kind == "model_version":
        name = f"{name}/{text(entry.id)}"
    elif entry.id:
        name = f"{name} <code>{text(entry.id)}</code>"
    steps = "".join(f' <span class="step">← {text(step, most=_NAME)}</span>' for step in entry.via)
    return f"{BY_NAME[entry.kind].singular} {name}{steps}"
