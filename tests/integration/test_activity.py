"""When a run was last active: the newest of all that is known, and no earlier than it came here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.plans import rfc3339
from support.proxy import Fault
from support.readers import SAME_BUT, differing
from support.world import FRESH, KEEP_TAG, OLD

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.bench import Bench
    from support.plans import Plan
    from support.proxy import Proxy
    from support.world import World

BULK = "/ajax-api/.*/get-history-bulk"
NOT_THERE = Fault(
    "no such page", status=404, body=b"<html>Not found</html>", content_type="text/html"
)
OTHER_JSON = Fault("other JSON", status=200, body=b'{"message": "deploying"}')
EMPTY_PAGE = Fault("an empty page", status=200, body=b"{}")


def _plans(bench: Bench) -> tuple[Plan, Plan]:
    """The plan over REST, and from the database; they say the same."""
    over_rest = bench.report(name="rest.json")
    uri = f"sqlite:///{bench.world.database}"
    database = bench.report("--backend-store-uri", uri, name="database.json")
    assert differing(over_rest, database) <= SAME_BUT
    return over_rest, database


def _trained(world: World, home: str, *, steps: int = 3) -> str:
    """A run with some steps of two metrics, all of them long ago."""
    run = world.run(home)
    for step in range(steps):
        for key in ("loss", "accuracy"):
            world.metric(run, world.ago(OLD), key=key, step=step)
    return run


# What was logged at a lower step ----------------------------------------------------------------


def test_a_value_at_a_lower_step_is_activity(bench: Bench) -> None:
    """``runs/search`` and ``latest_metrics`` tell of each metric only the highest step."""
    world = bench.world
    home = world.experiment(age=FRESH)
    old = _trained(world, home)
    retained = {}
    for what, step, value in (
        ("a lower step", 1, 0.1),
        ("the lowest step", 0, 0.1),
        ("a step below zero", -1, 0.1),
        ("no number", 1, "NaN"),
        ("no end of it", 1, "Infinity"),
    ):
        retained[what] = _trained(world, home)
        world.metric(retained[what], world.ago(FRESH), step=step, value=value)
    retained["the only step before"] = world.run(home, metrics={"loss": world.ago(OLD)})
    world.metric(retained["the only step before"], world.ago(FRESH), step=-5)
    within = _trained(world, home)
    world.metric(within, world.ago(OLD - 10), step=1, key="accuracy")
    nonsense = _trained(world, home)
    world.metric(nonsense, 5, step=1)
    for plan in _plans(bench):
        assert plan.runs == {old, within}
        assert plan.run(old)["last_activity_time"] == rfc3339(world.ago(OLD))
        assert plan.run(within)["last_activity_time"] == rfc3339(world.ago(OLD - 10))
        assert "unknown_time" in plan.protection(("run", nonsense))


def test_a_value_at_a_lower_step_is_noticed_by_prune_and_check(bench: Bench) -> None:
    """Logged after the report, in the days that a plan waits for its approval."""
    world = bench.world
    home = world.experiment(age=FRESH)
    quiet, busy, older = (_trained(world, home) for _ in range(3))
    plan, _ = _plans(bench)
    assert plan.runs == {quiet, busy, older}
    world.metric(busy, world.ago(FRESH), step=1)
    world.metric(older, world.ago(OLD - 10), step=1)
    found = bench.cli("check", plan.path, "--format", "json").expect(0).json()
    assert found["summary"]["runs"]["changed"] == 2
    before = bench.state()
    _, journal = bench.prune(plan)
    assert bench.state().gone_since(before) == {("run", quiet)}
    assert journal.skips == {("run", busy): "changed", ("run", older): "changed"}


@pytest.mark.parametrize("fault", [NOT_THERE, OTHER_JSON, EMPTY_PAGE])
def test_a_server_whose_pages_are_elsewhere_is_asked_run_by_run(
    bench: Bench, proxy: Proxy, fault: Fault
) -> None:
    """With a prefix, or behind something that lets only the API through or answers itself."""
    world = bench.world
    home = world.experiment(age=FRESH)
    old, busy = (_trained(world, home) for _ in range(2))
    world.metric(busy, world.ago(FRESH), step=1)
    proxy.fail("GET", BULK, fault, times=float("inf"))
    plan = bench.report(env={"MLFLOW_TRACKING_URI": proxy.uri})
    assert plan.runs == {old}
    # Two at once were on their way.
    assert len(proxy.requests("GET", BULK)) <= 2
    # Two metrics of two runs.
    assert len(proxy.requests("GET", "/api/.*/metrics/get-history$")) == 4


def test_histories_longer_than_an_answer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are cut off after so many values, in the middle of a run."""
    from mlflow_gc.backend.connect import connect
    from mlflow_gc.backend.rest import metric_histories
    from mlflow_gc.inventory.lookup import read_histories
    from mlflow_gc.settings import resolve_connection

    world = bench.world
    home = world.experiment(age=FRESH)
    runs = [_trained(world, home, steps=steps) for steps in (1, 3, 4, 7, 2)]
    for run in runs:
        world.metric(run, world.ago(FRESH), step=0)
        world.metric(run, world.ago(OLD + 1), step=0)
    gateway = connect(resolve_connection(tracking_uri=world.uri))
    found, _ = gateway.search_runs([home])
    assert {run.newest_metric_time for run in found} <= {world.ago(OLD), world.ago(FRESH)}
    for page in (1, 2, 3, 5, 100):
        monkeypatch.setattr(metric_histories, "_ENTRIES_A_PAGE", page)
        for run in read_histories(gateway, found).values():
            assert run.newest_metric_time == world.ago(FRESH), page
            assert run.oldest_metric_time == world.ago(OLD + 1), page


