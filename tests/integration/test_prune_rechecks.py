"""Nothing that changed since the plan is deleted, and everything else still is.

Between report and prune other people work.  The first test lets all kinds of interference happen
to entities of one plan and asks about each; later tests change the server at the last moment.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from support import server as store
from support.bench import Bench
from support.proxy import Fault
from support.world import FRESH, KEEP_TAG, OLD, World

from mlflow_gc.apply import deletion, executor
from mlflow_gc.apply.recheck.live_registry import RegistryView
from mlflow_gc.apply.recheck.recheck import Recheck
from mlflow_gc.backend.connect import connect
from mlflow_gc.settings import resolve_connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.cli import Cli
    from support.oracle import Entity, State
    from support.plans import Journal, Plan
    from support.proxy import Proxy

    from mlflow_gc.demo.server import LocalServer


@dataclass
class Meddling:
    """What happens between report and prune, and what prune must say to it."""

    deeds: list[Callable[[], object]] = field(default_factory=list)
    skips: dict[str, tuple[Entity, set[str]]] = field(default_factory=dict)
    """What happened -> the entity, and the codes that are right."""

    def expect(
        self, what: str, entity: Entity, codes: str, deed: Callable[[], object] | None = None
    ) -> None:
        """Remember a deed; one without ``deed`` suffers from another one's."""
        self.skips[what] = (entity, set(codes.split("|")))
        if deed is not None:
            self.deeds.append(deed)


def _meddle_with_runs(world: World, m: Meddling) -> None:
    home = world.experiment("runs", age=FRESH)

    run = world.run(home)
    m.expect("run resumed", ("run", run), "changed", lambda r=run: world.resume(r))
    run = world.run(home)
    m.expect(
        "run got the keep tag",
        ("run", run),
        "protected",
        lambda r=run: world.tag_run(r, KEEP_TAG, "true"),
    )
    run = world.run(home)
    m.expect(
        "run logged a metric",
        ("run", run),
        "changed",
        lambda r=run: world.metric(r, world.as_of_ms),
    )
    run = world.run(home)
    m.expect(
        "run ended again, with a later end time",
        ("run", run),
        "changed",
        lambda r=run: world.call(
            "POST",
            "runs/update",
            {"run_id": r, "status": "FINISHED", "end_time": world.as_of_ms},
        ),
    )
    run = world.run(home)
    m.expect(
        "run moved to the trash", ("run", run), "already_deleted", lambda r=run: world.delete_run(r)
    )
    run = world.run(home)
    m.expect("run purged by mlflow gc", ("run", run), "gone", lambda r=run: world.purge_run(r))

    parent = world.run(home)
    child = world.run(home, parent=parent)
    m.expect(
        "parent got a new child",
        ("run", parent),
        "protected",
        lambda p=parent: world.run(home, parent=p, age=FRESH, status="RUNNING"),
    )
    m.expect("parent got a new child: the old child", ("run", child), "protected")
    parent = world.run(home)
    child = world.run(home, parent=parent)
    m.expect(
        "child got the keep tag",
        ("run", child),
        "protected",
        lambda c=child: world.tag_run(c, KEEP_TAG, "true"),
    )
    m.expect("child got the keep tag: the parent", ("run", parent), "protected")
    other = world.experiment("elsewhere", age=FRESH)
    parent = world.run(home)
    m.expect(
        "parent got a new child in another experiment",
        ("run", parent),
        "protected",
        lambda p=parent: world.run(other, parent=p, age=FRESH),
    )

    run = world.run(home)
    m.expect(
        "run got the evaluation tag",
        ("run", run),
        "protected",
        lambda r=run: world.tag_run(r, "mlflow.runType", "genai_evaluate"),
    )


