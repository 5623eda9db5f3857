"""Fuzzing of what reads plans: whatever a file holds, it is understood in one way or refused.

``--depth deep`` makes the random tests run longer.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import random
from pathlib import Path

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from support import depth
from unit import worlds
from unit.mutants import holder_of, mutants, places
from unit.worlds import RUN_IDS, a_model, a_run, a_version, an_experiment

from mlflow_gc.errors import ExitCode, GcError, Refused
from mlflow_gc.plan import reader as plan_reader
from mlflow_gc.plan import schema
from mlflow_gc.plan.diff import diff_plans
from mlflow_gc.plan.digest import plan_id
from mlflow_gc.plan.verification import (
    applicability,
    edited,
    file_problems,
    inconsistencies,
    load_plan,
    verify,
    verify_applyable,
)
from mlflow_gc.plan.writer import render
from mlflow_gc.render import html
from mlflow_gc.render.markdown import diff_markdown, plan_markdown
from mlflow_gc.render.terminal import diff_text, plan_text

UNDIGESTED = ("$schema", "plan_id", "created_at", "tool")
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
CONTENT = render(FULL)
longer = depth.examples(2.5)

# Words of Python and its libraries that mean nothing to the people who get the message.
_INTERNAL = ("Traceback", "<class", "object at 0x", "NoneType", "Validator", "dict_keys", "orjson")


def _printed(error, codes):
    assert error.exit_code in codes, (error.exit_code, error.message)
    for words in (error.message, error.hint or ""):
        assert len(words) <= 1000, words[:2000]
        assert not [word for word in _INTERNAL if word in words], words


def _read(path, content, codes=(ExitCode.ERROR, ExitCode.REFUSED)):
    """Return the plan as prune reads it, or None when it was refused as it should be."""
    path.write_bytes(content)
    try:
        plan = load_plan(path)
        verify(plan, path)
    except GcError as error:
        _printed(error, codes)
        return None
    return worlds.as_lists(plan)


def _independent_id(plan):
    digested = {key: value for key, value in plan.items() if key not in UNDIGESTED}
    return f"sha256:{hashlib.sha256(rfc8785.dumps(digested)).hexdigest()}"


def _shown(plan):
    """Render a plan in every view, as show and diff do; an exception fails the test."""
    for everything in (False, True):
        console = Console(file=io.StringIO(), soft_wrap=True)
        plan_text.show(plan, console, path="p.json", everything=everything)
    assert plan_text.question(plan)
    plan_markdown.show(plan).encode()
    "".join(html.show(plan)).encode()
    assert json.loads(render(plan)) == plan
    for changes in (diff_plans(FULL, plan), diff_plans(plan, FULL)):
        assert schema.problems(changes, "diff") == []
        later = applicability(plan, file_problems(plan))
        diff_text.diff(changes, later, Console(file=io.StringIO(), soft_wrap=True))
        diff_markdown.diff(changes, later).encode()
    assert diff_plans(plan, plan)["different"] is False


def _accepted(plan):
    """What must hold of each plan that was read: one meaning, one digest, and it can be shown."""
    assert plan["plan_id"] == _independent_id(plan)
    if plan["plan_id"] == FULL["plan_id"]:
        left = {**plan, **{key: FULL[key] for key in UNDIGESTED}}
        # Compared as JSON: to Python, 1, 1.0 and True are the same.
        assert json.dumps(left, sort_keys=True) == json.dumps(FULL, sort_keys=True)
    _shown(plan)
    try:
        verify_applyable(plan, Path("p.json"))
    except GcError as error:
        _printed(error, {ExitCode.REFUSED})


def _shown_though_edited(path):
    """``show`` and ``diff`` render what the schema allows, with a warning, digest or not."""
    try:
        plan = load_plan(path)
        problems = [edited(plan), *inconsistencies(plan)]
    except GcError as error:
        _printed(error, {ExitCode.ERROR, ExitCode.REFUSED})
        return
    assert all(problem is None or len(problem) <= 1000 for problem in problems)
    _shown(plan)


PLACES = [place for place in places(FULL) if place]
LISTS = [p for p in PLACES if p[-1] in {"experiments", "runs", "model_versions", "diagnostics"}]


def _sign(plan):
    """Give the plan the digest of its content, as an attacker can; False where it has none."""
    try:
        plan["plan_id"] = plan_id(plan)
    except TypeError:  # a number of more than 64 bits: no digest of ours
        return False
    return True


@longer
@given(mutants(FULL, PLACES), st.booleans(), st.booleans())
def test_a_changed_plan_is_refused_with_a_message_or_has_one_meaning(
    folder, plan, signed, ascii_only
):
    """Wrong types, missing and unknown names, odd numbers and times, at any place."""
    if signed:
        _sign(plan)
    path = folder / "mutant.json"
    content = json.dumps(plan, ensure_ascii=ascii_only).encode()
    read = _read(path, content)
    if read is not None:
        _accepted(read)
    _shown_though_edited(path)


@longer
@given(st.data())
def test_changed_bytes_are_refused_with_a_message_or_mean_the_same(folder, data):
    """Bytes flipped, cut out, doubled, put in or moved, at any place of the file."""
    content = bytearray(CONTENT)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        length = data.draw(st.sampled_from([0, 1, 1, 2, 5, 80, 5000]))
        piece = bytes(content[start : start + length])
        junk = data.draw(
            st.binary(min_size=1, max_size=4)
            | st.sampled_from([b'"', b"{", b"}", b",", b"[]", b"\\", b"\\u0000", b"\\ud800", b"-"])
            | st.sampled_from(
                [b"0", b"1.0", b"1e400", b"NaN", b"null", b'"a":1,', b"\r\n", b"/**/"]
            )
        )
        content[start : start + length] = data.draw(
            st.sampled_from([b"", junk, piece + piece, piece[::-1], piece + junk])
        )
    path = folder / "bytes.json"
    plan = _read(path, bytes(content))
    if plan is not None:
        _accepted(plan)
        assert plan["plan_id"] == FULL["plan_id"]
    _shown_though_edited(path)


@longer
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode(errors="ignore")))
@example(b"")
@example(b" \n")
@example(b"\xef\xbb\xbf" + CONTENT)
@example(CONTENT.decode().encode("utf-16"))
@example(CONTENT.decode().encode("utf-16-le"))
@example(CONTENT.decode().encode("utf-32"))
@example(CONTENT + b"\x00")
@example(b"\x00" * 4096)
@example(CONTENT + CONTENT)
@example(b"NaN")
@example(b"[" * 100_000)
@example(b"[" * 100_000 + b"]" * 100_000)
@example(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
@example(b'{"format":' + b"9" * 1_000_000 + b"}")
def test_rubbish_is_a_broken_file(folder, content):
    """Exit code 1, whatever it is."""
    assert _read(folder / "rubbish", content, codes={ExitCode.ERROR}) is None


def test_line_ends_of_windows_change_nothing(tmp_path):
    assert _read(tmp_path / "p", CONTENT.replace(b"\n", b"\r\n")) == FULL


def test_cut_off_anywhere_a_plan_is_a_broken_file(tmp_path):
    """But for the last line end, which is no part of the document."""
    for length in range(0, len(CONTENT) - 1, 53):
        assert _read(tmp_path / "p", CONTENT[:length], codes={ExitCode.ERROR}) is None
    assert _read(tmp_path / "p", CONTENT[:-1]) == FULL


def _objects(value):
    return [place for place in [(), *PLACES] if isinstance(_at(value, place), dict)]


def _at(value, place):
    for key in place:
        value = value[key]
    return value


@given(st.data())
def test_a_name_twice_at_any_depth_is_a_broken_file(folder, data):
    """Also with the same value, also written with an escape, also in fields we do not know."""
    plan = copy.deepcopy(FULL)
    plan["future"] = {"deep": [{"er": 1}]}
    _sign(plan)
    place = data.draw(st.sampled_from([*_objects(FULL), ("future",), ("future", "deep", 0)]))
    target = _at(plan, place)
    if not target:
        return
    name = data.draw(st.sampled_from(list(target)))
    target["@@twice@@"] = data.draw(st.sampled_from([target[name], None, "x"]))
    written = json.dumps(name)
    if data.draw(st.booleans()):
        written = '"' + "".join(f"\\u{ord(char):04x}" for char in name if ord(char) < 65536) + '"'
        if json.loads(written) != name:
            return
    content = json.dumps(plan).replace('"@@twice@@"', written).encode()
    path = folder / "twice.json"
    path.write_bytes(content)
    with pytest.raises(GcError, match="twice") as caught:
        load_plan(path)
    _printed(caught.value, {ExitCode.ERROR})


# Behind each of these, many JSON readers see the same number as behind another one.
NUMBERS = [
    *("1e400", "-1e400", "NaN", "Infinity", "-Infinity", "1.0", "30.0", "3e1", "-0", "-0.0", "0.1"),
    *("9007199254740992", "9007199254740993", "18446744073709551616", "1" * 40, "1" * 1_000_000),
    *("01", "+1", ".5", "1.", "0x10", "1_000"),
]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: n[:20])
@pytest.mark.parametrize("signed", [True, False])
def test_a_number_that_readers_round_is_a_broken_file(tmp_path, number, signed):
    """Else two plans with other numbers had one ``plan_id``; also in fields we do not know."""
    for place in (("policy", "ttl_days"), ("runs", 0, "future"), ("future",)):
        plan = copy.deepcopy(FULL)
        holder_of(plan, place)[place[-1]] = 30
        if signed:
            _sign(plan)
        holder_of(plan, place)[place[-1]] = "@@number@@"
        content = json.dumps(plan).replace('"@@number@@"', number).encode()
        assert _read(tmp_path / "p", content, codes={ExitCode.ERROR}) is None


@pytest.mark.parametrize("number", [0, 2**53 - 1, 1 - 2**53])
def test_a_number_that_all_readers_keep_is_read_in_fields_that_we_do_not_know(tmp_path, number):
    plan = {**copy.deepcopy(FULL), "future": [number, {"a": number}]}
    _sign(plan)
    _accepted(_read(tmp_path / "p", render(plan)))


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00", "\\ud800x", "\\udc00\\ud800"])
def test_half_a_character_is_a_broken_file(tmp_path, escape):
    """Such text can be written to no file and shown on no terminal."""
    for old in ('"name": "', '"run_name": "'):
        content = json.dumps(FULL).replace(old, old + escape, 1).encode()
        assert _read(tmp_path / "p", content, codes={ExitCode.ERROR}) is None


@pytest.mark.parametrize("depth", [50, 240, 253, 254, 260, 900, 1020, 1030])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_deep_nesting_in_a_field_that_we_do_not_know(tmp_path, depth, brackets):
    """Read and shown, or refused as a broken file; no recursion error."""
    begin, end = ("[", "]") if brackets == "[]" else ('{"a":', "}")
    plan = {**FULL, "future": "@@deep@@"}
    nested = begin * depth + "0" + end * depth
    if depth < 250:
        plan["future"] = json.loads(nested)
        _sign(plan)
        _accepted(_read(tmp_path / "p", render(plan)))
        return
    content = json.dumps(plan).replace('"@@deep@@"', nested).encode()
    _read(tmp_path / "p", content, codes={ExitCode.ERROR, ExitCode.REFUSED})


LONG = "x" * (1_000_000 if depth.chosen.smoke else 10_000_000)


@pytest.mark.parametrize(
    "place",
    [
        ("format_version",),
        ("plan_id",),
        ("as_of",),
        ("server", "identity"),
        ("diagnostics",),
        ("experiments", 0, "name"),
        ("runs", 0, "run_id"),
        ("runs", 0, "status"),
        ("runs", 0, "expect", LONG),
        ("model_versions", 0, "tags", LONG),
        ("runs", 0, LONG),
        (LONG,),
    ],
    ids=lambda place: "/".join(str(part)[:20] for part in place),
)
@pytest.mark.parametrize("signed", [True, False])
def test_millions_of_characters_do_not_fill_the_message(tmp_path, place, signed):
    """Values and names; the message quotes the beginning."""
    plan = copy.deepcopy(FULL)
    value = [{"code": "x", "message": LONG}] if place == ("diagnostics",) else LONG
    holder_of(plan, place)[place[-1]] = value
    if place == ("diagnostics",):
        plan.update(complete=False, applyable=False)
    if signed:
        _sign(plan)
    path = tmp_path / "p"
    read = _read(path, render(plan))
    if read is not None:
        assert signed
        try:
            verify_applyable(read, path)
        except GcError as error:
            _printed(error, {ExitCode.REFUSED})


@pytest.mark.parametrize("kind", ["experiments", "runs", "model_versions"])
def test_long_ids_that_contradict_do_not_fill_the_message(tmp_path, kind):
    """Listed twice, deleted and protected: the message names some, shortened.

    Of runs and experiments the schema refuses such an id before.
    """
    plan = copy.deepcopy(FULL)
    key = {"experiments": "experiment_id", "runs": "run_id", "model_versions": "name"}[kind]
    entity = {**plan[kind][0], key: "y" * 5_000}
    plan[kind] = [entity] * 50
    _sign(plan)
    code = ExitCode.REFUSED if kind == "model_versions" else ExitCode.ERROR
    assert _read(tmp_path / "p", render(plan), codes={code}) is None


def test_a_folder_and_a_device_are_no_plans(tmp_path):
    """A device may never end (/dev/zero)."""
    for path, words in (
        (tmp_path, "directory"),
        (Path("/dev/null"), "it is a device"),
        (Path("/dev/zero"), "it is a device"),
        (tmp_path / ("n" * 300), "too long"),
    ):
        with pytest.raises(GcError, match=words) as caught:
            load_plan(path)
        _printed(caught.value, {ExitCode.ERROR})


def test_a_pipe_is_read():
    """``mlflow-gc show <(zcat plan.json.gz)``."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stream:
        stream.write(CONTENT)
    assert load_plan(Path(f"/dev/fd/{reader}")) == FULL
    os.close(reader)


