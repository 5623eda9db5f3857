"""Reading the experiments of a workspace from a database."""

from __future__ import annotations

from sqlalchemy import select

from mlflow_gc.domain.entities import Experiment
from mlflow_gc.inventory.sql.tables import Read, Tables, tags_of


def read_experiments(tables: Tables, read: Read, workspace: str | None) -> dict[str, Experiment]:
    """Return the experiments of both lifecycle stages, by id.

    ``workspace`` None is for all, as on a server without workspaces.
    """
    e, t = tables["experiments"].c, tables["experiment_tags"].c
    tags = tags_of(read(select(t.experiment_id, t.key, t.value)))
    rows = select(
        e.experiment_id,
        e.name,
        e.lifecycle_stage,
        e.artifact_location,
        *tables.columns("experiments", "creation_time", "last_update_time"),
    ).where(
        e.lifecycle_stage.in_(["active", "deleted"]), tables.of_workspace("experiments", workspace)
    )
    return {
        str(i): Experiment(
            experiment_id=str(i),
            name=name or "",
            lifecycle_stage=stage,
            artifact_location=place or "",
            # MLflow omits a 0, too.
            creation_time=created or None,
            last_update_time=updated or None,
            tags=tags.get(i, {}),
        )
        for i, name, stage, place, created, updated in read(rows)
    }