def test_histories_are_asked_for_by_the_hundred(bench: Bench, proxy: Proxy) -> None:
    """And only of what would be deleted."""
    world = bench.world
    home = world.experiment(age=FRESH)
    for n in range(3):
        _trained(world, home, steps=2)
        world.run(home, age=FRESH, metrics={f"fresh{n}": world.ago(FRESH)})
        world.run(home, tags={KEEP_TAG: "true"}, metrics={f"kept{n}": world.ago(OLD)})
    bench.report(env={"MLFLOW_TRACKING_URI": proxy.uri})
    assert len(proxy.requests("GET", "get-history")) == 2


# What was imported ------------------------------------------------------------------------------


def test_what_was_imported_goes_no_earlier_than_its_experiment(bench: Bench) -> None:
    """Migrations and archive scripts bring runs with their original times."""
    world = bench.world
    today = world.experiment("imported today", created=world.ago(0), updated=world.ago(0))
    at_cutoff = world.experiment(created=world.cutoff_ms, updated=world.ago(OLD))
    before = world.experiment(created=world.cutoff_ms - 1, updated=world.ago(OLD))
    future = world.experiment(created=world.ago(-10), updated=world.ago(OLD))
    unknown = world.experiment("before 1.28", created=None, updated=world.ago(FRESH))
    world.run(today)
    world.run(today, metrics={"loss": world.ago(OLD)}, status="FAILED")
    world.run(at_cutoff)
    stale, ancient, odd = world.run(before), world.run(unknown), world.run(future)
    for plan in _plans(bench):
        assert plan.runs == {stale, ancient}
        assert plan.experiments == {before}
        assert plan.run(stale)["last_activity_time"] == rfc3339(world.cutoff_ms - 1)
        assert plan.run(ancient)["last_activity_time"] == rfc3339(world.ago(OLD))
        assert "unknown_time" in plan.protection(("run", odd))
    _, journal = bench.prune(plan)
    assert ("run", stale) in journal.with_outcome("deleted")


