"""``free_experiment_names``: an experiment is renamed for its deletion, so that its name is free."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from support import proxy as faults
from support import server as store
from support.plans import Journal
from support.proxy import Fault
from support.world import KEEP_TAG

if TYPE_CHECKING:
    from pathlib import Path

    from support.bench import Bench
    from support.cli import Running
    from support.plans import Plan
    from support.proxy import Proxy
    from support.world import World

PARTIAL = 3
ALWAYS = float("inf")
NAMES = ["nightly", "команда/модель 🦄", "x" * 250, "  \u202eodd\n<b>"]


def _names(world: World) -> dict[str, tuple[str, str]]:
    """Experiment -> its name and stage."""
    with store.open_database(world.database) as db:
        rows = db.execute("SELECT experiment_id, name, lifecycle_stage FROM experiments")
        return {str(i): (name, stage) for i, name, stage in rows}


def _through(proxy: Proxy) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": proxy.uri}


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yml"
    path.write_text("version: 1\nfree_experiment_names: true\n")
    return path


def _freed(experiment_id: str, name: str, names: dict[str, tuple[str, str]]) -> bool:
    """Whether an experiment is in the trash with the name that the policy gives it."""
    found, stage = names[experiment_id]
    end = found[-len(f" (deleted 2026-11-29T12:00:00.000Z, id {experiment_id})") :]
    return (
        stage == "deleted"
        and end.startswith(" (deleted 2")
        and end.endswith(f", id {experiment_id})")
        and found == name[: 256 - len(end)] + end
    )


def test_names_of_deleted_experiments_are_free_until_they_are_restored(
    bench: Bench, policy: Path
) -> None:
    world = bench.world
    made = {world.experiment(name): name for name in NAMES}
    run = world.run(next(iter(made)))
    before = _names(world)
    plan = bench.report("--policy", policy)
    assert plan.experiments == made.keys()
    assert plan.document["policy"]["free_experiment_names"] is True
    for view in ("text", "markdown", "html"):
        shown = bench.cli("show", plan.path, "--format", view).expect(0)
        assert "experiments are renamed, so their names are free" in " ".join(shown.out.split()), (
            view
        )
    bench.prune(plan, "--dry-run")
    assert _names(world) == before
    _, journal = bench.prune(plan)
    now = _names(world)
    assert all(_freed(i, name, now) for i, name in made.items()), now
    assert journal.with_outcome("deleted") == {("run", run), *(("experiment", i) for i in made)}
    bench.cli("validate", bench.journal_path(plan)).expect(0)
    # Last quarter's job runs again, with the same name.
    first, second = list(made)[:2]
    again = world.experiment(made[first])
    restore = ("restore", bench.journal_path(plan), "--yes")
    outcome = bench.cli(*restore).expect(PARTIAL)
    assert f"experiment {again} has its name" in " ".join(outcome.out.split())
    now = _names(world)
    assert now.pop(again) == (made[first], "active")
    assert now.pop(first)[0] != made[first]
    assert now == {i: found for i, found in before.items() if i != first}
    assert ("run", run) in bench.state().active
    # Once the name is free, the same command gives it back.
    world.call("POST", "experiments/update", {"experiment_id": again, "new_name": "other"})
    bench.cli(*restore).expect(0)
    assert _names(world)[first] == (made[first], "active")
    assert _names(world)[second] == before[second]


def test_the_names_come_back_whichever_prune_freed_them(bench: Bench, policy: Path) -> None:
    """An older journal gives back what a newer prune freed, as far as it can know."""
    world = bench.world
    made = {world.experiment(name): name for name in NAMES}
    long = next(i for i, name in made.items() if len(name) == 250)
    before = _names(world)
    first = bench.report()
    bench.prune(first)
    bench.cli("restore", bench.journal_path(first), "--yes").expect(0)

    def prune_again(name: str) -> Plan:
        for experiment in made:
            world.date_experiment(experiment, updated=world.ago(100))
        plan = bench.report("--policy", policy, name=name)
        bench.prune(plan)
        assert all(_freed(i, name, _names(world)) for i, name in made.items())
        return plan

    second = prune_again("second.json")
    # The first prune freed no names, so its journal has none; of the long one the end is lost.
    outcome = bench.cli("restore", bench.journal_path(first), "--yes").expect(PARTIAL)
    assert f"experiment {long} is back, but" in " ".join(outcome.text.split())
    now = _names(world)
    assert _freed(long, made[long], {long: (now.pop(long)[0], "deleted")})
    assert now == {i: found for i, found in before.items() if i != long}
    bench.cli("restore", bench.journal_path(second), "--yes").expect(0)
    assert _names(world) == before
    prune_again("third.json")
    bench.cli("restore", bench.journal_path(second), "--yes").expect(0)
    assert _names(world) == before


def test_restored_is_counted_what_was_not_there(bench: Bench, policy: Path) -> None:
    """Somebody has the name of one: it is back, and a second restore cannot help it either."""
    world = bench.world
    experiment = world.experiment("nightly")
    run = world.run(experiment)
    plan = bench.report("--policy", policy)
    bench.prune(plan)
    other = world.experiment("nightly")
    restore = ("restore", bench.journal_path(plan), "--yes")
    preview = bench.cli(*restore, "--dry-run").expect(PARTIAL).text
    assert f"experiment {experiment} would be back, but" in " ".join(preview.split())
    assert "experiments: 1 restored" in bench.cli(*restore).expect(PARTIAL).text
    outcome = bench.cli(*restore).expect(PARTIAL)
    assert "experiments: 0 restored" in outcome.text
    assert f"because experiment {other} has its name" in " ".join(outcome.text.split())
    undone = Journal.load(bench.dir / f"{bench.journal_path(plan).name}.restore.jsonl")
    assert [(r["id"], r["outcome"]) for r in undone.records] == [
        (experiment, "restored"),
        (run, "restored"),
        (experiment, "skipped"),
        (run, "skipped"),
    ]


def test_without_the_policy_names_stay(bench: Bench) -> None:
    world = bench.world
    experiment = world.experiment("nightly")
    plan = bench.report()
    bench.prune(plan)
    assert _names(world)[experiment] == ("nightly", "deleted")


@pytest.mark.parametrize("uri", ["server", "database"])
def test_a_deletion_that_is_refused_leaves_the_name(
    bench: Bench, proxy: Proxy, policy: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the same plan can be applied by who may: the time of its last update is ours."""
    from mlflow_gc.backend.interface import Failure, ServerError
    from mlflow_gc.backend.mlflow_store import StoreGateway

    world = bench.world
    made = {world.experiment(name): name for name in NAMES}
    plan = bench.report("--policy", policy)
    before = _names(world)
    if uri == "server":
        env = _through(proxy)
        proxy.fail("POST", "experiments/delete$", faults.FORBIDDEN, times=ALWAYS)
    else:
        env = {"MLFLOW_TRACKING_URI": f"sqlite:///{world.database}"}

        def refuse(_self: StoreGateway, _experiment_id: str) -> None:
            raise ServerError("Not today.", Failure.FORBIDDEN)

        monkeypatch.setattr(StoreGateway, "delete_experiment", refuse)
    _, journal = bench.prune(plan, env=env, codes=(PARTIAL,))
    assert _names(world) == before
    assert journal.skips == {("experiment", i): "forbidden" for i in made}
    monkeypatch.undo()
    proxy.forget()
    bench.prune(plan, env=env)
    assert all(_freed(i, name, _names(world)) for i, name in made.items())
    bench.cli("restore", bench.journal_path(plan), "--yes", env=env).expect(0)
    assert _names(world) == before


