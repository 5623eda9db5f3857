"""What somebody came to need at the very moment of its deletion is put back at once.

MLflow has no conditional delete.  So prune looks back after the deletes of each batch.  A proxy
changes the server when the delete itself is under way: after the last look of the program.
"""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from support import proxy as faults
from support import server as store
from support.bench import Bench
from support.plans import Journal
from support.proxy import Fault, Proxy, deletions
from support.world import FRESH, KEEP_TAG, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.cli import Cli, Outcome, Running
    from support.oracle import Entity, State
    from support.plans import Plan

    from mlflow_gc.demo.server import LocalServer

PARTIAL = 3
NOW = -0.006
"""Age in days: some minutes after the plan's clock, about the time of the test."""


class Moment:
    """Changes the server when the delete of an entity has left the program.

    Deletes come in parallel: each waits until the deeds for all that arrived are done.
    """

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._deeds: dict[Entity, Callable[[], object]] = {}
        self._turn = threading.Lock()
        self.problems: list[BaseException] = []
        for path in ("runs/delete$", "experiments/delete$"):
            proxy.before("POST", path, self._strike, times=float("inf"))

    def at_delete_of(self, entity: Entity, deed: Callable[[], object]) -> None:
        """Do ``deed`` right before the server gets the delete."""
        self._deeds[entity] = deed

    def _strike(self) -> None:
        with self._turn:
            for entity in deletions(self._proxy.seen):
                deed = self._deeds.pop(entity, None)
                if deed is not None:
                    try:
                        deed()
                    except BaseException as error:
                        self.problems.append(error)
                        raise

    def check(self) -> None:
        """Fail unless every deed was done."""
        assert not self.problems, self.problems
        assert not self._deeds, f"no delete came for {sorted(self._deeds)}"


@pytest.fixture
def moment(proxy: Proxy) -> Moment:
    """Meddling through ``proxy``."""
    return Moment(proxy)


def _through(proxy: Proxy) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": proxy.uri}


@dataclass
class Scenes:
    """What happens at the moment of the deletes, and what prune must make of it.

    Attributes:
        deeds: entity whose delete is awaited -> what happens then.
        back: what happened -> the entities that must be back, and the reasons that are right.
        kept: planned, and rightly not even deleted for a moment.
        new: what came into being, and must be active afterwards.
    """

    deeds: dict[Entity, Callable[[], object]] = field(default_factory=dict)
    back: dict[str, tuple[set[Entity], set[str]]] = field(default_factory=dict)
    retained: set[Entity] = field(default_factory=set)
    new: set[Entity] = field(default_factory=set)

    @property
    def all_back(self) -> set[Entity]:
        """Every entity that must be back."""
        return set().union(*(entities for entities, _ in self.back.values()))

    def expect(
        self, what: str, entity: Entity, reason: str, deed: Callable[[], object], *others: Entity
    ) -> None:
        """Remember a deed; ``others`` come back together with ``entity``."""
        self.deeds[entity] = deed
        self.back[what] = ({entity, *others}, set(reason.split("|")))


def _runs_that_get_registered(world: World, scenes: Scenes) -> None:
    home = world.experiment("registered", age=FRESH)
    world.model("new")

    def expect(what: str, deed: Callable[[str], object]) -> None:
        run = world.run(home)
        scenes.expect(what, ("run", run), "protected", lambda: deed(run))

    expect("registered by run_id", lambda r: world.version("new", run_id=r))
    expect(
        "registered by a runs:/ source",
        lambda r: world.version("new", source=f"runs:/{r}/model"),
    )
    expect(
        "registered by an absolute source",
        lambda r: world.version("new", source=f"s3://bucket/1/{r}/artifacts/model"),
    )
    expect(
        "registered under a new name",
        lambda r: world.version(world.model("newer"), source=f"runs:/{r}/model"),
    )
    expect(
        "registered, copied and the original deleted",
        lambda r: _copy_without_original(world, r),
    )
    run = world.run(home)
    made = world.logged_model(home, run)
    scenes.expect(
        "its logged model was registered",
        ("run", run),
        "protected",
        lambda: world.version("new", source=f"models:/{made}"),
    )


