"""How a prune, a marking and a restore ended, and how to undo it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from unit.render.screens import HOSTILE, assert_harmless, lines, log, shown, terminal

from mlflow_gc.apply.outcomes import Result
from mlflow_gc.apply.restore_plan import Undo
from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.terminal import outcomes

PLAN_ID = "sha256:" + "ab" * 32


def _skip(number: int, reason: str = "changed", **other: Any) -> dict[str, Any]:
    record = {"kind": "run", "id": f"{number:032x}", "outcome": "skipped", "reason": reason}
    return {**record, "detail": "status", **other}


def test_a_prune_ends_with_counts_reasons_and_the_way_back() -> None:
    counts = Counter(
        {("run", "deleted"): 1200, ("run", "skipped:changed"): 1, ("run", "failed"): 2}
    )
    console = log()
    outcomes.outcome(
        Result(counts), [_skip(7)], console, plan_id=PLAN_ID, journal=Path("my plan.journal.jsonl")
    )
    assert lines(console) == [
        "                deleted  skipped  failed",
        "experiments           0        0       0",
        "runs              1,200        1       2",
        "model versions        0        0       0",
        "Total: 1,200 deleted, 1 skipped, 2 failed.",
        f"  not deleted: run {7:032x}  changed: status",
        f"Plan {PLAN_ID}",
        "Journal my plan.journal.jsonl",
        "Undo:   mlflow-gc restore 'my plan.journal.jsonl'",
    ]


def test_what_cannot_be_undone_offers_no_undo() -> None:
    for counts, journal in (
        ({("model_version", "deleted"): 3}, Path("j")),
        ({("run", "deleted"): 3}, None),
        ({("run", "failed"): 3}, Path("j")),
    ):
        console = log()
        outcomes.outcome(Result(Counter(counts)), [], console, plan_id=PLAN_ID, journal=journal)
        assert "Undo" not in shown(console)
        assert ("Dry run" in shown(console)) == (journal is None)


def test_a_rollback_is_prominent() -> None:
    counts = Counter({("run", "deleted"): 3, ("run", "restored"): 1})
    console = terminal(80)
    outcomes.outcome(Result(counts), [], console, plan_id=PLAN_ID, journal=Path("j"))
    assert "\x1b[1;31m1 of the deleted were rolled back at once" in console.file.getvalue()


def test_many_skips_are_cut_with_a_count_and_what_was_gone_is_only_counted() -> None:
    skips = [_skip(n) for n in range(30)] + [_skip(n, "gone") for n in range(5)]
    console = log()
    outcomes.outcome(Result(Counter()), skips, console, plan_id=PLAN_ID, journal=Path("j"))
    found = lines(console)
    assert sum(line.startswith("  not deleted: ") for line in found) == 20
    assert "  ... and 10 more" in found
    assert "  5 are gone" in found


def test_an_undo_names_what_does_not_come_back() -> None:
    undo = Undo(
        experiments={"1": {}},
        runs={"a" * 32: {"lost": "assessments"}, "b" * 32: {}},
        model_versions={f"fraud/{n}": {"run_id": "c" * 32, "source": "s3://x"} for n in range(25)},
        registered_models={"n" * 100: {}},
    )
    console = log()
    outcomes.undo(undo, console, plan_id=PLAN_ID)
    found = lines(console)
    assert found[:2] == ["Restore 1 experiment and 2 runs.", f"Plan {PLAN_ID}"]
    assert found[2].startswith("1 of the runs are restored without their assessments")
    assert found[3:5] == ["1 registered model cannot be restored:", f"  - {'n' * 100}"]
    assert found[5] == "25 model versions cannot be restored:"
    assert found[6] == f"  - fraud/0   run {'c' * 32}  s3://x"
    assert found[-1] == "  ... and 5 more (the journal names them)"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_harmless(text: str) -> None:
    console = log()
    skips = [_skip(0, id=text, detail=text), _skip(1, "failed", id=text)]
    outcomes.outcome(Result(Counter()), skips, console, plan_id=PLAN_ID, journal=Path(text or "j"))
    known = {text: {"source": text, "run_id": text}}
    outcomes.undo(Undo(model_versions=known, registered_models=known), console, plan_id=PLAN_ID)
    outcomes.restored(Counter(), skips, console, Path("j"))
    assert_harmless(console)
    assert plain(text).rstrip() in shown(console)
