"""What must hold however a command was disturbed, and a small estate to disturb it on.

Shared by the tests that ruin answers, that kill the program, and that run it several times at once.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from support.oracle import look
from support.plans import Journal, Plan
from support.proxy import Proxy, Seen, deletions
from support.server import open_database
from support.world import FRESH, KEEP_TAG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.bench import Bench
    from support.cli import Outcome
    from support.oracle import Entity, State
    from support.world import World

ERROR, PARTIAL, REFUSED = 1, 3, 5
ENDINGS = (0, ERROR, PARTIAL, REFUSED)


# The server before and after


class Snapshot:
    """The content of a server at one moment, to be put back and compared with."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.state = look(database)
        self.rows = rows_of(database)
        self._copy = sqlite3.connect(":memory:", check_same_thread=False)
        with open_database(database) as live:
            live.backup(self._copy)

    def put_back(self) -> None:
        """Make the server hold this again."""
        with closing(sqlite3.connect(self.database, timeout=60)) as live:
            self._copy.backup(live)

    def close(self) -> None:
        """Forget the copy."""
        self._copy.close()


_STAMPS = {
    "experiments": {"last_update_time"},
    "runs": {"deleted_time"},
    "registered_models": {"last_updated_time"},
    "model_versions": {"last_updated_time"},
}
"""What the server itself writes down with its clock when something is deleted or restored."""


def rows_of(database: Path) -> dict[str, list[tuple[object, ...]]]:
    """Read everything that a server holds, apart from the clock's stamps."""
    found: dict[str, list[tuple[object, ...]]] = {}
    with open_database(database) as db:
        tables = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in sorted(tables):
            columns = [r[1] for r in db.execute(f"PRAGMA table_info('{table}')")]
            retained = ", ".join(f'"{c}"' for c in columns if c not in _STAMPS.get(table, ()))
            found[table] = sorted(db.execute(f'SELECT {retained} FROM "{table}"'), key=repr)
    return found


def assert_all_is_back(before: Snapshot, plan: Plan) -> None:
    """Everything is as ``before`` a prune, but for the model versions, which cannot come back."""
    versions = {tuple(v.rsplit("/", 1)) for v in plan.versions}

    def others(rows: dict[str, list[tuple[object, ...]]]) -> dict[str, list[tuple[object, ...]]]:
        # Rows of versions and of their tags begin or end with name and version; a version's row
        # is redacted by its deletion.
        return {
            table: [r for r in found if not any({n, int(v)} <= set(r) for n, v in versions)]
            if table.startswith("model_version")
            else found
            for table, found in rows.items()
        }

    now, then = others(rows_of(before.database)), others(before.rows)
    wrong = [table for table in then if now[table] != then[table]]
    assert not wrong, f"not as before: {wrong}"


# A small estate


@dataclass(frozen=True)
class Estate:
    """A server with something to prune, the plan for it, and what an undisturbed prune does.

    Attributes:
        bench: program and data.
        proxy: before the server.
        plan: reported without any fault.
        before: the server when it was reported.
        after: the server after an undisturbed prune.
        requests: of that prune.
        journal: of that prune.
        restoring: the requests of an undisturbed restore.
    """

    bench: Bench
    proxy: Proxy
    plan: Plan
    before: Snapshot
    after: Snapshot
    requests: list[Seen]
    journal: Path
    restoring: list[Seen]

    def fresh_journal(self) -> Path:
        """Name a journal that does not exist yet."""
        return self.bench.dir / f"{len(list(self.bench.dir.iterdir()))}.jsonl"

    def prune(self, journal: Path, env: dict[str, str] | None = None) -> Outcome:
        """Apply the plan through the proxy, and wait until no request of it is under way."""
        return self._run("prune", self.plan.path, "--journal", journal, env=env)

    def restore(self, journal: Path, env: dict[str, str] | None = None) -> Outcome:
        """Undo a prune through the proxy."""
        return self._run("restore", journal, "--yes", env=env)

    def report(self, path: Path, env: dict[str, str] | None = None) -> Outcome:
        """Report through the proxy, as of the moment of the plan."""
        return self._run("report", "-o", path, "--as-of", self.bench.world.as_of, env=env)

    def _run(self, *args: object, env: dict[str, str] | None) -> Outcome:
        outcome = self.bench.cli(*args, env={"MLFLOW_TRACKING_URI": self.proxy.uri, **(env or {})})
        self.proxy.settle()
        return outcome


def furnish(world: World) -> None:
    """Six stale runs in two stale experiments and one that stays; a tree of three across two.

    Around them is something for every kind of evidence that protects, so that evidence lost to a
    fault would show as a deletion too many.
    """
    first, second, retained = (world.experiment(name) for name in ("first", "second", "kept"))
    root = world.run(first)
    child = world.run(first, parent=root)
    world.run(second, parent=child)
    world.run(second)
    world.run(first)
    world.delete_run(world.run(first))
    world.run(retained)
    world.run(retained, status="RUNNING")
    world.run(retained, tags={KEEP_TAG: "true"})
    world.run(retained, parent=world.run(retained, age=FRESH))
    world.version(world.model("champion"), run_id=world.run(retained), aliases=["champion"])
    logged = world.logged_model(retained, world.run(retained))
    world.version(world.model("modern"), source=f"models:/{logged}")
    world.logged_model(world.experiment("only a logged model"), age=FRESH)
    world.trace(world.experiment("only a trace"), age=FRESH)
    world.experiment("kept by its owner", tags={KEEP_TAG: "true"})
    spare = world.model("spare")
    world.version(spare)
    world.version(spare, description="the second")
    world.version(spare, age=FRESH)
    # What was touched within minutes is read again and again, which only costs the tests time.
    world.sql(
        "UPDATE registered_models SET last_updated_time = ? WHERE name <> 'spare'",
        world.ago(FRESH),
    )


