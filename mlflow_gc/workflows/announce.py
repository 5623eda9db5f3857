"""Announcing deletions by tags, and taking announcements back (``mlflow-gc mark``)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from mlflow_gc.announce.announcements import (
    Marking,
    dry_counts,
    plan_clearing,
    plan_marks,
    write_marks,
)
from mlflow_gc.backend.interface import Gateway
from mlflow_gc.backend.server_identity import read_server_info
from mlflow_gc.domain.kinds import BY_NAME
from mlflow_gc.errors import Refused
from mlflow_gc.inventory.reader import open_reader
from mlflow_gc.invocation import command
from mlflow_gc.plan.builder import build_plan
from mlflow_gc.retention.policy import Policy
from mlflow_gc.workflows.report import survey
from mlflow_gc.workflows.reporter import Phase, Reporter
from mlflow_gc.workflows.server import graceful_stop


def announce(
    gateway: Gateway, policy: Policy, reporter: Reporter, *, clear: bool, dry_run: bool
) -> tuple[Marking, int]:
    """Tag what would be deleted after the policy's grace; untag what is no longer stale.

    Args:
        gateway: the server.
        policy: with a grace, unless ``clear``.
        reporter: told what comes of each entity.
        clear: take all announcements away, whatever is stale.
        dry_run: change nothing.

    Returns:
        How it went, and the signal that stopped it, or 0.

    Raises:
        Refused: a plan by this policy could not be applied.
        ServerError: the server cannot be reached or read.
    """
    if clear:
        with reporter.phase(Phase.SCAN), open_reader(gateway, read_server_info(gateway)) as reader:
            marking = plan_clearing(reader.scan(reporter.advance))
    else:
        marking = _marking(gateway, policy, reporter)
    totals = Counter(BY_NAME[change.kind].entries for change in marking.changes)
    with reporter.phase(Phase.MARK, totals):
        if dry_run:
            marking.counts += dry_counts(marking.changes, reporter.entity)
            return marking, 0
        with graceful_stop(gateway, reporter, dry_run=False) as (stop, signals):
            write_marks(gateway, marking, stop, reporter.entity)
    return marking, signals[0] if signals else 0


def _marking(gateway: Gateway, policy: Policy, reporter: Reporter) -> Marking:
    """Decide as a report does, marks aside, and return what to mark.

    Raises:
        Refused: a plan by this policy could not be applied.
    """
    unmarked = replace(policy, checks_announcements=False)
    inventory, decisions, server = survey(gateway, unmarked, reporter)
    plan = build_plan(inventory, decisions, unmarked, server)
    for diagnostic in plan["diagnostics"]:
        reporter.warning(diagnostic["code"], diagnostic["message"])
    if not plan["applyable"]:
        raise Refused(
            "Nothing was marked: a plan could not be applied, for the reasons above.",
            hint=f"Fix the cause first. The plan to look at: {command('report')}",
        )
    return plan_marks(inventory, decisions, policy)
