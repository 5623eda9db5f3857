"""How long deciding takes: one age for all against ten rules, and growth with the number of runs.

    python benchmarks/decide.py [RUNS]        (default 1000000, in a hundredth as many experiments)

Prints CPU seconds, peak memory on top of the inventory, and ratios measured in the same process:
ten rules against none, and time and memory per run at the full size against a tenth of it.  The
world is made up, with a fixed seed: ages up to 800 days, all statuses, a metric on every run.
"""

from __future__ import annotations

import gc
import random
import resource
import sys
import time
import tracemalloc

from mlflow_gc.domain.entities import Experiment, Probe, Run
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.timestamps import DAY_MS, parse_time
from mlflow_gc.policy.loader import apply_policy
from mlflow_gc.retention.decision import Verdict
from mlflow_gc.retention.engine import decide
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rules import Rule

AS_OF = parse_time("2026-05-01")
HOUR_MS = 3_600_000
NAMES = ("prod/{}", "sandbox/{}", "nightly-{}", "team-a/{}", "team-b/{}", "misc {}")
STATUSES = ("FINISHED", "FINISHED", "FAILED", "KILLED", "RUNNING")
NO_RULES = Policy(as_of_ms=AS_OF, default=Rule.of_days(30))
TEN_RULES = apply_policy(
    {
        "version": 1,
        "time_zone": "Europe/Berlin",
        "rules": [
            {"name": "production", "match": {"experiment": "prod/*"}, "ttl": "never"},
            {"name": "sandboxes", "match": {"experiment": "sandbox/*"}, "ttl": "7d"},
            {
                "name": "nightly",
                "match": {"experiment_regex": "^nightly-"},
                "ttl": "14d",
                "keep": {"monthly": 12, "best": {"metric": "auc", "mode": "max", "count": 3}},
            },
            {"name": "tagged", "match": {"tags": {"team": "fraud"}}, "ttl": "90d"},
            {"name": "failed", "match": {"status": "FAILED"}, "ttl": "3d"},
            {"name": "robots", "match": {"user": "ci-*"}, "ttl": "2d"},
            {"name": "scratch", "match": {"run_name": "tmp*"}, "ttl": "1d"},
            {
                "name": "sweeps",
                "match": {"run_name": "sweep-*"},
                "ttl": "10d",
                "keep": {"daily": 7, "weekly": 4, "monthly": 12, "yearly": 2},
            },
            {"name": "models", "match": {"model": "x*"}, "ttl": "90d"},
            {
                "name": "teams",
                "match": {"experiment": "team-?/*"},
                "ttl": "60d",
                "keep": {"last": 3, "daily": 7, "weekly": 4, "monthly": 12, "yearly": 3},
            },
        ],
    },
    NO_RULES,
)


def world(run_count: int) -> Inventory:
    """Return an inventory of so many runs, a hundred in each experiment."""
    rng = random.Random(run_count)
    experiment_ids = [str(number + 1) for number in range(max(1, run_count // 100))]
    runs = {}
    for number in range(run_count):
        run_id = f"{number:032x}"
        experiment_id = experiment_ids[number % len(experiment_ids)]
        start = AS_OF - rng.randrange(800 * DAY_MS)
        runs[run_id] = Run(
            run_id=run_id,
            run_name=("tmp-1", "sweep-2", "good", "other")[rng.randrange(4)],
            experiment_id=experiment_id,
            user_id=("ada", "bob", "ci-1")[rng.randrange(3)],
            status=STATUSES[rng.randrange(5)],
            lifecycle_stage="active",
            start_time=start,
            end_time=start + HOUR_MS,
            newest_metric_time=None,
            oldest_metric_time=None,
            artifact_root=f"mlflow-artifacts:/{experiment_id}",
            has_own_folder=True,
            tags={},
            metrics=(("auc", rng.random()),),
        )
    return Inventory(
        experiments={
            experiment_id: Experiment(
                experiment_id=experiment_id,
                name=NAMES[number % len(NAMES)].format(number),
                lifecycle_stage="active",
                artifact_location=f"mlflow-artifacts:/{experiment_id}",
                creation_time=AS_OF - 900 * DAY_MS,
                last_update_time=AS_OF - 900 * DAY_MS,
            )
            for number, experiment_id in enumerate(experiment_ids)
        },
        runs=runs,
        registered_models={},
        model_versions={},
        logged_models={},
        probes={experiment_id: Probe() for experiment_id in experiment_ids},
    )


def seconds(inventory: Inventory, policy: Policy) -> tuple[float, int]:
    """Return CPU seconds of a decision, and how many runs it deletes."""
    gc.collect()
    gc.freeze()  # as the program does after a scan
    began = time.process_time()
    decisions = decide(inventory, policy)
    took = time.process_time() - began
    return took, sum(d.verdict is Verdict.DELETE for d in decisions.runs.values())


def bytes_a_run(inventory: Inventory, policy: Policy) -> float:
    """Return peak memory of a decision in bytes for each run (slow: traced)."""
    tracemalloc.start()
    decide(inventory, policy)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / len(inventory.runs)


def main(run_count: int) -> None:
    """Measure and print."""
    small, large = world(run_count // 10), world(run_count)
    print(f"{run_count:,} runs in {len(large.experiments):,} experiments")
    times = {}
    for name, policy in (("no rules", NO_RULES), ("ten rules", TEN_RULES)):
        times[name], gone = seconds(large, policy)
        rate = run_count / times[name]
        print(f"{name:<10} {times[name]:8.2f} s CPU {rate:12,.0f} runs/s {gone:10,} runs go")
        few, _ = seconds(small, policy)
        print(f"{'':<10} time per run against a tenth of the runs: {times[name] / few / 10:.2f}")
    print(f"ten rules against none: {times['ten rules'] / times['no rules']:.2f}")
    memory = bytes_a_run(small, TEN_RULES)
    print(f"memory with ten rules: {memory:,.0f} bytes per run on top of the inventory")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak of the process, both inventories included: {peak_mb:,.0f} MiB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
