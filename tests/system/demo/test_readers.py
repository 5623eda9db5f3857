"""The demo's server, read over REST and in its database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.bench import Bench
from support.readers import SAME_BUT, assert_same, differing, read

from mlflow_gc.demo.backdating import backdate
from mlflow_gc.demo.seeding import Seeder
from mlflow_gc.demo.server import LocalServer
from mlflow_gc.demo.story import tell

if TYPE_CHECKING:
    from pathlib import Path


def test_both_find_the_same(tmp_path: Path, as_of_ms: int, shared_bench: Bench) -> None:
    """Hundreds of runs, written by MLflow's own client."""
    with LocalServer(tmp_path) as server:
        scenario = tell(as_of_ms)
        backdate(server.database, scenario, Seeder(server.uri, lambda _: None).seed(scenario))
        uri = f"sqlite:///{server.database}"
        assert_same(read(server.uri), read(server.uri, uri))
        env = {"MLFLOW_TRACKING_URI": server.uri}
        over_rest = shared_bench.report(name="rest.json", env=env)
        database = shared_bench.report("--backend-store-uri", uri, name="database.json", env=env)
    assert len(over_rest.runs) > 200
    assert differing(over_rest, database) <= SAME_BUT
