"""``mlflow-gc demo``: try the tool on a throw-away local server."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from mlflow_gc.cli import options


def demo(
    keep: Annotated[
        bool,
        typer.Option(
            "--keep",
            help="Leave the server and its directory when done, and say how to use and stop them.",
        ),
    ] = False,
    no_color: options.NoColor = False,
) -> None:
    """Try the tool: a throw-away local MLflow server with realistic stale and live data.

    Starts a real MLflow server in a temporary directory, fills it with a made-up year of work, and
    runs report, show, diff and prune on it. Takes about a minute, needs no setting and contacts
    no other server.
    """
    # Imported here, so that --help is fast.
    from rich.console import Console

    from mlflow_gc.demo.walkthrough import walk_through

    no_color = no_color or bool(os.environ.get("NO_COLOR"))
    # No highlighting and no markup: names from a server are text and nothing else.
    console = Console(highlight=False, markup=False, emoji=False, no_color=no_color)
    walk_through(console, Console(stderr=True, highlight=False, no_color=no_color), keep=keep)
