"""``check PLAN``: read-only, would each entry still be deleted?"""

from __future__ import annotations

import math
import re
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.plans import Plan, rfc3339
from support.proxy import FORBIDDEN, deletions
from support.world import FRESH, KEEP_TAG

if TYPE_CHECKING:
    from support.bench import Bench
    from support.cli import Cli, Running
    from support.proxy import Proxy
    from support.world import World


def test_a_plan_that_still_holds(bench: Bench) -> None:
    """0, also with the detailed exit code."""
    bench.world.bulk_runs(bench.world.experiment(age=FRESH), 4)
    plan = bench.report()
    shown = bench.cli("check", plan.path).expect(0).out
    assert "Total: 4 matching, 0 changed, 0 gone, 0 failed." in shown
    assert shown.splitlines()[-1] == f"  mlflow-gc prune {plan.path}"
    bench.cli("check", plan.path, "--detailed-exitcode").expect(0)
    found = bench.cli("check", plan.path, "--format", "json").expect(0).json()
    assert (found["differs"], found["ended"], found["refusals"]) == (False, "completed", [])


def test_counts_of_matching_changed_and_gone(bench: Bench, proxy: Proxy) -> None:
    """5 match, 1 changed, 1 is gone; 2 with the detailed exit code; nothing is written."""
    world = bench.world
    runs = world.bulk_runs(world.experiment(age=FRESH), 7)
    plan = bench.report()
    world.resume(runs[0])
    world.purge_run(runs[1])
    before = bench.state()
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    shown = bench.cli("check", plan.path, env=env).expect(0).text
    bench.cli("check", plan.path, "--detailed-exitcode", env=env).expect(2)
    assert bench.state() == before
    assert not deletions(proxy.seen)
    for count, word in ((5, "match"), (1, "changed"), (1, "gone")):
        assert re.search(rf"\b{count}\b[^\n]*{word}|{word}[^\n]*\b{count}\b", shown), shown
    assert list(bench.dir.iterdir()) == [plan.path], "a check keeps no journal"


def test_what_was_pruned_is_gone(bench: Bench) -> None:
    """After the prune nothing matches any more."""
    world = bench.world
    world.bulk_runs(world.experiment(age=FRESH), 3)
    plan = bench.report()
    bench.prune(plan)
    shown = bench.cli("check", plan.path).expect(0).out
    assert "In trash" not in shown
    assert "Already in the trash: 3 runs" in shown
    assert shown.splitlines()[-1] == "Make a new plan: mlflow-gc report"


class Story:
    """Entries of a plan, by what became of them."""

    def __init__(self, world: World) -> None:
        self.home = home = world.experiment("home", age=FRESH)
        self.same = world.run(home, name="same")
        self.resumed = world.run(home, name="resumed")
        self.renamed = world.run(home, name="renamed")
        self.active = world.run(home, name="active again")
        self.retained = world.run(home, name="kept")
        self.registered = world.run(home, name="registered")
        self.purged = world.run(home, name="purged")
        self.trashed = world.run(home, name="trashed")
        self.back = world.run(home, name="trashed and back")
        parent = world.run(home, name="parent")
        self.parent, self.child = parent, world.run(home, name="child", parent=parent)
        self.unused = world.experiment("unused")
        self.reused = world.experiment("reused")
        model = world.model("fraud")
        self.aliased = world.spare_version(model)
        self.noted = world.spare_version(model, tags={"stage": "old"}, description="before")
        self.removed = world.spare_version(model)

    def go_on(self, world: World) -> None:
        """What colleagues do while the plan is under review."""
        world.resume(self.resumed)
        world.call("POST", "runs/update", {"run_id": self.renamed, "run_name": "a new name"})
        world.metric(self.active, world.ago(1))
        world.tag_run(self.retained, KEEP_TAG, "true")
        world.version(world.model("new"), run_id=self.registered, aliases=["champion"])
        world.purge_run(self.purged)
        world.delete_run(self.trashed)
        world.delete_run(self.back)
        world.restore_run(self.back)
        world.tag_run(self.child, KEEP_TAG, "true")
        world.run(self.reused, name="newcomer", age=FRESH)
        world.alias(self.aliased, "rollback")
        world.tag_version(self.noted, "stage", "new")
        world.describe(self.noted, "after")
        world.delete_version(self.removed)


