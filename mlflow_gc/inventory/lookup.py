"""Look up entities by id, many per request: runs, their content digests, and referenced models."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import TypeVar

from mlflow_gc.backend.interface import Gateway, pages
from mlflow_gc.domain.entities import (
    Experiment,
    LoggedModel,
    MetricHistory,
    ModelVersion,
    Run,
    with_histories,
)
from mlflow_gc.domain.source_references import logged_model_ids
from mlflow_gc.domain.tag_selection import ALWAYS_WANTED, Wanted
from mlflow_gc.inventory.progress import Progress, no_progress

_T = TypeVar("_T")
_DIGESTS = Wanted(content_digest=True)

EXPERIMENTS_A_CALL = 1000
"""PostgreSQL drivers stop at 65,535 parameters, sqlparse at 10,000."""
IDS_A_CALL = 100
"""Run ids in the filter of a search."""
IDS_IN_URL = 90
"""The same if each is a parameter of a URL: gunicorn stops at 4,094 characters, proxies at 8 kB."""
IDS_IN_BODY = 500
"""The same if few of them are expected to exist; sqlparse fails between 2,000 and 5,000."""
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,255}")  # mlflow/utils/validation.py


def chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Yield lists of at most ``size`` items."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def runs_by_id(
    gateway: Gateway,
    run_ids: Sequence[str],
    experiment_ids: Sequence[str],
    *,
    view: str = "ALL",
    wanted: Wanted = ALWAYS_WANTED,
    size: int = IDS_A_CALL,
) -> Iterator[Run]:
    """Yield runs of some experiments; missing runs are left out.

    ``view`` is ACTIVE_ONLY, DELETED_ONLY or ALL; ``size`` is the number of runs per request, more
    if few are expected to exist.
    """
    # Ids with other characters do not exist in MLflow and could end the quotes in the filter.
    for group in chunks([i for i in run_ids if _RUN_ID.fullmatch(i)], size):
        listed = ", ".join(f"'{run_id}'" for run_id in group)
        search = partial(
            gateway.search_runs,
            filter_string=f"attributes.run_id IN ({listed})",
            view=view,
            wanted=wanted,
        )
        for some in chunks(experiment_ids, EXPERIMENTS_A_CALL):
            yield from pages(partial(search, some))


def parents_above(
    runs: Iterable[Run],
    known: Collection[str],
    read: Callable[[list[str]], Iterable[tuple[str, str | None]]],
) -> dict[str, str]:
    """Return the parents of runs in the trash that have child runs.

    A run in the middle of a nested tree can be deleted alone; the tree stays connected.

    Runs in ``known`` are not in the trash; ``read`` returns the parent of each run that exists.
    """
    above: dict[str, str] = {}
    unread = {run.parent_run_id for run in runs if run.parent_run_id}.difference(known)
    while unread:
        found = {run_id: parent for run_id, parent in read(sorted(unread)) if parent}
        above |= found
        unread = set(found.values()).difference(known, above)
    return above


def ancestors(run: Run, parent_of: Callable[[str], str | None]) -> Iterator[str]:
    """Yield the parent of a run, its parent, and so on; a circle ends before the run itself."""
    seen = {run.run_id}
    parent = run.parent_run_id
    while parent and parent not in seen:
        yield parent
        seen.add(parent)
        parent = parent_of(parent)


def runs_with_inputs(
    gateway: Gateway, run_ids: Iterable[str], wanted: Wanted | None = None
) -> Iterator[Run]:
    """Yield the existing ones of some runs, of any lifecycle stage, with their input models.

    A search returns only the outputs of a run (runs/search of 3.0 to 3.17).
    """
    with ThreadPoolExecutor(gateway.max_parallel) as pool:
        found = pool.map(partial(gateway.get_run, wanted=wanted), sorted(run_ids))
        yield from filter(None, found)


def read_histories(
    gateway: Gateway, runs: Iterable[Run], progress: Progress = no_progress
) -> dict[str, Run]:
    """Return runs, by id, with the times of their whole metric histories.

    A search returns only the value of the highest step of each metric (``latest_metrics``, 2.3 to
    3.18): later values at a lower step, logged by a restarted job, are only in the history.
    """
    by_id = {run.run_id: run for run in runs}
    having: dict[str, list[str]] = defaultdict(list)
    for run_id, run in sorted(by_id.items()):
        for key in run.metric_keys:
            having[key].append(run_id)
    requests = [(ids, key) for key in sorted(having) for ids in chunks(having[key], IDS_IN_URL)]
    histories: dict[str, list[MetricHistory]] = {run_id: [] for run_id in by_id}
    with ThreadPoolExecutor(gateway.max_parallel) as pool:
        for found in pool.map(lambda ids_and_key: gateway.metric_histories(*ids_and_key), requests):
            for run_id, history in found.items():
                histories[run_id].append(history)
    progress("runs", len(by_id))
    return {run_id: with_histories(run, histories[run_id]) for run_id, run in by_id.items()}


def read_content_digests(
    gateway: Gateway,
    runs: Iterable[Run],
    *,
    experiments: Mapping[str, Experiment],
    models_since_ms: int | None,
    progress: Progress = no_progress,
) -> dict[str, Run]:
    """Return runs, by id, with a digest over their parameters, datasets and models.

    Args:
        gateway: where to read.
        runs: the runs.
        experiments: of the runs, as far as known.
        models_since_ms: creation of the oldest logged model of the server, ms since the epoch; None
            without any.  Only ``runs/get`` returns the input models of a run, one run per request;
            it is sent for runs that may have read a model.
        progress: called with the number of runs read.
    """
    by_id = {run.run_id: run for run in runs}
    readers = sorted(
        i
        for i, run in by_id.items()
        if models_since_ms is not None
        and run.may_have_read_model(models_since_ms, experiments.get(run.experiment_id))
    )
    groups = chunks(sorted(by_id.keys() - {*readers}), IDS_A_CALL)
    with ThreadPoolExecutor(gateway.max_parallel) as pool:
        of_groups = pool.map(partial(_with_digests, gateway, by_id), groups)
        one_by_one = runs_with_inputs(gateway, readers, _DIGESTS)
        for run in chain(chain.from_iterable(of_groups), one_by_one):
            progress("runs", 1)
            known = by_id[run.run_id]
            digest = run.details.content_digest
            by_id[run.run_id] = replace(
                known, details=replace(known.details, content_digest=digest)
            )
    return by_id


def _with_digests(gateway: Gateway, runs: Mapping[str, Run], run_ids: Sequence[str]) -> list[Run]:
    experiment_ids = sorted({runs[run_id].experiment_id for run_id in run_ids})
    return [*runs_by_id(gateway, run_ids, experiment_ids, wanted=_DIGESTS)]


def read_logged_models_of(
    gateway: Gateway,
    versions: Iterable[ModelVersion],
    logged: dict[str, LoggedModel],
    missing: set[str] | None = None,
) -> None:
    """Read the logged models that versions name and that are not known yet.

    A version keeps using its model after the model is deleted, and still needs the run that made
    it.

    ``logged`` grows, and so does ``missing``: ids that do not (or no longer) exist and are not read
    again.
    """
    missing = set() if missing is None else missing
    named = {model_id for version in versions for model_id in logged_model_ids(version)}
    for model_id in sorted(named - logged.keys() - missing):
        found = gateway.get_logged_model(model_id, include_deleted=True)
        if found is None:
            missing.add(model_id)
        else:
            logged[model_id] = found
