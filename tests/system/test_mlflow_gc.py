"""``mlflow gc`` and ``mlflow-gc purge`` on the same trash: each row of docs/explanation/lifecycle.md.

Both are real processes on the same database and the same files: what ``mlflow gc`` did is put back
before the purge.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import pytest
import requests
from integration.test_artifact_stores import (  # noqa: F401 - fixtures
    azurite,
    moto,
    open_estate,
    refusing,
)
from support import ROOT
from support import object_stores as real
from support.durability import Snapshot
from support.plans import Journal, Plan
from support.proxy import Fault
from support.trash import State, Trash, ids, protected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from support.bench import Bench
    from support.cli import Outcome
    from support.proxy import Proxy

# Ten seconds for each row on an idle machine, and both programs start anew each time.
pytestmark = pytest.mark.timeout(900)

PARTIAL, REFUSED, CLICK_USAGE = 3, 5, 2
PAGE = ROOT / "docs" / "explanation" / "lifecycle.md"
TOMBSTONE = "Deleted_Internal"
"""The stage of a version that was deleted."""
MEASURED = "Speed and memory"
"""The row that benchmarks/purge.py measures."""
_titles: set[str] = set()

_Test = TypeVar("_Test", bound="Callable[..., None]")


def row(title: str) -> Callable[[_Test], _Test]:
    """Name the row of the page that a test runs."""
    _titles.add(title)
    return lambda test: test


OLD = ("--older-than", "30d")


class Both:
    """A trash, and the two programs that empty it."""

    def __init__(self, trash: Trash) -> None:
        self.trash = trash
        self.world = trash.world

    def start_gc(
        self, *args: str, uri: str | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start ``mlflow gc``."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
        command = [sys.executable, "-m", "mlflow", "gc", *args]
        command += ["--tracking-uri", uri or self.world.uri]
        command += ["--backend-store-uri", self.trash.database_uri]
        return subprocess.Popen(
            command,
            env={**inherited, **quiet, **(env or {})},
            cwd=self.trash.bench.dir,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def gc(self, *args: str, code: int = 0, **more: object) -> str:
        """Run ``mlflow gc``; return what it printed."""
        process = self.start_gc(*args, **more)  # type: ignore[arg-type]
        output, _ = process.communicate(timeout=240)
        assert process.returncode == code, output
        return output

    def runs(self) -> set[str]:
        """The runs that are in the database, in the trash or not."""
        return {str(row[0]) for row in self.trash.state().rows["runs"]}

    def files(self, run: str) -> set[str]:
        """The files of a run."""
        return {path for path in self.trash.state().files if f"/{run}/artifacts/" in path}

    def keep(self) -> Kept:
        """Remember rows and files."""
        return Kept(self.trash)


class Kept:
    """Rows and files of one moment."""

    def __init__(self, trash: Trash) -> None:
        self._root = trash.root
        self._copy = trash.bench.dir / "kept"
        self._rows = Snapshot(trash.world.database)
        shutil.copytree(self._root, self._copy, symlinks=True)

    def put_back(self) -> None:
        """Make server and disk hold this again."""
        self._rows.put_back()
        self._rows.close()
        shutil.rmtree(self._root)
        shutil.move(self._copy, self._root)


def _trash(bench: Bench) -> Trash:
    database = bench.world.database
    return Trash(bench, database.parent / "artifacts", f"sqlite:///{database}")


@pytest.fixture
def both(bench: Bench) -> Both:
    return Both(_trash(bench))


@pytest.mark.smoke
def test_each_row_of_the_page_is_run() -> None:
    table = PAGE.read_text(encoding="utf-8").split("| | `mlflow gc` |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| ([^|]+?) \|", table, re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert {*rows} == {*_titles, MEASURED}


# Rows about one state: each program runs once ------------------------------------------------------


@dataclass(frozen=True)
class Contest:
    """What both made of the same trash.

    Attributes:
        names: the ids of its entities.
        before: rows and files before.
        gc: rows and files after ``mlflow gc``.
        gc_folders: the folders after it, below the artifact root.
        plan: of the purge.
        ours: rows and files after the purge.
        our_folders: the folders after it.
        outside: whether the files behind a symbolic link are there after gc, and after the purge.
    """

    names: dict[str, str]
    before: State
    gc: State
    gc_folders: set[str]
    plan: Plan
    ours: State
    our_folders: set[str]
    outside: tuple[bool, bool]

    def is_left(self, state: State, name: str) -> tuple[bool, bool]:
        """Return whether an entity has a row of its own, and any file in its folder."""
        i = self.names[name]
        rows = (*state.rows["runs"], *state.rows["experiments"], *state.rows["logged_models"])
        return i in {str(row[0]) for row in rows}, any(f"{i}/" in path for path in state.files)


def _folders(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir()}


@pytest.fixture(scope="module")
def contest(shared_bench: Bench) -> Contest:
    """One trash with all of it, ``mlflow gc``, the same trash again, and ``purge``."""
    trash = _trash(shared_bench)
    both, world, names = Both(trash), trash.world, dict[str, str]()
    home = names["home"] = world.experiment()

    reader = names["reader"] = trash.run(home, deleted=None)
    dataset = {"name": "orders", "digest": "1", "source_type": "local", "source": "{}"}
    tags = [{"key": "mlflow.data.context", "value": "training"}]
    inputs = [{"dataset": dataset, "tags": tags}]
    world.call("POST", "runs/log-inputs", {"run_id": reader, "datasets": inputs})
    world.put_out_model(reader, trash.model(home))
    trash.delete(reader)

    served = names["served"] = trash.run(home)
    world.model("fraud")
    world.version("fraud", source=f"runs:/{served}/model", run_id=served, stage="Production")

    host = names["host"] = trash.run(home)
    location = f"mlflow-artifacts:/{home}/{host}/artifacts/guests"
    body = {"name": "guests", "artifact_location": location}
    other = world.call("POST", "experiments/create", body)["experiment_id"]
    guest = names["guest"] = world.run(other)
    trash.put(f"{home}/{host}/artifacts/guests/{guest}/artifacts/model.bin")

    moved = names["moved"] = trash.run(home)
    elsewhere = trash.bench.dir / "other-disk"
    (trash.root / home / moved).rename(elsewhere)
    (trash.root / home / moved).symlink_to(elsewhere)

    names["undated"] = trash.run(home)
    world.sql("UPDATE runs SET deleted_time = NULL WHERE run_uuid = ?", names["undated"])

    names["lost"] = trash.run(home)
    world.purge_run(names["lost"])
    for path in (trash.root / home / names["lost"]).rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))

    for name in ("traced", "revived", "modelled"):
        names[name] = world.experiment()
        names[f"run of {name}"] = trash.run(names[name], deleted=None)
    trace = names["trace"] = world.source_trace(names["traced"], names["run of traced"])
    trash.put(f"{names['traced']}/traces/{trace}/artifacts/traces.json")
    world.evaluation_dataset(names["traced"])
    names["model"] = trash.model(names["modelled"], deleted=None)
    for name in ("traced", "revived", "modelled"):
        trash.drop_experiment(names[name])
    world.restore_run(names["run of revived"])

    world.model("recommender")
    deleted = world.version("recommender")
    world.version("recommender")
    world.delete_version(deleted)
    world.sql(
        "UPDATE model_versions SET last_updated_time = ? WHERE current_stage = ?",
        world.ago(100),
        TOMBSTONE,
    )

    policy = trash.bench.dir / "policy.yml"
    policy.write_text("version: 1\npurge: {orphans_after: 30d, tombstones: true}\n")
    kept, files = both.keep(), shutil.copytree(elsewhere, trash.bench.dir / "kept-elsewhere")
    before = trash.state()
    both.gc(*OLD)
    gc, gc_folders, follows = trash.state(), _folders(trash.root), not any_file(elsewhere)
    kept.put_back()
    shutil.copytree(files, elsewhere, dirs_exist_ok=True)
    plan = trash.report("--policy", policy)
    trash.purge(plan)
    return Contest(
        *(names, before, gc, gc_folders, plan, trash.state(), _folders(trash.root)),
        (not follows, any_file(elsewhere)),
    )


def any_file(folder: Path) -> bool:
    """Whether there is any file below a folder."""
    return any(path.is_file() for path in folder.rglob("*"))


@pytest.mark.smoke
@row("A run behind a model version")
def test_a_run_behind_a_version_in_production(contest: Contest) -> None:
    assert contest.is_left(contest.gc, "served") == (False, False)
    (version,) = [r for r in contest.gc.rows["model_versions"] if "fraud" in r]
    assert "Production" in version
    assert "READY" in version
    assert contest.names["served"] in version
    assert contest.is_left(contest.ours, "served") == (True, True)
    assert protected(contest.plan, "runs", "run_id")[contest.names["served"]] == "registered_model"


@row("An active run in a deleted experiment")
def test_an_active_run_of_a_deleted_experiment(contest: Contest) -> None:
    for name in ("revived", "run of revived"):
        assert not contest.is_left(contest.gc, name)[0]
        assert contest.is_left(contest.ours, name)[0]
    assert any(contest.names["run of revived"] in path for path in contest.gc.files), "orphans"
    reasons = protected(contest.plan, "experiments", "experiment_id")
    assert reasons[contest.names["revived"]] == "active"


@row("Nested artifact locations")
def test_a_location_within_the_folder_of_a_run(contest: Contest) -> None:
    assert contest.is_left(contest.before, "guest") == (True, True)
    assert contest.is_left(contest.gc, "guest") == (True, False)
    assert contest.is_left(contest.ours, "guest") == (True, True)
    assert protected(contest.plan, "runs", "run_id")[contest.names["host"]] == "needed_files"


@row("A folder that is a symbolic link")
def test_a_folder_behind_a_symbolic_link(contest: Contest) -> None:
    assert contest.outside == (False, True)
    reasons = protected(contest.plan, "runs", "run_id")
    assert reasons[contest.names["moved"]] == "unreachable_store"


@row("A run without a deletion time")
def test_a_run_without_a_deletion_time(contest: Contest) -> None:
    assert contest.is_left(contest.gc, "undated") == (True, True)
    assert contest.is_left(contest.ours, "undated") == (True, True)
    reasons = protected(contest.plan, "runs", "run_id")
    assert reasons[contest.names["undated"]] == "unknown_deletion_time"


@row("Inputs, their tags, links to models and datasets")
def test_inputs_and_their_tags(contest: Contest) -> None:
    assert contest.is_left(contest.gc, "reader") == (False, False)
    assert contest.is_left(contest.ours, "reader") == (False, False)
    for table, count in (("inputs", 2), ("input_tags", 1), ("entity_associations", 1)):
        assert len(contest.before.rows[table]) == count
        assert len(contest.gc.rows[table]) == count
        assert not contest.ours.rows[table]


@row("Folders that are empty")
def test_empty_folders(contest: Contest) -> None:
    folder = f"{contest.names['home']}/{contest.names['reader']}"
    assert folder in contest.gc_folders
    assert folder not in contest.our_folders


@row("Files of the traces of a deleted experiment")
def test_files_of_the_traces_of_an_experiment(contest: Contest) -> None:
    trace = contest.names["trace"]
    assert not [row for row in contest.gc.rows["trace_info"] if trace in row]
    assert [path for path in contest.gc.files if trace in path]
    assert not [row for row in contest.ours.rows["trace_info"] if trace in row]
    assert not [path for path in contest.ours.files if trace in path]


@row("An active logged model in a deleted experiment")
def test_an_active_logged_model_of_a_deleted_experiment(contest: Contest) -> None:
    assert contest.is_left(contest.gc, "model") == (False, True), "an orphan"
    assert contest.is_left(contest.ours, "model") == (True, True)
    reasons = protected(contest.plan, "experiments", "experiment_id")
    assert reasons[contest.names["modelled"]] == "active"


@row("Rows of deleted model versions")
def test_rows_of_deleted_model_versions(contest: Contest) -> None:
    counts = [
        sum(TOMBSTONE in version for version in state.rows["model_versions"])
        for state in (contest.before, contest.gc, contest.ours)
    ]
    assert counts == [1, 1, 0]
    assert len(contest.ours.rows["model_versions"]) == 2


@row("Files whose run, model or trace no longer exists")
def test_files_whose_run_is_in_no_table(contest: Contest) -> None:
    assert contest.is_left(contest.before, "lost") == (False, True)
    assert contest.is_left(contest.gc, "lost") == (False, True)
    assert contest.is_left(contest.ours, "lost") == (False, False)


# Rows about a moment, or an error ------------------------------------------------------------------


@row("What it would delete")
def test_what_would_be_deleted(both: Both) -> None:
    run = both.trash.run(both.world.experiment())
    before = both.trash.state()
    assert "No such option" in both.gc("--dry-run", code=CLICK_USAGE)
    plan = both.trash.report()
    assert plan.runs == {run}
    both.trash.purge(plan, "--dry-run")
    assert both.trash.state() == before


@row("Scope")
def test_the_scope(both: Both) -> None:
    """One run is meant; another experiment and a model come to the trash before it is deleted."""
    trash, world = both.trash, both.world
    meant = trash.run(world.experiment())
    plan = trash.report()
    other = world.experiment()
    run, model = trash.run(other, deleted=None), trash.model(world.experiment())
    trash.drop_experiment(other)
    kept = both.keep()
    both.gc("--run-ids", meant)
    after = trash.state()
    assert {str(row[0]) for row in after.rows["experiments"]}.isdisjoint({other})
    assert not after.rows["logged_models"]
    assert both.runs().isdisjoint({meant, run})
    kept.put_back()
    trash.purge(plan)
    after = trash.state()
    assert both.runs() == {run}
    assert other in {str(row[0]) for row in after.rows["experiments"]}
    assert [row[0] for row in after.rows["logged_models"]] == [model]


@row("A run that is restored meanwhile")
def test_a_run_that_is_restored_meanwhile(both: Both, proxy: Proxy) -> None:
    """At the moment when its files are deleted; or between the plan and the purge."""
    run = both.trash.run(both.world.experiment())
    plan = both.trash.report()
    kept = both.keep()
    proxy.before("DELETE", run, lambda: both.world.restore_run(run))
    both.gc(uri=proxy.uri)
    assert both.runs() == set(), "it was active"
    kept.put_back()
    both.world.restore_run(run)
    both.trash.purge(plan)
    assert both.runs() == {run}
    assert len(both.files(run)) == 2


@row("A run that is restored meanwhile")
def test_a_run_that_somebody_restores_while_it_is_locked(both: Both, proxy: Proxy) -> None:
    """The restore waits until the purge is done, and finds nothing: no run without its files."""
    run = both.trash.run(both.world.experiment())
    plan = both.trash.report()
    answers: list[int] = []

    def restore() -> None:
        address = f"{both.world.uri}/api/2.0/mlflow/runs/restore"
        answer = requests.post(address, json={"run_id": run}, timeout=60)
        answers.append(answer.status_code)

    thread = threading.Thread(target=restore)
    proxy.before("DELETE", run, thread.start)
    uris = ("--tracking-uri", proxy.uri, "--backend-store-uri", both.trash.database_uri)
    both.trash.bench.cli("purge", plan.path, *uris).expect(0)
    thread.join()
    assert len(answers) == 1
    assert answers[0] >= 400
    assert both.runs() == set()
    assert both.files(run) == set()


@row("A volume that is not mounted")
def test_a_volume_that_is_not_mounted(both: Both) -> None:
    run, root = both.trash.run(both.world.experiment()), both.trash.root
    plan = both.trash.report()
    kept = both.keep()
    volume = root.rename(root.with_name("volume"))
    root.mkdir()
    both.gc()
    assert both.runs() == set()
    assert any_file(volume), "its files have no row any more"
    shutil.rmtree(volume)
    kept.put_back()
    root.rename(volume)
    root.mkdir()
    assert "mounted" in both.trash.purge(plan, codes=(REFUSED,)).err
    assert both.runs() == {run}
    root.rmdir()
    volume.rename(root)


@row("An error with the files of one run")
def test_an_error_with_one_run(both: Both) -> None:
    """gc takes the runs in the order of a set of their ids, which the seed of hashes decides."""
    trash = both.trash
    broken, fine = (trash.run(both.world.experiment()) for _ in range(2))
    folder = trash.root / str(_home(trash, broken)) / broken / "artifacts"
    folder.rename(trash.bench.dir / "elsewhere")
    folder.symlink_to(trash.bench.dir / "elsewhere")
    seed = _seed_that_begins_with(broken, fine)
    kept = both.keep()
    output = both.gc(code=1, env={"PYTHONHASHSEED": seed})
    assert "permanently deleted" not in output
    assert both.runs() == {broken, fine}
    kept.put_back()
    plan = trash.report()
    assert protected(plan, "runs", "run_id") == {broken: "unreachable_store"}
    trash.purge(plan)
    assert both.runs() == {broken}


def _home(trash: Trash, run: str) -> str:
    info = trash.world.call("GET", f"runs/get?run_id={run}", {})["run"]["info"]
    return str(info["experiment_id"])


def _seed_that_begins_with(first: str, second: str) -> str:
    """Return a seed of hashes with which a set of two strings begins with one of them."""
    program = (
        "import sys; print(*(next(iter({a, b})) for a, b in (sys.argv[1:3], sys.argv[2:0:-1])))"
    )
    for seed in map(str, range(100)):
        found = subprocess.run(
            [sys.executable, "-c", program, first, second],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        if set(found.stdout.split()) == {first}:
            return seed
    raise AssertionError("no seed")


@row("A younger run in an old experiment")
def test_a_younger_run_in_an_old_experiment(both: Both) -> None:
    """gc with an age stops at it; the purge leaves experiment and run, and does the others."""
    trash, world = both.trash, both.world
    experiment, other = world.experiment(), world.experiment()
    young, old = trash.run(experiment, deleted=None), trash.run(other, deleted=None)
    trash.drop_experiment(experiment)
    trash.drop_experiment(other)
    world.sql("UPDATE runs SET deleted_time = ? WHERE run_uuid = ?", world.ago(5), young)
    kept = both.keep()
    output = both.gc(*OLD, code=1)
    assert "not older than the required age" in output
    left = {str(row[0]) for row in trash.state().rows["experiments"]}
    assert {experiment, other} <= left
    kept.put_back()
    plan = trash.report()
    assert ids(plan, "experiments", "experiment_id") == {other}
    trash.purge(plan)
    assert both.runs() == {young}
    assert old not in both.runs()
    left = {str(row[0]) for row in trash.state().rows["experiments"]}
    assert left >= {experiment}
    assert other not in left


@row("Killed between files and rows")
def test_killed_between_files_and_rows(both: Both, proxy: Proxy) -> None:
    """Both leave the rows in the trash; the journal of the purge names the run."""
    run = both.trash.run(both.world.experiment())
    plan = both.trash.report()
    kept = both.keep()
    process = both.start_gc(uri=proxy.uri)
    killed = Fault("killed", then=process.kill)
    proxy.fail("DELETE", run, killed)
    process.communicate(timeout=240)
    assert (both.runs(), both.files(run)) == ({run}, set())
    kept.put_back()

    proxy.forget()
    uris = ("--tracking-uri", proxy.uri, "--backend-store-uri", both.trash.database_uri)
    came = threading.Event()
    proxy.before("DELETE", run, came.set)
    # Never answered: the program is killed while it waits.
    proxy.fail("DELETE", run, Fault("silence", outlast=True))
    running = both.trash.bench.cli.start("purge", plan.path, *uris)
    assert came.wait(60)
    running.kill(signal.SIGKILL)
    running.wait()
    assert both.runs() == {run}
    journal = Journal.load(plan.path.with_name("purge.json.journal.jsonl"), torn=True)
    assert run in str([line for line in journal.lines if "ids" in line])
    proxy.forget()
    both.trash.purge(plan)
    assert (both.runs(), both.files(run)) == (set(), set())


# Rows about object stores --------------------------------------------------------------------------


class InBucket(Both):
    """The files of its runs are on an object store."""

    def __init__(self, trash: Trash, estate: real.Estate) -> None:
        super().__init__(trash)
        self.estate = estate

    def run(self, *files: str) -> str:
        """A run in the trash with files on the store."""
        experiment = self.world.experiment()
        run = self.trash.run(experiment, files=0)
        home, folder = f"{self.estate.uri}/{experiment}", f"{experiment}/{run}/artifacts"
        self.world.sql(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
            home,
            int(experiment),
        )
        self.world.sql(
            "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", f"{home}/{run}/artifacts", run
        )
        self.estate.put(f"{experiment}/notes.txt", *(f"{folder}/{name}" for name in files))
        return run

    def files(self, run: str) -> set[str]:
        return {path for path in self.estate.paths() if f"/{run}/" in path}

    def gc(self, *args: str, code: int = 0, **more: object) -> str:
        return super().gc(*args, code=code, env=self.estate.settings, **more)

    def _call(self, *args: object, codes: tuple[int, ...]) -> Outcome:
        uris = ("--tracking-uri", self.world.uri, "--backend-store-uri", self.trash.database_uri)
        return self.trash.bench.cli(*args, *uris, env=self.estate.settings).expect(*codes)

    def report(self) -> Plan:
        path = self.trash.bench.dir / "purge.json"
        self._call("report", "--trash", "-o", path, "--as-of", self.world.as_of, codes=(0,))
        plan = Plan.load(path)
        assert plan.runs == self.runs()
        return plan

    def purge(self, plan: Plan, codes: tuple[int, ...] = (0,)) -> Outcome:
        return self._call("purge", plan.path, codes=codes)


@pytest.fixture
def s3(request: pytest.FixtureRequest, bench: Bench, tmp_path: Path) -> InBucket:
    return InBucket(_trash(bench), open_estate("s3", request, tmp_path))


@pytest.fixture
def azure(request: pytest.FixtureRequest, bench: Bench, tmp_path: Path) -> InBucket:
    return InBucket(_trash(bench), open_estate("azure", request, tmp_path))


@row("Azure: a run without files")
def test_a_run_without_files_on_azure(azure: InBucket) -> None:
    run = azure.run()
    plan = azure.report()
    assert "No such file or directory" in azure.gc(code=1)
    assert azure.runs() == {run}
    azure.purge(plan)
    assert azure.runs() == set()


@row("S3: an object that must not be deleted")
def test_an_object_that_the_store_refuses_to_delete(s3: InBucket) -> None:
    run = s3.run("model.bin")
    (path,) = s3.files(run)
    plan = s3.report()
    rows = Snapshot(s3.world.database)
    assert s3.estate.proxy
    for method in ("POST", "DELETE"):
        s3.estate.proxy.fail(method, "", refusing(f"root/{path}"), times=float("inf"))
    assert "permanently deleted" in s3.gc()
    assert (s3.runs(), s3.files(run)) == (set(), {path})
    rows.put_back()
    assert run in s3.purge(plan, codes=(PARTIAL,)).text
    assert (s3.runs(), s3.files(run)) == ({run}, {path})


@row("S3: a bucket that keeps versions")
def test_a_bucket_with_versions(s3: InBucket) -> None:
    assert isinstance(s3.estate, real.S3)
    bucket = {"Bucket": s3.estate.bucket}
    versioning = {"Status": "Enabled"}
    s3.estate.client.put_bucket_versioning(**bucket, VersioningConfiguration=versioning)
    run = s3.run("model.bin")
    plan = s3.report()
    assert [d["code"] for d in plan.document["diagnostics"]] == ["kept_versions"]
    output = s3.gc()
    assert f"{run} has been permanently deleted" in output
    assert "version" not in output.lower()
    left = s3.estate.client.list_object_versions(**bucket)["Versions"]
    assert [found for found in left if run in found["Key"]]


@pytest.fixture(autouse=True)
def _no_login_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith(("AWS_", "AZURE_"))]:
        monkeypatch.delenv(variable)
