"""The Dockerfile: its rules, what is in the image, and that it works without any rights."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from support import ROOT, image
from support.plans import Journal, Plan
from support.world import FRESH

from mlflow_gc import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.world import World

BIN = Path(sys.executable).parent
PIN = re.compile(r"^([a-z0-9_-]+)==(\S+)", re.MULTILINE)
SOMEBODY = 4711
"""A user that the image does not know."""

# Rules -------------------------------------------------------------------------------------------


def lint(dockerfile: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "hadolint", "--no-color", dockerfile], capture_output=True, text=True, check=False
    )


@pytest.mark.smoke
def test_hadolint_finds_nothing(tmp_path: Path) -> None:
    """No rule is ignored; in a Dockerfile with a mistake, it finds it."""
    done = lint(image.DOCKERFILE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hadolint ignore" not in image.DOCKERFILE.read_text()
    broken = tmp_path / "Dockerfile"
    broken.write_text(image.DOCKERFILE.read_text().replace("WORKDIR /plans", "WORKDIR plans"))
    assert "DL3000" in lint(broken).stdout


@pytest.mark.smoke
def test_the_base_image_is_pinned() -> None:
    """Python and Debian by version, the bytes by digest, from no registry but Docker's default."""
    (base,) = image.named("FROM")
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+@sha256:[0-9a-f]{64}", base.text)
    # A first line with a frontend would be fetched from a registry, too.
    assert not re.match(r"#\s*(syntax|escape|check)\s*=", image.DOCKERFILE.read_text())
    watched = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    (docker,) = [each for each in watched if each["package-ecosystem"] == "docker"]
    assert docker["directories"] == ["/"]


@pytest.mark.smoke
def test_it_has_no_rights_and_starts_the_program() -> None:
    """A numeric user, for runAsNonRoot of Kubernetes; all that follows is started by it."""
    (user,) = image.named("USER")
    assert int(user.text) > 0
    (entry,) = image.named("ENTRYPOINT")
    assert entry.words == ["mlflow-gc"]
    (folder,) = image.named("WORKDIR")
    assert [each.text for each in image.named("VOLUME")] == [folder.text] == ["/plans"]
    order = [each.name for each in image.instructions()]
    assert order.index("USER") > max(n for n, name in enumerate(order) if name in {"RUN", "COPY"})
    assert "ADD" not in order


@pytest.mark.smoke
def test_every_package_has_a_hash() -> None:
    """The two lists are of the same versions, and pip takes nothing else."""
    (script,) = image.named("RUN")
    assert "scripts/install.sh /opt/mlflow-gc " in script.text
    installs = re.findall(r"-m pip install .*?requirements\S*\.txt", script.text)
    assert len(installs) == 1
    assert "--require-hashes" in installs[0]
    assert "--only-binary :all:" in installs[0]
    base = dict(PIN.findall((ROOT / "requirements.txt").read_text()))
    more = dict(PIN.findall((ROOT / "requirements-image.txt").read_text()))
    tested = dict(PIN.findall((ROOT / "requirements-dev.txt").read_text()))
    assert not base.keys() & more.keys()
    assert {"psycopg2-binary", "pymysql", "boto3", "google-cloud-storage"} <= more.keys()
    assert {"azure-storage-blob", "azure-identity"} <= more.keys()
    # What the tests ran with.
    assert {name: tested.get(name) for name in more} == more


# Content -----------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_only_the_program_is_in_it() -> None:
    """Every COPY finds something; nothing of tests, documentation, git or caches."""
    copied = image.copied()
    for each in image.named("COPY"):
        *sources, _ = each.words
        for source in sources:
            assert [name for name in copied if name == source or name.startswith(f"{source}/")]
    assert {name.split("/")[0] for name in copied} == {
        *("LICENSE", "mlflow_gc", "requirements-image.txt", "requirements.txt", "schemas"),
        "scripts",
    }
    assert [name for name in copied if name.startswith("scripts")] == ["scripts/install.sh"]
    assert {"mlflow_gc/__main__.py", "schemas/prune-plan.v1.schema.json"} <= copied.keys()


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("mlflow_gc/cli/report.py", True),
        ("requirements.txt", True),
        ("scripts/install.sh", True),
        ("requirements-dev.txt", False),
        ("tests/conftest.py", False),
        ("mlflow_gc/__pycache__/x.pyc", False),
        ("mlflow_gc/cli/__pycache__/x.pyc", False),
        (".git/config", False),
        (".venv/bin/python", False),
        ("prune-plan.json", False),
        ("mlflow.db", False),
        (".env", False),
    ],
)
def test_what_a_build_sees(path: str, sent: bool) -> None:
    """Neither plans nor secrets of the one who builds."""
    assert image.is_sent(path) is sent


