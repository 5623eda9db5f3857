"""The public Python API: what the command line does, for notebooks, tasks and services.

Nothing here prints, exits or prompts; for progress pass a
:class:`~mlflow_gc.workflows.reporter.Listener`.  Every error that a user can cause is a
:class:`~mlflow_gc.errors.GcError` with ``message``, ``hint`` and ``exit_code``.

Missing settings are resolved as for the command line: ``MLFLOW_TRACKING_URI``,
``MLFLOW_TRACKING_TOKEN`` and the others (docs/reference/settings).
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_gc.domain.redaction import keep_environment_secret
from mlflow_gc.errors import GcError, Refused, UsageProblem
from mlflow_gc.plan.document import Plan
from mlflow_gc.settings import Connection, resolve_connection
from mlflow_gc.workflows.reporter import Listener, Reporter

if TYPE_CHECKING:
    from mlflow_gc.backend.interface import Gateway
    from mlflow_gc.plan.sharding import Shard
    from mlflow_gc.retention.policy import Policy
    from mlflow_gc.workflows.apply import Applied

__all__ = [
    "GcError",
    "Listener",
    "Outcome",
    "Plan",
    "Refused",
    "Server",
    "UsageProblem",
    "check",
    "diff",
    "load_plan",
    "prune",
    "purge",
    "report",
    "report_trash",
    "restore",
    "save_plan",
    "usage",
    "workspaces",
]


@dataclass(frozen=True)
class Server:
    """A tracking server and its registry; None values come from the environment.

    Attributes:
        tracking_uri: of the tracking server, or of its database.
        registry_uri: of the model registry, if it is another server.
        workspace: of the server (MLflow 3.10 and newer).
        backend_store_uri: of the database behind the server; plans are read from it.
        max_parallel: maximum number of concurrent requests.
    """

    tracking_uri: str | None = None
    registry_uri: str | None = None
    workspace: str | None = None
    backend_store_uri: str | None = None
    max_parallel: int | None = None


@dataclass(frozen=True)
class Outcome:
    """The outcome of each entity.

    Attributes:
        counts: number of entities by (kind, outcome): ``("run", "deleted")``,
            ``("experiment", "restored")``, ``("run", "skipped:changed")``, ``("run", "failed")``.
        untouched: for each entity that was skipped or failed, its record as in the journal.
        notes: entities that were not restored exactly as before; one sentence each.
        journal: path of the journal; None after a dry run.
        is_complete: nothing failed, was forbidden, or was left out because of a signal or a limit.
    """

    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    untouched: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = ()
    journal: Path | None = None
    is_complete: bool = True


def report(
    server: Server | str | None = None,
    *,
    policy: Path | str | None = None,
    no_policy: bool = False,
    ttl_days: int | None = None,
    as_of: str | None = None,
    accept_partial_view: bool = False,
    sizes: bool = False,
    artifacts_destination: str | None = None,
    listener: Listener | None = None,
) -> Plan:
    """Read a server and return a prune plan: every stale entity, its times, and why.

    Args:
        server: the server or its URI.
        policy: the policy file; by default ``mlflow-gc.yml`` in the working directory, if there is
            one.
        no_policy: use no policy file, even if there is one.
        ttl_days: age in whole days from which an entity is stale.
        as_of: count ages from this time instead of now (RFC 3339, UTC); such a plan is a forecast
            and cannot be applied.
        accept_partial_view: accept that the account does not see everything.
        sizes: list the files of what is deleted; they decide nothing.
        artifacts_destination: where the server keeps the files that it passes on, for their sizes.
        listener: receives the progress.

    Returns:
        The plan.  ``plan["applyable"]`` tells whether it may be applied, ``plan["diagnostics"]``
        why not.

    Raises:
        UsageProblem: an argument, a setting or the policy cannot be used.
        GcError: the server cannot be reached or read.
    """
    from mlflow_gc.workflows.report import make_plan
    from mlflow_gc.workflows.server import open_stores

    reporter = _reporter(listener)
    resolved = _policy(
        reporter, policy, no_policy, ttl_days, as_of, accept_partial_view=accept_partial_view
    )
    with _opened(server, reporter) as gateway:
        stores = open_stores(gateway, artifacts_destination) if sizes else None
        return make_plan(gateway, resolved, reporter, stores=stores)


def usage(
    server: Server | str | None = None,
    *,
    policy: Path | str | None = None,
    no_policy: bool = False,
    ttl_days: int | None = None,
    stale: bool = False,
    artifacts_destination: str | None = None,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Measure what takes space on a server, and how much of it a purge would free.

    Args:
        server: the server with the URI of its database, or the database.
        policy: the policy file, as for :func:`report`.
        no_policy: use no policy file, even if there is one.
        ttl_days: age in whole days from which an entity is stale.
        stale: tell apart what a prune would delete now; reads the server like :func:`report`.
        artifacts_destination: where the server keeps the files that it passes on.
        listener: receives the progress.

    Returns:
        A document (``mlflow-gc schema usage``).

    Raises:
        Refused: the database is of another server.
        UsageProblem: a setting cannot be used.
        GcError: the database cannot be read.
    """
    from mlflow_gc.workflows.usage import measure_usage

    reporter = _reporter(listener)
    return measure_usage(
        _connection(server),
        reporter,
        policy=_policy(reporter, policy, no_policy, ttl_days),
        artifacts_destination=artifacts_destination,
        stale=stale,
    )


