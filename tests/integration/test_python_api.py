"""The public Python API, and the examples of its page, on a real server."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import ROOT
from support.plans import Journal, Plan
from support.trash import Trash

import mlflow_gc
from integration.test_one_process import process_state

if TYPE_CHECKING:
    from support.bench import Bench

PAGE = ROOT / "docs" / "how-to" / "python.md"


def _example(number: int, uri: str) -> str:
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[number]
    return str(code).replace("http://localhost:5000", uri)


@pytest.fixture
def here(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The bench, its server also that of this process."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", bench.world.uri)
    monkeypatch.chdir(bench.dir)
    return bench


def test_a_nightly_task(here: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    world = here.world
    run, retained = world.run(world.experiment()), world.run(world.experiment(), age=10)
    exec(_example(0, world.uri), {})  # noqa: S102 - the code of our own page
    assert "1 runs deleted, journal nightly.json.journal.jsonl" in capsys.readouterr().out
    state = here.state()
    assert ("run", run) in state.trashed
    assert ("run", retained) in state.active


def test_approval_and_undo(here: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = here.world.experiment("nightly")
    run = here.world.run(experiment)
    mlflow_gc.save_plan(mlflow_gc.report(), "reviewed.json")
    exec(_example(1, here.world.uri), {})  # noqa: S102 - the code of our own page
    assert capsys.readouterr().out == "1 experiments restored\n"
    assert {("experiment", experiment), ("run", run)} <= here.state().active


def test_a_listener(here: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    run = here.world.run(here.world.experiment())
    mlflow_gc.save_plan(mlflow_gc.report(), "reviewed.json")
    exec(_example(2, here.world.uri), {})  # noqa: S102 - the code of our own page
    output = capsys.readouterr().out.splitlines()
    assert "Checking ..." in output
    assert f"deleted: run {run}" in output
    assert output[-1] == "differs: False"
    assert ("run", run) in here.state().active


def test_the_same_as_on_the_command_line(here: Bench, tmp_path: Path) -> None:
    world = here.world
    runs = {world.run(world.experiment()) for _ in range(3)}
    theirs = here.report()
    ours = mlflow_gc.report(world.uri, as_of=world.as_of)
    assert ours["plan_id"] == theirs.document["plan_id"]
    mlflow_gc.save_plan(ours, tmp_path / "ours.json")
    output = Plan.load(tmp_path / "ours.json")
    assert output.runs == runs
    assert mlflow_gc.diff(theirs.document, ours)["different"] is False
    assert mlflow_gc.check(tmp_path / "ours.json")["differs"] is False
    outcome = mlflow_gc.prune(tmp_path / "ours.json", dry_run=True)
    assert outcome.journal is None
    assert here.state().active >= {("run", i) for i in runs}
    outcome = mlflow_gc.prune(tmp_path / "ours.json")
    assert outcome.is_complete
    assert outcome.journal is not None
    assert outcome.counts["run", "deleted"] == len(runs)
    assert Journal.load(outcome.journal).with_outcome("deleted") >= {("run", i) for i in runs}
    undone = mlflow_gc.restore(outcome.journal, keep=True)
    assert undone.is_complete
    assert mlflow_gc.report(as_of=world.as_of)["summary"]["runs"]["delete"] == 0


def test_parts_of_a_plan(here: Bench) -> None:
    world = here.world
    runs = {("run", world.run(world.experiment())) for _ in range(6)}
    plan, deleted = here.report(), []
    for number in (1, 2):
        outcome = mlflow_gc.prune(plan.path, shard=f"{number}/2")
        assert outcome.is_complete
        assert outcome.journal == Path(f"{plan.path}.shard-{number}-of-2.journal.jsonl")
        deleted.append(Journal.load(outcome.journal).with_outcome("deleted"))
    assert runs <= deleted[0] ^ deleted[1]
    with pytest.raises(mlflow_gc.UsageProblem, match="3/2"):
        mlflow_gc.prune(plan.path, shard="3/2")


def test_what_is_stale_takes_space(here: Bench) -> None:
    world = here.world
    world.run(world.experiment())
    server = mlflow_gc.Server(world.uri, backend_store_uri=f"sqlite:///{world.database}")

    def stale_runs(**arguments: Any) -> int:
        found = mlflow_gc.usage(server, **arguments)
        rows = [row for row in found["rows"] if (row["kind"], row["stage"]) == ("run", "stale")]
        return sum(row["count"] for row in rows)

    (here.dir / "never.yml").write_text("version: 1\ndefaults: {ttl: never}\n")
    assert stale_runs() == 0
    assert stale_runs(stale=True) == 1
    assert stale_runs(stale=True, ttl_days=36_500) == 0
    assert stale_runs(stale=True, policy=here.dir / "never.yml") == 0


def test_the_trash(here: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Its example, and the rest of what the command line does."""
    world = here.world
    trash = Trash(here, world.database.parent / "artifacts", f"sqlite:///{world.database}")
    home = world.experiment()
    active = trash.run(home, deleted=None)
    old, young = trash.run(home), trash.run(home, deleted=50)
    server = mlflow_gc.Server(world.uri, backend_store_uri=trash.database_uri)
    root = str(trash.root)
    ours = mlflow_gc.report_trash(server, as_of=world.as_of, artifacts_destination=root)
    assert ours["plan_id"] == trash.report().plan_id
    for kept, left in (("files", "keep_files"), ("rows", "keep_rows")):
        theirs = trash.report(f"--keep-{kept}")
        ours = mlflow_gc.report_trash(
            server, as_of=world.as_of, artifacts_destination=root, **{left: True}
        )
        assert ours["plan_id"] == theirs.plan_id
    before = trash.state()
    code = _example(3, world.uri).replace("sqlite:///mlflow.db", trash.database_uri)
    exec(code, {})  # noqa: S102 - the code of our own page
    gone = trash.state().rows_gone_since(before)
    assert capsys.readouterr().out == f"1 runs, {sum(map(len, gone.values()))} rows\n"
    assert {row[0] for row in gone["runs"]} == {old}
    assert len(trash.state().files_gone_since(before)) == 2

    plan = trash.report()
    assert plan.runs == {young}
    before = trash.state()
    stopped = mlflow_gc.purge(plan.path, server, artifacts_destination=root, max_seconds=0)
    assert (stopped.is_complete, stopped.counts) == (False, {})
    assert trash.state() == before
    for number in (1, 2):
        shard = mlflow_gc.purge(
            plan.path, server, artifacts_destination=root, shard=f"{number}/2", vacuum=True
        )
        assert shard.is_complete
        assert shard.journal == Path(f"{plan.path}.shard-{number}-of-2.journal.jsonl")
    assert {row[0] for row in trash.state().rows_gone_since(before)["runs"]} == {young}
    journal = here.dir / "other.jsonl"
    pruned = mlflow_gc.report(server)
    assert pruned["summary"]["runs"]["delete"] == 1
    mlflow_gc.save_plan(pruned, here.dir / "prune.json")
    mlflow_gc.prune(here.dir / "prune.json", server, journal=journal)
    world.sql("UPDATE runs SET deleted_time = ?", world.ago(100))
    trash.run(home)
    alone = mlflow_gc.report_trash(server, artifacts_destination=root, journal=journal)
    assert [run["run_id"] for run in alone["runs"]] == [active]


