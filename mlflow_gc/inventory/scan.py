"""Read everything that decisions need from a server.

Paging on an MLflow server is by offset: concurrent changes shift all later rows
(docs/explanation/mlflow-facts.md#paging-is-by-offset).  Every scan here reads in an order in which
new rows come last; the long one (runs) pages by key instead of offset (run_scanner.py).  Results
are keyed by id, so duplicates count once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from mlflow_gc.backend.interface import NO_ACCESS, Gateway, ServerError, pages
from mlflow_gc.domain.entities import (
    INCOMPLETE_SCAN,
    PARTIAL_VIEW,
    Diagnostic,
    Experiment,
    LoggedModel,
    ModelVersion,
    RegisteredModel,
    Run,
)
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.tag_selection import Wanted
from mlflow_gc.inventory.lookup import (
    EXPERIMENTS_A_CALL,
    IDS_IN_BODY,
    chunks,
    parents_above,
    read_logged_models_of,
    runs_by_id,
)
from mlflow_gc.inventory.progress import Progress, no_progress
from mlflow_gc.inventory.registry import read_registry
from mlflow_gc.inventory.run_scanner import read_runs


def scan(
    gateway: Gateway,
    progress: Progress = no_progress,
    *,
    wanted: Wanted | None = None,
    workspace: str | None = None,
) -> Inventory:
    """Read all experiments, active runs, registered models, versions and logged models.

    A part that cannot be read completely becomes a blocking diagnostic.  Experiments have no probes
    yet: see :func:`~mlflow_gc.inventory.probe.probe`.

    If ``wanted`` is None, with all tags of runs and no metrics.

    Raises:
        ServerError: The experiments cannot be read, the server is down, or the login failed.
    """
    experiments = read_experiments(gateway, progress)
    diagnostics: list[Diagnostic] = []
    hidden = gateway.partial_view()
    if hidden:
        diagnostics.append(Diagnostic(PARTIAL_VIEW, hidden, blocks=True))
    part = partial(_part, diagnostics)
    runs: dict[str, Run] = {}
    models: dict[str, RegisteredModel] = {}
    versions: dict[tuple[str, str], ModelVersion] = {}
    logged: dict[str, LoggedModel] = {}
    above: dict[str, str] = {}
    foreign: list[ModelVersion] = []
    foreign_models: list[RegisteredModel] = []
    groups = list(chunks(sorted(experiments), EXPERIMENTS_A_CALL))
    with part("runs"):
        read_runs(gateway, groups, runs, wanted, progress)
    for ids in groups:
        with part("logged models"):
            for logged_model in pages(partial(gateway.search_logged_models, ids)):
                logged[logged_model.model_id] = logged_model
                progress("logged models", 1)
    with part("registered models"):
        read_registry(gateway, models, versions, progress)
    with part("runs in the trash that others are nested in"):
        above = _parents_in_trash(gateway, runs, sorted(experiments))
    with part("other workspaces"):
        _read_other_workspaces(gateway, foreign_models, foreign)
    with part("logged models"):
        read_logged_models_of(gateway, [*versions.values(), *foreign], logged)
    if hidden:
        diagnostics += _gaps(models, versions)
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
        foreign_models=tuple(foreign_models),
    )


def incomplete(what: str, error: ServerError) -> Diagnostic:
    """Return the diagnostic for something that could not be read completely."""
    message = f"Not all {what} could be read. {error.explained}"
    return Diagnostic(INCOMPLETE_SCAN, message, blocks=True)


@contextmanager
def _part(diagnostics: list[Diagnostic], name: str) -> Iterator[None]:
    """Read a part; add a diagnostic if it fails, and raise only errors that end the scan."""
    try:
        yield
    except ServerError as error:
        if error.failure in NO_ACCESS:
            raise
        diagnostics.append(incomplete(name, error))


def read_experiments(gateway: Gateway, progress: Progress = no_progress) -> dict[str, Experiment]:
    """Return all experiments, of any lifecycle stage, by id."""
    experiments: dict[str, Experiment] = {}
    for experiment in pages(partial(gateway.search_experiments, view="ALL")):
        experiments[experiment.experiment_id] = experiment
        progress("experiments", 1)
    return experiments


def _parents_in_trash(
    gateway: Gateway, runs: Mapping[str, Run], experiment_ids: Sequence[str]
) -> dict[str, str]:
    def read(run_ids: Sequence[str]) -> Iterator[tuple[str, str | None]]:
        for run in runs_by_id(gateway, run_ids, experiment_ids, size=IDS_IN_BODY):
            yield run.run_id, run.parent_run_id

    return parents_above(runs.values(), runs, read)


def _read_other_workspaces(
    gateway: Gateway, foreign_models: list[RegisteredModel], foreign: list[ModelVersion]
) -> None:
    for other in gateway.other_workspaces():
        models: dict[str, RegisteredModel] = {}
        versions: dict[tuple[str, str], ModelVersion] = {}
        read_registry(other, models, versions)
        foreign_models.extend(models.values())
        foreign.extend(versions.values())


def _gaps(
    models: Mapping[str, RegisteredModel], versions: Mapping[tuple[str, str], ModelVersion]
) -> Iterator[Diagnostic]:
    """Yield signs that a partial view lacks versions or their runs.

    For an account that sees everything, an alias without a version is only a dangling alias.
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
