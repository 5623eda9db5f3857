"""The last table: counts that add up, reasons from plan and journal, names that cannot attack."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from mlflow_gc.demo.outcome import ServerState, explain
from mlflow_gc.demo.outcome_table import outcome_tables
from mlflow_gc.errors import GcError

ATTACK = "\x1b[2J[red]x[/red]\nfake \u202eline"


def state(*runs: str, prompts: tuple[str, ...] = ()) -> ServerState:
    return ServerState(
        {
            "experiment": {"1": "fraud"},
            "run": {run: f"name of {run}" for run in runs},
            "model_version": {key: key for key in ("fraud/1", *prompts)},
        },
        frozenset(prompts),
    )


def plan(**protected: list[dict[str, Any]]) -> dict[str, Any]:
    empty = {"experiments": [], "runs": [], "model_versions": []}
    return {"protected": {**empty, **protected}}


def record(kind: str, entity_id: str, outcome: str, reason: str | None = None) -> dict[str, Any]:
    return {"kind": kind, "id": entity_id, "outcome": outcome, "reason": reason}


def test_everything_is_counted_once():
    outcome = explain(
        state("a", "b", "c", "d", prompts=("ask/1",)),
        state("b", "c", "d", prompts=("ask/1",)),
        plan(runs=[{"run_id": "b", "reason": "tree", "via": ["run x"]}]),
        [record("run", "a", "deleted"), record("run", "c", "skipped", "changed")],
    )
    assert outcome.before == {"experiment": 1, "run": 4, "model_version": 2}
    assert outcome.deleted == {"experiment": 0, "run": 1, "model_version": 0}
    groups = {(g.kind, g.reason): g for g in outcome.retained}
    assert {key: group.count for key, group in groups.items()} == {
        ("experiment", "not stale"): 1,
        ("run", "changed"): 1,
        ("run", "tree"): 1,
        ("run", "not stale"): 1,
        ("model_version", "prompt"): 1,
        ("model_version", "not stale"): 1,
    }
    assert groups["run", "changed"].skipped_by_prune
    assert groups["run", "tree"].via == ("run x",)


def test_what_was_tried_twice_counts_as_it_ended():
    """A journal goes on when a prune is started again."""
    outcome = explain(
        state("a"),
        state(),
        plan(),
        [record("run", "a", "failed", "server_error"), record("run", "a", "deleted")],
    )
    assert outcome.deleted["run"] == 1


def test_a_journal_that_disagrees_with_the_server_is_an_error():
    with pytest.raises(GcError, match="1 runs were deleted; 0 are gone"):
        explain(state("a"), state("a"), plan(), [record("run", "a", "deleted")])


def test_names_cannot_attack_the_terminal():
    server = ServerState({"experiment": {"1": ATTACK}, "run": {}, "model_version": {}}, frozenset())
    protected = plan(experiments=[{"experiment_id": "1", "reason": "x", "via": [ATTACK]}])
    console = Console(file=io.StringIO(), width=200, force_terminal=True, no_color=True)
    console.print(outcome_tables(explain(server, server, protected, [])))
    text = console.file.getvalue()
    assert "[2J" in text
    assert "\x1b[2J" not in text
    assert "\u202e" not in text
    assert "[red]x[/red]" in text
    assert not any(line.startswith("fake") for line in text.splitlines())
