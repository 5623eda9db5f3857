"""From the trash of a server to a purge plan, and applying one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow_gc.apply.journal.file import (
    Journal,
    read_journal,
    read_sessions,
    restore_path,
    sessions_beside,
)
from mlflow_gc.apply.outcomes import deleted_before
from mlflow_gc.apply.purge.database import Database
from mlflow_gc.apply.purge.files import root_of
from mlflow_gc.apply.purge.maintenance import Maintenance, maintenance
from mlflow_gc.apply.purge.purged_kinds import WITH_FILES, folders_of
from mlflow_gc.apply.purge.purger import Budget, Purger
from mlflow_gc.apply.purge.record import Freed
from mlflow_gc.apply.recheck.checker import Finding
from mlflow_gc.apply.recheck.live_guards import local_maxima
from mlflow_gc.backend.address import DIRECTLY_READABLE, Address
from mlflow_gc.backend.interface import Gateway
from mlflow_gc.backend.sql_connection import try_database
from mlflow_gc.domain.entities import Diagnostic, ServerInfo
from mlflow_gc.domain.kinds import EXPERIMENT, FILE, LOGGED_MODEL, PURGE, RUN, kinds_of
from mlflow_gc.domain.quantities import files_of, number_of, size_of
from mlflow_gc.domain.reasons import Link
from mlflow_gc.domain.redaction import hide
from mlflow_gc.domain.tag_selection import ALWAYS_WANTED
from mlflow_gc.domain.timestamps import parse_time
from mlflow_gc.domain.trash import Key, OrphanedFiles, Trash
from mlflow_gc.errors import GcError, Refused, UsageProblem
from mlflow_gc.inventory.database_usage import UNKNOWN_LINKS, DatabaseUsage, bytes_by_group
from mlflow_gc.inventory.sql.identity import refuse_other_server as refuse_other_database
from mlflow_gc.inventory.sql.snapshot import Snapshot
from mlflow_gc.inventory.sql.tables import Tables
from mlflow_gc.inventory.sql.trash import TrashReader
from mlflow_gc.inventory.sql.usage import UsageReader
from mlflow_gc.inventory.stored_files import StoredFiles, newest
from mlflow_gc.plan import schema
from mlflow_gc.plan.document import Plan, deletions_of
from mlflow_gc.plan.purge_builder import Measured, Size, build_purge_plan
from mlflow_gc.plan.sharding import Part, Shard, part_of
from mlflow_gc.plan.verification import refuse_action
from mlflow_gc.retention.decision import Decision, Reason, Verdict, protect
from mlflow_gc.retention.freed_space import TRASH
from mlflow_gc.retention.guards import Share, Tally, exceeded
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.trash import (
    TrashDecisions,
    decide_orphan,
    decide_trash,
    named_in_registry,
)
from mlflow_gc.settings import redact_uri
from mlflow_gc.storage.interface import Store, StoreError, UnreadableFolders
from mlflow_gc.storage.stores import ArtifactStores
from mlflow_gc.workflows.apply import Applied, collected
from mlflow_gc.workflows.reporter import Phase, Reporter
from mlflow_gc.workflows.server import graceful_stop, refuse_other_server

_PROBES = 100
"""Most experiments whose folder is looked for in an artifact root."""

_JOURNAL_MARGIN_MS = 5 * 60_000
"""What the clocks of a server and of a prune may differ by in addition to what the prune measured."""

KEPT_VERSIONS = "kept_versions"
"""Diagnostic code: a store keeps deleted files as old versions."""

UNFINISHED_UPLOADS = "unfinished_uploads"
"""Diagnostic code: a store holds parts of uploads that no listing shows."""

FILES_UNKNOWN = "files_unknown"
"""Diagnostic code: files could not be listed, so that orphaned ones among them are not found."""

UNKNOWN_LAYOUT = "unknown_layout"
"""Diagnostic code: artifact stores hold files that are not where MLflow keeps its own."""


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
        trash, database = read_trash(address, server, policy, stores, files)
    decisions = decide_trash(trash, policy, only=only)
    measured = Measured()
    if policy.purge.keep != "files":
        chosen = folders_to_delete(trash, decisions)
        with reporter.phase(Phase.MEASURE, {"files": len(chosen)}):
            homes = [e.artifact_location for e in trash.inventory.experiments.values()]
            withheld, measured = _measure(chosen, homes, stores, reporter)
        if withheld:
            decisions = decide_trash(trash, policy, only=only, withheld=withheld)
        if policy.purge.orphans_after_ms is not None and only is None:
            with reporter.phase(Phase.MEASURE):
                orphans, notes = _orphans(files, database, reporter)
            named = named_in_registry(trash.inventory)
            of_files = {(FILE.name, i): decide_orphan(o, policy, named) for i, o in orphans.items()}
            decisions = replace(decisions, by_key={**decisions.by_key, **of_files})
            keeping = [root.uri for root in files.roots if root.notes.keeps_versions]
            if not measured.retaining:
                notes += map(_keeps_versions, keeping)
            measured = replace(
                measured,
                orphans=orphans,
                retaining=measured.retaining or bool(keeping),
                diagnostics=(*measured.diagnostics, *notes),
            )
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
    if address.database not in DIRECTLY_READABLE:
        raise UsageProblem(
            f"{address.name} is not a database that can be read directly.",
            hint="It begins with sqlite://, postgresql:// or mysql:// (which is for MariaDB, too).",
        )
    if gateway.registry_is_separate:
        raise Refused(
            "The model registry is on another server, so this database does not show which runs its "
            "model versions need.",
            hint="Purge where tracking server and registry share a database.",
        )
    return address


def read_trash(
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


def _orphans(
    files: StoredFiles, database: DatabaseUsage, reporter: Reporter
) -> tuple[dict[str, OrphanedFiles], list[Diagnostic]]:
    """List everything; return the files of entities that are in no table, by folder, and notes."""
    found: dict[str, OrphanedFiles] = {}
    unknown, example = Size(), ""
    for owner, place, file in files.without_entity(database.home_of):
        if not owner.is_orphan:
            unknown = Size(unknown.size_bytes + file.size_bytes, unknown.file_count + 1)
            example = example or redact_uri(f"{place.store.uri.rstrip('/')}/{file.path}")
            continue
        parts = file.path.split("/")
        folder = "/".join(parts[: parts.index(owner.id) + 1])
        uri = redact_uri(f"{place.store.uri.rstrip('/')}/{folder}")
        known = found.get(uri)
        if known is None:
            reporter.advance("files", 1)
            entity = f"{owner.kind} {owner.id}"
            found[uri] = OrphanedFiles(uri, entity, file.size_bytes, 1, file.modified_ms)
            continue
        found[uri] = OrphanedFiles(
            uri,
            known.entity,
            known.size_bytes + file.size_bytes,
            known.file_count + 1,
            newest(known.newest_ms, file.modified_ms),
        )
    notes = [Diagnostic(FILES_UNKNOWN, text) for text in (*files.unlisted(), *files.problems)]
    if unknown.file_count:
        sentence = (
            f"{files_of(unknown.file_count, unknown.size_bytes)} in the artifact stores are not where "
            f"MLflow keeps its own, and no purge deletes them, for example {example}."
        )
        notes.append(Diagnostic(UNKNOWN_LAYOUT, hide(sentence)))
    return found, notes


def deleted_by(journal: Path) -> dict[Key, int]:
    """Return what a prune deleted and nobody restored, by its journal and that of its restores.

    Returns:
        For each the time after which this prune deleted nothing, ms since the epoch, by the clock of the
        server: what is in the trash since later was restored in another way.  It is the same for all,
        because deleting an experiment sets the time of its runs again
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


