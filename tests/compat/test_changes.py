"""What changes between the report and the prune is retained, on a server of each version.

One plan, one change for each of its entities but one, and one prune.  What a version does not have
is left out.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from compat.content import (
    SINCE_DATASETS,
    SINCE_MODELS,
    SINCE_TRACES,
    SINCE_TRACES_V3,
)
from support import oracle
from support.plans import Journal, Plan
from support.proxy import Proxy
from support.world import FRESH, KEEP_TAG, OLD, World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from compat.environments import Environment
    from support.cli import Cli


ALWAYS = (0,)


@dataclass
class Changes:
    """The changes of one plan.

    Attributes:
        world: of the server.
        home: a fresh experiment, which is retained.
        number: the version of the server, to compare with.
        names: what is planned -> how it changes.
        waiting: the changes, to be made after the report.
        expected: what is planned -> codes of which the journal has one.
    """

    world: World
    home: str
    number: tuple[int, ...]
    names: dict[oracle.Entity, str] = field(default_factory=dict)
    waiting: list[Callable[[], object]] = field(default_factory=list)
    expected: dict[oracle.Entity, set[str]] = field(default_factory=dict)

    def add(
        self, kind: str, key: str, name: str, change: Callable[[], object], *codes: str
    ) -> None:
        """Plan an entity, and a change of it."""
        self.names[kind, key] = name
        self.waiting.append(change)
        self.expected[kind, key] = set(codes) or {"changed", "protected"}

    def run(
        self,
        name: str,
        change: Callable[[World, str], object],
        *codes: str,
        since: tuple[int, ...] = ALWAYS,
    ) -> None:
        """Plan a run and a change of it."""
        if self.number >= since:
            run_id = self.world.run(self.home)
            self.add("run", run_id, name, lambda: change(self.world, run_id), *codes)

    def experiment(
        self,
        name: str,
        change: Callable[[World, str], object],
        *codes: str,
        since: tuple[int, ...] = ALWAYS,
    ) -> None:
        """Plan an empty experiment and a change of it."""
        if self.number >= since:
            key = self.world.experiment()
            self.add("experiment", key, name, lambda: change(self.world, key), *codes)

    def version(self, name: str, change: Callable[[World, str], object], *codes: str) -> None:
        """Plan a version, with another one above it, and a change of it."""
        key = self.world.spare_version(self.world.model())
        self.add("model_version", key, name, lambda: change(self.world, key), *codes)


def _model(version: str) -> str:
    return version.rpartition("/")[0]


def _of_runs(changes: Changes) -> None:
    world, home = changes.world, changes.home

    def version(_: World, run_id: str) -> None:
        world.version(world.model(), run_id=run_id, age=FRESH)

    def aliased(_: World, run_id: str) -> None:
        world.version(world.model(), source=f"runs:/{run_id}/model", aliases=["champion"])

    def registered_model(_: World, run_id: str) -> None:
        model = world.logged_model(home, run_id)
        world.version(world.model(), source=f"models:/{model}", age=FRESH)

    def used_model(_: World, run_id: str) -> None:
        # One with times from before the report would go unnoticed (docs/decisions.md#limits).
        user = world.run(home, start=int(time.time() * 1000), status="RUNNING")
        world.use_model(user, world.logged_model(home, run_id))

    def judged(_: World, run_id: str) -> None:
        world.assessed_trace(home, run_id)

    changes.run("resumed", lambda w, r: w.resume(r))
    changes.run("a fresh metric", lambda w, r: w.metric(r, w.ago(FRESH)))
    changes.run("a metric with an old time", lambda w, r: w.metric(r, w.ago(OLD), step=3))
    lower = world.run(home)
    world.metric(lower, world.ago(OLD), step=100)
    changes.add(
        *("run", lower, "a metric at a lower step, with an old time"),
        lambda: world.metric(lower, world.ago(OLD), step=5),
    )
    changes.run("a parameter", lambda w, r: w.param(r))
    changes.run("a tag that keeps", lambda w, r: w.tag_run(r, KEEP_TAG, "1"))
    changes.run("a misspelt tag that keeps", lambda w, r: w.tag_run(r, "mlflow-gc.keep", "1"))
    changes.run("another name", lambda w, r: w.tag_run(r, "mlflow.runName", "another"))
    changes.run("a dataset", lambda w, r: w.read_dataset(r), since=SINCE_DATASETS)
    changes.run("a version by run id", version)
    changes.run("a version by source, with an alias", aliased)
    changes.run("a fresh child", lambda w, r: w.run(home, parent=r, age=FRESH))
    changes.run("a child that was imported", lambda w, r: w.run(home, parent=r))
    changes.run("in the trash", lambda w, r: w.delete_run(r), "already_deleted")
    changes.run("purged", lambda w, r: w.purge_run(r), "gone")
    changes.run("a registered logged model", registered_model, since=SINCE_MODELS)
    changes.run("a logged model that a new run uses", used_model, since=SINCE_MODELS)
    changes.run(
        "a model as input", lambda w, r: w.use_model(r, w.logged_model(home)), since=SINCE_MODELS
    )
    changes.run(
        "a model as output",
        lambda w, r: w.put_out_model(r, w.logged_model(home)),
        since=SINCE_MODELS,
    )
    if changes.number >= SINCE_TRACES:
        # More than a page of one moment, and a page after it.
        world.bulk_traces(home, 1100)
        world.bulk_traces(home, 100, age=OLD - 1)
    changes.run("a trace", lambda w, r: w.source_trace(home, r), since=SINCE_TRACES_V3)
    if changes.number < SINCE_TRACES_V3:
        changes.run("a trace", lambda w, r: w.source_trace_v2(home, r), since=SINCE_TRACES)
    changes.run("an assessment", judged, since=SINCE_TRACES_V3)


def _of_experiments(changes: Changes) -> None:
    world = changes.world

    def restored(_: World, run_id: str) -> None:
        world.restore_run(run_id)

    def renamed(_: World, key: str) -> None:
        world.call("POST", "experiments/update", {"experiment_id": key, "new_name": f"new {key}"})

    changes.experiment("a fresh run", lambda w, e: w.run(e, age=FRESH))
    changes.experiment("an imported run", lambda w, e: w.run(e))
    changes.experiment("a tag that keeps", lambda w, e: w.tag_experiment(e, KEEP_TAG, "1"))
    changes.experiment("another tag", lambda w, e: w.tag_experiment(e, "team", "b"))
    changes.experiment("another name", renamed)
    changes.experiment("in the trash", lambda w, e: w.delete_experiment(e), "already_deleted")
    changes.experiment("a trace", lambda w, e: w.trace(e), since=SINCE_TRACES)
    changes.experiment("a logged model", lambda w, e: w.logged_model(e), since=SINCE_MODELS)
    key = world.experiment()
    run_id = world.run(key)
    world.delete_run(run_id)
    changes.add("experiment", key, "a run out of its trash", lambda: restored(world, run_id))


def _of_versions(changes: Changes) -> None:
    world = changes.world

    def copied(_: World, version: str) -> None:
        world.version(world.model(), source=f"models:/{version}", age=FRESH)

    def highest(_: World, version: str) -> None:
        world.delete_version(f"{_model(version)}/2")

    def renamed(_: World, version: str) -> None:
        world.rename_model(_model(version), f"new {_model(version)}")

    changes.version("an alias", lambda w, v: w.alias(v, "champion"))
    changes.version("a stage", lambda w, v: w.stage(_model(v), "1", "Production"))
    changes.version("a description", lambda w, v: w.describe(v, "needed"))
    changes.version("a tag", lambda w, v: w.tag_version(v, "team", "b"))
    changes.version("a tag that keeps", lambda w, v: w.tag_version(v, KEEP_TAG, "1"))
    changes.version("a tag on the model", lambda w, v: w.tag_model(_model(v), KEEP_TAG, "1"))
    changes.version("a copy", copied)
    changes.version("now the highest", highest)
    changes.version("deleted", lambda w, v: w.delete_version(v), "gone", "already_deleted")
    changes.version("another name of the model", renamed, "gone", "changed")


@pytest.mark.column("re-check")
def test_what_changed_is_retained_and_the_rest_is_deleted(
    world: World, environment: Environment, program: Cli, tmp_path: Path
) -> None:
    home = world.experiment(age=FRESH)
    changes = Changes(world, home, environment.number)
    unchanged = {("run", world.run(home)), ("experiment", world.experiment())}
    unchanged |= {("model_version", world.spare_version(world.model()))}
    for plan_some in (_of_runs, _of_experiments, _of_versions):
        plan_some(changes)
    path, journal = tmp_path / "plan.json", tmp_path / "journal.jsonl"
    env = {"MLFLOW_TRACKING_URI": world.uri}
    program("report", "-o", path, "--as-of", world.as_of, env=env).expect(0)
    assert Plan.load(path).entities == changes.names.keys() | unchanged
    for change in changes.waiting:
        change()
    before = oracle.look(world.store)
    checked = program("check", path, "--detailed-exitcode", env=env)
    program("prune", path, "--journal", journal, env=env).expect(0)
    gone = oracle.look(world.store).gone_since(before)
    assert {e: changes.names.get(e, "not planned") for e in gone - unchanged} == {}
    assert gone == unchanged
    skips = Journal.load(journal).skips
    unexpected = {
        changes.names[entity]: skips.get(entity)
        for entity, codes in changes.expected.items()
        if skips.get(entity) not in codes
    }
    assert unexpected == {}
    checked.expect(2)


@pytest.mark.column("re-check")
def test_what_is_needed_in_the_moment_of_its_deletion_is_rolled_back(
    world: World, program: Cli, tmp_path: Path
) -> None:
    """A run is registered, another gets a child, an experiment gets a run."""
    home = world.experiment(age=FRESH)
    registered, parent, other = (world.run(home) for _ in range(3))
    entered, empty = world.experiment(), world.experiment()
    model = world.model()

    def interfere() -> None:
        world.version(model, run_id=registered, aliases=["champion"])
        world.run(home, parent=parent, age=FRESH)

    path, journal = tmp_path / "plan.json", tmp_path / "journal.jsonl"
    with Proxy(world.uri) as proxy:
        env = {"MLFLOW_TRACKING_URI": proxy.uri}
        program("report", "-o", path, "--as-of", world.as_of, env=env).expect(0)
        before = oracle.look(world.store)
        proxy.before("POST", "runs/delete$", interfere)
        proxy.before("POST", "experiments/delete$", lambda: world.run(entered, age=FRESH))
        program("prune", path, "--journal", journal, env=env).expect(0, 3)
    gone = oracle.look(world.store).gone_since(before)
    assert gone == {("run", other), ("experiment", empty)}
