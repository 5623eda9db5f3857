"""Acknowledge answers at once, so that no call waits for a timer.

A server that writes an answer in two small pieces (uvicorn: head, then body) keeps the second one
back until the first is acknowledged, and Linux delays that by 40 ms on a connection that is kept
open.  A delete takes less than a millisecond without that wait.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any


def acknowledge_at_once() -> None:
    """Make all HTTP connections that this process opens from now on acknowledge at once.

    ``ConnectionCls`` is urllib3's own place for it.  Only Linux can, and only Linux needs it.
    """
    if not hasattr(socket, "TCP_QUICKACK"):
        return
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class PromptHTTPConnection(HTTPConnection):
        def getresponse(self) -> Any:
            _acknowledge(self.sock)
            return super().getresponse()

    class PromptHTTPSConnection(HTTPSConnection):
        def getresponse(self) -> Any:
            _acknowledge(self.sock)
            return super().getresponse()

    HTTPConnectionPool.ConnectionCls = PromptHTTPConnection
    HTTPSConnectionPool.ConnectionCls = PromptHTTPSConnection


def _acknowledge(connected: socket.socket | None) -> None:
    # The kernel forgets it after a while, hence again for each answer.  A tunnel need not be TCP.
    with contextlib.suppress(OSError, AttributeError):
        if connected is not None:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