def report_trash(
    server: Server | str | None = None,
    *,
    policy: Path | str | None = None,
    no_policy: bool = False,
    older_than_days: int | None = None,
    as_of: str | None = None,
    keep_files: bool = False,
    keep_rows: bool = False,
    journal: Path | str | None = None,
    artifacts_destination: str | None = None,
    listener: Listener | None = None,
) -> Plan:
    """Read the trash of a server and return a purge plan: what to delete permanently.

    Args:
        server: the server or its URI; its ``backend_store_uri`` is required.
        policy: the policy file, as for :func:`report`.
        no_policy: use no policy file, even if there is one.
        older_than_days: time in the trash in whole days; by default that of the policy, else 30.
        as_of: count from this time instead of now (RFC 3339, UTC).
        keep_files: delete only rows.
        keep_rows: delete only files.
        journal: of a prune; only what it deleted is taken.
        artifacts_destination: where the server keeps artifacts that it passes on.
        listener: receives the progress.

    Raises:
        UsageProblem: an argument, a setting or the policy cannot be used.
        GcError: the server or its database cannot be reached or read.
    """
    from mlflow_gc.workflows.policy import with_trash_options
    from mlflow_gc.workflows.server import open_stores
    from mlflow_gc.workflows.trash_report import deleted_by, make_purge_plan

    reporter = _reporter(listener)
    resolved = with_trash_options(
        _policy(reporter, policy, no_policy, as_of=as_of),
        older_than=None if older_than_days is None else str(older_than_days),
        keep_files=keep_files,
        keep_rows=keep_rows,
    )
    only = None if journal is None else deleted_by(Path(journal))
    with _opened(server, reporter) as gateway:
        stores = open_stores(gateway, artifacts_destination)
        return make_purge_plan(gateway, resolved, stores, reporter, only=only)


def workspaces(
    server: Server | str | None = None, *, listener: Listener | None = None
) -> list[str]:
    """Return the names of the workspaces of a server that this account sees, sorted.

    Each can be the ``workspace`` of a :class:`Server`.

    Raises:
        Refused: the server has no workspaces, or the account sees none.
        UsageProblem: it is a database.
        GcError: the server cannot be reached or read.
    """
    from mlflow_gc.workflows.server import all_workspaces

    reporter = _reporter(listener)
    with _opened(server, reporter) as gateway:
        return all_workspaces(gateway, reporter)


def load_plan(path: Path | str) -> Plan:
    """Read a plan, and verify that it was not edited.

    Raises:
        GcError: The file is missing, or not a plan.
        Refused: It was edited, or has a newer major version.
    """
    from mlflow_gc.plan.verification import load_plan as load
    from mlflow_gc.plan.verification import verify

    plan = load(Path(path))
    verify(plan, Path(path))
    return plan


def save_plan(plan: Plan, path: Path | str) -> None:
    """Write a plan, byte for byte as ``mlflow-gc report`` does.

    Raises:
        Refused: The file exists and is not a plan.
        GcError: It cannot be written.
    """
    from mlflow_gc.plan.builder import SIGNATURES
    from mlflow_gc.plan.writer import pieces, refuse_overwriting, write

    refuse_overwriting(Path(path), SIGNATURES, "a plan")
    write(pieces(plan), Path(path))


