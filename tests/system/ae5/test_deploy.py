"""The script and the notebook that deploy on Anaconda Enterprise 5, with an ``ae5`` that records.

Both are for the same administrator, so both have to pass the same tests.  The notebook runs as in
Jupyter: cell after cell, in one namespace, until the first that fails.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import ROOT
from support.fake_ae5 import EMPTY, parser
from support.pages import blocks

HOW_TO = ROOT / "docs" / "how-to"
SCRIPT = HOW_TO / "ae5_deploy.sh"
NOTEBOOK = HOW_TO / "ae5_deploy.ipynb"
FAKE = ROOT / "tests" / "support" / "fake_ae5.py"

PASSWORD, TOKEN = "correct horse", "t0ken-of-the-deployment"
PROJECT = "mlflow-gc-1.2.3"
JOB = "scheduled mlflow-gc"
LOGIN = {"AE5_HOSTNAME": "ae5.example.com", "AE5_USERNAME": "mlflow-service"}
ACCOUNTS = {
    "service account": {**LOGIN, "AE5_PASSWORD": PASSWORD},
    "administrator": {
        **LOGIN,
        "AE5_IMPERSONATE": "true",
        "AE5_ADMIN_USERNAME": "admin",
        "AE5_ADMIN_PASSWORD": PASSWORD,
    },
}
SETTINGS = {
    "MLFLOW_TRACKING_URI": "https://mlflow.ae5.example.com",
    "MLFLOW_TRACKING_TOKEN": TOKEN,
    "MLFLOW_GC_DIR": "/data/mlflow/gc",
}

RUN_CELLS = """
import json, sys
notebook, read = sys.argv[1:]
namespace = {"__name__": "__main__"}
for cell in json.load(open(notebook, encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        source = "".join(cell["source"])
        if cell["id"] == "stop" and read:
            assert 'REPORT_READ = ""' in source
            source = source.replace('REPORT_READ = ""', f"REPORT_READ = {read}")
        exec(compile(source, cell["id"], "exec"), namespace)
"""


class Administrator:
    """Deploys with one of the two, and looks at the cluster afterwards."""

    def __init__(self, folder: Path, way: str) -> None:
        self.folder = folder
        self.way = way
        self.state = folder / "cluster.json"
        self.state.write_text(json.dumps(EMPTY), encoding="utf-8")
        ae5 = folder / "bin" / "ae5"
        ae5.parent.mkdir()
        ae5.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -I -S "{FAKE}" "$@"\n', encoding="utf-8"
        )
        ae5.chmod(0o755)

    def archive(self, project: str = PROJECT) -> Path:
        path = self.folder / f"{project}.tar.gz"
        path.touch()
        return path

    def cluster(self, **changes: Any) -> dict[str, Any]:
        """What is on the cluster, after the changes."""
        state = json.loads(self.state.read_text(encoding="utf-8"))
        if changes:
            self.state.write_text(json.dumps({**state, **changes}), encoding="utf-8")
        return {**state, **changes}

    def scheduled(self) -> list[dict[str, Any]]:
        return [job for job in self.cluster()["jobs"] if job.get("schedule")]

    def run(self, command: list[str], **env: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(
            [str(self.folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        )
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={"PATH": path, "FAKE_AE5": str(self.state), "HOME": str(self.folder), **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        for secret in (PASSWORD, TOKEN):
            assert secret not in done.stdout, "everything printed is stored in outputs and logs"
        return done

    def upload(
        self, project: str = PROJECT, account: str = "service account", **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Go as far as the report."""
        archive = str(self.archive(project))
        env = {**ACCOUNTS[account], **SETTINGS, **settings}
        if self.way == "script":
            return self.run([str(SCRIPT), "upload", archive], **env)
        return self.cells("", MLFLOW_GC_ARCHIVE=archive, **env)

    def schedule(
        self, project: str = PROJECT, account: str = "service account"
    ) -> subprocess.CompletedProcess[str]:
        """Read the report, and go on."""
        if self.way == "script":
            return self.run([str(SCRIPT), "schedule", project], **ACCOUNTS[account])
        env = {**ACCOUNTS[account], **SETTINGS}
        archive = str(self.archive(project))
        return self.cells('report["id"]', MLFLOW_GC_ARCHIVE=archive, **env)

    def cells(self, read: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run([sys.executable, "-c", RUN_CELLS, str(NOTEBOOK), read], **env)

    def uploaded(self, done: subprocess.CompletedProcess[str]) -> None:
        """Assert that it went as far as the report, and no further."""
        if self.way == "script":
            assert done.returncode == 0, done.stdout
        else:
            assert done.returncode == 1, done.stdout
            assert "Read the report above, then set REPORT_READ" in done.stdout


@pytest.fixture(params=["script", "notebook"])
def administrator(request: pytest.FixtureRequest, tmp_path: Path) -> Administrator:
    return Administrator(tmp_path, request.param)


@pytest.mark.smoke
@pytest.mark.parametrize("account", [*ACCOUNTS])
def test_nothing_is_scheduled_before_the_report_was_read(
    administrator: Administrator, account: str
):
    done = administrator.upload(account=account)
    administrator.uploaded(done)
    cluster = administrator.cluster()
    assert "Plan: 3 to delete" in done.stdout, "the log of the report is there to be read"
    assert [project["name"] for project in cluster["projects"]] == [PROJECT]
    assert cluster["secrets"] == SETTINGS
    assert [run["command"] for run in cluster["runs"]] == ["Report"]
    assert not administrator.scheduled()
    # A value of the job would win over the secret for ever.
    assert not [call for call in cluster["calls"] if "--variable" in call]
    # The cookies of this login do not stay, and those of others are not used.
    (config,) = {*cluster["config"]}
    assert config
    assert not Path(config).exists()


@pytest.mark.smoke
@pytest.mark.parametrize("account", [*ACCOUNTS])
def test_the_schedule_prunes_every_night(administrator: Administrator, account: str):
    administrator.uploaded(administrator.upload(account=account))
    done = administrator.schedule(account=account)
    assert done.returncode == 0, done.stdout
    (job,) = administrator.scheduled()
    assert (job["name"], job["command"], job["schedule"]) == (JOB, "Prune", "0 0 * * *")
    assert job["project_name"] == PROJECT
    assert not [call for call in administrator.cluster()["calls"] if "--variable" in call]


def test_another_ttl_is_a_secret(administrator: Administrator):
    administrator.uploaded(administrator.upload(MLFLOW_TRACKING_ENTITY_TTL="90"))
    assert administrator.cluster()["secrets"]["MLFLOW_TRACKING_ENTITY_TTL"] == "90"


def test_a_blank_setting_is_left_as_it_is(administrator: Administrator):
    administrator.cluster(secrets={"MLFLOW_GC_DIR": "/elsewhere"})
    administrator.uploaded(administrator.upload(MLFLOW_GC_DIR=" "))
    assert administrator.cluster()["secrets"]["MLFLOW_GC_DIR"] == "/elsewhere"


@pytest.mark.smoke
def test_a_new_version_replaces_the_schedule_of_the_old_one(administrator: Administrator):
    administrator.upload()
    administrator.schedule()
    (old,) = administrator.scheduled()
    # Its nights have runs, which keep the name when the job is deleted.
    runs = [{**old, "id": f"a2-{'f' * 32}", "state": "completed", "log": ""}]
    administrator.cluster(runs=[*administrator.cluster()["runs"], *runs])
    administrator.uploaded(administrator.upload("mlflow-gc-1.3.0"))
    assert administrator.scheduled() == [old], "until the new report was read"
    done = administrator.schedule("mlflow-gc-1.3.0")
    assert done.returncode == 0, done.stdout
    (new,) = administrator.scheduled()
    assert (new["name"], new["project_name"]) == (f"{JOB}-1", "mlflow-gc-1.3.0")


@pytest.mark.smoke
def test_there_are_never_two_jobs_that_prune(administrator: Administrator):
    """Least of all one of the older project, which has a command of the same name."""
    older = {
        "id": f"a2-{'e' * 32}",
        "name": "scheduled anaconda.mlflow.tracking.prune",
        "command": "Prune",
        "schedule": "0 0 * * *",
        "state": "scheduled",
    }
    administrator.upload()
    administrator.cluster(jobs=[*administrator.cluster()["jobs"], older])
    done = administrator.schedule()
    assert done.returncode == 1
    assert older["name"] in done.stdout
    assert administrator.scheduled() == [older]


def test_a_schedule_that_runs_now_is_not_doubled(administrator: Administrator):
    administrator.upload()
    administrator.schedule()
    (old,) = administrator.scheduled()
    old["state"] = "running"
    administrator.cluster(jobs=[old])
    done = administrator.schedule()
    assert done.returncode == 1
    assert "active run" in done.stdout
    assert administrator.scheduled() == [old]


@pytest.mark.smoke
def test_a_report_that_failed_ends_it(administrator: Administrator):
    """``ae5 job create --wait`` exits with 0 all the same."""
    administrator.cluster(report_state="failed")
    done = administrator.upload()
    assert done.returncode == 1
    assert "failed" in done.stdout
    assert "Read the report above" not in done.stdout
    assert "Plan: 3 to delete" in done.stdout, "its log says why"
    if administrator.way == "notebook":
        assert administrator.schedule().returncode == 1
    assert not administrator.scheduled()


@pytest.mark.smoke
def test_a_secret_that_is_refused_is_not_printed(administrator: Administrator):
    """Though ae5-tools prints the request that failed."""
    administrator.cluster(refused_secret="MLFLOW_TRACKING_TOKEN")
    done = administrator.upload()
    assert done.returncode == 1
    assert "500 Internal Server Error" in done.stdout
    assert not administrator.cluster()["runs"]


def test_a_wrong_password_ends_it(administrator: Administrator, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(ACCOUNTS["administrator"], "AE5_ADMIN_PASSWORD", "wrong")
    done = administrator.upload(account="administrator")
    assert done.returncode == 1
    assert "Invalid username or password" in done.stdout
    assert not administrator.cluster()["secrets"]


@pytest.mark.smoke
def test_the_guide_uses_only_what_ae5_tools_has():
    lines = []
    for block in blocks(ROOT / "docs" / "install_guide.md"):
        joined = re.sub(r"\\\n\s*", "", block.text)
        lines += [line.strip() for line in joined.splitlines() if line.strip().startswith("ae5 ")]
    assert len(lines) > 10
    for line in lines:
        parser().parse_args(shlex.split(line, comments=True)[1:])
    with pytest.raises(SystemExit):
        parser().parse_args(shlex.split("job create --command Prune x -variable A=b"))


# ---------------------------------------------------------------------------- the script alone


@pytest.fixture
def with_script(tmp_path: Path) -> Administrator:
    return Administrator(tmp_path, "script")


@pytest.mark.parametrize("account", [*ACCOUNTS])
def test_the_script_names_what_is_missing_before_it_does_anything(
    with_script: Administrator, account: str
):
    for name in ACCOUNTS[account].keys() - {"AE5_IMPERSONATE"}:
        left = {k: v for k, v in ACCOUNTS[account].items() if k != name}
        archive = str(with_script.archive())
        done = with_script.run([str(SCRIPT), "upload", archive], **left, **SETTINGS)
        assert done.returncode != 0
        assert name in done.stdout
    assert not with_script.cluster()["calls"]


def test_the_script_takes_no_for_no(with_script: Administrator):
    env = {"AE5_IMPERSONATE": "false", **ACCOUNTS["service account"], **SETTINGS}
    done = with_script.run([str(SCRIPT), "upload", str(with_script.archive())], **env)
    assert done.returncode == 0, done.stdout


def test_the_script_uploads_nothing_twice(with_script: Administrator):
    with_script.upload()
    calls = len(with_script.cluster()["calls"])
    done = with_script.upload(MLFLOW_TRACKING_ENTITY_TTL="1")
    assert done.returncode == 1
    assert f"The project {PROJECT} exists" in done.stdout
    assert "MLFLOW_TRACKING_ENTITY_TTL" not in with_script.cluster()["secrets"]
    assert [c[0] for c in with_script.cluster()["calls"][calls:]] == ["login", "project"]


def test_the_printed_command_schedules_at_any_time(with_script: Administrator):
    line = with_script.upload().stdout.splitlines()[-1].split()
    assert line[1:] == ["schedule", PROJECT]
    done = with_script.run([*line, "30 3 * * 1-5"], **ACCOUNTS["service account"])
    assert done.returncode == 0, done.stdout
    assert [job["schedule"] for job in with_script.scheduled()] == ["30 3 * * 1-5"]


@pytest.mark.parametrize(
    "arguments", [[], ["upload"], ["schedule"], ["upload", "a", "b"], ["x", "y"]]
)
def test_the_script_prints_its_usage(with_script: Administrator, arguments: list[str]):
    done = with_script.run([str(SCRIPT), *arguments])
    assert done.returncode == 1
    assert done.stdout.startswith("Usage:")
    assert not with_script.cluster()["calls"]


@pytest.mark.smoke
def test_shellcheck_finds_nothing_in_the_script():
    shellcheck = Path(sys.executable).parent / "shellcheck"
    found = subprocess.run([shellcheck, "--severity=style", SCRIPT], check=False)
    assert found.returncode == 0
    assert os.access(SCRIPT, os.X_OK)


# ---------------------------------------------------------------------------- the notebook alone


@pytest.mark.smoke
@pytest.mark.parametrize("read", ["True", '"yes"', '"a2-00000000000000000000000000000002x"'])
def test_only_the_report_that_was_read_counts(tmp_path: Path, read: str):
    """Not that of another day, whose id was left in the cell."""
    administrator = Administrator(tmp_path, "notebook")
    env = {**ACCOUNTS["service account"], **SETTINGS}
    done = administrator.cells(read, MLFLOW_GC_ARCHIVE=str(administrator.archive()), **env)
    administrator.uploaded(done)
    assert not administrator.scheduled()


@pytest.mark.smoke
def test_the_notebook_is_one_without_outputs():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len({*ids}) == len(ids)
    for cell in notebook["cells"]:
        assert isinstance(cell["metadata"], dict)
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
