"""Local files: what lies behind a symbolic link is never deleted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.trash import make_unreadable

from mlflow_gc.storage import local
from mlflow_gc.storage.interface import StoreError, UnreadableFolders
from mlflow_gc.storage.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterator

STORE = LocalStore()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run with a file, beside a disk with one."""
    root = tmp_path.resolve()
    for folder in ("run/artifacts/model", "disk"):
        (root / folder).mkdir(parents=True)
        (root / folder / "file").write_bytes(b"12345")
    return root


def name(path: Path) -> str:
    return str(path)[1:]


def listed(folder: Path) -> dict[str, int]:
    return {file.path: file.size_bytes for chunk in STORE.files(name(folder)) for file in chunk}


def test_a_link_inside_is_a_file_of_its_own(root: Path) -> None:
    artifacts = root / "run" / "artifacts"
    (artifacts / "to-file").symlink_to(root / "disk" / "file")
    (artifacts / "to-folder").symlink_to(root / "disk")
    (artifacts / "to-nothing").symlink_to(root / "nothing")
    links = {name(artifacts / f"to-{what}"): 0 for what in ("file", "folder", "nothing")}
    found = listed(artifacts)
    assert found == {name(artifacts / "model" / "file"): 5, **links}
    assert STORE.linked_parent(name(artifacts)) is None
    assert STORE.delete(list(found)) == {}
    STORE.delete_empty_folders(name(artifacts))
    assert not artifacts.exists()
    assert (root / "disk" / "file").read_bytes() == b"12345"


@pytest.mark.parametrize("linked", ["run/artifacts", "run"])
def test_what_is_behind_a_link_is_listed_and_not_deleted(root: Path, linked: str) -> None:
    artifacts = root / "run" / "artifacts"
    moved = root / "disk" / "moved"
    (root / linked).rename(moved)
    (root / linked).symlink_to(moved)
    assert STORE.linked_parent(name(artifacts)) == str(root / linked)
    found = listed(artifacts)
    assert found == {name(artifacts / "model" / "file"): 5}
    errors = STORE.delete(list(found))
    assert errors.keys() == found.keys()
    assert "symbolic link" in next(iter(errors.values()))
    (artifacts / "model" / "file").unlink()
    STORE.delete_empty_folders(name(artifacts))
    assert (artifacts / "model").is_dir()


def test_a_link_that_appears_after_the_listing_is_not_followed(root: Path) -> None:
    model = root / "run" / "artifacts" / "model"
    found = list(listed(root / "run"))
    model.rename(root / "elsewhere")
    model.symlink_to(root / "disk")
    assert STORE.delete(found).keys() == set(found)
    assert (root / "disk" / "file").exists()


def test_a_link_beside_other_folders_is_not_followed(root: Path) -> None:
    """Folders stay open for their neighbours; none is taken for another one."""
    artifacts = root / "run" / "artifacts"
    for folder in ("a/deep", "c/deep", "disk/deep"):
        (root / folder).mkdir(parents=True)
        (root / folder / "file").touch()
    (root / "b").symlink_to(root / "disk")
    files = [name(root / each / "deep" / "file") for each in "abc"]
    files.append(name(artifacts / "model" / "file"))
    assert STORE.delete(files).keys() == {files[1]}
    assert (root / "disk" / "deep" / "file").exists()
    assert not [path for path in (*files[::2], files[3]) if Path("/", path).exists()]
    (root / "disk" / "deep" / "file").unlink()
    STORE.delete_empty_folders(*(name(root / each) for each in ("b", "a", "none", "c")))
    assert {path.name for path in root.iterdir()} == {"run", "disk", "b"}
    assert (root / "disk" / "deep").is_dir()


def test_folders_that_are_not_empty_stay(root: Path) -> None:
    (root / "run" / "artifacts" / "empty" / "deeper").mkdir(parents=True)
    STORE.delete_empty_folders(name(root / "run"))
    assert not (root / "run" / "artifacts" / "empty").exists()
    assert (root / "run" / "artifacts" / "model" / "file").exists()


def test_a_folder_is_not_deleted_as_a_file(root: Path) -> None:
    folder = name(root / "run" / "artifacts")
    assert STORE.delete([folder, name(root / "none" / "file")]).keys() == {folder}
    assert (root / "run" / "artifacts" / "model" / "file").exists()


def test_many_files_come_in_chunks(root: Path) -> None:
    for number in range(2_005):
        (root / "disk" / str(number)).touch()
    chunks = list(STORE.files(name(root / "disk")))
    assert [len(chunk) for chunk in chunks] == [1000, 1000, 6]
    assert not STORE.delete([file.path for chunk in chunks for file in chunk])
    assert not STORE.is_there(name(root / "disk"))


def test_times_and_names_are_those_of_the_disk(root: Path) -> None:
    odd = os.fsdecode(b"\xff\n")
    (root / "disk" / odd).touch()
    os.utime(root / "disk" / odd, ns=(0, 1_700_000_000_123_456_789))
    files = {file.path: file for chunk in STORE.files(name(root / "disk")) for file in chunk}
    assert files[f"{name(root / 'disk')}/{odd}"].modified_ms == 1_700_000_000_123
    assert STORE.delete(list(files)) == {}


def test_the_top_of_a_file_system_may_be_where_experiments_are_located() -> None:
    """``file:///mlruns`` is the location of one: what is below it is looked for, never all of it listed."""
    assert STORE.is_there("")
    assert not STORE.notes("").keeps_versions
    with pytest.raises(StoreError):
        next(STORE.files(""))


def test_what_can_be_read_is_listed_beside_what_cannot(root: Path) -> None:
    for run in ("bad", "good"):
        (root / run).mkdir()
        (root / run / "file").touch()
    make_unreadable(root / "bad" / "deep")
    bad, good = name(root / "bad"), name(root / "good")
    found = []
    with pytest.raises(UnreadableFolders, match="too long") as raised:
        found.extend(STORE.files_of([bad, good]))
    assert [(folder, [f.path for f in files]) for folder, files in found] == [
        (good, [f"{good}/file"])
    ]
    assert raised.value.folders.keys() == {bad}
    chunks = []
    with pytest.raises(UnreadableFolders):
        chunks.extend(STORE.files(name(root)))
    assert {f"{bad}/file", f"{good}/file"} <= {file.path for chunk in chunks for file in chunk}


def test_a_folder_that_cannot_be_read_is_an_error(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root, permissions refuse nothing."""

    def refuse(path: str) -> Iterator[None]:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(local.os, "scandir", refuse)
    for ask in (lambda: listed(root / "run"), lambda: STORE.is_there(name(root / "run"))):
        with pytest.raises(StoreError, match="cannot be read: Permission denied"):
            ask()
