"""Deletions of a plan by registered model and experiment, with shares, ages and reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mlflow_gc.domain.kinds import (
    EXPERIMENT,
    FILE,
    IRREVERSIBLE_FIRST,
    KINDS,
    LOGGED_MODEL,
    MODEL_VERSION,
    RARE,
    RUN,
    action_of,
    is_purge,
    kinds_of,
    ordered,
)
from mlflow_gc.plan.document import Fields, Plan, deletions_of
from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.common.lines import (
    CUT_AT,
    NAME,
    SIGN,
    Column,
    Span,
    cell_width,
    counted,
    cut,
    line,
    more,
    rows,
    spans,
    width_of,
)
from mlflow_gc.render.common.plan_groups import (
    Group,
    age_days,
    aged_from,
    ages,
    groups,
    why,
    whys,
)
from mlflow_gc.render.common.plan_summary import BAD

if TYPE_CHECKING:
    from rich.console import Console

_TOP = 5  # experiments and models in a summary
_SAMPLE = 5  # entries of each group, if there are many groups
_BAR = 10
_SHORTEST_NAME = 8


def deletions(plan: Plan, console: Console, *, everything: bool) -> None:
    """Print all deletions, irreversible ones first."""
    for kind, bad, undo in _sections(plan):
        if KINDS[kind] in RARE[action_of(plan)] and not deletions_of(plan, kind):
            continue
        line(console, "")
        if not deletions_of(plan, kind):
            line(console, f"Delete no {KINDS[kind].plural}", "bold")
            continue
        count = counted(kind, len(deletions_of(plan, kind)))
        line(console, f"Delete {count} ({undo})", BAD if bad else "bold")
        show = _by_group if kind in {"runs", "model_versions"} else _each
        show(plan, console, kind, everything=everything)


def _sections(plan: Plan) -> Iterator[tuple[str, bool, str]]:
    """Yield kinds in the order in which they are shown, and whether they are lost, also as text."""
    is_purged = is_purge(plan)
    lossy = sum(not run["reversible"] for run in plan["runs"])
    first = (RUN, LOGGED_MODEL, EXPERIMENT, FILE) if is_purged else IRREVERSIBLE_FIRST
    for kind in ordered(*first):
        if kind.entries not in kinds_of(plan):
            continue
        if is_purged and kind is MODEL_VERSION:
            what = "IRREVERSIBLE: the rows that MLflow keeps of deleted versions"
            yield kind.entries, True, what
        elif is_purged or not kind.is_recoverable:
            yield kind.entries, True, "IRREVERSIBLE"
        elif kind is RUN and lossy:
            yield kind.entries, True, f"{lossy:,} of them lose their assessments: IRREVERSIBLE"
        else:
            yield kind.entries, False, "can be restored"


def largest(plan: Plan, console: Console) -> None:
    """Print the models and experiments with the most deletions."""
    for kind, where in (("model_versions", "model"), ("runs", "experiment")):
        found = groups(plan, kind)
        cells: list[tuple[str | Span, ...]] = []
        for group in found[:_TOP]:
            sign, style = _sign(bool(group.irreversible))
            bar = _bar(group, console), style or "blue"
            age = ages(kind, group.entries, plan["as_of"])
            facts = ((sign, style), (group.of_how_many, style), bar, group.share, age)
            cells.append((*facts, f"{where} {group.key}", cut(group.name, NAME)))
        columns = [
            SIGN,
            Column(right=True),
            Column(),
            Column(right=True),
            Column("dim"),
            # Ids and names come last, so that long ones do not break the alignment.
            Column(gap=1),
            Column(least=8),
        ]
        if cells:
            line(console, "")
            rows(console, columns, cells, indent=2)
        if rest := found[_TOP:]:
            left = f"{sum(group.count for group in rest):,} more"
            line(console, f"    {left} in {len(rest):,} other {where}s", "dim")


def _bar(group: Group, console: Console) -> str:
    """Return the deleted share of a group as a bar; only on a terminal with styles."""
    if console.color_system is None or console.no_color or console.options.ascii_only:
        return ""
    return "━" * max(1, _BAR * group.count // group.existing) if group.existing else ""


def _by_group(plan: Plan, console: Console, kind: str, *, everything: bool) -> None:
    """Print runs by experiment, or versions by model."""
    where, nouns = ("experiment", "runs") if kind == "runs" else ("model", "versions")
    whole = {entry["experiment_id"] for entry in plan["experiments"]} if kind == "runs" else ()
    found = groups(plan, kind)
    reason = _common_reason(deletions_of(plan, kind), console)
    shown = found if everything else found[:CUT_AT]
    cut_at = None if everything else CUT_AT if len(found) <= 3 else _SAMPLE
    for group in shown:
        note = "; deleted as a whole" if group.key in whole else ""
        _group(console, f"{where} {group.key}", group, plan["as_of"], reason, note)
        _entries(console, group, plan["as_of"], cut_at=cut_at)
    left = found[len(shown) :]
    more(console, len(left), f"{where}s with {sum(g.count for g in left):,} {nouns}", indent=2)


def _common_reason(entries: Sequence[Fields], console: Console) -> str | None:
    """Print the common reason of all entries of a section, if any, and return it."""
    reasons = {why(entry) for entry in entries}
    if len(reasons) != 1:
        return None
    (reason,) = reasons
    rows(console, [Column("dim", least=12)], [(reason,)], indent=2)
    return reason


def _group(
    console: Console, title: str, group: Group, as_of: str, common: str | None, note: str
) -> None:
    """Print the line above the entries of a group: share, ages and reasons.

    ``common`` is a reason that was already printed.
    """
    share = f" ({group.share})" if group.share else ""
    age = ages(group.kind, group.entries, as_of)
    old = "in the trash" if group.entries[0].get("deleted_time") else "old"
    facts = f": {group.of_how_many}{share}" + (f", {age} {old}" if age else "") + note
    reason = "" if common is not None else whys(group.entries)
    room = width_of(console)
    taken = 3 + cell_width(plain(title)) + cell_width(facts)
    name = cut(group.name, NAME if room is None else max(_SHORTEST_NAME, min(NAME, room - taken)))
    heading: list[Span] = [(f"  {title} {name}" if name else f"  {title}", "bold"), (facts, None)]
    width = sum(cell_width(plain(text)) for text, _ in [*heading, (reason, None)])
    if room is None or width + 2 <= room:
        spans(console, [*heading, (f"  {reason}", "dim")])
        return
    spans(console, heading)
    if reason:
        rows(console, [Column("dim", least=12)], [(reason,)], indent=6)


def _entries(console: Console, group: Group, as_of: str, *, cut_at: int | None) -> None:
    """Print the entries of a group, a line each: id, age, name, and reasons if they differ."""
    same = len({why(entry) for entry in group.entries}) == 1
    shown = group.entries if cut_at is None else group.entries[:cut_at]
    cells = []
    for entry in shown:
        entity_id, name = _named(group, entry)
        sign, style = _sign(not entry["reversible"])
        age = _age(group.kind, entry, as_of)
        cells.append(((sign, style), (entity_id, style), age, name, "" if same else why(entry)))
    columns = [SIGN, Column(), Column(right=True), Column(least=12), Column("dim", least=12)]
    rows(console, columns, cells, indent=4)
    more(console, group.count - len(shown), indent=4)


def _named(group: Group, entry: Fields) -> tuple[str, str]:
    if group.kind == "runs":
        return entry["run_id"], cut(entry["run_name"], NAME)
    # The name of the model is in the heading; it is not repeated with each version.
    is_short = cell_width(plain(group.key)) <= NAME
    return (f"{group.key}/{entry['version']}" if is_short else f"version {entry['version']}"), ""


def _each(plan: Plan, console: Console, kind: str, *, everything: bool) -> None:
    """Print entities of other kinds, a line each."""
    found = deletions_of(plan, kind)
    shown = found if everything else found[:CUT_AT]
    cells = []
    for entry in shown:
        name = cut(KINDS[kind].name_of(entry), NAME) if kind == "experiments" else ""
        sign, style = _sign(not entry["reversible"])
        age = _age(kind, entry, plan["as_of"])
        cells.append(((sign, style), (KINDS[kind].id_of(entry), style), name, age, why(entry)))
    columns = [SIGN, Column(), Column(least=12), Column(right=True), Column("dim", least=12)]
    rows(console, columns, cells, indent=2)
    more(console, len(found) - len(shown), indent=2)


def _age(kind: str, entry: Fields, as_of: str) -> str:
    days = age_days(aged_from(kind, entry), as_of)
    return "" if days is None else f"{days:,} d"


def _sign(irreversible: bool) -> tuple[str, str | None]:
    return ("!", BAD) if irreversible else ("-", None)
