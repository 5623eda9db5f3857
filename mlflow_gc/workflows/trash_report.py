"""From the trash of a server to a purge plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mlflow_gc.apply.journal.reader import read_journal, read_sessions, restore_path
from mlflow_gc.apply.outcomes import deleted_before
from mlflow_gc.backend.address import Address
from mlflow_gc.backend.interface import Gateway
from mlflow_gc.backend.sql_connection import try_database
from mlflow_gc.domain.entities import Diagnostic, ServerInfo
from mlflow_gc.domain.kinds import FILE
from mlflow_gc.domain.timestamps import parse_time
from mlflow_gc.domain.trash import Key, Trash
from mlflow_gc.errors import GcError, Refused, UsageProblem
from mlflow_gc.inventory.database_usage import UNKNOWN_LINKS, DatabaseUsage, bytes_by_group
from mlflow_gc.inventory.sql.identity import refuse_other_server as refuse_other_database
from mlflow_gc.inventory.sql.snapshot import Snapshot
from mlflow_gc.inventory.sql.tables import Tables
from mlflow_gc.inventory.sql.trash import TrashReader
from mlflow_gc.inventory.sql.usage import UsageReader
from mlflow_gc.inventory.stored_files import StoredFiles
from mlflow_gc.plan import schema
from mlflow_gc.plan.document import Plan
from mlflow_gc.plan.purge_builder import Measured, build_purge_plan
from mlflow_gc.retention.freed_space import TRASH
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.trash import decide_orphan, decide_trash, named_in_registry
from mlflow_gc.storage.stores import ArtifactStores
from mlflow_gc.workflows.reporter import Phase, Reporter
from mlflow_gc.workflows.trash_files import folders_to_delete, measure_trash, with_orphans

_JOURNAL_MARGIN_MS = 5 * 60_000
"""What the clocks of a server and of a prune may differ by in addition to what the prune measured."""


def make_purge_plan(
    gateway: Gateway,
    policy: Policy,
    stores: ArtifactStores,
    reporter: Reporter,
    *,
    only: Mapping[Key, int] | None = None,
) -> Plan:
    """Read the trash of a server and return the purge plan.

    Args:
        gateway: the server, with its database.
        policy: with the time in the trash after which something is purged.
        stores: of the artifacts.
        reporter: is told the progress.
        only: what may be deleted, with the latest time of its deletion (:func:`deleted_by`); None for
            everything.

    Raises:
        UsageProblem: no database was named, or it cannot be read directly.
        Refused: it is of another server, or its model registry is elsewhere.
        ServerError: it cannot be read.
        GcError: it has something that a plan cannot express.
    """
    from mlflow_gc.backend.server_identity import read_server_info

    with reporter.phase(Phase.CONNECT):
        server = read_server_info(gateway)
        server = replace(server, read_from="database", capabilities=gateway.capabilities())
        address = database_of(gateway)
    with reporter.phase(Phase.SCAN):
        files = StoredFiles(stores)
        trash, database = _read_trash(address, server, policy, stores, files)
    decisions = decide_trash(trash, policy, only=only)
    measured = Measured()
    if policy.purge.keep != "files":
        chosen = folders_to_delete(trash, decisions)
        with reporter.phase(Phase.MEASURE, {"files": len(chosen)}):
            locations = [e.artifact_location for e in trash.inventory.experiments.values()]
            withheld, measured = measure_trash(chosen, locations, stores, reporter)
        if withheld:
            decisions = decide_trash(trash, policy, only=only, withheld=withheld)
        if policy.purge.orphans_after_ms is not None and only is None:
            with reporter.phase(Phase.MEASURE):
                measured = with_orphans(measured, files, database, reporter)
            named = named_in_registry(trash.inventory)
            of_files = {
                (FILE.name, uri): decide_orphan(orphan, policy, named)
                for uri, orphan in measured.orphans.items()
            }
            decisions = replace(decisions, by_key={**decisions.by_key, **of_files})
    measured = replace(measured, row_bytes=_row_bytes(database))
    if policy.purge.orphans_after_ms is not None and (sentence := database.unknown_links):
        note = Diagnostic(UNKNOWN_LINKS, sentence)
        measured = replace(measured, diagnostics=(*measured.diagnostics, note))
    plan = build_purge_plan(trash, decisions, policy, server, measured)
    if found := schema.problems(plan, "plan"):
        raise GcError(
            "The trash has something that a plan cannot express. " + "; ".join(found),
            hint="Nothing was written. This is a defect of mlflow-gc: please report it.",
        )
    return plan


def database_of(gateway: Gateway) -> Address:
    """Return the database of a server.

    Raises:
        UsageProblem: None was named, or it cannot be read directly.
        Refused: The model registry is elsewhere, so what protects cannot be seen.
    """
    address = gateway.database
    if address is None:
        raise UsageProblem(
            "The trash can only be read and purged in the database of the server: MLflow's API "
            "neither lists deleted logged models nor deletes anything permanently.",
            hint="Name it with --backend-store-uri or MLFLOW_BACKEND_STORE_URI, as the server was "
            "started. How to run it beside the server in Kubernetes: "
            "https://github.com/mlflow-gc/mlflow-gc/blob/main/docs/how-to/purge.md",
        )
    address.refuse_unreadable()
    if gateway.registry_is_separate:
        raise Refused(
            "The model registry is on another server, so this database does not show which runs its "
            "model versions need.",
            hint="Purge where tracking server and registry share a database.",
        )
    return address


def _read_trash(
    address: Address,
    server: ServerInfo,
    policy: Policy,
    stores: ArtifactStores,
    files: StoredFiles,
) -> tuple[Trash, DatabaseUsage]:
    """Read the trash, what may still need it, and what takes space, in one snapshot.

    ``files`` gets all locations.

    Raises:
        ServerError: the database cannot be read.
        Refused: it is of another server.
    """
    try_database(address, any_version=True)
    with Snapshot(address) as snapshot:
        refuse_other_database(snapshot, server.identity, server.tracking_uri, server.workspace)
        tables = Tables(snapshot.reflect())
        reader = TrashReader(
            tables, snapshot.read, server.workspace, policy.wanted, stores.place_of
        )
        return reader.trash(), UsageReader(snapshot).read(files)


def _row_bytes(database: DatabaseUsage) -> float:
    """Return the mean size of the rows in the trash, with their indexes, in bytes."""
    found = [sizes for group, sizes in bytes_by_group(database).items() if group.stage == TRASH]
    return sum(a + b for _, a, b in found) / (sum(rows for rows, _, _ in found) or 1)


def deleted_by(journal: Path) -> dict[Key, int]:
    """Return what a prune deleted and nobody restored, by its journal and that of its restores.

    Returns:
        For each entity the time until which the prune may have deleted it, ms since the epoch, by the
        clock of the server.  What was moved to the trash later had been restored, and was deleted by
        somebody else.  The time is that of the last record for all, because deleting an experiment
        sets the time of its runs again
        (docs/explanation/mlflow-facts.md#deleting-again-resets-the-clock).

    Raises:
        GcError: One is not a journal, or cannot be read.
    """
    sessions = read_journal(journal)
    deleted = deleted_before(sessions, read_sessions(restore_path(journal)))
    latest_ms = (
        max(
            parse_time(record["time"]) + session.header.get("clock_skew_ms", 0)
            for session in sessions
            for record in session.records
        )
        if deleted
        else 0
    )
    return dict.fromkeys(deleted, latest_ms + _JOURNAL_MARGIN_MS)
