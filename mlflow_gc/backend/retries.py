"""Which failed requests are sent again, how often, and how long to wait before."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import TypeVar

from mlflow_gc.backend.interface import TEMPORARY, UNCLEAR, ServerError

_T = TypeVar("_T")

ATTEMPTS = 5
"""Of a read, and of a write that changes nothing when it is sent for the second time."""
FIRST_WAIT_S = 0.5
"""Before the second attempt; doubled for each further one."""
LONGEST_WAIT_S = 120.0
"""Also where the server asks for a longer one."""
_ATTEMPTS = 3


def retried(send: Callable[[], _T], stopped: threading.Event, attempts: int = ATTEMPTS) -> _T:
    """Send a request, and send it again where it failed for a reason that may pass.

    Args:
        send: sends it once.
        stopped: cuts waiting short, and ends it.
        attempts: how many at most.

    Raises:
        ServerError: of the last attempt.
    """
    for attempt in range(1, attempts):
        try:
            return send()
        except ServerError as error:
            if error.failure not in TEMPORARY or stopped.wait(wait_s(error, attempt)):
                raise
    return send()


def wait_s(error: ServerError, attempt: int) -> float:
    """Return the seconds to wait after the ``attempt``-th attempt failed.

    What the server asks for (``Retry-After``), else twice as long each time; jitter keeps parallel
    requests from coming back all at once.
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
    """Send a write; after an unclear response look, and send it again if it was not carried out.

    Args:
        send: the write.
        stop: cuts waiting short.
        is_done: the look; not needed where sending twice is the same as once.

    Raises:
        ServerError: it could not be done, or nobody knows.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            send()
        except ServerError as error:
            if error.failure not in UNCLEAR or attempt == _ATTEMPTS:
                raise
            stop.wait(wait_s(error, attempt))
            if is_done():
                return
        else:
            return
