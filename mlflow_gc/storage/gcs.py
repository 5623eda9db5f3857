"""Google Cloud Storage, by its client with the credentials that MLflow's own client uses.

Objects are deleted one by one, several at once: a batch of its client has no public way to tell
which of them failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.api_core import exceptions as api
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from mlflow_gc.storage.interface import StoredFile, StoreError, StoreNotes
from mlflow_gc.storage.object_store import CONNECT_S, READ_S, ObjectStore, Page, first_line, ms

RETRY_S = 60.0
"""For how long a read that fails for a temporary cause is repeated."""
_LIST = "storage#objects"
_FIELDS = "kind,items(name,size,updated),nextPageToken"
_LOGIN_HINT = (
    "The credentials are Google's default ones: GOOGLE_APPLICATION_CREDENTIALS, gcloud auth "
    "application-default login, or the service account of this machine."
)
_RIGHTS_HINT = (
    "The account needs storage.objects.list on the bucket, and storage.objects.delete to purge."
)


class GcsStore(ObjectStore):
    """A bucket."""

    batch = 1
    page = 1000

    def __init__(self, bucket: str) -> None:
        super().__init__(f"gs://{bucket}")
        with self._errors():
            try:
                self._client: Any = storage.Client()
            except DefaultCredentialsError:  # as MLflow does: the bucket may be public
                self._client = storage.Client.create_anonymous_client()
            self._bucket = self._client.bucket(bucket)
        self._retry = DEFAULT_RETRY.with_timeout(RETRY_S)

    def _pages(self, prefix: str, start: str = "", size: int = 0) -> Iterator[Page]:
        found = self._client.list_blobs(
            self._bucket,
            prefix=prefix or None,
            start_offset=start or None,
            page_size=size or self.page,
            fields=_FIELDS,
            timeout=(CONNECT_S, READ_S),
            retry=self._retry,
        )
        for page in found.pages:
            # The client takes any other JSON object for an empty list.
            if page.raw_page.get("kind") != _LIST:
                raise self._not_a_store("its answer is no list of objects")
            objects = [StoredFile(blob.name, blob.size, ms(blob.updated)) for blob in page]
            yield Page(objects, is_last=not page.raw_page.get("nextPageToken"))

    def _delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        refused = {}
        for key in keys:
            try:
                self._bucket.delete_blob(key, timeout=(CONNECT_S, READ_S), retry=self._retry)
            except api.NotFound:  # of the bucket, too: the listing afterwards tells
                continue
            except api.Unauthorized:
                raise
            except api.ClientError as error:
                refused[key] = first_line(error)
        return refused

    def notes(self, folder: str) -> StoreNotes:
        """Check versioning, soft delete and retention; unfinished uploads end after a week."""
        self.prefix(folder)
        with self._errors():
            try:
                self._bucket.reload(timeout=(CONNECT_S, READ_S), retry=self._retry)
            except (api.Forbidden, api.Unauthorized) as error:
                question = f"Whether {self.uri} keeps old versions or deleted files"
                return StoreNotes(unknown=(f"{question}: {error.code.value}.",))
            retained_s = self._bucket.soft_delete_policy.get("retentionDurationSeconds")
            return StoreNotes(
                keeps_versions=bool(
                    self._bucket.versioning_enabled
                    or self._bucket.retention_period
                    or int(retained_s or 0)
                )
            )

    def _explain(self, error: Exception) -> StoreError:
        if isinstance(error, api.NotFound):
            return StoreError(f"There is no bucket {self.uri}.", hint="Check the artifact URI.")
        if isinstance(error, (api.Forbidden, api.Unauthorized)):
            return StoreError(
                f"{self.uri} refuses the request. {first_line(error)}",
                hint=f"{_RIGHTS_HINT} {_LOGIN_HINT}",
            )
        if isinstance(error, GoogleAuthError):
            return StoreError(f"No login to {self.uri}. {first_line(error)}", hint=_LOGIN_HINT)
        if isinstance(error, (TypeError, AttributeError, ValueError)):
            return self._not_a_store("its answer is not that of Google Cloud Storage")
        return StoreError(
            f"{self.uri} cannot be reached. {first_line(error)}",
            hint="Check the network, the proxies, and STORAGE_EMULATOR_HOST if it is set.",
        )
