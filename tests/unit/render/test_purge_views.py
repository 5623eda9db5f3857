"""Every view of a purge plan: what it is called, how it is applied, and hostile names."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from unit.retention.test_trash import (
    AS_OF,
    FIRST,
    MODEL,
    OLD,
    POLICY,
    SECOND,
    _model,
    _run,
    _trash,
)
from unit.worlds import SERVER, a_model, a_version, an_experiment

from mlflow_gc.domain.quantities import Size
from mlflow_gc.domain.timestamps import DAY_MS
from mlflow_gc.domain.trash import DanglingLink, OrphanedFiles
from mlflow_gc.plan import schema, verification
from mlflow_gc.plan.diff import diff_plans
from mlflow_gc.plan.purge_builder import Measured, build_purge_plan
from mlflow_gc.plan.verification import applicability, load_plan
from mlflow_gc.plan.writer import render
from mlflow_gc.render import html
from mlflow_gc.render.markdown import diff_markdown, plan_markdown
from mlflow_gc.render.table import spreadsheet
from mlflow_gc.render.terminal import diff_text, plan_text
from mlflow_gc.retention.policy import PurgeSettings
from mlflow_gc.retention.trash import decide_orphan, decide_trash

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow_gc.plan.document import Plan

HOSTILE = "a\x1b[31m`|<script>alert(1)</script>\n::error::"
FOREVER = replace(POLICY, expire_after_ms=None)
LINK = DanglingLink(
    "inputs", f"DATASET {HOSTILE}", f"RUN {'e' * 32}", (f"run {'e' * 32}",), None, 2
)
TOMBSTONE = replace(
    a_version("1", name=HOSTILE), current_stage="Deleted_Internal", last_updated_timestamp=OLD
)
ORPHAN = f"s3://bucket/1/{'f' * 32}"


def purge_plan(**more: Any) -> Plan:
    """A plan with something of every kind that a purge deletes."""
    dead = an_experiment("2", name=HOSTILE, lifecycle_stage="deleted", last_update_time=OLD)
    entities = (dead, _run(FIRST, run_name=HOSTILE), _run(SECOND, experiment_id="2"))
    trash = _trash(*entities, models={MODEL: replace(_model(), name=HOSTILE)}, **more)
    rows = dict.fromkeys(trash.deleted_ms, 1_000)
    policy = replace(FOREVER, purge=PurgeSettings(orphans_after_ms=1, tombstones=True))
    trash = replace(
        trash,
        rows={**rows, ("model_version", f"{HOSTILE}/1"): 3, ("link", LINK.id): 2},
        totals={"runs": 1000},
        tombstones={f"{HOSTILE}/1": TOMBSTONE},
        highest_versions={HOSTILE: 2},
        links={LINK.id: LINK},
    )
    inventory = replace(
        trash.inventory,
        registered_models={**trash.inventory.registered_models, HOSTILE: a_model(HOSTILE)},
    )
    trash = replace(trash, inventory=inventory)
    orphan = OrphanedFiles(ORPHAN, f"run {'f' * 32}", 7, 1, OLD)
    decisions = decide_trash(trash, policy)
    found = {**decisions.by_key, ("file", ORPHAN): decide_orphan(orphan, policy, {})}
    sizes = {("run", FIRST): Size(12_400_000_000, 3_120)}
    measured = Measured(sizes=sizes, row_bytes=400, orphans={ORPHAN: orphan})
    return build_purge_plan(trash, replace(decisions, by_key=found), policy, SERVER, measured)


def _text(plan: Plan, **options: Any) -> str:
    out = io.StringIO()
    plan_text.show(plan, Console(file=out, width=200), path="p.json", everything=True, **options)
    return out.getvalue()


def test_it_is_a_valid_plan_that_survives_its_file(tmp_path: Path) -> None:
    plan = purge_plan()
    assert not schema.problems(plan, "plan")
    counts = {kind: plan["summary"][kind]["delete"] for kind in ("runs", "experiments")}  # type: ignore[literal-required]
    assert counts == {"runs": 2, "experiments": 1}
    kinds = ("logged_models", "files", "model_versions", "links")
    assert [len(plan[kind]) for kind in kinds] == [1, 1, 1, 1]  # type: ignore[literal-required]
    path = tmp_path / "plan.json"
    path.write_bytes(render(plan))
    again = load_plan(path)
    assert render(again) == render(plan)
    assert verification.file_problems(again) == []
    document = json.loads(path.read_bytes())
    assert purge_plan()["plan_id"] == document["plan_id"]


def test_each_view_says_what_is_freed_and_how_to_apply_it() -> None:
    plan = purge_plan()
    views = [_text(plan), plan_markdown.show(plan, file_name="p.json"), "".join(html.show(plan))]
    for view in views:
        assert "Purge plan" in view
        assert "Prune plan" not in view
        assert "purge p" in view
        assert "prune p" not in view
        assert "12.4 GB" in view
        assert "\x1b[31m" not in view
    assert not [view for view in views[1:] if "<script>alert" in view]
    assert "of an older version" not in views[2]
    assert "run … is in no table" in views[2]
    for view in views:
        assert MODEL in view
        assert ORPHAN in view
        assert "e" * 32 in view
    assert "4,005 rows of the database (about 1.6 MB)" in views[0]


def test_ages_count_from_the_deletion() -> None:
    """The time that decides, not the last activity of a run."""
    plan = purge_plan(stamps={("run", FIRST): AS_OF - 45 * DAY_MS})
    (first,) = [run for run in plan["runs"] if run["run_id"] == FIRST]
    assert first["deleted_time"] != first["last_activity_time"]
    lines = _text(plan).splitlines()
    assert [line for line in lines if "1 run, 45 days in the trash" in line]
    assert [line for line in lines if f"! {FIRST}  45 d" in line]
    (runs,) = [line for line in lines if line.startswith("runs ")]
    assert runs.endswith("31 to 45 days")


def test_the_table_has_every_entity() -> None:
    plan = purge_plan()
    lines = b"".join(spreadsheet.ndjson_pieces(plan)).splitlines()
    kinds = {json.loads(line)["kind"] for line in lines}
    assert kinds == {"run", "experiment", "logged_model", "file", "model_version", "link"}


def test_two_of_them_are_compared() -> None:
    versions = (a_model(), a_version("1", run_id=FIRST))
    base, head = purge_plan(), purge_plan()
    assert not diff_plans(base, head)["different"]
    dead = an_experiment("2", name=HOSTILE, lifecycle_stage="deleted", last_update_time=OLD)
    trash = _trash(dead, _run(FIRST), *versions)
    trash = replace(trash, rows=dict.fromkeys(trash.deleted_ms, 1), totals={"runs": 1000})
    smaller = build_purge_plan(trash, decide_trash(trash, FOREVER), FOREVER, SERVER, Measured())
    changes = diff_plans(base, smaller)
    assert changes["different"]
    out = io.StringIO()
    later = applicability(smaller)
    names = {"base": "a", "head": "b", "everything": True}
    diff_text.diff(changes, later, Console(file=out, width=200), plan=smaller, **names)
    text = diff_markdown.diff(changes, later, plan=smaller, head="b", most_bytes=None)
    for view in (out.getvalue(), text):
        assert MODEL in view
        assert ORPHAN in view
        assert "purge b" in view


@pytest.mark.parametrize("action", ["prune", "purge"])
def test_the_action_decides_which_kinds_are_listed(action: str) -> None:
    plan = {**purge_plan(), "action": action}
    if action == "prune":
        del plan["policy"]["purge"]
    text = _text(plan)  # type: ignore[arg-type]
    assert ("logged models" in text) == (action == "purge")
