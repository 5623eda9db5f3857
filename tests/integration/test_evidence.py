"""Evidence that is too old, clocks that disagree, and sources that lead nowhere.

Ages are differences between times that several machines stamped.  A plan says when the clocks of
server and program are apart, and cannot be applied when they are too far apart or the scan took
too long.  A source that names nothing (any more) is looked up where the server knows the files.
"""

from __future__ import annotations

import http.client
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from support.plans import Plan
from support.proxy import HTML_200, Fault, Proxy, deletions
from support.world import FRESH
from urllib3.util import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.bench import Bench

    from mlflow_gc.demo.server import LocalServer

REFUSED = 5
OTHER_JSON = Fault("other JSON", status=200, body=b'{"message": "deploying"}')

Headers = list[tuple[str, str]]


class ClockProxy:
    """Forwards to a server and rewrites what its answers say about time.

    Attributes:
        rewrite: gets the server's ``Date`` header and returns the headers to send in its place.
        paths: of the requests so far, with their methods.
    """

    def __init__(self, upstream: str) -> None:
        self.rewrite: Callable[[str], Headers] = lambda date: [("Date", date)]
        self.paths: list[tuple[str, str]] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self, upstream))
        self._http.daemon_threads = True

    @property
    def uri(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def env(self) -> dict[str, str]:
        """What points the program here."""
        return {"MLFLOW_TRACKING_URI": self.uri}

    @property
    def deletes(self) -> list[tuple[str, str]]:
        """The requests that asked to delete something."""
        return [(method, path) for method, path in self.paths if path.endswith("/delete")]

    def shift(self, seconds: float, *more: tuple[str, str]) -> None:
        """Let the server's clock be so many seconds ahead; negative is behind."""
        self.rewrite = lambda date: [("Date", _moved(date, seconds)), *more]

    def say(self, *headers: tuple[str, str]) -> None:
        """Send these in place of the ``Date`` header."""
        self.rewrite = lambda _: list(headers)

    def __enter__(self) -> ClockProxy:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()


def _moved(date: str, seconds: float) -> str:
    # By our own clock: the server's header may be a second old.
    assert date, "the server sends no Date header"
    return formatdate(time.time() + seconds, usegmt=True)


def _handler_for(proxy: ClockProxy, upstream: str) -> type[BaseHTTPRequestHandler]:
    url = parse_url(upstream)
    assert url.host is not None

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *args: object) -> None:
            """Keep quiet."""

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            proxy.paths.append((self.command, self.path.partition("?")[0]))
            connection = http.client.HTTPConnection(str(url.host), url.port, timeout=60)
            headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
            try:
                connection.request(self.command, self.path, body or None, headers)
                answer = connection.getresponse()
                data = answer.read()
            finally:
                connection.close()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"date", "transfer-encoding", "content-length"}:
                    self.send_header(name, value)
            for name, value in proxy.rewrite(answer.headers["Date"]):
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        # The names that http.server looks for.
        do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

    return Handler


@pytest.fixture
def clock(server: LocalServer) -> Iterator[ClockProxy]:
    """A proxy that leaves the clock alone until told otherwise."""
    with ClockProxy(server.uri) as running:
        yield running


@pytest.fixture
def estate(bench: Bench) -> Bench:
    """Some stale runs in an experiment that goes with them, and company that stays."""
    world = bench.world
    world.bulk_runs(world.experiment(), 5)
    world.run(world.experiment(age=FRESH), age=FRESH)
    return bench


def _policy(bench: Bench, text: str) -> tuple[str, object]:
    path = bench.dir / "policy.yml"
    path.write_text(f"version: 1\n{text}\n", encoding="utf-8")
    return "--policy", path


def _diagnostics(plan: Plan) -> list[str]:
    return [d["code"] for d in plan.document["diagnostics"]]


# Clocks


def _without_creation(plan: Plan) -> list[bytes]:
    lines = plan.path.read_bytes().splitlines()
    return [line for line in lines if b'"created_at"' not in line]


