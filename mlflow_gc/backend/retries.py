"""How long to wait before a request is sent again."""

from __future__ import annotations

import random

from mlflow_gc.backend.interface import ServerError

FIRST_WAIT_S = 0.5
"""Before the second attempt; doubled for each further one."""
LONGEST_WAIT_S = 120.0
"""Also where the server asks for a longer one."""


def wait_s(error: ServerError, attempt: int) -> float:
    """Return the seconds to wait after the ``attempt``-th attempt failed.

    What the server asks for (``Retry-After``), else twice as long each time; jitter keeps parallel
    requests from coming back all at once.
    """
    wait = error.retry_after
    if wait is None:
        wait = FIRST_WAIT_S * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
    return min(wait, LONGEST_WAIT_S)
