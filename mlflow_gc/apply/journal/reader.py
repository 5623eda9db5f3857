"""Journals as they are read: what was tried, its outcome, and what undo needs.  JSON Lines.

A file holds one or more sessions of the same plan.  Each begins with a header; before a batch is
deleted, an ``intent`` line names it, so that a kill between a delete and its record loses
nothing; each attempt ends in a ``record``; a session that ended in order has an ``end``.
"""

from __future__ import annotations

import codecs
import contextlib
import glob
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from mlflow_gc.errors import GcError, Refused
from mlflow_gc.plan import schema
from mlflow_gc.plan.document import Json
from mlflow_gc.plan.reader import read_bytes
from mlflow_gc.plan.strict_json import refuse_ambiguous
from mlflow_gc.plan.verification import check_format

FORMAT = "mlflow-gc/journal"
FORMAT_VERSION = "1.0"

UNCONFIRMED = "unconfirmed"
"""Field of a failure record; true if the deletion may have been executed."""

SKIP_CODES = {
    "changed": "It changed since the plan was made; at a restore: the run's experiment is in the trash.",
    "protected": "Something protects it now.",
    "already_deleted": "It is in the trash.",
    "gone": "It no longer exists.",
    "forbidden": "The account may not do it.",
    "already_active": "At a restore: somebody restored it before.",
    "irreversible": "At a restore: MLflow cannot bring it back.",
}
"""Reasons of skips, by the code in the record."""


@dataclass
class Session:
    """One session of ``prune``, ``purge`` or ``restore`` in a journal."""

    header: Json
    intents: list[Json] = field(default_factory=list)
    records: list[Json] = field(default_factory=list)
    end: Json | None = None
    lines: list[Json] = field(default_factory=list)
    """All lines in the order of the file."""

    def unconfirmed(self) -> set[tuple[str, str]]:
        """Return (kind, id) with an intent and unknown outcome.

        The process was killed, or every request after an ambiguous response failed.
        """
        intended = {(i["kind"], entity_id) for i in self.intents for entity_id in i["ids"]}
        return intended - {
            (r["kind"], r["id"]) for r in self.records if not r.get(UNCONFIRMED, False)
        }

    def intended_undo(self) -> dict[tuple[str, str], Json]:
        """Return, by kind and id, the undo information in its intents."""
        found: dict[tuple[str, str], Json] = {}
        for intent in self.intents:
            if "undo" in intent:
                for entity_id in intent["ids"]:
                    found.setdefault((intent["kind"], entity_id), intent["undo"])
        return found


def unconfirmed_in(sessions: Iterable[Session]) -> set[tuple[str, str]]:
    """Return (kind, id) with an unknown outcome that no later session has found out."""
    found: set[tuple[str, str]] = set()
    for session in sessions:
        found -= {(r["kind"], r["id"]) for r in session.records if r["outcome"] != "failed"}
        found |= session.unconfirmed()
    return found


def read_journal(path: Path) -> list[Session]:
    """Read a journal; a torn last line is left out.

    Raises:
        GcError: It cannot be read, or is not a journal.
        Refused: A newer major version.
    """
    sessions: list[Session] = []
    for number, line in _lines(path):
        if not sessions or (isinstance(line, dict) and line.get("type") == "header"):
            check_format(line, path, FORMAT, FORMAT_VERSION, "journal")
        found = schema.problems(line, "journal", most=1)
        if found:
            raise GcError(f"Line {number} of the journal {path} is not valid: {found[0]}.")
        if line["type"] == "header":
            if sessions and line["plan_id"] != sessions[0].header["plan_id"]:
                raise Refused(
                    f"Line {number} of the journal {path} begins a session of another plan.",
                    hint="Was it put together from two journals? Take them apart again.",
                )
            sessions.append(Session(line, lines=[line]))
            continue
        if not sessions:
            raise GcError(f"Line {number} of the journal {path} comes before any header.")
        sessions[-1].lines.append(line)
        if line["type"] == "intent":
            sessions[-1].intents.append(line)
        elif line["type"] == "record":
            sessions[-1].records.append(line)
        elif line["type"] == "end":
            sessions[-1].end = line
    return sessions


def merge_journals(sessions: Iterable[Session]) -> bytes:
    """Return one journal with the sessions of several, ordered by their start.

    A duplicate session (a file named twice, a merged journal merged again) counts once.

    Raises:
        Refused: They belong to different plans, or there are none.
    """
    found = {orjson.dumps([s.header, s.intents, s.records, s.end]): s for s in sessions}.values()
    plan_ids = {session.header["plan_id"] for session in found}
    if len(plan_ids) != 1:
        raise Refused(
            f"These are journals of {len(plan_ids)} different plans.",
            hint="Merge the journals of one plan at a time; restore takes one plan, too.",
        )
    # Stable: sessions of the same millisecond keep the order of the arguments.
    ordered = sorted(found, key=lambda session: str(session.header["started_at"]))
    return b"".join(orjson.dumps(line) + b"\n" for session in ordered for line in session.lines)