def _copy_without_original(world: World, run: str) -> None:
    original = world.version("new", source=f"s3://bucket/1/{run}/artifacts/model")
    world.copy_version(original, world.model("copies"))
    world.delete_version(original)


def _runs_that_get_children(world: World, scenes: Scenes) -> None:
    home = world.experiment("parents", age=FRESH)
    other = world.experiment("elsewhere", age=FRESH)

    def expect(what: str, deed: Callable[[str], object]) -> None:
        run = world.run(home)
        scenes.expect(what, ("run", run), "protected", lambda: deed(run))

    def bear(parent: str, where: str, *, age: float = NOW, status: str = "RUNNING") -> None:
        child = world.run(where, parent=parent, age=age, status=status)
        scenes.new.add(("run", child))

    expect("a new child", lambda r: bear(r, home))
    expect("a new child in another experiment", lambda r: bear(r, other))
    expect(
        "a new child in a new experiment",
        lambda r: bear(r, world.experiment("just made", age=NOW)),
    )
    expect("a new child that says it began long ago", lambda r: bear(r, other, age=90.0))
    expect(
        "a new child that says it ended after the cutoff",
        lambda r: bear(r, other, age=FRESH, status="FINISHED"),
    )
    fresh = world.run(other, age=FRESH)
    expect("an older run was made its child", lambda r: _adopt(world, fresh, r))
    retained = world.run(other, tags={KEEP_TAG: "yes"})
    expect("an old kept run was made its child", lambda r: _adopt(world, retained, r))
    elder = world.run(other, age=FRESH)
    expect(
        "it was made the child of a run that stays",
        lambda r: _adopt(world, r, elder),
    )
    # Its own tag is another one then: that is a change, too.
    entities, _ = scenes.back["it was made the child of a run that stays"]
    scenes.back["it was made the child of a run that stays"] = entities, {"changed", "protected"}


def _adopt(world: World, child: str, parent: str) -> None:
    world.tag_run(child, "mlflow.parentRunId", parent)


def _runs_that_change(world: World, scenes: Scenes) -> None:
    home = world.experiment("changing", age=FRESH)

    def expect(what: str, reason: str, deed: Callable[[str], object]) -> None:
        run = world.run(home)
        scenes.expect(what, ("run", run), reason, lambda: deed(run))

    expect("it was resumed", "changed", world.resume)
    expect("it got the keep tag", "protected", lambda r: world.tag_run(r, KEEP_TAG, "true"))
    expect("it got another tag", "changed", lambda r: world.tag_run(r, "note", "still needed"))
    expect("it logged a metric", "changed", lambda r: world.metric(r, world.ago(NOW)))
    expect(
        "it was renamed",
        "changed",
        lambda r: world.call("POST", "runs/update", {"run_id": r, "run_name": "the good one"}),
    )
    expect(
        "it became an evaluation run",
        "changed|protected",
        lambda r: world.tag_run(r, "mlflow.runType", "genai_evaluate"),
    )
    retained_home = world.experiment("gets the keep tag")
    runs = [world.run(retained_home) for _ in range(2)]
    # Whichever of the two goes first, the tag covers both; the experiment is planned as well.
    scenes.retained.add(("experiment", retained_home))
    scenes.expect(
        "its experiment got the keep tag",
        ("run", runs[0]),
        "protected",
        lambda: world.tag_experiment(retained_home, KEEP_TAG, "true"),
        ("run", runs[1]),
    )


def _runs_whose_models_are_used(world: World, scenes: Scenes) -> None:
    home = world.experiment("makers", age=FRESH)
    maker = world.run(home)
    made = world.logged_model(home, maker)

    def train_further() -> None:
        user = world.run(home, age=NOW, status="RUNNING")
        world.put_out_model(user, made)
        scenes.new.add(("run", user))

    scenes.expect("a new run puts out its model", ("run", maker), "protected", train_further)


