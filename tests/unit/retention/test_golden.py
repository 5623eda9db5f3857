"""Whole decisions, written down by hand: an inventory, a policy, and what becomes of each entity.

Each file of ``golden/`` says one rule and shows it.  What a file does not say is old and plain:
an experiment that was created and last changed on 2025-01-01 and looked into in vain, a FINISHED
run of experiment 1 that took the first hour of that day, a version in no stage.  Counted from
2026-05-01 with a TTL of 30 days, so the cutoff is 2026-04-01T00:00:00.000Z.

Nothing here writes these files, on purpose: whoever changes a decision changes the expectation by
hand, and a reviewer sees which.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import depth
from unit.worlds import shuffled

from mlflow_gc.domain.entities import (
    Experiment,
    LoggedModel,
    ModelVersion,
    Probe,
    RegisteredModel,
    Run,
    RunDetails,
)
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.reasons import Reason
from mlflow_gc.domain.timestamps import parse_time
from mlflow_gc.plan.schema import problems
from mlflow_gc.policy.loader import apply_policy
from mlflow_gc.retention.decision import Decision, Decisions, Verdict
from mlflow_gc.retention.engine import decide
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rules import Rule

DIRECTORY = Path(__file__).parent / "golden"
FILES = sorted(DIRECTORY.glob("*.json"))
AS_OF = parse_time("2026-05-01")
OLD = parse_time("2025-01-01")
AN_HOUR_LATER = parse_time("2025-01-01T01:00:00.000Z")
ORDERS = range(depth.chosen.permutations)

Document = dict[str, Any]


def read(path: Path) -> Document:
    """Read a golden file."""
    document: Document = json.loads(path.read_bytes(), object_pairs_hook=_no_name_twice)
    assert set(document) <= {"rule", "policy", "inventory", "expected"}
    return document


def _no_name_twice(pairs: list[tuple[str, Any]]) -> Document:
    assert len(dict(pairs)) == len(pairs), f"a name twice: {pairs}"
    return dict(pairs)


def policy_of(document: Document) -> Policy:
    """What the file's policy says, in the words of a policy file, and ``ttl_days``."""
    output = dict(document.get("policy", {}))
    policy = Policy(as_of_ms=AS_OF, default=Rule.of_days(output.pop("ttl_days", 30)))
    assert problems({"version": 1, **output}, "policy") == []
    return apply_policy(output, policy)


def _fields(output: Document) -> Document:
    """The fields of an entity: times may be texts, lists become tuples."""
    return {name: _value(name, value) for name, value in output.items()}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, str) and name.endswith(("_time", "_timestamp")):
        return parse_time(value)
    return tuple(value) if isinstance(value, list) else value


def _experiment(experiment_id: str, output: Document) -> Experiment:
    plain = Experiment(
        experiment_id=experiment_id,
        name=f"exp-{experiment_id}",
        lifecycle_stage="active",
        artifact_location=f"mlflow-artifacts:/{experiment_id}",
        # Older than any run that may be put into it.
        creation_time=parse_time("2015-01-01"),
        last_update_time=OLD,
    )
    return replace(plain, **_fields(output))


def _run(run_id: str, output: Document) -> Run:
    fields = _fields(output)
    parent = fields.pop("parent", None)
    metrics = {name: float(value) for name, value in fields.pop("metrics", {}).items()}
    tags = {**fields.pop("tags", {}), **({"mlflow.parentRunId": parent} if parent else {})}
    experiment_id = fields.get("experiment_id", "1")
    details = RunDetails(**fields.pop("details", {}))
    plain = Run(
        run_id=run_id,
        run_name="",
        experiment_id="1",
        user_id="ada",
        status="FINISHED",
        lifecycle_stage="active",
        start_time=OLD,
        end_time=AN_HOUR_LATER,
        newest_metric_time=None,
        oldest_metric_time=None,
        artifact_root=f"mlflow-artifacts:/{experiment_id}/{run_id}/artifacts",
        tags=tags,
        metrics=tuple(metrics.items()),
        details=details,
    )
    return replace(plain, **fields)


def _registered_model(name: str, output: Document) -> RegisteredModel:
    aliases = {version: tuple(names) for version, names in output.get("aliases", {}).items()}
    plain = RegisteredModel(
        name, tags={}, aliases={}, creation_timestamp=OLD, last_updated_timestamp=OLD
    )
    return replace(plain, **{**_fields(output), "aliases": aliases})


def _version(key: tuple[str, str], output: Document) -> ModelVersion:
    plain = ModelVersion(
        name=key[0],
        version=key[1],
        creation_timestamp=OLD,
        last_updated_timestamp=OLD,
        current_stage="None",
        description="",
        source="dummy-source",
        run_id="",
        run_link="",
        model_id="",
        tags={},
    )
    return replace(plain, **_fields(output))


