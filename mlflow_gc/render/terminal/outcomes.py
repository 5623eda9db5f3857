"""The results of prune, mark and restore, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_gc.domain.kinds import (
    EXPERIMENT,
    FILE,
    PRUNE,
    PRUNED,
    PURGE,
    PURGED,
    RARE,
    RUN,
    Kind,
)
from mlflow_gc.domain.quantities import number_of, size_of
from mlflow_gc.invocation import command, file_argument
from mlflow_gc.render.common.lines import (
    CUT_AT,
    SIGN,
    Column,
    counted,
    line,
    more,
    rows,
    spans,
    table,
)
from mlflow_gc.render.common.plan_summary import BAD

if TYPE_CHECKING:
    from rich.console import Console

    from mlflow_gc.apply.outcomes import Result
    from mlflow_gc.apply.restore_plan import Undo
    from mlflow_gc.workflows.purge import Purged


def outcome(
    result: Result,
    skips: Sequence[dict[str, Any]],
    console: Console,
    *,
    plan_id: str,
    journal: Path | None,
) -> None:
    """Print the result of a prune: counts, reasons of skips, and the command to undo it."""
    verb = "deleted" if journal else "would be deleted"
    numbers = _numbers(result.counts, ("deleted", "skipped", "failed"))
    table(console, [("", verb, "skipped", "failed"), *numbers])
    if rolled_back := result.total("restored"):
        line(
            console,
            f"{rolled_back:,} of the deleted were rolled back at once: somebody needed them.",
            BAD,
        )
    totals = [f"{result.total(o):,}" for o in ("deleted", "skipped", "failed")]
    line(console, "Total: {} {}, {} skipped, {} failed.".format(totals[0], verb, *totals[1:]))
    _skips(skips, console)
    line(console, f"Plan {plan_id}")
    if not journal:
        line(console, "Dry run: nothing was deleted and no journal was written.")
        return
    line(console, f"Journal {journal}")
    if any(result.counts[kind, "deleted"] for kind in ("run", "experiment")):
        undo = command("restore", file_argument(journal))
        spans(console, [("Undo:   ", "dim"), (undo, "cyan")])


def purged(found: Purged, console: Console, *, journal: Path | None) -> None:
    """Print the result of a purge; ``journal`` is None for a dry run."""
    would = "would be " if journal is None else ""
    head = ("", f"{would}deleted", "skipped", "failed")
    outcomes = ("deleted", "skipped", "failed")
    table(console, [head, *_numbers(found.result.counts, outcomes, PURGED)])
    telling = found.skips
    if len(telling) > CUT_AT:
        # What earlier runs deleted would hide the others.
        telling = [
            skip
            for skip in telling
            if skip["reason"] != "gone" or (skip["kind"], skip["id"]) not in found.begun_before
        ]
    for record in telling[:CUT_AT]:
        line(console, f"  {record['kind']} {record['id']}: {record.get('detail') or ''}")
    omitted = max(len(telling) - CUT_AT, 0)
    more(console, omitted, indent=2, where="the journal names all")
    if gone := len(found.skips) - len(telling):
        line(console, f"  {gone:,} are gone since an earlier run of this plan")
    if found.left:
        number = number_of(found.left, "deletion is", "deletions are")
        line(console, f"{number} left: the limit of this run is reached.")
    if journal is None:
        line(console, "Dry run: nothing was deleted and no journal was written.")
        return
    freed = found.freed
    files = number_of(freed.files, "file", "files")
    row_count = number_of(freed.rows, "row", "rows")
    line(console, f"Deleted {size_of(freed.file_bytes)} in {files}, and {row_count}.", "bold")
    before, after = map(size_of, found.database_bytes)
    if freed.rows:
        line(console, f"The database took {before} before, and takes {after} now.")
    if found.maintenance:
        about = f", about {size_of(found.reusable_bytes)}," if found.reusable_bytes else ""
        line(console, f"It uses the space of the rows{about} again. To return it to the disk:")
        cells = [
            (one.statement, size_of(one.size_bytes), f"up to about {one.duration}")
            for one in found.maintenance
        ]
        rows(console, [Column(), Column(right=True), Column()], cells, indent=2)
        (locks,) = {one.locks for one in found.maintenance}
        line(console, f"While one runs, {locks}.")
    line(console, f"Journal {journal}")


def _numbers(
    counts: Counter[tuple[str, str]], outcomes: Sequence[str], kinds: Sequence[Kind] = PRUNED
) -> Iterator[tuple[str, ...]]:
    """Yield a row of counts for each kind; for kinds that are rare only if there are any."""
    rare = RARE[PURGE if kinds is PURGED else PRUNE] | {FILE}
    for kind in kinds:
        of_kind: Counter[str] = Counter()
        for (name, outcome), count in counts.items():
            if name == kind.name:
                of_kind[outcome.partition(":")[0]] += count
        if of_kind or kind not in rare:
            yield kind.plural, *(f"{of_kind[outcome]:,}" for outcome in outcomes)


def announcements(
    counts: Counter[tuple[str, str]], console: Console, *, deletable_after: str, dry_run: bool
) -> None:
    """Print what was announced and withdrawn, from counts by (kind, outcome)."""
    would = "would be " if dry_run else ""
    head = ("", f"{would}announced", "announced before", f"{would}withdrawn", "failed")
    table(console, [head, *_numbers(counts, ("marked", "unchanged", "unmarked", "failed"))])
    if deletable_after and any(what == "marked" for _, what in counts):
        line(
            console,
            f"What {'would be' if dry_run else 'was'} announced now may be deleted after {deletable_after}.",
        )
        line(console, "Its owner can object with a tag mlflow_gc.keep, or write a later time.")
    if unreadable := sum(n for (_, what), n in counts.items() if what == "unreadable"):
        line(
            console,
            f"{unreadable:,} have a tag mlflow_gc.delete_after that cannot be read: they are retained.",
            "yellow",
        )
    if dry_run:
        line(console, "Dry run: nothing was announced.")


def undo(
    plan: Undo,
    console: Console,
    *,
    plan_id: str,
    old_trash: Sequence[str] = (),
    left_active: Mapping[str, str] | None = None,
) -> None:
    """Print what a restore will restore, and what it cannot.

    ``old_trash`` are the runs that were in the trash before the prune and return to it,
    ``left_active`` those that do not, with the reason.
    """
    sizes = [
        counted(kind, len(ids))
        for kind, ids in (("experiments", plan.experiments), ("runs", plan.runs))
    ]
    line(console, f"Restore {' and '.join(sizes)}.", "bold")
    line(console, f"Plan {plan_id}")
    for sentence, style, entries in _undone(plan, old_trash, left_active or {}):
        line(console, sentence, style)
        _listing(console, entries)


def _undone(
    plan: Undo, old_trash: Sequence[str], left_active: Mapping[str, str]
) -> Iterator[tuple[str, str | None, Sequence[tuple[str, ...]]]]:
    """Yield what is not restored as it was: a sentence, its style, and the entities to list."""
    if old_trash:
        runs = counted("runs", len(old_trash))
        back = f"Back to the trash, where they were before the prune: {runs} of these experiments."
        yield back, None, [(run_id,) for run_id in old_trash]
    if left_active:
        runs = counted("runs", len(left_active))
        yield f"Left active, although in the trash before: {runs}.", None, [*left_active.items()]
    if lost := len(plan.without_assessments):
        without = f"{lost:,} of the runs are restored without their assessments"
        yield f"{without}: MLflow deleted these permanently.", BAD, ()
    if lost := len(plan.trash_without_assessments):
        where = "Runs in the trash of these experiments have lost their assessments permanently"
        yield f"{where}: {counted('experiments', lost)}.", BAD, ()
    if models := plan.registered_models:
        lost_models = f"{counted('registered_models', len(models))} cannot be restored:"
        yield lost_models, BAD, [(name,) for name in models]
    if versions := plan.model_versions:
        facts = [
            (key, f"run {known.get('run_id') or 'none'}", str(known.get("source", "")))
            for key, known in versions.items()
        ]
        yield f"{counted('model_versions', len(versions))} cannot be restored:", BAD, facts


def _listing(console: Console, entries: Sequence[tuple[str, ...]]) -> None:
    """Print aligned rows of texts; a long list is truncated with a count."""
    shown = entries[:CUT_AT]
    columns = [SIGN, *[Column()] * max(map(len, shown), default=0)]
    rows(console, columns, [("-", *entry) for entry in shown], indent=2)
    more(console, len(entries) - len(shown), indent=2, where="the journal names them")


def restored(
    counts: Counter[tuple[str, str]],
    skips: Sequence[dict[str, Any]],
    console: Console,
    journal: Path | None,
    *,
    keep_command: str | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Print the result of a restore, from counts by (kind, outcome).

    ``journal`` is None if nothing was changed; ``keep_command`` sets the keep tag on restored
    entities, None if it was set.
    """
    for kind in (EXPERIMENT, RUN):
        done = counts[kind.name, "restored"]
        line(console, f"{kind.plural}: {done:,} {'restored' if journal else 'would be restored'}")
    if back := counts["run", "deleted"]:
        would = "put" if journal else "would be put"
        line(console, f"runs: {back:,} {would} back into the trash, where they were before")
    for note in notes:
        line(console, f"  {note}", BAD)
    _skips([s for s in skips if s["reason"] != "irreversible"], console, verb="restored")
    if journal:
        line(console, f"Journal {journal}")
    if keep_command and any(counts[kind, "restored"] for kind in ("run", "experiment")):
        will = "are" if journal else "would be"
        line(
            console,
            f"They {will} as stale as before: the next prune deletes the runs again. To retain them, "
            "set the keep tag on them:",
        )
        spans(console, [("Keep:   ", "dim"), (keep_command, "cyan")])


_LEFT_ACTIVE = {"already_active", "protected"}


def _skips(skips: Sequence[dict[str, Any]], console: Console, verb: str = "deleted") -> None:
    """Print skips with reasons; for missing entities only the number."""
    gone_texts = {"gone": "are gone", "already_deleted": "are in the trash already"}
    if verb != "deleted":
        gone_texts = {}
    telling = [skip for skip in skips if skip["reason"] not in gone_texts]
    for skip in telling[:CUT_AT]:
        code = skip["reason"] or skip["outcome"]
        # Runs that a restore leaves active are not "not restored".
        left = skip["outcome"] == "skipped" and verb == "restored" and code in _LEFT_ACTIVE
        noun = "left active" if left else f"not {verb}"
        line(
            console,
            f"  {noun}: {skip['kind']} {skip['id']}  {code}: {skip.get('detail', '')}",
        )
    if len(telling) > CUT_AT:
        line(console, f"  ... and {len(telling) - CUT_AT:,} more")
    for reason, noun in gone_texts.items():
        if count := sum(skip["reason"] == reason for skip in skips):
            line(console, f"  {count:,} {noun}")
