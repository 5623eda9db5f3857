"""The server of a workflow: opening, identity, graceful stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from mlflow_gc.backend.interface import Failure, Gateway, ServerError
from mlflow_gc.errors import GcError, Refused
from mlflow_gc.settings import ARTIFACTS_DESTINATION, Connection, resolve
from mlflow_gc.workflows.reporter import Phase, Reporter

if TYPE_CHECKING:
    from mlflow_gc.storage.stores import ArtifactStores


def open_server(connection: Connection, *, verbose: bool, reporter: Reporter) -> Gateway:
    """Open the server that the settings name; it is not contacted yet.

    ``verbose`` reports the origin of each value.

    Raises:
        GcError: a setting cannot be used.
    """
    from mlflow_gc.backend.connect import connect

    if verbose:
        for line in connection.describe():
            reporter.note(line)
    with reporter.phase(Phase.LOAD):
        gateway = connect(connection)
    for warning in gateway.warnings():
        reporter.warning(None, warning)
    return gateway


def open_stores(gateway: Gateway, artifacts_destination: str | None) -> ArtifactStores:
    """Return the artifact stores of a server; none is contacted yet.

    ``artifacts_destination`` is the value of the option.

    Raises:
        StoreError: it cannot be used.
    """
    from mlflow_gc.storage.stores import ArtifactStores

    found = resolve(ARTIFACTS_DESTINATION, artifacts_destination)
    return ArtifactStores(artifacts_destination=found.text, server=gateway.artifacts())


def is_unreachable(error: GcError) -> bool:
    """Tell whether no further request to the server would be sent."""
    return isinstance(error, ServerError) and error.failure is Failure.UNREACHABLE


def all_workspaces(gateway: Gateway, reporter: Reporter) -> list[str]:
    """Return the names of the workspaces of a server, sorted.

    Raises:
        Refused: The server has no workspaces, or this account sees none.
        UsageProblem: It is a database.
        ServerError: It cannot be read.
    """
    with reporter.phase(Phase.CONNECT):
        server = gateway.server_metadata()
        found = gateway.workspaces()
    if found:
        return found
    if server.workspace is None:
        raise Refused(
            f"The server {server.tracking_uri} has no workspaces.",
            hint="Leave out --all-workspaces.",
        )
    raise Refused(
        f"This account sees no workspace of the server {server.tracking_uri}.",
        hint="Use an account that may, such as an administrator's.",
    )


def refuse_other_server(gateway: Gateway, planned: Mapping[str, Any], file: Path) -> None:
    """Refuse a plan or journal for another server, registry or workspace.

    Raises:
        Refused: It is another one.
    """
    from mlflow_gc.backend.server_identity import read_server_info

    server = read_server_info(gateway)
    differences = []
    planned_part, current_part = (
        _parts(identity) for identity in (planned["identity"], server.identity)
    )
    for part in ("tracking", "registry"):
        was, now = planned[f"{part}_uri"], getattr(server, f"{part}_uri")
        if planned_part.get(part) != current_part.get(part):
            _refuse_unknown_identity(file, planned_part.get(part), was, current_part.get(part), now)
            what = "server" if part == "tracking" else "registry"
            differences.append((what, was, now))
            break
    if planned["workspace"] != server.workspace:
        differences.append(
            ("workspace", planned["workspace"] or "none", server.workspace or "none")
        )
    if differences:
        details = "; ".join(
            f"it is of the {what} {was}, not {now}" for what, was, now in differences
        )
        raise Refused(
            f"{file} was made for another {differences[0][0]}: {details} "
            f"(fingerprint {planned['identity']}, here {server.identity}).",
            hint="Point --tracking-uri, --registry-uri and --workspace at the server it was made for.",
        )


def _refuse_unknown_identity(
    file: Path, planned_part: str | None, was: str, current_part: str | None, now: str
) -> None:
    """Refuse a file if the fingerprint of its server or of this one is unknown.

    Raises:
        Refused: With the account that can read it.
    """
    from mlflow_gc.backend.server_identity import unknown_identity

    by_what = "experiment 0 (Default), which identifies a server,"
    if current_part == unknown_identity(now):
        raise Refused(
            f"Whether {file} was made for {now} cannot be determined: {by_what} is not there, or this "
            "account may not read it.",
            hint="Use an account that may, such as an administrator's.",
        )
    if planned_part == unknown_identity(was):
        raise Refused(
            f"Whether {file} was made for {now} cannot be determined: the account that made it could "
            f"not read {by_what} of {was}.",
            hint="Use the account that made it, or make a new plan with this one: mlflow-gc report.",
        )


def _parts(identity: str) -> dict[str, str]:
    return dict(part.partition(":")[::2] for part in identity.split())


@contextmanager
def graceful_stop(
    gateway: Gateway, reporter: Reporter, *, dry_run: bool
) -> Iterator[tuple[threading.Event, list[int]]]:
    """Turn the first SIGINT or SIGTERM into a request to stop; a second one ends at once."""
    stop = gateway.stopped
    signals: list[int] = []
    # Only the main thread can handle signals; elsewhere the caller handles them.
    is_main_thread = threading.current_thread() is threading.main_thread()
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM) if is_main_thread}

    def request_stop(signum: int, _frame: FrameType | None) -> None:
        signals.append(signum)
        stop.set()
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        if not dry_run:
            reporter.note("Stopping after the requests in flight. A second signal ends at once.")

    for each in before:
        signal.signal(each, request_stop)
    try:
        yield stop, signals
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
