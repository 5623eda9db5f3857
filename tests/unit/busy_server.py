"""A made-up server with years of work, of any size, and the plan for it; every time the same."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from unit.worlds import a_model, a_run, a_version, an_experiment, as_lists, inventory

from mlflow_gc.domain.entities import ServerInfo
from mlflow_gc.domain.timestamps import DAY_MS
from mlflow_gc.plan.builder import build_plan
from mlflow_gc.retention.engine import decide
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rules import Rule

if TYPE_CHECKING:
    from mlflow_gc.domain.inventory import Inventory
    from mlflow_gc.plan.document import Json

SERVER = ServerInfo(
    "https://mlflow.example.com/ml",
    "https://mlflow.example.com/ml",
    "3.17.2",
    None,
    "tracking:0123456789abcdef registry:0123456789abcdef",
)
OWNERS = ("ana", "bo", "chloe", "dmitri", "emi", "svc-training", "svc-nightly", "")
TOPICS = ("churn", "fraud", "pricing", "search", "vision", "demand", "credit", "routing")
KINDS_OF_WORK = ("baseline", "sweep", "ablation", "nightly", "debug", "release")


def busy_inventory(runs: int, as_of_ms: int, *, seed: int = 1) -> Inventory:
    """About so many runs in a sixtieth as many experiments, and models with versions."""
    rng = random.Random(seed)
    experiments, all_runs = [], []
    for number in range(max(2, runs // 60)):
        own = str(number + 1)
        name = f"{rng.choice(TOPICS)}-{rng.choice(KINDS_OF_WORK)}-{number}"
        quiet_for = rng.choice((0, 0, 20, 60, 120, 300, 700)) * DAY_MS
        count = max(1, int(rng.paretovariate(1.1) * 12)) if number else runs // 12
        newest = as_of_ms - quiet_for - DAY_MS
        for _ in range(min(count, runs - len(all_runs))):
            start = newest - int(rng.expovariate(1 / (150 * DAY_MS)))
            all_runs.append(
                a_run(
                    f"{rng.getrandbits(128):032x}",
                    run_name=f"{rng.choice(KINDS_OF_WORK)}-{rng.randrange(10_000)}",
                    experiment_id=own,
                    user_id=rng.choice(OWNERS),
                    status=rng.choices(("FINISHED", "FAILED", "KILLED"), (8, 2, 1))[0],
                    start_time=start,
                    end_time=start + rng.randrange(20 * 3_600_000),
                    tags={"mlflow_gc.keep": "true"} if rng.random() < 0.04 else {},
                )
            )
        made = newest - 400 * DAY_MS
        experiments.append(an_experiment(own, name=name, creation_time=made, last_update_time=made))
    models, versions = [], []
    for number in range(max(1, runs // 500)):
        name = f"{rng.choice(TOPICS)}-model-{number}"
        count = rng.randrange(1, 14)
        models.append(a_model(name, aliases={str(count): ("champion",)}))
        for version in range(1, count + 1):
            made = as_of_ms - (count + 2 - version) * 40 * DAY_MS
            run = rng.choice(all_runs)
            source = rng.random() < 0.5
            versions.append(
                a_version(
                    str(version),
                    name,
                    creation_timestamp=made,
                    last_updated_timestamp=made,
                    run_id=run.run_id if source else "",
                    source=f"runs:/{run.run_id}/model" if source else "s3://models/x",
                    description=f"Version {version}, trained on {TOPICS[version % 8]}.",
                    tags={"validated": "yes"},
                )
            )
    return inventory(*experiments, *all_runs, *models, *versions)


def busy_plan(runs: int, as_of_ms: int, *, ttl_days: int = 30, server: ServerInfo = SERVER) -> Json:
    """The plan for such a server."""
    policy = Policy(as_of_ms=as_of_ms, default=Rule.of_days(ttl_days))
    found = busy_inventory(runs, as_of_ms)
    return as_lists(build_plan(found, decide(found, policy), policy, replace(server)))
