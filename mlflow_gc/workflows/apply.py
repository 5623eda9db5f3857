"""Applying a verified plan: server identity, signals, journal, progress."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import cast

from mlflow_gc.apply.dry_run import DryRun
from mlflow_gc.apply.executor import Executor, Result
from mlflow_gc.apply.journal.file import Journal
from mlflow_gc.apply.recheck.checker import Finding, Recheck, refuse_partial_view
from mlflow_gc.apply.recheck.live_guards import local_maxima, refuse_tripped
from mlflow_gc.backend.interface import Gateway
from mlflow_gc.domain.kinds import KINDS
from mlflow_gc.errors import Refused
from mlflow_gc.plan.lazy_entries import Document
from mlflow_gc.plan.sharding import Part, Shard, part_of
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.scan_quality import is_skewed, skew_in_words
from mlflow_gc.workflows.reporter import ROLLED_BACK, Phase, Reporter


@dataclass
class Applied:
    """How applying a plan ended.

    Attributes:
        result: counts and errors.
        skips: every entity that was not deleted, as the journal's record.
        signum: the signal that stopped it, or 0.
        findings: what was found of everything that was left alone, by kind and id.
        refusals: why a prune would have refused the plan; empty unless asked for.
    """

    result: Result
    skips: list[Document] = field(default_factory=list)
    signum: int = 0
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict)
    refusals: list[Refused] = field(default_factory=list)


def apply_plan(
    gateway: Gateway,
    plan: Document,
    plan_file: Path,
    *,
    journal_path: Path | None,
    reporter: Reporter,
    phase: Phase = Phase.PRUNE,
    dry_run: bool = False,
    only_look: bool = False,
    shard: Shard | None = None,
) -> Applied:
    """Apply a plan.

    Args:
        gateway: the server.
        plan: a verified plan.
        plan_file: where it was read, for messages.
        journal_path: where the journal goes; None where there can be none yet.
        reporter: told what comes of each entity.
        phase: what it is told that this is.
        dry_run: nothing is deleted and nothing is written.
        only_look: of a dry run: collect what a prune would refuse, and look all the same.
        shard: which part of the plan to apply; None for all of it.

    Raises:
        Refused: the plan is of another server.
        GcError: the evidence cannot be read, or the journal not be written.
    """
    refusals: list[Refused] = []
    findings: dict[tuple[str, str], Finding] = {}
    maxima = local_maxima()
    with reporter.phase(Phase.CONNECT):
        refuse_other_server(gateway, plan["server"], plan_file)
        policy = Policy.from_document(plan["policy"], as_of=plan["as_of"])
        refuse_partial_view(gateway, policy)
        with _collected(refusals, only_look):
            _refuse_skewed_clocks(gateway, policy)
    if dry_run:
        gateway = cast("Gateway", DryRun(gateway))

    with graceful_stop(gateway, reporter, pretend=dry_run) as (stop, signals):
        with reporter.phase(Phase.COMPARE):
            recheck = Recheck(gateway, plan)
        with _collected(refusals, only_look):
            refuse_tripped(gateway, plan, recheck, maxima)
        # What is protected, and by what, is judged with the whole plan in view.
        part = part_of(plan, shard) if shard else Part(plan)
        with Journal(
            journal_path,
            plan,
            dry_run=dry_run,
            clock_skew_ms=gateway.clock_skew_ms(),
            told=reporter.entity,
            shard=str(shard) if shard else None,
            keep_tag=policy.keep_tag,
        ) as journal:
            if journal_path is not None and not dry_run:
                reporter.journal(journal_path, plan["plan_id"])
            with reporter.phase(phase, {kind: len(part.plan[kind]) for kind in KINDS}):
                result = Executor(
                    gateway,
                    part.plan,
                    recheck,
                    journal,
                    shared=part.shared_experiments,
                    stop=stop,
                    alarm=partial(reporter.warning, ROLLED_BACK),
                    skipped=lambda kind, i, finding: findings.__setitem__((kind, i), finding),
                ).run()
    return Applied(result, journal.kept, signals[0] if signals else 0, findings, refusals)


@contextmanager
def _collected(refusals: list[Refused], wanted: bool) -> Iterator[None]:
    """Collect a refusal instead of letting it end the command."""
    try:
        yield
    except Refused as refusal:
        if not wanted:
            raise
        refusals.append(refusal)


def _refuse_skewed_clocks(gateway: Gateway, policy: Policy) -> None:
    """Refuse to delete where the clocks disagree.

    Raises:
        Refused: with the reason and what to do.
    """
    if is_skewed(gateway.clock_skew_ms(), policy.evidence):
        raise Refused(
            skew_in_words(gateway.clock_skew_ms(), policy.evidence),
            hint="Set the clock of one of the machines, and make a new plan.",
        )


def refuse_other_server(gateway: Gateway, planned: Document, file: Path) -> None:
    """Refuse what was made for another server, registry or workspace.

    Args:
        gateway: the server at hand.
        planned: the ``server`` of a plan or journal.
        file: where that stands, for the message.

    Raises:
        Refused: it is another one.
    """
    from mlflow_gc.backend.server_identity import read_server_info

    server = read_server_info(gateway)
    differences = []
    theirs, ours = (_parts(identity) for identity in (planned["identity"], server.identity))
    for part in ("tracking", "registry"):
        was, now = planned[f"{part}_uri"], getattr(server, f"{part}_uri")
        if theirs.get(part) != ours.get(part):
            _refuse_unknown_identity(file, theirs.get(part), was, ours.get(part), now)
            what = "server" if part == "tracking" else "registry"
            differences.append((what, was, now))
            break
    if planned["workspace"] != server.workspace:
        differences.append(
            ("workspace", planned["workspace"] or "none", server.workspace or "none")
        )
    if differences:
        words = "; ".join(f"it is of the {what} {was}, not {now}" for what, was, now in differences)
        raise Refused(
            f"{file} was made for another {differences[0][0]}: {words} "
            f"(fingerprint {planned['identity']}, here {server.identity}).",
            hint="Point --tracking-uri, --registry-uri and --workspace at the server it was made for.",
        )


def _refuse_unknown_identity(
    file: Path, theirs: str | None, was: str, ours: str | None, now: str
) -> None:
    """Refuse what may be of this server, where the fingerprint of one of the two is not known.

    Raises:
        Refused: with the account that can tell.
    """
    from mlflow_gc.backend.server_identity import unknown_identity

    by_what = "experiment 0 (Default), by which servers are told apart,"
    if ours == unknown_identity(now):
        raise Refused(
            f"Whether {file} was made for {now} cannot be told: {by_what} is not there, or this "
            "account may not read it.",
            hint="Use an account that may, such as an administrator's.",
        )
    if theirs == unknown_identity(was):
        raise Refused(
            f"Whether {file} was made for {now} cannot be told: the account that made it could "
            f"not read {by_what} of {was}.",
            hint="Use the account that made it, or make a new plan with this one: mlflow-gc report.",
        )


def _parts(identity: str) -> dict[str, str]:
    return dict(part.partition(":")[::2] for part in identity.split())


@contextmanager
def graceful_stop(
    gateway: Gateway, reporter: Reporter, *, pretend: bool
) -> Iterator[tuple[threading.Event, list[int]]]:
    """Turn the first SIGINT or SIGTERM into a request to stop; a second one ends at once."""
    stop = gateway.stopped
    signals: list[int] = []
    # Only the main thread may ask for signals; elsewhere they are the business of who called us.
    asked = threading.current_thread() is threading.main_thread()
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM) if asked}

    def request_stop(signum: int, _frame: FrameType | None) -> None:
        signals.append(signum)
        stop.set()
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        if not pretend:
            reporter.note("Stopping after the calls under way. Once more ends at once.")

    for each in before:
        signal.signal(each, request_stop)
    try:
        yield stop, signals
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
