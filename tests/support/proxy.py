"""A proxy before a real server that misbehaves on demand.

It counts and logs every request, can ruin the answer of chosen requests, refuse connections, demand
a token, and run code before a request is forwarded or before its answer is sent: to change the
server between a look and a delete, or to signal the program at an exact point.  Code that fails
there fails the test: as an answer that never came it would pass for one more fault.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import socket
import struct
import threading
import time
import traceback as tracebacks
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from support import is_readable

if TYPE_CHECKING:
    from types import TracebackType

    from support.oracle import Entity

HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>SSO</h1></body></html>"
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "host", "content-length"})
_PATIENCE_S = 60.0
"""How long the proxy waits for a client that should go away; the tests never wait for it."""


@dataclass(frozen=True)
class Fault:
    """How a request goes wrong.

    Attributes:
        name: for test ids.
        status: answer with this status instead of forwarding; None forwards.
        carried_out: forward all the same before answering with ``status``.
        body: the body of that answer.
        content_type: of that answer.
        headers: more headers of that answer.
        reset: close the connection with a TCP reset, ``before`` or ``after`` the request reached
            the server.
        cut: forward, then send only this share of the body (the length header says all of it, or,
            with ``honest``, says the cut length: valid HTTP around torn JSON).
        honest: see ``cut``.
        delay: forward, then wait so many seconds before answering.
        outlast: forward, then answer nothing until the client has given up and gone away.
        hang_up: close the connection in order after the answer, as ``Connection: close`` does.
        then: called once the request was carried out (or not, see ``status``), before the answer.
    """

    name: str
    status: int | None = None
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    reset: str | None = None
    cut: float | None = None
    honest: bool = True
    carried_out: bool = False
    delay: float = 0.0
    outlast: bool = False
    hang_up: bool = False
    then: Callable[[], object] | None = None

    def __str__(self) -> str:
        return self.name


RESET_BEFORE = Fault("reset before the request reached the server", reset="before")
RESET_AFTER = Fault("reset after the request reached the server", reset="after")
HTML_200 = Fault("HTML page with 200", status=200, body=HTML, content_type="text/html")
HTML_404 = Fault("HTML page with 404", status=404, body=HTML, content_type="text/html")
NO_ENDPOINT = Fault(
    "MLflow's own 404 for a path that it does not have",
    status=404,
    body=b"<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n"
    b"<p>The requested URL was not found on the server. If you entered the URL manually please "
    b"check your spelling and try again.</p>\n",
    content_type="text/html; charset=utf-8",
)
HTML_502 = Fault("HTML page with 502", status=502, body=HTML, content_type="text/html")
JSON_ARRAY = Fault("a JSON array instead of an object", status=200, body=b"[1, 2]")
EMPTY_200 = Fault("an empty 200", status=200)
UNAUTHORIZED = Fault("401", status=401, body=HTML, content_type="text/html")
FORBIDDEN = Fault(
    "403",
    status=403,
    body=b'{"error_code": "PERMISSION_DENIED", "message": "Permission denied"}',
)
TOO_MANY = Fault("429 with Retry-After", status=429, headers=(("Retry-After", "1"),))
TOO_MANY_NOW = Fault("429 with Retry-After 0", status=429, headers=(("Retry-After", "0"),))
TOO_MANY_SILENT = Fault("429 without Retry-After", status=429)
SERVER_ERROR = Fault(
    "500", status=500, body=b'{"error_code": "INTERNAL_ERROR", "message": "database is locked"}'
)
SERVER_ERROR_AFTER = replace(SERVER_ERROR, name="500 after it was carried out", carried_out=True)
UNAVAILABLE = Fault("503", status=503, body=b"upstream connect error", content_type="text/plain")
TORN_JSON = Fault("truncated JSON", cut=0.5)
TORN_BODY = Fault("connection closed within the body", cut=0.5, honest=False)
SLOW = Fault("a slow answer, in time", delay=0.2)
TOO_SLOW = Fault("an answer later than the client waits", outlast=True)


@dataclass
class Seen:
    """One request that came to the proxy.

    Attributes:
        index: how many came before it.
        method: of HTTP.
        path: of the URL.
        query: of the URL.
        body: as sent.
        headers: by lower-case name.
        status: what the client was answered, None without an answer.
        upstream: what the server answered, None when the request never got there.
    """

    index: int
    method: str
    path: str
    query: str
    body: bytes
    headers: dict[str, str]
    status: int | None = None
    upstream: int | None = None

    @property
    def is_write(self) -> bool:
        """Whether it asks for a change."""
        return self.path.endswith(("/delete", "/restore"))


def deletions(requests: Iterable[Seen]) -> list[Entity]:
    """The entities that these requests asked to delete, in order, repetitions included."""
    found: list[Entity] = []
    for seen in requests:
        if seen.path.endswith("runs/delete"):
            found.append(("run", json.loads(seen.body)["run_id"]))
        elif seen.path.endswith("experiments/delete"):
            found.append(("experiment", json.loads(seen.body)["experiment_id"]))
        elif seen.path.endswith("model-versions/delete"):
            body = json.loads(seen.body)
            found.append(("model_version", f"{body['name']}/{body['version']}"))
    return found


@dataclass
class _Rule:
    matches: Callable[[Seen], bool]
    action: Callable[[Seen], Fault | None]
    remaining: float = 1
    finished: threading.Event | None = None
    """Set after the action; matching requests that come meanwhile wait for it."""


@dataclass
class _Server:
    upstream: tuple[str, int]
    lock: threading.Lock = field(default_factory=threading.Lock)
    rules: list[_Rule] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    page_size: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    hooks_under_way: int = 0

    @contextmanager
    def hook(self, seen: Seen) -> Iterator[None]:
        """Run code of the test; what it raises is remembered for the thread of the test."""
        with self.lock:
            self.hooks_under_way += 1
        try:
            yield
        except BaseException:
            self.remember(seen)
            raise
        finally:
            with self.lock:
                self.hooks_under_way -= 1

    def remember(self, seen: Seen) -> None:
        """Keep the exception that is being handled."""
        words = f"at request {seen.index} ({seen.method} {seen.path}):\n{tracebacks.format_exc()}"
        with self.lock:
            self.failures.append(words)


class Proxy:
    """Forwards to ``upstream`` (an URL) until told otherwise.  Use as a context manager."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        assert parts.hostname is not None
        assert parts.port is not None
        self._state = _Server((parts.hostname, parts.port))
        self._handler = type("BoundHandler", (_Handler,), {"state": self._state})
        self._http = _QuietServer(("127.0.0.1", 0), self._handler)
        self._address = self._http.server_address
        self._listens = threading.Lock()
        self._is_listening = True
        self._back = threading.Timer(0, lambda: None)

    @property
    def uri(self) -> str:
        """Where the proxy listens."""
        return f"http://127.0.0.1:{self._address[1]}"

    @property
    def netloc(self) -> str:
        """Host and port of :attr:`uri`."""
        return self.uri.removeprefix("http://")

    @property
    def seen(self) -> list[Seen]:
        """All requests so far, in the order of arrival."""
        with self._state.lock:
            return list(self._state.seen)

    def requests(self, method: str, path: str) -> list[Seen]:
        """The requests so far with this method whose path matches the regular expression."""
        return [s for s in self.seen if s.method == method and re.search(path, s.path)]

    def forget(self) -> None:
        """Drop all rules and the log, and listen again; counting starts again at 0.

        Raises:
            AssertionError: something that ran in the proxy has failed.
        """
        self._back.cancel()
        self._listen()
        with self._state.lock:
            self._state.rules.clear()
            self._state.seen.clear()
            self._state.page_size = None
            self._state.headers.clear()
        self._tell_failures()

    def fail_at(self, index: int, fault: Fault, *, times: float = 1) -> None:
        """Ruin the ``index``-th request since the start (and the ``times - 1`` next ones)."""
        self._add(lambda seen: seen.index >= index, lambda _: fault, times)

    def fail(
        self,
        method: str,
        path: str,
        fault: Fault,
        *,
        query: str = "",
        body: str = "",
        after: int = 0,
        times: float = 1,
    ) -> None:
        """Ruin requests that match, letting the first ``after`` of them through."""
        self._add(self._matcher(method, path, after, query, body), lambda _: fault, times)

    def before(
        self,
        method: str,
        path: str,
        action: Callable[[], object],
        *,
        body: str = "",
        after: int = 0,
        times: float = 1,
    ) -> None:
        """Run ``action`` before a matching request is forwarded.

        What matches and comes while a single action runs waits for its end: the program deletes
        several entities at once, and none of those is to overtake the first.
        """
        finished = threading.Event() if times == 1 else None

        def run(_: Seen) -> None:
            try:
                action()
            finally:
                if finished is not None:
                    finished.set()

        self._add(self._matcher(method, path, after, body=body), run, times, finished)

    def at(self, index: int, action: Callable[[], object], fault: Fault | None = None) -> None:
        """Run ``action`` when the ``index``-th request comes, before it is forwarded or ruined."""

        def run(_: Seen) -> Fault | None:
            action()
            return fault

        self._add(lambda seen: seen.index >= index, run, 1)

    def fail_each_write(self, fault: Fault) -> None:
        """Ruin the first attempt of every write; what is sent again passes."""
        met: set[tuple[str, bytes]] = set()

        def is_first(seen: Seen) -> bool:
            attempt = (seen.path, seen.body)
            if not seen.is_write or attempt in met:
                return False
            met.add(attempt)
            return True

        self._add(is_first, lambda _: fault, float("inf"))

    def refuse(self, index: int, *, seconds: float | None = None) -> None:
        """Refuse connections from the ``index``-th request on, for some seconds or for good.

        The answer before closes its connection, so that the client has to come with a new one.
        """

        def go_away() -> None:
            self._stop_listening()
            if seconds is not None:
                self._back = threading.Timer(seconds, self._listen)
                self._back.daemon = True
                self._back.start()

        if index == 0:
            go_away()
        else:
            self.fail_at(index - 1, Fault("the last answer", then=go_away, hang_up=True))

    def delay_all(self, seed: int, most_s: float) -> None:
        """Hold each request back for a random time of up to ``most_s`` seconds."""
        chance = random.Random(seed)

        def wait(_: Seen) -> None:
            time.sleep(chance.uniform(0, most_s))

        self._add(lambda _: True, wait, float("inf"))

    def settle(self) -> None:
        """Wait until every connection is closed: nothing that was sent is still under way.

        For after the end of the program; while it runs, it may keep connections open.

        Raises:
            AssertionError: connections stay open, or something that ran in the proxy has failed.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while not self._http.is_idle():
            assert time.monotonic() < deadline, "connections stay open"
            time.sleep(0.002)
        self._tell_failures()

    def _tell_failures(self) -> None:
        """Raise what hooks raised, once."""
        with self._state.lock:
            failures = list(self._state.failures)
            self._state.failures.clear()
        assert not failures, "the test's own code failed in the proxy " + "\n".join(failures)

    def _stop_listening(self) -> None:
        with self._listens:
            if self._is_listening:
                self._http.shutdown()
                self._http.server_close()
                self._is_listening = False

    def _listen(self) -> None:
        with self._listens:
            if not self._is_listening:
                connections = self._http.connections
                self._http = _QuietServer(self._address, self._handler, connections)
                self._serve()
                self._is_listening = True

    def _serve(self) -> None:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def shrink_pages(self, size: int) -> None:
        """Let every search answer with at most ``size`` rows, and an empty page after each.

        That is what permission filters of a server do: a page may be short or empty and still
        have a token for the next one.
        """
        with self._state.lock:
            self._state.page_size = size

    def set_header(self, name: str, value: str) -> None:
        """Send every request on with this header in place of the client's."""
        with self._state.lock:
            self._state.headers[name.lower()] = value

    def require_token(self, token: str) -> None:
        """Answer 401 to every request without this bearer token."""
        self._add(
            lambda seen: seen.headers.get("authorization") != f"Bearer {token}",
            lambda _: UNAUTHORIZED,
            float("inf"),
        )

    def _add(
        self,
        matches: Callable[[Seen], bool],
        action: Callable[[Seen], Fault | None],
        times: float,
        finished: threading.Event | None = None,
    ) -> None:
        with self._state.lock:
            self._state.rules.append(_Rule(matches, action, times, finished))

    @staticmethod
    def _matcher(
        method: str, path: str, after: int, query: str = "", body: str = ""
    ) -> Callable[[Seen], bool]:
        passed = 0

        def matches(seen: Seen) -> bool:
            nonlocal passed
            if seen.method != method or not re.search(path, seen.path):
                return False
            if not re.search(query, seen.query) or not re.search(body.encode(), seen.body):
                return False
            passed += 1
            return passed > after

        return matches

    def __enter__(self) -> Proxy:
        self._serve()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._back.cancel()
        self._stop_listening()
        deadline = time.monotonic() + _PATIENCE_S
        # A test that failed may have left a hook waiting for it.
        while exc is None and self._state.hooks_under_way and time.monotonic() < deadline:
            time.sleep(0.002)
        self._tell_failures()


