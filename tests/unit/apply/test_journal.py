from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit import worlds

from mlflow_gc.apply.journal.reader import journal_path, read_journal, unconfirmed_in
from mlflow_gc.apply.journal.writer import Journal
from mlflow_gc.domain import redaction
from mlflow_gc.errors import GcError, Refused
from mlflow_gc.plan.digest import plan_id

PLAN = worlds.plan_of(worlds.inventory())
OTHER = {**PLAN, "as_of": "2026-01-01T00:00:00.000Z"}
OTHER["plan_id"] = plan_id(OTHER)


def _session(path, plan=PLAN, ids=("a", "b")):
    journal = Journal(path, plan)
    journal.intend("run", ids, undo={"experiments": ["1"]})
    for run_id in ids:
        journal.record("run", run_id, "deleted")
    journal.record("run", "c", "skipped", reason="changed", detail="status was FINISHED")
    journal.close("completed")


def _records(path):
    return [r["id"] for s in read_journal(path) for r in s.records]


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "j"
    _session(path)
    (session,) = read_journal(path)
    assert session.header["plan_id"] == PLAN["plan_id"]
    assert [r["id"] for r in session.records] == ["a", "b", "c"]
    assert session.end["counts"] == {"run": {"deleted": 2, "skipped:changed": 1}}
    assert session.unconfirmed() == set()


def test_records_are_reported_in_the_order_in_which_they_are_written(tmp_path):
    """From any thread, and however long the telling takes."""
    on_record = []

    def tell(record):
        time.sleep(0.001 if record["id"].startswith("0") else 0)
        on_record.append(record["id"])

    journal = Journal(tmp_path / "j", PLAN, on_record=tell)
    with ThreadPoolExecutor(4) as pool:
        for thread in range(4):
            pool.submit(
                lambda t=thread: [journal.record("run", f"{t}/{n}", "deleted") for n in range(50)]
            )
    journal.close("completed")
    assert len(on_record) == 200
    assert on_record == _records(tmp_path / "j")


def test_what_must_be_on_disk_is_synced_before_the_call_returns(tmp_path, monkeypatch):
    """A power cut right after must not lose it: written to the system is not written to the disk."""
    path = tmp_path / "j"
    synced = [b""]
    fsync = os.fsync

    def note(handle):
        fsync(handle)
        synced.append(path.read_bytes())

    monkeypatch.setattr(os, "fsync", note)
    with Journal(path, PLAN) as journal:
        assert b'"header"' in synced[-1]
        journal.intend("run", ["first"])
        assert b'"first"' in synced[-1]
        journal.intend_each("experiment", {"second": {"deleted_runs": []}})
        assert b'"second"' in synced[-1]
        journal.record("run", "third", "deleted")
        assert b'"third"' in path.read_bytes()
        journal.sync()
        assert b'"third"' in synced[-1]
        journal.close("completed")
    assert b'"end"' in synced[-1]


def test_no_secret_in_a_message_reaches_the_file(tmp_path):
    """Drivers and proxies quote what they were sent."""
    redaction.keep_secret("pwd-canary")
    on_record = []
    with Journal(tmp_path / "j", PLAN, on_record=on_record.append) as journal:
        journal.record("run", "a", "failed", detail="no login for mlflow:pwd-canary@host")
    assert "pwd-canary" not in (tmp_path / "j").read_text()
    assert [line["detail"] for line in on_record] == ["no login for mlflow:***@host"]


def test_a_kill_between_intent_and_record_is_seen(tmp_path):
    journal = Journal(tmp_path / "j", PLAN)
    journal.intend("run", ["a", "b"])
    journal.record("run", "a", "deleted")
    (session,) = read_journal(tmp_path / "j")
    assert session.unconfirmed() == {("run", "b")}
    assert session.end is None
    journal.close("interrupted")


@pytest.mark.parametrize(
    ("outcome", "is_known"), [("deleted", True), ("skipped", True), ("failed", False)]
)
def test_a_later_session_finds_out_what_a_kill_left_unknown(tmp_path, outcome, is_known):
    """Then no session after it deleted that again."""
    with Journal(tmp_path / "j", PLAN) as journal:
        journal.intend("run", ["a", "b"])
    with Journal(tmp_path / "j", PLAN) as journal:
        assert unconfirmed_in(journal.earlier) == {("run", "a"), ("run", "b")}
        journal.record("run", "a", outcome, reason="changed" if outcome == "skipped" else None)
    left = {("run", "b")} | (set() if is_known else {("run", "a")})
    assert unconfirmed_in(read_journal(tmp_path / "j")) == left


def test_a_second_session_is_appended_and_sees_the_first(tmp_path):
    path = tmp_path / "j"
    _session(path)
    journal = Journal(path, PLAN)
    assert [[r["id"] for r in s.records] for s in journal.earlier] == [["a", "b", "c"]]
    journal.close("completed")
    assert len(read_journal(path)) == 2


