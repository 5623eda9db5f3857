"""Scorers, issues, review queues and evaluation datasets protect the experiment that holds them.

The database deletes them with the experiment when the trash is emptied, as it does traces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import proxy as faults
from support import server as store
from support.proxy import Fault
from support.readers import SAME_BUT, differing
from support.world import FRESH, KEEP_TAG

if TYPE_CHECKING:
    from support.bench import Bench
    from support.plans import Plan
    from support.proxy import Proxy, Seen
    from support.world import World

FLAG = "--backend-store-uri"
NOT_THERE = Fault("404 in HTML", status=404, body=b"<html>", content_type="text/html")
REFUSED = Fault("400", status=400, body=b'{"error_code": "INVALID_PARAMETER_VALUE"}')
BROKEN = Fault("500 in HTML", status=500, body=b"<html>", content_type="text/html")
FILE_STORE = Fault("500 FEATURE_DISABLED", status=500, body=b'{"error_code": "FEATURE_DISABLED"}')
ALWAYS = float("inf")
LISTS = "(scorers/list|issues/search|review-queues/list|datasets/search|label-schemas/.*)$"


def _uri(bench: Bench) -> str:
    return f"sqlite:///{bench.world.database}"


def _through(proxy: Proxy) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": proxy.uri}


def _asked(proxy: Proxy) -> list[Seen]:
    return [seen for method in ("GET", "POST") for seen in proxy.requests(method, LISTS)]


def _held(plan: Plan) -> dict[str, list[str]]:
    """Experiment -> what it holds, by the plan."""
    return {
        entry["experiment_id"]: entry["via"]
        for entry in plan.document["protected"]["experiments"]
        if entry["reason"] == "has_contents"
    }


def _one_of_each(world: World) -> dict[str, list[str]]:
    """Make experiments that hold one kind of thing, two of each; return what a plan says of them."""
    made: dict[str, list[str]] = {}
    for fill, words in (
        (world.scorer, "scorers: 1"),
        (world.issue, "issues: 1"),
        (world.review_queue, "review queues"),
        (world.evaluation_dataset, "evaluation datasets"),
    ):
        for _ in range(2):
            made[experiment := world.experiment()] = [words]
            fill(experiment)
    return made


def _label_schemas(world: World) -> int:
    with store.open_database(world.database) as db:
        return int(db.execute("SELECT count(*) FROM label_schemas").fetchone()[0])


# In a report ------------------------------------------------------------------------------------


def test_what_an_experiment_holds_protects_it_whoever_reads(bench: Bench, proxy: Proxy) -> None:
    world = bench.world
    held = _one_of_each(world)
    full = world.experiment("all of it")
    for _ in range(2):
        world.scorer(full, "same name twice is one scorer")
        world.scorer(full, f"another {_}")
        world.issue(full)
        world.review_queue(full)
        world.label_schema(full)
    shared = [world.experiment(), world.experiment()]
    world.evaluation_dataset(full, *shared)
    stale = world.experiment("with stale runs")
    runs = set(world.bulk_runs(stale, 3))
    world.scorer(stale)
    held |= {
        full: ["evaluation datasets", "issues: 2", "review queues", "scorers: 3"],
        **{experiment: ["evaluation datasets"] for experiment in shared},
        stale: ["scorers: 1"],
    }
    emptied = world.experiment("held a scorer and a dataset once")
    world.scorer(emptied)
    body = {"experiment_id": emptied, "name": "judge"}
    world.call("DELETE", "scorers/delete", body, version="3.0")
    dataset = world.evaluation_dataset(emptied)
    world.call("DELETE", f"datasets/{dataset}", {}, version="3.0")
    opened = world.experiment("somebody opened its page")
    world.default_label_schema(opened)
    traced = world.experiment("with a trace, too")
    world.trace(traced)
    world.issue(traced)
    bare = [world.experiment() for _ in range(12)]

    over_rest = bench.report(name="rest.json")
    database = bench.report(FLAG, _uri(bench), name="database.json")
    store_only = bench.report(env={"MLFLOW_TRACKING_URI": _uri(bench)}, name="store.json")
    for plan in (over_rest, database, store_only):
        assert _held(plan) == held
        assert plan.experiments == {emptied, opened, *bare}
        assert plan.runs == runs
        assert set(plan.protection(("experiment", traced))) == {"has_traces"}
    assert differing(over_rest, database) <= SAME_BUT
    shown = bench.cli("show", over_rest.path).expect(0)
    assert "has_contents" in shown.out
    bench.report(env=_through(proxy), name="asked.json")
    # Nothing is asked that makes something, and nothing twice; a queue is asked for by experiment.
    asked = _asked(proxy)
    queues = [s for s in asked if s.path.endswith("review-queues/list")]
    assert len(queues) == len(held) + len(bare) + 2
    assert not [s for s in asked if "label-schemas" in s.path]


def test_label_schemas_are_seen_in_the_database_only(bench: Bench) -> None:
    """A server asked for them makes a default one; a report writes nothing."""
    world = bench.world
    made = [world.experiment(), world.experiment()]
    for experiment in made:
        world.label_schema(experiment)
    world.default_label_schema(made[1])
    assert _label_schemas(world) == 3
    plan = bench.report()
    assert plan.experiments == set(made)
    bench.prune(plan, "--dry-run")
    assert _label_schemas(world) == 3
    plan = bench.report(FLAG, _uri(bench))
    assert _held(plan) == {experiment: ["label schemas"] for experiment in made}
    assert not plan.experiments


def test_only_experiments_that_would_be_deleted_are_asked_about(bench: Bench, proxy: Proxy) -> None:
    world = bench.world
    world.experiment(age=FRESH)
    world.experiment(tags={KEEP_TAG: "true"})
    world.run(world.experiment(), age=FRESH)
    world.trace(world.experiment())
    world.logged_model(world.experiment())
    bench.report(env=_through(proxy))
    assert not _asked(proxy)
    stale = [world.experiment(), world.experiment()]
    world.bulk_runs(stale[0], 2)
    bench.report(env=_through(proxy))
    assert len(_asked(proxy)) == 1 + 1 + 2 + 2


# In the re-check --------------------------------------------------------------------------------


@pytest.mark.parametrize("through", ["server", "database"])
def test_what_came_after_the_report_protects(bench: Bench, through: str) -> None:
    world = bench.world
    env = {"MLFLOW_TRACKING_URI": _uri(bench) if through == "database" else world.uri}
    bare = [world.experiment() for _ in range(14)]
    stale = world.experiment()
    run = world.run(stale)
    plan = bench.report(FLAG, _uri(bench))
    assert plan.experiments == {*bare, stale}
    filled = bare[::3]
    for experiment, fill in zip(
        filled,
        (world.scorer, world.issue, world.review_queue, world.evaluation_dataset, world.scorer),
        strict=True,
    ):
        fill(experiment)
    world.issue(stale)
    retained = {("experiment", e) for e in (*filled, stale)}
    checked = bench.cli("check", plan.path, "--format", "json", env=env).expect(0).json()
    assert checked
    before = bench.state()
    outcome, journal = bench.prune(plan, env=env)
    assert journal.skips == dict.fromkeys(retained, "protected"), outcome.text
    assert "has_contents, scorers: 1" in {r.get("detail") for r in journal.records}
    gone = {("experiment", e) for e in set(bare) - set(filled)} | {("run", run)}
    assert bench.state().gone_since(before) == gone
    bench.cli("restore", bench.journal_path(plan), "--yes", env=env).expect(0)
    assert bench.state().active == before.active


# Other servers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "missing"),
    [
        ("3.3.2", LISTS),
        ("3.10.1", "(issues/search|review-queues/list)$"),
        ("3.13.0", "review-queues/list$"),
    ],
)
def test_older_servers(bench: Bench, proxy: Proxy, version: str, missing: str) -> None:
    """They do not have all endpoints, and before 3.14 list the scorers of one experiment at a time."""
    world = bench.world
    held = _one_of_each(world)
    bare = [world.experiment() for _ in range(12)]
    answer = Fault(version, status=200, body=version.encode(), content_type="text/html")
    proxy.fail("GET", "/version$", answer, times=ALWAYS)
    if version == "3.3.2":  # it came with 3.9
        proxy.fail("GET", "server-info$", NOT_THERE, times=ALWAYS)
    proxy.fail("GET", missing, NOT_THERE, times=ALWAYS)
    proxy.fail("POST", missing, NOT_THERE, times=ALWAYS)
    proxy.fail("GET", "scorers/list$", REFUSED, query="experiment_ids", times=ALWAYS)
    plan = bench.report(env=_through(proxy))
    gone = [
        word
        for path, word in (
            ("scorers", "scorers: 1"),
            ("issues", "issues: 1"),
            ("queues", "review queues"),
            ("datasets", "evaluation datasets"),
        )
        if path in missing
    ]
    assert _held(plan) == {e: words for e, words in held.items() if words[0] not in gone}
    assert plan.experiments == {e for e in held if held[e][0] in gone}.union(bare)
    # What is missing is not asked for experiment by experiment.
    for path in ("issues", "review-queues"):
        if path in missing:
            assert len([s for s in proxy.seen if path in s.path]) == 2
    before = bench.state()
    bench.prune(plan, env=_through(proxy))
    assert bench.state().gone_since(before) == plan.entities


def test_a_server_that_cannot_be_without_an_endpoint_does_not_say_so(
    bench: Bench, proxy: Proxy
) -> None:
    """A front end whose server restarts says 404, too; then the plan cannot be applied."""
    bench.world.experiment()
    proxy.fail("GET", "review-queues/list$", NOT_THERE, times=ALWAYS)
    plan = bench.report(env=_through(proxy), codes=(5,))
    assert plan.document["applyable"] is False
    assert [d["code"] for d in plan.document["diagnostics"]] == ["incomplete_scan"]


def test_a_server_with_a_file_store_has_none_of_it(bench: Bench, proxy: Proxy) -> None:
    """It answers 500 to all of these questions; to one of them with the reason (3.5 to 3.17)."""
    bare = {bench.world.experiment() for _ in range(2)}
    proxy.fail("POST", "datasets/search$", FILE_STORE, times=ALWAYS)
    proxy.fail("GET", LISTS, BROKEN, times=ALWAYS)
    proxy.fail("POST", LISTS, BROKEN, times=ALWAYS)
    assert bench.report(env=_through(proxy)).experiments == bare
    assert len(_asked(proxy)) == 1


def test_what_only_administrators_may_list_is_asked_for_by_experiment(
    bench: Bench, proxy: Proxy
) -> None:
    """As MLflow's basic auth does with the issues of all experiments, and another with more."""
    world = bench.world
    held = _one_of_each(world)
    bare = {world.experiment() for _ in range(12)}
    proxy.fail(
        "POST", "issues/search$", faults.FORBIDDEN, body=r'^(?!.*"experiment_id")', times=ALWAYS
    )
    proxy.fail("GET", "scorers/list$", faults.FORBIDDEN, query="experiment_ids", times=ALWAYS)
    proxy.fail("POST", "datasets/search$", faults.FORBIDDEN, body=r"\[[^\]]*,", times=ALWAYS)
    plan = bench.report(env=_through(proxy))
    assert _held(plan) == held
    assert plan.experiments == bare


@pytest.mark.parametrize(
    "path", ["scorers/list", "issues/search", "review-queues/list", "datasets/search"]
)
def test_what_an_account_may_not_see_may_be_there(bench: Bench, proxy: Proxy, path: str) -> None:
    """In one of two experiments; in the re-check, too."""
    world = bench.world
    hidden, seen = world.experiment(), world.experiment()
    plan = bench.report()
    assert plan.experiments == {hidden, seen}
    of_hidden = (
        {"query": f"experiment_ids?={hidden}(&|$)"} if "list" in path else {"body": f'"{hidden}"'}
    )
    method = "GET" if "list" in path else "POST"
    proxy.fail(method, path, faults.FORBIDDEN, times=ALWAYS, **of_hidden)
    again = bench.report(env=_through(proxy), name="again.json")
    assert again.experiments == {seen}
    (output,) = _held(again)[hidden]
    assert "may not see" in output
    _, journal = bench.prune(plan, env=_through(proxy))
    assert journal.skips == {("experiment", hidden): "protected"}
    assert journal.with_outcome("deleted") == {("experiment", seen)}
