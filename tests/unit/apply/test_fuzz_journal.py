"""Fuzzing of what reads journals: what a file holds is understood in one way or refused.

``--depth deep`` makes the random tests run longer.
"""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from support import depth
from unit import worlds

from mlflow_gc.apply.journal.reader import read_journal
from mlflow_gc.apply.journal.writer import Journal
from mlflow_gc.apply.restore_plan import plan_undo
from mlflow_gc.errors import ExitCode, GcError
from mlflow_gc.plan import reader, schema
from mlflow_gc.plan.digest import plan_id
from mlflow_gc.render.terminal import outcomes

PLAN = worlds.plan_of(worlds.inventory())
OTHER = {**PLAN, "as_of": "2026-01-01T00:00:00.000Z"}
OTHER["plan_id"] = plan_id(OTHER)
longer = depth.examples(2.5)
# Words of Python and its libraries that mean nothing to the people who get the message.
_INTERNAL = ("Traceback", "<class", "object at 0x", "NoneType", "Validator", "dict_keys", "orjson")


def _session(path, plan=PLAN, *, ended=True):
    journal = Journal(path, plan)
    journal.intend("run", ["a", "b"])
    journal.record("run", "a", "deleted")
    journal.record("run", "b", "failed", detail="500 ü\n")
    journal.intend("experiment", ["1"], undo={"deleted_runs": ["x", "y"]})
    journal.record("experiment", "1", "deleted", undo={"deleted_runs": ["x", "y"]})
    journal.intend("model_version", ["fraud/1"])
    known = {"run_id": "r", "source": "s3://b/x", "tags": {"a": "b"}, "creation_timestamp": 5}
    journal.record("model_version", "fraud/1", "deleted", undo=known)
    journal.record("run", "c", "skipped", reason="changed", detail="status was FINISHED")
    journal.close("completed" if ended else "interrupted")


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Two sessions of one plan, as the program writes them."""
    path = tmp_path_factory.mktemp("journal") / "j"
    _session(path, ended=False)
    _session(path)
    return path.read_bytes()


def _printed(error, codes):
    assert error.exit_code in codes, (error.exit_code, error.message)
    for words in (error.message, error.hint or ""):
        assert len(words) <= 1000, words[:2000]
        assert not [word for word in _INTERNAL if word in words], words


def _read(path, content, codes=(ExitCode.ERROR, ExitCode.REFUSED)):
    """Return the sessions, or None when the file was refused as it should be."""
    path.write_bytes(content)
    try:
        sessions = read_journal(path)
    except GcError as error:
        _printed(error, codes)
        return None
    _accepted(sessions, content)
    return sessions


def _accepted(sessions, content):
    """What must hold of each journal that was read: whole lines of one plan, and restore can use it."""
    lines = [line for s in sessions for line in (s.header, *s.intents, *s.records)]
    for line in lines:
        assert schema.problems(line, "journal") == []
    assert len({session.header["plan_id"] for session in sessions}) <= 1
    # One meaning: each line that counts stands in the file, and no name in it twice.
    parsed = [p for p in map(_parsed, content.split(b"\n")) if p is not None]
    for line in lines:
        assert line in parsed
    for session in sessions:
        assert isinstance(session.unconfirmed(), set)
    screen = Console(file=io.StringIO(), soft_wrap=True)
    outcomes.undo(plan_undo(sessions), screen, plan_id="sha256:0")


def _once(pairs):
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def _parsed(line):
    try:
        return json.loads(line, object_pairs_hook=_once)
    except (ValueError, RecursionError, AssertionError):
        return None


_pieces = st.binary(max_size=6) | st.sampled_from(
    [
        *(b'"', b"{", b"}", b",", b"[]", b"\n", b"\r\n", b"\\ud800", b"1e400", b"NaN", b"null"),
        *(b"\x00" * 600, b"\xff\xfe", b"\xef\xbb\xbf", b'"id":"z",', b'"type":"header",', b"{}\n"),
    ]
)


@longer
@given(data=st.data())
def test_changed_bytes_are_refused_with_a_message_or_understood(folder, content, data):
    """Bytes flipped, cut out, doubled, put in or moved, at any place of the file."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(changed)))
        length = data.draw(st.sampled_from([0, 1, 1, 2, 5, 80, 800]))
        piece, junk = bytes(changed[start : start + length]), data.draw(_pieces)
        changed[start : start + length] = data.draw(
            st.sampled_from([b"", junk, piece + piece, piece[::-1], piece + junk])
        )
    _read(folder / "bytes.jsonl", bytes(changed))


