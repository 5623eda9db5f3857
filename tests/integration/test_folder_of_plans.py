"""``MLFLOW_GC_DIR``: plans and journals outlive the container that wrote them, and so does the undo."""

from __future__ import annotations

import math
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support import depth
from support.plans import Plan
from support.proxy import SERVER_ERROR
from support.trash import Trash
from support.world import FRESH

from .test_printed_commands import offered, paste

if TYPE_CHECKING:
    from pathlib import Path

    from support.bench import Bench
    from support.cli import Cli
    from support.proxy import Proxy
    from support.world import World

USAGE = 64
DIR = "MLFLOW_GC_DIR"


def test_each_report_has_a_file_of_its_own(bench: Bench, tmp_path: Path) -> None:
    """A reviewed plan is not replaced by that of the next night."""
    bench.world.bulk_runs(bench.world.experiment(age=FRESH), 2)
    here, volume = tmp_path / "here", tmp_path / "volume"
    here.mkdir()
    first = bench.cli("report", cwd=here, env={DIR: str(volume)}).expect(0)
    (reviewed,) = volume.iterdir()
    assert str(reviewed) in first.out, "the reader is told where it is"
    before = reviewed.read_bytes()
    bench.cli("report", "-v", cwd=here, env={DIR: str(volume)}).expect(0)
    assert len([*volume.iterdir()]) == 2
    assert reviewed.read_bytes() == before
    assert [*here.iterdir()] == []
    # A named file is where it was named, and its journal beside it.
    bench.cli("report", "-o", "plan.json", cwd=here, env={DIR: str(volume)}).expect(0)
    bench.cli("prune", "plan.json", cwd=here, env={DIR: str(volume)}).expect(0)
    assert {path.name for path in here.iterdir()} == {"plan.json", "plan.json.journal.jsonl"}
    assert len([*volume.iterdir()]) == 2


def test_where_it_comes_from_is_printed_on_request(bench: Bench, tmp_path: Path) -> None:
    env = {DIR: str(tmp_path / "volume")}
    assert DIR not in bench.cli("report", cwd=tmp_path, env=env).expect(0).err
    verbose = bench.cli("report", "-v", cwd=tmp_path, env=env).expect(0)
    assert f"{DIR} = {tmp_path / 'volume'} (from environment {DIR})" in verbose.err


@pytest.mark.parametrize(
    "command", [["report"], ["report", "--trash"], ["prune", "--yes"], ["purge", "--yes"]]
)
def test_a_folder_that_cannot_be_used_ends_it_before_the_server_is_asked(
    offline_cli: Cli, tmp_path: Path, command: list[str]
) -> None:
    """The server of this test does not answer: that is not what the error is about."""
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "not mounted" / "gc"):
        refused = offline_cli(*command, cwd=tmp_path, env={DIR: str(folder)}).expect(USAGE)
        assert DIR in refused.err
        assert str(folder) in refused.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_last_night_is_undone_from_another_container(world: World, tmp_path: Path) -> None:
    """The container, its folder and its variables are gone; the printed line is all there is."""
    runs = {("run", run) for run in world.bulk_runs(world.experiment(age=FRESH), 3)}
    night, volume, morning = tmp_path / "night", tmp_path / "volume", tmp_path / "morning"
    night.mkdir()
    morning.mkdir()
    pruned = subprocess.run(
        [sys.executable, "-m", "mlflow_gc", "prune", "--yes"],
        cwd=night,
        env={"PATH": "/usr/bin:/bin", "MLFLOW_TRACKING_URI": world.uri, DIR: str(volume)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert pruned.returncode == 0, pruned.stderr
    assert [*night.iterdir()] == []
    shutil.rmtree(night)
    assert not runs & _active(world)
    undo = offered("Undo", pruned.stdout)
    assert shlex.split(undo)[:4] == [sys.executable, "-m", "mlflow_gc", "restore"]
    undone = paste(f"{undo} --yes", morning)
    assert undone.returncode == 0, undone.stderr
    assert runs <= _active(world)
    assert [*morning.iterdir()] == [], "the journal of the undo is beside that of the prune"
    # The next night does not touch what an undo of this one needs.
    (journal,) = volume.glob("*.journal.jsonl")
    kept = journal.read_bytes()
    again = paste(f"cd {shlex.quote(str(morning))} && {undo} --yes", morning)
    assert again.returncode == 0, again.stderr
    assert journal.read_bytes() == kept


def _active(world: World) -> set[tuple[str, str]]:
    from support import oracle

    return oracle.look(world.database).active


def test_a_prune_that_failed_in_part_goes_on_elsewhere(
    bench: Bench, proxy: Proxy, tmp_path: Path
) -> None:
    runs = {*bench.world.bulk_runs(bench.world.experiment(age=FRESH), 3)}
    env = {DIR: str(tmp_path / "volume"), "MLFLOW_TRACKING_URI": proxy.uri}
    proxy.fail("POST", "runs/delete$", SERVER_ERROR, body=min(runs), times=math.inf)
    failed = bench.cli("prune", "--yes", cwd=tmp_path, env=env).expect(3)
    proxy.forget()
    go_on = shlex.split(offered(".*To go on", failed.err))
    assert go_on[1:3] == ["prune", str(next((tmp_path / "volume").glob("*.json")))]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    bench.cli(*go_on[1:], cwd=elsewhere, env={"MLFLOW_TRACKING_URI": None}).expect(0)
    assert not {("run", run) for run in runs} & bench.state().active
    assert [*elsewhere.iterdir()] == []


@pytest.mark.parametrize("kind", depth.some(["on the spot", "reviewed"], 2))
def test_purge_plans_and_their_journals(bench: Bench, tmp_path: Path, kind: str) -> None:
    database = bench.world.database
    trash = Trash(bench, database.parent / "artifacts", f"sqlite:///{database}")
    experiment = trash.world.experiment()
    run = trash.run(experiment)
    volume = tmp_path / "volume"
    env = {DIR: str(volume), "MLFLOW_BACKEND_STORE_URI": trash.database_uri}
    where = ["--artifacts-destination", str(trash.root)]
    if kind == "reviewed":
        bench.cli("report", "--trash", *where, cwd=tmp_path, env=env).expect(0)
        (plan,) = volume.iterdir()
        bench.cli("purge", plan, *where, cwd=tmp_path, env=env).expect(0)
    else:
        bench.cli("purge", "--yes", *where, cwd=tmp_path, env=env).expect(0)
        (plan,) = volume.glob("*.json")
    assert plan.name.startswith("purge-plan-20")
    assert {entry["run_id"] for entry in Plan.load(plan).document["runs"]} == {run}
    assert (volume / f"{plan.name}.journal.jsonl").is_file()
    assert [*tmp_path.iterdir()] == [volume]
