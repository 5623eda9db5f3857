"""On a server with basic auth, only an administrator sees all that protects.

Permissions of MLflow filter what a search finds without a word, and what is left out is the
evidence: a run that looks unregistered may be behind ``@champion`` of a model that the account may
not read.  So a plan of anybody else is incomplete, and applies only after the flag
``--accept-partial-view``; nobody but the administrator looks again with all the evidence.
"""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import requests
from support import accounts, depth
from support import server as store
from support.accounts import ADMIN, password
from support.bench import Bench
from support.plans import Plan, plan_digest
from support.proxy import NO_ENDPOINT, Fault, Proxy, deletions
from support.world import FRESH, World

from mlflow_gc.apply import batching
from mlflow_gc.demo.server import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cli import Cli

GRANTS: dict[str, list[tuple[str, str]]] = {
    "deputy": [],  # a second administrator, who may lose that
    "manager": [("experiment", "MANAGE"), ("registered_model", "MANAGE")],
    "editor": [("experiment", "EDIT"), ("registered_model", "EDIT")],
    "reader": [("experiment", "READ"), ("registered_model", "READ")],
    "nobody": [],
    # Deny wins over what the tier above allows, and can only be given for all at once (3.17).
    "no-runs": [("experiment", "MANAGE"), ("registered_model", "MANAGE"), ("run", "DENY")],
    "no-logged-models": [
        ("experiment", "MANAGE"),
        ("registered_model", "MANAGE"),
        ("logged_model", "DENY"),
    ],
}
"""Account -> resource type and permission, each on all resources of the type."""
AT_ONCE = 16
"""Calls that may be under way at once, at most."""
BATCH = 30 if depth.chosen.smoke else batching.BATCH
RUNS = BATCH + 10
"""More than one batch of deletions."""
OTHERS = ["manager", "editor", "reader", "nobody"]
"""Accounts that are no administrator."""


@dataclass
class Guarded:
    """A server with basic auth, for one test.

    Attributes:
        server: it.
        world: its content, as the administrator makes it.
    """

    server: LocalServer
    world: World

    def env(self, account: str, uri: str | None = None) -> dict[str, str | None]:
        """The settings with which the program is ``account``, directly or through a proxy."""
        return {
            "MLFLOW_TRACKING_URI": uri or self.server.uri,
            "MLFLOW_TRACKING_USERNAME": account,
            "MLFLOW_TRACKING_PASSWORD": password(account),
        }

    def admin(self, method: str, path: str, body: dict[str, Any], *, api: str = "2.0") -> None:
        """Administrate accounts and permissions."""
        answer = requests.request(
            method,
            f"{self.server.uri}/api/{api}/mlflow/{path}",
            json=body,
            auth=(ADMIN, password(ADMIN)),
            timeout=30,
        )
        assert answer.ok, f"{path} {body}: {answer.text}"

    def grant(self, account: str, kind: str, permission: str, key: str = "*") -> None:
        """Give ``account`` a permission that it has none yet on the same."""
        body = {"username": account, "resource_type": kind, "resource_id": key}
        self.admin("POST", "users/permissions/grant", {**body, "permission": permission}, api="3.0")

    def lower(self, account: str, kind: str, permission: str) -> None:
        """Take away what ``account`` was granted on all resources of a kind; give it less."""
        body = {"username": account, "resource_type": kind, "resource_id": "*"}
        self.admin("POST", "users/permissions/revoke", body, api="3.0")
        self.grant(account, kind, permission)

    def hide(self, account: str, kind: str, key: str) -> None:
        """Let ``account`` not see one experiment or registered model any more."""
        self.grant(account, kind, "DENY", key)

    def set_admin(self, account: str, *, is_admin: bool) -> None:
        """Make an account an administrator, or no longer."""
        self.admin("PATCH", "users/update-admin", {"username": account, "is_admin": is_admin})

    def look(self, account: str, method: str, path: str, body: dict[str, Any]) -> Any:
        """What the REST API shows to an account."""
        sent = {"params": body} if method == "GET" else {"json": body}
        answer = requests.request(
            method,
            f"{self.server.uri}/api/2.0/mlflow/{path}",
            auth=(account, password(account)),
            timeout=30,
            **sent,  # type: ignore[arg-type]
        )
        return answer.json() if answer.ok else answer.status_code


def _give_grants(guarded: Guarded) -> None:
    for account, grants in GRANTS.items():
        for kind, permission in grants:
            guarded.grant(account, kind, permission)
    guarded.set_admin("deputy", is_admin=True)


@pytest.fixture(autouse=True)
def _batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "BATCH", BATCH)


@contextmanager
def _rights(server: LocalServer) -> Iterator[sqlite3.Connection]:
    """The database of accounts and rights; committed in the end."""
    with (
        closing(sqlite3.connect(server.directory / "auth.db", timeout=60)) as rights,
        rights,
    ):
        yield rights