def _trees(world: World, scenes: Scenes) -> None:
    home = world.experiment("trees", age=FRESH)
    other = world.experiment("branches", age=FRESH)

    def tree() -> list[str]:
        top = world.run(home)
        middle = world.run(other, parent=top)
        return [top, world.run(home, parent=top), middle, world.run(home, parent=middle)]

    def expect(what: str, awaited: int, deed: Callable[[list[str]], object]) -> None:
        runs = tree()
        others = [("run", r) for r in runs if r != runs[awaited]]
        scenes.expect(
            what, ("run", runs[awaited]), "protected|changed", lambda: deed(runs), *others
        )

    def register(run: str) -> None:
        world.version(world.model(), run_id=run)

    expect("its tree: the top was registered first", 3, lambda t: register(t[0]))
    expect("its tree: the top was registered last", 0, lambda t: register(t[0]))
    expect("its tree: a leaf was registered when it was gone", 0, lambda t: register(t[3]))
    expect("its tree: a leaf got a keep tag", 3, lambda t: world.tag_run(t[3], KEEP_TAG, "true"))
    expect(
        "its tree: a middle run got a child",
        0,
        lambda t: world.run(home, parent=t[2], age=NOW, status="RUNNING"),
    )


def _experiments_that_come_alive(world: World, scenes: Scenes) -> set[Entity]:
    """Experiments with old trash; returns what must be in the trash again."""
    trash: set[Entity] = set()

    def expect(what: str, reason: str, deed: Callable[[str], object]) -> None:
        experiment = world.experiment(what)
        for _ in range(2):
            old = world.run(experiment)
            world.delete_run(old)
            trash.add(("run", old))
        trash.add(("run", world.run(experiment)))  # goes with the plan
        scenes.expect(what, ("experiment", experiment), reason, lambda: deed(experiment))

    def begin(experiment: str, **more: object) -> None:
        run = world.run(experiment, **more)  # type: ignore[arg-type]
        scenes.new.add(("run", run))

    any_reason = "changed|protected"
    expect("a new run in it", any_reason, lambda e: begin(e, age=NOW, status="RUNNING"))
    expect("a new run in it that looks old", any_reason, lambda e: begin(e, age=90.0))
    expect("a logged model in it", any_reason, lambda e: world.logged_model(e, age=NOW))
    expect("a logged model in it that looks old", any_reason, world.logged_model)
    expect("a trace in it", any_reason, lambda e: world.trace(e, age=NOW))
    expect("a trace in it that looks old", any_reason, world.trace)
    expect(
        "the keep tag on it",
        "protected",
        lambda e: world.tag_experiment(e, KEEP_TAG, "true"),
    )
    expect("another tag on it", "changed", lambda e: world.tag_experiment(e, "note", "needed"))
    expect(
        "a new name for it",
        "changed",
        lambda e: world.call(
            "POST", "experiments/update", {"experiment_id": e, "new_name": f"renamed {e}"}
        ),
    )

    def register_inside(experiment: str) -> None:
        found = world.call("GET", f"experiments/get?experiment_id={experiment}", {})
        location = found["experiment"]["artifact_location"]
        world.version(world.model(), source=f"{location}/shared/model")

    expect("a version whose source lies in it", "protected", register_inside)
    return trash


@dataclass(frozen=True)
class Result:
    """One plan, all scenes at the moment of its deletes, the prune, and what came after."""

    plan: Plan
    scenes: Scenes
    unmoved: set[Entity]
    trash: set[Entity]
    outcome: Outcome
    journal: Journal
    journal_valid: Outcome
    before: State
    after: State
    again: Outcome
    journal_again: Journal
    deletes_again: list[Entity]
    after_again: State
    after_restore: State
    restored: Journal


