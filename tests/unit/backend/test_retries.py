"""Writes that are sent again until it is known what came of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from mlflow_gc.backend import retries
from mlflow_gc.backend.interface import UNCLEAR, Failure, ServerError
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