Rights = dict[str, list[tuple[Any, ...]]]
"""Table -> rows."""


@pytest.fixture(scope="module")
def guarded_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[LocalServer, Rights]]:
    """A server where an account may do what it was granted and nothing else; and these grants."""
    directory = tmp_path_factory.mktemp("guarded")
    env = accounts.settings(directory, default_permission="NO_PERMISSIONS")
    with store.local(directory, "--app-name", "basic-auth", env=env) as server:
        for account in GRANTS:
            requests.post(
                f"{server.uri}/api/2.0/mlflow/users/create",
                json={"username": account, "password": password(account)},
                auth=(ADMIN, password(ADMIN)),
                timeout=30,
            ).raise_for_status()
        world = World(server.uri, server.database, 0)
        _give_grants(Guarded(server, world))
        world.close()
        with _rights(server) as stored:
            rights = {
                table: stored.execute(f'SELECT * FROM "{table}"').fetchall()
                for table in ("role_permissions", "users")
            }
        yield server, rights


@pytest.fixture
def guarded(guarded_server: tuple[LocalServer, Rights], as_of_ms: int) -> Iterator[Guarded]:
    """The server, emptied, every account with the rights of :data:`GRANTS`."""
    server, rights = guarded_server
    store.empty(server.database)
    with _rights(server) as stored:
        # Ids of experiments come again in an emptied store, and rights on them must not.
        for table, rows in rights.items():
            stored.execute(f'DELETE FROM "{table}"')
            placeholders = ", ".join("?" * len(rows[0]))
            stored.executemany(f'INSERT INTO "{table}" VALUES ({placeholders})', rows)
    world = World(server.uri, server.database, as_of_ms)
    world.http.auth = (ADMIN, password(ADMIN))
    yield Guarded(server, world)
    world.close()


@pytest.fixture
def bench(guarded: Guarded, cli: Cli, tmp_path: Path) -> Bench:
    """Data, program and oracle on the guarded server."""
    return Bench(guarded.world, cli, tmp_path)


@pytest.fixture
def bench_of_all(world: World, cli: Cli, tmp_path: Path) -> Bench:
    """Data, program and oracle on a server without accounts."""
    return Bench(world, cli, tmp_path)


@pytest.fixture
def guarded_proxy(guarded: Guarded) -> Iterator[Proxy]:
    """A proxy before the guarded server."""
    with Proxy(guarded.server.uri) as running:
        yield running


@dataclass(frozen=True)
class Content:
    """What :func:`_settle` put in.

    Attributes:
        runs: stale, and nobody needs them.
        champion: a stale run behind ``@champion`` of ``model``.
        model: a registered model.
        version: a stale version that may go.
        empty: a stale experiment without runs.
    """

    runs: set[str]
    champion: str
    model: str
    version: str
    empty: str


def _settle(world: World, *, runs: int = 4) -> Content:
    home = world.experiment("home", age=FRESH)
    champion = world.run(home, name="champion")
    model = world.model("secret")
    world.version(model, source="s3://bucket/champion", run_id=champion, aliases=["champion"])
    return Content(
        runs=set(world.bulk_runs(home, runs)),
        champion=champion,
        model=model,
        version=world.spare_version(world.model("open")),
        empty=world.experiment("empty"),
    )


def _codes(plan: Plan) -> list[str]:
    return [diagnostic["code"] for diagnostic in plan.document["diagnostics"]]


# Who sees everything ------------------------------------------------------------------------------


def test_an_administrators_plan_is_complete_and_applies(guarded: Guarded, bench: Bench) -> None:
    """Report, check, prune, restore: as on a server without accounts."""
    content = _settle(guarded.world)
    env = guarded.env(ADMIN)
    before = bench.state()
    plan = bench.report(env=env)
    assert plan.document["complete"] is True
    assert plan.document["applyable"] is True
    assert set(plan.document["server"]["capabilities"].values()) == {True}
    assert plan.runs == content.runs
    assert "registered_model" in plan.protection(("run", content.champion))
    bench.cli("check", plan.path, "--detailed-exitcode", env=env).expect(0)
    bench.prune(plan, env=env)
    assert bench.state().gone_since(before) == plan.entities
    bench.cli("restore", bench.journal_path(plan), "--yes", env=env).expect(0)
    assert bench.state().gone_since(before) == {("model_version", content.version)}