def diff(base: Plan, head: Plan) -> dict[str, Any]:
    """Return the difference between two plans as a document (``mlflow-gc schema diff``)."""
    from mlflow_gc.plan.diff import diff_plans
    from mlflow_gc.plan.verification import file_problems

    edited = [
        any(not problem.is_genuine for problem in file_problems(plan)) for plan in (base, head)
    ]
    return diff_plans(base, head, edited=(edited[0], edited[1]))


def prune(
    plan: Path | str,
    server: Server | str | None = None,
    *,
    expect: str | None = None,
    journal: Path | str | None = None,
    shard: str | None = None,
    dry_run: bool = False,
    listener: Listener | None = None,
) -> Outcome:
    """Delete what a saved plan lists; each entity is re-checked immediately before.

    Args:
        plan: the file.  A plan is applied from a file, so that it can be reviewed afterwards.
        server: the server or its URI.
        expect: the approved ``plan_id``; any other one is refused.
        journal: path of the journal; by default next to the plan.
        shard: ``3/16``: apply one of several parts of the plan.
        dry_run: do everything but the deletions.
        listener: receives the progress.

    Raises:
        Refused: the plan may not be applied, or not here, and nothing was changed.
        UsageProblem: an argument or a setting cannot be used.
        GcError: It ended early; the journal has what was done, and the same call continues.
    """
    from mlflow_gc.workflows.apply import apply_plan

    def apply(
        gateway: Gateway, document: Plan, path: Path, part: Shard | None, reporter: Reporter
    ) -> Applied:
        return apply_plan(
            gateway,
            document,
            Path(plan),
            journal_path=path,
            reporter=reporter,
            dry_run=dry_run,
            shard=part,
        )

    return _apply(apply, Path(plan), server, expect, journal, shard, listener, dry_run=dry_run)


def purge(
    plan: Path | str,
    server: Server | str | None = None,
    *,
    expect: str | None = None,
    journal: Path | str | None = None,
    artifacts_destination: str | None = None,
    max_bytes: int | None = None,
    max_seconds: float | None = None,
    vacuum: bool = False,
    shard: str | None = None,
    dry_run: bool = False,
    listener: Listener | None = None,
) -> Outcome:
    """Delete permanently what a saved purge plan lists: rows and files.

    Args:
        plan: the file.
        server: the server or its URI; its ``backend_store_uri`` is required.
        expect: the approved ``plan_id``; any other one is refused.
        journal: path of the journal; by default next to the plan.
        artifacts_destination: where the server keeps artifacts that it passes on.
        max_bytes: number of bytes of files after which it ends; the same call again deletes the rest.
        max_seconds: number of seconds after which it ends.
        vacuum: return the space of the rows to the disk afterwards; locks the tables meanwhile.
        shard: ``3/16``: apply one of several parts of the plan.
        dry_run: do everything but the deletions.
        listener: receives the progress.

    Raises:
        Refused: the plan may not be applied, or not here, and nothing was changed.
        UsageProblem: an argument or a setting cannot be used.
        GcError: It ended early; the journal has what was done, and the same call continues.
    """
    from mlflow_gc.apply.purge.purger import Budget
    from mlflow_gc.workflows.purge import apply_purge
    from mlflow_gc.workflows.server import open_stores

    def apply(
        gateway: Gateway, document: Plan, path: Path, part: Shard | None, reporter: Reporter
    ) -> Applied:
        return apply_purge(
            gateway,
            document,
            Path(plan),
            open_stores(gateway, artifacts_destination),
            reporter,
            journal_path=path,
            budget=Budget(max_bytes, max_seconds),
            dry_run=dry_run,
            vacuum=vacuum,
            shard=part,
        )

    return _apply(apply, Path(plan), server, expect, journal, shard, listener, dry_run=dry_run)


def _apply(
    apply: Callable[[Gateway, Plan, Path, Shard | None, Reporter], Applied],
    file: Path,
    server: Server | str | None,
    expect: str | None,
    journal: Path | str | None,
    shard: str | None,
    listener: Listener | None,
    *,
    dry_run: bool,
) -> Outcome:
    from mlflow_gc.apply.journal.reader import default_path, journal_path
    from mlflow_gc.plan.sharding import Shard
    from mlflow_gc.plan.verification import verify_applyable
    from mlflow_gc.workflows.apply import refuse_unexpected

    part = None if shard is None else Shard.parse(shard)
    document = load_plan(file)
    verify_applyable(document, file)
    approved = () if expect is None else (expect,)
    refuse_unexpected(document, file, approved, is_required=not dry_run)
    reporter = _reporter(listener)
    beside = default_path(file, part.suffix if part else "")
    path = journal_path(Path(journal) if journal else beside, document["plan_id"])
    with _opened(server, reporter) as gateway:
        applied = apply(gateway, document, path, part, reporter)
    result = applied.result
    if result.fatal:
        raise result.fatal
    return Outcome(
        dict(result.counts),
        applied.skips,
        journal=None if dry_run else path,
        is_complete=not (result.is_partial or result.interrupted or applied.left),
    )