def test_unclear_answers_and_refused_renames(bench: Bench, proxy: Proxy, policy: Path) -> None:
    """Whatever went through: in the trash with the new name, or active with the old one."""
    world = bench.world
    made = {world.experiment(f"team/{n}"): f"team/{n}" for n in range(6)}
    lost, late, taken, refused, denied, plain = made
    plan = bench.report("--policy", policy)
    for experiment, path, fault, times in (
        (lost, "experiments/update$", faults.RESET_AFTER, 1),
        (lost, "experiments/delete$", faults.SERVER_ERROR_AFTER, 1),
        (late, "experiments/delete$", faults.RESET_BEFORE, 2),
        (refused, "experiments/delete$", faults.SERVER_ERROR, ALWAYS),
        (denied, "experiments/update$", faults.FORBIDDEN, ALWAYS),
    ):
        body = rf'"experiment_id": ?"{experiment}"'
        proxy.fail("POST", path, fault, body=body, times=times)

    def take() -> None:
        """Somebody has that very name first."""
        sent = proxy.requests("POST", "experiments/update$")[-1].body
        world.experiment(json.loads(sent)["new_name"])

    proxy.before("POST", "experiments/update$", take, body=rf'"experiment_id": ?"{taken}"')
    outcome, journal = bench.prune(plan, env=_through(proxy), codes=(PARTIAL,))
    assert "SQL" not in outcome.text + str(journal.records)
    now = _names(world)
    for experiment in (lost, late, plain):
        assert _freed(experiment, made[experiment], now)
    for experiment in (taken, refused, denied):
        assert now[experiment] == (made[experiment], "active")
    assert journal.with_outcome("failed") == {("experiment", taken), ("experiment", refused)}
    assert journal.skips == {("experiment", denied): "forbidden"}
    proxy.forget()
    bench.prune(plan, env=_through(proxy))
    now = _names(world)
    assert all(_freed(experiment, made[experiment], now) for experiment in made)