@pytest.mark.parametrize("seconds", [30, -30, 50, -50])
def test_a_small_skew_leaves_no_trace_in_the_plan(
    estate: Bench, clock: ClockProxy, seconds: int
) -> None:
    """Two reports of the same state are the same bytes, whatever the clocks do within a minute."""
    true = estate.report(name="true.json", env=clock.env)
    clock.shift(seconds)
    skewed = estate.report(name="skewed.json", env=clock.env)
    assert _without_creation(skewed) == _without_creation(true)
    assert true.document["diagnostics"] == []


@pytest.mark.parametrize("seconds", [90, -90, 270, -270])
def test_a_skew_of_a_minute_or_more_is_noted(
    estate: Bench, clock: ClockProxy, seconds: int
) -> None:
    """The reviewer learns of it, in the right direction; the plan can be applied."""
    clock.shift(seconds)
    plan = estate.report(env=clock.env)
    assert _diagnostics(plan) == ["clock_skew"]
    assert plan.document["complete"] is True
    assert plan.document["applyable"] is True
    (diagnostic,) = plan.document["diagnostics"]
    assert ("ahead of" if seconds > 0 else "behind") in diagnostic["message"]
    shown = estate.cli("show", plan.path).expect(0)
    assert "clock" in shown.out
    before = estate.state()
    estate.prune(plan, env=clock.env)
    assert estate.state().gone_since(before) == plan.entities


@pytest.mark.parametrize("seconds", [200, -200])
def test_a_skew_beyond_the_bound_makes_a_plan_that_cannot_be_applied(
    estate: Bench, clock: ClockProxy, seconds: int
) -> None:
    """Report says so with code 5, and prune refuses the plan also once the clocks are right."""
    clock.shift(seconds)
    policy = _policy(estate, "max_clock_skew: 2m")
    plan = estate.report(*policy, env=clock.env, codes=(REFUSED,))
    assert _diagnostics(plan) == ["clock_skew"]
    assert plan.document["applyable"] is False
    assert plan.document["policy"]["max_clock_skew"] == "2m"
    clock.shift(0)
    before = estate.state()
    estate.prune(plan, env=clock.env, codes=(REFUSED,))
    assert estate.state() == before
    assert not clock.deletes


@pytest.mark.parametrize("seconds", [400, -400])
def test_the_bound_is_five_minutes_without_a_policy(
    estate: Bench, clock: ClockProxy, seconds: int
) -> None:
    """What docs/policy.md shows is what happens."""
    clock.shift(seconds)
    plan = estate.report(env=clock.env, codes=(REFUSED,))
    assert plan.document["applyable"] is False
    policy = _policy(estate, "max_clock_skew: 10m")
    plan = estate.report(*policy, env=clock.env)
    assert plan.document["applyable"] is True


def test_a_bound_below_a_minute_is_kept_and_noted(estate: Bench, clock: ClockProxy) -> None:
    """A strict policy is strict: nothing is refused without a word."""
    clock.shift(40)
    policy = _policy(estate, "max_clock_skew: 10s")
    plan = estate.report(*policy, env=clock.env, codes=(REFUSED,))
    assert _diagnostics(plan) == ["clock_skew"]
    assert plan.document["applyable"] is False


@pytest.mark.parametrize("seconds", [400, -400])
def test_prune_of_a_good_plan_refuses_where_the_clock_is_off(
    estate: Bench, clock: ClockProxy, seconds: int
) -> None:
    """Nothing is touched, no journal is begun; with the clock set right the plan goes through."""
    plan = estate.report(env=clock.env)
    before = estate.state()
    clock.shift(seconds)
    outcome, _ = estate.prune(plan, env=clock.env, codes=(REFUSED,))
    assert "clock" in outcome.err
    assert "max_clock_skew" in outcome.err
    assert estate.state() == before
    assert not clock.deletes
    assert not estate.journal_path(plan).exists()
    dry = estate.cli("prune", plan.path, "--dry-run", env=clock.env)
    assert dry.code == REFUSED

    clock.shift(0)
    estate.prune(plan, env=clock.env)
    assert estate.state().gone_since(before) == plan.entities


