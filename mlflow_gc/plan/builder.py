"""Build a plan document from decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
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
from mlflow_gc.domain.kinds import EXPERIMENT, PRUNE, RUN
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
    ProtectedLists,
    Protection,
    RegisteredModelEntry,
    RunEntry,
    Summary,
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
from mlflow_gc.plan.statistics import run_facts, statistics
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

SIZES_UNKNOWN = "sizes_unknown"
"""Diagnostic code: files of entities to delete could not be listed."""

Sizes = Mapping[tuple[str, str], tuple[int, int]]
"""Number of files and bytes, by kind and id."""

FORECAST = "forecast"
"""Diagnostic code: ``as_of`` lies in the future."""


def build_plan(
    inventory: Inventory,
    decisions: Decisions,
    policy: Policy,
    server: ServerInfo,
    *,
    sizes: Sizes | None = None,
) -> Plan:
    """Return the plan document.

    The same inventory, policy and server give the same document, except for ``created_at``.
    ``sizes`` are those of the files of runs and experiments to delete; they decide nothing.
    """
    sizes = sizes or {}
    missing = {d.code for d in inventory.diagnostics if d.blocks}
    refusals = list(_refusals(inventory, decisions, policy))
    accepted = {PARTIAL_VIEW} if policy.evidence.accept_partial_view else set()
    facts = run_facts(inventory)
    deleted = _keys_in_order(inventory, decisions, Verdict.DELETE)
    plan: Plan = {
        "$schema": PLAN_SCHEMA_ID,
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "action": PRUNE,
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
        "summary": _summary(decisions),
        "statistics": statistics(inventory, decisions, policy.as_of_ms),
        "experiments": Entries.of(
            _experiment_entry(
                inventory.experiments[e],
                decisions.experiments[e],
                facts.get(e, (0, None)),
                inventory.probes[e].assessed_runs,
                sizes.get((EXPERIMENT.name, e)),
            )
            for e in deleted["experiments"]
        ),
        "runs": Entries.of(
            _run_entry(inventory.runs[r], inventory, decisions.runs[r], sizes.get((RUN.name, r)))
            for r in deleted["runs"]
        ),
        "model_versions": Entries.of(
            _version_entry(inventory.model_versions[v], decisions.model_versions[v])
            for v in deleted["model_versions"]
        ),
        "registered_models": Entries.of(
            _model_entry(inventory.registered_models[m], decisions.registered_models[m])
            for m in deleted["registered_models"]
        ),
        "logged_models": [],
        "traces": [],
        "files": [],
        "protected": _protected(inventory, decisions),
    }
    plan["plan_id"] = plan_id(plan)
    return plan


def _refusals(inventory: Inventory, decisions: Decisions, policy: Policy) -> Iterator[Diagnostic]:
    """Yield diagnostics, besides those of the scan, with which a plan cannot be applied."""
    if policy.as_of_ms > now_ms():
        yield Diagnostic(
            FORECAST,
            f"as_of {format_ms(policy.as_of_ms)} lies in the future: this plan shows what would "
            "be stale then and cannot be applied.",
            blocks=True,
        )
    for sentence in exceeded(policy.guards, tally(inventory, decisions)):
        yield Diagnostic(GUARD, sentence, blocks=True)


def _notes(inventory: Inventory, decisions: Decisions, policy: Policy) -> Iterator[Diagnostic]:
    """Yield diagnostics that do not block the plan."""
    for name in decisions.unused_rules:
        yield Diagnostic(UNUSED_RULE, f"The rule {name!r} matches nothing on this server.")
    yield from malformed_tags(inventory, policy.keep_tag, policy.zone)


def _summary(decisions: Decisions) -> Summary:
    irreversible = sum(
        decision.verdict is Verdict.DELETE and not decision.reversible
        for of_kind in decisions.by_kind.values()
        for decision in of_kind.values()
    )
    counts = {kind: count_verdicts(of_kind.values()) for kind, of_kind in decisions.by_kind.items()}
    return cast("Summary", {**counts, "irreversible": irreversible})


def count_verdicts(decisions: Iterable[Decision]) -> Counts:
    """Count verdicts.  ``stale`` is deleted plus protected; unknown ages are included."""
    found = Counter(d.verdict for d in decisions)
    protected, deleted = found[Verdict.PROTECT], found[Verdict.DELETE]
    return {
        "scanned": found.total(),
        "stale": protected + deleted,
        "protected": protected,
        "delete": deleted,
    }


def _keys_in_order(
    inventory: Inventory, decisions: Decisions, verdict: Verdict
) -> dict[str, list[Any]]:
    """Return the entities of each kind with a verdict, in the order of a plan.

    Experiments are sorted by id, runs by experiment, start and id, versions by name and number.
    """
    keys = {
        kind: sorted(key for key, d in of_kind.items() if d.verdict is verdict)
        for kind, of_kind in decisions.by_kind.items()
    }
    keys["experiments"].sort(key=experiment_order)
    keys["model_versions"].sort(key=lambda version: inventory.model_versions[version].order)
    runs = inventory.runs
    experiment_ids = {runs[run_id].experiment_id for run_id in keys["runs"]}
    positions = {e: n for n, e in enumerate(sorted(experiment_ids, key=experiment_order))}
    # Sorting is stable.  One sort by all keys would build a tuple for each of half a million runs.
    keys["runs"].sort(key=lambda run_id: runs[run_id].start_time or 0)
    keys["runs"].sort(key=lambda run_id: positions[runs[run_id].experiment_id])
    return keys


def experiment_order(experiment_id: str) -> tuple[int, str]:
    """Return the sort key of an experiment: by number, as in all of MLflow's own stores."""
    return (int(experiment_id) if experiment_id.isdecimal() else -1, experiment_id)


def _experiment_entry(
    experiment: Experiment,
    decision: Decision,
    facts: tuple[int, int | None],
    assessed_runs: Mapping[str, str],
    size: tuple[int, int] | None,
) -> ExperimentEntry:
    count, newest = facts
    entry: ExperimentEntry = {
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
    _add_size(entry, size)
    return entry


def _run_entry(
    run: Run, inventory: Inventory, decision: Decision, size: tuple[int, int] | None
) -> RunEntry:
    experiment = inventory.experiments[run.experiment_id]
    expected = expect_run(run, experiment)
    entry: RunEntry = {
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
    _add_size(entry, size)
    return entry


def _add_size(entry: ExperimentEntry | RunEntry, size: tuple[int, int] | None) -> None:
    if size is not None:
        entry["file_count"], entry["size_bytes"] = size


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
    keys = _keys_in_order(inventory, decisions, Verdict.PROTECT)
    return {
        "experiments": Entries.of(
            {
                "experiment_id": e,
                "name": inventory.experiments[e].name,
                **protection_of(decisions.experiments[e]),
            }
            for e in keys["experiments"]
        ),
        "runs": Entries.of(
            {
                "run_id": r,
                "run_name": inventory.runs[r].run_name,
                "experiment_id": inventory.runs[r].experiment_id,
                **protection_of(decisions.runs[r]),
            }
            for r in keys["runs"]
        ),
        "model_versions": Entries.of(
            {"name": v[0], "version": v[1], **protection_of(decisions.model_versions[v])}
            for v in keys["model_versions"]
        ),
        "registered_models": Entries.of(
            {"name": m, **protection_of(decisions.registered_models[m])}
            for m in keys["registered_models"]
        ),
    }


def protection_of(decision: Decision) -> Protection:
    """Return the reason of a protection, as a plan contains it."""
    return {
        "reason": decision.reason.value if decision.reason else "",
        "via": list(decision.chain),
    }
