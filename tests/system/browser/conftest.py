"""Reports in a real browser: opened from disk, as a reviewer does with an artifact of CI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from unit.busy_server import busy_plan

from mlflow_gc.domain.timestamps import now_ms
from mlflow_gc.render import html

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Document = dict[str, Any]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write the report of a plan to a file and give its path."""
    directory = tmp_path_factory.mktemp("reports")

    def write(plan: Document, name: str, **options: Any) -> Path:
        path = directory / f"{name}.html"
        path.write_text("".join(html.show(plan, **options)), encoding="utf-8", newline="\n")
        return path

    return write


@pytest.fixture(scope="session")
def plan() -> Document:
    """The plan for a server with some hundred runs, made an hour ago."""
    return busy_plan(900, now_ms() - 3_600_000)


@pytest.fixture(scope="session")
def report(plan: Document, written: Callable[..., Path]) -> Path:
    """Its report."""
    return written(plan, "report")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here needs the browser."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
