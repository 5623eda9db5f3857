"""Errors from a response or its absence: the kind of failure, and a message for people."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import orjson

from mlflow_gc.backend.interface import Failure, Json, ServerError
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
    return "it sent a web page (HTML)" if content.lstrip()[:1] == b"<" else ""


def no_response(address: str, error: Exception) -> ServerError:
    """Return the error for an exception of the HTTP client.

    Args:
        address: of the server, as errors tell it.
        error: raised by ``http_request``; its cause decides.
    """
    import requests

    cause = error.__cause__ or error.__context__
    if isinstance(cause, requests.exceptions.Timeout) and not isinstance(
        cause, requests.exceptions.ConnectTimeout
    ):
        return ServerError(
            f"The server {address} did not answer in time.",
            Failure.AMBIGUOUS,
            hint="MLFLOW_HTTP_REQUEST_TIMEOUT sets how long to wait, in seconds.",
        )
    if isinstance(cause, requests.exceptions.SSLError):
        no_tls = any(sign in repr(cause) for sign in _NO_TLS)
        return ServerError(
            f"TLS with {address} failed: {_innermost(cause)}.",
            Failure.REJECTED,
            hint="The server does not speak TLS on this port: use http:// in the URI, or the port "
            "that it has for https://."
            if no_tls
            else "See MLFLOW_TRACKING_SERVER_CERT_PATH and MLFLOW_TRACKING_INSECURE_TLS.",
        )
    if isinstance(cause, (requests.exceptions.InvalidHeader, UnicodeEncodeError)):
        # The message of the library quotes the header with the token.
        return ServerError(
            f"No request to {address} can be made: a header contains a line break or another "
            "character that is not allowed there.",
            Failure.REJECTED,
            hint="Check MLFLOW_TRACKING_TOKEN, the workspace, and request header plugins.",
        )
    if isinstance(cause, requests.exceptions.ProxyError):
        return ServerError(
            f"The proxy on the way to {address} cannot be used: {_innermost(cause)}.",
            Failure.UNREACHABLE,
            hint="HTTP_PROXY and HTTPS_PROXY name it; NO_PROXY lists hosts to reach without it.",
        )
    if isinstance(cause, requests.exceptions.ConnectionError) and "NameResolution" in repr(cause):
        return ServerError(
            f"The name of the server {address} cannot be resolved: {_innermost(cause)}.",
            Failure.UNREACHABLE,
            hint="Check its spelling in the tracking URI (MLFLOW_TRACKING_URI or --tracking-uri), "
            "and whether this machine is in the network (VPN, cluster) that knows the name.",
        )
    never_sent = isinstance(
        cause, requests.exceptions.ConnectTimeout
    ) or "NewConnectionError" in repr(cause)
    if isinstance(cause, requests.exceptions.ConnectionError) and never_sent:
        return ServerError(
            f"The server {address} cannot be reached: {_innermost(cause)}.",
            Failure.UNREACHABLE,
            hint="Check the tracking URI (MLFLOW_TRACKING_URI or --tracking-uri), the network, and "
            "whether the server runs.",
        )
    if isinstance(cause, requests.exceptions.RequestException):
        return ServerError(
            f"The connection to {address} broke: {_innermost(cause)}.",
            Failure.AMBIGUOUS,
            hint="A server also hangs up where http:// is used on a port for https://."
            if address.startswith("http://")
            # gunicorn waits for the rest of what it parses as a request.
            else "If the server does not speak TLS on this port, use http:// in the URI.",
        )
    if isinstance(cause, OSError):
        # requests opens the files when it sends, and names the missing one.
        return ServerError(
            f"No connection to {address} can be made: {str(cause).rstrip('.')}.",
            Failure.REJECTED,
            hint="MLFLOW_TRACKING_SERVER_CERT_PATH, REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE name "
            "certificates to trust, MLFLOW_TRACKING_CLIENT_CERT_PATH that of this client.",
        )
    return ServerError(
        f"The call to {address} failed: {type(cause or error).__name__}.", Failure.REJECTED
    )


_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "HTTP_REQUEST")
"""OpenSSL's errors for a response that is not TLS, in several versions."""


def _innermost(error: BaseException) -> str:
    """Return the root of a chain of wrapped network errors, without the URL (it may hold a password)."""
    seen: BaseException = error
    while True:
        inner = next((a for a in seen.args if isinstance(a, BaseException)), None)
        inner = inner or getattr(seen, "reason", None)
        if not isinstance(inner, BaseException):
            break
        seen = inner
    text = next((str(a) for a in reversed(seen.args) if isinstance(a, str)), "") or str(seen)
    return (text.split(": ", 1)[-1] or type(seen).__name__).rstrip(".")


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
        if as_json and content.lstrip()[:1] == b"<":
            raise not_mlflow(address, _excerpt(content))
        return content
    if 300 <= status < 400:
        raise _redirected(response, address)
    code, message = _error_body(content)
    quoted = f" Its message: {message}" if message else ""
    if status == 401:
        raise ServerError(
            f"The server {address} does not accept the credentials (401).{quoted}",
            Failure.UNAUTHORIZED,
            hint="Check MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD (both of them win over the token).",
        )
    failure, hint = _meaning(status, code, content)
    raise ServerError(
        f"The server {address} answers {status} {code or response.reason or ''}".rstrip()
        + f".{quoted}",
        failure,
        hint=hint,
        retry_after=_retry_after(response.headers.get("Retry-After")),
        code=code,
    )


def _meaning(status: int, code: str, content: bytes) -> tuple[Failure, str | None]:
    """Return the kind of failure of an error response, and a hint.

    ``code`` is MLflow's own; empty if there is none.
    """
    if status == 403:
        return Failure.FORBIDDEN, _why_forbidden(code, content)
    if status == 404:
        # MLflow's own 404 has a code; an unknown path responds with HTML.
        has_endpoint = code and code != "ENDPOINT_NOT_FOUND"
        hint = None if code else "Is the tracking URI that of an MLflow server?"
        return Failure.NOT_FOUND if has_endpoint else Failure.UNSUPPORTED, hint
    if status == 405 and not code:
        return Failure.UNSUPPORTED, None
    if status in {429, 503} and code != "FEATURE_DISABLED":
        return Failure.THROTTLED, None
    if status in {408, 500, 502, 504}:
        # Some refusals are a 500, too (INVALID_STATE, FEATURE_DISABLED): a retry would not help.
        is_final = code in {"INVALID_STATE", "FEATURE_DISABLED"}
        return Failure.REJECTED if is_final else Failure.AMBIGUOUS, None
    if not code and b"HTTPS port" in content:
        return Failure.REJECTED, "Use https:// in the tracking URI."
    is_host_check = not code and _HOST_CHECK in content.lower()
    return Failure.REJECTED, _HOST_HINT if is_host_check else None


_HOST_CHECK = b"invalid host header"
_HOST_HINT = (
    "The server does not take this name for its own. Use the name that it was started with, or add "
    "this one to its --allowed-hosts."
)


def _why_forbidden(code: str, content: bytes) -> str:
    """Return the hint for a 403, which need not be MLflow's."""
    if code:
        return "The account needs more rights on the server."
    if _HOST_CHECK in content.lower():  # MLflow 3.5 and newer
        return _HOST_HINT
    return (
        "This is not MLflow's own refusal: a proxy, gateway or firewall before the server does not "
        "let the request pass. Check its rules, and the credentials that it wants."
    )


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
    return ServerError(f"The server {address} redirects to {target}.", Failure.REJECTED, hint=hint)


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
