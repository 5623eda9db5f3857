"""The connections of MLflow's HTTP client: kept alive, with immediate acknowledgements.

A server that writes a response in two small pieces (uvicorn: head, then body) delays the second one
until the first is acknowledged, and Linux delays that by 40 ms on a keep-alive connection.  Without
that delay a delete takes less than a millisecond.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_HOSTS = 4
"""The tracking server and a separate registry, each with a proxy."""
NO_RETRIES: dict[str, Any] = {
    "max_retries": 0,
    "retry_codes": frozenset(),
    "raise_on_status": False,
    "respect_retry_after_header": True,
    # Unused without retries; fixed, because MLflow keeps a session for each combination.
    "backoff_factor": 0,
    "backoff_jitter": 0.0,
}
"""Arguments of ``http_request``: MLflow has one session per process for these."""


def open_session(max_parallel: int) -> None:
    """Prepare MLflow's session for :data:`NO_RETRIES` with a new connection pool.

    Nothing else in the process uses that session, because MLflow itself always retries.
    Connections and cookies of an earlier command are dropped.

    Args:
        max_parallel: size of the pool; more concurrent connections would be opened and closed for
            each request.  MLFLOW_HTTP_POOL_MAXSIZE, if set, has priority.
    """
    close_session()
    wanted = os.environ.get("MLFLOW_HTTP_POOL_MAXSIZE", "")
    pool_size = int(wanted) if wanted.isdecimal() else max_parallel
    for adapter in _adapters():
        adapter.init_poolmanager(_HOSTS, pool_size)
        # Only Linux supports it, and only Linux needs it.
        if hasattr(socket, "TCP_QUICKACK"):
            adapter.poolmanager.pool_classes_by_scheme = {
                "http": _PromptHTTPConnectionPool,
                "https": _PromptHTTPSConnectionPool,
            }


def close_session() -> None:
    """Close the pooled connections, and clear cookies."""
    for adapter in _adapters():
        for manager in (adapter.poolmanager, *adapter.proxy_manager.values()):
            # Clearing the pools alone leaves closing to their finalizers (urllib3 2).
            for host in manager.pools.keys():  # noqa: SIM118 - no dictionary: refuses to be iterated
                manager.pools[host].close()
        adapter.close()


def _adapters() -> set[HTTPAdapter]:
    """Return the adapters of MLflow's session for :data:`NO_RETRIES`, without cookies.

    One serves both schemes (3.10 to 3.18).
    """
    try:
        from mlflow.utils.request_utils import _get_request_session
    except ImportError:  # a private function: without it requests are only slower
        return set()
    session: requests.Session = _get_request_session(**NO_RETRIES)
    session.cookies.clear()
    return {a for a in session.adapters.values() if isinstance(a, HTTPAdapter)}


class _PromptHTTPConnection(HTTPConnection):
    def getresponse(self) -> Any:
        _acknowledge(self.sock)
        return super().getresponse()


class _PromptHTTPSConnection(HTTPSConnection):
    def getresponse(self) -> Any:
        _acknowledge(self.sock)
        return super().getresponse()


class _PromptHTTPConnectionPool(HTTPConnectionPool):
    ConnectionCls = _PromptHTTPConnection


class _PromptHTTPSConnectionPool(HTTPSConnectionPool):
    ConnectionCls = _PromptHTTPSConnection


def _acknowledge(connected: socket.socket | None) -> None:
    # The kernel resets the option, so it is set for each response.  A tunnel need not be TCP.
    with contextlib.suppress(OSError, AttributeError):
        if connected is not None:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
