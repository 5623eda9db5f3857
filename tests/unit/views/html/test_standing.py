"""Whether a plan may be applied is said before anything else."""

from __future__ import annotations

import pytest
from unit.busy_server import busy_plan
from unit.views.html.reading import read
from unit.worlds import AS_OF

from mlflow_gc.clock import now_ms
from mlflow_gc.views.html.standing import standing

PLAN = busy_plan(120, now_ms() - 3_600_000)


def told(code: str) -> list[dict[str, str]]:
    return [{"code": code, "message": f"about {code}"}]


@pytest.mark.parametrize(
    ("changes", "problems", "headline", "advice"),
    [
        ({"applyable": False, "complete": False}, (), "Incomplete", "Mend the cause"),
        ({"applyable": False, "diagnostics": told("forecast")}, (), "A forecast", "--as-of"),
        ({"applyable": False, "diagnostics": told("guard")}, (), "A guard is tripped", "guard"),
        ({"applyable": False, "diagnostics": told("new")}, (), "This plan cannot be", "report"),
        ({"expires_at": "2020-01-01T00:00:00.000Z"}, (), "Expired", "report"),
        ({}, ("It was edited.",), "Not what was made", "report"),
    ],
)
def test_what_cannot_be_applied(changes, problems, headline, advice):
    plan = {**PLAN, **changes}
    found = standing(plan, problems)
    assert not found.may_be_applied
    assert found.headline.startswith(headline)
    assert advice in found.advice
    words = " ".join(read(plan, problems=problems).words)
    assert found.headline in words
    assert all(problem in words for problem in problems)
    assert all(d["message"] in words for d in plan["diagnostics"])
    assert "--expect" not in words, "no command that would be refused"


@pytest.mark.parametrize(
    "expires",
    [PLAN["expires_at"], None, "2026-02-31T00:00:00.000Z"],
    ids=["in seven days", "never", "on no day of the calendar"],
)
def test_what_can_be_applied(expires):
    plan = {**PLAN, "expires_at": expires}
    assert standing(plan, ()).may_be_applied
    assert f"--expect {plan['plan_id']}" in " ".join(read(plan).words)


def test_remarks_do_not_block():
    plan = {**PLAN, "diagnostics": told("unused_rule") * 9}
    words = " ".join(read(plan).words)
    assert "Worth a look" in words
    assert words.count("about unused_rule") == 9
    assert "3 more" in words
    assert "--expect" in words


def test_an_accepted_partial_view_is_loud_and_does_not_block():
    plan = {**PLAN, "complete": False, "diagnostics": told("partial_view")}
    words = " ".join(read(plan).words)
    assert "The scan was not complete; somebody accepted that" in words
    assert "about partial_view" in words
    assert "--expect" in words


def test_an_old_plan_is_expired():
    assert standing(busy_plan(60, AS_OF), ()).headline.startswith("Expired")