_HEADER_BEGINS = b'{"type":"header"'


def _lines(path: Path) -> Iterable[tuple[int, Any]]:
    """Yield the line numbers and contents of a journal, without torn lines.

    A torn line is at the end of the file, or before the header of a later session.
    """
    content = read_bytes(path, "journal")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise GcError(
            f"The journal {path} is UTF-16 text; it has to be UTF-8.",
            hint="On Windows, > of PowerShell writes UTF-16. Use the file that prune wrote.",
        )
    # Editors and scripts on Windows write a byte order mark.
    lines = content.removeprefix(codecs.BOM_UTF8).split(b"\n")
    torn: tuple[int, Exception] | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            parsed = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            # A kill tears one line; a second one if the next session is killed in its header.
            tears_header = _HEADER_BEGINS.startswith(line[: len(_HEADER_BEGINS)])
            if not tears_header and (number == 1 or torn):
                raise _not_json(path, *(torn or (number, error))) from error
            torn = torn or (number, error)
            continue
        if torn and not (isinstance(parsed, dict) and parsed.get("type") == "header"):
            raise _not_json(path, *torn) from torn[1]
        refuse_ambiguous(line, f"Line {number} of the journal {path}", numbers=False)
        torn = None
        yield number, parsed


def _not_json(path: Path, number: int, error: Exception) -> GcError:
    return GcError(f"Line {number} of the journal {path} is not valid JSON: {error}.")


def default_path(plan_file: Path, part: str = "") -> Path:
    """Return the default path of the journal of a plan, or of a shard: next to the plan."""
    return plan_file.with_name(f"{plan_file.name}{part}.journal.jsonl")


def restore_path(journal_file: Path) -> Path:
    """Return the path of the journal of a restore: next to that of the prune."""
    return journal_file.with_name(f"{journal_file.name}.restore.jsonl")


def journal_path(path: Path, plan_id: str) -> Path:
    """Return the path of a journal: ``path``, or another name if another plan's journal exists.

    The existing journal is neither moved nor overwritten: a restore depends on it.  For
    ``plan.json.journal.jsonl`` the other name is ``plan.json.<first 12 digits of the
    plan_id>.journal.jsonl``.

    Raises:
        GcError: The existing file cannot be read, or is not a journal.
        Refused: It is not a file (a pipe, a device, a dangling link).
    """
    refuse_no_file(path)
    sessions = read_sessions(path)
    if not sessions or sessions[0].header["plan_id"] == plan_id:
        return path
    ends = next((e for e in (".journal.jsonl", path.suffix) if e and path.name.endswith(e)), "")
    stem = path.name.removesuffix(ends)
    own = path.with_name(f"{stem}.{plan_id.removeprefix('sha256:')[:12]}{ends}")
    refuse_no_file(own)
    return own


def refuse_no_file(path: Path) -> None:
    """Refuse a journal that is not a file: nobody could restore from it.

    Opening a named pipe would wait for a reader and ignore every signal.

    Raises:
        Refused: With the type of the path.
    """
    try:
        if path.is_symlink() and not path.exists():
            what = "a symbolic link to something that does not exist"
        elif not path.exists() or path.is_file():
            return
        elif path.is_dir():
            what = "a directory"
        else:
            what = "a named pipe, a device or a socket"
    except OSError:
        return  # opening it will say why
    raise Refused(
        f"The journal {path} is {what}; a journal has to be a file, for restore reads it.",
        hint="Nothing was deleted. Name a file with --journal.",
    )


def read_sessions(path: Path) -> list[Session]:
    """Return the sessions of a journal that may not exist yet.

    Raises:
        GcError: it cannot be read, or is no journal.
    """
    try:
        if not path.is_file() or path.stat().st_size == 0:
            return []
    except OSError:
        return []  # opening it will say why
    return read_journal(path)


def earlier_sessions(path: Path, plan_id: str, action: str) -> list[Session]:
    """Return earlier sessions of the same plan and action in a journal.

    Raises:
        GcError: it cannot be read, or is no journal.
        Refused: It belongs to another plan or action.
    """
    sessions = read_sessions(path)
    if sessions and (found := sessions[0].header["plan_id"]) != plan_id:
        raise Refused(
            f"The journal {path} belongs to another plan ({found}).",
            hint="Nothing was deleted. Name another journal with --journal: an undo depends on "
            "this one.",
        )
    if sessions and (found := sessions[0].header["action"]) != action:
        raise Refused(
            f"The journal {path} is that of a {found}, not of a {action}.",
            hint="Nothing was deleted. Name another journal with --journal.",
        )
    return sessions


def sessions_beside(plan_file: Path, plan_id: str, action: str) -> list[Session]:
    """Return the sessions in all journals of a plan that are next to it: its own, and its shards'.

    A journal that cannot be read, or is of something else, is left out.
    """
    found: list[Session] = []
    for path in sorted(plan_file.parent.glob(f"{glob.escape(plan_file.name)}.*journal.jsonl")):
        with contextlib.suppress(GcError):
            found += earlier_sessions(path, plan_id, action)
    return found
