"""``prune`` without PLAN: build a plan, show it, ask, save it, apply it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest
from support.plans import Journal, Plan
from support.world import FRESH

if TYPE_CHECKING:
    from pathlib import Path

    from support.bench import Bench
    from support.oracle import Entity
    from support.world import World

PROMPT = "yes"
"""The question says what it accepts; it is recognised by that."""


@pytest.fixture
def stale(world: World) -> set[Entity]:
    """Three runs and two irreversible versions, among fresh company."""
    experiment = world.experiment(age=FRESH)
    runs = world.bulk_runs(experiment, 3)
    world.run(experiment, age=FRESH)
    name = world.model()
    versions = [world.version(name), world.version(name)]
    world.version(name, age=FRESH)
    return {*(("run", r) for r in runs), *(("model_version", v) for v in versions)}


def _saved_plan(directory: Path) -> Plan:
    (path,) = [p for p in directory.iterdir() if p.suffix == ".json"]
    return Plan.load(path)


def test_without_a_terminal_and_without_yes_it_refuses(
    bench: Bench, stale: set[Entity], tmp_path: Path
) -> None:
    """A scheduled job must say that it means it, whatever comes on its input."""
    before = bench.state()
    for stdin in ("", "yes\n"):
        bench.cli("prune", cwd=tmp_path, stdin=stdin).expect(5, 64)
        assert bench.state() == before
    assert stale


def test_yes_prunes_without_a_question_and_saves_the_plan(
    bench: Bench, stale: set[Entity], tmp_path: Path
) -> None:
    """The saved plan and its journal tell afterwards what was done."""
    before = bench.state()
    outcome = bench.cli("prune", "--yes", cwd=tmp_path).expect(0)
    assert bench.state().gone_since(before) == stale
    plan = _saved_plan(tmp_path)
    assert plan.entities == stale
    assert plan.path.name in outcome.text.replace("\n", "")
    (journal,) = tmp_path.glob("*.journal.jsonl")
    assert Journal.load(journal).with_outcome("deleted") == stale
    bench.cli("validate", plan.path).expect(0)


def test_the_undo_of_last_night_works_after_tonight(
    bench: Bench, stale: set[Entity], tmp_path: Path
) -> None:
    """Whatever the files are called: nothing that an undo depends on is moved or overwritten."""
    runs = {entity for entity in stale if entity[0] == "run"}
    for number, names in enumerate(([], ["-o", "p.json"], ["-o", "p2.json", "--journal", "j"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        first = bench.cli("prune", "--yes", *names, cwd=folder).expect(0)
        assert runs <= bench.state().trashed
        content = {
            path: path.read_bytes() for path in folder.glob("*j*") if "plan" not in path.name
        }
        (line,) = [text for text in first.out.splitlines() if text.startswith("Undo:")]
        # Tonight nothing is deleted.  Tomorrow something is.
        bench.cli("prune", "--yes", *names, cwd=folder).expect(0)
        new = bench.world.run(bench.world.experiment(age=FRESH))
        last = bench.cli("prune", "--yes", *names, cwd=folder).expect(0)
        if not names:
            assert len([*folder.glob("prune-plan-*Z.json")]) == len(["first", "tonight", "last"])
        assert {p: b for p, b in content.items() if p.suffix != ".json"}.items() <= {
            path: path.read_bytes() for path in folder.iterdir()
        }.items()
        bench.cli(*shlex.split(line)[2:], "--yes", cwd=folder).expect(0)
        assert runs <= bench.state().active
        assert ("run", new) in bench.state().trashed
        (line,) = [text for text in last.out.splitlines() if text.startswith("Undo:")]
        bench.cli(*shlex.split(line)[2:], "--yes", cwd=folder).expect(0)
        assert ("run", new) in bench.state().active
        bench.world.delete_run(new)


def test_selecting_options_select_without_a_plan(
    bench: Bench, stale: set[Entity], tmp_path: Path
) -> None:
    """``--ttl`` and ``--as-of`` are for the plan that is built here."""
    before = bench.state()
    bench.cli("prune", "--yes", "--ttl", 200, "--as-of", bench.world.as_of, cwd=tmp_path).expect(0)
    assert bench.state() == before
    assert _saved_plan(tmp_path).document["policy"]["ttl_days"] == 200
    assert stale


def test_a_dry_run_without_a_plan_deletes_nothing_and_does_not_ask(
    bench: Bench, stale: set[Entity], tmp_path: Path
) -> None:
    """There is nothing to ask."""
    before = bench.state()
    bench.cli("prune", "--dry-run", cwd=tmp_path).expect(0)
    assert bench.state() == before
    assert stale


def test_a_forecast_is_refused_also_with_yes(
    bench: Bench, stale: set[Entity], tmp_path: Path
) -> None:
    """On the spot is the same code path."""
    before = bench.state()
    bench.cli("prune", "--yes", "--as-of", "2999-01-01T00:00:00Z", cwd=tmp_path).expect(5)
    assert bench.state() == before
    assert stale


def test_nothing_stale_needs_no_question(bench: Bench, tmp_path: Path) -> None:
    """A tidy server ends well also without a terminal when ``--yes`` is given."""
    bench.cli("prune", "--yes", cwd=tmp_path).expect(0)


def test_on_a_terminal_yes_prunes(bench: Bench, stale: set[Entity], tmp_path: Path) -> None:
    """The question names the server and how much cannot be undone."""
    before = bench.state()
    code, shown = bench.cli.ask("prune", answer="yes\n", prompt=PROMPT, cwd=tmp_path)
    assert code == 0, shown
    assert bench.state().gone_since(before) == stale
    assert bench.world.uri in shown.replace("\r\n", "")
    question = shown[: shown.index("yes")]
    assert "2" in question
    assert "undone" in question or "irreversib" in question.lower()
    assert _saved_plan(tmp_path).entities == stale


@pytest.mark.parametrize(
    "answer",
    ["y\n", "Y\n", "ja\n", "no\n", "\n", "true\n", "1\n", "yes please\n", "yess\n", "\x04"],
)
def test_on_a_terminal_anything_else_deletes_nothing(
    bench: Bench, stale: set[Entity], tmp_path: Path, answer: str
) -> None:
    """Only the word ``yes``; the end of input is no yes either."""
    before = bench.state()
    code, shown = bench.cli.ask("prune", answer=answer, prompt=PROMPT, cwd=tmp_path)
    assert bench.state() == before
    assert code in {1, 5}, shown
    assert stale


def test_ctrl_c_at_the_question_ends_with_130(
    bench: Bench, stale: set[Entity], tmp_path: Path
) -> None:
    """Nothing deleted, no traceback."""
    before = bench.state()
    code, shown = bench.cli.ask("prune", answer="\x03", prompt=PROMPT, cwd=tmp_path)
    assert bench.state() == before
    assert code == 130, shown
    assert stale


def test_a_plan_is_applied_without_a_question_on_a_terminal_too(
    bench: Bench, stale: set[Entity]
) -> None:
    """Handing over a reviewed plan is the approval."""
    plan = bench.report()
    before = bench.state()
    code, shown = bench.cli.ask("prune", plan.path, answer="", prompt="\0never\0")
    assert code == 0, shown
    assert bench.state().gone_since(before) == stale