def test_the_bound_of_prune_is_the_one_in_the_plan(estate: Bench, clock: ClockProxy) -> None:
    """A plan takes its policy along; the machine that applies it has none."""
    policy = _policy(estate, "max_clock_skew: 2m")
    plan = estate.report(*policy, env=clock.env)
    clock.shift(200)
    before = estate.state()
    estate.prune(plan, env=clock.env, codes=(REFUSED,))
    assert estate.state() == before


@pytest.mark.parametrize("seconds", [200, -200])
def test_the_journal_says_how_far_the_clocks_were_apart(
    estate: Bench, clock: ClockProxy, seconds: int
) -> None:
    """For whoever compares its times with those of the server later."""
    plan = estate.report(env=clock.env)
    clock.shift(seconds)
    _, journal = estate.prune(plan, env=clock.env)
    (header,) = journal.of_type("header")
    noted = header["clock_skew_ms"] / 1000
    # Only what is certain is said: less than the truth by what the answers took.
    assert abs(seconds) - 60 < abs(noted) <= abs(seconds)
    assert (noted > 0) == (seconds > 0)
    estate.cli("validate", estate.journal_path(plan)).expect(0)


def test_equal_clocks_are_no_skew_in_the_journal(estate: Bench, clock: ClockProxy) -> None:
    """Half a second of rounding is not a difference."""
    plan = estate.report(env=clock.env)
    _, journal = estate.prune(plan, env=clock.env)
    (header,) = journal.of_type("header")
    assert header["clock_skew_ms"] == 0


def test_one_skewed_answer_among_many_counts(estate: Bench, clock: ClockProxy) -> None:
    """Behind one address there may be several servers, one of them with a wrong clock."""
    plan = estate.report(env=clock.env)
    answers: list[str] = []

    def third_is_wrong(date: str) -> Headers:
        answers.append(date)
        return [("Date", _moved(date, 400 if len(answers) == 3 else 0))]

    clock.rewrite = third_is_wrong
    doubtful = estate.report(name="doubtful.json", env=clock.env, codes=(REFUSED,))
    assert _diagnostics(doubtful) == ["clock_skew"]
    assert plan.document["diagnostics"] == []


def test_a_cached_answer_does_not_count(estate: Bench, clock: ClockProxy) -> None:
    """With an ``Age`` header the date is that of the first answer, maybe hours ago."""
    true = estate.report(name="true.json", env=clock.env)
    clock.shift(-400, ("Age", "400"))
    cached = estate.report(name="cached.json", env=clock.env)
    assert _without_creation(cached) == _without_creation(true)
    before = estate.state()
    _, journal = estate.prune(cached, env=clock.env)
    assert journal.of_type("header")[0]["clock_skew_ms"] == 0
    assert estate.state().gone_since(before) == cached.entities


NONSENSE = {
    "no header": [],
    "empty": [("Date", "")],
    "words": [("Date", "yesterday")],
    "a number": [("Date", "1795478027")],
    "an impossible day": [("Date", "Thu, 99 Nov 2026 10:00:00 GMT")],
    "an impossible time": [("Date", "Thu, 19 Nov 2026 99:99:99 GMT")],
    "an impossible year": [("Date", "Thu, 19 Nov 99999999999999999999 10:00:00 GMT")],
    "an impossible zone": [("Date", "Thu, 19 Nov 2026 10:00:00 +9999999999")],
    "a half": [("Date", "Thu, 19 Nov")],
}


@pytest.mark.parametrize("headers", list(NONSENSE.values()), ids=list(NONSENSE))
def test_nonsense_in_place_of_a_date_does_not_count(
    estate: Bench, clock: ClockProxy, headers: Headers
) -> None:
    """It proves nothing; and the plan is that of a server with a right clock."""
    true = estate.report(name="true.json", env=clock.env)
    clock.say(*headers)
    plan = estate.report(name="nonsense.json", env=clock.env)
    assert _without_creation(plan) == _without_creation(true)


