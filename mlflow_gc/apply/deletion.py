"""One deletion: an attempt, a re-check after an ambiguous response, and another attempt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from mlflow_gc.apply.outcomes import UNREADABLE, Recorder
from mlflow_gc.apply.recheck.checker import GONE, RECHECK_VALID_S, Finding
from mlflow_gc.backend.adaptive_concurrency import AdaptiveLimiter
from mlflow_gc.backend.interface import ABORT_ON, UNCLEAR, Failure, ServerError
from mlflow_gc.backend.retries import wait_s
from mlflow_gc.plan.document import Json

_ATTEMPTS = 3
_RETRY_ON = UNCLEAR | {Failure.NOT_FOUND, Failure.UNREACHABLE}

Check = Callable[[], Finding]
"""Re-checks the one entity."""


def is_stale(finding: Finding) -> bool:
    """Tell whether a re-check is too old for a deletion."""
    return time.monotonic() - finding.checked_at > RECHECK_VALID_S


def check_or_unreadable(check: Check) -> Finding:
    """Re-check; an unreadable entity is not deleted, and the others continue.

    Raises:
        ServerError: The server is down or the login failed.
    """
    try:
        return check()
    except ServerError as error:
        if error.failure in ABORT_ON:
            raise
        return Finding(UNREADABLE, error.explained)


class Deletion:
    """Deletes entities from several threads, until ``stop`` is set."""

    def __init__(self, recorder: Recorder, limiter: AdaptiveLimiter, stop: threading.Event) -> None:
        self._recorder = recorder
        self._limiter = limiter
        self._stop = stop
        self._resume_at = 0.0

    @property
    def is_over(self) -> bool:
        """Whether deletions have to stop."""
        return self._stop.is_set() or self._recorder.aborted.is_set()

    def delete(
        self,
        kind: str,
        entity_id: str,
        finding: Finding,
        *,
        send: Callable[[], None],
        check: Check,
        undo: Json | None = None,
    ) -> bool:
        """Delete one entity, and tell whether it is deleted.

        This is not ``retry_until_confirmed``: the entity may be protected by now.

        It is re-checked before each attempt but the first, and at the end.

        Raises:
            ServerError: the server is gone or locked us out.
        """
        failed: ServerError | None = None
        # After this response the delete may have been executed nevertheless.
        unclear: ServerError | None = None
        for attempt in range(1, _ATTEMPTS + 2):
            self._wait_for_server()
            if failed or is_stale(finding):
                finding = check_or_unreadable(check)
            if finding.code in GONE and unclear:
                detail = f"confirmed by a re-check after: {unclear.message}"
                self._recorder.record_deleted(kind, entity_id, detail=detail, undo=undo)
                return True
            if finding.code == UNREADABLE:
                is_unconfirmed = unclear is not None
                self._recorder.count_failure(
                    kind, entity_id, finding.detail, unconfirmed=is_unconfirmed
                )
                return False
            if finding.code is not None:
                self._recorder.record_skip(kind, entity_id, finding)
                return False
            if attempt > _ATTEMPTS or self.is_over:
                break
            failed = self._attempt(send)
            if failed is None:
                self._recorder.record_deleted(kind, entity_id, undo=undo)
                return True
            if failed.failure in UNCLEAR:
                unclear = failed
            if failed.failure not in _RETRY_ON:
                break
            # All deletions wait, not only this one: the server requested it, or has a problem.
            self._resume_at = max(self._resume_at, time.monotonic() + wait_s(failed, attempt))
        # Stopped before sending: no record, the next session re-checks it.
        if failed is not None:
            self._give_up(kind, entity_id, failed)
        return False

    def _attempt(self, send: Callable[[], None]) -> ServerError | None:
        try:
            with self._limiter.request():
                send()
        except ServerError as error:
            return error
        return None

    def _give_up(self, kind: str, entity_id: str, error: ServerError) -> None:
        if error.failure in ABORT_ON | {Failure.UNSUPPORTED}:
            self._recorder.aborted.set()
            raise error
        # The rule of a proxy applies to all; the rights of an account, to one of them.
        if error.failure is Failure.FORBIDDEN and not error.is_foreign:
            self._recorder.journal.record(
                kind, entity_id, "skipped", reason="forbidden", detail=error.message
            )
        else:
            self._recorder.count_failure(kind, entity_id, error.message, hint=error.hint)

    def _wait_for_server(self) -> None:
        while (wait := self._resume_at - time.monotonic()) > 0:
            if self._stop.wait(wait):
                return