def _meddle_with_registration(world: World, m: Meddling) -> None:
    home = world.experiment("registered", age=FRESH)
    world.model("new")

    def expect(what: str, run: str, deed: Callable[[], object]) -> None:
        m.expect(what, ("run", run), "protected", deed)

    run = world.run(home)
    expect("registered by run_id", run, lambda r=run: world.version("new", run_id=r))
    run = world.run(home)
    expect(
        "registered by a runs:/ source",
        run,
        lambda r=run: world.version("new", source=f"runs:/{r}/model"),
    )
    run = world.run(home)
    expect(
        "registered by a logged model",
        run,
        lambda r=run: world.version("new", source=f"models:/{world.logged_model(home, r)}"),
    )
    run = world.run(home)
    expect(
        "registered by an absolute source without run_id",
        run,
        lambda r=run: world.version("new", source=f"s3://bucket/9/{r}/artifacts/model"),
    )
    run = world.run(home)

    def copy_again(run: str = run) -> None:
        original = world.version("new", source=f"runs:/{run}/model")
        world.version(world.model("copied-again"), source=f"models:/{original}")

    expect("registered and copied", run, copy_again)
    run = world.run(home)
    expect(
        "registered by an absolute logged model source",
        run,
        lambda r=run: world.version(
            "new", source=f"s3://bucket/9/models/{world.logged_model(home, r)}/artifacts"
        ),
    )
    run = world.run(home)
    child = world.run(home, parent=run)
    expect("a child was registered", child, lambda r=child: world.version("new", run_id=r))
    m.expect("a child was registered: the parent", ("run", run), "protected")


def _meddle_with_experiments(world: World, m: Meddling) -> None:
    def expect(what: str, codes: str, deed: Callable[[str], object]) -> str:
        experiment = world.experiment(what)
        m.expect(what, ("experiment", experiment), codes, lambda: deed(experiment))
        return experiment

    expect("experiment got a new run", "changed|protected", lambda e: world.run(e, age=FRESH))
    expect(
        "experiment got a new run that is old",
        "changed|protected",
        lambda e: world.run(e, status="RUNNING"),
    )
    expect("experiment got a trace", "changed|protected", lambda e: world.trace(e, age=FRESH))
    expect(
        "experiment got a logged model",
        "changed|protected",
        lambda e: world.logged_model(e, age=FRESH),
    )
    expect(
        "experiment was renamed",
        "changed",
        lambda e: world.call(
            "POST", "experiments/update", {"experiment_id": e, "new_name": f"renamed {e}"}
        ),
    )
    expect("experiment moved to the trash", "already_deleted", world.delete_experiment)
    expect(
        "experiment purged by mlflow gc",
        "gone",
        lambda e: world.sql("DELETE FROM experiments WHERE experiment_id = ?", int(e)),
    )
    expect(
        "experiment purged and its id given to another",
        "changed|gone",
        lambda e: world.sql(
            "UPDATE experiments SET name = 'a newcomer', creation_time = ?, last_update_time = ?"
            " WHERE experiment_id = ?",
            world.ago(60),
            world.ago(60),
            int(e),
        ),
    )
    experiment = expect(
        "experiment got the keep tag",
        "protected",
        lambda e: world.tag_experiment(e, KEEP_TAG, "true"),
    )
    m.expect("experiment got the keep tag: its run", ("run", world.run(experiment)), "protected")

    experiment = world.experiment("one run is resumed")
    run = world.run(experiment)
    m.expect(
        "a run of the experiment was resumed", ("run", run), "changed", lambda: world.resume(run)
    )
    m.expect(
        "a run of the experiment was resumed: the experiment",
        ("experiment", experiment),
        "changed|protected",
    )
    experiment = world.experiment("one run is registered")
    registered = world.run(experiment)
    m.expect(
        "a run of the experiment was registered",
        ("run", registered),
        "protected",
        lambda: world.version("new", run_id=registered),
    )
    m.expect(
        "a run of the experiment was registered: the experiment",
        ("experiment", experiment),
        "changed|protected",
    )


