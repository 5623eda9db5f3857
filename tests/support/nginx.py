"""A real nginx before a server."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlflow_gc.demo.server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_START_S = 30.0

_CONFIG = """\
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    log_format lines '$request_method $status $upstream_status $request_uri';
    access_log {directory}/access.log lines;
{http}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx.

    Attributes:
        port: of its first server.
        directory: of its files.
    """

    port: int
    directory: Path

    @property
    def uri(self) -> str:
        """Its address without TLS."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def tls_uri(self) -> str:
        """Its address with TLS."""
        return f"https://127.0.0.1:{self.port}"

    def requests(self) -> list[list[str]]:
        """Method, status, status of the upstream (``-`` without) and URI of each request."""
        lines = (self.directory / "access.log").read_text().splitlines()
        return [line.split(" ", 3) for line in lines]

    def requests_with(self, method: str) -> list[list[str]]:
        """Those with a method, once there is one: nginx logs a request when its connection is free."""
        deadline = time.monotonic() + _START_S
        while not (found := [line for line in self.requests() if line[0] == method]):
            assert time.monotonic() < deadline, f"no {method}"
            time.sleep(0.01)
        return found


def program() -> str:
    """The path of nginx; the test is skipped without one."""
    # Debian keeps it where only root's PATH leads.
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx-light)")
    return found


@contextlib.contextmanager
def running(directory: Path, http: str) -> Iterator[Nginx]:
    """Start nginx.

    Args:
        directory: a new one, for its files.
        http: what its ``http`` block contains, with ``PORT`` for a free port.
    """
    nginx = program()
    directory.mkdir()
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(_CONFIG.format(directory=directory, http=http.replace("PORT", str(port))))
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            [nginx, "-c", config, "-p", directory, "-e", directory / "error.log"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + _START_S
        while not accepts(port):
            assert process.poll() is None, (directory / "error.log").read_text()
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.01)
        yield Nginx(port, directory)
    finally:
        process.kill()
        process.wait()


def accepts(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
