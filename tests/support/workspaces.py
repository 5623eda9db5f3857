"""Servers with workspaces (``mlflow server --enable-workspaces``, MLflow 3.10 and newer)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import requests

from support import server as store
from support.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow_gc.demo.server import LocalServer
    from support.oracle import Entity


class WorkspaceWorld(World):
    """The content of one workspace."""

    def __init__(self, server: LocalServer, as_of_ms: int, workspace: str) -> None:
        super().__init__(server.uri, server.database, as_of_ms)
        self.workspace = workspace
        self.http.headers["X-MLFLOW-WORKSPACE"] = workspace

    def sql(self, statement: str, *values: object) -> None:
        """Change the server's database behind its back, in this workspace only."""
        if "WHERE name = ?" in statement:
            super().sql(f"{statement} AND workspace = ?", *values, self.workspace)
        else:
            super().sql(statement, *values)


def make(server: LocalServer, *names: str) -> None:
    """Make workspaces."""
    for name in names:
        requests.post(
            f"{server.uri}/api/3.0/mlflow/workspaces", json={"name": name}, timeout=60
        ).raise_for_status()


def active(database: Path) -> dict[str, set[Entity]]:
    """Workspace -> its living entities, from the database alone."""
    found: dict[str, set[Entity]] = defaultdict(set)
    with store.open_database(database) as db:
        for workspace, key in db.execute(
            "SELECT workspace, experiment_id FROM experiments WHERE lifecycle_stage = 'active'"
        ):
            found[workspace].add(("experiment", str(key)))
        for workspace, key in db.execute(
            "SELECT e.workspace, r.run_uuid FROM runs r JOIN experiments e"
            " USING (experiment_id) WHERE r.lifecycle_stage = 'active'"
        ):
            found[workspace].add(("run", key))
        for workspace, key in db.execute(
            "SELECT workspace, name || '/' || version FROM model_versions"
            " WHERE current_stage <> 'Deleted_Internal'"
        ):
            found[workspace].add(("model_version", key))
    return dict(found)
