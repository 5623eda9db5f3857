"""How far a command is: counted once, with a rate and the time left, in words and in bars."""

from __future__ import annotations

import io
import re
import threading
from typing import Any

import pytest

from mlflow_gc.cli.progress_text import LogLines, TerminalBar, describe, listener, span
from mlflow_gc.workflows.reporter import Listener, Phase, Reporter, State


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Heard(Listener):
    """Remembers everything."""

    def __init__(self) -> None:
        self.states: list[tuple[str, State]] = []
        self.records: list[Any] = []

    def begin(self, state: State) -> None:
        self.states.append(("begin", state))

    def update(self, state: State) -> None:
        self.states.append(("update", state))

    def end(self, state: State) -> None:
        self.states.append(("end", state))

    def entity(self, record: Any) -> None:
        self.records.append(record)


def _record(kind: str, outcome: str) -> dict[str, Any]:
    return {"kind": kind, "id": "x", "outcome": outcome, "reason": None}


def test_counts_rate_and_time_left() -> None:
    clock, received = Clock(), Heard()
    progress = Reporter([received], clock=clock, ticks=False)
    with progress.phase(Phase.PRUNE, {"runs": 5000, "experiments": 0}):
        for _ in range(30):
            clock.now += 1
            progress.advance("runs", 40)
        progress.tick()
    text = [name for name, _ in received.states]
    assert text == ["begin", "update", "end"]
    _, state = received.states[1]
    assert state.done == {"runs": 1200}
    assert state.totals == {"runs": 5000}, "of what there is nothing, nothing is said"
    assert (state.seconds, state.per_second, state.seconds_left) == (30, 40, 95)
    assert describe(state) == "Done: 1,200 of 5,000 runs (40/s, about 2 min left)"


def test_the_rate_is_that_of_the_last_minute() -> None:
    clock, received = Clock(), Heard()
    progress = Reporter([received], clock=clock, ticks=False)
    with progress.phase(Phase.SCAN):
        progress.advance("runs", 100_000)
        for _ in range(120):
            clock.now += 1
            progress.advance("runs", 2)
            progress.tick()
    _, state = received.states[-1]
    assert state.per_second == pytest.approx(2, rel=0.05)


def test_what_nobody_can_know_is_not_said() -> None:
    state = State(Phase.SCAN, {"experiments": 12, "runs": 3400}, seconds=8, per_second=426.5)
    assert state.seconds_left is None
    assert describe(state) == "Read 12 experiments, 3,400 runs (426/s)"
    assert describe(State(Phase.CONNECT, seconds=12)) == "Connecting: 12 s so far"
    stuck = State(Phase.PRUNE, {"runs": 3}, {"runs": 9}, per_second=0.0)
    assert describe(stuck) == "Done: 3 of 9 runs (0/s)"
    slow = State(
        Phase.PRUNE, {"runs": 3}, {"runs": 9}, {"skipped": 2, "failed": 1}, "runs", 3, 0.25
    )
    assert describe(slow) == "Done: 3 of 9 runs, 2 skipped, 1 failed (0.2/s, about 24 s left)"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (7800, "2 h 10 min")],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_entities_count_by_their_records() -> None:
    """What is put back was counted when it went; what is only told of is not counted."""
    received = Heard()
    progress = Reporter([received], ticks=False)
    with progress.phase(Phase.PRUNE, {"runs": 2}):
        for outcome in ("deleted", "skipped", "restored", "failed"):
            progress.entity(_record("run", outcome))
        progress.entity(_record("model_version", "skipped"))
    _, state = received.states[-1]
    assert state.done == {"runs": 2}
    assert state.outcomes == {"skipped": 1, "failed": 1}
    assert len(received.records) == 5


def test_many_threads_count_right() -> None:
    received = Heard()
    progress = Reporter([received], ticks=False)

    def work() -> None:
        for _ in range(2000):
            progress.advance("runs")
            progress.entity(_record("experiment", "deleted"))

    with progress.phase(Phase.PRUNE, {"experiments": 8000}):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    _, state = received.states[-1]
    assert state.done == {"runs": 8000, "experiments": 8000}
    assert len(received.records) == 8000


def test_listeners_hear_from_a_server_that_does_not_answer() -> None:
    """Nothing is counted, and still they are told."""
    reported = threading.Event()

    class Waiting(Listener):
        def update(self, state: State) -> None:
            if state.seconds > 0:
                reported.set()

    with Reporter([Waiting()]).phase(Phase.CONNECT):
        assert reported.wait(10)


def test_a_phase_that_fails_ends_for_its_listeners() -> None:
    received = Heard()
    progress = Reporter([received], ticks=False)
    with pytest.raises(KeyboardInterrupt), progress.phase(Phase.SCAN):
        raise KeyboardInterrupt
    assert [name for name, _ in received.states] == ["begin", "end"]
    progress.tick()
    assert len(received.states) == 2, "nothing is told between phases"


# a job's log


def test_a_log_gets_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    progress = Reporter([LogLines()], clock=clock, ticks=False)
    with progress.phase(Phase.SCAN):
        for _ in range(35):
            clock.now += 1
            progress.advance("runs", 38)
            progress.tick()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "Read 380 runs (38/s)",
        "Read 760 runs (38/s)",
        "Read 1,140 runs (38/s)",
    ]
    with progress.phase(Phase.PRUNE, {"runs": 100}):
        for _ in range(11):
            clock.now += 1
            progress.entity(_record("run", "deleted"))
            progress.tick()
    assert capsys.readouterr().err == "Done: 10 of 100 runs (1.0/s, about 2 min left)\n"


def test_what_is_quick_leaves_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    progress = Reporter([LogLines()], clock=clock, ticks=False)
    for _ in range(20):
        with progress.phase(Phase.DETAILS, {"runs": 5}):
            clock.now += 3
            progress.advance("runs", 5)
            progress.tick()
    assert capsys.readouterr() == ("", "")


# a terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_who_listens_depends_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert isinstance(listener(no_color=False), LogLines)
    monkeypatch.setattr("sys.stderr", Terminal())
    assert isinstance(listener(no_color=False), TerminalBar)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(listener(no_color=False), LogLines)


def test_a_bar_is_drawn_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    clock, screen = Clock(), Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    progress = Reporter([TerminalBar(screen, no_color=True)], clock=clock, ticks=False)
    with progress.phase(Phase.PRUNE, {"runs": 100, "experiments": 2}):
        progress.tick()
        for _ in range(30):
            clock.now += 1
            progress.entity(_record("run", "deleted"))
        progress.entity(_record("run", "skipped"))
        progress.tick()
    drawn = screen.getvalue()
    assert "Deleting" in drawn
    assert "31 of 100 runs, 1 skipped, 1.0/s, about 69 s left" in re.sub(
        r"\x1b\[[0-9;]*m", "", drawn
    )
    assert "\x1b[?25" not in drawn, "the cursor is never hidden: who would bring it back?"
    assert drawn.endswith("\x1b[2K"), "nothing is left on the screen"
    assert "\x1b[3" not in drawn, "no colours"
    before = len(drawn)
    with progress.phase(Phase.DECIDE):
        pass
    assert len(screen.getvalue()) == before, "what is over at once is not drawn"
