"""Whether a database is that of a server."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnClause, Select, column, select, table

from mlflow_gc.backend.server_identity import fingerprint
from mlflow_gc.domain.entities import Experiment
from mlflow_gc.errors import Refused
from mlflow_gc.inventory.sql.snapshot import Snapshot

# Not MLflow's own definitions: importing them takes half a second, and every version has these.
_COLUMNS: list[ColumnClause[Any]] = [
    column("experiment_id"),
    column("name"),
    column("lifecycle_stage"),
    column("artifact_location"),
    column("creation_time"),
]
_EXPERIMENTS = select(*_COLUMNS).select_from(table("experiments"))


def refuse_other_server(
    snapshot: Snapshot, identity: str, uri: str, workspace: str | None = None
) -> None:
    """Refuse the database of another server than that with a fingerprint.

    Args:
        snapshot: of the database.
        identity: of the server, see ``backend.server_identity``.
        uri: of the server, for the message.
        workspace: whose default experiment counts where there is no experiment 0.

    Raises:
        Refused: With both fingerprints.
        ServerError: The database cannot be read.
    """
    expected = identity.split(maxsplit=1)[0]
    by_name = _EXPERIMENTS.where(column("name") == "Default")
    if workspace is not None:
        by_name = by_name.where(column("workspace") == workspace)
    found = _found(snapshot, _EXPERIMENTS.where(column("experiment_id") == 0)) or _found(
        snapshot, by_name
    )
    if found != expected:
        raise Refused(
            f"{snapshot.name} is not of the server {uri} "
            f"(fingerprint {found or 'none'}, there {expected}).",
            hint="Name the database that the server was started with, or leave it out. For an "
            "account that may not read experiment 0 it cannot be determined.",
        )


def _found(snapshot: Snapshot, statement: Select[Any]) -> str | None:
    for experiment_id, name, stage, location, created in snapshot.read(statement):
        # MLflow omits a creation time of 0.
        default = Experiment(
            str(experiment_id), name, stage, location or "", created or None, None, {}
        )
        return f"tracking:{fingerprint(default)}"
    return None
