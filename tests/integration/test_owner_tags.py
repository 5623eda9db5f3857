"""What owners decide with tags on the thing itself, set with MLflow's own client.

One report and one prune tell what each tag does; later tests set tags when the plan is made already.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient
from support import server as store
from support.bench import Bench
from support.plans import DAY_MS, Plan, rfc3339
from support.world import FRESH, World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.cli import Cli, Outcome
    from support.oracle import Entity, State
    from support.plans import Journal
    from support.proxy import Proxy

    from mlflow_gc.demo.server import LocalServer

KEEP, TTL, AFTER = "mlflow_gc.keep", "mlflow_gc.ttl", "mlflow_gc.delete_after"
UGLY = "[red]bitte 'nicht' \"löschen\"\n\x1b[31m<script>alert(1)</script> 夜"
GOES, RESTS = "goes", "rests"


class Owner:
    """Somebody with MLflow's client, and shapes of old things that he may tag.

    Args:
        world: where the things are.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.client = MlflowClient(tracking_uri=world.uri, registry_uri=world.uri)
        self.home = world.experiment(f"home {UGLY[:12]}", age=FRESH)

    def tag(self, entity: Entity, key: str, value: str) -> None:
        """Set a tag; a registered model is named by ("registered_model", name)."""
        kind, name = entity
        if kind == "run":
            self.client.set_tag(name, key, value)
        elif kind == "experiment":
            self.client.set_experiment_tag(name, key, value)
        elif kind == "model_version":
            model, _, number = name.rpartition("/")
            self.client.set_model_version_tag(model, number, key, value)
        else:
            self.client.set_registered_model_tag(name, key, value)

    def run(self, *, age: float = 100, home: str | None = None, **more: Any) -> Entity:
        """A run."""
        return "run", self.world.run(home or self.home, age=age, **more)

    def experiment(self, name: str | None = None, *, age: float = 100) -> Entity:
        """An experiment without runs."""
        return "experiment", self.world.experiment(name, age=age)

    def version(self, *, age: float = 100) -> Entity:
        """A version that is not the highest."""
        return "model_version", self.world.spare_version(self.world.model(), age=age)

    def model_of(self, version: Entity) -> Entity:
        """The registered model of a version."""
        return "registered_model", version[1].rpartition("/")[0]


def write_policy(directory: Path, *lines: str) -> Path:
    """A policy file."""
    path = directory / "policy.yml"
    path.write_text("\n".join(["version: 1", *lines, ""]))
    return path


POLICY = (
    "defaults: {ttl: 30d}",
    "rules:",
    "  - {name: prod, match: {experiment: 'prod*'}, ttl: never}",
    "  - {name: finished, match: {experiment: 'finished only'}, statuses: [FINISHED]}",
)


# -- one estate with all that can be said by tags ------------------------------------------------


@dataclass
class Estate:
    """What was tagged, and what has to become of it.

    Attributes:
        fates: what was said -> the entity, and ``goes``, ``rests`` (not stale) or the reason.
        malformed: texts that the diagnostics must hold, each with the entity's id.
    """

    fates: dict[str, tuple[Entity, str]] = field(default_factory=dict)
    malformed: list[tuple[str, str]] = field(default_factory=list)

    def expect(self, what: str, entity: Entity, fate: str) -> None:
        """Remember what has to become of an entity."""
        self.fates[what] = entity, fate


def _days(world: World, days: int) -> str:
    """``2027-01-31``, so many days after the clock of the reports."""
    return rfc3339(world.as_of_ms + days * DAY_MS)[:10]


