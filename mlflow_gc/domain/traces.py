"""References of traces to runs: the run that made a trace, the runs that assessments name.

From MLflow 3.11 on, deleting a run also deletes every assessment whose metadata names it
(``_mark_run_deleted``), on any trace and whatever the tags of the run; restoring the run does not
bring them back.  ``experiments/delete`` does the same for each run of the experiment, those in its
trash included.  So both are found through the traces.

For each run the count and a sum of hashes are kept: the order does not matter, and memory does not
grow with the number of traces.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from mlflow_gc.domain.canonical_json import short_digest
from mlflow_gc.domain.entities import TRACES_UNREAD, Assessment, Diagnostic, Run

SOURCE_RUN = "mlflow.sourceRun"
"""Metadata of a trace: the run that was active when it was made."""

_NAMED_RUN = re.compile(
    # The server writes a value that is not a string as Python's repr, in quotes.
    r"""mlflow\.assessment\.sourceRunId\\?["']\s*:\s*\\?["']([^"'\\]+)""",
    re.IGNORECASE,
)
"""In the metadata of an assessment: the run that made it."""
_LOST_SINCE = (3, 11)
_SUM = 1 << 128


@dataclass
class _Sum:
    """A number of items, and the sum of their hashes."""

    count: int = 0
    total: int = 0

    def add(self, *texts: object) -> None:
        found = hashlib.sha256("\0".join(map(str, texts)).encode()).digest()
        self.count += 1
        self.total = (self.total + int.from_bytes(found[:16], "big")) % _SUM

    def digest(self) -> str:
        return short_digest([str(self.count), f"{self.total:032x}"])


_NOTHING = _Sum()


@dataclass
class Traces:
    """The references of the traces of a server to runs.

    Args:
        are_lost: whether deleting a run deletes the assessments that name it.

    Attributes:
        hidden: the message of the server if traces could not be read; None if they were.
    """

    are_lost: bool
    hidden: str | None = None
    _made: dict[str, _Sum] = field(default_factory=dict)
    _naming: dict[str, _Sum] = field(default_factory=dict)

    def add_trace(self, trace_id: str, run_id: str) -> None:
        """Add a trace that a run made."""
        self._made.setdefault(run_id, _Sum()).add("trace", trace_id)

    def add_assessment(self, assessment: Assessment, made_by: str) -> None:
        """Add an assessment; ``made_by`` is the run that made its trace, empty if none did."""
        item = (assessment.assessment_id, assessment.updated_ms)
        for run_id in assessment.run_ids:
            self._naming.setdefault(run_id, _Sum()).add(*item)
        # An assessment that names a run is deleted with that run, which does not change the run
        # that made the trace.
        if made_by and not assessment.run_ids:
            self._made.setdefault(made_by, _Sum()).add("assessment", *item)

    def would_be_lost(self) -> frozenset[str]:
        """Return the ids of the runs whose deletion would delete assessments, in lower case."""
        return frozenset(self._naming) if self.are_lost else frozenset()

    def of(self, run: Run) -> Run:
        """Return a run with the digests of its traces and assessments."""
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
        """Yield a diagnostic if traces could not be read."""
        if self.hidden is not None:
            yield Diagnostic(
                TRACES_UNREAD,
                "This account may not read the traces of the server, so it is unknown with which "
                f"runs assessments would be lost permanently. {self.hidden}",
            )


def are_assessments_lost(version: str | None) -> bool:
    """Tell whether deleting a run deletes assessments, by the version of MLflow; when in doubt, yes."""
    found = re.match(r"(\d+)\.(\d+)", version or "")
    return found is None or (int(found[1]), int(found[2])) >= _LOST_SINCE


def named_runs(metadata: str) -> frozenset[str]:
    """Return the runs that the metadata of an assessment names, in lower case.

    MLflow searches the metadata for key and id as one text to find what to delete; MySQL and SQL
    Server ignore case.
    """
    return frozenset(found.lower() for found in _NAMED_RUN.findall(metadata))
