"""How this program was started, and the commands that it prints for people to go on with.

A printed command can be pasted as it stands: it names the program as it was started, and the
server, registry and workspace that the environment of the one who reads it does not name anyway.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_gc.domain.redaction import HIDDEN
from mlflow_gc.settings import (
    REGISTRY_URI,
    TRACKING_TOKEN,
    TRACKING_URI,
    WORKSPACE,
    Setting,
    redact_uri,
    resolve,
)

NAME = "mlflow-gc"
_MODULE = "mlflow_gc"
_ON_A_SERVER = frozenset({"report", "prune", "check", "restore", "mark"})
_CONNECTION = {"tracking_uri": TRACKING_URI, "registry_uri": REGISTRY_URI, "workspace": WORKSPACE}


@dataclass(frozen=True)
class Invocation:
    """One start of the program.

    Attributes:
        program: the words that started it, without its arguments.
        flags: what the flags of this command say about the server, by name of the parameter.
    """

    program: tuple[str, ...] = (NAME,)
    flags: Mapping[str, str] = field(default_factory=dict)


_current: ContextVar[Invocation] = ContextVar("invocation", default=Invocation())  # noqa: B039


def started(argv: Sequence[str], orig_argv: Sequence[str]) -> None:
    """Remember how the program was started.

    Args:
        argv: of :mod:`sys`.
        orig_argv: of :mod:`sys`: with the interpreter and its options.
    """
    _current.set(Invocation(_program(argv, orig_argv)))


def given(parameters: Mapping[str, Any]) -> None:
    """Remember what the flags of the command say about the server.

    Args:
        parameters: of the command, by name; others than those about the server are left out.
    """
    flags = {name: str(parameters[name]) for name in _CONNECTION if parameters.get(name)}
    _current.set(Invocation(_current.get().program, flags))


def _program(argv: Sequence[str], orig_argv: Sequence[str]) -> tuple[str, ...]:
    own = tuple(orig_argv[: len(orig_argv) - len(argv) + 1])
    # python -m, python -I -m, python -Im
    if len(own) > 2 and own[-1] == _MODULE and own[-2].startswith("-") and own[-2].endswith("m"):
        return (_absolute(own[0]), *own[1:])
    script = argv[0] if argv else ""
    if Path(script).name != NAME:
        return (NAME,)  # from within another program
    found = shutil.which(NAME)
    # By its name where a shell finds the same, else by its path.
    return (NAME,) if found and _is_same(found, script) else (_absolute(script),)


def _absolute(word: str) -> str:
    """Return a path that holds in every directory; a name without a path is looked up by the shell."""
    return os.path.abspath(word) if os.sep in word else word  # noqa: PTH100 - keeps symbolic links


def _is_same(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return False


def command(*words: str, server: Mapping[str, Any] | None = None, for_others: bool = False) -> str:
    """Return a command line of this program as a shell takes it.

    Args:
        words: the command and its arguments.
        server: of the plan or journal that it is about; None where no such document is at hand.
        for_others: for a page that people read on other machines, where no path of this one means
            anything.
    """
    current = _current.get()
    own = current.program
    if for_others:
        own = ("python", "-m", _MODULE) if own[-1] == _MODULE else (NAME,)
    line = [*own, *words]
    if words and words[0] in _ON_A_SERVER:
        line += _connection(current.flags, server)
    return shlex.join(line)


def file_argument(path: Path | str) -> str:
    """Return a path as the argument of a command: never one that reads as an option.

    What came from stdin has no path: ``PLAN`` stands for it.
    """
    text = str(path)
    if text == "-":
        return "PLAN"
    return f"./{text}" if text.startswith("-") else text


def program() -> list[str]:
    """Return the words that start this program again, in whichever directory."""
    words = _current.get().program
    if words == (NAME,) and not shutil.which(NAME):
        return [sys.executable, "-m", _MODULE]
    return list(words)


def _connection(flags: Mapping[str, str], server: Mapping[str, Any] | None) -> list[str]:
    line: list[str] = []
    for name, setting in _CONNECTION.items():
        value = flags.get(name) or _of_document(name, setting, server)
        # Secrets are never part of a command; they come from where they came from before.
        value = value and (value if name == "workspace" else redact_uri(value))
        if value and HIDDEN not in value:
            line += [str(setting.flag), value]
    return line


def _of_document(name: str, setting: Setting, server: Mapping[str, Any] | None) -> str | None:
    """Return what a document says and the environment does not, or None.

    An address only where none is set and no token either: a file that somebody made must not lead
    a credential to a server of their choice.
    """
    if server is None or not server.get(name):
        return None
    planned = str(server[name])
    of_environment = resolve(setting).text
    if name == "workspace":
        return None if of_environment == planned else planned
    if of_environment is not None or resolve(TRACKING_TOKEN).text is not None:
        return None
    is_default = name == "registry_uri" and planned == server["tracking_uri"]
    return None if is_default else planned