def _keep_tags(owner: Owner, e: Estate) -> None:
    shapes: dict[str, Callable[[], Entity]] = {
        "run": owner.run,
        "experiment": owner.experiment,
        "version": owner.version,
    }
    ahead, before = (f"until:{_days(owner.world, days)}" for days in (2, -2))
    for kind, make in shapes.items():
        for value, fate in (
            ("true", "keep_tag"),
            ("false", GOES),
            (ahead, "keep_tag"),
            (before, GOES),
        ):
            entity = make()
            owner.tag(entity, KEEP, value)
            output = "until ahead" if value == ahead else "until over" if value == before else value
            e.expect(f"{kind}: keep {output}", entity, fate)
    for value, fate in (
        ("No", GOES),
        (" 0 ", GOES),
        ("TRUE", "keep_tag"),
        (ahead.replace(":", ": "), "keep_tag"),
        ("until:soon", "keep_tag"),
        ("until:2020-02-30", "keep_tag"),
        (UGLY, "keep_tag"),
    ):
        entity = owner.run()
        owner.tag(entity, KEEP, value)
        e.expect(f"run: keep {value[:16]!r}", entity, fate)
        if fate == "keep_tag" and value not in {"TRUE", ahead.replace(":", ": ")}:
            e.malformed.append((entity[1], value.split("\n", maxsplit=1)[0]))
    for key, make in (
        ("mlflow-gc.keep", owner.run),
        ("mlflow_gc.Keep", owner.experiment),
        ("mlflow_gc_keep", owner.version),
    ):
        entity = make()
        owner.tag(entity, key, "true")
        e.expect(f"{entity[0]}: {key}", entity, "malformed_tag")
        e.malformed.append((entity[1], f"{key}=true"))
    holder = owner.experiment("kept by a misspelt tag", age=FRESH)
    e.expect("run in such an experiment", owner.run(home=holder[1]), "malformed_tag")
    owner.tag(holder, "MLflow GC/keep", "true")
    e.malformed.append((holder[1], "MLflow GC/keep=true"))
    holder = owner.experiment("kept", age=FRESH)
    e.expect("run in a kept experiment", owner.run(home=holder[1]), "keep_tag")
    owner.tag(holder, KEEP, "true")
    for value, fate in (("true", "keep_tag"), (before, GOES)):
        version = owner.version()
        owner.tag(owner.model_of(version), KEEP, value)
        e.expect(f"version of a model: keep {value[:5]}", version, fate)


def _ttl_tags(owner: Owner, e: Estate) -> None:
    makers: dict[str, Callable[..., Entity]] = {
        "run": owner.run,
        "experiment": owner.experiment,
        "version": owner.version,
    }
    for kind, make in makers.items():
        for age, value, fate in (
            (100, "200d", RESTS),
            (100, "90d", GOES),
            (100, "never", RESTS),
            (10, "7d", GOES),
            (10, "1w", GOES),
            (6, "1w", RESTS),
            (100, "3 weeks", "malformed_tag"),
            (100, "0d", "malformed_tag"),
            (10, "3 weeks", RESTS),
        ):
            entity = make(age=age)
            owner.tag(entity, TTL, value)
            if kind == "version" and value in {"7d", "1w"}:
                # A version does not come back: no tag lets it go earlier.
                e.expect(f"{kind} of {age} days: ttl {value}", entity, RESTS)
            else:
                e.expect(f"{kind} of {age} days: ttl {value}", entity, fate)
            if value in {"3 weeks", "0d"}:
                e.malformed.append((entity[1], value))
    ugly = owner.run()
    owner.tag(ugly, TTL, UGLY)
    e.expect("run: an ugly ttl", ugly, "malformed_tag")
    e.malformed.append((ugly[1], UGLY.split("\n", maxsplit=1)[0]))
    failed = owner.run(age=10, status="FAILED")
    owner.tag(failed, TTL, "7d")
    e.expect("failed run: ttl shorter", failed, GOES)


