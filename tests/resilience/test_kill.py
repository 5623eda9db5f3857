"""SIGKILL anywhere: the next command finishes the job, and nothing is lost or done twice.

The proxy kills the program at a chosen request, before it reaches the server or once it was
carried out.  The moments are seeded; what is demanded holds for every moment.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from support import depth
from support import proxy as faults
from support.durability import (
    Estate,
    Snapshot,
    assert_all_is_back,
    assert_journal_is_complete,
    assert_journal_is_true,
    assert_only_planned,
    rows_of,
    settled,
)
from support.oracle import look
from support.plans import Plan
from support.proxy import Fault, Proxy, Seen, deletions
from support.world import FRESH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.bench import Bench
    from support.cli import Running
    from support.world import World

    from mlflow_gc.demo.server import LocalServer

YESTERDAY = '{"format": "mlflow-gc/prune-plan", "of": "yesterday"}'
BEFORE = "before it reached the server"
AFTER = "after it was carried out"


@pytest.fixture(scope="module")
def estate(shared_bench: Bench, server: LocalServer) -> Iterator[Estate]:
    """A small one; every case puts the server back first."""
    with Proxy(server.uri) as proxy, settled(shared_bench, proxy) as made:
        yield made


def _strike(victim: Future[Running]) -> None:
    """Kill the program and wait until it is gone: it sees no answer any more."""
    running = victim.result()
    with suppress(ProcessLookupError):
        while True:
            os.kill(running.pid, signal.SIGKILL)
            time.sleep(0.001)


def killed_at(bench: Bench, proxy: Proxy, index: int, when: str, *args: object) -> bool:
    """Run a command and kill it at one request; then nothing of it is under way any more.

    Returns:
        Whether that request came; where it did not, the command ended in order.
    """
    victim: Future[Running] = Future()
    if when == BEFORE:
        proxy.at(index, lambda: _strike(victim), faults.RESET_BEFORE)
    else:
        proxy.fail_at(index, Fault("killed", then=lambda: _strike(victim), reset="after"))
    victim.set_result(bench.cli.start(*args, env={"MLFLOW_TRACKING_URI": proxy.uri}))
    outcome = victim.result().wait()
    proxy.settle()
    # On a slow machine evidence is read more often, on a fast one less: the last requests may have
    # other numbers.  Tests count how often.
    came = len(proxy.seen) > index
    assert outcome.code == (-signal.SIGKILL if came else 0), f"{outcome}"
    return came


def _moments(requests: list[Seen], shares: float) -> list[tuple[int, str]]:
    """Return where to kill: all moments, or a share of the writes and of the reads."""
    if depth.chosen.share == 1:
        return [(seen.index, when) for seen in requests for when in (BEFORE, AFTER)]

    def every(seen: Seen) -> int:
        return max(1, round((shares if seen.is_write else 30 * shares) / (40 * depth.chosen.share)))

    return [
        (seen.index, (BEFORE, AFTER)[(seen.index + depth.seed) % 2])
        for seen in requests
        if (seen.index + depth.seed // 2) % every(seen) == 0
    ]


def _seeds(count: int) -> list[int]:
    """Return so many seeds, or where more is tried ten times as many."""
    return [depth.seed + n for n in range(count if depth.chosen.share < 1 / 10 else 10 * count)]


def _at_each_moment(
    requests: list[Seen], check: Callable[[int, str], bool], *, shares: float
) -> None:
    """Check all moments; ``check`` says whether the program was killed, nearly always it is."""
    moments = _moments(requests, shares)
    wrong = []
    missed = 0
    for index, when in moments:
        seen = requests[index]
        try:
            # Where there are fewer requests this time, earlier ones take the place of the last.
            missed += not (check(index, when) or check(index * 3 // 4, when))
        except AssertionError as problem:
            words = str(problem).split("\n--- stdout")[0][:1500]
            wrong.append(f"killed at request {index} ({seen.path}) {when}: {words}")
    assert not wrong, f"{len(wrong)} of {len(moments)} cases:\n" + "\n".join(wrong)
    assert missed <= len(moments) / 10, f"{missed} of {len(moments)} were not killed at all"


@pytest.mark.smoke
@pytest.mark.timeout(1200)
def test_a_prune_killed_at_any_request_is_finished_by_the_next(estate: Estate) -> None:
    """The same end, each deletion told, none repeated, and all of it can be restored."""

    def check(index: int, when: str) -> bool:
        estate.before.put_back()
        estate.proxy.forget()
        journal = estate.fresh_journal()
        command = ("prune", estate.plan.path, "--journal", journal)
        came = killed_at(estate.bench, estate.proxy, index, when, *command)
        gone = assert_only_planned(look(estate.before.database), estate.before.state, estate.plan)
        assert_journal_is_true(journal, estate.plan, gone)

        estate.proxy.forget()
        estate.prune(journal).expect(0)
        assert not gone & set(deletions(estate.proxy.seen)), "deleted a second time"
        assert rows_of(estate.before.database) == estate.after.rows, "another end"
        assert_journal_is_complete(journal, estate.plan)
        if depth.chosen.share == 1 or index % 3 == 0:
            estate.restore(journal).expect(0)
            assert_all_is_back(estate.before, estate.plan)
        return came

    _at_each_moment(estate.requests, check, shares=1)


@pytest.mark.smoke
@pytest.mark.timeout(1200)
def test_a_killed_prune_can_be_restored_at_once(estate: Estate) -> None:
    """Without finishing it first: what it had begun is put back, told or not."""

    def check(index: int, when: str) -> bool:
        estate.before.put_back()
        estate.proxy.forget()
        journal = estate.fresh_journal()
        command = ("prune", estate.plan.path, "--journal", journal)
        came = killed_at(estate.bench, estate.proxy, index, when, *command)
        estate.proxy.forget()
        # Killed before the journal was begun, there is nothing to restore from.
        if journal.exists() and journal.stat().st_size:
            estate.restore(journal).expect(0)
        gone = look(estate.before.database).gone_since(estate.before.state)
        assert {kind for kind, _ in gone} <= {"model_version"}, f"not restored: {gone}"
        if not gone:
            assert rows_of(estate.before.database) == estate.before.rows
        return came

    _at_each_moment(estate.requests, check, shares=3)


@pytest.mark.smoke
@pytest.mark.timeout(1200)
def test_a_restore_killed_at_any_request_is_finished_by_the_next(estate: Estate) -> None:
    """Nothing more is lost, and in the end all is as before the prune."""
    own = estate.journal.with_name(f"{estate.journal.name}.restore.jsonl")

    def check(index: int, when: str) -> bool:
        estate.after.put_back()
        estate.proxy.forget()
        own.unlink(missing_ok=True)
        command = ("restore", estate.journal, "--yes")
        came = killed_at(estate.bench, estate.proxy, index, when, *command)
        assert estate.after.state.active <= look(estate.before.database).active
        estate.proxy.forget()
        estate.restore(estate.journal).expect(0)
        assert_all_is_back(estate.before, estate.plan)
        return came

    _at_each_moment(estate.restoring, check, shares=1)


# A bigger prune, with many calls under way at once


def _furnish(world: World, runs: int) -> None:
    """Hundreds of stale runs, a third of them nested three deep, in four experiments."""
    homes = [world.experiment() for _ in range(3)]
    homes.append(world.experiment(age=FRESH))
    for home in homes:
        ids = world.bulk_runs(home, runs // len(homes))
        for root, child, leaf in zip(ids[::9], ids[1::9], ids[2::9], strict=False):
            for parent, nested in ((root, child), (child, leaf)):
                world.sql(
                    "INSERT INTO tags (key, value, run_uuid) VALUES ('mlflow.parentRunId', ?, ?)",
                    parent,
                    nested,
                )
        # In the trash from before: it belongs there after a restore, too.
        world.delete_run(ids[5])
    world.run(homes[-1])
    world.run(homes[-1], status="RUNNING")
    name = world.model()
    world.version(name)
    world.version(name)
    world.version(name, age=FRESH)


RUNS = 240


@pytest.mark.parametrize("seed", _seeds(1))
def test_a_prune_killed_again_and_again_in_full_flight_is_finished_in_the_end(
    bench: Bench, proxy: Proxy, seed: int
) -> None:
    """Two kills at random moments among parallel deletes, then a prune that may finish."""
    _furnish(bench.world, RUNS)
    plan = bench.report()
    assert len(plan.runs) > RUNS - 10
    before = Snapshot(bench.world.database)
    journal = bench.journal_path(plan)
    command = ("prune", plan.path, "--journal", journal)
    chance = random.Random(seed)
    deleted: list[tuple[str, str]] = []
    # So late that deletes are under way, so early that the program has not ended by then.
    for earliest, latest in ((30, RUNS), (20, 40)):
        proxy.forget()
        index = chance.randrange(earliest, latest)
        assert killed_at(bench, proxy, index, chance.choice((BEFORE, AFTER)), *command)
        deleted += [e for s in proxy.seen if s.upstream == 200 for e in deletions([s])]
        gone = assert_only_planned(look(bench.world.database), before.state, plan)
        assert_journal_is_true(journal, plan, gone)
    proxy.forget()
    bench.cli(*command, env={"MLFLOW_TRACKING_URI": proxy.uri}).expect(0)
    deleted += [e for s in proxy.seen if s.upstream == 200 for e in deletions([s])]
    assert sorted(deleted) == sorted(plan.entities), "deleted twice, or not at all"
    assert look(bench.world.database).gone_since(before.state) == plan.entities
    assert_journal_is_complete(journal, plan)
    bench.cli("restore", journal, "--yes").expect(0)
    assert_all_is_back(before, plan)
    before.close()


# Reports


def test_a_report_killed_at_any_request_leaves_the_old_plan_alone(estate: Estate) -> None:
    """Not a byte of the plan of yesterday is touched, and no half of a new one lies beside it."""
    estate.before.put_back()
    directory = estate.bench.dir / "reports"
    directory.mkdir()
    path = directory / "plan.json"
    estate.proxy.forget()
    estate.report(path).expect(0)
    requests = estate.proxy.seen
    path.write_text(YESTERDAY)

    def check(index: int, when: str) -> bool:
        estate.proxy.forget()
        came = killed_at(estate.bench, estate.proxy, index, when, "report", "-o", path)
        if came:
            assert path.read_text() == YESTERDAY
        path.write_text(YESTERDAY)
        assert [p.name for p in directory.iterdir()] == ["plan.json"]
        return came

    _at_each_moment(requests, check, shares=0.2)


@pytest.mark.smoke
@pytest.mark.parametrize("seed", _seeds(2))
def test_a_report_killed_while_it_writes_leaves_the_old_plan_or_the_new_one(
    estate: Estate, seed: int
) -> None:
    """Never a part of one: killed at a random moment after the last answer."""
    estate.before.put_back()
    path = estate.bench.dir / "plan-of-yesterday.json"
    estate.proxy.forget()
    estate.report(path).expect(0)
    last = len(estate.proxy.seen) - 1
    fresh = Plan.load(path).document
    path.write_text(YESTERDAY)
    estate.proxy.forget()
    victim: Future[Running] = Future()
    # Whenever this timer fires: what is demanded holds for every moment.
    timer = threading.Timer(random.Random(seed).uniform(0, 0.06), lambda: _strike(victim))
    estate.proxy.fail_at(last, Fault("the last answer", then=timer.start))
    command = ("report", "-o", path, "--as-of", estate.bench.world.as_of)
    uri = {"MLFLOW_TRACKING_URI": estate.proxy.uri}
    victim.set_result(estate.bench.cli.start(*command, env=uri))
    outcome = victim.result().wait().expect(0, -signal.SIGKILL)
    timer.join()
    if path.read_text() == YESTERDAY:
        assert outcome.code
        estate.proxy.forget()
        estate.report(path).expect(0)
    assert {**Plan.load(path).document, "created_at": ""} == {**fresh, "created_at": ""}