@pytest.mark.parametrize("account", OTHERS)
def test_the_report_of_anybody_else_is_incomplete(
    guarded: Guarded, bench: Bench, account: str
) -> None:
    """It says so, can be read, and nobody can apply it, not even the administrator."""
    _settle(guarded.world)
    path = bench.dir / "plan.json"
    output = bench.cli(
        "report", "-o", path, "--as-of", guarded.world.as_of, env=guarded.env(account)
    ).expect(5)
    assert "administrator" in output.err
    assert "--accept-partial-view" in output.err
    assert account in output.err
    plan = Plan.load(path)
    assert plan.document["complete"] is False
    assert plan.document["applyable"] is False
    assert _codes(plan) == ["partial_view"]
    assert plan.document["policy"]["accept_partial_view"] is False
    # What it may not read is there.
    assert set(plan.document["server"]["capabilities"].values()) == {True}
    before = bench.state()
    for who in (account, ADMIN):
        bench.prune(plan, env=guarded.env(who), codes=(5,))
    assert bench.state() == before
    assert not bench.journal_path(plan).exists()


def test_a_database_hides_nothing_but_pruning_still_needs_an_administrator(
    guarded: Guarded, bench: Bench
) -> None:
    """The plan is complete whoever makes it; the second look is that of the account."""
    content = _settle(guarded.world)
    guarded.hide("manager", "registered_model", content.model)
    uri = f"sqlite:///{guarded.server.database}"
    env = guarded.env("manager")
    plan = bench.report("--backend-store-uri", uri, env=env)
    assert plan.document["complete"] is True
    assert plan.runs == content.runs
    assert "registered_model" in plan.protection(("run", content.champion))
    before = bench.state()
    bench.prune(plan, env=env, codes=(5,))
    assert bench.state() == before
    bench.prune(plan, env=guarded.env(ADMIN))
    assert bench.state().gone_since(before) == plan.entities


def test_an_account_that_may_not_read_the_default_experiment_cannot_name_a_database(
    guarded: Guarded, bench: Bench
) -> None:
    """Nothing tells it that the database is that of the server."""
    uri = f"sqlite:///{guarded.server.database}"
    args = ("report", "-o", bench.dir / "p.json", "--backend-store-uri", uri)
    outcome = bench.cli(*args, env=guarded.env("nobody")).expect(5)
    assert "experiment 0" in outcome.err


@pytest.mark.parametrize("account", OTHERS)
def test_nobody_else_applies_the_administrators_plan(
    guarded: Guarded, bench: Bench, guarded_proxy: Proxy, account: str
) -> None:
    """The second look needs the same evidence: refused before anything is touched."""
    _settle(guarded.world)
    plan = bench.report(env=guarded.env(ADMIN))
    before = bench.state()
    env = guarded.env(account, guarded_proxy.uri)
    refused, _ = bench.prune(plan, env=env, codes=(5,))
    bench.prune(plan, "--dry-run", env=env, codes=(5,))
    bench.cli("check", plan.path, env=env).expect(5)
    assert bench.state() == before
    assert not deletions(guarded_proxy.seen)
    assert not bench.journal_path(plan).exists()
    assert password(account) not in refused.text


@pytest.mark.parametrize("account", OTHERS)
def test_restore_by_anybody_else_brings_back_what_the_server_allows(
    guarded: Guarded, bench: Bench, account: str
) -> None:
    """A manager all of it, the others nothing; the administrator does the rest afterwards."""
    content = _settle(guarded.world)
    before = bench.state()
    plan = bench.report(env=guarded.env(ADMIN))
    bench.prune(plan, env=guarded.env(ADMIN))
    pruned = bench.state()
    journal = bench.journal_path(plan)
    bench.cli("restore", journal, "--yes", env=guarded.env(account)).expect(
        *((0,) if account == "manager" else (3, 5))
    )
    if account != "manager":
        assert bench.state() == pruned
    bench.cli("restore", journal, "--yes", env=guarded.env(ADMIN)).expect(0)
    assert bench.state().gone_since(before) == {("model_version", content.version)}
    assert {e for e in bench.state().trashed if e[0] != "model_version"} == before.trashed


@pytest.mark.parametrize(
    "credentials",
    [
        {"MLFLOW_TRACKING_USERNAME": ADMIN, "MLFLOW_TRACKING_PASSWORD": "wrong-canary"},
        {"MLFLOW_TRACKING_USERNAME": "no-such-account", "MLFLOW_TRACKING_PASSWORD": "wrong-canary"},
        {"MLFLOW_TRACKING_TOKEN": "token-canary"},
        {},
    ],
    ids=["wrong password", "unknown account", "unknown token", "nothing"],
)
def test_credentials_that_the_server_does_not_know(
    guarded: Guarded, bench: Bench, credentials: dict[str, str | None]
) -> None:
    """One clear message from every command, nothing written, nothing touched, nothing given away."""
    _settle(guarded.world)
    plan = bench.report(env=guarded.env(ADMIN))
    bench.prune(plan, env=guarded.env(ADMIN))
    before = bench.state()
    env = {"MLFLOW_TRACKING_URI": guarded.server.uri, **credentials}
    commands: list[tuple[object, ...]] = [
        ("prune", plan.path, "--journal", bench.dir / "new.jsonl"),
        ("report", "-o", bench.dir / "new.json"),
        ("report", "-o", bench.dir / "new.json", "--accept-partial-view"),
        ("check", plan.path),
        ("restore", bench.journal_path(plan), "--yes"),
    ]
    # Each 500 is asked again for some seconds, by every command in the same place.
    for args in commands[:2] if "MLFLOW_TRACKING_TOKEN" in env else commands:
        outcome = bench.cli(*args, env=env).expect(1)
        # MLflow 3.17 stumbles over a bearer token where it wants a name and a password.
        assert "401" in outcome.err or ("500" in outcome.err and "MLFLOW_TRACKING_TOKEN" in env)
        assert "canary" not in outcome.text
        assert len(outcome.err.strip().splitlines()) <= 6, outcome.err
    assert bench.state() == before
    assert not (bench.dir / "new.json").exists()
    assert not (bench.dir / "new.jsonl").exists()