def _nearest_first(owner: Owner, e: Estate) -> None:
    patient, hasty = owner.experiment("patient", age=FRESH), owner.experiment("hasty", age=FRESH)
    owner.tag(patient, TTL, "200d")
    owner.tag(hasty, TTL, "7d")
    e.expect("run by the ttl of its experiment", owner.run(home=hasty[1], age=10), GOES)
    e.expect("run by the longer ttl of its experiment", owner.run(home=patient[1]), RESTS)
    own = owner.run(home=patient[1], age=10)
    owner.tag(own, TTL, "7d")
    e.expect("run: its own shorter ttl comes first", own, GOES)
    own = owner.run(home=hasty[1], age=100)
    owner.tag(own, TTL, "never")
    e.expect("run: its own never comes first", own, RESTS)
    version = owner.version(age=10)
    owner.tag(owner.model_of(version), TTL, "7d")
    e.expect("version: a shorter ttl of its model does not count", version, RESTS)
    failed = owner.run(age=6)
    owner.tag(failed, TTL, "1s")
    e.expect("run of 6 days: no ttl is shorter than a week", failed, RESTS)
    run = owner.run(age=8)
    owner.tag(run, TTL, "1s")
    e.expect("run of 8 days: a second is a week", run, GOES)
    version = owner.version()
    owner.tag(owner.model_of(version), TTL, "7d")
    owner.tag(version, TTL, "200d")
    e.expect("version: its own longer ttl comes first", version, RESTS)


def _no_tag_switches_deletion_on(owner: Owner, e: Estate) -> None:
    prod, finished = owner.experiment("prod/1"), owner.experiment("finished only", age=FRESH)
    owner.tag(prod, TTL, "1d")
    e.expect("experiment where the policy says never", prod, RESTS)
    run = owner.run(home=prod[1])
    owner.tag(run, TTL, "1d")
    e.expect("run where the policy says never", run, RESTS)
    run = owner.run(home=finished[1], status="FAILED")
    owner.tag(run, TTL, "1d")
    e.expect("run in a status that stays", run, RESTS)
    run = owner.run(status="RUNNING")
    owner.tag(run, TTL, "1d")
    e.expect("running run without zombies", run, "not_terminal")


@dataclass(frozen=True)
class Result:
    """One report, one prune, and what was there before and after."""

    estate: Estate
    output: Outcome
    plan: Plan
    journal: Journal
    before: State
    after: State


@pytest.fixture(scope="module")
def result(
    server: LocalServer, as_of_ms: int, cli: Cli, tmp_path_factory: pytest.TempPathFactory
) -> Result:
    """All tags, one report, one prune."""
    store.empty(server.database)
    world = World(server.uri, server.database, as_of_ms)
    bench = Bench(world, cli, tmp_path_factory.mktemp("owners"))
    owner, estate = Owner(world), Estate()
    for write in (_keep_tags, _ttl_tags, _nearest_first, _no_tag_switches_deletion_on):
        write(owner, estate)
    path = bench.dir / "plan.json"
    policy = write_policy(bench.dir, *POLICY)
    output = cli("report", "-o", path, "--as-of", world.as_of, "--policy", policy).expect(0)
    plan = Plan.load(path)
    cli("validate", path).expect(0)
    before = bench.state()
    _, journal = bench.prune(plan)
    world.close()
    return Result(estate, output, plan, journal, before, bench.state())


def test_each_tag_does_what_it_says(result: Result) -> None:
    """On the plan, protected with the reason, or not stale at all."""
    found = {}
    for what, (entity, _) in result.estate.fates.items():
        reasons = list(result.plan.protection(entity))
        assert len(reasons) <= 1
        found[what] = GOES if entity in result.plan.entities else reasons[0] if reasons else RESTS
    assert found == {what: fate for what, (_, fate) in result.estate.fates.items()}


def test_exactly_what_the_tags_let_go_is_gone(result: Result) -> None:
    """The second look hears the owners as the first did."""
    deleted = {entity for entity, fate in result.estate.fates.values() if fate == GOES}
    assert result.plan.entities == deleted
    assert result.after.gone_since(result.before) == deleted
    assert result.journal.with_outcome("deleted") == deleted


def test_the_plan_says_that_it_was_the_tag(result: Result) -> None:
    """Why something goes earlier, and what keeps."""
    (_, run), _ = result.estate.fates["run of 10 days: ttl 7d"]
    assert "tag mlflow_gc.ttl=7d" in " ".join(result.plan.run(run)["reasons"])
    entity, _ = result.estate.fates["run in a kept experiment"]
    assert f"tag {KEEP}=true" in result.plan.protection(entity)["keep_tag"]
    entity, _ = result.estate.fates["run: an ugly ttl"]
    assert result.plan.protection(entity)["malformed_tag"] == [f"tag {TTL}={UGLY}"]


