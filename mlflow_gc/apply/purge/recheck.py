"""The re-check of a purge: the decision of the plan, on evidence that is read under the lock."""

from __future__ import annotations

from typing import cast

from mlflow_gc.apply.purge.batch import Batch
from mlflow_gc.apply.purge.purged_kinds import PURGED_KINDS
from mlflow_gc.apply.recheck.checker import Finding
from mlflow_gc.domain.kinds import EXPERIMENT
from mlflow_gc.domain.trash import Trash
from mlflow_gc.plan.document import Entry, Json
from mlflow_gc.plan.preconditions import drift
from mlflow_gc.retention.decision import Verdict
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.trash import decide_trash


def recheck(batch: Batch, trash: Trash, policy: Policy) -> dict[str, Finding]:
    """Return the finding on each entry of a batch; one without a code may be deleted.

    Args:
        batch: its kind and entries.
        trash: with everything that these entries need.
        policy: of the plan.
    """
    purged = PURGED_KINDS[batch.kind]
    decisions = decide_trash(trash, policy).by_key
    existing = purged.find(trash)
    found: dict[str, Finding] = {}
    for i, entry in batch.entries.items():
        decision = decisions.get((batch.kind, i))
        if i not in existing or decision is None:
            found[i] = Finding("gone", "it no longer exists")
        elif changes := drift(entry["expect"], purged.expect(i, trash)):
            found[i] = Finding("changed", ", ".join(changes))
        elif batch.kind == EXPERIMENT.name and (more := _added_rows(entry, i, trash)):
            found[i] = Finding("changed", more)
        elif decision.verdict is Verdict.PROTECT:
            reason = decision.reason.value if decision.reason else ""
            detail = f"{reason}: {' <- '.join(decision.chain)}"
            found[i] = Finding("protected", detail, protection=decision)
        elif decision.verdict is Verdict.FRESH:
            found[i] = Finding("changed", "the policy of the plan retains it now")
        else:
            found[i] = Finding()
    return found


def _added_rows(entry: Entry, experiment_id: str, trash: Trash) -> str | None:
    """Return that an experiment has more rows than the plan lists, for people; None if it has not.

    What is in no plan must not be deleted with it: traces, assessments, issues.
    """
    planned = cast("Json", entry).get("row_count")
    current = trash.rows.get((EXPERIMENT.name, experiment_id), 0)
    if planned is None or current <= planned:
        return None
    return f"row_count was {planned:,}, is {current:,}"
