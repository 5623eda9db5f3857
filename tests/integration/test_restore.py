"""``restore JOURNAL`` puts back what a prune deleted: exactly that, and as far as MLflow can."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.world import FRESH

if TYPE_CHECKING:
    from pathlib import Path

    from support.bench import Bench
    from support.oracle import Entity
    from support.plans import Plan


def _pruned(bench: Bench) -> tuple[Plan, Path, set[Entity], set[Entity]]:
    """Prune an estate with a run that was in the trash before.

    Returns:
        Plan, journal, what was active before, and what was in the trash before.
    """
    world = bench.world
    first = world.experiment("first")
    parent = world.run(first)
    world.run(first, parent=parent)
    trashed = world.run(first)
    world.delete_run(trashed)
    second = world.experiment("second")
    world.bulk_runs(second, 120)
    world.run(second, age=FRESH)
    name = world.model("fraud")
    world.version(name, source="s3://bucket/old")
    world.version(name, age=FRESH)
    before = bench.state()
    assert ("run", trashed) in before.trashed
    plan = bench.report()
    assert plan.experiments == {first}
    bench.prune(plan)
    return plan, bench.journal_path(plan), set(before.active), set(before.trashed)


def test_everything_reversible_is_as_before_and_nothing_else(bench: Bench) -> None:
    """Also the run that was in the trash of a restored experiment before is there again."""
    plan, journal, active, trashed = _pruned(bench)
    versions = {("model_version", v) for v in plan.versions}
    outcome = bench.cli("restore", journal, "--yes").expect(0)
    state = bench.state()
    assert set(state.active) == active - versions
    assert {e for e in state.trashed if e[0] != "model_version"} == trashed
    assert "cannot be restored" in outcome.text
    assert "s3://bucket/old" in outcome.text
    again = bench.cli("restore", journal, "--yes").expect(0)
    assert bench.state() == state, again.text


def test_the_same_plan_takes_the_runs_again_but_not_the_experiment(bench: Bench) -> None:
    """MLflow stamps an experiment that it restores as changed, so it is not stale any more."""
    plan, journal, _, _ = _pruned(bench)
    (experiment,) = plan.experiments
    bench.cli("restore", journal, "--yes").expect(0)
    outcome, _ = bench.prune(plan)
    state = bench.state()
    assert plan.runs <= {entity_id for kind, entity_id in state.trashed if kind == "run"}
    assert ("experiment", experiment) in state.active
    assert "last_update_time was" in outcome.text
    assert experiment not in bench.report().experiments


def test_dry_run_changes_nothing(bench: Bench) -> None:
    """It says what it would do."""
    _, journal, _, _ = _pruned(bench)
    before = bench.state()
    bench.cli("restore", journal, "--dry-run").expect(0)
    assert bench.state() == before
    assert not journal.with_name(f"{journal.name}.restore.jsonl").exists()


def test_only_takes_kinds_and_ids(bench: Bench) -> None:
    """One run of a live experiment; then an experiment, whose runs stay deleted."""
    plan, journal, _, _ = _pruned(bench)
    second = next(r for r in plan.document["runs"] if r["experiment_name"] == "second")
    before = bench.state()
    bench.cli("restore", journal, "--yes", "--only", second["run_id"]).expect(0)
    assert set(bench.state().active - before.active) == {("run", second["run_id"])}
    before = bench.state()
    bench.cli("restore", journal, "--yes", "--only", "experiment").expect(0)
    assert set(bench.state().active - before.active) == {
        ("experiment", e) for e in plan.experiments
    }


def test_a_run_of_an_experiment_in_the_trash_is_not_restored_alone(bench: Bench) -> None:
    """It would be active inside a deleted experiment, and ``mlflow gc`` would take it along."""
    plan, journal, _, _ = _pruned(bench)
    first = next(r for r in plan.document["runs"] if r["experiment_name"] == "first")
    before = bench.state()
    outcome = bench.cli("restore", journal, "--yes", "--only", first["run_id"]).expect(0)
    assert bench.state() == before
    assert "in the trash" in outcome.text


def test_without_a_terminal_it_asks_for_yes(bench: Bench) -> None:
    """Refused before anything was touched."""
    _, journal, _, _ = _pruned(bench)
    before = bench.state()
    bench.cli("restore", journal).expect(5)
    assert bench.state() == before


def test_what_a_killed_prune_had_begun_is_restored_too(bench: Bench) -> None:
    """An intent without a record: nobody wrote down that the delete went through."""
    plan, journal, active, _ = _pruned(bench)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    torn = [line for line in lines if line["type"] in {"header", "intent"}]
    journal.write_text("".join(json.dumps(line) + "\n" for line in torn) + '{"type":"rec')
    bench.cli("restore", journal, "--yes").expect(0)
    versions = {("model_version", v) for v in plan.versions}
    assert set(bench.state().active) == active - versions


def test_a_journal_of_another_server_is_refused(bench: Bench, other_server: object) -> None:
    """Exit 5."""
    _, journal, _, _ = _pruned(bench)
    uri = other_server.uri  # type: ignore[attr-defined]
    bench.cli("restore", journal, "--yes", env={"MLFLOW_TRACKING_URI": uri}).expect(5)
