"""The entities of a server over its API, for what takes space where no database can be read.

A server does not tell the ids of deleted logged models, nor those of other workspaces, and traces are
not read.  So files of an id that is not found are unknown, never orphans.
"""

from __future__ import annotations

from functools import partial

from mlflow_gc.backend.interface import Gateway, pages
from mlflow_gc.domain.kinds import EXPERIMENT, LOGGED_MODEL, MODEL_VERSION, REGISTERED_MODEL, RUN
from mlflow_gc.inventory.database_usage import DatabaseUsage, Group, month
from mlflow_gc.inventory.file_sample import FileSample
from mlflow_gc.inventory.lookup import EXPERIMENTS_A_CALL, chunks
from mlflow_gc.inventory.progress import Progress
from mlflow_gc.inventory.stored_files import Owner, StoredFiles
from mlflow_gc.retention.freed_space import ACTIVE, TRASH

_STAGES = {"ACTIVE_ONLY": ACTIVE, "DELETED_ONLY": TRASH}


def read_entities(
    gateway: Gateway, files: StoredFiles, sample: FileSample, progress: Progress
) -> DatabaseUsage:
    """Return the entities of a server, without rows and bytes, and add the locations of files.

    Args:
        gateway: the server.
        files: gets the locations in stores that can be reached from here.
        sample: gets those behind the server.
        progress: receives the progress.

    Raises:
        ServerError: The server cannot be read.
    """
    found = DatabaseUsage("")
    located: dict[str, str] = {}

    def locate(owner: Owner, experiment: str, stage: str, uri: str, folder: str) -> None:
        is_elsewhere = uri.rstrip("/") != f"{located[experiment]}/{folder}/artifacts"
        if not sample.add(owner, experiment, stage, uri) and is_elsewhere:
            files.add(owner, uri)

    for view, stage in _STAGES.items():
        for experiment in pages(partial(gateway.search_experiments, view=view)):
            i = experiment.experiment_id
            created = month(experiment.creation_time)
            found.groups[EXPERIMENT.name][i] = Group(
                EXPERIMENT.name, stage, experiment=i, month=created
            )
            found.names[EXPERIMENT.name, i] = experiment.name
            located[i] = experiment.artifact_location.rstrip("/")
            if not sample.covers(experiment.artifact_location):
                files.add_experiment(i, experiment.artifact_location)
            progress("experiments", 1)
    for ids in chunks(sorted(located), EXPERIMENTS_A_CALL):
        for view, stage in _STAGES.items():
            for run in pages(partial(gateway.search_runs, ids, view=view)):
                i, run_id = run.experiment_id, run.run_id
                # A server does not tell when a run was deleted, so it may be too young to be purged.
                group = Group(RUN.name, stage, False, i, run.user_id, month(run.start_time))
                found.groups[RUN.name][run_id] = group
                locate(Owner(RUN.name, run_id), i, stage, run.artifact_uri, run_id)
                progress("runs", 1)
        for model in pages(partial(gateway.search_logged_models, ids)):
            i, model_id = model.experiment_id, model.model_id
            made = month(model.creation_time)
            group = Group(LOGGED_MODEL.name, ACTIVE, experiment=i, month=made, item=model_id)
            found.groups[LOGGED_MODEL.name][model_id] = group
            found.names[LOGGED_MODEL.name, model_id] = model.name
            folder = f"models/{model_id}"
            locate(Owner(LOGGED_MODEL.name, model_id), i, ACTIVE, model.artifact_uri, folder)
            progress("logged models", 1)
    for registered in pages(gateway.search_registered_models):
        group = Group(REGISTERED_MODEL.name, ACTIVE, item=registered.name)
        found.groups[REGISTERED_MODEL.name][registered.name] = group
        progress("registered models", 1)
    for version in pages(gateway.search_model_versions):
        group = Group(MODEL_VERSION.name, ACTIVE, item=version.name)
        found.groups[MODEL_VERSION.name][version.name, version.version] = group
        progress("model versions", 1)
    return found
