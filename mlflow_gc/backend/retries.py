"""Retries: which failed requests, how often, and after which time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from mlflow_gc.backend.interface import TEMPORARY, UNCLEAR, ServerError

_T = TypeVar("_T")

ATTEMPTS = 5
"""Maximum number of attempts of a read, or of an idempotent write."""
FIRST_WAIT_S = 0.5
"""Wait before the second attempt; doubled for each further one."""
LONGEST_WAIT_S = 120.0
"""Maximum wait, also if the server requests a longer one."""
SLOW_S = 10.0
"""A request that fails only after this time has run into a time-out, here or in a proxy: it is
repeated once."""
_ATTEMPTS_OF_WRITE = 3
"""Maximum number of attempts of a write that is checked in between."""


def retried(send: Callable[[], _T], stopped: threading.Event, attempts: int = ATTEMPTS) -> _T:
    """Send a request, and retry temporary failures, until ``stopped``.

    Raises:
        ServerError: Of the last attempt.
    """
    attempt = 0
    while True:
        attempt += 1
        began = time.monotonic()
        try:
            return send()
        except ServerError as error:
            if time.monotonic() - began > SLOW_S:
                attempts = min(attempts, 2)
            is_last = attempt >= attempts or error.failure not in TEMPORARY
            if is_last or stopped.wait(wait_s(error, attempt)):
                raise


def wait_s(error: ServerError, attempt: int) -> float:
    """Return the seconds to wait after the ``attempt``-th attempt failed.

    This is ``Retry-After`` of the server, else exponential backoff; jitter spreads concurrent
    retries.
    """
    wait = error.retry_after
    if wait is None:
        wait = FIRST_WAIT_S * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
    return min(wait, LONGEST_WAIT_S)


def retry_until_confirmed(
    send: Callable[[], object],
    stop: threading.Event,
    is_done: Callable[[], bool] = lambda: False,
) -> None:
    """Send a write; after an ambiguous response check, and retry if it was not executed.

    The check, ``is_done``, is not needed for idempotent writes.  ``stop`` ends waiting.

    Raises:
        ServerError: It failed, or its outcome is unknown.
    """
    for attempt in range(1, _ATTEMPTS_OF_WRITE + 1):
        try:
            send()
        except ServerError as error:
            if error.failure not in UNCLEAR or attempt == _ATTEMPTS_OF_WRITE:
                raise
            stop.wait(wait_s(error, attempt))
            if is_done():
                return
        else:
            return
