"""What options there are: those of a command line are in the list of processes and in histories."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from mlflow_gc.cli import app

_SECRET = re.compile(r"token|password|secret|credential|api-?key|user", re.IGNORECASE)


def _options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from parameter.opts
    for inner in getattr(command, "commands", {}).values():
        yield from _options(inner)


def test_no_option_takes_a_secret() -> None:
    options = {*_options(typer.main.get_command(app))}
    assert {"--tracking-uri", "--expect", "--journal"} <= options
    assert not [option for option in options if _SECRET.search(option)]
