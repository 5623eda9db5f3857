"""What options there are: those of a command line are in the list of processes and in histories."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer
from typer.testing import CliRunner

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


def test_the_list_of_commands_cuts_no_sentence() -> None:
    """It is what a newcomer reads first, in a terminal of 80 columns."""
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).output
    names = {*getattr(typer.main.get_command(app), "commands", {})}
    listed = text.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert {line.split()[0] for line in listed} == names
    assert not [line for line in listed if not line.endswith(".") or line.endswith("...")]
