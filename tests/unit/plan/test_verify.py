from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from unit import worlds
from unit.worlds import POLICY

from mlflow_gc.clock import DAY_MS, now_ms
from mlflow_gc.errors import Refused
from mlflow_gc.inventory.entities import Diagnostic
from mlflow_gc.plan.verify import verify_applyable

PATH = Path("plan.json")


def _plan(days_ago, *, diagnostics=(), **policy):
    as_of = replace(POLICY, as_of_ms=now_ms() - int(days_ago * DAY_MS), **policy)
    return worlds.plan_of(worlds.inventory(diagnostics=diagnostics), as_of)


def test_a_plan_of_yesterday_may_be_applied():
    verify_applyable(_plan(1), PATH)
    verify_applyable(_plan(6.9), PATH)
    verify_applyable(_plan(900, expire_after_ms=None), PATH)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (_plan(7), "expired"),
        (_plan(-1), "forecast"),
        (_plan(1, diagnostics=(Diagnostic("x", "Blind.", blocks=True),)), "Blind"),
        ({**_plan(1), "applyable": False}, "cannot be applied"),
    ],
    ids=["expired", "forecast", "incomplete", "not applyable"],
)
def test_others_may_not(plan, words):
    with pytest.raises(Refused, match=words):
        verify_applyable(plan, PATH)


def test_a_machine_that_does_not_know_the_time_zone_may_not_apply_it():
    """At once, and not at the first tag or keep rule that asks for it, amid the deletions."""
    plan = _plan(1)
    plan["policy"]["time_zone"] = "Mars/Olympus"
    with pytest.raises(Refused, match="time zone 'Mars/Olympus'"):
        verify_applyable(plan, PATH)
