"""``usage`` on every kind of artifact store: what it promises is what the store lists less later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import object_stores as real

from integration.test_artifact_stores import (  # noqa: F401 - fixtures
    _impatience,
    azurite,
    fake_gcs,
    moto,
    open_estate,
)
from integration.test_purge_on_stores import Stored, stored  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from support.cli import Outcome

DEEP = pytest.mark.deep
SIZES = (1, 1_000, 70_000)


def _put(at: Stored, experiment: str, *, deleted: float | None) -> dict[str, int]:
    """Make a run with files of several sizes; return them by path."""
    run = at.run(experiment, deleted=deleted)
    files = {f"{experiment}/{run}/artifacts/f{size}/a b": size for size in SIZES}
    for path, size in files.items():
        at.estate.put(path, content=b"x" * size)
    return files


def _usage(at: Stored) -> Any:
    trash, estate = at.trash, at.estate
    options = ["--tracking-uri", trash.world.uri, "--backend-store-uri", trash.database_uri]
    outcome: Outcome = trash.bench.cli(
        "usage", "--format", "json", "--artifacts-destination", estate.uri, *options,
        env=estate.settings,
    )  # fmt: skip
    return outcome.expect(0).json()


@pytest.mark.parametrize(
    "stored", ["s3", *(pytest.param(kind, marks=DEEP) for kind in ("gcs", "azure"))], indirect=True
)
def test_promised_bytes_are_those_that_the_store_no_longer_lists(stored: Stored) -> None:  # noqa: F811
    experiment = stored.trash.world.experiment()
    files: dict[str, int] = {}
    for deleted in (100, 100, 3, None):  # days; a run of three days is too young
        files |= _put(stored, experiment, deleted=deleted)
    left = f"{experiment}/{'f' * 32}/artifacts/left"
    stored.estate.put(left, "elsewhere/notes")
    files |= {left: 5, "elsewhere/notes": 5}
    assert stored.estate.paths() == files.keys()
    before = _usage(stored)
    assert before["complete"]
    assert before["totals"]["files"] == len(files)
    assert before["totals"]["file_bytes"] == sum(files.values())
    rows = {(row["kind"], row["stage"]): row for row in before["rows"]}
    assert rows["file", "orphaned"]["file_bytes"] == 5
    assert rows["file", "unknown"]["file_bytes"] == 5
    trash = rows["run", "trash"]
    assert trash["file_bytes"] == 3 * sum(SIZES)
    stored.purge(stored.report())
    there = stored.estate.paths()
    gone = sum(size for path, size in files.items() if path not in there)
    assert trash["freed_at_once_bytes"] == gone == 2 * sum(SIZES)
    after = _usage(stored)
    assert after["totals"]["file_bytes"] == sum(files[path] for path in there)


@pytest.mark.parametrize("stored", ["s3", pytest.param("gcs", marks=DEEP)], indirect=True)
def test_a_store_that_keeps_versions_frees_later(stored: Stored) -> None:  # noqa: F811
    _put(stored, stored.trash.world.experiment(), deleted=100)
    if isinstance(stored.estate, real.S3):
        versioning = {"Status": "Enabled"}
        bucket = stored.estate.bucket
        stored.estate.client.put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration=versioning
        )
    else:
        assert isinstance(stored.estate, real.Gcs)
        stored.estate.keep_versions()
    found = _usage(stored)
    (trash,) = (r for r in found["rows"] if (r["kind"], r["stage"]) == ("run", "trash"))
    assert trash["freed_at_once_bytes"] == 0
    assert trash["freed_later_bytes"] >= sum(SIZES)
    assert "keeps_versions" in {d["code"] for d in found["diagnostics"]}


@pytest.mark.parametrize("stored", ["s3"], indirect=True)
def test_a_store_that_refuses_is_said_and_the_database_is_shown(stored: Stored) -> None:  # noqa: F811
    _put(stored, stored.trash.world.experiment(), deleted=100)
    stored.estate.settings["MLFLOW_S3_ENDPOINT_URL"] = "http://127.0.0.1:9"
    found = _usage(stored)
    assert not found["complete"]
    assert not found["files_measured"]
    assert found["totals"]["rows"] > 0
    assert "very-secret-key" not in str(found)
