"""One deletion: how long its re-check is valid, and what comes before another attempt."""

from __future__ import annotations

import threading
import time

import pytest
from unit import worlds

from mlflow_gc.apply import deletion
from mlflow_gc.apply.deletion import Deletion
from mlflow_gc.apply.journal.writer import Journal
from mlflow_gc.apply.outcomes import Recorder
from mlflow_gc.apply.recheck.checker import Finding
from mlflow_gc.backend.adaptive_concurrency import AdaptiveLimiter
from mlflow_gc.backend.interface import Failure, ServerError

PLAN = worlds.plan_of(worlds.inventory())
CHANGED = Finding("changed", "status was FINISHED, is RUNNING")


def _delete(
    finding: Finding, again: Finding, *answers: ServerError | None
) -> tuple[list[str], Recorder]:
    """Delete a run; returns what was done for it in order, and the record of it."""
    done: list[str] = []
    waiting = iter(answers)

    def send() -> None:
        done.append("delete")
        if error := next(waiting):
            raise error

    def check() -> Finding:
        done.append("re-check")
        return again

    with Journal(None, PLAN) as journal:
        recorder = Recorder(journal, (), lambda _kind, _id, _finding: None)
        one = Deletion(recorder, AdaptiveLimiter(1), threading.Event())
        is_deleted = one.delete("run", "a", finding, send=send, check=check)
    assert is_deleted == (recorder.result.counts["run", "deleted"] == 1)
    return done, recorder


@pytest.mark.parametrize(("age_s", "is_stale"), [(4.9, False), (5.1, True), (3600.0, True)])
def test_a_re_check_is_valid_for_five_seconds(
    age_s: float, is_stale: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    with monkeypatch.context() as patched:
        patched.setattr(deletion.time, "monotonic", lambda: now)
        assert deletion.is_stale(Finding(checked_at=now - age_s)) is is_stale


def test_what_was_re_checked_long_ago_is_re_checked_again() -> None:
    old = Finding(checked_at=time.monotonic() - 10)
    assert _delete(old, Finding(), None)[0] == ["re-check", "delete"]
    done, recorder = _delete(old, CHANGED, None)
    assert done == ["re-check"]
    assert recorder.result.counts["run", "skipped:changed"] == 1


@pytest.mark.parametrize("failure", [Failure.AMBIGUOUS, Failure.UNREACHABLE, Failure.NOT_FOUND])
def test_a_delete_that_failed_is_not_sent_again_without_a_re_check(failure: Failure) -> None:
    error = ServerError("No answer.", failure, retry_after=0.0)
    assert _delete(Finding(), Finding(), error, None)[0] == ["delete", "re-check", "delete"]
    done, recorder = _delete(Finding(), CHANGED, error)
    assert done == ["delete", "re-check"]
    assert recorder.result.counts["run", "skipped:changed"] == 1
