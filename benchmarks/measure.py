"""Time and memory of whole commands, as the operating system counts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds, peak memory in MB, and what was printed."""

    wall: float
    cpu: float
    peak_mb: float
    code: int
    out: str


# Linux counts the memory of the parent into a child's peak: a small process stands between.
_SMALL = """
import json, os, subprocess, sys, time
began = time.monotonic()
process = subprocess.Popen(sys.argv[2:], stdout=sys.stderr.fileno())
_, status, usage = os.wait4(process.pid, 0)
measured = [time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]
open(sys.argv[1], "w").write(json.dumps([*measured, os.waitstatus_to_exitcode(status)]))
"""


def run(*command: str, env: dict[str, str] | None = None) -> Cost:
    """Run a command to its end."""
    with tempfile.NamedTemporaryFile("r") as measured, tempfile.TemporaryFile("w+") as out:
        subprocess.run(
            [sys.executable, "-S", "-c", _SMALL, measured.name, *command],
            # As where somebody installed it: compiled once, not for every command.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **(env or {})},
            stderr=out,
            check=True,
        )
        out.seek(0)
        wall, cpu, peak_mb, code = json.load(measured)
        return Cost(wall, cpu, peak_mb, code, out.read())


def gc(*arguments: str, env: dict[str, str] | None = None) -> Cost:
    """Run mlflow-gc; anything but a success ends the benchmark."""
    cost = run(sys.executable, "-m", "mlflow_gc", *arguments, env=env)
    if cost.code not in {0, 2}:
        sys.exit(f"mlflow-gc {' '.join(arguments)} ended with {cost.code}:\n{cost.out}")
    return cost


def script(name: str, *arguments: str) -> Cost:
    """Run one of the scripts that ours is compared with."""
    cost = run(sys.executable, str(Path(__file__).parent / "rivals" / f"{name}.py"), *arguments)
    if cost.code:
        sys.exit(f"{name} ended with {cost.code}:\n{cost.out}")
    return cost


def median(costs: Sequence[Cost]) -> Cost:
    """Return the one that is in the middle by wall time."""
    return sorted(costs, key=lambda cost: cost.wall)[len(costs) // 2]


def machine() -> str:
    """Return a line about where this was measured."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown processor",
    )
    return f"# {os.cpu_count()} cores, {model}, Python {sys.version.split()[0]}"


def row(name: str, cost: Cost, count: int, base: Cost | None = None) -> None:
    """Print a line of a result table; ratios are to ``base``."""
    line = (
        f"{name:<44} {cost.wall:8.1f} s {cost.cpu:8.1f} s CPU {cost.peak_mb:7.0f} MB "
        f"{count / cost.wall:9,.0f}/s"
    )
    if base is not None:
        line += f"   {base.wall / cost.wall:6.2f} times as fast, CPU {cost.cpu / base.cpu:5.2f}"
    print(line, flush=True)