@pytest.fixture(scope="module")
def reported(shared_bench: Bench) -> tuple[Story, Plan]:
    """The story, and the plan from before it."""
    story = Story(shared_bench.world)
    plan = shared_bench.report()
    story.go_on(shared_bench.world)
    return story, plan


@pytest.fixture(scope="module")
def found(reported: tuple[Story, Plan], shared_bench: Bench) -> dict[str, Any]:
    """The check as JSON; nothing else is on stdout."""
    outcome = shared_bench.cli("check", reported[1].path, "--format", "json", "--detailed-exitcode")
    document: dict[str, Any] = outcome.expect(2).json()
    return document


def _codes(entities: list[dict[str, Any]]) -> dict[str, str]:
    return {entity["id"]: entity["code"] for entity in entities}


def test_every_entry_has_its_code(reported: tuple[Story, Plan], found: dict[str, Any]) -> None:
    """What matches, also after a way through the trash and back, is not listed."""
    story, plan = reported
    assert _codes(found["runs"]) == {
        story.resumed: "changed",
        story.renamed: "changed",
        story.active: "changed",
        story.retained: "protected",
        story.registered: "protected",
        story.purged: "gone",
        story.trashed: "already_deleted",
        story.parent: "protected",
        story.child: "protected",
    }
    assert _codes(found["experiments"]) == {story.reused: "changed"}
    assert _codes(found["model_versions"]) == {
        story.aliased: "protected",
        story.noted: "changed",
        story.removed: "gone",
    }
    assert {story.same, story.back} < plan.runs
    counts = {"matching": 2, "changed": 7, "protected": 4, "gone": 2, "failed": 0}
    assert found["summary"]["runs"] == counts


def test_what_changed_is_reported_by_field(
    reported: tuple[Story, Plan], found: dict[str, Any]
) -> None:
    """Planned and current value of each."""
    story, plan = reported
    changes = {
        entity["id"]: {c["field"]: (c["planned"], c["current"]) for c in entity["changes"]}
        for kind in ("runs", "model_versions")
        for entity in found[kind]
    }
    assert changes[story.resumed] == {"status": ("FINISHED", "RUNNING")}
    assert changes[story.renamed]["run_name"] == ("renamed", "a new name")
    planned = plan.run(story.active)["last_activity_time"]
    moment = changes[story.active]["last_activity_time"]
    assert moment[0] == planned < moment[1]
    noted = changes[story.noted]
    assert noted["tags.stage"] == ("old", "new")
    assert noted["description"] == ("before", "after")
    assert changes[story.aliased]["aliases"] == ([], ["rollback"])


def test_what_protects_now_is_reported_with_its_chain(
    reported: tuple[Story, Plan], found: dict[str, Any]
) -> None:
    """The tag, the registered version with its alias, the other run of the tree."""
    story, _ = reported
    by_id = {e["id"]: e["protection"] for kind in ("runs", "model_versions") for e in found[kind]}
    assert by_id[story.retained] == {"reason": "keep_tag", "via": [f"tag {KEEP_TAG}=true"]}
    assert by_id[story.registered]["reason"] == "registered_model"
    assert by_id[story.registered]["via"] == ["model_version new/1", "alias champion"]
    assert by_id[story.parent]["reason"] == "tree"
    assert f"run {story.child}" in by_id[story.parent]["via"]
    assert by_id[story.aliased] == {"reason": "alias", "via": ["alias rollback"]}
    assert by_id[story.resumed] is None