# What an account does not see ---------------------------------------------------------------------


def test_a_champion_of_a_model_out_of_sight_looks_stale_and_is_retained(
    guarded: Guarded, bench: Bench
) -> None:
    """Hazard 10: the manager's plan lists it.  Without acceptance nothing goes, whoever tries."""
    content = _settle(guarded.world)
    guarded.hide("manager", "registered_model", content.model)
    assert content.champion not in bench.report(env=guarded.env(ADMIN)).runs
    plan = bench.report(name="manager.json", env=guarded.env("manager"), codes=(5,))
    assert content.champion in plan.runs, "the server hides what protects it"
    before = bench.state()
    for account in ("manager", ADMIN):
        bench.prune(plan, env=guarded.env(account), codes=(5,))
        bench.cli("prune", "--yes", env=guarded.env("manager"), cwd=bench.dir).expect(5)
    assert bench.state() == before


@pytest.mark.parametrize("account", ["manager", "editor"])
def test_a_child_in_an_experiment_out_of_sight(
    guarded: Guarded, bench: Bench, account: str
) -> None:
    """The parent looks like a leaf; the administrator knows better, also with the accepted plan."""
    world = guarded.world
    seen, hidden = world.experiment(age=FRESH), world.experiment(age=FRESH)
    parent = world.run(seen)
    world.run(hidden, parent=parent, age=FRESH)
    guarded.hide(account, "experiment", hidden)
    assert not bench.report(env=guarded.env(ADMIN)).runs
    plan = bench.report("--accept-partial-view", name="other.json", env=guarded.env(account))
    assert plan.runs == {parent}
    before = bench.state()
    _, journal = bench.prune(plan, env=guarded.env(ADMIN))
    assert bench.state() == before
    assert journal.skips == {("run", parent): "protected"}


def test_how_a_version_looks_to_an_account_without_rights_on_runs(guarded: Guarded) -> None:
    """Fact about MLflow 3.17: ``run_id`` and ``run_link`` are missing, ``source`` is as it was.

    A version that names no run has both as empty strings, so the two can be told apart.  The
    account sees no run at all, since rights on runs are for all or none.
    """
    world = guarded.world
    home = world.experiment()
    run = world.run(home)
    model_id = world.logged_model(home, run)
    sources = {
        "1": "s3://bucket/anything",
        "2": f"runs:/{run}/model",
        "3": f"mlflow-artifacts:/{home}/{run}/artifacts/model",
        "4": f"models:/{model_id}",
        "5": "models:/fraud/1",
    }
    name = world.model("fraud")
    for source in sources.values():
        world.version(name, source=source, run_id=run)
    world.version(name, source="s3://bucket/no-run")
    world.sql("UPDATE model_versions SET run_link = ? WHERE version = 1", f"https://x/#/{run}")

    def shown(account: str) -> dict[str, dict[str, Any]]:
        found = guarded.look(account, "GET", "model-versions/search", {})["model_versions"]
        return {v["version"]: v for v in found}

    for account in (ADMIN, "manager", "reader"):
        assert {n: shown(account)[n]["run_id"] for n in sources} == dict.fromkeys(sources, run)
    redacted = shown("no-runs")
    assert {n: redacted[n]["source"] for n in sources} == sources
    assert all("run_id" not in redacted[n] for n in sources)
    assert "run_link" not in redacted["1"]
    assert redacted["2"]["run_link"] == ""
    assert redacted["6"]["run_id"] == ""
    single = guarded.look("no-runs", "GET", "model-versions/get", {"name": name, "version": "1"})
    assert "run_id" not in single["model_version"]
    assert guarded.look("no-runs", "POST", "runs/search", {"experiment_ids": [home]}) == {}
    assert guarded.look("no-runs", "GET", "runs/get", {"run_id": run}) == 403


