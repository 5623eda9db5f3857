"""Usage: what takes space, against plain SQL and a walk over the same files.

    python benchmarks/usage.py [RUNS]      (default 2000: 2 million metric rows, 100,000 files)

A run has 10 metrics of 100 steps, 15 parameters and 50 files.  All read the same PostgreSQL and the
same folder, one after the other; the median of three rounds counts.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import measure
import psycopg2
from seeding import postgres

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
EXPERIMENTS = 20
METRICS, STEPS, PARAMS, FILES = 10, 100, 15, 50
ROUNDS = 3

_BARE = """
SELECT r.experiment_id, r.lifecycle_stage, count(*) FROM {0} t JOIN runs r USING (run_uuid)
GROUP BY 1, 2
"""


@contextmanager
def database(root: Path) -> Iterator[str]:
    """Start PostgreSQL, and fill it and the folder."""
    binaries = postgres.binaries()
    if binaries is None:
        sys.exit("PostgreSQL is not installed.")
    with postgres.running(binaries) as uri:
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        store = SqlAlchemyStore(uri, str(root))
        for n in range(EXPERIMENTS):
            store.create_experiment(f"experiment {n}")
        with postgres.rows(uri) as cursor:
            cursor.execute(
                "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name,"
                " user_id, status, start_time, end_time, deleted_time, source_version,"
                " lifecycle_stage, artifact_uri, experiment_id)"
                " SELECT md5(n::text), 'run', 'LOCAL', '', '', 'user' || n %% 7, 'FINISHED',"
                " 1700000000000 + n * 1000000::bigint, 1700000000000, 1, '',"
                " CASE WHEN n %% 3 = 0 THEN 'deleted' ELSE 'active' END,"
                " %s || '/' || 1 + n %% %s || '/' || md5(n::text) || '/artifacts', 1 + n %% %s"
                " FROM generate_series(1, %s) n",
                (str(root), EXPERIMENTS, EXPERIMENTS, RUNS),
            )
            cursor.execute(
                "INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid)"
                " SELECT 'metric' || k, s, 1700000000000 + s, s, false, run_uuid FROM runs,"
                f" generate_series(1, {METRICS}) k, generate_series(1, {STEPS}) s"
            )
            cursor.execute(
                "INSERT INTO params (key, value, run_uuid) SELECT 'param' || k, 'value', run_uuid"
                f" FROM runs, generate_series(1, {PARAMS}) k"
            )
            cursor.execute("SELECT artifact_uri FROM runs")
            folders = [Path(uri) for (uri,) in cursor.fetchall()]
        connection = psycopg2.connect(uri.replace("+psycopg2", ""))
        connection.autocommit = True
        connection.cursor().execute("VACUUM ANALYZE")
        connection.close()
        for folder in folders:
            folder.mkdir(parents=True)
            for n in range(FILES):
                (folder / f"{n}.bin").write_bytes(b"x" * n)
        yield uri


def main() -> None:
    """Measure and print."""
    print(measure.machine())
    with tempfile.TemporaryDirectory() as name:
        root, out = Path(name) / "root", Path(name) / "usage.json"
        with database(root) as uri:
            arguments = ("usage", "--tracking-uri", uri, "--format", "json", "-o", str(out), "-q")
            measure.gc(*arguments)
            usage = measure.median([measure.gc(*arguments) for _ in range(ROUNDS)])
            bare = sorted(_bare(uri, root) for _ in range(ROUNDS))[ROUNDS // 2]
            start = measure.median([_start() for _ in range(ROUNDS)])
        found = json.loads(out.read_text())
    rows, files = found["totals"]["rows"], found["totals"]["files"]
    print(f"{rows:,} rows, {files:,} files")
    measure.row("usage", usage, RUNS)
    print(f"start of MLflow alone: {start.wall:.1f} s")
    _, sql, walk = bare
    print(f"plain SQL: {sql:.2f} s; os.scandir: {walk:.2f} s")
    print(
        f"usage: {usage.wall / (sql + walk):.1f} times both; "
        f"{(usage.wall - start.wall) / (sql + walk):.1f} times without the start"
    )
    if files != RUNS * FILES:
        sys.exit(f"{RUNS * FILES} files were expected.")


def _start() -> measure.Cost:
    return measure.run(sys.executable, "-c", "import mlflow, mlflow.store.db.utils")


def _bare(uri: str, root: Path) -> tuple[float, float, float]:
    """Return the seconds of both together, of SQL and of the walk."""
    began = time.monotonic()
    with postgres.rows(uri) as cursor:
        for name in ("metrics", "params", "tags", "latest_metrics"):
            cursor.execute(_BARE.format(name))
            cursor.fetchall()
    sql = time.monotonic() - began
    began = time.monotonic()
    total, waiting = 0, [str(root)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    walk = time.monotonic() - began
    return sql + walk, sql, walk


if __name__ == "__main__":
    main()
