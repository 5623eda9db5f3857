"""What takes space on a server, and how much of it a purge would free."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import mlflow_gc
from mlflow_gc.backend.address import Address
from mlflow_gc.backend.interface import ServerError
from mlflow_gc.domain.kinds import KINDS as KINDS_OF_PLAN
from mlflow_gc.domain.redaction import hide
from mlflow_gc.domain.timestamps import format_ms, now_ms
from mlflow_gc.errors import UsageProblem
from mlflow_gc.inventory.entity_counts import read_entities
from mlflow_gc.inventory.sql.identity import refuse_other_server
from mlflow_gc.inventory.sql.snapshot import Snapshot
from mlflow_gc.inventory.sql.tables import Tables
from mlflow_gc.inventory.sql.trash import TrashReader
from mlflow_gc.inventory.sql.usage import DatabaseUsage, Group, UsageReader, bytes_by_group
from mlflow_gc.inventory.stored_files import UNKNOWN as UNKNOWN_LAYOUT
from mlflow_gc.inventory.stored_files import Owner, Size, StoredFiles
from mlflow_gc.plan.document import Json
from mlflow_gc.plan.schema import USAGE_SCHEMA_ID
from mlflow_gc.retention.decision import Verdict
from mlflow_gc.retention.freed_space import (
    EXPERIMENT,
    FILE,
    KINDS,
    LOGGED_MODEL,
    MODEL_VERSION,
    ORPHANED,
    REGISTERED_MODEL,
    RUN,
    STAGES,
    UNKNOWN,
    freed,
)
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.trash import decide_trash
from mlflow_gc.settings import ARTIFACTS_DESTINATION, Connection, resolve
from mlflow_gc.storage.stores import ArtifactStores
from mlflow_gc.workflows.report import survey
from mlflow_gc.workflows.reporter import Phase, Reporter
from mlflow_gc.workflows.server import open_server

FORMAT = "mlflow-gc/usage"
FORMAT_VERSION = "1.0"

LARGEST = 20
"""Number of experiments, models and owners that are listed."""


@dataclass
class Sums:
    """The space of some entities; bytes of a share of a table are not whole."""

    count: int = 0
    rows: int = 0
    table_bytes: float = 0
    index_bytes: float = 0
    files: int = 0
    file_bytes: int = 0
    version_bytes: int = 0

    def add(self, other: Sums) -> None:
        """Add other sums."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @property
    def database_bytes(self) -> int:
        """The bytes of tables and indexes, each rounded."""
        return round(self.table_bytes) + round(self.index_bytes)


@dataclass(frozen=True)
class _Measured:
    database: DatabaseUsage
    files: StoredFiles
    sizes: Mapping[Owner, Size]


def measure_usage(
    connection: Connection,
    reporter: Reporter,
    *,
    policy: Policy,
    artifacts_destination: str | None = None,
    stale: bool = False,
    verbose: bool = False,
) -> Json:
    """Measure a server by its database, of any version of MLflow, and its artifact stores.

    Without a database, entities are counted over its API, and only files have bytes.

    Args:
        connection: of a database, or of a server; a server beside a database has to be that of it.
        reporter: receives the progress.
        policy: what a purge by it would not delete is not freed.
        artifacts_destination: where the server keeps the files that it passes on.
        stale: tell what a prune by the policy would delete apart; this reads the server like a
            report.
        verbose: report the origin of each setting.

    Returns:
        A document (``mlflow-gc schema usage``).

    Raises:
        UsageProblem: A setting cannot be used.
        ServerError: The database cannot be read.  A store that cannot be listed is a diagnostic.
        Refused: The database is of another server.
    """
    from mlflow_gc.backend.connect import database_of
    from mlflow_gc.backend.sql_connection import try_database

    with reporter.phase(Phase.LOAD):
        address = database_of(connection)
    # Not over the server, which lists one folder in a request.
    destination = resolve(ARTIFACTS_DESTINATION, artifacts_destination)
    files = StoredFiles(ArtifactStores(artifacts_destination=destination.text))
    if address is None:
        if stale:
            raise UsageProblem(
                "--stale needs the database of the server.",
                hint="Name it with --backend-store-uri, or use report.",
            )
        gateway = open_server(connection, verbose=verbose, reporter=reporter)
        with reporter.phase(Phase.CONNECT):
            uri = gateway.server_metadata().tracking_uri
        with reporter.phase(Phase.SCAN):
            entities = read_entities(gateway, files, reporter.advance)
        with reporter.phase(Phase.MEASURE):
            sizes = files.measure(entities.home_of, reporter.advance)
        return _document(_Measured(entities, files, sizes), None, uri)
    with reporter.phase(Phase.CONNECT):
        try_database(address, any_version=True)
        server = _server(connection, reporter, verbose=verbose)
    not_purged = _not_purged(address, policy)
    to_prune = _stale(connection, policy, reporter) if stale else None
    with Snapshot(address) as snapshot, reporter.phase(Phase.SCAN):
        reader = UsageReader(snapshot, not_purged=not_purged, stale=to_prune)
        if server is not None:
            refuse_other_server(snapshot, *server)
        database = reader.read(files)
    with reporter.phase(Phase.MEASURE):
        sizes = files.measure(database.home_of, reporter.advance)
    return _document(_Measured(database, files, sizes), address, server and server[1])


