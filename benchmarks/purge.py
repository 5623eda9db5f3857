"""Purging: rows and files of runs in the trash, against ``mlflow gc`` and bare bulk deletes.

    python benchmarks/purge.py [RUNS] [local|proxied|s3]      (default 2000, and all)

Each deletes the same number of runs (15 parameters, 10 metrics of 100 steps, 3 files) of one
PostgreSQL, one after the other in this one run: with local files, with local files that the server
passes on (as it does by default), and with files in S3 (moto).
Both programs start with an import of MLflow; so each deletes an eighth of as many runs, too, and
what the others took longer is their rate without that.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any

import boto3
import measure
import seeding
from support import object_stores

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
PLACES = sys.argv[2:] or ["local", "proxied", "s3"]
FILES = 3
FEW = RUNS // 8
PARTS = {"gc": RUNS, "purge": RUNS, "bulk": RUNS, "gc-few": FEW, "purge-few": FEW}
CONTENT = b"x" * 2_000


class Files(ABC):
    """Where the files are: a folder or bucket for each of the parts, so that all list as much."""

    title: str

    @abstractmethod
    def root(self, part: str) -> str:
        """The artifact root of the runs of one part."""

    @abstractmethod
    def put(self, uri: str) -> None:
        """Write the files of a run."""

    @abstractmethod
    def left(self, part: str) -> int:
        """The number of files in a part."""


class Local(Files):
    """A folder of this machine."""

    title = "local files"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def root(self, part: str) -> str:
        return str(self.folder / part)

    def put(self, uri: str) -> None:
        folder = Path(uri)
        folder.mkdir(parents=True)
        for number in range(FILES):
            (folder / f"{number}.bin").write_bytes(CONTENT)

    def left(self, part: str) -> int:
        return sum(path.is_file() for path in Path(self.root(part)).rglob("*"))


class Proxied(Local):
    """A folder of this machine from which the server passes files on."""

    title = "local files behind the server"

    def root(self, part: str) -> str:
        return f"mlflow-artifacts:/{part}"

    def put(self, uri: str) -> None:
        super().put(str(self.folder / uri.removeprefix("mlflow-artifacts:/")))

    def left(self, part: str) -> int:
        return sum(path.is_file() for path in (self.folder / part).rglob("*"))


class S3(Files):
    """A bucket of a moto server."""

    title = "files in S3 (moto)"

    def __init__(self) -> None:
        self._client: Any = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
        for part in PARTS:
            self._client.create_bucket(Bucket=f"part-{part}")

    def root(self, part: str) -> str:
        return f"s3://part-{part}/root"

    def put(self, uri: str) -> None:
        bucket, _, folder = uri.removeprefix("s3://").partition("/")
        for number in range(FILES):
            key = f"{folder}/{number}.bin"
            self._client.put_object(Bucket=bucket, Key=key, Body=CONTENT)

    def left(self, part: str) -> int:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=f"part-{part}")
        return sum(page["KeyCount"] for page in pages)


@contextlib.contextmanager
def local(directory: Path) -> Iterator[Files]:
    """A folder."""
    yield Local(directory / "artifacts")


@contextlib.contextmanager
def proxied(directory: Path) -> Iterator[Files]:
    """The folder of the server's artifacts."""
    yield Proxied(directory / "artifacts")


