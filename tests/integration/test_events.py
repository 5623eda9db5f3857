"""``--events FILE``: what a command does, line by line, for machines; the end is always told.

Every line is checked against the published schema, and what it says against the journal and the
server.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from support.proxy import SERVER_ERROR
from support.world import FRESH, KEEP_TAG

from mlflow_gc.plan.schema import schema_text

if TYPE_CHECKING:
    from pathlib import Path

    from support.bench import Bench
    from support.cli import Cli, Outcome, Running
    from support.oracle import Entity
    from support.proxy import Proxy
    from support.world import World

ERROR, PARTIAL, REFUSED, USAGE = 1, 3, 5, 64
VALIDATOR = Draft202012Validator(json.loads(schema_text("events")))


def read(path: Path) -> list[dict[str, Any]]:
    """The events of a file: all valid, the first and the last what they have to be."""
    return parse(path.read_bytes())


def parse(raw: bytes) -> list[dict[str, Any]]:
    """See :func:`read`."""
    assert raw.endswith(b"\n")
    assert all(32 <= byte < 127 or byte == 10 for byte in raw), "not printable ASCII"
    events = [json.loads(line) for line in raw.splitlines()]
    for event in events:
        assert not list(VALIDATOR.iter_errors(event)), event
    assert [event["event"] for event in events].count("start") == 1
    assert [event["event"] for event in events].count("end") == 1
    assert events[0]["event"] == "start"
    assert events[-1]["event"] == "end"
    times = [event["time"] for event in events]
    assert times == sorted(times)
    return events


def of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The events of one kind."""
    return [event for event in events if event["event"] == kind]


def outcomes(events: list[dict[str, Any]]) -> dict[Entity, tuple[str, str | None]]:
    """The last outcome and reason of every entity."""
    return {(e["kind"], e["id"]): (e["outcome"], e["reason"]) for e in of(events, "entity")}


def phases(events: list[dict[str, Any]]) -> list[str]:
    """What was done, in order."""
    return [event["phase"] for event in of(events, "phase")]


def estate(world: World) -> dict[str, str]:
    """Runs, an experiment and a version to delete, and company that stays."""
    experiment = world.experiment()
    parent = world.run(experiment)
    world.run(experiment, parent=parent)
    home = world.experiment(age=FRESH)
    runs = world.bulk_runs(home, 10)
    retained = world.run(home, tags={KEEP_TAG: "true"})
    name = world.model()
    world.version(name)
    world.version(name, age=FRESH)
    return {"kept": retained, "changes": runs[0], "gone": runs[1]}


def test_a_report(bench: Bench, cli: Cli, tmp_path: Path) -> None:
    estate(bench.world)
    path = tmp_path / "events.jsonl"
    plan = bench.report("--events", path)
    events = read(path)
    assert (events[0]["command"], events[0]["dry_run"]) == ("report", False)
    assert phases(events)[:3] == ["load", "connect", "scan"]
    (reported,) = of(events, "plan")
    assert reported["plan_id"] == plan.plan_id
    assert reported["summary"] == plan.document["summary"]
    assert reported["server"] == plan.document["server"]
    scanned = [e for e in of(events, "progress") if e["phase"] == "scan"][-1]
    assert scanned["done"]["runs"] == plan.document["summary"]["runs"]["scanned"]
    assert events[-1]["exit_code"] == 0
    assert events[-1]["counts"] == {}
    assert cli("validate", path).expect(0).out.endswith(f"{len(events)} lines, exit code 0\n")


