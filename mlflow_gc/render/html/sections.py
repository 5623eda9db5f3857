"""The parts of the page above the table: head, banner, numbers, the command to apply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlflow_gc.domain.kinds import ALL, BY_NAME
from mlflow_gc.errors import UsageProblem
from mlflow_gc.invocation import command, file_argument
from mlflow_gc.plan.document import Counts, Plan, counts_of, deletions_of
from mlflow_gc.plan.verification import Applicability
from mlflow_gc.render.common import policy_sentences
from mlflow_gc.render.common.lines import listed, number_of
from mlflow_gc.render.common.plan_summary import fate_of_names, what_server_lacks
from mlflow_gc.render.html.bars import FILLS
from mlflow_gc.render.html.entries import KINDS, Entry, Fate
from mlflow_gc.render.html.links import Links
from mlflow_gc.render.html.markup import filter_link, percent, text
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rules import NEVER

_AT_ONCE = 6
_LONGEST = 600
"""Sentences about the plan: number shown at once, and maximum length."""


def intro(plan: Plan, found: Sequence[Entry], state: Applicability) -> Iterator[str]:
    """Yield the title, a summary in a sentence, and facts about the plan."""
    server = plan["server"]
    where = server["tracking_uri"].removeprefix("https://").removeprefix("http://")
    yield f'<div class="intro"><p class="eyebrow">Prune plan</p><h1>{text(where)}</h1>'
    yield f'<p class="lead">{_lead(plan, found, state)}</p>'
    for sentence in filter(None, (fate_of_names(plan), what_server_lacks(plan))):
        yield f'<p class="note">{text(sentence)}</p>'
    yield '<dl class="facts">'
    for name, value in _facts(plan, state):
        yield f"<div><dt>{name}</dt><dd>{value}</dd></div>"
    yield "</dl></div>"


def _lead(plan: Plan, found: Sequence[Entry], state: Applicability) -> str:
    to_delete = [
        number_of(n, *kind.nouns) for kind in ALL if (n := len(deletions_of(plan, kind.entries)))
    ]
    if not to_delete:
        return "Nothing is to be deleted."
    lost = sum(entry.fate is Fate.IRREVERSIBLE for entry in found)
    undo = (
        f'<strong class="irreversible">{lost:,} of these deletions cannot be undone.</strong>'
        if lost
        else "All of it can be restored."
    )
    verb = "Deletes" if state.may_be_applied else "Would delete"
    return f"{verb} {listed(to_delete)}. {undo}"


def _facts(plan: Plan, state: Applicability) -> Iterator[tuple[str, str]]:
    server = plan["server"]
    yield "Server", _address(server["tracking_uri"], Links.of(server).tracking)
    if server["registry_uri"] != server["tracking_uri"]:
        yield "Registry", _address(server["registry_uri"], Links.of(server).registry)
    if server["workspace"]:
        yield "Workspace", text(server["workspace"])
    yield "MLflow", text(server["mlflow_version"] or "version unknown")
    yield "As of", _time(plan["as_of"])
    yield "Policy", text(policy_sentences.source(plan.get("policy_source")))
    yield "Stale by default", _default_age(plan["policy"])
    if not plan["expires_at"]:
        yield "Expires", "never"
    else:
        left = '<span class="note" id="time-left"></span>'
        yield "Expires", f"{_time(plan['expires_at'])} {left}"
    if not state.is_genuine:
        return  # it is the id of the original plan, and nobody approved this one
    yield (
        "Plan id",
        f'<code id="plan-id">{text(plan["plan_id"])}</code> {_copy("plan-id", "plan id")}',
    )


def _default_age(policy: Mapping[str, Any]) -> str:
    ttl = policy["default"]["ttl"]
    if ttl == NEVER:
        return "never"
    age = f"after {text(policy_sentences.span(ttl))}"
    # An edited plan may lack the cutoff.
    return f"{age}: before {_time(policy['cutoff'])}" if policy["cutoff"] else age


def banner(plan: Plan, state: Applicability) -> Iterator[str]:
    """Yield the most important findings, and the banner that appears once the plan expires."""
    if not state.may_be_applied:
        yield f'<section class="banner" aria-label="Warning"><h2>{text(f"This plan cannot be applied: {state.why}")}</h2>'
        messages = [*state.details, *(d["message"] for d in plan["diagnostics"])]
        yield _paragraphs(list(dict.fromkeys(messages)))
        yield f"<p>{text(state.advice)}</p></section>"
        return
    if plan["expires_at"]:
        yield '<section class="banner" id="expired" role="alert" hidden>'
        yield "<h2>This plan cannot be applied: it expired</h2>"
        yield f"<p>It was valid until {text(plan['expires_at'])}.</p>"
        new = text(command("report", for_others=True))
        yield f"<p>Make and review a new plan: {new}</p></section>"
    if not plan["complete"]:
        yield '<section class="banner" aria-label="Warning">'
        yield "<h2>The scan was not complete; somebody accepted that</h2>"
        yield _paragraphs([d["message"] for d in plan["diagnostics"]]) + "</section>"


def notes(plan: Plan) -> Iterator[str]:
    """Yield notes of the scan on an applicable plan."""
    if plan["diagnostics"] and plan["applyable"] and plan["complete"]:
        yield '<section class="remarks" aria-labelledby="remarks"><h2 id="remarks">Worth a look</h2>'
        yield _paragraphs([d["message"] for d in plan["diagnostics"]]) + "</section>"


def tiles(plan: Plan, found: Sequence[Entry]) -> Iterator[str]:
    """Yield the numbers: to delete by kind, their share, protected, irreversible."""
    yield '<section aria-labelledby="numbers"><h2 class="unseen" id="numbers">In numbers</h2>'
    yield '<ul class="tiles">'
    for kind in ("run", "experiment", "model_version", "registered_model"):
        counts = counts_of(plan, BY_NAME[kind].entries)
        if not counts["scanned"] and not counts["delete"] and kind == "registered_model":
            continue
        yield _tile(kind, counts, found)
    yield _lost_tile(found)
    yield "</ul></section>"


def _tile(kind: str, counts: Counts, found: Sequence[Entry]) -> str:
    singular, plural = BY_NAME[kind].nouns
    deleted, protected, scanned = counts["delete"], counts["protected"], counts["scanned"]
    lost = sum(e.kind == kind and e.fate is Fate.IRREVERSIBLE for e in found)
    parts = (
        ("irreversible", min(lost, deleted)),
        ("deleted", max(deleted - lost, 0)),
        ("protected", protected),
    )
    link = filter_link(kind=kind, fate="deleted")
    title = plural.capitalize() if kind != "registered_model" else "Empty models"
    return (
        f'<li class="tile"><h3>{title}</h3>'
        f'<p class="big"><a href="{link}">{deleted:,}<span class="unit"> to delete</span></a></p>'
        f"{_share_bar(parts, scanned)}"
        f'<p class="sub">{percent(deleted, scanned)} of {scanned:,} scanned<br>'
        f"{number_of(protected, singular, plural)} protected</p></li>"
    )


def _lost_tile(found: Sequence[Entry]) -> str:
    lost = [
        number_of(n, *BY_NAME[kind].nouns)
        for kind in KINDS
        if (n := sum(e.kind == kind and e.fate is Fate.IRREVERSIBLE for e in found))
    ]
    number = sum(entry.fate is Fate.IRREVERSIBLE for entry in found)
    to_delete = sum(entry.is_deleted for entry in found)
    shown = f'{number:,}<span class="unit"> irreversible</span>'
    what = f"{listed(lost)}: no command brings {'it' if number == 1 else 'them'} back"
    if number and any(e.kind == "run" and e.fate is Fate.IRREVERSIBLE for e in found):
        what = f"{listed(lost)}; of runs only their assessments are lost"
    link = filter_link(fate="irreversible")
    big = f'<a class="irreversible" href="{link}">{shown}</a>' if number else shown
    return (
        f'<li class="tile"><h3>Cannot be undone</h3><p class="big">{big}</p>'
        f"{_share_bar((('irreversible', number), ('deleted', to_delete - number)), to_delete)}"
        f'<p class="sub">{what if number else "Runs and experiments move to the trash"}<br>'
        "mlflow-gc restore undoes the rest</p></li>"
    )


def _share_bar(parts: Sequence[tuple[str, int]], whole: int) -> str:
    shapes, start = [], 0.0
    for name, number in parts:
        width = min(100 * number / whole, 100 - start) if whole else 0
        if width:
            shapes.append(
                f'<rect class="{name}" {FILLS[name]} x="{start:.2f}%" '
                f'width="{width:.2f}%" height="6"/>'
            )
        start += width
    return (
        '<svg class="share" width="100%" height="6" aria-hidden="true">'
        f'<rect class="track" fill="#8883" width="100%" height="6"/>{"".join(shapes)}</svg>'
    )


def apply(plan: Plan, state: Applicability, file_name: str) -> Iterator[str]:
    """Yield the command that applies exactly this plan, if there is one."""
    if not state.may_be_applied or not any(
        deletions_of(plan, BY_NAME[kind].entries) for kind in KINDS
    ):
        return
    arguments = ("prune", file_argument(file_name), "--expect", plan["plan_id"])
    line = command(*arguments, server=plan["server"], for_others=True)
    yield '<section class="apply" id="apply" aria-labelledby="apply-title">'
    yield '<h2 id="apply-title">Apply</h2>'
    yield f'<p class="command"><code id="command">{text(line)}</code> '
    yield f"{_copy('command', 'command')}</p>"
    yield (
        '<p class="sub"><code>--expect</code> binds the approval to this content. Each entity is '
        "re-checked immediately before its deletion; what changed meanwhile is skipped.</p></section>"
    )


def policy(plan: Plan) -> Iterator[str]:
    """Yield the policy as text."""
    yield '<section class="policy" aria-labelledby="policy"><h2 id="policy">Policy</h2>'
    try:
        Policy.from_document(plan["policy"], as_of=plan["as_of"])
        sentences = list(policy_sentences.explain(plan["policy"]))
    except (UsageProblem, ValueError) as error:
        yield f"<p>It cannot be put into words: {text(error)}</p></section>"
        return
    yield from _outline(sentences)
    yield "</section>"


def _outline(lines: Sequence[str]) -> Iterator[str]:
    """Turn indented lines into headings and nested lists."""
    depths: list[int] = []
    for number, line in enumerate(lines):
        content = line.strip()
        if not content:
            continue
        depth = len(line) - len(line.lstrip(" "))
        while depths and depths[-1] > depth:
            depths.pop()
            yield "</li></ul>"
        if not depth:
            following = lines[number + 1] if number + 1 < len(lines) else ""
            tag = "h3" if following.startswith(" ") else "p"
            yield f"<{tag}>{text(content)}</{tag}>"
        elif depths and depths[-1] == depth:
            yield f"</li><li>{text(content)}"
        else:
            depths.append(depth)
            yield f"<ul><li>{text(content)}"
    yield "</li></ul>" * len(depths)


def _address(uri: str, pages: str) -> str:
    if not pages:
        return text(uri)
    return f'<a href="{text(pages)}" rel="noopener noreferrer">{text(uri)}</a>'


def _time(moment: str) -> str:
    shown = text(moment.replace("T", " ", 1)[:16])
    return f'<time datetime="{text(moment)}" title="{text(moment)}">{shown} UTC</time>'


def _copy(element: str, what: str) -> str:
    # Shown by the script, because it does nothing without it.
    return f'<button type="button" class="copy" data-copy="{element}" hidden>Copy {what}</button>'


def _paragraphs(sentences: Sequence[str]) -> str:
    if len(sentences) == 1:
        return f"<p>{text(sentences[0], most=_LONGEST)}</p>"
    items = [f"<li>{text(sentence, most=_LONGEST)}</li>" for sentence in sentences]
    first, rest = "".join(items[:_AT_ONCE]), "".join(items[_AT_ONCE:])
    more = f"<details><summary>{len(items) - _AT_ONCE:,} more</summary><ul>{rest}</ul></details>"
    return (f"<ul>{first}</ul>" if first else "") + (more if rest else "")