def test_an_account_that_sees_no_runs_deletes_no_experiment_that_has_some(
    guarded: Guarded, bench: Bench
) -> None:
    """To it every experiment looks empty.  Deleting one would take all runs along."""
    world = guarded.world
    full = world.experiment("full")
    champion = world.run(full)
    world.version(world.model("fraud"), run_id=champion, aliases=["champion"])
    world.run(world.experiment("busy"), status="RUNNING")
    before = bench.state()
    plan = bench.report("--accept-partial-view", env=guarded.env("no-runs"), codes=(0, 5))
    assert not plan.runs
    bench.prune(plan, env=guarded.env("no-runs"), codes=(0, 3, 5))
    assert bench.state() == before
    # The administrator sees the runs, and that the plan never meant them.
    bench.prune(plan, env=guarded.env(ADMIN), codes=(0, 5))
    assert bench.state() == before


def test_an_account_that_sees_no_logged_models_does_not_delete_their_runs(
    guarded: Guarded, bench: Bench
) -> None:
    """A version names a logged model, and its run only through it: that link cannot be read."""
    world = guarded.world
    home = world.experiment(age=FRESH)
    behind, free = world.run(home), world.run(home)
    world.version(
        world.model("fraud"),
        source=f"models:/{world.logged_model(home, behind)}",
        aliases=["champion"],
    )
    assert bench.report(env=guarded.env(ADMIN)).runs == {free}
    plan = bench.report(
        "--accept-partial-view",
        name="other.json",
        env=guarded.env("no-logged-models"),
        codes=(0, 5),
    )
    bench.prune(plan, env=guarded.env("no-logged-models"), codes=(0, 1, 3, 5))
    assert ("run", behind) in bench.state().active


def test_a_registry_elsewhere_counts_too(
    guarded: Guarded, cli: Cli, server: LocalServer, world: World, tmp_path: Path
) -> None:
    """Everything to see on the tracking server, and an ordinary account at the registry."""
    world.run(world.experiment())
    plans = {}
    for account in (ADMIN, "manager"):
        path = tmp_path / f"{account}.json"
        env = guarded.env(account, server.uri)
        env["MLFLOW_REGISTRY_URI"] = guarded.server.uri
        output = cli("report", "-o", path, "--as-of", world.as_of, env=env)
        output.expect(0 if account == ADMIN else 5)
        assert "is sent to two servers" not in output.err, "both are this machine's own"
        plans[account] = Plan.load(path)
    assert plans[ADMIN].document["complete"] is True
    assert _codes(plans["manager"]) == ["partial_view"]
    assert plans["manager"].document["applyable"] is False


# Servers that do not tell whose account it is ----------------------------------------------------


def _before_3_13(proxy: Proxy) -> str:
    """Let a server look older: ``users/current`` is not there before MLflow 3.13."""
    proxy.fail("GET", "users/current$", NO_ENDPOINT, times=float("inf"))
    return proxy.uri


def _ways(account: str, uri: str, home: Path) -> dict[str, dict[str, str | None]]:
    """The environments in which the program is ``account``, by the way it learns that."""
    secret = password(account)
    (home / "netrc").write_text(f"machine 127.0.0.1 login {account} password {secret}\n")
    (home / "netrc").chmod(0o600)
    (home / ".mlflow").mkdir()
    (home / ".mlflow" / "credentials").write_text(
        f"[mlflow]\nmlflow_tracking_username = {account}\nmlflow_tracking_password = {secret}\n"
    )
    nobody: dict[str, str | None] = {"MLFLOW_TRACKING_URI": uri}
    return {
        "environment": {
            **nobody,
            "MLFLOW_TRACKING_USERNAME": account,
            "MLFLOW_TRACKING_PASSWORD": secret,
        },
        "URI": {"MLFLOW_TRACKING_URI": uri.replace("://", f"://{account}:{secret}@")},
        "credentials file": {**nobody, "HOME": str(home)},
        "netrc": {**nobody, "NETRC": str(home / "netrc")},
    }


@pytest.mark.parametrize("way", ["environment", "URI", "credentials file", "netrc"])
def test_an_older_server_recognises_the_account_whichever_way_it_was_given(
    guarded: Guarded, bench: Bench, guarded_proxy: Proxy, tmp_path: Path, way: str
) -> None:
    """The champion of a model out of sight stays; the administrator's plan is complete."""
    content = _settle(guarded.world)
    guarded.hide("manager", "registered_model", content.model)
    uri = _before_3_13(guarded_proxy)
    (tmp_path / "of-admin").mkdir()
    admin = _ways(ADMIN, uri, tmp_path / "of-admin")[way]
    assert bench.report(name="admin.json", env=admin).document["complete"] is True
    env = _ways("manager", uri, tmp_path)[way]
    plan = bench.report(env=env, codes=(5,))
    assert _codes(plan) == ["partial_view"]
    assert "manager" in plan.document["diagnostics"][0]["message"]
    before = bench.state()
    bench.prune(plan, env=env, codes=(5,))
    bench.prune(Plan.load(bench.dir / "admin.json"), env=env, codes=(5,))
    assert bench.state() == before
    assert ("run", content.champion) in before.active


