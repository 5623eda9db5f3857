"""Azure Blob Storage and Data Lake, by Azure's client with the settings of MLflow's own.

A Data Lake has folders, which its blob API lists as blobs of size 0 with a mark.  They are not
files, and are deleted when they are empty.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from azure.core import exceptions as azure
from azure.storage.blob import BlobServiceClient, ExponentialRetry

from mlflow_gc.domain.redaction import keep_secret, keep_uri_secret
from mlflow_gc.storage.interface import StoredFile, StoreError, StoreNotes
from mlflow_gc.storage.object_store import (
    CONNECT_S,
    PARALLEL,
    READ_S,
    ObjectStore,
    Page,
    first_line,
    ms,
)

RETRIES = 3
_FIRST_RETRY_S = 1  # Azure's own default is 15 s
_HOST = re.compile(r"(?P<container>[^@/]+)@(?P<account>[^@./]+)\.(?P<domain>[^@/]+)")
_FOLDER = "hdi_isfolder"
_NO_CONTAINER = "ContainerNotFound"
_NO_BATCHES = frozenset({400, 405, 501})
_LOGIN_HINT = (
    "The credentials are those of MLflow: AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_ACCESS_KEY "
    "(wasbs), AZURE_STORAGE_SAS_TOKEN (abfss), or Azure's default ones, which need the role Storage "
    "Blob Data Contributor."
)


class AzureStore(ObjectStore):
    """A container, or a file system of a Data Lake.

    Args:
        scheme: ``wasbs`` or ``abfss``.
        host: ``container@account.blob.core.windows.net``, as in the URI.
    """

    # A Data Lake lists folder by folder.
    is_sorted = False
    batch = 256
    page = 5000

    def __init__(self, scheme: str, host: str) -> None:
        super().__init__(f"{scheme}://{host}")
        found = _HOST.fullmatch(host)
        if found is None:
            raise StoreError(
                f"{self.uri} names no container and account.",
                hint=f"It looks like {scheme}://container@account.blob.core.windows.net/path.",
            )
        with self._errors():
            service = _service(scheme, found["account"], found["domain"])
            self._service: Any = service
            self._container: Any = service.get_container_client(found["container"])

    def _blobs(self, prefix: str, size: int = 0) -> Iterator[list[Any]]:
        pages = self._container.list_blobs(
            name_starts_with=prefix or None,
            include=["metadata"],
            results_per_page=size or self.page,
        ).by_page()
        yield from map(list, pages)

    def _pages(self, prefix: str, start: str = "", size: int = 0) -> Iterator[Page]:
        del start  # not sorted
        for page in self._blobs(prefix, size):
            files = [blob for blob in page if not _is_folder(blob)]
            yield Page(
                [StoredFile(b.name, b.size, ms(b.last_modified)) for b in files], is_last=False
            )

    def refused(self, key: str) -> str | None:
        """Return why a key is never deleted: a URL with ``/./`` may be normalized on the way."""
        why = super().refused(key)
        return why or ("contains '.'" if "." in key.split("/") else None)

    def _delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        try:
            answers = list(
                self._container.delete_blobs(
                    *keys, delete_snapshots="include", raise_on_any_failure=False
                )
            )
        except azure.HttpResponseError as error:
            if error.status_code not in _NO_BATCHES:
                raise
            return {key: why for key in keys if (why := self._delete_one(key))}
        if len(answers) != len(keys):
            raise self._not_a_store("it does not answer for each of the blobs")
        refused = {}
        for key, answer in zip(keys, answers, strict=True):
            code = answer.headers.get("x-ms-error-code", "")
            if code == _NO_CONTAINER:
                raise self._missing()
            if answer.status_code not in {202, 404}:
                refused[key] = f"{answer.status_code}. {code}".strip()
        return refused

    def _delete_one(self, key: str) -> str | None:
        try:
            self._container.delete_blob(key, delete_snapshots="include")
        except azure.HttpResponseError as error:
            code = _code(error)
            if code == _NO_CONTAINER:
                raise self._missing() from error
            return None if error.status_code == 404 else f"{error.status_code}. {code}".strip()
        return None

    def _still_there(self, keys: Sequence[str], reported: Mapping[str, str]) -> Iterable[str]:
        """Check only those that were not confirmed: there may be a listing for each."""
        del keys
        with self._errors(), ThreadPoolExecutor(PARALLEL) as pool:
            there = list(
                pool.map(lambda key: self._container.get_blob_client(key).exists(), reported)
            )
        return [key for key, exists in zip(reported, there, strict=True) if exists]

    def delete_empty_folders(self, *folders: str) -> None:
        """Delete the empty folders of a Data Lake, the deepest first; one that is not empty stays."""
        for folder in folders:
            self._delete_empty_folders(folder)

    def _delete_empty_folders(self, folder: str) -> None:
        prefix = self.prefix(folder)
        with self._errors():
            names = [
                blob.name
                # Without its slash: the folder itself is one of them.
                for page in self._blobs(prefix.removesuffix("/"))
                for blob in page
                if _is_folder(blob) and f"{blob.name}/".startswith(prefix)
            ]
            for name in sorted(names, key=lambda name: -name.count("/")):
                if prefix and not self.refused(name):
                    self._delete_one(name)

    def notes(self, folder: str) -> StoreNotes:
        """Check soft delete and versions; unfinished uploads end after a week."""
        prefix, unknown = self.prefix(folder), list[str]()
        with self._errors():
            some = self._container.list_blobs(
                name_starts_with=prefix or None, include=["versions"], results_per_page=1
            )
            keeps = any(blob.version_id for blob in next(some.by_page(), ()))
            try:
                policy = self._service.get_service_properties()["delete_retention_policy"]
                keeps = keeps or bool(policy and policy.enabled)
            except azure.HttpResponseError as error:
                unknown.append(f"Whether {self.uri} keeps deleted files: {error.status_code}.")
        return StoreNotes(keeps_versions=keeps, unknown=tuple(unknown))

    def _missing(self) -> StoreError:
        return StoreError(f"There is no container {self.uri}.", hint="Check the artifact URI.")

    def _explain(self, error: Exception) -> StoreError:
        code = _code(error)
        if code == _NO_CONTAINER or isinstance(error, azure.ResourceNotFoundError):
            return self._missing()
        status = getattr(error, "status_code", None)
        if status in {401, 403} or isinstance(error, azure.ClientAuthenticationError):
            return StoreError(
                f"{self.uri} refuses the login. {code or first_line(error)}", hint=_LOGIN_HINT
            )
        if isinstance(error, ImportError):
            return StoreError(
                f"The package {error.name} is not installed, which Azure's default login needs.",
                hint="pip install 'mlflow-gc[azure]'",
            )
        if isinstance(error, azure.AzureError):
            return StoreError(
                f"{self.uri} cannot be reached. {code or first_line(error)}",
                hint="Check the network, the proxies, and the account in the URI.",
            )
        if isinstance(error, ValueError) and not self.__dict__.get("_service"):
            # Azure's message would quote the connection string.
            return StoreError(
                f"The settings for {self.uri} cannot be used ({type(error).__name__}).",
                hint=_LOGIN_HINT,
            )
        return self._not_a_store("its answer is not that of Azure Blob Storage")


def _code(error: Exception) -> str:
    """Return Azure's code, which is sometimes a text and sometimes an enumeration."""
    code: Any = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def _is_folder(blob: Any) -> bool:
    return not blob.size and str((blob.metadata or {}).get(_FOLDER, "")).lower() == "true"


