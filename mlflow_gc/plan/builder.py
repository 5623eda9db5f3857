"""Build a plan document from decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import chain
from typing import Any, cast

import mlflow_gc
from mlflow_gc.domain.entities import (
    PARTIAL_VIEW,
    Diagnostic,
    Experiment,
    Inventory,
    ModelVersion,
    RegisteredModel,
    Run,
    ServerInfo,
)
from mlflow_gc.domain.redaction import hide
from mlflow_gc.domain.timestamps import format_ms, now_ms
from mlflow_gc.plan.digest import plan_id
from mlflow_gc.plan.document import (
    CapabilitiesDocument,
    Counts,
    ExperimentEntry,
    ModelVersionEntry,
    Plan,
    PolicyDocument,
    ProtectedExperiment,
    ProtectedLists,
    ProtectedModelVersion,
    ProtectedRegisteredModel,
    ProtectedRun,
    Protection,
    RegisteredModelEntry,
    RunEntry,
)
from mlflow_gc.plan.lazy_entries import Entries
from mlflow_gc.plan.preconditions import (
    expect_experiment,
    expect_model_version,
    expect_registered_model,
    expect_run,
    time_or_none,
)
from mlflow_gc.plan.schema import PLAN_SCHEMA_ID
from mlflow_gc.plan.statistics import statistics
from mlflow_gc.retention.decision import Decision, Decisions, Verdict
from mlflow_gc.retention.guards import exceeded, tally
from mlflow_gc.retention.owner_tags import malformed_tags
from mlflow_gc.retention.policy import Policy
from mlflow_gc.settings import redact_uri

FORMAT = "mlflow-gc/prune-plan"
FORMAT_VERSION = "1.1"

# A plan that was reformatted with sorted names begins with its schema, not its format.
SIGNATURES = (FORMAT, PLAN_SCHEMA_ID)
"""One of these texts is at the beginning of each plan."""

UNUSED_RULE = "unused_rule"
"""Diagnostic code: a rule of the policy applies to nothing on the server."""

GUARD = "guard"
"""Diagnostic code: the plan deletes more than a guard allows."""

FORECAST = "forecast"
"""Diagnostic code: ``as_of`` lies in the future."""


def build_plan(
    inventory: Inventory, decisions: Decisions, policy: Policy, server: ServerInfo
) -> Plan:
    """Return the plan document.

    The same inventory, policy and server give the same document, except for ``created_at``.
    """
    missing = {d.code for d in inventory.diagnostics if d.blocks}
    refusals = [*_forecast(policy), *_guards(inventory, decisions, policy)]
    accepted = {PARTIAL_VIEW} if policy.evidence.accept_partial_view else set()
    run_facts = _run_facts(inventory)
    experiments = Entries.of(
        _experiment_entry(
            inventory.experiments[e],
            decisions.experiments[e],
            run_facts.get(e),
            inventory.probes[e].assessed_runs,
        )
        for e in _deleted(decisions.experiments, key=_experiment_order)
    )
    runs = Entries.of(
        _run_entry(inventory.runs[r], inventory, decisions.runs[r])
        for r in _runs_in_order(inventory, decisions, Verdict.DELETE)
    )
    versions = Entries.of(
        _version_entry(inventory.model_versions[v], decisions.model_versions[v])
        for v in _deleted(decisions.model_versions, key=_version_order)
    )
    models = Entries.of(
        _model_entry(inventory.registered_models[m], decisions.registered_models[m])
        for m in _deleted(decisions.registered_models, key=str)
    )
    plan: Plan = {
        "$schema": PLAN_SCHEMA_ID,
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "plan_id": "",
        "created_at": format_ms(now_ms()),
        "as_of": format_ms(policy.as_of_ms),
        "expires_at": time_or_none(policy.expires_at_ms),
        "tool": {"name": "mlflow-gc", "version": mlflow_gc.__version__},
        "server": {
            "tracking_uri": server.tracking_uri,
            "registry_uri": server.registry_uri,
            "mlflow_version": server.mlflow_version,
            "workspace": server.workspace,
            "identity": server.identity,
            "read_from": server.read_from,
            "capabilities": cast("CapabilitiesDocument", asdict(server.capabilities)),
        },
        "policy": cast("PolicyDocument", policy.to_document()),
        "policy_source": {"path": policy.source.path, "digest": policy.source.digest},
        "complete": not missing,
        "applyable": missing <= accepted and not refusals,
        "diagnostics": [
            {"code": d.code, "message": hide(d.message)}
            for d in (*inventory.diagnostics, *refusals, *_notes(inventory, decisions, policy))
        ],
        "summary": {
            "experiments": _counts(decisions.experiments.values()),
            "runs": _counts(decisions.runs.values()),
            "model_versions": _counts(decisions.model_versions.values()),
            "registered_models": _counts(decisions.registered_models.values()),
            "irreversible": _irreversible(decisions),
        },
        "statistics": statistics(inventory, decisions, policy.as_of_ms),
        "experiments": experiments,
        "runs": runs,
        "model_versions": versions,
        "registered_models": models,
        "protected": _protected(inventory, decisions),
    }
    plan["plan_id"] = plan_id(plan)
    return plan


def _forecast(policy: Policy) -> list[Diagnostic]:
    if policy.as_of_ms <= now_ms():
        return []
    return [
        Diagnostic(
            FORECAST,
            f"as_of {format_ms(policy.as_of_ms)} lies in the future: this plan shows what would "
            "be stale then and cannot be applied.",
            blocks=True,
        )
    ]


def _guards(inventory: Inventory, decisions: Decisions, policy: Policy) -> list[Diagnostic]:
    broken = exceeded(policy.guards, tally(inventory, decisions))
    return [Diagnostic(GUARD, sentence, blocks=True) for sentence in broken]


def _notes(inventory: Inventory, decisions: Decisions, policy: Policy) -> Iterator[Diagnostic]:
    """Yield diagnostics that do not block the plan."""
    for name in decisions.unused_rules:
        yield Diagnostic(UNUSED_RULE, f"The rule {name!r} matches nothing on this server.")
    yield from malformed_tags(inventory, policy.keep_tag, policy.zone)


def _counts(decisions: Iterable[Decision]) -> Counts:
    """Count verdicts.  ``stale`` is deleted plus protected; unknown ages are included."""
    found = Counter(d.verdict for d in decisions)
    protected, deleted = found[Verdict.PROTECT], found[Verdict.DELETE]
    return {
        "scanned": found.total(),
        "stale": protected + deleted,
        "protected": protected,
        "delete": deleted,
    }


def _irreversible(decisions: Decisions) -> int:
    everything = chain(
        decisions.experiments.values(),
        decisions.runs.values(),
        decisions.model_versions.values(),
        decisions.registered_models.values(),
    )
    return sum(d.verdict is Verdict.DELETE and not d.reversible for d in everything)


def _deleted(decisions: Mapping[Any, Decision], key: Any) -> list[Any]:
    return sorted((k for k, d in decisions.items() if d.verdict is Verdict.DELETE), key=key)


def _experiment_order(experiment_id: str) -> tuple[int, str]:
    # Ids are numbers in all of MLflow's own stores: 10 sorts after 9.
    return (int(experiment_id) if experiment_id.isdecimal() else -1, experiment_id)


def _runs_in_order(inventory: Inventory, decisions: Decisions, verdict: Verdict) -> list[str]:
    """Return runs sorted by experiment, start and id."""
    runs = inventory.runs
    found = sorted(run_id for run_id, d in decisions.runs.items() if d.verdict is verdict)
    experiment_ids = sorted({runs[run_id].experiment_id for run_id in found}, key=_experiment_order)
    positions = {experiment_id: position for position, experiment_id in enumerate(experiment_ids)}
    # Sorting is stable.  One sort by all keys would build a tuple for each of half a million runs.
    found.sort(key=lambda run_id: runs[run_id].start_time or 0)
    found.sort(key=lambda run_id: positions[runs[run_id].experiment_id])
    return found


def _version_order(key: tuple[str, str]) -> tuple[str, int, str]:
    name, version = key
    return (name, int(version) if version.isdecimal() else -1, version)


def _run_facts(inventory: Inventory) -> dict[str, tuple[int, int | None]]:
    """Return the number of active runs and the newest activity of each experiment."""
    facts: dict[str, tuple[int, int | None]] = {}
    for run in inventory.runs.values():
        count, newest = facts.get(run.experiment_id, (0, None))
        last = run.last_activity_time(inventory.experiments.get(run.experiment_id))
        newest = last if newest is None else newest if last is None else max(newest, last)
        facts[run.experiment_id] = (count + 1, newest)
    return facts


def _experiment_entry(
    experiment: Experiment,
    decision: Decision,
    facts: tuple[int, int | None] | None,
    assessed_runs: Mapping[str, str],
) -> ExperimentEntry:
    count, newest = facts or (0, None)
    return {
        "experiment_id": experiment.experiment_id,
        "name": experiment.name,
        "creation_time": time_or_none(experiment.creation_time),
        "last_update_time": time_or_none(experiment.last_update_time),
        "last_activity_time": time_or_none(newest),
        "run_count": count,
        "reversible": decision.reversible,
        "reasons": list(decision.why),
        "expect": expect_experiment(experiment, assessed_runs),
    }


def _run_entry(run: Run, inventory: Inventory, decision: Decision) -> RunEntry:
    experiment = inventory.experiments[run.experiment_id]
    expected = expect_run(run, experiment)
    return {
        "run_id": run.run_id,
        "run_name": run.run_name,
        "experiment_id": run.experiment_id,
        "experiment_name": experiment.name,
        "user_id": run.user_id,
        "status": run.status,
        "start_time": expected["start_time"],
        "end_time": expected["end_time"],
        "last_activity_time": expected["last_activity_time"],
        "parent_run_id": run.parent_run_id,
        "reversible": decision.reversible,
        "reasons": list(decision.why),
        "expect": expected,
    }


def _version_entry(version: ModelVersion, decision: Decision) -> ModelVersionEntry:
    return {
        "name": version.name,
        "version": version.version,
        "creation_timestamp": time_or_none(version.creation_timestamp),
        "last_updated_timestamp": time_or_none(version.last_updated_timestamp),
        "current_stage": version.current_stage,
        "run_id": version.run_id,
        # The server deletes these with the version: the plan is the only record
        # (docs/explanation/mlflow-facts.md#deleted-versions-are-gone).
        "source": redact_uri(version.source),
        "description": version.description,
        "tags": dict(sorted(version.tags.items())),
        "reversible": decision.reversible,
        "reasons": list(decision.why),
        "expect": expect_model_version(version, ()),
    }


def _model_entry(model: RegisteredModel, decision: Decision) -> RegisteredModelEntry:
    return {
        "name": model.name,
        "creation_timestamp": time_or_none(model.creation_timestamp),
        "last_updated_timestamp": time_or_none(model.last_updated_timestamp),
        "description": model.description,
        "tags": dict(sorted(model.tags.items())),
        "reversible": decision.reversible,
        "reasons": list(decision.why),
        "expect": expect_registered_model(model),
    }


def _protected(inventory: Inventory, decisions: Decisions) -> ProtectedLists:
    experiments: Entries[ProtectedExperiment] = Entries.of(
        {
            "experiment_id": e,
            "name": inventory.experiments[e].name,
            **protection_of(decisions.experiments[e]),
        }
        for e in _protected_keys(decisions.experiments, key=_experiment_order)
    )
    runs: Entries[ProtectedRun] = Entries.of(
        {
            "run_id": r,
            "run_name": inventory.runs[r].run_name,
            "experiment_id": inventory.runs[r].experiment_id,
            **protection_of(decisions.runs[r]),
        }
        for r in _runs_in_order(inventory, decisions, Verdict.PROTECT)
    )
    versions: Entries[ProtectedModelVersion] = Entries.of(
        {"name": name, "version": version, **protection_of(decisions.model_versions[name, version])}
        for name, version in _protected_keys(decisions.model_versions, key=_version_order)
    )
    models: Entries[ProtectedRegisteredModel] = Entries.of(
        {"name": name, **protection_of(decisions.registered_models[name])}
        for name in _protected_keys(decisions.registered_models, key=str)
    )
    return {
        "experiments": experiments,
        "runs": runs,
        "model_versions": versions,
        "registered_models": models,
    }


def _protected_keys(decisions: Mapping[Any, Decision], key: Any) -> list[Any]:
    return sorted((k for k, d in decisions.items() if d.verdict is Verdict.PROTECT), key=key)


def protection_of(decision: Decision) -> Protection:
    """Return the reason of a protection, as a plan contains it."""
    return {
        "reason": decision.reason.value if decision.reason else "",
        "via": list(decision.chain),
    }
