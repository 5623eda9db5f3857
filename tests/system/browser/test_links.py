"""The addresses in an HTML report lead to the very entity in MLflow's own pages."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import requests
from support import viewer
from support.world import KEEP_TAG, World

from mlflow_gc.demo.server import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page
    from support.bench import Bench
    from support.cli import Cli

pytestmark = pytest.mark.browser

NAMES = ("plain", 'it\'s "x" 50% a&b?c#d <b>', "größe-模型-🚀", "100%25 +plus", "dots.and.more")
WORKSPACE = "team-a"


@contextmanager
def report_page(browser: Browser, cli: Cli, plan: Path) -> Iterator[Page]:
    """The report of a plan, made by the program itself."""
    path = plan.with_suffix(".html")
    shown = cli("show", plan, "--format", "html").expect(0)
    path.write_bytes(shown.out.encode())
    with viewer.opened(browser, path) as page:
        yield page


def addresses(page: Page, kind: str) -> dict[str, str]:
    """What the table calls each entity of a kind -> where its link leads."""
    page.get_by_label("Kind").select_option(kind)
    found: dict[str, str] = page.locator("table.entities tbody tr").evaluate_all(
        """rows => Object.fromEntries(rows.map(row =>
             [row.querySelector('.open').textContent, row.querySelector('a.outside').href]))"""
    )
    return found


def seen(browser: Browser, address: str, words: str) -> None:
    """Open an address in a browser that has never seen the server, and wait for words."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    page.get_by_text(words).first.wait_for(timeout=60_000)
    assert page.get_by_text("Page Not Found").count() == 0
    context.close()


def test_every_kind_with_every_odd_name(bench: Bench, browser: Browser) -> None:
    world = bench.world
    to_delete = []
    for number, name in enumerate(NAMES):
        experiment = world.experiment()
        to_delete.append(world.run(experiment))
        world.sql("UPDATE experiments SET name = ? WHERE experiment_id = ?", name, int(experiment))
        version = world.spare_version(world.model(name), description=f"description {number}")
        assert version == f"{name}/1"
    retained = world.experiment()
    retained_run = world.run(retained, tags={KEEP_TAG: "true"})
    plan = bench.report()
    with report_page(browser, bench.cli, plan.path) as page:
        experiments, runs = addresses(page, "experiment"), addresses(page, "run")
        versions = addresses(page, "model_version")
        page.get_by_label("What happens").select_option("protected")
        runs_not_deleted = addresses(page, "run")
    for number, name in enumerate(NAMES):
        seen(browser, experiments[name], name)
        # The version that goes, not the one that stays.
        seen(browser, versions[f"{name} / 1"], f"description {number}")
    assert {a.rpartition("/")[2] for a in runs.values()} >= {*to_delete}
    for address in [*list(runs.values())[:2], *runs_not_deleted.values()]:
        seen(browser, address, address.rpartition("/")[2])
    assert retained_run in " ".join(runs_not_deleted.values())


def test_in_a_workspace(
    browser: Browser, cli: Cli, as_of_ms: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Without the workspace in the address MLflow would show its list of workspaces."""
    directory = tmp_path_factory.mktemp("workspaces")
    with LocalServer(directory, extra_args=("--enable-workspaces",)) as server:
        url = f"{server.uri}/api/3.0/mlflow/workspaces"
        requests.post(url, json={"name": WORKSPACE}, timeout=60).raise_for_status()
        world = World(server.uri, server.database, as_of_ms)
        world.http.headers["X-MLFLOW-WORKSPACE"] = WORKSPACE
        experiment = world.experiment("the experiment")
        run = world.run(experiment)
        world.spare_version(world.model("the model"), description="the description")
        path = directory / "plan.json"
        env: dict[str, Any] = {
            "MLFLOW_TRACKING_URI": server.uri,
            "MLFLOW_WORKSPACE": WORKSPACE,
        }
        cli("report", "-o", path, "--as-of", world.as_of, env=env).expect(0)
        with report_page(browser, cli, path) as page:
            (of_run,) = addresses(page, "run").values()
            (of_experiment,) = addresses(page, "experiment").values()
            of_version = addresses(page, "model_version")["the model / 1"]
        for address in (of_run, of_experiment, of_version):
            assert address.endswith(f"?workspace={WORKSPACE}")
        seen(browser, of_run, run)
        seen(browser, of_experiment, "the experiment")
        seen(browser, of_version, "the description")
        world.close()
