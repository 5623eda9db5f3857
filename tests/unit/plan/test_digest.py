from __future__ import annotations

import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from unit import worlds

from mlflow_gc.domain.canonical_json import canonical, digest
from mlflow_gc.plan.digest import plan_id

_text = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from('\ue000\uffff\U00010000\U0001f600€\x00\x1f\x7f"\\/\u2028'),
    ),
    max_size=4,
)
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), _text),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_text, inner, max_size=5)),
    max_leaves=12,
)


_awkward_key = st.sampled_from(["\ue000", "\uffee", "\U00010000", "\U0001f600", "a", ""])


@given(st.one_of(_json, st.dictionaries(_awkward_key, _json, min_size=2)))
def test_it_is_the_form_of_rfc_8785(document):
    assert canonical(document) == rfc8785.dumps(document)


def test_keys_beyond_the_basic_plane_come_before_those_at_its_end():
    document = {"\uffee": 1, "\U0001f600": 2}
    assert canonical(document) == '{"\U0001f600":2,"\uffee":1}'.encode()
    assert canonical(document) == rfc8785.dumps(document)


@given(worlds.inventories())
def test_plans_too(found):
    plan = worlds.plan_of(found)
    assert canonical(plan) == rfc8785.dumps(plan)


def test_four_names_are_not_digested():
    plan = worlds.plan_of(worlds.inventory())
    for name in ("$schema", "plan_id", "created_at", "tool"):
        assert plan_id({**plan, name: "other"}) == plan["plan_id"]
    assert plan_id({**plan, "new": None}) != plan["plan_id"]
    assert digest({}).startswith("sha256:44136fa3")