def _meddle_with_versions(world: World, m: Meddling) -> None:
    def expect(what: str, codes: str, deed: Callable[[str], object]) -> str:
        version = world.spare_version(world.model(what))
        m.expect(what, ("model_version", version), codes, lambda: deed(version))
        return version

    expect("version got an alias", "protected", lambda v: world.alias(v, "champion"))
    expect("version got the keep tag", "protected", lambda v: world.tag_version(v, KEEP_TAG, "yes"))
    expect(
        "model got the keep tag",
        "protected",
        lambda v: world.tag_model(v.partition("/")[0], KEEP_TAG, "true"),
    )
    expect("description was edited", "changed", lambda v: world.describe(v, "still needed"))
    expect(
        "version went to Production",
        "changed|protected",
        lambda v: world.stage(*v.split("/"), "Production"),
    )
    expect("version was deleted", "gone|already_deleted", world.delete_version)
    expect(
        "the newer version was deleted, so this is the highest",
        "protected",
        lambda v: world.delete_version(f"{v.partition('/')[0]}/2"),
    )
    expect(
        "a copy was made of the version",
        "protected",
        lambda v: world.version(world.model("a copy"), source=f"models:/{v}"),
    )

    def recreate(version: str) -> None:
        name = version.partition("/")[0]
        world.call("DELETE", "registered-models/delete", {"name": name})
        world.model(name)
        world.version(name, age=90)
        world.version(name, age=FRESH)

    expect("the model was deleted and made again", "changed|gone", recreate)
    expect(
        "the model was renamed",
        "gone|changed",
        lambda v: world.call(
            "POST",
            "registered-models/rename",
            {"name": v.partition("/")[0], "new_name": "renamed model"},
        ),
    )


@dataclass(frozen=True)
class Result:
    """A plan, what happened to it, and the prune."""

    plan: Plan
    meddling: Meddling
    journal: Journal
    before: State
    after: State
    untouched: set[Entity]


@pytest.fixture(scope="module")
def result(
    server: LocalServer, as_of_ms: int, cli: Cli, tmp_path_factory: pytest.TempPathFactory
) -> Result:
    """One report, all the meddling, one prune."""
    store.empty(server.database)
    world = World(server.uri, server.database, as_of_ms)
    bench = Bench(world, cli, tmp_path_factory.mktemp("meddling"))
    meddling = Meddling()
    _meddle_with_runs(world, meddling)
    _meddle_with_registration(world, meddling)
    _meddle_with_experiments(world, meddling)
    _meddle_with_versions(world, meddling)
    quiet = world.experiment("quiet")
    runs = world.bulk_runs(quiet, 40)
    version = world.spare_version(world.model("quiet"))
    untouched = {
        ("experiment", quiet),
        ("model_version", version),
        *(("run", run) for run in runs),
    }
    plan = bench.report()
    for deed in meddling.deeds:
        deed()
    before = bench.state()
    _, journal = bench.prune(plan)
    world.close()
    return Result(plan, meddling, journal, before, bench.state(), untouched)


DEEDS = [
    "run resumed",
    "run got the keep tag",
    "run logged a metric",
    "run ended again, with a later end time",
    "run moved to the trash",
    "run purged by mlflow gc",
    "parent got a new child",
    "parent got a new child: the old child",
    "child got the keep tag",
    "child got the keep tag: the parent",
    "parent got a new child in another experiment",
    "run got the evaluation tag",
    "registered by run_id",
    "registered by a runs:/ source",
    "registered by a logged model",
    "registered by an absolute source without run_id",
    "registered and copied",
    "registered by an absolute logged model source",
    "a child was registered",
    "a child was registered: the parent",
    "experiment got a new run",
    "experiment got a new run that is old",
    "experiment got a trace",
    "experiment got a logged model",
    "experiment was renamed",
    "experiment moved to the trash",
    "experiment purged by mlflow gc",
    "experiment purged and its id given to another",
    "experiment got the keep tag",
    "experiment got the keep tag: its run",
    "a run of the experiment was resumed",
    "a run of the experiment was resumed: the experiment",
    "a run of the experiment was registered",
    "a run of the experiment was registered: the experiment",
    "version got an alias",
    "version got the keep tag",
    "model got the keep tag",
    "description was edited",
    "version went to Production",
    "version was deleted",
    "the newer version was deleted, so this is the highest",
    "a copy was made of the version",
    "the model was deleted and made again",
    "the model was renamed",
]


