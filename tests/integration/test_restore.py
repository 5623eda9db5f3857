"""``restore JOURNAL`` puts back what a prune deleted: exactly that, and as far as MLflow can."""

from __future__ import annotations

import json
import math
import shlex
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from support import server as store
from support.plans import Journal, rfc3339
from support.proxy import SERVER_ERROR, UNAUTHORIZED
from support.world import FRESH, KEEP_TAG, OLD

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from support.bench import Bench
    from support.oracle import Entity
    from support.plans import Plan
    from support.proxy import Proxy


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


def test_a_restore_that_was_cut_off_is_finished_by_the_next(bench: Bench, proxy: Proxy) -> None:
    """Between bringing an experiment back and putting its old trash back into the trash."""
    _, journal, _, trashed = _pruned(bench)
    proxy.fail("POST", "runs/delete$", UNAUTHORIZED, times=float("inf"))
    bench.cli("restore", journal, "--yes", env={"MLFLOW_TRACKING_URI": proxy.uri}).expect(1)
    assert trashed & set(bench.state().active)
    bench.cli("restore", journal, "--yes").expect(0)
    assert {e for e in bench.state().trashed if e[0] != "model_version"} == trashed


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


def test_the_same_plan_leaves_what_somebody_restored_by_hand(bench: Bench) -> None:
    """With its tree; ``check`` says so, too.  A new plan deletes it again."""
    world = bench.world
    home, other = world.experiment(age=FRESH), world.experiment()
    parent = world.run(home)
    child, alone = world.run(home, parent=parent), world.run(home)
    inside, gone = world.run(other), world.run(other)
    plan = bench.report()
    bench.prune(plan)
    beside = plan.path.with_name(f"{plan.path.name}.journal.jsonl")
    shutil.copy(bench.journal_path(plan), beside)
    for run in (parent, child, alone):
        world.restore_run(run)
    world.call("POST", "experiments/restore", {"experiment_id": other})
    world.delete_run(gone)
    found = bench.cli("check", plan.path, "--format", "json").expect(0).json()
    assert found["summary"]["runs"] == {
        "matching": 0, "changed": 4, "protected": 0, "gone": 1, "failed": 0
    }  # fmt: skip
    outcome, _ = bench.prune(plan)
    state = bench.state()
    assert {("run", run) for run in (parent, child, alone, inside)} <= state.active
    assert ("run", gone) in state.trashed
    assert "was deleted by this plan before and restored since" in outcome.text
    again = bench.report(name="again.json")
    assert {parent, child, alone, inside} <= again.runs


def test_dry_run_changes_nothing(bench: Bench) -> None:
    """It says what it would do."""
    _, journal, _, _ = _pruned(bench)
    before = bench.state()
    bench.cli("restore", journal, "--dry-run").expect(0)
    assert bench.state() == before
    assert not journal.with_name(f"{journal.name}.restore.jsonl").exists()


def _old_trash(bench: Bench, count: int = 1, **run: Any) -> tuple[str, list[str], list[str]]:
    """Make a stale experiment with as many runs in its trash as active ones.

    Returns:
        The experiment, its active runs, and those in its trash.
    """
    home = bench.world.experiment()
    runs = [bench.world.run(home) for _ in range(count)]
    trashed = [bench.world.run(home, **run) for _ in range(count)]
    for run_id in trashed:
        bench.world.delete_run(run_id)
    return home, runs, trashed


