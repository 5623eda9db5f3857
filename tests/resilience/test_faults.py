"""When the network, the server, the disk or the credentials fail.

One clear message, the right exit code, no traceback, no half-written file; and of a prune: after
it, and after a second one, the server is in the right state and the journal agrees.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import depth
from support import proxy as faults
from support.plans import Plan
from support.world import FRESH

if TYPE_CHECKING:
    from support.bench import Bench
    from support.cli import Cli
    from support.oracle import Entity
    from support.proxy import Fault, Proxy
    from support.world import World

ERROR, PARTIAL, REFUSED = 1, 3, 5

QUICK = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"}
"""MLflow's own settings; its defaults try for minutes."""

PERMANENT = [
    faults.HTML_200,
    faults.HTML_404,
    faults.HTML_502,
    faults.UNAUTHORIZED,
    faults.FORBIDDEN,
    faults.SERVER_ERROR,
    faults.JSON_ARRAY,
    faults.EMPTY_200,
    faults.TORN_JSON,
    faults.RESET_BEFORE,
]

SEARCHES = [
    ("POST", "experiments/search$"),
    ("POST", "runs/search$"),
    ("GET", "registered-models/search$"),
    ("GET", "model-versions/search$"),
]


def _message(text: str) -> str:
    """Check that a message is for people, and return it without line breaks."""
    lines = [line for line in text.splitlines() if line.strip()]
    assert lines, "no message"
    assert len(lines) <= 12, f"not one clear message:\n{text}"
    assert "<html" not in text.lower(), "the page itself is no message"
    assert "Errno" not in text or ":" in text
    return " ".join(text.split())


def _report_fails(bench: Bench, uri: str, *codes: int) -> str:
    """Report against ``uri``; nothing may be left behind."""
    outcome = bench.cli(
        "report",
        "-o",
        bench.dir / "plan.json",
        env={**QUICK, "MLFLOW_TRACKING_URI": uri},
        timeout=120,
    ).expect(*codes)
    assert list(bench.dir.iterdir()) == [], "a file was left behind"
    assert not outcome.out.strip()
    return _message(outcome.err)


# report


@pytest.mark.parametrize("fault", PERMANENT, ids=str)
def test_a_server_that_always_fails_is_an_error(bench: Bench, proxy: Proxy, fault: Fault) -> None:
    """Whatever it answers, to every request."""
    proxy.fail_at(0, fault, times=float("inf"))
    output = _report_fails(bench, proxy.uri, ERROR, REFUSED)
    assert proxy.netloc in output, "which server?"


