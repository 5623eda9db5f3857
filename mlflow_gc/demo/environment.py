"""The environment in which the demo uses only its own server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_LOOPBACK = "127.0.0.1,localhost"


@contextmanager
def demo_environment(tracking_uri: str) -> Iterator[None]:
    """Point this process and its children at the demo's server, and restore everything after.

    The user's own MLflow settings (server, credentials, TTL, workspace) must not leak into the
    demo: at best it would fail, at worst it would prune something real.
    """
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        del os.environ[name]
    os.environ.update(
        {
            "MLFLOW_TRACKING_URI": tracking_uri,
            # Both are defaults; set because a secret file of AE5 would override a default.
            "MLFLOW_REGISTRY_URI": tracking_uri,
            "MLFLOW_TRACKING_ENTITY_TTL": "30",
            # A server on this machine responds at once or not at all.
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
            # MLflow prints a link for every finished run, with its raw name.
            "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        }
    )
    for name in ("no_proxy", "NO_PROXY"):
        inherited = before.get(name)
        os.environ[name] = f"{inherited},{_LOOPBACK}" if inherited else _LOOPBACK
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
