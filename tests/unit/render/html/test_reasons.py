"""Reasons in groups, and protections in words."""

from __future__ import annotations

import pytest
from unit.busy_server import busy_plan
from unit.worlds import AS_OF

from mlflow_gc.domain.reasons import Reason
from mlflow_gc.render.common.reason_text import protection_text, reason_group


@pytest.mark.parametrize(
    ("reason", "group"),
    [
        ("FINISHED, no activity for 412 days", "FINISHED, no activity for N days"),
        ("FINISHED, no activity for 1 day", "FINISHED, no activity for N days"),
        ("RUNNING, no sign of life for 61 days", "RUNNING, no sign of life for N days"),
        ("all its 40 runs are deleted", "all its N runs are deleted"),
        ("its only run is deleted", "its only run is deleted"),
        ("stage None, no alias, not the highest version",) * 2,
        ("IRREVERSIBLE: its assessments are deleted permanently",) * 2,
        ("since 2026-05-01T10:02:11.123Z", "since …"),
        ("rule tier 1 days",) * 2,
        ("rule keep 30 days",) * 2,
        ("tag mlflow_gc.ttl=14d",) * 2,
        ("model v2 days-off x.1 runs", "model v2 days-off x.1 runs"),
        ("", ""),
    ],
)
def test_what_is_of_one_entity_alone_is_left_out(reason, group):
    assert reason_group(reason) == group


def test_a_thousand_runs_have_a_handful_of_groups():
    plan = busy_plan(1_000, AS_OF)
    kinds = ("experiments", "runs", "model_versions")
    reasons = {reason_group(r) for kind in kinds for e in plan[kind] for r in e["reasons"]}
    assert 3 <= len(reasons) <= 12


def test_every_protection_has_words():
    for reason in Reason:
        if reason is not Reason.CHANGED:  # at prune time only, never in a plan
            assert protection_text(reason.value) != reason.value.replace("_", " "), reason
    assert protection_text("of_a_newer_version") == "of a newer version (of_a_newer_version)"