def test_a_prune_tells_what_its_journal_tells(bench: Bench, tmp_path: Path) -> None:
    names = estate(bench.world)
    plan = bench.report()
    bench.world.resume(names["changes"])
    bench.world.purge_run(names["gone"])
    path = tmp_path / "events.jsonl"
    _, journal = bench.prune(plan, "--events", path)
    events = read(path)
    reported = [(e["kind"], e["id"], e["outcome"], e["reason"]) for e in of(events, "entity")]
    assert reported == [(r["kind"], r["id"], r["outcome"], r["reason"]) for r in journal.records]
    assert outcomes(events)["run", names["changes"]] == ("skipped", "changed")
    assert outcomes(events)["run", names["gone"]] == ("skipped", "gone")
    assert outcomes(events).keys() == plan.entities
    (where,) = of(events, "journal")
    assert where["file"] == str(bench.journal_path(plan))
    assert phases(events) == ["load", "connect", "compare", "prune"]
    (begun,) = [e for e in of(events, "phase") if e["phase"] == "prune"]
    assert begun["total"] == {"experiments": 1, "runs": 12, "model_versions": 1}
    assert of(events, "progress")[-1]["done"] == begun["total"]
    (end,) = journal.of_type("end")
    assert events[-1]["counts"] == end["counts"]


def test_check_and_dry_run_say_what_would_be(bench: Bench, tmp_path: Path) -> None:
    """And write ``would_delete``, so that nobody counts a deletion that was none."""
    names = estate(bench.world)
    plan = bench.report()
    bench.world.resume(names["changes"])
    path = tmp_path / "events.jsonl"
    for words, phase in (
        (("check", plan.path), "check"),
        (("prune", plan.path, "--dry-run"), "check"),
    ):
        bench.cli(*words, "--events", path).expect(0)
        events = read(path)
        assert events[0]["dry_run"] is True
        assert phases(events)[-1] == phase
        assert not of(events, "journal")
        found = outcomes(events)
        assert found.keys() == plan.entities
        assert Counter(found.values()) == {
            ("would_delete", None): len(found) - 1,
            ("skipped", "changed"): 1,
        }


def test_a_restore(bench: Bench, tmp_path: Path) -> None:
    estate(bench.world)
    plan = bench.report()
    bench.prune(plan)
    path = tmp_path / "events.jsonl"
    dry = bench.cli("restore", bench.journal_path(plan), "--dry-run", "--events", path)
    dry.expect(0)
    assert {o for o, _ in outcomes(read(path)).values()} == {"would_restore", "skipped"}
    bench.cli("restore", bench.journal_path(plan), "--yes", "--events", path).expect(0)
    events = read(path)
    assert of(events, "journal")[0]["plan_id"] == plan.plan_id
    found = outcomes(events)
    assert found.keys() == plan.entities
    versions = {("model_version", v) for v in plan.versions}
    for entity, outcome in found.items():
        expected = ("skipped", "irreversible") if entity in versions else ("restored", None)
        assert outcome == expected


def test_marks(bench: Bench, tmp_path: Path) -> None:
    world = bench.world
    runs = world.bulk_runs(world.experiment(age=FRESH), 5)
    policy = tmp_path / "policy.yml"
    policy.write_text("version: 1\ngrace: 14d\n")
    path = tmp_path / "events.jsonl"
    for words, outcome in (
        (("--dry-run",), "would_mark"),
        ((), "marked"),
        (("--clear", "--dry-run"), "would_unmark"),
        (("--clear",), "unmarked"),
    ):
        bench.cli("mark", "--policy", policy, *words, "--events", path).expect(0)
        events = read(path)
        assert events[0]["command"] == "mark"
        assert outcomes(events) == {("run", run): (outcome, None) for run in runs}
        assert phases(events)[-1] == "mark"
        assert of(events, "phase")[-1]["total"] == {"runs": 5}


def test_a_prune_that_makes_its_plan(bench: Bench, tmp_path: Path) -> None:
    """Everything of a report and of a prune, in one file."""
    estate(bench.world)
    path = tmp_path / "events.jsonl"
    bench.cli(
        "prune", "--yes", "--as-of", bench.world.as_of, "--events", path, cwd=tmp_path
    ).expect(0)
    events = read(path)
    assert {"scan", "decide", "compare", "prune"} <= set(phases(events))
    plan = of(events, "plan")[0]["file"]
    assert [path.name for path in tmp_path.glob("prune-plan-*.json")] == [plan]
    assert of(events, "journal")[0]["file"] == f"{plan}.journal.jsonl"


