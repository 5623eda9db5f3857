"""Which failed requests are sent again."""

from __future__ import annotations

import threading

import pytest

from mlflow_gc.backend import retries
from mlflow_gc.backend.interface import TEMPORARY, Failure, ServerError


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


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(retries, "FIRST_WAIT_S", 0)


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
