"""One life of a plan on a server of each version: report, check, prune, restore, and again.

All of it runs once per version; the tests judge what came out, each one step.  What is true in the
server is read from its tables.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from compat.content import SINCE_MODELS, SINCE_TRACES, Content, settle
from support import oracle
from support.plans import Journal, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compat.conftest import Served
    from compat.environments import Environment
    from support.cli import Cli, Outcome


_REDACTED = frozenset(
    {
        "description",
        "last_updated_time",
        "run_id",
        "run_link",
        "source",
        "status_message",
        "user_id",
    }
)


@dataclass
class Step:
    """A command, how it ended, and what was in the server's tables afterwards."""

    outcome: Outcome
    rows: oracle.Rows


@dataclass
class Life:
    """What happened on one server, step by step.

    Attributes:
        content: what was in it.
        state: its entities before the first step.
        rows: its tables before the first step.
        path: of the plan.
        database_path: of the plan that was read from the database.
        steps: name -> step.
    """

    content: Content
    state: oracle.State
    rows: oracle.Rows
    path: Path
    database_path: Path
    steps: dict[str, Step] = field(default_factory=dict)

    @property
    def plan(self) -> Plan:
        """The plan that was read over REST."""
        self.steps["report"].outcome.expect(0)
        return Plan.load(self.path)

    @property
    def journal(self) -> Path:
        """The journal of the first prune."""
        return self.path.with_suffix(".journal.jsonl")

    def changes(self, first: str, last: str) -> dict[oracle.Row, set[str]]:
        """What changed in the tables from one step to another; "" is the beginning."""
        before = self.steps[first].rows if first else self.rows
        found = oracle.changes(before, self.steps[last].rows)
        for row, columns in found.items():
            # What else changes in the tombstone of a version depends on the version of MLflow.
            if row[0] == "model_versions" and "current_stage" in columns:
                found[row] = columns - _REDACTED
        return found


@pytest.fixture(scope="session")
def life(
    served: Served,
    environment: Environment,
    program: Cli,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Life]:
    """Fill the server and run all steps, whatever comes of them."""
    directory = tmp_path_factory.mktemp(f"life-{environment.version}")
    as_of_ms = (int(time.time()) - 600) * 1000 + 123
    world = served.world(as_of_ms)
    content = settle(world, environment.number)
    found = Life(
        content,
        oracle.look(served.database),
        oracle.rows(served.database),
        directory / "plan.json",
        directory / "database.json",
    )
    options = ("--as-of", world.as_of)
    journal = ("--journal", found.journal)
    for name, args in {
        "report": ("report", "-o", found.path, *options),
        "database": (
            *("report", "-o", found.database_path, *options),
            *("--backend-store-uri", served.database_uri),
        ),
        "check": ("check", found.path, "--detailed-exitcode"),
        "dry run": ("prune", found.path, *journal, "--dry-run"),
        "prune": ("prune", found.path, *journal),
        "prune again": ("prune", found.path, *journal),
        "restore": ("restore", found.journal, "--yes"),
        "check restored": ("check", found.path),
        "prune restored": ("prune", found.path, *journal),
        "restore again": ("restore", found.journal, "--yes"),
    }.items():
        outcome = program(*args, env={"MLFLOW_TRACKING_URI": served.uri})
        found.steps[name] = Step(outcome, oracle.rows(served.database))
    yield found
    world.close()


def test_every_entity_has_an_expectation(life: Life) -> None:
    content = life.content
    groups = [set(content.deleted), set(content.protected), set(content.retained)]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert set.union(*groups) == life.state.active
    assert set(content.trashed) == life.state.trashed


@pytest.mark.column("report")
def test_a_report_over_rest(life: Life, environment: Environment) -> None:
    content, plan = life.content, life.plan
    assert {e: content.deleted[e] for e in content.deleted.keys() - plan.entities} == {}
    assert _expected(content, plan.entities - content.deleted.keys()) == {}
    reasons = {entity: set(plan.protection(entity)) for entity in content.protected}
    assert reasons == {entity: {reason} for entity, reason in content.protected.items()}
    assert not [e for e in (*content.retained, *content.trashed) if plan.protection(e)]
    document = plan.document
    assert document["complete"] is True
    assert document["applyable"] is True
    assert [d["code"] for d in document["diagnostics"]] == ["malformed_tag"]
    assert document["server"]["mlflow_version"] == environment.version
    assert document["server"]["capabilities"] == {
        "accounts": False,
        "aliases": True,
        "logged_models": environment.number >= SINCE_MODELS,
        "traces": environment.number >= SINCE_TRACES,
    }
    assert life.changes("", "report") == {}


