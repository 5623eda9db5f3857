"""Requests to one server, through MLflow's own HTTP client.

That client (``mlflow.utils.rest_utils.http_request``) provides credentials, TLS settings, client
certificates, SigV4 and auth plugins.  Its automatic retries are disabled here: it re-sends
every method on every 5xx, so one refused delete would be sent eight times in four minutes
(docs/explanation/mlflow-facts.md#client-retries-everything).  This program retries reads, never
writes.
"""

from __future__ import annotations

import itertools
import secrets
import threading
from contextlib import AbstractContextManager
from typing import Any

from mlflow_gc.backend.credentials import GivenCredentials, account_of, host_credentials
from mlflow_gc.backend.interface import Json
from mlflow_gc.backend.rest.connection_errors import no_response, refuse_unusable_certificates
from mlflow_gc.backend.rest.connections import NO_RETRIES
from mlflow_gc.backend.rest.response_errors import checked, decode, skew_ms
from mlflow_gc.domain.timestamps import now_ms
from mlflow_gc.errors import UsageProblem
from mlflow_gc.settings import redact_uri

_CONNECT_S = 10.0
"""How long to wait for a connection and for TLS; MLflow's own time-out is for the response."""


def _timeout_s() -> float:
    """Return how long to wait for a response, in seconds; MLflow's setting and default.

    Raises:
        UsageProblem: it is not a number above 0.
    """
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT

    try:
        seconds = float(MLFLOW_HTTP_REQUEST_TIMEOUT.get())
    except ValueError:
        seconds = 0
    if seconds <= 0:
        raise UsageProblem(
            "MLFLOW_HTTP_REQUEST_TIMEOUT is not a number above 0.", hint="It is in seconds."
        )
    return seconds


class HttpClient:
    """Sends requests to one server.

    Args:
        uri: of the server; its credentials are used and never shown.
        token: bearer token, or None; MLflow's own environment variable is ignored.
        slots: limits the concurrent requests to all servers that share it.
        stopped: set to cut waiting between attempts short.

    Attributes:
        address: of the server, for error messages.
        credentials: MLflow's, with the host.
        account: the user name that was sent last; empty if none was.
        clock_skew_ms: the certain clock skew (server minus this machine), by ``Date`` headers.
    """

    def __init__(
        self,
        uri: str,
        token: str | None,
        *,
        slots: AbstractContextManager[Any],
        stopped: threading.Event,
    ) -> None:
        self.address = redact_uri(uri)
        self.credentials = host_credentials(uri, token)
        refuse_unusable_certificates(self.credentials)
        self._timeout_s = _timeout_s()
        self.account = ""
        self.clock_skew_ms = 0
        self.stopped = stopped
        self._slots = slots
        self._unique = map(f"{secrets.token_hex(3)}{{}}".format, itertools.count())

    def send(
        self,
        method: str,
        path: str,
        *,
        as_json: bool = True,
        headers: dict[str, str] | None = None,
        **arguments: Any,
    ) -> bytes:
        """Send one request, once, and return the body of the response.

        The arguments are ``params`` or ``json``; ``headers`` come in addition to those of MLflow's
        client. With ``as_json`` a web page instead of JSON is an error.

        Each URL is different, so that no cache on the way can respond: a plan, and each re-check,
        needs the current state.  MLflow ignores parameters that it does not know (2.3 to 3.18).

        Raises:
            ServerError: The response is not 2xx.
        """
        from mlflow.exceptions import MlflowException
        from mlflow.utils.rest_utils import http_request

        arguments["params"] = {"_": next(self._unique), **(arguments.get("params") or {})}
        if headers:
            arguments["extra_headers"] = headers
        with self._slots:
            sent_ms = now_ms()
            try:
                response = http_request(
                    self.credentials,
                    path,
                    method,
                    **NO_RETRIES,
                    # A followed 301 or 302 turns a POST into a GET: the delete would do nothing.
                    allow_redirects=False,
                    timeout=(min(_CONNECT_S, self._timeout_s), self._timeout_s),
                    # MLflow replaces it with that of a plugin or of SigV4.
                    auth=GivenCredentials(),
                    **arguments,
                )
            except (MlflowException, ImportError) as error:
                raise no_response(self.address, error) from error
        self._learn_from(response, sent_ms)
        return checked(response, self.address, as_json=as_json)

    def decode(self, content: bytes) -> Json:
        """Return the body of a response as a JSON object; see :func:`decode`."""
        return decode(content, self.address)

    def _learn_from(self, response: Any, sent_ms: int) -> None:
        sent = getattr(response.request, "headers", None) or {}
        self.account = account_of(sent.get("Authorization")) or ""
        if "Age" not in response.headers:  # otherwise a cache repeats an old Date
            skew = skew_ms(response.headers.get("Date"), sent_ms, now_ms())
            # The largest skew counts: one address may have several servers.
            self.clock_skew_ms = max(self.clock_skew_ms, skew, key=abs)
