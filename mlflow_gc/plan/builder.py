"""Build a plan document from decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, cast

from mlflow_gc.domain.entities import (
    PARTIAL_VIEW,
    Diagnostic,
    Experiment,
    ModelVersion,
    RegisteredModel,
    Run,
    ServerInfo,
)
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.kinds import EXPERIMENT, PRUNE, PRUNED, PURGE, RUN, Kind
from mlflow_gc.domain.quantities import Size
from mlflow_gc.domain.redaction import hide
from mlflow_gc.domain.timestamps import format_ms, now_ms
from mlflow_gc.domain.trash import Key
from mlflow_gc.plan.digest import plan_id
from mlflow_gc.plan.document import (
    CapabilitiesDocument,
    Counts,
    ExperimentEntry,
    ModelVersionEntry,
    Plan,
    PlanHead,
    PolicyDocument,
    ProtectedLists,
    Protection,
    RegisteredModelEntry,
    RunEntry,
    RunExpectations,
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
from mlflow_gc.version import TOOL

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

FORECAST = "forecast"
"""Diagnostic code: ``as_of`` lies in the future."""


def build_plan(
    inventory: Inventory,
    decisions: Decisions,
    policy: Policy,
    server: ServerInfo,
    *,
    sizes: Mapping[Key, Size] | None = None,
) -> Plan:
    """Return the plan document.

    The same inventory, policy and server give the same document, except for ``created_at``.
    ``sizes`` are those of the files of runs and experiments to delete; they decide nothing.
    """
    sizes = sizes or {}
    refusals = list(_refusals(inventory, decisions, policy))
    malformed = malformed_tags(inventory, policy.keep_tag, policy.zone)
    notes = [*unused_rules(decisions.unused_rules, "on this server"), *malformed]
    facts = run_facts(inventory)
    deleted = _keys_in_order(inventory, decisions, Verdict.DELETE)
    plan = cast(
        "Plan",
        {
            **plan_head(PRUNE, policy, server, inventory.diagnostics, refusals, notes),
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
                _run_entry(
                    inventory.runs[r], inventory, decisions.runs[r], sizes.get((RUN.name, r))
                )
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
        },
    )
    plan["plan_id"] = plan_id(plan)
    return plan


def plan_head(
    action: str,
    policy: Policy,
    server: ServerInfo,
    findings: Iterable[Diagnostic],
    refusals: Iterable[Diagnostic],
    notes: Iterable[Diagnostic],
) -> PlanHead:
    """Return what a plan says before its entries; its id is set when they are known.

    Args:
        action: ``prune`` or ``purge``.
        policy: the policy.
        server: the server.
        findings: what was found while reading; what blocks makes the plan incomplete.
        refusals: why it cannot be applied, although it is complete.
        notes: what people should know besides.
    """
    findings, refusals = list(findings), list(refusals)
    missing = {d.code for d in findings if d.blocks}
    accepted = {PARTIAL_VIEW} if policy.evidence.accept_partial_view else set()
    purge = {"purge": policy.purge.to_document()} if action == PURGE else {}
    return {
        "$schema": PLAN_SCHEMA_ID,
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "action": action,
        "plan_id": "",
        "created_at": format_ms(now_ms()),
        "as_of": format_ms(policy.as_of_ms),
        "expires_at": time_or_none(policy.expires_at_ms),
        "tool": TOOL,
        "server": {
            "tracking_uri": server.tracking_uri,
            "registry_uri": server.registry_uri,
            "mlflow_version": server.mlflow_version,
            "workspace": server.workspace,
            "identity": server.identity,
            "read_from": server.read_from,
            "capabilities": cast("CapabilitiesDocument", asdict(server.capabilities)),
        },
        "policy": cast("PolicyDocument", {**policy.to_document(), **purge}),
        "policy_source": {"path": policy.source.path, "digest": policy.source.digest},
        "complete": not missing,
        "applyable": missing <= accepted and not refusals,
        "diagnostics": [
            {"code": d.code, "message": hide(d.message)} for d in (*findings, *refusals, *notes)
        ],
    }


def forecast(policy: Policy, what: str) -> Iterator[Diagnostic]:
    """Yield why a plan as of a later time cannot be applied; ``what`` the entities would be then."""
    if policy.as_of_ms > now_ms():
        yield Diagnostic(
            FORECAST,
            f"as_of {format_ms(policy.as_of_ms)} lies in the future: this plan shows what would "
            f"be {what} then and cannot be applied.",
            blocks=True,
        )


def unused_rules(names: Iterable[str], where: str) -> Iterator[Diagnostic]:
    """Yield a note for each rule that matches nothing."""
    return (Diagnostic(UNUSED_RULE, f"The rule {n!r} matches nothing {where}.") for n in names)


def _refusals(inventory: Inventory, decisions: Decisions, policy: Policy) -> Iterator[Diagnostic]:
    yield from forecast(policy, "stale")
    for sentence in exceeded(policy.guards, tally(inventory, decisions)):
        yield Diagnostic(GUARD, sentence, blocks=True)


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
    size: Size | None,
) -> ExperimentEntry:
    count, newest = facts
    return cast(
        "ExperimentEntry",
        {
            **experiment_fields(experiment, count, newest),
            **verdict_fields(decision, expect_experiment(experiment, assessed_runs)),
            **_size_fields(size),
        },
    )


def experiment_fields(
    experiment: Experiment, run_count: int, newest_ms: int | None
) -> dict[str, Any]:
    """Return what entries of both actions say about an experiment; ``newest_ms`` is of its runs."""
    return {
        "experiment_id": experiment.experiment_id,
        "name": experiment.name,
        "creation_time": time_or_none(experiment.creation_time),
        "last_update_time": time_or_none(experiment.last_update_time),
        "last_activity_time": time_or_none(newest_ms),
        "run_count": run_count,
    }


def _run_entry(run: Run, inventory: Inventory, decision: Decision, size: Size | None) -> RunEntry:
    experiment = inventory.experiments[run.experiment_id]
    expected = expect_run(run, experiment)
    return cast(
        "RunEntry",
        {
            **run_fields(run, experiment, expected),
            **verdict_fields(decision, expected),
            **_size_fields(size),
        },
    )


def run_fields(
    run: Run, experiment: Experiment, expected: RunExpectations | dict[str, Any]
) -> dict[str, Any]:
    """Return what entries of both actions say about a run with these preconditions."""
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
    }


def verdict_fields(decision: Decision, expected: object) -> dict[str, Any]:
    """Return why an entry is deleted, and its preconditions."""
    return {
        "reversible": decision.reversible,
        "reasons": list(decision.why),
        "expect": expected,
    }


def _size_fields(size: Size | None) -> dict[str, int]:
    return {} if size is None else {"file_count": size.file_count, "size_bytes": size.size_bytes}


def _version_entry(version: ModelVersion, decision: Decision) -> ModelVersionEntry:
    return cast(
        "ModelVersionEntry",
        {
            **version_fields(version),
            **verdict_fields(decision, expect_model_version(version, ())),
        },
    )


def version_fields(version: ModelVersion) -> dict[str, Any]:
    """Return what entries of both actions say about a model version.

    The server deletes its source, description and tags with it: the plan is the only record
    (docs/explanation/mlflow-facts.md#deleted-versions-are-gone).
    """
    return {
        "name": version.name,
        "version": version.version,
        "creation_timestamp": time_or_none(version.creation_timestamp),
        "last_updated_timestamp": time_or_none(version.last_updated_timestamp),
        "current_stage": version.current_stage,
        "run_id": version.run_id,
        "source": redact_uri(version.source),
        "description": version.description,
        "tags": dict(sorted(version.tags.items())),
    }


def _model_entry(model: RegisteredModel, decision: Decision) -> RegisteredModelEntry:
    return cast(
        "RegisteredModelEntry",
        {
            "name": model.name,
            "creation_timestamp": time_or_none(model.creation_timestamp),
            "last_updated_timestamp": time_or_none(model.last_updated_timestamp),
            "description": model.description,
            "tags": dict(sorted(model.tags.items())),
            **verdict_fields(decision, expect_registered_model(model)),
        },
    )


def _protected(inventory: Inventory, decisions: Decisions) -> ProtectedLists:
    keys = _keys_in_order(inventory, decisions, Verdict.PROTECT)
    lists = {}
    for kind in PRUNED:
        ids, decided = keys[kind.entries], decisions.by_kind[kind.entries]
        entities = getattr(inventory, kind.entries)
        lists[kind] = zip(
            map(entities.__getitem__, ids), map(decided.__getitem__, ids), strict=True
        )
    return protected_lists(lists)


def protected_lists(
    protected: Mapping[Kind, Iterable[tuple[object, Decision]]],
) -> ProtectedLists:
    """Return the lists of protected entities; each entity comes with its decision."""
    lists = {}
    for kind, of_kind in protected.items():
        experiment = EXPERIMENT.identity if kind.belongs_to == EXPERIMENT.name else ()
        fields = dict.fromkeys((*kind.identity, kind.display_name, *experiment))
        lists[kind.entries] = Entries.of(
            {**{f: getattr(entity, f) for f in fields}, **protection_of(decision)}
            for entity, decision in of_kind
        )
    return cast("ProtectedLists", lists)


def protection_of(decision: Decision) -> Protection:
    """Return the reason of a protection, as a plan contains it."""
    return {
        "reason": decision.reason.value if decision.reason else "",
        "via": list(decision.chain),
    }
