"""The credentials for a server, from any source.

MLflow finds user, password and token in the environment, in ``~/.mlflow/credentials`` and in the
configuration of Databricks; ``requests`` finds them in the URI and in a ``.netrc``.
"""

from __future__ import annotations

import base64
import binascii
import configparser
from collections.abc import Sequence
from copy import copy
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from mlflow_gc.backend.interface import Failure, ServerError
from mlflow_gc.domain.redaction import keep_secret, keep_uri_secret, login_header
from mlflow_gc.errors import UsageProblem
from mlflow_gc.settings import redact_uri


def host_credentials(uri: str, token: str | None = None) -> Any:
    """Return MLflow's credentials for a URI, from whichever store plugin serves its scheme.

    Args:
        uri: of the server.
        token: this program's setting, or None.  MLflow reads it only from the environment, which
            lacks AE5 secret files, and takes a blank variable for a value.

    Raises:
        ServerError: MLflow finds none but needs some.
        UsageProblem: the token cannot be sent, or settings contradict each other.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracking._tracking_service.utils import _get_store

    try:
        found = copy(_get_store(uri).get_host_creds())
    except MlflowException as error:
        if error.error_code == "INVALID_PARAMETER_VALUE":
            raise UsageProblem(f"The settings for {redact_uri(uri)}: {error.message}") from error
        raise ServerError(
            f"MLflow cannot use the URI {redact_uri(uri)}: {error.message}", Failure.UNREACHABLE
        ) from error
    except (configparser.Error, OSError, UnicodeError) as error:
        # The messages of configparser quote the value, which may be the password.
        of_value = isinstance(error, configparser.InterpolationError)
        raise UsageProblem(
            f"MLflow's file ~/.mlflow/credentials cannot be read ({type(error).__name__}).",
            hint="A % in a password is written as %% there."
            if of_value
            else "It begins with a line [mlflow]; mlflow login writes one.",
        ) from error
    keep_uri_secret(uri)
    keep_secret(found.token, found.password, getattr(found, "client_secret", None))
    # Secrets that were created with ``echo`` end with a line break that is not part of them.
    found.username, found.password = _one_line(found.username), _one_line(found.password)
    found.token = token or (found.token or "").strip() or None
    if found.token and not (found.token.isascii() and found.token.isprintable()):
        raise UsageProblem(
            f"The token for {redact_uri(uri)} contains a line break or another character that cannot "
            "be sent in a header.",
            hint="Set MLFLOW_TRACKING_TOKEN to the token alone, on one line.",
        )
    for user, password in ((found.username, found.password), _netrc_login(uri) or (None, None)):
        if user and password:
            keep_secret(password, login_header(user, password))
    return found


def _netrc_login(uri: str) -> tuple[str, str] | None:
    from requests.utils import get_netrc_auth

    try:
        return get_netrc_auth(uri)
    except UnicodeError as error:  # requests ignores other errors in it
        raise UsageProblem(
            "The .netrc (or the file that NETRC names) is not a text in UTF-8.",
            hint="Write it in UTF-8.",
        ) from error


def _one_line(text: str | None) -> str | None:
    return text.strip("\r\n") if text else text


class GivenCredentials:
    """The ``auth`` object for ``requests`` that keeps existing credentials.

    By default ``requests`` lets a ``.netrc`` replace a login in the URI and the header that MLflow
    made of a token or of user and password (``Session.prepare_request``).
    """

    def __call__(self, request: Any) -> Any:
        """Sign a prepared request."""
        from requests.auth import HTTPBasicAuth
        from requests.utils import get_auth_from_url, get_netrc_auth

        login = get_auth_from_url(request.url)
        if not any(login) and "Authorization" not in request.headers:
            login = get_netrc_auth(request.url) or login
        return HTTPBasicAuth(*login)(request) if any(login) else request


def account_of(header: str | bytes | None) -> str | None:
    """Return the user of a basic ``Authorization`` header; None for other headers."""
    text = header.decode("latin-1") if isinstance(header, bytes) else header or ""
    kind, _, login = text.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(login, validate=True)
    except (binascii.Error, ValueError):
        return None
    try:
        return decoded.decode().partition(":")[0] or None
    except UnicodeDecodeError:  # requests writes a login in a URI as Latin-1
        return decoded.decode("latin-1").partition(":")[0] or None


def unsafe(credentials: Sequence[Any]) -> list[str]:
    """Return warnings about unsafe connections, one sentence each.

    ``credentials`` are those of the tracking server, and of the registry if it is another server.
    """
    found = []
    hosts = []
    for creds in credentials:
        parts = urlsplit(creds.host or "")
        address = redact_uri(creds.host or "")
        secret = _describe_secret(creds)
        if parts.scheme == "http" and secret and not _is_this_machine(parts.hostname or ""):
            found.append(
                f"{secret} is sent to {address} without TLS: whoever is on the way can read it. "
                "Use https:// if the server has it."
            )
        if parts.scheme == "https" and creds.verify is False:
            found.append(
                f"The TLS certificate of {address} is not checked (MLFLOW_TRACKING_INSECURE_TLS): "
                "another server could answer in its place. MLFLOW_TRACKING_SERVER_CERT_PATH names "
                "a certificate to trust."
            )
        # A login in the URI belongs to that server only.
        if secret and "@" not in parts.netloc:
            hosts.append((secret, parts.hostname, address))
    if len(hosts) == 2 and hosts[0][1] != hosts[1][1]:
        found.append(
            f"{hosts[0][0]} is sent to two servers: {hosts[0][2]} and {hosts[1][2]}. MLflow has "
            "one setting for both."
        )
    return found


def _describe_secret(creds: Any) -> str:
    if "@" in urlsplit(creds.host or "").netloc or (creds.username and creds.password):
        return "The password"
    return "The token" if creds.token else ""


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
