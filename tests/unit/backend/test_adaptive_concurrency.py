"""How many requests are admitted at once."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

import pytest

from mlflow_gc.backend.adaptive_concurrency import Pace
from mlflow_gc.backend.interface import Failure, ServerError


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def a_pace(ceiling: int) -> tuple[Pace, Clock]:
    clock = Clock()
    return Pace(ceiling, clock), clock


def answered(pace: Pace, clock: Clock, times: int, *, seconds: float = 1.0) -> None:
    """So many times keep as many requests under way as are admitted, then answer all."""
    for _ in range(times):
        with ExitStack() as under_way:
            for _ in range(pace.limit):
                under_way.enter_context(pace.request())
            clock.now += seconds


def refused(pace: Pace, clock: Clock, failure: Failure = Failure.THROTTLED) -> None:
    clock.now += 1
    request = pace.request()
    request.__enter__()
    clock.now += 1
    assert not request.__exit__(ServerError, ServerError("busy", failure), None)


def test_never_more_than_the_ceiling_and_never_less_than_one():
    pace, clock = a_pace(3)
    answered(pace, clock, 40)
    assert pace.limit == 3
    for _ in range(50):
        refused(pace, clock)
    assert pace.limit == 1
    assert Pace(0).limit == 1


def test_answers_in_good_time_allow_more_one_by_one():
    pace, clock = a_pace(64)
    before = pace.limit
    answered(pace, clock, 1)
    assert pace.limit <= before + 1
    answered(pace, clock, 30)
    assert before + 10 < pace.limit < 64


def test_a_limit_that_is_not_used_up_does_not_grow():
    pace, clock = a_pace(64)
    before = pace.limit
    for _ in range(100):
        with pace.request():
            clock.now += 1
    assert pace.limit == before


@pytest.mark.parametrize("failure", [Failure.THROTTLED, Failure.AMBIGUOUS, Failure.UNREACHABLE])
def test_a_refusal_halves(failure):
    pace, clock = a_pace(64)
    answered(pace, clock, 30)
    before = pace.limit
    refused(pace, clock, failure)
    assert pace.limit == pytest.approx(before / 2, abs=1)


def test_an_answer_that_is_only_a_no_changes_nothing():
    pace, clock = a_pace(64)
    before = pace.limit
    refused(pace, clock, Failure.FORBIDDEN)
    assert pace.limit == before


def test_refusals_of_requests_that_were_under_way_together_count_once():
    pace, clock = a_pace(64)
    answered(pace, clock, 30)
    before = pace.limit
    clock.now += 1
    together = [pace.request() for _ in range(4)]
    for request in together:
        request.__enter__()
    clock.now += 1
    for request in together:
        assert not request.__exit__(ServerError, ServerError("busy", Failure.THROTTLED), None)
    assert pace.limit == pytest.approx(before / 2, abs=1)


def test_answers_that_take_much_longer_than_the_quickest_slow_it_down():
    pace, clock = a_pace(64)
    answered(pace, clock, 30)
    before = pace.limit
    answered(pace, clock, 1, seconds=100)
    assert pace.limit < before


def test_times_are_compared_by_what_came():
    pace, clock = a_pace(64)
    answered(pace, clock, 30)
    before = pace.limit
    clock.now += 1
    with pace.request() as answer:
        clock.now += 1000
        answer.size = 1000
    assert pace.limit == before


def test_an_answer_of_nothing_does_not_make_all_others_slow():
    pace, clock = a_pace(64)
    answered(pace, clock, 30)
    before = pace.limit
    for _ in range(10):
        clock.now += 1
        with pace.request() as answer:
            clock.now += 0.001
            answer.size = 0
        answered(pace, clock, 1)
    assert pace.limit >= before


def test_no_more_than_the_limit_are_under_way():
    pace = Pace(2)
    now, most = 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal now, most
        with pace.request():
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