def test_an_older_server_that_is_not_told_a_name_leaves_the_account_in_doubt(
    guarded: Guarded, bench: Bench, guarded_proxy: Proxy
) -> None:
    """A proxy may sign requests for who comes with a token: whose account that is, nobody says."""
    _settle(guarded.world)
    uri = _before_3_13(guarded_proxy)
    login = f"{ADMIN}:{password(ADMIN)}".encode()
    guarded_proxy.set_header("Authorization", f"Basic {base64.b64encode(login).decode()}")
    env: dict[str, str | None] = {
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_TRACKING_TOKEN": "a-token-canary",
    }
    plan = bench.report(env=env, codes=(5,))
    assert _codes(plan) == ["partial_view"]
    assert "does not tell" in plan.document["diagnostics"][0]["message"]
    bench.report("--accept-partial-view", name="accepted.json", env=env)


@pytest.mark.parametrize(
    ("answer", "complete"),
    [
        (b'{"username": "admin", "is_admin": true, "display_name": "A"}', True),
        (b'{"username": "manager", "is_admin": false}', False),
        (b'{"user": {"username": "admin", "is_admin": "yes"}}', False),
        (b'{"user": null}', False),
        (b"{}", False),
    ],
    ids=["no wrapper", "no wrapper, no administrator", "no boolean", "null", "empty"],
)
def test_other_answers_about_the_account(
    guarded: Guarded, bench: Bench, guarded_proxy: Proxy, answer: bytes, complete: bool
) -> None:
    """mlflow-oidc-auth leaves the wrapper out; what says nothing is no proof of all rights."""
    _settle(guarded.world)
    output = Fault("another answer", status=200, body=answer)
    guarded_proxy.fail("GET", "users/current$", output, times=float("inf"))
    plan = bench.report(env=guarded.env(ADMIN, guarded_proxy.uri), codes=(0,) if complete else (5,))
    assert plan.document["complete"] is complete


def test_a_server_without_accounts_is_asked_about_them_once(bench_of_all: Bench) -> None:
    """Neither endpoint is there, whatever credentials are sent; a plan costs four requests more."""
    bench_of_all.world.run(bench_of_all.world.experiment())
    with Proxy(bench_of_all.world.uri) as proxy:
        env: dict[str, str | None] = {
            "MLFLOW_TRACKING_URI": proxy.uri.replace("://", "://someone:a-password@")
        }
        plan = bench_of_all.report(env=env)
        assert plan.document["complete"] is True
        assert len(proxy.requests("GET", "/users/")) == 4


# Acceptance ---------------------------------------------------------------------------------------


def test_an_accepted_partial_view_gives_a_plan_that_its_account_can_apply(
    guarded: Guarded, bench: Bench
) -> None:
    """What was accepted stands in the plan, under its digest; what goes is the plan."""
    content = _settle(guarded.world)
    env = guarded.env("manager")
    path = bench.dir / "plan.json"
    output = bench.cli(
        "report", "--accept-partial-view", "-o", path, "--as-of", guarded.world.as_of, env=env
    ).expect(0)
    assert "administrator" in output.err
    plan = Plan.load(path)
    assert plan.document["complete"] is False
    assert plan.document["applyable"] is True
    assert plan.document["policy"]["accept_partial_view"] is True
    assert _codes(plan) == ["partial_view"]
    assert plan.plan_id == plan_digest(plan.document)
    bench.cli("validate", path).expect(0)
    bench.cli("show", path).expect(0)
    # The manager may read the model: what he sees protects as ever.
    assert plan.runs == content.runs
    before = bench.state()
    bench.cli("check", path, "--detailed-exitcode", env=env).expect(0)
    _, journal = bench.prune(plan, env=env)
    assert bench.state().gone_since(before) == plan.entities
    assert journal.with_outcome("deleted") == plan.entities


@pytest.mark.parametrize("account", ["editor", "reader"])
def test_what_the_account_may_not_delete_is_skipped_as_forbidden(
    guarded: Guarded, bench: Bench, account: str
) -> None:
    """Exit 3, every entity with its reason; then the administrator finishes with the same plan."""
    content = _settle(guarded.world)
    plan = bench.report("--accept-partial-view", env=guarded.env(account))
    assert content.runs <= plan.runs
    before = bench.state()
    _, journal = bench.prune(plan, env=guarded.env(account), codes=(3,))
    assert bench.state() == before
    assert set(journal.skips) == plan.entities
    assert set(journal.skips.values()) <= {"forbidden", "protected", "changed"}
    assert {journal.skips["run", run] for run in content.runs} == {"forbidden"}
    assert journal.skips["model_version", content.version] == "forbidden"
    bench.prune(plan, env=guarded.env(ADMIN))
    assert bench.state().gone_since(before) == plan.entities


