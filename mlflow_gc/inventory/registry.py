"""Read the model registry: models, versions, hidden versions, storage of copies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import replace
from functools import partial

from mlflow_gc.backend.interface import Failure, Gateway, ServerError, pages
from mlflow_gc.domain.entities import ModelVersion, RegisteredModel
from mlflow_gc.domain.source_references import copied_from, names_other_version
from mlflow_gc.domain.tag_selection import PROMPT_TAG
from mlflow_gc.inventory.progress import Progress, no_progress

PROMPTS = f"tags.`{PROMPT_TAG}` = 'true'"
"""Both registry searches hide prompts unless the filter selects them (2.21+)."""


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
    resolve_storage(gateway.get_download_uri, versions)


def read_hidden_versions(
    gateway: Gateway,
    model: RegisteredModel,
    versions: MutableMapping[tuple[str, str], ModelVersion],
) -> None:
    """Read the versions of a model one by one if a search hides some of them.

    Once one version has the prompt tag, a search without that tag omits all versions of the model,
    and a search with it returns only the tagged ones (seen on 3.17.2).
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
    """Tell whether some MLflow version refuses requests with this name of a registered model.

    3.17 validates the name in every request about one model (utils/validation.py
    _validate_model_name): no "/" or ":", and no path that resolves to another one.  Older servers
    allowed such names, and searches still return them.
    """
    return "/" in name or ":" in name or name == "." or name.startswith("..")


def is_refused(error: ServerError, name: str) -> bool:
    """Tell whether a server refused a request because of the name of a registered model."""
    return _may_be_refused(name) and error.failure is Failure.REJECTED


def refused_names(gateway: Gateway, names: Iterable[str]) -> frozenset[str]:
    """Return the registered models whose names the server refuses in a deletion.

    This takes one request for each suspicious name; most servers have none.

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


def resolve_storage(
    get_download_uri: Callable[[str, str], str | None],
    versions: MutableMapping[tuple[str, str], ModelVersion],
) -> None:
    """Resolve the storage of copies whose original no longer exists.

    MLflow resolves the source of a copy when it is created; later the original may be deleted, its
    model renamed, or the alias in the source moved
    (docs/explanation/mlflow-facts.md#copies-name-their-original).
    """
    for key, version in versions.items():
        if version.storage or not names_other_version(version):
            continue
        original = versions.get(copied_from(version) or ("", ""))
        if original is None or not _is_original(original, version):
            try:
                uri = get_download_uri(*key)
            except ServerError as error:
                if not is_refused(error, version.name):
                    raise
                uri = None  # and MLflow returns the URI to nobody else
            versions[key] = replace(version, storage=uri or "")


def _is_original(original: ModelVersion, copy: ModelVersion) -> bool:
    """Tell whether a version certainly is the original of a copy.

    A model that was deleted and created again has the same version numbers; a real copy is younger
    than its original and names the same run.
    """
    is_older = (original.creation_timestamp or 0) <= (copy.creation_timestamp or 0)
    return is_older and bool(copy.run_id) and copy.run_id == original.run_id
