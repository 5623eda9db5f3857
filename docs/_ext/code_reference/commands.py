"""The commands with all their arguments and options, as ``--help`` has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer.main
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from code_reference.entries import Entry, code, entry_list, paragraph, section, text, with_code
from code_reference.settings import all_settings
from mlflow_gc.cli import app

# What stands in brackets behind the help: Click's own facts, or ours: a variable, a default.
_BRACKETS = re.compile(r"\s*\[([^\]]*)\]\.?\s*$")
_RANGE = re.compile(r"x[<>]=?|[<>]=?x")


@dataclass(frozen=True)
class Parameter:
    """An argument or option.

    Attributes:
        names: ``-o, --out``, or what an argument is called.
        value: ``FILE``; empty for a flag.
        help: the sentence of ``--help``.
        range: which numbers it may be; None when any.
        default: in words; None when there is none.
        variable: environment variable that sets it; None when there is none.
        required: whether the command needs it.
    """

    names: str
    value: str
    help: str
    range: str | None
    default: str | None
    variable: str | None
    required: bool
    is_argument: bool

    @property
    def anchor(self) -> str:
        """Its name without dashes, the longest where it has two."""
        return str(max(re.findall(r"[\w-]+", self.names), key=len)).strip("-").lower()


@dataclass(frozen=True)
class Command:
    """A command: ``policy test`` is one."""

    name: str
    usage: str
    help: str
    parameters: tuple[Parameter, ...]


def all_commands() -> Iterator[Command]:
    """Yield the commands in the order of ``mlflow-gc --help``, the program itself first."""
    yield from _walk(typer.main.get_command(app), "")


def _walk(command: Any, name: str) -> Iterator[Command]:
    context = command.context_class(command, info_name=f"mlflow-gc {name}".rstrip())
    usage = " ".join(command.get_usage(context).split()).removeprefix("Usage: ")
    # Click brackets what is in brackets already.
    usage = usage.replace("[[", "[").replace("]]", "]")
    parameters = tuple(_parameter(p, context) for p in command.get_params(context))
    yield Command(name, usage, (command.help or "").strip(), parameters)
    for child_name, child in getattr(command, "commands", {}).items():
        yield from _walk(child, f"{name} {child_name}".lstrip())


def _parameter(parameter: Any, context: Any) -> Parameter:
    record, words = parameter.get_help_record(context)
    is_argument = parameter.param_type_name == "argument"
    # "-o, --out FILE": names have no blank but after a comma.
    found = re.fullmatch(r"((?:[^ ,]+, )*[^ ]+)(?: (.*))?", record)
    if found is None:
        raise ValueError(f"This is no line of --help: {record}")
    names, value = found[1], found[2] or ""
    sentence, facts = _without_brackets(words)
    variables = {setting.variable for setting in all_settings()}
    ranges = [f for f in facts if _RANGE.search(f)]
    defaults = [f for f in facts if f not in {*variables, *ranges, "required"}]
    return Parameter(
        names=names.strip("[]") if is_argument else names,
        value="" if is_argument else value,
        help=sentence,
        range=ranges[0] if ranges else None,
        default=", ".join(d.removeprefix("default: ") for d in defaults) or None,
        variable=next((f for f in facts if f in variables), None),
        required=parameter.required,
        is_argument=is_argument,
    )


def _without_brackets(words: str) -> tuple[str, list[str]]:
    """Return a sentence of help, and the facts in brackets at its end."""
    facts: list[str] = []
    while found := _BRACKETS.search(words):
        facts[:0] = re.split(r"[,;] ", found[1])
        words = words[: found.start()]
    return f"{words.strip().rstrip('.')}.", facts


class CommandsDirective(SphinxDirective):
    """One section for each command."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        return [_section(command) for command in all_commands()]


def _section(command: Command) -> nodes.Node:
    full_name = f"mlflow-gc {command.name}".rstrip()
    prefix = command.name.replace(" ", "-") or "mlflow-gc"
    usage = nodes.literal_block("", command.usage, language="text", classes=["usage"])
    parts: list[nodes.Node] = [usage]
    parts += [paragraph(*with_code(" ".join(p.split()))) for p in command.help.split("\n\n")]
    for kind in (True, False):
        parameters = [p for p in command.parameters if p.is_argument is kind]
        if parameters:
            parts.append(entry_list((_entry(p, prefix) for p in parameters), "option"))
    return section([code(full_name)], prefix, *parts)


def _entry(parameter: Parameter, prefix: str) -> Entry:
    facts: list[nodes.Node] = []
    if parameter.range is not None:
        facts += [text("Range: "), code(parameter.range), text(". ")]
    if parameter.default is not None:
        facts += [text("Default: "), code(parameter.default), text(". ")]
    if parameter.variable is not None:
        facts += [text("Environment variable: "), code(parameter.variable), text(".")]
    return Entry(
        anchor=f"{prefix}-{parameter.anchor}",
        name=parameter.names,
        value=[text(parameter.value)] if parameter.value else (),
        marks=("required",) if parameter.required else (),
        body=([text(parameter.help)],),
        facts=facts,
    )