def test_what_somebody_needs_by_now_is_left_active(bench: Bench) -> None:
    """Of the runs that were in the trash before: restored by hand, registered, nested under."""
    world = bench.world
    home, runs, trashed = _old_trash(bench, 5)
    by_hand, registered, source, parent, plain = trashed
    elsewhere = world.experiment(age=FRESH)
    # Deleted by somebody in spite of all that: where it was before the prune it is afterwards, too.
    tagged = world.run(home, tags={KEEP_TAG: "true", "mlflow.runType": "genai_evaluate"})
    known = world.run(home, age=400)
    nested = world.run(home, parent=known, status="RUNNING")
    world.version(world.model(), run_id=known, age=FRESH, aliases=["champion"])
    for run_id in (tagged, known, nested):
        world.delete_run(run_id)
    before = bench.state()
    plan = bench.report()
    assert plan.runs == set(runs)
    bench.prune(plan)
    journal = bench.journal_path(plan)
    world.restore_run(by_hand)
    world.version(world.model(), run_id=registered, age=FRESH)
    world.version(world.model(), source=f"s3://bucket/{source}/artifacts/model", age=FRESH)
    child = world.run(elsewhere, parent=parent, age=FRESH)
    retained = {by_hand, registered, source, parent}

    dry = bench.cli("restore", journal, "--dry-run").expect(0)
    assert ("run", plain) in bench.state().trashed
    assert "runs: 4 would be put back into the trash" in dry.text
    done = bench.cli("restore", journal, "--yes").expect(0)
    state = bench.state()
    assert {("run", r) for r in [*runs, *retained, child]} | {("experiment", home)} <= state.active
    assert {("run", r) for r in (plain, tagged, known, nested)} <= state.trashed & before.trashed
    for outcome in (dry, done):
        for run_id in retained:
            assert run_id in outcome.text, "its name is said"
        assert "registered_model" in outcome.text
    reported = Journal.load(journal.with_name(f"{journal.name}.restore.jsonl"))
    assert reported.with_outcome("deleted") == {("run", r) for r in (plain, tagged, known, nested)}
    assert reported.skips == {
        ("run", by_hand): "already_active",
        **{("run", r): "protected" for r in retained - {by_hand}},
    }
    again = bench.cli("restore", journal, "--yes").expect(0)
    assert bench.state() == state, again.text


def test_what_is_needed_while_it_goes_back_is_restored_again(bench: Bench, proxy: Proxy) -> None:
    """Registered between the re-check and the delete."""
    home, _, (trashed,) = _old_trash(bench)
    plan = bench.report()
    bench.prune(plan)
    journal = bench.journal_path(plan)
    name = bench.world.model()
    proxy.before("POST", "runs/delete$", lambda: bench.world.version(name, run_id=trashed))
    bench.cli("restore", journal, "--yes", env={"MLFLOW_TRACKING_URI": proxy.uri}).expect(0)
    assert {("run", trashed), ("experiment", home)} <= bench.state().active


def test_what_is_active_when_a_restore_is_repeated_stays_active(bench: Bench, proxy: Proxy) -> None:
    """A run of the old trash, back there by the first restore, which did not come to its end."""
    world = bench.world
    home = world.experiment()
    run, old, other = (world.run(home) for _ in range(3))
    for trashed in (old, other):
        world.delete_run(trashed)
    world.date_experiment(home, updated=world.ago(100))
    plan = bench.report()
    bench.prune(plan)
    restore = ("restore", bench.journal_path(plan), "--yes", "--keep")
    proxy.fail("POST", "experiments/set-experiment-tag$", SERVER_ERROR, times=float("inf"))
    bench.cli(*restore, env={"MLFLOW_TRACKING_URI": proxy.uri}).expect(3)
    assert {("run", old), ("run", other)} <= bench.state().trashed
    world.restore_run(old)
    bench.cli(*restore).expect(0)
    state = bench.state()
    assert {("experiment", home), ("run", run), ("run", old)} <= state.active
    assert ("run", other) in state.trashed


def test_an_id_that_was_handed_out_again_is_somebody_elses(bench: Bench) -> None:
    """SQLite does so once the experiment was purged: the new one is none of this journal."""
    world = bench.world
    home = world.experiment("ours")
    plan = bench.report()
    bench.prune(plan)
    world.sql("DELETE FROM experiments WHERE experiment_id = ?", int(home))
    again = world.experiment("theirs", age=FRESH)
    assert again == home
    world.date_experiment(again, created=world.ago(1))
    restore = ("restore", bench.journal_path(plan), "--yes", "--keep")
    for is_deleted in (False, True):
        if is_deleted:
            world.delete_experiment(again)
        before = bench.state()
        outcome = bench.cli(*restore).expect(3)
        assert "another one" in " ".join(outcome.text.split())
        assert bench.state() == before
        with store.open_database(world.database) as db:
            assert not db.execute("SELECT * FROM experiment_tags").fetchall()


def test_the_journal_of_a_restore_is_none_of_a_prune(bench: Bench) -> None:
    world = bench.world
    run = world.run(world.experiment(age=FRESH))
    plan = bench.report()
    bench.prune(plan)
    journal = bench.journal_path(plan)
    bench.cli("restore", journal, "--yes").expect(0)
    own = journal.with_name(f"{journal.name}.restore.jsonl")
    written = own.read_bytes()
    refused = bench.cli("prune", plan.path, "--journal", own).expect(5)
    assert "is that of a restore" in refused.err
    assert own.read_bytes() == written
    assert ("run", run) in bench.state().active


