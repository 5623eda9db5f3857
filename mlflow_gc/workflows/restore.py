"""Undoing a prune from its journal, as far as MLflow can."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow_gc.apply.journal.reader import (
    Session,
    earlier_sessions,
    journal_path,
    read_journal,
    restore_path,
)
from mlflow_gc.apply.journal.writer import Journal
from mlflow_gc.apply.recheck.checker import Finding
from mlflow_gc.apply.restore import Restorer
from mlflow_gc.apply.restore_plan import KINDS, deleted_by, plan_undo
from mlflow_gc.backend.interface import Gateway, ServerError
from mlflow_gc.domain.kinds import PURGE
from mlflow_gc.errors import GcError, Refused, UsageProblem
from mlflow_gc.plan.document import Json, RunEntry
from mlflow_gc.workflows.reporter import Phase, Reporter
from mlflow_gc.workflows.server import graceful_stop, refuse_other_server


@dataclass(frozen=True)
class Restored:
    """The result of a restore.

    Attributes:
        counts: number of entities by (kind, outcome), skips as ``skipped:<code>``.
        not_restored: records of entities that were not restored.
        notes: entities that were not restored exactly as before; one sentence each.
        is_incomplete: whether an entity could not be restored.
        signum: the signal that stopped it, or 0.
        fatal: the error that ended it early, or None.
    """

    counts: Counter[tuple[str, str]]
    not_restored: Sequence[Json]
    notes: Sequence[str]
    is_incomplete: bool
    signum: int
    fatal: ServerError | None


class Restore:
    """A restore: read from a journal, previewed on a server, carried out.

    ``only`` names the kinds or ids to restore (empty for all), ``keep`` sets the keep tag on them.

    Attributes:
        undo: the entities that can and cannot be restored.
        header: of the journal.
        own_journal: path of the journal of this restore.

    Raises:
        GcError: The journal is empty, of a restore, or cannot be read.
        Refused: It belongs to another plan than expected.
        UsageProblem: ``only`` names an entity that was not deleted by the journal.
    """

    def __init__(
        self,
        journal_file: Path,
        *,
        only: Sequence[str] = (),
        keep: bool = False,
        expect: str | None = None,
    ) -> None:
        sessions = _read(journal_file, expect)
        self.header = sessions[0].header
        self.undo = plan_undo(sessions, only)
        self.own_journal = journal_path(restore_path(journal_file), self.header["plan_id"])
        self._earlier = earlier_sessions(self.own_journal, self.header["plan_id"], "restore")
        self._file = journal_file
        self._keep = keep

    def preview(
        self, gateway: Gateway, reporter: Reporter
    ) -> tuple[list[RunEntry], dict[str, Finding]]:
        """Return the runs that would return to the trash, and why others would not.

        Raises:
            Refused: The journal belongs to another server.
            ServerError: the server cannot be read.
        """
        with reporter.phase(Phase.CONNECT):
            refuse_other_server(gateway, self.header["server"], self._file)
            self._restorer = Restorer(
                gateway, self.undo, self._earlier, self.header, keep=self._keep
            )
            self._gateway = gateway
            self._old_trash, left_active = self._restorer.preview()
        return self._old_trash, left_active

    def run(self, reporter: Reporter, *, dry_run: bool = False) -> Restored:
        """Restore what was previewed; a dry run reads everything and changes nothing.

        Raises:
            GcError: the journal cannot be written.
        """
        undo = self.undo
        totals = {
            "experiments": len(undo.experiments),
            "runs": len(undo.runs) + len(self._old_trash),
        }
        with (
            graceful_stop(self._gateway, reporter, dry_run=dry_run) as (_, signals),
            Journal(
                self.own_journal,
                self.header,
                action="restore",
                dry_run=dry_run,
                on_record=reporter.entity,
            ) as journal,
        ):
            if not dry_run:
                reporter.journal(self.own_journal, self.header["plan_id"])
            with reporter.phase(Phase.RESTORE, totals):
                fatal = self._restorer.run(journal, dry_run=dry_run)
        return Restored(
            journal.counts,
            journal.skipped_or_failed,
            self._restorer.notes,
            self._restorer.is_incomplete,
            signals[0] if signals else 0,
            fatal,
        )


def only_of_each(files: Sequence[Path], only: Sequence[str]) -> dict[Path, list[str]]:
    """Return what to restore from each of several journals; journals without any are left out.

    ``only`` names kinds or ids; if it is empty, all journals are returned.

    Raises:
        GcError: A journal is empty, of a restore, or cannot be read.
        UsageProblem: ``only`` names an entity that none of them deleted.
    """
    if not only:
        return {file: [] for file in files}
    known = {f: KINDS | {i for _, i in deleted_by(_read(f, None))} for f in files}
    if unknown := sorted(set(only).difference(*known.values())):
        raise UsageProblem(
            f"Nothing was restored: none of the {len(known)} journals deleted {', '.join(unknown[:5])}.",
            hint='Name a kind (runs, experiments), or ids that one of them records as "deleted".',
        )
    found = {file: [name for name in only if name in names] for file, names in known.items()}
    return {file: names for file, names in found.items() if names}


def _read(path: Path, expect: str | None) -> list[Session]:
    """Read the journal of a prune.

    Raises:
        GcError: It is empty, or the journal of a restore.
        Refused: It belongs to another plan than expected.
    """
    sessions = read_journal(path)
    if not sessions:
        raise GcError(f"The journal {path} is empty: there is nothing to restore.")
    if sessions[0].header["action"] == PURGE:
        raise Refused(
            f"{path} is the journal of a purge: what it names was deleted permanently.",
            hint="No command brings it back.",
        )
    if all(session.header["action"] == "restore" for session in sessions):
        raise GcError(
            f"{path} is the journal of a restore: it records what was restored.",
            hint="Name the journal of the prune, which has the same name without .restore.jsonl.",
        )
    found = sessions[0].header["plan_id"]
    if expect is not None and expect != found:
        raise Refused(
            f"The journal {path} belongs to the plan {found}, expected was {expect}.",
            hint="This is not the journal of the plan that was approved.",
        )
    return sessions
