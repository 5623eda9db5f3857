"""Random worlds, random interference, random order: the promises hold all the same.

A state machine fills a real server with whatever MLflow can hold, makes a plan, lets other people
work, prunes, prunes again, restores.  After each step an oracle that reads the server's own tables
(``support/machine_oracle.py``, written without a look at the program) says what must be gone and
what must still be there.

How many examples, and which: ``support/depth.py``.  ``MLFLOW_GC_SHRINK=0`` reports the first
failure as it was found.  With ``-s`` the totals are printed.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from support import depth
from support import machine_oracle as oracle
from support import machine_world as make
from support import server as store
from support.machine_world import INDEX, Builder, NewVersion
from support.plans import Journal, Plan
from support.world import FRESH, KEEP_TAG, OLD, PROMPT_TAG, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.cli import Cli
    from support.machine_oracle import Snapshot, Verdict
    from support.oracle import Entity

    from mlflow_gc.demo.server import LocalServer

STEPS = 14
SKIP_CODES = frozenset({"changed", "gone", "already_deleted", "protected", "forbidden"})

DEEDS: dict[str, list[str]] = {
    "run": [
        "resume", "metric", "tag", "keep tag", "evaluation tag", "end again", "delete", "rename",
        "running child", "old child", "adopt", "use its model", "purge",
    ],
    "version": [
        "alias", "Production", "Archived", "tag", "keep tag", "keep tag on the model",
        "prompt tag", "describe", "delete", "copy", "delete the highest", "newer version",
        "make the model again", "make the model again, old", "rename the model",
    ],
    "experiment": [
        "fresh run", "old run", "running run", "trace", "logged model", "rename", "keep tag",
        "tag", "gateway tag", "delete", "delete and restore",
    ],
    "registry": list(make.SOURCES),
    "trash": ["run", "experiment"],
}  # fmt: skip
Deed = tuple[str, str, int, int]
"""Where, what, and two numbers that choose the entities."""
DEED: st.SearchStrategy[Deed] = st.sampled_from(list(DEEDS)).flatmap(
    lambda where: st.tuples(st.just(where), st.sampled_from(DEEDS[where]), INDEX, INDEX)
)


@dataclass
class Lab:
    """What all examples share."""

    world: World
    cli: Cli
    dir: Path
    totals: Counter[str] = field(default_factory=Counter)
    serial: int = 0

    def file(self, stem: str) -> Path:
        """A path that was never used."""
        self.serial += 1
        return self.dir / f"{stem}-{self.serial}"


@dataclass
class Undo:
    """What a restore is measured by.

    Attributes:
        journal: of the prune.
        before: the server right before that prune.
        gone: the runs and experiments it deleted.
        quiet: whether nothing else has happened since.
    """

    journal: Path
    before: Snapshot
    gone: set[Entity]
    quiet: bool = True


class Machine(RuleBasedStateMachine):
    """The life of a server between a report and the last restore.

    Every rule may come at any time and does nothing when it makes no sense: with preconditions
    hypothesis would throw away each example in which the rules it wants to try are not those
    that are possible.
    """

    lab: ClassVar[Lab]

    def __init__(self) -> None:
        super().__init__()
        self.world = self.lab.world
        self.builder = Builder(self.world)
        self.plan: Plan | None = None
        self.reported: Snapshot | None = None
        self.undo: Undo | None = None
        self.settled = False
        """Whether nothing has happened since the last prune of this plan."""
        self.pruned = False
        self.repeated = False
        """Whether a prune of a settled server was tried: once is enough."""
        self.busy = False
        """Whether others have worked since the report."""
        self.failing = False
        store.empty(self.world.database)
        old = self.world.ago(OLD)
        self.world.date_experiment("0", created=old, updated=old)
        self.lab.totals["examples"] += 1

    @property
    def is_worth_a_prune(self) -> bool:
        """After others have worked; then once more; the end prunes what nobody has worked with."""
        return not (self.settled and self.repeated) if self.pruned else self.busy

    def count(self, what: str, number: int = 1) -> None:
        """Add to the totals."""
        self.lab.totals[what] += number

    def look(self) -> Snapshot:
        """The server now."""
        return oracle.look(self.world.database)

    def judge(self, now: Snapshot, plan: Plan | None = None) -> Verdict:
        """What the oracle says to ``now``."""
        return oracle.judge(
            now,
            as_of_ms=self.world.as_of_ms,
            cutoff_ms=self.world.cutoff_ms,
            plan=plan.entities if plan else None,
            before=self.reported if plan else None,
        )

    @contextlib.contextmanager
    def checking(self) -> Iterator[None]:
        """Remember that a check failed, so that the end does not bury it under another."""
        self.failing = True
        yield
        self.failing = False

    # The world

    @initialize(things=st.lists(make.ANYTHING, min_size=8, max_size=45))
    def begin(self, things: list[make.New]) -> None:
        """Something plain to delete and to meddle with, and anything on top of it."""
        self._build([*make.STOCK, *things])

    def _build(self, things: list[make.New]) -> None:
        self.builder.build(things)
        for thing in things:
            self.count(f"made {type(thing).__name__}")
            if isinstance(thing, make.NewModel):
                self.count("made NewVersion", len(thing.versions) + thing.topped)

    # The program

    @rule()
    def report_again(self) -> None:
        """A new plan, for when the last one was applied."""
        if self.plan is None or self.pruned:
            self._report()

    def _report(self) -> Plan:
        """Write a plan: all of what must go, nothing of what must stay."""
        with self.checking():
            path = self.lab.file("plan")
            self.lab.cli("report", "-o", path, "--as-of", self.world.as_of, "-q").expect(0)
            self.plan, self.pruned, self.settled = Plan.load(path), False, False
            self.repeated = self.busy = False
            self.reported = self.look()
            verdict = self.judge(self.reported)
            planned = self.plan.entities
            assert planned <= self.reported.active
            wrong = {e: why for e, why in verdict.must_be_retained.items() if e in planned}
            assert not wrong, f"planned, and must stay: {wrong}"
            forgotten = verdict.must_go(self.reported.active) - planned
            assert not forgotten, "nothing keeps them, and they are not planned:" + "".join(
                f"\n{e}: {self.plan.protection(e)}, {self.reported.entity(e)}" for e in forgotten
            )
            self.count("reports")
            for kind, _ in planned:
                self.count(f"planned {kind}")
            self.count("scanned", len(self.reported.active))
        return self.plan

    @rule(deeds=st.lists(DEED, max_size=6))
    def prune(self, deeds: list[Deed]) -> None:
        """Apply the plan, for the first time or again, after others have worked."""
        plan = self.plan or self._report()
        self._let_others_work(deeds)
        if self.is_worth_a_prune:
            self._prune_and_check(plan)

    def _prune_and_check(self, plan: Plan) -> None:
        with self.checking():
            before = self.look()
            verdict = self.judge(before, plan)
            journal, path = self._prune(plan)
            after = self.look()
            gone = before.active - after.active
            self._check_gone(plan, journal, verdict, before, after)
            self._check_journal(plan, journal, before, after)
            if self.settled:
                assert after == before, "the second prune of a settled server changed something"
                self.count("prunes again")
            self.repeated = self.settled
            self._remember(path, before, gone)

    def _prune(self, plan: Plan) -> tuple[Journal, Path]:
        path = self.lab.file("journal")
        self.lab.cli("prune", plan.path, "--journal", path, "-q").expect(0)
        self.count("prunes")
        return (Journal.load(path) if path.exists() else Journal()), path

    def _remember(self, path: Path, before: Snapshot, gone: set[Entity]) -> None:
        undoable = {entity for entity in gone if entity[0] != "model_version"}
        if undoable:
            self.undo = Undo(path, before, undoable)
        self.pruned = self.settled = True

    def _check_gone(
        self, plan: Plan, journal: Journal, verdict: Verdict, before: Snapshot, after: Snapshot
    ) -> None:
        gone = before.active - after.active
        assert gone <= plan.entities, f"never planned: {gone - plan.entities}"
        wrong = {e: why for e, why in verdict.must_be_retained.items() if e in gone}
        assert not wrong, f"deleted, and must stay: {wrong}"
        due = verdict.must_go(plan.entities & before.active)
        assert due <= gone, "nothing keeps them, and they are still there:" + "".join(
            f"\n{e}: {[r for r in journal.records if (r['kind'], r['id']) == e]}, {before.entity(e)}"
            for e in due - gone
        )
        assert not after.active - before.active, "came to life"
        for kind, key in gone:
            self.count(f"deleted {kind}")
            if kind == "experiment":
                assert not [r for r in after.runs_in(key) if r.active]

    def _check_journal(
        self, plan: Plan, journal: Journal, before: Snapshot, after: Snapshot
    ) -> None:
        """One last word on each entity of the plan, and it is true."""
        last = {(r["kind"], r["id"]): r for r in journal.records}
        assert set(last) == plan.entities, "a record for each entity of the plan, for no other"
        assert not journal.with_outcome("failed")
        self.count("put back", len(journal.with_outcome("restored")))
        for entity, record in last.items():
            alive = entity in after.active
            if record["outcome"] == "deleted":
                assert not alive, f"the journal says deleted: {entity}"
                assert entity in before.active, f"was not there to be deleted: {entity}"
            elif record["outcome"] == "restored":
                assert alive, f"the journal says restored: {entity}"
            else:
                assert record["outcome"] == "skipped"
                assert alive == (entity in before.active), f"the journal says skipped: {entity}"
                code = record["reason"]
                assert code in SKIP_CODES, f"{entity}: {code!r}"
                self.count(f"skipped: {code}")
                if alive:
                    assert code in {"changed", "protected"}, f"{entity}: {code!r}"
                elif before.entity(entity) is None:
                    assert code == "gone", f"{entity}: {code!r}"
                else:
                    assert code == "already_deleted", f"{entity}: {code!r}"

    @rule(deeds=st.lists(DEED, max_size=3))
    def restore(self, deeds: list[Deed]) -> None:
        """Undo the last prune: what it deleted lives again, and nothing else is different."""
        if self.undo is not None:
            self._let_others_work(deeds)
            self._restore_and_check(self.undo)

    def _restore_and_check(self, undo: Undo) -> None:
        with self.checking():
            before = self.look()
            outcome = self.lab.cli("restore", undo.journal, "--yes", "-q").expect(0, 3)
            after = self.look()
            there = {e for e in undo.gone if before.entity(e) is not None}
            homes = {e for e in before.active | there if e[0] == "experiment"}
            back = {
                e for e in there
                if e[0] == "experiment" or ("experiment", before.runs[e[1]].experiment_id) in homes
            }  # fmt: skip
            deleted = {e for e in undo.gone if e[0] != "model_version"}
            # A run that somebody restored is active, also in an experiment that is in the trash.
            assert (outcome.code == 0) == (deleted <= back | before.active), (
                f"3 says that something is not back: {outcome.code}, {deleted - back}, "
                f"{Journal.load(undo.journal).lines}, {[before.entity(e) for e in deleted - back]}"
            )
            expected = before.active | back
            # Nobody knows since when something is nested in a run of the old trash.
            left = {("run", r.parent) for r in after.runs.values() if r.active} & before.trash
            expected |= left & after.active
            assert after.active == expected, (
                f"not restored: {expected - after.active}; too many: {after.active - expected}"
            )
            for entity in back:
                if entity[0] == "run":
                    assert self._without_stage(after, entity) == self._without_stage(before, entity)
            if undo.quiet:
                lost = {e for e in undo.before.active if e[0] == "model_version"}
                assert after.active | lost == undo.before.active | lost | (left & after.active)
                assert after.trash == undo.before.trash - after.active
            self.count("restores")
            self.count("restores after interference", not undo.quiet)
            self.count("restored", len(back - before.active))
            self.undo, self.settled = None, False

    @staticmethod
    def _without_stage(snapshot: Snapshot, entity: Entity) -> dict[str, Any]:
        return {k: v for k, v in vars(snapshot.runs[entity[1]]).items() if k != "active"}

    # Other people

    @rule(deeds=st.lists(DEED, min_size=1, max_size=8))
    def meddle(self, deeds: list[Deed]) -> None:
        """Other people work, with what the plan lists while there is such a thing."""
        if self.plan is None:
            self._report()
        self._let_others_work(deeds)

    def _let_others_work(self, deeds: list[Deed]) -> None:
        work: dict[str, Callable[[str, int, int], None]] = {
            "run": self._work_with_a_run,
            "version": self._work_with_a_version,
            "experiment": self._work_with_an_experiment,
            "registry": self._work_with_the_registry,
            "trash": self._work_with_the_trash,
        }
        for where, what, at, other in deeds:
            work[where](what, at, other)

    def _meddle(self, what: str, deed: Callable[[Snapshot], bool]) -> None:
        if deed(self.look()):
            self.settled, self.busy = False, True
            if self.undo is not None:
                self.undo.quiet = False
            self.count(f"interference: {what}")

    def _target(self, kind: str, now: Snapshot, at: int) -> str | None:
        """A living entity, one of the plan while there is one."""
        assert self.plan is not None
        alive = {e for e in now.active if e[0] == kind}
        if kind == "run":
            # Nothing can be done to a run of a deleted experiment.
            alive = {
                e for e in alive if now.experiments[now.runs[e[1]].experiment_id].active
            }  # fmt: skip
        choice = sorted(alive & self.plan.entities) or sorted(alive)
        return choice[at % len(choice)][1] if choice else None

    def _work_with_a_run(self, what: str, at: int, other: int) -> None:
        """Somebody works with a run."""

        def deed(now: Snapshot) -> bool:
            run = self._target("run", now, at)
            if run is None:
                return False
            self._run_deed(now, what, run, other)
            return True

        self._meddle(f"run, {what}", deed)

    def _run_deed(self, now: Snapshot, what: str, run: str, other: int) -> None:
        world = self.world
        living = [e.experiment_id for e in now.experiments.values() if e.active]
        home = living[other % len(living)]
        if what == "resume":
            world.resume(run)
        elif what == "metric":
            world.metric(run, world.as_of_ms)
        elif what == "tag":
            world.tag_run(run, "note", "still of use")
        elif what == "keep tag":
            world.tag_run(run, KEEP_TAG, "true")
        elif what == "evaluation tag":
            world.tag_run(run, *make.EVALUATION_TAG)
        elif what == "end again":
            body = {"run_id": run, "status": "FINISHED", "end_time": world.as_of_ms}
            world.call("POST", "runs/update", body)
        elif what == "delete":
            world.delete_run(run)
        elif what == "rename":
            world.call("POST", "runs/update", {"run_id": run, "run_name": "another name"})
        elif what == "running child":
            world.run(home, parent=run, status="RUNNING")
        elif what == "old child":
            world.run(home, parent=run)
        elif what == "adopt":
            runs = sorted(r.run_id for r in now.runs.values() if r.active)
            world.sql(
                "INSERT OR REPLACE INTO tags (key, value, run_uuid)"
                " VALUES ('mlflow.parentRunId', ?, ?)",
                run,
                runs[other % len(runs)],
            )
        elif what == "use its model":
            model_id = world.logged_model(now.runs[run].experiment_id, run)
            user = world.run(home, age=FRESH)
            with store.open_database(world.database) as db:
                make.link(db, "RUN_INPUT", "MODEL_INPUT", user, model_id)
        else:
            world.purge_run(run)

    def _work_with_the_registry(self, source: str, at: int, other: int) -> None:
        """Somebody registers a model from a run, in one of the many ways to say which."""
        named = bool(other % 2)

        def deed(now: Snapshot) -> bool:
            run = self._target("run", now, at)
            if run is None:
                return False
            self._register(now, run, source, named, other)
            return True

        self._meddle(f"registered by {source}{' and run_id' if named else ''}", deed)

    def _register(self, now: Snapshot, run: str, source: str, named: bool, other: int) -> None:
        home = now.runs[run].experiment_id
        builder = Builder(
            self.world, [home], [(run, home)], [], [], sorted(now.versions), self._free_serial()
        )
        name = self.world.model(f"new {builder.serial}")
        with store.open_database(self.world.database) as db:
            builder.version(
                db,
                name,
                NewVersion(
                    source, "the run" if named else "nothing", 0, other * 4 + 1, "now", "None",
                    False, "plain",
                ),
            )  # fmt: skip

    def _free_serial(self) -> int:
        self.builder.serial += 100
        return self.builder.serial

    def _work_with_a_version(self, what: str, at: int, _: int) -> None:
        """Somebody works with a registered model."""

        def deed(now: Snapshot) -> bool:
            version = self._target("model_version", now, at)
            if version is None:
                return False
            self._version_deed(now, what, version)
            return True

        self._meddle(f"version, {what}", deed)

    def _version_deed(self, now: Snapshot, what: str, version: str) -> None:
        world = self.world
        name = version.rpartition("/")[0]
        if what == "alias":
            world.alias(version, "champion")
        elif what in {"Production", "Archived"}:
            world.stage(name, now.versions[version].key.rpartition("/")[2], what)
        elif what == "tag":
            world.tag_version(version, "note", "still of use")
        elif what == "keep tag":
            world.tag_version(version, KEEP_TAG, "true")
        elif what == "keep tag on the model":
            world.tag_model(name, KEEP_TAG, "true")
        elif what == "prompt tag":
            world.tag_version(version, PROMPT_TAG, "true")
        elif what == "describe":
            world.describe(version, "still of use")
        elif what == "delete":
            world.delete_version(version)
        elif what == "copy":
            world.version(
                world.model(f"copy {self._free_serial()}"), source=f"models:/{version}", age=FRESH
            )
        elif what == "delete the highest":
            highest = max(v.version for v in now.versions.values() if v.name == name)
            world.delete_version(f"{name}/{highest}")
        elif what == "newer version":
            world.version(name, age=FRESH)
        elif what == "rename the model":
            body = {"name": name, "new_name": f"renamed {self._free_serial()}"}
            world.call("POST", "registered-models/rename", body)
        else:
            count = max(v.version for v in now.versions.values() if v.name == name)
            world.call("DELETE", "registered-models/delete", {"name": name})
            world.model(name)
            for _ in range(count):
                world.version(name, age=OLD - 1 if what.endswith("old") else 0)
            world.version(name, age=FRESH)

    def _work_with_an_experiment(self, what: str, at: int, _: int) -> None:
        """Somebody works in an experiment."""

        def deed(now: Snapshot) -> bool:
            experiment = self._target("experiment", now, at)
            if experiment is None or (experiment == "0" and "delete" in what):
                return False
            self._experiment_deed(what, experiment)
            return True

        self._meddle(f"experiment, {what}", deed)

    def _experiment_deed(self, what: str, experiment: str) -> None:
        world = self.world
        if what == "fresh run":
            world.run(experiment, age=FRESH)
        elif what == "old run":
            world.run(experiment)
        elif what == "running run":
            world.run(experiment, status="RUNNING")
        elif what == "trace":
            world.trace(experiment)
        elif what == "logged model":
            world.logged_model(experiment)
        elif what == "rename":
            body = {"experiment_id": experiment, "new_name": f"renamed {self._free_serial()}"}
            world.call("POST", "experiments/update", body)
        elif what == "keep tag":
            world.tag_experiment(experiment, KEEP_TAG, "true")
        elif what == "tag":
            world.tag_experiment(experiment, "note", "still of use")
        elif what == "gateway tag":
            world.tag_experiment(experiment, *make.GATEWAY_TAG)
        else:
            world.delete_experiment(experiment)
            if what == "delete and restore":
                world.call("POST", "experiments/restore", {"experiment_id": experiment})

    def _work_with_the_trash(self, kind: str, at: int, _: int) -> None:
        """Somebody restores something by hand."""

        def deed(now: Snapshot) -> bool:
            choice = sorted(key for k, key in now.trash if k == kind)
            if not choice:
                return False
            body = {f"{kind}_id": choice[at % len(choice)]}
            self.world.call("POST", f"{kind}s/restore", body)
            return True

        self._meddle(f"{kind}, restored by hand", deed)

    def teardown(self) -> None:
        """No example ends without a prune and its undoing."""
        if self.failing:
            return
        if not self.pruned:
            self._prune_and_check(self.plan or self._report())
        if self.undo is not None:
            self._restore_and_check(self.undo)
        self.count("examples to the end")


@pytest.fixture
def lab(server: LocalServer, as_of_ms: int, cli: Cli, tmp_path: Path) -> Iterator[Lab]:
    """One server for all examples."""
    world = World(server.uri, server.database, as_of_ms)
    yield Lab(world, cli, tmp_path)
    world.close()


@pytest.mark.smoke
@pytest.mark.timeout(36_000)
def test_whatever_happens_only_what_may_go_goes_and_all_of_it(
    lab: Lab, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """See the module."""
    shrink = os.environ.get("MLFLOW_GC_SHRINK", "1") != "0"
    machine = type("LabMachine", (Machine,), {"lab": lab})
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=depth.chosen.state_machine,
                stateful_step_count=STEPS,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
            ),
        )
    finally:
        for what, number in sorted(lab.totals.items()):
            record_testsuite_property(f"state machine: {what}", number)
            print(f"{number:7} {what}")
    assert lab.totals["deleted run"] > 0
    assert lab.totals["skipped: changed"] > 0
    assert lab.totals["restores after interference"] > 0