def test_rights_on_some_only(guarded: Guarded, bench: Bench) -> None:
    """One of two experiments may only be read: its runs are forbidden, the others go."""
    world = guarded.world
    mine, theirs = world.experiment("mine", age=FRESH), world.experiment("theirs", age=FRESH)
    to_delete, staying = set(world.bulk_runs(mine, 5)), set(world.bulk_runs(theirs, 5))
    guarded.grant("reader", "experiment", "MANAGE", mine)
    plan = bench.report("--accept-partial-view", env=guarded.env("reader"))
    assert plan.runs == to_delete | staying
    before = bench.state()
    _, journal = bench.prune(plan, env=guarded.env("reader"), codes=(3,))
    assert bench.state().gone_since(before) == {("run", run) for run in to_delete}
    assert journal.skips == {("run", run): "forbidden" for run in staying}


def test_the_administrator_applies_an_accepted_plan_with_all_the_evidence(
    guarded: Guarded, bench: Bench
) -> None:
    """The champion that the manager could not see behind its run is kept after all."""
    content = _settle(guarded.world)
    guarded.hide("manager", "registered_model", content.model)
    plan = bench.report("--accept-partial-view", env=guarded.env("manager"))
    assert content.champion in plan.runs
    before = bench.state()
    _, journal = bench.prune(plan, env=guarded.env(ADMIN))
    assert journal.skips == {("run", content.champion): "protected"}
    assert bench.state().gone_since(before) == plan.entities - {("run", content.champion)}


def test_an_accepted_plan_of_the_administrator_is_complete_and_leaves_the_champion_out(
    guarded: Guarded, bench: Bench
) -> None:
    """So the account with the partial view deletes no more than that, hidden model or not."""
    content = _settle(guarded.world)
    guarded.hide("manager", "registered_model", content.model)
    plan = bench.report("--accept-partial-view", env=guarded.env(ADMIN))
    assert plan.document["complete"] is True
    assert _codes(plan) == []
    before = bench.state()
    bench.prune(plan, env=guarded.env("manager"))
    assert bench.state().gone_since(before) == plan.entities
    assert ("run", content.champion) in bench.state().active


def test_prune_without_a_plan_takes_the_flag_too(guarded: Guarded, bench: Bench) -> None:
    """Without it the plan made on the spot is refused; with it the plan says what was accepted."""
    content = _settle(guarded.world)
    env = guarded.env("manager")
    before = bench.state()
    bench.cli("prune", "--yes", env=env, cwd=bench.dir).expect(5)
    assert bench.state() == before
    bench.cli("prune", "--yes", "--accept-partial-view", env=env, cwd=bench.dir).expect(0)
    plan = Plan.load(max(bench.dir.glob("prune-plan-*.json")))
    assert plan.document["policy"]["accept_partial_view"] is True
    assert bench.state().gone_since(before) == plan.entities
    assert ("run", content.champion) in bench.state().active


def test_the_flag_beside_a_plan_is_a_usage_error(guarded: Guarded, bench: Bench) -> None:
    """The plan says what was accepted; a scheduled job must not overrule a reviewer."""
    _settle(guarded.world)
    before = bench.state()
    for account in ("manager", ADMIN):
        codes = (0,) if account == ADMIN else (5,)
        plan = bench.report(name=f"{account}.json", env=guarded.env(account), codes=codes)
        bench.prune(plan, "--accept-partial-view", env=guarded.env(account), codes=(64,))
    assert bench.state() == before


def test_acceptance_written_into_a_plan_by_hand_is_refused(guarded: Guarded, bench: Bench) -> None:
    """It is under the digest."""
    _settle(guarded.world)
    plan = bench.report(env=guarded.env("manager"), codes=(5,))

    def accept(document: dict[str, Any]) -> None:
        document["policy"]["accept_partial_view"] = True
        document["applyable"] = True

    edited = plan.edited(bench.dir / "edited.json", accept, sign=False)
    before = bench.state()
    bench.prune(edited, env=guarded.env("manager"), codes=(5,))
    assert bench.state() == before


# Rights that change -------------------------------------------------------------------------------


def test_an_administrator_who_is_none_any_more_by_the_time_of_the_prune(
    guarded: Guarded, bench: Bench
) -> None:
    """Refused with his own complete plan, whatever else he may do."""
    _settle(guarded.world)
    plan = bench.report(env=guarded.env("deputy"))
    assert plan.document["complete"] is True
    guarded.grant("deputy", "experiment", "MANAGE")
    guarded.set_admin("deputy", is_admin=False)
    before = bench.state()
    bench.prune(plan, env=guarded.env("deputy"), codes=(5,))
    assert bench.state() == before


