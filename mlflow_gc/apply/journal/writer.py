"""The journal of a prune, purge or restore while it is written (see ``reader.py`` for its content)."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from mlflow_gc.apply.journal.reader import (
    FORMAT,
    FORMAT_VERSION,
    UNCONFIRMED,
    Session,
    earlier_sessions,
    read_sessions,
    refuse_no_file,
    restore_path,
)
from mlflow_gc.domain.redaction import hide
from mlflow_gc.domain.timestamps import format_ms, now_ms
from mlflow_gc.errors import GcError, Refused
from mlflow_gc.plan.document import Json
from mlflow_gc.version import TOOL


class Journal:
    """A journal file open for appending.

    Args:
        path: the file; created if missing, continued if it belongs to the same plan (see
            :func:`journal_path`).  None for no file.
        plan: the plan that is applied.
        action: ``prune``, ``purge`` or ``restore``.
        dry_run: read and count, but write nothing.
        clock_skew_ms: the certain clock skew (server minus this machine).
        on_record: called with every record after it is written, from any thread.
        shard: which part of the plan is applied (``3/16``), or None for all of it.
        keep_tag: name of the keep tag, for a later restore.

    Raises:
        GcError: The file cannot be written.
        Refused: Another process is writing it, it belongs to another plan, or it is not a file.
    """

    def __init__(
        self,
        path: Path | None,
        plan: Mapping[str, Any],
        *,
        action: str = "prune",
        dry_run: bool = False,
        clock_skew_ms: int = 0,
        on_record: Callable[[Json], None] = lambda _record: None,
        shard: str | None = None,
        keep_tag: str | None = None,
    ) -> None:
        is_written = path is not None and not dry_run
        self.path = path if path and is_written else Path(os.devnull)
        self._on_record = on_record
        self.counts: Counter[tuple[str, str]] = Counter()
        self.skipped_or_failed: list[Json] = []
        """This session's records of skips and failures."""
        self._lock = threading.RLock()
        if path is not None:
            refuse_no_file(path)
        self._file = _open(self.path)
        self.earlier: list[Session] = []
        """Earlier sessions in this file."""
        self.restores: list[Session] = []
        """Sessions of restores of this journal; empty if their journal cannot be read."""
        try:
            if path is not None:
                # Under the lock: another process may have created the file meanwhile.
                self.earlier = earlier_sessions(path, plan["plan_id"], action)
                with contextlib.suppress(GcError):
                    self.restores = read_sessions(restore_path(path))
            _end_torn_line(self._file, self.path)
        except BaseException:
            self._file.close()
            raise
        self._write(
            {
                "type": "header",
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "action": action,
                "plan_id": plan["plan_id"],
                "server": plan["server"],
                "tool": TOOL,
                "started_at": format_ms(now_ms()),
                "clock_skew_ms": clock_skew_ms,
                **({"keep_tag": keep_tag} if keep_tag else {}),
                **({"shard": shard} if shard else {}),
            }
        )
        self.sync()

    def intend(self, kind: str, ids: Sequence[str], undo: Json | None = None) -> None:
        """Write an intent, synced to disk, before entities are changed."""
        self._intend(kind, ids, undo)
        self.sync()

    def intend_each(self, kind: str, undo: Mapping[str, Json]) -> None:
        """Write intents, synced to disk, each with its undo information by id."""
        for entity_id, of_one in undo.items():
            self._intend(kind, [entity_id], of_one)
        if undo:
            self.sync()

    def _intend(self, kind: str, ids: Sequence[str], undo: Json | None) -> None:
        line: Json = {
            "type": "intent",
            "kind": kind,
            "ids": list(ids),
            "time": format_ms(now_ms()),
        }
        if undo:
            line["undo"] = undo
        self._write(line)

    def record(
        self,
        kind: str,
        entity_id: str,
        outcome: str,
        *,
        reason: str | None = None,
        detail: str | None = None,
        undo: Json | None = None,
        unconfirmed: bool = False,
    ) -> None:
        """Write the outcome of one attempt; the next sync writes it to disk.

        Args:
            kind: ``Kind.name``.
            entity_id: as ``Kind.id_of`` returns it.
            outcome: ``deleted``, ``skipped``, ``failed`` or ``restored``.
            reason: a key of :data:`SKIP_CODES`; required for a skip.
            detail: text for people.
            undo: undo information, or everything known about an entity that cannot be restored.
            unconfirmed: for a failure: it may have been executed nevertheless.
        """
        line: Json = {
            "type": "record",
            "kind": kind,
            "id": entity_id,
            "outcome": outcome,
            "reason": reason,
            "time": format_ms(now_ms()),
        }
        if detail is not None:
            line["detail"] = hide(detail)
        if undo is not None:
            line["undo"] = undo
        if unconfirmed:
            line[UNCONFIRMED] = True
        # The callback is called in the order of the file, from any thread.
        with self._lock:
            self._write(
                line, count=(kind, f"skipped:{reason}" if outcome == "skipped" else outcome)
            )
            if outcome in {"skipped", "failed"}:
                self.skipped_or_failed.append(line)
            self._on_record(line)

    def sync(self) -> None:
        """Sync the file to disk.

        Raises:
            GcError: The disk is full or failed; deletions must stop, because they cannot be
                recorded.
        """
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            if error.errno not in _CANNOT_SYNC:
                raise self._unwritable(error) from error

    def close(self, ended: str) -> None:
        """Write the end of the session: ``completed``, ``interrupted`` or ``failed``."""
        totals: dict[str, dict[str, int]] = {}
        for (kind, outcome), count in sorted(self.counts.items()):
            totals.setdefault(kind, {})[outcome] = count
        self._write({"type": "end", "ended": ended, "time": format_ms(now_ms()), "counts": totals})
        self.sync()
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the file and release its lock."""
        # Write errors were already reported.
        with contextlib.suppress(OSError):
            self._file.close()

    def _write(self, line: Json, count: tuple[str, str] | None = None) -> None:
        with self._lock:
            try:
                self._file.write(orjson.dumps(line) + b"\n")
                # Flushed to the operating system, so that a SIGKILL of this process loses nothing.
                self._file.flush()
            except OSError as error:
                raise self._unwritable(error) from error
            if count:
                self.counts[count] += 1

    def _unwritable(self, error: OSError) -> GcError:
        return GcError(
            f"The journal {self.path} cannot be written: {error.strerror or error}.",
            hint="Nothing more is deleted without a record. Make room, or name another place "
            "with --journal, and run the same command again.",
        )


# fsync on a pipe or a terminal (--journal /dev/stderr), which are on no disk.
_CANNOT_SYNC = {22, 25, 95}


def _open(path: Path) -> BinaryIO:
    """Open a journal for appending, for this process alone.

    The lock is the kernel's: it is released when the process ends in any way.
    """
    try:
        # It contains names and users: private, whatever the umask.  An existing file keeps its
        # mode.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
        file = os.fdopen(os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o600), "ab")
    except OSError as error:
        raise _not_writable(path, error) from error
    if sys.platform != "win32" and path.is_file():
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise Refused(
                f"Another prune or restore is writing the journal {path} right now.",
                hint="Wait for it to end. Nothing was deleted by this one.",
            ) from error
        except OSError:
            pass  # a file system without locks; applying a plan twice at once is harmless
    return file


def _end_torn_line(file: BinaryIO, path: Path) -> None:
    try:
        if path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            file.write(b"\n")
    except OSError as error:
        raise _not_writable(path, error) from error


def _not_writable(path: Path, error: OSError) -> GcError:
    return GcError(
        f"The journal {path} cannot be written: {error.strerror or error}.",
        hint="Nothing was deleted. Name another place with --journal.",
    )
