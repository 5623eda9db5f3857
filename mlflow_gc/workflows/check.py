"""Comparing a plan with the server: what a prune or purge would do with each entry."""

from __future__ import annotations

from pathlib import Path

from mlflow_gc.apply.check import check_document
from mlflow_gc.apply.journal.reader import default_path, earlier_sessions, journal_path
from mlflow_gc.backend.interface import Gateway
from mlflow_gc.domain.kinds import action_of, is_purge
from mlflow_gc.errors import GcError, Refused
from mlflow_gc.plan.document import Json, Plan
from mlflow_gc.plan.verification import verify_applyable
from mlflow_gc.workflows.apply import Applied, apply_plan
from mlflow_gc.workflows.reporter import Reporter
from mlflow_gc.workflows.server import open_stores


def check_plan(
    gateway: Gateway,
    plan: Plan,
    plan_file: Path,
    reporter: Reporter,
    *,
    artifacts_destination: str | None = None,
) -> tuple[Json, Applied]:
    """Re-check each entry of a verified plan as a prune or purge would; nothing is deleted.

    Args:
        gateway: the server; for a purge plan with its database.
        plan: the plan.
        plan_file: its file.
        reporter: receives the progress.
        artifacts_destination: for a purge plan: where the server keeps artifacts that it passes on.

    Returns:
        The check as a document (``mlflow-gc schema check``), and the result of the re-checks.

    Raises:
        UsageProblem: a purge plan, and no database was named, or it cannot be read directly.
        Refused: the plan was made for another server.
        GcError: the evidence cannot be read.
    """
    journal, refusals = _own_journal(plan, plan_file, action_of(plan))
    try:
        verify_applyable(plan, plan_file)
    except Refused as refusal:
        refusals.append(refusal.message)
    if is_purge(plan):
        # They load SQLAlchemy, which the check of a prune plan does not need.
        from mlflow_gc.apply.purge.purger import Budget
        from mlflow_gc.workflows.purge import apply_purge

        applied: Applied = apply_purge(
            gateway,
            plan,
            plan_file,
            open_stores(gateway, artifacts_destination),
            reporter,
            journal_path=journal,
            budget=Budget(),
            dry_run=True,
            check_only=True,
        )
    else:
        applied = apply_plan(
            gateway,
            plan,
            plan_file,
            journal_path=journal,
            reporter=reporter,
            dry_run=True,
            check_only=True,
        )
    refusals += [refusal.message for refusal in applied.refusals]
    return check_document(plan, applied.result, applied.findings, refusals), applied


def _own_journal(plan: Plan, plan_file: Path, action: str) -> tuple[Path | None, list[str]]:
    """Return the path of the journal of a prune or purge, or why it would refuse an existing file."""
    try:
        path = journal_path(default_path(plan_file), plan["plan_id"])
        earlier_sessions(path, plan["plan_id"], action)
    except GcError as error:
        return None, [error.message]
    return path, []
