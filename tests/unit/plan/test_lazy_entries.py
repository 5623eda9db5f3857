"""Lists of a plan that are parsed entry by entry."""

from __future__ import annotations

import json
from array import array

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit import worlds

from mlflow_gc.domain.kinds import kinds_of
from mlflow_gc.plan.diff import diff_plans
from mlflow_gc.plan.digest import plan_id
from mlflow_gc.plan.lazy_entries import Chosen, Entries, where
from mlflow_gc.plan.reader import read_plan
from mlflow_gc.plan.schema import problems
from mlflow_gc.plan.verification import inconsistencies, unknown_expectations
from mlflow_gc.plan.writer import render

KINDS = kinds_of({})

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=6)


@given(DOCUMENTS)
def test_entries_are_what_they_were_made_of(documents):
    entries = Entries.of(documents)
    assert list(entries) == documents
    assert entries == documents
    assert len(entries) == len(documents)
    assert [entries[n] for n in range(len(entries))] == documents
    assert [entries[-n - 1] for n in range(len(entries))] == documents[::-1]
    assert list(entries[1:4]) == documents[1:4]
    assert list(entries[1:][::-1]) == documents[1:][::-1]
    assert bool(entries) == bool(documents)
    assert json.loads(b"[" + bytes(entries.text) + b"]") == documents
    for beyond in (len(documents), -len(documents) - 1):
        with pytest.raises(IndexError):
            entries[beyond]


@given(DOCUMENTS.filter(bool))
def test_entries_are_read_where_they_stand_in_a_file(documents):
    text = bytes(Entries.of(documents).text)
    content = b'{\n"runs": [\n' + text + b"\n]\n}\n"
    start = content.index(b"[\n") + 2
    assert Entries.read(content, start, start + len(text)) == documents


def test_lists_that_run_into_each_other_are_read_in_one_piece(tmp_path):
    """The second list lacks the line end that others find its own end by."""
    path = tmp_path / "plan.json"
    content = (
        b'{\n"experiments": [\n{"a":1}\n],\n"runs": [\n{"a":2}],\n'
        b'"model_versions": [\n{"a":3}\n]\n}\n'
    )
    path.write_bytes(content)
    assert read_plan(path) == orjson.loads(content)


@pytest.mark.parametrize(
    "line",
    [
        b'{"a": 1}',  # as somebody's editor leaves it
        b'{"a":1,"a":2}',
        b'{"a":1.0}  ',
        b'{"a":"\\u0061"}',
        b'{"a":01}',
        b'{"a":',
        b"",
    ],
)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_line_that_is_not_as_we_write_it_makes_the_list_another_readers_matter(line, at):
    lines = [b'{"b":1}'] * 2
    lines.insert(at, line)
    content = b",\n".join(lines)
    try:
        assert Entries.read(content, 0, len(content)) is None
    except ValueError:
        with pytest.raises(ValueError):
            orjson.loads(line)


@given(DOCUMENTS, st.randoms())
def test_chosen_entries_stay_in_the_order_wanted(documents, rng):
    entries = Entries.of(documents)
    indexes = list(range(len(documents)))
    rng.shuffle(indexes)
    wanted = [documents[n] for n in indexes]
    chosen = Chosen(entries, array("Q", indexes))
    assert list(chosen) == wanted
    assert chosen == wanted
    assert list(chosen[1:]) == wanted[1:]
    assert list(Chosen(documents, indexes)) == wanted
    long = [d for d in documents if len(d) > 1]
    assert list(where(entries, lambda d: len(d) > 1)) == long


def test_what_is_changed_outside_stays_outside():
    entries = Entries.of([{"tags": {"a": "b"}}])
    entries[0]["tags"]["a"] = "c"
    assert entries == [{"tags": {"a": "b"}}]
    assert entries != [{"tags": {"a": "c"}}]
    assert entries != Entries.of([])
    assert entries != ({"tags": {"a": "b"}},)
    assert repr(entries) == "<1 entries>"


@given(worlds.inventories(), worlds.inventories())
def test_a_plan_means_the_same_with_lists_and_with_entries(folder, found, later):
    """In its digest, its faults and what it differs in."""
    plans = []
    for inventory in (found, later):
        plan = worlds.plan_of(inventory)
        path = folder / "plan.json"
        path.write_bytes(render(plan))
        read = read_plan(path)
        path.write_text(json.dumps(plan))
        in_one_piece = read_plan(path)
        for kind in KINDS:
            assert isinstance(in_one_piece[kind], list)
            assert isinstance(read[kind], Entries) == bool(plan[kind])
            assert isinstance(read["protected"][kind], Entries) == bool(plan["protected"][kind])
        assert read == in_one_piece == plan
        assert render(read) == render(plan)
        assert plan_id(read) == plan_id(plan)
        for check in (inconsistencies, unknown_expectations, lambda p: problems(p, "plan")):
            assert check(read) == check(plan) == []
        plans.append((plan, read))
    (base, base_read), (head, head_read) = plans
    assert diff_plans(base_read, head_read) == diff_plans(base, head)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", ["deleted", "retained"])
def test_an_entry_that_breaks_the_schema_is_named(kind, part):
    plan = worlds.plan_of(worlds.inventory())
    holder = plan if part == "deleted" else plan["protected"]
    broken = [*holder[kind], {"no": "such thing"}]
    for entries in (broken, Entries.of(broken)):
        holder[kind] = entries
        (first, *_) = problems(plan, "plan")
        assert f"{kind}/{len(broken) - 1} lacks " in first
