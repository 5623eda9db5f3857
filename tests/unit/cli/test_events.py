"""The events file: every line is valid, harmless and written at once; trouble stops nothing."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit import worlds

from mlflow_gc.cli import events
from mlflow_gc.cli.events import Events
from mlflow_gc.errors import GcError, UsageProblem
from mlflow_gc.plan import schema
from mlflow_gc.workflows.reporter import Phase, Reporter, State

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAN = worlds.plan_of(worlds.inventory(worlds.an_experiment(), worlds.a_run()))


def _read(path: Path) -> list[dict[str, Any]]:
    """Every line, valid against the published schema."""
    raw = path.read_bytes()
    assert raw.endswith(b"\n")
    found = [json.loads(line) for line in raw.splitlines()]
    for event in found:
        assert schema.problems(event, "events") == []
    return found


def _record(outcome: str, **other: Any) -> dict[str, Any]:
    return {"kind": "run", "id": "a" * 32, "outcome": outcome, "reason": None, **other}


def _everything(file: Events) -> None:
    progress = Reporter([file], ticks=False)
    progress.plan(PLAN, Path("plan.json"))
    progress.journal(Path("plan.json.journal.jsonl"), PLAN["plan_id"])
    progress.warning("guard", "x")
    progress.warning(None, "y")
    with progress.phase(Phase.PRUNE, {"runs": 3}):
        progress.entity(_record("deleted"))
        progress.entity(_record("skipped", reason="changed", detail="status"))
        progress.entity(_record("failed", detail="500"))
    progress.finish(3, None)


def test_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    _everything(Events(path, "prune", dry_run=False))
    found = _read(path)
    assert [event["event"] for event in found] == [
        "start", "plan", "journal", "warning", "warning", "phase",
        "entity", "entity", "entity", "progress", "end",
    ]  # fmt: skip
    start, end = found[0], found[-1]
    assert (start["format"], start["format_version"]) == ("mlflow-gc/events", "1.0")
    assert (start["command"], start["dry_run"]) == ("prune", False)
    assert found[1]["plan_id"] == PLAN["plan_id"]
    assert found[7]["reason"] == "changed"
    assert end["exit_code"] == 3
    assert end["error"] is None
    assert end["counts"] == {"run": {"deleted": 1, "skipped:changed": 1, "failed": 1}}


def test_each_line_is_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = Events(path, "prune", dry_run=False)
    assert len(_read(path)) == 1
    file.entity(_record("deleted"))
    assert len(_read(path)) == 2


@pytest.mark.parametrize("outcome", ["deleted", "restored", "marked", "unmarked"])
def test_a_dry_run_does_not_read_as_if_it_had_happened(tmp_path: Path, outcome: str) -> None:
    path = tmp_path / "events.jsonl"
    file = Events(path, "check", dry_run=True)
    file.entity(_record(outcome))
    file.finish(0, None)
    _, entity, end = _read(path)
    assert entity["outcome"].startswith("would_")
    assert end["counts"] == {"run": {entity["outcome"]: 1}}


def test_an_error_is_reported_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    Events(path, "prune", dry_run=False).finish(5, ("The plan expired.", "Make a new one."))
    end = _read(path)[-1]
    assert end["error"] == {"message": "The plan expired.", "hint": "Make a new one."}


def test_progress_comes_about_once_a_second(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = Events(path, "report", dry_run=False)
    file.begin(State(Phase.SCAN))
    for quarter in range(1, 41):
        file.update(State(Phase.SCAN, {"runs": quarter}, seconds=quarter / 4, per_second=4))
    found = [event for event in _read(path) if event["event"] == "progress"]
    assert [event["elapsed_ms"] for event in found] == list(range(1000, 10_001, 1000))
    assert found[0] | {"time": ""} == {
        "event": "progress",
        "time": "",
        "phase": "scan",
        "done": {"runs": 4},
        "total": {},
        "elapsed_ms": 1000,
        "per_minute": 240,
        "left_ms": None,
    }


@given(
    st.text(st.characters()),
    st.sampled_from(["", "##vso[x]", "##teamcity[x]", "\x1b[31m", "\u202e", "::x", "\n##[y]"]),
)
def test_a_line_does_no_harm_in_a_terminal_or_a_log(
    tmp_path_factory: pytest.TempPathFactory, text: str, evil: str
) -> None:
    """Printable ASCII, no command of a CI system, and still exactly what the server said."""
    path = tmp_path_factory.mktemp("events") / "e"
    file = Events(path, "prune", dry_run=False)
    file.entity(_record("skipped", id=evil + text, reason="changed", detail=text + evil))
    raw = path.read_bytes()
    # Thousands of cases would use up what a process may have open.
    file.finish(0, None)
    assert all(32 <= byte < 127 or byte == 10 for byte in raw)
    assert b"##" not in raw
    assert raw.count(b"\n") == 2
    event = json.loads(raw.splitlines()[1])
    assert (event["id"], event.get("detail", "")) == (evil + text, text + evil)


# where it goes


@pytest.mark.parametrize("path", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_stdout_is_refused(path: str) -> None:
    with pytest.raises(UsageProblem, match="stdout"):
        Events(Path(path), "report", dry_run=False)


def test_what_cannot_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no" / "where", Path("/dev/fd/987654")):
        with pytest.raises(GcError, match="cannot be written") as error:
            Events(path, "prune", dry_run=False)
        assert "Nothing was changed" in (error.value.hint or "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_at_the_start_is_an_error() -> None:
    with pytest.raises(GcError, match="No space left"):
        Events(Path("/dev/full"), "prune", dry_run=False)


@pytest.mark.parametrize("content", [b'{"format":"mlflow-gc/journal"}\n', b"{}", b"x"])
def test_a_plan_or_a_journal_is_not_overwritten(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(GcError, match="is not overwritten"):
        Events(path, "prune", dry_run=False)
    assert path.read_bytes() == content


def test_events_of_an_earlier_command_are(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for _ in range(2):
        _everything(Events(path, "prune", dry_run=False))
        assert len(_read(path)) == 11
    path.write_bytes(b"")
    _everything(Events(path, "prune", dry_run=False))
    assert len(_read(path)) == 11


def test_an_open_descriptor_is_written_where_it_stands(tmp_path: Path) -> None:
    """As a shell opens it: ``3>>log --events /dev/fd/3``."""
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    Events(Path(f"/dev/fd/{descriptor}"), "report", dry_run=False).finish(0, None)
    os.write(descriptor, b"after\n")
    os.close(descriptor)
    first, *found, last = path.read_bytes().splitlines()
    assert (first, len(found), last) == (b"before", 2, b"after")


@pytest.fixture
def many_files() -> Iterator[None]:
    """More open files than select() can count."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(2000, before[0]), before[1]))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    opened = [nowhere, *(os.dup(nowhere) for _ in range(1100))]
    yield
    for file in opened:
        os.close(file)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
