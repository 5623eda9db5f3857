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
