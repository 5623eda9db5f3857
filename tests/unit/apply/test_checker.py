"""Re-checks with plain data: a plan, what the server holds by now, and the finding."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from unit.worlds import (
    DETAILS,
    NEW,
    OLD,
    POLICY,
    RUN_IDS,
    a_logged_model,
    a_model,
    a_run,
    a_version,
    an_experiment,
    inventory,
    plan_of,
)

from mlflow_gc.apply.recheck.checker import (
    ExperimentEvidence,
    Finding,
    RegistryEvidence,
    RunEvidence,
    check_experiments,
    check_registered_model,
    check_runs,
    check_version,
    protected_runs,
    to_roll_back,
    without_own_changes,
)
from mlflow_gc.domain.entities import Probe
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.reasons import Link, Reason
from mlflow_gc.domain.timestamps import format_ms
from mlflow_gc.plan.document import Json
from mlflow_gc.plan.preconditions import KNOWN_KEYS
from mlflow_gc.retention.decision import protect
from mlflow_gc.retention.engine import decide
from mlflow_gc.retention.policy import Policy

RUN, CHILD, OTHER = RUN_IDS[:3]
READ_AT = 17.5
HOME = an_experiment(tags={"team": "nlp"})
"""Of all runs; new runs in it retain it, so that only runs are planned."""
ALIVE = a_run(RUN_IDS[8], end_time=NEW)


def outcome(finding: Finding) -> tuple[str | None, str]:
    assert finding.checked_at == READ_AT
    return finding.code, finding.detail


def fields(finding: Finding) -> list[str]:
    return [change["field"] for change in finding.changes]


# ---------------------------------------------------------------------------------------- runs


def recheck_runs(
    plan: Json, now: Inventory, policy: Policy = POLICY, **other: Any
) -> dict[str, Finding]:
    """Re-check all planned runs with what is there now, active or not."""
    planned = {entry["run_id"] for entry in plan["runs"]}
    found = {run_id: run for run_id, run in now.runs.items() if run_id in planned}
    active = {i: run for i, run in now.runs.items() if run.lifecycle_stage == "active"}
    evidence = RunEvidence(READ_AT, found, replace(now, runs=active), **other)
    decisions = decide(evidence.inventory, policy, protected_runs(plan["runs"], evidence))
    return check_runs(plan["runs"], evidence, policy, decisions)


def recheck_run(*now: object, **other: Any) -> Finding:
    plan = plan_of(inventory(HOME, ALIVE, a_run(RUN)))
    assert [entry["run_id"] for entry in plan["runs"]] == [RUN]
    return recheck_runs(plan, inventory(HOME, ALIVE, *now), **other)[RUN]


def test_a_run_that_is_as_planned_is_to_be_deleted() -> None:
    finding = recheck_run(a_run(RUN))
    assert outcome(finding) == (None, "")
    assert not finding.changes
    assert finding.protection is None


def test_a_run_that_was_purged_is_gone() -> None:
    assert outcome(recheck_run()) == ("gone", "it no longer exists")


def test_a_run_in_the_trash_is_already_deleted() -> None:
    finding = recheck_run(a_run(RUN, lifecycle_stage="deleted"))
    assert outcome(finding) == ("already_deleted", "it is in the trash already")


@pytest.mark.parametrize(
    ("change", "detail", "names"),
    [
        ({"status": "RUNNING"}, "status was FINISHED, is RUNNING", ["status"]),
        ({"tags": {"note": "mine"}}, "tags_digest changed", ["tags_digest"]),
        ({"run_name": "best"}, "tags_digest changed", ["run_name", "tags_digest"]),
        ({"experiment_id": "2"}, "experiment_id was 1, is 2", ["experiment_id"]),
    ],
)
def test_a_run_that_is_not_as_planned_is_changed(
    change: dict[str, Any], detail: str, names: list[str]
) -> None:
    finding = recheck_run(an_experiment("2"), a_run(RUN, **change))
    assert outcome(finding)[0] == "changed"
    assert finding.detail.startswith(detail)
    assert fields(finding)[: len(names)] == names


@pytest.mark.parametrize(
    ("field", "detail"),
    [
        ("metric_count", "metric_count was 0, is not set"),
        ("content_digest", "its parameters, datasets or models changed"),
        ("traces_digest", "its traces changed"),
        ("assessments_digest", "the assessments that name it changed"),
    ],
)
def test_a_run_whose_evidence_cannot_be_read_any_more_is_changed(field: str, detail: str) -> None:
    """The plan expects it, and nothing tells whether it is as planned."""
    plan = plan_of(inventory(HOME, ALIVE, a_run(RUN)))
    assert plan["runs"][0]["expect"][field] is not None
    unread = replace(a_run(RUN), details=replace(DETAILS, **{field: None}))
    finding = recheck_runs(plan, inventory(HOME, ALIVE, unread))[RUN]
    assert outcome(finding) == ("changed", detail)
    assert fields(finding) == [field]


def test_a_run_that_a_version_names_is_protected() -> None:
    finding = recheck_run(a_run(RUN), a_model(), a_version(run_id=RUN))
    assert finding.code == "protected"
    assert finding.protection is not None
    assert finding.protection.reason is Reason.REGISTERED_MODEL
    assert finding.protection.chain[0] == "model_version fraud/1"
    assert finding.detail == ", ".join(["registered_model", *finding.protection.chain])


def test_a_run_with_a_child_outside_the_plan_is_protected() -> None:
    finding = recheck_run(a_run(RUN), a_run(CHILD, parent=RUN))
    assert finding.protection == protect(Reason.TREE, Link("run", CHILD), "it is not in the plan")


def test_a_run_that_made_what_a_retained_run_reads_is_protected() -> None:
    made = a_logged_model(source_run_id=RUN)
    user = a_run(OTHER, model_ids=(made.model_id,))
    retained = {OTHER: protect(Reason.KEEP_TAG)}
    finding = recheck_run(a_run(RUN), made, user, retained=retained)
    assert finding.protection is not None
    assert finding.protection.reason is Reason.MODEL_IN_USE


def test_a_tree_is_retained_with_any_of_its_runs() -> None:
    plan = plan_of(inventory(HOME, ALIVE, a_run(RUN), a_run(CHILD, parent=RUN)))
    now = inventory(HOME, ALIVE, a_run(RUN), a_run(CHILD, parent=RUN))
    findings = recheck_runs(plan, now, skipped={CHILD: "it could not be read"})
    assert outcome(findings[CHILD]) == ("changed", "it could not be read")
    assert findings[RUN].code == "protected"


def test_an_owner_who_asks_for_more_time_protects() -> None:
    tagged = a_run(RUN, tags={"mlflow_gc.ttl": "3650d"})
    plan = plan_of(inventory(HOME, ALIVE, a_run(RUN)))
    plan["runs"][0]["expect"].pop("tags_digest")
    finding = recheck_runs(plan, inventory(HOME, ALIVE, tagged))[RUN]
    assert finding.code == "protected"
    assert finding.detail.startswith("tag mlflow_gc.ttl")


def test_after_the_deletion_missing_assessments_are_no_change() -> None:
    plan = plan_of(inventory(HOME, ALIVE, a_run(RUN)))
    run = a_run(RUN)
    run = replace(run, details=replace(run.details, assessments_digest="sha256:other"))
    now = inventory(HOME, ALIVE, run)
    assert recheck_runs(plan, now)[RUN].code == "changed"
    assert recheck_runs(plan, now, deleted={RUN})[RUN].code is None


def test_every_precondition_of_runs_is_compared() -> None:
    plan = plan_of(inventory(HOME, ALIVE, a_run(RUN)))
    expected = plan["runs"][0]["expect"]
    for key in KNOWN_KEYS["runs"] & expected.keys():
        entry = {**plan["runs"][0], "expect": {**expected, key: "another"}}
        finding = recheck_runs({"runs": [entry]}, inventory(HOME, ALIVE, a_run(RUN)))[RUN]
        assert (finding.code, fields(finding)) == ("changed", [key])


# --------------------------------------------------------------------------------- experiments


def recheck_experiment(*now: object, **other: Any) -> Finding:
    entries = plan_of(inventory(an_experiment()))["experiments"]
    (entry,) = entries
    found = inventory(*now, **other.pop("inventory", {}))
    active = {i: e for i, e in found.experiments.items() if e.lifecycle_stage == "active"}
    seen = replace(found, experiments=active)
    evidence = ExperimentEvidence(READ_AT, found.experiments, seen, **other)
    return check_experiments(entries, evidence, POLICY, decide(seen, POLICY))[
        entry["experiment_id"]
    ]


def test_an_experiment_that_is_as_planned_is_to_be_deleted() -> None:
    assert outcome(recheck_experiment(an_experiment())) == (None, "")


def test_an_experiment_that_was_purged_is_gone() -> None:
    assert outcome(recheck_experiment()) == ("gone", "it no longer exists")


def test_an_experiment_in_the_trash_is_already_deleted() -> None:
    finding = recheck_experiment(an_experiment(lifecycle_stage="deleted"))
    assert outcome(finding) == ("already_deleted", "it is in the trash already")


def test_an_experiment_of_another_name_is_changed() -> None:
    finding = recheck_experiment(an_experiment(name="mine"))
    assert outcome(finding) == ("changed", "name was exp-1, is mine")
    assert finding.changes == ({"field": "name", "planned": "exp-1", "current": "mine"},)


def test_an_experiment_with_active_runs_is_not_deleted() -> None:
    finding = recheck_experiment(an_experiment(), a_run(RUN))
    assert outcome(finding) == ("changed", "1 active runs in it")


def test_an_experiment_with_a_keep_tag_is_protected() -> None:
    finding = recheck_experiment(an_experiment(tags={"mlflow_gc.keep": "true"}))
    assert finding.protection is not None
    assert finding.protection.reason is Reason.KEEP_TAG


def test_an_experiment_with_traces_is_protected() -> None:
    probes = {"probes": {"1": Probe(has_traces=True)}}
    finding = recheck_experiment(an_experiment(), inventory=probes)
    assert finding.protection is not None
    assert finding.protection.reason is Reason.HAS_TRACES


def test_an_experiment_that_was_not_looked_into_is_changed() -> None:
    finding = recheck_experiment(an_experiment(), inventory={"probes": {}})
    assert outcome(finding)[0] == "changed"


RENAMED_MS = NEW + 1


@pytest.mark.parametrize(
    ("name", "updated_ms", "is_after_delete", "planned"),
    [
        ("freed", RENAMED_MS, False, True),
        ("freed", RENAMED_MS + 6 * 60 * 1000, False, False),
        ("freed", RENAMED_MS + 6 * 60 * 1000, True, True),
        ("somebody's", RENAMED_MS, False, False),
        ("somebody's", RENAMED_MS, True, False),
    ],
)
def test_what_this_plan_renamed_is_as_planned(
    name: str, updated_ms: int, is_after_delete: bool, planned: bool
) -> None:
    experiment = an_experiment(name=name, last_update_time=updated_ms)
    entry = {"name": "exp-1", "last_update_time": format_ms(OLD)}
    before = without_own_changes(
        experiment, entry, [("freed", RENAMED_MS)], is_after_delete=is_after_delete
    )
    assert before.name == ("exp-1" if planned else name)
    assert before.last_update_time == (OLD if planned or is_after_delete else updated_ms)


# ------------------------------------------------------------------------------------ registry

MODEL = a_model(creation_timestamp=OLD)
LOWER, HIGHER = a_version("1"), a_version("2", last_updated_timestamp=NEW)


def recheck_version(*now: object, **other: Any) -> Finding:
    plan = plan_of(inventory(MODEL, LOWER, HIGHER))
    (entry,) = plan["model_versions"]
    evidence = RegistryEvidence(READ_AT, inventory(*now), **other)
    return check_version(entry, evidence, POLICY)


def test_a_version_that_is_as_planned_is_to_be_deleted() -> None:
    assert outcome(recheck_version(MODEL, LOWER, HIGHER)) == (None, "")


def test_a_version_that_does_not_exist_is_gone() -> None:
    assert outcome(recheck_version()) == ("gone", "it no longer exists")


def test_a_version_that_was_described_is_changed() -> None:
    described = replace(LOWER, description="in production")
    finding = recheck_version(MODEL, described, HIGHER)
    assert outcome(finding) == ("changed", "tags_digest changed")
    assert fields(finding) == ["tags_digest", "description"]


def test_a_version_that_got_an_alias_is_protected() -> None:
    model = replace(MODEL, aliases={"1": ("champion",)})
    finding = recheck_version(model, LOWER, HIGHER, aliases=("champion",))
    assert finding.protection is not None
    assert finding.protection.reason is Reason.ALIAS
    assert fields(finding) == ["aliases"]


def test_a_version_that_is_the_highest_by_now_is_protected() -> None:
    finding = recheck_version(MODEL, LOWER)
    assert finding.protection is not None
    assert finding.protection.reason is Reason.HIGHEST_VERSION


def test_a_version_of_a_model_whose_name_is_refused_is_protected() -> None:
    finding = recheck_version(refusal="Invalid name")
    assert finding.protection == protect(Reason.REFUSED_NAME, Link("registered_model", "fraud"))


def recheck_model(*now: object, **other: Any) -> Finding:
    policy = replace(POLICY, default=replace(POLICY.default, empty_model_ms=1))
    plan = plan_of(inventory(MODEL), policy)
    (entry,) = plan["registered_models"]
    return check_registered_model(
        entry, RegistryEvidence(READ_AT, inventory(*now), **other), policy
    )


def test_a_registered_model_that_is_as_planned_is_to_be_deleted() -> None:
    assert outcome(recheck_model(MODEL)) == (None, "")


def test_a_registered_model_that_does_not_exist_is_gone() -> None:
    assert outcome(recheck_model()) == ("gone", "it no longer exists")


def test_a_registered_model_with_versions_is_protected() -> None:
    finding = recheck_model(MODEL, LOWER, HIGHER)
    assert outcome(finding) == ("protected", "it has 2 versions now")


def test_a_registered_model_that_was_described_is_changed() -> None:
    finding = recheck_model(replace(MODEL, description="in production"))
    assert outcome(finding) == ("changed", "tags_digest changed")


def test_a_registered_model_whose_name_is_refused_is_protected() -> None:
    finding = recheck_model(refusal="Invalid name")
    assert re.match("refused_name, registered_model fraud", finding.detail)


# ------------------------------------------------------------------------------------ rollback


def test_only_what_is_needed_is_rolled_back() -> None:
    codes = (None, "changed", "protected", "gone", "already_deleted")
    findings = {str(code): Finding(code) for code in codes}
    assert {*to_roll_back(findings)} == {"changed", "protected"}