def test_a_file_without_end_is_not_read_into_memory(tmp_path, monkeypatch):
    """A limit far above any plan; tried with a small one."""
    monkeypatch.setattr(plan_reader, "MOST_BYTES", len(CONTENT) - 1)
    (tmp_path / "p").write_bytes(CONTENT)
    with pytest.raises(GcError, match="larger than"):
        load_plan(tmp_path / "p")


@pytest.mark.parametrize(
    ("version", "code"),
    [
        ("1.0", None),
        ("1.1", None),
        ("1.99999", None),
        ("2.0", ExitCode.REFUSED),
        ("0.9", ExitCode.REFUSED),
        ("10.0", ExitCode.REFUSED),
        ("1", ExitCode.ERROR),
        ("1.0.0", ExitCode.ERROR),
        ("1.0\n", ExitCode.ERROR),
        ("1.x", ExitCode.ERROR),
        ("", ExitCode.REFUSED),
    ],
)
def test_versions(tmp_path, version, code):
    """Every minor of version 1 is read; another major version is refused, even a later one's form."""
    plan = {**copy.deepcopy(FULL), "format_version": version}
    _sign(plan)
    read = _read(tmp_path / "p", render(plan), codes={code})
    assert (read is None) == (code is not None)


@pytest.mark.parametrize("place", _objects(FULL), ids=str)
def test_a_field_of_the_future_is_read_everywhere_but_in_expect(tmp_path, place):
    """A precondition, guard or rule that nobody obeys would make a newer plan less safe."""
    plan = copy.deepcopy({**FULL, "format_version": "1.9"})
    closed = place[-1:] == ("expect",) or bool({"guards", "default", "rules"} & {*place})
    # What maps names of users' choosing to text is no place for fields.
    value = "x" if place[-1:] == ("tags",) else {"novel": [1, None, "x"]}
    if place[-2:-1] == ("guards",):
        value = 100
    _at(plan, place)["of_the_future"] = value
    _sign(plan)
    read = _read(tmp_path / "p", render(plan), codes={ExitCode.REFUSED})
    assert (read is None) == closed
    if read is not None:
        _accepted(read)