def folders_to_delete(trash: Trash, decisions: TrashDecisions) -> dict[Key, list[str]]:
    """Return the URIs of the folders whose files are deleted with each entity."""
    return {
        (kind, i): folders_of(kind, i, trash)
        for kind in (purged.kind.name for purged in WITH_FILES)
        for i in decisions.of(kind, Verdict.DELETE)
    }


def placed(
    chosen: Mapping[Key, Sequence[str]], homes: Iterable[str], stores: ArtifactStores
) -> tuple[dict[Store, dict[str, Key]], dict[Key, Decision]]:
    """Find the folders of entities; nothing is listed.

    Args:
        chosen: the URIs of the folders of each.
        homes: the artifact locations of all experiments.
        stores: of the artifacts.

    Returns:
        The entities by store and folder, and what the stores protect.
    """
    roots = _roots(homes, stores)
    withheld: dict[Key, Decision] = {}
    by_store: dict[Store, dict[str, Key]] = defaultdict(dict)
    for key, uris in chosen.items():
        try:
            for place in map(stores.find, uris):
                by_store[place.store][place.folder] = key
        except StoreError as error:
            withheld[key] = _unreachable(error.message)
    safe = {s: dict(_safe(s, of_store, roots, withheld)) for s, of_store in by_store.items()}
    return safe, withheld


def _unreachable(why: str) -> Decision:
    return protect(Reason.UNREACHABLE_STORE, Link(note=why))


