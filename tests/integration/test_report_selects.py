"""What ``report`` plans to delete, what it protects, and why: sections 4 and 5 of the contract.

One server holds a cast of entities, one for each sentence; one report is made; every test asks
about one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from support.plans import DAY_MS, Plan
from support.world import FRESH, KEEP_TAG, OLD, World

if TYPE_CHECKING:
    from support.bench import Bench
    from support.oracle import Entity


@dataclass
class Cast:
    """The entities by the role they play."""

    stale: dict[str, Entity] = field(default_factory=dict)
    retained: dict[str, Entity] = field(default_factory=dict)
    """Not stale at all, so neither planned nor listed as protected."""
    protected: dict[str, tuple[Entity, str, str | None]] = field(default_factory=dict)
    """Role -> entity, reason, and a piece of the chain (None: any chain)."""

    def protect_run(self, role: str, run: str, reason: str, via: str | None = None) -> str:
        """Expect a run to be protected."""
        self.protected[role] = (("run", run), reason, via)
        return run

    def protect_version(self, role: str, version: str, reason: str, via: str | None = None) -> str:
        """Expect a model version to be protected."""
        self.protected[role] = (("model_version", version), reason, via)
        return version

    def protect_experiment(
        self, role: str, experiment: str, reason: str, via: str | None = None
    ) -> str:
        """Expect an experiment to be protected."""
        self.protected[role] = (("experiment", experiment), reason, via)
        return experiment


def _cast_runs(world: World, cast: Cast, home: str) -> None:
    cut = world.cutoff_ms
    for status in ("FINISHED", "FAILED", "KILLED"):
        cast.stale[f"an old {status} run"] = ("run", world.run(home, status=status))
    cast.stale["a run whose last sign of life is 1 ms before the cutoff"] = (
        "run",
        world.run(home, start=cut - DAY_MS, end=cut - 1),
    )
    cast.stale["a run with an old metric"] = (
        "run",
        world.run(home, metrics={"loss": world.ago(OLD - 1)}),
    )
    cast.stale["a run with the keep tag set to false"] = (
        "run",
        world.run(home, tags={KEEP_TAG: "false"}),
    )
    cast.stale["a run with the keep tag set to no"] = (
        "run",
        world.run(home, tags={KEEP_TAG: "no"}),
    )
    cast.stale["a run with the keep tag set to 0"] = ("run", world.run(home, tags={KEEP_TAG: "0"}))
    cast.retained["a run that ended exactly at the cutoff"] = (
        "run",
        world.run(home, start=cut - DAY_MS, end=cut),
    )
    cast.retained["a run that ended 1 ms after the cutoff"] = (
        "run",
        world.run(home, start=cut - DAY_MS, end=cut + 1),
    )
    cast.retained["an old run with a metric logged exactly at the cutoff"] = (
        "run",
        world.run(home, metrics={"loss": cut}),
    )
    cast.retained["an old finished run that still logs metrics"] = (
        "run",
        world.run(home, metrics={"old": world.ago(OLD), "new": world.ago(FRESH)}),
    )
    cast.retained["a run that started after the cutoff and whose end time lies before it"] = (
        "run",
        world.run(home, start=cut + 1, end=cut - 1),
    )
    cast.retained["a fresh finished run"] = ("run", world.run(home, age=FRESH))
    cast.retained["a fresh running run"] = ("run", world.run(home, age=FRESH, status="RUNNING"))
    trashed = world.run(home)
    world.delete_run(trashed)
    cast.retained["a run in the trash"] = ("run", trashed)

    cast.protect_run("an old RUNNING run", world.run(home, status="RUNNING"), "not_terminal")
    cast.protect_run("an old SCHEDULED run", world.run(home, status="SCHEDULED"), "not_terminal")
    resumed = world.run(home)
    world.resume(resumed)
    cast.protect_run("a resumed run with its old end time", resumed, "not_terminal")
    for value in ("true", "yes", "1", "until audit", ""):
        run = world.run(home)
        world.sql("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", KEEP_TAG, value, run)
        cast.protect_run(f"a run with the keep tag set to {value!r}", run, "keep_tag")
    cast.protect_run(
        "a genai evaluation run",
        world.run(home, tags={"mlflow.runType": "genai_evaluate"}),
        "genai_evaluate",
    )
    for role, start, end in (
        ("a run with start time 0", 0, world.ago(OLD)),
        ("a run with end time 5", world.ago(OLD), 5),
        ("a run with times in seconds", world.ago(OLD) // 1000, world.ago(OLD) // 1000),
        ("a run with a start in the future", world.as_of_ms + 90 * DAY_MS, world.ago(OLD)),
        ("a run with an end in the future", world.ago(OLD), world.as_of_ms + 90 * DAY_MS),
    ):
        cast.protect_run(role, world.run(home, start=start, end=end), "unknown_time")


def _cast_trees(world: World, cast: Cast, home: str, elsewhere: str) -> None:
    parent = world.run(home)
    cast.stale["the parent of a tree that is stale as a whole"] = ("run", parent)
    child = world.run(home, parent=parent)
    cast.stale["the child in a stale tree"] = ("run", child)
    cast.stale["the grandchild in a stale tree"] = ("run", world.run(home, parent=child))
    cast.stale["a child in another experiment of a stale tree"] = (
        "run",
        world.run(elsewhere, parent=parent),
    )
    cast.stale["a run whose parent does not exist any more"] = (
        "run",
        world.run(home, parent="0" * 32),
    )

    trashed = world.run(home)
    cast.stale["the child of a run in the trash"] = ("run", world.run(home, parent=trashed))
    world.delete_run(trashed)
    parent = world.run(home)
    cast.stale["the parent of a run in the trash"] = ("run", parent)
    world.delete_run(world.run(home, parent=parent))

    parent = cast.protect_run("the old parent of a fresh child", world.run(home), "tree")
    cast.protect_run("the old sibling of a fresh child", world.run(home, parent=parent), "tree")
    cast.retained["the fresh child of an old parent"] = (
        "run",
        world.run(home, parent=parent, age=FRESH),
    )
    parent = cast.protect_run(
        "the old parent of a running child elsewhere", world.run(home), "tree"
    )
    world.run(elsewhere, parent=parent, status="RUNNING")
    parent = world.run(home, age=FRESH)
    cast.retained["the fresh parent of an old child"] = ("run", parent)
    cast.protect_run("the old child of a fresh parent", world.run(home, parent=parent), "tree")
    top = cast.protect_run("the grandparent of a kept run", world.run(home), "tree")
    middle = cast.protect_run("the parent of a kept run", world.run(home, parent=top), "tree")
    cast.protect_run(
        "the kept run at the bottom of a tree",
        world.run(home, parent=middle, tags={KEEP_TAG: "true"}),
        "keep_tag",
    )


def _cast_sources(world: World, cast: Cast, home: str) -> None:
    """Runs behind registered versions, by all the ways a version names a run."""
    world.model("named")
    store = "s3://bucket/7"

    def behind(role: str, run: str, version_name: str) -> None:
        cast.protect_run(role, run, "registered_model", via=version_name)

    run = world.run(home)
    behind("a run named by run_id", run, world.version("named", run_id=run, age=FRESH))
    run = world.run(home)
    source = f"runs:/{run}/model"
    behind("a run named by a runs:/ source", run, world.version("named", source=source, age=FRESH))
    run = world.run(home)
    model_id = world.logged_model(home, run)
    source = f"models:/{model_id}"
    behind(
        "a run named by a models:/m- source",
        run,
        world.version("named", source=source, age=FRESH),
    )
    run = world.run(home)
    source = f"{store}/{run}/artifacts/model"
    behind(
        "a run named by an absolute source", run, world.version("named", source=source, age=FRESH)
    )
    run = world.run(home)
    source = f"mlflow-artifacts:/7/{run}/artifacts/model"
    behind(
        "a run named by an artifact proxy source",
        run,
        world.version("named", source=source, age=FRESH),
    )
    for role, source in (
        ("a run named by a file source", "file:///data/mlruns/7/{}/artifacts/model"),
        ("a run named by a plain path", "/data/mlruns/7/{}/artifacts/model"),
        ("a run named by a Windows path", "C:\\mlruns\\7\\{}\\artifacts\\model"),
        ("a run named by a bare runs:/ source", "runs:/{}"),
        ("a run named by a source of unknown form", "https://host/get-artifact?run_uuid={}&path=m"),
    ):
        run = world.run(home)
        version = world.version("named", source=source.format(run), age=FRESH)
        behind(role, run, version)
    run = world.run(home)
    model_id = world.logged_model(home, run)
    source = f"{store}/models/{model_id}/artifacts"
    behind(
        "a run named by an absolute logged model source",
        run,
        world.version("named", source=source, age=FRESH),
    )
    run = world.run(home)
    original = world.version("named", source=f"runs:/{run}/model", age=FRESH)
    world.model("copy")
    world.version("copy", source=f"models:/{original}", age=FRESH)
    behind("a run behind an original and its copy", run, original)
    run = world.run(home)
    other = world.run(home)
    version = world.version("named", source=f"runs:/{run}/model", run_id=other, age=FRESH)
    behind("a run named by a source whose run_id names another", run, version)
    behind("a run named by run_id whose source names another", other, version)
    run = world.run(home)
    world.model("circle")
    world.version("circle", source="models:/circle/2", run_id=run, age=FRESH)
    version = world.version("circle", source="models:/circle/1", age=FRESH)
    behind("a run behind two versions that name each other", run, "circle/1")
    run = world.run(home)
    world.model("champion-model")
    version = world.version("champion-model", run_id=run, aliases=["champion"])
    cast.protect_run("a run behind an alias", run, "registered_model", via="champion")
    cast.protect_version("the version behind that alias", version, "alias", via="champion")
    run = world.run(home)
    world.model("goes")
    cast.stale["a version whose run is kept for its sake"] = (
        "model_version",
        world.spare_version("goes", run_id=run),
    )
    cast.protect_run(
        "a run behind a version of this very plan", run, "registered_model", via="goes"
    )


def _cast_versions(world: World, cast: Cast) -> None:
    cut = world.cutoff_ms
    name = world.model("plain")
    cast.stale["an old version below a newer one"] = ("model_version", world.version(name))
    cast.stale["a version updated 1 ms before the cutoff"] = (
        "model_version",
        world.version(name, updated=cut - 1),
    )
    cast.retained["a version updated exactly at the cutoff"] = (
        "model_version",
        world.version(name, updated=cut),
    )
    cast.retained["a fresh version"] = ("model_version", world.version(name, age=FRESH))

    name = world.model("aliased")
    version = world.version(name, aliases=["champion", "blue"])
    cast.protect_version("a version behind an alias", version, "alias", via="champion")
    cast.protect_version("the highest version of a model", world.version(name), "highest_version")

    name = world.model("staged")
    cast.protect_version("a version in Archived", world.version(name, stage="Archived"), "stage")
    lower = world.version(name, stage="Production")
    cast.protect_version("a version in Production", lower, "stage")
    cast.protect_version("a version in Staging", world.version(name, stage="Staging"), "stage")
    cast.protect_version(
        "the highest version without a stage, below a staged one",
        world.version(name),
        "highest_version",
    )
    world.version(name, stage="Production", age=FRESH)

    name = world.model("kept-model", tags={KEEP_TAG: "true"})
    cast.protect_version(
        "a version of a model with the keep tag", world.spare_version(name), "keep_tag"
    )
    name = world.model("kept-version")
    cast.protect_version(
        "a version with the keep tag",
        world.spare_version(name, tags={KEEP_TAG: "true"}),
        "keep_tag",
    )

    name = world.model("original")
    original = world.spare_version(name)
    cast.protect_version(
        "a version that a version of another model was copied from", original, "copied"
    )
    world.model("of-original")
    world.version("of-original", source=f"models:/{original}", age=FRESH)

    for number, version in enumerate(world.prompt("greeting"), 1):
        cast.protect_version(f"version {number} of a prompt", version, "prompt")

    name = world.model("odd-times")
    cast.protect_version(
        "a version last updated in 1970", world.version(name, updated=5), "unknown_time"
    )
    cast.protect_version(
        "a version updated in the future",
        world.version(name, updated=world.as_of_ms + 90 * DAY_MS),
        "unknown_time",
    )
    world.version(name, age=FRESH)


def _cast_experiments(world: World, cast: Cast) -> None:
    cut = world.cutoff_ms
    cast.stale["an old experiment without runs"] = ("experiment", world.experiment())
    experiment = world.experiment()
    world.run(experiment)
    world.run(experiment, status="FAILED")
    cast.stale["an old experiment with stale runs only"] = ("experiment", experiment)
    cast.stale["an experiment that is 1 ms older than the cutoff"] = (
        "experiment",
        world.experiment(created=cut - 1, updated=cut - 1),
    )
    cast.retained["an experiment created exactly at the cutoff"] = (
        "experiment",
        world.experiment(created=cut, updated=cut),
    )
    cast.retained["an old experiment that was renamed lately"] = (
        "experiment",
        world.experiment(updated=world.ago(FRESH)),
    )
    experiment = world.experiment(updated=world.ago(FRESH))
    cast.stale["an old run in an experiment that was renamed lately"] = (
        "run",
        world.run(experiment),
    )
    trashed = world.experiment()
    world.run(trashed)
    world.delete_experiment(trashed)
    cast.retained["an experiment in the trash"] = ("experiment", trashed)

    experiment = world.experiment()
    cast.stale["an old run beside a fresh one"] = ("run", world.run(experiment))
    world.run(experiment, age=FRESH)
    cast.retained["an old experiment with a fresh run"] = ("experiment", experiment)

    for role, options in (
        ("an old experiment with a run that is running since long ago", {"status": "RUNNING"}),
        ("an old experiment with a kept run", {"tags": {KEEP_TAG: "true"}}),
        ("an old experiment with a run of unknown age", {"start": 0, "end": 5}),
    ):
        experiment = world.experiment()
        world.run(experiment, **options)
        cast.protect_experiment(role, experiment, "live_run")
    experiment = world.experiment()
    world.model("from-experiment")
    world.version("from-experiment", run_id=world.run(experiment), age=FRESH)
    cast.protect_experiment("an old experiment with a registered run", experiment, "live_run")

    experiment = world.experiment(tags={KEEP_TAG: "true"})
    cast.protect_experiment("an experiment with the keep tag", experiment, "keep_tag")
    cast.protect_run("a run in an experiment with the keep tag", world.run(experiment), "keep_tag")
    cast.protect_experiment(
        "the experiment of the AI gateway",
        world.experiment(tags={"mlflow.experiment.isGateway": "true"}),
        "gateway",
    )
    world.date_experiment("0", created=world.ago(OLD), updated=world.ago(OLD))
    cast.protect_experiment("experiment 0", "0", "default_experiment")
    cast.stale["an old run in experiment 0"] = ("run", world.run("0"))

    experiment = world.experiment()
    world.logged_model(experiment)
    cast.protect_experiment(
        "an experiment with an old logged model", experiment, "has_logged_models"
    )
    experiment = world.experiment()
    world.trace(experiment)
    cast.protect_experiment("an experiment with an old trace", experiment, "has_traces")
    experiment = world.experiment()
    world.trace(experiment, age=FRESH)
    cast.retained["an experiment with a fresh trace"] = ("experiment", experiment)
    experiment = world.experiment()
    world.logged_model(experiment, age=FRESH)
    cast.retained["an experiment with a fresh logged model"] = ("experiment", experiment)

    for role, created, updated in (
        ("an experiment created in 1970", 0, world.ago(OLD)),
        (
            "an experiment updated in the future",
            world.ago(OLD),
            world.as_of_ms + 90 * DAY_MS,
        ),
        ("an experiment without times", None, None),
    ):
        cast.protect_experiment(
            role, world.experiment(created=created, updated=updated), "unknown_time"
        )

    experiment = world.experiment()
    revived = world.run(experiment)
    world.delete_experiment(experiment)
    world.call("POST", "runs/restore", {"run_id": revived})
    cast.protect_run(
        "a run that was restored within a deleted experiment", revived, "experiment_deleted"
    )


@pytest.fixture(scope="module")
def cast(shared_world: World) -> Cast:
    """Fill the server."""
    cast = Cast()
    home = shared_world.experiment("home")
    elsewhere = shared_world.experiment("elsewhere")
    _cast_runs(shared_world, cast, home)
    _cast_trees(shared_world, cast, home, elsewhere)
    _cast_sources(shared_world, cast, home)
    _cast_versions(shared_world, cast)
    _cast_experiments(shared_world, cast)
    return cast


@pytest.fixture(scope="module")
def plan(shared_bench: Bench, cast: Cast) -> Plan:
    """The report on all of them."""
    assert cast.stale
    return shared_bench.report()


STALE_ROLES = [
    "an old FINISHED run",
    "an old FAILED run",
    "an old KILLED run",
    "a run whose last sign of life is 1 ms before the cutoff",
    "a run with an old metric",
    "a run with the keep tag set to false",
    "a run with the keep tag set to no",
    "a run with the keep tag set to 0",
    "the parent of a tree that is stale as a whole",
    "the child in a stale tree",
    "the grandchild in a stale tree",
    "a child in another experiment of a stale tree",
    "a run whose parent does not exist any more",
    "the child of a run in the trash",
    "the parent of a run in the trash",
    "a version whose run is kept for its sake",
    "an old version below a newer one",
    "a version updated 1 ms before the cutoff",
    "an old experiment without runs",
    "an old experiment with stale runs only",
    "an experiment that is 1 ms older than the cutoff",
    "an old run in an experiment that was renamed lately",
    "an old run beside a fresh one",
    "an old run in experiment 0",
]

KEPT_ROLES = [
    "a run that ended exactly at the cutoff",
    "a run that ended 1 ms after the cutoff",
    "an old run with a metric logged exactly at the cutoff",
    "an old finished run that still logs metrics",
    "a run that started after the cutoff and whose end time lies before it",
    "a fresh finished run",
    "a fresh running run",
    "a run in the trash",
    "the fresh child of an old parent",
    "the fresh parent of an old child",
    "a version updated exactly at the cutoff",
    "a fresh version",
    "an experiment created exactly at the cutoff",
    "an old experiment that was renamed lately",
    "an experiment in the trash",
    "an old experiment with a fresh run",
    "an experiment with a fresh trace",
    "an experiment with a fresh logged model",
]

PROTECTED_ROLES = [
    "an old RUNNING run",
    "an old SCHEDULED run",
    "a resumed run with its old end time",
    "a run with the keep tag set to 'true'",
    "a run with the keep tag set to 'yes'",
    "a run with the keep tag set to '1'",
    "a run with the keep tag set to 'until audit'",
    "a run with the keep tag set to ''",
    "a genai evaluation run",
    "a run with start time 0",
    "a run with end time 5",
    "a run with times in seconds",
    "a run with a start in the future",
    "a run with an end in the future",
    "the old parent of a fresh child",
    "the old sibling of a fresh child",
    "the old parent of a running child elsewhere",
    "the old child of a fresh parent",
    "the grandparent of a kept run",
    "the parent of a kept run",
    "the kept run at the bottom of a tree",
    "a run named by run_id",
    "a run named by a runs:/ source",
    "a run named by a models:/m- source",
    "a run named by an absolute source",
    "a run named by an artifact proxy source",
    "a run named by a file source",
    "a run named by a plain path",
    "a run named by a Windows path",
    "a run named by a bare runs:/ source",
    "a run named by a source of unknown form",
    "a run named by an absolute logged model source",
    "a run behind an original and its copy",
    "a run named by a source whose run_id names another",
    "a run named by run_id whose source names another",
    "a run behind two versions that name each other",
    "a run behind an alias",
    "the version behind that alias",
    "a run behind a version of this very plan",
    "a version behind an alias",
    "the highest version of a model",
    "a version in Archived",
    "a version in Production",
    "a version in Staging",
    "the highest version without a stage, below a staged one",
    "a version of a model with the keep tag",
    "a version with the keep tag",
    "a version that a version of another model was copied from",
    "version 1 of a prompt",
    "version 2 of a prompt",
    "a version last updated in 1970",
    "a version updated in the future",
    "an old experiment with a run that is running since long ago",
    "an old experiment with a kept run",
    "an old experiment with a run of unknown age",
    "an old experiment with a registered run",
    "an experiment with the keep tag",
    "a run in an experiment with the keep tag",
    "the experiment of the AI gateway",
    "experiment 0",
    "an experiment with an old logged model",
    "an experiment with an old trace",
    "an experiment created in 1970",
    "an experiment updated in the future",
    "an experiment without times",
    "a run that was restored within a deleted experiment",
]


def test_every_role_has_its_test(cast: Cast) -> None:
    """The lists above, which name the tests, and the cast are the same."""
    assert sorted(STALE_ROLES) == sorted(cast.stale)
    assert sorted(KEPT_ROLES) == sorted(cast.retained)
    assert sorted(PROTECTED_ROLES) == sorted(cast.protected)


@pytest.mark.parametrize("role", STALE_ROLES)
def test_is_planned(plan: Plan, cast: Cast, role: str) -> None:
    """What is stale and has no protection is in the plan, and not among the protected."""
    entity = cast.stale[role]
    assert entity in plan.entities
    assert not plan.protection(entity)


@pytest.mark.parametrize("role", KEPT_ROLES)
def test_is_not_planned(plan: Plan, cast: Cast, role: str) -> None:
    """What is not stale is not in the plan."""
    assert cast.retained[role] not in plan.entities


@pytest.mark.parametrize("role", PROTECTED_ROLES)
def test_is_protected(plan: Plan, cast: Cast, role: str) -> None:
    """What is stale and protected is listed with the reason and the chain, and not planned."""
    entity, reason, via = cast.protected[role]
    assert entity not in plan.entities
    found = plan.protection(entity)
    assert reason in found, f"{entity} is protected by {found}"
    if via is not None:
        assert any(via in link for link in found[reason]), f"{via!r} is not in {found[reason]}"


def test_nothing_else_is_planned(plan: Plan, cast: Cast, shared_bench: Bench) -> None:
    """All planned entities are alive, and none is one that must stay."""
    assert plan.entities <= shared_bench.state().active
    retained = set(cast.retained.values()) | {entity for entity, _, _ in cast.protected.values()}
    assert not plan.entities & retained


def test_the_tree_chain_leads_to_the_run_that_keeps_it(plan: Plan, cast: Cast) -> None:
    """The chain of a protected tree names the run that protects it."""
    bottom = cast.protected["the kept run at the bottom of a tree"][0][1]
    top = cast.protected["the grandparent of a kept run"][0]
    assert any(bottom in link for link in plan.protection(top)["tree"])


def test_the_experiment_chain_leads_to_its_run(plan: Plan, cast: Cast) -> None:
    """``live_run`` says which run keeps the experiment."""
    entity = cast.protected["an old experiment with a registered run"][0]
    assert plan.protection(entity)["live_run"]


def test_an_experiment_is_planned_only_with_all_its_runs(plan: Plan, shared_bench: Bench) -> None:
    """Every active run of a planned experiment is in the same plan (straight from the store)."""
    from support.server import open_database

    with open_database(shared_bench.world.database) as db:
        rows = db.execute(
            "SELECT run_uuid, experiment_id FROM runs WHERE lifecycle_stage = 'active'"
        ).fetchall()
    for run, experiment in rows:
        if str(experiment) in plan.experiments:
            assert run in plan.runs


def test_the_summary_counts_what_the_lists_hold(plan: Plan) -> None:
    """``summary`` agrees with the lists, the store and itself."""
    document = plan.document
    summary = document["summary"]
    for kind in ("experiments", "runs", "model_versions"):
        counts = summary[kind]
        assert counts["delete"] == len(document[kind])
        assert counts["protected"] == len(document["protected"][kind])
        assert counts["stale"] == counts["delete"] + counts["protected"]
        assert counts["scanned"] >= counts["stale"]
    irreversible = sum(
        not entry["reversible"]
        for kind in ("experiments", "runs", "model_versions")
        for entry in document[kind]
    )
    assert summary["irreversible"] == irreversible
    assert all(not version["reversible"] for version in document["model_versions"])


def test_everything_was_scanned(plan: Plan, shared_bench: Bench) -> None:
    """``scanned`` counts every active run and experiment and every version, prompts included."""
    alive = shared_bench.state().active
    for kind in ("run", "experiment", "model_version"):
        count = sum(1 for k, _ in alive if k == kind)
        assert plan.document["summary"][f"{kind}s"]["scanned"] >= count
