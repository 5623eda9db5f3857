from __future__ import annotations

import pytest
from unit.worlds import CUTOFF, OLD, POLICY, a_model, a_version, inventory

from mlflow_gc.domain.reasons import Reason
from mlflow_gc.retention.decision import Verdict
from mlflow_gc.retention.engine import decide


def _of(version, *others, model=None):
    world = inventory(model or a_model(), version, a_version("99"), *others)
    return decide(world, POLICY).model_versions[version.name, version.version]


def test_an_old_plain_version_is_deleted():
    found = _of(a_version("1"))
    assert found.verdict is Verdict.DELETE
    assert found.why[0] == "not updated for 400 days"


@pytest.mark.parametrize("field", ["creation_timestamp", "last_updated_timestamp"])
@pytest.mark.parametrize(
    ("ms", "verdict"),
    [
        (CUTOFF - 1, Verdict.DELETE),
        (CUTOFF, Verdict.FRESH),
        (None, Verdict.PROTECT),
        (0, Verdict.PROTECT),
        (2**62, Verdict.PROTECT),
    ],
)
def test_age(field, ms, verdict):
    found = _of(a_version("1", **{field: ms}))
    assert found.verdict is verdict
    if verdict is Verdict.PROTECT:
        assert found.reason is Reason.UNKNOWN_TIME


@pytest.mark.parametrize(
    ("version", "model", "reason", "via"),
    [
        ({}, {"aliases": {"1": ("a", "b")}}, Reason.ALIAS, ("alias a", "alias b")),
        ({"current_stage": "Archived"}, {}, Reason.STAGE, ("stage Archived",)),
        ({"current_stage": None}, {}, Reason.STAGE, ("stage None",)),
        ({"tags": {"mlflow_gc.keep": "1"}}, {}, Reason.KEEP_TAG, ("tag mlflow_gc.keep=1",)),
        (
            {},
            {"tags": {"mlflow_gc.keep": "1"}},
            Reason.KEEP_TAG,
            ("registered_model fraud", "tag mlflow_gc.keep=1"),
        ),
        (
            {"tags": {"mlflow.prompt.is_prompt": "true"}},
            {},
            Reason.PROMPT,
            ("registered_model fraud is a prompt",),
        ),
    ],
)
def test_protected(version, model, reason, via):
    found = _of(a_version("1", **version), model=a_model(**model))
    assert (found.verdict, found.reason, found.chain) == (Verdict.PROTECT, reason, via)


def test_highest_is_by_number():
    nine, ten = a_version("9"), a_version("10")
    decisions = decide(inventory(a_model(), nine, ten), POLICY).model_versions
    assert decisions["fraud", "9"].verdict is Verdict.DELETE
    assert decisions["fraud", "10"].chain == ("highest version",)


def test_highest_without_a_stage_is_retained_though_a_staged_one_is_higher():
    staged = a_version("3", current_stage="Production")
    decisions = decide(
        inventory(a_model(), a_version("1"), a_version("2"), staged), POLICY
    ).model_versions
    assert decisions["fraud", "1"].verdict is Verdict.DELETE
    assert decisions["fraud", "2"].chain == ("highest version in stage None",)


@pytest.mark.parametrize("source", ["models:/fraud/1", "models:/fraud@gold"])
def test_the_original_of_a_copy_is_retained(source):
    copy = a_version("7", "prod", source=source, last_updated_timestamp=OLD)
    found = _of(a_version("1"), copy, model=a_model(aliases={"1": ("gold",)}))
    assert found.reason in {Reason.COPIED, Reason.ALIAS}
    if "@" not in source:
        found = _of(a_version("1"), copy)
        assert (found.reason, found.chain) == (Reason.COPIED, ("model_version prod/7",))


def test_a_version_of_a_model_that_was_not_listed_is_retained():
    decisions = decide(inventory(a_version("1"), a_version("2")), POLICY).model_versions
    assert {d.reason for d in decisions.values()} == {Reason.UNKNOWN_MODEL}