def _logged_model(model_id: str, output: Document) -> LoggedModel:
    return replace(LoggedModel(model_id, "1", "", "", OLD), **_fields(output))


def _key(text: str) -> tuple[str, str]:
    name, _, version = text.rpartition("/")
    return name, version


def inventory_of(document: Document) -> Inventory:
    """What a server would show."""
    output = document["inventory"]
    experiments = {e: dict(fields) for e, fields in output.get("experiments", {}).items()}
    # Null: nobody looked into it.
    probes = {e: fields.pop("probe", {}) for e, fields in experiments.items()}
    return Inventory(
        experiments={e: _experiment(e, fields) for e, fields in experiments.items()},
        runs={r: _run(r, fields) for r, fields in output.get("runs", {}).items()},
        registered_models={
            m: _registered_model(m, fields)
            for m, fields in output.get("registered_models", {}).items()
        },
        model_versions={
            _key(v): _version(_key(v), fields)
            for v, fields in output.get("model_versions", {}).items()
        },
        logged_models={
            m: _logged_model(m, fields) for m, fields in output.get("logged_models", {}).items()
        },
        probes={e: _probe(found) for e, found in probes.items() if found is not None},
        workspace=output.get("workspace"),
        refused_names=frozenset(output.get("refused_names", ())),
    )


def _probe(output: Document) -> Probe:
    deleted = output.get("newest_deleted_run")
    run = (deleted[0], parse_time(deleted[1])) if deleted else None
    return Probe(**{**output, "newest_deleted_run": run})


def _written(decision: Decision) -> str | Document:
    """A decision the way the files write it; everything that a decision holds is in it."""
    if decision == Decision(Verdict.FRESH):
        return "fresh"
    if decision.verdict is Verdict.PROTECT:
        assert decision.reason is not None
        assert decision == Decision(
            Verdict.PROTECT, decision.reason, decision.via, also=decision.also
        )
        return {"keep": decision.reason.value, "via": list(decision.chain)}
    assert decision.verdict is Verdict.DELETE
    assert (decision.reason, decision.via) == (None, ())
    irreversible = {} if decision.reversible else {"irreversible": True}
    return {"delete": list(decision.why), **irreversible}


def _all_written(decisions: Decisions) -> Document:
    return {
        "experiments": {e: _written(d) for e, d in decisions.experiments.items()},
        "runs": {r: _written(d) for r, d in decisions.runs.items()},
        "model_versions": {
            f"{name}/{version}": _written(d)
            for (name, version), d in decisions.model_versions.items()
        },
        "registered_models": {m: _written(d) for m, d in decisions.registered_models.items()},
    }


def _expected(document: Document) -> Document:
    nothing = ("experiments", "runs", "model_versions", "registered_models")
    return {**{kind: {} for kind in nothing}, **document["expected"]}


golden = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@golden
def test_every_entity_gets_the_decision_written_down(path):
    """Verdict, reason and chain of each entity, and of no other."""
    document = read(path)
    found = _all_written(decide(inventory_of(document), policy_of(document)))
    assert found == _expected(document), document["rule"]


@golden
@pytest.mark.parametrize("seed", ORDERS)
def test_the_order_of_reading_changes_nothing(path, seed):
    """The server lists things in whatever order; the words stay the same, too."""
    document = read(path)
    inventory, policy = inventory_of(document), policy_of(document)
    assert decide(shuffled(inventory, seed), policy) == decide(inventory, policy)


@golden
def test_a_re_check_of_the_plan_alone_never_deletes_more(path):
    """Deciding again without what goes: whatever was kept is still kept."""
    document = read(path)
    inventory, policy = inventory_of(document), policy_of(document)
    first = decide(inventory, policy)
    gone = {r for r, d in first.runs.items() if d.verdict is Verdict.DELETE}
    rest = replace(inventory, runs={r: run for r, run in inventory.runs.items() if r not in gone})
    again = decide(rest, policy)
    assert {r: d.verdict for r, d in again.runs.items()} == {
        r: d.verdict for r, d in first.runs.items() if r not in gone
    }


OF_PURGE = {
    *("active", "needed_files", "unknown_layout", "unknown_deletion_time", "unreachable_store"),
    "tombstone",
}


def test_every_reason_is_shown_by_a_file():
    """``changed`` is given at prune time only; those of purge plans are in test_trash.py."""
    shown = {
        wanted["keep"]
        for path in FILES
        for kind in _expected(read(path)).values()
        for wanted in kind.values()
        if isinstance(wanted, dict) and "keep" in wanted
    }
    assert shown == {reason.value for reason in Reason} - {Reason.CHANGED.value} - OF_PURGE


def test_every_file_says_its_rule_and_no_two_the_same():
    rules = [read(path)["rule"] for path in FILES]
    assert len(FILES) >= 300
    assert len(set(rules)) == len(rules)
    assert all(rule.endswith(".") for rule in rules)