@pytest.mark.parametrize("year", ["0001", "1970", "9999"])
def test_a_clock_that_is_years_off_is_refused_in_one_sentence(
    estate: Bench, clock: ClockProxy, year: str
) -> None:
    """A machine without a battery for its clock starts at its epoch."""
    clock.say(("Date", f"Thu, 01 Jan {year} 10:00:00 GMT"))
    plan = estate.report(env=clock.env, codes=(REFUSED,))
    assert _diagnostics(plan) == ["clock_skew"]
    assert plan.document["applyable"] is False
    estate.cli("validate", plan.path).expect(0)


# Other JSON in place of a list


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "registered-models/search$"),
        ("GET", "model-versions/search$"),
        ("POST", "experiments/search$"),
        ("POST", "runs/search$"),
        ("POST", "logged-models/search$"),
        ("POST", "traces/search$"),
        ("POST", "datasets/search$"),
    ],
)
def test_json_of_a_gateway_is_not_an_empty_list(
    estate: Bench, proxy: Proxy, method: str, path: str
) -> None:
    """MLflow's empty page is ``{}``: a message with status 200 must not look like one."""
    proxy.fail(method, path, OTHER_JSON, times=99)
    estate.world.experiment()
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    outcome = estate.cli("report", "-o", "wrong.json", env=env)
    assert outcome.code in {1, REFUSED}
    assert "does not speak MLflow's API" in outcome.err


# The length of the scan


def test_a_scan_that_takes_too_long_is_not_complete(estate: Bench, proxy: Proxy) -> None:
    """What was read first may not hold any more: code 5, and prune refuses the plan."""
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    proxy.fail("POST", "runs/search$", Fault("slow", delay=1.2))
    policy = _policy(estate, "max_scan_duration: 1s")
    plan = estate.report(*policy, env=env, codes=(REFUSED,))
    assert "scan_too_long" in _diagnostics(plan)
    assert plan.document["complete"] is False
    assert plan.document["applyable"] is False
    assert plan.document["policy"]["max_scan_duration"] == "1s"
    proxy.forget()
    before = estate.state()
    outcome, _ = estate.prune(plan, env=env, codes=(REFUSED,))
    assert outcome.err.strip()
    assert estate.state() == before
    assert not deletions(proxy.seen)


def test_a_slow_scan_within_the_bound_is_complete(estate: Bench, proxy: Proxy) -> None:
    """The bound is the policy's, and two hours without one."""
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    quick = estate.report(name="quick.json", env=env)
    proxy.fail("POST", "runs/search$", Fault("slow", delay=1.2))
    slow = estate.report(name="slow.json", env=env)
    assert _without_creation(slow) == _without_creation(quick)
    assert slow.document["policy"]["max_scan_duration"] == "2h"


def test_both_problems_are_reported_and_the_worse_one_decides(
    estate: Bench, clock: ClockProxy
) -> None:
    """An incomplete scan is an error (1), whatever else would be refused (5)."""

    def slow_and_wrong(date: str) -> Headers:
        time.sleep(0.3)
        return [("Date", _moved(date, 400))]

    clock.rewrite = slow_and_wrong
    policy = _policy(estate, "max_scan_duration: 1s")
    plan = estate.report(*policy, env=clock.env, codes=(REFUSED,))
    assert sorted(_diagnostics(plan)) == ["clock_skew", "scan_too_long"]
    assert plan.document["complete"] is False


# A scan that breaks off


@pytest.mark.parametrize("fault", [HTML_200, OTHER_JSON])
@pytest.mark.parametrize("path", ["logged-models/search$", "model-versions/get-download-uri$"])
def test_a_page_in_the_evidence_about_models_makes_an_incomplete_plan(
    bench: Bench, proxy: Proxy, path: str, fault: Fault
) -> None:
    """Logged models, and where the files of a copy lie, protect runs like versions do."""
    world = bench.world
    run = world.run(world.experiment(age=FRESH))
    _orphaned_copy(bench, run)
    method = "GET" if path.startswith("model-versions") else "POST"
    proxy.fail(method, path, fault, times=float("inf"))
    quick = {"MLFLOW_TRACKING_URI": proxy.uri}
    plan = bench.report(env=quick, codes=(REFUSED,))
    assert proxy.requests(method, path)
    assert plan.document["complete"] is False
    assert plan.document["applyable"] is False
    before = bench.state()
    bench.prune(plan, codes=(REFUSED,))
    assert bench.state() == before


