"""Purge on every kind of artifact store: exactly the planned files, and rows only with them."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass, replace
from queue import Queue
from typing import TYPE_CHECKING

import pytest
import requests
from support import depth
from support import object_stores as real
from support.durability import Snapshot
from support.plans import Plan
from support.proxy import FORBIDDEN, RESET_AFTER, RESET_BEFORE, TORN_BODY, Fault
from support.trash import Trash, protected

from integration.test_artifact_stores import (  # noqa: F401 - fixtures
    BROKEN,
    EMPTY,
    HTML_PAGE,
    OBJECT,
    _impatience,
    azurite,
    fake_gcs,
    moto,
    open_estate,
    refusing,
)
from mlflow_gc.apply.purge import batch
from mlflow_gc.apply.purge.database import Database
from mlflow_gc.domain.timestamps import DAY_MS, format_ms, now_ms
from mlflow_gc.storage import azure, gcs, s3
from mlflow_gc.storage.object_store import ms

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from support.bench import Bench
    from support.cli import Outcome, Running

ERROR, PARTIAL, REFUSED = 1, 3, 5
PAGES = {store: store.page for store in (s3.S3Store, gcs.GcsStore, azure.AzureStore)}
"""How much one request lists, when the tests do not make it less."""


@dataclass
class Stored:
    """A trash whose files are on a store."""

    trash: Trash
    estate: real.Estate

    def run(self, experiment: str, *files: str, deleted: float | None = 100) -> str:
        run = self.trash.run(experiment, files=0, deleted=deleted)
        self.estate.put(*(f"{experiment}/{run}/artifacts/{name}" for name in files))
        return run

    @property
    def _options(self) -> list[str]:
        uri = self.trash.database_uri
        options = ["--tracking-uri", self.trash.world.uri, "--backend-store-uri", uri]
        if not isinstance(self.estate, real.Proxied):
            options += ["--artifacts-destination", self.estate.uri]
        return options

    def _call(self, *args: object, codes: tuple[int, ...]) -> Outcome:
        cli = self.trash.bench.cli
        return cli(*args, *self._options, env=self.estate.settings).expect(*codes)

    def start(self, plan: Plan) -> Running:
        """Start a purge in a process of its own."""
        cli = self.trash.bench.cli
        return cli.start("purge", plan.path, *self._options, env=self.estate.settings)

    def report(
        self, name: str = "purge.json", *args: object, codes: tuple[int, ...] = (0,)
    ) -> Plan:
        path = self.trash.bench.dir / name
        args = args or ("--as-of", self.trash.world.as_of)
        self._call("report", "--trash", "-o", path, *args, codes=codes)
        return Plan.load(path)

    def purge(self, plan: Plan, *args: object, codes: tuple[int, ...] = (0,)) -> Outcome:
        return self._call("purge", plan.path, *args, codes=codes)

    @property
    def runs(self) -> set[str]:
        return {str(row[0]) for row in self.trash.state().rows["runs"]}


DEEP = pytest.mark.deep


@pytest.fixture(params=["s3", *(pytest.param(k, marks=DEEP) for k in ("gcs", "azure", "server"))])
def stored(request: pytest.FixtureRequest, bench: Bench, tmp_path: Path) -> Stored:
    database = bench.world.database
    trash = Trash(bench, database.parent / "artifacts", f"sqlite:///{database}")
    estate = open_estate(request.param, request, tmp_path)
    if isinstance(estate, real.Proxied):
        # The folder from which the server itself passes files on.
        estate.folder = trash.root
    return Stored(trash, estate)


def test_exactly_the_planned_files_go(stored: Stored) -> None:
    """Siblings with a common prefix stay, and so do those of the other runs."""
    experiment = stored.trash.world.experiment()
    runs = [stored.run(experiment, "a", "b/c d", "ü") for _ in range(5)]
    empty = stored.run(experiment)
    young, active = (stored.run(experiment, "a", deleted=d) for d in (3, None))
    stored.estate.put(
        f"{experiment}0/a", f"{experiment}/{runs[0]}2/artifacts/a", f"{experiment}.bak/a"
    )
    before = stored.estate.paths()
    plan = stored.report()
    assert plan.runs == {*runs, empty}
    assert {entry["file_count"] for entry in plan.document["runs"]} <= {3, 0}
    assert plan.document["summary"]["freed"]["files"] == 15
    assert plan.document["summary"]["freed"]["file_bytes"] == 75
    stored.purge(plan)
    gone = {path for path in before if any(f"/{run}/" in path for run in runs)}
    assert len(gone) == 15
    assert stored.estate.paths() == before - gone
    assert stored.runs == {young, active}


@pytest.mark.deep
@pytest.mark.parametrize("stored", ["s3", "gcs", "azure"], indirect=True)
def test_more_files_than_one_request_lists_or_deletes(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one folder and in several; what begins with the same text stays."""
    for store, size in PAGES.items():
        monkeypatch.setattr(store, "page", size)
    experiment = stored.trash.world.experiment()
    large = stored.run(experiment, "MLmodel", *(f"plots/{n}.png" for n in range(1_299)))
    others = [stored.run(experiment, *(f"{n}.png" for n in range(500))) for _ in range(2)]
    empty = stored.run(experiment)
    for deleted in (3, None):
        stored.run(experiment, *(f"plots/{n}.png" for n in range(10)), deleted=deleted)
    stored.estate.put(
        *(f"{experiment}/{run}/artifacts{end}/plots/0.png" for run in others for end in "02"),
        *(f"{experiment}/{large}{end}/artifacts/MLmodel" for end in ("0", ".bak", "-old", " ")),
        f"{experiment}/{large}/artifacts.zip",
        f"{experiment}0/{large}/artifacts/plots/0.png",
    )
    before = stored.estate.paths()
    plan = stored.report()
    assert plan.runs == {large, *others, empty}
    assert plan.document["summary"]["freed"]["files"] == 2_300
    stored.purge(plan)
    folders = tuple(f"{experiment}/{run}/artifacts/" for run in (large, *others))
    gone = {path for path in before if path.startswith(folders)}
    assert len(gone) == 2_300
    assert stored.estate.paths() == before - gone


