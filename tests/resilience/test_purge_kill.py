"""SIGKILL anywhere in a purge: the same plan finishes it, and nothing else is touched."""

from __future__ import annotations

import random
import shutil
import signal
import time
from typing import TYPE_CHECKING

import pytest
from support import depth
from support.durability import Snapshot
from support.plans import Journal
from support.trash import Trash

if TYPE_CHECKING:
    from pathlib import Path

    from support.bench import Bench

TIMES = max(20, round(500 * depth.chosen.share))


def _journal(trash: Trash) -> Path:
    return trash.bench.dir / "purge.json.journal.jsonl"


def _await(file: Path, text: str = "") -> None:
    deadline = time.monotonic() + 60
    while not file.exists() or text not in file.read_text():
        assert time.monotonic() < deadline, f"{file} does not appear"
        time.sleep(0.001)


def test_a_purge_killed_at_any_moment_is_finished_by_the_next(bench: Bench) -> None:
    """In the end exactly what the plan lists is gone, rows and files, and the journal names it."""
    database = bench.world.database
    trash = Trash(bench, database.parent / "artifacts", f"sqlite:///{database}")
    homes = [bench.world.experiment() for _ in range(3)]
    for number in range(150):
        trash.run(homes[number % 3], files=5)
    for _ in range(5):
        trash.model(homes[0])
    survivor = trash.run(homes[0], deleted=3)
    trash.drop_experiment(homes[2])
    plan = trash.report()
    before, rows = trash.state(), Snapshot(database)
    files = trash.root.with_name("saved")
    shutil.copytree(trash.root, files)
    running = bench.cli.start("purge", plan.path, *trash.options)
    _await(_journal(trash))
    began = time.monotonic()
    running.wait()
    longest = time.monotonic() - began
    expected = trash.state()
    assert expected.rows_gone_since(before)
    assert any(survivor in path for path in expected.files)
    planned = [*plan.document["runs"], *plan.document["experiments"]]
    rng, cut = random.Random(depth.seed), 0
    for _ in range(TIMES):
        rows.put_back()
        shutil.rmtree(trash.root)
        shutil.copytree(files, trash.root)
        _journal(trash).unlink()
        running = bench.cli.start("purge", plan.path, *trash.options)
        # Most of its time goes before the first intent, when there is nothing to finish.
        _await(_journal(trash))
        time.sleep(rng.uniform(0, longest))
        running.kill(signal.SIGKILL)
        running.wait()
        middle = trash.state()
        middle.rows_gone_since(before)
        cut += before != middle != expected
        trash.purge(plan)
        assert trash.state() == expected
        journal = Journal.load(_journal(trash), torn=True)
        deleted = {line["id"] for line in journal.lines if line.get("outcome") == "deleted"}
        assert deleted >= {e.get("run_id") or e["experiment_id"] for e in planned}
    rows.close()
    assert cut >= TIMES // 10, f"only {cut} of {TIMES} kills came in the middle"


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_purge_after_the_batch_in_progress(
    bench: Bench, sig: signal.Signals
) -> None:
    """It says so, and how to go on; the journal has exactly what is gone."""
    database, world = bench.world.database, bench.world
    trash = Trash(bench, database.parent / "artifacts", f"sqlite:///{database}")
    home = world.experiment()
    runs = {trash.run(home), *world.bulk_runs(home, 2_000)}
    world.sql("UPDATE runs SET lifecycle_stage = 'deleted', deleted_time = ?", world.ago(100))
    world.bulk_runs(home, 50)  # the limit on the share
    plan = trash.report()
    assert plan.runs == runs
    before = trash.state()
    running = bench.cli.start("purge", plan.path, *trash.options, "--vacuum")
    _await(_journal(trash), '"intent"')
    running.kill(sig)
    outcome = running.wait()
    assert outcome.code == 128 + sig
    assert "up to about" not in outcome.err, "it does not begin with what may take hours"
    assert "To return it to the disk" in outcome.out
    assert "Stopped in order. To go on: mlflow-gc purge" in outcome.err
    gone = {row[0] for row in trash.state().rows_gone_since(before).get("runs", ())}
    journal = Journal.load(_journal(trash))
    assert {("run", run) for run in gone} == journal.with_outcome("deleted")
    assert gone < runs
    trash.purge(plan)
    assert {row[0] for row in trash.state().rows_gone_since(before)["runs"]} == runs