def check(
    plan: Path | str,
    server: Server | str | None = None,
    *,
    artifacts_destination: str | None = None,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Compare a saved plan with the server, entity by entity; nothing is deleted.

    Args:
        plan: the file.
        server: the server or its URI; for a purge plan its ``backend_store_uri`` is required.
        artifacts_destination: for a purge plan: where the server keeps artifacts that it passes on.
        listener: receives the progress.

    Returns:
        What a prune or purge would do with each entry, as a document (``mlflow-gc schema check``).

    Raises:
        Refused: the plan was edited, or made for another server.
        GcError: the server cannot be reached or read.
    """
    from mlflow_gc.workflows.check import check_plan

    file = Path(plan)
    document = load_plan(file)
    reporter = _reporter(listener)
    with _opened(server, reporter) as gateway:
        found, applied = check_plan(
            gateway, document, file, reporter, artifacts_destination=artifacts_destination
        )
    if applied.result.fatal:
        raise applied.result.fatal
    return found


def restore(
    journal: Path | str,
    server: Server | str | None = None,
    *,
    only: Sequence[str] = (),
    keep: bool = False,
    expect: str | None = None,
    dry_run: bool = False,
    listener: Listener | None = None,
) -> Outcome:
    """Restore the runs and experiments that a prune deleted, from its journal.

    Args:
        journal: the file that the prune wrote.
        server: the server or its URI.
        only: kinds (``runs``) or ids to restore; empty for all.
        keep: set the keep tag on restored entities, so that the next prune retains them.
        expect: the required ``plan_id`` of the journal; any other one is refused.
        dry_run: read everything, change nothing.
        listener: receives the progress.

    Raises:
        Refused: the journal is of another plan or server.
        UsageProblem: ``only`` names an entity that was not deleted by the journal.
        GcError: It ended early; the same call continues.
    """
    from mlflow_gc.workflows.restore import Restore

    undoing = Restore(Path(journal), only=only, keep=keep, expect=expect)
    reporter = _reporter(listener)
    with _opened(server, reporter) as gateway:
        undoing.preview(gateway, reporter)
        ended = undoing.run(reporter, dry_run=dry_run)
    if ended.fatal:
        raise ended.fatal
    return Outcome(
        dict(ended.counts),
        ended.not_restored,
        ended.notes,
        None if dry_run else undoing.own_journal,
        not (ended.is_incomplete or ended.signum),
    )


def _reporter(listener: Listener | None) -> Reporter:
    return Reporter([listener] if listener else ())


def _policy(
    reporter: Reporter,
    policy: Path | str | None,
    no_policy: bool,
    ttl_days: int | None = None,
    as_of: str | None = None,
    *,
    accept_partial_view: bool = False,
) -> Policy:
    from mlflow_gc.workflows.policy import resolve_policy

    return resolve_policy(
        reporter=reporter,
        ttl=None if ttl_days is None else str(ttl_days),
        as_of=as_of,
        policy_file=None if policy is None else Path(policy),
        no_policy=no_policy,
        accept_partial_view=accept_partial_view,
    )


def _connection(server: Server | str | None) -> Connection:
    keep_environment_secret(os.environ)
    named = Server(server) if isinstance(server, str) else server or Server()
    max_parallel = None if named.max_parallel is None else str(named.max_parallel)
    return resolve_connection(**{**vars(named), "max_parallel": max_parallel})


@contextmanager
def _opened(server: Server | str | None, reporter: Reporter) -> Iterator[Gateway]:
    """Open a server, and clean up afterwards.

    Raises:
        UsageProblem: a setting cannot be used.
    """
    from mlflow_gc.workflows.server import open_server

    connection = _connection(server)
    frozen_before = gc.get_freeze_count()
    try:
        yield open_server(connection, verbose=False, reporter=reporter)
    finally:
        if (connections := sys.modules.get("mlflow_gc.backend.rest.connections")) is not None:
            connections.close_session()
        # Large readers freeze objects for the garbage collector.
        if not frozen_before:
            gc.unfreeze()