# Sources that lead nowhere


def _orphaned_copy(bench: Bench, run: str, *, run_id: str = "") -> str:
    """A copy, made by the server, of a version of the run that was deleted since."""
    world = bench.world
    original = world.version(world.model(), source=f"s3://bucket/1/{run}/artifacts/model")
    copy = world.copy_version(original, world.model(), run_id=run_id)
    world.delete_version(original)
    return copy


def _copy_of_a_renamed_model(bench: Bench, run: str, *, run_id: str = "") -> str:
    world = bench.world
    original = world.version(world.model(), source=f"s3://bucket/1/{run}/artifacts/model")
    copy = world.copy_version(original, world.model(), run_id=run_id)
    name = original.partition("/")[0]
    world.rename_model(name, f"renamed {name}")
    world.delete_version(f"renamed {name}/1")
    return copy


def _copy_of_a_recreated_model(bench: Bench, run: str, *, run_id: str = "") -> str:
    """The source names a version again, and that is another one."""
    world = bench.world
    copy = _orphaned_copy(bench, run, run_id=run_id)
    found = world.call(
        "GET", f"model-versions/get?name={copy.partition('/')[0]}&version={copy[-1]}", {}
    )
    name = found["model_version"]["source"].removeprefix("models:/").partition("/")[0]
    world.call("DELETE", "registered-models/delete", {"name": name})
    world.version(world.model(name), source="s3://bucket/something/else")
    return copy


def _copy_of_an_orphaned_copy(bench: Bench, run: str, *, run_id: str = "") -> str:
    world = bench.world
    first = _orphaned_copy(bench, run, run_id=run_id)
    second = world.copy_version(first, world.model(), run_id=run_id)
    world.delete_version(first)
    return second


def _copy_by_moved_alias(bench: Bench, run: str, *, run_id: str = "") -> str:
    """This server makes no version from an alias; other stores do, and keep the place."""
    world = bench.world
    name = world.model()
    original = world.version(name, source=f"s3://bucket/1/{run}/artifacts/model")
    other = world.version(name, source="s3://bucket/something/else")
    world.alias(original, "best")
    copy = world.version(
        world.model(),
        source=f"models:/{name}@best",
        storage=f"s3://bucket/1/{run}/artifacts/model",
        run_id=run_id,
    )
    world.alias(other, "best")
    world.delete_version(original)
    return copy


def _copy_of_a_logged_model(bench: Bench, run: str, *, run_id: str = "") -> str:
    world = bench.world
    home = world.experiment(age=FRESH)
    made = world.logged_model(home, run)
    found = world.call("GET", f"logged-models/{made}", {})
    location = found["model"]["info"]["artifact_uri"]
    original = world.version(world.model(), source=f"models:/{made}", storage=location)
    copy = world.copy_version(original, world.model(), run_id=run_id)
    world.delete_version(original)
    return copy


ORPHANS: list[Callable[..., str]] = [
    _orphaned_copy,
    _copy_of_a_renamed_model,
    _copy_of_a_recreated_model,
    _copy_of_an_orphaned_copy,
    _copy_by_moved_alias,
    _copy_of_a_logged_model,
]


@pytest.mark.parametrize("orphan", ORPHANS, ids=[o.__name__.strip("_") for o in ORPHANS])
@pytest.mark.parametrize("wrong", [False, True], ids=["without run_id", "with a wrong run_id"])
def test_a_run_behind_a_source_that_leads_nowhere_is_protected(
    bench: Bench, orphan: Callable[..., str], *, wrong: bool
) -> None:
    """The server still knows where the files lie: in the report, and when prune looks again."""
    world = bench.world
    home = world.experiment(age=FRESH)
    known, later, at_last, other = (world.run(home) for _ in range(4))
    run_id = other if wrong else ""
    copy = orphan(bench, known, run_id=run_id)
    plan = bench.report()
    protection = plan.protection(("run", known))
    assert set(protection) == {"registered_model"}
    assert f"model_version {copy}" in protection["registered_model"]
    assert {later, at_last} <= plan.runs
    assert (other in plan.runs) is not wrong

    orphan(bench, later, run_id=run_id)
    with Proxy(world.uri) as proxy:
        proxy.before("POST", "runs/delete$", lambda: orphan(bench, at_last, run_id=run_id))
        _, journal = bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    active = bench.state().active
    assert {("run", known), ("run", later), ("run", at_last)} <= active
    assert journal.skips == {("run", later): "protected"}
    assert journal.with_outcome("restored") == {("run", at_last)}


