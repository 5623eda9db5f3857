"""Every kind of artifact store: exactly the files below a folder are listed and deleted."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import object_stores as real
from support.proxy import FORBIDDEN, HTML, Fault, Proxy

from mlflow_gc.backend.rest.artifacts import ServerArtifacts
from mlflow_gc.backend.rest.connections import open_session
from mlflow_gc.backend.rest.http_client import HttpClient
from mlflow_gc.backend.rest.mlflow_api import MlflowApi
from mlflow_gc.storage import azure, gcs, s3
from mlflow_gc.storage.interface import Store, StoreError
from mlflow_gc.storage.object_store import ms
from mlflow_gc.storage.stores import ArtifactStores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow_gc.demo.server import LocalServer

KINDS = ("local", "s3", "gcs", "azure", "server")
RUN = "0123456789abcdef0123456789abcdef"
SIBLINGS = {
    f"1/{RUN}/artifacts/model/MLmodel",
    f"1/{RUN}/artifacts/a.txt",
    f"1/{RUN}2/artifacts/a.txt",
    f"1/{RUN}.bak/a.txt",
    "10/a.txt",
    "1.bak/a.txt",
    "1 /a.txt",
    "2/a.txt",
}
# Below the folder "odd".
ODD = {
    "a b",
    "a%2Fb",
    "a%20b",
    "ä/ö€𝄞",
    "a+b",
    "a&b=c",
    "a'b\"c",
    "~",
    "!",
    "a~b",
    "x;y",
    "[z]",
    "*",
}
ODD_KEYS = {"a//b", "a/./b", "./c", "/d", "e/", "a\u3000b"}
PAGE = Fault(
    "an XHTML page with 200", status=200, body=b"<html><body/></html>", content_type="text/html"
)
HTML_PAGE = Fault("an HTML page with 200", status=200, body=HTML, content_type="text/html")
OBJECT = Fault("another JSON object", status=200, body=b"{}")
EMPTY = Fault("an empty 200", status=200, content_type="application/xml")
BROKEN = Fault("500 without more", status=500, body=b"oops", content_type="text/plain")
TOO_LATE = Fault("an answer later than the client waits", outlast=True)


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Proxy]]:
    with real.moto(tmp_path_factory.mktemp("moto")) as uri, Proxy(uri) as before:
        yield uri, before


@pytest.fixture(scope="session")
def fake_gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Proxy]]:
    with real.fake_gcs(tmp_path_factory.mktemp("gcs")) as uri:
        upstream = uri.removesuffix("/storage/v1/b")
        with Proxy(upstream) as before:
            yield upstream, before


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Proxy]]:
    with real.azurite(tmp_path_factory.mktemp("azurite")) as uri, Proxy(uri) as before:
        yield uri, before


def open_estate(kind: str, request: pytest.FixtureRequest, folder: Path) -> real.Estate:
    if kind == "local":
        return real.Local(folder)
    if kind == "server":
        server: LocalServer = request.getfixturevalue("server")
        return real.Proxied(server.directory / "artifacts", request.getfixturevalue("proxy"))
    name, made = {
        "s3": ("moto", real.S3),
        "gcs": ("fake_gcs", real.Gcs),
        "azure": ("azurite", real.Azure),
    }[kind]
    upstream, before = request.getfixturevalue(name)
    before.forget()
    return made(upstream, before)


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pages, and short waits for a store that does not answer."""
    for store in (s3.S3Store, gcs.GcsStore, azure.AzureStore):
        monkeypatch.setattr(store, "page", 3)
    monkeypatch.setattr(azure, "RETRIES", 0)
    monkeypatch.setattr(gcs, "RETRY_S", 0.5)
    for variable in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(variable)


@pytest.fixture(params=KINDS)
def estate(request: pytest.FixtureRequest, tmp_path: Path) -> real.Estate:
    return open_estate(request.param, request, tmp_path)


