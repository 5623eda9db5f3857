"""Servers, data and the program for every test."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import depth, viewer, zygote
from support import server as store
from support.bench import Bench
from support.cli import Cli
from support.proxy import Proxy
from support.world import World

from mlflow_gc.backend import retries
from mlflow_gc.demo.server import LocalServer
from mlflow_gc.domain import redaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser
    from xdist.workermanage import WorkerController


_ROOM = 8 * 1024**3
"""Bytes; containers often have 64 MB there."""


def pytest_addoption(parser: pytest.Parser) -> None:
    depth.add_options(parser)
    parser.addoption(
        "--mlflow",
        default="",
        help="versions of MLflow that serve, for tests/compat, which is left out without (make compat)",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the tests on servers of other versions unless they are asked for."""
    is_compat = collection_path == Path(__file__).parent / "compat"
    return True if is_compat and not config.option.mlflow else None


@pytest.hookimpl(tryfirst=True)  # before the plugin of hypothesis reads its seed
def pytest_configure(config: pytest.Config) -> None:
    depth.configure(config)
    memory = Path("/dev/shm")  # noqa: S108 - pytest makes a folder of the user's own in it
    if memory.is_dir() and shutil.disk_usage(memory).free > _ROOM:
        # A database on a disk waits for it with each request.
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_configure_node(node: WorkerController) -> None:
    depth.hand_over(node.workerinput, node.config)


def pytest_report_header(config: pytest.Config) -> str:
    return depth.header(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--depth quick``, leave out deep tests, and all but the smoke tests of the deep tiers."""
    # The longest of all: begun last, everybody would wait for it.
    items.sort(key=lambda item: item.path.parent.name != "demo" or _tier(item) != "system")
    if not depth.chosen.smoke:
        return
    left_out = [
        item
        for item in items
        if item.get_closest_marker("deep")
        or (_tier(item) in {"resilience", "system"} and not item.get_closest_marker("smoke"))
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]


def pytest_runtest_setup() -> None:
    """Forget the secrets of the tests before: a process never forgets what it must not print."""
    redaction._known.clear()
    redaction._pattern = None


def _tier(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).parts[0]


@pytest.fixture(scope="session", autouse=True)
def impatience() -> None:
    """Shorten the waits between attempts, also of commands that run in this process."""
    retries.FIRST_WAIT_S = zygote.FIRST_WAIT_S


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """The real MLflow server of this test process; tests take it through ``world``."""
    with store.local(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def other_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A second, independent, empty server; only for tests that need one that is not ``server``."""
    with store.local(tmp_path_factory.mktemp("other-server")) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, one in a process: Playwright cannot be started twice. Without one, tests skip."""
    with viewer.chromium() as running:
        yield running


@pytest.fixture(scope="session")
def as_of_ms() -> int:
    """The clock of all reports: some minutes ago, with odd milliseconds."""
    return (int(time.time()) - 600) * 1000 + 123


@pytest.fixture(scope="session")
def cli(server: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The program, pointed at ``server``."""
    runner = Cli(tmp_path_factory.mktemp("cli"), {"MLFLOW_TRACKING_URI": server.uri})
    yield runner
    runner.close()


@pytest.fixture(scope="session")
def offline_cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The program without any server: port 9 (discard) answers nobody."""
    runner = Cli(tmp_path_factory.mktemp("cli"), {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def shared_worlds() -> list[World]:
    """The world that this module's tests share, once there is one."""
    return []


@pytest.fixture
def world(server: LocalServer, as_of_ms: int, shared_worlds: list[World]) -> Iterator[World]:
    """``server``, emptied for this test."""
    # pytest-xdist deals out the tests of a module in any order.
    with store.set_aside(server.database) if shared_worlds else contextlib.nullcontext():
        yield from _empty_world(server, as_of_ms)


@pytest.fixture(scope="module")
def shared_world(server: LocalServer, as_of_ms: int, shared_worlds: list[World]) -> Iterator[World]:
    """``server``, emptied once for a module whose tests only look at it."""
    for content in _empty_world(server, as_of_ms):
        shared_worlds.append(content)
        yield content


def _empty_world(server: LocalServer, as_of_ms: int) -> Iterator[World]:
    store.empty(server.database)
    content = World(server.uri, server.database, as_of_ms)
    yield content
    content.close()


@pytest.fixture
def bench(world: World, cli: Cli, tmp_path: Path) -> Bench:
    """Data, program, directory and oracle for one test."""
    return Bench(world, cli, tmp_path)


@pytest.fixture(scope="module")
def shared_bench(shared_world: World, cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The same for a module whose tests only look."""
    return Bench(shared_world, cli, tmp_path_factory.mktemp("bench"))


@pytest.fixture
def proxy(server: LocalServer) -> Iterator[Proxy]:
    """A proxy before ``server`` that forwards until told otherwise."""
    with Proxy(server.uri) as running:
        yield running