# Done without Docker -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built() -> Iterator[Path]:
    """What the Dockerfile makes, in a directory: some hundred packages."""
    with folder_for_anybody("image") as root:
        image.build(root)
        yield root


@contextmanager
def folder_for_anybody(name: str, mode: int = 0o755) -> Iterator[Path]:
    """A new folder outside those of pytest, each session of which locks others out of all of them."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as made:
        Path(made).chmod(mode)
        yield Path(made)


def as_anybody() -> list[str]:
    """The beginning of a command of a user without rights, where tests may become one."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return []
    readable = all(
        folder.stat().st_mode & 0o005 == 0o005
        for folder in Path(os.path.realpath(sys.executable)).parents
    )
    user = [f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups"]
    # An interpreter below root's home can be executed by root only: then without capabilities.
    none = ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
    return ["setpriv", *(user if readable else []), *none]


def start(
    built: Path, plans: Path, *arguments: str, code: int = 0, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the entry point as a container does: in the volume, with a bare environment."""
    done = subprocess.run(
        [*as_anybody(), built / "opt/mlflow-gc/bin/mlflow-gc", *arguments],
        cwd=plans,
        # Nothing can be created there, as in a read-only file system.
        env={"PATH": f"{built}/opt/mlflow-gc/bin:/usr/bin:/bin", "HOME": "/proc", "TMPDIR": "/proc"}
        | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def content(folder: Path) -> dict[str, int]:
    """Every file below a folder, with the time of its last change."""
    return {str(path): path.lstat().st_mtime_ns for path in sorted(folder.rglob("*"))}


@pytest.mark.timeout(2400)
def test_the_image_reports_and_prunes(built: Path, world: World) -> None:
    """Nothing but the volume is written; all drivers and clients are there."""
    with folder_for_anybody("plans", 0o777) as plans:
        _report_and_prune(built, plans, world)


def _report_and_prune(built: Path, plans: Path, world: World) -> None:
    before = content(built)
    assert start(built, plans, "--version").stdout == f"mlflow-gc {__version__}\n"
    assert json.loads(start(built, plans, "schema", "plan").stdout)["title"]
    subprocess.run(
        [
            *(built / "opt/mlflow-gc/bin/python", "-I", "-B", "-c"),
            "import psycopg2, pymysql, boto3, google.cloud.storage, azure.storage.blob",
        ],
        check=True,
    )
    runs = world.bulk_runs(world.experiment(age=FRESH), 3)
    reported = start(built, plans, "report", MLFLOW_TRACKING_URI=world.uri)
    plan = Plan.load(plans / "prune-plan.json")
    assert "\nReview:  mlflow-gc show prune-plan.json\n" in reported.stderr + reported.stdout
    expect = ("--expect", plan.plan_id)
    start(built, plans, "prune", plan.path.name, *expect, MLFLOW_TRACKING_URI=world.uri)
    journal = Journal.load(plans / "prune-plan.json.journal.jsonl")
    assert journal.with_outcome("deleted") == {("run", each) for each in runs}
    assert content(built) == before


def test_nobody_has_to_compile(built: Path) -> None:
    """Every module of the program has its byte code: it could not be written later."""
    package = built / "opt/mlflow-gc-source/mlflow_gc"
    modules = list(package.rglob("*.py"))
    assert len(modules) > 100
    for module in modules:
        assert list((module.parent / "__pycache__").glob(f"{module.stem}.cpython-*.pyc")), module
