"""Several prunes of the same plan at the same time: double application is harmless.

From two machines, or by a scheduler that started the job twice.  With a journal each they end
together in the state that one alone would have reached; with the same journal the second is
refused.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support import depth
from support.durability import (
    Snapshot,
    assert_all_is_back,
    assert_journal_is_complete,
    assert_only_planned,
    intended,
    rows_of,
    sessions_of,
)
from support.oracle import look
from support.plans import Journal, Plan
from support.proxy import Proxy
from support.world import FRESH, KEEP_TAG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.bench import Bench
    from support.cli import Running
    from support.world import World

    from mlflow_gc.demo.server import LocalServer

PARTIAL = 3
REFUSED = 5
RUNS = 40

MANY = depth.chosen.share > 1 / 10
SEEDS = [1 + depth.seed + n for n in range(5 if MANY else 1)]
"""Of the delays of requests; 0 is for none."""
RACES = [(n, s) for n in (2, 3) for s in (0, *SEEDS)] if MANY else [(3, SEEDS[0])]


def _furnish(world: World) -> None:
    """Flat and nested runs, experiments that go and that stay, versions, and what is protected."""
    to_delete = [world.experiment() for _ in range(3)]
    retained = world.experiment(age=FRESH)
    for home in (*to_delete, retained):
        ids = world.bulk_runs(home, RUNS // 4)
        for parent, child in ((ids[0], ids[1]), (ids[1], ids[2])):
            world.sql(
                "INSERT INTO tags (key, value, run_uuid) VALUES ('mlflow.parentRunId', ?, ?)",
                parent,
                child,
            )
        world.delete_run(ids[5])
    world.run(retained, tags={KEEP_TAG: "true"})
    world.run(retained, status="RUNNING")
    name = world.model()
    world.version(name, run_id=world.run(retained), aliases=["champion"])
    for _ in range(3):
        world.version(name)
    world.version(name, age=FRESH)


class Start:
    """A plan, the server it was made of, and that server after one prune of it."""

    def __init__(self, bench: Bench, proxy: Proxy) -> None:
        _furnish(bench.world)
        self.bench = bench
        self.proxy = proxy
        self.plan = bench.report()
        assert (len(self.plan.experiments), len(self.plan.versions)) == (3, 3)
        self.before = Snapshot(bench.world.database)
        bench.prune(self.plan)
        self.after = Snapshot(bench.world.database)
        assert self.after.state.gone_since(self.before.state) == self.plan.entities

    def start(self, journal: Path, *args: object) -> Running:
        """Start a prune through the proxy."""
        return self.bench.cli.start(
            "prune",
            self.plan.path,
            "--journal",
            journal,
            *args,
            env={"MLFLOW_TRACKING_URI": self.proxy.uri},
        )


@pytest.fixture(scope="module")
def start(shared_bench: Bench, server: LocalServer) -> Iterator[Start]:
    """One for the module: every test puts the server back first."""
    with Proxy(server.uri) as proxy:
        made = Start(shared_bench, proxy)
        yield made
        made.before.close()
        made.after.close()


@pytest.fixture(autouse=True)
def _as_planned(start: Start) -> None:
    start.before.put_back()
    start.proxy.forget()


def _accounts_for_all(journal: Path, plan: Plan) -> None:
    """Each planned entity is deleted, or was found to be; and nothing else is in it."""
    (session,) = sessions_of(journal)
    skips = session.skips
    assert set(skips.values()) <= {"gone", "already_deleted"}, skips
    assert not session.with_outcome("failed")
    assert session.with_outcome("deleted") | set(skips) == plan.entities
    assert intended(session) <= plan.entities


@pytest.mark.smoke
@pytest.mark.parametrize(("count", "seed"), RACES)
def test_together_they_end_like_one_alone(
    start: Start, tmp_path: Path, count: int, seed: int
) -> None:
    """Exit 0 each, exactly the plan gone, each journal true, and together they tell all."""
    if seed:
        start.proxy.delay_all(seed, 0.004 * (1 + seed % 5))
    journals = [tmp_path / f"{n}.jsonl" for n in range(count)]
    running = [start.start(journal) for journal in journals]
    for each in running:
        each.wait().expect(0)
    start.proxy.settle()
    assert_only_planned(look(start.before.database), start.before.state, start.plan)
    assert rows_of(start.before.database) == start.after.rows
    reported = set()
    for journal in journals:
        _accounts_for_all(journal, start.plan)
        reported |= Journal.load(journal).with_outcome("deleted")
    assert reported == start.plan.entities


@pytest.mark.parametrize("seed", SEEDS)
def test_restoring_each_journal_brings_everything_back(
    start: Start, tmp_path: Path, seed: int
) -> None:
    """A journal undoes what its prune did, so it takes all of them.

    Runs that one prune deleted from an experiment that the other deleted come back once the
    experiment is there: the first journal is restored again at the end.
    """
    start.proxy.delay_all(seed, 0.005)
    journals = [tmp_path / f"{n}.jsonl" for n in range(2)]
    for running in [start.start(journal) for journal in journals]:
        running.wait().expect(0)
    for journal in journals:
        start.bench.cli("restore", journal, "--yes").expect(0, PARTIAL)
    start.bench.cli("restore", journals[0], "--yes").expect(0)
    assert_all_is_back(start.before, start.plan)


@contextmanager
def held(start: Start, journal: Path) -> Iterator[None]:
    """Have a prune under way, its deletes held by the proxy; in the end it finishes in order."""
    reached, go = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        assert go.wait(60), "the test forgot to let go"

    start.proxy.before("POST", "runs/delete$", hold, times=float("inf"))
    running = start.start(journal)
    try:
        assert reached.wait(60), "it deletes nothing"
        yield
    finally:
        go.set()
        outcome = running.wait()
        start.proxy.settle()
    outcome.expect(0)


@pytest.mark.smoke
def test_a_second_prune_with_the_same_journal_is_refused(start: Start, tmp_path: Path) -> None:
    """Exit 5 before it touched anything; the first one finishes, and its journal is whole."""
    journal = tmp_path / "journal.jsonl"
    link = tmp_path / "link.jsonl"
    with held(start, journal):
        link.symlink_to(journal)
        written = journal.read_bytes()
        for second in (journal, link, tmp_path / "." / ".." / tmp_path.name / journal.name):
            refused = start.bench.cli("prune", start.plan.path, "--journal", second).expect(REFUSED)
            assert look(start.before.database) == start.before.state
            words = " ".join(refused.err.split()).lower()
            assert "another prune" in words
            assert "writing" in words
            assert journal.name in words or second.name in words, "which journal?"
            assert journal.read_bytes() == written
            assert list(tmp_path.glob("journal.jsonl.*")) == []
    _accounts_for_all(journal, start.plan)
    assert_journal_is_complete(journal, start.plan)
    assert rows_of(start.before.database) == start.after.rows
    # The lock ends with its holder: the next one is welcome, and finds nothing to do.
    start.start(journal).wait().expect(0)


def test_a_prune_of_another_plan_does_not_take_the_journal_of_a_running_one(
    start: Start, tmp_path: Path
) -> None:
    """Its own goes beside it, under a name of its own."""
    journal = tmp_path / "journal.jsonl"
    with held(start, journal):
        other = start.bench.report("--ttl", "36000", name="other.json")
        assert not other.entities
        start.bench.cli("prune", other.path, "--journal", journal).expect(0)
        own = f"journal.{other.plan_id[7:19]}.jsonl"
        assert {p.name for p in tmp_path.iterdir()} == {journal.name, own}
    _accounts_for_all(journal, start.plan)


def test_reading_is_not_locked_out(start: Start, tmp_path: Path) -> None:
    """``validate`` of the journal, ``check`` and dry runs go on while a prune is under way."""
    journal = tmp_path / "journal.jsonl"
    with held(start, journal):
        start.bench.cli("validate", journal).expect(0)
        start.bench.cli("check", start.plan.path).expect(0)
        start.bench.cli("prune", start.plan.path, "--dry-run").expect(0)
        start.bench.cli("prune", start.plan.path, "--dry-run", "--journal", journal).expect(0)
    _accounts_for_all(journal, start.plan)


def test_dry_runs_do_not_lock_each_other_out(start: Start) -> None:
    """They write no journal."""
    commands = [start.bench.cli.start("prune", start.plan.path, "--dry-run") for _ in range(3)]
    for running in commands:
        running.wait().expect(0)
    assert look(start.before.database) == start.before.state


@pytest.mark.parametrize("seed", SEEDS)
def test_two_restores_at_the_same_time_do_no_harm(start: Start, tmp_path: Path, seed: int) -> None:
    """One of them may be refused; everything is back in the end."""
    journal = tmp_path / "journal.jsonl"
    start.start(journal).wait().expect(0)
    start.proxy.forget()
    start.proxy.delay_all(seed, 0.005)
    env = {"MLFLOW_TRACKING_URI": start.proxy.uri}
    both = [start.bench.cli.start("restore", journal, "--yes", env=env) for _ in range(2)]
    codes = {running.wait().code for running in both}
    assert codes <= {0, REFUSED}
    assert 0 in codes
    assert_all_is_back(start.before, start.plan)
