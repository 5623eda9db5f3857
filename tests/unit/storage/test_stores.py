"""URIs of artifact locations lead to the place where MLflow puts the files, or to an error."""

from __future__ import annotations

import builtins
import sys
from typing import TYPE_CHECKING

import pytest

from mlflow_gc.storage import stores
from mlflow_gc.storage.interface import StoreError
from mlflow_gc.storage.stores import ArtifactStores

if TYPE_CHECKING:
    from pathlib import Path


class Fake:
    def __init__(self, *name: str) -> None:
        self.uri = "://".join(name)


@pytest.fixture(autouse=True)
def _no_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_cloud", Fake)


@pytest.mark.parametrize(
    ("uri", "store", "folder"),
    [
        ("/data/mlruns/1", "/", "data/mlruns/1"),
        ("/data//mlruns/./1/", "/", "data/mlruns/1"),
        ("file:///data/mlruns/1", "/", "data/mlruns/1"),
        ("file:/data/1", "/", "data/1"),
        ("file://localhost/data/1", "/", "data/1"),
        ("FILE:///data/1", "/", "data/1"),
        ("file:///a%20b", "/", "a b"),
        ("s3://bucket", "s3://bucket", ""),
        ("s3://bucket/", "s3://bucket", ""),
        ("s3://bucket/root/1", "s3://bucket", "root/1"),
        ("s3://bucket/root/", "s3://bucket", "root"),
        ("S3://bucket/root", "s3://bucket", "root"),
        ("s3a://bucket/root", "s3://bucket", "root"),
        ("s3://bucket//root//1", "s3://bucket", "/root//1"),
        ("s3://bucket/a%20b", "s3://bucket", "a%20b"),
        ("s3://bucket/a b+c", "s3://bucket", "a b+c"),
        ("gs://bucket/root", "gs://bucket", "root"),
        ("wasbs://c@a.blob.core.windows.net/r", "wasbs://c@a.blob.core.windows.net", "r"),
        ("abfss://c@a.dfs.core.windows.net/r", "abfss://c@a.dfs.core.windows.net", "r"),
    ],
)
def test_a_place(uri: str, store: str, folder: str) -> None:
    found = ArtifactStores().find(uri)
    assert (found.store.uri, found.folder) == (store, folder)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("dbfs:/a/b", "not a store that mlflow-gc can read"),
        ("hdfs://host/a", "not a store that mlflow-gc can read"),
        ("ftp://user:secretly@host/a", "not a store that mlflow-gc can read"),
        ("s3://user:secretly@bucket/a", "not a store that mlflow-gc can read"),
        ("http://host/api/2.0/mlflow-artifacts/artifacts/1", "not a store that mlflow-gc can read"),
        ("C:/data", "not a store that mlflow-gc can read"),
        ("s3:///root", "not a store that mlflow-gc can read"),
        ("s3://bucket/a?versionId=1", "continues after its path"),
        ("s3://bucket/a#b", "continues after its path"),
        ("s3://bucket/x/../y", "contains '..'"),
        ("s3a://bucket//x/../y", "contains '..'"),
        ("/data/../etc", "contains '..'"),
        ("file:///data/%2e%2e/etc", "contains '..'"),
        ("/", "contains an empty segment"),
        ("file:///", "contains an empty segment"),
        ("/data/\0", "contains a NUL"),
        ("mlruns/1", "not an absolute path"),
        ("./mlruns", "not an absolute path"),
        ("", "not an absolute path"),
        ("file://host/data", "machine 'host'"),
        ("mlflow-artifacts:/1/x", "behind the tracking server"),
    ],
)
def test_no_place(uri: str, message: str) -> None:
    with pytest.raises(StoreError) as caught:
        ArtifactStores().find(uri)
    assert message in caught.value.message
    assert "secretly" not in caught.value.message


def test_each_bucket_is_opened_once() -> None:
    found = ArtifactStores()
    first = found.find("s3://bucket/a").store
    assert found.find("s3a://bucket/b").store is first
    assert found.find("s3://other/b").store is not first
    assert found.find("gs://bucket/b").store is not first


