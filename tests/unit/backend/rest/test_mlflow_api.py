from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from mlflow_gc.backend.interface import Failure, ServerError
from mlflow_gc.backend.rest.mlflow_api import MlflowApi


def api() -> MlflowApi:
    return MlflowApi(cast("Any", SimpleNamespace(address="http://server")), None)


@pytest.mark.parametrize("answer", [{}, {"runs": []}, {"next_page_token": ""}])
def test_an_empty_page(answer):
    assert api().entries(answer, "runs") == ([], None)


@pytest.mark.parametrize(
    "answer", [{"message": "deploying"}, {"error": "x", "next_page_token": ""}, {"run": []}]
)
def test_other_json_is_not_an_empty_page(answer):
    """A gateway that answers 200 would otherwise hide what protects."""
    with pytest.raises(ServerError, match="no 'runs'") as caught:
        api().entries(answer, "runs")
    assert caught.value.failure is Failure.INVALID_RESPONSE


@pytest.mark.parametrize(
    ("answer", "params"),
    [
        ({"info": {"run_id": "a"}}, {"run_id": "b"}),
        ({"name": "m", "version": 1}, {"name": "m", "version": "2"}),
        ({"experiment_id": "1", "name": "x"}, {"experiment_id": "2"}),
    ],
)
def test_another_entity_is_not_the_one_that_was_asked_for(monkeypatch, answer, params):
    """A cache that ignores the query of a URL responds with what it was asked before."""
    server = api()
    monkeypatch.setattr(server, "read", lambda *_args, **_options: {"it": answer})
    with pytest.raises(ServerError, match="in the answer, not"):
        server.get("any/get", params, "it", dict)
    same = {**params, **{n: str(v) for n, v in answer.get("info", answer).items()}}
    assert server.get("any/get", same, "it", dict) == answer
