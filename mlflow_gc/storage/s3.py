"""S3 and what speaks its protocol, by boto3 with the settings that MLflow's own client uses."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore import exceptions as failures
from botocore.client import Config
from botocore.parsers import ResponseParserError
from botocore.utils import parse_timestamp

from mlflow_gc.domain.redaction import keep_secret, keep_uri_secret
from mlflow_gc.settings import redact_uri
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

_LOGIN_HINT = (
    "The credentials are those of MLflow and boto3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "AWS_PROFILE, or the role of this machine."
)
_RIGHTS_HINT = (
    "The account needs s3:ListBucket on the bucket, and s3:DeleteObject on its objects to purge. "
    "With MLFLOW_S3_EXPECTED_BUCKET_OWNER, the bucket has to be that account's."
)
_ADDRESS_HINT = (
    "Check MLFLOW_S3_ENDPOINT_URL, AWS_DEFAULT_REGION, and MLFLOW_S3_IGNORE_TLS for a certificate "
    "that cannot be checked."
)
_HINTS = {
    "NoSuchBucket": "Check the artifact URI, and MLFLOW_S3_ENDPOINT_URL if it is not on AWS.",
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "403"), _RIGHTS_HINT),
    **dict.fromkeys(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"), _LOGIN_HINT
    ),
    **dict.fromkeys(
        ("PermanentRedirect", "301", "AuthorizationHeaderMalformed", "404"), _ADDRESS_HINT
    ),
}
_NO_BATCHES = frozenset({"NotImplemented", "MethodNotAllowed", "MissingContentMD5", "MalformedXML"})
"""Errors of stores that do not delete several objects in one request, or not in boto3's form."""


