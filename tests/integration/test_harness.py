"""The harness itself: a test that stands on it can fail, and fails for the right reason.

A stub takes the place of the program; Python finds it in the working directory first.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from support import proxy as faults
from support.plans import plan_digest, rfc3339
from support.proxy import Proxy
from support.server import empty, open_database, set_aside

if TYPE_CHECKING:
    from support.bench import Bench
    from support.cli import Cli
    from support.proxy import Fault
    from support.world import World

STUB = """
import os, signal, sys, time
what = sys.argv[1]
if what == "echo":
    print(sys.argv[2], os.environ.get("CANARY"), sys.stdin.read(), os.getcwd())
    print("to stderr", file=sys.stderr)
    sys.exit(7)
if what == "imports":
    print("mlflow" in sys.modules)
if what == "crash":
    raise RuntimeError("crash")
if what == "hang":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print("ready", flush=True)
    # Short sleeps: one that begins right after a signal came is not cut short by it.
    for _ in range(1_200):
        time.sleep(0.05)
if what == "grow":
    with open(sys.argv[2], "wb") as file:
        try:
            file.write(b"x" * 100_000)
            file.flush()
        except OSError as error:
            print(error)
if what == "ask":
    print(sys.stdin.isatty(), sys.stdout.isatty(), os.get_terminal_size().columns)
    answer = input("sure? ")
    print("got", repr(answer))
    sys.exit(0 if answer == "yes" else 1)
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which ``python -m mlflow_gc`` is the stub."""
    directory = tmp_path_factory.mktemp("stub")
    (directory / "mlflow_gc").mkdir()
    (directory / "mlflow_gc" / "__init__.py").touch()
    (directory / "mlflow_gc" / "__main__.py").write_text(STUB)
    return directory


@pytest.mark.parametrize("cold", [False, True])
def test_arguments_environment_streams_and_exit_code(
    offline_cli: Cli, stub: Path, cold: bool
) -> None:
    outcome = offline_cli(
        "echo", "word", env={"CANARY": "c"}, stdin="input", cwd=stub, process=True, cold=cold
    ).expect(7)
    assert outcome.out == f"word c input {stub}\n"
    assert outcome.err == "to stderr\n"


def test_a_warm_start_has_mlflow_already_and_a_cold_one_has_not(
    offline_cli: Cli, stub: Path
) -> None:
    assert offline_cli("imports", cwd=stub, process=True).expect(0).out == "True\n"
    assert offline_cli("imports", cwd=stub, process=True, cold=True).expect(0).out == "False\n"


@pytest.mark.parametrize("cold", [False, True])
def test_a_traceback_fails_the_test(offline_cli: Cli, stub: Path, cold: bool) -> None:
    with pytest.raises(AssertionError, match="a traceback"):
        offline_cli("crash", cwd=stub, process=True, cold=cold)


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize(
    ("sig", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)], ids=["SIGKILL", "SIGTERM"]
)
def test_signals_reach_the_program(
    offline_cli: Cli, stub: Path, cold: bool, sig: signal.Signals, code: int
) -> None:
    running = offline_cli.start("hang", cwd=stub, cold=cold)
    deadline = time.monotonic() + 20
    while not running.output() and time.monotonic() < deadline:
        time.sleep(0.02)
    running.kill(sig)
    assert running.wait(20).code == code


def test_a_command_that_hangs_fails_the_test(offline_cli: Cli, stub: Path) -> None:
    with pytest.raises(AssertionError, match="hangs"):
        offline_cli("hang", cwd=stub, process=True, timeout=1)


def test_files_cannot_grow_beyond_the_limit(offline_cli: Cli, stub: Path, tmp_path: Path) -> None:
    outcome = offline_cli(
        "grow", tmp_path / "file", cwd=stub, process=True, file_size_limit=1_000
    ).expect(0)
    assert "File too large" in outcome.out
    assert (tmp_path / "file").stat().st_size == 1_000


@pytest.mark.parametrize(("answer", "code"), [("yes\n", 0), ("no\n", 1)])
def test_a_terminal(offline_cli: Cli, stub: Path, answer: str, code: int) -> None:
    ended, shown = offline_cli.ask("ask", answer=answer, prompt="sure?", cwd=stub)
    assert ended == code
    assert "True True" in shown
    assert f"got '{answer.strip()}'" in shown


# The proxy


class _Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"answer": "a long enough answer"}'
        self.server.received += 1  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def upstream() -> Iterator[http.server.HTTPServer]:
    """A server that counts and answers."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Upstream) as server:
        server.daemon_threads = True
        server.received = 0  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def _post(proxy: Proxy) -> requests.Response:
    return requests.post(f"{proxy.uri}/api/x/search", json={}, timeout=10)


