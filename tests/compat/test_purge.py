"""Purge in the database of a server of each version: every row and file of the plan, and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from compat.content import SINCE_DATASETS, SINCE_MODELS, SINCE_TRACES
from support.bench import Bench
from support.trash import Trash, ids, protected

if TYPE_CHECKING:
    from pathlib import Path

    from compat.conftest import Served
    from compat.environments import Environment
    from support.cli import Cli
    from support.world import World


@pytest.mark.column("purge")
def test_exactly_what_the_plan_lists_goes(
    environment: Environment, served: Served, world: World, program: Cli, tmp_path: Path
) -> None:
    """Also what the purge of MLflow itself fails on: datasets and traces before 3.17."""
    trash = Trash(Bench(world, program, tmp_path), served.artifacts, served.database_uri)
    number = environment.number
    home, dropped = world.experiment(), world.experiment()
    old = [trash.run(home) for _ in range(3)]
    young, active = (trash.run(home, deleted=days) for days in (3, None))
    restored, needed = trash.run(home), trash.run(home)
    inside = trash.run(dropped, deleted=None)
    if number >= SINCE_DATASETS:
        for run in (active, inside):
            world.read_dataset(run)
    if number >= SINCE_TRACES:
        world.trace(dropped)
    models = set()
    if number >= SINCE_MODELS:
        models = {trash.model(home)}
        trash.model(home, deleted=None)
    world.model("fraud")
    world.version("fraud", source=f"runs:/{needed}/model", run_id=needed)
    trash.drop_experiment(dropped)
    plan = trash.report()
    assert plan.runs == {*old, restored, inside}
    assert plan.experiments == {dropped}
    assert ids(plan, "logged_models", "model_id") == models
    assert protected(plan, "runs", "run_id") == {needed: "registered_model"}
    world.restore_run(restored)
    before = trash.state()
    trash.purge(plan)
    after = trash.state()
    gone = after.rows_gone_since(before)
    assert {row[0] for row in gone["runs"]} == {*old, inside}
    assert {str(row[0]) for row in gone["experiments"]} == {dropped}
    stay = {young, active, restored, needed}
    assert not [i for i in stay for rows in gone.values() for row in rows if i in map(str, row)]
    files = after.files_gone_since(before)
    assert len(files) == 2 * 4 + len(models)
    assert all(any(i in path for i in (*old, inside, *models)) for path in files)
