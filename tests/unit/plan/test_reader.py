from __future__ import annotations

import copy
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import depth
from unit import worlds
from unit.worlds import RUN_IDS, a_model, a_run, a_version, an_experiment

from mlflow_gc.errors import GcError, Refused
from mlflow_gc.plan.digest import plan_id
from mlflow_gc.plan.verification import load_plan, verify
from mlflow_gc.plan.writer import render, write

FULL = worlds.plan_of(
    worlds.inventory(
        an_experiment("1", name="Größe 𝒳"),
        an_experiment("2", tags={"mlflow_gc.keep": "true"}),
        a_run(RUN_IDS[0]),
        a_run(RUN_IDS[1], parent=RUN_IDS[0], status="FAILED"),
        a_run(RUN_IDS[2], experiment_id="2"),
        a_model(aliases={"3": ("champion",)}),
        a_version("1", description="a\nb", tags={"ü": "𝒳", "\uffee": "", "\U0001f600": "x"}),
        a_version("2"),
        a_version("3"),
    )
)


def _load(path, content):
    path.write_bytes(content)
    plan = load_plan(path)
    verify(plan, path)
    return plan


@given(worlds.inventories())
def test_written_and_read_again_is_the_same_plan(folder, found):
    plan, path = worlds.plan_of(found), folder / "plan.json"
    write([render(plan)], path)
    again = load_plan(path)
    verify(again, path)
    assert again == plan
    assert render(again) == render(plan) == path.read_bytes()


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("indent", [None, 2])
def test_reformatting_changes_nothing(tmp_path, indent, ascii_only):
    text = json.dumps(FULL, indent=indent, ensure_ascii=ascii_only, sort_keys=indent is None)
    assert _load(tmp_path / "plan.json", text.encode()) == FULL


def _places(value, path=()):
    """Every value inside a document, as a path."""
    if path:
        yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        if path or key not in {"$schema", "plan_id", "created_at", "tool"}:
            yield from _places(inner, (*path, key))


def _other(value, rng):
    """Another value, of the same type where there is one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + rng.choice([1, -1, 0.5])
    if isinstance(value, str):
        at = rng.randint(0, len(value))
        return rng.choice([value[:at] + "x" + value[at:], value[1:] or "y", None])
    if value is None:
        return rng.choice(["x", 0, False])
    if isinstance(value, list):
        copies = [*value, *(value[:1] or ["x"])]
        return rng.choice([copies, value[1:] or ["y"], value[::-1]])
    return rng.choice([{**value, "new": 1}, dict(list(value.items())[1:])])


@depth.examples(7)
@given(st.sampled_from(list(_places(FULL))), st.integers(0, 2**32))
def test_any_changed_value_is_refused(folder, place, seed):
    plan = copy.deepcopy(FULL)
    holder = plan
    for key in place[:-1]:
        holder = holder[key]
    before = holder[place[-1]]
    holder[place[-1]] = _other(before, random.Random(seed))
    if json.dumps(plan, sort_keys=True) == json.dumps(FULL, sort_keys=True):
        return
    with pytest.raises(GcError):
        _load(folder / "edited.json", json.dumps(plan).encode())


@given(st.sampled_from(list(_places(FULL))))
def test_any_value_left_out_is_refused(folder, place):
    plan = copy.deepcopy(FULL)
    holder = plan
    for key in place[:-1]:
        holder = holder[key]
    del holder[place[-1]]
    with pytest.raises(GcError):
        _load(folder / "cut.json", json.dumps(plan).encode())


def test_what_is_not_digested_may_differ(tmp_path):
    plan = {**FULL, "created_at": "2030-01-01T00:00:00.000Z"}
    assert _load(tmp_path / "plan.json", render(plan)) == plan


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"complete": true', b'"complete": false,\n"complete": true'),
        (b'"run_count":2', b'"run_count":1,"run_count":2'),
        (b'"run_count":2', b'"run\\u005fcount":1,"run_count":2'),
        (b'"run_count":2', b'"run_count":2,"run_count":2'),
    ],
)
def test_a_name_twice_in_one_object_is_refused(tmp_path, old, new):
    content = render(FULL)
    assert old in content
    with pytest.raises(GcError, match="twice"):
        _load(tmp_path / "plan.json", content.replace(old, new, 1))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"NaN",
        b"{}",
        b"\xef\xbb\xbf{}",
        b'{"a": "\xff"}',
        b"[" * 5000 + b"]" * 5000,
        b'{"a": ' * 900 + b"1" + b"}" * 900,
        b'{"format": "mlflow-gc/journal"}',
        b'{"format": "mlflow-gc/prune-plan", "format_version": "1.0"}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": 1e999}',
    ],
    ids=lambda c: repr(c[:12]),
)
def test_junk_is_an_error_for_people(tmp_path, content):
    with pytest.raises(GcError):
        _load(tmp_path / "plan.json", content)


def test_a_truncated_plan_is_an_error_for_people(tmp_path):
    content = render(FULL)
    for length in range(0, len(content) - 2, 97):
        with pytest.raises(GcError):
            _load(tmp_path / "plan.json", content[:length])


def _signed(**changes):
    plan = {**copy.deepcopy(FULL), **changes}
    plan["plan_id"] = plan_id(plan)
    return render(plan)


def test_a_newer_minor_version_is_read_and_a_major_one_refused(tmp_path):
    plan = _load(tmp_path / "a", _signed(format_version="1.7", novelty=[1]))
    assert plan["novelty"] == [1]
    with pytest.raises(Refused):
        _load(tmp_path / "b", _signed(format_version="2.0"))


def test_an_unknown_expectation_is_refused(tmp_path):
    runs = copy.deepcopy(FULL["runs"])
    runs[0]["expect"]["phase_of_moon"] = "full"
    with pytest.raises(Refused, match="phase_of_moon"):
        _load(tmp_path / "plan", _signed(runs=runs))


@pytest.mark.parametrize(
    "changes",
    [
        {"runs": FULL["runs"] * 2},
        {"runs": FULL["runs"][:1]},
        {"complete": False},
        {"summary": {**FULL["summary"], "irreversible": 0}},
        {"protected": {**FULL["protected"], "experiments": FULL["experiments"]}},
    ],
    ids=["twice", "too few", "incomplete", "irreversible", "both"],
)
def test_a_plan_that_contradicts_itself_is_refused_though_its_digest_is_right(tmp_path, changes):
    with pytest.raises(GcError):
        _load(tmp_path / "plan", _signed(**changes))