def test_text_is_grouped_and_names_everything(
    reported: tuple[Story, Plan], shared_bench: Bench
) -> None:
    """Protected, changed, gone; by experiment and model; with the numbers and the next command."""
    story, plan = reported
    shown = shared_bench.cli("check", plan.path).expect(0).out
    titles = re.findall(r"^(\w[\w ]+): (\d.*)$", shown, re.MULTILINE)
    assert titles[0][0] == "Total"
    assert titles[1:] == [
        ("Protected now", "4 runs, 1 model version"),
        ("Changed", "1 experiment, 3 runs, 1 model version"),
        ("Already in the trash", "1 run"),
        ("Gone", "1 run, 1 model version"),
    ]
    assert f"  experiment {story.home} home: 4 runs" in shown
    assert "  model fraud: 1 model version" in shown
    in_one_column = re.sub(" +", " ", shown)
    why = "registered_model, model_version new/1, alias champion"
    assert f" = {story.registered} registered {why}\n" in in_one_column
    assert f" ~ {story.resumed} resumed status: FINISHED -> RUNNING\n" in in_one_column
    assert "tags.stage: old -> new" in shown
    assert "description: before -> after" in shown
    assert "tags (or name) changed" not in shown.split(story.noted)[1].splitlines()[0]
    assert "1 active runs in it" in shown
    assert "Total: 3 matching, 10 changed (5 of them protected), 3 gone, 0 failed." in shown
    assert shown.splitlines()[-2:] == [
        "Apply what still matches, 3 entities:",
        f"  mlflow-gc prune {plan.path}",
    ]


def test_markdown(reported: tuple[Story, Plan], shared_bench: Bench) -> None:
    """The same numbers, and a table for each kind."""
    story, plan = reported
    page = shared_bench.cli("check", plan.path, "--format", "markdown").expect(0).out
    assert page.startswith("## Check of the prune plan of ")
    assert "| runs | 2 | 7 | 2 | 0 |" in page
    assert f"| protected now | `{story.retained}` `kept` | `{story.home}` `home` | `keep" in page
    assert f"| gone | `{story.removed}` |" in page
    assert plan.plan_id in page


def test_the_counts_are_those_of_a_dry_run(
    reported: tuple[Story, Plan], shared_bench: Bench
) -> None:
    """One code path: what a check calls matching is what a prune would delete."""
    _, plan = reported
    dry = shared_bench.cli("prune", plan.path, "--dry-run").expect(0).out
    assert "Total: 3 would be deleted, 13 skipped, 0 failed." in dry


def test_quiet_says_it_with_the_exit_code(
    reported: tuple[Story, Plan], shared_bench: Bench
) -> None:
    _, plan = reported
    outcome = shared_bench.cli("check", plan.path, "-q", "--detailed-exitcode").expect(2)
    assert outcome.text == ""
    shared_bench.cli("check", plan.path, "--format", "html").expect(64)


def test_long_lists_are_cut_unless_all_is_asked_for(bench: Bench) -> None:
    """500 changed runs."""
    world = bench.world
    runs = world.bulk_runs(world.experiment(age=FRESH), 60)
    plan = bench.report()
    world.sql("UPDATE runs SET status = 'RUNNING'")
    shown = bench.cli("check", plan.path).expect(0).out
    assert "... and 40 runs more (--all shows them)" in shown
    everything = bench.cli("check", plan.path, "--all").expect(0).out
    assert all(f"~ {run}" in everything for run in runs)


# -- what makes prune refuse the plan as a whole is told, and is no failure -------------------------


def _is_reported(bench: Bench, plan: Plan, words: str) -> None:
    """``check`` says so and looks all the same; prune refuses."""
    shown = bench.cli("check", plan.path).expect(0).out
    assert "Total: 4 matching, 0 changed" in shown
    (output,) = re.findall(r"^prune would refuse the plan now\. (.*)$", shown, re.MULTILINE)
    assert re.search(words, output)
    assert "mlflow-gc prune" not in shown
    outcome = bench.cli("check", plan.path, "--format", "json", "--detailed-exitcode").expect(0)
    (refusal,) = outcome.json()["refusals"]
    assert re.search(words, refusal)
    bench.prune(plan, codes=(5,))


