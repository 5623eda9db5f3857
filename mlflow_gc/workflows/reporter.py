"""Progress and messages of a workflow: counted in one place, passed to listeners."""

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
# The rate of the last minute: runs, experiments and versions have different rates.
_RATE_OVER_S = 60.0


ROLLED_BACK = "put_back"
"""Code of the warning about a rollback."""


class Phase(Enum):
    """A phase of a command: a code for machines, a title for bars, a text for counts."""

    LOAD = ("load", "Loading MLflow", "Loading MLflow")
    CONNECT = ("connect", "Connecting", "Connecting")
    SCAN = ("scan", "Reading", "Read")
    DETAILS = ("look", "Reading details", "Read details of")
    DECIDE = ("decide", "Deciding", "Deciding")
    COMPARE = ("compare", "Comparing plan and server", "Comparing plan and server")
    PRUNE = ("prune", "Deleting", "Done:")
    CHECK = ("check", "Checking", "Checked")
    MEASURE = ("measure", "Listing files", "Listed files of")
    PURGE = ("purge", "Deleting permanently", "Done:")
    RESTORE = ("restore", "Restoring", "Done:")
    MARK = ("mark", "Announcing", "Done:")

    def __init__(self, code: str, title: str, done: str) -> None:
        self.code = code
        self.title = title
        self.done = done


@dataclass(frozen=True)
class State:
    """The progress of a phase.

    Attributes:
        phase: the phase.
        done: number of completed items by kind (``runs``), in the order of their start.
        totals: total number of items by kind, if known.
        outcomes: number of ``skipped`` and ``failed`` items.
        current: the kind of the last item; None before the first.
        seconds: duration so far.
        per_second: recent rate.
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
        """Return the number of completed items of all kinds."""
        return sum(self.done.values())

    @property
    def all_totals(self) -> int | None:
        """Return the total number of items, or None if unknown."""
        return sum(self.totals.values()) or None

    @property
    def seconds_left(self) -> float | None:
        """Return the remaining time at this rate, or None if unknown."""
        if self.all_totals is None or not self.per_second:
            return None
        return max(self.all_totals - self.all_done, 0) / self.per_second


class Listener:
    """Receives the progress of a command; subclasses override what they need."""

    def begin(self, state: State) -> None:
        """Called when a phase begins."""

    def update(self, state: State) -> None:
        """Called with the progress, a few times a second."""

    def end(self, state: State) -> None:
        """Called when a phase ends, for any reason."""

    def entity(self, record: Mapping[str, Any]) -> None:
        """Called with the outcome of one entity, as in the journal."""

    def note(self, message: str) -> None:
        """Called with a note, one sentence."""

    def warning(self, code: str | None, message: str) -> None:
        """Called with a warning."""

    def plan(self, document: Mapping[str, Any], path: Path) -> None:
        """Called with a plan that was made or read."""

    def journal(self, path: Path, plan_id: str) -> None:
        """Called with the path of the journal."""

    def finish(self, exit_code: int, error: tuple[str, str | None] | None) -> None:
        """Called when the command ends, with its error and hint, if any."""


class Reporter:
    """Counts completed items, and calls its listeners.

    Args:
        listeners: called from one thread at a time.
        clock: monotonic time in seconds.
        ticks: whether a thread calls them four times a second, even if a server does not respond.
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

    def add(self, listener: Listener) -> None:
        """Call one more listener from now on."""
        with self._lock:
            self._listeners = [*self._listeners, listener]

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
        """Report a phase, with the total number of items by kind (``runs``), if known."""
        with self._lock:
            self._begin_counting(phase, {what: n for what, n in (totals or {}).items() if n})
            state = self._state()
            self._each(lambda listener: listener.begin(state))
        over = threading.Event()
        if self._ticks and self._listeners:
            threading.Thread(target=self._tick_until, args=(over,), daemon=True).start()
        try:
            yield
        finally:
            over.set()
            with self._lock:
                end = self._state()
                self._each(lambda listener: listener.end(end))
                self._phase = None

    def advance(self, what: str, count: int = 1) -> None:
        """Count completed items of a kind such as ``runs`` or ``model versions``."""
        with self._lock:
            self._current = what.replace(" ", "_")
            self._done[self._current] += count

    def entity(self, record: Mapping[str, Any]) -> None:
        """Count one entity by the journal's record of it, and pass the record on."""
        with self._lock:
            what, outcome = f"{record['kind']}s", record["outcome"]
            if what in self._totals:
                # Rollbacks, failed or not, were counted as deletions.
                if self._done[what] < self._totals[what]:
                    self.advance(what)
                if outcome in {"skipped", "failed"}:
                    self._outcomes[outcome] += 1
            self._each(lambda listener: listener.entity(record))

    def note(self, message: str) -> None:
        """Pass a note on, one sentence."""
        self._each(lambda listener: listener.note(message))

    def warning(self, code: str | None, message: str) -> None:
        """Pass a warning on; the code is that of a plan's diagnostic, or :data:`ROLLED_BACK`."""
        self._each(lambda listener: listener.warning(code, message))

    def plan(self, document: Mapping[str, Any], path: Path) -> None:
        """Report a plan that was made or read."""
        self._each(lambda listener: listener.plan(document, path))

    def journal(self, path: Path, plan_id: str) -> None:
        """Report the path of the journal."""
        self._each(lambda listener: listener.journal(path, plan_id))

    def finish(self, exit_code: int, error: tuple[str, str | None] | None) -> None:
        """Report the end of the command, with its error and hint, if any."""
        self._each(lambda listener: listener.finish(exit_code, error))

    def _each(self, call: Callable[[Listener], None]) -> None:
        with self._lock:
            for listener in self._listeners:
                call(listener)

    def tick(self) -> None:
        """Call the listeners with the progress."""
        with self._lock:
            if self._phase is not None:
                state = self._state()
                self._each(lambda listener: listener.update(state))

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
                return  # stderr is closed: nobody can receive it
