"""What takes space on a server, and how much of it a purge would free."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace

from mlflow_gc.backend.address import Address
from mlflow_gc.backend.interface import Gateway, ServerError
from mlflow_gc.domain.kinds import KINDS as KINDS_OF_PLAN
from mlflow_gc.domain.reasons import Link
from mlflow_gc.domain.trash import OrphanedFiles
from mlflow_gc.errors import UsageProblem
from mlflow_gc.inventory.entity_counts import read_entities
from mlflow_gc.inventory.file_sample import FileSample
from mlflow_gc.inventory.sql.identity import refuse_other_server
from mlflow_gc.inventory.sql.snapshot import Snapshot
from mlflow_gc.inventory.sql.tables import Tables
from mlflow_gc.inventory.sql.trash import TrashReader
from mlflow_gc.inventory.sql.usage import UsageReader
from mlflow_gc.inventory.stored_files import Owner, StoredFiles, StoredSize
from mlflow_gc.plan.document import Json
from mlflow_gc.retention.decision import Verdict
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.trash import decide_orphan, decide_trash, named_in_registry
from mlflow_gc.settings import ARTIFACTS_DESTINATION, Connection, resolve
from mlflow_gc.storage.stores import ArtifactStores
from mlflow_gc.workflows.report import read_and_decide
from mlflow_gc.workflows.reporter import Phase, Reporter
from mlflow_gc.workflows.server import open_server
from mlflow_gc.workflows.trash_files import folders_to_delete, placed
from mlflow_gc.workflows.usage_document import Measured, usage_document


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

    Without a database, entities are counted over its API, and only files have bytes; those behind
    the server are estimated from a sample.

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
    destination = resolve(ARTIFACTS_DESTINATION, artifacts_destination).text
    if address is None:
        if stale:
            raise UsageProblem(
                "--stale needs the database of the server.",
                hint="Name it with --backend-store-uri, or use report.",
            )
        gateway = open_server(connection, verbose=verbose, reporter=reporter)
        return _measure_server(gateway, destination, reporter)
    # Not over the server, which lists one folder in a request.
    stores = ArtifactStores(artifacts_destination=destination)
    files = StoredFiles(stores)
    with reporter.phase(Phase.CONNECT):
        try_database(address, any_version=True)
        server = _server(connection, reporter, verbose=verbose)
    with reporter.phase(Phase.SCAN):
        purged, named = _purged(address, policy, stores)
    to_prune = _stale(connection, policy, reporter) if stale else None
    with Snapshot(address) as snapshot, reporter.phase(Phase.SCAN):
        reader = UsageReader(snapshot, purged=purged or {}, stale=to_prune)
        if server is not None:
            refuse_other_server(snapshot, *server)
        database = reader.read(files)
    with reporter.phase(Phase.MEASURE):
        sizes = files.measure(database.experiment_of, reporter.advance)
    found = Measured(
        database,
        files,
        sizes,
        retained=_retained(sizes, policy, named),
        is_decided=purged is not None,
    )
    return usage_document(found, address, server and server[1])


def _measure_server(gateway: Gateway, destination: str | None, reporter: Reporter) -> Json:
    """Measure a server without its database."""
    with reporter.phase(Phase.CONNECT):
        uri = gateway.server_metadata().tracking_uri
        server = gateway.artifacts()
    stores = ArtifactStores(artifacts_destination=destination, server=server)
    files = StoredFiles(stores)
    sample = FileSample(stores, server, gateway.max_parallel)
    with reporter.phase(Phase.SCAN):
        entities = read_entities(gateway, files, sample, reporter.advance)
    with reporter.phase(Phase.MEASURE):
        sizes = files.measure(entities.experiment_of, reporter.advance)
        sample.measure(reporter.advance)
    return usage_document(Measured(entities, files, sizes, sample=sample), None, uri)


def _purged(
    address: Address, policy: Policy, stores: ArtifactStores
) -> tuple[dict[str, set[str]] | None, Mapping[str, Link]]:
    """Return the ids by kind of what a purge would delete now, by its own rule.

    None if this account may not read what may need it; the document names such tables.  Also return
    what the registry names.
    """
    try:
        # In a transaction of its own, which a table that may not be read ends.
        with Snapshot(address) as snapshot:
            tables = Tables(snapshot.reflect())
            reader = TrashReader(tables, snapshot.read, None, policy.wanted, stores.place_of)
            trash = reader.trash(counts_rows=False)
    except (ServerError, KeyError):  # or a table is missing, which only a test has
        return None, {}
    decisions = decide_trash(trash, policy)
    locations = [e.artifact_location for e in trash.inventory.experiments.values()]
    _, withheld = placed(folders_to_delete(trash, decisions), locations, stores)
    if withheld:
        decisions = decide_trash(trash, policy, withheld=withheld)
    found: dict[str, set[str]] = defaultdict(set)
    for (kind, entity_id), decision in decisions.by_key.items():
        if decision.verdict is Verdict.DELETE:
            found[kind].add(entity_id)
    return found, named_in_registry(trash.inventory)


def _retained(
    sizes: Mapping[Owner, StoredSize], policy: Policy, named: Mapping[str, Link]
) -> set[Owner]:
    """Return the owners of orphaned files that a purge would not delete."""
    return {
        owner
        for owner, size in sizes.items()
        if owner.is_orphan
        and decide_orphan(
            OrphanedFiles("", owner.id, size.bytes, size.files, size.newest_ms), policy, named
        ).verdict
        is not Verdict.DELETE
    }


def _stale(
    connection: Connection, policy: Policy, reporter: Reporter
) -> dict[str, Collection[object]]:
    """Return the ids by kind of what a prune would delete now."""
    if connection.tracking_uri.text is None:
        connection = replace(connection, tracking_uri=connection.backend_store_uri)
    gateway = open_server(connection, verbose=False, reporter=reporter)
    _, decisions, _ = read_and_decide(gateway, policy, reporter)
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
