"""Property: a plan with any one value changed is refused."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import depth
from support.plans import UNDIGESTED, Plan, plan_digest
from support.world import FRESH, KEEP_TAG

if TYPE_CHECKING:
    from pathlib import Path

    from support.bench import Bench
    from support.cli import Cli

Address = tuple["str | int", ...]


@pytest.fixture(scope="module")
def plan(shared_bench: Bench) -> Plan:
    """A plan with entries of all kinds, planned and protected."""
    world = shared_bench.world
    experiment = world.experiment("first")
    parent = world.run(experiment)
    world.run(experiment, parent=parent, metrics={"loss": world.ago(80)})
    world.run(world.experiment(), tags={KEEP_TAG: "true"})
    world.spare_version(world.model(), description="d", tags={"a": "b"})
    world.version(world.model(), run_id=world.run(world.experiment(age=FRESH)), aliases=["blue"])
    return shared_bench.report()


def _addresses(value: Any, here: Address = ()) -> list[Address]:
    """Every place in the document that a digest must cover, containers included."""
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    found = [] if not here else [here]
    for key, child in inner:
        if here or key not in UNDIGESTED:
            found += _addresses(child, (*here, key))
    return found


def _changed(document: dict[str, Any], address: Address, value: Any) -> dict[str, Any]:
    result = copy.deepcopy(document)
    target: Any = result
    for key in address[:-1]:
        target = target[key]
    if value is _REMOVED:
        del target[address[-1]]
    else:
        target[address[-1]] = value
    return result


_REMOVED = object()

VALUES = st.one_of(
    st.just(_REMOVED),
    st.none(),
    st.booleans(),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.sampled_from(["a", "run_id"]), st.integers(0, 3), max_size=2),
)


@settings(
    max_examples=depth.chosen.examples,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_one_changed_value_is_refused(
    plan: Plan, offline_cli: Cli, tmp_path: Path, data: st.DataObject
) -> None:
    """Values of any type, at any place of the document, also removed ones."""
    address = data.draw(st.sampled_from(_addresses(plan.document)))
    edited = _changed(plan.document, address, data.draw(VALUES))
    if plan_digest(edited) == plan.plan_id:  # the same value again, or 1 and 1.0
        return
    path = tmp_path / "edited.json"
    path.write_text(json.dumps(edited))
    outcome = offline_cli("validate", path)
    assert outcome.code in {1, 5}, f"{address}\n{outcome}"


@settings(
    max_examples=round(depth.chosen.examples * 0.7),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_one_changed_character_is_refused_or_means_nothing(
    plan: Plan, offline_cli: Cli, tmp_path: Path, data: st.DataObject
) -> None:
    """One byte of the file replaced: refused, unless the document is the same to the digest."""
    raw = bytearray(plan.path.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] = data.draw(st.sampled_from(list(b'{}[]",:0123456789aefz \n\\T\x00')))
    path = tmp_path / "edited.json"
    path.write_bytes(bytes(raw))
    outcome = offline_cli("validate", path)
    try:
        same = plan_digest(json.loads(bytes(raw))) == plan.plan_id
    except ValueError:
        same = False
    if same:
        # Edits of what the digest leaves out may still break the schema.
        assert outcome.code in {0, 1, 5}
    else:
        assert outcome.code in {1, 5}, f"byte {place}\n{outcome}"
