"""How many requests may be in flight at once: as many as the server bears, up to a ceiling.

Additive increase, multiplicative decrease, as TCP does it: each response in good time allows a
little more, a refusal (429, 503) halves, and responses that take several times as long as the
quickest ones mean that requests only wait for each other.
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
"""So many times the quickest response is too slow."""
_BACK_OFF_WHEN_SLOW = 0.8
_BACK_OFF_WHEN_REFUSED = 0.5
# The quickest response of long ago says little about a server that is busy now.
_FORGET = 1.02


@dataclass
class Response:
    """What a request brought.

    Attributes:
        size: how much, such as the number of runs; times are compared by it.  0 for so little that
            its time says nothing: a search takes its time even if it finds nothing, and next to
            one that took none every other one would be slow.
    """

    size: int = 1


class AdaptiveLimiter:
    """Admits requests; each is made inside :meth:`request`.

    Args:
        ceiling: never more than this at once.
        clock: seconds, for measuring how long responses take.
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
        """How many slots there are right now."""
        return max(int(self._limit), 1)

    @contextmanager
    def request(self) -> Iterator[Response]:
        """Wait for a slot, and learn from how long the request takes and how it ends.

        Yields:
            What it brings, to be filled in.
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
                # No more than there are slots for: the others would only look and wait again.
                self._free.notify(max(self.limit - self._in_flight, 0))

    def _learn(self, began: float, took: float) -> None:
        with self._free:
            quickest = took if self._quickest is None else self._quickest * _FORGET
            self._quickest = quickest = min(took, quickest)
            slow = took > quickest * _SLOW
            # More are allowed only where as many as allowed were needed.
            if not slow and began <= self._saturated_at:
                self._limit = min(self._limit + 1 / self._limit, self._ceiling)
        if slow:
            self._back_off(began, _BACK_OFF_WHEN_SLOW)

    def _back_off(self, began: float, factor: float) -> None:
        with self._free:
            # Those that were in flight together tell of one and the same moment.
            if began < self._backed_off_at:
                return
            self._backed_off_at = self._clock()
            self._limit = max(self._limit * factor, 1.0)
