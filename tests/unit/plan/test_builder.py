from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from unit import worlds
from unit.worlds import AS_OF, POLICY

from mlflow_gc.domain.entities import Diagnostic
from mlflow_gc.domain.kinds import kinds_of
from mlflow_gc.domain.timestamps import DAY_MS, now_ms
from mlflow_gc.plan import schema, verification
from mlflow_gc.plan.diff import diff_plans
from mlflow_gc.plan.preconditions import KNOWN_KEYS
from mlflow_gc.plan.writer import render
from mlflow_gc.retention.decision import Verdict
from mlflow_gc.retention.engine import decide

KINDS = kinds_of({})


@given(worlds.inventories())
def test_every_plan_keeps_the_schema_and_agrees_with_itself(found):
    plan = worlds.plan_of(found)
    assert schema.problems(plan, "plan") == []
    assert verification.inconsistencies(plan) == []
    assert verification.edited(plan) is None
    assert verification.unknown_expectations(plan) == []
    assert diff_plans(plan, plan)["different"] is False
    assert schema.problems(diff_plans(plan, plan), "diff") == []


@given(worlds.inventories())
def test_lists_are_the_decisions(found):
    decisions, plan = decide(found, POLICY), worlds.plan_of(found)
    for kind in KINDS:
        of = getattr(decisions, kind)
        for verdict, listed in (
            (Verdict.DELETE, plan[kind]),
            (Verdict.PROTECT, plan["protected"][kind]),
        ):
            ids = {
                "/".join(i) if isinstance(i, tuple) else i
                for i, d in of.items()
                if d.verdict is verdict
            }
            assert {KINDS[kind].id_of(entity) for entity in listed} == ids
            assert len(listed) == len(ids)
        assert plan["summary"][kind]["scanned"] == len(of)
        for entity in plan[kind]:
            # An experiment has that one only where its trash would lose assessments.
            optional = kind == "experiments" and entity["reversible"]
            unexpected = {"trash_assessments_digest"} if optional else set()
            assert set(entity["expect"]) == KNOWN_KEYS[kind] - unexpected


@given(worlds.inventories(), st.integers(0, 2**32))
def test_the_order_in_which_things_were_read_leaves_no_trace(found, seed):
    one, other = (worlds.plan_of(i) for i in (found, worlds.shuffled(found, seed)))
    assert render({**one, "created_at": ""}) == render({**other, "created_at": ""})


def _in_both_orders(*entities):
    found = worlds.inventory(*entities)
    for seed in range(6):
        plan = worlds.plan_of(worlds.shuffled(found, seed))
        yield render({**plan, "created_at": ""})


def test_two_experiments_at_one_location_are_told_the_same_in_any_order():
    """MLflow lets several experiments share an artifact location."""
    entities = (
        worlds.an_experiment("1", artifact_location="s3://bucket/all"),
        worlds.an_experiment("2", artifact_location="s3://bucket/all/"),
        worlds.a_model(),
        worlds.a_version(source="s3://bucket/all/somewhere/model"),
    )
    assert len(set(_in_both_orders(*entities))) == 1
    plan = worlds.plan_of(worlds.inventory(*entities))
    assert plan["experiments"] == []


def test_versions_that_are_no_numbers_are_told_the_same_in_any_order():
    """Other stores may name versions freely: tied evidence keeps."""
    entities = (worlds.a_model(), *(worlds.a_version(v) for v in ("blue", "green", "red")))
    assert len(set(_in_both_orders(*entities))) == 1


def test_a_forecast_cannot_be_applied():
    policy = replace(POLICY, as_of_ms=now_ms() + DAY_MS)
    plan = worlds.plan_of(worlds.inventory(), policy)
    assert (plan["complete"], plan["applyable"]) == (True, False)
    assert [d["code"] for d in plan["diagnostics"]] == ["forecast"]


def test_an_incomplete_scan_cannot_be_applied():
    blind = Diagnostic("incomplete_scan", "Not all runs could be read.", blocks=True)
    plan = worlds.plan_of(worlds.inventory(diagnostics=(blind,)))
    assert (plan["complete"], plan["applyable"]) == (False, False)


def test_order_of_entries_is_by_number_then_time_then_id():
    runs = [
        worlds.a_run(r, experiment_id=e, start_time=worlds.OLD - n)
        for n, (r, e) in enumerate(zip(worlds.RUN_IDS, ["10", "9", "2", "9", "10"], strict=False))
    ]
    homes = [worlds.an_experiment(e) for e in ("10", "9", "2")]
    random.Random(1).shuffle(runs)
    plan = worlds.plan_of(worlds.inventory(*homes, *runs))
    assert [e["experiment_id"] for e in plan["experiments"]] == ["2", "9", "10"]
    assert [r["run_id"][0] for r in plan["runs"]] == ["3", "4", "2", "5", "1"]


def test_no_credential_reaches_the_plan():
    secret = "https://me:hunter2@host/artifacts?sig=hunter2"
    plan = worlds.plan_of(
        worlds.inventory(
            worlds.an_experiment(artifact_location=secret),
            worlds.a_run(artifact_uri=secret),
            worlds.a_model(),
            worlds.a_version("1", source=secret),
            worlds.a_version("2"),
        )
    )
    assert plan["summary"]["irreversible"] == 1
    assert b"hunter2" not in render(plan)


def test_expiry_counts_from_as_of():
    plan = worlds.plan_of(worlds.inventory(), replace(POLICY, expire_after_ms=None))
    assert plan["expires_at"] is None
    assert worlds.plan_of(worlds.inventory())["expires_at"] == "2026-05-08T10:02:11.123Z"
    assert POLICY.expires_at_ms == AS_OF + 7 * DAY_MS
