"""What two readers could understand differently is refused, on the fast path as on the thorough one."""

from __future__ import annotations

import copy
import json

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import depth
from unit import worlds
from unit.mutants import holder_of, texts, values
from unit.worlds import RUN_IDS, a_model, a_run, a_version, an_experiment

from mlflow_gc.errors import GcError
from mlflow_gc.plan import strict_json
from mlflow_gc.plan.strict_json import parse_json, refuse_ambiguous
from mlflow_gc.plan.writer import render

longer = depth.examples(5)
PLAN = worlds.plan_of(
    worlds.inventory(
        an_experiment(name="lr=0.1,0.01 [1.5,2e9]: \\"),
        a_run(RUN_IDS[0], run_name='"": 1.5, [0.5], \\'),
        a_run(RUN_IDS[1], run_name="a\n-1.5"),
        a_model(),
        a_version("1", tags={"[": "]", '":1.5': "\\\\", ",1e5": '"'}),
        a_version("2"),
    )
)


def _output(content: bytes, *, thorough: bool) -> str:
    with pytest.MonkeyPatch.context() as patch:
        if thorough:
            patch.setattr(strict_json, "is_rendered", lambda *_: False)
        try:
            parse_json(content, "It")
        except GcError as error:
            return error.message
    return ""


def _both(content: bytes) -> str:
    """The message of both paths, after a look that it is the same."""
    output = _output(content, thorough=True)
    assert _output(content, thorough=False) == output
    return output


PLACES = [
    ("future",),
    ("experiments", 0, "future"),
    ("experiments", 0, "run_count"),
    ("runs", 0, "expect", "future"),
    ("runs", 0, "reasons"),
    ("runs", 1, "run_name"),
    ("model_versions", 0, "tags", "t"),
    ("protected", "future"),
    ("protected", "runs"),
    ("policy", "ttl_days"),
    ("statistics", "age_bounds_days"),
    ("statistics", "by_model"),
    ("diagnostics",),
    ("runs",),
    ("protected",),
    ("statistics",),
]


@longer
@given(st.sampled_from(PLACES), values, st.booleans())
@example(("runs",), [1.5], True)
@example(("runs", 0, "reasons"), ["a", "b", 0.5], True)
@example(("runs", 0, "reasons"), [["[", "]"], "]", [1e300]], True)
@example(("runs", 0, "reasons"), [{}, 2**53], True)
@example(("runs", 0, "reasons"), ["\\", "],[", '",', -1.5], True)
@example(("protected",), {}, True)
@example(("protected",), [], True)
@example(("statistics",), {"by_model": [-0.5]}, True)
@example(("future",), -(2**53), True)
@example(("future",), 2**53 - 1, True)
def test_any_value_at_any_place_gets_the_same_verdict(place, value, rendered):
    plan = copy.deepcopy(PLAN)
    holder_of(plan, place)[place[-1]] = value
    try:
        content = render(plan) if rendered else orjson.dumps(plan)
    except orjson.JSONEncodeError:
        return  # a number of more than 64 bits
    odd = [n for n in _numbers(json.loads(content)) if not _is_plain(n)]
    assert bool(_both(content)) == bool(odd)


def _numbers(value):
    if isinstance(value, dict):
        return [n for inner in value.values() for n in _numbers(inner)]
    if isinstance(value, list):
        return [n for inner in value for n in _numbers(inner)]
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


def _is_plain(number):
    return isinstance(number, int) and abs(number) <= 2**53 - 1


NUMBERS = [
    *(b"0", b"7", b"-7", b"123456789012345", b"1234567890123456", b"9007199254740991"),
    *(b"9007199254740992", b"-9007199254740991", b"-9007199254740992", b"12345678901234567890"),
    *(b"1.0", b"0.5", b"-0", b"-0.0", b"1e5", b"1E5", b"1e-5", b"-1.5E+3", b"5.0e-324"),
]


@pytest.mark.parametrize("number", NUMBERS, ids=bytes.decode)
@pytest.mark.parametrize(
    "around", [b"%b", b"[%b]", b'["a",%b]', b'[{},%b,""]', b'{"a":%b}', b'[[["\\\\"],%b]]']
)
def test_a_number_written_in_any_way(number, around):
    """Put into the bytes, for no program of ours writes most of these."""
    odd = not _is_plain(json.loads(number)) or number == b"-0"
    for place in ((b'"complete": true', b'"complete": %b'), (b'"reversible":true', b'"x":%b')):
        content = render(PLAN).replace(place[0], place[1] % (around % number))
        assert bool(_both(content)) == odd, content
    content = render(PLAN).replace(b'"runs": [\n', b'"runs": [\n%b,\n' % number, 1)
    assert bool(_both(content)) == odd


@longer
@given(st.data())
def test_changed_bytes_get_the_same_verdict(data):
    content = bytearray(render(PLAN))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        length = data.draw(st.sampled_from([0, 0, 1, 2, 9]))
        content[start : start + length] = data.draw(
            st.sampled_from([b"", b" ", b"\n", b",", b'"a":1,', b"1.5", b"0", b"-", b"[", b"]"])
            | st.sampled_from([b'"', b"\\", b"{", b"}", b"e5", b".0", b"\\u0061", b"\r\n"])
        )
    _both(bytes(content))


@given(st.dictionaries(texts, texts, min_size=1), st.data())
def test_a_name_twice_in_a_rendered_plan(tags, data):
    plan = copy.deepcopy(PLAN)
    plan["model_versions"][0]["tags"] = {**tags, "@@twice@@": data.draw(texts)}
    name = orjson.dumps(data.draw(st.sampled_from(list(tags))))
    output = _both(render(plan).replace(b'"@@twice@@"', name))
    assert output.endswith("twice in one object.")


def test_an_own_plan_never_takes_the_thorough_path(monkeypatch):
    """Names and tags that look like numbers and lists included."""
    monkeypatch.setattr(
        strict_json, "refuse_ambiguous", lambda *_: pytest.fail("the thorough path")
    )
    assert parse_json(render(PLAN), "It") == PLAN
    empty = worlds.plan_of(worlds.inventory())
    assert parse_json(render(empty), "It") == empty


@pytest.mark.parametrize("document", [{}, {"runs": 5}, {"protected": []}, {"protected": {}}])
def test_anything_can_be_rendered(document):
    """Though no schema allows it."""
    assert json.loads(render(document)) == document
    assert _both(render(document)) == ""


@pytest.mark.skipif(
    tuple(map(int, orjson.__version__.split(".")[:2])) < (3, 12), reason="older ones write deeper"
)
@pytest.mark.parametrize("depth", [200, 248, 250, 252, 253, 254, 255, 300])
def test_deep_nesting_is_refused_at_the_same_depth(depth):
    for old in (b'"complete": true', b'"reversible":true'):
        content = render(PLAN).replace(old, old[:-4] + b"[" * depth + b"]" * depth)
        assert bool(_both(content)) == (depth > 253 - 2 * old.startswith(b'"rev'))


@given(st.dictionaries(texts, values, min_size=1), st.booleans())
def test_a_line_of_a_journal_has_each_name_once(line, twice):
    """The fast path for lines as we write them; numbers of any kind may stand there."""
    try:
        content = orjson.dumps(line)
    except orjson.JSONEncodeError:
        return
    if twice:
        name = orjson.dumps(next(iter(line)))
        content = content[:-1] + b"," + name + b":1}"
        with pytest.raises(GcError, match="twice"):
            refuse_ambiguous(content, "It", numbers=False)
    else:
        refuse_ambiguous(content, "It", numbers=False)
