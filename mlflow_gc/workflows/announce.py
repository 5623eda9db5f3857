"""Announcing deletions by tags, and withdrawing announcements (``mlflow-gc mark``)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from mlflow_gc.announce.announcements import (
    Announcements,
    dry_counts,
    plan_announcements,
    plan_withdrawals,
    write_announcements,
)
from mlflow_gc.backend.interface import Gateway
from mlflow_gc.backend.server_identity import read_server_info
from mlflow_gc.domain.kinds import BY_NAME
from mlflow_gc.errors import Refused
from mlflow_gc.inventory.reader import open_reader
from mlflow_gc.invocation import command
from mlflow_gc.plan.builder import build_plan
from mlflow_gc.retention.policy import Policy
from mlflow_gc.workflows.report import read_and_decide
from mlflow_gc.workflows.reporter import Phase, Reporter
from mlflow_gc.workflows.server import graceful_stop


def announce(
    gateway: Gateway, policy: Policy, reporter: Reporter, *, clear: bool, dry_run: bool
) -> tuple[Announcements, int]:
    """Announce what is deleted after the grace period; withdraw what is no longer stale.

    ``clear`` withdraws all announcements, whatever is stale.

    Returns:
        The announcements, and the signal that stopped it, or 0.

    Raises:
        Refused: a plan by this policy could not be applied.
        ServerError: the server cannot be reached or read.
    """
    if clear:
        with reporter.phase(Phase.SCAN), open_reader(gateway, read_server_info(gateway)) as reader:
            announcements = plan_withdrawals(reader.scan(reporter.advance))
    else:
        announcements = _announcements(gateway, policy, reporter)
    totals = Counter(BY_NAME[change.kind].entries for change in announcements.changes)
    with reporter.phase(Phase.MARK, totals):
        if dry_run:
            announcements.counts += dry_counts(announcements.changes, reporter.entity)
            return announcements, 0
        with graceful_stop(gateway, reporter, dry_run=False) as (stop, signals):
            write_announcements(gateway, announcements, stop, reporter.entity)
    return announcements, signals[0] if signals else 0


def _announcements(gateway: Gateway, policy: Policy, reporter: Reporter) -> Announcements:
    """Decide as a report does, without the grace period, and return the announcements.

    Raises:
        Refused: a plan by this policy could not be applied.
    """
    before_grace = replace(policy, checks_announcements=False)
    inventory, decisions, server = read_and_decide(gateway, before_grace, reporter)
    plan = build_plan(inventory, decisions, before_grace, server)
    for diagnostic in plan["diagnostics"]:
        reporter.warning(diagnostic["code"], diagnostic["message"])
    if not plan["applyable"]:
        raise Refused(
            "Nothing was announced: a plan could not be applied, for the reasons above.",
            hint=f"Fix the cause first. The plan to look at: {command('report')}",
        )
    return plan_announcements(inventory, decisions, policy)
