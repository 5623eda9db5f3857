"""Grace: ``mlflow-gc mark`` announces on each thing that it may go, and nothing goes unannounced.

The marks are read from the server's own database, and set back by hand where days have to pass.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from support.plans import DAY_MS, Plan, rfc3339
from support.proxy import EMPTY_200, FORBIDDEN, SERVER_ERROR, Fault
from support.server import open_database
from support.world import FRESH, KEEP_TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from support.bench import Bench
    from support.cli import Outcome, Running
    from support.oracle import Entity
    from support.proxy import Proxy
    from support.world import World

AFTER = "mlflow_gc.delete_after"
PARTIAL, REFUSED, USAGE = 3, 5, 64
GRACE_MS = 14 * DAY_MS
UGLY = '[red]Zoë\'s "run"\n\x1b[31m<script>alert(1)</script> 夜'
BASE = ("defaults: {empty_models: 30d}",)
POLICY = (*BASE, "grace: 14d")

# Table, its key as the entity's name, and where its tags are.
_TAGS = {
    "run": "SELECT run_uuid, value FROM tags WHERE key = ?",
    "experiment": "SELECT experiment_id, value FROM experiment_tags WHERE key = ?",
    "model_version": "SELECT name || '/' || version, value FROM model_version_tags WHERE key = ?",
    "registered_model": "SELECT name, value FROM registered_model_tags WHERE key = ?",
}
_TABLES = ("runs", "experiments", "model_versions", "registered_models", "registered_model_aliases")
_TAG_TABLES = ("tags", "experiment_tags", "model_version_tags", "registered_model_tags")


# -- helpers -------------------------------------------------------------------------------------


def write_policy(directory: Path, *lines: str, name: str = "policy.yml") -> Path:
    """A policy file."""
    path = directory / name
    path.write_text("\n".join(["version: 1", *lines, ""]))
    return path


def mark(bench: Bench, *args: object, codes: tuple[int, ...] = (0,), **more: Any) -> Outcome:
    """Run ``mark`` by :data:`POLICY`, unless another one is named."""
    if "--policy" not in args:
        args = ("--policy", write_policy(bench.dir, *POLICY, name="grace.yml"), *args)
    return bench.cli("mark", *args, cwd=bench.dir, **more).expect(*codes)


def report(bench: Bench, *lines: str, **more: Any) -> Plan:
    """Run ``report`` by the policy of these lines."""
    return bench.report("--policy", write_policy(bench.dir, *lines), **more)


def announcements(bench: Bench) -> dict[Entity, str]:
    """Every mark in the server."""
    with open_database(bench.world.database) as db:
        return {
            (kind, str(key)): str(value)
            for kind, query in _TAGS.items()
            for key, value in db.execute(query, (AFTER,))
        }


def everything_else(bench: Bench) -> dict[str, list[tuple[Any, ...]]]:
    """All rows about entities, times included, and all tags that are no marks."""
    with open_database(bench.world.database) as db:
        found = {t: sorted(db.execute(f"SELECT * FROM {t}"), key=repr) for t in _TABLES}
        for table in _TAG_TABLES:
            rows = db.execute(f"SELECT * FROM {table} WHERE key <> ?", (AFTER,))
            found[table] = sorted(rows, key=repr)
        return found


def set_mark(world: World, entity: Entity, value: str | None) -> None:
    """Write a mark as its owner would, or take it away."""
    kind, name = entity
    body: dict[str, Any] = {"key": AFTER, **({} if value is None else {"value": value})}
    what = "delete" if value is None else "set"
    method = "POST"
    if kind == "run":
        path, body["run_id"] = f"runs/{what}-tag", name
    elif kind == "experiment":
        path, body["experiment_id"] = f"experiments/{what}-experiment-tag", name
    else:
        method = "DELETE" if value is None else "POST"
        path = f"{kind.replace('_', '-')}s/{what}-tag"
        body["name"] = name
        if kind == "model_version":
            body["name"], _, body["version"] = name.rpartition("/")
    world.call(method, path, body)


def let_days_pass(bench: Bench, entities: Iterable[Entity] | None = None) -> None:
    """Set marks back to yesterday: two weeks have gone by."""
    world = bench.world
    for entity in announcements(bench) if entities is None else entities:
        set_mark(world, entity, rfc3339(world.ago(1)))


def deletions_of(plan: Plan) -> set[Entity]:
    """All that a plan deletes, registered models too."""
    models = plan.document["registered_models"]
    return plan.entities | {("registered_model", entry["name"]) for entry in models}


def reasons_of(plan: Plan) -> dict[Entity, str]:
    """Protected entity -> reason, of all kinds."""
    keys: dict[str, Callable[[dict[str, Any]], str]] = {
        "run": lambda e: str(e["run_id"]),
        "experiment": lambda e: str(e["experiment_id"]),
        "model_version": lambda e: f"{e['name']}/{e['version']}",
        "registered_model": lambda e: str(e["name"]),
    }
    listed = plan.document["protected"]
    return {(kind, key(e)): e["reason"] for kind, key in keys.items() for e in listed[f"{kind}s"]}


def skips(bench: Bench, plan: Plan) -> dict[Entity, str]:
    """Skipped entity -> code, of all kinds."""
    lines = map(json.loads, bench.journal_path(plan).read_text().splitlines())
    return {
        (r["kind"], r["id"]): r["reason"]
        for r in lines
        if r["type"] == "record" and r["outcome"] == "skipped"
    }


def there(bench: Bench) -> set[Entity]:
    """All that is alive in the server, registered models too."""
    with open_database(bench.world.database) as db:
        names = {str(name) for (name,) in db.execute("SELECT name FROM registered_models")}
    return {*bench.state().active, *(("registered_model", name) for name in names)}


def row(output: Outcome, kind: str) -> list[str]:
    """The numbers of one kind: announced, announced before, withdrawn, failed."""
    (line,) = [line for line in output.out.splitlines() if line.strip().startswith(f"{kind} ")]
    return line.strip().removeprefix(kind).split()


@dataclass(frozen=True)
class Estate:
    """Some of everything.

    Attributes:
        goes: what a report without grace deletes.
        run: one of these, without relatives.
        tree: a parent and its children, one of them in another experiment.
        old: an experiment that goes with its run.
        empty: an experiment without runs.
        version: a version.
        model: a registered model without versions.
    """

    deleted: set[Entity]
    run: Entity
    tree: tuple[Entity, ...]
    old: Entity
    empty: Entity
    version: Entity
    model: Entity


def _estate(world: World) -> Estate:
    home, other = world.experiment("home", age=FRESH), world.experiment(UGLY, age=FRESH)
    run = world.run(home, name=UGLY)
    parent = world.run(home)
    tree = (parent, world.run(home, parent=parent), world.run(other, parent=parent))
    old = world.experiment("old")
    inside = world.run(old)
    empty = world.experiment("empty")
    version = world.spare_version(world.model("fraud 夜 [red]"))
    model = world.model("empty <b>")
    # What stays: fresh, kept, running, in the trash.
    world.run(home, age=FRESH)
    world.run(home, tags={KEEP_TAG: "true"})
    world.run(home, status="RUNNING")
    world.delete_run(world.run(home))
    estate = Estate(
        deleted=set(),
        run=("run", run),
        tree=tuple(("run", r) for r in tree),
        old=("experiment", old),
        empty=("experiment", empty),
        version=("model_version", version),
        model=("registered_model", model),
    )
    estate.deleted.update(
        {
            estate.run,
            *estate.tree,
            estate.old,
            ("run", inside),
            estate.empty,
            estate.version,
            estate.model,
        }
    )
    return estate


# -- marking -------------------------------------------------------------------------------------


def test_mark_announces_what_a_report_without_grace_deletes(bench: Bench) -> None:
    """Exactly that, all with the same time, and touches nothing else; then it finds it marked."""
    estate = _estate(bench.world)
    assert deletions_of(report(bench, *BASE)) == estate.deleted
    before = everything_else(bench)
    output = mark(bench, "--dry-run")
    assert "Dry run" in output.out
    assert row(output, "runs") == ["5", "0", "0", "0"]
    assert announcements(bench) == {}

    began = time.time_ns() // 1_000_000
    output = mark(bench)
    ended = time.time_ns() // 1_000_000
    found = announcements(bench)
    assert set(found) == estate.deleted
    (value,) = set(found.values())
    assert rfc3339(began + GRACE_MS) <= value <= rfc3339(ended + GRACE_MS)
    assert everything_else(bench) == before
    assert [row(output, kind) for kind in ("experiments", "runs", "model versions")] == [
        ["2", "0", "0", "0"],
        ["5", "0", "0", "0"],
        ["1", "0", "0", "0"],
    ]
    assert row(output, "registered models") == ["1", "0", "0", "0"]
    assert "\x1b" not in output.text

    again = mark(bench)
    assert announcements(bench) == found
    assert row(again, "runs") == ["0", "5", "0", "0"]
    quiet = mark(bench, "-q")
    assert quiet.text == ""


def test_nothing_is_deleted_before_its_time(bench: Bench) -> None:
    """Unmarked or too fresh: ``grace``.  After the time all of it goes, in one plan, and comes back."""
    estate = _estate(bench.world)
    before = there(bench)
    # An experiment whose runs wait holds runs that stay.
    waits = dict.fromkeys(estate.deleted, "grace") | {estate.old: "live_run"}
    for step in (lambda: None, lambda: mark(bench)):
        step()
        plan = report(bench, *POLICY)
        assert deletions_of(plan) == set()
        found = reasons_of(plan)
        assert {entity: found.get(entity) for entity in waits} == waits
        bench.cli("validate", plan.path).expect(0)
        bench.cli("prune", "--yes", "--policy", bench.dir / "policy.yml", cwd=bench.dir).expect(0)
        assert there(bench) == before

    let_days_pass(bench)
    mark(bench)
    assert set(announcements(bench).values()) == {rfc3339(bench.world.ago(1))}
    plan = report(bench, *POLICY)
    assert plan.document["policy"]["grace"] == "14d"
    assert deletions_of(plan) == estate.deleted
    bench.prune(plan)
    assert there(bench) == before - estate.deleted
    bench.cli("restore", bench.journal_path(plan), "--yes").expect(0)
    assert there(bench) == before - {estate.version, estate.model}


def test_prune_deletes_what_is_announced_long_enough_and_nothing_else(bench: Bench) -> None:
    """One by one; a tree waits for the last of its runs, an experiment for what is in it."""
    estate = _estate(bench.world)
    mark(bench)
    ready = {estate.run, estate.tree[0], estate.tree[1], estate.old, estate.version}
    let_days_pass(bench, ready)
    plan = report(bench, *POLICY)
    assert deletions_of(plan) == {estate.run, estate.version}
    found = reasons_of(plan)
    assert found[estate.tree[2]] == "grace"
    assert found[estate.tree[0]] == found[estate.tree[1]] == "tree"
    assert found[estate.old] == "live_run"
    assert found[estate.empty] == found[estate.model] == "grace"
    before = there(bench)
    bench.prune(plan)
    assert there(bench) == before - {estate.run, estate.version}
    let_days_pass(bench, estate.deleted - {estate.run, estate.version})
    bench.cli("prune", "--yes", "--policy", bench.dir / "policy.yml", cwd=bench.dir).expect(0)
    assert there(bench) == before - estate.deleted


def test_what_is_needed_again_loses_its_announcement(bench: Bench) -> None:
    """Active again, kept, aliased, filled: unmarked; the rest of the marks stays as it is."""
    world, estate = bench.world, _estate(bench.world)
    more = {
        deed: ("run", world.run(world.experiment(f"home of {deed}", age=FRESH)))
        for deed in ("metric", "resumed", "tag", "experiment")
    }
    mark(bench)
    announced = announcements(bench)
    assert set(more.values()) <= set(announced)
    world.metric(more["metric"][1], world.as_of_ms)
    world.resume(more["resumed"][1])
    world.tag_run(more["tag"][1], KEEP_TAG, UGLY)
    home = world.call("GET", f"runs/get?run_id={more['experiment'][1]}", {})
    world.tag_experiment(home["run"]["info"]["experiment_id"], KEEP_TAG, "until:2999-12-31")
    world.tag_run(estate.tree[2][1], KEEP_TAG, "true")
    world.run(estate.old[1], age=FRESH)
    world.trace(estate.empty[1])
    world.alias(estate.version[1], "champion")
    world.version(estate.model[1])
    withdrawn = {
        *more.values(),
        *estate.tree,
        estate.old,
        estate.empty,
        estate.version,
        estate.model,
    }
    dry = mark(bench, "--dry-run")
    assert announcements(bench) == announced
    output = mark(bench)
    assert row(output, "runs") == row(dry, "runs") == ["0", "2", "7", "0"]
    assert row(output, "registered models") == ["0", "0", "1", "0"]
    assert announcements(bench) == {
        e: value for e, value in announced.items() if e not in withdrawn
    }


def test_owners_may_name_a_later_time(bench: Bench) -> None:
    """It is honoured, also where the policy has no grace any more; ``mark`` does not touch it."""
    world, estate = bench.world, _estate(bench.world)
    mark(bench)
    let_days_pass(bench)
    later = rfc3339(world.as_of_ms + 400 * DAY_MS)
    patient = {estate.run, estate.empty, estate.version, estate.model}
    for entity in patient:
        set_mark(world, entity, later)
    mark(bench)
    assert {e for e, value in announcements(bench).items() if value == later} == patient
    for lines in (POLICY, BASE):
        plan = report(bench, *lines)
        assert deletions_of(plan) == estate.deleted - patient
        found = reasons_of(plan)
        assert {entity: found[entity] for entity in patient} == dict.fromkeys(patient, "grace")
    before = there(bench)
    bench.prune(plan)
    assert there(bench) == before - (estate.deleted - patient)


def test_an_announcement_that_nobody_can_read_keeps_and_is_left_alone(bench: Bench) -> None:
    """It is named in the diagnostics, and ``mark`` says how many there are."""
    world, estate = bench.world, _estate(bench.world)
    mark(bench)
    let_days_pass(bench)
    odd = {estate.run: UGLY, estate.empty: "never", estate.version: "2027", estate.model: "soon"}
    for entity, value in odd.items():
        set_mark(world, entity, value)
    output = mark(bench)
    assert "4" in output.out[output.out.index("registered models") :]
    assert "cannot be read" in output.out
    assert {e: value for e, value in announcements(bench).items() if e in odd} == odd
    for lines in (POLICY, BASE):
        plan = report(bench, *lines)
        assert deletions_of(plan) == estate.deleted - set(odd)
        found = reasons_of(plan)
        assert {entity: found[entity] for entity in odd} == dict.fromkeys(odd, "malformed_tag")
        codes = [d["code"] for d in plan.document["diagnostics"]]
        assert codes == ["malformed_tag"] * len(odd)


def test_an_announcement_from_before_the_last_activity_does_not_count(bench: Bench) -> None:
    """Stale, marked, active again, stale again: it is announced once more."""
    world = bench.world
    home = world.experiment("home", age=FRESH)
    # Marked 34 days ago, due 20 days ago; the second was active in between.
    idle, active = (("run", world.run(home, age=age)) for age in (36, 32))
    due = rfc3339(world.ago(20))
    for run in (idle, active):
        set_mark(world, run, due)
    plan = report(bench, *POLICY)
    assert deletions_of(plan) == {idle}
    assert reasons_of(plan)[active] == "grace"
    output = mark(bench)
    assert row(output, "runs") == ["1", "1", "0", "0"]
    found = announcements(bench)
    assert found[idle] == due
    assert found[active] > rfc3339(world.as_of_ms)


def test_a_plan_from_before_the_announcement_applies_after_it(bench: Bench) -> None:
    """A mark changes no time stamp and is no change: it is obeyed, not compared."""
    estate = _estate(bench.world)
    plan = report(bench, *BASE)
    assert deletions_of(plan) == estate.deleted
    mark(bench)
    let_days_pass(bench)
    bench.cli("check", plan.path, "--detailed-exitcode").expect(0)
    before = there(bench)
    bench.prune(plan)
    assert skips(bench, plan) == {}
    assert there(bench) == before - estate.deleted


def test_objections_after_the_plan_are_heard(bench: Bench) -> None:
    """The mark was taken away, set to later, or to something that cannot be read."""
    world = bench.world
    changes: dict[str, str | None] = {
        "taken away": None,
        "later": rfc3339(world.as_of_ms + DAY_MS),
        "unreadable": "when I am back",
    }
    home = world.experiment("home", age=FRESH)
    output: dict[Entity, str] = {}
    for change in changes:
        output["run", world.run(home)] = change
        output["experiment", world.experiment()] = change
        output["model_version", world.spare_version(world.model())] = change
        output["registered_model", world.model()] = change
    untouched: Entity = ("run", world.run(home))
    mark(bench)
    let_days_pass(bench)
    plan = report(bench, *POLICY)
    assert deletions_of(plan) == {*output, untouched}
    for entity, change in output.items():
        set_mark(world, entity, changes[change])
    before = there(bench)
    bench.prune(plan)
    assert there(bench) == before - {untouched}
    assert skips(bench, plan) == dict.fromkeys(output, "protected")


# -- when it refuses, and what may go wrong ------------------------------------------------------


def test_without_a_grace_there_is_nothing_to_announce(bench: Bench) -> None:
    """A usage error, whether the policy has none or there is no policy."""
    _estate(bench.world)
    output = mark(bench, "--policy", write_policy(bench.dir, *BASE), codes=(USAGE,))
    assert "grace" in output.err
    bench.cli("mark", cwd=bench.dir).expect(USAGE)
    assert announcements(bench) == {}


def test_an_exceeded_guard_announces_nothing(bench: Bench) -> None:
    """Exit code 5: on the day on which the TTL is wrong nobody is frightened."""
    _estate(bench.world)
    before = everything_else(bench)
    policy = write_policy(bench.dir, *POLICY, "guards: {max_deletions: {runs: 4}}")
    for extra in ((), ("--dry-run",)):
        output = mark(bench, "--policy", policy, *extra, codes=(REFUSED,))
        assert "guards.max_deletions.runs" in output.err
    assert announcements(bench) == {}
    assert everything_else(bench) == before
    policy = write_policy(bench.dir, *POLICY, "guards: {max_deletions: {runs: 5}}")
    mark(bench, "--policy", policy)
    assert len(announcements(bench)) == 9


NOT_ADMIN = Fault(
    "no administrator",
    status=200,
    body=b'{"user": {"id": 7, "username": "eve", "is_admin": false}}',
)


def test_what_may_hide_something_announces_nothing(bench: Bench, proxy: Proxy) -> None:
    """A page that fails, and an account that does not see everything: exit code 5."""
    _estate(bench.world)
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    proxy.fail("GET", "model-versions/search$", FORBIDDEN, times=float("inf"))
    output = mark(bench, env=env, codes=(REFUSED,))
    assert "Nothing was announced" in output.err
    proxy.forget()
    proxy.fail("GET", "users/current$", NOT_ADMIN, times=float("inf"))
    output = mark(bench, env=env, codes=(REFUSED,))
    assert "eve" in output.err
    assert announcements(bench) == {}
    assert not proxy.requests("POST", "-tag$")
    # The same words as for a report let it go on.
    mark(bench, "--accept-partial-view", env=env)
    assert len(announcements(bench)) == 9


def test_clear_takes_all_announcements_away(bench: Bench) -> None:
    """Readable or not, whatever is stale, with a policy or without; and nothing else."""
    world, estate = bench.world, _estate(bench.world)
    before = everything_else(bench)
    mark(bench)
    set_mark(world, estate.version, UGLY)
    fresh: Entity = ("run", world.run(world.experiment("new", age=FRESH), age=1))
    set_mark(world, fresh, "2030-01-01")
    announced = announcements(bench)
    dry = bench.cli("mark", "--clear", "--dry-run", cwd=bench.dir).expect(0)
    assert row(dry, "runs") == ["0", "0", "6", "0"]
    assert announcements(bench) == announced
    output = bench.cli("mark", "--clear", cwd=bench.dir).expect(0)
    assert row(output, "runs") == ["0", "0", "6", "0"]
    assert announcements(bench) == {}
    after = everything_else(bench)
    assert all(set(rows) <= set(after[table]) for table, rows in before.items())
    assert row(bench.cli("mark", "--clear", cwd=bench.dir).expect(0), "runs") == ["0"] * 4


GOING: dict[str, Callable[[World, Estate], object]] = {
    "run, for good": lambda w, e: w.purge_run(e.run[1]),
    "run, to the trash": lambda w, e: w.delete_run(e.run[1]),
    "experiment, to the trash": lambda w, e: w.delete_experiment(e.empty[1]),
    "version": lambda w, e: w.delete_version(e.version[1]),
    "model": lambda w, e: w.call("DELETE", "registered-models/delete", {"name": e.model[1]}),
}


@pytest.mark.parametrize("what", GOING)
def test_what_went_between_the_scan_and_its_announcement_is_no_failure(
    bench: Bench, proxy: Proxy, what: str
) -> None:
    """It cannot carry a mark any more, and needs none; all the others get theirs."""
    estate = _estate(bench.world)
    turn, done = threading.Lock(), threading.Event()

    def strike() -> None:
        # Tags are written in parallel: all wait until the deed is done.
        with turn:
            if not done.is_set():
                GOING[what](bench.world, estate)
                done.set()

    proxy.before("POST", "-tag$", strike, times=float("inf"))
    output = mark(bench, env={"MLFLOW_TRACKING_URI": proxy.uri})
    assert done.is_set()
    assert "Failed" not in output.err
    left = there(bench)
    assert {e for e in announcements(bench) if e in left} == estate.deleted & left


def test_one_tag_that_fails_does_not_stop_the_others(bench: Bench, proxy: Proxy) -> None:
    """Forbidden, or refused again and again: exit code 3, and the next ``mark`` finishes it."""
    estate = _estate(bench.world)
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    proxy.fail("POST", "experiments/set-experiment-tag$", FORBIDDEN, times=1)
    proxy.fail("POST", "registered-models/set-tag$", SERVER_ERROR, times=float("inf"))
    output = mark(bench, env=env, codes=(PARTIAL,))
    failed = estate.deleted - set(announcements(bench))
    assert {kind for kind, _ in failed} == {"experiment", "registered_model"}
    assert len(failed) == 2
    assert output.err.count("Failed: ") == 2
    for _, key in failed:
        assert key in output.err
    assert row(output, "registered models") == ["0", "0", "0", "1"]
    assert "\x1b" not in output.text
    proxy.forget()
    mark(bench, env=env)
    assert set(announcements(bench)) == estate.deleted


def test_an_answer_that_is_not_mlflows_is_no_announcement(bench: Bench, proxy: Proxy) -> None:
    """Something in between said 200 and nothing: what is told as marked is marked."""
    estate = _estate(bench.world)
    proxy.fail("POST", "runs/set-tag$", EMPTY_200)
    output = mark(bench, env={"MLFLOW_TRACKING_URI": proxy.uri}, codes=(0, 1, PARTIAL))
    announced = {entity for entity in announcements(bench) if entity[0] == "run"}
    assert int(row(output, "runs")[0]) == len(announced)
    assert bool(output.code) == (set(announcements(bench)) != estate.deleted)


def test_stopped_it_ends_in_order_and_the_next_one_goes_on(bench: Bench, proxy: Proxy) -> None:
    """SIGINT: exit code 130; what was marked before keeps its time."""
    world = bench.world
    runs = {("run", run) for run in world.bulk_runs(world.experiment(age=FRESH), 450)}
    running: list[Running] = []

    def strike() -> None:
        while not running:  # the process may be faster than the line below
            pass
        running[0].kill(signal.SIGINT)

    proxy.before("POST", "runs/set-tag$", strike)
    policy = write_policy(bench.dir, *POLICY)
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    running.append(bench.cli.start("mark", "--policy", policy, env=env))
    output = running[0].wait()
    assert output.code == 130, output
    assert "run it again" in output.err
    half = announcements(bench)
    assert 0 < len(half) < len(runs)
    assert int(row(output, "runs")[0]) == len(half)
    # Straight into the database: four hundred calls over HTTP are no faster here than there.
    mark(bench, env={"MLFLOW_TRACKING_URI": f"sqlite:///{world.database}"})
    found = announcements(bench)
    assert set(found) == runs
    assert {run: found[run] for run in half} == half


def test_over_a_database_it_does_the_same(bench: Bench) -> None:
    """Mark, unmark, refuse to delete, delete, clear."""
    world, estate = bench.world, _estate(bench.world)
    env: dict[str, str | None] = {"MLFLOW_TRACKING_URI": f"sqlite:///{world.database}"}
    before = everything_else(bench)
    mark(bench, env=env)
    assert set(announcements(bench)) == estate.deleted
    assert everything_else(bench) == before
    assert row(mark(bench), "runs") == ["0", "5", "0", "0"]
    world.tag_run(estate.run[1], KEEP_TAG, "true")
    assert row(mark(bench, env=env), "runs") == ["0", "4", "1", "0"]
    assert deletions_of(report(bench, *POLICY, env=env)) == set()
    let_days_pass(bench, estate.tree)
    plan = report(bench, *POLICY, env=env)
    assert deletions_of(plan) == set(estate.tree)
    bench.prune(plan, env=env)
    assert not set(estate.tree) & there(bench)
    bench.cli("mark", "--clear", env=env, cwd=bench.dir).expect(0)
    alive = there(bench)
    assert not {entity for entity in announcements(bench) if entity in alive}


def test_the_time_of_an_announcement_may_be_written_in_any_zone(bench: Bench) -> None:
    """Owners write RFC 3339 or a day, by hand."""
    world = bench.world
    home = world.experiment("home", age=FRESH)
    local = timezone(timedelta(hours=14))
    as_of = datetime.fromtimestamp(world.as_of_ms // 1000, tz=local)
    fates = {
        (as_of - timedelta(hours=1)).isoformat(): True,
        (as_of + timedelta(hours=1)).isoformat(): False,
        f"{as_of - timedelta(days=2):%Y-%m-%d}": True,
        f"{as_of + timedelta(days=2):%Y-%m-%d}": False,
    }
    runs = {value: ("run", world.run(home)) for value in fates}
    for value, run in runs.items():
        set_mark(world, run, value)
    plan = report(bench, *POLICY)
    assert deletions_of(plan) == {runs[value] for value, deleted in fates.items() if deleted}
