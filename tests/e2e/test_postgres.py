"""PostgreSQL as the store: over the server, and as a database URI."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
import requests
from support import postgres
from support.plans import DAY_MS, Journal, Plan, rfc3339

from mlflow_gc.demo.server import LocalServer

if TYPE_CHECKING:
    from pathlib import Path

    from support.cli import Cli

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


@dataclass(frozen=True)
class Estate:
    """A server on PostgreSQL with old and fresh content."""

    uri: str
    database_uri: str
    as_of_ms: int
    stale_runs: frozenset[str]
    kept_runs: frozenset[str]
    version: str

    @property
    def as_of(self) -> str:
        """The clock of the reports."""
        return rfc3339(self.as_of_ms)

    def call(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Call the REST API."""
        response = requests.request(
            method, f"{self.uri}/api/2.0/mlflow/{path}", json=body, timeout=60
        )
        assert response.status_code == 200, response.text
        return dict(response.json())

    def active_runs(self) -> set[str]:
        """Straight from the database."""
        with _connected(self.database_uri) as rows:
            rows.execute("SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active'")
            return {run for (run,) in rows.fetchall()}


class _connected:  # noqa: N801 - used like a function
    def __init__(self, uri: str) -> None:
        self._connection = psycopg2.connect(uri.replace("+psycopg2", ""))

    def __enter__(self) -> Any:
        return self._connection.cursor()

    def __exit__(self, *_: object) -> None:
        self._connection.commit()
        self._connection.close()


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory, as_of_ms: int) -> Iterator[Estate]:
    """Twelve stale runs, a registered one, a running one, one version that goes."""
    bin_dir = postgres.binaries()
    if bin_dir is None:
        pytest.skip("PostgreSQL is not installed")
    old = as_of_ms - 100 * DAY_MS
    with (
        postgres.running(bin_dir) as uri,
        LocalServer(tmp_path_factory.mktemp("pg-server"), backend_store_uri=uri) as server,
    ):
        empty = Estate(server.uri, uri, as_of_ms, frozenset(), frozenset(), "")
        experiment = empty.call("POST", "experiments/create", {"name": "älter"})["experiment_id"]

        def run(status: str) -> str:
            body = {"experiment_id": experiment, "start_time": old}
            run_id = str(empty.call("POST", "runs/create", body)["run"]["info"]["run_id"])
            body = {"run_id": run_id, "status": status, "end_time": old}
            empty.call("POST", "runs/update", body)
            return run_id

        stale = frozenset(run("FINISHED") for _ in range(12))
        registered, running = run("FINISHED"), run("RUNNING")
        empty.call("POST", "registered-models/create", {"name": "fraud"})
        for source in ("s3://bucket/x", "s3://bucket/y"):
            body = {"name": "fraud", "source": source, "description": "d"}
            empty.call("POST", "model-versions/create", body)
        with _connected(uri) as rows:
            rows.execute(
                "UPDATE model_versions SET creation_time = %s, last_updated_time = %s", (old, old)
            )
            rows.execute("UPDATE model_versions SET run_id = %s WHERE version = 2", (registered,))
        yield Estate(server.uri, uri, as_of_ms, stale, frozenset({registered, running}), "fraud/1")


def test_report_and_prune_on_postgresql(estate: Estate, cli: Cli, tmp_path: Path) -> None:
    """The same plan over REST and over the database, and a prune over the database."""
    documents = {}
    for name, uri in (("rest", estate.uri), ("direct", estate.database_uri)):
        path = tmp_path / f"{name}.json"
        env = {"MLFLOW_TRACKING_URI": uri}
        outcome = cli("report", "-v", "-o", path, "--as-of", estate.as_of, env=env).expect(0)
        assert postgres.PASSWORD not in path.read_text() + outcome.text
        documents[name] = Plan.load(path)
    for kind in ("runs", "experiments", "model_versions", "protected", "summary"):
        assert documents["rest"].document[kind] == documents["direct"].document[kind]
    plan = documents["direct"]
    assert plan.runs == estate.stale_runs
    assert plan.versions == {estate.version}
    assert re.match(r"postgresql\+psycopg2://127\.0\.0\.1", plan.document["server"]["tracking_uri"])

    resumed = min(estate.stale_runs)
    estate.call("POST", "runs/update", {"run_id": resumed, "status": "RUNNING"})
    journal = tmp_path / "j.jsonl"
    outcome = cli(
        "prune",
        plan.path,
        "--journal",
        journal,
        env={"MLFLOW_TRACKING_URI": estate.database_uri},
    ).expect(0)
    assert postgres.PASSWORD not in outcome.text + journal.read_text()
    assert estate.active_runs() == estate.kept_runs | {resumed}
    assert Journal.load(journal).skips == {("run", resumed): "changed"}
    with _connected(estate.database_uri) as rows:
        rows.execute("SELECT version FROM model_versions WHERE current_stage = 'None'")
        assert rows.fetchall() == [(2,)]


def test_a_wrong_password_is_an_error_and_not_printed(
    estate: Estate, cli: Cli, tmp_path: Path
) -> None:
    """One message, no plan."""
    uri = estate.database_uri.replace(postgres.PASSWORD, "wrong-canary")
    outcome = cli(
        "report", "-v", "-o", tmp_path / "p.json", env={"MLFLOW_TRACKING_URI": uri}
    ).expect(1, 5)
    assert "canary" not in outcome.text
    assert not (tmp_path / "p.json").exists()
