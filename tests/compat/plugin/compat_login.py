"""A plug-in for ``MLFLOW_TRACKING_AUTH``, found by MLflow through the metadata beside it."""

from __future__ import annotations

import os

import requests
from mlflow.tracking.request_auth.abstract_request_auth_provider import RequestAuthProvider


class Login(requests.auth.AuthBase):
    """Logs in with the header that the environment holds."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = os.environ["COMPAT_LOGIN"]
        return request


class Provider(RequestAuthProvider):
    """The plug-in."""

    def get_name(self) -> str:
        return "compat-login"

    def get_auth(self) -> Login:
        return Login()