def test_an_administrator_who_loses_that_midway_does_not_go_on_blindly(
    guarded: Guarded, bench: Bench, guarded_proxy: Proxy
) -> None:
    """From then on the server hides from him what protects, such as a brand-new champion."""
    world = guarded.world
    home = world.experiment(age=FRESH)
    world.bulk_runs(home, RUNS)
    model = world.model("secret")
    world.version(model, age=FRESH)
    plan = bench.report(env=guarded.env("deputy"))
    # Runs go in batches, in the order of the plan: this one is in the last.
    chosen = plan.document["runs"][-1]["run_id"]

    demoted: list[str] = []

    def demote() -> None:
        guarded.grant("deputy", "experiment", "MANAGE")
        guarded.grant("deputy", "registered_model", "MANAGE")
        guarded.hide("deputy", "registered_model", model)
        guarded.set_admin("deputy", is_admin=False)
        demoted.append(world.version(model, run_id=chosen, age=FRESH, aliases=["champion"]))

    before = bench.state()
    guarded_proxy.before("POST", "runs/delete", demote)
    env = guarded.env("deputy", guarded_proxy.uri)
    bench.prune(plan, env=env, codes=(0, 1, 3, 5))
    assert demoted
    gone = bench.state().gone_since(before)
    assert gone <= plan.entities
    assert ("run", chosen) not in gone
    _, journal = bench.prune(plan, env=guarded.env(ADMIN))
    assert bench.state().gone_since(before) == plan.entities - {("run", chosen)}
    assert journal.skips["run", chosen] == "protected"


def test_permissions_that_are_lowered_midway(
    guarded: Guarded, bench: Bench, guarded_proxy: Proxy
) -> None:
    """What went, went; the rest is forbidden, and is finished by who may."""
    home = guarded.world.experiment(age=FRESH)
    guarded.world.bulk_runs(home, RUNS)
    plan = bench.report("--accept-partial-view", env=guarded.env("manager"))
    before = bench.state()
    guarded_proxy.before(
        "POST", "runs/delete", lambda: guarded.lower("manager", "experiment", "READ"), after=20
    )
    env = guarded.env("manager", guarded_proxy.uri)
    _, journal = bench.prune(plan, env=env, codes=(3,))
    gone = bench.state().gone_since(before)
    assert 0 < len(gone) < RUNS
    assert journal.with_outcome("deleted") == gone
    assert journal.skips == dict.fromkeys(plan.entities - gone, "forbidden")
    bench.prune(plan, env=guarded.env(ADMIN))
    assert bench.state().gone_since(before) == plan.entities


def test_an_experiment_that_gets_out_of_sight_midway(
    guarded: Guarded, bench: Bench, guarded_proxy: Proxy
) -> None:
    """Its runs cannot be looked at any more: they stay, and the next prune is told about them."""
    home = guarded.world.experiment(age=FRESH)
    guarded.world.bulk_runs(home, RUNS)
    plan = bench.report("--accept-partial-view", env=guarded.env("manager"))
    before = bench.state()
    guarded_proxy.before(
        "POST", "runs/delete", lambda: guarded.hide("manager", "experiment", home), after=20
    )
    bench.prune(plan, env=guarded.env("manager", guarded_proxy.uri), codes=(0, 1, 3))
    gone = bench.state().gone_since(before)
    assert 0 < len(gone) < RUNS
    bench.prune(plan, env=guarded.env(ADMIN))
    assert bench.state().gone_since(before) == plan.entities


def test_a_password_that_is_changed_midway(
    guarded: Guarded, bench: Bench, guarded_proxy: Proxy
) -> None:
    """One error, an end in order, and the same command finishes the job with the new password."""
    guarded.world.bulk_runs(guarded.world.experiment(age=FRESH), RUNS)
    plan = bench.report(env=guarded.env("deputy"))
    before = bench.state()

    def change(to: str) -> None:
        guarded.admin("PATCH", "users/update-password", {"username": "deputy", "password": to})

    guarded_proxy.before("POST", "runs/delete", lambda: change("another-password-1"), after=20)
    try:
        env = guarded.env("deputy", guarded_proxy.uri)
        stopped, journal = bench.prune(plan, env=env, codes=(1,))
        assert "401" in stopped.err
        gone = bench.state().gone_since(before)
        assert journal.with_outcome("deleted") == gone
        assert 0 < len(gone) < RUNS
        attempts = len(deletions(guarded_proxy.seen))
        assert attempts <= len(gone) + AT_ONCE, "no more than were under way"
    finally:
        change(password("deputy"))
    bench.prune(plan, env=guarded.env("deputy"))
    assert bench.state().gone_since(before) == plan.entities