@pytest.mark.usefixtures("many_files")
def test_a_named_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    file = Events(path, "prune", dry_run=False)
    file.entity(_record("failed", detail="x" * 5000))
    file.finish(0, None)
    reader.join(10)
    found = [json.loads(line) for line in got[0].splitlines()]
    assert [event["event"] for event in found] == ["start", "entity", "end"]
    assert len(found[1]["detail"]) == 5000


# trouble on the way


def _pipe(monkeypatch: pytest.MonkeyPatch) -> tuple[int, Events]:
    """An events file on a pipe, and the end to read it from."""
    monkeypatch.setattr(events, "_PATIENCE_S", 0.05)
    ours, theirs = os.pipe()
    file = Events(Path(f"/dev/fd/{theirs}"), "prune", dry_run=False)
    os.close(theirs)
    return ours, file


def test_a_reader_that_goes_away_stops_nothing_and_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, file = _pipe(monkeypatch)
    os.close(ours)
    for _ in range(3):
        file.entity(_record("deleted"))
    file.finish(0, None)
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    assert "can no longer be written: Broken pipe" in output
    assert "The command continues" in output


def test_a_reader_that_falls_asleep_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, file = _pipe(monkeypatch)
    for _ in range(2000):
        file.entity(_record("deleted"))
    assert capsys.readouterr().err.count("nobody reads it") == 1
    os.close(ours)


def test_a_line_that_an_interrupt_tore_is_ended_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the end of the file can be read all the same."""
    path = tmp_path / "events.jsonl"
    file = Events(path, "report", dry_run=False)
    write = os.write

    def tears(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", stops)
        return write(descriptor, data[:10])

    def stops(_descriptor: int, _data: bytes) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", tears)
    with pytest.raises(KeyboardInterrupt):
        file.entity(_record("deleted"))
    monkeypatch.setattr(os, "write", write)
    file.finish(130, None)
    start, torn, end = path.read_bytes().splitlines()
    assert json.loads(start)["event"] == "start"
    assert torn == b'{"event":"'
    assert json.loads(end)["event"] == "end"


def test_stderr_is_recognised(capfd: pytest.CaptureFixture[str]) -> None:
    file = Events(Path("/dev/stderr"), "report", dry_run=False)
    assert file.is_stderr()
    file.finish(0, None)
    assert [json.loads(line)["event"] for line in capfd.readouterr().err.splitlines()] == [
        "start",
        "end",
    ]


def test_every_field_of_the_schema_is_described() -> None:
    document = json.loads(schema.schema_text("events"))

    def walk(node: Any, path: str) -> None:
        for name, field in node.get("properties", {}).items():
            described = field.get("description") or document["$defs"].get(
                field.get("$ref", "").rpartition("/")[2], {}
            ).get("description")
            assert described, f"{path}/{name}"
            walk(field, f"{path}/{name}")

    for name, event in document["$defs"].items():
        assert event["description"]
        walk(event, name)
    kinds = [ref["$ref"].rpartition("/")[2] for ref in document["oneOf"]]
    assert kinds == ["start", "plan", "journal", "phase", "progress", "entity", "warning", "end"]
