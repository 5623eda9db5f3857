"""What a workflow reports while it runs: counted in one place, told to whoever listens."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

_TICK_S = 0.25
# A rate is that of the last minute: runs, experiments and versions take differently long.
_RATE_OVER_S = 60.0


ROLLED_BACK = "put_back"
"""Code of the warning that something was deleted and restored at once."""


class Phase(Enum):
    """What a command is doing: a code for machines, a title for bars, a word for what is done."""

    LOAD = ("load", "Loading MLflow", "Loading MLflow")
    CONNECT = ("connect", "Connecting", "Connecting")
    SCAN = ("scan", "Reading", "Read")
    LOOK = ("look", "Looking closer", "Looked closer at")
    DECIDE = ("decide", "Deciding", "Deciding")
    COMPARE = ("compare", "Comparing plan and server", "Comparing plan and server")
    PRUNE = ("prune", "Deleting", "Done:")
    CHECK = ("check", "Checking", "Checked")
    RESTORE = ("restore", "Restoring", "Done:")
    MARK = ("mark", "Marking", "Done:")

    def __init__(self, code: str, title: str, done: str) -> None:
        self.code = code
        self.title = title
        self.done = done


@dataclass(frozen=True)
class State:
    """How far a phase is.

    Attributes:
        phase: which one.
        done: by what (``runs``), how many are done, in the order in which they began.
        totals: how many there are going to be, as far as that is known.
        outcomes: how many were ``skipped`` and how many ``failed``.
        current: what was done last; None before anything was.
        seconds: since the phase began.
        per_second: lately.
    """

    phase: Phase
    done: Mapping[str, int] = field(default_factory=dict)
    totals: Mapping[str, int] = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    current: str | None = None
    seconds: float = 0.0
    per_second: float = 0.0

    @property
    def all_done(self) -> int:
        """Return how many are done, of whatever."""
        return sum(self.done.values())

    @property
    def all_totals(self) -> int | None:
        """Return how many there are going to be, or None where nobody knows."""
        return sum(self.totals.values()) or None

    @property
    def seconds_left(self) -> float | None:
        """Return how long the rest is going to take at this rate, or None where nobody knows."""
        if self.all_totals is None or not self.per_second:
            return None
        return max(self.all_totals - self.all_done, 0) / self.per_second


class Listener:
    """Whoever wants to know how far a command is; each overrides what it cares about."""

    def begin(self, state: State) -> None:
        """Hear that a phase begins."""

    def update(self, state: State) -> None:
        """Hear how far it is, a few times a second."""

    def end(self, state: State) -> None:
        """Hear that it is over, whatever ended it."""

    def entity(self, record: Mapping[str, Any]) -> None:
        """Hear what came of one entity, as the journal says it."""

    def note(self, message: str) -> None:
        """Hear what is worth knowing, in a sentence."""

    def warning(self, code: str | None, message: str) -> None:
        """Hear a warning."""

    def plan(self, document: Mapping[str, Any], path: Path) -> None:
        """Hear which plan was made or read."""

    def journal(self, path: Path, plan_id: str) -> None:
        """Hear where the journal is."""

    def finish(self, exit_code: int, error: tuple[str, str | None] | None) -> None:
        """Hear that the command is over, with its error and the hint, if any."""


class Reporter:
    """Counts what is done, and tells its listeners.

    Args:
        listeners: told from one thread at a time; nobody hears anything without.
        clock: seconds from some moment on.
        ticks: whether a thread of its own tells them four times a second, so that they hear from
            a server that does not answer, too.
    """

    def __init__(
        self,
        listeners: Sequence[Listener] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        ticks: bool = True,
    ) -> None:
        self._listeners = listeners
        self._clock = clock
        self._ticks = ticks
        self._lock = threading.RLock()
        self._phase: Phase | None = None
        self._begin_counting(None, {})

    def _begin_counting(self, phase: Phase | None, totals: Mapping[str, int]) -> None:
        self._phase = phase
        self._done: Counter[str] = Counter()
        self._totals = totals
        self._outcomes: Counter[str] = Counter()
        self._current: str | None = None
        self._began = self._clock()
        self._samples = deque([(self._began, 0)])

    @contextmanager
    def phase(self, phase: Phase, totals: Mapping[str, int] | None = None) -> Iterator[None]:
        """Announce what is being done.

        Args:
            phase: what.
            totals: how many there are going to be, by what (``runs``), where that is known.
        """
        with self._lock:
            self._begin_counting(phase, {what: n for what, n in (totals or {}).items() if n})
            state = self._state()
            for listener in self._listeners:
                listener.begin(state)
        over = threading.Event()
        if self._ticks and self._listeners:
            threading.Thread(target=self._tick_until, args=(over,), daemon=True).start()
        try:
            yield
        finally:
            over.set()
            with self._lock:
                state = self._state()
                for listener in self._listeners:
                    listener.end(state)
                self._phase = None

    def advance(self, what: str, count: int = 1) -> None:
        """Count what was done since the last call.

        Args:
            what: a word for many, such as ``runs`` or ``model versions``.
            count: how many.
        """
        with self._lock:
            self._current = what.replace(" ", "_")
            self._done[self._current] += count

    def entity(self, record: Mapping[str, Any]) -> None:
        """Count one entity by the journal's record of it, and pass the record on."""
        with self._lock:
            what, outcome = f"{record['kind']}s", record["outcome"]
            if what in self._totals:
                # What prune rolls back, or fails to, was counted when it was deleted.
                if self._done[what] < self._totals[what]:
                    self.advance(what)
                if outcome in {"skipped", "failed"}:
                    self._outcomes[outcome] += 1
            for listener in self._listeners:
                listener.entity(record)

    def note(self, message: str) -> None:
        """Pass a sentence on that is worth knowing."""
        with self._lock:
            for listener in self._listeners:
                listener.note(message)

    def warning(self, code: str | None, message: str) -> None:
        """Pass a warning on.

        Args:
            code: of a plan's diagnostic, or :data:`ROLLED_BACK`; None where there is none.
            message: a sentence.
        """
        with self._lock:
            for listener in self._listeners:
                listener.warning(code, message)

    def plan(self, document: Mapping[str, Any], path: Path) -> None:
        """Say which plan was made or read."""
        with self._lock:
            for listener in self._listeners:
                listener.plan(document, path)

    def journal(self, path: Path, plan_id: str) -> None:
        """Say where the journal is."""
        with self._lock:
            for listener in self._listeners:
                listener.journal(path, plan_id)

    def finish(self, exit_code: int, error: tuple[str, str | None] | None) -> None:
        """Say that the command is over, with its error and the hint, if any."""
        with self._lock:
            for listener in self._listeners:
                listener.finish(exit_code, error)

    def tick(self) -> None:
        """Tell the listeners how far it is."""
        with self._lock:
            if self._phase is None:
                return
            state = self._state()
            for listener in self._listeners:
                listener.update(state)

    def _state(self) -> State:
        now, done = self._clock(), sum(self._done.values())
        self._samples.append((now, done))
        while len(self._samples) > 2 and self._samples[1][0] <= now - _RATE_OVER_S:
            self._samples.popleft()
        since, before = self._samples[0]
        return State(
            phase=self._phase or Phase.CONNECT,
            done=dict(self._done),
            totals=self._totals,
            outcomes=dict(self._outcomes),
            current=self._current,
            seconds=now - self._began,
            per_second=(done - before) / (now - since) if now > since else 0.0,
        )

    def _tick_until(self, over: threading.Event) -> None:
        while not over.wait(_TICK_S):
            try:
                with self._lock:
                    if over.is_set():
                        return
                    self.tick()
            except (OSError, ValueError):
                return  # stderr is gone: nobody is left to be told