def _not_purged(address: Address, policy: Policy) -> dict[str, set[str]]:
    """Return what a purge would not delete from the trash, by kind.

    Empty if this account may not read what may need it; the document names such tables.
    """
    try:
        # In a transaction of its own, which a table that may not be read ends.
        with Snapshot(address) as snapshot:
            tables = Tables(snapshot.reflect())
            reader = TrashReader(tables, snapshot.read, None, policy.wanted)
            trash = reader.trash(counts_rows=False)
    except (ServerError, KeyError):  # or a table is missing, which only a test has
        return {}
    found: dict[str, set[str]] = defaultdict(set)
    for (kind, entity_id), decision in decide_trash(trash, policy).by_key.items():
        if decision.verdict is not Verdict.DELETE:
            found[kind].add(entity_id)
    return found


def _stale(
    connection: Connection, policy: Policy, reporter: Reporter
) -> dict[str, Collection[object]]:
    """Return the ids by kind of what a prune would delete now."""
    if connection.tracking_uri.text is None:
        connection = replace(connection, tracking_uri=connection.backend_store_uri)
    gateway = open_server(connection, verbose=False, reporter=reporter)
    _, decisions, _ = survey(gateway, policy, reporter)
    return {
        KINDS_OF_PLAN[kind].name: {i for i, d in of_kind.items() if d.verdict is Verdict.DELETE}
        for kind, of_kind in decisions.by_kind.items()
    }


def _server(connection: Connection, reporter: Reporter, *, verbose: bool) -> tuple[str, str] | None:
    """Return the fingerprint and URI of the server that is named beside a database, if any."""
    uri = connection.tracking_uri
    if uri.text is None or Address.of(uri.text, uri, "tracking URI").is_database:
        if verbose:
            for line in connection.describe():
                reporter.note(line)
        return None
    from mlflow_gc.backend.server_identity import read_server_info

    server = read_server_info(open_server(connection, verbose=verbose, reporter=reporter))
    return server.identity, server.tracking_uri


def _document(found: _Measured, address: Address | None, server: str | None) -> Json:
    database, files = found.database, found.files
    groups = _by_group(found)
    rows = list(_rows(groups))
    was_listed = any(root.is_complete or root.size.files for root in files.roots)
    diagnostics = list(_diagnostics(found))
    document: Json = {
        "$schema": USAGE_SCHEMA_ID,
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "measured_at": format_ms(now_ms()),
        "tool": {"name": "mlflow-gc", "version": mlflow_gc.__version__},
        "server": {"tracking_uri": server, "database": address and hide(address.shown)},
        "complete": not (files.problems or files.unlisted()),
        "diagnostics": diagnostics,
        "database": address
        and {
            "kind": database.kind,
            "total_bytes": database.total_bytes,
            "table_bytes": sum(t.table_bytes or 0 for t in database.tables.values()),
            "index_bytes": sum(t.index_bytes or 0 for t in database.tables.values()),
            "reusable_bytes": database.reusable_bytes,
            "sizes_are_estimates": database.sizes_are_estimates,
            "tables": [
                {"name": name, **vars(t)}
                for name, t in sorted(
                    database.tables.items(),
                    key=lambda item: (
                        -(item[1].table_bytes or 0) - (item[1].index_bytes or 0),
                        item,
                    ),
                )
            ],
        },
        "stores": [
            {
                "uri": root.uri,
                "complete": root.is_complete,
                "keeps_versions": root.notes.keeps_versions,
                "files": root.size.files,
                "file_bytes": root.size.bytes,
            }
            for root in files.roots
        ],
        "files_measured": was_listed or not (files.problems or files.unlisted()),
        "rows": rows,
        "totals": {
            key: sum(row[key] for row in rows)
            for key in rows[0]
            if key not in {"kind", "stage", "count"}
        },
        "largest": _largest(groups, database),
        "growth": _growth(groups),
    }
    return document


