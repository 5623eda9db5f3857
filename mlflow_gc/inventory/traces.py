"""Which traces runs made, and which assessments name a run.

From MLflow 3.11 on, deleting a run also deletes every assessment whose metadata names it
(``_mark_run_deleted``), on whatever trace that stands and whatever tags the run has; restoring the
run does not bring them back.  ``experiments/delete`` does the same for each run in the experiment,
those that were in its trash before included.  So both are found by what the traces say.

No search finds the assessments of a run, over REST they are only part of their traces.  All traces
are read once, and of each run is kept how many there are and a sum of hashes: the order does not
matter, and memory does not grow with the traces.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from mlflow_gc.canonical import digest
from mlflow_gc.inventory.entities import TRACES_UNREAD, Assessment, Diagnostic, Run, Trace
from mlflow_gc.inventory.gateway import REPEATS, Failure, Gateway, ServerError

TRACES_A_PAGE = 500
"""The most that a server hands out at once (2.14 to 3.18)."""

_EXPERIMENTS_A_CALL = 1000
_LOST_SINCE = (3, 11)
_LENGTH = len("sha256:") + 32
_SUM = 1 << 128


@dataclass
class _Sum:
    """So many things, and the sum of their hashes."""

    count: int = 0
    total: int = 0

    def add(self, *texts: object) -> None:
        found = hashlib.sha256("\0".join(map(str, texts)).encode()).digest()
        self.count += 1
        self.total = (self.total + int.from_bytes(found[:16], "big")) % _SUM

    def digest(self) -> str:
        return digest([str(self.count), f"{self.total:032x}"])[:_LENGTH]


_NOTHING = _Sum()


@dataclass
class Traces:
    """What the traces of a server say about runs.

    Args:
        are_lost: whether deleting a run deletes the assessments that name it.

    Attributes:
        hidden: why they could not be read, as the server says it; None where they were.
    """

    are_lost: bool
    hidden: str | None = None
    _made: dict[str, _Sum] = field(default_factory=dict)
    _naming: dict[str, _Sum] = field(default_factory=dict)

    def add_trace(self, trace_id: str, run_id: str) -> None:
        """Take note of a trace that a run made."""
        self._made.setdefault(run_id, _Sum()).add("trace", trace_id)

    def add_assessment(self, assessment: Assessment, made_by: str) -> None:
        """Take note of an assessment.

        Args:
            assessment: the assessment.
            made_by: the run that made the trace on which it stands; empty where none did.
        """
        said = (assessment.assessment_id, assessment.updated_ms)
        for run_id in assessment.run_ids:
            self._naming.setdefault(run_id, _Sum()).add(*said)
        # One that names a run goes with that run: the run that made the trace did not change then.
        if made_by and not assessment.run_ids:
            self._made.setdefault(made_by, _Sum()).add("assessment", *said)

    def would_be_lost(self) -> frozenset[str]:
        """Return the ids of the runs with which assessments would be lost, in lower case."""
        return frozenset(self._naming) if self.are_lost else frozenset()

    def of(self, run: Run) -> Run:
        """Return a run with what is known of its traces and assessments."""
        if self.hidden is not None:
            return replace(run, details=replace(run.details, traces_are_hidden=True))
        details = replace(
            run.details,
            traces_digest=self._made.get(run.run_id, _NOTHING).digest(),
            assessments_digest=self.naming(run.run_id),
            loses_assessments=self.are_lost and run.run_id.lower() in self._naming,
        )
        return replace(run, details=details)

    def naming(self, run_id: str) -> str:
        """Return a digest over the assessments that name a run."""
        return self._naming.get(run_id.lower(), _NOTHING).digest()

    def diagnostics(self) -> Iterator[Diagnostic]:
        """Yield what a plan has to say about traces that could not be read."""
        if self.hidden is not None:
            yield Diagnostic(
                TRACES_UNREAD,
                "This account may not read the traces of the server, so nobody knows with which "
                f"runs assessments would be lost for good. {self.hidden}",
            )


def are_assessments_lost(version: str | None) -> bool:
    """Tell whether deleting a run deletes assessments, by the version of MLflow; when in doubt, yes."""
    found = re.match(r"(\d+)\.(\d+)", version or "")
    return found is None or (int(found[1]), int(found[2])) >= _LOST_SINCE


def read_traces(
    gateway: Gateway,
    experiment_ids: Sequence[str],
    progress: Callable[[str, int], None] = lambda _what, _count: None,
) -> Traces:
    """Read the traces of experiments.

    Raises:
        ServerError: they cannot be read, for another reason than that this account may not.
    """
    traces = Traces(gateway.loses_assessments)
    for start in range(0, len(experiment_ids), _EXPERIMENTS_A_CALL):
        try:
            for page in _pages(gateway, experiment_ids[start : start + _EXPERIMENTS_A_CALL]):
                for trace in page:
                    if trace.run_id:
                        traces.add_trace(trace.trace_id, trace.run_id)
                    for assessment in trace.assessments:
                        traces.add_assessment(assessment, trace.run_id)
                progress("traces", len(page))
        except ServerError as error:
            if error.failure is not Failure.FORBIDDEN:
                raise
            return Traces(traces.are_lost, hidden=error.message)
    return traces


def _pages(gateway: Gateway, experiment_ids: Sequence[str]) -> Iterator[list[Trace]]:
    """Yield all traces of some experiments, each once.

    By their time stamps instead of by offset: what is deleted meanwhile would move others out of
    sight, and the server would sort and skip all that came before, again for each page.
    """
    since: int | None = None
    token: str | None = None
    at_border: set[str] = set()
    tokens: set[str] = set()
    while True:
        found, token = gateway.search_traces(experiment_ids, since_ms=since, token=token)
        yield [trace for trace in found if trace.trace_id not in at_border]
        if not token:
            return
        last = found[-1].time_ms if found else None
        if last is not None and (since is None or last > since):
            since, token, at_border, tokens = last, None, set(), set()
        elif token in tokens:
            raise ServerError(REPEATS, Failure.GARBLED)
        else:  # more than a page of one moment
            tokens.add(token)
        at_border.update(trace.trace_id for trace in found if trace.time_ms == since)
