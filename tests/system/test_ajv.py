"""Another validator, from the JavaScript world, agrees with ours on every document we write."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import ROOT
from support.world import FRESH, KEEP_TAG

if TYPE_CHECKING:
    from support.bench import Bench
    from support.plans import Plan

AJV = ROOT / "tests" / "ajv"

pytestmark = pytest.mark.ajv


@pytest.fixture(scope="module", autouse=True)
def _node() -> None:
    if shutil.which("node") is None or not (AJV / "node_modules").is_dir():
        pytest.skip("node, or the packages of tests/ajv, are not installed")


@pytest.fixture(scope="module")
def plans(shared_bench: Bench) -> tuple[Plan, Plan]:
    """Two plans, and the journal of the first: deleted, skipped and failed entries."""
    world = shared_bench.world
    experiment = world.experiment("älter")
    parent = world.run(experiment)
    world.run(experiment, parent=parent)
    runs = world.bulk_runs(world.experiment(), 5)
    version = world.spare_version(world.model(), description="d", tags={"a": "b"})
    world.spare_version(world.model())
    world.run(experiment, tags={KEEP_TAG: "true"})
    world.trace(world.experiment())
    world.version(world.model(), run_id=world.run(experiment), aliases=["champion"])
    base = shared_bench.report(name="base.json")
    world.resume(runs[0])
    world.alias(version, "blue")
    world.delete_run(runs[1])
    world.purge_run(runs[2])
    world.run(world.experiment(age=FRESH))
    world.sql(
        f"CREATE TRIGGER stubborn BEFORE UPDATE ON runs WHEN NEW.run_uuid = '{runs[3]}'"
        " AND NEW.lifecycle_stage = 'deleted' BEGIN SELECT RAISE(ABORT, 'stubborn'); END"
    )
    try:
        _, journal = shared_bench.prune(
            base, env={"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}, codes=(3,)
        )
    finally:
        world.sql("DROP TRIGGER stubborn")
    assert journal.with_outcome("deleted")
    assert journal.with_outcome("failed")
    assert {"changed", "protected", "gone", "already_deleted"} <= set(journal.skips.values())
    return base, shared_bench.report(name="head.json")


def _judge(schema: Path, document: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", AJV / "validate.mjs", schema, document],
        capture_output=True,
        text=True,
        check=False,
    )


def _schema(bench: Bench, name: str, directory: Path) -> Path:
    path = directory / f"{name}.schema.json"
    path.write_text(bench.cli("schema", name).expect(0).out)
    return path


@pytest.mark.smoke
def test_plan(plans: tuple[Plan, Plan], shared_bench: Bench, tmp_path: Path) -> None:
    schema = _schema(shared_bench, "plan", tmp_path)
    for plan in plans:
        result = _judge(schema, plan.path)
        assert result.returncode == 0, result.stdout + result.stderr


def test_journal(plans: tuple[Plan, Plan], shared_bench: Bench, tmp_path: Path) -> None:
    schema = _schema(shared_bench, "journal", tmp_path)
    for line in shared_bench.journal_path(plans[0]).read_text().splitlines():
        document = tmp_path / "line.json"
        document.write_text(line)
        result = _judge(schema, document)
        assert result.returncode == 0, line + result.stdout + result.stderr


def test_diff(plans: tuple[Plan, Plan], shared_bench: Bench, tmp_path: Path) -> None:
    document = tmp_path / "diff.json"
    base, head = (plan.path for plan in plans)
    outcome = shared_bench.cli("diff", base, head, "--format", "json").expect(2)
    document.write_text(outcome.out)
    result = _judge(_schema(shared_bench, "diff", tmp_path), document)
    assert result.returncode == 0, result.stdout + result.stderr


def test_check(plans: tuple[Plan, Plan], shared_bench: Bench, tmp_path: Path) -> None:
    document = tmp_path / "check.json"
    outcome = shared_bench.cli("check", plans[0].path, "--format", "json").expect(0)
    document.write_text(outcome.out)
    assert outcome.json()["differs"] is True
    result = _judge(_schema(shared_bench, "check", tmp_path), document)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.smoke
def test_the_validator_can_say_no(
    plans: tuple[Plan, Plan], shared_bench: Bench, tmp_path: Path
) -> None:
    bad = plans[0].edited(tmp_path / "bad.json", lambda d: d.pop("runs"), sign=True)
    assert _judge(_schema(shared_bench, "plan", tmp_path), bad.path).returncode != 0
