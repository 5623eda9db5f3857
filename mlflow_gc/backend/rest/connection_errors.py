"""Errors of a connection: why no response came, and which certificate files cannot be used."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlflow_gc.backend.interface import Failure, ServerError
from mlflow_gc.errors import UsageProblem
from mlflow_gc.settings import redact_uri

if TYPE_CHECKING:
    from requests import RequestException

_SERVER_CERT = "MLFLOW_TRACKING_SERVER_CERT_PATH"
_CLIENT_CERT = "MLFLOW_TRACKING_CLIENT_CERT_PATH"
_CA_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_USE_HTTP = "If the server does not speak TLS on this port, use http:// in the URI."


# -- certificate files -----------------------------------------------------------------------------


def refuse_unusable_certificates(credentials: Any) -> None:
    """Refuse certificate files that cannot be used, before anything is sent.

    Otherwise OpenSSL reports them as errors of the connection, and asks on the terminal for the
    password of an encrypted key.

    Args:
        credentials: MLflow's, with host.

    Raises:
        UsageProblem: With the file and its setting.
    """
    if urlsplit(credentials.host or "").scheme != "https":
        return
    verify, client = credentials.verify, credentials.client_cert_path
    setting = _SERVER_CERT
    if verify is True:  # as requests does
        setting = next((name for name in _CA_BUNDLES if os.environ.get(name)), "")
        verify = os.environ.get(setting)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if verify and not Path(verify).is_dir():
        try:
            context.load_verify_locations(verify)
        except OSError as error:
            raise _unusable(
                verify,
                setting,
                _os_problem(error) or "it contains no certificate in PEM form",
                "a PEM file with the certificate of the authority that issued the server's",
            ) from error
    if client:
        try:
            context.load_cert_chain(client, password=_refuse_password)
        except (OSError, _EncryptedError) as error:
            problem = _os_problem(error) or _client_problem(client, error)
            wanted = "a PEM file with the certificate of this client and its unencrypted key"
            raise _unusable(client, _CLIENT_CERT, problem, wanted) from error


class _EncryptedError(Exception):
    """A key is encrypted."""


def _refuse_password() -> str:
    raise _EncryptedError


def _os_problem(error: Exception) -> str | None:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    is_of_file = isinstance(error, OSError) and not isinstance(error, ssl.SSLError)
    return str(getattr(error, "strerror", None) or error) if is_of_file else None


def _client_problem(path: str, error: Exception) -> str:
    if isinstance(error, _EncryptedError):
        return "its key is encrypted (openssl pkey decrypts it)"
    if "KEY_VALUES_MISMATCH" in str(error):
        return "its key is not that of its certificate"
    text = Path(path).read_bytes()
    if b"-----BEGIN CERTIFICATE-----" not in text:
        return "it contains no certificate in PEM form"
    return "its key cannot be read" if b"PRIVATE KEY-----" in text else "it contains no key"


def _unusable(path: str, setting: str, problem: str, wanted: str) -> UsageProblem:
    return UsageProblem(
        f"The file {path} (from {setting}) cannot be used: {problem}.",
        hint=f"Set {setting} to {wanted}.",
    )


# -- proxies ---------------------------------------------------------------------------------------


def proxy_of(address: str) -> tuple[str, str] | None:
    """Return the HTTP proxy on the way to a server and the variable that names it, or None."""
    from requests.utils import get_environ_proxies, select_proxy

    found = select_proxy(address, get_environ_proxies(address))
    if not found:
        return None
    scheme = urlsplit(address).scheme
    names = [
        name for kind in (scheme, "all") for name in (f"{kind}_proxy", f"{kind}_PROXY".upper())
    ]
    setting = next((name for name in names if os.environ.get(name) == found), "system settings")
    return redact_uri(found if "://" in found else f"http://{found}"), setting


def describe_proxy(address: str, reason: str) -> tuple[str, str] | None:
    """Return a message and a hint for a failure of the proxy on the way; None without a proxy."""
    found = proxy_of(address)
    if found is None:
        return None
    proxy, setting = found
    hint = f"Check {setting}, or list the host of the server in NO_PROXY to reach it directly."
    if reason.startswith(("407", "401")):
        hint = (
            f"It wants another login: write it into {setting} as http://USER:PASSWORD@HOST:PORT, "
            "with special characters as %40 %3A %2F. Or list the host of the server in NO_PROXY."
        )
    elif proxy.startswith("https://"):
        hint = f"Write http:// in {setting}, unless the proxy itself speaks TLS. {hint}"
    return f"The proxy {proxy} (from {setting}) on the way to {address} fails: {reason}.", hint


# -- no response -----------------------------------------------------------------------------------


def no_response(address: str, error: Exception) -> ServerError:
    """Return the error for an exception of the HTTP client.

    Args:
        address: of the server, as errors tell it.
        error: raised by ``http_request``; its cause decides.
    """
    import requests

    failed = requests.exceptions
    cause = error.__cause__ or error.__context__
    missing = next((e for e in (error, cause) if isinstance(e, ImportError)), None)
    if missing is not None:
        return ServerError(
            f"MLflow needs the Python package {missing.name} for the login at {address}.",
            Failure.REJECTED,
            hint="Install it beside mlflow-gc, or remove the setting that asks for this login "
            "(MLFLOW_TRACKING_AUTH, MLFLOW_TRACKING_AWS_SIGV4).",
        )
    is_proxy_error = isinstance(
        cause, (failed.ProxyError, failed.InvalidProxyURL, failed.InvalidURL)
    )
    is_proxy_error |= any(sign in repr(cause) for sign in ("SOCKS", "not a valid host or port"))
    if is_proxy_error and cause and (found := describe_proxy(address, _proxy_reason(cause))):
        return ServerError(found[0], Failure.UNREACHABLE, hint=found[1])
    if isinstance(cause, failed.Timeout) and not isinstance(cause, failed.ConnectTimeout):
        return _timed_out(address)
    if isinstance(cause, failed.SSLError) and (problem := _tls_problem(cause)):
        message = f"TLS with {address} failed: {problem[0]}."
        return ServerError(message, Failure.REJECTED, hint=problem[1])
    if isinstance(cause, (failed.InvalidHeader, UnicodeEncodeError)):
        # The message of the library quotes the header with the token.
        return ServerError(
            f"No request to {address} can be made: a header contains a line break or another "
            "character that is not allowed there.",
            Failure.REJECTED,
            hint="Check MLFLOW_TRACKING_TOKEN, the workspace, and request header plugins.",
        )
    if isinstance(cause, failed.RequestException):
        return _connection_error(address, cause)
    if isinstance(cause, OSError):
        # requests opens the files when it sends, and names the missing one.
        return ServerError(
            f"No connection to {address} can be made: {str(cause).rstrip('.')}.",
            Failure.REJECTED,
            hint=f"{_SERVER_CERT}, {_CA_BUNDLES[0]} and {_CA_BUNDLES[1]} name certificates to "
            f"trust, {_CLIENT_CERT} that of this client.",
        )
    return ServerError(
        f"The call to {address} failed: {type(cause or error).__name__}.", Failure.REJECTED
    )


def _connection_error(address: str, cause: RequestException) -> ServerError:
    """Return the error for a connection that could not be opened, or broke."""
    import requests

    is_connection = isinstance(cause, requests.exceptions.ConnectionError)
    if is_connection and "NameResolution" in repr(cause):
        return ServerError(
            f"The name of the server {address} cannot be resolved: {_innermost(cause)}.",
            Failure.UNREACHABLE,
            hint="Check its spelling in the tracking URI (MLFLOW_TRACKING_URI or --tracking-uri), "
            "and whether this machine is in the network (VPN, cluster) that knows the name.",
        )
    never_sent = isinstance(cause, requests.exceptions.ConnectTimeout)
    if is_connection and (never_sent or "NewConnectionError" in repr(cause)):
        return ServerError(
            f"The server {address} cannot be reached: {_innermost(cause)}.",
            Failure.UNREACHABLE,
            hint="Check the tracking URI (MLFLOW_TRACKING_URI or --tracking-uri), the network, and "
            "whether the server runs.",
        )
    if is_connection and "ReadTimeoutError" in repr(cause):
        return _timed_out(address)
    if is_connection and "BadStatusLine(" in repr(cause):
        return ServerError(
            f"What answers at {address} does not speak HTTP/1.1.",
            Failure.REJECTED,
            hint="Check the port in the tracking URI. A port for HTTP/2 alone (nginx: listen ... "
            "http2 without ssl) cannot be used; with TLS, HTTP/1.1 works beside HTTP/2.",
        )
    return ServerError(
        f"The connection to {address} broke: {_innermost(cause)}.",
        Failure.AMBIGUOUS,
        hint="A server also hangs up where http:// is used on a port for https://."
        if address.startswith("http://")
        else _USE_HTTP,
    )


def _timed_out(address: str) -> ServerError:
    hint = "MLFLOW_HTTP_REQUEST_TIMEOUT sets how long to wait, in seconds."
    if address.startswith("https://"):
        # gunicorn waits for the rest of what it parses as a request.
        hint = f"{hint} {_USE_HTTP}"
    message = f"The server {address} did not answer in time."
    return ServerError(message, Failure.AMBIGUOUS, hint=hint)


def _proxy_reason(cause: BaseException) -> str:
    import requests

    if isinstance(cause, requests.exceptions.ProxyError):
        return _innermost(cause)
    if "SOCKS" in repr(cause):
        return "SOCKS needs the Python package PySocks, which is not installed"
    # The message of the library quotes a part of the login.
    return "it is not the address of a proxy, which looks like http://USER:PASSWORD@HOST:PORT"


_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "HTTP_REQUEST")
"""OpenSSL's errors for a response that is not TLS, in several versions."""
_OLD_TLS = ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL")