def _service(scheme: str, account: str, domain: str) -> Any:
    """Return a client with MLflow's settings.

    See mlflow/store/artifact/azure_blob_artifact_repo.py and azure_data_lake_artifact_repo.py.
    """
    verify: bool | str = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or (
        os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() not in {"true", "1"}
    )
    options: dict[str, Any] = {
        "connection_verify": verify,
        "connection_timeout": CONNECT_S,
        "read_timeout": READ_S,
        "retry_policy": ExponentialRetry(
            initial_backoff=_FIRST_RETRY_S, increment_base=2, retry_total=RETRIES
        ),
    }
    # The blobs of a Data Lake are at the same account, by another name.
    url = f"https://{account}.{re.sub('^dfs[.]', 'blob.', domain)}"
    key = os.environ.get("AZURE_STORAGE_ACCESS_KEY")
    sas = os.environ.get("AZURE_STORAGE_SAS_TOKEN")
    connection = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
    settings = dict(part.partition("=")[::2] for part in (connection or "").split(";"))
    keep_secret(key, sas, connection, settings.get("AccountKey"))
    for token in filter(None, (sas, settings.get("SharedAccessSignature"))):
        keep_uri_secret(f"{url}?{token.removeprefix('?')}")
    if scheme == "wasbs" and connection:
        return BlobServiceClient.from_connection_string(connection, **options)
    secret: Any = key if scheme == "wasbs" else sas
    if not secret:
        from azure.identity import DefaultAzureCredential

        secret = DefaultAzureCredential()
    return BlobServiceClient(url, credential=secret, **options)
