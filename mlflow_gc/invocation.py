"""How this program was started, and the next commands that it prints for people.

A printed command can be pasted: it names the program as it was started, and the server, registry
and workspace unless the environment of the reader already does.  Where ``MLFLOW_GC_DIR`` is set, files
outlive the container of the command, and its environment does not: then they are always named.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mlflow_gc.domain.redaction import HIDDEN
from mlflow_gc.settings import (
    ARTIFACTS_DESTINATION,
    BACKEND_STORE_URI,
    DIRECTORY,
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
_ON_A_SERVER = frozenset(
    {"report", "prune", "purge", "check", "restore", "mark", "usage", "policy"}
)
_CONNECTION = {"tracking_uri": TRACKING_URI, "registry_uri": REGISTRY_URI, "workspace": WORKSPACE}
_STORAGE = {
    "backend_store_uri": BACKEND_STORE_URI,
    "artifacts_destination": ARTIFACTS_DESTINATION,
}
"""What only a purge needs."""


_started_by: ContextVar[tuple[str, ...]] = ContextVar("started_by", default=(NAME,))
"""The command line that started this program, without its arguments."""

_flags: ContextVar[Mapping[str, str]] = ContextVar("flags", default=MappingProxyType({}))
"""Options of this command about the server, by name of the parameter."""


def started(argv: Sequence[str], orig_argv: Sequence[str]) -> None:
    """Store how the program was started; both arguments are those of :mod:`sys`."""
    _started_by.set(_program(argv, orig_argv))
    _flags.set({})


def given(parameters: Mapping[str, Any]) -> None:
    """Store the options about the server, out of all parameters of a command by name."""
    _flags.set(
        {
            name: str(parameters[name])
            for name in {**_CONNECTION, **_STORAGE}
            if parameters.get(name)
        }
    )


def _program(argv: Sequence[str], orig_argv: Sequence[str]) -> tuple[str, ...]:
    own = tuple(orig_argv[: len(orig_argv) - len(argv) + 1])
    # python -m, python -I -m, python -Im
    if len(own) > 2 and own[-1] == _MODULE and own[-2].startswith("-") and own[-2].endswith("m"):
        return (_absolute(own[0]), *own[1:])
    script = argv[0] if argv else ""
    if Path(script).name != NAME:
        return (NAME,)  # from within another program
    found = shutil.which(NAME)
    with suppress(OSError):
        # By name if a shell finds the same program, else by path.
        if found and Path(found).samefile(script):
            return (NAME,)
    return (_absolute(script),)


def _absolute(word: str) -> str:
    """Return an absolute path; a name without a path is resolved by the shell."""
    return os.path.abspath(word) if os.sep in word else word  # noqa: PTH100 - keeps symbolic links


def command(
    *arguments: str, server: Mapping[str, Any] | None = None, for_others: bool = False
) -> str:
    """Return a command line of this program, quoted for a shell.

    Args:
        arguments: the command and its arguments.
        server: of the plan or journal of the command; None without such a document.
        for_others: for readers on other machines, on which paths of this one do not exist.
    """
    own = _started_by.get()
    if for_others:
        own = ("python", "-m", _MODULE) if own[-1] == _MODULE else (NAME,)
    line = [*own, *arguments]
    if arguments and arguments[0] in _ON_A_SERVER:
        line += _connection(_flags.get(), server)
    if arguments and arguments[0] == "purge":
        line += _storage(_flags.get())
    return shlex.join(line)


def file_argument(path: Path | str) -> str:
    """Return a path as the argument of a command, never readable as an option.

    ``PLAN`` replaces the path of stdin.
    """
    text = str(path)
    if text == "-":
        return "PLAN"
    return f"./{text}" if text.startswith("-") else text


def program() -> list[str]:
    """Return the command line that starts this program again, from any directory."""
    started_by = _started_by.get()
    if started_by == (NAME,) and not shutil.which(NAME):
        return [sys.executable, "-m", _MODULE]
    return list(started_by)


def _connection(flags: Mapping[str, str], server: Mapping[str, Any] | None) -> list[str]:
    line: list[str] = []
    for name, setting in _CONNECTION.items():
        value = flags.get(name) or _of_job(setting) or _of_document(name, setting, server)
        # Secrets are never part of a command; they are resolved as before.
        value = value and (value if name == "workspace" else redact_uri(value))
        if value and HIDDEN not in value:
            line += [str(setting.flag), value]
    return line


def _storage(flags: Mapping[str, str]) -> list[str]:
    line: list[str] = []
    for name, setting in _STORAGE.items():
        value = flags.get(name) or _of_job(setting)
        # Without its login the address of a database is of no use.
        if value and redact_uri(value) == value:
            line += [str(setting.flag), value]
    return line


def _of_job(setting: Setting) -> str | None:
    """Return a value that only the environment of this job has, or None.

    An address with a login is left out: without the login it would hide the secret that has it.
    """
    value = os.environ.get(setting.variable, "").strip()
    if not value or redact_uri(value) != value or resolve(DIRECTORY).text is None:
        return None
    return value


def _of_document(name: str, setting: Setting, server: Mapping[str, Any] | None) -> str | None:
    """Return a value of a document that the environment lacks, or None.

    An address only if neither address nor token is set: an untrusted file must not direct a
    credential to another server.
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