@pytest.mark.parametrize(
    ("fault", "reaches", "status"),
    [
        (faults.RESET_BEFORE, 0, None),
        (faults.RESET_AFTER, 1, None),
        (faults.TORN_BODY, 1, None),
        (faults.TORN_JSON, 1, 200),
        (faults.HTML_200, 0, 200),
        (faults.TOO_MANY, 0, 429),
        (faults.UNAUTHORIZED, 0, 401),
    ],
    ids=str,
)
def test_a_fault_happens_at_its_request_only(
    upstream: http.server.HTTPServer, fault: Fault, reaches: int, status: int | None
) -> None:
    with Proxy(f"http://127.0.0.1:{upstream.server_address[1]}") as proxy:
        proxy.fail_at(1, fault)
        assert _post(proxy).json() == {"answer": "a long enough answer"}
        received = upstream.received  # type: ignore[attr-defined]
        if status is None:
            with pytest.raises(requests.RequestException):
                _post(proxy)
        else:
            response = _post(proxy)
            assert response.status_code == status
            with pytest.raises(requests.JSONDecodeError):
                response.json()
        assert upstream.received - received == reaches  # type: ignore[attr-defined]
        assert _post(proxy).json() == {"answer": "a long enough answer"}
        assert [seen.index for seen in proxy.seen] == [0, 1, 2]


def test_an_action_runs_before_the_chosen_request(upstream: http.server.HTTPServer) -> None:
    with Proxy(f"http://127.0.0.1:{upstream.server_address[1]}") as proxy:
        counts: list[int] = []
        proxy.before(
            "POST",
            "search$",
            lambda: counts.append(upstream.received),  # type: ignore[attr-defined]
            after=1,
        )
        for _ in range(3):
            _post(proxy)
        assert counts == [1]


def test_what_comes_while_an_action_runs_waits_for_its_end(
    upstream: http.server.HTTPServer,
) -> None:
    """Of deletions sent at once none overtakes the first, however long the action takes."""
    entered, go = threading.Event(), threading.Event()
    counts: list[int] = []

    def hold() -> None:
        entered.set()
        assert go.wait(20)
        counts.append(upstream.received)  # type: ignore[attr-defined]

    with Proxy(f"http://127.0.0.1:{upstream.server_address[1]}") as proxy:
        proxy.before("POST", "search$", hold)
        clients = [threading.Thread(target=_post, args=(proxy,)) for _ in range(3)]
        clients[0].start()
        assert entered.wait(20)
        for client in clients[1:]:
            client.start()
        while len(proxy.seen) < len(clients):
            time.sleep(0.01)
        go.set()
        for client in clients:
            client.join(20)
        assert counts == [0]
        assert upstream.received == len(clients)  # type: ignore[attr-defined]


def _break() -> None:
    message = "the hook itself is broken"
    raise RuntimeError(message)


@pytest.mark.parametrize("where", ["before", "at", "then"])
def test_a_hook_that_fails_fails_the_test_at_the_end(
    upstream: http.server.HTTPServer, where: str
) -> None:
    """Whatever the program makes of the missing answer."""
    with pytest.raises(AssertionError, match="the hook itself is broken"):
        _with_broken_hook(upstream, where, lambda _: None)