def test_every_deed_has_its_test(result: Result) -> None:
    """The list above, which names the tests, and the meddling are the same."""
    assert sorted(DEEDS) == sorted(result.meddling.skips)


@pytest.mark.parametrize("deed", DEEDS)
def test_was_planned_and_is_skipped_with_its_code(result: Result, deed: str) -> None:
    """The entity was in the plan, is not deleted, and the journal says why."""
    entity, codes = result.meddling.skips[deed]
    assert entity in result.plan.entities
    if entity in result.before.active:
        assert entity in result.after.active, f"{entity} was deleted"
    assert entity in result.journal.skips, "no skip in the journal"
    assert result.journal.skips[entity] in codes


def test_the_rest_is_deleted(result: Result) -> None:
    """What nobody touched is gone, and the server lost nothing else."""
    gone = result.after.gone_since(result.before)
    assert result.untouched <= gone
    skipped = {entity for entity, _ in result.meddling.skips.values()}
    assert gone == result.plan.entities - skipped
    assert result.journal.with_outcome("deleted") == gone
    assert not result.journal.with_outcome("failed")


def test_aliases_are_all_still_there(result: Result) -> None:
    """Deleting a version would silently delete its aliases."""
    assert result.after.aliases == result.before.aliases


# The last moment: the server changes while the prune is running.


def test_an_alias_set_while_runs_are_being_deleted_saves_its_version(
    bench: Bench, proxy: Proxy
) -> None:
    """Each entity is looked at again right before it goes, not once at the start."""
    world = bench.world
    world.bulk_runs(world.experiment(), 30)
    version = world.spare_version(world.model())
    other = world.spare_version(world.model())
    plan = bench.report()
    proxy.before("POST", "runs/delete$", lambda: world.alias(version, "champion"))
    _, journal = bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    state = bench.state()
    assert ("model_version", version) in state.active
    assert ("model_version", other) not in state.active
    assert journal.skips == {("model_version", version): "protected"}


def test_a_run_created_while_runs_are_being_deleted_saves_its_experiment(
    bench: Bench, proxy: Proxy
) -> None:
    """The experiment is looked at after its runs have gone."""
    world = bench.world
    experiment = world.experiment()
    world.bulk_runs(experiment, 10)
    plan = bench.report()
    created: list[str] = []
    proxy.before(
        "POST",
        "runs/delete$",
        lambda: created.append(world.run(experiment, age=0, status="RUNNING")),
    )
    _, journal = bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    state = bench.state()
    assert ("run", created[0]) in state.active
    assert ("experiment", experiment) in state.active
    assert ("experiment", experiment) in journal.skips


def test_a_run_deleted_by_someone_else_at_the_last_moment_is_no_failure(
    bench: Bench, proxy: Proxy
) -> None:
    """Between the look and the delete; the server lets the second delete pass."""
    world = bench.world
    experiment = world.experiment(age=FRESH)
    runs = world.bulk_runs(experiment, 5)
    plan = bench.report()
    proxy.before("POST", "runs/delete$", lambda: [world.delete_run(run) for run in runs])
    bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    assert not {("run", run) for run in runs} & bench.state().active


def test_a_plan_cannot_talk_prune_into_deleting_what_is_protected_now(bench: Bench) -> None:
    """A plan of yesterday whose entities all became live in the meantime deletes nothing."""
    world = bench.world
    experiment = world.experiment()
    runs = world.bulk_runs(experiment, 5)
    plan = bench.report()
    for run in runs:
        world.resume(run)
    before = bench.state()
    bench.prune(plan)
    assert bench.state() == before


