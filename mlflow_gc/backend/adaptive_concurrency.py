"""An adaptive limit on concurrent requests, up to a ceiling.

Additive increase, multiplicative decrease, as in TCP: each timely response raises the limit a
little, a refusal (429, 503) halves it, and responses that take several times as long as the
quickest ones lower it, because requests are only waiting for each other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mlflow_gc.backend.interface import TEMPORARY, ServerError

_FIRST = 4
_SLOW = 5.0
"""A response is slow if it takes this many times as long as the quickest one."""
_BACK_OFF_WHEN_SLOW = 0.8
_BACK_OFF_WHEN_REFUSED = 0.5
# The quickest response of long ago says little about the current load.
_FORGET = 1.02


@dataclass
class Response:
    """The result of a request.

    Attributes:
        size: for example the number of runs; times are compared per size.  0 if the time says
            nothing: a search without results takes time, too, and next to an instant one all others
            would seem slow.
    """

    size: int = 1


class AdaptiveLimiter:
    """Admits requests; each is sent inside :meth:`request`.

    Args:
        ceiling: maximum number of concurrent requests.
        clock: in seconds, to measure response times.
    """

    def __init__(self, ceiling: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ceiling = max(ceiling, 1)
        self._limit = float(min(_FIRST, self._ceiling))
        self._in_flight = 0
        self._quickest: float | None = None
        self._backed_off_at = 0.0
        self._saturated_at = float("-inf")
        self._free = threading.Condition()

    @property
    def limit(self) -> int:
        """The current number of slots."""
        return max(int(self._limit), 1)

    @contextmanager
    def request(self) -> Iterator[Response]:
        """Wait for a slot, and adapt the limit to the duration and outcome of the request.

        Yields:
            The response, to be filled in by the caller.
        """
        response = Response()
        with self._free:
            while self._in_flight >= self.limit:
                self._free.wait()
            began = self._clock()
            self._in_flight += 1
            if self._in_flight >= self.limit:
                self._saturated_at = began
        try:
            yield response
        except ServerError as error:
            if error.failure in TEMPORARY:
                self._back_off(began, _BACK_OFF_WHEN_REFUSED)
            raise
        else:
            if response.size:
                self._learn(began, (self._clock() - began) / response.size)
        finally:
            with self._free:
                self._in_flight -= 1
                # Wake only as many as there are slots: others would only wait again.
                self._free.notify(max(self.limit - self._in_flight, 0))

    def _learn(self, began: float, took: float) -> None:
        with self._free:
            quickest = took if self._quickest is None else self._quickest * _FORGET
            self._quickest = quickest = min(took, quickest)
            slow = took > quickest * _SLOW
            # The limit grows only while it is saturated.
            if not slow and began <= self._saturated_at:
                self._limit = min(self._limit + 1 / self._limit, self._ceiling)
        if slow:
            self._back_off(began, _BACK_OFF_WHEN_SLOW)

    def _back_off(self, began: float, factor: float) -> None:
        with self._free:
            # Requests that were in flight together reflect the same load.
            if began < self._backed_off_at:
                return
            self._backed_off_at = self._clock()
            self._limit = max(self._limit * factor, 1.0)
