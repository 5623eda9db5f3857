"""Settings: declared once, resolved once, and each value remembers where it came from.

Order: flag, then non-empty environment variable, then AE5 secret file, then default.
"""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow_gc.domain.redaction import (
    CONTAINER_SCHEMES,
    HIDDEN,
    SHORTEST_SECRET,
    keep_secret,
    keep_uri_secret,
    secrets_of,
    split_query,
)
from mlflow_gc.errors import UsageProblem

SECRETS_DIRECTORY = Path("/var/run/secrets/user_credentials")
"""The directory of a user's secrets in Anaconda Enterprise 5: one file per variable."""

DEFAULT_TTL_DAYS = 30
_MAX_TTL_DAYS = 36_500  # a hundred years: more is a typing mistake


@dataclass(frozen=True)
class Setting:
    """One setting: its environment variable, option, description and default.

    ``default`` is a text for people; the code that resolves the setting has the value.
    """

    variable: str
    flag: str | None
    meaning: str
    default: str
    is_secret: bool = False


TRACKING_URI = Setting(
    "MLFLOW_TRACKING_URI", "--tracking-uri", "tracking server", "MLflow's own default"
)
REGISTRY_URI = Setting(
    "MLFLOW_REGISTRY_URI", "--registry-uri", "model registry", "the tracking server"
)
TRACKING_TOKEN = Setting(
    "MLFLOW_TRACKING_TOKEN", None, "bearer token", "none is sent", is_secret=True
)
WORKSPACE = Setting(
    "MLFLOW_WORKSPACE",
    "--workspace",
    "workspace (MLflow 3.10 and newer)",
    "the server's own default",
)
ENTITY_TTL = Setting(
    "MLFLOW_TRACKING_ENTITY_TTL",
    "--ttl",
    "age in whole days from which an entity is stale",
    f"the policy file, else {DEFAULT_TTL_DAYS}",
)
POLICY = Setting(
    "MLFLOW_GC_POLICY",
    "--policy",
    "policy file",
    "mlflow-gc.yml or mlflow-gc.yaml in the working directory, where there is one",
)
BACKEND_STORE_URI = Setting(
    "MLFLOW_BACKEND_STORE_URI",
    "--backend-store-uri",
    "database of the tracking server, to read it faster",
    "the server is read over its API",
)

ARTIFACTS_DESTINATION = Setting(
    "MLFLOW_ARTIFACTS_DESTINATION",
    "--artifacts-destination",
    "where the tracking server keeps the artifacts that it passes on",
    "its files are listed and deleted over the server",
)

DEFAULT_MAX_PARALLEL = 16
_MOST_PARALLEL = 256
MAX_PARALLEL = Setting(
    "MLFLOW_GC_MAX_PARALLEL",
    "--max-parallel",
    "maximum number of concurrent requests; below that, the limiter adapts to the server",
    str(DEFAULT_MAX_PARALLEL),
)
DIRECTORY = Setting(
    "MLFLOW_GC_DIR",
    None,
    "folder of the plans that are written without --out, and of the journals beside them",
    "the working directory",
)
REQUIRE_EXPECT = Setting(
    "MLFLOW_GC_REQUIRE_EXPECT",
    None,
    "1: refuse a saved plan without --expect",
    "--expect can be left out",
)
MAX_DELETIONS = Setting(
    "MLFLOW_GC_MAX_DELETIONS",
    None,
    "most entities that a plan may delete where this is set, whatever its own guards allow",
    "only the guards of the plan count",
)
MAX_SHARE = Setting(
    "MLFLOW_GC_MAX_SHARE",
    None,
    "largest share, in whole percent, of all entities on the server that a plan may delete where "
    "this is set, whatever its own guards allow",
    "only the guards of the plan count",
)


@dataclass(frozen=True)
class Value:
    """A resolved setting: its text (None if not set) and its origin."""

    setting: Setting
    text: str | None
    origin: str

    def describe(self) -> str:
        """Return one line for ``-v``; never with the value of a secret."""
        if self.text is None:
            shown = "not set"
        elif self.setting.is_secret:
            shown = "(hidden)"
        else:
            shown = redact_uri(self.text)
        return f"{self.setting.variable} = {shown} (from {self.origin})"


def resolve(setting: Setting, flag_value: str | None = None) -> Value:
    """Find the value of one setting; ``flag_value`` is that of its option.

    Raises:
        UsageProblem: The secret file exists and cannot be read, or a secret cannot be sent.
    """
    value = _found(setting, flag_value)
    if value.text is None:
        return value
    if not setting.is_secret:
        keep_uri_secret(value.text)
        return value
    keep_secret(value.text)
    # A Kubernetes secret created with ``echo`` ends with a line break.
    text = value.text.strip()
    if not (text.isascii() and text.isprintable()):
        raise UsageProblem(
            f"The {setting.meaning} (from {value.origin}) contains a line break or another character "
            "that cannot be sent in a header.",
            hint=f"Set {setting.variable} to the token alone, on one line.",
        )
    return replace(value, text=text)


