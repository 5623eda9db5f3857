"""No view leaves out a kind: a prune plan and a purge plan with a deletion of each of theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from unit.render.hostile_plans import with_all_kinds
from unit.render.screens import log, shown
from unit.render.test_plan_text import small
from unit.render.test_purge_views import purge_plan

from mlflow_gc.domain.kinds import ALL, EXPERIMENT, IRREVERSIBLE_FIRST, LINK, kinds_of, ordered
from mlflow_gc.plan.diff import diff_plans
from mlflow_gc.plan.document import Plan, deletions_of
from mlflow_gc.plan.verification import applicability
from mlflow_gc.render.common.lines import counted
from mlflow_gc.render.common.plan_summary import deletes
from mlflow_gc.render.markdown import diff_markdown, plan_markdown
from mlflow_gc.render.terminal import diff_text, plan_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow_gc.domain.kinds import Kind


def prune_plan() -> Plan:
    return cast("Plan", with_all_kinds(small(), irreversible=False))


@pytest.mark.parametrize("kinds", [ordered(LINK, EXPERIMENT), IRREVERSIBLE_FIRST])
def test_an_order_has_each_kind_once(kinds: tuple[Kind, ...]) -> None:
    assert len(kinds) == len(ALL)
    assert {*kinds} == {*ALL}


@pytest.mark.parametrize("make", [prune_plan, purge_plan])
def test_each_kind_is_in_each_list_of_deletions(make: Callable[[], Plan]) -> None:
    plan = make()
    numbers = {kind: len(deletions_of(plan, kind)) for kind in kinds_of(plan)}
    assert all(numbers.values()), "the plan of this test needs a deletion of each kind"
    assert deletes(plan) == numbers
    console = log()
    plan_text.show(plan, console, path="p.json", everything=True)
    nothing: Any = {**plan, **{kind: [] for kind in numbers}}
    changes = diff_markdown.diff(diff_plans(nothing, plan), applicability(plan, []))
    markdown = plan_markdown.show(plan, None, file_name="p.json")
    for kind, number in numbers.items():
        for view in (shown(console), markdown):
            assert f"Delete {counted(kind, number)}" in view
    assert changes.count(" new</summary>") == len(numbers)


@pytest.mark.parametrize("make", [prune_plan, purge_plan])
def test_what_has_a_name_is_named_in_a_diff(make: Callable[[], Plan]) -> None:
    plan, named = make(), [kind for kind in ALL if kind.has_name]
    for kind in named:
        name = {kind.display_name: f"the {kind.name}"}
        plan = cast("Plan", {**plan, kind.entries: [{**e, **name} for e in plan[kind.entries]]})
    nothing: Any = {**plan, **{kind: [] for kind in kinds_of(plan)}}
    found, may = diff_plans(nothing, plan), applicability(plan, [])
    console = log()
    diff_text.diff(found, may, console, everything=True)
    for kind in named:
        if kind.entries in kinds_of(plan):
            assert f"the {kind.name}" in shown(console)
            assert f"the {kind.name}" in diff_markdown.diff(found, may)