@longer
@given(data=st.data())
def test_changed_lines_are_refused_with_a_message_or_understood(folder, content, data):
    """Lines left out, doubled, swapped, torn; intents without records, records without a header."""
    lines = content.splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 4))):
        at, to = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        match data.draw(st.integers(0, 4)):
            case 0 if len(lines) > 1:
                del lines[at]
            case 1:
                lines.insert(to, lines[at])
            case 2:
                lines[at], lines[to] = lines[to], lines[at]
            case 3:
                lines[at] = lines[at][: data.draw(st.integers(0, len(lines[at])))]
            case _:
                lines[at] = lines[at].rstrip(b"\n")
    _read(folder / "lines.jsonl", b"".join(lines))


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, -1, 2**63, 10**30, 0.5, "", "x", "header", "\x00", "2026-02-30"])
    | st.sampled_from(["run", "deleted", "2026-05-01T10:02:11.123Z\n", "y" * 3000]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["deleted_runs", "source", "z"]), inner, max_size=3)
    ),
    max_leaves=5,
)


def _places(value, path=()):
    yield path
    inner = enumerate(value) if isinstance(value, list) else ()
    for key, child in value.items() if isinstance(value, dict) else inner:
        yield from _places(child, (*path, key))


@longer
@given(data=st.data())
def test_changed_values_are_refused_with_a_message_or_understood(folder, content, data):
    """Wrong types, missing and unknown names, at any place of any line."""
    lines = [json.loads(line) for line in content.splitlines()]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from([p for p in _places(lines) if len(p) > 1]))
        holder = lines
        for key in place[:-1]:
            holder = holder[key]
        if data.draw(st.booleans()) and isinstance(holder, dict):
            del holder[place[-1]]
        else:
            holder[place[-1]] = data.draw(_values)
    _read(folder / "values.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())


@longer
@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda t: t.encode(errors="ignore")))
@example(b"\x00" * 4096)
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
@example(b'{"type":"header"}\n')
@example(b"\n" * 1000)
@example(b'{"format":"mlflow-gc/journal","format_version":"1.0","type":"end"}\n')
def test_rubbish_is_a_broken_file_or_empty(folder, junk):
    """Exit code 1, or nothing in it; never a session that nobody wrote."""
    assert not _read(folder / "rubbish", junk, codes={ExitCode.ERROR})


def test_other_encodings_are_broken_files(tmp_path, content):
    """UTF-16 is what > of PowerShell writes; UTF-8 may have a byte order mark."""
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        junk = content.decode().encode(encoding)
        assert _read(tmp_path / "j", junk, codes={ExitCode.ERROR}) is None
    for good in (content.replace(b"\n", b"\r\n"), content.decode().encode("utf-8-sig")):
        assert len(_read(tmp_path / "j", good)) == 2


def test_torn_at_any_byte_nothing_before_the_tear_is_lost(tmp_path, content):
    """As a crash leaves it: all whole lines are there, and at most the torn one is not."""
    ends = [i for i, byte in enumerate(content) if byte == 10]
    for length in range(ends[0] + 1, len(content), 7):
        sessions = _read(tmp_path / "j", content[:length])
        found = sum(1 + len(s.intents) + len(s.records) + (s.end is not None) for s in sessions)
        assert found - sum(end < length for end in ends) in {0, 1}, length


def _first_of(content, kind):
    return next(line for line in content.splitlines() if json.loads(line)["type"] == kind)


@pytest.mark.parametrize("kind", ["intent", "record", "end"])
def test_a_line_before_any_header_is_a_broken_file(tmp_path, content, kind):
    """Also when it says that it is of our format: only a header begins a session."""
    line = json.loads(_first_of(content, kind))
    with_header = {**line, "format": "mlflow-gc/journal", "format_version": "1.0"}
    for first in (line, with_header):
        junk = json.dumps(first).encode() + b"\n" + content
        assert _read(tmp_path / "j", junk, codes={ExitCode.ERROR}) is None


def test_sessions_of_two_plans_in_one_file_are_a_broken_file(tmp_path, content):
    """Two journals put together by hand: an undo of one must not take the other's records."""
    _session(tmp_path / "other", OTHER)
    junk = content + (tmp_path / "other").read_bytes()
    assert _read(tmp_path / "j", junk) is None


@pytest.mark.parametrize("kind", ["header", "intent", "record", "end"])
@pytest.mark.parametrize("escaped", [True, False])
def test_a_name_twice_in_a_line_is_a_broken_file(tmp_path, content, kind, escaped):
    """Some readers take the first, some the last: ``"id":"kept"`` to the eye, another to restore."""
    line = _first_of(content, kind)
    for name in json.loads(line):
        written = f'"\\u{ord(name[0]):04x}{name[1:]}"' if escaped else f'"{name}"'
        value = json.dumps(json.loads(line)[name])
        twice = line[:-1] + f",{written}:{value}}}".encode()
        junk = content.replace(line, twice, 1)
        assert _read(tmp_path / "j", junk, codes={ExitCode.ERROR}) is None, name


