"""Record report, prune and restore on a terminal, into docs/images/session.svg: ``make recording``.

The server is that of ``mlflow-gc demo``.  A test records again, and compares what is written.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.text import Text
from terminal import Block, as_svg, lines_on_terminal, run_on_terminal

from mlflow_gc.demo.backdating import backdate
from mlflow_gc.demo.colleague import interfere
from mlflow_gc.demo.environment import demo_environment
from mlflow_gc.demo.seeding import Seeder
from mlflow_gc.demo.server import LocalServer
from mlflow_gc.demo.story import tell
from mlflow_gc.domain.timestamps import now_ms

PICTURE = Path(__file__).parents[1] / "images" / "session.svg"
PLAN = "prune-plan.json"
_COMMENT = (
    "# Two days later. A colleague has set the keep tag on one run and an alias on one version."
)
# Seconds: a command alone, with a long output, with a short one.
_TYPED, _LONG, _SHORT = 1.5, 9, 6


@contextmanager
def demo() -> Iterator[tuple[Path, str]]:
    """Start a server with the data of the demo; yield an empty folder and its URI."""
    with tempfile.TemporaryDirectory(prefix="mlflow-gc-pictures-") as scratch:
        folder = Path(scratch)
        with LocalServer(folder / "server") as server, demo_environment(server.uri):
            scenario = tell(now_ms())
            ids = Seeder(server.uri, lambda _: None).seed(scenario)
            backdate(server.database, scenario, ids)
            yield folder, server.uri


def program(*arguments: str, folder: Path) -> str:
    """Return what a command of the program writes to a terminal in the folder."""
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # By its name, so that the commands that it prints name no path of this machine.
    return run_on_terminal(
        ["mlflow-gc", *arguments], codes=[0], folder=folder, environment=environment
    )


def record() -> str:
    """Return the picture of a session with today's program."""
    with demo() as (folder, uri):

        def typed(*arguments: str) -> tuple[Text, tuple[Text, ...]]:
            written = program(*arguments, folder=folder)
            return prompt(f"mlflow-gc {' '.join(arguments)}"), lines_on_terminal(written)

        report, plan = typed("report")
        interfere(uri, json.loads((folder / PLAN).read_text(encoding="utf-8")))
        prune, outcome = typed("prune", PLAN)
        restore, whole = typed("restore", f"{PLAN}.journal.jsonl", "--yes")
    # Between them it names each model version that it cannot bring back, in any order.
    restored = (*whole[:5], Text("  ..."), *whole[-6:])
    cleared = _TYPED + _LONG
    pruned = cleared + _TYPED
    typing = pruned + _SHORT
    end = typing + _TYPED + _SHORT
    row = 2 + len(outcome) + 1
    return as_svg(
        [
            Block((report,), 0, 0, cleared),
            Block(plan, 1, _TYPED, cleared),
            Block((Text.assemble((_COMMENT, "bright_black")), prune), 0, cleared, end),
            Block(outcome, 2, pruned, end),
            Block((restore,), row, typing, end),
            Block(restored, row + 1, typing + _TYPED, end),
        ]
    )


def prompt(command: str) -> Text:
    """Return a line on which a command was typed."""
    return Text.assemble(("$ ", "green"), (command, "bold"))


if __name__ == "__main__":
    PICTURE.write_text(record(), encoding="utf-8")