_EMPTY_PAGE = "empty-page."


def _arguments(seen: Seen) -> dict[str, Any]:
    """What a search was called with, from body or query."""
    if seen.method != "GET":
        return dict(json.loads(seen.body or b"{}"))
    arguments: dict[str, Any] = {}
    for key, value in parse_qsl(seen.query, keep_blank_values=True):
        arguments.setdefault(key, []).append(value)
    return {key: value[0] if len(value) == 1 else value for key, value in arguments.items()}


@dataclass
class _Connections:
    """How many connections are open; outlives the listening socket."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    open: int = 0


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self,
        address: Any,
        handler: type[BaseHTTPRequestHandler],
        connections: _Connections | None = None,
    ) -> None:
        self.connections = connections or _Connections()
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection and count it, both or neither."""
        with self.connections.lock:
            accepted = super().get_request()
            self.connections.open += 1
        return accepted

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; called once for each, however it ended."""
        super().shutdown_request(request)
        with self.connections.lock:
            self.connections.open -= 1

    def is_idle(self) -> bool:
        """Whether no connection is open or waits to be accepted."""
        with self.connections.lock:
            waiting = self.fileno() >= 0 and is_readable(self, 0)
            return not waiting and self.connections.open == 0

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    state: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: object) -> None:
        """Keep quiet."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        headers = {k.lower(): v for k, v in self.headers.items()}
        with self.state.lock:
            seen = Seen(len(self.state.seen), self.command, parts.path, parts.query, body, headers)
            self.state.seen.append(seen)
            actions = []
            under_way = []
            for rule in self.state.rules:
                is_under_way = rule.finished and not rule.finished.is_set()
                if not (rule.remaining > 0 or is_under_way) or not rule.matches(seen):
                    continue
                if rule.remaining > 0:
                    rule.remaining -= 1
                    actions.append(rule.action)
                elif rule.finished:
                    under_way.append(rule.finished)
        for finished in under_way:
            finished.wait(_PATIENCE_S)
        with self.state.hook(seen):
            faults = [fault for action in actions if (fault := action(seen)) is not None]
        try:
            self._answer(seen, faults[0] if faults else None)
        except AssertionError:
            self.state.remember(seen)
            raise

    # The names that http.server looks for.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _answer(self, seen: Seen, fault: Fault | None) -> None:
        if fault is not None and fault.reset == "before":
            self._reset()
            return
        if fault is not None and fault.status is not None:
            if fault.carried_out:
                self._forward(seen, self.path, seen.body)
            self._call_back(seen, fault)
            headers = [("Content-Type", fault.content_type), *fault.headers]
            self._send(seen, fault.status, headers, fault.body)
            return
        size = self.state.page_size
        if size is None or not seen.path.endswith("search"):
            response, data = self._forward(seen, self.path, seen.body)
        else:
            arguments = _arguments(seen)
            token = arguments.get("page_token", "")
            if token.startswith(_EMPTY_PAGE):
                answer = {"next_page_token": token.removeprefix(_EMPTY_PAGE)}
                self._send(
                    seen, 200, [("Content-Type", "application/json")], json.dumps(answer).encode()
                )
                return
            arguments["max_results"] = size
            if seen.method == "GET":
                response, data = self._forward(
                    seen, f"{seen.path}?{urlencode(arguments, doseq=True)}", b""
                )
            else:
                response, data = self._forward(seen, self.path, json.dumps(arguments).encode())
            answer = json.loads(data)
            if answer.get("next_page_token"):
                answer["next_page_token"] = _EMPTY_PAGE + answer["next_page_token"]
                data = json.dumps(answer).encode()
        if fault is not None:
            self._call_back(seen, fault)
            time.sleep(fault.delay)
            if fault.reset == "after":
                self._reset()
                return
            if fault.outlast:
                self._outlast()
                return
        headers = [(k, v) for k, v in response.getheaders() if k.lower() not in _HOP_BY_HOP]
        if fault is not None and fault.cut is not None:
            cut = data[: int(len(data) * fault.cut)]
            self._send(seen, response.status, headers, cut, len(cut) if fault.honest else len(data))
            if not fault.honest:
                self.close_connection = True
            return
        if fault is not None and fault.hang_up:
            headers.append(("Connection", "close"))
            self.close_connection = True
        self._send(seen, response.status, headers, data)

    def _call_back(self, seen: Seen, fault: Fault) -> None:
        if fault.then is not None:
            with self.state.hook(seen):
                fault.then()

    def _forward(
        self, seen: Seen, target: str, body: bytes
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(*self.state.upstream, timeout=120)
        try:
            forwarded = {k: v for k, v in seen.headers.items() if k not in _HOP_BY_HOP}
            forwarded |= self.state.headers
            connection.request(self.command, target, body or None, forwarded)
            response = connection.getresponse()
            seen.upstream = response.status
            return response, response.read()
        finally:
            connection.close()

    def _send(
        self,
        seen: Seen,
        status: int,
        headers: list[tuple[str, str]],
        body: bytes,
        length: int | None = None,
    ) -> None:
        seen.status = status
        # One write: headers and body in two small packets meet the client's delayed ACK.
        lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in headers]
        lines.append(f"Content-Length: {len(body) if length is None else length}")
        head = "\r\n".join(lines).encode("latin-1")
        self.wfile.write(head + b"\r\n\r\n" + body)
        self.wfile.flush()

    def _outlast(self) -> None:
        # The client sends nothing more before an answer: readable means that it closed.
        gone = is_readable(self.connection, _PATIENCE_S)
        assert gone, "the client waits longer than the test"
        self.close_connection = True

    def _reset(self) -> None:
        # SO_LINGER with zero seconds makes close() send RST instead of FIN.
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()