def test_a_number_that_readers_round_is_a_broken_file(tmp_path, content):
    """Of a version's undo, which holds what was known of it."""
    assert b'"creation_timestamp":5' in content
    junk = content.replace(b'"creation_timestamp":5', b'"creation_timestamp":' + b"1" * 30)
    assert _read(tmp_path / "j", junk, codes={ExitCode.ERROR}) is None


def test_several_broken_lines_are_no_tear(tmp_path, content):
    """A kill tears one line; more of them is damage, and what stood there would be lost silently."""
    lines = content.splitlines(keepends=True)
    half = len(lines) // 2
    broken = [line[:9] + b"\xff" + line[10:] for line in lines[half - 3 : half]]
    for junk in ([*lines[: half - 3], *broken, *lines[half:]], [*lines[: half - 3], *broken]):
        assert _read(tmp_path / "j", b"".join(junk), codes={ExitCode.ERROR}) is None


@pytest.mark.parametrize(
    ("version", "code"),
    [
        ("1.0", None),
        ("1.77", None),
        ("2.0", ExitCode.REFUSED),
        ("0.1", ExitCode.REFUSED),
        ("1", ExitCode.ERROR),
        ("1.0\n", ExitCode.ERROR),
    ],
)
@pytest.mark.parametrize("session", [0, 1])
def test_versions(tmp_path, content, version, code, session):
    """In any session: a program may have been updated between two of them."""
    lines = [json.loads(line) for line in content.splitlines()]
    headers = [line for line in lines if line["type"] == "header"]
    headers[session]["format_version"] = version
    junk = "".join(json.dumps(line) + "\n" for line in lines).encode()
    assert (_read(tmp_path / "j", junk, codes={code}) is None) == (code is not None)


def test_fields_of_the_future_are_ignored(tmp_path, content):
    """In every line and object; a new type of line belongs to a new major version."""
    lines = [json.loads(line) for line in content.splitlines()]
    plain = _read(tmp_path / "j", content)
    newer = copy.deepcopy(lines)
    for line in newer:
        line["novel"] = {"a": [1, None]}
        for key in ("server", "tool", "undo"):
            if key in line:
                line[key]["novel"] = 0.5
    sessions = _read(tmp_path / "j", "".join(json.dumps(line) + "\n" for line in newer).encode())
    assert plan_undo(sessions).runs == plan_undo(plain).runs
    known = {"deleted_runs": ["x", "y"]}
    assert plan_undo(plain).experiments == {"1": known}
    assert plan_undo(sessions).experiments == {"1": {**known, "novel": 0.5}}


@pytest.mark.parametrize(
    "undo",
    [
        {"deleted_runs": "abc"},
        {"deleted_runs": 5},
        {"deleted_runs": [5]},
        {"deleted_runs": {"a": 1}},
        {"deleted_runs": None},
    ],
)
@pytest.mark.parametrize("kind", ["intent", "record"])
def test_an_undo_that_is_no_list_of_runs_is_a_broken_file(tmp_path, content, undo, kind):
    """``list("abc")`` is three runs to Python."""
    lines = [json.loads(line) for line in content.splitlines()]
    for line in lines:
        if line["type"] == kind and line.get("kind") == "experiment":
            line["undo"] = undo
    junk = "".join(json.dumps(line) + "\n" for line in lines).encode()
    assert _read(tmp_path / "j", junk, codes={ExitCode.ERROR}) is None


LONG = "x" * 10_000_000


@pytest.mark.parametrize("place", ["format_version", "type", "ended", "outcome", "id", LONG])
def test_ten_million_characters_do_not_fill_the_message(tmp_path, content, place):
    """Values and names; the message quotes the beginning."""
    lines = [json.loads(line) for line in content.splitlines()]
    for line in lines:
        if place in line or place == LONG:
            line[place] = LONG
            break
    _read(tmp_path / "j", "".join(json.dumps(line) + "\n" for line in lines).encode())


def test_a_folder_and_a_device_are_no_journals(tmp_path):
    """A device may never end (/dev/zero)."""
    for path in (tmp_path, tmp_path / ("n" * 300), Path("/dev/null")):
        with pytest.raises(GcError) as caught:
            read_journal(path)
        _printed(caught.value, {ExitCode.ERROR})


def test_a_file_without_end_is_not_read_into_memory(tmp_path, content, monkeypatch):
    """A limit far above any journal; tried with a small one."""
    monkeypatch.setattr(reader, "MOST_BYTES", len(content) - 1)
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(GcError, match="larger than"):
        read_journal(tmp_path / "j")
