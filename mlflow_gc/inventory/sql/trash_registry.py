"""Reading the model registry of all workspaces from reflected tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select

from mlflow_gc.domain.entities import ModelVersion, RegisteredModel
from mlflow_gc.inventory.sql.tables import TOMBSTONE, Read, Tables, tags_of


@dataclass(frozen=True)
class Registry:
    """Registered models and versions.

    Attributes:
        models: of the workspace, by name.
        versions: of the workspace, by name and number.
        foreign_models: of other workspaces.
        foreign_versions: of other workspaces.
    """

    models: Mapping[str, RegisteredModel]
    versions: Mapping[tuple[str, str], ModelVersion]
    foreign_models: tuple[RegisteredModel, ...]
    foreign_versions: tuple[ModelVersion, ...]


def read_registry(tables: Tables, read: Read, workspace: str | None) -> Registry:
    """Read the registry of all workspaces; ``workspace`` None is that of a server without any."""
    here = workspace or "default"
    v, t = tables["model_versions"].c, tables["model_version_tags"].c
    of_versions = select(
        *tables.columns("model_version_tags", "workspace"), t.name, t.version, t.key, t.value
    )
    tags = tags_of((ws or here, *others) for ws, *others in read(of_versions))
    own: dict[tuple[str, str], ModelVersion] = {}
    foreign: list[ModelVersion] = []
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
    for name, number, created, updated, stage, text, source, run_id, link, at, ws in read(rows):
        version = ModelVersion(
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
            tags=tags.get((ws or here, name, number), {}),
            storage=at or "",
        )
        if (ws or here) == here:
            own[name, str(number)] = version
        else:
            foreign.append(version)
    models, others = _read_models(tables, read, here)
    return Registry(models, own, others, tuple(foreign))


def _read_models(
    tables: Tables, read: Read, here: str
) -> tuple[dict[str, RegisteredModel], tuple[RegisteredModel, ...]]:
    aliases: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    if "registered_model_aliases" in tables:
        a = tables["registered_model_aliases"].c
        rows = select(
            a.name,
            a.alias,
            a.version,
            *tables.columns("registered_model_aliases", "workspace"),
        )
        for name, alias, number, ws in read(rows):
            aliases[ws or here, name][str(number)].append(alias)
    t = tables["registered_model_tags"].c
    of_models = select(
        *tables.columns("registered_model_tags", "workspace"), t.name, t.key, t.value
    )
    tags = tags_of((ws or here, *others) for ws, *others in read(of_models))
    own: dict[str, RegisteredModel] = {}
    others: list[RegisteredModel] = []
    m = tables["registered_models"].c
    rows = select(m.name, m.description, *tables.columns("registered_models", "workspace"))
    for name, text, ws in read(rows):
        key = ws or here, name
        model = RegisteredModel(
            name=name,
            tags=tags.get(key, {}),
            aliases={n: tuple(sorted(of)) for n, of in aliases.get(key, {}).items()},
            description=text or "",
        )
        if key[0] == here:
            own[name] = model
        else:
            others.append(model)
    return own, tuple(others)
