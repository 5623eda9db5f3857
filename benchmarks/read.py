"""Reading: a report against scripts on MlflowClient, a load generator, and the database.

    python benchmarks/read.py [RUNS] [SHAPE]      (default 20000 spread)

All of them read the same PostgreSQL, the first ones through the same ``mlflow server``, one after
the other in this one run.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import measure
import seeding

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
SHAPE = sys.argv[2] if len(sys.argv) > 2 else "spread"
WITH_50K = RUNS <= 200_000
THREADS = 4


def main() -> None:
    print(measure.machine())
    with seeding.site(RUNS, SHAPE) as site, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        over_rest = folder / "rest.json"
        server = ("--tracking-uri", site.tracking_uri, "-q")
        warm_up = measure.gc("report", "-o", str(folder / "warm.json"), *server)
        print(f"# warm-up {warm_up.wall:.1f} s; {site.stale:,} runs are older than 30 days")
        client = measure.script("read_client", site.tracking_uri, "1000")
        measure.row("MlflowClient, 1,000 a page", client, RUNS)
        if WITH_50K:
            large = measure.script("read_client", site.tracking_uri, "50000")
            measure.row("MlflowClient, 50,000 a page", large, RUNS)
            client = min(client, large, key=lambda cost: cost.wall)
        report = measure.gc("report", "-o", str(over_rest), *server)
        measure.row("report over REST", report, RUNS, client)
        pages = folder / "pages"
        pages.write_text("\n".join(map(json.dumps, _pages(RUNS))) + "\n")
        generator = measure.script("read_pages", site.tracking_uri, str(THREADS), str(pages))
        measure.row(f"load generator, pages of 2,000, {THREADS} threads", generator, RUNS, report)
        direct = folder / "database.json"
        database = ("--backend-store-uri", site.database_uri)
        cost = measure.gc("report", "-o", str(direct), *server, *database)
        measure.row("report from the database", cost, RUNS, report)
        print(f"report over REST / load generator: {generator.wall / report.wall:.2f} of its rate")


def _pages(runs: int) -> list[dict[str, object]]:
    """Return requests for about as many pages as a report asks for, none behind an offset."""
    # Ages are spread evenly over 400 days by the seeding.
    count = max(runs // 1500, 1)
    span = 400 * seeding.DAY_MS
    end = int(time.time() * 1000)
    experiments = [str(n) for n in range(1, max(runs // 100, 1) + 1)]
    groups = [experiments[n : n + 1000] for n in range(0, len(experiments), 1000)]
    return [
        {
            "experiment_ids": group,
            "filter": f"attributes.start_time >= {end - span + span * n // count} AND "
            f"attributes.start_time < {end - span + span * (n + 1) // count}",
            "order_by": ["attributes.start_time ASC"],
            "max_results": 2000,
        }
        for group in groups
        for n in range(count)
    ]


if __name__ == "__main__":
    main()