@pytest.mark.parametrize(
    "uri",
    ["mlflow-artifacts:/7/x", "mlflow-artifacts://host:5000/7/x", "mlflow-artifacts:///7//x/"],
)
def test_files_behind_a_server(uri: str, tmp_path: Path) -> None:
    server = Fake("server")
    assert ArtifactStores(server=server).find(uri) == (server, "7/x")
    there = ArtifactStores(server=server, artifacts_destination="s3://bucket/root/").find(uri)
    assert (there.store.uri, there.folder) == ("s3://bucket", "root/7/x")
    whole = ArtifactStores(artifacts_destination="s3://bucket").find(uri)
    assert whole.folder == "7/x"
    here = ArtifactStores(artifacts_destination=str(tmp_path)).find(uri)
    assert (here.store.uri, f"/{here.folder}") == ("/", f"{tmp_path.resolve()}/7/x")


@pytest.mark.parametrize("uri", ["mlflow-artifacts:/7/../8", "mlflow-artifacts:/7/./8"])
def test_odd_paths_behind_a_server(uri: str) -> None:
    with pytest.raises(StoreError, match="contains"):
        ArtifactStores(server=Fake("server")).find(uri)


def test_a_destination_is_what_its_links_lead_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "artifacts").symlink_to("disk")
    monkeypatch.chdir(tmp_path)
    for destination in ("./artifacts", str(tmp_path / "artifacts"), f"file://{tmp_path}/artifacts"):
        found = ArtifactStores(artifacts_destination=destination).find("mlflow-artifacts:/1")
        assert f"/{found.folder}" == str((tmp_path / "disk" / "1").resolve())
        assert found.store.linked_parent(found.folder) is None


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.delitem(sys.modules, "mlflow_gc.storage.s3", raising=False)
    original = builtins.__import__

    def without(name: str, *args: object, **more: object) -> object:
        if name.startswith("boto3"):
            raise ModuleNotFoundError("No module named 'boto3'", name="boto3")
        return original(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StoreError, match="package boto3 is not installed") as caught:
        ArtifactStores().find("s3://bucket/a")
    assert caught.value.hint == "pip install 'mlflow-gc[s3]'"


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.undo()
    for name in ("CONNECTION_STRING", "ACCESS_KEY", "SAS_TOKEN"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
    return monkeypatch


def test_a_data_lake_is_read_as_blobs(azure: pytest.MonkeyPatch) -> None:
    azure.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2024&sig=very%2Fsecret")
    found = ArtifactStores().find("abfss://lake@account.dfs.core.windows.net/root/1")
    assert found.store.uri == "abfss://lake@account.dfs.core.windows.net"
    assert found.folder == "root/1"
    url = found.store._container.url
    assert url.startswith("https://account.blob.core.windows.net/lake?")
    assert StoreError(f"no {url}").message.count("very") == 0


def test_a_key_is_of_the_account_in_the_uri(azure: pytest.MonkeyPatch) -> None:
    azure.setenv("AZURE_STORAGE_ACCESS_KEY", "c2VjcmV0LWtleS1vZi1henVyZQ==")
    found = ArtifactStores().find("wasbs://box@account.blob.core.chinacloudapi.cn")
    assert found.store._container.url == "https://account.blob.core.chinacloudapi.cn/box"


@pytest.mark.parametrize(
    ("uri", "connection", "message"),
    [
        ("wasbs://account.blob.core.windows.net/root", None, "names no container"),
        ("wasbs://box@account/root", None, "names no container"),
        ("wasbs://box@a.blob.core.windows.net/r", "AccountKey=hush-hush;x", "cannot be used"),
    ],
)
def test_settings_of_azure_that_cannot_be_used(
    azure: pytest.MonkeyPatch, uri: str, connection: str | None, message: str
) -> None:
    if connection:
        azure.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
    with pytest.raises(StoreError, match=message) as caught:
        ArtifactStores().find(uri)
    assert "hush" not in caught.value.message