@pytest.fixture
def s3_estate(request: pytest.FixtureRequest, tmp_path: Path) -> real.S3:
    found = open_estate("s3", request, tmp_path)
    assert isinstance(found, real.S3)
    return found


class Opened:
    """The program's view of an estate, by paths below its artifact root."""

    def __init__(self, estate: real.Estate, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in estate.settings.items():
            monkeypatch.setenv(name, value)
        server: Store | None = None
        if isinstance(estate, real.Proxied):
            assert estate.proxy
            open_session(4)
            client = HttpClient(
                estate.proxy.uri,
                None,
                slots=threading.BoundedSemaphore(4),
                stopped=threading.Event(),
            )
            server = ServerArtifacts(MlflowApi(client, None), 4)
        self.store, self.root = ArtifactStores(server=server).find(estate.uri)

    def folder(self, path: str) -> str:
        return f"{self.root}/{path}"

    def files(self, path: str) -> dict[str, int]:
        chunks = list(self.store.files(self.folder(path)))
        assert all(chunks)
        found = [file for chunk in chunks for file in chunk]
        assert len({file.path for file in found}) == len(found)
        return {file.path.removeprefix(f"{self.root}/"): file.size_bytes for file in found}

    def delete(self, *paths: str) -> dict[str, str]:
        said = self.store.delete([self.folder(path) for path in paths])
        return {path.removeprefix(f"{self.root}/"): why for path, why in said.items()}


@pytest.fixture
def opened(estate: real.Estate, monkeypatch: pytest.MonkeyPatch) -> Opened:
    return Opened(estate, monkeypatch)


def test_a_folder_contains_nothing_of_its_siblings(estate: real.Estate, opened: Opened) -> None:
    estate.put(*SIBLINGS)
    for folder in ("1", "10", "1.bak", f"1/{RUN}", f"1/{RUN}2", f"1/{RUN}/artifacts", "1 "):
        expected = {path: 5 for path in SIBLINGS if path.startswith(f"{folder}/")}
        assert opened.files(folder) == expected
        assert opened.store.is_there(opened.folder(folder))
    assert not opened.delete(*opened.files(f"1/{RUN}"))
    assert estate.paths() == {path for path in SIBLINGS if not path.startswith(f"1/{RUN}/")}


def test_the_time_of_a_file_is_that_of_its_store(estate: real.Estate, opened: Opened) -> None:
    began = time.time()
    estate.put("1/a")
    [[file]] = opened.store.files(opened.folder("1"))
    if isinstance(estate, real.Proxied):
        assert file.modified_ms is None
    else:
        assert file.modified_ms is not None
        # S3 and Azure have whole seconds.
        assert began - 1.1 <= file.modified_ms / 1000 <= time.time() + 0.1


def test_many_folders_are_listed_at_once(estate: real.Estate, opened: Opened) -> None:
    estate.put(*SIBLINGS)
    folders = ["2", "1", "none", f"1/{RUN}", "10", f"1/{RUN}2/artifacts", "1.bak", "2"]
    found = list(opened.store.files_of([opened.folder(folder) for folder in folders]))
    assert [folder for folder, _ in found] == [opened.folder(f) for f in dict.fromkeys(folders)]
    for folder, files in found:
        assert {f.path for f in files} == {
            opened.folder(path) for path in SIBLINGS if opened.folder(path).startswith(f"{folder}/")
        }


def test_odd_names_are_listed_and_deleted(estate: real.Estate, opened: Opened) -> None:
    odd = {f"odd/{name}" for name in ODD | (ODD_KEYS if estate.is_literal else {"a\nb"})}
    if isinstance(estate, real.Azure):
        odd -= {"odd/a/./b", "odd/./c"}  # its client would make other names of these
    estate.put(*odd, "odd2/a b")
    assert opened.files("odd").keys() == odd
    refused = opened.delete(*odd)
    # The server would make other names of these.
    unclear = {"odd/a%2Fb", "odd/a%20b", "odd/a\nb", "odd/x;y"}
    expected = unclear if isinstance(estate, real.Proxied) else set()
    assert refused.keys() == expected
    assert estate.paths() == {*expected, "odd2/a b"}
    assert not isinstance(estate, real.Azure) or opened.delete("a/./b", "./c").keys() == {
        "a/./b",
        "./c",
    }


def test_paths_that_mean_other_files_are_not_sent(estate: real.Estate, opened: Opened) -> None:
    estate.put("1/a", "2/a")
    bad = ["..", "1/../2/a", "../root/2/a", "1/\0", "", "."]
    for folder in ["1/..", "..", "1/../2", "1/\0"]:
        with pytest.raises(StoreError, match="contains"):
            list(opened.store.files(folder))
        with pytest.raises(StoreError, match="contains"):
            opened.store.is_there(folder)
        with pytest.raises(StoreError, match="contains"):
            list(opened.store.files_of(["1", folder]))
    requests = len(estate.proxy.seen) if estate.proxy else 0
    said = opened.store.delete([path for path in bad if path != "." or not estate.is_literal])
    assert said.keys() >= {"..", "1/../2/a", "../root/2/a", "1/\0", ""}
    assert estate.proxy is None or len(estate.proxy.seen) == requests
    assert estate.paths() == {"1/a", "2/a"}


def test_what_is_gone_is_no_error(estate: real.Estate, opened: Opened) -> None:
    estate.put("1/a", "1/b", "2/a")
    assert opened.files("none") == {}
    assert not opened.store.is_there(opened.folder("none"))
    assert opened.delete("none/a", "1/none", "1/a", "1/a") == {}
    # Once more, after it ended halfway.
    assert opened.delete("1/a", "1/b") == {}
    assert estate.paths() == {"2/a"}
    opened.store.delete_empty_folders(opened.folder("1"))
    opened.store.delete_empty_folders(opened.folder("none"))
    opened.store.delete_empty_folders(opened.folder("2"))
    assert estate.paths() == {"2/a"}


@pytest.mark.parametrize(
    "fault",
    [PAGE, HTML_PAGE, OBJECT, EMPTY, BROKEN, FORBIDDEN, TOO_LATE],
    ids=str,
)
def test_a_store_that_answers_nonsense_is_an_error(
    estate: real.Estate,
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if estate.proxy is None:
        pytest.skip("the disk sends no answers")
    if isinstance(estate, real.Proxied) and fault is OBJECT:
        pytest.skip("that is how a server says that there are no files")
    estate.put("1/a")
    if fault is TOO_LATE:
        for module in (azure, gcs, s3):
            monkeypatch.setattr(module, "READ_S", 0.3)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    opened = Opened(estate, monkeypatch)
    estate.proxy.fail("GET", "", fault, times=float("inf"))
    asks = (
        lambda: opened.files("1"),
        lambda: opened.store.is_there(opened.folder("1")),
        lambda: list(opened.store.files_of([opened.folder("1"), opened.folder("2")])),
    )
    for ask in asks[: 1 if fault is TOO_LATE else 3]:
        with pytest.raises(StoreError) as caught:
            ask()
        assert caught.value.hint
        assert "KeyError" not in caught.value.message
        assert "very-secret" not in f"{caught.value.message} {caught.value.hint}"
        assert "Eby8vdM0" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("kind", ["s3", "gcs", "azure"])
def test_a_missing_bucket_is_an_error_and_not_empty(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estate = open_estate(kind, request, tmp_path)
    estate.uri = estate.uri.replace("bucket-", "missing-").replace("container-", "missing-")
    opened = Opened(estate, monkeypatch)
    for ask in (
        lambda: opened.files("1"),
        lambda: opened.store.is_there(opened.folder("1")),
        lambda: opened.delete("1/a"),
    ):
        with pytest.raises(StoreError, match=r"There is no (bucket|container)"):
            ask()
    assert estate.proxy
    estate.proxy.fail("POST", "", Fault("no batches", status=501), times=9)
    with pytest.raises(StoreError):
        opened.delete("1/a")


# -- S3 ------------------------------------------------------------------------------------------


def refusing(*keys: str, carried_out: bool = False) -> Fault:
    """Let a deletion answer 200 with an error for some keys, and without a word on the others."""
    errors = "".join(
        f"<Error><Key>{key}</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        for key in keys
    )
    body = f"<DeleteResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>{errors}</DeleteResult>"
    kind = "application/xml"
    return Fault("refused", 200, body.encode(), content_type=kind, carried_out=carried_out)


@pytest.mark.parametrize("kind", ["local", "s3", pytest.param("gcs", marks=pytest.mark.deep)])
def test_more_files_than_one_page_of_a_real_store(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3.S3Store, "page", 1000)
    monkeypatch.setattr(gcs.GcsStore, "page", 1000)
    estate = open_estate(kind, request, tmp_path)
    opened = Opened(estate, monkeypatch)
    many = {f"1/{number:04}" for number in range(1_005)}
    estate.put(*many, "1.bak/a", "10/a")
    assert opened.files("1").keys() == many
    assert len(list(opened.store.files(opened.folder("1")))) == 2
    assert opened.delete(*many) == {}
    assert estate.paths() == {"1.bak/a", "10/a"}


@pytest.mark.parametrize(
    "text",
    [
        "2026-04-01T12:30:00.000Z",
        "2026-04-01T14:30:00+02:00",
        "Wed, 01 Apr 2026 12:30:00 GMT",
        "1775046600",
        1775046600,
    ],
)
def test_s3_times_in_each_format_of_the_protocol(text: Any) -> None:
    assert ms(s3._time(text)) == 1_775_046_600_000


def test_each_key_that_s3_refuses_has_its_error(
    s3_estate: real.S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_estate.put("1/a", "1/b", "1/c", "2/a")
    opened = Opened(s3_estate, monkeypatch)
    assert s3_estate.proxy
    s3_estate.proxy.fail("POST", "", refusing("root/1/b"))
    errors = opened.delete("1/a", "1/b", "1/c")
    assert errors.keys() == {"1/a", "1/b", "1/c"}
    assert "AccessDenied" in errors["1/b"]
    assert "lists the file still" in errors["1/a"]
    # What is gone all the same is no error.
    s3_estate.proxy.fail("POST", "", refusing("root/1/b", carried_out=True))
    assert opened.delete("1/a", "1/b", "1/c") == {}
    assert s3_estate.paths() == {"2/a"}


def test_a_store_without_batches_is_sent_one_key_after_the_other(
    s3_estate: real.S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_estate.put("1/a", "1/b", "1/c")
    opened = Opened(s3_estate, monkeypatch)
    assert s3_estate.proxy
    body = b"<Error><Code>NotImplemented</Code><Message>no</Message></Error>"
    s3_estate.proxy.fail("POST", "", Fault("no batches", status=501, body=body), times=9)
    assert opened.delete("1/a", "1/b") == {}
    assert s3_estate.paths() == {"1/c"}


def test_keys_that_xml_cannot_hold_are_sent_alone(
    s3_estate: real.S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_estate.put("1/a", "1/b\u3000")
    opened = Opened(s3_estate, monkeypatch)
    assert opened.delete("1/a", "1/b\u3000") == {}
    assert s3_estate.proxy
    assert len(s3_estate.proxy.requests("POST", "")) == 1
    assert len(s3_estate.proxy.requests("DELETE", "b%E3%80%80$")) == 1
    assert s3_estate.paths() == set()


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        (403, "AccessDenied", "s3:DeleteObject"),
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "AWS_ACCESS_KEY_ID"),
        (301, "PermanentRedirect", "AWS_DEFAULT_REGION"),
        (503, "SlowDown", "MLFLOW_S3_ENDPOINT_URL"),
    ],
)
def test_nothing_is_deleted_without_the_right(
    s3_estate: real.S3, monkeypatch: pytest.MonkeyPatch, status: int, code: str, word: str
) -> None:
    s3_estate.put("1/a")
    opened = Opened(s3_estate, monkeypatch)
    body = f"<Error><Code>{code}</Code><Message>for very-secret-key</Message></Error>".encode()
    assert s3_estate.proxy
    s3_estate.proxy.fail("POST", "", Fault(code, status=status, body=body), times=9)
    with pytest.raises(StoreError, match=code) as caught:
        opened.delete("1/a")
    assert word in str(caught.value.hint)
    assert "very-secret-key" not in caught.value.message
    assert s3_estate.paths() == {"1/a"}


def test_nobody_answers(s3_estate: real.S3, monkeypatch: pytest.MonkeyPatch) -> None:
    s3_estate.settings["MLFLOW_S3_ENDPOINT_URL"] = "http://me:secretly@127.0.0.1:9"
    opened = Opened(s3_estate, monkeypatch)
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        opened.files("1")
    assert "secretly" not in caught.value.message


def test_no_login(s3_estate: real.S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del s3_estate.settings[name]
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/none")
    opened = Opened(s3_estate, monkeypatch)
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        opened.files("1")
    assert "AWS_ACCESS_KEY_ID" in str(caught.value.hint)


def test_many_folders_cost_few_requests(
    s3_estate: real.S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [f"1/{number:032x}/artifacts" for number in range(12)]
    s3_estate.put(*(f"{folder}/{name}" for folder in folders for name in "ab"))
    opened = Opened(s3_estate, monkeypatch)
    assert s3_estate.proxy
    for chosen in (folders, folders[::4], folders[-1:]):
        s3_estate.proxy.forget()
        found = list(opened.store.files_of([opened.folder(folder) for folder in chosen]))
        assert [len(files) for _, files in found] == [2] * len(chosen)
        assert len(s3_estate.proxy.seen) <= min(len(chosen), 8)


# -- what keeps the space ------------------------------------------------------------------------


def test_s3_keeps_versions_and_unfinished_uploads(
    s3_estate: real.S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(s3_estate, monkeypatch)
    notes = opened.store.notes(opened.folder("1"))
    assert (notes.keeps_versions, notes.unfinished_uploads, notes.unknown) == (False, 0, ())
    client, bucket = s3_estate.client, s3_estate.bucket
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for key in ("root/1/big", "root/10/big"):
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        for number in (1, 2):
            client.upload_part(
                Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=b"1234"
            )
    s3_estate.put("1/a")
    notes = opened.store.notes(opened.folder("1"))
    assert (notes.keeps_versions, notes.unfinished_uploads, notes.unfinished_bytes) == (True, 1, 8)
    # A delete marker is as good as gone.
    assert opened.delete("1/a") == {}
    assert opened.files("1") == {}
    assert len(client.list_object_versions(Bucket=bucket)["Versions"]) == 1


def test_s3_questions_that_are_not_allowed(
    s3_estate: real.S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(s3_estate, monkeypatch)
    body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    assert s3_estate.proxy
    s3_estate.proxy.fail("GET", "", Fault("no", status=403, body=body), times=9)
    notes = opened.store.notes(opened.folder("1"))
    assert len(notes.unknown) == 2
    assert not notes.keeps_versions


def test_gcs_keeps_versions(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estate = open_estate("gcs", request, tmp_path)
    assert isinstance(estate, real.Gcs)
    opened = Opened(estate, monkeypatch)
    assert not opened.store.notes(opened.root).keeps_versions
    estate.keep_versions()
    assert opened.store.notes(opened.root).keeps_versions
    assert estate.proxy
    estate.proxy.fail("GET", "", FORBIDDEN, times=9)
    assert opened.store.notes(opened.root).unknown


def test_azure_keeps_deleted_files_and_marks_folders(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estate = open_estate("azure", request, tmp_path)
    assert isinstance(estate, real.Azure)
    opened = Opened(estate, monkeypatch)
    estate.keep_deleted(days=None)
    assert not opened.store.notes(opened.root).keeps_versions
    estate.keep_deleted(days=3)
    assert opened.store.notes(opened.root).keeps_versions
    estate.keep_deleted(days=None)
    for folder in ("1", "1/deeper", "10"):
        estate.mark_folder(folder)
    estate.put("1/deeper/a", "10/a")
    assert opened.files("1") == {"1/deeper/a": 5}
    assert opened.delete("1/deeper/a") == {}
    opened.store.delete_empty_folders(opened.folder("1"))
    assert estate.paths() == {"10", "10/a"}


def test_azure_refuses_what_is_leased(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estate = open_estate("azure", request, tmp_path)
    assert isinstance(estate, real.Azure)
    opened = Opened(estate, monkeypatch)
    estate.put("1/a", "1/b")
    estate.lease("1/a")
    errors = opened.delete("1/a", "1/b", "1/none")
    assert errors.keys() == {"1/a"}
    assert "LeaseIdMissing" in errors["1/a"]
    # A store without batches refuses it, too.
    assert estate.proxy
    estate.proxy.fail("POST", "", Fault("no batches", status=501), times=9)
    assert "LeaseIdMissing" in opened.delete("1/a", "1/none")["1/a"]
    assert estate.paths() == {"1/a"}


# -- a server that passes files on ---------------------------------------------------------------


@pytest.fixture
def proxied(request: pytest.FixtureRequest, tmp_path: Path) -> real.Proxied:
    found = open_estate("server", request, tmp_path)
    assert isinstance(found, real.Proxied)
    return found


def test_nothing_right_below_the_artifact_root_is_deleted_over_a_server(
    proxied: real.Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(proxied, monkeypatch)
    proxied.put("1/a")
    assert proxied.proxy
    bad = ["1", "%2e", "%2e/a", "1/%2e%2e/2", ".", "", "a#b/c", "file:/x", "a?/b"]
    assert opened.store.delete(bad).keys() == set(bad)
    assert not proxied.proxy.requests("DELETE", "")
    assert proxied.paths() == {"1/a"}


def test_files_that_a_server_refuses_have_its_reason(
    proxied: real.Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(proxied, monkeypatch)
    proxied.put("1/a", "1/b")
    assert proxied.proxy
    proxied.proxy.fail("DELETE", "/a$", FORBIDDEN)
    errors = opened.delete("1/a", "1/b")
    assert errors.keys() == {"1/a"}
    assert "403" in errors["1/a"]
    proxied.proxy.fail("DELETE", "/a$", Fault("a lie", status=200, body=b"{}"))
    assert "lists the file still" in opened.delete("1/a")["1/a"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x"])
def test_a_server_that_lists_impossible_names(
    proxied: real.Proxied, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    opened = Opened(proxied, monkeypatch)
    body = f'{{"files": [{{"path": "{name}", "is_dir": true}}]}}'.encode()
    assert proxied.proxy
    proxied.proxy.fail("GET", "artifacts", Fault("odd", status=200, body=body), times=99)
    with pytest.raises(StoreError):
        opened.files("1")


def test_a_server_that_serves_no_artifacts_names_the_remedy(
    proxied: real.Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(proxied, monkeypatch)
    # As MLflow 3.17 sends it.
    body = (
        b"Endpoint: /api/2.0/mlflow-artifacts/artifacts disabled due to the mlflow server running "
        b"with `--no-serve-artifacts`. To enable artifacts server functionality, run `mlflow "
        b"server` with `--serve-artifacts`"
    )
    assert proxied.proxy
    proxied.proxy.fail("GET", "artifacts", Fault("off", 503, body, "text/html"), times=99)
    with pytest.raises(StoreError) as caught:
        opened.files("1")
    assert "--artifacts-destination" in str(caught.value.hint)
    assert len(proxied.proxy.requests("GET", "artifacts")) == 1