@pytest.fixture(scope="module")
def result(
    server: LocalServer, as_of_ms: int, cli: Cli, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Result]:
    """One report; one prune with all the scenes; the same prune again; a restore."""
    store.empty(server.database)
    world = World(server.uri, server.database, as_of_ms)
    bench = Bench(world, cli, tmp_path_factory.mktemp("look-back"))
    scenes = Scenes()
    quiet = world.experiment("quiet")
    unmoved: set[Entity] = {("experiment", quiet)}
    unmoved |= {("run", r) for r in world.bulk_runs(quiet, 120)}
    pair = world.run(quiet)
    unmoved |= {("run", pair), ("run", world.run(quiet, parent=pair))}
    unmoved.add(("model_version", world.spare_version(world.model("quiet"))))
    _runs_that_get_registered(world, scenes)
    _runs_that_get_children(world, scenes)
    _runs_that_change(world, scenes)
    _runs_whose_models_are_used(world, scenes)
    _trees(world, scenes)
    trash = _experiments_that_come_alive(world, scenes)
    plan = bench.report()
    before = bench.state()
    with Proxy(server.uri) as proxy:
        moment = Moment(proxy)
        for entity, deed in scenes.deeds.items():
            moment.at_delete_of(entity, deed)
        outcome, journal = bench.prune(plan, env=_through(proxy))
        moment.check()
        after = bench.state()
        journal_valid = cli("validate", bench.journal_path(plan))
        proxy.forget()
        again, whole = bench.prune(plan, env=_through(proxy))
        deletes_again = deletions(proxy.seen)
    after_again = bench.state()
    cli("restore", bench.journal_path(plan), "--yes").expect(0)
    path = bench.journal_path(plan)
    yield Result(
        plan=plan,
        scenes=scenes,
        unmoved=unmoved,
        trash=trash,
        outcome=outcome,
        journal=journal,
        journal_valid=journal_valid,
        before=before,
        after=after,
        again=again,
        journal_again=Journal(whole.lines[len(journal.lines) :]),
        deletes_again=deletes_again,
        after_again=after_again,
        after_restore=bench.state(),
        restored=Journal.load(path.with_name(f"{path.name}.restore.jsonl")),
    )
    world.close()


SCENES = [
    "registered by run_id",
    "registered by a runs:/ source",
    "registered by an absolute source",
    "registered under a new name",
    "registered, copied and the original deleted",
    "its logged model was registered",
    "a new child",
    "a new child in another experiment",
    "a new child in a new experiment",
    "a new child that says it began long ago",
    "a new child that says it ended after the cutoff",
    "an older run was made its child",
    "an old kept run was made its child",
    "it was made the child of a run that stays",
    "it was resumed",
    "it got the keep tag",
    "it got another tag",
    "it logged a metric",
    "it was renamed",
    "it became an evaluation run",
    "its experiment got the keep tag",
    "a new run puts out its model",
    "its tree: the top was registered first",
    "its tree: the top was registered last",
    "its tree: a leaf was registered when it was gone",
    "its tree: a leaf got a keep tag",
    "its tree: a middle run got a child",
    "a new run in it",
    "a new run in it that looks old",
    "a logged model in it",
    "a logged model in it that looks old",
    "a trace in it",
    "a trace in it that looks old",
    "the keep tag on it",
    "another tag on it",
    "a new name for it",
    "a version whose source lies in it",
]


@pytest.mark.smoke
def test_every_scene_has_its_test(result: Result) -> None:
    """The list above, which names the tests, and the scenes are the same."""
    assert sorted(SCENES) == sorted(result.scenes.back)


@pytest.mark.smoke
@pytest.mark.parametrize("scene", SCENES)
def test_is_rolled_back_and_reported(result: Result, scene: str) -> None:
    """It was planned and deleted, and is back, with a record, a warning and the reason."""
    entities, reasons = result.scenes.back[scene]
    assert entities <= result.plan.entities
    assert entities <= result.after.active, f"not back: {entities - result.after.active}"
    records = {(r["kind"], r["id"]): r for r in result.journal.records if r["outcome"] == "deleted"}
    reported = {
        (r["kind"], r["id"]): r for r in result.journal.records if r["outcome"] == "restored"
    }
    for kind, key in entities & set(records):
        record = reported[kind, key]
        assert record["reason"] in reasons
        assert record["detail"]
        start = f"WARNING: {kind} {key} was deleted and rolled back"
        (warning,) = [w for w in result.outcome.err.splitlines() if w.startswith(start)]
        assert record["detail"] in warning
    # At least the delete that was awaited came through.
    assert entities & set(records)


@pytest.mark.smoke
def test_the_chain_leads_to_what_needs_it(result: Result) -> None:
    """The detail names the version or the run that the entity was put back for."""
    details = {r["id"]: r["detail"] for r in result.journal.records if r["outcome"] == "restored"}

    def detail(scene: str) -> str:
        entities, _ = result.scenes.back[scene]
        return " ".join(details[key] for _, key in sorted(entities))

    assert "model_version new/" in detail("registered by run_id")
    assert "model_version newer/1" in detail("registered under a new name")
    assert "logged_model m-" in detail("its logged model was registered")
    assert KEEP_TAG in detail("it got the keep tag")
    assert "RUNNING" in detail("it was resumed")
    assert "tree" in detail("a new child")
    assert "model_in_use" in detail("a new run puts out its model")