def test_an_unreachable_server_is_an_error(bench: Bench) -> None:
    """Nobody listens on the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
        output = _report_fails(bench, uri, ERROR)
    assert uri.removeprefix("http://") in output


def test_an_unknown_host_is_an_error(bench: Bench) -> None:
    """A typing error in the name of the server."""
    output = _report_fails(bench, "http://no-such-host.invalid:5000", ERROR)
    assert "no-such-host.invalid" in output


@pytest.mark.parametrize("uri", ["not a uri", "http://", "ftp://host/x", "http://host:port"])
def test_an_uri_that_is_none_is_an_error(bench: Bench, uri: str) -> None:
    """Also a usage error would be right."""
    _report_fails(bench, uri, ERROR, 64)


@pytest.mark.smoke
@pytest.mark.parametrize("search", SEARCHES, ids=lambda s: s[1])
@pytest.mark.parametrize(
    "fault",
    [faults.HTML_200, faults.FORBIDDEN, faults.TORN_JSON, faults.JSON_ARRAY, faults.UNAUTHORIZED],
    ids=str,
)
def test_evidence_that_cannot_be_read_gives_no_applyable_plan(
    bench: Bench, proxy: Proxy, search: tuple[str, str], fault: Fault
) -> None:
    """One search fails for good: an error without a file, or a plan that cannot be applied."""
    world = bench.world
    world.version(world.model(), run_id=world.run(world.experiment()), aliases=["champion"])
    proxy.fail(*search, fault, times=float("inf"))
    path = bench.dir / "plan.json"
    outcome = bench.cli("report", "-o", path, env={**QUICK, "MLFLOW_TRACKING_URI": proxy.uri})
    assert proxy.requests(*search), "this search is not used"
    if path.exists():
        document = Plan.load(path).document
        assert document["applyable"] is False
        assert document["complete"] is False
        assert document["diagnostics"]
    else:
        outcome.expect(ERROR, REFUSED)
        assert list(bench.dir.iterdir()) == []
    _message(outcome.err)


@pytest.mark.smoke
@pytest.mark.parametrize(
    "fault",
    depth.some([faults.TOO_MANY, faults.RESET_BEFORE, faults.UNAVAILABLE, faults.HTML_502], 2),
    ids=str,
)
def test_a_passing_trouble_is_waited_out(bench: Bench, proxy: Proxy, fault: Fault) -> None:
    """Reads retry: the same plan as if nothing had been."""
    bench.world.bulk_runs(bench.world.experiment(), 3)
    calm = bench.report(name="calm.json")
    for _, path in SEARCHES[:2]:
        proxy.fail("POST", path, fault)
    rough = bench.report(name="rough.json", env={"MLFLOW_TRACKING_URI": proxy.uri})
    assert rough.document["runs"] == calm.document["runs"]
    assert rough.document["complete"] is True


@pytest.mark.smoke
def test_a_wrong_token_is_an_error_and_not_printed(bench: Bench, proxy: Proxy) -> None:
    """The message names the setting, not the secret."""
    proxy.require_token("right-token")
    outcome = bench.cli(
        "report",
        "-v",
        "-o",
        bench.dir / "plan.json",
        env={**QUICK, "MLFLOW_TRACKING_URI": proxy.uri, "MLFLOW_TRACKING_TOKEN": "wrong-canary"},
    ).expect(ERROR, REFUSED)
    assert list(bench.dir.iterdir()) == []
    assert "canary" not in outcome.text
    assert "401" in outcome.err or "token" in outcome.err.lower()


def test_the_right_token_is_sent_with_every_request(bench: Bench, proxy: Proxy) -> None:
    """``MLFLOW_TRACKING_TOKEN``, for report and for prune."""
    world = bench.world
    run = world.run(world.experiment(age=FRESH))
    proxy.require_token("right-token")
    env = {"MLFLOW_TRACKING_URI": proxy.uri, "MLFLOW_TRACKING_TOKEN": "right-token"}
    plan = bench.report(env=env)
    bench.prune(plan, env=env)
    assert ("run", run) not in bench.state().active
    assert "right-token" not in plan.path.read_text()
    assert "right-token" not in bench.journal_path(plan).read_text()


# Files


def test_a_directory_that_does_not_exist_is_an_error(bench: Bench) -> None:
    """For the plan of a report."""
    outcome = bench.cli("report", "-o", bench.dir / "no" / "plan.json").expect(ERROR)
    assert "plan.json" in _message(outcome.err).replace(" ", "")
    assert list(bench.dir.iterdir()) == []


def test_a_directory_in_place_of_the_plan_is_an_error(bench: Bench) -> None:
    """Nothing is written into it either."""
    (bench.dir / "plan.json").mkdir()
    _message(bench.cli("report", "-o", bench.dir / "plan.json").expect(ERROR).err)
    assert list((bench.dir / "plan.json").iterdir()) == []
    assert [p.name for p in bench.dir.iterdir()] == ["plan.json"]


@pytest.mark.smoke
def test_a_full_disk_leaves_the_old_plan_alone(bench: Bench) -> None:
    """The file grows beyond what fits: no half-written plan, no temporary file."""
    bench.world.bulk_runs(bench.world.experiment(), 100)
    path = bench.dir / "plan.json"
    path.write_text("the plan of yesterday")
    outcome = bench.cli("report", "-o", path, file_size_limit=8_000).expect(ERROR)
    assert path.read_text() == "the plan of yesterday"
    assert [p.name for p in bench.dir.iterdir()] == ["plan.json"]
    _message(outcome.err)


def test_a_full_disk_behind_stdout_is_an_error(bench: Bench) -> None:
    """``-o - > /dev/full``."""
    full = Path("/dev/full")
    if not full.is_char_device():
        pytest.skip("no /dev/full here")
    _message(bench.cli("report", "-o", "-", stdout=full).expect(ERROR).err)


def test_a_failed_report_leaves_the_old_plan_alone(bench: Bench, proxy: Proxy) -> None:
    """The plan of yesterday is neither emptied nor half overwritten."""
    path = bench.dir / "plan.json"
    path.write_text("the plan of yesterday")
    proxy.fail_at(3, faults.HTML_200, times=float("inf"))
    bench.cli("report", "-o", path, env={**QUICK, "MLFLOW_TRACKING_URI": proxy.uri}).expect(
        ERROR, REFUSED
    )
    assert path.read_text() == "the plan of yesterday"
    assert [p.name for p in bench.dir.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("what", ["a missing directory", "a directory"])
def test_a_journal_that_cannot_be_written_stops_prune_before_the_first_delete(
    bench: Bench, what: str
) -> None:
    """No deletion without a record."""
    bench.world.bulk_runs(bench.world.experiment(), 3)
    plan = bench.report()
    before = bench.state()
    journal = bench.dir / "no" / "j.jsonl" if what == "a missing directory" else bench.dir
    outcome = bench.cli("prune", plan.path, "--journal", journal).expect(ERROR, REFUSED)
    assert bench.state() == before
    _message(outcome.err)


@pytest.mark.smoke
def test_a_disk_that_fills_up_under_the_journal_stops_prune(bench: Bench) -> None:
    """What is deleted is in the journal; the rest is still there; a second prune finishes."""
    bench.world.bulk_runs(bench.world.experiment(age=FRESH), 300)
    plan = bench.report()
    before = bench.state()
    outcome = bench.cli(
        "prune", plan.path, "--journal", bench.journal_path(plan), file_size_limit=20_000
    ).expect(ERROR, PARTIAL)
    gone = bench.state().gone_since(before)
    assert gone < plan.entities
    assert len(outcome.err.splitlines()) < 40
    bench.prune(plan, torn=True)
    assert bench.state().gone_since(before) == plan.entities


# prune


def _estate(world: World) -> None:
    experiment = world.experiment()
    parent = world.run(experiment)
    world.run(experiment, parent=parent)
    world.spare_version(world.model())


DURING_PRUNE = [
    faults.RESET_BEFORE,
    faults.RESET_AFTER,
    faults.HTML_200,
    faults.HTML_502,
    faults.SERVER_ERROR,
    faults.UNAVAILABLE,
    faults.TOO_MANY,
    faults.UNAUTHORIZED,
    faults.FORBIDDEN,
    faults.TORN_JSON,
    faults.TORN_BODY,
]

DELETES = [
    ("POST", "runs/delete$"),
    ("POST", "experiments/delete$"),
    ("DELETE", "model-versions/delete$"),
]


@pytest.mark.smoke
@pytest.mark.parametrize("fault", depth.some(DURING_PRUNE, 3), ids=str)
def test_a_delete_that_fails_once_is_finished_now_or_by_the_next_prune(
    bench: Bench, proxy: Proxy, fault: Fault
) -> None:
    """One fault at the first delete of each kind; journal and server agree, then a second prune."""
    _estate(bench.world)
    plan = bench.report()
    before = bench.state()
    for delete in DELETES:
        proxy.fail(*delete, fault)
    env = {**QUICK, "MLFLOW_TRACKING_URI": proxy.uri}
    outcome, journal = bench.prune(plan, env=env, codes=(0, ERROR, PARTIAL))
    _assert_journal_agrees(bench, plan, before, journal.with_outcome("deleted"))
    if outcome.code == 0:
        assert bench.state().gone_since(before) == plan.entities
    proxy.forget()
    bench.prune(plan, env=env)
    assert bench.state().gone_since(before) == plan.entities


def _assert_journal_agrees(bench: Bench, plan: Plan, before: object, reported: set[Entity]) -> None:
    gone = bench.state().gone_since(before)  # type: ignore[arg-type]
    assert gone <= plan.entities
    assert reported == gone


@pytest.mark.smoke
@pytest.mark.parametrize("fault", [faults.RESET_AFTER, faults.HTML_502], ids=str)
def test_a_delete_is_sent_once_also_when_its_answer_is_lost(
    bench: Bench, proxy: Proxy, fault: Fault
) -> None:
    """No blind retry: after an unclear answer the entity is read, and what is gone is not asked."""
    world = bench.world
    run = world.run(world.experiment(age=FRESH))
    plan = bench.report()
    proxy.fail("POST", "runs/delete$", fault)
    bench.prune(plan, env={**QUICK, "MLFLOW_TRACKING_URI": proxy.uri}, codes=(0, ERROR, PARTIAL))
    deletes = proxy.requests("POST", "runs/delete$")
    if fault is faults.RESET_AFTER:
        assert len(deletes) == 1
        assert ("run", run) not in bench.state().active
    else:
        second = deletes[1].index if len(deletes) > 1 else None
        between = [s for s in proxy.seen if deletes[0].index < s.index < (second or 10**9)]
        assert any(run.encode() in s.body or run in s.query for s in between)


@pytest.mark.smoke
def test_one_entity_that_always_fails_does_not_stop_the_others(bench: Bench) -> None:
    """Exit 3, the failure in the journal, everything else deleted."""
    world = bench.world
    experiment = world.experiment()
    runs = world.bulk_runs(experiment, 20)
    world.spare_version(world.model())
    plan = bench.report()
    before = bench.state()
    # The server itself fails for this run: a trigger in its database.
    world.sql(
        f"CREATE TRIGGER stubborn BEFORE UPDATE ON runs WHEN NEW.run_uuid = '{runs[7]}'"
        " AND NEW.lifecycle_stage = 'deleted' BEGIN SELECT RAISE(ABORT, 'stubborn'); END"
    )
    try:
        outcome, journal = bench.prune(plan, env=QUICK, codes=(PARTIAL,))
    finally:
        world.sql("DROP TRIGGER stubborn")
    left = {("run", runs[7]), ("experiment", experiment)}
    assert bench.state().gone_since(before) == plan.entities - left
    assert journal.with_outcome("failed") == {("run", runs[7])}
    assert ("experiment", experiment) in journal.skips
    assert runs[7] in outcome.text
    bench.prune(plan)
    assert bench.state().gone_since(before) == plan.entities


@pytest.mark.smoke
def test_a_forbidden_delete_is_a_skip_or_failure_and_the_rest_is_deleted(
    bench: Bench, proxy: Proxy
) -> None:
    """403 on one run: code ``forbidden``, and exit 3."""
    world = bench.world
    runs = world.bulk_runs(world.experiment(age=FRESH), 5)
    plan = bench.report()
    before = bench.state()
    proxy.fail("POST", "runs/delete$", faults.FORBIDDEN)
    _, journal = bench.prune(
        plan, env={**QUICK, "MLFLOW_TRACKING_URI": proxy.uri}, codes=(PARTIAL,)
    )
    gone = bench.state().gone_since(before)
    assert len(gone) == len(runs) - 1
    (record,) = [r for r in journal.records if r["outcome"] != "deleted"]
    assert record["reason"] == "forbidden"


@pytest.mark.smoke
@pytest.mark.parametrize("index", depth.some([3, 0, 1, 2, 4, 5], 2))
@pytest.mark.parametrize("fault", [faults.HTML_200, faults.UNAUTHORIZED], ids=str)
def test_a_prune_that_cannot_read_deletes_nothing_unread(
    bench: Bench, proxy: Proxy, fault: Fault, index: int
) -> None:
    """From the given request on every answer is nonsense; then a second, healthy prune."""
    _estate(bench.world)
    plan = bench.report()
    before = bench.state()
    proxy.fail_at(index, fault, times=float("inf"))
    env = {**QUICK, "MLFLOW_TRACKING_URI": proxy.uri}
    outcome, journal = bench.prune(plan, env=env, codes=(ERROR, PARTIAL, REFUSED))
    _assert_journal_agrees(bench, plan, before, journal.with_outcome("deleted"))
    assert "<html" not in outcome.text.lower()
    proxy.forget()
    bench.prune(plan, env=env)
    assert bench.state().gone_since(before) == plan.entities


def test_prune_on_an_unreachable_server_is_an_error(bench: Bench, offline_cli: Cli) -> None:
    """Nothing to see, nothing done."""
    _estate(bench.world)
    plan = bench.report()
    outcome = offline_cli("prune", plan.path, env=QUICK).expect(ERROR)
    _message(outcome.err)