def test_a_torn_last_line_is_left_out_and_the_next_session_begins_on_a_new_line(tmp_path):
    path = tmp_path / "j"
    _session(path)
    path.write_bytes(path.read_bytes() + b'{"type":"record","kind":"run","id":"to')
    assert _records(path) == ["a", "b", "c"]
    _session(path, ids=("d",))
    assert _records(path) == ["a", "b", "c", "d", "c"]
    assert len(read_journal(path)) == 2


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("p.json.journal.jsonl", "p.json.{}.journal.jsonl"),
        ("j.jsonl", "j.{}.jsonl"),
        ("j", "j.{}"),
        (".j", ".j.{}"),
    ],
)
def test_beside_the_journal_of_another_plan_it_has_a_name_of_its_own(tmp_path, name, own):
    """What an undo depends on is neither moved nor overwritten."""
    path = tmp_path / name
    assert journal_path(path, PLAN["plan_id"]) == path
    _session(path, OTHER)
    before = path.read_bytes()
    found = journal_path(path, PLAN["plan_id"])
    assert found.name == own.format(PLAN["plan_id"][7:19])
    _session(found)
    assert journal_path(path, PLAN["plan_id"]) == found
    assert journal_path(path, OTHER["plan_id"]) == path
    assert path.read_bytes() == before
    with pytest.raises(Refused):  # somebody was faster
        Journal(path, PLAN)
    assert path.read_bytes() == before


def test_what_is_no_file_is_refused_at_once(tmp_path):
    """A pipe that nobody reads would be waited for, deaf to every signal."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    (tmp_path / "to the pipe").symlink_to(tmp_path / "pipe")
    for path in (*tmp_path.iterdir(), tmp_path, Path("/dev/null")):
        for touch in (lambda p: Journal(p, PLAN), lambda p: journal_path(p, PLAN["plan_id"])):
            with pytest.raises(Refused) as refusal:
                touch(path)
            assert str(path) in refusal.value.message
    assert not (tmp_path / "missing").exists()


def test_a_new_journal_is_its_owners_only_and_an_old_one_keeps_its_mode(tmp_path):
    path = tmp_path / "j"
    _session(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    _session(path)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_journal_in_utf_16_is_named(tmp_path):
    path = tmp_path / "j"
    path.write_bytes('{"type":"header"}\n'.encode("utf-16"))
    with pytest.raises(GcError, match="UTF-16"):
        read_journal(path)


def test_a_byte_order_mark_is_no_reason_to_refuse_an_undo(tmp_path):
    path = tmp_path / "j"
    _session(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert _records(path) == ["a", "b", "c"]
    _session(path, ids=("d",))
    assert _records(path) == ["a", "b", "c", "d", "c"]


def test_without_a_file_it_only_counts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    journal = Journal(None, PLAN)
    journal.record("run", "a", "deleted")
    journal.close("completed")
    assert journal.counts == {("run", "deleted"): 1}
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("content", [b"precious notes\n", b"{}\n", b"[]\n", b'"x"\n', b"\x00" * 9])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path, content):
    path = tmp_path / "j"
    path.write_bytes(content)
    with pytest.raises(GcError):
        Journal(path, PLAN)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"\n", b"\n\n", b'\n{"type":"end"}\n'])
def test_blank_lines_end_in_no_traceback(tmp_path, content):
    path = tmp_path / "j"
    path.write_bytes(content)
    try:
        Journal(path, PLAN).close("completed")
    except GcError:
        assert path.read_bytes() == content


def test_a_broken_line_in_the_middle_is_refused(tmp_path):
    path = tmp_path / "j"
    _session(path)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1][:-5], *lines[2:]]))
    with pytest.raises(GcError, match="Line 2"):
        read_journal(path)


def test_a_newer_major_version_is_refused(tmp_path):
    path = tmp_path / "j"
    _session(path)
    path.write_bytes(path.read_bytes().replace(b'"1.0"', b'"2.0"', 1))
    with pytest.raises(Refused):
        read_journal(path)


def _whole_lines(content):
    """Count the records that were on disk whole, line end included."""
    lines = content.split(b"\n")[:-1]
    return sum(x.startswith(b'{"type":"record"') and x.endswith(b"}") for x in lines)


def test_torn_anywhere_after_the_first_line_a_journal_can_be_read_and_continued(folder):
    """Cut at many places, as a power loss would, and begin another session on what is left."""
    whole, torn = folder / "whole", folder / "torn"
    whole.unlink(missing_ok=True)
    _session(whole)
    content = whole.read_bytes()
    for length in range(content.index(b"\n") + 1, len(content), 3):
        torn.write_bytes(content[:length])
        known = _whole_lines(content[:length])
        assert len(_records(torn)) - known in {0, 1}, length
        Journal(torn, PLAN).close("completed")
        assert len(_records(torn)) - known in {0, 1}, length


def test_torn_inside_the_very_first_line_a_journal_can_be_begun_again(folder):
    """Nothing was deleted yet: the header comes before all else."""
    whole, torn = folder / "whole1", folder / "torn1"
    _session(whole)
    content = whole.read_bytes()
    for length in (1, 20, content.index(b"\n") - 1):
        torn.write_bytes(content[:length])
        Journal(torn, PLAN).close("completed")
        assert len(read_journal(torn)) == 1


@given(st.data())
def test_torn_twice_a_journal_can_still_be_read_and_continued(folder, data):
    """A crash in a session that began after a crash: no file may lock its owner out."""
    path = folder / "twice"
    path.unlink(missing_ok=True)
    _session(path, ids=("a",))
    first = path.read_bytes()
    cut = data.draw(st.integers(first.index(b"\n") + 1, len(first) - 1), label="first cut")
    path.write_bytes(first[:cut])
    _session(path, ids=("b",))
    second = path.read_bytes()
    again = data.draw(st.integers(cut + 1, len(second) - 1), label="second cut")
    path.write_bytes(second[:again])
    known = _whole_lines(second[:again])
    assert len(_records(path)) - known in {0, 1}
    Journal(path, PLAN).close("completed")
    assert len(_records(path)) - known in {0, 1}
