"""The connections on which MLflow's HTTP client sends our requests: kept open, acknowledged at once.

A server that writes a response in two small pieces (uvicorn: head, then body) holds the second one
back until the first is acknowledged, and Linux delays that by 40 ms on a connection that is kept
open.  A delete takes less than a millisecond without that wait.
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
"""The tracking server and a registry elsewhere, each also behind a proxy."""
NO_RETRIES: dict[str, Any] = {
    "max_retries": 0,
    "retry_codes": frozenset(),
    "raise_on_status": False,
    "respect_retry_after_header": True,
    # Of no use without retries; fixed, because MLflow keeps a session for each combination.
    "backoff_factor": 0,
    "backoff_jitter": 0.0,
}
"""How ``http_request`` is called: MLflow has one session per process for these arguments."""


def open_session(max_parallel: int) -> None:
    """Prepare MLflow's session for :data:`NO_RETRIES` for so many connections, all new.

    Nothing else in the process uses that session: MLflow itself always retries.  What an earlier
    command left in it (connections, cookies of another login) is dropped.

    Args:
        max_parallel: connections that are kept open; more at once would be opened and closed for
            each request.  MLFLOW_HTTP_POOL_MAXSIZE, where it is set, counts instead.
    """
    close_session()
    wanted = os.environ.get("MLFLOW_HTTP_POOL_MAXSIZE", "")
    kept_open = int(wanted) if wanted.isdecimal() else max_parallel
    for adapter in _adapters():
        adapter.init_poolmanager(_HOSTS, kept_open)
        # Only Linux can, and only Linux needs it.
        if hasattr(socket, "TCP_QUICKACK"):
            adapter.poolmanager.pool_classes_by_scheme = {
                "http": _PromptHTTPConnectionPool,
                "https": _PromptHTTPSConnectionPool,
            }


def close_session() -> None:
    """Close the connections that are kept open, and forget cookies."""
    for adapter in _adapters():
        for manager in (adapter.poolmanager, *adapter.proxy_manager.values()):
            # Clearing it alone leaves that to the finalizers of the pools (urllib3 2).
            for host in manager.pools.keys():  # noqa: SIM118 - no dictionary: refuses to be iterated
                manager.pools[host].close()
        adapter.close()


def _adapters() -> set[HTTPAdapter]:
    """Return the adapters of MLflow's session for :data:`NO_RETRIES`, without cookies.

    One serves both schemes (3.10 to 3.18).
    """
    try:
        from mlflow.utils.request_utils import _get_request_session
    except ImportError:  # a private function: without it all works, only slower
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
    # The kernel forgets it after a while, hence again for each response.  A tunnel need not be TCP.
    with contextlib.suppress(OSError, AttributeError):
        if connected is not None:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
