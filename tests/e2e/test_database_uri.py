"""A database URI as tracking URI: no server needed, the same plan, the same prune."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import server as store
from support.bench import Bench
from support.plans import Plan
from support.world import FRESH, KEEP_TAG

if TYPE_CHECKING:
    from pathlib import Path

    from support.world import World


def _estate(world: World) -> None:
    experiment = world.experiment("älter")
    parent = world.run(experiment, metrics={"loss": world.ago(90)})
    world.run(experiment, parent=parent, tags={"a": "b"})
    other = world.experiment(age=FRESH)
    world.run(other, tags={KEEP_TAG: "true"})
    world.run(other, status="RUNNING")
    registered = world.run(other)
    model_id = world.logged_model(other, world.run(other))
    name = world.model("fraud")
    world.version(name, run_id=registered, aliases=["champion"], tags={"t": "v"}, description="d")
    world.version(name, source=f"models:/{model_id}")
    world.version(name, source="s3://b/x", description="goes")
    world.version(name, age=FRESH)
    world.prompt("greeting")
    world.trace(world.experiment())
    trashed = world.run(other)
    world.delete_run(trashed)


def _sqlite(world: World) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": f"sqlite:///{world.database}"}


def test_the_plan_is_the_same_as_over_rest(bench: Bench) -> None:
    """Everything but the URIs."""
    _estate(bench.world)
    rest = bench.report(name="rest.json")
    direct = bench.report(name="direct.json", env=_sqlite(bench.world))
    assert rest.entities
    left, right = dict(rest.document), dict(direct.document)
    for document in (left, right):
        for key in ("plan_id", "created_at", "server"):
            del document[key]
    assert left == right
    assert direct.document["server"]["identity"] == rest.document["server"]["identity"]
    assert direct.document["server"]["tracking_uri"].startswith("sqlite:")


@pytest.mark.parametrize("made_over", ["rest", "database"])
def test_prune_works_on_the_database(bench: Bench, made_over: str) -> None:
    """With a plan made over either way: it is the same server."""
    _estate(bench.world)
    env = _sqlite(bench.world)
    plan = bench.report(env=env if made_over == "database" else None)
    before = bench.state()
    _, journal = bench.prune(plan, env=env)
    assert bench.state().gone_since(before) == plan.entities
    assert bench.state().aliases == before.aliases
    assert journal.with_outcome("deleted") == plan.entities
    _, again = bench.prune(plan, env=env)
    assert set(again.skips.values()) <= {"already_deleted", "gone"}


def test_interference_is_seen_in_the_database_too(bench: Bench) -> None:
    """Alias, keep tag, resumed run."""
    world = bench.world
    runs = world.bulk_runs(world.experiment(age=FRESH), 6)
    version = world.spare_version(world.model())
    plan = bench.report(env=_sqlite(world))
    world.resume(runs[0])
    world.tag_run(runs[1], KEEP_TAG, "true")
    world.version(world.model(), run_id=runs[2])
    world.alias(version, "champion")
    before = bench.state()
    _, journal = bench.prune(plan, env=_sqlite(world))
    assert journal.skips == {
        ("run", runs[0]): "changed",
        ("run", runs[1]): "protected",
        ("run", runs[2]): "protected",
        ("model_version", version): "protected",
    }
    assert bench.state().gone_since(before) == {("run", run) for run in runs[3:]}


def test_a_relative_sqlite_uri_means_the_working_directory(bench: Bench, tmp_path: Path) -> None:
    """``sqlite:///mlflow.db``, MLflow's own default store."""
    bench.world.run(bench.world.experiment())
    with store.open_database(bench.world.database) as db:
        db.execute("VACUUM INTO ?", (str(tmp_path / "mlflow.db"),))
    bench.cli("report", cwd=tmp_path, env={"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}).expect(0)
    assert len(Plan.load(tmp_path / "prune-plan.json").runs) == 1


def test_a_database_that_does_not_exist_is_not_created(bench: Bench, tmp_path: Path) -> None:
    """MLflow would make an empty one, and the report would be empty and green."""
    path = tmp_path / "typo.db"
    outcome = bench.cli(
        "report", "-o", tmp_path / "p.json", env={"MLFLOW_TRACKING_URI": f"sqlite:///{path}"}
    ).expect(1, 5)
    assert not path.exists()
    assert "typo.db" in outcome.err.replace("\n", "")


def test_the_password_of_a_database_stays_out_of_everything(bench: Bench, tmp_path: Path) -> None:
    """The server cannot be reached; its password is not in the message."""
    uri = "postgresql://usr-canary:pwd-canary@127.0.0.1:9/mlflow"
    outcome = bench.cli(
        "report",
        "-v",
        "-o",
        tmp_path / "p.json",
        env={
            "MLFLOW_TRACKING_URI": uri,
            # MLflow's own settings: give up soon.
            "MLFLOW_SQLALCHEMYSTORE_MAX_RETRIES": "1",
        },
    ).expect(1)
    assert "pwd-canary" not in outcome.text