def _measure(
    chosen: Mapping[Key, Sequence[str]],
    homes: Iterable[str],
    stores: ArtifactStores,
    reporter: Reporter,
) -> tuple[dict[Key, Decision], Measured]:
    """List the files of entities; return what the stores protect, and the sizes.

    ``homes`` are the artifact locations of all experiments.
    """
    by_store, withheld = placed(chosen, homes, stores)
    sizes: dict[Key, Size] = {}
    diagnostics: list[Diagnostic] = []
    retaining = False
    for store, safe in by_store.items():
        try:
            try:
                for folder, files in store.files_of(sorted(safe)):
                    size = sum(file.size_bytes for file in files)
                    known = sizes.get(safe[folder], Size())
                    number = known.file_count + len(files)
                    sizes[safe[folder]] = Size(known.size_bytes + size, number)
                    reporter.advance("files", 1)
            except UnreadableFolders as error:
                withheld |= {safe[f]: _unreachable(why) for f, why in error.folders.items()}
            notes = [store.notes(root) for root in sorted({root_of(f) for f in safe})]
        except StoreError as error:
            withheld |= dict.fromkeys(safe.values(), _unreachable(error.message))
            continue
        if any(note.keeps_versions for note in notes):
            retaining = True
            diagnostics.append(_keeps_versions(store.uri))
        if uploads := sum(note.unfinished_uploads for note in notes):
            size = sum(note.unfinished_bytes for note in notes)
            diagnostics.append(
                Diagnostic(
                    UNFINISHED_UPLOADS,
                    f"{store.uri} holds {number_of(uploads, 'unfinished upload', 'unfinished uploads')} "
                    f"({size_of(size)}), which no purge deletes.",
                )
            )
    return withheld, Measured(sizes=sizes, retaining=retaining, diagnostics=tuple(diagnostics))


def _keeps_versions(uri: str) -> Diagnostic:
    return Diagnostic(
        KEPT_VERSIONS,
        f"{uri} keeps deleted files as old versions: their space is returned when its lifecycle rule "
        "deletes these.",
    )


def _roots(homes: Iterable[str], stores: ArtifactStores) -> dict[tuple[str, str], list[str]]:
    """Return the folders of experiments by store and the folder in which they are."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for uri in homes:
        with suppress(StoreError):  # it protects what is in it by itself
            place = stores.find(uri)
            found[place.store.uri, place.folder.rpartition("/")[0]].append(place.folder)
    return found


def _safe(
    store: Store,
    of_store: Mapping[str, Key],
    roots: Mapping[tuple[str, str], Sequence[str]],
    withheld: dict[Key, Decision],
) -> Iterator[tuple[str, Key]]:
    """Yield the folders that may be listed; note why the others protect.

    An artifact root that has a folder of none of its experiments is not mounted, or is that of
    another server.
    """
    problems: dict[str, str | None] = {}
    for folder, key in of_store.items():
        root = root_of(folder)
        if root not in problems:
            # Those with the highest ids are the last that were made.
            folders = roots.get((store.uri, root), ())[-_PROBES:]
            if not folders and key[0] == EXPERIMENT.name:
                folders = [root]  # of archived traces, where no experiment is located
            problems[root] = _root_problem(store, root, folders)
        try:
            linked = store.linked_parent(folder)
        except UnreadableFolders as error:
            withheld[key] = _unreachable(error.message)
            continue
        problem = f"{linked} is a symbolic link" if linked else problems[root]
        if problem:
            withheld[key] = _unreachable(problem)
        else:
            yield folder, key


def _root_problem(store: Store, root: str, folders: Iterable[str]) -> str | None:
    """Return why nothing below an artifact root may be deleted, for people; None if it may.

    ``folders`` are those of experiments in it.
    """
    problem = (
        f"{store.uri} has no files of any experiment below {root!r}; is it mounted? "
        "If there never were files, use --keep-files"
    )
    for folder in folders:
        try:
            if store.is_there(folder):
                return None
        except UnreadableFolders as error:
            problem = error.message
        except StoreError as error:
            return error.message
    return problem


@dataclass(kw_only=True)
class Purged(Applied):
    """The result of applying a purge plan.

    Attributes:
        freed: files and rows.
        database_bytes: size of the database before and after, with the maintenance if it was requested.
        reusable_bytes: estimated space of the deleted rows, which the database uses again.
        maintenance: statements that return the space of the rows to the disk, unless they were
            executed.
    """

    freed: Freed
    database_bytes: tuple[int, int] = (0, 0)
    reusable_bytes: int = 0
    maintenance: Sequence[Maintenance] = ()


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
        address = database_of(gateway)
        try_database(address, any_version=True)
        from mlflow_gc.backend.server_identity import read_server_info

        with Snapshot(address) as snapshot:
            server = read_server_info(gateway)
            refuse_other_database(snapshot, server.identity, server.tracking_uri, server.workspace)
    with (
        Database(address, read_only=check_only) as database,
        graceful_stop(gateway, reporter, dry_run=dry_run) as (
            stop,
            signals,
        ),
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
            totals = {kind: len(deletions_of(part.plan, kind)) for kind in kinds_of(plan)}
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
        after = database.size_bytes()
        statements = [*maintenance(database, purger.freed.by_table)]
        # Who stops a purge does not wait for this, which takes longer.
        if vacuum and not (result.interrupted or result.fatal):
            for one in statements:
                reporter.note(f"{one.statement} (up to about {one.duration})")
                database.maintain(one.statement)
            after, statements = database.size_bytes(), []
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
    )


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
    planned = {kind: len(deletions_of(plan, kind)) for kind in kinds_of(plan)}
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
