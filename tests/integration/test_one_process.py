"""Commands can run one after the other in one process: a notebook, a service, these tests."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.plans import Plan
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from mlflow_gc.__main__ import run
from mlflow_gc.invocation import command

if TYPE_CHECKING:
    from support.bench import Bench
    from support.world import World

    from mlflow_gc.demo.server import LocalServer


def process_state() -> dict[str, Any]:
    """What a command might leave behind."""
    return {
        "environment": dict(os.environ),
        "directory": Path.cwd(),
        "signals": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
        "streams": [id(s) for s in (sys.stdin, sys.stdout, sys.stderr)],
        "collector": (gc.isenabled(), gc.get_freeze_count()),
        "connections": (HTTPConnectionPool.ConnectionCls, HTTPSConnectionPool.ConnectionCls),
        "excepthook": sys.excepthook,
        "umask": os.umask(os.umask(0o022)),
        "printed command": command("prune", "prune-plan.json"),
    }


@pytest.fixture
def here(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The bench, its server also that of this process."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", bench.world.uri)
    monkeypatch.chdir(bench.dir)
    return bench


def stale(world: World) -> set[str]:
    return {world.run(experiment) for experiment in [world.experiment() for _ in range(2)]}


def test_nothing_is_left_behind(here: Bench) -> None:
    runs = stale(here.world)
    assert run(["report", "--as-of", here.world.as_of]) == 0  # what is imported once is imported
    before, threads = process_state(), set(threading.enumerate())
    assert run(["report", "--as-of", here.world.as_of, "--tracking-uri", here.world.uri]) == 0
    assert Plan.load(here.dir / "prune-plan.json").runs == runs
    assert run(["prune", "prune-plan.json"]) == 0
    assert run(["restore", "prune-plan.json.journal.jsonl", "--yes"]) == 0
    assert run(["report", "--ttl", "0"]) == 64
    assert run(["show", "no-such-plan.json"]) == 1
    assert process_state() == before
    for thread in set(threading.enumerate()) - threads:
        thread.join(30)  # those that are ending
        assert not thread.is_alive(), thread


def test_a_thread_that_is_not_the_main_one_can_run_commands(here: Bench) -> None:
    """It gets no signals; a notebook's kernel or a task's worker may be one."""
    runs = stale(here.world)
    codes: list[int] = []
    commands = [["report", "--as-of", here.world.as_of], ["prune", "prune-plan.json"]]
    thread = threading.Thread(target=lambda: codes.extend(run(c) for c in commands))
    thread.start()
    thread.join()
    assert codes == [0, 0]
    assert not runs & {key for kind, key in here.state().active if kind == "run"}


def test_each_command_talks_to_the_server_and_with_the_token_that_it_is_given(
    here: Bench, other_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections, cookies and settings of the command before do not count."""
    from support.proxy import Proxy

    runs = stale(here.world)
    with Proxy(here.world.uri) as proxy:
        for token in ("first", "second", None):
            proxy.forget()
            if token is None:
                monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
            else:
                monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)
            words = ["--tracking-uri", proxy.uri, "--as-of", here.world.as_of]
            assert run(["report", *words]) == 0
            assert Plan.load(here.dir / "prune-plan.json").runs == runs
            sent = {seen.headers.get("authorization") for seen in proxy.seen}
            assert sent == {None if token is None else f"Bearer {token}"}
    assert run(["report", "-o", "other.json", "--tracking-uri", other_server.uri]) == 0
    assert not Plan.load(here.dir / "other.json").runs
