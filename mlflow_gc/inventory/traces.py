"""Read the traces of a server.

No search finds the assessments of a run; over REST they are only part of their traces.  So all
traces are read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from mlflow_gc.backend.interface import REPEATS, Failure, Gateway, ServerError
from mlflow_gc.domain.entities import Trace
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.traces import Traces
from mlflow_gc.inventory.lookup import EXPERIMENTS_A_CALL, IDS_IN_URL, chunks
from mlflow_gc.inventory.progress import Progress, no_progress


def read_traces(
    gateway: Gateway,
    experiment_ids: Sequence[str],
    progress: Progress = no_progress,
) -> Traces:
    """Read the traces of experiments.

    Raises:
        ServerError: They cannot be read for another reason than missing permissions.
    """
    traces = Traces(gateway.loses_assessments)
    size = IDS_IN_URL if gateway.has_short_trace_searches else EXPERIMENTS_A_CALL
    for ids in chunks(experiment_ids, size):
        try:
            for page in _pages(gateway, ids):
                for trace in page:
                    if trace.run_id:
                        traces.add_trace(trace.trace_id, trace.run_id)
                    for assessment in trace.assessments:
                        traces.add_assessment(assessment, trace.run_id)
                progress("traces", len(page))
        except ServerError as error:
            if error.failure is not Failure.FORBIDDEN:
                raise
            return Traces(traces.are_lost, hidden=error.message)
    return traces


def with_traces(inventory: Inventory, traces: Traces, run_ids: Iterable[str]) -> Inventory:
    """Return the inventory with the digests of traces and assessments of runs."""
    found = {run_id: traces.of(inventory.runs[run_id]) for run_id in run_ids}
    news = () if inventory.traces else tuple(traces.diagnostics())
    return replace(
        inventory,
        runs={**inventory.runs, **found},
        traces=traces,
        diagnostics=(*inventory.diagnostics, *news),
    )


def _pages(gateway: Gateway, experiment_ids: Sequence[str]) -> Iterator[list[Trace]]:
    """Yield all traces of some experiments.

    Pages continue by timestamp instead of offset: concurrent deletions would shift others out of
    the result, and the server would sort and skip all earlier rows for each page.
    """
    since: int | None = None
    token: str | None = None
    at_border: set[str] = set()
    tokens: set[str] = set()
    while True:
        found, token = gateway.search_traces(experiment_ids, since_ms=since, token=token)
        yield [trace for trace in found if trace.trace_id not in at_border]
        if not token:
            return
        last = found[-1].time_ms if found else None
        if last is not None and (since is None or last > since):
            since, token, at_border, tokens = last, None, set(), set()
        elif token in tokens:
            raise ServerError(REPEATS, Failure.INVALID_RESPONSE)
        else:  # more than a page with the same time
            tokens.add(token)
        at_border.update(trace.trace_id for trace in found if trace.time_ms == since)