# A run that stays keeps the run that made the model it uses.


def test_the_maker_is_retained_with_its_user(bench: Bench) -> None:
    """Whatever keeps the user since the report, and however it uses the model."""
    world = bench.world
    home, models = world.experiment(age=FRESH), world.experiment(age=FRESH)
    makers: dict[str, str] = {}
    after: list[Callable[[], object]] = []

    def maker(scene: str, experiment: str = home) -> str:
        makers[scene] = world.run(home)
        return world.logged_model(experiment, makers[scene])

    def keep(run: str) -> None:
        after.append(lambda: world.tag_run(run, KEEP_TAG, "true"))

    user = world.run(home)
    world.use_model(user, maker("planned user, an input"))
    keep(user)
    user = world.run(home)
    world.put_out_model(user, maker("planned user, an output", models))
    keep(user)
    user = world.run(home)
    world.measure_model(user, maker("planned user, a metric"))
    after.append(lambda r=user: world.resume(r))

    first = maker("the end of a chain")
    between = world.run(home)
    makers["the middle of a chain"] = between
    world.use_model(between, first)
    user = world.run(home)
    world.use_model(user, world.logged_model(home, between))
    keep(user)

    model = maker("brought in with the times of long ago")
    after.append(lambda m=model: world.use_model(world.run(world.experiment(), age=90.0), m))
    model = maker("brought in, with a new experiment")
    new = {"created": world.ago(0), "updated": world.ago(0)}
    after.append(lambda m=model: world.use_model(world.run(world.experiment(**new), age=10), m))
    model = maker("brought in, a metric")
    after.append(lambda m=model: world.measure_model(world.run(home, age=10.0), m, age=10.0))
    model, user = maker("ended since"), world.run(home, age=FRESH, status="RUNNING")

    def end(model: str = model, user: str = user) -> None:
        world.use_model(user, model)
        body = {"run_id": user, "status": "FINISHED", "end_time": world.ago(0)}
        world.call("POST", "runs/update", body)

    after.append(end)
    model, user = maker("in progress"), world.run(home, age=FRESH, status="RUNNING")
    after.append(lambda m=model, r=user: world.use_model(r, m))

    unused = world.run(home)
    world.use_model(world.run(home), world.logged_model(home, unused))

    plan = bench.report()
    assert plan.runs >= {*makers.values(), unused}
    for deed in after:
        deed()
    before = bench.state()
    checked = bench.cli("check", plan.path, "--format", "json").expect(0)
    _, journal = bench.prune(plan)
    state = bench.state()
    assert [scene for scene, run in makers.items() if ("run", run) not in state.active] == []
    assert ("run", unused) not in state.active
    assert not journal.with_outcome("restored")
    assert {journal.skips["run", run] for run in makers.values()} == {"protected"}
    assert state.gone_since(before) == plan.entities - {*journal.skips}
    protections = {e["id"]: e["protection"] for e in json.loads(checked.out)["runs"]}
    assert {protections[run]["reason"] for run in makers.values()} == {"model_in_use"}


# Time stamps that cannot be true, and servers behind one address whose clocks are apart.


def _champion(world: World, run: str, *, stamp: int | None = None, model: str | None = None) -> str:
    """Register a run and give the version the alias; the registry stamps it, or with ``stamp``."""
    model = model or world.model()
    version = world.version(model, run_id=run)
    world.alias(version, "champion")
    if stamp is not None:
        world.stamp_model(model, stamp)
    return version


