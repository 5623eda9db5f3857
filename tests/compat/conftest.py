"""Servers of other versions of MLflow, for ``make compat``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from compat import environments, results
from compat.content import adapt
from support import server as store
from support.cli import Cli
from support.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compat.environments import Environment

    from mlflow_gc.demo.server import LocalServer


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on each version."""
    if "environment" in metafunc.fixturenames:
        versions = metafunc.config.option.mlflow.split()
        metafunc.parametrize("environment", versions, scope="session", indirect=True)


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
def served(
    environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalServer]:
    """A server of that version, as users start it."""
    directory = tmp_path_factory.mktemp(f"served-{environment.version}")
    with store.of_version(environment.python, directory) as running:
        yield running


@pytest.fixture
def world(served: LocalServer, environment: Environment) -> Iterator[World]:
    """The content of the server, emptied."""
    store.empty(served.database)
    found = World(served.uri, served.database, (int(time.time()) - 600) * 1000 + 123)
    adapt(found, environment.number)
    yield found
    found.close()


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The program, with the MLflow that is installed beside it, pointed at nothing."""
    runner = Cli(tmp_path_factory.mktemp("cli"))
    yield runner
    runner.close()
