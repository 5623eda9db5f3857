"""A database URI as tracking URI: no server needed, the same plan, the same prune."""

from __future__ import annotations

import importlib.util
import socket
from typing import TYPE_CHECKING

import pytest
from support import server as store
from support.bench import Bench
from support.plans import Plan
from support.world import FRESH, KEEP_TAG

if TYPE_CHECKING:
    from pathlib import Path

    from support.cli import Outcome
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


@pytest.mark.parametrize("driver", ["", "+psycopg2", "+no_such_driver"])
def test_the_password_of_a_database_stays_out_of_everything(
    bench: Bench, tmp_path: Path, driver: str
) -> None:
    """Nobody listens on the port, or the driver is missing: soon a message, without a password."""
    uri = f"postgresql{driver}://usr-canary:pwd-canary@127.0.0.1:9/mlflow"
    outcome = bench.cli(
        "report", "-v", "-o", tmp_path / "p.json", env={"MLFLOW_TRACKING_URI": uri}, timeout=30
    ).expect(1, 5, 64)
    assert "pwd-canary" not in outcome.text
    assert len(outcome.err.strip().splitlines()) <= 12
    assert not (tmp_path / "p.json").exists()


def _report(bench: Bench, tmp_path: Path, uri: str) -> Outcome:
    outcome = bench.cli(
        "report", "-v", "-o", tmp_path / "p.json", env={"MLFLOW_TRACKING_URI": uri}, timeout=60
    )
    assert "canary" not in outcome.text
    assert "Traceback" not in outcome.text
    assert not (tmp_path / "p.json").exists()
    return outcome


def test_a_database_that_takes_the_call_and_never_answers_is_given_up(
    bench: Bench, tmp_path: Path
) -> None:
    """A firewall, a stopped process: no endless wait, and none of MLflow's ten attempts."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        uri = f"postgresql+psycopg2://usr:pwd-canary@127.0.0.1:{port}/mlflow"
        assert "timeout" in _report(bench, tmp_path, uri).expect(1).err


@pytest.mark.parametrize("content", [b"", b"no database at all" * 1000])
def test_a_file_that_is_no_database_of_mlflow_stays_as_it_is(
    bench: Bench, tmp_path: Path, content: bytes
) -> None:
    """MLflow would make its tables in an empty one."""
    (tmp_path / "x.db").write_bytes(content)
    _report(bench, tmp_path, f"sqlite:///{tmp_path}/x.db").expect(1)
    assert (tmp_path / "x.db").read_bytes() == content


def test_no_tables_are_made_in_the_database_of_another_program(
    bench: Bench, tmp_path: Path
) -> None:
    """A report only reads; forty tables in the wrong database would be a bad surprise."""
    with store.open_database(tmp_path / "x.db") as db:
        db.execute("CREATE TABLE invoices (id INTEGER)")
    before = (tmp_path / "x.db").read_bytes()
    outcome = _report(bench, tmp_path, f"sqlite:///{tmp_path}/x.db").expect(1)
    assert "contains no data of MLflow" in outcome.err
    assert (tmp_path / "x.db").read_bytes() == before


@pytest.mark.parametrize("command", ["report", "prune"])
def test_a_database_with_an_older_schema_is_not_migrated(
    bench: Bench, tmp_path: Path, command: str
) -> None:
    """MLflow migrates where a table is missing, and the older server that uses it would break."""
    bench.world.run(bench.world.experiment())
    with store.open_database(bench.world.database) as db:
        db.execute("VACUUM INTO ?", (str(tmp_path / "old.db"),))
    with store.open_database(tmp_path / "old.db") as db:
        db.execute("DROP TABLE logged_model_tags")
        db.execute("UPDATE alembic_version SET version_num = '0584bdc529eb'")
    before = (tmp_path / "old.db").read_bytes()
    yes = ["--yes"] if command == "prune" else []
    outcome = bench.cli(
        command, *yes, cwd=tmp_path, env={"MLFLOW_TRACKING_URI": "sqlite:///old.db"}
    ).expect(5)
    assert "0584bdc529eb" in outcome.err
    assert "mlflow db upgrade" in outcome.err
    assert (tmp_path / "old.db").read_bytes() == before


@pytest.mark.parametrize(
    ("driver", "module", "package"),
    [
        ("mysql+pymysql", "pymysql", "pymysql"),
        ("mysql", "MySQLdb", "mysqlclient"),
        ("postgresql+psycopg", "psycopg", "psycopg[binary]"),
    ],
)
def test_a_missing_driver_is_named_as_pip_knows_it(
    bench: Bench, tmp_path: Path, driver: str, module: str, package: str
) -> None:
    """The module that is missing is often called otherwise."""
    if importlib.util.find_spec(module):
        pytest.skip(f"{module} is installed")
    outcome = _report(bench, tmp_path, f"{driver}://usr:pwd-canary@127.0.0.1:9/x").expect(1)
    assert "pip install" in outcome.err
    assert package in outcome.err


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql+no_such_driver://usr:pwd-canary@host/x",
        "postgresql+asyncpg://usr:pwd-canary@host/x",
        "postgresql+psycopg2://usr:pwd-canary",
        "postgresql+psycopg2://usr:pwd@host:canary/x",
        "postgres://usr:pwd-canary@host/x",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:x.db",
    ],
)
def test_a_database_uri_that_can_never_work_is_a_usage_error(
    bench: Bench, tmp_path: Path, uri: str
) -> None:
    """64, not 1: no waiting and no repairing of a server helps."""
    _report(bench, tmp_path, uri).expect(64)
