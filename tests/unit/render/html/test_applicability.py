"""Whether a plan may be applied is said before anything else."""

from __future__ import annotations

import pytest
from unit.busy_server import busy_plan
from unit.render.html.reading import read
from unit.worlds import AS_OF

from mlflow_gc.domain.timestamps import now_ms
from mlflow_gc.plan.verification import Applicability, applicability

PLAN = busy_plan(120, now_ms() - 3_600_000)


EDITED = Applicability(("it was edited",), ("Its digest is another.",), "report", is_genuine=False)


def reported(code: str) -> list[dict[str, str]]:
    return [{"code": code, "message": f"about {code}"}]


@pytest.mark.parametrize(
    ("changes", "problems", "why", "advice"),
    [
        ({"applyable": False, "complete": False}, (), "the scan is incomplete", "Fix the cause"),
        (
            {"applyable": False, "diagnostics": reported("forecast")},
            (),
            "it is a forecast",
            "--as-of",
        ),
        (
            {"applyable": False, "diagnostics": reported("guard")},
            (),
            "a guard is exceeded",
            "guard",
        ),
        ({"applyable": False, "diagnostics": reported("new")}, (), "the plan says so", "report"),
        ({"expires_at": "2020-01-01T00:00:00.000Z"}, (), "it expired at 2020-01", "report"),
        ({"expires_at": "2026-02-31T00:00:00.000Z"}, (), "it expired at 2026-02-31", "report"),
        ({}, (EDITED,), "it was edited", "report"),
    ],
)
def test_what_cannot_be_applied(changes, problems, why, advice):
    plan = {**PLAN, **changes}
    found = applicability(plan, problems)
    assert not found.may_be_applied
    assert found.why.startswith(why)
    assert advice in found.advice
    words = " ".join(read(plan, problems=problems).words)
    assert f"This plan cannot be applied: {found.why}" in words
    assert all(sentence in words for sentence in found.details)
    assert all(d["message"] in words for d in plan["diagnostics"])
    assert "--expect" not in words, "no command that would be refused"
    assert (plan["plan_id"] in words) == found.is_genuine, "the id of another plan"


@pytest.mark.parametrize(
    "expires",
    [PLAN["expires_at"], None],
    ids=["in seven days", "never"],
)
def test_what_can_be_applied(expires):
    plan = {**PLAN, "expires_at": expires}
    assert applicability(plan).may_be_applied
    assert f"--expect {plan['plan_id']}" in " ".join(read(plan).words)


def test_remarks_do_not_block():
    plan = {**PLAN, "diagnostics": reported("unused_rule") * 9}
    words = " ".join(read(plan).words)
    assert "Worth a look" in words
    assert words.count("about unused_rule") == 9
    assert "3 more" in words
    assert "--expect" in words


def test_an_accepted_partial_view_is_loud_and_does_not_block():
    plan = {**PLAN, "complete": False, "diagnostics": reported("partial_view")}
    words = " ".join(read(plan).words)
    assert "The scan was not complete; somebody accepted that" in words
    assert "about partial_view" in words
    assert "--expect" in words


def test_an_old_plan_is_expired():
    assert applicability(busy_plan(60, AS_OF)).why.startswith("it expired at")
