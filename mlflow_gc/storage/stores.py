"""From the URI of an artifact location to the store and the folder where MLflow puts the files.

Here a URI is read as MLflow reads it, letter by letter: ``s3://b//x`` is the folder ``/x`` of a
bucket, and ``%20`` three characters of a key
(docs/explanation/mlflow-facts.md#locations-are-taken-literally).
``domain.source_references.location`` answers another question, whether two URIs may mean one place,
and must not be used to find files.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import NamedTuple
from urllib.parse import unquote, urlparse

from mlflow_gc.domain.redaction import CONTAINER_SCHEMES
from mlflow_gc.domain.source_references import location
from mlflow_gc.settings import redact_uri
from mlflow_gc.storage.interface import Store, StoreError
from mlflow_gc.storage.local import LocalStore
from mlflow_gc.storage.paths import checked

_SAME = {"s3a": "s3", "s3n": "s3"}
_CLOUDS = {
    "s3": "s3",
    "gs": "gcs",
    "wasbs": "azure",
    "abfss": "azure",
}
"""Module, and extra of the package, by scheme."""
_READABLE = (
    "It reads local folders, s3://, gs://, wasbs:// and abfss://, and mlflow-artifacts: of a "
    "tracking server."
)
_PROXIED = location("mlflow-artifacts:/")
_LOCAL = location("/")
_NOISY = ("azure", "boto3", "botocore", "google", "msal", "urllib3")


class Place(NamedTuple):
    """A folder of a store."""

    store: Store
    folder: str


class ArtifactStores:
    """The stores of one command, each opened once.

    Args:
        artifacts_destination: where the server puts what it passes on, as in its own option
            ``--artifacts-destination``; None if that is not known.
        server: the tracking server as a store; None without one.

    Raises:
        StoreError: ``artifacts_destination`` cannot be used.
    """

    def __init__(
        self, *, artifacts_destination: str | None = None, server: Store | None = None
    ) -> None:
        self._open: dict[str, Store] = {}
        self._opening = threading.Lock()
        self._local = LocalStore()
        self._proxied = Place(server, "") if server else None
        self._destination = _PROXIED
        if artifacts_destination:
            is_local = urlparse(artifacts_destination).scheme.lower() in {"", "file"}
            if is_local:
                # Who names the folder means what a link in its path leads to.
                artifacts_destination = os.path.realpath(_local_path(artifacts_destination))
            self._proxied = self._find(artifacts_destination, is_path=is_local)
            store, folder = self._proxied
            self._destination = location(f"{store.uri.rstrip('/')}/{folder}")
        self._followed = lru_cache(maxsize=2**16)(os.path.realpath)

    def find(self, uri: str) -> Place:
        """Return the store and folder of an artifact URI.

        Raises:
            StoreError: mlflow-gc cannot read it, or its package is not installed, or it is unclear
                which folder it means.
        """
        return self._find(uri)

    def place_of(self, uri: str) -> str:
        """Return a text for the folder of a URI, which is equal where two may mean one folder.

        As ``domain.source_references.location``; also, what the server passes on is where it keeps
        it, and links in a local path are followed.
        """
        found = location(uri)
        if f"{found}/".startswith(f"{_PROXIED}/"):
            found = f"{self._destination}{found.removeprefix(_PROXIED)}"
        path = found.removeprefix(_LOCAL)
        return f"{_LOCAL}{self._followed(path)}" if path.startswith("/") else found

    def _find(self, uri: str, *, is_path: bool = False) -> Place:
        parts = urlparse(uri)
        scheme = _SAME.get(parts.scheme.lower(), parts.scheme.lower())
        if is_path or scheme in {"", "file"}:
            path = uri if is_path else _local_path(uri)
            if not path.startswith("/"):
                raise StoreError(
                    f"The artifact location {uri!r} is not an absolute path.",
                    hint="It depends on the working directory of the server. Its files are left alone.",
                )
            plain = [part for part in path.split("/") if part not in {"", "."}]
            return Place(self._local, checked("/".join(plain), "/"))
        if parts.query or parts.fragment or parts.params:
            raise StoreError(f"The artifact location {redact_uri(uri)} continues after its path.")
        path = parts.path.removeprefix("/").removesuffix("/")
        if scheme == "mlflow-artifacts":
            return self._on_server(uri, path)
        has_login = "@" in parts.netloc and scheme not in CONTAINER_SCHEMES
        if scheme not in _CLOUDS or not parts.netloc or has_login:
            raise StoreError(
                f"{redact_uri(uri)} is not a store that mlflow-gc can read.", hint=_READABLE
            )
        name = f"{scheme}://{parts.netloc}"
        store = self._opened(name, lambda: _cloud(scheme, parts.netloc))
        return Place(store, checked(path, store.uri, literal=True, whole=True))

    def _on_server(self, uri: str, path: str) -> Place:
        if self._proxied is None:
            raise StoreError(
                f"The files of {redact_uri(uri)} are behind the tracking server.",
                hint="Say where the server keeps them, as it was started: --artifacts-destination.",
            )
        # The host is only a way to the same files; MLflow's client collapses slashes.
        path = "/".join(part for part in path.split("/") if part)
        path = checked(path, "mlflow-artifacts:/", whole=True)
        store, root = self._proxied
        return Place(store, "/".join(filter(None, (root, path))))

    def _opened(self, name: str, open_store: Callable[[], Store]) -> Store:
        with self._opening:
            if name not in self._open:
                self._open[name] = open_store()
            return self._open[name]


def _local_path(uri: str) -> str:
    """Return the path of a local URI as MLflow reads it (``local_file_uri_to_path``)."""
    if not uri.lower().startswith("file:"):
        return unquote(uri)
    parts = urlparse(uri)
    if parts.netloc not in {"", "localhost"}:
        raise StoreError(
            f"{redact_uri(uri)} is a folder of the machine {parts.netloc!r}.",
            hint="Run mlflow-gc there; the URI of a local folder has three slashes: file:///folder.",
        )
    return unquote(parts.path)


def _cloud(scheme: str, host: str) -> Store:
    """Open a bucket or container; the SDK is imported now."""
    extra = _CLOUDS[scheme]
    _quieten()
    try:
        module = import_module(f"mlflow_gc.storage.{extra}")
    except ModuleNotFoundError as error:
        raise StoreError(
            f"The package {error.name} is not installed, which {scheme}:// needs.",
            hint=f"pip install 'mlflow-gc[{extra}]'",
        ) from error
    store: Store
    if extra == "s3":
        store = module.S3Store(host)
    elif extra == "gcs":
        store = module.GcsStore(host)
    else:
        store = module.AzureStore(scheme, host)
    return store


def _quieten() -> None:
    """Suppress the log and the warnings of SDKs; this program reports errors itself."""
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name in ("boto3", "google", "azure", "msal"):
        warnings.filterwarnings("ignore", module=name)
    # It is what MLFLOW_S3_IGNORE_TLS means.
    warnings.filterwarnings("ignore", message="Unverified HTTPS request")
