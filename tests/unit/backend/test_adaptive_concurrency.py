"""How many requests are admitted at once."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

import pytest

from mlflow_gc.backend.adaptive_concurrency import AdaptiveLimiter
from mlflow_gc.backend.interface import Failure, ServerError


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def a_limiter(ceiling: int) -> tuple[AdaptiveLimiter, Clock]:
    clock = Clock()
    return AdaptiveLimiter(ceiling, clock), clock


def responded(limiter: AdaptiveLimiter, clock: Clock, times: int, *, seconds: float = 1.0) -> None:
    """So many times keep as many requests in flight as are admitted, then respond to all."""
    for _ in range(times):
        with ExitStack() as in_flight:
            for _ in range(limiter.limit):
                in_flight.enter_context(limiter.request())
            clock.now += seconds


def refused(limiter: AdaptiveLimiter, clock: Clock, failure: Failure = Failure.THROTTLED) -> None:
    clock.now += 1
    request = limiter.request()
    request.__enter__()
    clock.now += 1
    assert not request.__exit__(ServerError, ServerError("busy", failure), None)


def test_never_more_than_the_ceiling_and_never_less_than_one():
    limiter, clock = a_limiter(3)
    responded(limiter, clock, 40)
    assert limiter.limit == 3
    for _ in range(50):
        refused(limiter, clock)
    assert limiter.limit == 1
    assert AdaptiveLimiter(0).limit == 1


def test_responses_in_good_time_allow_more_one_by_one():
    limiter, clock = a_limiter(64)
    before = limiter.limit
    responded(limiter, clock, 1)
    assert limiter.limit <= before + 1
    responded(limiter, clock, 30)
    assert before + 10 < limiter.limit < 64


def test_a_limit_that_is_not_used_up_does_not_grow():
    limiter, clock = a_limiter(64)
    before = limiter.limit
    for _ in range(100):
        with limiter.request():
            clock.now += 1
    assert limiter.limit == before


@pytest.mark.parametrize("failure", [Failure.THROTTLED, Failure.AMBIGUOUS, Failure.UNREACHABLE])
def test_a_refusal_halves(failure):
    limiter, clock = a_limiter(64)
    responded(limiter, clock, 30)
    before = limiter.limit
    refused(limiter, clock, failure)
    assert limiter.limit == pytest.approx(before / 2, abs=1)


def test_a_response_that_is_only_a_no_changes_nothing():
    limiter, clock = a_limiter(64)
    before = limiter.limit
    refused(limiter, clock, Failure.FORBIDDEN)
    assert limiter.limit == before


def test_refusals_of_requests_that_were_in_flight_together_count_once():
    limiter, clock = a_limiter(64)
    responded(limiter, clock, 30)
    before = limiter.limit
    clock.now += 1
    together = [limiter.request() for _ in range(4)]
    for request in together:
        request.__enter__()
    clock.now += 1
    for request in together:
        assert not request.__exit__(ServerError, ServerError("busy", Failure.THROTTLED), None)
    assert limiter.limit == pytest.approx(before / 2, abs=1)


def test_responses_that_take_much_longer_than_the_quickest_slow_it_down():
    limiter, clock = a_limiter(64)
    responded(limiter, clock, 30)
    before = limiter.limit
    responded(limiter, clock, 1, seconds=100)
    assert limiter.limit < before


def test_times_are_compared_by_what_came():
    limiter, clock = a_limiter(64)
    responded(limiter, clock, 30)
    before = limiter.limit
    clock.now += 1
    with limiter.request() as response:
        clock.now += 1000
        response.size = 1000
    assert limiter.limit == before


def test_a_response_of_nothing_does_not_make_all_others_slow():
    limiter, clock = a_limiter(64)
    responded(limiter, clock, 30)
    before = limiter.limit
    for _ in range(10):
        clock.now += 1
        with limiter.request() as response:
            clock.now += 0.001
            response.size = 0
        responded(limiter, clock, 1)
    assert limiter.limit >= before


def test_no_more_than_the_limit_are_in_flight():
    limiter = AdaptiveLimiter(2)
    now, most = 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal now, most
        with limiter.request():
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.002)
            with lock:
                now -= 1

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (now, most) == (0, 2)