def test_nothing_is_printed_or_left_behind(here: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    here.world.run(here.world.experiment())
    (here.dir / "mlflow-gc.yaml").write_text("version: 1\nfree_experiment_names: true\n")
    mlflow_gc.report()
    before = process_state()
    received: list[str] = []

    class Notes(mlflow_gc.Listener):
        def note(self, message: str) -> None:
            received.append(message)

    mlflow_gc.save_plan(mlflow_gc.report(listener=Notes()), "plan.json")
    mlflow_gc.prune("plan.json")
    mlflow_gc.restore("plan.json.journal.jsonl")
    assert process_state() == before
    assert any("mlflow-gc.yaml" in message for message in received)
    assert capfd.readouterr() == ("", "")


def test_errors_say_what_to_do(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    here.world.run(here.world.experiment())
    mlflow_gc.save_plan(mlflow_gc.report(), "plan.json")
    with pytest.raises(mlflow_gc.Refused, match="expected was sha256:0"):
        mlflow_gc.prune("plan.json", expect="sha256:0")
    monkeypatch.setenv("MLFLOW_GC_REQUIRE_EXPECT", "true")
    with pytest.raises(mlflow_gc.Refused, match="MLFLOW_GC_REQUIRE_EXPECT"):
        mlflow_gc.prune("plan.json")
    document = json.loads((here.dir / "plan.json").read_text())
    document["runs"].clear()
    (here.dir / "plan.json").write_text(json.dumps(document))
    for call in (mlflow_gc.load_plan, mlflow_gc.check, mlflow_gc.prune):
        with pytest.raises(mlflow_gc.Refused):
            call("plan.json")
    with pytest.raises(mlflow_gc.UsageProblem):
        mlflow_gc.report(ttl_days=0)
    with pytest.raises(mlflow_gc.UsageProblem):
        mlflow_gc.report("file:///mlruns")
    with pytest.raises(mlflow_gc.GcError, match="cannot be reached"):
        mlflow_gc.report("http://127.0.0.1:9")
    assert here.state().trashed == set()
