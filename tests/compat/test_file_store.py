"""Servers of each version on a file store, where most servers before 3.7 have their data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support import server as store
from support.plans import Journal, Plan
from support.world import FRESH, KEEP_TAG, World

if TYPE_CHECKING:
    from pathlib import Path

    from compat.environments import Environment
    from support.cli import Cli

State = dict[str, dict[str, Any]]
"""What is in each ``meta.yaml``, by the path of its folder; the trash is not a place of its own."""


class FileWorld(World):
    """The content of a server on a file store.

    Args:
        uri: of the server.
        folder: of the store.
        as_of_ms: the moment all ages count from.
    """

    _make_run = World.make_run_over_rest

    def __init__(self, uri: str, folder: Path, as_of_ms: int) -> None:
        super().__init__(uri, folder / "no-file", as_of_ms)
        self.folder = folder

    def date_experiment(self, experiment_id: str, **times: Any) -> None:
        """Set the times that the server stamps."""
        _amend(
            self.folder / experiment_id / "meta.yaml",
            creation_time=times["created"],
            last_update_time=times["updated"],
        )

    def old_model(self, name: str) -> str:
        """A registered model that was made long ago."""
        self.call("POST", "registered-models/create", {"name": name})
        path = self.folder / "models" / name / "meta.yaml"
        _amend(path, creation_timestamp=self.ago(200), last_updated_timestamp=self.ago(200))
        return name

    def old_version(self, name: str, **fields: str) -> str:
        """A version that was last updated long ago."""
        body = {"name": name, "source": "s3://bucket/no-run", **fields}
        found = self.call("POST", "model-versions/create", body)["model_version"]
        path = self.folder / "models" / name / f"version-{found['version']}" / "meta.yaml"
        _amend(path, creation_timestamp=self.ago(100), last_updated_timestamp=self.ago(100))
        return f"{name}/{found['version']}"

    def state(self) -> State:
        """What is in the store."""
        return {
            str(path.parent.relative_to(self.folder)).removeprefix(".trash/"): {
                "is in the trash": ".trash" in path.parts,
                # A field that is empty may as well be missing.
                **{k: v for k, v in yaml.safe_load(path.read_bytes()).items() if v},
            }
            for path in self.folder.rglob("meta.yaml")
        }


def _amend(path: Path, **values: object) -> None:
    document = yaml.safe_load(path.read_bytes())
    path.write_text(yaml.safe_dump({**document, **values}), encoding="utf-8")


def _changed(before: State, after: State) -> dict[str, set[str]]:
    return {
        key: {
            name
            for name in before.get(key, {}).keys() | after.get(key, {}).keys()
            if before.get(key, {}).get(name) != after.get(key, {}).get(name)
        }
        for key in before.keys() | after.keys()
        if before.get(key) != after.get(key)
    }


@pytest.fixture
def files(environment: Environment, tmp_path: Path) -> Iterator[FileWorld]:
    """A server of the version on an empty file store."""
    folder = tmp_path / "store"
    with store.of_version(
        environment.python,
        tmp_path / "server",
        backend_store_uri=str(folder),
        env={"MLFLOW_ALLOW_FILE_STORE": "true"},
    ) as running:
        found = FileWorld(running.uri, folder, (int(time.time()) - 600) * 1000 + 123)
        yield found
        found.close()


@pytest.mark.column("file store")
def test_a_file_store_is_pruned_and_restored(
    files: FileWorld, program: Cli, tmp_path: Path
) -> None:
    """What is planned goes into the trash, nothing else changes, and it comes back as it was."""
    home = files.experiment(age=FRESH)
    left, empty = files.experiment(), files.experiment()
    runs = [files.run(home), files.run(home, metrics={"auc": files.ago(90)}), files.run(left)]
    trashed = files.run(left)
    files.delete_run(trashed)
    registered, behind, tagged = (files.run(home) for _ in range(3))
    fresh, running = files.run(home, age=FRESH), files.run(home, status="RUNNING")
    files.tag_run(tagged, KEEP_TAG, "true")
    model = files.old_model("fraud")
    # Also a version that is deleted itself protects its run.
    versions = [files.old_version(model), files.old_version(model, run_id=registered)]
    versions += [files.old_version(model, source=f"runs:/{behind}/model", run_id=behind)]
    files.old_version(model)
    parent = files.run(home)
    child = files.run(home, parent=parent, age=FRESH)
    env = {"MLFLOW_TRACKING_URI": files.uri}
    path, journal = tmp_path / "plan.json", tmp_path / "journal.jsonl"
    program("report", "-o", path, "--as-of", files.as_of, env=env).expect(0)
    plan = Plan.load(path)
    assert plan.entities == {
        *(("experiment", e) for e in (left, empty)),
        *(("run", r) for r in runs),
        *(("model_version", v) for v in versions),
    }
    reasons = {r: set(plan.protection(("run", r))) for r in (registered, tagged, running, parent)}
    assert reasons == {
        registered: {"registered_model"},
        tagged: {"keep_tag"},
        running: {"not_terminal"},
        parent: {"tree"},
    }
    assert not plan.entities & {("run", r) for r in (behind, fresh, child)}
    before = files.state()
    program("check", path, "--detailed-exitcode", env=env).expect(0)
    program("prune", path, "--journal", journal, env=env).expect(0)
    assert Journal.load(journal).with_outcome("deleted") == plan.entities
    changed = _changed(before, files.state())
    registry = {f"models/{v.replace('/', '/version-')}" for v in versions}
    deleted = {*(left, empty), *(f"{home}/{r}" for r in runs[:2]), f"{left}/{runs[2]}"}
    # With an experiment the folders of all its runs move.
    assert changed.keys() - {f"models/{model}"} == registry | deleted | {f"{left}/{trashed}"}
    program("restore", journal, "--yes", env=env).expect(0)
    changed = _changed(before, files.state())
    times = {"deleted_time", "last_update_time"}
    registry.add(f"models/{model}")
    assert {key for key, names in changed.items() if names - times} <= registry
    assert files.state()[f"{left}/{trashed}"]["lifecycle_stage"] == "deleted"
