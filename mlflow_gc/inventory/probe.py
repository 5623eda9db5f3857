"""Probe experiments that may be deleted for contents that a scan does not list."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from mlflow_gc.backend.interface import NO_ACCESS, Failure, Gateway, ServerError, pages
from mlflow_gc.domain.entities import (
    TERMINAL_STATUSES,
    UNREADABLE_TRASH,
    Diagnostic,
    Probe,
    Run,
)
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.traces import Traces
from mlflow_gc.inventory.lookup import IDS_IN_BODY, chunks, read_histories, runs_by_id
from mlflow_gc.inventory.progress import Progress, no_progress
from mlflow_gc.inventory.scan import incomplete

_RUNS_AT_ONCE = 1000
_MOST_UNREADABLE = 3
"""Per hundred experiments; more means that the server as a whole has a problem."""
_UNFINISHED = " AND ".join(f"attributes.status != '{status}'" for status in TERMINAL_STATUSES)


def probe(
    gateway: Gateway,
    inventory: Inventory,
    experiment_ids: Collection[str],
    *,
    since_ms: int,
    deleted: bool = False,
    progress: Progress = no_progress,
) -> Inventory:
    """Probe experiments that may be deleted: traces, their trash, unlisted runs.

    Also their other contents (experiment_contents.py), if nothing else protects them.

    Args:
        gateway: where to look.
        inventory: the result of the scan.
        experiment_ids: the experiments to probe.
        since_ms: only activity in the trash after this time matters.
        deleted: whether they are in the trash; no server lists scorers and review queues of those.
        progress: called with the number of probed experiments.

    Returns:
        The inventory with a probe for each of them, or with a blocking diagnostic.
    """
    found: dict[str, Probe] = {}
    unreadable: list[str] = []
    try:
        assessed = _assessed_trash(gateway, inventory, sorted(experiment_ids))
        for ids in chunks(sorted(experiment_ids), 100):
            of_these = _probe(gateway, inventory, ids, since_ms, assessed)
            unreadable += [i for i in ids if i not in of_these]
            waiting = [i for i, p in of_these.items() if not (p.has_traces or p.unseen_run)]
            contents = {} if deleted else gateway.contents_of(waiting)
            found.update((i, replace(p, contents=contents.get(i, ()))) for i, p in of_these.items())
            progress("experiments", len(ids))
    except ServerError as error:
        if error.failure in NO_ACCESS:
            raise
        diagnostic = incomplete("experiments", error)
        inventory = replace(inventory, diagnostics=(*inventory.diagnostics, diagnostic))
    if unreadable:
        message = (
            f"The server cannot read what is in the trash of {len(unreadable):,} experiments "
            f"({', '.join(unreadable[:3])}{', ...' if len(unreadable) > 3 else ''}): they are retained."
        )
        diagnostic = Diagnostic(UNREADABLE_TRASH, message)
        inventory = replace(inventory, diagnostics=(*inventory.diagnostics, diagnostic))
    return replace(inventory, probes={**inventory.probes, **found})


def _assessed_trash(
    gateway: Gateway, inventory: Inventory, experiment_ids: list[str]
) -> dict[str, dict[str, str]]:
    """Return, by experiment, the runs in its trash that assessments name; see :class:`Probe`."""
    traces = inventory.traces or Traces(are_lost=False)
    # Runs in the trash are read only if assessments name them.
    in_trash = runs_by_id(
        gateway,
        sorted(traces.would_be_lost() - inventory.runs.keys()),
        experiment_ids,
        view="DELETED_ONLY",
        size=IDS_IN_BODY,
    )
    assessed: dict[str, dict[str, str]] = {}
    for run in in_trash:
        assessed.setdefault(run.experiment_id, {})[run.run_id] = traces.naming(run.run_id)
    return assessed


def _probe(
    gateway: Gateway,
    inventory: Inventory,
    experiment_ids: list[str],
    since_ms: int,
    assessed: Mapping[str, Mapping[str, str]],
) -> dict[str, Probe]:
    are_hidden = bool(inventory.traces and inventory.traces.hidden)
    with_traces = set() if are_hidden else set(_with_traces(gateway, experiment_ids))
    trash, unreadable = _newest_deleted_of_each(gateway, experiment_ids, since_ms)
    populated = {run.experiment_id for run in inventory.runs.values()}
    unseen: dict[str, str] = {}
    for empty in chunks([e for e in experiment_ids if e not in populated], 100):
        found, _ = gateway.search_runs(empty, max_results=1)
        if found:
            for run in _all_runs(gateway, empty, "", "ACTIVE_ONLY"):
                unseen.setdefault(run.experiment_id, run.run_id)
    # A run without a start time (old rows, other stores) is outside the windows of the scan.
    for run in _all_runs(gateway, experiment_ids, _UNFINISHED, "ACTIVE_ONLY"):
        if run.run_id not in inventory.runs:
            unseen.setdefault(run.experiment_id, run.run_id)
    return {
        e: Probe(
            has_traces=e in with_traces,
            newest_deleted_run=trash.get(e),
            unseen_run=unseen.get(e),
            assessed_runs=assessed.get(e, {}),
            traces_are_hidden=are_hidden,
        )
        for e in experiment_ids
        if e not in unreadable
    }


def _newest_deleted_of_each(
    gateway: Gateway, experiment_ids: Sequence[str], since_ms: int
) -> tuple[dict[str, tuple[str, int]], set[str]]:
    """Return the result of :func:`_newest_deleted`, and the experiments for which the server fails.

    One run without a start time in the trash is enough (500, 3.17).

    Raises:
        ServerError: It fails for several of them.
    """
    try:
        return _newest_deleted(gateway, experiment_ids, since_ms), set()
    except ServerError as error:
        if error.failure is not Failure.AMBIGUOUS:
            raise
        failed = error
    newest: dict[str, tuple[str, int]] = {}
    unreadable: set[str] = set()
    for experiment_id in experiment_ids:
        try:
            newest |= _newest_deleted(gateway, [experiment_id], since_ms)
        except ServerError as error:
            unreadable.add(experiment_id)
            is_of_this_one = error.failure == Failure.AMBIGUOUS
            if not is_of_this_one or len(unreadable) > _MOST_UNREADABLE:
                raise failed from error
    return newest, unreadable


def _newest_deleted(
    gateway: Gateway, experiment_ids: Sequence[str], since_ms: int
) -> dict[str, tuple[str, int]]:
    """Return, by experiment, the last active run in its trash, and its last activity.

    No filter finds a metric value that was logged long after its run ended, so all of the trash is
    read, and the metric histories if nothing else proves recent activity.
    """
    seen: dict[str, tuple[str, int]] = {}
    logged: dict[str, tuple[str, int]] = {}
    # The trash may contain very many runs: only one page of them is in memory.
    for runs in chunks(_all_runs(gateway, experiment_ids, "", "DELETED_ONLY"), _RUNS_AT_ONCE):
        _count(seen, runs)
        quiet = [r for r in runs if r.metric_keys and seen[r.experiment_id][1] < since_ms]
        _count(logged, read_histories(gateway, quiet).values())
    return {
        i: found if found[1] >= since_ms else max(found, logged.get(i, found), key=_by_time)
        for i, found in seen.items()
    }


def _count(newest: dict[str, tuple[str, int]], runs: Iterable[Run]) -> None:
    for run in runs:
        # The age of the experiment itself counts separately.
        found = (run.run_id, run.last_activity_time(None) or 0)
        known = newest.get(run.experiment_id, found)
        newest[run.experiment_id] = max(known, found, key=_by_time)


def _by_time(found: tuple[str, int]) -> tuple[int, str]:
    return found[1], found[0]


def _all_runs(
    gateway: Gateway, experiment_ids: Sequence[str], filter_string: str, view: str
) -> Iterator[Run]:
    return pages(
        partial(gateway.search_runs, experiment_ids, filter_string=filter_string, view=view)
    )


def _with_traces(gateway: Gateway, experiment_ids: list[str]) -> Iterator[str]:
    """Yield the experiments with traces; few have any, so search many at once and bisect."""
    if not experiment_ids or not gateway.has_traces(experiment_ids):
        return
    if len(experiment_ids) == 1:
        yield experiment_ids[0]
        return
    middle = len(experiment_ids) // 2
    yield from _with_traces(gateway, experiment_ids[:middle])
    yield from _with_traces(gateway, experiment_ids[middle:])