def _by_group(found: _Measured) -> dict[Group, Sums]:
    database = found.database
    groups: dict[Group, Sums] = {}

    def of(group: Group) -> Sums:
        return groups.setdefault(group, Sums())

    for group, (rows, table_bytes, index_bytes) in bytes_by_group(database).items():
        of(group).add(Sums(0, rows, table_bytes, index_bytes))
    for kind, entities in database.groups.items():
        for group, count in Counter(entities.values()).items():
            # Versions of prompts are rows of their prompt.
            if kind != MODEL_VERSION or group.kind == MODEL_VERSION:
                of(group).count += count
    for name in ("inputs", "entity_associations"):
        for group, rows in database.rows.get(name, {}).items():
            of(group).count += rows
    for owner, size in found.sizes.items():
        if owner == UNKNOWN_LAYOUT:
            group, count = Group(FILE, UNKNOWN), 0
        elif owner.is_orphan:
            group, count = Group(FILE, ORPHANED), 1
        else:
            group, count = database.groups[owner.kind][owner.id], 0
        of(group).add(Sums(count, 0, 0, 0, size.files, size.bytes, size.later_bytes))
    return groups


def _summed(groups: Mapping[Group, Sums], key: Callable[[Group], Any]) -> dict[Any, Sums]:
    found: dict[Any, Sums] = {}
    for group, sums in groups.items():
        if (of := key(group)) is not None:
            found.setdefault(of, Sums()).add(sums)
    return found


def _rows(groups: Mapping[Group, Sums]) -> Iterator[Json]:
    """Yield a row for each kind and stage with anything in it."""
    parts = _summed(groups, lambda g: (g.kind, g.stage, g.is_retained))
    for kind in KINDS:
        for stage in STAGES:
            both = [(r, parts[kind, stage, r]) for r in (False, True) if (kind, stage, r) in parts]
            if not both:
                continue
            total = Sums()
            returned = [0, 0, 0]
            for is_retained, sums in both:
                total.add(sums)
                of_part = freed(
                    kind,
                    stage,
                    database_bytes=sums.database_bytes,
                    file_bytes=sums.file_bytes,
                    version_bytes=sums.version_bytes,
                    is_retained=is_retained,
                )
                returned = [a + b for a, b in zip(returned, of_part, strict=True)]
            yield {
                "kind": kind,
                "stage": stage,
                "count": total.count,
                "rows": total.rows,
                "table_bytes": sum(round(sums.table_bytes) for _, sums in both),
                "index_bytes": sum(round(sums.index_bytes) for _, sums in both),
                "files": total.files,
                "file_bytes": total.file_bytes,
                "freed_at_once_bytes": returned[0],
                "freed_later_bytes": returned[1],
                "not_freed_bytes": returned[2],
            }


def _space(sums: Sums) -> Json:
    return {
        "rows": sums.rows,
        "database_bytes": sums.database_bytes,
        "files": sums.files,
        "file_bytes": sums.file_bytes,
    }