def test_tags_that_nobody_understands_are_named(result: Result) -> None:
    """Each with its entity, on fresh things too; they block nothing; at most 20, then a number."""
    found = result.plan.document["diagnostics"]
    assert {d["code"] for d in found} == {"malformed_tag"}
    assert result.plan.document["applyable"]
    assert len(result.estate.malformed) <= 20
    assert len(found) == len(result.estate.malformed)
    for key, text in result.estate.malformed:
        assert any(key in d["message"] and text in d["message"] for d in found), (key, text)
    for diagnostic in found:
        assert diagnostic["message"].split("\n", maxsplit=1)[0] in result.output.err
    assert "\x1b" not in result.output.err


# -- what the policy lets owners do --------------------------------------------------------------


def test_owners_who_may_not_shorten_may_ask_for_more(bench: Bench, tmp_path: Path) -> None:
    """``owners.may_shorten: false``."""
    owner = Owner(bench.world)
    fates = {}
    for age, value, fate in (
        (10, "7d", RESTS),
        (100, "7d", GOES),
        (100, "200d", RESTS),
        (100, "never", RESTS),
        (100, "soon", "malformed_tag"),
    ):
        entity = owner.run(age=age)
        owner.tag(entity, TTL, value)
        fates[entity] = fate
    # A tag that may not shorten counts as if it was not there: that of the experiment does.
    patient = owner.experiment(age=FRESH)
    owner.tag(patient, TTL, "200d")
    inside = owner.run(home=patient[1])
    owner.tag(inside, TTL, "7d")
    fates[inside] = RESTS
    plan = bench.report("--policy", write_policy(tmp_path, "owners: {may_shorten: false}"))
    assert plan.document["policy"]["owners_may_shorten"] is False
    assert plan.entities == {entity for entity, fate in fates.items() if fate == GOES}
    for entity, fate in fates.items():
        assert list(plan.protection(entity)) == [fate] * (fate == "malformed_tag")
    (gone,) = plan.runs
    # The rule lets it go, not the tag.
    assert TTL not in " ".join(plan.run(gone)["reasons"])


def test_the_least_age_holds_for_owners_too(bench: Bench, tmp_path: Path) -> None:
    """What is younger than ``min_age`` stays, and says so."""
    owner = Owner(bench.world)
    young, old = owner.run(age=10), owner.run(age=15)
    for run in (young, old):
        owner.tag(run, TTL, "7d")
    plan = bench.report("--policy", write_policy(tmp_path, "min_age: 14d"))
    assert plan.entities == {old}
    assert list(plan.protection(young)) == ["min_age"]


def test_for_running_runs_a_ttl_tag_only_asks_for_more(bench: Bench, tmp_path: Path) -> None:
    """The tag may be about finished runs, and this one may live; it goes by ``zombies`` itself."""
    owner = Owner(bench.world)
    ages = {"patient": (61, "200d"), "hasty": (59, "7d"), "hasty and dead": (61, "7d")}
    runs = {name: owner.run(age=age, status="RUNNING") for name, (age, _) in ages.items()}
    for name, (_, value) in ages.items():
        owner.tag(runs[name], TTL, value)
    plan = bench.report("--policy", write_policy(tmp_path, "defaults: {zombies: 60d}"))
    assert plan.entities == {runs["hasty and dead"]}
    assert TTL not in " ".join(plan.run(runs["hasty and dead"][1])["reasons"])


def test_a_policy_lets_owners_shorten_what_is_irreversible(bench: Bench, tmp_path: Path) -> None:
    """Down to the least that it sets; a registered model's tag reaches its versions."""
    owner = Owner(bench.world)
    versions = {age: owner.version(age=age) for age in (13, 15)}
    for version in versions.values():
        owner.tag(owner.model_of(version), TTL, "1s")
    owners = "owners: {may_shorten_irreversible: true, shortest_ttl: 14d}"
    plan = bench.report("--policy", write_policy(tmp_path, owners))
    assert plan.entities == {versions[15]}
    plain = bench.report("--policy", write_policy(tmp_path, "min_age: 1d"))
    assert plain.entities == set()


