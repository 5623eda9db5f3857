"""Servers of other versions of MLflow, for ``make compat``."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from compat import environments, results
from compat.content import adapt
from support import server as store
from support.cli import Cli
from support.databases import DATABASES
from support.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compat.environments import Environment

PLUGIN = Path(__file__).with_name("plugin")
"""A plug-in of MLflow, as if it were installed."""


@dataclass(frozen=True)
class Served:
    """A server of a version, as users start it.

    Attributes:
        uri: of the server.
        database: its SQLite file, or the SQLAlchemy URI of its database.
        kind: of the database; "" for SQLite.
        artifacts: the folder in which it keeps artifacts.
    """

    uri: str
    database: Path | str
    kind: str
    artifacts: Path

    @property
    def database_uri(self) -> str:
        """What the server itself calls its database."""
        return self.database if isinstance(self.database, str) else f"sqlite:///{self.database}"

    def world(self, as_of_ms: int) -> World:
        """Return its content, after emptying it."""
        if not isinstance(self.database, str):
            store.empty(self.database)
            return World(self.uri, self.database, as_of_ms)
        DATABASES[self.kind].empty(self.database)
        return DATABASES[self.kind].world(self.uri, self.database, as_of_ms)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on each server."""
    if "environment" in metafunc.fixturenames:
        servers = metafunc.config.option.mlflow.split()
        metafunc.parametrize("environment", servers, scope="session", indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what starts a server of its own, on SQLite, where another database is wanted."""
    items[:] = [
        item
        for item in items
        if "+" not in results.server_of(item) or "served" in getattr(item, "fixturenames", ())
    ]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Note the version and the column of the table with each result."""
    report = yield
    results.note(item, report)
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down how a test ended, at once: a long run may be ended before its end."""
    results.collect(report)


@pytest.fixture(scope="session")
def environment(request: pytest.FixtureRequest) -> Environment:
    """The environment of the version that serves."""
    found = environments.existing(request.param)
    assert found is not None, f"build it first: make compat VERSIONS={request.param}"
    return found


@pytest.fixture(scope="session")
def served(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server."""
    directory = tmp_path_factory.mktemp(f"served-{environment.version}")
    with contextlib.ExitStack() as stack:
        uri = None
        if environment.database:
            database = DATABASES[environment.database]
            programs = database.programs()
            assert programs is not None, f"{database.title} is not installed"
            uri = stack.enter_context(database.running(programs))
        running = stack.enter_context(
            store.of_version(environment.python, directory, backend_store_uri=uri)
        )
        artifacts = running.directory / "artifacts"
        yield Served(running.uri, uri or running.database, environment.database, artifacts)


@pytest.fixture
def world(served: Served, environment: Environment) -> Iterator[World]:
    """The content of the server, emptied."""
    found = served.world((int(time.time()) - 600) * 1000 + 123)
    adapt(found, environment.number)
    yield found
    found.close()


@pytest.fixture(scope="session")
def program(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The program, with the MLflow that is to be installed beside it, pointed at nothing."""
    runner = Cli(tmp_path_factory.mktemp("cli"), python=environment.client_python, path=(PLUGIN,))
    yield runner
    runner.close()
