"""``purge`` on a server with workspaces: it deletes in one, and looks for protection in all."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from support import server as store
from support import workspaces
from support.bench import Bench
from support.trash import Trash, ids, protected
from support.workspaces import WorkspaceWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cli import Cli

    from mlflow_gc.demo.server import LocalServer

HERE, THERE = "team-a", "team-b"


class WorkspaceTrash(Trash):
    """The trash of one workspace; its files are in MLflow's folder of that workspace."""

    world: WorkspaceWorld

    @property
    def options(self) -> tuple[object, ...]:
        """Also the workspace."""
        return (*super().options, "--workspace", self.world.workspace)

    def put(self, path: str, size: int = 10) -> str:
        """Write a file below the folder of the workspace."""
        return super().put(f"workspaces/{self.world.workspace}/{path}", size)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server with two workspaces."""
    with store.local(tmp_path_factory.mktemp("workspaces"), "--enable-workspaces") as started:
        workspaces.make(started, HERE, THERE)
        yield started


@pytest.fixture
def both(
    served: LocalServer, as_of_ms: int, cli: Cli, tmp_path: Path
) -> Iterator[tuple[WorkspaceTrash, WorkspaceTrash]]:
    """The trash of both workspaces, empty."""
    store.empty(served.database)
    root = served.database.parent / "artifacts"
    worlds = [WorkspaceWorld(served, as_of_ms, name) for name in (HERE, THERE)]
    made = [
        WorkspaceTrash(Bench(world, cli, tmp_path), root, f"sqlite:///{served.database}")
        for world in worlds
    ]
    yield made[0], made[1]
    shutil.rmtree(root)
    for world in worlds:
        world.close()


def test_the_trash_of_another_workspace_is_left_alone(
    both: tuple[WorkspaceTrash, WorkspaceTrash],
) -> None:
    here, there = both
    homes = [trash.world.experiment("same") for trash in both]
    runs = [[trash.run(home) for _ in range(2)] for trash, home in zip(both, homes, strict=True)]
    models = [trash.model(home) for trash, home in zip(both, homes, strict=True)]
    dropped = [trash.world.experiment() for trash in both]
    for trash, home in zip(both, dropped, strict=True):
        trash.run(home, deleted=None)
        trash.drop_experiment(home)
    plan = here.report()
    assert plan.document["server"]["workspace"] == HERE
    assert {*runs[0]} < plan.runs
    assert not plan.runs & {*runs[1]}
    assert ids(plan, "logged_models", "model_id") == {models[0]}
    assert plan.experiments == {dropped[0]}
    before = here.state()
    there.purge(plan, codes=(5,))
    assert here.state() == before
    here.purge(plan)
    gone = here.state().rows_gone_since(before)
    foreign = {*runs[1], models[1]}
    assert [str(row[0]) for row in gone["experiments"]] == [dropped[0]]
    assert not [row for rows in gone.values() for row in rows if foreign & set(map(str, row))]
    files = here.state().files_gone_since(before)
    assert len(files) == 7
    assert all(f"workspaces/{HERE}/" in path for path in files)


@pytest.mark.parametrize("reviewed", [False, True], ids=["made on the spot", "reviewed"])
def test_all_workspaces_are_purged_one_after_the_other(
    both: tuple[WorkspaceTrash, WorkspaceTrash], tmp_path: Path, *, reviewed: bool
) -> None:
    here, there = both
    runs = [trash.run(trash.world.experiment()) for trash in both]
    kept = here.run(here.world.experiment())
    there.world.model("fraud")
    there.world.version("fraud", run_id=kept)
    before = here.state()
    files = [tmp_path / f"plan.{name}.json" for name in (HERE, THERE)]
    chosen: tuple[object, ...] = (
        "--yes",
        "-o",
        tmp_path / "plan.json",
        "--as-of",
        here.world.as_of,
    )
    if reviewed:
        chosen = tuple(files)
        for trash, file in zip(both, files, strict=True):
            trash.report(name=file.name)
    # The last two name a workspace.
    here.bench.cli("purge", *here.options[:-2], "--all-workspaces", *chosen).expect(0)
    assert {row[0] for row in here.state().rows_gone_since(before)["runs"]} == {*runs}
    assert all(file.with_name(f"{file.name}.journal.jsonl").exists() for file in files)


def test_a_version_in_another_workspace_protects(
    both: tuple[WorkspaceTrash, WorkspaceTrash],
) -> None:
    """In the plan, and in the re-check."""
    here, there = both
    home = here.world.experiment()
    named, by_source, later, other = (here.run(home) for _ in range(4))
    there.world.model("fraud")
    there.world.version("fraud", run_id=named)
    there.world.version("fraud", source=f"runs:/{by_source}/model")
    plan = here.report()
    assert plan.runs == {later, other}
    reasons = protected(plan, "runs", "run_id")
    assert reasons == {named: "registered_model", by_source: "registered_model"}
    there.world.version("fraud", run_id=later)
    before = here.state()
    here.purge(plan)
    assert {row[0] for row in here.state().rows_gone_since(before)["runs"]} == {other}


def test_an_id_of_another_workspace_is_no_orphan(
    both: tuple[WorkspaceTrash, WorkspaceTrash],
) -> None:
    """Nor are links and tombstones of another workspace anything that this one may delete."""
    here, there = both
    home, other = here.world.experiment(), there.world.experiment()
    here.run(home, deleted=None)
    foreign = there.run(other, deleted=None)
    there.world.put_out_model(foreign, lost := there.world.logged_model(other, foreign))
    for table in ("logged_model_tags", "logged_models"):
        there.world.sql(f"DELETE FROM {table} WHERE model_id = ?", lost)
    insert = "INSERT INTO inputs VALUES (?, ?, ?, ?, ?, 0)"
    both_ends = ("RUN_OUTPUT", "a" * 32, "MODEL_OUTPUT", f"m-{'b' * 32}")
    here.world.sql(insert, "nobody", *both_ends)
    for trash in both:
        trash.world.model("fraud")
        for _ in range(2):
            trash.world.version("fraud")
        trash.world.delete_version("fraud/1")
    there.world.delete_version("fraud/2")
    here.world.sql("UPDATE model_versions SET last_updated_time = ?", here.world.ago(90))
    gone = "c" * 32
    paths = [here.put(f"{home}/{run}/artifacts/a") for run in (foreign, gone)]
    for path in here.root.rglob("*"):
        if path.is_file():
            os.utime(path, (1_600_000_000, 1_600_000_000))
    policy = here.bench.dir / "policy.yml"
    policy.write_text("version: 1\npurge: {orphans_after: 30d, tombstones: true}\n")
    plan = here.report("--policy", policy)
    assert [entry["entity"] for entry in plan.document["files"]] == [f"run {gone}"]
    assert [entry["source"] for entry in plan.document["links"]] == [f"RUN_OUTPUT {'a' * 32}"]
    assert [entry["version"] for entry in plan.document["model_versions"]] == ["1"]
    before = here.state()
    here.purge(plan)
    after = here.state()
    rows = after.rows_gone_since(before)
    assert rows.keys() == {"inputs", "model_versions"}
    assert {len(of) for of in rows.values()} == {1}
    assert HERE in rows["model_versions"][0]
    assert after.files_gone_since(before) == {f"workspaces/{HERE}/{home}/{gone}/artifacts/a"}
    assert paths[0].split("/")[-1] == "a"