# Trees with a gap ---------------------------------------------------------------------------------


def test_a_tree_whose_middle_is_in_the_trash_is_one_tree(bench: Bench) -> None:
    """Somebody deleted a run that others are nested in; what it was nested in is known all the same."""
    world = bench.world
    home, elsewhere = world.experiment(age=FRESH), world.experiment(age=FRESH)
    fresh_root = world.run(home, age=FRESH)
    upper = world.run(home, parent=fresh_root)
    lower = world.run(elsewhere, parent=upper)
    leaf = world.run(home, parent=lower)
    old_root = world.run(home)
    between = world.run(elsewhere, parent=old_root)
    fresh_leaf = world.run(home, age=FRESH, parent=between)
    stale_root = world.run(home)
    gap = world.run(home, parent=stale_root)
    stale_leaf = world.run(elsewhere, parent=gap)
    circle = world.run(home)
    circle_leaf = world.run(home, parent=circle)
    world.tag_run(circle, "mlflow.parentRunId", circle)
    for run in (upper, lower, between, gap, circle):
        world.delete_run(run)
    for plan in _plans(bench):
        assert plan.runs == {stale_root, stale_leaf, circle_leaf}
        assert plan.protection(("run", leaf)) == {
            "tree": [f"run {fresh_root}", "FINISHED, not stale"]
        }
        assert plan.protection(("run", old_root)) == {
            "tree": [f"run {fresh_leaf}", "FINISHED, not stale"]
        }


def test_a_run_below_the_trash_that_came_after_the_report(bench: Bench) -> None:
    """It is nested in what the plan deletes, by way of a run in the trash."""
    world = bench.world
    home, elsewhere = world.experiment(age=FRESH), world.experiment(age=FRESH)
    root, other_root, third = (world.run(home) for _ in range(3))
    gap = world.run(home, parent=root)
    tagged_gap = world.run(home, parent=other_root)
    leaf = world.run(elsewhere, parent=tagged_gap)
    world.delete_run(gap)
    world.delete_run(tagged_gap)
    plan = bench.report()
    assert plan.runs == {root, other_root, third, leaf}
    world.run(elsewhere, age=-0.001, status="RUNNING", parent=gap)
    world.tag_run(leaf, KEEP_TAG, "true")
    before = bench.state()
    _, journal = bench.prune(plan)
    assert bench.state().gone_since(before) == {("run", third)}
    retained = {entity: code for entity, code in journal.skips.items() if entity[0] == "run"}
    assert retained == {
        ("run", root): "protected",
        ("run", other_root): "protected",
        ("run", leaf): "protected",
    }


def test_a_run_that_was_moved_has_changed(bench: Bench) -> None:
    """It is in another experiment now: it exists, and is not what was planned."""
    world = bench.world
    home, new_home = world.experiment(age=FRESH), world.experiment(age=FRESH)
    moved, gone, stale = (world.run(home) for _ in range(3))
    plan = bench.report()
    world.sql("UPDATE runs SET experiment_id = ? WHERE run_uuid = ?", int(new_home), moved)
    world.purge_run(gone)
    found = bench.cli("check", plan.path, "--format", "json").expect(0).json()
    changed = {entity["id"]: entity for entity in found["runs"]}
    assert changed[moved]["changes"] == [
        {"field": "experiment_id", "planned": home, "current": new_home}
    ]
    _, journal = bench.prune(plan)
    assert journal.skips == {("run", moved): "changed", ("run", gone): "gone"}
    assert ("run", stale) in journal.with_outcome("deleted")


# What kept runs read ------------------------------------------------------------------------------


