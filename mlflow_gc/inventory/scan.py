"""Read everything a decision needs from a server.

Paging on an MLflow server is by offset: rows that come or go while we page shift all that
follow (HAZARDS 0.9).  Every scan here runs in an order in which new rows come last, the long one
(runs) goes by key instead of by offset (run_scan.py), and results are keyed by id, so that what is
read twice counts once.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import Protocol, TypeVar

from mlflow_gc.backend.interface import Failure, Gateway, ServerError, pages
from mlflow_gc.domain.entities import (
    INCOMPLETE_SCAN,
    PARTIAL_VIEW,
    Diagnostic,
    Experiment,
    Inventory,
    LoggedModel,
    MetricHistory,
    ModelVersion,
    Probe,
    RegisteredModel,
    Run,
    with_histories,
)
from mlflow_gc.domain.source_references import copied_from, logged_model_ids, names_other_version
from mlflow_gc.domain.tag_selection import ALWAYS_WANTED, Wanted
from mlflow_gc.domain.traces import Traces
from mlflow_gc.inventory.run_scanner import read_runs

_T = TypeVar("_T")
_CONTENTS = Wanted(contents=True)

Progress = Callable[[str, int], None]
"""Called with what is read ("runs") and how many are new since the last call."""

PROMPT_TAG = "mlflow.prompt.is_prompt"
PROMPTS = "tags.`mlflow.prompt.is_prompt` = 'true'"
"""Prompts are hidden from both registry searches unless the filter asks for them (2.21+)."""

EXPERIMENTS_A_CALL = 1000
"""PostgreSQL drivers stop at 65,535 parameters, sqlparse at 10,000."""
IDS_A_CALL = 100
"""Of runs, in the filter of a search."""
_IDS_IN_BODY = 500
"""The same where few of them are expected to be found; sqlparse gives up between 2,000 and 5,000."""
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,255}")  # mlflow/utils/validation.py
# Nothing of the rest can be read then, and more tries would only hide why.
_HOPELESS = {Failure.UNAUTHORIZED, Failure.UNREACHABLE}


def scan(
    gateway: Gateway,
    progress: Progress = lambda _what, _count: None,
    *,
    wanted: Wanted | None = None,
    workspace: str | None = None,
) -> Inventory:
    """Read all experiments, active runs, registered models, versions and logged models.

    Args:
        gateway: where to read.
        progress: told what was read.
        wanted: what to keep of the metrics and tags of runs; None for all tags and no metric.
        workspace: of the server.

    A part that cannot be read to its end becomes a blocking diagnostic.  Experiments have no
    probes yet: see :func:`probe`.

    Raises:
        ServerError: the experiments cannot be read, or the server is gone or locked us out.
    """
    experiments = read_experiments(gateway, progress)
    diagnostics: list[Diagnostic] = []
    hidden = gateway.partial_view()
    if hidden:
        diagnostics.append(Diagnostic(PARTIAL_VIEW, hidden, blocks=True))

    def attempt(what: str, read: Callable[[], None]) -> None:
        try:
            read()
        except ServerError as error:
            if error.failure in _HOPELESS:
                raise
            diagnostics.append(
                Diagnostic(
                    INCOMPLETE_SCAN, f"Not all {what} could be read. {error.message}", blocks=True
                )
            )

    runs: dict[str, Run] = {}
    models: dict[str, RegisteredModel] = {}
    versions: dict[tuple[str, str], ModelVersion] = {}
    logged: dict[str, LoggedModel] = {}
    groups = list(chunks(sorted(experiments), EXPERIMENTS_A_CALL))
    attempt("runs", partial(read_runs, gateway, groups, runs, wanted, progress))
    for ids in groups:
        attempt("logged models", partial(_read_logged_models, gateway, ids, logged, progress))
    attempt("registered models", partial(read_registry, gateway, models, versions, progress))
    above: dict[str, str] = {}

    def read_above() -> None:
        search = partial(runs_by_id, gateway, experiment_ids=sorted(experiments), size=_IDS_IN_BODY)
        above.update(
            parents_above(
                runs.values(), runs, lambda ids: ((r.run_id, r.parent_run_id) for r in search(ids))
            )
        )

    attempt("runs in the trash that others are nested in", read_above)
    foreign: list[ModelVersion] = []
    attempt("other workspaces", partial(_read_foreign_versions, gateway, foreign))
    named = [*versions.values(), *foreign]
    attempt("logged models", partial(read_logged_models_of, gateway, named, logged))
    if hidden:
        diagnostics += _holes(models, versions)
    return Inventory(
        experiments=experiments,
        runs=runs,
        parents_in_trash=above,
        registered_models=models,
        model_versions=versions,
        logged_models=logged,
        diagnostics=tuple(diagnostics),
        workspace=workspace,
        foreign_versions=tuple(foreign),
    )


def probe(
    gateway: Gateway,
    inventory: Inventory,
    experiment_ids: Collection[str],
    *,
    since_ms: int,
    deleted: bool = False,
    progress: Progress = lambda _what, _count: None,
) -> Inventory:
    """Look into experiments that may be deleted: traces, their trash, runs that were not listed.

    Also what else they hold (contents.py), where nothing of that protects them.

    Args:
        gateway: where to look.
        inventory: what is known.
        experiment_ids: which experiments to look into.
        since_ms: activity in the trash matters from here on.
        deleted: they are in the trash already; of such ones no server lists scorers and review
            queues.
        progress: told how many experiments were looked into.

    Returns:
        The inventory with a probe for each of them, or with a blocking diagnostic.
    """
    found: dict[str, Probe] = {}
    try:
        assessed = _assessed_trash(gateway, inventory, sorted(experiment_ids))
        for ids in chunks(sorted(experiment_ids), 100):
            of_these = _probe(gateway, inventory, ids, since_ms, assessed)
            waiting = [i for i in ids if not (of_these[i].has_traces or of_these[i].unseen_run)]
            contents = {} if deleted else gateway.contents_of(waiting)
            found.update((i, replace(p, contents=contents.get(i, ()))) for i, p in of_these.items())
            progress("experiments", len(ids))
    except ServerError as error:
        if error.failure in _HOPELESS:
            raise
        message = f"Not all experiments could be looked into. {error.message}"
        diagnostic = Diagnostic(INCOMPLETE_SCAN, message, blocks=True)
        inventory = replace(inventory, diagnostics=(*inventory.diagnostics, diagnostic))
    return replace(inventory, probes={**inventory.probes, **found})


def read_registry(
    gateway: Gateway,
    models: dict[str, RegisteredModel],
    versions: dict[tuple[str, str], ModelVersion],
    progress: Progress = lambda _what, _count: None,
) -> None:
    """Read registered models with their aliases, and all model versions, prompts included."""
    for filter_string in ("", PROMPTS):
        for model in pages(partial(gateway.search_registered_models, filter_string=filter_string)):
            models[model.name] = model
            progress("registered models", 1)
        for version in pages(partial(gateway.search_model_versions, filter_string=filter_string)):
            versions[version.name, version.version] = version
            progress("model versions", 1)
    prompts = {version.name for version in versions.values() if PROMPT_TAG in version.tags}
    for name in sorted(prompts & models.keys()):
        read_hidden_versions(gateway, models[name], versions)
    resolve_storage(gateway, versions)


def _may_be_refused(name: str) -> bool:
    """Tell whether some version of MLflow refuses calls about a registered model of this name.

    3.17 validates the name in every call about one model (utils/validation.py _validate_model_name):
    no "/" or ":", nothing that is another path once it is resolved.  Older servers allowed such
    names, and searches still list them.
    """
    return "/" in name or ":" in name or name == "." or name.startswith("..")


def is_refused(error: ServerError, name: str) -> bool:
    """Tell whether a server refused a call for the name of the registered model in it."""
    return _may_be_refused(name) and error.failure is Failure.REJECTED


def refused_names(gateway: Gateway, names: Iterable[str]) -> frozenset[str]:
    """Return the registered models that the server would not delete from, for what they are called.

    Costs one request for each name that may be one of these; there are none on most servers.

    Raises:
        ServerError: the server cannot be read.
    """
    refused = set()
    for name in sorted(filter(_may_be_refused, names)):
        try:
            gateway.get_registered_model(name)
        except ServerError as error:
            if not is_refused(error, name):
                raise
            refused.add(name)
    return frozenset(refused)


def read_hidden_versions(
    gateway: Gateway,
    model: RegisteredModel,
    versions: MutableMapping[tuple[str, str], ModelVersion],
) -> None:
    """Read the versions of a model one by one where a search hides some of them.

    As soon as one version has the tag of prompts, a search without that tag leaves out all
    versions of the model, and a search with it returns the tagged ones only (seen on 3.17.2).
    """
    of_model = [v for v in versions.values() if v.name == model.name]
    if not any(PROMPT_TAG in version.tags for version in of_model):
        return
    for number in range(1, model.highest_version + 1):
        if (model.name, str(number)) not in versions:
            found = gateway.get_model_version(model.name, str(number))
            if found is not None:
                versions[model.name, str(number)] = found.version


def _read_foreign_versions(gateway: Gateway, foreign: list[ModelVersion]) -> None:
    for other in gateway.other_workspaces():
        versions: dict[tuple[str, str], ModelVersion] = {}
        read_registry(other, {}, versions)
        foreign.extend(versions.values())


def _holes(
    models: Mapping[str, RegisteredModel], versions: Mapping[tuple[str, str], ModelVersion]
) -> Iterator[Diagnostic]:
    """Yield signs that versions, or what they are made from, were left out of a partial view.

    To an account that sees everything an alias without a version is only an alias without one.
    """
    for model in sorted(models.values(), key=lambda m: m.name):
        for version, aliases in model.aliases.items():
            if (model.name, version) not in versions:
                yield Diagnostic(
                    INCOMPLETE_SCAN,
                    f"The alias {aliases[0]} of the registered model {model.name} means version "
                    f"{version}, which the server did not list.",
                    blocks=True,
                )
    blank = sum(version.hides_run for version in versions.values())
    if blank:
        yield Diagnostic(
            INCOMPLETE_SCAN,
            f"The server hides from this account which runs {blank:,} model versions are made from.",
            blocks=True,
        )


class KnowsStorage(Protocol):
    """Whatever can tell where the files of a model version lie."""

    def get_download_uri(self, name: str, version: str) -> str | None:
        """Where they lie, as MLflow resolved it."""


def resolve_storage(
    gateway: KnowsStorage, versions: MutableMapping[tuple[str, str], ModelVersion]
) -> None:
    """Ask where the files of copies lie whose original cannot be found any more.

    MLflow resolves the source of a copy when it is made; later the original may be deleted or its
    model renamed, or an alias that the source names moved (HAZARDS d).
    """
    for key, version in versions.items():
        if version.storage or not names_other_version(version):
            continue
        original = versions.get(copied_from(version) or ("", ""))
        if original is None or not _is_original(original, version):
            try:
                uri = gateway.get_download_uri(*key)
            except ServerError as error:
                if not is_refused(error, version.name):
                    raise
                uri = None  # and so nobody else is told where its files are
            versions[key] = replace(version, storage=uri or "")


def _is_original(original: ModelVersion, copy: ModelVersion) -> bool:
    """Tell whether a version certainly is the one that another was copied from.

    A model that was deleted and made again has versions of the same numbers; a real copy is younger
    and names the same run.
    """
    is_older = (original.creation_timestamp or 0) <= (copy.creation_timestamp or 0)
    return is_older and bool(copy.run_id) and copy.run_id == original.run_id


def read_logged_models_of(
    gateway: Gateway,
    versions: Iterable[ModelVersion],
    logged: dict[str, LoggedModel],
    missing: set[str] | None = None,
) -> None:
    """Fetch the logged models that versions name and that are not known yet.

    Args:
        gateway: where to read.
        versions: what names them.
        logged: those that are known; grows.
        missing: ids that do not exist (any more) and are not asked for again; grows.
    """
    missing = set() if missing is None else missing
    named = {model_id for version in versions for model_id in logged_model_ids(version)}
    for model_id in sorted(named - logged.keys() - missing):
        found = gateway.get_logged_model(model_id)
        if found is None:
            missing.add(model_id)
        else:
            logged[model_id] = found


def read_inputs(
    gateway: Gateway,
    inventory: Inventory,
    run_ids: Collection[str],
    progress: Progress = lambda _what, _count: None,
) -> Inventory:
    """Return the inventory with the logged models that runs read.

    A search lists only what a run put out, not what it took in (runs/search of 3.0 to 3.17).
    """
    with ThreadPoolExecutor(gateway.max_parallel) as pool:
        found = []
        for run in pool.map(gateway.get_run, sorted(run_ids)):
            progress("runs", 1)
            if run:
                found.append(run)
    asked = {
        run.run_id: replace(inventory.runs[run.run_id], model_ids=run.model_ids) for run in found
    }
    return replace(inventory, runs={**inventory.runs, **asked})


def read_histories(
    gateway: Gateway, runs: Iterable[Run], progress: Progress = lambda _what, _count: None
) -> dict[str, Run]:
    """Return runs, by id, with what is known of all that was ever logged to their metrics.

    A search tells of each metric only the value of the highest step (``latest_metrics``, 2.3 to
    3.18): what was logged later at a lower step, by a job that began anew, is in the history only.
    """
    by_id = {run.run_id: run for run in runs}
    having: dict[str, list[str]] = defaultdict(list)
    for run_id, run in sorted(by_id.items()):
        for key in run.metric_keys:
            having[key].append(run_id)
    asked = [(ids, key) for key in sorted(having) for ids in chunks(having[key], IDS_A_CALL)]
    histories: dict[str, list[MetricHistory]] = {run_id: [] for run_id in by_id}
    with ThreadPoolExecutor(gateway.max_parallel) as pool:
        for found in pool.map(lambda ids_and_key: gateway.metric_histories(*ids_and_key), asked):
            for run_id, history in found.items():
                histories[run_id].append(history)
    progress("runs", len(by_id))
    return {run_id: with_histories(run, histories[run_id]) for run_id, run in by_id.items()}


def read_contents(
    gateway: Gateway,
    runs: Iterable[Run],
    *,
    with_inputs: bool,
    progress: Progress = lambda _what, _count: None,
) -> dict[str, Run]:
    """Return runs, by id, with a digest over their parameters, datasets and models.

    Args:
        gateway: where to read.
        runs: the runs.
        with_inputs: whether there are logged models, which runs may have read: only ``runs/get``
            says so, of one run at a time.
        progress: told how many runs are done.
    """
    by_id = {run.run_id: run for run in runs}
    found: Iterable[Run]
    with ThreadPoolExecutor(gateway.max_parallel) as pool:
        if with_inputs:
            get_run = partial(gateway.get_run, wanted=_CONTENTS)
            found = filter(None, pool.map(get_run, sorted(by_id)))
        else:
            groups = chunks(sorted(by_id), IDS_A_CALL)
            found = chain.from_iterable(pool.map(partial(_contents_of, gateway, by_id), groups))
        for run in found:
            progress("runs", 1)
            known = by_id[run.run_id]
            digest = run.details.content_digest
            by_id[run.run_id] = replace(
                known, details=replace(known.details, content_digest=digest)
            )
    return by_id


def _contents_of(gateway: Gateway, runs: Mapping[str, Run], run_ids: Sequence[str]) -> list[Run]:
    homes = sorted({runs[run_id].experiment_id for run_id in run_ids})
    return [*runs_by_id(gateway, run_ids, homes, wanted=_CONTENTS)]


def with_traces(inventory: Inventory, traces: Traces, run_ids: Iterable[str]) -> Inventory:
    """Return the inventory with what traces say about runs.

    Args:
        inventory: what is known.
        traces: of all its experiments.
        run_ids: the runs that it matters for.
    """
    said = {run_id: traces.of(inventory.runs[run_id]) for run_id in run_ids}
    news = () if inventory.traces else tuple(traces.diagnostics())
    return replace(
        inventory,
        runs={**inventory.runs, **said},
        traces=traces,
        diagnostics=(*inventory.diagnostics, *news),
    )


def chunks(items: Sequence[_T], size: int) -> Iterator[list[_T]]:
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
    """Yield runs.

    Args:
        gateway: where to read.
        run_ids: of the runs; what does not exist is left out.
        experiment_ids: of the experiments that they may be in.
        view: ACTIVE_ONLY, DELETED_ONLY or ALL.
        wanted: what to keep of their metrics and tags.
        size: how many runs to ask for at once; more where few are expected to be found.
    """
    # Into the filter goes nothing that could end its quotes: MLflow has no such id.
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
    """Return what runs in the trash are nested in, as far as other runs are nested in them.

    A run in the middle of a tree can be deleted alone; the tree is still one.

    Args:
        runs: those to begin with.
        known: ids of runs that need not be asked about, for they are in no trash.
        read: returns for runs what each is nested in; what does not exist is left out.
    """
    above: dict[str, str] = {}
    asked = {run.parent_run_id for run in runs if run.parent_run_id}.difference(known)
    while asked:
        found = {run_id: parent for run_id, parent in read(sorted(asked)) if parent}
        above |= found
        asked = set(found.values()).difference(known, above)
    return above


def read_experiments(
    gateway: Gateway, progress: Progress = lambda _what, _count: None
) -> dict[str, Experiment]:
    """Return all experiments, of any lifecycle stage, by id."""
    experiments: dict[str, Experiment] = {}
    for experiment in pages(partial(gateway.search_experiments, view="ALL")):
        experiments[experiment.experiment_id] = experiment
        progress("experiments", 1)
    return experiments


def _read_logged_models(
    gateway: Gateway,
    experiment_ids: Sequence[str],
    logged: dict[str, LoggedModel],
    progress: Progress,
) -> None:
    for model in pages(partial(gateway.search_logged_models, experiment_ids)):
        logged[model.model_id] = model
        progress("logged models", 1)


def _assessed_trash(
    gateway: Gateway, inventory: Inventory, experiment_ids: list[str]
) -> dict[str, dict[str, str]]:
    """Return, by experiment, the runs in its trash that assessments name; see :class:`Probe`."""
    traces = inventory.traces or Traces(are_lost=False)
    # Deleted once before, they are looked for only where assessments name them.
    in_trash = runs_by_id(
        gateway,
        sorted(traces.would_be_lost() - inventory.runs.keys()),
        experiment_ids,
        view="DELETED_ONLY",
        size=_IDS_IN_BODY,
    )
    assessed: dict[str, dict[str, str]] = {}
    for run in in_trash:
        assessed.setdefault(run.experiment_id, {})[run.run_id] = traces.naming(run.run_id)
    return assessed


_UNFINISHED = " AND ".join(
    f"attributes.status != '{status}'" for status in ("FINISHED", "FAILED", "KILLED")
)


def _probe(
    gateway: Gateway,
    inventory: Inventory,
    experiment_ids: list[str],
    since_ms: int,
    assessed: Mapping[str, Mapping[str, str]],
) -> dict[str, Probe]:
    are_hidden = bool(inventory.traces and inventory.traces.hidden)
    with_traces = set() if are_hidden else set(_with_traces(gateway, experiment_ids))
    trash: dict[str, tuple[str, int]] = {}
    # MLflow's filter grammar has no OR.
    for attribute in ("start_time", "end_time"):
        filter_string = f"attributes.{attribute} >= {max(since_ms, 0)}"
        for run in _all_runs(gateway, experiment_ids, filter_string, "DELETED_ONLY"):
            # The age of the experiment itself counts beside it.
            found_here = (run.run_id, run.last_activity_time(None) or 0)
            known = trash.get(run.experiment_id, found_here)
            trash[run.experiment_id] = max(known, found_here, key=lambda pair: (pair[1], pair[0]))
    populated = {run.experiment_id for run in inventory.runs.values()}
    unseen: dict[str, str] = {}
    for empty in chunks([e for e in experiment_ids if e not in populated], 100):
        found, _ = gateway.search_runs(empty, max_results=1)
        if found:
            for run in _all_runs(gateway, empty, "", "ACTIVE_ONLY"):
                unseen.setdefault(run.experiment_id, run.run_id)
    # A run without a start time (old rows, other stores) lies beyond the windows of the scan.
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
    }


def _all_runs(
    gateway: Gateway, experiment_ids: Sequence[str], filter_string: str, view: str
) -> Iterator[Run]:
    return pages(
        partial(gateway.search_runs, experiment_ids, filter_string=filter_string, view=view)
    )


def _with_traces(gateway: Gateway, experiment_ids: list[str]) -> Iterator[str]:
    """Yield the experiments that hold traces; few do, so ask for many at once and halve."""
    if not experiment_ids or not gateway.has_traces(experiment_ids):
        return
    if len(experiment_ids) == 1:
        yield experiment_ids[0]
        return
    middle = len(experiment_ids) // 2
    yield from _with_traces(gateway, experiment_ids[:middle])
    yield from _with_traces(gateway, experiment_ids[middle:])
