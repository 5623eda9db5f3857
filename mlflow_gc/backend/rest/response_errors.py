"""Errors from a response: the kind of failure, and a message for people."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import orjson

from mlflow_gc.backend.interface import Failure, Json, ServerError
from mlflow_gc.backend.rest.connection_errors import (
    client_certificate_hint,
    describe_proxy,
    proxy_of,
)
from mlflow_gc.settings import redact_uri

_DATE_IS_GOOD_FOR_MS = 2000  # whole seconds, and uvicorn writes the header once a second


def decode(content: bytes, address: str) -> Json:
    """Return the body of a response as a JSON object.

    Args:
        content: the body.
        address: of the server, for error messages.

    Raises:
        ServerError: It is not a JSON object; ``AMBIGUOUS`` if it is truncated.
    """
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise not_mlflow(
            address,
            _excerpt(content) or f"invalid JSON ({error})",
            # A truncated response is worth a retry; a web page is not.
            Failure.AMBIGUOUS if content[:1] in b"{[" else Failure.INVALID_RESPONSE,
        ) from error
    if not isinstance(found, dict):
        raise not_mlflow(address, "the answer is not a JSON object")
    return found


def not_mlflow(address: str, what: str, failure: Failure = Failure.INVALID_RESPONSE) -> ServerError:
    """Return an error about a response that is not MLflow's, as ``what`` shows."""
    return ServerError(
        f"What answers at {address} does not speak MLflow's API: {what}.",
        failure,
        hint=(
            "Check the tracking URI. A login page of a proxy looks like this too: then a token or "
            "password is missing (MLFLOW_TRACKING_TOKEN, MLFLOW_TRACKING_USERNAME)."
        ),
    )


def _excerpt(content: bytes) -> str:
    """Describe a body that is not JSON; never quote it, because it is foreign."""
    return "it sent a web page (HTML)" if _is_page(content) else ""


def _is_page(content: bytes) -> bool:
    return content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"


