"""``prune PLAN --shard N/COUNT``: several machines share a plan, and together do what one would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from support.plans import Journal
from support.world import FRESH, KEEP_TAG

if TYPE_CHECKING:
    from pathlib import Path

    from support.bench import Bench
    from support.cli import Cli
    from support.oracle import State
    from support.plans import Plan
    from support.proxy import Proxy

COUNT = 3


def estate(bench: Bench) -> Plan:
    """A large experiment, small ones, trees in and across them, models; some of it stays."""
    world = bench.world
    large = world.experiment("large")
    world.bulk_runs(large, 80)
    parent = world.run(large)
    for _ in range(3):
        world.run(world.experiment(), parent=parent)
    busy = world.experiment("busy")
    world.bulk_runs(busy, 12)
    world.run(busy, age=FRESH)
    for number in range(4):
        world.bulk_runs(world.experiment(f"small-{number}"), 5)
    world.experiment("empty")
    for model in ("a", "b"):
        name = world.model(model)
        world.version(name, source="s3://bucket/old")
        world.version(name, source="s3://bucket/older")
        world.version(name, age=FRESH)
    plan = bench.report()
    assert large in plan.experiments
    assert len(plan.runs) == 116
    return plan


def journal_of(plan: Plan, number: int) -> Path:
    return plan.path.with_name(f"{plan.path.name}.shard-{number}-of-{COUNT}.journal.jsonl")


def apply_all(bench: Bench, plan: Plan, **more: Any) -> list[Journal]:
    """Apply all shards at the same time, each in a process of its own."""
    running = [
        bench.cli.start("prune", plan.path, "--shard", f"{number}/{COUNT}", **more)
        for number in range(1, COUNT + 1)
    ]
    for process in running:
        process.wait().expect(0)
    return [Journal.load(journal_of(plan, number)) for number in range(1, COUNT + 1)]


@dataclass(frozen=True)
class Applied:
    """A plan that three shards applied at once: the server before and after, their journals."""

    plan: Plan
    before: State
    after: State
    journals: list[Journal]


@pytest.fixture(scope="module")
def applied(shared_bench: Bench) -> Applied:
    plan = estate(shared_bench)
    before = shared_bench.state()
    journals = apply_all(shared_bench, plan)
    return Applied(plan, before, shared_bench.state(), journals)


def test_the_shards_together_delete_what_the_plan_lists_and_nothing_else(applied: Applied) -> None:
    plan, journals = applied.plan, applied.journals
    assert set(applied.before.active) - set(applied.after.active) == plan.entities
    deleted = [journal.with_outcome("deleted") for journal in journals]
    assert set().union(*deleted) == plan.entities
    # Two shards that empty an experiment in the same moment may both delete it, which is harmless.
    others = [entity for done in deleted for entity in done if entity[0] != "experiment"]
    assert len(others) == len(set(others)), "nothing else is deleted twice"
    assert all(deleted), "every shard has something to do"
    headers = [journal.of_type("header")[0]["shard"] for journal in journals]
    assert headers == ["1/3", "2/3", "3/3"]


def test_in_every_shard_the_order_holds(applied: Applied) -> None:
    """Children, parents, experiments, and last what cannot be undone."""
    parents = {run["run_id"]: run["parent_run_id"] for run in applied.plan.document["runs"]}
    ranks = {"run": 0, "experiment": 1, "model_version": 2}
    for journal in applied.journals:
        done = [(r["kind"], r["id"]) for r in journal.records if r["outcome"] == "deleted"]
        assert [ranks[kind] for kind, _ in done] == sorted(ranks[kind] for kind, _ in done)
        place = {entity_id: at for at, (_, entity_id) in enumerate(done)}
        for child, parent in parents.items():
            if child in place and parent:
                assert place[child] < place[parent]


def test_an_experiment_that_several_shards_empty_is_deleted_with_the_last(bench: Bench) -> None:
    world = bench.world
    large = world.experiment("large")
    world.bulk_runs(large, 30)
    plan = bench.report()
    for number in (1, 2):
        output = bench.cli("prune", plan.path, "--shard", f"{number}/{COUNT}").expect(0)
        assert "left to the shard that empties" in output.err
        assert ("experiment", large) in bench.state().active
    output = bench.cli("prune", plan.path, "--shard", f"3/{COUNT}").expect(0)
    assert "left to the shard" not in output.err
    assert ("experiment", large) not in bench.state().active


def test_one_more_run_finds_what_a_shard_left(bench: Bench) -> None:
    """One shard never ran, and a run of another one was kept while it did."""
    plan = estate(bench)
    bench.cli("prune", plan.path, "--shard", "1/3").expect(0)
    bench.cli("prune", plan.path, "--shard", "3/3").expect(0)
    assert set(bench.state().active) & plan.entities
    bench.cli("prune", plan.path).expect(0)
    assert not set(bench.state().active) & plan.entities


def test_a_shard_can_be_applied_again(bench: Bench) -> None:
    plan = estate(bench)
    first = bench.cli("prune", plan.path, "--shard", "2/3").expect(0)
    state = bench.state()
    again = bench.cli("prune", plan.path, "--shard", "2/3").expect(0)
    assert bench.state() == state, (first.text, again.text)
    assert len(Journal.load(journal_of(plan, 2)).of_type("header")) == 2


def test_restore_undoes_all_shards_from_one_merged_journal(bench: Bench) -> None:
    plan = estate(bench)
    before = bench.state()
    apply_all(bench, plan)
    journals = [journal_of(plan, number) for number in range(1, COUNT + 1)]
    merged = bench.dir / "merged.jsonl"
    bench.cli("journal", "merge", *journals, "-o", merged).expect(0)
    bench.cli("validate", merged).expect(0)
    bench.cli("restore", merged, "--yes").expect(0)
    versions = {("model_version", version) for version in plan.versions}
    assert set(bench.state().active) == set(before.active) - versions


@pytest.mark.deep
def test_the_journals_undo_it_one_by_one_too(bench: Bench) -> None:
    """In a second round those runs come back whose experiment another shard had deleted."""
    plan = estate(bench)
    before = bench.state()
    apply_all(bench, plan)
    for codes in ((0, 3), (0,)):
        for number in range(1, COUNT + 1):
            bench.cli("restore", journal_of(plan, number), "--yes").expect(*codes)
    versions = {("model_version", version) for version in plan.versions}
    assert set(bench.state().active) == set(before.active) - versions


def test_merging_keeps_every_line_and_counts_a_session_once(
    applied: Applied, offline_cli: Cli, tmp_path: Path
) -> None:
    one, two = journal_of(applied.plan, 1), journal_of(applied.plan, 2)
    merged, twice = tmp_path / "merged.jsonl", tmp_path / "twice.jsonl"
    offline_cli("journal", "merge", two, one, "-o", merged).expect(0)
    offline_cli("journal", "merge", merged, one, "-o", twice).expect(0)
    assert merged.read_bytes() == twice.read_bytes()
    lines = [*one.read_bytes().splitlines(), *two.read_bytes().splitlines()]
    assert sorted(merged.read_bytes().splitlines()) == sorted(lines)


def test_journals_of_two_plans_are_not_merged_and_nothing_is_overwritten(bench: Bench) -> None:
    plan = estate(bench)
    bench.cli("prune", plan.path, "--shard", "1/3").expect(0)
    other = bench.report(name="other.json")
    bench.cli("prune", other.path, "--shard", "1/3").expect(0)
    out = bench.dir / "merged.jsonl"
    one, two = journal_of(plan, 1), journal_of(other, 1)
    refused = bench.cli("journal", "merge", one, two, "-o", out).expect(5)
    assert "2 different plans" in refused.err
    assert not out.exists()
    before = two.read_bytes()
    refused = bench.cli("journal", "merge", one, "-o", two).expect(1)
    assert "already exists" in refused.err
    assert two.read_bytes() == before


@pytest.mark.parametrize("shard", ["0/3", "4/3", "three", "1/0"])
def test_what_is_no_shard_touches_nothing(bench: Bench, shard: str) -> None:
    bench.world.run(bench.world.experiment())
    plan = bench.report()
    before = bench.state()
    refused = bench.cli("prune", plan.path, "--shard", shard).expect(64)
    assert "is not one of so many" in refused.err
    assert bench.state() == before


def test_a_shard_needs_a_saved_plan(bench: Bench) -> None:
    refused = bench.cli("prune", "--yes", "--shard", "1/3").expect(64)
    assert "--shard needs a saved PLAN" in refused.err


@pytest.mark.parametrize("when", ["before the prune", "while it runs"])
def test_a_run_that_another_shard_retains_keeps_the_maker_of_its_model(
    bench: Bench, proxy: Proxy, when: str
) -> None:
    """The user gets a keep tag after the report: a fresh report would retain both."""
    world = bench.world
    makers_home, users_home = world.experiment(age=FRESH), world.experiment(age=FRESH)
    pairs = []
    for _ in range(4):
        maker, user = world.run(makers_home), world.run(users_home)
        world.use_model(user, world.logged_model(makers_home, maker))
        pairs.append((maker, user))
    plan = bench.report()
    assert plan.runs == {run for pair in pairs for run in pair}
    kept, deleted = pairs[:3], pairs[3]

    def keep() -> None:
        for _, user in kept:
            world.tag_run(user, KEEP_TAG, "true")

    if when == "before the prune":
        keep()
    else:
        proxy.before("POST", "runs/delete$", keep)
    for number in (1, 2, 3):
        path = bench.dir / f"{number}.jsonl"
        shard = ("--shard", f"{number}/3", "--journal", path)
        bench.cli("prune", plan.path, *shard, env={"MLFLOW_TRACKING_URI": proxy.uri}).expect(0)
    active = bench.state().active
    assert {("run", run) for pair in kept for run in pair} <= active
    assert not {("run", run) for run in deleted} & active