@longer
@given(st.integers(0, 2**32))
def test_the_same_plan_in_any_order_and_form_has_the_same_id(folder, seed):
    """Names in any order, white space, escapes: what a formatter or another language may write."""
    rng = random.Random(seed)

    def mixed(value):
        if isinstance(value, dict):
            items = list(value.items())
            rng.shuffle(items)
            return {key: mixed(inner) for key, inner in items}
        return [mixed(inner) for inner in value] if isinstance(value, list) else value

    content = json.dumps(
        mixed(FULL), indent=rng.choice([None, 0, 4, "\t"]), ensure_ascii=rng.choice([True, False])
    )
    plan = _read(folder / "mixed.json", content.encode())
    assert plan == FULL
    _shown(plan)


@pytest.mark.parametrize(
    ("as_of", "ttl_days", "expire_after"),
    [
        ("2026-05-01T10:02:11.123Z", 739_737, "7d"),
        ("2026-05-01T10:02:11.123Z", 2**53 - 1, "7d"),
        ("0001-01-01T00:00:00.000Z", 1, "7d"),
        ("9999-12-31T23:59:59.999Z", 1, "7d"),
        ("2026-05-01T10:02:11.123Z", 30, "999999999999d"),
    ],
)
def test_times_before_year_1_or_after_9999_contradict(tmp_path, as_of, ttl_days, expire_after):
    """Refused, with ``show`` still showing it; not a usage error, for nobody used anything wrong."""
    plan = copy.deepcopy({**FULL, "as_of": as_of})
    plan["policy"].update(ttl_days=ttl_days, expire_after=expire_after)
    _sign(plan)
    assert _read(tmp_path / "p", render(plan), codes={ExitCode.REFUSED}) is None
    assert inconsistencies(plan)


def test_the_unsupported_and_the_edited_are_refused_the_broken_is_an_error(tmp_path):
    """The codes of the contract, one of each."""
    path = tmp_path / "p"
    for changes, code in [
        ({"format_version": "2.0"}, ExitCode.REFUSED),
        ({"as_of": "2026-05-02T10:02:11.123Z"}, ExitCode.REFUSED),
        ({"as_of": "soon"}, ExitCode.ERROR),
        ({"runs": {}}, ExitCode.ERROR),
    ]:
        assert _read(path, json.dumps({**FULL, **changes}).encode(), codes={code}) is None
    with pytest.raises(Refused, match="edited"):
        verify({**FULL, "complete": False}, path)