def _names(bench: Bench, run: str) -> dict[str, Callable[[], object]]:
    """Ways in which a registry can name a run without ``run_id`` and without a path of its own."""
    world = bench.world

    def of_logged_model(source: str) -> None:
        made = world.logged_model(world.experiment(age=FRESH), run)
        world.version(world.model(), source=source.format(made))

    def copy() -> None:
        original = world.version(
            world.model(), storage=f"s3://bucket/{run}-v2", source="s3://bucket/somewhere/else"
        )
        world.copy_version(original, world.model())
        world.delete_version(original)

    return {
        "before it": lambda: world.version(world.model(), source=f"s3://bucket/run_{run}/model"),
        "behind it": lambda: world.version(world.model(), source=f"s3://bucket/{run}-v2"),
        "digits": lambda: world.version(world.model(), source=f"s3://bucket/2026{run}07.zip"),
        "capitals": lambda: world.version(world.model(), source=f"s3://bucket/{run.upper()}/x"),
        "tag": lambda: world.version(world.model(), tags={"made_by": f"run_{run}"}),
        "description": lambda: world.version(world.model(), description=f"From {run}_best."),
        "underscores": lambda: world.version(
            world.model(),
            source=f"s3://bucket/{run[:8]}_{run[8:12]}_{run[12:16]}_{run[16:20]}_{run[20:]}",
        ),
        "name of the model": lambda: world.version(world.model(f"best-of-{run}")),
        "description of the model": lambda: world.call(
            "PATCH",
            "registered-models/update",
            {"name": world.model(), "description": f"Serves run {run}."},
        ),
        "tag of the model": lambda: world.tag_model(world.model(), "made_by", f"run_{run}"),
        "alias": lambda: world.version(world.model(), aliases=[f"run_{run}"]),
        "logged model": lambda: of_logged_model("s3://bucket/model_{}_copy"),
        "copy": copy,
    }


def test_an_id_inside_a_word_protects(bench: Bench) -> None:
    """In the report, over both readers, and when prune looks again."""
    world = bench.world
    home = world.experiment(age=FRESH)
    ways = sorted(_names(bench, ""))
    before = {way: world.run(home) for way in ways}
    later = {way: world.run(home) for way in ways}
    free = world.run(home)
    for way, run in before.items():
        _names(bench, run)[way]()
    plan = bench.report()
    database = bench.report("--backend-store-uri", f"sqlite:///{world.database}", name="other.json")
    for found in (plan, database):
        assert found.runs == {*later.values(), free}
        for way, run in before.items():
            assert set(found.protection(("run", run))) == {"registered_model"}, way
    for way, run in later.items():
        _names(bench, run)[way]()
    _, journal = bench.prune(plan)
    assert journal.skips == {("run", run): "protected" for run in later.values()}
    assert ("run", free) in bench.state().trashed


def test_a_source_that_never_led_anywhere_stops_nothing(bench: Bench) -> None:
    """No version of that name, no place that the server knows: it protects nothing."""
    world = bench.world
    run = world.run(world.experiment(age=FRESH))
    world.version(world.model(), source="models:/nowhere/7")
    world.version(world.model(), source="models:/nowhere@best")
    world.version(world.model(), source="models:/nowhere/Production")
    plan = bench.report()
    assert plan.runs == {run}
    before = bench.state()
    bench.prune(plan)
    assert bench.state().gone_since(before) == plan.entities