# X509_V_ERR_* of OpenSSL.
_NOT_YET_VALID, _EXPIRED = 9, 10
_OTHER_NAME = {62, 64}  # host name, IP address


def _tls_problem(cause: BaseException) -> tuple[str, str] | None:
    """Return what failed in a TLS handshake, and a hint; None if it broke off later."""
    text = repr(cause)
    failed = next((e for e in _chain(cause) if isinstance(e, ssl.SSLCertVerificationError)), None)
    if failed is not None:
        return str(failed.verify_message).rstrip("."), _untrusted(int(failed.verify_code))
    message = re.sub(r"^\[?[A-Z0-9_: ]*\]\s*|\s*\(_ssl\.c:\d+\)", "", _innermost(cause))
    if any(sign in text for sign in _NO_TLS):
        hint = (
            "The server does not speak TLS on this port: use http:// in the URI, or the port "
            "that it has for https://."
        )
    elif any(sign in text for sign in _OLD_TLS):
        hint = "The server offers no version of TLS that is still safe: it has to offer 1.2 or 1.3."
    elif "ALERT" in text:
        hint = client_certificate_hint()
    else:
        return None
    return message, hint


def client_certificate_hint() -> str:
    """Return the hint for a server that refuses the client certificate, or the lack of one."""
    if os.environ.get(_CLIENT_CERT):
        return (
            f"The server does not accept the client certificate in {_CLIENT_CERT}: it has expired, "
            "or another authority has to issue it."
        )
    return (
        f"The server wants a client certificate: set {_CLIENT_CERT} to a PEM file with the "
        "certificate and its key."
    )