@pytest.mark.parametrize(("zone", "retained"), [("Europe/Berlin", False), ("UTC", True)])
def test_until_means_the_end_of_that_day_in_the_time_zone(
    bench: Bench, tmp_path: Path, zone: str, retained: bool
) -> None:
    """Half past eleven in the evening is another day in Berlin."""
    owner = Owner(bench.world)
    run = owner.run(age=500)
    bench.world.date_experiment(owner.home, created=bench.world.ago(400))
    owner.tag(run, KEEP, "until:2026-06-30")
    policy = write_policy(tmp_path, f"time_zone: {zone}")
    path = tmp_path / "plan.json"
    args = ("report", "-o", path, "--as-of", "2026-06-30T22:30:00Z", "--policy", policy)
    bench.cli(*args).expect(0)
    assert (run[1] not in Plan.load(path).runs) == retained


# -- when the plan is made already ---------------------------------------------------------------


def test_tags_that_come_after_the_plan_are_heard(bench: Bench, tmp_path: Path) -> None:
    """Each is skipped as ``protected``: nobody changed the thing, its owner spoke."""
    owner = Owner(bench.world)
    objections = {
        "keep": (KEEP, "true"),
        "until": (KEEP, f"until:{_days(bench.world, 3)}"),
        "keep, misspelt": (KEEP, UGLY),
        "ttl": (TTL, "200d"),
        "never": (TTL, "never"),
        "ttl, misspelt": (TTL, "3 weeks"),
        "later": (AFTER, rfc3339(bench.world.as_of_ms + DAY_MS)),
        "later, misspelt": (AFTER, "after the holidays"),
        "keep, another key": ("mlflow-gc.keep", "true"),
    }
    output: dict[Entity, str] = {}
    for make in (owner.run, owner.experiment, owner.version):
        output |= {make(): what for what in objections}
    for what in ("keep", "ttl", "never"):
        version = owner.version()
        output[version] = f"model: {what}"
        run = owner.run(home=owner.experiment(age=FRESH)[1])
        output[run] = f"experiment: {what}"
    # An answer that is no objection: tags of ours are obeyed, not compared.
    agreed = [owner.run(), owner.experiment(), owner.version()]
    plan = bench.report("--policy", write_policy(tmp_path, *POLICY))
    assert plan.entities == {*output, *agreed}

    for entity, what in output.items():
        where, _, objection = what.rpartition(": ")
        target = entity
        if where == "model":
            target = owner.model_of(entity)
        elif where == "experiment":
            target = "experiment", plan.run(entity[1])["experiment_id"]
        owner.tag(target, *objections[objection])
    for entity in agreed:
        owner.tag(entity, KEEP, "false")
        owner.tag(entity, TTL, "31d")
    before = bench.state()
    _, journal = bench.prune(plan)
    assert bench.state().gone_since(before) == set(agreed)
    found = {f"{entity[0]} {what}": journal.skips.get(entity) for entity, what in output.items()}
    assert found == dict.fromkeys(found, "protected")


@pytest.mark.parametrize(
    ("key", "value"), [(KEEP, "true"), (TTL, "never"), (TTL, "3 weeks")], ids=["k", "never", "bad"]
)
def test_an_objection_at_the_very_moment_of_the_delete_brings_it_back(
    bench: Bench, proxy: Proxy, key: str, value: str
) -> None:
    """The look back hears owners, too."""
    owner = Owner(bench.world)
    run = owner.run()
    empty = owner.experiment()
    plan = bench.report()
    before = bench.state()
    proxy.before("POST", "runs/delete$", lambda: owner.tag(run, key, value))
    proxy.before("POST", "experiments/delete$", lambda: owner.tag(empty, key, value))
    outcome, journal = bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    assert bench.state().active == before.active
    assert journal.with_outcome("restored") == {run, empty}
    assert outcome.err.count("WARNING") == 2
