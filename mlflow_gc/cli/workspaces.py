"""``--all-workspaces``: the ordinary command, once for each workspace or for each of several files.

Each time has a plan, a question, a journal and an exit code of its own.  So a workspace that fails
stops no other, and what one of them wrote is handed to any command like that of a single workspace.
"""

from __future__ import annotations

import gc
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import typer

from mlflow_gc import invocation
from mlflow_gc.cli import options
from mlflow_gc.cli.output import print_error, print_message
from mlflow_gc.cli.session import Session
from mlflow_gc.errors import ExitCode, GcError, UsageProblem
from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.terminal.plans_text import Facts
from mlflow_gc.settings import WORKSPACE, Connection, Value
from mlflow_gc.workflows.reporter import Listener, Reporter

if TYPE_CHECKING:
    from mlflow_gc.plan.document import Plan

_WORST_LAST = (
    *(ExitCode.OK, ExitCode.SOMETHING, ExitCode.PARTIAL),
    *(ExitCode.REFUSED, ExitCode.ERROR, ExitCode.USAGE),
)
_PLAIN_NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
"""What MLflow accepts as the name of a workspace, with at most 63 characters (3.10 to 3.18)."""


class Made(Listener):
    """Notes the numbers of plans that are made, by path."""

    def __init__(self) -> None:
        self.by_path: dict[Path, Facts] = {}

    def plan(self, document: Mapping[str, Any], path: Path) -> None:
        """Note a plan."""
        self.by_path[path] = Facts.of(cast("Plan", document))


def names(context: typer.Context, connection: Connection, reporter: Reporter) -> list[str]:
    """Return the workspaces of a server.

    Args:
        context: of the command.
        connection: the settings; their workspace is not used.
        reporter: receives warnings.

    Raises:
        UsageProblem: One workspace was chosen, or a database.
        Refused: The server has no workspaces, or this account sees none.
        ServerError: The server cannot be read.
    """
    from mlflow_gc.workflows.server import all_workspaces, open_server

    connection = _in_workspace(context, connection, None, "flag --all-workspaces")
    gateway = open_server(connection, verbose=context.params["verbose"], reporter=reporter)
    return all_workspaces(gateway, reporter)


def path_for(out: Path, workspace: str) -> Path:
    """Return the path of the plan of a workspace: ``prune-plan.team-a.json``.

    A name that MLflow itself would not accept becomes one that is unique and harmless.
    """
    if len(workspace) > 63 or not re.fullmatch(_PLAIN_NAME, workspace):
        known = re.sub(r"[^a-z0-9]+", "-", workspace[:32].lower()).strip("-")
        workspace = (
            f"{known}_{hashlib.sha256(workspace.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
        )
    return out.with_name(f"{out.stem}.{workspace}{out.suffix}")


def of_document(
    context: typer.Context, connection: Connection, server: Mapping[str, Any], file: Path
) -> Connection:
    """Return the connection to the workspace that a plan or journal names.

    Args:
        context: of the command; commands that it prints name the workspace.
        connection: the settings.
        server: of the document.
        file: its path.

    Raises:
        UsageProblem: Another workspace was chosen.
    """
    connection = _in_workspace(context, connection, server["workspace"], f"file {file}")
    invocation.given({**context.params, "workspace": server["workspace"]})
    return connection


def _in_workspace(
    context: typer.Context, connection: Connection, name: str | None, origin: str
) -> Connection:
    if context.params["workspace"] is not None:
        raise UsageProblem(
            "--workspace and --all-workspaces cannot be combined.", hint="Leave one of them out."
        )
    return replace(connection, workspace=Value(WORKSPACE, name, origin))


def each_file(
    context: typer.Context,
    command: Callable[..., int],
    parameter: str,
    files: Iterable[Path],
    changes: Mapping[Path, Mapping[str, Any]] = MappingProxyType({}),
) -> int:
    """Run a command on each of several files; return the worst exit code.

    Args:
        context: of the command.
        command: its function.
        parameter: its parameter with the files.
        files: plans or journals, each of any workspace.
        changes: the parameters that differ, by file.

    Raises:
        UsageProblem: They cannot be processed at once.
    """
    if not context.params["all_workspaces"]:
        raise UsageProblem(
            "Several files need --all-workspaces, which applies each in the workspace that it names.",
            hint="Add it, or give one file.",
        )
    # Only prune takes several plan_ids.
    for name in ("journal", "expect"):
        if isinstance(context.params.get(name), (str, Path)):
            raise UsageProblem(f"--{name} is for one file.", hint="Leave it out.")
    return _each(
        context, command, {f"File {f}": {parameter: [f], **changes.get(f, {})} for f in files}
    )


def each_workspace(
    context: typer.Context,
    command: Callable[..., int],
    changes: Mapping[str, Mapping[str, Any]],
) -> int:
    """Run a command in each of several workspaces; return the worst exit code.

    Args:
        context: of the command.
        command: its function.
        changes: the parameters that differ, by workspace.
    """
    return _each(
        context,
        command,
        {
            f"Workspace {name}": {**parameters, "workspace": name, "all_workspaces": False}
            for name, parameters in changes.items()
        },
    )


def _each(
    context: typer.Context, command: Callable[..., int], calls: Mapping[str, Mapping[str, Any]]
) -> int:
    """Call a command once for each name, with the parameters that differ."""
    from mlflow_gc.workflows.server import is_unreachable

    worst = ExitCode.OK
    left = list(calls)
    once = options.grouped(command)
    for number, (name, parameters) in enumerate(calls.items(), 1):
        left.remove(name)
        # The name is text of a server: after a line break in it, anything could look like an error.
        label = plain(name)
        if not context.params["quiet"]:
            print_message(f"{label} ({number} of {len(calls)})")
        context.params.update(parameters)
        try:
            code = int(once(context=context, **context.params))
        except UsageProblem:
            raise  # of the command line, so the same for all
        except GcError as error:
            if is_unreachable(error):
                raise
            context.ensure_object(Session).failed(f"{label}: {error.message}", error.hint)
            print_error(f"{label}: {error.message}", error.hint)
            code = error.exit_code
        if code not in _WORST_LAST:  # a signal
            if left:
                print_message(f"Not begun: {', '.join(left)}.")
            return code
        worst = max(worst, ExitCode(code), key=_WORST_LAST.index)
        # Large readers freeze objects for the garbage collector.
        gc.unfreeze()
    # What is printed now is about all of them.
    invocation.given({**context.params, "workspace": None})
    return worst
