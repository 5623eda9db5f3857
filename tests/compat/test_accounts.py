"""Servers of each version with MLflow's basic auth: who logs in how, and what each may do.

A plan of an account that may not see everything is a partial view and cannot be applied; so is that
of an account of which the server does not say who it is.
"""

from __future__ import annotations

import base64
import importlib
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
import requests
from compat.conftest import PLUGIN
from compat.content import adapt
from mlflow.tracking.request_auth.registry import _request_auth_provider_registry
from support import accounts, oracle
from support import server as store
from support.accounts import ADMIN, password
from support.plans import Plan
from support.proxy import Proxy
from support.world import FRESH, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compat.environments import Environment
    from support.cli import Cli, Outcome

    from mlflow_gc.demo.server import LocalServer

PART, MANAGER = "part", "manager"
LESSER = (PART, MANAGER)
"""``part`` may do nothing with one registered model and one experiment; ``manager`` may do all."""
SINCE_BASIC_AUTH = (2, 5)
SINCE_CURRENT_USER = (3, 13)
SINCE_GRANTS = (3, 13)
SINCE_DENY = (3, 17)
WAYS = ("environment", "URI", "plug-in", "bearer token")


@dataclass
class Guarded:
    """A server with accounts, and what is in it.

    Attributes:
        server: it.
        number: its version, to compare with.
        world: its content, as the administrator makes it.
        program: the program.
        deleted: what a plan of all that is in it deletes.
        champion: a run that only the hidden model protects.
        parent: a run that only a run in the hidden experiment protects.
    """

    server: LocalServer
    number: tuple[int, ...]
    world: World
    program: Cli
    deleted: set[oracle.Entity]
    champion: str = ""
    parent: str = ""

    def run(self, way: str, account: str, *args: object) -> Outcome:
        """Run the program as an account that logs in one way."""
        secret = password(account)
        uri = self.server.uri
        if way == "environment":
            names = {"MLFLOW_TRACKING_USERNAME": account, "MLFLOW_TRACKING_PASSWORD": secret}
            return self.program(*args, env={"MLFLOW_TRACKING_URI": uri, **names})
        if way == "URI":
            login = uri.replace("://", f"://{account}:{secret}@")
            return self.program(*args, env={"MLFLOW_TRACKING_URI": login})
        login = "Basic " + base64.b64encode(f"{account}:{secret}".encode()).decode()
        if way == "plug-in":
            names = {"MLFLOW_TRACKING_AUTH": "compat-login", "COMPAT_LOGIN": login}
            return self.program(*args, env={"MLFLOW_TRACKING_URI": uri, **names})
        assert way == "bearer token"
        with Proxy(uri) as proxy:
            # What a single sign-on in front of the server does with a token.
            proxy.set_header("Authorization", login)
            env = {"MLFLOW_TRACKING_URI": proxy.uri, "MLFLOW_TRACKING_TOKEN": "a-token"}
            return self.program(*args, env=env)

    def says_who(self, way: str) -> bool:
        """Whether the server can tell whose account that is."""
        return self.number >= SINCE_CURRENT_USER or way != "bearer token"

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Assert that no row of the server changes."""
        before = oracle.rows(self.server.database)
        yield
        assert oracle.changes(before, oracle.rows(self.server.database)) == {}


def _admin(server: LocalServer, path: str, body: dict[str, Any], api: str = "2.0") -> None:
    answer = requests.post(
        f"{server.uri}/api/{api}/mlflow/{path}",
        json=body,
        auth=(ADMIN, password(ADMIN)),
        timeout=60,
    )
    assert answer.ok, f"{path} {body}: {answer.text}"


def _grant(server: LocalServer, account: str, kind: str, key: str, permission: str) -> None:
    body = {"username": account, "resource_type": kind, "resource_id": key}
    _admin(server, "users/permissions/grant", {**body, "permission": permission}, "3.0")


def _hide(guarded: Guarded, kind: str, key: str) -> None:
    """Let ``part`` not see one experiment or registered model."""
    if guarded.number >= SINCE_DENY:
        _grant(guarded.server, PART, kind, key, "DENY")
    elif guarded.number < SINCE_GRANTS:
        path, field = {
            "experiment": ("experiments", "experiment_id"),
            "registered_model": ("registered-models", "name"),
        }[kind]
        body = {field: key, "username": PART, "permission": "NO_PERMISSIONS"}
        _admin(guarded.server, f"{path}/permissions/create", body)


def _default_permission(number: tuple[int, ...]) -> str:
    # From 3.13 until there is DENY, a grant cannot take away what the default allows.
    return "NO_PERMISSIONS" if SINCE_GRANTS <= number < SINCE_DENY else "MANAGE"


def _show(guarded: Guarded, hidden: set[tuple[str, str]]) -> None:
    """Grant what the default does not allow: all to ``manager``, all but this to ``part``."""
    if _default_permission(guarded.number) == "MANAGE":
        return
    with store.open_database(guarded.world.database) as db:
        found = {
            ("experiment", str(i)) for (i,) in db.execute("SELECT experiment_id FROM experiments")
        }
        found |= {
            ("registered_model", n) for (n,) in db.execute("SELECT name FROM registered_models")
        }
    for account, resources in ((MANAGER, found), (PART, found - hidden)):
        for kind, key in sorted(resources):
            _grant(guarded.server, account, kind, key, "MANAGE")


@pytest.fixture(scope="session", autouse=True)
def plugin() -> Iterator[None]:
    """The plug-in in this process, where MLflow was imported without it."""
    with patch.object(sys, "path", [str(PLUGIN), *sys.path]):
        provider = importlib.import_module("compat_login").Provider
    _request_auth_provider_registry.register(provider)
    yield
    _request_auth_provider_registry._registry.pop()


@pytest.fixture(scope="session")
def guarded(
    environment: Environment, program: Cli, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    """A server of that version with accounts and content."""
    if environment.number < SINCE_BASIC_AUTH:
        pytest.skip("before basic auth")
    directory = tmp_path_factory.mktemp(f"guarded-{environment.version}")
    env = accounts.settings(directory, default_permission=_default_permission(environment.number))
    arguments = ("--app-name", "basic-auth")
    with store.of_version(environment.python, directory, *arguments, env=env) as server:
        as_of_ms = (int(time.time()) - 600) * 1000 + 123
        world = World(server.uri, server.database, as_of_ms)
        world.http.auth = (ADMIN, password(ADMIN))
        found = Guarded(server, environment.number, world, program, set())
        for account in LESSER:
            _admin(server, "users/create", {"username": account, "password": password(account)})
        accounts.check_passwords_fast(directory)
        _settle(found)
        yield found
        world.close()


def _settle(guarded: Guarded) -> None:
    world = guarded.world
    adapt(world, guarded.number)
    home, hidden = world.experiment("home", age=FRESH), world.experiment("hidden", age=FRESH)
    guarded.deleted = {("run", world.run(home)) for _ in range(3)}
    guarded.champion = world.run(home)
    model = world.model("secret")
    world.version(model, run_id=guarded.champion, aliases=["champion"])
    guarded.parent = world.run(home)
    world.run(hidden, parent=guarded.parent, age=FRESH)
    guarded.deleted |= {
        ("model_version", world.spare_version(world.model("open"))),
        ("experiment", world.experiment("empty")),
    }
    _hide(guarded, "registered_model", model)
    _hide(guarded, "experiment", hidden)
    _show(guarded, {("registered_model", model), ("experiment", hidden)})


def _report(
    guarded: Guarded, way: str, account: str, path: Path, *args: object
) -> tuple[Outcome, Plan]:
    options = ("-o", path, "--as-of", guarded.world.as_of, *args)
    outcome = guarded.run(way, account, "report", *options)
    outcome.expect(0, 5)
    assert password(account) not in outcome.text
    return outcome, Plan.load(path)


def _codes(plan: Plan) -> list[str]:
    return [diagnostic["code"] for diagnostic in plan.document["diagnostics"]]


@pytest.mark.column("basic auth")
@pytest.mark.parametrize("way", WAYS)
def test_an_administrators_plan_is_complete_where_the_server_says_so(
    guarded: Guarded, tmp_path: Path, way: str
) -> None:
    """Where it does not, who brings a token may be anybody."""
    with guarded.unchanged():
        outcome, plan = _report(guarded, way, ADMIN, tmp_path / "plan.json")
    assert plan.entities == guarded.deleted
    if guarded.says_who(way):
        outcome.expect(0)
        assert plan.document["complete"] is True
        assert plan.document["applyable"] is True
        assert _codes(plan) == []
        return
    outcome.expect(5)
    assert _codes(plan) == ["partial_view"]
    assert "does not tell" in outcome.err
    with guarded.unchanged():
        guarded.run(way, ADMIN, "prune", plan.path).expect(5)


@pytest.mark.column("basic auth")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("account", LESSER)
def test_a_plan_of_any_other_account_cannot_be_applied(
    guarded: Guarded, tmp_path: Path, account: str, way: str
) -> None:
    """Whichever way it logs in."""
    with guarded.unchanged():
        outcome, plan = _report(guarded, way, account, tmp_path / "plan.json")
        outcome.expect(5)
        assert _codes(plan) == ["partial_view"]
        assert plan.document["complete"] is False
        assert plan.document["applyable"] is False
        assert (account if guarded.says_who(way) else "does not tell") in outcome.err
        assert "--accept-partial-view" in outcome.err


@pytest.mark.column("basic auth")
@pytest.mark.parametrize("account", LESSER)
def test_a_plan_is_applied_by_administrators_only(
    guarded: Guarded, tmp_path: Path, account: str
) -> None:
    """And that of another account not by them either."""
    with guarded.unchanged():
        _, plan = _report(guarded, "URI", account, tmp_path / "plan.json")
        for anybody in (account, ADMIN):
            guarded.run("URI", anybody, "prune", plan.path).expect(5)
        _, plan = _report(guarded, "URI", ADMIN, tmp_path / "admin.json")
        refused = guarded.run("URI", account, "prune", plan.path).expect(5)
        assert "is not an administrator" in refused.err
        assert "another server" not in refused.err
        guarded.run("URI", account, "check", plan.path).expect(5)


@pytest.mark.column("basic auth")
def test_what_is_hidden_is_what_protects(guarded: Guarded, tmp_path: Path) -> None:
    """That is why: to ``part`` the champion looks like any old run, unless the server shows all."""
    with guarded.unchanged():
        _, plan = _report(guarded, "environment", PART, tmp_path / "plan.json")
    assert guarded.deleted <= plan.entities
    extra = plan.entities - guarded.deleted
    assert extra <= {("run", guarded.champion), ("run", guarded.parent)}
    assert extra, "nothing is hidden here: the other tests say nothing"


@pytest.mark.column("basic auth")
def test_an_administrator_prunes_and_restores(guarded: Guarded, tmp_path: Path) -> None:
    """After what a manager, who sees it all, was allowed to on purpose."""
    before = oracle.look(guarded.server.database)
    journal = tmp_path / "journal.jsonl"
    _, accepted = _report(
        guarded, "URI", MANAGER, tmp_path / "manager.json", "--accept-partial-view"
    )
    assert accepted.document["applyable"] is True
    assert accepted.entities == guarded.deleted
    with guarded.unchanged():
        guarded.run("URI", MANAGER, "check", accepted.path, "--detailed-exitcode").expect(0)
    _, plan = _report(guarded, "URI", ADMIN, tmp_path / "plan.json")
    guarded.run("URI", ADMIN, "prune", plan.path, "--journal", journal).expect(0)
    assert oracle.look(guarded.server.database).gone_since(before) == guarded.deleted
    guarded.run("environment", ADMIN, "restore", journal, "--yes").expect(0)
    gone = oracle.look(guarded.server.database).gone_since(before)
    assert {kind for kind, _ in gone} == {"model_version"}