def test_an_edited_journal_renames_nothing(bench: Bench) -> None:
    """Only what is called as a prune names it gets its name back, and only a name that fits."""
    world = bench.world
    home, freed = world.experiment("production", age=FRESH), world.experiment("stale")
    policy = bench.dir / "policy.yml"
    policy.write_text("version: 1\nfree_experiment_names: true\n", encoding="utf-8")
    plan = bench.report("--policy", policy)
    bench.prune(plan)
    journal = bench.journal_path(plan)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        if "undo" in line:
            line["undo"]["name"] = "evil"
        if line.get("id") == freed:
            forged = {**line, "id": home, "undo": {"name": "evil", "freed_name": "production"}}
    journal.write_text(
        "".join(json.dumps(line) + "\n" for line in [*lines[:-1], forged, lines[-1]])
    )
    bench.cli("restore", journal, "--yes").expect(0)
    with store.open_database(world.database) as db:
        names = {str(i): n for i, n in db.execute("SELECT experiment_id, name FROM experiments")}
    assert (names[home], names[freed]) == ("production", "stale")


def test_the_old_trash_of_a_living_tree_returns_to_the_trash(bench: Bench) -> None:
    """Whoever deleted a part of a tree knew its parent; who is nested in it may have come since."""
    world = bench.world
    live, home = world.experiment(age=FRESH), world.experiment()
    world.run(home)
    sweep = world.run(live, age=FRESH)
    child = world.run(home, parent=sweep)
    grandchild, top = world.run(home, parent=child), world.run(home)
    world.run(live, age=FRESH, parent=sweep)
    for run in (child, grandchild, top):
        world.delete_run(run)
    before = bench.state()
    plan = bench.report()
    assert plan.experiments == {home}
    bench.prune(plan)
    new = world.run(live, parent=top)
    bench.cli("restore", bench.journal_path(plan), "--yes").expect(0)
    assert bench.state().active == before.active | {("run", new), ("run", top)}


def test_the_old_trash_with_an_active_child_returns_to_the_trash(bench: Bench) -> None:
    """What is nested in it was so when the prune began, as its journal says."""
    world = bench.world
    home, live = world.experiment(), world.experiment(age=FRESH)
    parent, middle = world.run(home), world.run(home)
    world.run(live, parent=parent, age=FRESH)
    world.tag_run(middle, "mlflow.parentRunId", parent)
    world.run(live, parent=middle, age=FRESH)
    for run in (parent, middle):
        world.delete_run(run)
    world.date_experiment(home, updated=world.ago(OLD))
    plan = bench.report()
    assert plan.experiments == {home}
    before = bench.state()
    bench.prune(plan)
    journal = bench.journal_path(plan)
    bench.cli("validate", journal).expect(0)
    bench.cli("restore", journal, "--yes").expect(0)
    assert bench.state().active == before.active


def _cut_off(bench: Bench, proxy: Proxy, others: int = 0) -> tuple[str, Path]:
    """A restore that could not move the old trash back; returns a run of that, and the journal.

    Args:
        others: number of further runs of the old trash, all nested in the returned one.
    """
    world = bench.world
    home = world.experiment()
    world.run(home)
    old = max(trashed := [world.run(home), *world.bulk_runs(home, others)])
    for run_id in trashed:
        if run_id != old:
            world.tag_run(run_id, "mlflow.parentRunId", old)
        world.delete_run(run_id)
    world.date_experiment(home, updated=world.ago(OLD))
    plan = bench.report()
    assert plan.experiments == {home}
    bench.prune(plan)
    journal = bench.journal_path(plan)
    proxy.fail("POST", "runs/delete$", UNAUTHORIZED, times=math.inf)
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    bench.cli("restore", journal, "--yes", env=env).expect(1)
    assert ("run", old) in bench.state().active
    return old, journal


