"""docs/how-to/kubernetes.md and cron.md: what runs every night, without a terminal."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support import ROOT, oracle
from support.pages import block_for, blocks
from support.plans import Journal
from support.world import FRESH

if TYPE_CHECKING:
    from support.world import World

BIN = Path(sys.executable).parent
CLAIM, CRON_JOB = yaml.safe_load_all(block_for("how-to/kubernetes.md", "mlflow-gc.yaml"))
ARGUMENTS = [
    yaml.safe_load(block.text)["args"]
    for block in blocks(ROOT / "docs" / "how-to" / "kubernetes.md")
    if block.text.lstrip().startswith("args:")
]


def run(command: list[str], world: World, where: Path, **env: str) -> None:
    """Run a command as a scheduler does: a bare environment, no terminal."""
    done = subprocess.run(
        command,
        cwd=where,
        env={
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(where),
            "MLFLOW_TRACKING_URI": world.uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            **env,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == int(env.get("CODE", "0")), done.stdout + done.stderr


def container() -> dict[str, Any]:
    """The one container of the CronJob."""
    (found,) = CRON_JOB["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_the_cron_job_is_careful() -> None:
    """One at a time, no blind retries, time to end in order, no rights it does not need."""
    assert CRON_JOB["spec"]["concurrencyPolicy"] == "Forbid"
    job = CRON_JOB["spec"]["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    assert job["backoffLimit"] == 0
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] > 30
    assert pod["securityContext"]["runAsNonRoot"]
    assert not container()["securityContext"]["allowPrivilegeEscalation"]


def test_the_token_is_a_secret_and_the_plans_stay() -> None:
    """No secret in the manifest; plans and journals on the claimed volume."""
    env = {each["name"]: each for each in container()["env"]}
    assert "value" not in env["MLFLOW_TRACKING_TOKEN"]
    reference = env["MLFLOW_TRACKING_TOKEN"]["valueFrom"]["secretKeyRef"]
    page = (ROOT / "docs" / "how-to" / "kubernetes.md").read_text()
    assert f"secret generic {reference['name']} --from-file={reference['key']}=" in page
    pod = CRON_JOB["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container()["volumeMounts"]}
    claimed = volumes[mounts["/plans"]]["persistentVolumeClaim"]["claimName"]
    assert claimed == CLAIM["metadata"]["name"]
    configured = volumes[mounts["/policy"]]["configMap"]["name"]
    assert f"create configmap {configured} --from-file=mlflow-gc.yml" in page
    assert env["MLFLOW_GC_POLICY"]["value"] == "/policy/mlflow-gc.yml"


def test_the_container_prunes(world: World, tmp_path: Path) -> None:
    """Its command and arguments, with a directory in place of the volume."""
    runs = world.bulk_runs(world.experiment(age=FRESH), 3)
    (tmp_path / "policy.yml").write_text("version: 1\n")
    (script,) = container()["args"]
    command = [*container()["command"], script.replace("/plans", str(tmp_path))]
    run(command, world, tmp_path, MLFLOW_GC_POLICY="policy.yml")
    (journal,) = tmp_path.glob("*.json.journal.jsonl")
    assert Journal.load(journal).with_outcome("deleted") == {("run", each) for each in runs}


def test_report_nightly_apply_when_approved(world: World, tmp_path: Path) -> None:
    """The two variants of the arguments: a plan, and what the approved digest lets go."""
    world.bulk_runs(world.experiment(age=FRESH), 3)
    (report,), (apply,) = ARGUMENTS
    run(["sh", "-c", report.replace("/plans", str(tmp_path))], world, tmp_path)
    before = oracle.look(world.database)
    # The digest of the page is of another plan.
    run(["sh", "-c", apply.replace("/plans", str(tmp_path))], world, tmp_path, CODE="5")
    assert oracle.look(world.database) == before


def test_the_image_needs_what_is_there() -> None:
    """Files that the Dockerfile names, and no root."""
    text = block_for("how-to/kubernetes.md", "Dockerfile")
    assert (ROOT / "scripts" / "install.sh").stat().st_mode & 0o111
    assert "mlflow-gc-source/scripts/install.sh /opt/mlflow-gc" in text
    assert "USER 10001" in text
    pod = CRON_JOB["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == 10001


# cron


@pytest.fixture
def nightly(world: World, tmp_path: Path) -> list[str]:
    """The job of the page, with its settings and directories under a scratch directory."""
    settings = block_for("how-to/cron.md", "/etc/mlflow-gc.env")
    settings = settings.replace("https://mlflow.example.com", world.uri)
    settings = settings.replace("/etc", str(tmp_path))
    (tmp_path / "mlflow-gc.env").write_text(settings)
    (tmp_path / "mlflow-gc.yml").write_text("version: 1\n")
    (tmp_path / "plans").mkdir()
    (text,) = [
        block.text
        for block in blocks(ROOT / "docs" / "how-to" / "cron.md")
        if block.text.startswith("#!/bin/sh")
    ]
    for place in ("/etc", "/var/lib/mlflow-gc"):
        text = text.replace(place, str(tmp_path))
    text = text.replace("/opt/mlflow-gc/bin", str(BIN))
    script = tmp_path / "nightly"
    script.write_text(text)
    script.chmod(0o755)
    return [str(script)]


def test_the_nightly_job(world: World, nightly: list[str], tmp_path: Path) -> None:
    """A plan and a journal that only this account can read."""
    runs = world.bulk_runs(world.experiment(age=FRESH), 3)
    run(nightly, world, tmp_path)
    plan, journal = sorted((tmp_path / "plans").iterdir())
    assert journal.name == f"{plan.name}.journal.jsonl"
    assert Journal.load(journal).with_outcome("deleted") == {("run", each) for each in runs}
    assert {file.stat().st_mode & 0o077 for file in (plan, journal)} == {0}


def test_one_night_at_a_time(world: World, nightly: list[str], tmp_path: Path) -> None:
    """The second one ends at once, with 1."""
    world.bulk_runs(world.experiment(age=FRESH), 3)
    before = oracle.look(world.database)
    command = f"flock plans {shlex.join(nightly)}"
    run(["sh", "-c", command], world, tmp_path, CODE="1")
    assert oracle.look(world.database) == before
