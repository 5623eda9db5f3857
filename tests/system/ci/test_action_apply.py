"""``mode: apply``: the approved plan and no other, and a journal whatever happens."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import pytest
from support import oracle
from support.github import GitHubApi, Runner
from support.plans import Journal, Plan
from support.proxy import FORBIDDEN, Proxy
from support.world import FRESH

if TYPE_CHECKING:
    from pathlib import Path

    from support.world import World

OTHER = "sha256:" + "0" * 64


@pytest.fixture
def runner(world: World, api: GitHubApi, tmp_path: Path) -> Runner:
    """A machine with the server's address."""
    return Runner(tmp_path / "machine", api.uri, env={"MLFLOW_TRACKING_URI": world.uri})


def test_report_change_report_apply(world: World, runner: Runner) -> None:
    """The whole way: what was approved is refused once it is another plan, and applied if not."""
    runs = world.bulk_runs(world.experiment(age=FRESH), 5)
    first = runner.action(as_of=world.as_of).expect(0)
    world.tag_run(runs[0], "mlflow_gc.keep", "true")
    (runner.workspace / "prune-plan.json").rename(runner.workspace / "last.json")
    second = runner.action(as_of=world.as_of, base_plan="last.json").expect(0)
    assert second.outputs["changes"] == "true"
    assert runs[0] in second.summary

    before = oracle.look(world.database)
    wrong = runner.action(mode="apply", expect=first.outputs["plan-id"]).expect(5)
    assert oracle.look(world.database) == before
    assert "refused, nothing was changed" in wrong.summary
    assert first.outputs["plan-id"] in wrong.summary
    assert second.outputs["plan-id"] in wrong.summary, "the program's own words"
    assert [kind for kind, _ in wrong.commands] == ["error"]
    assert not [name for name in runner.artifacts.iterdir() if "journal" in name.name]

    done = runner.action(mode="apply", expect=second.outputs["plan-id"]).expect(0)
    assert done.outputs["exit-code"] == "0"
    assert done.outputs["plan-id"] == second.outputs["plan-id"]
    assert done.commands == []
    assert "applied" in done.summary
    (uploaded,) = (runner.artifacts / "prune-plan-journal-1").iterdir()
    journal = Journal.load(uploaded)
    assert journal.with_outcome("deleted") == {("run", run) for run in runs[1:]}
    assert ("run", runs[0]) in oracle.look(world.database).active

    again = runner.action(mode="apply", expect=second.outputs["plan-id"], name="again").expect(0)
    assert "applied" in again.summary


def test_nothing_beside_the_plan_is_run(world: World, runner: Runner, tmp_path: Path) -> None:
    """Whoever made the artifact could put modules into it; the token that deletes is there now."""
    world.bulk_runs(world.experiment(age=FRESH), 1)
    marker = tmp_path / "imported"
    for directory in (runner.workspace, runner.workspace / "plan"):
        directory.mkdir(exist_ok=True)
        for name in ("venv", "logging", "json", "mlflow", "mlflow_gc", "sitecustomize"):
            (directory / f"{name}.py").write_text(f"open({str(marker)!r}, 'a').write('{name}')\n")
    job = runner.action(as_of=world.as_of, plan="plan/prune-plan.json").expect(0)
    env = {"PYTHONPATH": str(runner.workspace)}
    approved = job.outputs["plan-id"]
    runner.action(env, mode="apply", plan="plan/prune-plan.json", expect=approved).expect(0)
    assert not marker.exists(), marker.read_text()


@pytest.mark.parametrize("expect", ["", "sha256:abc", "a33520eb", f"{OTHER}\n"], ids=repr)
def test_without_an_approval_nothing_is_done(expect: str, runner: Runner) -> None:
    """An output that was empty must not mean 'whatever the file says'."""
    runner.action().expect(0)
    job = runner.action(mode="apply", expect=expect).expect(64)
    assert [kind for kind, _ in job.commands] == ["error"]


def test_a_missing_plan(runner: Runner) -> None:
    """A usage error."""
    runner.action(mode="apply", expect=OTHER).expect(64)


def test_an_edited_plan_is_refused(world: World, runner: Runner) -> None:
    """One run smuggled in: the digest in the file still is the approved one."""
    world.bulk_runs(world.experiment(age=FRESH), 2)
    victim = world.run(world.experiment(age=FRESH), age=1)
    job = runner.action(as_of=world.as_of).expect(0)
    plan = Plan.load(runner.workspace / "prune-plan.json")

    def smuggle(document: dict[str, list[dict[str, object]]]) -> None:
        document["runs"][0]["run_id"] = victim

    plan.edited(plan.path, smuggle, sign=False)
    refused = runner.action(mode="apply", expect=job.outputs["plan-id"]).expect(5)
    assert "edited" in refused.summary
    assert ("run", victim) in oracle.look(world.database).active


def test_some_entities_failed(world: World, runner: Runner, proxy: Proxy) -> None:
    """3 fails the job, says so, and the journal is there."""
    world.bulk_runs(world.experiment(age=FRESH), 3)
    job = runner.action(as_of=world.as_of).expect(0)
    proxy.fail("POST", r"runs/delete$", FORBIDDEN)
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    done = runner.action(env, mode="apply", expect=job.outputs["plan-id"]).expect(3)
    assert "some entities could not be deleted" in done.summary
    (uploaded,) = (runner.artifacts / "prune-plan-journal-1").iterdir()
    assert len(Journal.load(uploaded).with_outcome("deleted")) == 2


def test_a_cancelled_job_ends_in_order(world: World, runner: Runner, proxy: Proxy) -> None:
    """The runner signals the step's process alone: the calls under way end, the journal is kept."""
    world.bulk_runs(world.experiment(age=FRESH), 300)
    job = runner.action(as_of=world.as_of).expect(0)
    proxy.before("POST", r"runs/delete$", runner.cancel, after=20)
    # Without that a quick server is done before the signal arrives.
    proxy.before("POST", r"runs/delete$", lambda: time.sleep(0.2), after=21, times=math.inf)
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    inputs = {"mode": "apply", "expect": job.outputs["plan-id"], "journal": "j.jsonl"}
    stopped = runner.action(env, **inputs).expect(143)
    assert "Stopped in order" in stopped.log
    assert "stopped in order" in stopped.summary
    (uploaded,) = (runner.artifacts / "prune-plan-journal-1").iterdir()
    journal = Journal.load(uploaded)
    assert 20 <= len(journal.with_outcome("deleted")) < 300
    assert journal.lines[-1]["type"] == "end"
