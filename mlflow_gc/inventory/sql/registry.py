"""Reading the model registry of all workspaces from a database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import select

from mlflow_gc.domain.entities import ModelVersion, RegisteredModel
from mlflow_gc.inventory.registry import resolve_storage
from mlflow_gc.inventory.sql.tables import TOMBSTONE, Read, Tables, tags_of

VersionKey = tuple[str, str]

_DEFAULT_WORKSPACE = "default"
"""The workspace of the model registry of a server without workspaces."""


@dataclass(frozen=True)
class Registry:
    """Registered models and versions, prompts included.

    Attributes:
        models: of the workspace, by name.
        versions: of the workspace, by name and number.
        foreign_models: of other workspaces.
        foreign_versions: of other workspaces.
    """

    models: Mapping[str, RegisteredModel]
    versions: Mapping[VersionKey, ModelVersion]
    foreign_models: tuple[RegisteredModel, ...]
    foreign_versions: tuple[ModelVersion, ...]


def read_registry(
    tables: Tables, read: Read, workspace: str | None, *, with_storage: bool = False
) -> Registry:
    """Read the registry of all workspaces; ``workspace`` None is that of a server without any.

    ``with_storage`` of each version; otherwise only where a server resolves it, too
    (:func:`~mlflow_gc.inventory.registry.resolve_storage`).
    """
    here = workspace or _DEFAULT_WORKSPACE
    versions = _versions(tables, read, here, with_storage=with_storage)
    models: dict[str, dict[str, RegisteredModel]] = defaultdict(dict)
    for name, model in _models(tables, read, here, versions):
        models[name][model.name] = model
    own_models, own_versions = models.pop(here, {}), versions.pop(here, {})
    return Registry(
        own_models,
        own_versions,
        tuple(model for _, of in sorted(models.items()) for model in of.values()),
        tuple(version for _, of in sorted(versions.items()) for version in of.values()),
    )


def _versions(
    tables: Tables, read: Read, here: str, *, with_storage: bool
) -> dict[str, dict[VersionKey, ModelVersion]]:
    """Return the existing versions by workspace."""
    v, t = tables["model_versions"].c, tables["model_version_tags"].c
    of_versions = tables.columns("model_version_tags", "workspace")
    tags = tags_of(read(select(*of_versions, t.name, t.version, t.key, t.value)))
    rows = select(
        v.name,
        v.version,
        v.creation_time,
        v.last_updated_time,
        v.current_stage,
        v.description,
        v.source,
        v.run_id,
        *tables.columns("model_versions", "run_link", "storage_location", "workspace"),
    ).where(v.current_stage.is_distinct_from(TOMBSTONE))
    found: dict[str, dict[VersionKey, ModelVersion]] = defaultdict(dict)
    storage_of: dict[str, dict[VersionKey, str]] = defaultdict(dict)
    for name, number, created, updated, stage, text, source, run_id, link, at, ws in read(rows):
        key, of = (name, str(number)), ws or here
        storage_of[of][key] = at or source or ""
        found[of][key] = ModelVersion(
            name=name,
            version=str(number),
            creation_timestamp=created,
            last_updated_timestamp=updated,
            current_stage=stage,
            description=text or "",
            source=source or "",
            run_id=run_id or "",
            run_link=link or "",
            model_id="",
            tags=tags.get((ws, name, number), {}),
            storage=(at or "") if with_storage else "",
            hides_run=run_id is None,
        )
    for of, versions in found.items():
        # As ``get_model_version_download_uri`` of MLflow does.
        resolve_storage(lambda *key, uris=storage_of[of]: uris[key], versions)
    return found


def _models(
    tables: Tables,
    read: Read,
    here: str,
    versions: Mapping[str, Mapping[VersionKey, ModelVersion]],
) -> Iterator[tuple[str, RegisteredModel]]:
    """Yield the workspace of each registered model, and the model."""
    m, t = tables["registered_models"].c, tables["registered_model_tags"].c
    of_models = tables.columns("registered_model_tags", "workspace")
    tags = tags_of(read(select(*of_models, t.name, t.key, t.value)))
    highest: dict[tuple[str, str], int] = {}
    for of, in_it in versions.items():
        for version in in_it.values():
            key = of, version.name
            highest[key] = max(highest.get(key, 0), version.number)
    aliases: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    if "registered_model_aliases" in tables:
        a = tables["registered_model_aliases"].c
        workspace = tables.columns("registered_model_aliases", "workspace")
        for name, alias, number, ws in read(select(a.name, a.alias, a.version, *workspace)):
            aliases[ws or here, name][str(number)].append(alias)
    rows = select(
        m.name,
        m.creation_time,
        m.last_updated_time,
        m.description,
        *tables.columns("registered_models", "workspace"),
    )
    for name, created, updated, text, ws in read(rows):
        key = ws or here, name
        names = sorted(aliases.get(key, {}).items())
        yield (
            key[0],
            RegisteredModel(
                name=name,
                tags=tags.get((ws, name), {}),
                aliases={number: tuple(sorted(of)) for number, of in names},
                # MLflow omits a 0 here, but not there.
                last_updated_timestamp=updated or None,
                creation_timestamp=created,
                description=text or "",
                highest_version=highest.get(key, 0),
            ),
        )