def test_only_runs_that_can_have_read_a_model_are_asked(bench: Bench, proxy: Proxy) -> None:
    """Those that were over before the first model that a stale run made are not."""
    world = bench.world
    home = world.experiment(age=FRESH)
    imported_to = world.experiment(created=world.ago(40))
    makers = [world.run(home, age=90) for _ in range(4)]
    models = [world.logged_model(home, maker, age=90) for maker in makers]
    keep = {KEEP_TAG: "true"}
    for _ in range(3):
        world.run(home, age=200, tags=keep)
    fresh = world.run(home, age=FRESH)
    running = world.run(home, age=200, status="RUNNING")
    imported = world.run(imported_to, age=200, tags=keep)
    late = world.run(home, age=200, tags=keep, metrics={"loss": world.ago(80)})
    for run, model in zip((fresh, running, imported), models, strict=False):
        world.use_model(run, model)
    for plan in _plans(bench):
        assert plan.runs == {makers[3]}
    bench.report(env={"MLFLOW_TRACKING_URI": proxy.uri})
    asked = {seen.query.rpartition("=")[2] for seen in proxy.requests("GET", "runs/get")}
    assert asked - set(makers) == {fresh, running, imported, late}


# In the trash of an experiment that would be deleted ---------------------------------------------


def test_activity_in_the_trash_is_all_that_was_ever_logged(bench: Bench) -> None:
    """The end of a run says nothing about values that were logged after it, at whatever step."""
    world = bench.world

    def in_trash(active: Callable[[str], None], **run: Any) -> str:
        home = world.experiment()
        run_id = world.run(home, **run)
        active(run_id)
        world.delete_run(run_id)
        world.date_experiment(home)
        return home

    def lower_step(run: str) -> None:
        world.metric(run, world.ago(OLD), step=9)
        world.metric(run, world.ago(FRESH), step=1)

    recent = [
        in_trash(lambda run: world.metric(run, world.ago(FRESH))),
        in_trash(lambda run: world.metric(run, world.ago(FRESH)), status="RUNNING", end=None),
        in_trash(lower_step),
        in_trash(lambda _run: None, end=world.ago(FRESH)),
    ]
    quiet = in_trash(lambda run: world.metric(run, world.ago(OLD), step=3))
    for plan in _plans(bench):
        assert plan.experiments == {quiet}
        for home in recent:
            assert list(plan.protection(("experiment", home))) == ["recent_trash"]
    bench.prune(plan)
    assert {("experiment", home) for home in recent} <= bench.state().active


def test_a_trash_that_the_server_cannot_read_retains_its_experiment(bench: Bench) -> None:
    """A row without a start time, as old servers and scripts wrote it; the others are deleted."""
    world = bench.world
    broken, fine = world.experiment(), world.experiment()
    run = world.run(broken)
    world.delete_run(run)
    world.sql("UPDATE runs SET start_time = NULL WHERE run_uuid = ?", run)
    world.date_experiment(broken)
    over_rest = bench.report(name="rest.json")
    uri = f"sqlite:///{world.database}"
    database = bench.report("--backend-store-uri", uri, name="database.json")
    for plan in (over_rest, database):
        assert plan.experiments == {fine}
        assert plan.protection(("experiment", broken))
    assert [d["code"] for d in over_rest.document["diagnostics"]] == ["unreadable_trash"]
    bench.prune(over_rest)
    assert bench.state().trashed == {("experiment", fine), ("run", run)}


def test_runs_that_ended_before_there_was_a_model_are_not_read_one_by_one(
    bench: Bench, proxy: Proxy
) -> None:
    """None of them can have read it; all that it costs is one request for each hundred."""
    world = bench.world
    home = world.experiment(age=FRESH)
    stale = {*world.bulk_runs(home, 150, age=90)}
    world.logged_model(home, world.run(home, age=FRESH), age=FRESH)
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    plan = bench.report(env=env)
    assert plan.runs == stale
    bench.prune(plan, env=env)
    assert not bench.state().active & {("run", run) for run in stale}
    asked = {seen.query.rpartition("=")[2] for seen in proxy.requests("GET", "runs/get")}
    assert not asked & stale