@pytest.mark.smoke
def test_nothing_else_is_rolled_back(result: Result) -> None:
    """No false alarms: what nobody came to need is gone."""
    expected = result.scenes.all_back
    assert result.journal.with_outcome("restored") <= expected
    gone = result.after.gone_since(result.before)
    assert result.unmoved <= gone
    assert gone == result.plan.entities - expected - result.scenes.retained
    assert not result.journal.with_outcome("failed")


@pytest.mark.smoke
def test_what_came_into_being_is_active(result: Result) -> None:
    """Also the new runs inside experiments that were deleted with them for a moment."""
    assert result.scenes.new
    assert result.scenes.new <= result.after.active


@pytest.mark.smoke
def test_what_was_in_the_trash_of_an_experiment_is_there_again(result: Result) -> None:
    """Restoring an experiment revives every run in it; exactly the new ones may stay."""
    assert result.trash <= result.after.trashed


def test_the_table_and_the_end_of_the_journal_say_so(result: Result) -> None:
    """Whoever only reads the summary learns about it."""
    number = len(result.journal.with_outcome("restored"))
    assert f"{number:,} of the deleted were rolled back at once" in result.outcome.out
    end = result.journal.lines[-1]
    assert end["ended"] == "completed"
    assert sum(kind.get("restored", 0) for kind in end["counts"].values()) == number
    result.journal_valid.expect(0)


@pytest.mark.smoke
def test_the_same_prune_again_skips_it(result: Result) -> None:
    """Exit code 0, no delete is even sent, nothing changes."""
    expected = result.scenes.all_back
    assert result.again.code == 0
    assert not result.deletes_again
    assert result.after_again == result.after
    codes = {result.journal_again.skips[entity] for entity in expected}
    assert codes <= {"changed", "protected"}
    assert not result.journal_again.with_outcome("restored")


@pytest.mark.smoke
def test_restore_does_not_touch_it(result: Result) -> None:
    """It brings back the rest; what was put back before is none of its business."""
    expected = result.scenes.all_back
    touched = {(r["kind"], r["id"]) for r in result.restored.records}
    assert not touched & expected
    runs_and_experiments = {e for e in result.plan.entities if e[0] != "model_version"}
    assert runs_and_experiments <= result.after_restore.active


# A scene at a time.


def test_a_new_child_that_looks_as_old_as_its_parent_brings_the_parent_back(
    bench: Bench, proxy: Proxy, moment: Moment
) -> None:
    """A tree goes as a whole or not at all, and the new run is in no plan."""
    world = bench.world
    home = world.experiment(age=FRESH)
    parent, other = world.run(home), world.run(home)
    plan = bench.report()
    world.run(home, parent=other, age=90.0)
    moment.at_delete_of(("run", parent), lambda: world.run(home, parent=parent, age=90.0))
    bench.prune(plan, env=_through(proxy))
    moment.check()
    assert ("run", other) in bench.state().active, "the look before"
    assert ("run", parent) in bench.state().active, "the look back"


@pytest.mark.smoke
def test_a_new_run_that_reads_its_model_brings_the_maker_back(
    bench: Bench, proxy: Proxy, moment: Moment
) -> None:
    """A model is in use also where a run takes it in; runs/search does not tell, runs/get does."""
    world = bench.world
    home = world.experiment(age=FRESH)
    maker = world.run(home)
    made = world.logged_model(home, maker)
    plan = bench.report()

    def evaluate() -> None:
        world.use_model(world.run(home, age=NOW, status="RUNNING"), made)

    moment.at_delete_of(("run", maker), evaluate)
    bench.prune(plan, env=_through(proxy))
    moment.check()
    assert ("run", maker) in bench.state().active


