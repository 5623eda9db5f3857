"""Interrupts and crashes of ``prune``: a plan can be applied again and finishes the job.

A proxy sends the signal before it forwards a chosen delete, so each test stops at an exact point.
"""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from support import depth
from support.plans import Journal
from support.proxy import deletions
from support.world import FRESH

if TYPE_CHECKING:
    from support.bench import Bench
    from support.cli import Outcome, Running
    from support.oracle import Entity
    from support.plans import Plan
    from support.proxy import Proxy
    from support.world import World

RUNS = 60


def _estate(world: World) -> None:
    """Sixty runs, two experiments, two versions, and company that stays."""
    for _ in range(2):
        experiment = world.experiment()
        parent = world.run(experiment)
        world.run(experiment, parent=parent)
        world.bulk_runs(experiment, RUNS // 2 - 2)
    name = world.model()
    world.version(name)
    world.version(name)
    world.version(name, age=FRESH)
    world.run(world.experiment(), status="RUNNING")


def _stopped(
    bench: Bench, proxy: Proxy, plan: Plan, sig: signal.Signals, path: str, after: int
) -> Outcome:
    """Apply the plan and send ``sig`` at the delete number ``after`` + 1 of this kind."""
    running: list[Running] = []

    def strike() -> None:
        while not running:  # the process may be faster than the line below
            pass
        running[0].kill(sig)

    method = "DELETE" if path.startswith("model-versions") else "POST"
    proxy.before(method, f"{path}$", strike, after=after)
    running.append(
        bench.cli.start(
            "prune",
            plan.path,
            "--journal",
            bench.journal_path(plan),
            env={"MLFLOW_TRACKING_URI": proxy.uri},
        )
    )
    outcome = running[0].wait()
    proxy.settle()  # deletes that a killed process sent may still be on their way
    proxy.forget()
    return outcome


STRIKES = [
    ("runs/delete", 0),
    ("runs/delete", 1),
    ("runs/delete", RUNS // 2),
    ("runs/delete", RUNS - 1),
    ("experiments/delete", 0),
    ("model-versions/delete", 0),
    ("model-versions/delete", 1),
]


@pytest.mark.parametrize(("path", "after"), STRIKES)
def test_killed_and_started_again_ends_like_an_undisturbed_prune(
    bench: Bench, proxy: Proxy, path: str, after: int
) -> None:
    """SIGKILL at any point; then exactly the plan is gone and the journal knows it."""
    _estate(bench.world)
    plan = bench.report()
    before = bench.state()
    killed = _stopped(bench, proxy, plan, signal.SIGKILL, path, after)
    assert killed.code == -signal.SIGKILL
    halfway = bench.state().gone_since(before)
    assert halfway <= plan.entities
    bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri}, torn=True)
    assert bench.state().gone_since(before) == plan.entities
    assert not halfway & set(deletions(proxy.seen)), "deleted twice"
    _assert_every_deletion_is_reported(bench, plan)


def _assert_every_deletion_is_reported(bench: Bench, plan: Plan) -> None:
    """Each entity has a record, or at least the intent of the prune that was killed."""
    journal = Journal.load(bench.journal_path(plan), torn=True)
    recorded: set[Entity] = journal.with_outcome("deleted") | set(journal.skips)
    assert recorded == plan.entities


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_its_second_batch_it_can_be_finished(
    bench: Bench, proxy: Proxy, sig: signal.Signals
) -> None:
    """The first batch is of a hundred runs."""
    bench.world.bulk_runs(bench.world.experiment(age=FRESH), 350)
    plan = bench.report()
    before = bench.state()
    _stopped(bench, proxy, plan, sig, "runs/delete", 150)
    halfway = bench.state().gone_since(before)
    assert set() < halfway < plan.entities
    bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri}, torn=sig == signal.SIGKILL)
    assert bench.state().gone_since(before) == plan.entities
    assert not halfway & set(deletions(proxy.seen)), "deleted twice"
    _assert_every_deletion_is_reported(bench, plan)


@pytest.mark.smoke
def test_a_torn_last_journal_line_is_tolerated(bench: Bench, proxy: Proxy) -> None:
    """A crash of the machine may leave half a line."""
    _estate(bench.world)
    plan = bench.report()
    before = bench.state()
    _stopped(bench, proxy, plan, signal.SIGKILL, "runs/delete", 10)
    with bench.journal_path(plan).open("ab") as journal:
        journal.write(b'{"type": "record", "kind": "ru')
    bench.cli("validate", bench.journal_path(plan)).expect(0)
    bench.prune(plan, torn=True)
    assert bench.state().gone_since(before) == plan.entities
    _assert_every_deletion_is_reported(bench, plan)
    bench.cli("validate", bench.journal_path(plan)).expect(0)


@pytest.mark.smoke
def test_a_lost_journal_does_not_stop_the_second_prune(bench: Bench, proxy: Proxy) -> None:
    """The server is the truth, not the journal."""
    _estate(bench.world)
    plan = bench.report()
    before = bench.state()
    _stopped(bench, proxy, plan, signal.SIGKILL, "runs/delete", 10)
    bench.journal_path(plan).unlink()
    bench.prune(plan)
    assert bench.state().gone_since(before) == plan.entities


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("sig", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
@pytest.mark.parametrize(
    ("path", "after"), depth.some([STRIKES[2], STRIKES[5], STRIKES[0], STRIKES[4]], 1)
)
def test_an_interrupt_finishes_calls_journal_and_sentence(
    bench: Bench, proxy: Proxy, sig: signal.Signals, code: int, path: str, after: int
) -> None:
    """In-flight calls end, every deletion is in the journal, the way to continue is printed."""
    _estate(bench.world)
    plan = bench.report()
    before = bench.state()
    outcome = _stopped(bench, proxy, plan, sig, path, after).expect(code)
    gone = bench.state().gone_since(before)
    assert gone < plan.entities, "it did not stop"
    journal = Journal.load(bench.journal_path(plan))
    assert journal.with_outcome("deleted") == gone
    assert journal.lines[-1]["type"] == "end"
    assert "prune" in outcome.err
    assert plan.path.name in outcome.err.replace("\n", "")

    bench.prune(plan)
    assert bench.state().gone_since(before) == plan.entities


@pytest.mark.parametrize(
    ("sig", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_an_interrupt_during_report_leaves_no_file(
    bench: Bench, proxy: Proxy, sig: signal.Signals, code: int
) -> None:
    """No plan, no temporary file, no traceback."""
    _estate(bench.world)
    running: list[Running] = []

    def strike() -> None:
        while not running:
            pass
        running[0].kill(sig)

    proxy.before("POST", "runs/search$", strike)
    running.append(
        bench.cli.start(
            "report", "-o", bench.dir / "plan.json", env={"MLFLOW_TRACKING_URI": proxy.uri}
        )
    )
    running[0].wait().expect(code)
    assert list(bench.dir.iterdir()) == []


def test_two_prunes_of_one_plan_at_the_same_time_do_no_harm(bench: Bench) -> None:
    """From two machines: together they delete exactly the plan."""
    _estate(bench.world)
    plan = bench.report()
    before = bench.state()
    second = bench.dir / "second" / "plan.json"
    second.parent.mkdir()
    shutil.copy(plan.path, second)
    both = [bench.cli.start("prune", path) for path in (plan.path, second)]
    codes = {running.wait().code for running in both}
    assert codes <= {0, 5}
    assert 0 in codes
    assert bench.state().gone_since(before) == plan.entities
