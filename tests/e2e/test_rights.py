"""On a server with basic auth, only an administrator sees all that protects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import requests
from support.plans import Plan

from mlflow_gc.demo.server import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cli import Cli

ADMIN = ("admin", "an-admin-password")
READER = ("reader", "a-reader-password")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server with MLflow's basic auth, an administrator and a reader."""
    directory = tmp_path_factory.mktemp("guarded")
    config = directory / "auth.ini"
    config.write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = sqlite:///{directory / 'auth.db'}\n"
        f"admin_username = {ADMIN[0]}\n"
        f"admin_password = {ADMIN[1]}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
    )
    env = {"MLFLOW_AUTH_CONFIG_PATH": str(config), "MLFLOW_FLASK_SERVER_SECRET_KEY": "for-tests"}
    with LocalServer(directory, extra_args=("--app-name", "basic-auth"), env=env) as server:
        made = requests.post(
            f"{server.uri}/api/2.0/mlflow/users/create",
            json={"username": READER[0], "password": READER[1]},
            auth=ADMIN,
            timeout=30,
        )
        made.raise_for_status()
        yield server


def _env(server: LocalServer, account: tuple[str, str]) -> dict[str, str | None]:
    return {
        "MLFLOW_TRACKING_URI": server.uri,
        "MLFLOW_TRACKING_USERNAME": account[0],
        "MLFLOW_TRACKING_PASSWORD": account[1],
    }


def test_an_administrator_gets_a_plan_that_can_be_applied(
    guarded: LocalServer, cli: Cli, tmp_path: Path
) -> None:
    """And a reader may not apply it: the second look needs the same evidence."""
    path = tmp_path / "plan.json"
    cli("report", "-o", path, env=_env(guarded, ADMIN)).expect(0)
    plan = Plan.load(path).document
    assert plan["complete"] is True
    assert plan["applyable"] is True
    refused = cli("prune", path, env=_env(guarded, READER)).expect(5)
    assert "administrator" in refused.err
    cli("prune", path, env=_env(guarded, ADMIN)).expect(0)


def test_a_reader_gets_an_incomplete_plan(guarded: LocalServer, cli: Cli, tmp_path: Path) -> None:
    """It can be read, and neither the reader nor the administrator can apply it."""
    path = tmp_path / "plan.json"
    report = cli("report", "-o", path, env=_env(guarded, READER)).expect(0)
    assert "administrator" in report.err
    plan = json.loads(path.read_text())
    assert plan["complete"] is False
    assert plan["applyable"] is False
    assert [d["code"] for d in plan["diagnostics"]] == ["partial_view"]
    cli("prune", path, env=_env(guarded, ADMIN)).expect(5)


def test_a_wrong_password_is_one_clear_message(
    guarded: LocalServer, cli: Cli, tmp_path: Path
) -> None:
    """Exit 1, no plan."""
    path = tmp_path / "plan.json"
    env = _env(guarded, (ADMIN[0], "wrong-password-1"))
    outcome = cli("report", "-o", path, env=env).expect(1)
    assert "401" in outcome.err
    assert not path.exists()
