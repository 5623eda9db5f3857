"""Run all benchmarks, one after the other, and draw how a report grows: ``make bench``.

    python benchmarks/all.py [NAME ...]      (default: all of them; a few hours)

What each prints goes to ``build/benchmarks/NAME.txt``, too; the plot is
``build/benchmarks/growth.png``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE.parent / "build" / "benchmarks"
BENCHMARKS = {
    "read": ("read.py",),
    "read-one": ("read.py", "10000", "one"),
    "read-tiny": ("read.py", "10000", "tiny"),
    "read-nested": ("read.py", "10000", "nested"),
    "read-same-moment": ("read.py", "10000", "same-moment"),
    "read-protected": ("read.py", "10000", "protected"),
    "read-mlflow3": ("read.py", "2000", "mlflow3"),
    "delete": ("delete.py",),
    "growth": ("growth.py",),
    "startup": ("startup.py",),
    "usage": ("usage.py",),
    "purge": ("purge.py",),
    "decide": ("decide.py",),
    "documents-100000": ("documents.py", "100000"),
    "documents-500000": ("documents.py", "500000"),
}


def run(name: str) -> str:
    """Run one benchmark and return what it printed, having passed it on."""
    script, *words = BENCHMARKS[name]
    print(f"\n== {name}", flush=True)
    process = subprocess.Popen(
        [sys.executable, "-u", str(HERE / script), *words], stdout=subprocess.PIPE, text=True
    )
    printed = []
    for line in process.stdout or ():
        print(line, end="", flush=True)
        printed.append(line)
    if process.wait():
        sys.exit(f"{name} failed")
    return "".join(printed)


def plot(numbers: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Draw time and memory over the number of runs.

    Args:
        numbers: by reader, by number of runs, by measure, as growth.py prints them.
        path: of the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, (what, label) in zip(
        panels, (("wall", "seconds"), ("peak_mb", "peak memory, MB")), strict=True
    ):
        for (reader, of_reader), style in zip(numbers.items(), ("o-", "s--"), strict=True):
            runs = sorted(of_reader, key=int)
            panel.plot(
                [int(count) for count in runs],
                [of_reader[count][what] for count in runs],
                style,
                label=f"report, {reader}",
            )
        panel.set(xscale="log", yscale="log", xlabel="runs", ylabel=label)
        if what == "peak_mb":
            panel.set(yscale="linear", ylim=(0, None))
        panel.grid(alpha=0.3)
        panel.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run what was asked for."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or BENCHMARKS:
        printed = run(name)
        (OUT / f"{name}.txt").write_text(printed)
        if name == "growth":
            (line,) = (one for one in printed.splitlines() if one.startswith("numbers: "))
            plot(json.loads(line.removeprefix("numbers: ")), OUT / "growth.png")


if __name__ == "__main__":
    main()