@contextmanager
def settled(bench: Bench, proxy: Proxy) -> Iterator[Estate]:
    """Furnish the server, make the plan, and run everything once without a fault."""
    furnish(bench.world)
    plan = bench.report()
    assert (len(plan.runs), len(plan.experiments), len(plan.versions)) == (6, 2, 2)
    before = Snapshot(bench.world.database)
    journal = bench.dir / "undisturbed.jsonl"
    blank = Estate(bench, proxy, plan, before, before, [], journal, [])
    proxy.forget()
    blank.prune(journal).expect(0)
    requests = proxy.seen
    after = Snapshot(bench.world.database)
    assert after.state.gone_since(before.state) == plan.entities
    assert set(deletions(requests)) == plan.entities
    proxy.forget()
    blank.restore(journal).expect(0)
    assert_all_is_back(before, plan)
    restoring = proxy.seen
    journal.with_name(f"{journal.name}.restore.jsonl").unlink()
    yield replace(blank, after=after, requests=requests, restoring=restoring)
    before.close()
    after.close()


# What holds after whatever happened


def assert_printed(outcome: Outcome) -> None:
    """An exit code of the contract, and words about a failure; a traceback fails in ``Cli``."""
    outcome.expect(*ENDINGS)
    if outcome.code:
        # What failed of many is part of the result.
        words = outcome.text if outcome.code == PARTIAL else outcome.err
        assert words.strip(), "it failed without a word"
    assert "<html" not in outcome.text.lower(), "the page itself is no message"


def sessions_of(journal: Path, *, torn: bool = False) -> list[Journal]:
    """Read a journal, session by session."""
    sessions: list[list[dict[str, Any]]] = []
    if journal.exists():
        for line in Journal.load(journal, torn=torn).lines:
            if line["type"] == "header":
                sessions.append([])
            sessions[-1].append(line)
    return [Journal(lines) for lines in sessions]


def intended(session: Journal) -> set[Entity]:
    """Return what a session announced that it would touch."""
    return {(line["kind"], i) for line in session.of_type("intent") for i in line["ids"]}


def reported_deleted(sessions: list[Journal]) -> set[Entity]:
    """Return what the sessions together call deleted, and not put back or restored later."""
    reported: set[Entity] = set()
    for record in (r for s in sessions for r in s.records):
        entity = (record["kind"], record["id"])
        if record["outcome"] == "deleted":
            reported.add(entity)
        elif record["outcome"] == "restored":
            reported.discard(entity)
    return reported


def assert_journal_is_true(journal: Path, plan: Plan, gone: set[Entity]) -> None:
    """What it calls deleted is gone, and what is gone it has at least announced."""
    sessions = sessions_of(journal, torn=True)
    reported = reported_deleted(sessions)
    assert reported <= gone, f"in the journal as deleted, and there: {sorted(reported - gone)}"
    announced = {e for s in sessions for e in intended(s)}
    assert gone <= announced, f"gone without a trace: {sorted(gone - announced)}"
    named = announced | {(r["kind"], r["id"]) for s in sessions for r in s.records}
    assert named <= plan.entities, f"not planned: {sorted(named - plan.entities)}"


def assert_journal_is_complete(journal: Path, plan: Plan) -> None:
    """All sessions together call exactly the planned entities deleted."""
    reported = reported_deleted(sessions_of(journal, torn=True))
    assert reported == plan.entities, f"not told as deleted: {sorted(plan.entities - reported)}"


def assert_only_planned(state: State, before: State, plan: Plan) -> set[Entity]:
    """Return what is gone: a part of the plan, and nothing else changed hands."""
    gone = state.gone_since(before)
    assert gone <= plan.entities, f"not in the plan: {sorted(gone - plan.entities)}"
    assert before.active - state.active == gone
    assert state.active <= before.active, "something came back"
    assert {a for a in before.aliases if f"{a[0]}/{a[2]}" not in plan.versions} == set(
        state.aliases
    )
    return gone


def _names(seen: Seen, entity: Entity) -> bool:
    """Whether a read asks for this very entity."""
    kind, key = entity
    asked = f"{seen.query}&{seen.body.decode()}"
    if kind == "run":
        return key in asked
    if kind == "experiment":
        return f"experiment_id={key}" in asked or f'"{key}"' in asked
    name, _, _ = key.rpartition("/")
    return name in asked


def assert_no_blind_repetition(requests: list[Seen]) -> None:
    """A delete is sent again only after a look at the entity, and not once it was carried out."""
    last: dict[Entity, int] = {}
    done: dict[Entity, int] = {}
    for seen in requests:
        for entity in deletions([seen]):
            if entity in last:
                between = requests[last[entity] + 1 : seen.index]
                assert any(not s.is_write and _names(s, entity) for s in between), (
                    f"{entity} is asked for again at {seen.index} without a look"
                )
            assert entity not in done, f"{entity} is deleted twice"
            last[entity] = seen.index
            if seen.upstream == 200:
                done[entity] = seen.index
