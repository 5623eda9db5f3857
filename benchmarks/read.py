"""Reading: a report against scripts on MlflowClient, a load generator, GraphQL and the database.

    python benchmarks/read.py [RUNS] [SHAPE]      (default 10000 spread)

All of them read the same PostgreSQL, the first ones through the same ``mlflow server``, one after
the other; the median of three rounds counts.  The plans of both readers have to be the same.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import measure
import seeding
from support.plans import Plan
from support.readers import SAME_BUT, differing

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
SHAPE = sys.argv[2] if len(sys.argv) > 2 else "spread"
WITH_50K = RUNS <= 200_000
ROUNDS = 3 if RUNS <= 50_000 else 1
THREADS = 4


def main() -> None:
    """Measure and print."""
    print(measure.machine())
    with seeding.site(RUNS, SHAPE) as site, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan, direct, pages = folder / "rest.json", folder / "database.json", folder / "pages"
        as_of = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        server = ("--tracking-uri", site.tracking_uri, "--as-of", as_of, "-q")
        warm_up = measure.gc("report", "-o", str(plan), *server)
        print(f"# warm-up {warm_up.wall:.1f} s; {site.stale:,} runs are older than 30 days")
        pages.write_text("\n".join(map(json.dumps, _pages(RUNS, SHAPE))) + "\n")
        database = ("--backend-store-uri", site.database_uri)
        ways = {
            "MlflowClient, 1,000 a page": lambda: measure.script(
                "read_client", site.tracking_uri, "1000"
            ),
            "MlflowClient, 50,000 a page": lambda: measure.script(
                "read_client", site.tracking_uri, "50000"
            ),
            "report over REST": lambda: measure.gc("report", "-o", str(plan), *server),
            f"load generator, {THREADS} threads": lambda: measure.script(
                "read_pages", site.tracking_uri, str(THREADS), str(pages)
            ),
            f"GraphQL, {THREADS} threads": lambda: measure.script(
                "read_graphql", site.tracking_uri, str(THREADS), str(pages)
            ),
            "report from the database": lambda: measure.gc(
                "report", "-o", str(direct), *server, *database
            ),
            "bare SELECT, then writing the entries": lambda: measure.script(
                "read_select", site.database_uri, str(plan)
            ),
        }
        if not WITH_50K:
            del ways["MlflowClient, 50,000 a page"]
        costs = {}
        for label, way in ways.items():
            costs[label] = measure.median([way() for _ in range(ROUNDS)])
            measure.row(label, costs[label], RUNS)
        _ratios(costs)
        if not differing(Plan.load(plan), Plan.load(direct)) <= SAME_BUT:
            sys.exit("The plans of both readers differ.")
        print("The plans of both readers are the same.")


def _ratios(costs: dict[str, measure.Cost]) -> None:
    client = min(
        (cost for label, cost in costs.items() if label.startswith("MlflowClient")),
        key=lambda cost: cost.wall,
    )
    rest, direct = costs["report over REST"], costs["report from the database"]
    pages, graphql = (costs[f"{name}, {THREADS} threads"] for name in ("load generator", "GraphQL"))
    bare = costs["bare SELECT, then writing the entries"]
    _, selected, written = map(float, bare.out.split())
    print(f"report over REST: {client.wall / rest.wall:.1f} times as fast as the best script")
    print(f"report over REST: {rest.cpu / client.cpu:.3f} of the script's CPU")
    print(f"report over REST: {pages.wall / rest.wall:.2f} of the load generator's rate")
    print(f"GraphQL: {pages.wall / graphql.wall:.2f} of the load generator's rate")
    print(f"report from the database: {rest.wall / direct.wall:.0f} times as fast as over REST")
    print(
        f"report from the database: {direct.wall / (selected + written):.1f} times the bare SELECT "
        f"({selected:.2f} s) and writing the entries ({written:.2f} s)"
    )


def _pages(runs: int, shape: str) -> list[dict[str, object]]:
    """Return requests for about as many pages as a report asks for, none behind an offset."""
    # Ages are spread evenly over 400 days by the seeding.
    count = max(runs // 1500, 1)
    span = 400 * seeding.DAY_MS
    end = int(time.time() * 1000)
    experiments = [str(n) for n in range(1, seeding.experiment_count(runs, shape) + 1)]
    groups = [experiments[n : n + 1000] for n in range(0, len(experiments), 1000)]
    a_group = max(count // len(groups), 1)
    return [
        {
            "experiment_ids": group,
            "filter": f"attributes.start_time >= {end - span + span * n // a_group} AND "
            f"attributes.start_time < {end - span + span * (n + 1) // a_group}",
            "order_by": ["attributes.start_time ASC"],
            "max_results": 2000,
        }
        for group in groups
        for n in range(a_group)
    ]


if __name__ == "__main__":
    main()
