"""Two plans with differences of every kind, and texts that nobody should run."""

from __future__ import annotations

import copy
from dataclasses import replace

from unit import worlds
from unit.worlds import POLICY, RUN_IDS, a_model, a_run, a_version, an_experiment

from mlflow_gc.domain.timestamps import DAY_MS, now_ms
from mlflow_gc.plan.document import Json
from mlflow_gc.retention.policy import Policy

KEEP = {"mlflow_gc.keep": "true"}
EVALUATION = {"mlflow.runType": "genai_evaluate"}
YESTERDAY = replace(POLICY, as_of_ms=now_ms() - DAY_MS, delete_evaluations=True)
UGLY = (
    "a\x1b[2J\x07\n::error::pwned\r| pwned |\u202e\u2028##vso[task.complete][red]x[/red]" + "y" * 99
)


def plan(*entities: object, policy: Policy = YESTERDAY) -> Json:
    """Decide and build, as of yesterday."""
    return worlds.plan_of(worlds.inventory(*entities), policy)


FRESH = a_run(RUN_IDS[5], start_time=now_ms() - 3 * DAY_MS, end_time=now_ms() - 2 * DAY_MS)
BASE = plan(
    FRESH,
    an_experiment("1", name="fraud"),
    a_run(RUN_IDS[0], run_name="stays old"),
    a_run(RUN_IDS[1], run_name="saved"),
    a_run(RUN_IDS[2], run_name="released", tags=KEEP),
    a_run(RUN_IDS[3], run_name="retagged"),
    a_model(aliases={"1": ("blue",)}),
    a_version("1"),
    a_version("2"),
    a_version("3"),
    a_version("4"),
)
HEAD = plan(
    FRESH,
    an_experiment("1", name="fraud"),
    a_run(RUN_IDS[0], run_name="stays old"),
    a_run(RUN_IDS[1], run_name="saved", tags=KEEP),
    a_run(RUN_IDS[2], run_name="released"),
    a_run(RUN_IDS[3], run_name="retagged", tags={"a": "b"}),
    a_run(RUN_IDS[4], run_name="judged", tags=EVALUATION),
    a_model(aliases={"2": ("champion",)}),
    a_version("1"),
    a_version("2"),
    a_version("4"),
)


def many_runs(count: int, *, experiments: int = 1) -> Json:
    """A plan of so many runs."""
    homes = [an_experiment(str(n + 1), name=f"home-{n}") for n in range(experiments)]
    runs = [
        a_run(f"{n:032x}", experiment_id=homes[n % experiments].experiment_id) for n in range(count)
    ]
    return plan(*homes, *runs)


def poisoned(plan: Json) -> Json:
    """Every text of a document that is free text, replaced."""
    found = copy.deepcopy(plan)
    found["server"] |= {"tracking_uri": UGLY, "identity": UGLY, "mlflow_version": UGLY}
    found["policy"]["rules"] = [{**found["policy"]["default"], "name": UGLY}]
    found["policy"]["keep_tag"] = UGLY
    found["diagnostics"] = [{"code": "x", "message": UGLY}]
    for kind in ("experiments", "runs", "model_versions"):
        for entity in (*found[kind], *found["protected"][kind]):
            for key, value in entity.items():
                if isinstance(value, str) and not key.endswith(("time", "timestamp", "reason")):
                    entity[key] = UGLY + value
                if key in {"reasons", "via"}:
                    entity[key] = [UGLY]
            if "tags" in entity:
                entity["tags"] = {UGLY: UGLY}
    return found
