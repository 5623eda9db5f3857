"""What is said of a response that is an error."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mlflow_gc.backend.interface import ServerError
from mlflow_gc.backend.rest.response_errors import checked


@pytest.mark.parametrize(
    ("headers", "message", "hint"),
    [
        ({}, "neither a token nor a password was sent", "Set MLFLOW_TRACKING_TOKEN"),
        (
            {"Authorization": "Bearer x"},
            "does not accept the credentials",
            "Check MLFLOW_TRACKING_TOKEN",
        ),
    ],
)
def test_401_says_whether_credentials_were_sent(
    headers: dict[str, str], message: str, hint: str
) -> None:
    response = SimpleNamespace(
        status_code=401, content=b"", request=SimpleNamespace(headers=headers)
    )
    with pytest.raises(ServerError) as caught:
        checked(response, "https://mlflow.example.com", as_json=True)
    assert message in caught.value.message
    assert hint in str(caught.value.hint)
