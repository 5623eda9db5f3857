"""The check document: changes on the server since a plan was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from mlflow_gc.apply.outcomes import Result
from mlflow_gc.apply.recheck.checker import GONE, Finding
from mlflow_gc.domain.kinds import KINDS, PURGE, is_purge, kinds_of
from mlflow_gc.domain.timestamps import format_ms, now_ms
from mlflow_gc.plan.builder import protection_of
from mlflow_gc.plan.document import Json, Plan, deletions_of
from mlflow_gc.plan.schema import CHECK_SCHEMA_ID

FORMAT = "mlflow-gc/plan-check"
FORMAT_VERSION = "1.0"


def check_document(
    plan: Plan,
    result: Result,
    findings: Mapping[tuple[str, str], Finding],
    refusals: Sequence[str],
) -> Json:
    """Return the result of a dry run as a document (``mlflow-gc schema check``).

    ``findings`` are those on entities that would be skipped, by kind (of a journal) and id;
    ``refusals`` say why ``prune`` or ``purge`` would refuse the plan as a whole.
    """
    failures = {(kind, i): message for kind, i, message in result.failures}
    # The published lists are those of a prune plan; a purge plan has more.
    kinds = KINDS if is_purge(plan) else kinds_of(plan)
    lists = {kind: _entities(kind, plan, findings, failures) for kind in kinds}
    ended = "interrupted" if result.interrupted else "failed" if result.fatal else "completed"
    return {
        "$schema": CHECK_SCHEMA_ID,
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **({"action": PURGE} if is_purge(plan) else {}),
        "plan": {
            "plan_id": plan["plan_id"],
            "as_of": plan["as_of"],
            "expires_at": plan["expires_at"],
            "tracking_uri": plan["server"]["tracking_uri"],
            "policy_source": plan.get("policy_source"),
        },
        "checked_at": format_ms(now_ms()),
        "ended": ended,
        "differs": any(lists.values()),
        "refusals": list(refusals),
        "summary": {kind: _counts(kind, lists[kind], result) for kind in lists},
        **lists,
    }


def _entities(
    kind: str,
    plan: Plan,
    findings: Mapping[tuple[str, str], Finding],
    failures: Mapping[tuple[str, str], str],
) -> list[Json]:
    found = []
    for entry in deletions_of(plan, kind):
        key = (KINDS[kind].name, KINDS[kind].id_of(entry))
        if key in failures:
            finding = Finding("failed", failures[key])
        elif key in findings:
            finding = findings[key]
        else:
            continue
        entity = {"id": key[1], "name": KINDS[kind].name_of(entry)}
        if "experiment_name" in entry:
            entity["experiment_id"] = entry["experiment_id"]
            entity["experiment_name"] = entry["experiment_name"]
        found.append(
            {
                **entity,
                "code": finding.code,
                "detail": finding.detail,
                "changes": list(finding.changes),
                "protection": finding.protection and protection_of(finding.protection),
            }
        )
    return found


def _counts(kind: str, entities: Sequence[Json], result: Result) -> dict[str, int]:
    codes = Counter(entity["code"] for entity in entities)
    gone = sum(codes[code] for code in GONE)
    return {
        "matching": result.counts[KINDS[kind].name, "deleted"],
        "changed": codes.total() - gone - codes["failed"],
        "protected": codes["protected"],
        "gone": gone,
        "failed": codes["failed"],
    }
