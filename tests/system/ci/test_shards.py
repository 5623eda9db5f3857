"""docs/how-to/shards.md: what each scheduler starts for a shard, on a server.

There is no Kubernetes, Slurm or Airflow here: stand-ins read the recipe, set what the scheduler sets
for each of the shards, and start its command in a shell.  They apply a few shards in place of 16.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from support import ROOT, kubernetes
from support.pages import blocks
from support.plans import Journal, Plan
from support.world import FRESH

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.bench import Bench

BIN = Path(sys.executable).parent
BLOCKS = blocks(ROOT / "docs" / "how-to" / "shards.md")
(JOB,) = [m for m in kubernetes.manifests() if m.block in BLOCKS]
(SLURM,) = [b.text for b in BLOCKS if "#SBATCH" in b.text]
(AIRFLOW,) = [b.text for b in BLOCKS if b.language == "python"]
(AFTERWARDS,) = [b.text for b in BLOCKS if "journal merge" in b.text]
ON_PAGE = 16
COUNT = 3


@pytest.fixture
def plan(bench: Bench) -> Plan:
    """Runs in several experiments, a tree, and an experiment that goes with its last run."""
    world = bench.world
    for name in ("a", "b", "c"):
        world.bulk_runs(world.experiment(name, age=FRESH), 4)
    parent = world.run(world.experiment("tree"))
    world.run(world.experiment("leaf"), parent=parent)
    return bench.report(name="prune-plan.json")


def start(bench: Bench, command: str, **more: str) -> None:
    """Run a command in a shell, as a scheduler does on one of its machines."""
    env = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(bench.dir),
        "MLFLOW_TRACKING_URI": bench.world.uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=bench.dir,
        env=env | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def here(text: str, bench: Bench, folder: str) -> str:
    """The files of this test for those of the page, and fewer shards."""
    assert f"{folder}/prune-plan.json" in text
    text = text.replace(f"{folder}/", f"{bench.dir}/")
    return text.replace(f"/{ON_PAGE}", f"/{COUNT}")


def indexed_job(bench: Bench) -> None:
    """Start the container of each index."""
    shell, (script,) = JOB.container["command"], JOB.container["args"]
    assert shell == ["sh", "-c"]
    # Kubernetes puts variables of the container in place of $(NAME), and leaves other parentheses.
    names = re.findall(r"\$\(([^)]*)\)", script)
    assert not {*JOB.env, "JOB_COMPLETION_INDEX"} & set(names)
    for index in range(COUNT):
        start(bench, here(script, bench, "/plans"), JOB_COMPLETION_INDEX=str(index))


def slurm_array(bench: Bench) -> None:
    """Start the script for each task of the array, as ``sbatch`` does with a copy of it."""
    script = bench.dir / "slurm_script"
    script.write_text(here(SLURM, bench, "/shared"))
    script.chmod(0o700)
    for task in range(1, COUNT + 1):
        start(bench, str(script), SLURM_ARRAY_TASK_ID=str(task), SLURM_ARRAY_JOB_ID="4711")


class Operator:
    """Stands for Airflow's BashOperator, mapped or not; keeps the order of the tasks."""

    def __init__(self, *, task_id: str, bash_command: str | list[str] = "", **options: Any) -> None:
        self.task_id, self.options = task_id, options
        self.commands = [bash_command] if isinstance(bash_command, str) else bash_command
        self.following: list[Operator] = []

    @classmethod
    def partial(cls, **fixed: Any) -> Operator:
        return cls(**fixed)

    def expand(self, *, bash_command: list[str]) -> Operator:
        self.commands = bash_command
        return self

    def __rshift__(self, other: Operator) -> Operator:
        self.following.append(other)
        return other


class Dag:
    """Stands for Airflow's DAG."""

    def __init__(self, dag_id: str, *, schedule: str | None) -> None:
        assert dag_id.isidentifier()
        assert schedule is None

    def __enter__(self) -> Dag:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def airflow_tasks(text: str) -> dict[str, Operator]:
    """Execute the file of the page, with these stand-ins for what it imports."""
    modules = {
        "airflow.providers.standard.operators.bash": {"BashOperator": Operator},
        "airflow.sdk": {"DAG": Dag},
    }
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, content in modules.items():
            for end in range(1, name.count(".") + 2):
                package = ".".join(name.split(".")[:end])
                patch.setitem(sys.modules, package, sys.modules.get(package, ModuleType(package)))
            vars(sys.modules[name]).update(content)
        exec(compile(text, "dag.py", "exec"), found)  # noqa: S102 - the page's own code
    return {value.task_id: value for value in found.values() if isinstance(value, Operator)}


def airflow_dag(bench: Bench) -> None:
    """Run the mapped task for each command, then what follows."""
    text = here(AIRFLOW, bench, "/shared").replace(
        f"range(1, {ON_PAGE + 1})", f"range(1, {COUNT + 1})"
    )
    tasks = airflow_tasks(text)
    assert tasks["prune"].following == [tasks["rest"]]
    for command in tasks["prune"].commands:
        start(bench, command)
    (rest,) = tasks["rest"].commands
    start(bench, rest)


@pytest.mark.parametrize("recipe", [indexed_job, slurm_array, airflow_dag])
def test_the_shards_of_a_recipe_apply_the_plan(
    recipe: Callable[[Bench], None], bench: Bench, plan: Plan
) -> None:
    """Each shard has a journal; one is made of them, which undoes all."""
    before = bench.state()
    recipe(bench)
    assert before.active - bench.state().active == plan.entities
    shards = [
        Journal.load(bench.dir / f"prune-plan.json.shard-{n}-of-{COUNT}.journal.jsonl")
        for n in range(1, COUNT + 1)
    ]
    assert set().union(*(each.with_outcome("deleted") for each in shards)) == plan.entities
    *deleting, restore = AFTERWARDS.strip().splitlines()
    start(bench, " && ".join(deleting))
    assert restore.endswith(" --dry-run")
    start(bench, restore)
    assert before.active - bench.state().active == plan.entities
    start(bench, f"{restore.removesuffix('--dry-run')} --yes")
    assert bench.state().active == before.active


@pytest.mark.smoke
def test_each_recipe_starts_every_shard_once() -> None:
    """From 1, or from 0 where the scheduler counts so; as many as the command says."""
    job = JOB.document["spec"]
    assert job["completionMode"] == "Indexed"
    assert job["completions"] == job["maxFailedIndexes"] == ON_PAGE
    assert f'"$((JOB_COMPLETION_INDEX + 1))/{ON_PAGE}"' in JOB.container["args"][0]
    assert re.search(r"^#SBATCH --array=1-(\d+)%4$", SLURM, re.MULTILINE)[1] == str(ON_PAGE)
    assert f'"$SLURM_ARRAY_TASK_ID/{ON_PAGE}"' in SLURM
    tasks = airflow_tasks(AIRFLOW)
    shards = [re.search(r"--shard (\S+)$", each)[1] for each in tasks["prune"].commands]
    assert shards == [f"{n}/{ON_PAGE}" for n in range(1, ON_PAGE + 1)]
    assert tasks["rest"].options == {"trigger_rule": "all_done"}
    assert job["parallelism"] == tasks["prune"].options["max_active_tis_per_dag"] == 4
