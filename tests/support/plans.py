"""Plans and journals, read by the tests on their own: nothing here imports the program."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import rfc8785

if TYPE_CHECKING:
    from pathlib import Path

    from support.oracle import Entity

UNDIGESTED = frozenset({"$schema", "plan_id", "created_at", "tool"})
DAY_MS = 86_400_000


def rfc3339(ms: int) -> str:
    """Milliseconds since 1970 as the contract writes times."""
    moment = datetime.fromtimestamp(ms // 1000, tz=timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def plan_digest(document: dict[str, Any]) -> str:
    """The ``plan_id`` that section 5 of the contract demands for ``document``."""
    retained = {key: value for key, value in document.items() if key not in UNDIGESTED}
    return "sha256:" + hashlib.sha256(rfc8785.dumps(retained)).hexdigest()


@dataclass(frozen=True)
class Plan:
    """A plan file and its document."""

    path: Path
    document: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read ``path``."""
        return cls(path, json.loads(path.read_bytes()))

    @property
    def plan_id(self) -> str:
        """What the file calls itself."""
        return str(self.document["plan_id"])

    @property
    def runs(self) -> set[str]:
        """Ids of the runs to delete."""
        return {r["run_id"] for r in self.document["runs"]}

    @property
    def experiments(self) -> set[str]:
        """Ids of the experiments to delete."""
        return {e["experiment_id"] for e in self.document["experiments"]}

    @property
    def versions(self) -> set[str]:
        """The model versions to delete as ``name/version``."""
        return {f"{v['name']}/{v['version']}" for v in self.document["model_versions"]}

    @property
    def entities(self) -> set[Entity]:
        """Everything the plan deletes."""
        return (
            {("run", r) for r in self.runs}
            | {("experiment", e) for e in self.experiments}
            | {("model_version", v) for v in self.versions}
        )

    def run(self, run_id: str) -> dict[str, Any]:
        """The entry of a run to delete."""
        return next(r for r in self.document["runs"] if r["run_id"] == run_id)

    def protection(self, entity: Entity) -> dict[str, list[str]]:
        """Why an entity is protected: reason -> chain.  Empty when it is not listed."""
        kind, key = entity
        group = self.document["protected"][f"{kind}s"]
        found: dict[str, list[str]] = {}
        for entry in group:
            name = {
                "run": lambda e: e["run_id"],
                "experiment": lambda e: e["experiment_id"],
                "model_version": lambda e: f"{e['name']}/{e['version']}",
            }[kind](entry)
            if name == key:
                found.setdefault(entry["reason"], []).extend(entry["via"])
        return found

    def edited(self, path: Path, change: Any, *, sign: bool) -> Plan:
        """A copy at ``path`` after ``change(document)``; ``sign`` makes the digest fit again."""
        document = copy.deepcopy(self.document)
        change(document)
        if sign:
            document["plan_id"] = plan_digest(document)
        path.write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
        return Plan(path, document)


@dataclass(frozen=True)
class Journal:
    """A journal file, line by line."""

    lines: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path, *, torn: bool = False) -> Journal:
        """Read ``path``; only with ``torn`` may the last line be half written."""
        raw = path.read_bytes()
        lines = raw.split(b"\n")
        tail = lines.pop()
        assert torn or tail == b"", f"the journal ends in a torn line: {tail!r}"
        parsed = []
        for line in lines:
            try:
                parsed.append(json.loads(line))
            except ValueError:
                # A session that continues after a crash may have ended the torn line.
                assert torn, f"a journal line that is no JSON: {line!r}"
        return cls(parsed)

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """The lines of one type."""
        return [line for line in self.lines if line["type"] == kind]

    @property
    def records(self) -> list[dict[str, Any]]:
        """One per attempt."""
        return self.of_type("record")

    def with_outcome(self, outcome: str) -> set[Entity]:
        """The entities with a record of this outcome."""
        return {(r["kind"], r["id"]) for r in self.records if r["outcome"] == outcome}

    @property
    def skips(self) -> dict[Entity, str]:
        """Skipped entity -> reason code (of its last record)."""
        return {
            (r["kind"], r["id"]): r["reason"] for r in self.records if r["outcome"] == "skipped"
        }
