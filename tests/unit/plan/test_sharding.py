"""Parts of a plan for several machines."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_gc.errors import ExitCode, UsageProblem
from mlflow_gc.plan.sharding import Shard, part_of

KINDS = ("experiments", "runs", "model_versions", "registered_models")
LISTS = {*KINDS, "logged_models", "files", "links"}


def a_plan(runs=(), experiments=(), versions=(), models=()):
    """A plan as far as it matters: runs as (id, experiment, parent)."""
    return {
        "plan_id": "sha256:0",
        "runs": [{"run_id": r, "experiment_id": e, "parent_run_id": p} for r, e, p in runs],
        "experiments": [{"experiment_id": e} for e in experiments],
        "model_versions": [{"name": name, "version": v} for name, v in versions],
        "registered_models": [{"name": name} for name in models],
    }


@st.composite
def plans(draw):
    count = draw(st.integers(0, 40))
    runs = [
        (
            f"r{n}",
            f"e{draw(st.integers(0, 4))}",
            # A parent may be a run of the plan, one outside, or none.
            draw(st.sampled_from([None, None, "elsewhere", *(f"r{m}" for m in range(n))])),
        )
        for n in range(count)
    ]
    return a_plan(
        draw(st.permutations(runs)),
        draw(st.permutations([f"e{n}" for n in range(6)])),
        draw(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("123")), unique=True)),
        draw(st.lists(st.sampled_from("xyz"), unique=True)),
    )


@st.composite
def purge_plans(draw):
    """Purge plans as far as it matters."""
    entities = [
        (f"x{n}", f"e{draw(st.integers(0, 4))}", draw(st.booleans()))
        for n in range(draw(st.integers(0, 40)))
    ]
    links = draw(st.lists(st.sampled_from("xyz"), unique=True))
    return {
        **a_plan(
            [(i, e, None) for i, e, is_model in entities if not is_model],
            [f"e{n}" for n in range(6)],
            draw(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("123")), unique=True)),
        ),
        "action": "purge",
        "logged_models": [
            {"model_id": i, "experiment_id": e} for i, e, is_model in entities if is_model
        ],
        "files": [{"uri": uri} for uri in draw(st.lists(st.sampled_from("xyz"), unique=True))],
        "links": [{"table": "inputs", "source": f"run {i}", "destination": ""} for i in links],
    }


def parts(plan, count):
    return [part_of(plan, Shard(number, count)) for number in range(1, count + 1)]


@given(plans() | purge_plans(), st.integers(1, 7))
def test_the_parts_together_are_the_plan(plan, count):
    found = parts(plan, count)
    for kind in plan.keys() & LISTS - {"experiments"}:
        together = [entry for part in found for entry in part.plan[kind]]
        assert sorted(map(str, together)) == sorted(map(str, plan[kind]))
    for entry in plan["experiments"]:
        holders = [part for part in found if entry in part.plan["experiments"]]
        assert holders
        shared = {entry["experiment_id"] in part.shared_experiments for part in holders}
        assert shared == {len(holders) > 1}


@given(plans() | purge_plans(), st.integers(1, 7))
def test_an_experiment_is_deleted_if_its_runs_are(plan, count):
    for part in parts(plan, count):
        contents = [*part.plan["runs"], *part.plan.get("logged_models", ())]
        theirs = {entry["experiment_id"] for entry in contents}
        planned = {e["experiment_id"] for e in plan["experiments"]}
        here = {e["experiment_id"] for e in part.plan["experiments"]}
        assert theirs & planned <= here


@given(plans(), st.integers(1, 7))
def test_nested_trees_stay_together(plan, count):
    shard_of = {
        run["run_id"]: number
        for number, part in enumerate(parts(plan, count))
        for run in part.plan["runs"]
    }
    for run in plan["runs"]:
        if run["parent_run_id"] in shard_of:
            assert shard_of[run["run_id"]] == shard_of[run["parent_run_id"]]
    orphans = [r["run_id"] for r in plan["runs"] if r["parent_run_id"] == "elsewhere"]
    assert len({shard_of[run_id] for run_id in orphans}) <= 1


@given(plans() | purge_plans(), st.integers(1, 7))
def test_versions_of_a_model_stay_together(plan, count):
    of_model = Counter(
        name
        for part in parts(plan, count)
        for name in {v["name"] for v in part.plan["model_versions"]}
    )
    assert set(of_model.values()) <= {1}


@given(plans() | purge_plans(), st.integers(1, 7), st.randoms())
def test_every_machine_comes_to_the_same_parts(plan, count, rng):
    lists = plan.keys() & LISTS
    turned = {**plan, **{kind: rng.sample(plan[kind], len(plan[kind])) for kind in lists}}
    for one, other in zip(parts(plan, count), parts(turned, count), strict=True):
        for kind in lists:
            assert sorted(map(str, one.plan[kind])) == sorted(map(str, other.plan[kind]))


def test_one_large_experiment_is_shared_out_evenly():
    plan = a_plan([(f"r{n}", "e", None) for n in range(1000)], ["e"])
    found = parts(plan, 8)
    assert [len(part.plan["runs"]) for part in found] == [125] * 8
    assert all(part.shared_experiments == {"e"} for part in found)


def test_an_experiment_whose_rows_stay_is_in_one_shard():
    runs = [(f"r{n}", "e", None) for n in range(10)]
    plan = {**a_plan(runs, ["e"]), "action": "purge", "policy": {"purge": {"keep": "rows"}}}
    found = parts(plan, 3)
    assert [len(part.plan["experiments"]) for part in found] == [1, 0, 0]
    assert not any(part.shared_experiments for part in found)


def test_small_experiments_are_not_torn_apart():
    runs = [(f"r{e}-{n}", f"e{e}", None) for e in range(40) for n in range(5)]
    found = parts(a_plan(runs, [f"e{e}" for e in range(40)]), 4)
    assert [len(part.plan["runs"]) for part in found] == [50] * 4
    assert not any(part.shared_experiments for part in found)


def test_the_order_of_the_plan_stays():
    runs = [(f"r{n:03}", "e", None) for n in range(50)]
    for part in parts(a_plan(runs), 3):
        ids = [run["run_id"] for run in part.plan["runs"]]
        assert ids == sorted(ids)


@pytest.mark.parametrize(
    "text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/4/4", "1 /4", "٣/٤", ""]
)
def test_what_is_no_shard_is_a_usage_error(text):
    with pytest.raises(UsageProblem, match="is not one of so many") as raised:
        Shard.parse(text)
    assert raised.value.exit_code == ExitCode.USAGE


def test_a_shard_is_written_as_it_is_read():
    assert str(Shard.parse("3/16")) == "3/16"
    assert Shard.parse("1/1") == Shard(1, 1)