@pytest.fixture
def four(bench: Bench) -> Plan:
    """A plan of four runs that still holds."""
    bench.world.bulk_runs(bench.world.experiment(age=FRESH), 4)
    return bench.report()


@pytest.mark.usefixtures("four")
def test_an_expired_plan(bench: Bench) -> None:
    policy = bench.dir / "p.yml"
    policy.write_text("version: 1\nexpire_after: 1s\n")
    _is_reported(bench, bench.report("--policy", policy, name="short.json"), "expired at ")


@pytest.mark.usefixtures("four")
def test_a_forecast(bench: Bench) -> None:
    later = rfc3339(int(time.time() * 1000) + 86_400_000)
    path = bench.dir / "forecast.json"
    bench.cli("report", "-o", path, "--as-of", later).expect(0)
    _is_reported(bench, Plan.load(path), "is a forecast")


@pytest.mark.usefixtures("four")
def test_a_guard_that_was_tripped_when_the_plan_was_made(bench: Bench) -> None:
    policy = bench.dir / "p.yml"
    policy.write_text("version: 1\nguards: {max_deletions: {runs: 3}}\n")
    plan = bench.report("--policy", policy, name="guarded.json", codes=(5,))
    found = bench.cli("check", plan.path, "--format", "json").expect(0).json()
    assert any("max_deletions.runs" in refusal for refusal in found["refusals"])


@pytest.mark.usefixtures("four")
def test_a_guard_that_is_tripped_by_what_the_server_holds_now(bench: Bench) -> None:
    """When the plan was made there were more runs beside the four."""
    world = bench.world
    others = world.bulk_runs(world.experiment(age=FRESH), 6, age=FRESH)
    policy = bench.dir / "p.yml"
    policy.write_text("version: 1\nguards: {max_share: {runs: 50%}}\n")
    plan = bench.report("--policy", policy, name="guarded.json")
    for run in others:
        world.delete_run(run)
    _is_reported(bench, plan, "A guard of the plan is exceeded by what the server holds now")


# -- what ends a check early ----------------------------------------------------------------------


@pytest.mark.usefixtures("four")
def test_what_cannot_be_read_is_a_failure(bench: Bench, proxy: Proxy) -> None:
    """1, and it says which; the others are looked at."""
    version = bench.world.spare_version(bench.world.model("fraud"))
    plan = bench.report(name="with-version.json")
    proxy.fail("GET", "model-versions/get$", FORBIDDEN, times=math.inf)
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    outcome = bench.cli("check", plan.path, "--format", "json", env=env).expect(1)
    found = outcome.json()
    assert _codes(found["model_versions"]) == {version: "failed"}
    assert found["summary"]["model_versions"]["failed"] == 1
    assert found["summary"]["runs"]["matching"] == 4
    shown = bench.cli("check", plan.path, env=env).expect(1).out
    assert "Could not be checked: 1 model version" in shown


def test_an_interrupted_check_says_that_it_did_not_see_all(
    bench: Bench, four: Plan, proxy: Proxy, cli: Cli
) -> None:
    """143, and the document is whole."""
    bench.world.spare_version(bench.world.model("fraud"))
    plan = bench.report(name="with-version.json")
    running: list[Running] = []

    def strike() -> None:
        while not running:  # the process may be faster than the line below
            pass
        running[0].kill(signal.SIGTERM)

    proxy.before("GET", "model-versions/get$", strike)
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    running.append(cli.start("check", plan.path, "--format", "json", env=env))
    found = running[0].wait().expect(143).json()
    assert found["ended"] == "interrupted"
    assert found["summary"]["runs"]["matching"] == len(four.runs)