def test_a_run_of_long_ago_that_reads_its_model_brings_the_maker_back(
    bench: Bench, proxy: Proxy, moment: Moment
) -> None:
    """Brought in while the maker is deleted, or in progress before: no time gives it away."""
    world = bench.world
    home = world.experiment(age=FRESH)
    makers = [world.run(home) for _ in range(4)]
    models = [world.logged_model(home, maker) for maker in makers]
    running = world.run(home, age=FRESH, status="RUNNING")
    plan = bench.report()

    def meanwhile() -> None:
        world.use_model(world.run(home, age=90.0), models[0])
        world.use_model(running, models[1])
        world.measure_model(world.run(home, age=10.0), models[2])

    moment.at_delete_of(("run", makers[0]), meanwhile)
    _, journal = bench.prune(plan, env=_through(proxy))
    moment.check()
    active = bench.state().active
    assert [("run", maker) in active for maker in makers] == [True, True, True, False]
    assert ("run", makers[0]) in journal.with_outcome("restored")


def test_a_user_that_cannot_be_deleted_brings_the_maker_back(bench: Bench, proxy: Proxy) -> None:
    """The maker goes after its user, but with a later version of the user's fate."""
    world = bench.world
    home = world.experiment(age=FRESH)
    maker, user = world.run(home), world.run(home)
    world.use_model(user, world.logged_model(home, maker))
    plan = bench.report()
    assert {maker, user} <= plan.runs
    proxy.fail("POST", "runs/delete$", faults.FORBIDDEN, body=user)
    _, journal = bench.prune(plan, env=_through(proxy), codes=(PARTIAL,))
    assert bench.state().active >= {("run", maker), ("run", user)}
    assert journal.skips["run", user] == "forbidden"


def test_thousands_of_unrelated_new_runs_raise_no_false_alarm(
    bench: Bench, proxy: Proxy, moment: Moment
) -> None:
    """They begin at the moment of the deletes, in the same and in another experiment."""
    world = bench.world
    home = world.experiment(age=FRESH)
    other = world.experiment(age=FRESH)
    first, *more = world.bulk_runs(home, 20)
    empty = world.experiment()
    plan = bench.report()
    before = bench.state()
    assert len(more) == 19

    def crowd() -> None:
        world.bulk_runs(home, 500, age=NOW, status="RUNNING")
        world.bulk_runs(other, 3000, age=NOW, status="RUNNING")
        parent = world.run(other, age=NOW, status="RUNNING")
        world.run(other, age=NOW, parent=parent, status="RUNNING")
        world.version(world.model(), run_id=parent)

    moment.at_delete_of(("run", first), crowd)
    moment.at_delete_of(("experiment", empty), crowd)
    outcome, journal = bench.prune(plan, env=_through(proxy))
    moment.check()
    assert not journal.with_outcome("restored")
    assert "WARNING" not in outcome.err
    assert "rolled back" not in outcome.text
    assert not proxy.requests("POST", "restore$")
    assert bench.state().gone_since(before) == plan.entities


# A tree of which one run cannot be deleted.


@pytest.mark.parametrize("after", [1, 2], ids=["a middle run", "the top"])
@pytest.mark.parametrize(
    ("fault", "times"),
    [
        pytest.param(faults.FORBIDDEN, 1, id="403", marks=pytest.mark.smoke),
        pytest.param(faults.SERVER_ERROR, float("inf"), id="500 for ever"),
    ],
)
def test_a_run_that_cannot_be_deleted_brings_its_tree_back(
    bench: Bench, proxy: Proxy, fault: Fault, times: float, after: int
) -> None:
    """Once the cause is gone, the same plan goes to its end."""
    world = bench.world
    home = world.experiment(age=FRESH)
    # A chain: the deletes come one after the other, the deepest first.
    chain = [world.run(home)]
    for _ in range(2):
        chain.append(world.run(home, parent=chain[-1]))
    plan = bench.report()
    before = bench.state()
    proxy.fail("POST", "runs/delete$", fault, after=after, times=times)
    outcome, journal = bench.prune(plan, env=_through(proxy), codes=(PARTIAL,))
    assert bench.state().active == before.active
    deepest_first = chain[::-1]
    assert journal.with_outcome("restored") == {("run", r) for r in deepest_first[:after]}
    assert deepest_first[0] in outcome.err
    for record in journal.records:
        if record["outcome"] == "restored":
            assert deepest_first[after] in record["detail"]

    proxy.forget()
    bench.prune(plan, env=_through(proxy))
    assert bench.state().gone_since(before) == plan.entities
    bench.cli("restore", bench.journal_path(plan), "--yes").expect(0)
    assert bench.state().active == before.active