def test_a_resumed_restore_loses_no_assessment(bench: Bench, proxy: Proxy) -> None:
    """MLflow deletes the assessments that name a run with the run, for good."""
    trace = bench.world.trace(bench.world.experiment(age=FRESH))
    old, journal = _cut_off(bench, proxy)
    bench.world.assess(trace, old)
    preview = bench.cli("restore", journal, "--dry-run").expect(0)
    assert "would lose assessments" in preview.text
    bench.cli("restore", journal, "--yes").expect(0)
    assert ("run", old) in bench.state().active
    assert bench.world.assessments(trace) == ["correctness"]


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (KEEP_TAG, "true"),
        ("mlflow_gc.ttl", "never"),
        ("mlflow_gc.ttl", "9999d"),
        ("mlflow_gc.ttl", "soon"),
    ],
)
def test_a_resumed_restore_obeys_tags(bench: Bench, proxy: Proxy, tag: str, value: str) -> None:
    """Also one not to be understood: only a journal says that the run was in the trash."""
    old, journal = _cut_off(bench, proxy)
    bench.world.tag_run(old, tag, value)
    bench.cli("restore", journal, "--yes").expect(0)
    assert ("run", old) in bench.state().active


def test_a_resumed_restore_retains_a_tree_as_a_whole(bench: Bench, proxy: Proxy) -> None:
    """Also one that is larger than a batch: the tagged run comes last."""
    before = bench.state().active
    old, journal = _cut_off(bench, proxy, others=100)
    bench.world.tag_run(old, KEEP_TAG, "true")
    brought_back = bench.state().active - before
    bench.cli("restore", journal, "--yes").expect(0)
    assert brought_back <= bench.state().active


@pytest.mark.parametrize(("value", "is_active"), [("2099-01-01", True), ("2020-01-01", False)])
def test_a_resumed_restore_obeys_announcements(
    bench: Bench, proxy: Proxy, value: str, is_active: bool
) -> None:
    old, journal = _cut_off(bench, proxy)
    bench.world.tag_run(old, "mlflow_gc.delete_after", value)
    bench.cli("restore", journal, "--yes").expect(0)
    assert (("run", old) in bench.state().active) is is_active


@pytest.mark.parametrize("moment", ["restore", "roll back"])
def test_what_is_assessed_while_its_experiment_comes_back_is_left_active(
    bench: Bench, proxy: Proxy, moment: str
) -> None:
    """By a restore, or by a prune that rolls the deletion of its experiment back."""
    world = bench.world
    trace = world.trace(world.experiment(age=FRESH))
    home = world.experiment()
    old = world.run(home)
    world.delete_run(old)
    world.date_experiment(home, updated=world.ago(OLD))
    plan = bench.report()
    assert plan.experiments == {home}
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    proxy.before("POST", "experiments/restore$", lambda: world.assess(trace, old))
    if moment == "restore":
        bench.prune(plan)
        bench.cli("restore", bench.journal_path(plan), "--yes", env=env).expect(0)
    else:
        proxy.before("POST", "experiments/delete$", lambda: world.run(home, age=0.0))
        bench.prune(plan, env=env)
    assert {("experiment", home), ("run", old)} <= bench.state().active
    assert world.assessments(trace) == ["correctness"]


def test_what_a_killed_restore_brought_back_is_its_own(bench: Bench) -> None:
    """Its intent is on disk, the runs are back, and no record says so: nobody else restored them."""
    world = bench.world
    home = world.experiment(age=FRESH)
    runs = {world.run(home), world.run(home)}
    plan = bench.report()
    bench.prune(plan)
    journal = bench.journal_path(plan)
    bench.cli("restore", journal, "--yes").expect(0)
    own = journal.with_name(f"{journal.name}.restore.jsonl")
    lines = own.read_text().splitlines(keepends=True)
    own.write_text("".join(i for i in lines if json.loads(i)["type"] in {"header", "intent"}))
    again = bench.cli("restore", journal, "--yes").expect(0)
    assert "somebody" not in again.text
    assert {r["id"] for r in Journal.load(own).records if r["outcome"] == "restored"} == runs


