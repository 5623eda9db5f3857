"""How time and memory of a report grow with the number of runs, over REST and from the database.

    python benchmarks/growth.py [RUNS ...]      (default 10000 100000 1000000)

Each size is a PostgreSQL of its own with a server in front of it.  Prints a line for each report
and the exponents of a power law fitted to them; 1 is proportional.  What a command takes before it
reads anything (measured on a hundred runs) is taken off first.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from pathlib import Path

import measure
import seeding

SIZES = [int(word) for word in sys.argv[1:]] or [10_000, 100_000, 1_000_000]
NOTHING = 100
READERS = ("REST", "database")
MEASURES = ("wall", "cpu", "peak_mb")


def reports(runs: int, rounds: int) -> dict[str, measure.Cost]:
    """Return what a report of so many runs takes, for each reader the median of some rounds."""
    with seeding.site(runs) as site, tempfile.TemporaryDirectory() as name:
        plan = Path(name) / "plan.json"
        common = ("report", "-q", "-o", str(plan), "--tracking-uri", site.tracking_uri)
        ways = {"REST": (), "database": ("--backend-store-uri", site.database_uri)}
        found = {}
        for reader, more in ways.items():
            cost = measure.median([measure.gc(*common, *more) for _ in range(rounds)])
            deleted = sum(c["delete"] for c in _counts(plan))
            size = plan.stat().st_size / 1e6
            measure.row(f"{reader}, {runs:,} runs", cost, runs)
            print(f"# plan of {deleted:,} deletions, {size:,.0f} MB", flush=True)
            found[reader] = cost
        return found


def _counts(plan: Path) -> list[dict[str, int]]:
    summary = json.loads(plan.read_bytes())["summary"]
    return [value for value in summary.values() if isinstance(value, dict)]


def exponent(points: list[tuple[int, float]]) -> float:
    """Return the slope of the line through the logarithms of points, by least squares."""
    xs = [math.log(x) for x, _ in points]
    ys = [math.log(y) for _, y in points]
    middle_x, middle_y = sum(xs) / len(xs), sum(ys) / len(ys)
    over = sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True))
    return over / sum((x - middle_x) ** 2 for x in xs)


def main() -> None:
    """Measure, print, and write the numbers for the plot."""
    print(measure.machine(), flush=True)
    reports(NOTHING, 1)  # from a disk that has not been read yet
    base = reports(NOTHING, 3)
    found = {runs: reports(runs, 3 if runs <= 20_000 else 1) for runs in SIZES}
    for reader in READERS:
        words = []
        for what in MEASURES:
            points = [
                # Noise can make the base larger than a small report.
                (runs, max(getattr(costs[reader], what) - getattr(base[reader], what), 0.01))
                for runs, costs in found.items()
            ]
            words.append(f"{what} {exponent(points):.2f}")
        print(f"exponents, {reader}: {', '.join(words)}")
    numbers = {
        reader: {
            str(runs): {what: getattr(costs[reader], what) for what in MEASURES}
            for runs, costs in {NOTHING: base, **found}.items()
        }
        for reader in READERS
    }
    print(f"numbers: {json.dumps(numbers)}")


if __name__ == "__main__":
    main()
