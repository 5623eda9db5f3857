"""From a server to a plan: scan, decide, build."""

from __future__ import annotations

import gc
import time
from dataclasses import replace

from mlflow_gc.backend.interface import Gateway, ServerError
from mlflow_gc.domain.entities import INCOMPLETE_SCAN, Diagnostic, Inventory, ServerInfo
from mlflow_gc.errors import GcError
from mlflow_gc.inventory.reader import Reader, open_reader
from mlflow_gc.inventory.registry import refused_names
from mlflow_gc.plan import schema
from mlflow_gc.plan.builder import build_plan
from mlflow_gc.plan.document import Plan
from mlflow_gc.retention.decision import Decisions, Verdict
from mlflow_gc.retention.engine import (
    decide,
    decide_after_probe,
    experiments_to_probe,
    runs_needing_details,
    runs_needing_inputs,
    trash_since,
)
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.scan_quality import judge_scan
from mlflow_gc.workflows.reporter import Phase, Reporter


def make_plan(gateway: Gateway, policy: Policy, reporter: Reporter) -> Plan:
    """Scan a server and return the plan.

    Raises:
        ServerError: the server cannot be reached or read.
        GcError: it holds what a plan cannot express.
    """
    inventory, decisions, server = survey(gateway, policy, reporter)
    with reporter.phase(Phase.DECIDE):
        plan = build_plan(inventory, decisions, policy, server)
    if found := schema.problems(plan, "plan"):
        raise GcError(
            "The server holds something that a plan cannot express. " + "; ".join(found),
            hint="Nothing was written. This is a defect of mlflow-gc: please report it.",
        )
    return plan


def survey(
    gateway: Gateway, policy: Policy, reporter: Reporter
) -> tuple[Inventory, Decisions, ServerInfo]:
    """Read all of a server that a decision by this policy needs, and decide.

    Args:
        gateway: the server.
        policy: what a decision needs.
        reporter: told what is read.

    Raises:
        ServerError: the server cannot be reached or read.
    """
    from mlflow_gc.backend.server_identity import read_server_info

    began = time.monotonic()
    with reporter.phase(Phase.CONNECT):
        server = read_server_info(gateway)
    with open_reader(gateway, server) as reader:
        server = replace(server, read_from=reader.read_from)
        with reporter.phase(Phase.SCAN):
            inventory = reader.scan(reporter.advance, wanted=policy.wanted)
        # Millions of records that stay: Python's collector need not walk them again and again.
        gc.freeze()
        with reporter.phase(Phase.DECIDE):
            decisions = decide(inventory, policy)
        if refused := refused_names(gateway, _models_to_delete_from(decisions)):
            inventory = replace(inventory, refused_names=refused)
            decisions = decide(inventory, policy)
        inventory, decisions = _with_details(reader, inventory, decisions, policy, reporter)
        waiting = experiments_to_probe(decisions)
        if waiting:
            inventory = _with_traces(reader, inventory, reporter)
        since_ms = trash_since(policy, inventory)
        with reporter.phase(Phase.LOOK, {"experiments": len(waiting)}):
            inventory = reader.probe(
                inventory, waiting, since_ms=since_ms, progress=reporter.advance
            )
    doubts = judge_scan(
        policy.evidence,
        took_ms=int((time.monotonic() - began) * 1000),
        clock_skew_ms=gateway.clock_skew_ms(),
    )
    decisions = decide_after_probe(inventory, policy, decisions)
    inventory = replace(inventory, diagnostics=(*inventory.diagnostics, *doubts))
    return inventory, decisions, server


def _with_traces(reader: Reader, inventory: Inventory, reporter: Reporter) -> Inventory:
    """Return the inventory with what traces say, also where no run is deleted.

    Deleting an experiment deletes the runs in its trash again, and assessments with them.
    """
    if inventory.traces is not None:
        return inventory
    try:
        with reporter.phase(Phase.LOOK):
            return reader.read_traces(inventory, (), reporter.advance)
    except ServerError as error:
        return _incomplete(inventory, "traces", error)


def _incomplete(inventory: Inventory, what: str, error: ServerError) -> Inventory:
    message = f"Not all {what} could be read. {error.message}"
    diagnostic = Diagnostic(INCOMPLETE_SCAN, message, blocks=True)
    return replace(inventory, diagnostics=(*inventory.diagnostics, diagnostic))


def _models_to_delete_from(decisions: Decisions) -> set[str]:
    """Return the registered models that go, or lose versions."""
    names = {
        name for (name, _), d in decisions.model_versions.items() if d.verdict is Verdict.DELETE
    }
    names |= {
        name for name, d in decisions.registered_models.items() if d.verdict is Verdict.DELETE
    }
    return names


def _with_details(
    reader: Reader, inventory: Inventory, decisions: Decisions, policy: Policy, reporter: Reporter
) -> tuple[Inventory, Decisions]:
    """Return the inventory with what a scan does not tell of runs, where it can matter, and decisions.

    That is what kept runs read, and all that is known of those that go.  A run that stays for
    what another one reads, or for what was logged to it, may read something itself: hence the loop.
    """
    details = (
        ("inputs of runs", runs_needing_inputs, reader.read_inputs),
        ("histories of metrics", runs_needing_details, reader.read_histories),
        ("traces", runs_needing_details, reader.read_traces),
        ("contents of runs", runs_needing_details, reader.read_contents),
    )
    known: dict[str, set[str]] = {what: set() for what, _, _ in details}
    while True:
        asked = {what: choose(inventory, decisions) - known[what] for what, choose, _ in details}
        if not any(asked.values()):
            return inventory, decisions
        # What one of them keeps, the others need not be asked about.
        what, run_ids, read = next((w, asked[w], read) for w, _, read in details if asked[w])
        try:
            with reporter.phase(Phase.LOOK, {"runs": len(run_ids)}):
                inventory = read(inventory, run_ids, reporter.advance)
        except ServerError as error:
            return _incomplete(inventory, what, error), decisions
        known[what] |= run_ids
        decisions = decide(inventory, policy)