def checked(response: Any, address: str, *, as_json: bool) -> bytes:
    """Return the body of a 2xx response; raise an explained error for others.

    Args:
        response: of ``requests``.
        address: of the server, as errors tell it.
        as_json: whether a web page instead of JSON is an error (a login page has status 200).

    Raises:
        ServerError: Any other response.
    """
    status = int(response.status_code)
    content: bytes = response.content
    if 200 <= status < 300:
        if as_json and _is_page(content):
            raise not_mlflow(address, _excerpt(content))
        return content
    if 300 <= status < 400:
        raise _redirected(response, address)
    code, message = _error_body(content)
    quoted = f" Its message: {message}" if message else ""
    if status == 401:
        is_sent = "Authorization" in response.request.headers
        what = (
            "does not accept the credentials (401)."
            if is_sent
            else "needs credentials (401), and neither a token nor a password was sent."
        )
        raise ServerError(
            f"The server {address} {what}{quoted}",
            Failure.UNAUTHORIZED,
            hint=f"{'Check' if is_sent else 'Set'} MLFLOW_TRACKING_TOKEN, or "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (both of them win over the "
            f"token).{_other_causes_of_401(response, address)}",
        )
    is_foreign = not code and not any(sign in content for sign in _OWN_ERRORS)
    failure, hint = _meaning(status, code) if code else _without_code(status, content)
    message = f"The server {address} answers {status} {code or response.reason or ''}".rstrip()
    if is_foreign:
        message += f" to {response.request.method} {urlsplit(response.url).path}"
    if is_foreign and address.startswith("http://"):  # a proxy for https:// only forwards bytes
        found = describe_proxy(address, f"{status} {response.reason or ''}".rstrip())
        if found and (status == 407 or status >= 500):
            message, hint = found[0].rstrip("."), found[1]
    raise ServerError(
        f"{message}.{quoted}",
        failure,
        hint=hint,
        retry_after=_retry_after(response.headers.get("Retry-After")),
        code=code,
        is_foreign=is_foreign,
    )


def _other_causes_of_401(response: Any, address: str) -> str:
    causes = ""
    if "Authorization" in response.request.headers:
        causes += " A proxy before the server has to pass the header Authorization."
    if address.startswith("http://") and (proxy := proxy_of(address)):
        causes += f" Or the proxy {proxy[0]} wants another login: check {proxy[1]}."
    return causes


_OWN_ERRORS = (
    # Werkzeug's 404 and 405, FastAPI's, and the 403 of MLflow's basic-auth app (2.3 to 3.18).
    b"The requested URL was not found on the server.",
    b"The method is not allowed for the requested URL.",
    b'{"detail":"Not Found"}',
    b'{"detail":"Method Not Allowed"}',
    b"Permission denied",
)
"""Parts of the errors without a code that MLflow's own server sends."""


def _meaning(status: int, code: str) -> tuple[Failure, str | None]:
    """Return the kind of failure of one of MLflow's own errors, and a hint.

    ``code`` is MLflow's.
    """
    if status == 403:
        return Failure.FORBIDDEN, "The account needs more rights on the server."
    if status == 404:
        has_endpoint = code != "ENDPOINT_NOT_FOUND"
        return Failure.NOT_FOUND if has_endpoint else Failure.UNSUPPORTED, None
    if status in {429, 503} and code != "FEATURE_DISABLED":
        return Failure.THROTTLED, None
    if status in {408, 500, 502, 504}:
        # Some refusals are a 500, too (INVALID_STATE, FEATURE_DISABLED): a retry would not help.
        is_final = code in {"INVALID_STATE", "FEATURE_DISABLED"}
        return Failure.REJECTED if is_final else Failure.AMBIGUOUS, None
    return Failure.REJECTED, None


_HOST_HINT = (
    "The server does not take this name for its own. Use the name that it was started with, or add "
    "this one to its --allowed-hosts."
)
_HEADER_HINT = (
    "The token or another header is longer than a proxy before the server accepts (nginx: "
    "large_client_header_buffers)."
)
_METHODS_HINT = "A proxy before the server has to allow the methods GET, POST and DELETE."
_ARTIFACTS_HINT = (
    "The server runs with --no-serve-artifacts. Say where its artifacts are: "
    "--artifacts-destination."
)
_BY_CONTENT: tuple[tuple[bytes, Failure, str], ...] = (
    # A 503 that no retry changes.
    (b"to enable artifacts server functionality", Failure.UNSUPPORTED, _ARTIFACTS_HINT),
    (b"invalid host header", Failure.REJECTED, _HOST_HINT),  # MLflow 3.5 and newer
    (b"https port", Failure.BLOCKED, "Use https:// in the tracking URI."),
    # gunicorn; a matter of this URL alone, such as one with a long name of a model.
    (b"request line is too large", Failure.REJECTED, "The URL is too long for the server."),
    # nginx.
    (b"header or cookie too large", Failure.BLOCKED, _HEADER_HINT),
)
"""Part of an error page in lower case, kind of failure, hint."""
_BY_STATUS: dict[int, tuple[Failure, str]] = {
    403: (
        Failure.FORBIDDEN,
        (
            "This is not MLflow's own refusal: a proxy, gateway or firewall before the server does not "
            "let the request pass. Check its rules, and the credentials that it wants."
        ),
    ),
    404: (
        Failure.UNSUPPORTED,
        (
            "Is the tracking URI that of an MLflow server? A proxy before it has to pass all paths "
            "below /api/ and /ajax-api/, and /version, with the server's own error pages (nginx: "
            "proxy_intercept_errors off)."
        ),
    ),
    405: (Failure.UNSUPPORTED, _METHODS_HINT),
    413: (
        Failure.BLOCKED,
        "A proxy before the server has to accept requests of 1 MB (nginx: client_max_body_size 1m).",
    ),
    414: (
        # Of this URL alone, such as one with a long name of a model.
        Failure.REJECTED,
        (
            "A proxy before the server has to accept URLs of 8 kB (nginx: large_client_header_buffers "
            "4 8k)."
        ),
    ),
    429: (
        Failure.THROTTLED,
        (
            "The server, or a proxy before it, limits the rate of requests (nginx: limit_req): raise "
            "the limit, or send fewer at once with --max-parallel 1."
        ),
    ),
    431: (Failure.BLOCKED, _HEADER_HINT),
    501: (Failure.BLOCKED, _METHODS_HINT),
    502: (Failure.AMBIGUOUS, "The proxy before the server cannot reach it: check whether it runs."),
    503: (
        Failure.THROTTLED,
        (
            "The server is not ready, or a proxy before it limits the rate of requests (nginx: "
            "limit_req): check whether it runs, or send fewer at once with --max-parallel 1."
        ),
    ),
    504: (
        Failure.AMBIGUOUS,
        (
            "The server takes longer than a proxy before it waits: raise the time-out of the proxy "
            "(nginx: proxy_read_timeout 300s)."
        ),
    ),
}


def _without_code(status: int, content: bytes) -> tuple[Failure, str | None]:
    """Return the kind of failure of an error that has no code of MLflow, and a hint.

    It is of a proxy, or of a part of the server below MLflow's API (an unknown path or method).
    """
    text = content.lower()
    if status == 403 and content.strip() == b"Permission denied":
        return _meaning(403, "PERMISSION_DENIED")
    for sign, failure, hint in _BY_CONTENT:
        if sign in text:
            return Failure.FORBIDDEN if status == 403 else failure, hint
    if status in {400, 495, 496} and b"ssl certificate" in text:  # nginx: ssl_verify_client
        return Failure.BLOCKED, client_certificate_hint()
    if status == 404 and any(sign in content for sign in _OWN_ERRORS):
        return Failure.UNSUPPORTED, "Is the tracking URI that of an MLflow server?"
    if status == 407:
        return Failure.BLOCKED, None
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return (Failure.AMBIGUOUS if status in {408, 500} else Failure.REJECTED), None


def _redirected(response: Any, address: str) -> ServerError:
    """Return the error for a redirect: the server has moved, or a login page is in between.

    Redirects are not followed: a redirected POST becomes a GET, and a delete would have no effect.
    """
    location = str(response.headers.get("Location") or "")
    sent, target = str(response.url or ""), redact_uri(location) or "another address"
    path = urlsplit(sent).path
    try:
        final = urlsplit(urljoin(sent, location))
    except ValueError:
        final = urlsplit("")
    api = path.find("/api/")
    suffix = (path[api:] if api >= 0 else path).rstrip("/")
    moved = final.path.rstrip("/").endswith(suffix) and suffix
    if moved:
        base = f"{final.scheme}://{final.netloc}{final.path.rstrip('/').removesuffix(suffix)}"
        hint = f"Use the final address as tracking URI: {redact_uri(base)}"
    else:
        hint = (
            "This looks like a login page before the server: a token or password is missing or has "
            "expired (MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD)."
        )
    message = f"The server {address} redirects to {target}."
    return ServerError(message, Failure.BLOCKED, hint=hint, is_foreign=True)


def _error_body(content: bytes) -> tuple[str, str]:
    """Return MLflow's error code and message; both empty if the body is not MLflow's."""
    try:
        body = orjson.loads(content)
        return str(body["error_code"]), _without_sql(str(body.get("message", "")))[:500]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        return "", ""


def _without_sql(message: str) -> str:
    """Remove the statement and its values, which SQLAlchemy adds to database errors."""
    return re.split(r"\s*\[SQL: |\s*\(Background on this error at", message, maxsplit=1)[0]


def skew_ms(date: str | None, sent_ms: int, received_ms: int) -> int:
    """Return the certain clock skew (server minus this machine), in ms.

    By this machine's clock before the request and after the response; 0 without a valid ``Date``
    header.
    """
    try:
        server_ms = int(parsedate_to_datetime(date or "").timestamp() * 1000)
    except (ValueError, OverflowError):
        return 0
    ahead = server_ms - received_ms
    behind = server_ms + _DATE_IS_GOOD_FOR_MS - sent_ms
    return ahead if ahead > 0 else min(behind, 0)


def _retry_after(header: str | None) -> float | None:
    """Return the seconds of a ``Retry-After`` header (a number or an HTTP date)."""
    if not header:
        return None
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    try:
        return max(0.0, Retry().parse_retry_after(header))
    except InvalidHeader:
        return None