def test_an_edited_journal_deletes_no_active_run(bench: Bench) -> None:
    """Neither in the experiment that it restores nor elsewhere, nor by a forged restore journal."""
    world = bench.world
    home, (mine, other), (trashed, _) = _old_trash(bench, 2)
    live = world.experiment(age=FRESH)
    elsewhere, old = world.run(live, age=FRESH), world.run(world.experiment())
    plan = bench.report()
    bench.prune(plan)
    journal = bench.journal_path(plan)
    world.restore_run(mine)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        if line.get("undo", {}).get("deleted_runs") is not None:
            line["undo"]["deleted_runs"] += [elsewhere, old, mine]
    # What the prune deleted looks as if it had been in the trash before.
    lines = [line for line in lines if line.get("kind") != "run" or line["type"] == "intent"]
    intents = [line for line in lines if line["type"] == "intent" and line["kind"] == "run"]
    lines = [line for line in lines if line not in intents]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    before = bench.state()
    dry = bench.cli("restore", journal, "--dry-run").expect(0)
    assert mine in dry.text
    bench.cli("restore", journal, "--yes").expect(0)
    state = bench.state()
    assert not state.gone_since(before)
    assert {("run", mine), ("experiment", home)} <= state.active
    assert {("run", other), ("run", trashed)} <= state.trashed

    own = journal.with_name(f"{journal.name}.restore.jsonl")
    forged = [json.loads(line) for line in own.read_text().splitlines()][:1]
    entry = plan.run(other) | {"expect": {**plan.run(other)["expect"]}}
    world.restore_run(other)
    forged.append(
        {
            "type": "intent", "kind": "experiment", "ids": [home],
            "time": "2026-01-01T00:00:00.000Z", "undo": {"old_trash": [entry]},
        }
    )  # fmt: skip
    own.write_text("".join(json.dumps(line) + "\n" for line in forged))
    before = bench.state()
    bench.cli("restore", journal, "--yes").expect(0)
    assert not bench.state().gone_since(before)


def test_two_edited_journals_delete_nothing_that_something_protects(bench: Bench) -> None:
    """That of the prune and that of its restore, with times, ids and ``expect`` as they should be."""
    world = bench.world
    world.run(world.experiment())
    live = world.experiment(age=FRESH)
    recent = world.run(live, age=FRESH)
    tagged, misspelt, champion, resumed = (world.run(live) for _ in range(4))
    world.metric(resumed, world.ago(OLD), step=5)
    runs = [recent, tagged, misspelt, champion, resumed]
    # What any reader can learn of active runs.
    forecast = bench.report("--as-of", rfc3339(world.ago(-365)), name="forecast.json").document
    known = {e["run_id"]: e["expect"] for e in forecast["runs"]}
    world.tag_run(tagged, KEEP_TAG, "true")
    world.tag_run(misspelt, "mlflow-gc.keep", "true")
    world.metric(resumed, world.ago(FRESH), step=1)
    world.version(world.model("fraud"), run_id=champion, aliases=["champion"])
    plan = bench.report()
    bench.prune(plan)
    journal = bench.journal_path(plan)
    bench.cli("restore", journal, "--yes").expect(0)
    own = journal.with_name(f"{journal.name}.restore.jsonl")
    with store.open_database(world.database) as db:
        row = "SELECT creation_time, last_update_time FROM experiments WHERE experiment_id = ?"
        created, updated = map(rfc3339, db.execute(row, (int(live),)).fetchone())
    undo = {
        "deleted_runs": runs,
        "creation_time": created,
        "registered": {champion: ["model_version fraud/1", "alias champion"]},
    }
    for path, change in (
        (journal, {"undo": undo}),
        (own, {"undo": {"old_trash": [_forged(live, i, known) for i in runs]}, "time": updated}),
    ):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        intent = next(x for x in lines if x["type"] == "intent" and x["kind"] == "experiment")
        header = lines[0] | {"keep_tag": "another"}
        forged = [header, intent | change | {"ids": [live]}]
        path.write_text("".join(json.dumps(line) + "\n" for line in forged))
    bench.cli("validate", journal, own).expect(0)
    before = bench.state()
    output = bench.cli("restore", journal, "--dry-run").expect(0).text
    assert "would be put back into the trash" not in output
    bench.cli("restore", journal, "--yes").expect(0)
    assert not bench.state().gone_since(before)


def _forged(home: str, run_id: str, known: Mapping[str, object]) -> dict[str, object]:
    """What a restore writes down of a run in the old trash."""
    entry = {"run_id": run_id, "run_name": "", "experiment_id": home, "parent_run_id": None}
    return {**entry, "expect": known[run_id]}