@contextlib.contextmanager
def s3(directory: Path) -> Iterator[Files]:
    """A server for S3, and the settings for it."""
    with object_stores.moto(directory) as uri:
        os.environ |= {
            "MLFLOW_S3_ENDPOINT_URL": uri,
            "AWS_ACCESS_KEY_ID": "access",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        yield S3()


PROVIDERS: dict[str, Callable[[Path], AbstractContextManager[Files]]] = {
    "local": local,
    "proxied": proxied,
    "s3": s3,
}


def main() -> None:
    print(measure.machine())
    for place in PLACES:
        with (
            tempfile.TemporaryDirectory() as name,
            PROVIDERS[place](Path(name)) as files,
            seeding.site(sum(PARTS.values()), "long", directory=Path(name)) as site,
        ):
            _compare(site, files, Path(name))


def _compare(site: seeding.Site, files: Files, directory: Path) -> None:
    ids = _put_files(site.database_uri, files)
    server = ("--tracking-uri", site.tracking_uri, "--backend-store-uri", site.database_uri)
    ours = (*server, "--artifacts-destination", str(directory / "artifacts"))

    def gc(part: str) -> measure.Cost:
        before = _count(site.database_uri)
        _delete(site.database_uri, ids, part, files)
        found = measure.run(sys.executable, "-m", "mlflow", "gc", *server)
        if found.code or _count(site.database_uri) != before - PARTS[part]:
            sys.exit(f"mlflow gc did not delete the runs ({found.code}): {found.out[-2000:]}")
        return found

    def report_and_purge(part: str) -> tuple[measure.Cost, measure.Cost]:
        plan = directory / f"{part}.json"
        _delete(site.database_uri, ids, part, files)
        report = ("report", "--trash", "--older-than", "30", "-q", "-o", str(plan), *ours)
        return measure.gc(*report), measure.gc("purge", str(plan), "-q", *ours)

    print(f"# {RUNS:,} runs, {files.title}", flush=True)
    collected = gc("gc")
    measure.row("mlflow gc", collected, RUNS)
    report, purge = report_and_purge("purge")
    measure.row("report --trash", report, RUNS)
    measure.row("purge PLAN", purge, RUNS, collected)
    _delete(site.database_uri, ids, "bulk", files)
    listed = directory / "ids"
    listed.write_text("\n".join(ids["bulk"]))
    bare = measure.script(
        "purge_bulk", site.database_uri, str(listed), str(directory / "artifacts")
    )
    measure.row("bulk deletes, without MLflow", bare, RUNS)
    few_collected, (_, few) = gc("gc-few"), report_and_purge("purge-few")
    measure.row(f"mlflow gc, {FEW:,} runs", few_collected, FEW)
    measure.row(f"purge PLAN, {FEW:,} runs", few, FEW)
    empty = measure.run(sys.executable, "-c", "import mlflow")
    measure.row("import mlflow", empty, 1)
    print(f"purge / mlflow gc: {collected.wall / purge.wall:.1f} times as fast")
    more, more_collected = purge.wall - few.wall, collected.wall - few_collected.wall
    rates = f"{(RUNS - FEW) / more:,.0f} and {(RUNS - FEW) / more_collected:,.0f} runs/s"
    print(f"for each further run: {more_collected / more:.1f} times as fast ({rates})")
    print(f"purge without what few runs take / bulk: {more / (RUNS - FEW) * RUNS / bare.wall:.2f}")
    print(f"memory above the import: {purge.peak_mb - empty.peak_mb:.0f} MB")
    print(f"# files left: {sum(files.left(part) for part in PARTS)}", flush=True)


def _put_files(database_uri: str, files: Files) -> dict[str, list[str]]:
    """Give each part of the runs its artifact root and files; return the ids by part."""
    with seeding.postgres.rows(database_uri) as cursor:
        cursor.execute("SELECT run_uuid FROM runs ORDER BY run_uuid")
        everything = iter([str(run_id) for (run_id,) in cursor.fetchall()])
        ids = {part: list(islice(everything, count)) for part, count in PARTS.items()}
        for part, of_part in ids.items():
            cursor.execute(
                "UPDATE runs SET artifact_uri = replace(artifact_uri, 'mlflow-artifacts:', %s)"
                " WHERE run_uuid = ANY(%s)",
                (files.root(part), of_part),
            )
        cursor.execute("SELECT artifact_uri FROM runs")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(files.put, (uri for (uri,) in cursor.fetchall())))
    return ids


def _count(database_uri: str) -> int:
    with seeding.postgres.rows(database_uri) as cursor:
        cursor.execute("SELECT count(*) FROM runs")
        return int(cursor.fetchone()[0])


def _delete(database_uri: str, ids: dict[str, list[str]], part: str, files: Files) -> None:
    """Move the runs of a part to the trash, long ago; their experiments have its artifact root."""
    with seeding.postgres.rows(database_uri) as cursor:
        cursor.execute(
            "UPDATE experiments SET artifact_location = %s || '/' || experiment_id"
            " WHERE experiment_id <> 0",
            (files.root(part),),
        )
        cursor.execute(
            "UPDATE runs SET lifecycle_stage = 'deleted', deleted_time = 1700000000000"
            " WHERE run_uuid = ANY(%s)",
            (ids[part],),
        )


if __name__ == "__main__":
    main()