# the end


@pytest.mark.parametrize(
    ("sig", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_an_interrupted_prune_has_an_end(
    bench: Bench, proxy: Proxy, tmp_path: Path, sig: signal.Signals, code: int
) -> None:
    """And tells exactly what was deleted until then."""
    world = bench.world
    world.bulk_runs(world.experiment(age=FRESH), 60)
    plan = bench.report()
    before = bench.state()
    path = tmp_path / "events.jsonl"
    outcome = _struck(
        bench,
        proxy,
        sig,
        "runs/delete",
        20,
        "prune",
        plan.path,
        "--journal",
        bench.journal_path(plan),
        "--events",
        path,
    )
    outcome.expect(code)
    events = read(path)
    assert events[-1]["exit_code"] == code
    deleted = {entity for entity, (o, _) in outcomes(events).items() if o == "deleted"}
    assert deleted == bench.state().gone_since(before)
    assert 20 <= len(deleted) < 60


def test_an_interrupted_report_has_an_end(bench: Bench, proxy: Proxy, tmp_path: Path) -> None:
    bench.world.bulk_runs(bench.world.experiment(), 3)
    path = tmp_path / "events.jsonl"
    words = ("report", "-o", bench.dir / "plan.json", "--events", path)
    _struck(bench, proxy, signal.SIGINT, "runs/search", 0, *words).expect(130)
    events = read(path)
    assert events[-1]["exit_code"] == 130
    assert events[-1]["error"] == {"message": "Stopped.", "hint": None}


def _struck(
    bench: Bench, proxy: Proxy, sig: signal.Signals, path: str, after: int, *words: object
) -> Outcome:
    """Run a command that gets a signal before the request number ``after`` + 1 of a kind."""
    running: list[Running] = []

    def strike() -> None:
        while not running:  # the process may be faster than the line below
            pass
        running[0].kill(sig)

    proxy.before("POST", f"{path}$", strike, after=after)
    running.append(bench.cli.start(*words, env={"MLFLOW_TRACKING_URI": proxy.uri}))
    outcome = running[0].wait()
    proxy.forget()
    return outcome


def test_a_refused_prune_has_an_end_that_says_why(bench: Bench, tmp_path: Path) -> None:
    estate(bench.world)
    plan = bench.report()
    before = bench.state()
    path = tmp_path / "events.jsonl"
    other = "sha256:" + "0" * 64
    bench.cli("prune", plan.path, "--expect", other, "--events", path).expect(REFUSED)
    events = read(path)
    assert events[-1]["exit_code"] == REFUSED
    assert "expected was" in events[-1]["error"]["message"]
    assert "approved" in events[-1]["error"]["hint"]
    assert not of(events, "entity")
    edited = plan.edited(tmp_path / "edited.json", lambda d: d["runs"].pop(), sign=False)
    bench.cli("prune", edited.path, "--events", path).expect(REFUSED)
    assert "edited" in read(path)[-1]["error"]["message"]
    assert bench.state() == before


def test_errors_guards_and_usage_have_an_end(bench: Bench, proxy: Proxy, tmp_path: Path) -> None:
    estate(bench.world)
    path = tmp_path / "events.jsonl"
    plan = tmp_path / "plan.json"
    bench.cli("report", "-o", plan, "--ttl", "x", "--events", path).expect(USAGE)
    assert read(path)[-1]["exit_code"] == USAGE

    nobody = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    bench.cli("report", "-o", plan, "--events", path, env=nobody).expect(ERROR)
    assert "127.0.0.1:9" in read(path)[-1]["error"]["message"]

    policy = tmp_path / "policy.yml"
    policy.write_text("version: 1\nguards: {max_deletions: {runs: 1}}\n")
    bench.cli("report", "-o", plan, "--policy", policy, "--events", path).expect(REFUSED)
    (warning,) = of(read(path), "warning")
    assert warning["code"] == "guard"
    assert "guards.max_deletions.runs" in warning["message"]

    proxy.fail("POST", "runs/search$", SERVER_ERROR, times=99)
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    bench.cli("report", "-o", plan, "--events", path, env=env).expect(REFUSED)
    assert "incomplete_scan" in {w["code"] for w in of(read(path), "warning")}
    proxy.forget()


def test_failures_are_reported(bench: Bench, proxy: Proxy, tmp_path: Path) -> None:
    bench.world.bulk_runs(bench.world.experiment(age=FRESH), 5)
    plan = bench.report()
    proxy.fail("POST", "runs/delete$", SERVER_ERROR, times=99)
    path = tmp_path / "events.jsonl"
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    bench.prune(plan, "--events", path, env=env, codes=(PARTIAL,))
    proxy.forget()
    events = read(path)
    assert Counter(o for o, _ in outcomes(events).values()) == {"failed": 5}
    assert all(e["detail"] for e in of(events, "entity"))
    assert events[-1]["exit_code"] == PARTIAL


# where it goes


@pytest.mark.parametrize("where", ["a directory", "nowhere", "-", "the plan"])
def test_nothing_is_touched_when_events_cannot_be_written(
    bench: Bench, tmp_path: Path, where: str
) -> None:
    """An error before anything else: exit 1, or 64 for what can never work."""
    estate(bench.world)
    plan = bench.report()
    content = plan.path.read_bytes()
    before = bench.state()
    path = {
        "a directory": tmp_path,
        "nowhere": tmp_path / "no" / "events.jsonl",
        "-": "-",
        "the plan": plan.path,
    }[where]
    outcome = bench.cli("prune", plan.path, "--events", path)
    outcome.expect(USAGE if where == "-" else ERROR)
    assert "events" in outcome.err
    assert outcome.out == ""
    assert bench.state() == before
    assert plan.path.read_bytes() == content
    assert not bench.journal_path(plan).exists()


def test_stderr_has_nothing_but_events_and_what_is_said(bench: Bench) -> None:
    """For a job's log: no bars and no lines of progress between them."""
    estate(bench.world)
    plan = bench.report()
    outcome = bench.cli("prune", plan.path, "--events", "/dev/stderr", process=True).expect(0)
    events = parse(outcome.err.encode())
    assert outcomes(events).keys() == plan.entities
    assert "{" not in outcome.out


def test_a_reader_that_goes_away_does_not_stop_the_prune(bench: Bench, tmp_path: Path) -> None:
    """It is said once; plan, journal and exit code are as if nobody had listened."""
    bench.world.bulk_runs(bench.world.experiment(age=FRESH), 30)
    plan = bench.report()
    before = bench.state()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def read_one_line() -> None:
        with pipe.open("rb") as reader:
            reader.readline()

    reading = threading.Thread(target=read_one_line)
    reading.start()
    outcome, journal = bench.prune(plan, "--events", pipe)
    reading.join(10)
    assert bench.state().gone_since(before) == plan.entities
    assert journal.with_outcome("deleted") == plan.entities
    assert outcome.err.count("the events file") == 1
    assert "can no longer be written" in outcome.err


def test_no_credentials_in_events(bench: Bench, tmp_path: Path) -> None:
    """Not those of the address either."""
    estate(bench.world)
    path = tmp_path / "events.jsonl"
    uri = bench.world.uri.replace("http://", "http://user:canary-1@")
    env = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_TRACKING_TOKEN": "canary-2"}
    bench.cli("report", "-o", tmp_path / "p.json", "--events", path, env=env).expect(0)
    assert of(read(path), "plan")
    assert b"canary" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
