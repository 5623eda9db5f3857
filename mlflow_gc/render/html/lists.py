"""Parts that need no scripts: the first rows of each list, and protections by reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlflow_gc.domain.kinds import (
    BY_NAME,
    EXPERIMENT,
    MODEL_VERSION,
    REGISTERED_MODEL,
    RUN,
    ordered,
)
from mlflow_gc.domain.quantities import number_of
from mlflow_gc.plan.document import Plan
from mlflow_gc.render.common.lines import listed
from mlflow_gc.render.common.plan_groups import aged_from, experiment_names
from mlflow_gc.render.common.reason_text import protection_text
from mlflow_gc.render.html.charts import ranked
from mlflow_gc.render.html.entries import Entry, Fate
from mlflow_gc.render.html.links import Links, filter_link

FIRST_ROWS = 50
"""Number of rows of a list in the plain table."""

_EXAMPLES = 20
_KINDS = ordered(REGISTERED_MODEL, MODEL_VERSION, RUN, EXPERIMENT)


def first_rows(plan: Plan, found: Sequence[Entry]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the title and the first entities to delete of each kind, as rows."""
    names = experiment_names(plan)
    links = Links.of(plan)
    for kind in _KINDS:
        to_delete = [entry for entry in found if entry.kind == kind.name and entry.is_deleted]
        if not to_delete:
            continue
        title = f"{kind.plural.capitalize()} to delete"
        if not any(entry.fate is Fate.RESTORABLE for entry in to_delete):
            title += ", IRREVERSIBLE"
        cut = f"the first {FIRST_ROWS} of {len(to_delete):,}"
        count = cut if len(to_delete) > FIRST_ROWS else f"{len(to_delete):,}"
        yield f"{title}: {count}", [_row(entry, names, links) for entry in to_delete[:FIRST_ROWS]]


def _row(entry: Entry, names: Mapping[str, str], links: Links) -> dict[str, Any]:
    last = aged_from(BY_NAME[entry.kind].entries, entry.document)
    kind = "prompt" if entry.why == ("prompt",) else entry.kind
    return {
        "address": links.address(kind, entry.place, entry.id),
        "name": entry.name,
        "id": f"version {entry.id}" if entry.kind == "model_version" else entry.id,
        "experiment": names.get(entry.place, "") if entry.kind == "run" else "",
        "owner": entry.owner,
        "day": (last or "")[:10],
        "why": "; ".join(entry.why),
    }


def protected(found: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    """Yield protected entities by reason, with their number and examples."""
    by_reason: dict[str, list[Entry]] = defaultdict(list)
    for entry in found:
        if not entry.is_deleted:
            by_reason[entry.why[0]].append(entry)
    for code, total in ranked(Counter({code: len(those) for code, those in by_reason.items()})):
        kinds = Counter(entry.kind for entry in by_reason[code])
        examples = by_reason[code][:_EXAMPLES]
        yield {
            "total": total,
            "counts": listed([number_of(n, *BY_NAME[k].nouns) for k, n in kinds.most_common()]),
            "reason": protection_text(code),
            "examples": [(entry, BY_NAME[entry.kind].singular) for entry in examples],
            "link": filter_link(fate="protected", reason=code),
            "more": total - len(examples),
        }
