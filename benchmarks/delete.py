"""Deleting: prune, with its looks and its journal, against scripts and a load generator.

    python benchmarks/delete.py [RUNS] [SHAPE]      (default 4000 spread)

Each deletes the same number of runs of one PostgreSQL behind one ``mlflow server``, one after the
other in this one run; what was deleted is restored in between, in the database.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import measure
import seeding

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 4_000
SHAPE = sys.argv[2] if len(sys.argv) > 2 else "spread"
SERIAL = 300  # one after the other is slow: measured on fewer, compared by rate


def main() -> None:
    print(measure.machine())
    with seeding.site(RUNS, SHAPE) as site, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = folder / "plan.json"
        server = ("--tracking-uri", site.tracking_uri, "-q")
        measure.gc("report", "-o", str(plan), *server)
        ids = [run["run_id"] for run in json.loads(plan.read_bytes())["runs"]]
        some, every = folder / "some", folder / "every"
        some.write_text("\n".join(ids[:SERIAL]))
        every.write_text("\n".join(ids))
        rates: dict[str, float] = {}
        for label, script, threads, file in (
            ("MlflowClient, one after the other", "delete_client", 1, some),
            ("MlflowClient, 16 threads", "delete_client", 16, every),
            ("load generator, 8 threads", "delete_posts", 8, every),
            ("load generator, 16 threads", "delete_posts", 16, every),
        ):
            cost = measure.script(script, site.tracking_uri, str(threads), str(file))
            count = len(file.read_text().split())
            measure.row(label, cost, count)
            rates[label] = count / cost.wall
            _restore(site.database_uri)
        cost = measure.gc("prune", str(plan), *server)
        measure.row("prune", cost, len(ids))
        rate = len(ids) / cost.wall
        for label, other in rates.items():
            print(f"prune / {label}: {rate / other:.2f}")


def _restore(database_uri: str) -> None:
    with seeding.postgres.rows(database_uri) as cursor:
        cursor.execute("UPDATE runs SET lifecycle_stage = 'active', deleted_time = NULL")


if __name__ == "__main__":
    main()
