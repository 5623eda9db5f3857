"""Experiments are looked at and deleted together; what is wrong with one stops no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support import proxy as faults
from support.world import KEEP_TAG

from mlflow_gc.apply import deletion

if TYPE_CHECKING:
    import pytest
    from support.bench import Bench
    from support.proxy import Proxy

PARTIAL = 3
MANY = 130
"""More than one batch."""


def _through(proxy: Proxy) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": proxy.uri}


def test_each_of_many_is_judged_on_its_own(bench: Bench, proxy: Proxy) -> None:
    world = bench.world
    empty = [world.experiment(f"team/{n}") for n in range(MANY)]
    plan = bench.report()
    wanted, used, another, binned = empty[3], empty[70], empty[71], empty[125]
    world.tag_experiment(wanted, KEEP_TAG, "true")
    run = world.run(used, age=90.0)
    world.date_experiment(another, created=world.ago(99.0))
    world.delete_experiment(binned)
    outcome, journal = bench.prune(plan, env=_through(proxy))
    assert journal.skips == {
        ("experiment", wanted): "protected",
        ("experiment", used): "changed",
        ("experiment", another): "changed",
        ("experiment", binned): "already_deleted",
    }, outcome.text
    left = {("experiment", e) for e in (wanted, used, another)} | {("run", run)}
    assert left <= bench.state().active
    assert journal.with_outcome("deleted") == {("experiment", e) for e in empty} - (
        left | {("experiment", binned)}
    )


def test_what_protects_is_read_by_the_batch_not_by_the_experiment(
    bench: Bench, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a slow machine an experiment is looked at again, alone.
    monkeypatch.setattr(deletion, "RECHECK_VALID_S", 600.0)
    world = bench.world
    experiments = [world.experiment(f"team/{n}") for n in range(MANY)]
    runs = [world.run(experiment) for experiment in experiments[:20]]
    plan = bench.report()
    bench.prune(plan, env=_through(proxy))
    gone = {("experiment", e) for e in experiments} | {("run", r) for r in runs}
    assert not gone & bench.state().active
    # Of review queues there is no list for several experiments.
    queues = len(proxy.requests("GET", "review-queues/list$"))
    assert queues == len(experiments)
    rest = len(proxy.seen) - len(experiments) - len(runs) - queues
    assert rest < MANY, f"{rest} requests beside the deletions"


def test_an_experiment_that_cannot_be_read_stops_no_other(bench: Bench, proxy: Proxy) -> None:
    world = bench.world
    experiments = [world.experiment(f"team/{n}") for n in range(12)]
    broken = experiments[5]
    plan = bench.report()
    own = f'"{broken}"'
    proxy.fail("POST", "runs/search$", faults.FORBIDDEN, body=own, times=float("inf"))
    _, journal = bench.prune(plan, env=_through(proxy), codes=(PARTIAL,))
    assert journal.with_outcome("failed") == {("experiment", broken)}
    assert journal.with_outcome("deleted") == {("experiment", e) for e in experiments} - {
        ("experiment", broken)
    }
    proxy.forget()
    bench.prune(plan, env=_through(proxy))
    assert not {("experiment", e) for e in experiments} & bench.state().active


def test_restore_brings_back_each_with_what_was_in_it(bench: Bench) -> None:
    world = bench.world
    experiments = [world.experiment(f"team/{n}") for n in range(25)]
    runs = {("run", world.run(e)) for e in experiments}
    binned = world.run(experiments[7])
    world.delete_run(binned)
    before = bench.state().active
    plan = bench.report()
    bench.prune(plan)
    assert not runs & bench.state().active
    bench.cli("restore", bench.journal_path(plan), "--yes").expect(0)
    assert bench.state().active == before
    assert ("run", binned) not in bench.state().active
