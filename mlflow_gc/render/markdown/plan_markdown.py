"""A plan as Markdown, for a pull request or a job summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from sys import intern

from mlflow_gc.domain.kinds import (
    KINDS,
    MODEL_VERSION,
    REGISTERED_MODEL,
    is_purge,
    kinds_of,
    ordered,
)
from mlflow_gc.domain.quantities import number_of, size_of
from mlflow_gc.invocation import command, file_argument
from mlflow_gc.plan.document import (
    Fields,
    Plan,
    counts_of,
    deletion_counts,
    deletions_of,
    protected_of,
)
from mlflow_gc.plan.lazy_entries import Chosen, where
from mlflow_gc.plan.verification import Applicability, applicability
from mlflow_gc.render.common import budget, policy_sentences
from mlflow_gc.render.common.budget import Block, Notice, Part
from mlflow_gc.render.common.lines import counted
from mlflow_gc.render.common.plan_groups import Group, groups, protections, statistics
from mlflow_gc.render.common.plan_summary import (
    ages_of,
    apply_command,
    consequences,
    protected_title,
    title_of,
    what_is_freed,
    what_server_lacks,
)
from mlflow_gc.render.common.reason_text import protection_text
from mlflow_gc.render.markdown.gfm import code, folded, head, inline, row, shown, table

_URI = 100
_NAME = 60
_SENTENCE = 300
_LINKS = 5
_POLICY = 2_000
_COMMAND = 1_000
# Shares of the room: irreversible deletions have priority.
_HEAVY, _GROUPS = 6, 3
_OPEN_GROUPS = 10


def show(
    plan: Plan,
    most_bytes: int | None = budget.DEFAULT,
    *,
    file_name: str = "prune-plan.json",
    problems: Sequence[Applicability] = (),
) -> str:
    """Return a plan as Markdown: deletions by experiment and model, and protections.

    Lists are truncated to fit ``most_bytes``, at least
    :data:`~mlflow_gc.render.common.budget.LEAST`; None for no limit.  ``file_name`` is for the
    command to apply it.
    """
    state = applicability(plan, problems, for_others=True)
    return budget.fit(list(_parts(plan, state, file_name)), most_bytes)


def _parts(plan: Plan, state: Applicability, file_name: str) -> Iterator[Part]:
    yield f"## {title_of(plan)} of {code(plan['server']['tracking_uri'], most=_URI)}\n\n"
    if not state.may_be_applied:
        yield f"**CANNOT BE APPLIED: {inline(state.why, most=_SENTENCE)}.**\n\n"
        known = {diagnostic["message"] for diagnostic in plan["diagnostics"]}
        for sentence in state.details:
            if sentence not in known:
                yield f"{inline(sentence, most=_SENTENCE)}\n\n"
        yield f"{inline(state.advice, most=_SENTENCE)}\n\n"
    yield _headline(plan)
    whole = command("show", "--all", file_argument(file_name), for_others=True)
    yield Notice(
        "This text was cut to fit. **What gets approved is the digest of the plan, not this "
        f"text**; {code(whole)} shows everything.\n\n"
    )
    if plan["diagnostics"]:
        yield _diagnostics(plan["diagnostics"])
    yield _facts(plan, state, file_name)
    yield _numbers(plan)
    yield from _deleted(plan, reversible=False)
    yield from _groups(plan, "model_versions")
    yield from _groups(plan, "runs")
    yield from _deleted(plan, reversible=True)
    yield from _protected(plan)
    yield from _policy(plan["policy"])


def _headline(plan: Plan) -> str:
    counts = deletion_counts(plan)
    total = sum(counts.values())
    if not total:
        return "**Nothing to delete.**\n\n"
    by_kind = {
        kind: sum(not entity["reversible"] for entity in deletions_of(plan, kind))
        for kind in kinds_of(plan)
    }
    if is_purge(plan):
        lead = f"**Deletes permanently from the trash: {_listed(counts)}.**"
        return f"{lead} {what_is_freed(plan) or ''}\n\n"
    irreversible = sum(by_kind.values())
    everything = f"{number_of(total, 'deletion', 'deletions')}: {_listed(counts)}."
    if not irreversible:
        return f"{everything} All of it can be restored.\n\n"
    lead = f"**{irreversible:,} of {total:,} deletions cannot be undone: {_listed(by_kind)}.**"
    if by_kind["runs"]:
        lead += " (Runs lose their assessments permanently.)"
    return f"{lead}\n\n{everything}\n\n"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(counted(kind, count) for kind, count in counts.items() if count)


def _diagnostics(diagnostics: Sequence[Fields]) -> Block:
    # A different bullet than in the next list makes it a separate list.
    lines = (f"* **Warning:** {inline(d['message'], most=_SENTENCE)}\n" for d in diagnostics)
    return Block("", lines, len(diagnostics), "\n", shown("warnings"), _HEAVY)


def _facts(plan: Plan, state: Applicability, file_name: str) -> str:
    server = plan["server"]
    # An edited file contains the id of another plan.
    lines = [f"Plan {code(plan['plan_id'])}"] if state.is_genuine else []
    if state.may_be_applied:
        until = (
            f"Valid until {plan['expires_at']}." if plan["expires_at"] else "It does not expire."
        )
        lines.append(inline(until))
    lines.append(inline(f"As of {plan['as_of']}, {ages_of(plan)}", most=_SENTENCE))
    lines.append(inline(policy_sentences.source(plan.get("policy_source")), most=_URI))
    # The headline of a purge plan says what it frees.
    sentences = [] if is_purge(plan) else consequences(plan)
    lines += [inline(sentence, most=_SENTENCE) for sentence in sentences]
    if server["registry_uri"] != server["tracking_uri"]:
        lines.append(f"Model registry {code(server['registry_uri'], most=_URI)}")
    if server["workspace"]:
        lines.append(f"Workspace {code(server['workspace'], most=_URI)}")
    if lacks := what_server_lacks(plan):
        lines.append(inline(lacks, most=_SENTENCE))
    apply = apply_command(plan, state, file_name)
    if apply and len(apply) <= _COMMAND:  # a part of a command is useless
        lines.append(f"To apply exactly this: {code(apply)}")
    return "".join(f"- {line}\n" for line in lines) + "\n"


def _numbers(plan: Plan) -> str:
    lines = [head("", "scanned:", "stale:", "protected:", "to delete:", "irreversible:")]
    for kind in kinds_of(plan):
        counts = counts_of(plan, kind)
        if kind == "registered_models" and not counts["scanned"]:
            continue
        irreversible = sum(not entity["reversible"] for entity in deletions_of(plan, kind))
        cells = [
            *(counts[key] for key in ("scanned", "stale", "protected")),
            len(deletions_of(plan, kind)),
        ]
        numbers = [f"{number:,}" for number in cells]
        lines.append(
            row(KINDS[kind].plural, *numbers, f"**{irreversible:,}**" if irreversible else "0")
        )
    return "".join(lines) + "\n"


def _groups(plan: Plan, kind: str) -> Iterator[Block]:
    """Yield a table of the largest groups, and a collapsed one of the others."""
    key, noun = ("experiment_id", "experiment") if kind == "runs" else ("name", "model")
    whole = {experiment["experiment_id"] for experiment in plan["experiments"]}
    fresh = {entry[key]: entry["fresh"] for entry in statistics(plan).get(f"by_{noun}", ())}
    stale: Sequence[Fields] = protected_of(plan, kind)
    protected = Counter(entity[key] for entity in stale)

    def line(group: Group) -> str:
        young = f"{fresh[group.key]:,}" if group.key in fresh else ""
        counts = (f"{group.count:,}", f"{protected[group.key]:,}", young)
        named = code(group.key)
        if kind == "runs":
            named = _experiment(group.key, group.name)
            named += " is deleted as a whole" if group.key in whole else ""
        newest = max(KINDS[kind].last_activity(entry) or "" for entry in group.entries)
        return row(named, *counts, newest[:10])

    many = KINDS[kind].plural
    columns = (noun, f"{many} to delete:", "protected:", "fresh:", "newest to delete")
    found = sorted(groups(plan, kind), key=lambda group: (-group.count, group.key))
    first, others = found[:_OPEN_GROUPS], found[_OPEN_GROUPS:]
    if first:
        yield table(columns, map(line, first), len(first), nouns=f"{noun}s", weight=_GROUPS)
    if others:
        title = number_of(len(others), f"more {noun}", f"more {noun}s")
        yield folded(title, columns, map(line, others), len(others), nouns=f"more {noun}s")


def _deleted(plan: Plan, *, reversible: bool) -> Iterator[Block]:
    """Yield the lists of reversible or irreversible deletions."""
    experiment_ids = [intern(run["experiment_id"]) for run in plan["runs"]]
    run_counts = Counter(experiment_ids)
    # Sorting is stable: inside an experiment the order of the plan is kept.
    order = sorted(
        range(len(experiment_ids)),
        key=lambda index: (-run_counts[experiment_ids[index]], experiment_ids[index]),
    )
    for of_kind in ordered(MODEL_VERSION, REGISTERED_MODEL):
        kind = of_kind.entries
        listed: Sequence[Fields] = deletions_of(plan, kind)
        if kind == "runs":
            listed = Chosen(listed, order)
        entities = where(listed, lambda entity: entity["reversible"] is reversible)
        if entities:
            title = f"Delete {counted(kind, len(entities))}"
            yield folded(
                title if reversible else f"<strong>{title}: irreversible</strong>",
                _TABLES[kind][0],
                _rows(kind, entities),
                len(entities),
                nouns=of_kind.plural,
                weight=1 if reversible else _HEAVY,
            )


def _experiment(experiment_id: str, name: str) -> str:
    return f"{code(name, most=_NAME)} {code(experiment_id)}"


def _rows(kind: str, entities: Sequence[Fields]) -> Iterator[str]:
    cells = _TABLES[kind][1]
    for entity in entities:
        day = inline((KINDS[kind].last_activity(entity) or "unknown")[:10])
        yield row(*cells(entity), day, inline("; ".join(entity["reasons"]), most=_SENTENCE))


def _run_cells(run: Fields) -> Sequence[str]:
    return (
        f"{code(run['run_id'])}<br>{code(run['run_name'], most=_NAME)}",
        _experiment(run["experiment_id"], run["experiment_name"]),
        code(run["user_id"], most=_NAME),
    )


def _experiment_cells(experiment: Fields) -> Sequence[str]:
    named = _experiment(experiment["experiment_id"], experiment["name"])
    return named, f"{experiment['run_count']:,}"


def _model_cells(entity: Fields) -> Sequence[str]:
    """Return the cells of a registered model, or of a model version."""
    named = [code(entity["name"]), *([code(entity["version"])] if "version" in entity else [])]
    return " ".join(named), code(entity["description"], most=_NAME)


def _logged_cells(model: Fields) -> Sequence[str]:
    named = f"{code(model['model_id'])}<br>{code(model['name'], most=_NAME)}"
    return named, _experiment(model["experiment_id"], model["experiment_name"])


def _file_cells(folder: Fields) -> Sequence[str]:
    return code(folder["uri"]), f"{folder['file_count']:,}", size_of(folder["size_bytes"])


def _link_cells(link: Fields) -> Sequence[str]:
    return code(KINDS["links"].id_of(link)), f"{link['row_count']:,}"


_TABLES: dict[str, tuple[Sequence[str], Callable[[Fields], Sequence[str]]]] = {
    "model_versions": (("version", "description", "last activity", "why"), _model_cells),
    "registered_models": (("model", "description", "last activity", "why"), _model_cells),
    "experiments": (("experiment", "runs:", "last activity", "why"), _experiment_cells),
    "runs": (("run", "experiment", "user", "last activity", "why"), _run_cells),
    "logged_models": (("logged model", "experiment", "last activity", "why"), _logged_cells),
    "files": (("folder", "files:", "size", "last written", "why"), _file_cells),
    "links": (("link", "rows:", "made", "why"), _link_cells),
}


def _protected(plan: Plan) -> Iterator[Block]:
    """Yield protected entities: the number for each reason, with an example."""
    found = protections(plan)
    if not found:
        return

    def line(group: tuple[str, str]) -> str:
        kind, reason = group
        entity = found[group][0]
        example = code(KINDS[kind].id_of(entity))
        protected = counted(kind, len(found[group]))
        return row(inline(protection_text(reason)), protected, example, _chain(entity["via"]))

    ranked = sorted(found, key=lambda group: (-len(found[group]), group))
    yield folded(
        protected_title(plan),
        ("reason", "protected", "example", "because of"),
        map(line, ranked),
        len(ranked),
        nouns="reasons",
        weight=_GROUPS,
    )


def _chain(via: Sequence[str]) -> str:
    links = [inline(link, most=_SENTENCE) for link in via[:_LINKS]]
    if len(via) > _LINKS:
        links.append(f"and {len(via) - _LINKS} more")
    return ", ".join(links)


def _policy(policy: Fields) -> Iterator[Block]:
    sentences = list(policy_sentences.limits(policy))
    if sentences:
        lines = (f"- {inline(sentence, most=_POLICY)}\n" for sentence in sentences)
        yield folded("Policy", (), lines, len(sentences), nouns="sentences of the policy")
