"""Head and foot of a plan on a terminal: numbers, ages, applicability, next commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import chain
from typing import TYPE_CHECKING

from mlflow_gc.domain.entities import Capabilities
from mlflow_gc.domain.kinds import (
    EXPERIMENT,
    FILE,
    KINDS,
    LOGGED_MODEL,
    RARE,
    RUN,
    action_of,
    is_purge,
    kinds_of,
    ordered,
)
from mlflow_gc.domain.quantities import number_of, size_of
from mlflow_gc.invocation import command, file_argument
from mlflow_gc.plan.document import EntrySize, Plan, counts_of, deletions_of, protected_of, total_of
from mlflow_gc.plan.freed_names import frees_names
from mlflow_gc.plan.verification import Applicability
from mlflow_gc.render.common import policy_sentences
from mlflow_gc.render.common.lines import (
    CUT_AT,
    Column,
    Span,
    counted,
    line,
    listed,
    more,
    rows,
    spans,
)
from mlflow_gc.render.common.plan_groups import ages, percent

if TYPE_CHECKING:
    from rich.console import Console

BAD = "bold red"
_WARNING = "yellow"


def headline(plan: Plan, console: Console, state: Applicability) -> None:
    """Print the server of a plan, its applicability, and the number of deletions."""
    server = plan["server"]
    line(console, f"{title_of(plan)} for {server['tracking_uri']}", "bold")
    if server["registry_uri"] != server["tracking_uri"]:
        line(console, f"Registry {server['registry_uri']}")
    if server["workspace"]:
        line(console, f"Workspace {server['workspace']}")
    if not state.may_be_applied:
        line(console, f"CANNOT BE APPLIED: {state.why}.", BAD)
    line(console, policy_sentences.source(plan.get("policy_source")))
    line(console, "")
    found = deletes(plan)
    if not found:
        line(console, "Nothing to delete.", "bold")
        return
    sizes = [counted(kind, n) for kind, n in found.items()]
    line(console, f"Deletes {listed(sizes)}.", "bold")
    if is_purge(plan):
        line(console, "All of it is deleted permanently; no command brings it back.", BAD)
    elif lost := plan["summary"]["irreversible"]:
        # The counts of an edited plan may differ from its lists.
        of_what = f" ({named})" if (named := _what_is_irreversible(plan)) else ""
        line(console, f"{lost:,} of the deletions cannot be undone{of_what}.", BAD)
    lost = plan["summary"]["irreversible"]
    if not is_purge(plan) and (rest := sum(found.values()) - lost):
        what = "The others move" if lost else "They move" if rest > 1 else "It moves"
        them = "it" if rest == 1 and not lost else "them"
        line(console, f"{what} to MLflow's trash; mlflow-gc restore brings {them} back.", "dim")
    for sentence in consequences(plan):
        line(console, sentence)


def protected_title(plan: Plan) -> str:
    """Return the heading of what a plan protects, with its number."""
    total = sum(len(protected_of(plan, kind)) for kind in kinds_of(plan))
    where = "in the trash" if is_purge(plan) else "stale"
    return f"Protected, {where} but retained: {total:,}"


def title_of(plan: Plan) -> str:
    """Return ``Prune plan`` or ``Purge plan``."""
    return "Purge plan" if is_purge(plan) else "Prune plan"


def apply_command(plan: Plan, state: Applicability, file_name: str) -> str | None:
    """Return the command that applies this plan and no other, for its readers.

    None if it would be refused or delete nothing.
    """
    if not state.may_be_applied or not deletes(plan):
        return None
    arguments = (action_of(plan), file_argument(file_name), "--expect", plan["plan_id"])
    return command(*arguments, server=plan["server"], for_others=True)


def ages_of(plan: Plan) -> str:
    """Return the default age of the policy from which something is deleted, in one line."""
    policy = plan["policy"]
    if is_purge(plan):
        return policy_sentences.times_in_trash(policy)
    return policy_sentences.ages(policy)


def consequences(plan: Plan) -> list[str]:
    """Return sentences about space and names after a plan was applied."""
    sentences = (sizes_sentence(plan), fate_of_names(plan), what_is_freed(plan))
    return [sentence for sentence in sentences if sentence]


def what_is_freed(plan: Plan) -> str | None:
    """Return a sentence about the space that a purge frees; None for other plans."""
    freed = plan["summary"].get("freed")
    if freed is None or not is_purge(plan):
        return None
    parts = []
    if freed["files"]:
        when = "when the store deletes their old versions" if freed["retained_bytes"] else "at once"
        files = number_of(freed["files"], "file", "files")
        parts.append(f"{size_of(freed['file_bytes'])} in {files} {when}")
    if freed["rows"]:
        rows_ = number_of(freed["rows"], "row", "rows")
        about = f" (about {size_of(freed['database_bytes'])})" if freed["database_bytes"] else ""
        parts.append(
            f"{rows_} of the database{about}, which reuses the space; its maintenance returns it to the "
            "disk"
        )
    return f"Frees {'; and '.join(parts)}." if parts else "Frees no file and no row."


def sizes_sentence(plan: Plan) -> str | None:
    """Return a sentence about the files of what is deleted; None if they were not listed."""
    if is_purge(plan):
        return None
    total = files = measured = entries = 0
    # One at a time: as dictionaries the entries of a large plan take much more memory.
    entry: EntrySize
    for entry in chain(plan["experiments"], plan["runs"]):
        entries += 1
        if "size_bytes" in entry:
            measured += 1
            total += entry["size_bytes"]
            files += entry.get("file_count", 0)
    if not measured:
        return None
    some = "" if measured == entries else f" of {measured:,} of {entries:,} entries"
    at_least = "At least " if some else ""
    return f"{at_least}{size_of(total)} in {number_of(files, 'file', 'files')}{some}, freed by a later purge."


def fate_of_names(plan: Plan) -> str | None:
    """Return a sentence about the names of deleted experiments; None if there are none.

    ``set_experiment`` and ``experiments/create`` of a name in the trash fail (MLflow 2.3 to 3.18).
    """
    if not plan["experiments"] or is_purge(plan):
        return None
    if frees_names(plan):
        return (
            "Deleted experiments are renamed, so their names are free; restore gives them back unless "
            "others have them by then."
        )
    return (
        "Deleted experiments keep their names: set_experiment(name) fails until restore or purge."
    )


def what_server_lacks(plan: Plan) -> str | None:
    """Return a sentence about what the server does not have; None if it lacks nothing."""
    found: Mapping[str, object] = {**plan["server"].get("capabilities", {})}
    names = [name.name for name in fields(Capabilities) if found.get(name.name) is False]
    if not names:
        return None
    nouns = listed([name.replace("_", " ") for name in names], "or")
    return f"This server has no {nouns}, so nothing is protected or hidden because of them."


def totals(plan: Plan, console: Console) -> None:
    """Print the table of numbers: scanned, stale, protected, to delete, ages."""
    columns = [
        Column(),
        *[Column(right=True)] * 3,
        Column("bold", right=True),
        Column(right=True),
        Column("dim"),
    ]
    table: list[tuple[str | Span, ...]] = [
        ("", "scanned", "stale", "protected", "to delete", "share", ("age", None))
    ]
    for kind, (_, nouns) in kinds(plan):
        counts = counts_of(plan, kind)
        scanned, to_delete = counts["scanned"], counts["delete"]
        lost = any(not entry["reversible"] for entry in deletions_of(plan, kind))
        number = f"{to_delete:,}"
        table.append(
            (
                nouns,
                f"{scanned:,}",
                f"{counts['stale']:,}",
                f"{counts['protected']:,}",
                (number, BAD) if lost else number,
                percent(to_delete, scanned),
                ages(kind, deletions_of(plan, kind), plan["as_of"]),
            )
        )
    rows(console, columns, table)


def basis(plan: Plan, console: Console) -> None:
    """Print the policy, ``as_of``, and facts about the scan."""
    line(console, f"As of {plan['as_of']}, {ages_of(plan)}.")
    for sentence in policy_sentences.limits(plan["policy"]):
        line(console, sentence)
    if lacks := what_server_lacks(plan):
        line(console, lacks)


def diagnostics(plan: Plan, console: Console, state: Applicability, *, everything: bool) -> None:
    """Print findings on the file, the scan and the guards, blocking ones first."""
    messages = dict.fromkeys([*state.details, *(d["message"] for d in plan["diagnostics"])])
    found = [(message not in state.details, message) for message in messages]
    shown = found if everything else found[:CUT_AT]
    for is_harmless, message in shown:
        label, style = ("Warning", _WARNING) if is_harmless else ("Problem", BAD)
        spans(console, [(f"{label}: ", style), (message, None)])
    more(console, len(found) - len(shown), "warnings", indent=0)


def legend(plan: Plan, console: Console) -> None:
    """Print the meaning of the signs in front of the lines."""
    parts: list[Span] = [("- will be deleted", None)] if deletes(plan) else []
    if plan["summary"]["irreversible"]:
        parts.append(("! will be deleted, irreversible", BAD))
    if parts:
        gaps: list[Span] = [("    ", None)] * len(parts)
        spans(console, [part for pair in zip(gaps, parts, strict=True) for part in pair][1:])


def footer(
    plan: Plan,
    console: Console,
    state: Applicability,
    *,
    path: str,
    steps: tuple[str, ...],
) -> None:
    """Print the summary, the plan's id, and the exact next commands.

    ``steps`` are the commands to print, of ``show``, ``check``, ``prune`` and ``expect``, and of
    ``explain``, ``ttl`` and ``usage`` if nothing is deleted; those that would be refused are not.
    """
    to_delete = sum(deletes(plan).values())
    lost = plan["summary"]["irreversible"]
    protected = total_of(plan, "protected")
    parts: list[Span] = [("Plan: ", "bold"), (f"{to_delete:,} to delete", "bold")]
    if lost:
        parts += [(" (", "bold"), (f"{lost:,} permanently", BAD), (")", "bold")]
    parts.append((f", {protected:,} protected.", "bold"))
    spans(console, parts)
    file = file_argument(path)
    facts = [("file", path)]
    if state.is_genuine:
        # An edited file contains the id of another plan, which must not be taken for its own.
        facts.append(("plan_id", plan["plan_id"]))
    if state.may_be_applied:
        until = f"until {plan['expires_at']}" if plan["expires_at"] else "for ever"
        facts.append(("valid", until))
    for name, fact in facts:
        spans(console, [(f"{name:<8} ", "dim"), (fact, None)])
    if not state.may_be_applied:
        line(console, f"CANNOT BE APPLIED: {state.why}.", BAD)
        if (
            to_delete and "show" not in steps
        ):  # readers of the plan; the command itself prints it to others
            line(console, state.advice)
    action = action_of(plan)
    commands = {
        "show": ("Review:", ("show", file)),
        "check": ("Check:", ("check", file)),
        "prune": ("Apply:", (action, file)),
        "expect": ("In CI:", (action, file, "--expect", plan["plan_id"])),
    }
    if not to_delete:
        commands |= dict(_questions(plan))
    for step in steps:
        if step not in commands:
            continue
        if step in {"show", "explain", "ttl", "usage"} or (state.may_be_applied and to_delete):
            name, arguments = commands[step]
            written = command(*arguments, server=plan["server"])
            spans(console, [(f"{name:<8} ", "dim"), (written, "cyan")])


def _questions(plan: Plan) -> Iterator[tuple[str, tuple[str, tuple[str, ...]]]]:
    """Yield the commands that say why a plan deletes nothing, and what other ages would delete."""
    if is_purge(plan):
        return
    flags = {"runs": "--run", "model_versions": "--model", "experiments": "--experiment"}
    for kind, flag in flags.items():
        if found := protected_of(plan, kind):
            entity_id = KINDS[kind].id_of(found[0])
            yield "explain", ("Explain:", ("policy", "explain", flag, entity_id))
            break
    if (days := plan["policy"]["ttl_days"] or 0) > 1:
        yield "ttl", ("Younger:", ("report", "--ttl", f"{days // 2}"))
    yield "usage", ("Space:", ("usage",))


def kinds(plan: Plan) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield kinds with their nouns; kinds that are rare only if there are any."""
    for kind, of_kind in kinds_of(plan).items():
        if of_kind not in RARE[action_of(plan)] or counts_of(plan, kind)["scanned"]:
            yield kind, of_kind.nouns


def deletes(plan: Plan) -> dict[str, int]:
    """Return the number of deletions of each kind that has some."""
    kinds = ordered(RUN, EXPERIMENT, LOGGED_MODEL, FILE)
    return {kind.entries: n for kind in kinds if (n := len(deletions_of(plan, kind.entries)))}


def _what_is_irreversible(plan: Plan) -> str:
    nouns = [
        KINDS[kind].nouns[len(deletions_of(plan, kind)) != 1]
        for kind in kinds_of(plan)
        if deletions_of(plan, kind) and not KINDS[kind].is_recoverable
    ]
    if any(not run["reversible"] for run in plan["runs"]):
        nouns.append("assessments of evaluation runs")
    return listed(nouns)