def _found(setting: Setting, flag_value: str | None) -> Value:
    """Return the raw value of a setting."""
    if flag_value is not None:
        return Value(setting, flag_value, f"flag {setting.flag}")
    # anaconda-project refuses to run a command whose variable is empty, so the project file has
    # to default to a blank; blank is therefore "not set", like empty.
    if (text := os.environ.get(setting.variable, "")).strip():
        return Value(setting, text, f"environment {setting.variable}")
    secret = SECRETS_DIRECTORY / setting.variable
    try:
        # AE5 and kubectl often end the file with a newline that is not part of the value.
        text = secret.read_text(encoding="utf-8").rstrip("\r\n")
    except (FileNotFoundError, NotADirectoryError):
        return Value(setting, None, "default")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(
            f"The secret file {secret} cannot be read: {error}.",
            hint=f"Fix the file or set the environment variable {setting.variable}.",
        ) from error
    return (
        Value(setting, text, f"secret file {secret}")
        if text.strip()
        else Value(setting, None, "default")
    )


@dataclass(frozen=True)
class Connection:
    """How to reach a server: every value with its origin.

    ``tracking_uri`` None means MLflow's own default; ``registry_uri`` None the tracking URI;
    ``backend_store_uri`` None means that a plan is read over the tracking URI; ``max_parallel`` is
    a whole number of at least 1.
    """

    tracking_uri: Value
    registry_uri: Value
    token: Value
    workspace: Value
    backend_store_uri: Value
    max_parallel: Value

    def describe(self) -> list[str]:
        """Return one line per setting for ``-v``."""
        values = [self.tracking_uri, self.registry_uri, self.token, self.workspace]
        if self.backend_store_uri.text is not None:
            values.append(self.backend_store_uri)
        if self.max_parallel.origin != "default":
            values.append(self.max_parallel)
        return [value.describe() for value in values]


def resolve_connection(
    *,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    workspace: str | None = None,
    backend_store_uri: str | None = None,
    max_parallel: str | None = None,
) -> Connection:
    """Resolve the connection to the server; the arguments are values of options.

    Raises:
        UsageProblem: A number is invalid; with its origin.
    """
    return Connection(
        tracking_uri=resolve(TRACKING_URI, tracking_uri),
        registry_uri=resolve(REGISTRY_URI, registry_uri),
        token=resolve(TRACKING_TOKEN),
        workspace=resolve(WORKSPACE, workspace),
        backend_store_uri=resolve(BACKEND_STORE_URI, backend_store_uri),
        max_parallel=_resolve_max_parallel(max_parallel),
    )


def _resolve_max_parallel(flag_value: str | None) -> Value:
    value = resolve(MAX_PARALLEL, flag_value)
    if value.text is None:
        return Value(MAX_PARALLEL, str(DEFAULT_MAX_PARALLEL), "default")
    if _is_whole(value.text) and int(value.text) <= _MOST_PARALLEL:
        return Value(MAX_PARALLEL, value.text.strip(), value.origin)
    raise UsageProblem(
        f"The number of parallel requests {value.text[:40]!r} (from {value.origin}) is not a whole "
        f"number from 1 to {_MOST_PARALLEL}.",
        hint=f"Leave it out for {DEFAULT_MAX_PARALLEL}; 1 sends one request after the other.",
    )


def requires_expect() -> bool:
    """Tell whether this machine applies saved plans only with ``--expect``.

    Any value except a clear no requires it: whoever set the variable wanted it.
    """
    value = resolve(REQUIRE_EXPECT)
    return value.text is not None and value.text.strip().lower() not in {"0", "false", "no"}


def resolve_directory() -> tuple[Path | None, Value]:
    """Resolve the folder of plans and journals, with its origin; an absolute path, None if not set.

    The folder is created if its parent exists, and a file is written there once and removed: on a
    network file system only that shows who may write.

    Raises:
        UsageProblem: It cannot be used; with its origin.
    """
    value = resolve(DIRECTORY)
    if value.text is None:
        return None, value
    # Printed commands name it, and work in any directory.
    folder = Path(os.path.abspath(value.text.strip()))  # noqa: PTH100 - keeps symbolic links
    shown = f"The folder {folder} of {DIRECTORY.variable} (from {value.origin})"
    try:
        with suppress(FileExistsError):
            folder.mkdir()
        if not folder.is_dir():
            raise UsageProblem(
                f"{shown} is not a folder.",
                hint=f"Set {DIRECTORY.variable} to a folder, or unset it.",
            )
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileNotFoundError:
        raise UsageProblem(
            f"{shown} cannot be created: {folder.parent} does not exist.",
            hint="Mount its volume, or create the folder above it.",
        ) from None
    except (OSError, ValueError) as error:
        raise UsageProblem(
            f"{shown} is not writable: {getattr(error, 'strerror', None) or error}.",
            hint=f"Change its permissions, or set {DIRECTORY.variable} to another folder.",
        ) from error
    return folder, value