# A put-back that fails.


@pytest.mark.smoke
@pytest.mark.parametrize("kind", ["run", "experiment"])
@pytest.mark.parametrize("fault", [faults.FORBIDDEN, faults.SERVER_ERROR], ids=["403", "500"])
def test_a_failed_rollback_is_reported_and_the_next_prune_repeats_it(
    bench: Bench, proxy: Proxy, moment: Moment, fault: Fault, kind: str
) -> None:
    """Exit 3, a failure in the journal and on stderr; the printed command then puts it back."""
    world = bench.world
    home = world.experiment(age=FRESH if kind == "run" else 100.0)
    key = world.run(home) if kind == "run" else home
    plan = bench.report()
    moment.at_delete_of((kind, key), lambda: _need(world, kind, key))
    proxy.fail("POST", f"{kind}s/restore$", fault, times=float("inf"))
    outcome, journal = bench.prune(plan, env=_through(proxy), codes=(PARTIAL,))
    moment.check()
    assert (kind, key) in journal.with_outcome("failed")
    assert not journal.with_outcome("restored")
    (line,) = [text for text in outcome.err.splitlines() if text.startswith("Failed:")]
    assert key in line
    assert "rolled back" in line
    assert "Traceback" not in outcome.err

    proxy.forget()
    _, journal = bench.prune(plan, env=_through(proxy))
    assert (kind, key) in bench.state().active, "the printed command did not put it back"
    assert (kind, key) in journal.with_outcome("restored")


def test_after_a_failed_rollback_restore_still_restores_it(
    bench: Bench, proxy: Proxy, moment: Moment
) -> None:
    """The journal knows that the run is deleted and not back."""
    world = bench.world
    run = world.run(world.experiment(age=FRESH))
    plan = bench.report()
    moment.at_delete_of(("run", run), lambda: _need(world, "run", run))
    proxy.fail("POST", "runs/restore$", faults.FORBIDDEN, times=float("inf"))
    bench.prune(plan, env=_through(proxy), codes=(PARTIAL,))
    assert ("run", run) in bench.state().trashed
    bench.cli("restore", bench.journal_path(plan), "--yes").expect(0)
    assert ("run", run) in bench.state().active


def _need(world: World, kind: str, key: str) -> None:
    """Let somebody need a run or an experiment."""
    if kind == "run":
        world.version(world.model(), run_id=key)
    else:
        world.run(key, age=NOW, status="RUNNING")


# Interrupted between the delete and the look back.


def _stopped_after_delete(
    bench: Bench, proxy: Proxy, plan: Plan, sig: signal.Signals, kind: str, *, answered: bool
) -> Outcome:
    """Apply the plan and send ``sig`` after its only delete, before or after the answer."""
    running: list[Running] = []

    def strike() -> None:
        while not running:  # the process may be faster than the line below
            pass
        running[0].kill(sig)

    path = f"{kind}s/delete$"
    if answered:
        # The look back begins with the registry.
        def arm() -> None:
            proxy.before("GET", "registered-models/search$", strike)

        proxy.before("POST", path, arm)
    else:
        proxy.fail("POST", path, Fault("stopped when it was carried out", then=strike))
    command = ["prune", plan.path, "--journal", bench.journal_path(plan)]
    running.append(bench.cli.start(*command, env=_through(proxy)))
    return running[0].wait()


@pytest.mark.parametrize("answered", [True, False], ids=["answered", "unanswered"])
@pytest.mark.parametrize("kind", ["run", "experiment"])
@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "SIGINT"])
def test_stopped_before_the_post_delete_check_the_same_prune_makes_up_for_it(
    bench: Bench, proxy: Proxy, moment: Moment, sig: signal.Signals, kind: str, *, answered: bool
) -> None:
    """A second session begins with what the first one left open."""
    world = bench.world
    home = world.experiment(age=FRESH if kind == "run" else 100.0)
    key = world.run(home) if kind == "run" else home
    plan = bench.report()
    moment.at_delete_of((kind, key), lambda: _need(world, kind, key))
    stopped = _stopped_after_delete(bench, proxy, plan, sig, kind, answered=answered)
    moment.check()
    if sig is signal.SIGKILL:
        assert stopped.code == -signal.SIGKILL
        assert (kind, key) not in bench.state().active
    else:
        assert stopped.code == 128 + signal.SIGINT
    proxy.forget()
    outcome, journal = bench.prune(plan, env=_through(proxy), torn=True)
    assert (kind, key) in bench.state().active, str(outcome)
    assert (kind, key) in journal.with_outcome("restored")