def test_a_plan_that_left_nothing_on_the_store_can_be_repeated(stored: Stored) -> None:
    """The root of the artifacts is no longer there then, and is not taken for one that is not mounted."""
    run = stored.run(stored.trash.world.experiment(), "a")
    kept = stored.run(stored.trash.world.experiment(), deleted=None)
    plan = stored.report()
    stored.purge(plan, "--shard", "1/1")
    # With another journal, and again with its own.
    stored.purge(plan)
    stored.purge(plan)
    assert stored.runs == {kept}
    assert not [path for path in stored.estate.paths() if run in path]


@pytest.mark.parametrize("fault", depth.some([HTML_PAGE, BROKEN], 1), ids=str)
def test_a_store_that_answers_nonsense_loses_no_row(stored: Stored, fault: object) -> None:
    run = stored.run(stored.trash.world.experiment(), "a")
    plan = stored.report()
    assert stored.estate.proxy
    if isinstance(stored.estate, real.Proxied):
        pytest.skip("its proxy is not the way that the program takes here")
    stored.estate.proxy.fail("GET", "", fault, times=float("inf"))  # type: ignore[arg-type]
    before = stored.trash.state()
    outcome = stored.purge(plan, codes=(ERROR, REFUSED))
    assert "Traceback" not in outcome.text
    assert stored.trash.state() == before
    later = stored.report("later.json")
    assert protected(later, "runs", "run_id") == {run: "unreachable_store"}
    stored.estate.proxy.forget()
    stored.purge(plan)
    assert stored.runs == set()