def _untrusted(verify_code: int) -> str:
    """Return the hint for a certificate of a server that is not trusted."""
    if verify_code == _EXPIRED:
        return "Have the certificate of the server renewed, or set the clock of this machine."
    if verify_code == _NOT_YET_VALID:
        return "Set the clock of this machine, or have another certificate issued for the server."
    if verify_code in _OTHER_NAME:
        return "Use a name in the tracking URI that the certificate of the server is issued for."
    setting = next((n for n in (_SERVER_CERT, *_CA_BUNDLES) if os.environ.get(n)), None)
    if setting is None:
        return (
            f"Set {_SERVER_CERT} to a PEM file with the certificate of the authority that issued "
            "the server's (the server itself has to send intermediate certificates)."
        )
    return (
        f"The file in {setting} has to contain the certificate of the authority that issued the "
        "server's, and the server has to send intermediate certificates."
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the network errors that are wrapped in it."""
    seen: BaseException | None = error
    while isinstance(seen, BaseException):
        yield seen
        inner = next((a for a in seen.args if isinstance(a, BaseException)), None)
        seen = inner or getattr(seen, "reason", None)


def _innermost(error: BaseException) -> str:
    """Return the root of a chain of wrapped network errors, without the URL (it may hold a password)."""
    *_, seen = _chain(error)
    text = next((str(a) for a in reversed(seen.args) if isinstance(a, str)), "") or str(seen)
    return (text.split(": ", 1)[-1] or type(seen).__name__).rstrip(".")
