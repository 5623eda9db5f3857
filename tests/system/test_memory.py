"""A plan takes the memory of its file, not that of half a million dictionaries."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support import depth
from support.server import open_database
from unit.busy_server import busy_plan

from mlflow_gc.domain.timestamps import now_ms
from mlflow_gc.plan.writer import pieces, write

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")

RUNS = 40_000


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("memory") / "plan.json"
    write(pieces(busy_plan(RUNS, now_ms())), path)
    return path


def _peak(*words: str) -> int:
    """Run the program; peak memory in bytes."""
    return _peak_of("-m", "mlflow_gc", *words)


def _peak_of(*words: str) -> int:
    """Run Python without coverage, whose own memory would count; peak memory in bytes."""
    # Linux counts the memory of the parent into a child's peak: a small process stands between.
    small = (
        "import os, subprocess, sys\n"
        "process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
        "_, status, usage = os.wait4(process.pid, 0)\n"
        "print(os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024)\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    out = subprocess.run(
        [sys.executable, "-c", small, sys.executable, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    code, peak = map(int, out.split())
    assert code in {0, 2}
    return peak


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("words", "plans"),
    depth.some(
        [
            (("diff", "PLAN", "PLAN"), 2),
            (("show", "PLAN"), 1),
            (("validate", "PLAN"), 1),
            (("show", "PLAN", "--format", "json"), 1),
            (("show", "PLAN", "--format", "ndjson"), 1),
            (("show", "PLAN", "--format", "markdown"), 1),
        ],
        2,
    ),
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_memory_is_that_of_the_files(plan: Path, words: tuple[str, ...], plans: int) -> None:
    """Twice that at most, beside the program's own; as dictionaries it would be six times."""
    alone = _peak("schema", "plan")
    peak = _peak(*(str(plan) if word == "PLAN" else word for word in words))
    assert peak < alone + 30 * 1024**2 + 2 * plans * plan.stat().st_size


def _purge(folder: Path, runs: int, values: int) -> int:
    """Purge runs with so many metric values each; peak memory in bytes."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder.mkdir()
    server = ("--tracking-uri", f"sqlite:///{folder}/mlflow.db")
    SqlAlchemyStore(server[1], str(folder))
    with open_database(folder / "mlflow.db") as database:
        ids = [f"{number:032x}" for number in range(runs + 20)]
        database.executemany(
            "INSERT INTO runs (run_uuid, experiment_id, lifecycle_stage, status, start_time,"
            " deleted_time, artifact_uri) VALUES (?, 0, ?, 'FINISHED', 1600000000000, 1600000000000,"
            f" '{folder}/0/' || ? || '/artifacts')",
            [(i, "deleted" if n < runs else "active", i) for n, i in enumerate(ids)],
        )
        database.executemany(
            "INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid)"
            " VALUES ('loss', 0.5, 1600000000000, ?, 0, ?)",
            ((step, i) for i in ids[:runs] for step in range(values)),
        )
    plan = str(folder / "plan.json")
    _peak("report", "--trash", "--keep-files", "-q", "-o", plan, *server)
    peak = _peak("purge", plan, "-q", *server)
    with open_database(folder / "mlflow.db") as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (20,)
        assert database.execute("SELECT count(*) FROM metrics").fetchone() == (0,)
    return peak


def test_memory_of_a_purge_is_not_that_of_its_rows(tmp_path: Path) -> None:
    """Ten times as many runs with 200 times as many metric values each take hardly more."""
    few, many = _purge(tmp_path / "few", 100, 1), _purge(tmp_path / "many", 1_000, 200)
    alone = _peak_of("-c", "import mlflow")
    assert many < few + 15 * 1024**2
    assert many < alone + 150 * 1024**2
