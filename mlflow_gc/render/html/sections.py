"""What the page says besides the table: head, banner, numbers, the command to apply, the policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from mlflow_gc.domain.kinds import (
    FILE,
    PRUNED,
    PURGED,
    RARE,
    REGISTERED_MODEL,
    RUN,
    action_of,
    is_purge,
    kinds_of,
    ordered,
)
from mlflow_gc.domain.quantities import number_of
from mlflow_gc.errors import UsageProblem
from mlflow_gc.plan.document import Plan, counts_of, deletions_of
from mlflow_gc.plan.verification import Applicability, report_command
from mlflow_gc.render.common import policy_sentences
from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.common.lines import listed
from mlflow_gc.render.common.plan_summary import (
    ages_of,
    apply_command,
    consequences,
    protected_title,
    title_of,
    what_server_lacks,
)
from mlflow_gc.render.html.entries import Entry, Fate, since
from mlflow_gc.render.html.links import Links, filter_link
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rules import NEVER


def parts(
    plan: Plan, found: Sequence[Entry], state: Applicability, file_name: str
) -> dict[str, Any]:
    """Return the values for ``page.html`` that are about the plan as a whole."""
    server = plan["server"]
    deletions = {kind: len(deletions_of(plan, kind.entries)) for kind in kinds_of(plan).values()}
    lost = [entry.kind for entry in found if entry.fate is Fate.IRREVERSIBLE]
    ttl = plan["policy"]["default"]["ttl"]
    purges = is_purge(plan)
    return {
        "address": server["tracking_uri"].removeprefix("https://").removeprefix("http://"),
        "to_delete": listed([number_of(n, *kind.nouns) for kind, n in deletions.items() if n]),
        "total": sum(deletions.values()),
        "lost": len(lost),
        "lost_kinds": listed(
            [number_of(n, *kind.nouns) for kind in deletions if (n := lost.count(kind.name))]
        ),
        "purges": purges,
        "since": since(plan),
        "protected_title": protected_title(plan),
        "title": title_of(plan),
        "loses_assessments": RUN.name in lost and not purges,
        "notes": [*consequences(plan), *filter(None, [what_server_lacks(plan)])],
        "links": Links.of(plan),
        "policy_source": policy_sentences.source(plan.get("policy_source")),
        "ages": ages_of(plan),
        "stale_after": None if ttl == NEVER else policy_sentences.span(ttl),
        "messages": [diagnostic["message"] for diagnostic in plan["diagnostics"]],
        "new_plan": report_command(plan, for_others=True),
        "apply": apply_command(plan, state, file_name),
        "tiles": list(_tiles(plan, lost)),
    }


def _tiles(plan: Plan, lost: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the numbers of each kind: to delete, their share, protected, irreversible."""
    kinds = PURGED if is_purge(plan) else ordered(RUN, among=PRUNED)
    rare = RARE[action_of(plan)] | {FILE}
    for kind in kinds:
        counts = counts_of(plan, kind.entries)
        deleted, protected = counts["delete"], counts["protected"]
        if kind in rare and not counts["scanned"] and not deleted:
            continue
        irreversible = min(lost.count(kind.name), deleted)
        yield {
            "title": "Empty models" if kind is REGISTERED_MODEL else kind.plural.capitalize(),
            "link": filter_link(kind=kind.name, fate="deleted"),
            "deleted": deleted,
            "scanned": counts["scanned"],
            "protected": number_of(protected, *kind.nouns),
            "parts": (
                ("irreversible", irreversible),
                ("deleted", deleted - irreversible),
                ("protected", protected),
            ),
        }


def outline(plan: Plan) -> Markup:
    """Return the policy in English, as headings and nested lists."""
    try:
        Policy.from_document(plan["policy"], as_of=plan["as_of"])
        sentences = list(policy_sentences.explain(plan["policy"]))
    except (UsageProblem, ValueError) as error:
        return Markup("<p>It cannot be put into words: {}</p>").format(plain(str(error)))
    return Markup("").join(_outline(sentences))


def _outline(lines: Sequence[str]) -> Iterator[Markup]:
    """Turn indented lines into headings and nested lists."""
    depths: list[int] = []
    for number, line in enumerate(lines):
        content = plain(line.strip())
        if not content:
            continue
        depth = len(line) - len(line.lstrip(" "))
        while depths and depths[-1] > depth:
            depths.pop()
            yield Markup("</li></ul>")
        if not depth:
            following = lines[number + 1] if number + 1 < len(lines) else ""
            heading = Markup("<h3>{}</h3>") if following.startswith(" ") else Markup("<p>{}</p>")
            yield heading.format(content)
        elif depths and depths[-1] == depth:
            yield Markup("</li><li>{}").format(content)
        else:
            depths.append(depth)
            yield Markup("<ul><li>{}").format(content)
    yield Markup("</li></ul>") * len(depths)