@pytest.mark.column("database")
def test_a_report_from_the_database(life: Life) -> None:
    step = life.steps["database"]
    assert life.changes("report", "database") == {}
    if step.outcome.code == 0:
        plan = Plan.load(life.database_path)
        assert plan.entities == life.content.deleted.keys()
        assert plan.document["protected"] == life.plan.document["protected"]
        for kind in ("experiments", "runs", "model_versions"):
            assert plan.document[kind] == life.plan.document[kind]
        return
    step.outcome.expect(5)
    assert "has the schema" in step.outcome.err
    assert "Use the URI of the server alone" in step.outcome.err
    assert not life.database_path.exists()
    pytest.skip("refused: another schema")


@pytest.mark.column("check")
def test_a_check_finds_all_as_planned(life: Life) -> None:
    life.steps["check"].outcome.expect(0)
    assert life.changes("database", "check") == {}
    life.steps["dry run"].outcome.expect(0)
    assert life.changes("check", "dry run") == {}
    life.steps["check restored"].outcome.expect(0)


@pytest.mark.column("prune")
def test_a_prune_deletes_what_the_plan_lists_and_nothing_else(life: Life) -> None:
    """Every other row of every table is what it was, column for column."""
    life.steps["prune"].outcome.expect(0)
    assert life.changes("dry run", "prune") == _changes_of_prune(life.content)
    journal = Journal.load(life.journal)
    assert journal.with_outcome("deleted") == life.content.deleted.keys()
    assert journal.with_outcome("failed") == set()


@pytest.mark.column("prune")
def test_a_second_prune_finds_nothing_to_do(life: Life) -> None:
    life.steps["prune again"].outcome.expect(0)
    assert life.changes("prune", "prune again") == {}


@pytest.mark.column("restore")
def test_a_restore_brings_back_all_but_versions(life: Life) -> None:
    """As it was before, but for the times that the server stamps itself."""
    life.steps["restore"].outcome.expect(0)
    assert life.changes("", "restore") == _changes_of_restore(life.content)


@pytest.mark.column("restore")
def test_what_was_restored_can_be_pruned_and_restored_again(life: Life) -> None:
    """But for the experiments: the server has stamped them when they were restored."""
    life.steps["prune restored"].outcome.expect(0)
    expected = _changes_of_prune(life.content, experiments=False)
    assert life.changes("", "prune restored") == expected
    life.steps["restore again"].outcome.expect(0)
    assert life.changes("", "restore again") == _changes_of_restore(life.content)


def _expected(content: Content, entities: set[oracle.Entity]) -> dict[oracle.Entity, str]:
    """What was expected of these, for a message."""
    everything = {**content.deleted, **content.protected, **content.retained, **content.trashed}
    return {entity: everything.get(entity, "nothing known") for entity in entities}


def _changes_of_prune(content: Content, *, experiments: bool = True) -> dict[oracle.Row, set[str]]:
    found: dict[oracle.Row, set[str]] = {}
    for kind, key in content.deleted:
        if kind == "run":
            found["runs", key] = {"lifecycle_stage", "deleted_time"}
        elif kind == "experiment":
            stage = {"lifecycle_stage"} if experiments else set()
            found["experiments", key] = {"last_update_time", *stage}
    return found | _stamped(content)


def _changes_of_restore(content: Content) -> dict[oracle.Row, set[str]]:
    experiments = [key for kind, key in content.deleted if kind == "experiment"]
    return {("experiments", key): {"last_update_time"} for key in experiments} | _stamped(content)


def _stamped(content: Content) -> dict[oracle.Row, set[str]]:
    """What a restore does not bring back: versions, and the deletion times of the old trash."""
    # docs/explanation/mlflow-facts.md#deleting-again-resets-the-clock
    found = {("runs", run_id): {"deleted_time"} for run_id in content.revived}
    has_workspaces = "workspace" in content.world.columns("model_versions")
    where = "default/" if has_workspaces else ""
    for kind, key in content.deleted:
        if kind == "model_version":
            found["model_versions", where + key] = {"current_stage"}
            model = key.rpartition("/")[0]
            found["registered_models", where + model] = {"last_updated_time"}
    return found