@pytest.mark.parametrize("look", [Proxy.forget, Proxy.settle], ids=["forget", "settle"])
def test_a_hook_that_fails_fails_the_case_in_which_it_did(
    upstream: http.server.HTTPServer, look: Callable[[Proxy], None]
) -> None:
    """The next case of a proxy that is shared starts without it."""

    def judge(proxy: Proxy) -> None:
        with pytest.raises(AssertionError, match=r"at request 0 \(POST /api/x/search\)"):
            look(proxy)
        proxy.forget()

    _with_broken_hook(upstream, "before", judge)


def _with_broken_hook(
    upstream: http.server.HTTPServer, where: str, judge: Callable[[Proxy], None]
) -> None:
    with Proxy(f"http://127.0.0.1:{upstream.server_address[1]}") as proxy:
        if where == "before":
            proxy.before("POST", "search$", _break)
        elif where == "at":
            proxy.at(0, _break)
        else:
            proxy.fail_at(0, replace(faults.HTML_200, then=_break))
        with pytest.raises(requests.ConnectionError):
            _post(proxy)
        judge(proxy)


def test_a_hook_that_fails_later_than_the_test_ends_is_waited_for(
    upstream: http.server.HTTPServer,
) -> None:
    """The program may be gone while a hook still runs."""
    entered, go = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        assert go.wait(20)
        _break()

    def post() -> None:
        with contextlib.suppress(requests.RequestException):
            _post(proxy)

    client = threading.Thread(target=post)

    def leave_early() -> None:
        with proxy:
            client.start()
            assert entered.wait(20)
            threading.Timer(0.2, go.set).start()

    proxy = Proxy(f"http://127.0.0.1:{upstream.server_address[1]}")
    proxy.before("POST", "search$", hold)
    with pytest.raises(AssertionError, match="the hook itself is broken"):
        leave_early()
    client.join(20)


def test_a_token_is_demanded(upstream: http.server.HTTPServer) -> None:
    with Proxy(f"http://127.0.0.1:{upstream.server_address[1]}") as proxy:
        proxy.require_token("t")
        assert _post(proxy).status_code == http.client.UNAUTHORIZED
        headers = {"Authorization": "Bearer t"}
        response = requests.post(f"{proxy.uri}/search", json={}, headers=headers, timeout=10)
        assert response.status_code == http.client.OK


# The documents


def test_times_and_digests_by_known_values() -> None:
    assert rfc3339(1_777_629_731_123) == "2026-05-01T10:02:11.123Z"
    # echo -n '{"a":1,"b":"é"}' | sha256sum
    digest = "sha256:09ad9fd2fb648cb2f62141215828ea00a62c299db05d20aa9ade2f527a301cc6"
    document = {"b": "é", "plan_id": "x", "created_at": "y", "tool": 1, "$schema": "z", "a": 1}
    assert plan_digest(document) == digest


@pytest.mark.parametrize("life", [(5, 9, "FAILED"), (5, None, "RUNNING"), (5, 9, "RUNNING")])
def test_a_run_that_is_written_is_like_one_that_a_client_makes(
    world: World, life: tuple[int, int | None, str]
) -> None:
    experiment = world.experiment()
    what = (experiment, "a name", life, {"loss": 77, "auc": 3}, {"team": "x", "note": "y"})
    made, written = world.make_run_over_rest(*what), world._make_run(*what)
    rows: dict[str, list[str]] = {}
    with open_database(world.database) as db:
        for run_id in (made, written):
            rows[run_id] = []
            for table in ("runs", "tags", "metrics", "latest_metrics", "params", "inputs"):
                found = map(repr, db.execute(f"SELECT * FROM {table}"))
                # repr tells 0 and False apart, and 1 and 1.0
                rows[run_id] += sorted(r.replace(run_id, "ID") for r in found if run_id in r)
    assert rows[made] == rows[written]
    assert len(rows[made]) == 1 + 3 + 2 + 2


def test_rows_that_were_set_aside_come_back_under_a_running_server(bench: Bench) -> None:
    """So that a test with a world of its own does not spoil the one its module shares."""
    world = bench.world
    run = world.run(world.experiment())
    before = bench.state()
    with set_aside(world.database):
        empty(world.database)
        assert ("run", run) not in bench.state().active
        world.run(world.experiment())
    assert bench.state() == before
