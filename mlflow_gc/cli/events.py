"""The events file: one JSON object per line about what a command does, for machines.

Described in ``schemas/events.v1.schema.json``.  Nothing depends on it; the journal is
authoritative.
"""

from __future__ import annotations

import json
import os
import re
import select
import stat
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow_gc.cli.output import print_message
from mlflow_gc.domain.redaction import hide
from mlflow_gc.domain.timestamps import format_ms, now_ms
from mlflow_gc.errors import GcError, UsageProblem
from mlflow_gc.plan.writer import refuse_overwriting
from mlflow_gc.version import TOOL
from mlflow_gc.workflows.reporter import Listener, State

FORMAT = "mlflow-gc/events"
FORMAT_VERSION = "1.0"

_EVERY_S = 1.0
_PATIENCE_S = 5.0
# Writes of this size to a pipe are atomic on every system.
_CHUNK = 512
_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d{1,6})")
# Outcomes of a dry run must not look like real ones.
_WOULD = {
    "deleted": "would_delete",
    "restored": "would_restore",
    "marked": "would_mark",
    "unmarked": "would_unmark",
}


class Events(Listener):
    """Writes events to a file, a named pipe, ``/dev/stderr`` or ``/dev/fd/N``, immediately.

    Raises:
        UsageProblem: The path is stdout.
        GcError: It cannot be written.
    """

    def __init__(self, path: Path, command: str, *, dry_run: bool) -> None:
        self._path = path
        self._dry_run = dry_run
        self._began = time.monotonic()
        self._next = 0.0
        self._counts: Counter[tuple[str, str]] = Counter()
        self._torn = False
        self._file = _open(path)
        self._is_open = True
        self._is_pipe = not stat.S_ISREG(os.fstat(self._file).st_mode)
        try:
            self._write(
                "start",
                format=FORMAT,
                format_version=FORMAT_VERSION,
                command=command,
                dry_run=dry_run,
                tool=TOOL,
            )
        except OSError as error:
            raise _unwritable(path, error) from error

    def is_stderr(self) -> bool:
        """Tell whether it is the same file as stderr."""
        try:
            return os.path.sameopenfile(self._file, 2)
        except OSError:  # no stderr
            return False

    def begin(self, state: State) -> None:
        """Write the begin of a phase."""
        self._next = _EVERY_S
        self._emit("phase", phase=state.phase.code, total=dict(state.totals))

    def update(self, state: State) -> None:
        """Write the progress, once a second."""
        if state.seconds >= self._next:
            self._next = state.seconds + _EVERY_S
            self._progress(state)

    def end(self, state: State) -> None:
        """Write the final progress of a phase."""
        if state.done:
            self._progress(state)

    def _progress(self, state: State) -> None:
        left = state.seconds_left
        self._emit(
            "progress",
            phase=state.phase.code,
            done=dict(state.done),
            total=dict(state.totals),
            elapsed_ms=_ms(state.seconds),
            per_minute=round(state.per_second * 60),
            left_ms=None if left is None else _ms(left),
        )

    def entity(self, record: Mapping[str, Any]) -> None:
        """Write the outcome of one entity."""
        kind, outcome, reason = record["kind"], record["outcome"], record.get("reason")
        if self._dry_run:
            outcome = _WOULD.get(outcome, outcome)
        self._counts[kind, f"{outcome}:{reason}" if outcome == "skipped" else outcome] += 1
        detail = {"detail": record["detail"]} if record.get("detail") else {}
        self._emit("entity", kind=kind, id=record["id"], outcome=outcome, reason=reason, **detail)

    def warning(self, code: str | None, message: str) -> None:
        """Write a warning."""
        self._emit("warning", code=code, message=message)

    def plan(self, document: Mapping[str, Any], path: Path) -> None:
        """Write the plan of the command."""
        fields = ("plan_id", "as_of", "expires_at", "complete", "applyable", "summary", "server")
        known = {field: document[field] for field in fields}
        self._emit("plan", file=str(path), **known, policy_source=document.get("policy_source"))

    def journal(self, path: Path, plan_id: str) -> None:
        """Write the path of the journal."""
        self._emit("journal", file=str(path), plan_id=plan_id)

    def finish(self, exit_code: int, error: tuple[str, str | None] | None) -> None:
        """Write the end, the last event."""
        counts: dict[str, dict[str, int]] = {}
        for (kind, outcome), count in sorted(self._counts.items()):
            counts.setdefault(kind, {})[outcome] = count
        self._emit(
            "end",
            exit_code=int(exit_code),
            error=None
            if error is None
            else {"message": hide(error[0]), "hint": error[1] and hide(error[1])},
            counts=counts,
            elapsed_ms=_ms(time.monotonic() - self._began),
        )
        self._is_open = False
        os.close(self._file)

    def _emit(self, event: str, **fields: Any) -> None:
        """Write an event; an error does not stop the command and is reported once."""
        if not self._is_open:
            return
        try:
            self._write(event, **fields)
        except OSError as error:
            self._is_open = False
            print_message(
                f"Warning: the events file {self._path} can no longer be written: "
                f"{error.strerror or error}. The command continues; the journal is complete."
            )

    def _write(self, event: str, **fields: Any) -> None:
        """Write one line.

        Raises:
            OSError: It cannot be written, or nobody reads the pipe.
        """
        texts = {key: hide(fields[key]) for key in ("message", "detail") if fields.get(key)}
        line = {"event": event, "time": format_ms(now_ms()), **fields, **texts}
        # ASCII only, and nothing that Azure Pipelines or TeamCity would execute: the line is
        # harmless on a terminal or in a job's log, whatever a server put into it.
        data = json.dumps(line, separators=(",", ":")).replace("##", "#\\u0023").encode() + b"\n"
        if self._torn:
            data = b"\n" + data
        while data:
            if self._is_pipe and not _is_writable(self._file, _PATIENCE_S):
                raise TimeoutError(None, "nobody reads it")
            data = data[os.write(self._file, data[:_CHUNK] if self._is_pipe else data) :]
            self._torn = bool(data)  # an interrupt may end the command here


def _is_writable(file: int, within_s: float) -> bool:
    """Wait until a pipe is writable or closed; writing raises the error then."""
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([], [file], [], within_s)[1])
    # Unlike select it supports more than 1,024 open files.
    poll = select.poll()
    poll.register(file, select.POLLOUT)
    return bool(poll.poll(within_s * 1000))


def _ms(seconds: float) -> int:
    return max(round(seconds * 1000), 0)


def _open(path: Path) -> int:
    """Open an events file for writing.

    Raises:
        UsageProblem: The path is stdout.  GcError: It cannot be written, or must not be
            overwritten.
    """
    name = str(path)
    match = _DESCRIPTOR.fullmatch(name)
    descriptor = _STREAMS.get(name, int(match[1]) if match else None)
    if name == "-" or descriptor == 1:
        raise UsageProblem(
            "--events cannot go to stdout, which carries the result.",
            hint="Name a file, a named pipe, /dev/stderr or /dev/fd/3.",
        )
    try:
        if descriptor is not None:
            # A descriptor opened by the shell is used as it is; opening it again would truncate a
            # log.
            return os.dup(descriptor)
        if path.exists():
            refuse_overwriting(path, (FORMAT,), "an events file")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)
        # It contains names, as a plan does.
        return os.open(path, flags, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> GcError:
    return GcError(
        f"The events file {path} cannot be written: {error.strerror or error}.",
        hint="Nothing was changed. Name another place with --events.",
    )