def resolve_maximum(setting: Setting, *, most: int | None = None) -> int | None:
    """Return a limit for all plans on this machine, of at most ``most``; None if not set.

    Raises:
        UsageProblem: It is not a whole number; with its origin.
    """
    value = resolve(setting)
    if value.text is None:
        return None
    text = value.text.strip().removesuffix("%").strip()
    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) and (most is None or int(text) <= most):
        return int(text)
    upto = "of at least 0" if most is None else f"from 0 to {most}"
    raise UsageProblem(
        f"{setting.variable} {value.text[:40]!r} (from {value.origin}) is not a whole number {upto}.",
        hint="Correct it, or unset it: then only the guards of the plan count.",
    )


def _is_whole(text: str) -> bool:
    # int() would also accept "1_0", "+5" and digits of other scripts.
    return re.fullmatch(r"0{0,9}[1-9][0-9]{0,8}", text.strip(), re.ASCII) is not None


def resolve_ttl_days(flag_value: str | None = None) -> tuple[int, Value]:
    """Resolve the TTL in whole days (at least 1), with its origin.

    Raises:
        UsageProblem: The value is not a whole number of at least 1; with its origin.
    """
    value = resolve(ENTITY_TTL, flag_value)
    if value.text is None:
        return DEFAULT_TTL_DAYS, Value(ENTITY_TTL, str(DEFAULT_TTL_DAYS), "default")
    if _is_whole(value.text) and int(value.text) <= _MAX_TTL_DAYS:
        return int(value.text), value
    raise UsageProblem(
        f"The TTL {value.text[:40]!r} (from {value.origin}) is not a whole number of days "
        f"from 1 to {_MAX_TTL_DAYS}.",
        hint="Give whole days, for example 30.",
    )


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")
# In these a ":" need not precede a port (``s3://arn:aws:s3:...``, ``databricks://scope:key``).
_COLON_SCHEMES = frozenset({"s3", "s3a", "s3n", "databricks", "databricks-uc", "uc", "models"})
_HOST_AND_PORT = r"(?:\[[^\]@]*\]|[^:,\[\]]*)(?::[0-9]{0,5})?"
_HOSTS_AND_PORTS = re.compile(rf"{_HOST_AND_PORT}(?:,{_HOST_AND_PORT})*")
# A path or one of MLflow's own URIs (``models:/fraud@champion``): an "@" in it does not end a
# login.
_PATH = re.compile(r"(?:(?:models|runs|mlflow-artifacts|dbfs|file):)?\.{0,2}/(?!/)[^:]*", re.DOTALL)


_SIGNS_OF_SECRETS = frozenset("@?#;%")


def redact_uri(uri: str) -> str:
    """Return the URI without user name, password and query values that may be secret.

    ``postgresql://me:pw@db/mlflow?sslpassword=x`` becomes ``postgresql://db/mlflow``.  The part
    before an ``@`` is kept if it is not a login (``abfss://container@account/path``).  If the end
    of the login is ambiguous, or a ``:`` may begin a port or a password, everything after the
    scheme is hidden: ``http://***``.
    """
    if "://" not in uri and _SIGNS_OF_SECRETS.isdisjoint(uri):
        return uri
    scheme, separator, rest = uri.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        return _redact_text(uri)
    kind = scheme.lower()
    address, extra = split_query(rest)
    host, slash, path = address.partition("/")
    has_login = "@" in host and (kind not in CONTAINER_SCHEMES or ":" in host)
    # SQLAlchemy accepts a password with / or ? in it: the login may end at a later @.
    if "@" in extra or ("@" in path and (has_login or ":" in address[: address.rindex("@")])):
        return f"{scheme}://{HIDDEN}"
    if has_login:
        host = host[host.rindex("@") + 1 :]
    # http://me:pw, without the server.
    if kind not in _COLON_SCHEMES and not _HOSTS_AND_PORTS.fullmatch(host):
        return f"{scheme}://{HIDDEN}"
    return f"{scheme}://{host}{slash}{path}".rstrip("/" if path else "")


def _redact_text(text: str) -> str:
    """Redact a text that is not a URI with an address: a path, ``models:/...``, ``me:pw@host``."""
    shown, extra = split_query(text)
    is_login = "@" in extra or ("@" in shown and not _PATH.fullmatch(shown))
    return HIDDEN if is_login else shown


_LEFT_OUT = "(the message is left out: it may quote a password)"


def without_secrets(message: str, uri: str) -> str:
    """Return the message of a library or driver about a URI, without the secrets of the URI.

    Drivers quote parts that they parsed as host, port or option; with a mistake in the URI that may
    be a part of the password.
    """
    login = re.split(r"[/?#]", uri.partition("://")[2], maxsplit=1)[0]
    if HIDDEN in redact_uri(uri) or login.count("@") > 1:
        return _LEFT_OUT
    message = message.replace(uri, redact_uri(uri))
    for secret in sorted(secrets_of(uri, every_value=True), key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            message = message.replace(secret, HIDDEN)
    return message
