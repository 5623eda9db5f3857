"""PostgreSQL as the store: over the server, as a database URI, and one after the other."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support import postgres
from support.estate import NASTY
from support.plans import Plan, plan_digest
from support.postgres import PostgresBench, PostgresWorld
from support.world import FRESH, KEEP_TAG

from mlflow_gc.demo.server import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cli import Cli

pytestmark = pytest.mark.postgres

WAYS = ("rest", "database")
"""How the program reaches the store."""


@dataclass(frozen=True)
class Estate:
    """A server on PostgreSQL.

    Attributes:
        uri: of the server.
        database_uri: of its database, with user and password.
    """

    uri: str
    database_uri: str

    def env(self, way: str) -> dict[str, str | None]:
        """The setting for one of :data:`WAYS`."""
        return {"MLFLOW_TRACKING_URI": self.uri if way == "rest" else self.database_uri}


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """The server of this module."""
    bin_dir = postgres.binaries()
    if bin_dir is None:
        pytest.skip("PostgreSQL is not installed")
    with (
        postgres.running(bin_dir) as uri,
        LocalServer(tmp_path_factory.mktemp("pg-server"), backend_store_uri=uri) as server,
    ):
        yield Estate(server.uri, uri)


@pytest.fixture
def bench(estate: Estate, cli: Cli, tmp_path: Path, as_of_ms: int) -> Iterator[PostgresBench]:
    """The server, emptied for this test."""
    postgres.empty(estate.database_uri)
    world = PostgresWorld(estate.uri, estate.database_uri, as_of_ms)
    yield PostgresBench(world, cli, tmp_path)
    world.close()


def _settle(world: PostgresWorld) -> None:
    """Something of everything: what goes, what stays, and why."""
    first = world.experiment("älter")
    parent = world.run(first, metrics={"loss": world.ago(90)}, name=NASTY[0])
    child = world.run(first, parent=parent, tags={"a": "b"})
    world.run(first, parent=child)
    world.delete_run(world.run(first))
    world.delete_run(world.run(first, age=FRESH + 50))
    second = world.experiment(age=FRESH)
    for _ in range(7):
        world.run(second)
    world.run(second, tags={KEEP_TAG: "true"})
    world.run(second, status="RUNNING")
    world.run(second, age=FRESH)
    half = world.run(second)
    world.run(second, parent=half, age=FRESH)
    registered = world.run(second)
    model_id = world.logged_model(second, world.run(second))
    name = world.model("fraud")
    world.version(name, run_id=registered, aliases=["champion"], tags={"t": "v"}, description="d")
    world.version(name, source=f"models:/{model_id}")
    world.version(name, source=f"runs:/{world.run(second)}/model")
    world.version(name, source="s3://b/x", description="goes", tags={"a": NASTY[1]})
    world.version(name, stage="Production")
    world.version(name, age=FRESH)
    world.prompt("greeting")
    world.trace(world.experiment("traced"))
    world.experiment("empty")
    world.delete_experiment(world.experiment("in the trash"))


# The plan -----------------------------------------------------------------------------------------


def test_the_plan_is_the_same_over_rest_and_database(bench: PostgresBench, estate: Estate) -> None:
    """Byte for byte but for the address, the moment of writing and the digest over the address."""
    _settle(bench.world)
    plans = {way: bench.report(name=f"{way}.json", env=estate.env(way)) for way in WAYS}
    assert len(plans["rest"].runs) == 10
    assert len(plans["rest"].experiments) == 2
    assert plans["rest"].versions == {"fraud/2", "fraud/3", "fraud/4"}
    lines = {way: plan.path.read_text().splitlines() for way, plan in plans.items()}
    assert len(lines["rest"]) == len(lines["database"])
    differing = {
        re.match(r'"(\w+)":', left)[1]  # type: ignore[index]
        for left, right in zip(lines["rest"], lines["database"], strict=True)
        if left != right
    }
    assert differing <= {"plan_id", "created_at", "server"}
    servers = {way: dict(plan.document["server"]) for way, plan in plans.items()}
    for way, plan in plans.items():
        assert plan.plan_id == plan_digest(plan.document)
        assert postgres.PASSWORD not in plan.path.read_text()
        assert postgres.USER not in servers[way]["tracking_uri"]
    assert re.match(r"postgresql\+psycopg2://127\.0\.0\.1", servers["database"]["tracking_uri"])
    assert {way: server.pop("read_from") for way, server in servers.items()} == {w: w for w in WAYS}
    for server in servers.values():
        del server["tracking_uri"], server["registry_uri"]
    # Accounts are those of the server in front of a database.
    capabilities = {way: dict(server.pop("capabilities")) for way, server in servers.items()}
    assert capabilities["rest"].pop("accounts") is False
    assert capabilities["database"].pop("accounts") is None
    assert capabilities["rest"] == capabilities["database"]
    assert servers["rest"] == servers["database"]
    # The digest covers nothing else that could differ.
    swapped = {**plans["database"].document, "server": plans["rest"].document["server"]}
    assert plan_digest(swapped) == plans["rest"].plan_id


def test_two_reports_of_the_same_state_have_the_same_bytes(
    bench: PostgresBench, estate: Estate
) -> None:
    """PostgreSQL keeps no order of its own: an update moves rows, and the plan must not follow."""
    _settle(bench.world)
    first = bench.report(name="1.json", env=estate.env("database"))
    with postgres.rows(estate.database_uri) as cursor:
        # Rewrites every row, the oldest first, and with it the order of an unsorted SELECT.
        cursor.execute("UPDATE runs SET name = name")
        cursor.execute("UPDATE model_versions SET name = name")
        cursor.execute("UPDATE tags SET value = value")
    second = bench.report(name="2.json", env=estate.env("database"))
    left, right = (
        [line for line in plan.path.read_text().splitlines() if '"created_at"' not in line[:14]]
        for plan in (first, second)
    )
    assert left == right


# The whole way ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made_over", "applied_over"),
    [("rest", "rest"), ("rest", "database"), ("database", "database"), ("database", "rest")],
)
def test_report_show_check_prune_again_and_restore(
    bench: PostgresBench, estate: Estate, made_over: str, applied_over: str
) -> None:
    """What goes is the plan; a second prune sends nothing; restore brings every row back."""
    _settle(bench.world)
    env = estate.env(applied_over)
    at_first, before = postgres.contents(estate.database_uri), bench.state()
    plan = bench.report(env=estate.env(made_over))
    shown = bench.cli("show", plan.path, "--format", "json").expect(0).json()
    assert shown == plan.document
    bench.cli("check", plan.path, "--detailed-exitcode", env=env).expect(0)
    assert postgres.contents(estate.database_uri) == at_first, "reading changes nothing"

    outcome, journal = bench.prune(plan, env=env)
    assert bench.state().gone_since(before) == plan.entities
    assert bench.state().aliases == before.aliases
    assert journal.with_outcome("deleted") == plan.entities
    assert not journal.skips
    output = outcome.text + bench.journal_path(plan).read_text()
    assert postgres.PASSWORD not in output

    pruned = bench.state()
    bench.cli("check", plan.path, env=env).expect(0)
    _, again = bench.prune(plan, env=env)
    assert bench.state() == pruned, "also when runs went into the trash"
    assert set(again.skips) == plan.entities
    assert set(again.skips.values()) == {"already_deleted", "gone"}

    bench.cli("restore", bench.journal_path(plan), "--yes", env=env).expect(0)
    restored = bench.state()
    versions = {("model_version", version) for version in plan.versions}
    assert restored.active == before.active - versions
    assert restored.trashed == before.trashed | versions
    after = postgres.contents(estate.database_uri)
    # A version cannot come back, and its model says when it went.
    for table in ("model_versions", "registered_models"):
        del at_first[table], after[table]
    assert {t for t in after if after[t] != at_first[t]} == set()


@pytest.mark.parametrize("way", WAYS)
def test_interference_between_report_and_prune(
    bench: PostgresBench, estate: Estate, way: str
) -> None:
    """Everything that somebody came to need is kept, with its reason; all others go."""
    world = bench.world
    home = world.experiment(age=FRESH)
    runs = sorted(world.run(home) for _ in range(9))
    busy = world.experiment("busy")
    traced = world.experiment("traced")
    renamed = world.experiment("renamed")
    quiet = world.experiment("quiet")
    version, described = world.spare_version(world.model()), world.spare_version(world.model())
    spare = world.spare_version(world.model())
    plan = bench.report(env=estate.env(way))
    expected = {("run", run) for run in runs}
    expected |= {("experiment", e) for e in (busy, traced, renamed, quiet)}
    expected |= {("model_version", v) for v in (version, described, spare)}
    assert plan.entities == expected

    world.resume(runs[0])
    world.tag_run(runs[1], KEEP_TAG, "true")
    world.version(world.model(), run_id=runs[2])
    world.version(world.model(), source=f"runs:/{runs[3]}/model")
    world.run(busy, parent=runs[4])
    world.metric(runs[5], world.ago(1))
    world.delete_run(runs[6])
    world.trace(traced)
    world.call(
        "POST", "experiments/update", {"experiment_id": renamed, "new_name": 'an\'s "other" name'}
    )
    world.alias(version, "champion")
    world.describe(described, "still used")
    before = bench.state()
    _, journal = bench.prune(plan, env=estate.env(way))
    assert bench.state().gone_since(before) == {
        ("run", runs[7]),
        ("run", runs[8]),
        ("experiment", quiet),
        ("model_version", spare),
    }
    skips = journal.skips
    assert skips["run", runs[0]] == "changed"
    assert skips["run", runs[5]] == "changed"
    assert skips["run", runs[6]] == "already_deleted"
    assert {skips["run", runs[n]] for n in (1, 2, 3, 4)} == {"protected"}
    assert skips["model_version", version] == "protected"
    assert skips["model_version", described] == "changed"
    assert skips["experiment", busy] in {"changed", "protected"}
    assert skips["experiment", traced] in {"changed", "protected"}
    assert skips["experiment", renamed] == "changed"
    assert len(skips) == 12


# Content ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_names_that_sql_drivers_and_collations_trip_over(
    bench: PostgresBench, estate: Estate, way: str
) -> None:
    """They are read, decided on and deleted like all others, and stand in the plan as they are."""
    world = bench.world
    for n, text in enumerate(NASTY):
        experiment = world.experiment(f"{text} {n}", tags={f"key {n}": text})
        parent = world.run(experiment, name=text, tags={"note": text})
        world.run(experiment, name=text, parent=parent)
        model = text.replace("/", " ").replace(":", " ") + f" {n}"
        world.model(model, tags={"note": text})
        world.version(
            model, source=f"s3://bucket/{n} {text}", description=text, tags={"note": text}
        )
        used = world.run(world.experiment(f"live {text}", age=FRESH), name=text)
        world.version(model, run_id=used, aliases=[f"alias-{n}"], age=FRESH)
    before = bench.state()
    plan = bench.report(env=estate.env(way))
    count = len(NASTY)
    assert (len(plan.experiments), len(plan.runs), len(plan.versions)) == (count, 2 * count, count)
    assert {e["name"] for e in plan.document["experiments"]} == {
        f"{text} {n}" for n, text in enumerate(NASTY)
    }
    assert {v["description"] for v in plan.document["model_versions"]} == set(NASTY)
    _, journal = bench.prune(plan, env=estate.env(way))
    assert bench.state().gone_since(before) == plan.entities
    assert not journal.skips


@pytest.mark.parametrize("way", WAYS)
def test_nested_trees_go_children_first_and_whole(
    bench: PostgresBench, estate: Estate, way: str
) -> None:
    """Deeper and wider than a batch, over two experiments; one fresh leaf keeps its whole tree."""
    world = bench.world
    left, right = world.experiment(age=FRESH), world.experiment(age=FRESH)

    def tree(leaf_age: float) -> list[str]:
        members = [world.run(left)]
        for depth in range(6):
            where = right if depth % 2 else left
            members.append(world.run(where, parent=members[-1]))
        members.append(world.run(right, parent=members[-1], age=leaf_age))
        return members

    to_delete, staying = tree(100.0), tree(FRESH)
    root = world.run(left)
    wide = [world.run(right, parent=root) for _ in range(120)]
    plan = bench.report(env=estate.env(way))
    assert plan.runs == {*to_delete, root, *wide}
    before = bench.state()
    bench.prune(plan, env=estate.env(way))
    state = bench.state()
    assert state.gone_since(before) == plan.entities
    assert {("run", run) for run in staying} <= state.active
    times = dict(state.deleted_times)
    # Newest first in the list above means: from the leaf to the root, nobody before its child.
    order = [times[run] for run in reversed(to_delete)]
    assert order == sorted(order)
    assert max(times[run] for run in wide) <= times[root]


def test_more_runs_in_one_millisecond_than_fit_on_a_page(
    bench: PostgresBench, estate: Estate
) -> None:
    """A start time that cannot be stepped over: none is missed, none is listed twice."""
    world = bench.world
    experiment = world.experiment(age=FRESH)
    runs = set(world.simultaneous_runs(experiment, 1234, age=100.0))
    retained = sorted(runs)[617]
    world.version(world.model(), run_id=retained)
    for way in WAYS:
        plan = bench.report(name=f"{way}.json", env=estate.env(way))
        assert plan.runs == runs - {retained}
        assert len(plan.document["runs"]) == 1233
        assert plan.document["summary"]["runs"]["scanned"] == 1234
    before = bench.state()
    _, journal = bench.prune(plan, env=estate.env("database"))
    assert bench.state().gone_since(before) == {("run", run) for run in runs - {retained}}
    assert len(journal.records) == 1233


@pytest.mark.parametrize("way", WAYS)
def test_an_experiment_with_old_trash_comes_back_with_exactly_that_trash(
    bench: PostgresBench, estate: Estate, way: str
) -> None:
    """MLflow itself would revive all of it, and forget when it was thrown away."""
    world = bench.world
    experiment = world.experiment("half empty")
    live = {world.run(experiment) for _ in range(3)}
    trash = {world.run(experiment) for _ in range(12)}
    for run in trash:
        world.delete_run(run)
    before = bench.state()
    plan = bench.report(env=estate.env(way))
    assert plan.experiments == {experiment}
    assert plan.runs == live
    bench.prune(plan, env=estate.env(way))
    assert not {("run", run) for run in live} & bench.state().active
    bench.cli("restore", bench.journal_path(plan), "--yes", env=estate.env(way)).expect(0)
    after = bench.state()
    assert after.active == before.active
    assert after.trashed == before.trashed


# Secrets ------------------------------------------------------------------------------------------


def test_the_password_is_in_no_file_and_no_output(bench: PostgresBench, estate: Estate) -> None:
    """Of every command, verbose, with the URI as a flag too."""
    _settle(bench.world)
    env = estate.env("database")
    path, journal = bench.dir / "p.json", bench.dir / "j.jsonl"
    output = ""
    for args in (
        ("report", "-v", "-o", path, "--as-of", bench.world.as_of),
        ("report", "-v", "-o", path, "--tracking-uri", estate.database_uri),
        ("check", "-v", path),
        ("prune", "-v", path, "--journal", journal),
        ("restore", "-v", journal, "--yes"),
    ):
        output += bench.cli(*args, env=env).expect(0).text
    assert "127.0.0.1" in output, "the address itself is shown"
    for file in bench.dir.iterdir():
        output += file.read_text()
    assert postgres.PASSWORD not in output
    assert json.loads(path.read_text())["server"]["registry_uri"].startswith("postgresql")


def test_a_wrong_password_is_an_error_and_not_printed(
    estate: Estate, cli: Cli, tmp_path: Path
) -> None:
    """One message, no plan, and not after the 100 seconds that MLflow's own store would try."""
    uri = estate.database_uri.replace(postgres.PASSWORD, "wrong-canary")
    outcome = cli(
        "report", "-v", "-o", tmp_path / "p.json", env={"MLFLOW_TRACKING_URI": uri}, timeout=30
    ).expect(1, 5)
    assert "canary" not in outcome.text
    assert not (tmp_path / "p.json").exists()


def test_a_plan_of_another_database_is_refused(
    bench: PostgresBench, estate: Estate, server: LocalServer, tmp_path: Path
) -> None:
    """By the fingerprint, whichever way it is reached; nothing is touched."""
    bench.world.run(bench.world.experiment())
    plan = bench.report(env=estate.env("database"))
    for uri in (server.uri, f"sqlite:///{server.database}"):
        bench.prune(plan, env={"MLFLOW_TRACKING_URI": uri}, codes=(5,))
    foreign = tmp_path / "foreign.json"
    bench.cli("report", "-o", foreign, env={"MLFLOW_TRACKING_URI": server.uri}).expect(0)
    before = bench.state()
    for way in WAYS:
        bench.prune(Plan.load(foreign), env=estate.env(way), codes=(5,))
    assert bench.state() == before