def test_what_is_rolled_back_at_once_has_its_name(bench: Bench, proxy: Proxy, policy: Path) -> None:
    """Somebody wrote a run into it in the very moment of its deletion."""
    world = bench.world
    used, other = world.experiment("used"), world.experiment("other")
    plan = bench.report("--policy", policy)
    body = rf'"experiment_id": ?"{used}"'
    write = threading.Lock()

    def use() -> None:
        with write:
            world.run(used, age=0)

    proxy.fail("POST", "experiments/update$", Fault("used", then=use), body=body)
    bench.prune(plan, env=_through(proxy))
    assert _names(world)[used] == ("used", "active")
    assert _freed(other, "other", _names(world))


def _killed_between(bench: Bench, proxy: Proxy, plan: Plan, count: int) -> None:
    """Prune, and kill it once it has renamed so many experiments and deleted none."""
    victim: Future[Running] = Future()

    def strike() -> None:
        running = victim.result()
        while sum(s.status == 200 for s in proxy.requests("POST", "experiments/update$")) < count:
            time.sleep(0.01)
        with suppress(ProcessLookupError):
            while True:
                os.kill(running.pid, signal.SIGKILL)
                time.sleep(0.001)

    fault = Fault("killed", status=500, then=strike)
    proxy.fail("POST", "experiments/delete$", fault, times=ALWAYS)
    args = ("prune", plan.path, "--journal", bench.journal_path(plan))
    victim.set_result(bench.cli.start(*args, env=_through(proxy)))
    assert victim.result().wait().code == -signal.SIGKILL
    proxy.settle()
    proxy.forget()


@pytest.mark.parametrize(
    "meanwhile", ["nothing", "kept", "used", "renamed", "renamed back", "restored"]
)
def test_the_prune_after_a_kill_between_rename_and_deletion(
    bench: Bench, proxy: Proxy, policy: Path, meanwhile: str
) -> None:
    """It deletes what it may, and gives others their names back; what others did stays."""
    world = bench.world
    experiment = world.experiment("team/1")
    plan = bench.report("--policy", policy)
    before = _names(world)
    _killed_between(bench, proxy, plan, 1)
    name, stage = _names(world)[experiment]
    assert stage == "active"
    assert name.startswith("team/1 (deleted ")
    journal = Journal.load(bench.journal_path(plan), torn=True)
    (intent,) = journal.of_type("intent")
    assert (intent["undo"]["name"], intent["undo"]["freed_name"]) == ("team/1", name)
    if meanwhile == "nothing":
        # What only looks knows whose doing the new name is, too.
        beside = plan.path.with_name(f"{plan.path.name}.journal.jsonl")
        shutil.copy(bench.journal_path(plan), beside)
        bench.cli("check", plan.path, "--detailed-exitcode").expect(0)
        bench.prune(plan, "--dry-run")
        assert _names(world)[experiment] == (name, stage)
    elif meanwhile == "kept":
        world.tag_experiment(experiment, KEEP_TAG, "true")
    elif meanwhile == "used":
        world.run(experiment, age=0)
    elif meanwhile in {"renamed", "renamed back"}:
        # Whoever did it has seen the experiment, and may be about to use it.
        new_name = "mine" if meanwhile == "renamed" else "team/1"
        new = {"experiment_id": experiment, "new_name": new_name}
        world.call("POST", "experiments/update", new)
    elif meanwhile == "restored":
        # Somebody brought it back from the trash, a while later.
        world.date_experiment(experiment, updated=int(time.time() * 1000) + 6 * 60_000)
    _, journal = bench.prune(plan)
    code = {"nothing": None, "kept": "protected"}.get(meanwhile, "changed")
    assert journal.skips == ({("experiment", experiment): code} if code else {})
    after = {**before, experiment: ("mine", "active")} if meanwhile == "renamed" else before
    if meanwhile == "nothing":
        assert _freed(experiment, "team/1", _names(world))
    else:
        assert _names(world) == after
    bench.cli("restore", bench.journal_path(plan), "--yes").expect(0)
    assert _names(world) == after


def test_the_restore_after_a_kill_between_rename_and_deletion(
    bench: Bench, proxy: Proxy, policy: Path
) -> None:
    world = bench.world
    made = {world.experiment(f"team/{n}"): f"team/{n}" for n in range(2)}
    plan = bench.report("--policy", policy)
    before = _names(world)
    _killed_between(bench, proxy, plan, len(made))
    assert _names(world) != before
    restore = ("restore", bench.journal_path(plan), "--yes")
    bench.cli(*restore, "--dry-run").expect(0)
    assert _names(world) != before
    bench.cli(*restore).expect(0)
    assert _names(world) == before
    undone = Journal.load(bench.dir / f"{bench.journal_path(plan).name}.restore.jsonl")
    assert undone.with_outcome("restored") == {("experiment", i) for i in made}