@pytest.mark.parametrize("stored", ["s3"], indirect=True)
def test_a_run_restored_while_a_purge_is_in_progress_is_there_or_gone(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all its files, or with none: whoever restores it gets an error then."""
    experiment, names = stored.trash.world.experiment(), ("a", "b/c", "b/d")
    runs = {stored.run(experiment, *names) for _ in range(10)}
    plan = stored.report()
    first = {entry["run_id"] for entry in plan.document["runs"][:2]}
    monkeypatch.setattr(batch, "BATCH", 2)
    world, restored = stored.trash.world, dict[str, bool]()

    def restore(run: str) -> None:
        address = f"{world.uri}/api/2.0/mlflow/runs/restore"
        restored[run] = requests.post(address, json={"run_id": run}, timeout=60).ok

    restoring = [threading.Thread(target=restore, args=(run,)) for run in sorted(runs)]

    def restore_all() -> None:
        for thread in restoring:
            thread.start()
        time.sleep(0.3)  # until the first is restored, or waits for the lock

    begin = Database.transaction

    def begin_later(self: Database) -> AbstractContextManager[None]:
        if restoring[0].ident:
            time.sleep(0.3)  # SQLite has one lock, and no queue
        return begin(self)

    monkeypatch.setattr(Database, "transaction", begin_later)
    assert stored.estate.proxy
    # The files of the first batch are about to be deleted.
    stored.estate.proxy.before("POST", "", restore_all)
    stored.purge(plan)
    for thread in restoring:
        thread.join()
    assert restored.keys() == runs
    survivors = {run for run, is_restored in restored.items() if is_restored}
    assert not survivors & first
    assert survivors, "none came before the lock"
    assert stored.runs == survivors
    assert stored.estate.paths() == {
        f"{experiment}/{run}/artifacts/{name}" for run in survivors for name in names
    }


LIE = replace(refusing(), name="a confirmation although nothing was deleted")
FAULTS = (LIE, BROKEN, HTML_PAGE, EMPTY, OBJECT, RESET_BEFORE, RESET_AFTER, TORN_BODY, FORBIDDEN)


class Disturbed:
    """A purge of three runs that is repeated, each time disturbed in another way."""

    def __init__(self, stored: Stored) -> None:
        self.stored, self.trash = stored, stored.trash
        assert stored.estate.proxy
        self.proxy = stored.estate.proxy
        experiment = self.trash.world.experiment()
        self.runs = {stored.run(experiment, "a", "b") for _ in range(3)}
        self.active = stored.run(experiment, "a", deleted=None)
        stored.estate.put(f"{experiment}0/a")
        self.plan = stored.report()
        assert self.plan.runs == self.runs
        self.files, self.before = stored.estate.paths(), self.trash.state()
        self.rows = Snapshot(self.trash.world.database)
        self.proxy.forget()
        stored.purge(self.plan)
        self.expected = self.trash.state(), stored.estate.paths()
        assert stored.runs == {self.active}

    def requests(self) -> tuple[int, set[int]]:
        """The number of requests that the store got, and the numbers of those that delete."""
        deletes = {s.index for s in self.proxy.seen if s.method in {"POST", "DELETE"}}
        assert deletes
        return len(self.proxy.seen), deletes

    def put_back(self) -> None:
        """Bring rows and files back, and forget the purge."""
        self.rows.put_back()
        self.stored.estate.put(*(self.files - self.stored.estate.paths()))
        self.plan.path.with_name(f"{self.plan.path.name}.journal.jsonl").unlink(missing_ok=True)
        self.proxy.forget()

    def finish(self, how: object) -> None:
        """What has no rows has no files, nothing else is gone, and the same plan does the rest."""
        self.trash.state().rows_gone_since(self.before)
        left, there = self.stored.runs, self.stored.estate.paths()
        assert self.active in left
        assert all(path.split("/")[1] in self.runs for path in self.files - there), how
        assert not [path for path in there if path.split("/")[1] in self.runs - left], how
        self.proxy.forget()
        self.stored.purge(self.plan)
        assert (self.trash.state(), self.stored.estate.paths()) == self.expected


CLOUDS = ["s3", *(pytest.param(kind, marks=DEEP) for kind in ("gcs", "azure"))]


@pytest.mark.parametrize("stored", CLOUDS, indirect=True)
def test_a_fault_at_any_request_loses_nothing_else(stored: Stored) -> None:
    purge = Disturbed(stored)
    spoiled = []
    for index, fault in _cases(*purge.requests()):
        purge.put_back()
        purge.proxy.fail_at(index, fault)
        outcome = stored.purge(purge.plan, codes=(0, ERROR, PARTIAL, REFUSED))
        spoiled.append(outcome.code != 0)
        purge.finish(fault)
    purge.rows.close()
    assert sum(spoiled) > len(spoiled) // 2


@pytest.mark.parametrize("stored", CLOUDS, indirect=True)
def test_a_purge_killed_at_any_request_is_finished_by_the_next(stored: Stored) -> None:
    """Also when its last request deletes files, and their rows are still there."""
    purge = Disturbed(stored)
    purge.put_back()
    stored.start(purge.plan).wait().expect(0)
    number, deletes = purge.requests()
    without_files = 0
    for index in [min(deletes)] if depth.chosen.smoke else range(number):
        purge.put_back()
        started: Queue[Running] = Queue()

        def kill(started: Queue[Running] = started) -> None:
            started.get(timeout=60).kill(signal.SIGKILL)

        purge.proxy.at(index, kill)
        running = stored.start(purge.plan)
        started.put(running)
        assert running.wait().code != 0
        assert stored.runs == purge.runs | {purge.active}
        without_files += len(stored.estate.paths()) < len(purge.files)
        purge.finish(index)
    purge.rows.close()
    assert without_files


def _cases(number: int, deletes: Collection[int]) -> Iterator[tuple[int, Fault]]:
    """Which requests are ruined, and how: each deletion in every way, or one in a few of them."""
    for index in range(number):
        if not depth.chosen.smoke:
            each = len(FAULTS) if index in deletes or depth.chosen.share >= 1 / 5 else 1
        else:
            each = 3 if index == min(deletes) else 0
        for n in range(each):
            yield index, FAULTS[n if index in deletes else (index + n) % len(FAULTS)]


@pytest.mark.parametrize("stored", ["s3", pytest.param("azure", marks=DEEP)], indirect=True)
def test_rows_stay_where_a_file_stays(stored: Stored) -> None:
    """One object that the store refuses to delete; the others go, and the next purge finishes."""
    experiment = stored.trash.world.experiment()
    runs = [stored.run(experiment, "a", "b") for _ in range(3)]
    plan = stored.report()
    locked = f"{experiment}/{runs[1]}/artifacts/b"
    if isinstance(stored.estate, real.Azure):
        stored.estate.lease(locked)
    else:
        assert stored.estate.proxy
        fault = refusing(f"root/{locked}")
        stored.estate.proxy.fail("POST", "", fault, times=float("inf"))
        stored.estate.proxy.fail("DELETE", "", fault, times=float("inf"))
    outcome = stored.purge(plan, codes=(PARTIAL,))
    assert runs[1] in outcome.text
    again = stored.purge(plan, codes=(PARTIAL,))
    assert "Deleted 0 bytes in 0 files, and 0 rows." in again.out
    assert runs[1] in stored.runs
    assert locked in stored.estate.paths()


@pytest.mark.parametrize("stored", CLOUDS, indirect=True)
def test_files_of_entities_in_no_table_go_when_they_are_old(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly those; a folder to which somebody wrote since the plan, and any other layout, stays."""
    for store in (s3, gcs, azure):
        # The clock of no store can be set: its files seem to be old.
        monkeypatch.setattr(store, "ms", lambda moment: ms(moment) - 100 * DAY_MS)
    experiment = stored.trash.world.experiment()
    active = stored.run(experiment, "a", deleted=None)
    lost, written = "e" * 32, "f" * 32
    orphans = {f"{experiment}/{lost}/artifacts/{name}" for name in ("a", "b/c", "b/d", "e")}
    others = {
        f"{experiment}/{written}/artifacts/a",
        f"{experiment}/{lost}0/artifacts/a",
        f"{experiment}/{lost}.bak/artifacts/a",
        f"{experiment}/notes/mine.txt",
        f"{experiment}0/{lost}/artifacts/a",
        f"{lost}/artifacts/a",
    }
    stored.estate.put(*orphans, *others)
    policy = stored.trash.bench.dir / "policy.yml"
    policy.write_text("version: 1\npurge: {orphans_after: 30d}\n")
    assert not stored.report("without.json").document["files"]
    plan = stored.report("orphans.json", "--policy", policy)
    planned = {entry["entity"]: entry["file_count"] for entry in plan.document["files"]}
    assert planned == {f"run {lost}": 4, f"run {written}": 1}
    later = f"{experiment}/{written}/artifacts/later"
    stored.estate.put(later)
    for _ in range(2):
        outcome = stored.purge(plan)
        assert written in outcome.out
        assert stored.estate.paths() == {*others, later, f"{experiment}/{active}/artifacts/a"}
    assert stored.runs == {active}


@pytest.mark.parametrize("stored", ["s3"], indirect=True)
def test_what_a_bucket_retains_is_said(stored: Stored) -> None:
    """Parts of uploads that nobody finished; and old versions of files, also of orphaned ones."""
    experiment = stored.trash.world.experiment()
    stored.run(experiment, "a")
    assert isinstance(stored.estate, real.S3)
    client, bucket = stored.estate.client, stored.estate.bucket
    key = f"root/{experiment}/big"
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"12345678")
    (note,) = stored.report().document["diagnostics"]
    assert note["code"] == "unfinished_uploads"
    assert "1 unfinished upload (8 bytes)" in note["message"]
    client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    stored.purge(stored.report())
    stored.estate.put(f"{experiment}/{'f' * 32}/artifacts/left")
    policy = stored.trash.bench.dir / "policy.yml"
    policy.write_text("version: 1\npurge: {orphans_after: 1d}\n")
    later = ("--policy", policy, "--as-of", format_ms(now_ms() + 2 * DAY_MS))
    plan = stored.report("orphans.json", *later, codes=(0, REFUSED))
    freed = plan.document["summary"]["freed"]
    assert freed["file_bytes"] == freed["retained_bytes"] == 5
    assert "kept_versions" in {d["code"] for d in plan.document["diagnostics"]}


@pytest.mark.parametrize("stored", ["s3"], indirect=True)
def test_a_bucket_with_versions_is_said_to_free_nothing_yet(stored: Stored) -> None:
    stored.run(stored.trash.world.experiment(), "a")
    assert isinstance(stored.estate, real.S3)
    stored.estate.client.put_bucket_versioning(
        Bucket=stored.estate.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    plan = stored.report()
    assert [d["code"] for d in plan.document["diagnostics"]] == ["kept_versions"]
    freed = plan.document["summary"]["freed"]
    assert freed["retained_bytes"] == freed["file_bytes"] == 5
