"""Reading registered models and model versions from a database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from mlflow_gc.domain.entities import ModelVersion, RegisteredModel
from mlflow_gc.inventory.registry import resolve_storage
from mlflow_gc.inventory.sql.snapshot import Snapshot
from mlflow_gc.inventory.sql.statements import Statements
from mlflow_gc.inventory.sql.tables import tags_of

VersionKey = tuple[str, str]


def read_versions(
    snapshot: Snapshot, statements: Statements
) -> dict[str, dict[VersionKey, ModelVersion]]:
    """Read the model versions of all workspaces, prompts included.

    Returns:
        By workspace; with storage if ``registry.read_registry`` would resolve it.

    Raises:
        ServerError: the database cannot be read.
    """
    tags = tags_of(snapshot.read(statements.version_tags()))
    found: dict[str, dict[VersionKey, ModelVersion]] = defaultdict(dict)
    storage_of: dict[str, dict[VersionKey, str]] = defaultdict(dict)
    for row in snapshot.read(statements.versions()):
        workspace, name, number, created, updated, stage = row[:6]
        description, source, run_id, run_link, storage = row[6:]
        key = name, str(number)
        storage_of[workspace][key] = storage or source or ""
        found[workspace][key] = ModelVersion(
            name=name,
            version=str(number),
            creation_timestamp=created,
            last_updated_timestamp=updated,
            current_stage=stage,
            description=description or "",
            source=source or "",
            run_id=run_id or "",
            run_link=run_link or "",
            model_id="",
            tags=tags.get((workspace, name, number), {}),
            hides_run=run_id is None,
        )
    for workspace, versions in found.items():
        # As ``get_model_version_download_uri`` of MLflow does.
        resolve_storage(lambda *key, uris=storage_of[workspace]: uris[key], versions)
    return dict(found)


def read_models(
    snapshot: Snapshot, statements: Statements, workspace: str, versions: Iterable[ModelVersion]
) -> dict[str, RegisteredModel]:
    """Read the registered models of a workspace, prompts included.

    ``versions`` are all of the workspace.

    Raises:
        ServerError: the database cannot be read.
    """
    highest: dict[str, int] = {}
    for version in versions:
        highest[version.name] = max(highest.get(version.name, 0), version.number)
    tags = tags_of(snapshot.read(statements.model_tags(workspace)))
    aliases: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, alias, number in snapshot.read(statements.aliases(workspace)):
        aliases[name][str(number)].append(alias)
    return {
        name: RegisteredModel(
            name=name,
            tags=tags.get(name, {}),
            aliases={v: tuple(sorted(names)) for v, names in sorted(aliases.get(name, {}).items())},
            # MLflow omits a 0 here, but not there.
            last_updated_timestamp=updated or None,
            creation_timestamp=created,
            description=description or "",
            highest_version=highest.get(name, 0),
        )
        for name, created, updated, description in snapshot.read(statements.models(workspace))
    }
