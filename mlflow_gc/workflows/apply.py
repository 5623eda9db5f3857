"""Applying a verified plan: server identity, signals, journal, progress."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

from mlflow_gc.apply.dry_run import DryRun
from mlflow_gc.apply.executor import Executor
from mlflow_gc.apply.journal.writer import Journal
from mlflow_gc.apply.outcomes import Result
from mlflow_gc.apply.recheck.checker import Finding
from mlflow_gc.apply.recheck.live_evidence import refuse_partial_view
from mlflow_gc.apply.recheck.live_guards import local_maxima, refuse_exceeded
from mlflow_gc.apply.recheck.recheck import Recheck
from mlflow_gc.backend.interface import Gateway
from mlflow_gc.domain.kinds import PRUNE
from mlflow_gc.errors import Refused
from mlflow_gc.invocation import command
from mlflow_gc.plan.document import Json, Plan, deletion_counts
from mlflow_gc.plan.sharding import Part, Shard, part_of
from mlflow_gc.plan.verification import refuse_action
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.scan_quality import describe_skew, is_skewed
from mlflow_gc.settings import requires_expect
from mlflow_gc.workflows.reporter import ROLLED_BACK, Phase, Reporter
from mlflow_gc.workflows.server import graceful_stop, refuse_other_server


@dataclass
class Applied:
    """The result of applying a plan.

    Attributes:
        result: counts and errors.
        skips: every entity that was not deleted, as the journal's record.
        signum: the signal that stopped it, or 0.
        findings: findings on skipped entities, by kind and id.
        refusals: why a prune would have refused the plan; empty unless ``check_only``.
        left: entities that a limit of a purge left to the next run.
    """

    result: Result
    skips: list[Json] = field(default_factory=list)
    signum: int = 0
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict)
    refusals: list[Refused] = field(default_factory=list)
    left: int = 0


def apply_plan(
    gateway: Gateway,
    plan: Plan,
    plan_file: Path,
    *,
    journal_path: Path | None,
    reporter: Reporter,
    dry_run: bool = False,
    check_only: bool = False,
    shard: Shard | None = None,
) -> Applied:
    """Apply a verified plan.

    ``check_only`` collects refusals of a dry run, and checks nevertheless.  ``shard`` is the part
    of the plan to apply.

    Raises:
        Refused: The plan was made for another server.
        GcError: The evidence cannot be read, or the journal cannot be written.
    """
    refuse_action(plan, plan_file, PRUNE)
    refusals: list[Refused] = []
    findings: dict[tuple[str, str], Finding] = {}
    maxima = local_maxima()
    with reporter.phase(Phase.CONNECT):
        refuse_other_server(gateway, plan["server"], plan_file)
        policy = Policy.from_document(plan["policy"], as_of=plan["as_of"])
        refuse_partial_view(gateway, policy)
        with collected(refusals, check_only):
            _refuse_lost_evidence(gateway, plan, plan_file)
        with collected(refusals, check_only):
            if is_skewed(gateway.clock_skew_ms(), policy.evidence):
                raise Refused(
                    describe_skew(gateway.clock_skew_ms(), policy.evidence),
                    hint="Set the clock of one of the machines, and make a new plan.",
                )
    if dry_run:
        gateway = cast("Gateway", DryRun(gateway))

    with graceful_stop(gateway, reporter, dry_run=dry_run) as (stop, signals):
        with reporter.phase(Phase.COMPARE):
            recheck = Recheck(gateway, plan)
        with collected(refusals, check_only):
            refuse_exceeded(gateway, plan, recheck, maxima)
        # Protection is decided with the whole plan.
        part = part_of(plan, shard) if shard else Part(plan)
        with Journal(
            journal_path,
            plan,
            dry_run=dry_run,
            clock_skew_ms=gateway.clock_skew_ms(),
            on_record=reporter.entity,
            shard=str(shard) if shard else None,
            keep_tag=policy.keep_tag,
        ) as journal:
            if journal_path is not None and not dry_run:
                reporter.journal(journal_path, plan["plan_id"])
            totals = deletion_counts(part.plan)
            with reporter.phase(Phase.CHECK if dry_run else Phase.PRUNE, totals):
                result = Executor(
                    gateway,
                    part.plan,
                    recheck,
                    journal,
                    shared=part.shared_experiments,
                    stop=stop,
                    on_rollback=partial(reporter.warning, ROLLED_BACK),
                    on_skip=lambda kind, i, finding: findings.__setitem__((kind, i), finding),
                ).run()
    return Applied(
        result, journal.skipped_or_failed, signals[0] if signals else 0, findings, refusals
    )


def refuse_unexpected(
    plan: Plan, plan_file: Path, expect: Collection[str], *, is_required: bool
) -> None:
    """Refuse a plan other than the approved one.

    ``expect`` are the approved ``plan_id``s of this plan and of others.  ``is_required`` tells
    whether this machine may require one (``MLFLOW_GC_REQUIRE_EXPECT``).

    Raises:
        Refused: It has another ``plan_id``, or this machine requires one and none was given.
    """
    if not expect and is_required and requires_expect():
        raise Refused(
            f"The plan {plan_file} is refused without --expect: MLFLOW_GC_REQUIRE_EXPECT is set.",
            hint="Name the plan_id that was approved: --expect sha256:...",
        )
    if expect and plan["plan_id"] not in expect:
        raise Refused(
            f"The plan {plan_file} has plan_id {plan['plan_id']}, expected was "
            f"{' or '.join(expect)}.",
            hint="This is not the plan that was approved.",
        )


@contextmanager
def collected(refusals: list[Refused], wanted: bool) -> Iterator[None]:
    """Collect a refusal instead of raising it."""
    try:
        yield
    except Refused as refusal:
        if not wanted:
            raise
        refusals.append(refusal)


def _refuse_lost_evidence(gateway: Gateway, plan: Plan, plan_file: Path) -> None:
    """Refuse a server that lacks evidence which it had when the plan was made.

    What it has in addition (it was upgraded) is read by the re-check of each entity.  Without
    accounts it hides nothing.

    Raises:
        Refused: With the evidence that can no longer be read.
    """
    planned = plan["server"].get("capabilities")
    if planned is None:
        return
    now = asdict(gateway.capabilities())
    evidence = ("aliases", "logged_models", "traces")
    lost = [name for name in evidence if planned.get(name) and now[name] is False]
    if lost:
        nouns = " and ".join(name.replace("_", " ") for name in lost)
        raise Refused(
            f"The server had {nouns} when {plan_file} was made and has none now, so what they "
            "protect cannot be seen.",
            hint="Look for what changed: an older version of MLflow, or a proxy that hides a part of "
            f"its API. Then make a new plan: {command('report')}",
        )
