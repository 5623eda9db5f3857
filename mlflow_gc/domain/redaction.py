"""The secrets that this process knows, and the filter that removes them from every output.

Libraries quote their input in errors: a header, a URL, an option of a driver.  So all output for
people passes :func:`hide`: errors, warnings, diagnostics, stdout and stderr as a whole (tracebacks
included), events, and the details in a journal.
"""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from collections.abc import Iterator, Mapping
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"
"""The replacement of a secret."""

SHORTEST_SECRET = 4
"""In characters.  Shorter secrets occur inside ordinary words."""

# Shorter ones are hidden only as whole words: "admin" is not hidden in "administrator".
_SHORTEST_ANYWHERE = 8
_NO_SECRETS = frozenset({"true", "false", "none", "null"})
_SECRET_NAME = re.compile(
    r"(?:token|password|passwd|passphrase|secret|"
    r"(?:^|[_.\-])(?:pwd|sig|signature|credential|(?:api|secret|access|private|signing)[_\-]?key))$",
    re.IGNORECASE,
)
CONTAINER_SCHEMES = frozenset({"abfs", "abfss", "wasb", "wasbs"})
"""Schemes of URIs whose part before an ``@`` is a container, not a login."""

_NO_VARIABLES = frozenset({"PWD", "OLDPWD"})
_LOGIN_IN_TEXT = re.compile(r"://[^\s/?#]*@")

_lock = threading.Lock()
_known: set[str] = set()
_pattern: re.Pattern[str] | None = None


def keep_secret(*texts: str | None) -> None:
    """Hide these texts in all output of this process, however they are quoted or encoded."""
    global _pattern  # noqa: PLW0603 - of the process, like its environment
    forms = {form for text in texts if text for form in _forms(text)}
    with _lock:
        if forms <= _known:
            return
        _known.update(forms)
        # Longest first: a shorter one may be part of a longer one.
        ordered = sorted(_known, key=lambda form: (-len(form), form))
        _pattern = re.compile("|".join(map(_as_pattern, ordered)))


def keep_uri_secret(*uris: str | None) -> None:
    """Hide the password, token and signature in URIs."""
    for uri in uris:
        if uri:
            keep_secret(*secrets_of(uri))


def keep_environment_secret(environ: Mapping[str, str]) -> None:
    """Hide all variables whose name says that they are secret, and the logins in URIs."""
    for name, value in environ.items():
        if _SECRET_NAME.search(name) and name not in _NO_VARIABLES:
            keep_secret(value)
        elif name.lower().endswith("_proxy") and "@" in value:
            keep_uri_secret(f"http://{value.partition('://')[2] or value}")
        elif _LOGIN_IN_TEXT.search(value):
            keep_uri_secret(value)


def hide(text: str) -> str:
    """Return a text without the known secrets."""
    return _pattern.sub(HIDDEN, text) if _pattern is not None else text


class FilteredStream(io.TextIOWrapper):
    """A standard stream that shows no secret.

    Args:
        stream: the original stream, which stays open.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        stream.flush()
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            # The log of a job may be ASCII; a name that cannot be encoded must not be an error.
            errors="backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        # A stream without references closes the stream below it.
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text without the known secrets."""
        return super().write(hide(text))


def _forms(text: str) -> Iterator[str]:
    """Yield the encodings of a secret that are long enough to hide."""
    # A library may quote one line of several, or all of them with escaped line breaks.
    for part in {text, text.strip(), *(line.strip() for line in text.splitlines())}:
        written = (part, repr(part)[1:-1], json.dumps(part)[1:-1])
        encoded = (quote(part, errors="replace"), quote(part, safe="", errors="replace"))
        for form in {*written, *encoded, quote_plus(part, errors="replace")}:
            if len(form) >= SHORTEST_SECRET and form.lower() not in _NO_SECRETS:
                yield form


def _as_pattern(form: str) -> str:
    escaped = re.escape(form)
    if len(form) >= _SHORTEST_ANYWHERE:
        return escaped
    return rf"(?<![\w-]){escaped}(?![\w-])"


def login_header(user: str, password: str) -> str:
    """Return the credentials of a basic ``Authorization`` header."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()


_PORT = re.compile(r"[0-9]{1,5}(?:/|\Z)")


def secrets_of(uri: str, *, every_value: bool = False) -> set[str]:
    """Return the secrets in a URI, as written and decoded.

    These are the password (or the user, if there is no password) and values of the query.

    Args:
        uri: any text; if several ``@`` may end the login, all candidates are returned.
        every_value: return all values of the query, not only those with the name of a secret.
    """
    scheme, _, rest = uri.partition("://")
    address, extra = split_query(rest)
    user, _, password = address.partition("/")[0].rpartition("@")[0].partition(":")
    found = {password or ("" if scheme.lower() in CONTAINER_SCHEMES else user)}
    # SQLAlchemy takes a password with / or ? in it as it is: the login may end at a later @.
    for text in (address, rest):
        longest = text.rpartition("@")[0].partition(":")[2]
        if not _PORT.match(longest):
            # A driver quotes the part that it parsed as host or path.
            found |= {longest, *re.split("[@/?#:]", longest)}
    # The value of a parameter in the path ends with the segment.
    parts = [
        p
        for text in (extra, unquote(extra))
        for e in ("", "/")
        for p in re.split(f"[&#?;{e}]", text)
    ]
    # odbc_connect=Driver=...;PWD=...
    parts += [
        inner for part in parts for inner in re.split(";", unquote_plus(part.partition("=")[2]))
    ]
    pairs = [part.partition("=")[::2] for part in parts]
    found |= {value for name, value in pairs if every_value or _SECRET_NAME.search(name)}
    forms = (str, unquote, unquote_plus)
    return {form(text) for text in found for form in forms} - {""}


# The second half of a path segment (``;token=...``), and a query that was encoded with the path.
# If an "@" follows in the same segment, it is part of a login.
_QUERY = re.compile(r"[?#]|(?:%3[Ff](?=[^/]*(?:=|%3[Dd]))|;(?=[^/;=]*=))(?![^/?#]*@)")


def split_query(text: str) -> tuple[str, str]:
    """Split a URI before its query, parameters or fragment."""
    found = _QUERY.search(text)
    return (text[: found.start()], text[found.start() :]) if found else (text, "")
