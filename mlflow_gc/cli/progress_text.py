"""Reporter on stderr: bars on a terminal, a line every ten seconds in a job's log."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

from mlflow_gc.cli.output import print_message
from mlflow_gc.workflows.reporter import Listener, State

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

LINE_EVERY_S = 10.0


def listener(*, no_color: bool) -> Listener:
    """Return the progress listener for this stderr."""
    # A terminal without cursor movement gets lines, too.
    is_terminal = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return TerminalBar(sys.stderr, no_color=no_color) if is_terminal else LogLines()


class LogLines(Listener):
    """A plain line every ten seconds."""

    def __init__(self) -> None:
        self._next = LINE_EVERY_S

    def begin(self, state: State) -> None:  # noqa: ARG002 - a new phase, a new clock
        """Start the timer: the first line of a phase is printed after ten seconds."""
        self._next = LINE_EVERY_S

    def update(self, state: State) -> None:
        """Print a line every ten seconds."""
        if state.seconds >= self._next:
            self._next = state.seconds + LINE_EVERY_S
            print_message(describe(state))


class TerminalBar(Listener):
    """A progress bar that is removed at the end of its phase."""

    def __init__(self, stream: TextIO, *, no_color: bool) -> None:
        self._stream = stream
        self._no_color = no_color
        self._bars: Bars | None = None
        self._task: TaskID | None = None

    def update(self, state: State) -> None:
        """Draw the progress.  Very short phases are not drawn."""
        if self._bars is None:
            self._bars = _bars(self._stream, no_color=self._no_color)
            self._task = self._bars.add_task(state.phase.title, total=None, text="")
            self._bars.start()
        if self._task is not None:
            self._bars.update(
                self._task,
                total=state.all_totals,
                completed=state.all_done,
                text=_of_current(state) + _rate(state, ", "),
            )

    def end(self, state: State) -> None:  # noqa: ARG002 - the bar is removed
        """Remove the bar."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def describe(state: State) -> str:
    """Return the progress of a phase: ``Done: 1,200 of 5,000 runs (38/s, about 2 min left)``."""
    done = ", ".join(_of(what, state) for what in state.done)
    if not done:
        return f"{state.phase.title}: {span(state.seconds)} so far"
    return f"{state.phase.done} {done}{_outcomes(state)} ({_rate(state, '')})"


def span(seconds: float) -> str:
    """Return ``40 s``, ``12 min`` or ``2 h 10 min``; rounded, so that it does not flicker."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _of(what: str, state: State) -> str:
    total = state.totals.get(what)
    of_how_many = f" of {total:,}" if total else ""
    return f"{state.done[what]:,}{of_how_many} {what.replace('_', ' ')}"


def _of_current(state: State) -> str:
    if state.current is None:
        return span(state.seconds)
    return _of(state.current, state) + _outcomes(state)


def _outcomes(state: State) -> str:
    return "".join(f", {count:,} {outcome}" for outcome, count in state.outcomes.items())


def _rate(state: State, lead: str) -> str:
    if not state.done:
        return ""
    rate = state.per_second
    text = f"{lead}{rate:,.0f}/s" if rate >= 10 or not rate else f"{lead}{rate:,.1f}/s"
    left = state.seconds_left
    return text if left is None else f"{text}, about {span(left)} left"


def _bars(stream: TextIO, *, no_color: bool) -> Bars:
    # Imported here: only needed on a terminal.
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    class VisibleCursor(Console):
        """A console that does not hide the cursor: a second Ctrl-C would leave it hidden."""

        def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002 - nothing to show or hide
            return False

    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[text]}", markup=False),
        console=VisibleCursor(
            file=stream, no_color=no_color or bool(os.environ.get("NO_COLOR")), highlight=False
        ),
        transient=True,
        # stdout is only for the result.
        redirect_stdout=False,
        redirect_stderr=True,
        refresh_per_second=5,
    )