def test_only_brings_back_what_it_names(bench: Bench) -> None:
    """One run of an active experiment; an experiment, by id and by kind, with what was in it."""
    plan, journal, active, trashed = _pruned(bench)
    (first,) = plan.experiments
    second = next(r for r in plan.document["runs"] if r["experiment_name"] == "second")
    whole = {("run", r["run_id"]) for r in plan.document["runs"] if r["experiment_id"] == first}
    assert whole
    before = bench.state()
    bench.cli("restore", journal, "--yes", "--only", second["run_id"]).expect(0)
    assert set(bench.state().active - before.active) == {("run", second["run_id"])}
    before = bench.state()
    bench.cli("restore", journal, "--yes", "--only", first).expect(0)
    assert set(bench.state().active - before.active) == {("experiment", first)} | whole
    assert {e for e in trashed if e[0] == "run"} <= bench.state().trashed
    bench.cli("restore", journal, "--yes", "--only", "runs").expect(0)
    versions = {("model_version", v) for v in plan.versions}
    assert set(bench.state().active) == active - versions
    bench.world.delete_experiment(first)
    assert bench.cli("restore", journal, "--yes", "--only", "experiments").expect(0)
    assert set(bench.state().active) == active - versions


def test_only_says_what_it_did_not_do(bench: Bench) -> None:
    """A run of an experiment in the trash, a version, what was not deleted, an unknown id."""
    world = bench.world
    plan, journal, _, _ = _pruned(bench)
    (first,) = plan.experiments
    run = next(r for r in plan.document["runs"] if r["experiment_id"] == first)
    (version,) = plan.versions
    before = bench.state()
    for name, code, words in (
        # It would be active inside a deleted experiment, and mlflow gc would take it along.
        (run["run_id"], 3, f"its experiment {first} is in the trash"),
        (version, 3, "cannot be restored"),
        ("0" * 32, 64, "does not name it"),
        ("rnus", 64, "does not name it"),
    ):
        outcome = bench.cli("restore", journal, "--yes", "--only", name).expect(code)
        assert words in outcome.text
        assert bench.state() == before
    second = next(r for r in plan.document["runs"] if r["experiment_id"] != first)
    world.restore_run(second["run_id"])
    world.delete_run(second["run_id"])
    bench.world.purge_run(second["run_id"])
    outcome = bench.cli("restore", journal, "--yes", "--only", second["run_id"]).expect(3)
    assert "permanently" in outcome.text


def test_keep_retains_what_is_back(bench: Bench) -> None:
    """By the command that the end prints, also when all is back already."""
    world = bench.world
    home, (inside,), _ = _old_trash(bench)
    alone = world.run(world.experiment(age=FRESH))
    plan = bench.report()
    assert plan.runs == {inside, alone}
    bench.prune(plan)
    journal = bench.journal_path(plan)
    outcome = bench.cli("restore", journal, "--yes").expect(0)
    (line,) = [text for text in outcome.out.splitlines() if text.startswith("Keep:")]
    assert bench.report(name="again.json").runs == {inside, alone}
    command = shlex.split(line.removeprefix("Keep:"))[1:]
    bench.cli(*command, "--yes").expect(0)
    state = bench.state()
    assert {("run", inside), ("run", alone), ("experiment", home)} <= state.active
    again = bench.report(name="kept.json")
    assert not again.entities
    assert again.protection(("run", inside))


def test_the_command_that_keeps_names_what_is_back(bench: Bench) -> None:
    """Without ``--only`` it would bring back all the rest."""
    home = bench.world.experiment(age=FRESH)
    wanted, other = (bench.world.run(home) for _ in range(2))
    plan = bench.report()
    bench.prune(plan)
    restore = ("restore", bench.journal_path(plan), "--only", wanted, "--yes")
    outcome = bench.cli(*restore).expect(0)
    (line,) = [text for text in outcome.out.splitlines() if text.startswith("Keep:")]
    bench.cli(*shlex.split(line.removeprefix("Keep:"))[1:], "--yes").expect(0)
    state = bench.state()
    assert ("run", wanted) in state.active
    assert ("run", other) not in state.active


def test_expect_refuses_the_journal_of_another_plan(bench: Bench) -> None:
    """As for prune: exit 5, and nothing is touched."""
    plan, journal, _, _ = _pruned(bench)
    before = bench.state()
    outcome = bench.cli("restore", journal, "--yes", "--expect", f"sha256:{'0' * 64}").expect(5)
    assert plan.plan_id in outcome.err
    assert bench.state() == before
    bench.cli("restore", journal, "--dry-run", "--expect", plan.plan_id).expect(0)


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