def _largest(groups: Mapping[Group, Sums], database: DatabaseUsage) -> Json:
    experiments = _summed(groups, lambda g: g.experiment or None)
    first, others = _split(experiments)
    parts: dict[str, dict[tuple[str, str], Sums]] = {}
    known = {i for i, _ in first}
    for group, sums in groups.items():
        if group.experiment:
            of = parts.setdefault(group.experiment if group.experiment in known else "", {})
            of.setdefault((group.kind, group.stage), Sums()).add(sums)
    models = _summed(groups, lambda g: g.item if g.kind == LOGGED_MODEL and g.item else None)
    registered = _summed(
        groups, lambda g: g.item if g.kind in {REGISTERED_MODEL, MODEL_VERSION} and g.item else None
    )
    owners = _summed(groups, lambda g: g.owner if g.experiment and g.owner else None)
    return {
        "experiments": [
            {
                "experiment_id": i,
                "name": database.names.get((EXPERIMENT, i), ""),
                **_space(sums),
                "parts": _parts(parts.get(i, {})),
            }
            for i, sums in first
        ],
        "other_experiments": {
            "count": len(experiments) - len(first),
            **_space(others),
            "parts": _parts(parts.get("", {})),
        },
        "logged_models": [
            {
                "model_id": i,
                "name": database.names.get((LOGGED_MODEL, i)) or "",
                "experiment_id": database.home_of(LOGGED_MODEL, i),
                **_space(sums),
            }
            for i, sums in _split(models)[0]
        ],
        "registered_models": [
            {"name": name, "rows": sums.rows, "database_bytes": sums.database_bytes}
            for name, sums in _split(registered)[0]
        ],
        "owners": [{"user_id": owner, **_space(sums)} for owner, sums in _split(owners)[0]],
    }


def _split(sums_of: Mapping[str, Sums]) -> tuple[list[tuple[str, Sums]], Sums]:
    """Return the largest, and the sum of the others."""
    ranked = sorted(
        sums_of.items(), key=lambda item: (-item[1].database_bytes - item[1].file_bytes, item[0])
    )
    others = Sums()
    for _, sums in ranked[LARGEST:]:
        others.add(sums)
    return ranked[:LARGEST], others


def _parts(found: Mapping[tuple[str, str], Sums]) -> list[Json]:
    return [
        {"kind": kind, "stage": stage, **_space(found[kind, stage])}
        for kind in KINDS
        for stage in STAGES
        if (kind, stage) in found
    ]


def _growth(groups: Mapping[Group, Sums]) -> list[Json]:
    """Return what was started or created in each month, oldest first; of unknown time last."""
    months = _summed(groups, lambda g: g.month if g.experiment or g.month else None)
    return [
        {"month": month or None, **_space(months[month])}
        for month in sorted(months, key=lambda month: (not month, month))
    ]


def _diagnostics(found: _Measured) -> Iterable[Json]:
    database, files = found.database, found.files
    used = {
        group.experiment
        for kind in (RUN, LOGGED_MODEL)
        for group in set(database.groups.get(kind, {}).values())
    }

    def of(code: str, message: str) -> Json:
        return {"code": code, "message": message}

    if not database.kind:
        yield of(
            "no_database",
            "Rows and bytes of the database, deleted logged models and orphaned files cannot be told "
            "over the API of a server. Name its database: --backend-store-uri.",
        )
    for message in (*files.unlisted(), *files.problems):
        yield of("files_unknown", message)
    for root in files.roots:
        if root.is_complete and not root.is_there and root.experiments & used:
            yield of(
                "root_empty",
                f"{root.uri} does not exist or is empty, although runs or models are located in it. Is "
                "its volume mounted?",
            )
        if root.notes.keeps_versions:
            yield of(
                "keeps_versions",
                f"{root.uri} keeps old versions of deleted files: their space is returned when its "
                "lifecycle rules remove them.",
            )
        if root.notes.unfinished_uploads:
            yield of(
                "unfinished_uploads",
                f"{root.uri} has {root.notes.unfinished_uploads:,} unfinished uploads of "
                f"{root.notes.unfinished_bytes:,} bytes, which no listing shows.",
            )
        for sentence in root.notes.unknown:
            yield of("store_notes", f"{root.uri}: {hide(sentence)}")
    if database.unreadable:
        yield of(
            "unreadable_tables",
            "The account may not read these tables, so their bytes are those of other tables: "
            f"{', '.join(database.unreadable)}.",
        )
    if database.untimed_runs:
        yield of(
            "no_deletion_time",
            f"{database.untimed_runs:,} runs in the trash have no time of deletion, so purge does not "
            "delete them.",
        )
    if database.sizes_are_estimates:
        yield of(
            "sizes_are_estimates",
            "The bytes of tables and indexes are estimates of the database.",
        )
