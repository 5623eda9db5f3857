"""Applying a purge plan."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow_gc.apply.journal.reader import sessions_beside
from mlflow_gc.apply.journal.writer import Journal
from mlflow_gc.apply.purge.database import Database
from mlflow_gc.apply.purge.maintenance import Maintenance, maintenance
from mlflow_gc.apply.purge.purger import Budget, Purger
from mlflow_gc.apply.purge.record import Freed
from mlflow_gc.apply.recheck.checker import Finding
from mlflow_gc.apply.recheck.live_guards import local_maxima
from mlflow_gc.backend.address import Address
from mlflow_gc.backend.interface import Gateway
from mlflow_gc.backend.sql_connection import try_database
from mlflow_gc.domain.kinds import EXPERIMENT, LOGGED_MODEL, PURGE, RUN
from mlflow_gc.domain.tag_selection import ALWAYS_WANTED
from mlflow_gc.domain.trash import Key
from mlflow_gc.errors import Refused
from mlflow_gc.inventory.sql.identity import refuse_other_server as refuse_other_database
from mlflow_gc.inventory.sql.snapshot import Snapshot
from mlflow_gc.inventory.sql.trash import TrashReader
from mlflow_gc.plan.document import Plan, deletion_counts, deletions_of
from mlflow_gc.plan.sharding import Part, Shard, part_of
from mlflow_gc.plan.verification import refuse_action
from mlflow_gc.retention.guards import Share, Tally, exceeded
from mlflow_gc.retention.policy import Policy
from mlflow_gc.storage.stores import ArtifactStores
from mlflow_gc.workflows.apply import Applied, collected
from mlflow_gc.workflows.reporter import Phase, Reporter
from mlflow_gc.workflows.server import graceful_stop, refuse_other_server
from mlflow_gc.workflows.trash_report import database_of


@dataclass(kw_only=True)
class Purged(Applied):
    """The result of applying a purge plan.

    Attributes:
        freed: files and rows.
        database_bytes: size of the database before and after, with the maintenance if it was requested.
        reusable_bytes: estimated space of the deleted rows, which the database uses again.
        maintenance: statements that return the space of the rows to the disk, unless they were
            executed.
        begun_before: kind and id of what earlier runs of the plan began to delete.
    """

    freed: Freed
    database_bytes: tuple[int, int] = (0, 0)
    reusable_bytes: int = 0
    maintenance: Sequence[Maintenance] = ()
    begun_before: Collection[Key] = ()


def apply_purge(
    gateway: Gateway,
    plan: Plan,
    plan_file: Path,
    stores: ArtifactStores,
    reporter: Reporter,
    *,
    journal_path: Path | None,
    budget: Budget,
    dry_run: bool = False,
    vacuum: bool = False,
    check_only: bool = False,
    shard: Shard | None = None,
) -> Purged:
    """Apply a verified purge plan.

    ``check_only`` collects refusals of a dry run, and checks nevertheless.  ``shard`` is the part
    of the plan to apply.

    Raises:
        Refused: The plan was made for another server, or a store looks as if it were not mounted.
        GcError: The database cannot be opened, or the journal cannot be written.
    """
    refuse_action(plan, plan_file, PURGE)
    refusals: list[Refused] = []
    findings: dict[Key, Finding] = {}
    with reporter.phase(Phase.CONNECT):
        refuse_other_server(gateway, plan["server"], plan_file)
        policy = Policy.from_document(plan["policy"], as_of=plan["as_of"])
        address = _database_behind(gateway)
    with (
        Database(address, read_only=check_only) as database,
        graceful_stop(gateway, reporter, dry_run=dry_run) as (stop, signals),
    ):
        with collected(refusals, check_only):
            _refuse_exceeded(plan, database)
        before = database.size_bytes()
        part = part_of(plan, shard) if shard else Part(plan)
        with Journal(
            journal_path,
            plan,
            action="purge",
            dry_run=dry_run,
            clock_skew_ms=gateway.clock_skew_ms(),
            on_record=reporter.entity,
            shard=str(shard) if shard else None,
        ) as journal:
            if journal_path is not None and not dry_run:
                reporter.journal(journal_path, plan["plan_id"])
            totals = deletion_counts(part.plan)
            purger = Purger(
                database,
                plan,
                part,
                policy,
                stores,
                journal,
                budget=budget,
                dry_run=dry_run,
                stop=stop,
                others=sessions_beside(plan_file, plan["plan_id"], "purge"),
                on_skip=lambda kind, i, finding: findings.__setitem__((kind, i), finding),
            )
            with collected(refusals, check_only):
                purger.refuse_other_stores()
            with reporter.phase(Phase.CHECK if dry_run else Phase.PURGE, totals):
                result = purger.run()
        statements = [*maintenance(database, purger.freed.by_table)]
        # Who stops a purge does not wait for this, which takes longer.
        if vacuum and not (result.interrupted or result.fatal):
            for one in statements:
                reporter.note(f"{one.statement} (up to about {one.duration})")
                database.maintain(one.statement)
            statements = []
        after = database.size_bytes()
    return Purged(
        result,
        journal.skipped_or_failed,
        signals[0] if signals else 0,
        findings,
        refusals,
        freed=purger.freed,
        left=purger.left,
        database_bytes=(before, after),
        reusable_bytes=_bytes_of(purger.freed.rows, plan),
        maintenance=statements,
        begun_before=purger.begun_before,
    )


def _database_behind(gateway: Gateway) -> Address:
    """Return the address of the database behind a server.

    Raises:
        Refused: It is that of another server.
        GcError: It cannot be opened.
    """
    from mlflow_gc.backend.server_identity import read_server_info

    address = database_of(gateway)
    try_database(address, any_version=True)
    with Snapshot(address) as snapshot:
        server = read_server_info(gateway)
        refuse_other_database(snapshot, server.identity, server.tracking_uri, server.workspace)
    return address


def _bytes_of(rows: int, plan: Plan) -> int:
    """Return the estimated size of some of the rows of a plan, in bytes."""
    promised = plan["summary"].get("freed")
    if not promised or not promised["rows"]:
        return 0
    return round(promised["database_bytes"] * rows / promised["rows"])


def _refuse_exceeded(plan: Plan, database: Database) -> None:
    """Refuse a plan that deletes more than this machine allows.

    Entries that are already deleted count as existing, so that a partly applied plan can be
    completed.

    Raises:
        Refused: With the numbers.
    """
    maxima = local_maxima()
    planned = deletion_counts(plan)
    existing: dict[str, int] = {}
    if maxima.max_share_percent:
        with database.transaction():
            existing = TrashReader(database.tables, database.read, None, ALWAYS_WANTED).totals()
            for kind in (EXPERIMENT, RUN, LOGGED_MODEL):
                ids = [kind.id_of(entry) for entry in deletions_of(plan, kind.entries)]
                existing[kind.entries] += len(ids) - len(database.existing(kind.name, ids))
    kinds = {kind: Share(count, existing.get(kind, count)) for kind, count in planned.items()}
    if sentences := list(exceeded(maxima, Tally(kinds))):
        raise Refused(
            " ".join(sentences),
            hint="MLFLOW_GC_MAX_DELETIONS and MLFLOW_GC_MAX_SHARE of this machine limit every plan.",
        )