class S3Store(ObjectStore):
    """A bucket."""

    batch = 1000
    page = 1000

    def __init__(self, bucket: str) -> None:
        super().__init__(f"s3://{bucket}")
        endpoint = os.environ.get("MLFLOW_S3_ENDPOINT_URL") or None
        keep_uri_secret(endpoint)
        self._shown = f"{self.uri} at {redact_uri(endpoint)}" if endpoint else self.uri
        owner = os.environ.get("MLFLOW_S3_EXPECTED_BUCKET_OWNER")
        self._bucket = {"Bucket": bucket, **({"ExpectedBucketOwner": owner} if owner else {})}
        with self._errors():
            self._client: Any = _client(endpoint)

    def _pages(self, prefix: str, start: str = "", size: int = 0) -> Iterator[Page]:
        arguments = {"StartAfter": start} if start else {}
        while True:
            found = self._client.list_objects_v2(
                **self._bucket, Prefix=prefix, MaxKeys=size or self.page, **arguments
            )
            # boto3 takes an empty answer, and any page that is XML, for an empty list.
            if "IsTruncated" not in found:
                raise self._not_a_store("its answer is no list of objects")
            objects = [
                StoredFile(item["Key"], item["Size"], ms(item["LastModified"]))
                for item in found.get("Contents", ())
            ]
            yield Page(objects, is_last=not found["IsTruncated"])
            if not found["IsTruncated"]:
                return
            arguments = {"ContinuationToken": found["NextContinuationToken"]}

    def _delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        # XML has no control characters.
        together = [key for key in keys if key.isprintable()]
        refused = {}
        if together:
            objects = {"Objects": [{"Key": key} for key in together], "Quiet": True}
            try:
                found = self._client.delete_objects(**self._bucket, Delete=objects)
            except failures.ClientError as error:
                if _code(error) not in _NO_BATCHES:
                    raise
                together = []
            else:
                # A 200 holds the errors of each key.
                refused = {
                    item["Key"]: _text(item["Code"], item.get("Message", ""))
                    for item in found.get("Errors", ())
                }
        for key in sorted(set(keys) - set(together)):
            try:
                self._client.delete_object(**self._bucket, Key=key)
            except failures.ClientError as error:
                refused[key] = _text(_code(error), error.response["Error"].get("Message", ""))
        return refused

    def notes(self, folder: str) -> StoreNotes:
        """Check versioning, which an object lock needs, too, and unfinished uploads."""
        prefix = self.prefix(folder)
        has_versions, sizes, unknown = False, list[int](), list[str]()
        with self._errors():
            try:
                found = self._client.get_bucket_versioning(**self._bucket)
                # Suspended: what was written before keeps its version.
                has_versions = found.get("Status") in {"Enabled", "Suspended"}
            except failures.ClientError as error:
                unknown.append(f"Whether {self.uri} keeps old versions: {_code(error)}.")
            try:
                pages = self._client.get_paginator("list_multipart_uploads")
                uploads = [
                    {"Key": item["Key"], "UploadId": item["UploadId"]}
                    for page in pages.paginate(**self._bucket, Prefix=prefix)
                    for item in page.get("Uploads", ())
                ]
                with ThreadPoolExecutor(PARALLEL) as pool:
                    sizes = list(pool.map(self._upload_bytes, uploads))
            except failures.ClientError as error:
                unknown.append(f"The unfinished uploads to {self.uri}: {_code(error)}.")
        return StoreNotes(has_versions, len(sizes), sum(sizes), tuple(unknown))

    def _upload_bytes(self, upload: dict[str, str]) -> int:
        pages = self._client.get_paginator("list_parts").paginate(**self._bucket, **upload)
        try:
            return sum(part["Size"] for page in pages for part in page.get("Parts", ()))
        except failures.ClientError as error:
            if _code(error) == "NoSuchUpload":  # ended meanwhile
                return 0
            raise

    def _explain(self, error: Exception) -> StoreError:
        if isinstance(error, failures.ClientError):
            code = _code(error)
            if code == "NoSuchBucket":
                return StoreError(f"There is no bucket {self._shown}.", hint=_HINTS[code])
            reported = error.response["Error"].get("Message", "")
            return StoreError(
                f"{self._shown} refuses {error.operation_name}: {_text(code, reported)}",
                hint=_HINTS.get(code, _ADDRESS_HINT),
            )
        if isinstance(error, ResponseParserError):
            return StoreError(f"What answers for {self._shown} is not S3.", hint=_ADDRESS_HINT)
        is_login = isinstance(
            error,
            (
                failures.NoCredentialsError,
                failures.PartialCredentialsError,
                failures.ProfileNotFound,
            ),
        )
        return StoreError(
            f"{self._shown} cannot be reached. {first_line(error)}",
            hint=_LOGIN_HINT if is_login else _ADDRESS_HINT,
        )


def _client(endpoint: str | None) -> Any:
    """Return a client with MLflow's settings (mlflow/store/artifact/s3_artifact_repo.py)."""
    session = boto3.session.Session(botocore_session=_session())
    signature: Any = os.environ.get("MLFLOW_EXPERIMENTAL_S3_SIGNATURE_VERSION", "s3v4")
    client = session.client(
        "s3",
        endpoint_url=endpoint,
        verify=False if _is_true("MLFLOW_S3_IGNORE_TLS") else None,
        config=Config(
            signature_version=UNSIGNED if signature.lower() == "unsigned" else signature,
            s3={
                "addressing_style": os.environ.get("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE") or "auto"
            },
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            max_pool_connections=PARALLEL,
        ),
    )
    if credentials := session.get_credentials():
        keep_secret(credentials.secret_key, credentials.token)
    return client


def _session() -> botocore.session.Session:
    """Return a session that does not parse times in Python, which is two thirds of the work of a listing."""
    session = botocore.session.get_session()
    factory = session.get_component("response_parser_factory")
    factory.set_parser_defaults(timestamp_parser=_time)
    return session


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except (AttributeError, ValueError):  # of a header, or a number
        found: datetime = parse_timestamp(text)
        return found


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in {"true", "1"}


def _code(error: Any) -> str:
    return str(error.response["Error"].get("Code", "an error without a code"))


def _text(code: str, message: str) -> str:
    return f"{code}. {message}".strip()
