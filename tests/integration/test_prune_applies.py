"""``prune PLAN`` deletes what the plan lists, in a safe order, and nothing else."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import depth
from support import server as store
from support.plans import Journal, Plan
from support.proxy import deletions
from support.world import FRESH, KEEP_TAG

if TYPE_CHECKING:
    from support.bench import Bench
    from support.proxy import Proxy
    from support.world import World

# More than a page of runs, and by night than any three.
MANY = 1_100 if depth.chosen.smoke else 3_200


def _small_estate(world: World) -> None:
    """Two experiments, a tree, two versions, and as much again that stays."""
    first = world.experiment("first")
    parent = world.run(first)
    child = world.run(first, parent=parent)
    world.run(first, parent=child)
    second = world.experiment("second")
    world.bulk_runs(second, 8)
    name = world.model("fraud")
    world.version(name)
    world.version(name)
    world.version(name, age=FRESH)
    retained = world.experiment("kept")
    world.run(retained, tags={KEEP_TAG: "true"})
    world.run(retained, age=FRESH)
    world.version(world.model("aliased"), aliases=["champion"])


@pytest.mark.timeout(600)
def test_more_runs_than_on_a_page_no_more_no_less(bench: Bench) -> None:
    """All stale runs of one experiment are listed and deleted; protected and fresh ones stay."""
    world = bench.world
    crowd = world.experiment("crowd")
    stale = {
        run
        for status, count in (("FINISHED", MANY), ("FAILED", 40), ("KILLED", 40))
        for run in world.bulk_runs(crowd, count, status=status, name=status)
    }
    retained = set(world.bulk_runs(crowd, 1_100, age=FRESH, name="fresh"))
    retained |= set(world.bulk_runs(crowd, 30, status="RUNNING", name="running"))
    retained.add(world.run(crowd, tags={KEEP_TAG: "true"}))
    registered = world.run(crowd)
    world.version(world.model(), run_id=registered, age=FRESH)
    retained.add(registered)
    before = bench.state()

    plan = bench.report()
    assert plan.runs == stale
    assert plan.experiments == plan.versions == set()

    _, journal = bench.prune(plan)
    assert bench.state().gone_since(before) == {("run", run) for run in stale}
    assert {("run", run) for run in retained} <= bench.state().active
    assert journal.with_outcome("deleted") == {("run", run) for run in stale}


def test_what_is_planned_is_deleted_and_nothing_else(bench: Bench) -> None:
    """Experiments, trees of runs and model versions."""
    _small_estate(bench.world)
    before = bench.state()
    plan = bench.report()
    assert len(plan.entities) == 2 + 11 + 2
    outcome, journal = bench.prune(plan)
    assert bench.state().gone_since(before) == plan.entities
    assert bench.state().aliases == before.aliases
    assert journal.with_outcome("deleted") == plan.entities
    assert not journal.skips
    assert str(len(plan.entities)) in outcome.text


def test_children_go_before_parents_runs_before_experiments_versions_last(
    bench: Bench, proxy: Proxy
) -> None:
    """The order of the delete requests; each entity is asked for once."""
    _small_estate(bench.world)
    plan = bench.report()
    proxy.forget()
    bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    deletes = deletions(proxy.seen)
    assert sorted(deletes) == sorted(plan.entities), "each once"
    position = {entity: n for n, entity in enumerate(deletes)}
    for run in plan.document["runs"]:
        this = position["run", run["run_id"]]
        if run["parent_run_id"] is not None:
            assert this < position["run", run["parent_run_id"]]
        assert this < position["experiment", run["experiment_id"]]
    last_other = max(n for (kind, _), n in position.items() if kind != "model_version")
    assert all(n > last_other for (kind, _), n in position.items() if kind == "model_version")


def test_applying_again_finds_everything_gone_and_succeeds(bench: Bench, proxy: Proxy) -> None:
    """What is already gone is "already gone", not an error, and is not deleted twice."""
    _small_estate(bench.world)
    plan = bench.report()
    bench.prune(plan)
    after = bench.state()
    second = bench.journal_path(plan).with_name("second.jsonl")
    bench.cli(
        "prune", plan.path, "--journal", second, env={"MLFLOW_TRACKING_URI": proxy.uri}
    ).expect(0)
    assert bench.state() == after, "deletion times included"
    journal = Journal.load(second)
    assert set(journal.skips) == plan.entities
    assert set(journal.skips.values()) <= {"already_deleted", "gone"}
    assert not deletions(proxy.seen)


def test_applying_again_with_the_same_journal_succeeds_too(bench: Bench) -> None:
    """The journal of the first prune is not lost."""
    _small_estate(bench.world)
    plan = bench.report()
    _, first = bench.prune(plan)
    _, both = bench.prune(plan)
    assert both.with_outcome("deleted") >= first.with_outcome("deleted")


def test_a_dry_run_deletes_nothing_and_says_what_it_would_do(bench: Bench, proxy: Proxy) -> None:
    """``--dry-run`` does everything but the deletes."""
    _small_estate(bench.world)
    plan = bench.report()
    before = bench.state()
    outcome = bench.cli(
        "prune", plan.path, "--dry-run", env={"MLFLOW_TRACKING_URI": proxy.uri}
    ).expect(0)
    assert bench.state() == before
    assert not deletions(proxy.seen)
    assert str(len(plan.entities)) in outcome.text or str(len(plan.runs)) in outcome.text


def test_a_dry_run_does_not_stand_in_the_way_of_the_real_one(bench: Bench) -> None:
    """Same plan, same journal."""
    _small_estate(bench.world)
    plan = bench.report()
    before = bench.state()
    bench.prune(plan, "--dry-run")
    bench.prune(plan)
    assert bench.state().gone_since(before) == plan.entities


def test_the_journal_lies_beside_the_plan(bench: Bench) -> None:
    """``<plan>.journal.jsonl`` unless told otherwise."""
    _small_estate(bench.world)
    plan = bench.report()
    bench.cli("prune", plan.path).expect(0)
    assert {p.name for p in bench.dir.iterdir()} == {"plan.json", "plan.json.journal.jsonl"}


def test_the_journal_has_a_header_a_record_per_entity_and_an_end(bench: Bench) -> None:
    """Section 6 of the contract."""
    _small_estate(bench.world)
    plan = bench.report()
    _, journal = bench.prune(plan)
    types = [line["type"] for line in journal.lines]
    assert types[0] == "header"
    assert types[-1] == "end"
    assert types.count("record") == len(plan.entities)
    header = journal.lines[0]
    assert plan.plan_id in json.dumps(header)
    assert plan.document["server"]["identity"] in json.dumps(header)
    for record in journal.records:
        assert record["outcome"] == "deleted"
        assert record["time"].endswith("Z")


def test_validate_accepts_the_journal(bench: Bench) -> None:
    """``validate`` knows journals, too."""
    _small_estate(bench.world)
    plan = bench.report()
    bench.prune(plan)
    bench.cli("validate", bench.journal_path(plan)).expect(0)


def test_a_plan_that_deletes_nothing_is_applied_with_success(bench: Bench) -> None:
    """A scheduled job on a tidy server is green."""
    bench.world.run(bench.world.experiment(age=FRESH), age=FRESH)
    plan = bench.report()
    assert not plan.entities
    bench.prune(plan)


def test_a_reformatted_plan_is_the_same_plan(bench: Bench) -> None:
    """``plan_id`` is about values, not about white space or the order of keys."""
    _small_estate(bench.world)
    plan = bench.report()
    before = bench.state()
    text = json.dumps(plan.document, indent=2, sort_keys=True)
    plan.path.write_text(text.replace("\n", "\r\n"))
    bench.cli("validate", plan.path).expect(0)
    bench.prune(plan)
    assert bench.state().gone_since(before) == plan.entities


def test_fields_that_a_newer_minor_version_adds_are_ignored(bench: Bench) -> None:
    """Readers ignore names they do not know, at any level but ``expect``."""
    _small_estate(bench.world)

    def grow(document: dict[str, object]) -> None:
        document["format_version"] = "1.9"
        document["new_section"] = {"anything": [1, 2, 3]}
        for run in document["runs"]:  # type: ignore[attr-defined]
            run["new_field"] = "new"

    plan = bench.report()
    newer = plan.edited(bench.dir / "newer.json", grow, sign=True)
    before = bench.state()
    bench.cli("validate", newer.path).expect(0)
    bench.prune(newer)
    assert bench.state().gone_since(before) == plan.entities


def test_expect_names_the_plan_that_may_run(bench: Bench) -> None:
    """``--expect`` with the right digest applies."""
    _small_estate(bench.world)
    plan = bench.report()
    before = bench.state()
    bench.prune(plan, "--expect", plan.plan_id)
    assert bench.state().gone_since(before) == plan.entities


def test_a_registered_run_is_deleted_with_the_plan_after_its_version(bench: Bench) -> None:
    """First plan: the version; second plan: the run that was behind it."""
    world = bench.world
    run = world.run(world.experiment(age=FRESH))
    version = world.spare_version(world.model(), run_id=run)
    first = bench.report(name="first.json")
    assert first.entities == {("model_version", version)}
    bench.prune(first)
    second = bench.report(name="second.json")
    assert second.entities == {("run", run)}
    bench.prune(second)
    assert ("run", run) not in bench.state().active


def test_names_that_the_filter_grammar_cannot_quote_are_pruned_like_others(bench: Bench) -> None:
    """Both kinds of quotes, percent signs, backslashes, unicode and spaces in model names."""
    world = bench.world
    names = ["it's", 'say "hi"', 'it\'s "both"', "100%_sure", "back\\slash", "名前 ✈", "a b", "%27"]
    expected = {("model_version", world.spare_version(world.model(name))) for name in names}
    before = bench.state()
    plan = bench.report()
    assert plan.entities == expected
    bench.prune(plan)
    assert bench.state().gone_since(before) == expected


def test_runs_that_name_each_other_as_parents_are_one_tree(bench: Bench) -> None:
    """A circle has no top and no bottom; it ends all the same."""
    world = bench.world
    home = world.experiment(age=FRESH)
    first = world.run(home)
    second = world.run(home, parent=first)
    world.tag_run(first, "mlflow.parentRunId", second)
    alone = world.run(home)
    world.tag_run(alone, "mlflow.parentRunId", alone)
    plan = bench.report()
    assert plan.runs == {first, second, alone}
    before = bench.state()
    bench.prune(plan)
    assert bench.state().gone_since(before) == plan.entities


def test_a_circle_with_a_retained_run_is_retained(bench: Bench) -> None:
    """As any tree."""
    world = bench.world
    first = world.run(world.experiment(), tags={KEEP_TAG: "true"})
    second = world.run(world.experiment(), parent=first)
    world.tag_run(first, "mlflow.parentRunId", second)
    assert not bench.report().entities


def test_a_tree_that_is_deeper_than_any_stack(bench: Bench) -> None:
    """1,500 generations; each waits for its children, so only the look is taken at all of them."""
    world = bench.world
    runs = world.bulk_runs(world.experiment(age=FRESH), 1_500)
    with store.open_database(world.database) as db:
        db.executemany(
            "INSERT INTO tags (key, value, run_uuid) VALUES ('mlflow.parentRunId', ?, ?)",
            itertools.pairwise(runs),
        )
    plan = bench.report()
    assert plan.runs == set(runs)
    bench.cli("show", plan.path).expect(0)
    outcome = bench.cli("prune", plan.path, "--dry-run").expect(0)
    assert "1500" in outcome.out.replace(",", "")


@pytest.mark.deep
def test_all_pages_of_everything_are_read(bench: Bench) -> None:
    """1,300 experiments and 1,150 registered models, every other one with an alias."""
    world = bench.world
    old = world.ago(100)
    with store.open_database(world.database) as db:
        db.executemany(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage,"
            " creation_time, last_update_time) VALUES (?, ?, 'mlflow-artifacts:/x', 'active', ?, ?)",
            [(n, f"experiment-{n}", old, old) for n in range(1, 1_301)],
        )
        db.executemany(
            "INSERT INTO registered_models (name, creation_time, last_updated_time)"
            " VALUES (?, ?, ?)",
            [(f"model-{n}", old, old) for n in range(1_150)],
        )
        db.executemany(
            "INSERT INTO model_versions (name, version, creation_time, last_updated_time,"
            " current_stage, source, run_id, status) VALUES (?, ?, ?, ?, 'None', 's3://b', '', ?)",
            [(f"model-{n}", v, old, old, "READY") for n in range(1_150) for v in (1, 2)],
        )
        db.executemany(
            "INSERT INTO registered_model_aliases (alias, version, name) VALUES ('blue', 1, ?)",
            [(f"model-{n}",) for n in range(0, 1_150, 2)],
        )
    plan = bench.report()
    assert plan.experiments == {str(n) for n in range(1, 1_301)}
    assert plan.versions == {f"model-{n}/1" for n in range(1, 1_150, 2)}


def test_a_full_disk_behind_stdout_does_not_stop_a_prune_halfway(bench: Bench) -> None:
    """The summary is lost, the deletions and the journal are not."""
    full = Path("/dev/full")
    if not full.is_char_device():
        pytest.skip("no /dev/full here")
    _small_estate(bench.world)
    plan = bench.report()
    before = bench.state()
    journal = bench.journal_path(plan)
    bench.cli("prune", plan.path, "--journal", journal, stdout=full).expect(1)
    assert bench.state().gone_since(before) == plan.entities
    assert Journal.load(journal).with_outcome("deleted") == plan.entities


def test_runs_of_before_in_the_trash_are_left_alone(bench: Bench) -> None:
    """A run that was in the trash already keeps its time of deletion while others go."""
    world = bench.world
    home = world.experiment(age=FRESH)
    trashed, stale = world.run(home), world.run(home)
    world.delete_run(trashed)
    before = bench.state()
    plan = bench.report()
    assert plan.runs == {stale}
    bench.prune(plan)
    assert before.deleted_times <= bench.state().deleted_times


def test_quiet_prune_says_little_and_json_is_pure(bench: Bench) -> None:
    """``-q`` keeps a job log short."""
    _small_estate(bench.world)
    plan = bench.report("-q")
    outcome, _ = bench.prune(plan, "-q")
    assert len(outcome.text.splitlines()) <= 5


def test_the_plan_is_not_changed_by_its_prune(bench: Bench) -> None:
    """The reviewed file is the executed file, before and after."""
    _small_estate(bench.world)
    plan = bench.report()
    raw = plan.path.read_bytes()
    bench.prune(plan)
    assert plan.path.read_bytes() == raw
    assert Plan.load(plan.path).entities == plan.entities


@pytest.mark.parametrize("name", ["team/model", "model:v2", "a/../b"])
def test_what_the_server_refuses_to_delete_for_its_name_is_protected(
    bench: Bench, name: str
) -> None:
    """Such names are of older servers; else every night would end with a failure (exit 3)."""
    world = bench.world
    original = world.model()
    for _ in range(2):
        world.version(original)
    for table in ("registered_models", "model_versions"):
        world.sql(f"UPDATE {table} SET name = ? WHERE name = ?", name, original)
    plain = world.spare_version(world.model())
    database = ("--backend-store-uri", f"sqlite:///{world.database}")
    for place, options in (("rest.json", ()), ("database.json", database)):
        plan = bench.report(*options, name=place)
        assert plan.versions == {plain}
        assert "refused_name" in plan.protection(("model_version", f"{name}/1"))
    _, journal = bench.prune(plan)
    assert journal.with_outcome("deleted") == {("model_version", plain)}
