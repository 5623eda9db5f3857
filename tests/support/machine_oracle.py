"""What may go and what must stay, decided from the server's SQLite file alone.

Written from the contract and from what is known of MLflow, without a look at the program: the
state machine compares the two.  Where the rules leave a case open, it is *vague*: the program may
decide either way, and neither is held against it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.plans import DAY_MS
from support.server import open_database
from support.world import KEEP_TAG, PROMPT_TAG

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from support.oracle import Entity

EARLIEST_MS = 1_420_070_400_000
"""2015-01-01: before MLflow existed, so no time of an entity can be earlier."""
TERMINAL = frozenset({"FINISHED", "FAILED", "KILLED"})
GATEWAY_KEY = "mlflow.experiment.isGateway"
KEEPS_NOT = frozenset({"false", "no", "0"})
_RUN_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}(?![0-9a-f])")
_COPY = re.compile(r"models:/([^/]+)/([0-9]+)")


@dataclass(frozen=True)
class Run:
    """A row of ``runs`` with what hangs on it."""

    run_id: str
    name: str | None
    experiment_id: str
    active: bool
    status: str
    start: int | None
    end: int | None
    artifact_uri: str | None
    newest_metric: int | None
    tags: frozenset[tuple[str, str]]

    @property
    def parent(self) -> str | None:
        """What its tag says, be there such a run or not."""
        return dict(self.tags).get("mlflow.parentRunId")

    @property
    def activity(self) -> int:
        """Its last sign of life; 0 without any."""
        return max(self.start or 0, self.end or 0, self.newest_metric or 0)


@dataclass(frozen=True)
class Experiment:
    """A row of ``experiments`` with its tags."""

    experiment_id: str
    name: str
    active: bool
    created: int | None
    updated: int | None
    tags: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Version:
    """A row of ``model_versions`` that is no tombstone, with its tags and aliases."""

    name: str
    version: int
    created: int | None
    updated: int | None
    stage: str
    source: str
    run_id: str
    description: str | None
    tags: frozenset[tuple[str, str]]
    aliases: frozenset[str]
    model_tags: frozenset[tuple[str, str]]

    @property
    def key(self) -> str:
        """``name/version``."""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True)
class LoggedModel:
    """A row of ``logged_models``."""

    model_id: str
    experiment_id: str
    source_run_id: str
    active: bool


@dataclass(frozen=True)
class Snapshot:
    """Everything in the server that a decision can be built on, at one moment."""

    runs: Mapping[str, Run]
    experiments: Mapping[str, Experiment]
    versions: Mapping[str, Version]
    models: Mapping[str, LoggedModel]
    uses: frozenset[tuple[str, str]]
    """(run, logged model that is an input of it)"""
    outputs: frozenset[tuple[str, str]]
    """(run, logged model that is an output of it)"""
    traced: frozenset[str]
    """Experiments with a trace."""

    @property
    def active(self) -> set[Entity]:
        """The living entities."""
        return (
            {("run", r.run_id) for r in self.runs.values() if r.active}
            | {("experiment", e.experiment_id) for e in self.experiments.values() if e.active}
            | {("model_version", key) for key in self.versions}
        )

    @property
    def trash(self) -> set[Entity]:
        """Runs and experiments in the trash."""
        return (
            {("run", r.run_id) for r in self.runs.values() if not r.active}
            | {("experiment", e.experiment_id) for e in self.experiments.values() if not e.active}
        )  # fmt: skip

    def entity(self, entity: Entity) -> object:
        """The row of an entity, None when there is none; equal rows mean: nothing changed."""
        kind, key = entity
        table: Mapping[str, object] = {
            "run": self.runs, "experiment": self.experiments, "model_version": self.versions,
        }[kind]  # fmt: skip
        return table.get(key)

    def runs_in(self, experiment_id: str) -> list[Run]:
        """All runs of an experiment, also those in the trash."""
        return [r for r in self.runs.values() if r.experiment_id == experiment_id]


def _tags(
    db: sqlite3.Connection, query: str, width: int = 1
) -> dict[tuple[str, ...], frozenset[tuple[str, str]]]:
    found: dict[tuple[str, ...], set[tuple[str, str]]] = defaultdict(set)
    for row in db.execute(query):
        owner = tuple(str(part) for part in row[:width])
        found[owner].add((str(row[width]), str(row[width + 1])))
    return {owner: frozenset(tags) for owner, tags in found.items()}


def look(database: Path) -> Snapshot:
    """Read the server behind ``database``."""
    none: frozenset[tuple[str, str]] = frozenset()
    with open_database(database) as db:
        run_tags = _tags(db, "SELECT run_uuid, key, value FROM tags")
        experiment_tags = _tags(db, "SELECT experiment_id, key, value FROM experiment_tags")
        model_tags = _tags(db, "SELECT name, key, value FROM registered_model_tags")
        version_tags = _tags(db, "SELECT name, version, key, value FROM model_version_tags", 2)
        aliases = _tags(db, "SELECT name, version, alias, '' FROM registered_model_aliases", 2)
        metrics = dict(db.execute("SELECT run_uuid, MAX(timestamp) FROM metrics GROUP BY 1"))
        runs = {
            r[0]: Run(
                r[0], r[1], str(r[2]), r[3] == "active", r[4], r[5], r[6], r[7],
                metrics.get(r[0]), run_tags.get((r[0],), none),
            )
            for r in db.execute(
                "SELECT run_uuid, name, experiment_id, lifecycle_stage, status, start_time,"
                " end_time, artifact_uri FROM runs"
            )
        }  # fmt: skip
        experiments = {
            str(e[0]): Experiment(
                str(e[0]), e[1], e[2] == "active", e[3], e[4],
                experiment_tags.get((str(e[0]),), none),
            )
            for e in db.execute(
                "SELECT experiment_id, name, lifecycle_stage, creation_time, last_update_time"
                " FROM experiments"
            )
        }  # fmt: skip
        versions = [
            Version(
                v[0], v[1], v[2], v[3], v[4], v[5] or "", v[6] or "", v[7],
                version_tags.get((v[0], str(v[1])), none),
                frozenset(alias for alias, _ in aliases.get((v[0], str(v[1])), none)),
                model_tags.get((v[0],), none),
            )
            for v in db.execute(
                "SELECT name, version, creation_time, last_updated_time, current_stage, source,"
                " run_id, description FROM model_versions WHERE current_stage <> 'Deleted_Internal'"
            )
        ]  # fmt: skip
        models = {
            m[0]: LoggedModel(m[0], str(m[1]), m[2] or "", m[3] == "active")
            for m in db.execute(
                "SELECT model_id, experiment_id, source_run_id, lifecycle_stage FROM logged_models"
            )
        }
        links: dict[str, set[tuple[str, str]]] = {"RUN_INPUT": set(), "RUN_OUTPUT": set()}
        for kind, run_id, model_id in db.execute(
            "SELECT source_type, source_id, destination_id FROM inputs"
            " WHERE source_type IN ('RUN_INPUT', 'RUN_OUTPUT')"
        ):
            links[kind].add((run_id, model_id))
        traced = {str(t[0]) for t in db.execute("SELECT experiment_id FROM trace_info")}
    return Snapshot(
        runs, experiments, {v.key: v for v in versions}, models,
        frozenset(links["RUN_INPUT"]), frozenset(links["RUN_OUTPUT"]), frozenset(traced),
    )  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """Entity -> why, for what must stay and for what may."""

    must_be_retained: dict[Entity, str] = field(default_factory=dict)
    may_be_retained: dict[Entity, str] = field(default_factory=dict)
    """Contains all of ``must_stay``."""

    def must_go(self, candidates: Iterable[Entity]) -> set[Entity]:
        """Those that nothing keeps, not even in doubt."""
        return {entity for entity in candidates if entity not in self.may_be_retained}


def judge(
    now: Snapshot,
    *,
    as_of_ms: int,
    cutoff_ms: int,
    plan: set[Entity] | None = None,
    before: Snapshot | None = None,
) -> Verdict:
    """Decide about every living entity.

    Args:
        now: what is there.
        as_of_ms: the clock.
        cutoff_ms: what is older is stale.
        plan: what alone may go, None at the time of the report.
        before: what the plan was made from; what is different now has changed.
    """
    judged: list[dict[Entity, str]] = []
    for lenient in (False, True):
        judge = _Judge(now, as_of_ms, cutoff_ms, lenient=lenient)
        if plan is not None and before is not None:
            for entity in now.active:
                if entity not in plan:
                    judge.retained[entity] = "not in the plan"
                elif now.entity(entity) != before.entity(entity):
                    judge.retained[entity] = "changed since the plan"
            if lenient and now.models.keys() - before.models.keys():
                # Worlds date models and runs as they like.  What runs read is asked of those that may
                # have read the oldest model, and an older one may have come.
                judge.retained |= {("run", run): "read a model unnoticed" for run, _ in now.uses}
        judge.versions()
        judge.runs()
        judge.experiments()
        judged.append(judge.retained)
    return Verdict(*judged)


class _Judge:
    """One pass over everything; ``lenient`` also keeps what is vague."""

    def __init__(self, now: Snapshot, as_of_ms: int, cutoff_ms: int, *, lenient: bool) -> None:
        self.now = now
        self.as_of_ms = as_of_ms
        self.cutoff_ms = cutoff_ms
        self.lenient = lenient
        self.retained: dict[Entity, str] = {}

    def keep(self, kind: str, key: str, why: str) -> None:
        """The first reason wins."""
        self.retained.setdefault((kind, key), why)

    def believable(self, moment: int | None) -> bool:
        """Whether something can have happened then."""
        return moment is not None and EARLIEST_MS <= moment <= self.as_of_ms + DAY_MS

    def tagged(self, tags: frozenset[tuple[str, str]]) -> bool:
        """Whether there is a keep tag that does not say no."""
        value = dict(tags).get(KEEP_TAG)
        return value is not None and value not in KEEPS_NOT

    # Model versions

    def versions(self) -> None:
        """Contract section 4 and hazards d, f, g, p."""
        versions = self.now.versions.values()
        highest: dict[tuple[str, str | None], int] = defaultdict(int)
        for v in versions:
            for stage in (None, v.stage):
                highest[v.name, stage] = max(highest[v.name, stage], v.version)
        copied = {
            f"{match[1]}/{int(match[2])}" for v in versions if (match := _COPY.fullmatch(v.source))
        }
        for v in versions:
            prompt = (PROMPT_TAG, "true")
            for applies, why in (
                (v.stage != "None", "stage"),
                (bool(v.aliases), "alias"),
                (not self.believable(v.updated), "unknown time"),
                (not self.believable(v.created), "unknown time"),
                ((v.updated or 0) >= self.cutoff_ms, "young"),
                (highest[v.name, None] == v.version, "highest version"),
                (highest[v.name, v.stage] == v.version, "highest version of its stage"),
                (self.tagged(v.tags) or self.tagged(v.model_tags), "keep tag"),
                (prompt in v.tags or prompt in v.model_tags, "prompt"),
                (v.key in copied, "copied"),
                (self.lenient and (v.updated or 0) < (v.created or 0), "updated before created"),
            ):
                if applies:
                    self.keep("model_version", v.key, why)

    # Runs

    def runs(self) -> None:
        """Contract section 4 and hazards a, d, e, i, j."""
        behind = self._behind_versions()
        for run in self.now.runs.values():
            if run.active and (why := behind.get(run.run_id) or self._own_reason(run)):
                self.keep("run", run.run_id, why)
        edges = self._edges()
        todo = [key for kind, key in self.retained if kind == "run"]
        reached = set(todo)
        while todo:
            for other, why in edges[todo.pop()]:
                if other not in reached:
                    reached.add(other)
                    todo.append(other)
                    if (run := self.now.runs.get(other)) and run.active:
                        self.keep("run", other, why)

    def _own_reason(self, run: Run) -> str | None:
        experiment = self.now.experiments[run.experiment_id]
        moments = [run.start, run.end, run.newest_metric]
        if run.status not in TERMINAL:
            return "not terminal"
        if not experiment.active:
            return "its experiment is in the trash"
        if self.tagged(run.tags) or self.tagged(experiment.tags):
            return "keep tag"
        if ("mlflow.runType", "genai_evaluate") in run.tags:
            return "genai_evaluate"
        if not self.believable(run.start) or any(
            m is not None and not self.believable(m) for m in moments[:2]
        ):
            return "unknown time"
        # MLflow leaves out a 0.
        if max(run.activity, experiment.created or 0) >= self.cutoff_ms:
            return "young"
        if self.lenient:
            if experiment.created and not self.believable(experiment.created):
                return "its experiment was made at another time"
            if GATEWAY_KEY in dict(experiment.tags):
                return "the experiment is the gateway's"
            if run.end is None or run.end < (run.start or 0):
                return "no end, or one before the start"
            if run.newest_metric is not None and not self.believable(run.newest_metric):
                return "a metric of another time"
        return None

    def _behind_versions(self) -> dict[str, str]:
        """Run -> the version it is behind."""
        makers: dict[str, set[str]] = defaultdict(set)
        for model in self.now.models.values():
            if model.active or self.lenient:
                makers[model.model_id].add(model.source_run_id)
        if self.lenient:
            for run_id, model_id in self.now.outputs:
                makers[model_id].add(run_id)
        behind: dict[str, str] = {}
        for version in self.now.versions.values():
            named = {version.run_id, *_RUN_ID.findall(version.source)}
            for model_id in _MODEL_ID.findall(version.source):
                named |= makers[model_id]
            for run_id in named:
                behind.setdefault(run_id, f"behind {version.key}")
        return behind

    def _edges(self) -> dict[str, list[tuple[str, str]]]:
        """Run -> the runs that stay when it stays, with the reason."""
        edges: dict[str, list[tuple[str, str]]] = defaultdict(list)
        runs = self.now.runs
        for run in runs.values():
            parent = runs.get(run.parent or "")
            # Whether two runs are of one tree when the run between them is in the trash, or no
            # longer exists: vague.
            if run.parent and (self.lenient or (run.active and parent and parent.active)):
                edges[run.run_id].append((run.parent, "tree"))
                edges[run.parent].append((run.run_id, "tree"))
        # MLflow 3.17's runs/search shows the models that a run put out, not those it was given:
        # that a run's model is in use cannot always be seen.
        for user, model_id in self.now.uses | self.now.outputs:
            model = self.now.models.get(model_id)
            if self.lenient and model is not None and {user, model.source_run_id} <= set(runs):
                edges[user].append((model.source_run_id, "its model is in use"))
        return edges

    # Experiments

    def _in_doubt(self, trashed: list[Run]) -> bool:
        """Whether somebody needs what is in the trash already; how far that counts is open."""
        return self.lenient and any(r.run_id in self._behind_versions() for r in trashed)

    def experiments(self) -> None:
        """Contract section 4 and hazards k, l, o; after :meth:`runs`."""
        modelled = {m.experiment_id for m in self.now.models.values() if m.active or self.lenient}
        for e in self.now.experiments.values():
            runs = self.now.runs_in(e.experiment_id)
            trashed = [r for r in runs if not r.active]
            for applies, why in (
                (e.experiment_id == "0" or e.name == "Default", "Default"),
                (GATEWAY_KEY in dict(e.tags), "gateway"),
                (self.tagged(e.tags), "keep tag"),
                (not self.believable(e.created), "unknown time"),
                (not self.believable(e.updated), "unknown time"),
                (max(e.created or 0, e.updated or 0) >= self.cutoff_ms, "young"),
                (e.experiment_id in modelled, "logged models"),
                (e.experiment_id in self.now.traced, "traces"),
                (any(("run", r.run_id) in self.retained for r in runs), "a run stays"),
                (any(self._lately(r) for r in trashed), "trash is young"),
                (self._in_doubt(trashed), "trash behind a version"),
                (self.lenient and (e.updated or 0) < (e.created or 0), "odd times"),
            ):
                if applies:
                    self.keep("experiment", e.experiment_id, why)

    def _lately(self, run: Run) -> bool:
        """Whether a run in the trash was active after the cutoff; odd times are vague."""
        if self.lenient:
            moments = (run.start, run.end, run.newest_metric)
            odd = any(m is not None and not self.believable(m) for m in moments)
            if odd or run.end is None or run.start is None or run.status not in TERMINAL:
                return True
        young = run.activity >= self.cutoff_ms
        return young and run.activity <= self.as_of_ms + DAY_MS
