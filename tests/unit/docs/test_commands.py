"""Every ``mlflow-gc`` command in README and docs is one: name, options, values, arguments."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import typer
from support import ROOT
from support.pages import PAGES, blocks

from mlflow_gc.cli import app

if TYPE_CHECKING:
    from pathlib import Path

# Where a command can begin: a line of a shell, a step of a pipeline, a sentence that ends in one.
_BEGINS = re.compile(
    r"(?:^\s*|\$ |(?<!name): |- |sh ['\"]|exec |&& |\|\| |[;|(]\s*|`)"
    r"(?:mlflow-gc|python3? -m mlflow_gc)[ ]+(?P<rest>[^`]*)"
)
_ENDS = frozenset({"|", "||", "&", "&&", ";", ">", ">>", "<", "2>", ")", "("})


@dataclass(frozen=True)
class Command:
    """A command of a page.

    Attributes:
        page: where it stands.
        line: number of its line.
        rest: what follows ``mlflow-gc``.
        whole: from a block of code; in running text arguments may be left out.
    """

    page: Path
    line: int
    rest: str
    whole: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line} {self.rest[:60]}"


def commands_of(page: Path) -> list[Command]:
    """Return what the page tells people to run."""
    found, fenced = [], set()
    for block in blocks(page):
        lines = block.text.split("\n")
        fenced |= set(range(block.line - 1, block.line + len(lines)))
        for number, line in enumerate(lines):
            if block.language == "console" and not line.startswith(("$ ", "> ")):
                continue  # what a command printed
            joined, following = line, number
            while joined.endswith("\\") and following + 1 < len(lines):
                following += 1
                joined = f"{joined[:-1]} {lines[following].strip()}"
            # pre-commit appends the files.
            whole = "entry:" not in joined
            found += [Command(page, block.line + number, rest, whole) for rest in _rests(joined)]
    for number, line in enumerate(page.read_text(encoding="utf-8").split("\n"), 1):
        if number not in fenced and "mlflow-gc COMMAND" not in line:
            for code in re.findall(r"`([^`]+)`", line):
                found += [Command(page, number, rest, False) for rest in _rests(code)]
    return found


def _rests(line: str) -> list[str]:
    return [match["rest"] for match in _BEGINS.finditer(line)]


def words_of(rest: str) -> list[str]:
    """Split as a shell does, to the end of this command."""
    # The quote that closes sh '...' in a Jenkinsfile.
    if rest.rstrip().endswith(("'", '"')) and rest.count(rest.rstrip()[-1]) % 2:
        rest = rest.rstrip()[:-1]
    lexer = shlex.shlex(rest, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in _ENDS:
            break
        words.append(word)
    return words


def check(rest: str, *, whole: bool) -> None:
    """Parse a command as the program does, without running it.

    Raises:
        AssertionError: it is none, in the parser's words.
    """
    command = typer.main.get_command(app)
    words = words_of(rest)
    usage_error: type[Exception] = typer.BadParameter.__mro__[1]
    missing = type_of_missing()
    while words and not words[0].startswith("-") and hasattr(command, "commands"):
        name = words.pop(0)
        assert name in command.commands, f"there is no command {name!r}: {rest}"
        command = command.commands[name]
    try:
        command.make_context("mlflow-gc", words)
    except typer.Exit:
        pass  # --help, --version
    except missing as error:
        if whole:
            raise AssertionError(f"{rest}: {error}") from error
    except usage_error as error:
        raise AssertionError(f"{rest}: {error}") from error


def type_of_missing() -> type[Exception]:
    """Typer's own class for a missing argument; it has no public name."""
    command = typer.main.get_command(app)
    try:
        command.commands["show"].make_context("mlflow-gc", [])
    except typer.BadParameter as error:
        return type(error)
    raise AssertionError


# The usage lines of the reference are made from the parser.
HAND_WRITTEN = [page for page in PAGES if page != ROOT / "docs" / "reference" / "commands.md"]
ALL = [command for page in HAND_WRITTEN for command in commands_of(page)]


@pytest.mark.parametrize("command", ALL, ids=str)
def test_every_command_is_one(command: Command) -> None:
    """The parser of the program takes it."""
    check(command.rest, whole=command.whole)


def test_there_are_commands() -> None:
    """Many, and on most pages."""
    assert len(ALL) > 60
    assert len({command.page for command in ALL}) > len(PAGES) / 2


@pytest.mark.parametrize(
    "rest",
    [
        "prnue plan.json",
        "prune plan.json --expct sha256:x",
        "show plan.json --format pdf",
        "show",
        "show a.json b.json",
        "prune plan.json --expect",
        "policy explode",
        "report --detailed-exitcode=5",
    ],
)
def test_a_wrong_command_would_be_found(rest: str) -> None:
    """Unknown names, options and values; arguments that are missing or too many."""
    with pytest.raises(AssertionError):
        check(rest, whole=True)


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        ("$ mlflow-gc show a.json | less", "show a.json"),
        ("  sh 'mlflow-gc report -o p.json'", "report -o p.json"),
        ("run: mlflow-gc validate a.json  # a comment", "validate a.json"),
        ("x && python -m mlflow_gc check p.json > out", "check p.json"),
        ('exec mlflow-gc prune "$plan" --yes', "prune $plan --yes"),
    ],
)
def test_commands_are_found_in_every_kind_of_line(line: str, rest: str) -> None:
    """Shell, YAML, Groovy; pipes, comments and redirections end them."""
    (found,) = _rests(line)
    assert words_of(found) == rest.split()


def test_names_of_things_are_no_commands() -> None:
    """Neither names of workflows nor sentences."""
    assert _rests("name: mlflow-gc apply") == []
    assert _rests("The mlflow-gc that wrote it") == []
