"""Read the model registry: models, versions, what a search hides of them, where copies have files."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from dataclasses import replace
from functools import partial
from typing import Protocol

from mlflow_gc.backend.interface import Failure, Gateway, ServerError, pages
from mlflow_gc.domain.entities import ModelVersion, RegisteredModel
from mlflow_gc.domain.source_references import copied_from, names_other_version
from mlflow_gc.inventory.progress import Progress, no_progress

PROMPT_TAG = "mlflow.prompt.is_prompt"
PROMPTS = "tags.`mlflow.prompt.is_prompt` = 'true'"
"""Prompts are hidden from both registry searches unless the filter asks for them (2.21+)."""


def read_registry(
    gateway: Gateway,
    models: dict[str, RegisteredModel],
    versions: dict[tuple[str, str], ModelVersion],
    progress: Progress = no_progress,
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


class KnowsStorage(Protocol):
    """Whatever can tell where the files of a model version lie."""

    def get_download_uri(self, name: str, version: str) -> str | None:
        """Where they lie, as MLflow resolved it."""


def resolve_storage(
    gateway: KnowsStorage, versions: MutableMapping[tuple[str, str], ModelVersion]
) -> None:
    """Find where the files of copies lie whose original is no longer found.

    MLflow resolves the source of a copy when it is made; later the original may be deleted or its
    model renamed, or an alias that the source names moved
    (docs/explanation/mlflow-facts.md#copies-name-their-original).
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
