"""Which failed requests are sent again, and writes until it is known what came of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from mlflow_gc.backend import retries
from mlflow_gc.backend.interface import TEMPORARY, UNCLEAR, Failure, ServerError
from mlflow_gc.backend.retries import retry_until_confirmed


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT_S", 0.0)


def fails(times: int, failure: Failure) -> tuple[Callable[[], None], list[int]]:
    """Return a write that fails so often, and what counts how often it is sent."""
    sent: list[int] = []

    def send() -> None:
        sent.append(len(sent))
        if len(sent) <= times:
            raise ServerError("No.", failure)

    return send, sent


@pytest.mark.parametrize("failure", sorted(UNCLEAR, key=str))
def test_an_unclear_write_is_sent_again(failure: Failure) -> None:
    send, sent = fails(2, failure)
    retry_until_confirmed(send, threading.Event())
    assert len(sent) == 3


def test_a_write_that_was_carried_out_is_not_sent_again() -> None:
    send, sent = fails(1, Failure.AMBIGUOUS)
    retry_until_confirmed(send, threading.Event(), lambda: True)
    assert len(sent) == 1


@pytest.mark.parametrize("failure", sorted(set(Failure) - UNCLEAR, key=str))
def test_a_clear_failure_is_final(failure: Failure) -> None:
    send, sent = fails(1, failure)
    with pytest.raises(ServerError):
        retry_until_confirmed(send, threading.Event())
    assert len(sent) == 1


def test_it_ends_after_three_attempts() -> None:
    send, sent = fails(9, Failure.THROTTLED)
    with pytest.raises(ServerError):
        retry_until_confirmed(send, threading.Event())
    assert len(sent) == 3


class Server:
    """Fails in so many ways, one after the other, and then responds."""

    def __init__(self, *failures: Failure) -> None:
        self.failures = list(failures)
        self.requests = 0

    def send(self) -> str:
        self.requests += 1
        if self.failures:
            raise ServerError("It failed.", self.failures.pop(0))
        return "response"


@pytest.mark.parametrize("failure", Failure)
def test_only_what_may_pass_is_sent_again(failure):
    server = Server(failure)
    if failure in TEMPORARY:
        assert retries.retried(server.send, threading.Event()) == "response"
    else:
        with pytest.raises(ServerError):
            retries.retried(server.send, threading.Event())
    assert server.requests == (2 if failure in TEMPORARY else 1)


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_no_more_attempts_than_allowed(attempts):
    server = Server(*[Failure.AMBIGUOUS] * 9)
    with pytest.raises(ServerError):
        retries.retried(server.send, threading.Event(), attempts)
    assert server.requests == attempts


def test_what_runs_into_a_time_out_is_sent_again_once(monkeypatch):
    """A proxy that waits 30 seconds is asked for a minute, not for two and a half."""
    monkeypatch.setattr(retries, "SLOW_S", -1.0)
    server = Server(*[Failure.AMBIGUOUS] * 9)
    with pytest.raises(ServerError):
        retries.retried(server.send, threading.Event())
    assert server.requests == 2


def test_an_interrupt_ends_the_attempts():
    server, stopped = Server(Failure.THROTTLED), threading.Event()
    stopped.set()
    with pytest.raises(ServerError):
        retries.retried(server.send, stopped)
    assert server.requests == 1


def test_what_the_server_asks_for_counts_up_to_a_limit():
    busy = ServerError("Busy.", Failure.THROTTLED, retry_after=7)
    assert retries.wait_s(busy, 1) == 7
    busy.retry_after = 10_000
    assert retries.wait_s(busy, 1) == retries.LONGEST_WAIT_S
