"""Pages of runs decoded quickly say what they say decoded with care, or are left to the latter."""

from __future__ import annotations

import json

import orjson
from hypothesis import given
from hypothesis import strategies as st
from support import depth

from mlflow_gc.backend.interface import ServerError
from mlflow_gc.backend.rest import json_parser, run_pages
from mlflow_gc.domain.tag_selection import Wanted

WANTED = Wanted(tags=frozenset({"team"}))

texts = st.text(max_size=6) | st.sampled_from(["", "m-1", "mlflow.user", "\x00", "𝄞", "[red]"])
times = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1_700_000_000_000])
tag_names = st.sampled_from(["mlflow.runName", "mlflow.parentRunId", "team", "mlflow_gc.ttl"])
# What no server should send and some proxy may: each has to be taken as the careful way takes it.
odd = st.sampled_from([None, True, 3, 7.0, 1.5, "12", "soon", "", [], {}, 2**63, 2**64 - 1, "m-1"])


def pages(may_be_odd):
    def maybe(strategy):
        return st.one_of(*[strategy] * 30, odd) if may_be_odd else strategy

    def members(required=None, **optional):
        return st.fixed_dictionaries(
            {name: maybe(strategy) for name, strategy in (required or {}).items()},
            optional={name: maybe(strategy) for name, strategy in optional.items()},
        )

    tags = st.lists(members({"key": texts | tag_names}, value=texts), max_size=4)
    value = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(["NaN", "-Infinity"])
    metric = members(key=texts, value=value, timestamp=times, step=times, model_id=texts)
    info = members(
        {"run_id": texts.filter(bool), "experiment_id": texts.filter(bool)},
        run_uuid=texts,
        run_name=texts,
        user_id=texts,
        status=st.sampled_from(["FINISHED", "RUNNING", ""]),
        lifecycle_stage=st.sampled_from(["active", "deleted"]),
        artifact_uri=texts | st.just("mlflow-artifacts:/1/m-1/artifacts"),
        start_time=times,
        end_time=times,
        of_another_version=odd,
    )
    models = st.lists(members(model_id=texts, step=times), max_size=2)
    run = members(
        {"info": info},
        data=members(tags=tags, metrics=st.lists(metric, max_size=3), params=odd),
        inputs=members(model_inputs=models, dataset_inputs=odd),
        outputs=members(model_outputs=models),
        more=odd,
    )
    return members(runs=st.lists(run, max_size=3), next_page_token=texts, more=odd)


def runs(page):
    """Return the runs of a page; None if it is not one of MLflow."""
    try:
        return [json_parser.run(entry, WANTED) for entry in page.get("runs", [])]
    except (ServerError, AttributeError, KeyError, TypeError):
        return None


def assert_same(content):
    page, known = run_pages.decode(content), orjson.loads(content)
    if page is not None:
        assert (runs(page), page.get("next_page_token")) == (
            runs(known),
            known.get("next_page_token"),
        )
    return page


@given(pages(may_be_odd=False))
@depth.examples(3.3)
def test_a_plain_page(page):
    # A page without runs is taken with care: it may be something else.
    assert (assert_same(json.dumps(page).encode()) is not None) == ("runs" in page)


@given(pages(may_be_odd=True))
@depth.examples(7)
def test_an_odd_page(page):
    """What the quick way cannot decode is left to the other one, which has the messages."""
    assert_same(json.dumps(page).encode())


def test_what_is_cut_off_is_left_to_the_careful_way():
    content = b'{"runs": [{"info": {"run_id": "r", "experiment_id": "1"}}]}'
    assert run_pages.decode(content) is not None
    assert all(run_pages.decode(content[:end]) is None for end in range(len(content)))
    assert run_pages.decode(b"<html></html>") is None


def test_other_json_is_left_to_the_careful_way():
    for content in (b"{}", b'{"message": "deploying"}', b'{"next_page_token": ""}'):
        assert run_pages.decode(content) is None