def test_a_model_that_a_retained_run_reads_keeps_its_maker(bench: Bench) -> None:
    """A model is in use also where a run takes it in; runs/search does not tell, runs/get does."""
    world = bench.world
    home = world.experiment(age=FRESH)
    maker, unused = world.run(home), world.run(home)
    world.logged_model(home, unused)
    user = world.run(home, age=FRESH)
    world.use_model(user, world.logged_model(home, maker))
    plan = bench.report()
    assert unused in plan.runs
    assert set(plan.protection(("run", maker))) == {"model_in_use"}


@pytest.mark.parametrize("way", ["reads it since", "was imported since", "was restored since"])
def test_a_user_that_the_plan_does_not_know_keeps_its_maker(bench: Bench, way: str) -> None:
    """A fresh report would retain both: a run of ten days ago, neither stale nor new."""
    world = bench.world
    home = world.experiment(age=FRESH)
    maker, unused = world.run(home), world.run(home)
    world.logged_model(home, unused)
    made = world.logged_model(home, maker)
    user = world.run(home, age=10)
    if way == "was restored since":
        world.use_model(user, made)
        world.delete_run(user)
    plan = bench.report()
    assert plan.runs == {maker, unused}
    if way == "reads it since":
        world.use_model(user, made)
    elif way == "was imported since":
        world.use_model(world.run(home, age=10), made)
    else:
        world.restore_run(user)
    assert bench.report(name="again.json").runs == {unused}
    bench.prune(plan)
    active = bench.state().active
    assert ("run", maker) in active
    assert ("run", unused) not in active


@pytest.mark.parametrize("reader", ["rest", "database"])
@pytest.mark.parametrize("when", ["before the report", "after the report"])
def test_a_deleted_logged_model_still_leads_to_its_run(
    bench: Bench, reader: str, when: str
) -> None:
    """Its version serves on; servers before 3.17 wrote no run id into a version of a logged model."""
    world = bench.world
    home = world.experiment(age=FRESH)
    run, unused = world.run(home), world.run(home)
    made = world.logged_model(home, run)
    world.delete_logged_model(world.logged_model(home, unused))

    def register_and_delete() -> None:
        source = f"models:/{made}"
        version = world.version(world.model(), source=source, storage="s3://b/x", model_id=made)
        world.sql("UPDATE model_versions SET run_id = ''")
        world.alias(version, "champion")
        world.delete_logged_model(made)

    args = ("--backend-store-uri", f"sqlite:///{world.database}") if reader == "database" else ()
    if when == "before the report":
        register_and_delete()
        plan = bench.report(*args)
        assert set(plan.protection(("run", run))) == {"registered_model"}
    else:
        plan = bench.report(*args)
        assert plan.runs == {run, unused}
        register_and_delete()
    bench.prune(plan)
    active = bench.state().active
    assert ("run", run) in active
    assert ("run", unused) not in active


@pytest.mark.parametrize("has_id", [True, False])
def test_a_version_that_comes_after_the_batch_of_its_run_brings_it_back(
    bench: Bench, proxy: Proxy, has_id: bool
) -> None:
    """By the id in its source, or by the place of the run's artifacts."""
    world = bench.world
    home = world.experiment(age=FRESH)
    world.bulk_runs(home, 150, age=90)
    name = world.model()
    plan = bench.report()
    first = plan.document["runs"][0]["run_id"]
    place = f"s3://bucket/{first}/artifacts" if has_id else "s3://legacy/churn-2019/artifacts"
    world.sql("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", place, first)
    plan = bench.report(name="again.json")
    assert plan.document["runs"][0]["run_id"] == first
    proxy.before(
        "POST", "runs/delete$", lambda: world.version(name, source=f"{place}/model"), after=130
    )
    _, journal = bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    assert ("run", first) in journal.with_outcome("restored")
    assert ("run", first) in bench.state().active


@pytest.mark.parametrize("reader", ["rest", "database"])
def test_a_version_was_not_here_before_its_model(bench: Bench, reader: str) -> None:
    """Rows that a migration brought with their old times into a model of today."""
    world = bench.world
    args = ("--backend-store-uri", f"sqlite:///{world.database}") if reader == "database" else ()
    imported, old = world.model("imported", age=0.01), world.model("old", age=200)
    for name in (imported, old):
        world.version(name, age=100)
        world.version(name, age=100)
    assert bench.report(*args).versions == {"old/1"}