@pytest.mark.parametrize("way", ["nested in it", "reads its model", "measures its model"])
def test_what_a_run_needs_comes_back_with_it(bench: Bench, proxy: Proxy, way: str) -> None:
    """Somebody restores a planned run right after it was deleted."""
    world = bench.world
    home = world.experiment(age=FRESH)
    needed, plain = world.run(home), world.run(home)
    if way == "nested in it":
        user = world.run(home, parent=needed)
    else:
        user = world.run(home)
        model = world.logged_model(home, needed)
        (world.use_model if way == "reads its model" else world.measure_model)(user, model)
    plan = bench.report()
    assert plan.runs == {needed, user, plain}
    fault = Fault("restored", then=lambda: world.restore_run(user))
    proxy.fail("POST", "runs/delete$", fault, body=user)
    outcome, journal = bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    state = bench.state()
    assert {("run", user), ("run", needed)} <= state.active
    assert ("run", plain) in state.trashed
    assert ("run", needed) in journal.with_outcome("restored")
    assert f"run {needed} was deleted and rolled back" in outcome.err


@pytest.mark.parametrize("ahead_days", [1 / 24, 400.0], ids=["an hour", "a year"])
def test_one_stamp_of_the_future_does_not_hide_the_registry(
    bench: Bench, proxy: Proxy, ahead_days: float
) -> None:
    """A replica with a bad clock, or migrated rows: it says nothing about the other models."""
    world = bench.world
    home = world.experiment(age=FRESH)
    runs = world.bulk_runs(home, 3)
    original, free = (world.spare_version(world.model()) for _ in range(2))
    copies = world.model("copies")
    world.stamp_model(world.model(), world.ago(-ahead_days))
    plan = bench.report()

    def meanwhile() -> None:
        _champion(world, runs[0])
        world.copy_version(original, copies)

    proxy.before("POST", "runs/delete$", meanwhile)
    outcome, journal = bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    assert bench.state().active >= {("run", runs[0]), ("model_version", original)}
    assert ("model_version", free) not in bench.state().active
    assert journal.with_outcome("restored") == {("run", runs[0])}
    assert journal.skips == {("model_version", original): "protected"}
    assert "WARNING" in outcome.err


def test_a_registry_whose_clock_is_behind_hides_nothing(bench: Bench, proxy: Proxy) -> None:
    """More models than are looked at for every batch, and the new version is stamped the oldest."""
    world = bench.world
    runs = world.bulk_runs(world.experiment(age=FRESH), 3)
    original, free = (world.spare_version(world.model()) for _ in range(2))
    copies = world.model("copies")
    world.bulk_models(120, age=FRESH)
    plan = bench.report()

    def meanwhile() -> None:
        _champion(world, runs[0], stamp=world.ago(400))
        world.copy_version(original, copies)
        world.stamp_model(copies, world.ago(400))

    proxy.before("POST", "runs/delete$", meanwhile)
    _, journal = bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    state = bench.state()
    assert {("run", runs[0]), ("model_version", original)} <= state.active
    assert ("model_version", free) not in state.active
    assert journal.with_outcome("restored") == {("run", runs[0])}
    assert journal.skips == {("model_version", original): "protected"}


# A version is judged by what was just read about its model.


@pytest.mark.parametrize("policy", ["", "keep_last:\n  model_versions: 2\n"], ids=["", "keep_last"])
def test_a_version_that_became_the_highest_a_moment_ago_is_retained(
    bench: Bench, proxy: Proxy, policy: str
) -> None:
    """The answer right before the delete names the highest version; the registry was read before."""
    world = bench.world
    model = world.model()
    low = world.version(model)
    higher = [world.version(model, age=FRESH) for _ in range(2)]
    path = bench.dir / "policy.yml"
    path.write_text(f"version: 1\n{policy}")
    plan = bench.report("--policy", path)
    assert plan.entities == {("model_version", low)}
    gone = higher[1:] if policy else higher

    def delete_higher_ones() -> None:
        for version in gone:
            world.delete_version(version)

    proxy.before("GET", "registered-models/get$", delete_higher_ones)
    _, journal = bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    active = bench.state().active
    assert not {("model_version", version) for version in gone} & active
    assert ("model_version", low) in active
    assert journal.skips == {("model_version", low): "protected"}


