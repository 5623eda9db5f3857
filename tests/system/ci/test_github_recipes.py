"""The workflows of docs/how-to/github.md, run as they stand there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support import oracle
from support.github import GitHubApi, Runner
from support.pages import block_for
from support.plans import Plan
from support.world import FRESH, OLD

if TYPE_CHECKING:
    from pathlib import Path

    from support.world import World


def workflow(name: str) -> dict[str, Any]:
    """A workflow as the page has it."""
    document = yaml.safe_load(block_for("how-to/github.md", f".github/workflows/{name}"))
    return dict(document)


GH = """#!/bin/sh
# The GitHub CLI, for one run of one workflow; what is asked is written down.
echo "$*" >>"$ASKED"
case "$1 $2" in
"run list") [ ! -d "$LAST_RUN" ] || echo 4711 ;;
"run download") [ "$3" = 4711 ] && cp -r "$LAST_RUN" last ;;
*) exit 1 ;;
esac
"""
NEWEST_OF_ITS_KIND = (
    "run list --workflow mlflow-gc.yml --branch main --event schedule "
    "--status success --limit 1 --json databaseId --jq .[].databaseId"
)


@pytest.fixture
def last_run(tmp_path: Path) -> Path:
    """Where the artifact of the last successful scheduled run on main is, once there is one."""
    return tmp_path / "last-run"


@pytest.fixture
def runner(world: World, api: GitHubApi, tmp_path: Path, last_run: Path) -> Runner:
    """A machine of a repository with its variable and secrets."""
    program = tmp_path / "bin" / "gh"
    program.parent.mkdir()
    program.write_text(GH)
    program.chmod(0o755)
    env = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "LAST_RUN": str(last_run),
        "ASKED": str(tmp_path / "asked"),
    }
    machine = Runner(tmp_path / "machine", api.uri, env=env)
    machine.variables["MLFLOW_TRACKING_URI"] = world.uri
    machine.secrets = {"MLFLOW_REPORT_TOKEN": "reads", "MLFLOW_TRACKING_TOKEN": "deletes"}
    return machine


def test_report_weekly_apply_when_approved(world: World, runner: Runner, last_run: Path) -> None:
    """First week, second week with what changed since, approval, what was approved goes."""
    runs = world.bulk_runs(world.experiment(age=FRESH), 3)
    weekly = workflow("mlflow-gc.yml")
    first = runner.job(weekly, "report").expect(0)
    assert "This is the first." in first.log
    assert first.outputs["deletes"] == "3"

    (runner.artifacts / "prune-plan").rename(last_run)
    newcomer = world.run(world.experiment(age=FRESH), age=OLD)
    report = runner.job(weekly, "report").expect(0)
    assert newcomer in report.summary.partition("The whole plan")[0], "in what has changed"
    asked = (last_run.parent / "asked").read_text().splitlines()
    download = "run download 4711 --name prune-plan --dir last"
    assert asked == [NEWEST_OF_ITS_KIND, NEWEST_OF_ITS_KIND, download], "by its id, never by name"

    apply = runner.job(weekly, "apply", {"report": report}).expect(0)
    plan_id = Plan.load(runner.artifacts / "prune-plan" / "prune-plan.json").plan_id
    assert apply.name == f"Apply {plan_id}", "what the approval asks about"
    gone = {("run", run) for run in [*runs, newcomer]}
    assert not gone & oracle.look(world.database).active
    assert (runner.artifacts / "prune-plan-journal-1").exists()


def test_only_main_deletes(world: World, runner: Runner) -> None:
    """Whoever starts the workflow on another branch gets a report and no more."""
    world.bulk_runs(world.experiment(age=FRESH), 1)
    runner.github["ref"] = "refs/heads/feature"
    report = runner.job(workflow("mlflow-gc.yml"), "report").expect(0)
    assert report.outputs["deletes"] == "1"
    assert not runner.job(workflow("mlflow-gc.yml"), "apply", {"report": report}).steps
    runner.inputs = {"plan-id": report.outputs["plan-id"], "run-id": "77"}
    assert not runner.job(workflow("mlflow-gc-apply.yml"), "apply").steps


def test_nothing_to_delete_asks_nobody(runner: Runner) -> None:
    """The second job is skipped."""
    weekly = workflow("mlflow-gc.yml")
    report = runner.job(weekly, "report").expect(0)
    assert not runner.job(weekly, "apply", {"report": report}).steps


def test_another_plan_than_the_approved_one(world: World, runner: Runner) -> None:
    """The artifact was replaced while the job waited."""
    world.bulk_runs(world.experiment(age=FRESH), 3)
    weekly = workflow("mlflow-gc.yml")
    approved = runner.job(weekly, "report").expect(0)
    world.bulk_runs(world.experiment(age=FRESH), 1)
    runner.job(weekly, "report").expect(0)
    before = oracle.look(world.database)
    runner.job(weekly, "apply", {"report": approved}).expect(5)
    assert oracle.look(world.database) == before


def test_approve_by_typing_the_digest(world: World, runner: Runner) -> None:
    """The inputs of the run are the approval."""
    world.bulk_runs(world.experiment(age=FRESH), 2)
    report = runner.job(workflow("mlflow-gc.yml"), "report").expect(0)
    by_hand = workflow("mlflow-gc-apply.yml")
    runner.inputs = {"plan-id": "sha256:" + "0" * 64, "run-id": "77"}
    runner.job(by_hand, "apply").expect(5)
    runner.inputs = {"plan-id": report.outputs["plan-id"], "run-id": "77"}
    runner.job(by_hand, "apply").expect(0)
    assert runner.used[-2] == (
        "actions/download-artifact",
        {"name": "prune-plan", "path": "plan", "run-id": "77", "github-token": "job-token"},
    )
    assert len(oracle.look(world.database).active) == 2


def test_what_a_change_of_the_policy_does(world: World, api: GitHubApi, tmp_path: Path) -> None:
    """The comment shows what goes by the new policy and did not by the old one."""
    spared = world.run(world.experiment("sandbox", age=FRESH), age=20)
    world.bulk_runs(world.experiment(age=FRESH), 2, name="anyway")
    event = ("pull_request", {"pull_request": {"number": 7}})
    runner = Runner(tmp_path / "machine", api.uri, event=event, base_ref="main")
    runner.variables["MLFLOW_TRACKING_URI"] = world.uri

    def checkout(path: Path, inputs: dict[str, str]) -> None:
        path.mkdir(exist_ok=True)
        ttl = {"main": "30d", None: "10d"}[inputs.get("ref")]
        (path / "mlflow-gc.yml").write_text(f"version: 1\ndefaults: {{ttl: {ttl}}}\n")

    runner.checkout = checkout
    job = runner.job(workflow("mlflow-gc-policy.yml"), "compare").expect(0)
    (comment,) = api.comments
    changed = comment["body"].partition("The whole plan")[0]
    assert spared in changed
    assert "anyway" not in changed
    assert "policy" in changed
    assert {a.name for a in runner.artifacts.iterdir()} == {"base", "policy"}
    assert job.commands == []