def test_a_model_that_a_retained_run_measured_keeps_its_maker(bench: Bench) -> None:
    """Of a run's metrics runs/search shows no model; logged-models/search shows the runs."""
    world = bench.world
    home, elsewhere = world.experiment(age=FRESH), world.experiment(age=FRESH)
    maker, unused = world.run(home), world.run(home)
    for user, made in (
        (world.run(elsewhere, status="RUNNING"), world.logged_model(home, maker)),
        (world.run(elsewhere), world.logged_model(elsewhere, unused)),
    ):
        world.measure_model(user, made)
    plan = bench.report()
    database = bench.report("--backend-store-uri", f"sqlite:///{world.database}", name="other.json")
    for found in (plan, database):
        assert unused in found.runs
        assert set(found.protection(("run", maker))) == {"model_in_use"}


def test_a_version_that_became_a_prompt_hides_no_other(bench: Bench) -> None:
    """One tagged version, and both searches leave the others of its model out (3.17.2)."""
    world = bench.world
    home = world.experiment(age=FRESH)
    behind, later, free = world.run(home), world.run(home), world.run(home)
    model = world.model()
    world.version(model, run_id=behind)
    tagged = world.version(model, source="dummy-source", tags={"mlflow.prompt.is_prompt": "true"})
    plan = bench.report()
    assert set(plan.protection(("run", behind))) == {"registered_model"}
    assert {("run", later), ("run", free)} <= plan.entities
    assert tagged
    world.version(model, run_id=later)
    bench.prune(plan)
    state = bench.state()
    assert {("run", behind), ("run", later)} <= state.active
    assert ("run", free) in state.trashed


def test_the_original_of_a_copy_is_retained_whatever_its_name(bench: Bench) -> None:
    """What ends in a number names a version, also where the name holds an @."""
    world = bench.world
    for name in ("team@prod", "a b", "50%off", "m-model"):
        model = world.model(name)
        original = world.version(model)
        world.version(model, age=FRESH)
        world.alias(world.copy_version(original, world.model(f"copies of {name}")), "champion")
        for plan in (
            bench.report(),
            bench.report("--backend-store-uri", f"sqlite:///{world.database}", name="other.json"),
        ):
            assert ("model_version", original) not in plan.entities, name
            assert "copied" in plan.protection(("model_version", original)), name


SAME_PLACE = [
    ("/data/k", "file:///data/k/m"),
    ("file:///data/k", "/data/k/m"),
    ("s3://b//k", "s3://b/k/m"),
    ("s3://b/k", "s3://b/z/../k/m"),
    ("s3://b/k 6", "s3://b/k%206/m"),
    ("s3://b/k", "s3a://b/k/m"),
    ("mlflow-artifacts:/k", "mlflow-artifacts://127.0.0.1:5000/k/m"),
]


def test_one_place_in_two_spellings_is_one_place(bench: Bench) -> None:
    """Of an experiment, and of a run whose folder does not have its id in its name."""
    world = bench.world
    homes, runs = [], []
    for location, source in SAME_PLACE:
        experiment, run = world.experiment(), world.run(world.experiment(age=FRESH))
        place = "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?"
        world.sql(place, f"{location}/e", experiment)
        world.sql("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", f"{location}/r", run)
        for folder in "er":
            model = world.model()
            version = world.version(model, age=FRESH)
            name, _, number = version.rpartition("/")
            world.sql(
                "UPDATE model_versions SET source = ? WHERE name = ? AND version = ?",
                source.replace("/m", f"/{folder}/m"),
                name,
                int(number),
            )
        homes.append(experiment)
        runs.append(run)
    for plan in (
        bench.report(),
        bench.report("--backend-store-uri", f"sqlite:///{world.database}", name="other.json"),
    ):
        protected = [*(("experiment", i) for i in homes), *(("run", i) for i in runs)]
        for entity, spelling in zip(protected, SAME_PLACE * 2, strict=True):
            assert "registered_model" in plan.protection(entity), (entity[0], spelling)
