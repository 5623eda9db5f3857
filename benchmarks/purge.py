"""Purging: rows and files of runs in the trash, against ``mlflow gc`` and bare bulk deletes.

    python benchmarks/purge.py [RUNS]      (default 2000)

Each deletes the same number of runs (15 parameters, 10 metrics of 100 steps, 3 local files) of one
PostgreSQL, one after the other in this one run.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import measure
import seeding

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
FILES = 3


def main() -> None:
    print(measure.machine())
    with seeding.site(3 * RUNS, "long") as site, tempfile.TemporaryDirectory() as name:
        root, plan = Path(name, "artifacts"), Path(name, "plan.json")
        parts = _put_files(site.database_uri, root)
        server = ("--tracking-uri", site.tracking_uri, "--backend-store-uri", site.database_uri)
        _delete(site.database_uri, parts[0])
        store = ("--backend-store-uri", site.database_uri, "--tracking-uri", site.tracking_uri)
        gc = measure.run(sys.executable, "-m", "mlflow", "gc", *store)
        if gc.code or _count(site.database_uri) != 2 * RUNS:
            sys.exit(f"mlflow gc did not delete the runs ({gc.code}): {gc.out[-2000:]}")
        measure.row("mlflow gc", gc, RUNS)
        _delete(site.database_uri, parts[1])
        report = measure.gc(
            "report", "--trash", "--older-than", "30", "-q", "-o", str(plan), *server
        )
        measure.row("report --trash", report, RUNS)
        purge = measure.gc("purge", str(plan), "-q", *server)
        measure.row("purge PLAN", purge, RUNS, gc)
        _delete(site.database_uri, parts[2])
        ids = Path(name, "ids")
        ids.write_text("\n".join(parts[2]))
        bare = measure.script("purge_bulk", site.database_uri, str(root), str(ids))
        measure.row("bulk SQL and unlink, without MLflow", bare, RUNS)
        empty = measure.run(sys.executable, "-c", "import mlflow")
        measure.row("import mlflow", empty, 1)
        print(f"purge / mlflow gc, with its start: {gc.wall / purge.wall:.1f} times as fast")
        without = (gc.wall - empty.wall) / (purge.wall - empty.wall)
        print(f"purge / mlflow gc, without the import: {without:.1f} times as fast")
        print(f"purge / bulk: {(purge.wall - empty.wall) / bare.wall:.2f} times its time")
        print(f"memory above the import: {purge.peak_mb - empty.peak_mb:.0f} MB")
        left = [run for part in parts for run in part if list(root.glob(f"*/{run}/artifacts/*"))]
        print(f"# runs with files left: {len(left)}")


def _put_files(database_uri: str, root: Path) -> list[list[str]]:
    """Move the artifacts of all runs to a local folder; return their ids in three parts."""
    with seeding.postgres.rows(database_uri) as cursor:
        cursor.execute(
            "UPDATE experiments SET artifact_location = replace(artifact_location, "
            "'mlflow-artifacts:', %s)",
            (str(root),),
        )
        cursor.execute(
            "UPDATE runs SET artifact_uri = replace(artifact_uri, 'mlflow-artifacts:', %s)",
            (str(root),),
        )
        cursor.execute("SELECT run_uuid, artifact_uri FROM runs ORDER BY run_uuid")
        rows = cursor.fetchall()
    for _, uri in rows:
        folder = Path(uri)
        folder.mkdir(parents=True)
        for number in range(FILES):
            (folder / f"{number}.bin").write_bytes(b"x" * 2_000)
    ids = [str(run_id) for run_id, _ in rows]
    return [ids[:RUNS], ids[RUNS : 2 * RUNS], ids[2 * RUNS :]]


def _count(database_uri: str) -> int:
    with seeding.postgres.rows(database_uri) as cursor:
        cursor.execute("SELECT count(*) FROM runs")
        return int(cursor.fetchone()[0])


def _delete(database_uri: str, run_ids: list[str]) -> None:
    """Move runs to the trash, long ago."""
    with seeding.postgres.rows(database_uri) as cursor:
        cursor.execute(
            "UPDATE runs SET lifecycle_stage = 'deleted', deleted_time = start_time"
            " WHERE run_uuid = ANY(%s)",
            (run_ids,),
        )
        cursor.execute(
            "UPDATE runs SET deleted_time = 1700000000000 WHERE deleted_time IS NOT NULL"
        )


if __name__ == "__main__":
    main()
