"""The hooks of .pre-commit-hooks.yaml, run by the real pre-commit from a clone of this repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support import ROOT
from support.pages import block_for, blocks
from support.plans import Plan
from support.repository import git, repository, snapshot
from support.world import FRESH

if TYPE_CHECKING:
    from support.bench import Bench

POLICY = "version: 1\ndefaults: {ttl: 14d}\n"
CASES = """version: 1
policy: mlflow-gc.yml
as_of: 2026-11-24
cases:
  - name: a fortnight
    runs:
      - {experiment: x, age: 15d, expect: delete}
      - {experiment: x, age: 13d, expect: keep}
"""


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with what the work tree has: the hooks that the next release will have."""
    clone = snapshot(tmp_path_factory.mktemp("hooks") / "mlflow-gc")
    git(clone, "tag", "v0.1.0")
    return clone


@pytest.fixture(scope="module")
def pre_commit_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which pre-commit installs the clone itself, and nothing from an index.

    What the package depends on is found where the tests have it.
    """
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path_factory.mktemp("home")),
        "PRE_COMMIT_HOME": str(tmp_path_factory.mktemp("pre-commit")),
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PYTHONPATH": sysconfig.get_path("purelib"),
        "GIT_CONFIG_GLOBAL": os.devnull,
    }


@pytest.fixture
def team(bench: Bench, hooks: Path, tmp_path: Path) -> Path:
    """A repository with a plan, a policy and cases, and the configuration of the how-to page."""
    bench.world.bulk_runs(bench.world.experiment(age=FRESH), 3)
    plan = bench.report()
    trash = ("--trash", "--backend-store-uri", f"sqlite:///{bench.world.database}")
    bench.cli("report", *trash, "-o", bench.dir / "purge-plan.json").expect(0)
    config = yaml.safe_load(block_for("how-to/pre-commit.md", ".pre-commit-config.yaml"))
    (entry,) = config["repos"]
    entry["repo"], entry["rev"] = str(hooks), "v0.1.0"
    return repository(
        tmp_path / "team",
        {
            ".pre-commit-config.yaml": yaml.safe_dump(config),
            "prune-plan.json": plan.path.read_text(),
            "purge-plan.json": (bench.dir / "purge-plan.json").read_text(),
            "mlflow-gc.yml": POLICY,
            "mlflow-gc.tests.yml": CASES,
            # Of that name, and no policy.
            ".github/workflows/mlflow-gc.yml": "on: push\n",
        },
    )


def run(team: Path, env: dict[str, str]) -> tuple[int, str]:
    """``pre-commit run --all-files``."""
    done = subprocess.run(
        ["pre-commit", "run", "--all-files", "--color=never", "--verbose"],
        cwd=team,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_manifest_is_one() -> None:
    """In the words of pre-commit."""
    subprocess.run(
        [Path(sys.executable).parent / "pre-commit", "validate-manifest", ".pre-commit-hooks.yaml"],
        cwd=ROOT,
        check=True,
    )


HOOKS = [
    hook
    for hook in [
        *yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")),
        *(
            each
            for block in blocks(ROOT / "docs" / "how-to" / "pre-commit.md")
            if "repo: local" in block.text
            for each in yaml.safe_load(block.text)["repos"][0]["hooks"]
        ),
    ]
    if hook["id"] == "mlflow-gc-validate"
]


@pytest.mark.smoke
@pytest.mark.parametrize("hook", HOOKS, ids=["ours", "local"])
def test_the_hook_takes_what_the_program_writes(hook: dict[str, Any]) -> None:
    """Under the default names, and nothing of a code host."""

    def takes(name: str) -> bool:
        return bool(re.search(hook["files"], name) and not re.search(hook["exclude"], name))

    for plan in ("prune-plan.json", "purge-plan.json"):
        timed = plan.replace(".json", "-20260501T100211Z.json")
        for name in (plan, f"a/folder/{timed}", f"{plan}.journal.jsonl"):
            assert takes(name), name
    assert takes("mlflow-gc.yml")
    assert takes("mlflow-gc.tests.yaml")
    others = (".github/workflows/mlflow-gc.yml", ".gitlab/mlflow-gc.yml", "package.json", "plan.md")
    assert not any(map(takes, others))


def test_good_files_pass(team: Path, pre_commit_env: dict[str, str]) -> None:
    """Plans, policy and cases are looked at, a workflow is not."""
    code, output = run(team, pre_commit_env)
    assert code == 0, output
    assert "prune-plan.json: valid plan sha256:" in output
    assert "purge-plan.json: valid plan sha256:" in output
    assert "mlflow-gc.yml: valid policy" in output
    assert "mlflow-gc.tests.yml: valid policy tests, 1 cases" in output
    assert "workflows" not in output


def test_an_edited_plan_fails(team: Path, pre_commit_env: dict[str, str]) -> None:
    """Its digest does not fit any more."""
    plan = Plan.load(team / "prune-plan.json")

    def edit(document: dict[str, Any]) -> None:
        document["runs"].pop()
        document["summary"]["runs"]["delete"] -= 1

    plan.edited(plan.path, edit, sign=False)
    code, output = run(team, pre_commit_env)
    assert code == 1
    assert "It was edited" in output


def test_a_case_that_does_not_hold_any_more_fails(
    team: Path, pre_commit_env: dict[str, str]
) -> None:
    """The policy was changed, its cases were not."""
    (team / "mlflow-gc.yml").write_text(POLICY.replace("14d", "7d"))
    code, output = run(team, pre_commit_env)
    assert code == 1
    assert "a fortnight" in output


def test_a_policy_with_a_mistake_fails(team: Path, pre_commit_env: dict[str, str]) -> None:
    """With its line."""
    (team / "mlflow-gc.yml").write_text(POLICY + "colour: blue\n")
    code, output = run(team, pre_commit_env)
    assert code == 1
    assert "colour" in output
