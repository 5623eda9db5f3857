"""The archive for Anaconda Enterprise 5: what is in it, and that a job can run it.

The commands run the way the platform runs them: the line from ``anaconda-project.yml``, in the
unpacked folder, without a terminal, with the variables of that file exported.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ROOT
from support import server as store

from mlflow_gc import __version__
from mlflow_gc.demo.server import LocalServer

SECRETS = Path("/var/run/secrets/user_credentials")
DAY_MS = 86_400_000
# Of our own environment; a copy of the package in another folder is not to be measured either.
UNWANTED = ("MLFLOW_", "PYTHON", "COVERAGE_")

VARIABLES = [
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_ENTITY_TTL",
    "MLFLOW_GC_DIR",
]


def build(directory: Path) -> Path:
    # Not as a part of the `make test` that may have started us.
    env = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}}
    subprocess.run(
        ["make", "--silent", "ae5-archive", f"DIST={directory}"],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        check=True,
    )
    (archive,) = directory.iterdir()
    return archive


def unpack(archive: Path, directory: Path) -> Path:
    with tarfile.open(archive) as tar:
        # The filter came to Python 3.10 and 3.11 with a security release.
        if hasattr(tarfile, "data_filter"):
            tar.extractall(directory, filter="data")
        else:
            tar.extractall(directory)  # noqa: S202 - our own archive
    (folder,) = directory.iterdir()
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def unpacked(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(archive, tmp_path_factory.mktemp("unpacked"))


@pytest.fixture(scope="module")
def project(unpacked: Path) -> dict[str, Any]:
    return yaml.safe_load((unpacked / "anaconda-project.yml").read_text(encoding="utf-8"))


# ---------------------------------------------------------------------------- what is in it


def test_is_named_after_the_version(archive: Path, unpacked: Path):
    assert archive.name == f"mlflow-gc-{__version__}.tar.gz"
    assert unpacked.name == f"mlflow-gc-{__version__}"


def test_building_it_again_gives_the_same_bytes(archive: Path, tmp_path: Path):
    # Other times and other rights of new files must not show.
    time.sleep(1.1)
    old = os.umask(0o077)
    try:
        again = build(tmp_path)
    finally:
        os.umask(old)
    assert (
        hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(archive.read_bytes()).digest()
    )


@pytest.mark.smoke
def test_holds_what_a_job_and_its_operator_need(unpacked: Path):
    for name in (
        "anaconda-project.yml",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "docs/install_guide.md",
        "mlflow_gc/__main__.py",
        "schemas/prune-plan.v1.schema.json",
    ):
        assert (unpacked / name).is_file(), f"{name} is missing"


def test_holds_no_by_products(unpacked: Path):
    names = {p.relative_to(unpacked).as_posix() for p in unpacked.rglob("*")}
    unwanted = re.compile(r"__pycache__|\.pyc$|\.venv|node_modules|(^|/)tests(/|$)|\.env$")
    assert not [n for n in names if unwanted.search(n)]


def test_holds_the_documentation_and_not_what_builds_its_site(unpacked: Path):
    docs = {p.relative_to(unpacked / "docs") for p in (unpacked / "docs").rglob("*") if p.is_file()}
    assert {"install_guide.md", "policy.md", "decisions.md", "reference.md"} <= set(map(str, docs))
    assert not {p for p in docs if p.parts[0].startswith("_") or p.suffix in {".py", ".html"}}


def test_names_no_folder_of_the_machine_that_built_it(unpacked: Path):
    machine = re.compile(
        "|".join([re.escape(str(ROOT)), re.escape(sys.prefix), r"/home/\w", r"/Users/\w"])
    )
    for path in unpacked.rglob("*"):
        if path.is_file():
            found = machine.search(path.read_text(encoding="utf-8", errors="replace"))
            assert found is None, f"{path.relative_to(unpacked)} has {found}"


@pytest.mark.smoke
def test_every_relative_link_resolves_within_the_archive(unpacked: Path):
    pages = [*unpacked.rglob("*.md"), *unpacked.rglob("*.ipynb")]
    assert unpacked / "README.md" in pages
    broken = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"(?s)```.*?```", "", text)):
            leads_to = (page.parent / link).resolve()
            if "://" not in link and not (leads_to.exists() and unpacked in leads_to.parents):
                broken.append(f"{page.relative_to(unpacked)}: {link}")
    assert broken == []


@pytest.mark.smoke
def test_its_readme_speaks_of_what_is_in_it(unpacked: Path, project: dict[str, Any]):
    readme = (unpacked / "README.md").read_text(encoding="utf-8")
    assert "Anaconda Enterprise 5" in readme.splitlines()[0]
    # There is no Makefile, and no test, in it.
    assert not re.search(r"\bmake\b|\btests/|\.venv", readme)
    assert [name for name in project["commands"] if f"| `{name}` |" not in readme] == []
    paths = re.findall(r"^\| `([\w./-]+)` \|", readme.partition("| Path |")[2], re.MULTILINE)
    assert len(paths) == 5
    assert [path for path in paths if not (unpacked / path).exists()] == []


# ---------------------------------------------------------------------------- the project file


@pytest.mark.smoke
def test_commands_have_the_names_and_lines_of_the_guide(project: dict[str, Any]):
    lines = {name: command["unix"] for name, command in project["commands"].items()}
    assert lines == {
        "Report": "python -m mlflow_gc report",
        "Prune": "python -m mlflow_gc prune --yes",
        "Usage": "python -m mlflow_gc usage",
        "Purge": "python -m mlflow_gc purge --yes",
    }
    assert {command["env_spec"] for command in project["commands"].values()} == {"Runtime"}


def test_channels_and_packages_are_those_of_the_guide(project: dict[str, Any]):
    assert project["channels"] == ["defaults", "ae5-admin"]
    packages = project["env_specs"]["Runtime"]["packages"]
    assert packages[:2] == ["python>=3.10,<3.14", "ae5-tools"]


@pytest.mark.smoke
def test_packages_are_the_dependencies_of_the_wheel(project: dict[str, Any]):
    # Read as text: tomllib is newer than Python 3.10.
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert block is not None
    dependencies = re.findall(r'^ +"([^"]+)",$', block[1], re.MULTILINE)
    # The channel `defaults` need not have them, and the program does without, only slower.
    optional = ("jsonschema-rs", "msgspec")
    dependencies = [d for d in dependencies if not d.startswith(optional)]
    assert project["env_specs"]["Runtime"]["packages"][2:] == dependencies


def test_variables_are_described_and_no_default_hides_a_secret(project: dict[str, Any]):
    assert list(project["variables"]) == VARIABLES
    for variable in project["variables"].values():
        assert variable["description"]
        # Blank, because what stands here is exported and would win over an AE5 secret; not empty,
        # because anaconda-project takes an empty variable for a missing one and does not start.
        assert variable["default"] == " "
    assert "30 when blank" in project["variables"]["MLFLOW_TRACKING_ENTITY_TTL"]["description"]


def test_the_guide_names_everything_of_the_project_file(unpacked: Path, project: dict[str, Any]):
    guide = (unpacked / "docs" / "install_guide.md").read_text(encoding="utf-8")
    names = [
        *project["variables"],
        *project["commands"],
        *project["channels"],
        *project["env_specs"],
    ]
    names += [command["unix"] for command in project["commands"].values()]
    assert [name for name in names if name not in guide] == []


# ---------------------------------------------------------------------------- a job


class Site:
    """A real server with two runs, last used 20 and 40 days ago."""

    def __init__(self, server: LocalServer) -> None:
        self.uri = server.uri
        self._database, self._root = server.database, server.directory / "artifacts"
        experiment = self.call("experiments/create", name=f"job {time.monotonic_ns()}")
        self.experiment_id = experiment["experiment_id"]
        # A run is no older than its experiment.
        then = int(time.time() * 1000) - 400 * DAY_MS
        with store.open_database(server.database) as db:
            db.execute(
                "UPDATE experiments SET creation_time = ? WHERE experiment_id = ?",
                (then, int(self.experiment_id)),
            )
        self.days20, self.days40 = self._run(20), self._run(40)

    def _run(self, days: int) -> str:
        then = int(time.time() * 1000) - days * DAY_MS
        run = self.call("runs/create", experiment_id=self.experiment_id, start_time=then)
        run_id: str = run["run"]["info"]["run_id"]
        self.call("runs/update", run_id=run_id, status="FINISHED", end_time=then + 1000)
        return run_id

    def call(self, path: str, **body: object) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.uri}/api/2.0/mlflow/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def in_trash(self, days: int) -> str:
        """A run with a file that has been in the trash for some days."""
        run_id = self._run(days + 1)
        file = self._root / self.experiment_id / run_id / "artifacts" / "a.txt"
        file.parent.mkdir(parents=True)
        file.write_text("x")
        self.call("runs/delete", run_id=run_id)
        then = int(time.time() * 1000) - days * DAY_MS
        with store.open_database(self._database) as db:
            db.execute("UPDATE runs SET deleted_time = ? WHERE run_uuid = ?", (then, run_id))
        return run_id

    def existing(self) -> set[str]:
        """The runs of its experiment that have rows, in whatever stage."""
        with store.open_database(self._database) as db:
            statement = "SELECT run_uuid FROM runs WHERE experiment_id = ?"
            return {run_id for (run_id,) in db.execute(statement, (int(self.experiment_id),))}

    def files(self) -> list[str]:
        """The paths of all files of its experiment."""
        return [str(p) for p in (self._root / self.experiment_id).rglob("*") if p.is_file()]

    def live(self) -> set[str]:
        """Of the two runs those that are not deleted."""
        found = self.call("runs/search", experiment_ids=[self.experiment_id])
        return {run["info"]["run_id"] for run in found.get("runs", [])}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def site(server: LocalServer) -> Site:
    return Site(server)


class Job:
    """Runs commands of the project like the platform does."""

    def __init__(self, folder: Path, project: dict[str, Any]) -> None:
        self.folder = folder
        self._project = project

    def environment(self, **settings: str) -> dict[str, str]:
        defaults = {k: str(v["default"]) for k, v in self._project["variables"].items()}
        retained = {k: v for k, v in os.environ.items() if not k.startswith(UNWANTED)}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**retained, **defaults, **settings, "PATH": path}

    def run(
        self, name: str, secrets: Secrets | None = None, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        return self.shell(self._project["commands"][name]["unix"], secrets, **settings)

    def shell(
        self, line: str, secrets: Secrets | None = None, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a line like one of the project's, or in a terminal of a session."""
        command = ["bash", "-c", line]
        done = subprocess.run(
            secrets.around(command) if secrets else command,
            cwd=self.folder,
            env=self.environment(**settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def plan(self) -> dict[str, Any]:
        # That of Prune has the moment in its name.
        (path,) = self.folder.glob("prune-plan*.json")
        return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def job(archive: Path, tmp_path: Path, project: dict[str, Any]) -> Job:
    """A fresh copy of the unpacked archive, as each run of a job gets one."""
    return Job(unpack(archive, tmp_path), project)


def planned(plan: dict[str, Any]) -> set[str]:
    return {run["run_id"] for run in plan["runs"]}


def test_runs_from_the_archive_and_not_from_the_checkout(job: Job):
    where = subprocess.run(
        ["python", "-c", "import mlflow_gc; print(mlflow_gc.__file__)"],
        cwd=job.folder,
        env=job.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()) == job.folder / "mlflow_gc" / "__init__.py"


def test_report_writes_a_plan_and_deletes_nothing(job: Job, site: Site):
    done = job.run("Report", MLFLOW_TRACKING_URI=site.uri)
    assert done.returncode == 0, done.stderr
    plan = job.plan()
    assert plan["policy"]["ttl_days"] == 30
    assert site.days40 in planned(plan)
    assert site.days20 not in planned(plan)
    assert site.live() == {site.days20, site.days40}


def test_output_is_for_a_log_and_not_for_a_terminal(job: Job, site: Site):
    done = job.run("Report", MLFLOW_TRACKING_URI=site.uri)
    assert done.stdout.strip()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", done.stdout + done.stderr)


def test_prune_asks_nothing_and_keeps_plan_and_journal(job: Job, site: Site):
    done = job.run("Prune", MLFLOW_TRACKING_URI=site.uri)
    assert done.returncode == 0, done.stderr
    assert site.live() == {site.days20}
    assert site.days40 in planned(job.plan())
    (journal,) = job.folder.glob("*.journal.jsonl")
    records = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    assert any(site.days40 in json.dumps(record) for record in records[1:])


@pytest.mark.smoke
def test_a_night_is_undone_the_next_morning_from_another_container(
    archive: Path, job: Job, project: dict[str, Any], site: Site, tmp_path: Path
):
    """All that is left of the night is its log and the volume."""
    volume = tmp_path / "volume" / "gc"
    volume.parent.mkdir()
    night = job.run("Prune", MLFLOW_TRACKING_URI=site.uri, MLFLOW_GC_DIR=str(volume))
    assert night.returncode == 0, night.stderr
    assert site.live() == {site.days20}
    assert not [*job.folder.glob("*plan*")]
    shutil.rmtree(job.folder)
    (undo,) = re.findall(r"^Undo: +(.*)$", night.stdout, re.MULTILINE)
    assert undo.startswith(f"python -m mlflow_gc restore {volume}/prune-plan-")
    (tmp_path / "morning").mkdir()
    morning = Job(unpack(archive, tmp_path / "morning"), project)
    done = morning.shell(f"{undo} --yes")
    assert done.returncode == 0, done.stderr
    assert site.live() == {site.days20, site.days40}
    # And the night after that overwrites nothing.
    before = {path: path.read_bytes() for path in volume.iterdir()}
    again = morning.run("Prune", MLFLOW_TRACKING_URI=site.uri, MLFLOW_GC_DIR=str(volume))
    assert again.returncode == 0, again.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert len([*volume.glob("*.json")]) == 2


def test_a_folder_of_a_secret_that_is_not_mounted_ends_the_job(
    job: Job, site: Site, secrets: Secrets, tmp_path: Path
):
    secrets["MLFLOW_GC_DIR"] = f"{tmp_path}/volume/gc\n"
    done = job.run("Prune", secrets, MLFLOW_TRACKING_URI=site.uri)
    assert done.returncode == 64
    assert "MLFLOW_GC_DIR (from secret file" in done.stderr
    assert site.live() == {site.days20, site.days40}
    (tmp_path / "volume").mkdir()
    done = job.run("Prune", secrets, MLFLOW_TRACKING_URI=site.uri)
    assert done.returncode == 0, done.stderr
    assert site.live() == {site.days20}
    assert len([*(tmp_path / "volume" / "gc").iterdir()]) == 2


def test_the_night_that_the_guide_adds_prunes_and_then_purges(
    job: Job, site: Site, server: LocalServer
):
    """And purges nothing after a prune that failed; Usage and Purge are commands of their own."""
    guide = (job.folder / "docs" / "install_guide.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^  Nightly:\n(?:    .*\n)*?    unix: (.*)$", guide, re.MULTILINE)
    database = {
        "MLFLOW_TRACKING_URI": site.uri,
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{server.database}",
    }
    old, kept = site.in_trash(days=100), site.in_trash(days=5)
    usage = job.run("Usage", **database)
    assert usage.returncode == 0, usage.stderr
    # Other tests of this server have left runs in the trash, too.
    (count, *_) = re.findall(r"^ +trash +(\d+) ", usage.stdout, re.MULTILINE)
    assert int(count) >= 2
    failed = job.shell(line, **database, MLFLOW_TRACKING_ENTITY_TTL="soon")
    assert failed.returncode == 64
    assert site.existing() >= {old, kept}
    night = job.shell(line, **database)
    assert night.returncode == 0, night.stderr
    assert site.live() == {site.days20}
    assert site.existing() == {site.days20, site.days40, kept}
    later = site.in_trash(days=100)
    done = job.run("Purge", **database)
    assert done.returncode == 0, done.stderr
    assert site.existing() == {site.days20, site.days40, kept}
    assert later not in site.existing()
    assert not [path for path in site.files() if old in path or later in path]
    assert [path for path in site.files() if kept in path]


def test_a_variable_of_the_job_sets_the_ttl(job: Job, site: Site):
    done = job.run("Prune", MLFLOW_TRACKING_URI=site.uri, MLFLOW_TRACKING_ENTITY_TTL="10")
    assert done.returncode == 0, done.stderr
    assert site.live() == set()


def test_a_job_with_a_senseless_ttl_fails_and_names_the_variable(job: Job, site: Site):
    done = job.run("Prune", MLFLOW_TRACKING_URI=site.uri, MLFLOW_TRACKING_ENTITY_TTL="soon")
    assert done.returncode == 64
    assert "MLFLOW_TRACKING_ENTITY_TTL" in done.stderr
    assert site.live() == {site.days20, site.days40}


# ---------------------------------------------------------------------------- AE5 secrets


class Secrets:
    """The folder where the platform mounts a user's secrets, with one file for each.

    The program looks at one fixed place.  Where the kernel allows it, only the job sees files
    there, in a mount namespace of its own, and nothing else on this machine is disturbed.
    """

    _MOUNT = (
        'mount -t tmpfs tmpfs "$(readlink -f /var/run)" && mkdir -p "$2" && cp "$1"/* "$2"'
        ' && shift 2 && exec "$@"'
    )

    def __init__(self, folder: Path, unshare: list[str]) -> None:
        self.folder = folder
        self._unshare = unshare

    def __setitem__(self, name: str, value: str) -> None:
        self.folder.joinpath(name).write_text(value, encoding="utf-8")

    def around(self, command: list[str]) -> list[str]:
        if not self._unshare:
            return command
        mount = ["sh", "-c", self._MOUNT, "sh", str(self.folder), str(SECRETS)]
        return [*self._unshare, *mount, *command]


def own_namespace(scratch: Path) -> list[str]:
    """The command that gives a process its own mounts; empty where that is not allowed."""
    (scratch / "probe").touch()
    for unshare in (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"]):
        command = Secrets(scratch, unshare).around(["test", "-e", str(SECRETS / "probe")])
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            break
        if done.returncode == 0:
            return unshare
    return []


@pytest.fixture
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secrets]:
    if unshare := own_namespace(tmp_path_factory.mktemp("probe")):
        yield Secrets(tmp_path_factory.mktemp("secrets"), unshare)
        return
    if SECRETS.exists():
        pytest.skip(f"{SECRETS} exists on this machine: secrets of somebody else")
    # Only the folders that are made here are removed again.
    made = [folder for folder in (SECRETS, *SECRETS.parents) if not folder.exists()]
    try:
        SECRETS.mkdir(parents=True)
    except OSError as error:
        pytest.skip(f"neither a mount namespace nor {SECRETS} can be made here: {error}")
    try:
        yield Secrets(SECRETS, [])
    finally:
        for file in SECRETS.iterdir():
            file.unlink()
        for folder in made:
            folder.rmdir()


def test_secrets_set_what_the_project_file_leaves_blank(job: Job, site: Site, secrets: Secrets):
    secrets["MLFLOW_TRACKING_URI"] = site.uri + "\n"
    secrets["MLFLOW_REGISTRY_URI"] = site.uri
    secrets["MLFLOW_TRACKING_ENTITY_TTL"] = "10\n"
    done = job.run("Prune", secrets)
    assert done.returncode == 0, done.stderr
    assert job.plan()["policy"]["ttl_days"] == 10
    assert site.live() == set()


def test_a_variable_of_the_job_wins_over_a_secret(job: Job, site: Site, secrets: Secrets):
    secrets["MLFLOW_TRACKING_URI"] = site.uri
    secrets["MLFLOW_TRACKING_ENTITY_TTL"] = "10"
    done = job.run("Prune", secrets, MLFLOW_TRACKING_ENTITY_TTL="30")
    assert done.returncode == 0, done.stderr
    assert site.live() == {site.days20}


class _Gate(http.server.BaseHTTPRequestHandler):
    """A private endpoint: passes requests on and remembers how they were authorised."""

    target: str
    seen: set[str | None]

    def _pass_on(self) -> None:
        type(self).seen.add(self.headers.get("Authorization"))
        length = int(self.headers.get("Content-Length") or 0)
        request = urllib.request.Request(
            self.target + self.path,
            data=self.rfile.read(length) if length else None,
            headers={"Content-Type": self.headers.get("Content-Type") or "application/json"},
            method=self.command,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                status, body = response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                status, body = error.code, error.read()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_DELETE = _pass_on  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def gate(server: LocalServer) -> Iterator[type[_Gate]]:
    handler = type("Gate", (_Gate,), {"target": server.uri, "seen": set()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        handler.uri = f"http://127.0.0.1:{running.server_port}"  # type: ignore[attr-defined]
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield handler
        running.shutdown()


def test_the_token_of_a_secret_reaches_the_server(
    job: Job, site: Site, gate: Any, secrets: Secrets
):
    secrets["MLFLOW_TRACKING_TOKEN"] = "s3cret-of-the-job\n"
    done = job.run("Report", secrets, MLFLOW_TRACKING_URI=gate.uri)
    assert done.returncode == 0, done.stderr
    assert gate.seen == {"Bearer s3cret-of-the-job"}
    assert site.days40 in planned(job.plan())
    assert "s3cret-of-the-job" not in done.stdout + done.stderr + json.dumps(job.plan())


def test_without_a_token_none_is_sent(job: Job, site: Site, gate: Any):
    done = job.run("Report", MLFLOW_TRACKING_URI=gate.uri)
    assert done.returncode == 0, done.stderr
    assert gate.seen == {None}
    assert site.days40 in planned(job.plan())