@pytest.mark.parametrize("kind", ["run", "experiment"])
def test_a_post_delete_check_that_cannot_be_made_is_made_by_the_next_prune(
    bench: Bench, proxy: Proxy, moment: Moment, kind: str
) -> None:
    """The server answers nonsense right after the delete: an error, and a second session."""
    world = bench.world
    home = world.experiment(age=FRESH if kind == "run" else 100.0)
    key = world.run(home) if kind == "run" else home
    plan = bench.report()

    def need_and_break() -> None:
        _need(world, kind, key)
        proxy.fail("GET", "registered-models/search$", faults.HTML_200, times=float("inf"))

    moment.at_delete_of((kind, key), need_and_break)
    bench.prune(plan, env=_through(proxy), codes=(1,))
    moment.check()
    proxy.forget()
    _, journal = bench.prune(plan, env=_through(proxy))
    assert (kind, key) in bench.state().active
    assert (kind, key) in journal.with_outcome("restored")


def test_what_is_needed_of_an_old_trash_comes_back_with_its_experiment(
    bench: Bench, proxy: Proxy
) -> None:
    """Restored by hand, or registered, since the experiment was deleted; the rest goes back."""
    world = bench.world
    home = world.experiment()
    by_hand, registered, plain = trash = [world.run(home) for _ in range(3)]
    for run in trash:
        world.delete_run(run)
    plan = bench.report()
    assert plan.experiments == {home}

    def meanwhile() -> None:
        world.restore_run(by_hand)
        world.version(world.model(), run_id=registered, age=FRESH)

    def strike() -> None:
        _need(world, "experiment", home)
        # The look back begins with the registry.
        proxy.before("GET", "registered-models/search$", meanwhile)

    proxy.before("POST", "experiments/delete$", strike)
    outcome, journal = bench.prune(plan, env=_through(proxy))
    state = bench.state()
    assert {("experiment", home), ("run", by_hand), ("run", registered)} <= state.active
    assert ("run", plain) in state.trashed
    assert journal.with_outcome("restored") == {("experiment", home), ("run", registered)}
    assert f"run {registered} came back" in outcome.err


# What an earlier session settled.


def test_what_a_completed_prune_deleted_is_not_touched_by_a_later_one(bench: Bench) -> None:
    """Registered afterwards, or restored, changed and deleted by hand: that is not ours."""
    world = bench.world
    home = world.experiment(age=FRESH)
    registered, by_hand, plain = (world.run(home) for _ in range(3))
    experiment = world.experiment()
    plan = bench.report()
    bench.prune(plan)
    world.version(world.model(), run_id=registered)
    world.restore_run(by_hand)
    world.tag_run(by_hand, "note", "seen, not needed")
    world.delete_run(by_hand)
    world.call("POST", "experiments/restore", {"experiment_id": experiment})
    world.run(experiment, age=NOW, status="RUNNING")
    world.delete_experiment(experiment)
    before = bench.state()
    outcome, journal = bench.prune(plan)
    assert bench.state() == before
    assert not journal.with_outcome("restored")
    assert "WARNING" not in outcome.err
    assert ("run", plain) in before.trashed


@pytest.mark.smoke
def test_a_run_that_somebody_else_deleted_is_not_rolled_back(
    bench: Bench, proxy: Proxy, moment: Moment
) -> None:
    """Only what this prune deleted is its own to bring back."""
    world = bench.world
    home = world.experiment(age=FRESH)
    ours, theirs = world.run(home), world.run(home)
    plan = bench.report()
    world.delete_run(theirs)
    moment.at_delete_of(("run", ours), lambda: world.version(world.model(), run_id=theirs))
    _, journal = bench.prune(plan, env=_through(proxy))
    moment.check()
    assert {("run", ours), ("run", theirs)} <= bench.state().trashed
    assert journal.skips == {("run", theirs): "already_deleted"}
    assert not journal.with_outcome("restored")
