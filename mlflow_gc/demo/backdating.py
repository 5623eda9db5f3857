"""Shift the times that an MLflow server sets itself.

Clients of MLflow choose the times of runs, metrics and traces, but the server sets those of
experiments, model versions, registered models, logged models and deletions.  The demo needs old
entities, so these columns are changed in the SQLite file.  **Only the demo may do that, because it
created the file and deletes it.**
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from mlflow_gc.demo.scenario import DAY_MS, HOUR_MS, Scenario
from mlflow_gc.demo.seeding import SeededIds

_LOCK_TIMEOUT_S = 30.0


def backdate(database: Path, scenario: Scenario, ids: SeededIds) -> None:
    """Replace the times that the server set by those of the scenario, in its SQLite file."""
    with closing(sqlite3.connect(database, timeout=_LOCK_TIMEOUT_S)) as connection, connection:
        connection.executemany(
            "UPDATE experiments SET creation_time = ?, last_update_time = ?"
            " WHERE experiment_id = ?",
            [
                (e.created_ms, e.created_ms, int(ids.experiments[e.name]))
                for e in scenario.experiments
            ],
        )
        # The default experiment is as old as the server.
        oldest = min(e.created_ms for e in scenario.experiments) - DAY_MS
        connection.execute(
            "UPDATE experiments SET creation_time = ?, last_update_time = ?"
            " WHERE experiment_id = 0",
            (oldest, oldest),
        )
        connection.executemany(
            "UPDATE runs SET deleted_time = ? WHERE run_uuid = ?",
            [
                (run.end_ms + HOUR_MS, ids.runs[run.key])
                for run in scenario.runs
                if run.deleted and run.end_ms is not None
            ],
        )
        connection.executemany(
            "UPDATE registered_models SET creation_time = ?, last_updated_time = ? WHERE name = ?",
            # The server stores a prompt as a registered model.
            [
                *((m.created_ms, m.created_ms, m.name) for m in scenario.models),
                *((p.created_ms, p.created_ms, p.name) for p in scenario.prompts),
            ],
        )
        connection.executemany(
            "UPDATE model_versions SET creation_time = ?, last_updated_time = ?"
            " WHERE name = ? AND version = ?",
            [
                *((v.created_ms, v.created_ms, v.model, int(number)) for v, number in ids.versions),
                *(
                    (prompt.created_ms, prompt.created_ms, prompt.name, number)
                    for prompt in scenario.prompts
                    for number in range(1, len(prompt.templates) + 1)
                ),
            ],
        )
        connection.executemany(
            "UPDATE logged_models SET creation_timestamp_ms = ?, last_updated_timestamp_ms = ?"
            " WHERE model_id = ?",
            [
                (run.end_ms, run.end_ms, ids.logged_models[run.key])
                for run in scenario.runs
                if run.logged_model
            ],
        )
