"""How much CPU a command takes before it does anything: on an empty plan and on no server.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import documents
import measure

from mlflow_gc.plan.writer import pieces, write

ROUNDS = 9


def main() -> None:
    """Measure and print."""
    print(measure.machine())
    with tempfile.TemporaryDirectory() as name:
        plan = str(Path(name) / "plan.json")
        write(pieces(documents.plan_of(documents.world(100), days=0)), Path(plan))
        policy = str(Path(name) / "retention.yml")
        measure.gc("policy", "init", "-o", policy)
        commands = {
            "python -c pass": ("-c", "pass"),
            "python -c 'import mlflow'": ("-c", "import mlflow"),
            "--version": ("-m", "mlflow_gc", "--version"),
            "--help": ("-m", "mlflow_gc", "--help"),
            "prune --help": ("-m", "mlflow_gc", "prune", "--help"),
            "show": ("-m", "mlflow_gc", "show", plan),
            "show --format markdown": ("-m", "mlflow_gc", "show", plan, "--format", "markdown"),
            "show --format html": ("-m", "mlflow_gc", "show", plan, "--format", "html"),
            "diff": ("-m", "mlflow_gc", "diff", plan, plan),
            "validate": ("-m", "mlflow_gc", "validate", plan),
            "policy explain": ("-m", "mlflow_gc", "policy", "explain", "--policy", policy),
        }
        base = 0.0
        for label, words in commands.items():
            costs = [measure.run(sys.executable, *words) for _ in range(ROUNDS)]
            if any(cost.code for cost in costs):
                sys.exit(f"{label} failed:\n{costs[0].out}")
            cpu = statistics.median(cost.cpu for cost in costs)
            base = base or cpu
            print(f"{label:<28} {cpu:6.3f} s CPU {cpu / base:6.1f} times Python alone", flush=True)


if __name__ == "__main__":
    main()
