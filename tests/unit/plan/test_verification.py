from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from unit import worlds
from unit.worlds import POLICY

from mlflow_gc.domain.entities import (
    CLOCK_SKEW,
    INCOMPLETE_SCAN,
    PARTIAL_VIEW,
    SCAN_TOO_LONG,
    Diagnostic,
)
from mlflow_gc.domain.timestamps import DAY_MS, now_ms, parse_time
from mlflow_gc.errors import Refused
from mlflow_gc.plan import schema, verification
from mlflow_gc.plan.verification import applicability, is_only_a_forecast, verify_applyable
from mlflow_gc.retention.policy import Evidence

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


def test_a_plan_expires_with_the_last_millisecond(monkeypatch):
    plan = worlds.plan_of(worlds.inventory())
    expires = parse_time(plan["expires_at"])
    for moment, may in ((expires - 1, True), (expires, False), (expires + 1, False)):
        monkeypatch.setattr(verification, "now_ms", lambda moment=moment: moment)
        assert applicability(plan).may_be_applied is may


def _doubtful(days_ago, *codes, blocks=True, **policy):
    return _plan(days_ago, diagnostics=[Diagnostic(c, "Why.", blocks) for c in codes], **policy)


def test_what_helps_is_said():
    for code, words in (
        (PARTIAL_VIEW, "--accept-partial-view"),
        (PARTIAL_VIEW, "administrator"),
        (INCOMPLETE_SCAN, "Fix the cause"),
        (SCAN_TOO_LONG, "max_scan_duration"),
        (CLOCK_SKEW, "Set the clock"),
        ("of a newer version", "Fix the cause"),
    ):
        plan = _doubtful(1, code)
        assert words in applicability(plan).advice
        with pytest.raises(Refused) as refused:
            verify_applyable(plan, PATH)
        assert words in refused.value.hint
    assert "--as-of" in applicability(_plan(-1)).advice
    both = applicability(_doubtful(1, PARTIAL_VIEW, INCOMPLETE_SCAN)).advice
    assert "administrator" in both
    assert "Fix the cause" in both
    # A skew that is only noted is not what has to be mended.
    assert "Set the clock" not in applicability(_doubtful(-1, CLOCK_SKEW, blocks=False)).advice


def test_a_forecast_that_is_nothing_else():
    accepting = Evidence(accept_partial_view=True)
    assert is_only_a_forecast(_plan(-1))
    assert is_only_a_forecast(_doubtful(-1, CLOCK_SKEW, blocks=False))
    assert is_only_a_forecast(_doubtful(-1, PARTIAL_VIEW, evidence=accepting))
    assert not is_only_a_forecast(_plan(1))
    assert not is_only_a_forecast(_doubtful(-1, PARTIAL_VIEW))
    assert not is_only_a_forecast(_doubtful(-1, INCOMPLETE_SCAN, evidence=accepting))
    assert not is_only_a_forecast(_doubtful(-1, CLOCK_SKEW))


@pytest.mark.parametrize("wrong", ["../x", "a/b", "x' OR '1", "", ".", "x" * 300, "a b", "ä"])
def test_an_id_that_mlflow_does_not_have_keeps_to_no_schema(wrong):
    """It stands in filters and paths of requests."""
    plan = worlds.plan_of(worlds.inventory(worlds.an_experiment(), worlds.a_run()), POLICY)
    assert not schema.problems(plan, "plan")
    for kind, key in (
        ("runs", "run_id"),
        ("runs", "experiment_id"),
        ("experiments", "experiment_id"),
    ):
        (entry,) = plan[kind]
        known = entry[key]
        entry[key] = wrong
        assert schema.problems(plan, "plan"), (kind, key)
        entry[key] = known
    assert not schema.problems(plan, "plan")


def test_a_machine_that_does_not_know_the_time_zone_may_not_apply_it():
    """At once, and not at the first tag or keep rule that asks for it, amid the deletions."""
    plan = _plan(1)
    plan["policy"]["time_zone"] = "Mars/Olympus"
    with pytest.raises(Refused, match="time zone 'Mars/Olympus'"):
        verify_applyable(plan, PATH)
