"""Random worlds for the state machine, written straight into the server's SQLite file.

A thing is described by a few small numbers that hypothesis can draw and shrink; a number that
points at another thing does so modulo how many there are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from support.plans import DAY_MS
from support.server import open_database
from support.world import FRESH, KEEP_TAG, OLD, PROMPT_TAG

if TYPE_CHECKING:
    import sqlite3

    from support.world import World

EVALUATION_TAG = ("mlflow.runType", "genai_evaluate")
GATEWAY_TAG = ("mlflow.experiment.isGateway", "true")
INDEX = st.integers(0, 39)


def mostly(usual: str, *others: str, odds: int = 3) -> st.SearchStrategy[str]:
    """``usual`` in about ``odds`` of ``odds + len(others)`` cases."""
    return st.sampled_from([usual] * (odds * len(others)) + list(others))


SOURCES = (
    "garbage", "placeholder", "runs", "bare runs", "s3", "proxy", "file", "windows", "unknown form",
    "models:/m", "m artifacts", "copy", "dangling copy",
)  # fmt: skip


@dataclass(frozen=True)
class NewExperiment:
    """``times``: how creation and last update look."""

    times: str
    tag: str


@dataclass(frozen=True)
class NewRun:
    """``parent`` and ``uses`` point at a run and a logged model, None at nothing."""

    experiment: int
    times: str
    status: str
    tag: str
    metric: str
    parent: int | None
    uses: int | None
    trashed: bool


@dataclass(frozen=True)
class NewLoggedModel:
    """``run`` None: a logged model without source run."""

    experiment: int
    run: int | None
    fresh: bool
    output: bool


@dataclass(frozen=True)
class NewModel:
    """A registered model with its versions."""

    tag: str
    versions: tuple[NewVersion, ...]
    topped: bool
    """A fresh version without a run goes on top, so that the others are not the highest."""


@dataclass(frozen=True)
class NewVersion:
    """``named``: what run_id says: the run of the source, another one, or nothing."""

    source: str
    named: str
    run: int
    other: int
    age: str
    stage: str
    alias: bool
    tag: str


@dataclass(frozen=True)
class NewTrace:
    """A trace."""

    experiment: int
    fresh: bool


@dataclass(frozen=True)
class Circle:
    """Make the first run a child of the second, whatever tree they are in."""

    child: int
    parent: int


@dataclass(frozen=True)
class Trashed:
    """Move an experiment to the trash with all that is in it."""

    experiment: int


New = NewExperiment | NewRun | NewLoggedModel | NewModel | NewVersion | NewTrace | Circle | Trashed

NEW_EXPERIMENT = st.builds(
    NewExperiment,
    mostly("old", "fresh", "edge", "none", "zero", "seconds", "future"),
    mostly("plain", "keep", "keep not", "gateway", "other"),
)
NEW_RUN = st.builds(
    NewRun,
    INDEX,
    mostly(
        "old", "fresh", "cutoff", "just old", "zero", "seconds", "no end", "end 5", "future end",
        "future start", odds=2,
    ),
    mostly("FINISHED", "FAILED", "KILLED", "RUNNING", "resumed", "SCHEDULED"),
    mostly("plain", "keep", "keep empty", "keep not", "evaluation", "other", odds=4),
    mostly("none", "old", "fresh", odds=4),
    st.none() | INDEX,
    st.one_of(st.none(), st.none(), st.none(), INDEX),
    st.sampled_from([False] * 6 + [True]),
)  # fmt: skip
NEW_LOGGED_MODEL = st.builds(NewLoggedModel, INDEX, INDEX | st.none(), st.booleans(), st.booleans())
NEW_VERSION = st.builds(
    NewVersion,
    st.sampled_from(SOURCES),
    st.sampled_from(["nothing", "the run", "another"]),
    INDEX,
    INDEX,
    mostly("old", "fresh", "cutoff", "zero", "future"),
    mostly("None", "Production", "Archived", "Staging"),
    st.sampled_from([False] * 5 + [True]),
    mostly("plain", "keep", "keep not", "other"),
)
NEW_MODEL = st.builds(
    NewModel,
    mostly("plain", "keep", "keep not", "prompt"),
    st.lists(NEW_VERSION, min_size=1, max_size=4).map(tuple),
    st.sampled_from([True, True, False]),
)
NEW_TRACE = st.builds(NewTrace, INDEX, st.booleans())

ANYTHING: st.SearchStrategy[New] = st.sampled_from(
    [NEW_RUN] * 14
    + [NEW_MODEL] * 4
    + [NEW_VERSION] * 2
    + [NEW_EXPERIMENT] * 4
    + [NEW_LOGGED_MODEL] * 3
    + [NEW_TRACE]
    + [st.builds(Circle, INDEX, INDEX)]
    + [st.builds(Trashed, INDEX)]
).flatmap(lambda strategy: strategy)

_OLD_VERSION = NewVersion("garbage", "nothing", 0, 0, "old", "None", False, "plain")


def _plain_run(experiment: int, parent: int | None = None) -> NewRun:
    return NewRun(experiment, "old", "FINISHED", "plain", "none", parent, None, False)


STOCK: tuple[New, ...] = (
    *[NewExperiment("old", "plain")] * 4,
    *[_plain_run(home) for home in (0, 0, 1, 1, 2, 2, 2, 3)],
    _plain_run(1, parent=2),
    _plain_run(2, parent=2),
    _plain_run(2, parent=4),
    *[NewModel("plain", (_OLD_VERSION,) * 3, topped=True)] * 2,
)
"""Nothing in it needs to stay: four experiments, eleven runs in trees and alone, six versions."""


@dataclass
class Builder:
    """Writes things into the empty store of ``world``.

    Ids and names are counted, not random: the same drawing gives the same world, to the byte.
    """

    world: World
    experiments: list[str] = field(default_factory=list)
    runs: list[tuple[str, str]] = field(default_factory=list)
    """(run, its experiment)"""
    logged_models: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    serial: int = 0

    def build(self, things: list[New]) -> None:
        """Write them in one transaction."""
        with open_database(self.world.database) as db:
            for thing in things:
                self._build(db, thing)

    def _build(self, db: sqlite3.Connection, thing: New) -> None:
        if isinstance(thing, NewExperiment):
            self._experiment(db, thing)
        elif isinstance(thing, NewRun):
            self._run(db, thing)
        elif isinstance(thing, NewLoggedModel):
            self._logged_model(db, thing)
        elif isinstance(thing, NewModel):
            self._model(db, thing)
        elif isinstance(thing, NewVersion):
            if self.models:
                self.version(db, self.models[thing.run % len(self.models)], thing)
        elif isinstance(thing, NewTrace):
            db.execute(
                "INSERT INTO trace_info (request_id, experiment_id, timestamp_ms,"
                " execution_time_ms, status) VALUES (?, ?, ?, 5, 'OK')",
                (f"tr-{self._hex()}", self._home(thing.experiment), self._age(thing)),
            )
        elif isinstance(thing, Circle):
            if self.runs:
                db.execute(
                    "INSERT OR REPLACE INTO tags (key, value, run_uuid)"
                    " VALUES ('mlflow.parentRunId', ?, ?)",
                    (self._run_at(thing.parent), self._run_at(thing.child)),
                )
        else:
            home = self._home(thing.experiment)
            if home:
                for table in ("experiments", "runs"):
                    db.execute(
                        f"UPDATE {table} SET lifecycle_stage = 'deleted' WHERE experiment_id = ?",
                        (home,),
                    )

    def _age(self, thing: NewLoggedModel | NewTrace) -> int:
        return self.world.ago(FRESH if thing.fresh else OLD)

    def _home(self, index: int) -> int:
        """An experiment; Default among them."""
        known = [*self.experiments, "0"]
        return int(known[index % len(known)])

    def _run_at(self, index: int) -> str:
        """A run; one that never was when there is none."""
        return self.runs[index % len(self.runs)][0] if self.runs else "0" * 32

    def _hex(self) -> str:
        """32 digits that look like MLflow's own."""
        return hashlib.sha256(str(self._next()).encode()).hexdigest()[:32]

    def _next(self) -> int:
        self.serial += 1
        return self.serial

    def _experiment(self, db: sqlite3.Connection, thing: NewExperiment) -> None:
        world, number = self.world, self._next()
        old = world.ago(OLD)
        created, updated = {
            "old": (old, old),
            "fresh": (old, world.ago(FRESH)),
            "edge": (world.cutoff_ms, world.cutoff_ms),
            "none": (None, None),
            "zero": (0, old),
            "seconds": (old // 1000, old // 1000),
            "future": (old, world.as_of_ms + 90 * DAY_MS),
        }[thing.times]
        db.execute(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage,"
            " creation_time, last_update_time) VALUES (?, ?, ?, 'active', ?, ?)",
            (number, f"experiment {number}", f"mlflow-artifacts:/{number}", created, updated),
        )
        tag = {
            "keep": (KEEP_TAG, "true"), "keep not": (KEEP_TAG, "false"), "gateway": GATEWAY_TAG,
            "other": ("team", "blue"),
        }.get(thing.tag)  # fmt: skip
        if tag is not None:
            db.execute(
                "INSERT INTO experiment_tags (key, value, experiment_id) VALUES (?, ?, ?)",
                (*tag, number),
            )
        self.experiments.append(str(number))

    def _run(self, db: sqlite3.Connection, thing: NewRun) -> None:
        world, run_id, home = self.world, self._hex(), self._home(thing.experiment)
        old, fresh, cut = world.ago(OLD), world.ago(FRESH), world.cutoff_ms
        far = world.as_of_ms + 90 * DAY_MS
        times: dict[str, tuple[int, int | None]] = {
            "old": (old, old), "fresh": (fresh, fresh), "cutoff": (old, cut),
            "just old": (old, cut - 1), "zero": (0, old), "seconds": (old // 1000, old // 1000),
            "no end": (old, None), "end 5": (old, 5), "future end": (old, far),
            "future start": (far, old),
        }  # fmt: skip
        start, end = times[thing.times]
        status = "RUNNING" if thing.status == "resumed" else thing.status
        if thing.status in {"RUNNING", "SCHEDULED"}:
            # A resumed run keeps its old end.
            end = None
        db.execute(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id,"
            " status, start_time, end_time, source_version, lifecycle_stage, artifact_uri,"
            " experiment_id, deleted_time)"
            " VALUES (?, ?, 'UNKNOWN', '', '', 'machine', ?, ?, ?, '', ?, ?, ?, ?)",
            (
                run_id, f"run {self._next()}", status, start, end,
                "deleted" if thing.trashed else "active",
                f"mlflow-artifacts:/{home}/{run_id}/artifacts", home, old if thing.trashed else None,
            ),
        )  # fmt: skip
        tags = {"mlflow.runName": f"run {self.serial}"}
        tag = {
            "keep": (KEEP_TAG, "true"), "keep empty": (KEEP_TAG, ""), "keep not": (KEEP_TAG, "no"),
            "evaluation": EVALUATION_TAG, "other": ("team", "blue"),
        }.get(thing.tag)  # fmt: skip
        if tag is not None:
            tags[tag[0]] = tag[1]
        if thing.parent is not None and self.runs:
            tags["mlflow.parentRunId"] = self._run_at(thing.parent)
        db.executemany(
            "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)",
            [(key, value, run_id) for key, value in tags.items()],
        )
        if thing.metric != "none":
            moment = old if thing.metric == "old" else fresh
            for table in ("metrics", "latest_metrics"):
                db.execute(
                    f"INSERT INTO {table} (key, value, timestamp, step, is_nan, run_uuid)"
                    " VALUES ('loss', 0.5, ?, 0, 0, ?)",
                    (moment, run_id),
                )
        if thing.uses is not None and self.logged_models:
            model_id = self.logged_models[thing.uses % len(self.logged_models)]
            link(db, "RUN_INPUT", "MODEL_INPUT", run_id, model_id)
        self.runs.append((run_id, str(home)))

    def _logged_model(self, db: sqlite3.Connection, thing: NewLoggedModel) -> str:
        model_id = f"m-{self._hex()}"
        run_id, home = None, str(self._home(thing.experiment))
        if thing.run is not None and self.runs:
            run_id, home = self.runs[thing.run % len(self.runs)]
        db.execute(
            "INSERT INTO logged_models (model_id, experiment_id, name, artifact_location,"
            " creation_timestamp_ms, last_updated_timestamp_ms, status, lifecycle_stage,"
            " source_run_id) VALUES (?, ?, 'model', ?, ?, ?, 2, 'active', ?)",
            (
                model_id, int(home), f"mlflow-artifacts:/{home}/models/{model_id}/artifacts",
                self._age(thing), self._age(thing), run_id,
            ),
        )  # fmt: skip
        if thing.output and run_id is not None:
            link(db, "RUN_OUTPUT", "MODEL_OUTPUT", run_id, model_id)
        self.logged_models.append(model_id)
        return model_id

    def _model(self, db: sqlite3.Connection, thing: NewModel) -> None:
        # What quotes and percent signs of the filter grammar and of URLs make of a name.
        name = f"model {self._next()}" + ["", "'s", "100%", ' "x"', "_é"][self.serial % 5]
        old = self.world.ago(OLD)
        db.execute(
            "INSERT INTO registered_models (name, creation_time, last_updated_time)"
            " VALUES (?, ?, ?)",
            (name, old, old),
        )
        tag = {
            "keep": (KEEP_TAG, "yes"), "keep not": (KEEP_TAG, "0"), "prompt": (PROMPT_TAG, "true"),
        }.get(thing.tag)  # fmt: skip
        if tag is not None:
            db.execute(
                "INSERT INTO registered_model_tags (key, value, name) VALUES (?, ?, ?)",
                (*tag, name),
            )
        for version in thing.versions:
            self.version(db, name, version, prompt=thing.tag == "prompt")
        if thing.topped:
            top = NewVersion("garbage", "nothing", 0, 0, "fresh", "None", False, "plain")
            self.version(db, name, top, prompt=thing.tag == "prompt")
        self.models.append(name)

    def version(
        self, db: sqlite3.Connection, name: str, thing: NewVersion, *, prompt: bool = False
    ) -> str:
        """Add a version to a registered model; returns ``name/version``."""
        world, run_id = self.world, self._run_at(thing.run)
        source = self._source(db, thing, run_id)
        old = world.ago(OLD)
        moment = {
            "old": old, "fresh": world.ago(FRESH), "cutoff": world.cutoff_ms, "zero": 0,
            "future": world.as_of_ms + 90 * DAY_MS, "now": world.as_of_ms,
        }[thing.age]  # fmt: skip
        named = {"nothing": "", "the run": run_id, "another": self._run_at(thing.other)}
        row = db.execute("SELECT MAX(version) FROM model_versions WHERE name = ?", (name,))
        number = (row.fetchone()[0] or 0) + 1
        db.execute(
            "INSERT INTO model_versions (name, version, creation_time, last_updated_time,"
            " description, current_stage, source, run_id, status, storage_location)"
            " VALUES (?, ?, ?, ?, '', ?, ?, ?, 'READY', ?)",
            (
                name, number, min(old, moment) if thing.age != "now" else moment, moment,
                thing.stage, source, named[thing.named], source,
            ),
        )  # fmt: skip
        tag = {
            "keep": (KEEP_TAG, "true"), "keep not": (KEEP_TAG, "false"), "other": ("team", "blue"),
        }.get(thing.tag)  # fmt: skip
        tags = [tag] if tag is not None else []
        if prompt:
            tags.append((PROMPT_TAG, "true"))
        db.executemany(
            "INSERT INTO model_version_tags (key, value, name, version) VALUES (?, ?, ?, ?)",
            [(*pair, name, number) for pair in tags],
        )
        if thing.alias:
            db.execute(
                "INSERT INTO registered_model_aliases (alias, version, name) VALUES (?, ?, ?)",
                (f"alias{number}", number, name),
            )
        self.versions.append(f"{name}/{number}")
        return f"{name}/{number}"

    def _source(self, db: sqlite3.Connection, thing: NewVersion, run_id: str) -> str:
        simple = {
            "garbage": "s3://bucket/no-run",
            "placeholder": "dummy-source",
            "runs": f"runs:/{run_id}/model",
            "bare runs": f"runs:/{run_id}",
            "s3": f"s3://bucket/7/{run_id}/artifacts/model",
            "proxy": f"mlflow-artifacts:/7/{run_id}/artifacts/model",
            "file": f"file:///data/mlruns/7/{run_id}/artifacts/model",
            "windows": f"C:\\mlruns\\7\\{run_id}\\artifacts\\model",
            "unknown form": f"https://host/get-artifact?run_uuid={run_id}&path=m",
            "dangling copy": "models:/a model that never was/1",
        }.get(thing.source)
        if simple is not None:
            return simple
        if thing.source == "copy":
            original = self.versions[thing.other % len(self.versions)] if self.versions else "m/1"
            return f"models:/{original}"
        if thing.run % 3 and self.logged_models:
            model_id = self.logged_models[thing.run % len(self.logged_models)]
        else:
            new = NewLoggedModel(thing.run, thing.run if thing.other % 4 else None, False, True)
            model_id = self._logged_model(db, new)
        if thing.source == "models:/m":
            return f"models:/{model_id}"
        return f"s3://bucket/7/models/{model_id}/artifacts"


def link(db: sqlite3.Connection, kind: str, to: str, run_id: str, model_id: str) -> None:
    """Make a logged model an input or output of a run."""
    db.execute(
        "INSERT OR IGNORE INTO inputs (input_uuid, source_type, source_id, destination_type,"
        " destination_id) VALUES (?, ?, ?, ?, ?)",
        (
            hashlib.sha256(f"{kind}{run_id}{model_id}".encode()).hexdigest()[:32],
            kind,
            run_id,
            to,
            model_id,
        ),
    )