def test_a_re_check_in_progress_keeps_the_registry_that_it_began_with(bench: Bench) -> None:
    """Versions are read again beside looks; none may be missing for a moment while they are."""
    world = bench.world
    model, other = world.model(), world.model()
    world.version(model)
    gateway = connect(resolve_connection(tracking_uri=world.uri))
    began_with = RegistryView(gateway)
    known, of_model = dict(began_with.versions), began_with.of_model(model)
    assert len(known) == len(of_model) == 1
    world.version(model)
    world.version(other)
    during: list[object] = []
    read = gateway.search_model_versions

    def search(**kwargs: object) -> object:
        during.append((dict(began_with.versions), began_with.of_model(model)))
        return read(**kwargs)  # type: ignore[arg-type]

    gateway.search_model_versions = search  # type: ignore[method-assign,assignment]
    fresh = began_with.refreshed()
    assert len(fresh.versions) == 3
    assert len(fresh.of_model(model)) == 2
    assert during
    assert all(seen == (known, of_model) for seen in during)
    assert (began_with.versions, began_with.of_model(model)) == (known, of_model)


def test_an_experiment_that_pages_leave_out_is_asked_for(bench: Bench) -> None:
    """What goes for good moves those after it to pages that were read before."""
    world = bench.world
    runs = {world.run(world.experiment()) for _ in range(3)}
    plan = bench.report()
    gateway = connect(resolve_connection(tracking_uri=world.uri))
    recheck = Recheck(gateway, plan.document)
    read = gateway.search_experiments
    missing: list[str] = []

    def search(**kwargs: object) -> object:
        found, token = read(**kwargs)  # type: ignore[arg-type]
        missing.extend(e.experiment_id for e in found[1:2])
        return found[:1] + found[2:], token

    gateway.search_experiments = search  # type: ignore[method-assign,assignment]
    findings = recheck.check_runs(plan.document["runs"])
    assert missing
    assert {run_id: finding.code for run_id, finding in findings.items()} == dict.fromkeys(runs)


def test_a_re_check_is_as_old_as_its_oldest_evidence(bench: Bench) -> None:
    """Also the first one: the registry was read before all else, and may take long to read."""
    world = bench.world
    world.version(world.model(), run_id=world.run(world.experiment()))
    world.run(world.experiment())
    plan = bench.report()
    gateway = connect(resolve_connection(tracking_uri=world.uri))
    read_at: list[float] = []
    read = gateway.search_model_versions

    def search(**kwargs: object) -> object:
        read_at.append(time.monotonic())
        return read(**kwargs)  # type: ignore[arg-type]

    gateway.search_model_versions = search  # type: ignore[method-assign,assignment]
    findings = Recheck(gateway, plan.document).check_runs(plan.document["runs"])
    assert read_at
    assert findings
    assert all(finding.checked_at <= read_at[0] for finding in findings.values())


def test_nested_trees_are_deleted_however_long_the_deletions_take(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each level, and each run of it, is re-checked again: with its tree, all of which goes."""
    world = bench.world
    home = world.experiment()
    runs = set()
    for _ in range(2):
        top = world.run(home)
        children = [world.run(home, parent=top) for _ in range(2)]
        runs |= {top, *children, world.run(home, parent=children[0])}
    latest = world.run(home, age=OLD - 1)
    policy = bench.dir / "policy.yml"
    policy.write_text("version: 1\ndefaults: {ttl: 30d, keep: {last: 1}}\n")
    plan = bench.report("--policy", policy)
    assert plan.runs == runs
    for module in (deletion, executor):
        monkeypatch.setattr(module, "is_stale", lambda _finding: True)
    _, journal = bench.prune(plan)
    assert journal.with_outcome("deleted") == {("run", run) for run in runs}
    assert bench.state().active >= {("run", latest)}
