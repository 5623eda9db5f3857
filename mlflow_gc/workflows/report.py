"""From a server to a plan: scan, decide, build."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from dataclasses import replace

from mlflow_gc.backend.interface import Gateway, ServerError
from mlflow_gc.domain.entities import ServerInfo
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.quantities import Size
from mlflow_gc.domain.trash import Key
from mlflow_gc.errors import GcError
from mlflow_gc.inventory.reader import Reader, open_reader
from mlflow_gc.inventory.registry import refused_names
from mlflow_gc.inventory.scan import incomplete
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
from mlflow_gc.storage.stores import ArtifactStores
from mlflow_gc.workflows.reporter import Phase, Reporter
from mlflow_gc.workflows.sizes import measure_deletions


def make_plan(
    gateway: Gateway, policy: Policy, reporter: Reporter, *, stores: ArtifactStores | None = None
) -> Plan:
    """Scan a server and return the plan, with the sizes of files in ``stores``, if given.

    Raises:
        ServerError: the server cannot be reached or read.
        GcError: It has data that a plan cannot express.
    """
    inventory, decisions, server = read_and_decide(gateway, policy, reporter)
    sizes: Mapping[Key, Size] = {}
    if stores is not None:
        with reporter.phase(Phase.MEASURE):
            sizes, unknown = measure_deletions(inventory, decisions, stores, reporter.advance)
        inventory = replace(inventory, diagnostics=(*inventory.diagnostics, *unknown))
    with reporter.phase(Phase.DECIDE):
        plan = build_plan(inventory, decisions, policy, server, sizes=sizes)
    if found := schema.problems(plan, "plan"):
        raise GcError(
            "The server has something that a plan cannot express. " + "; ".join(found),
            hint="Nothing was written. This is a defect of mlflow-gc: please report it.",
        )
    return plan


def read_and_decide(
    gateway: Gateway, policy: Policy, reporter: Reporter
) -> tuple[Inventory, Decisions, ServerInfo]:
    """Read everything that decisions by this policy need, and decide.

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
        # After the scan, which has asked whose account it is.
        server = replace(server, capabilities=gateway.capabilities())
        # Millions of long-lived records: the garbage collector would traverse them again and again.
        gc.freeze()
        with reporter.phase(Phase.DECIDE):
            decisions = decide(inventory, policy)
        versions, models = decisions.model_versions.items(), decisions.registered_models.items()
        losing = {name for (name, _), found in versions if found.verdict is Verdict.DELETE}
        losing |= {name for name, found in models if found.verdict is Verdict.DELETE}
        if refused := refused_names(gateway, losing):
            inventory = replace(inventory, refused_names=refused)
            decisions = decide(inventory, policy)
        inventory, decisions = _with_details(reader, inventory, decisions, policy, reporter)
        waiting = experiments_to_probe(decisions)
        if waiting:
            inventory = _with_traces(reader, inventory, reporter)
        since_ms = trash_since(policy, inventory)
        with reporter.phase(Phase.DETAILS, {"experiments": len(waiting)}):
            inventory = reader.probe(
                inventory, waiting, since_ms=since_ms, progress=reporter.advance
            )
    diagnostics = judge_scan(
        policy.evidence,
        took_ms=int((time.monotonic() - began) * 1000),
        clock_skew_ms=gateway.clock_skew_ms(),
    )
    decisions = decide_after_probe(inventory, policy, decisions)
    inventory = replace(inventory, diagnostics=(*inventory.diagnostics, *diagnostics))
    return inventory, decisions, server


def _with_traces(reader: Reader, inventory: Inventory, reporter: Reporter) -> Inventory:
    """Return the inventory with the references of traces, also if no run is deleted.

    Deleting an experiment deletes the runs in its trash again, with their assessments.
    """
    if inventory.traces is not None:
        return inventory
    try:
        with reporter.phase(Phase.DETAILS):
            return reader.read_traces(inventory, (), reporter.advance)
    except ServerError as error:
        return _incomplete(inventory, "traces", error)


def _incomplete(inventory: Inventory, what: str, error: ServerError) -> Inventory:
    return replace(inventory, diagnostics=(*inventory.diagnostics, incomplete(what, error)))


def _with_details(
    reader: Reader, inventory: Inventory, decisions: Decisions, policy: Policy, reporter: Reporter
) -> tuple[Inventory, Decisions]:
    """Return the inventory with the details of runs that decisions need, and the decisions.

    These are the inputs of retained runs, and all details of runs to delete.  A run that is
    retained because of details may read models itself: hence the loop.
    """
    details = (
        ("inputs of runs", runs_needing_inputs, reader.read_inputs),
        ("histories of metrics", runs_needing_details, reader.read_histories),
        ("traces", runs_needing_details, reader.read_traces),
        ("contents of runs", runs_needing_details, reader.read_content_digests),
    )
    known: dict[str, set[str]] = {what: set() for what, _, _ in details}
    while True:
        needed = {what: choose(inventory, decisions) - known[what] for what, choose, _ in details}
        if not any(needed.values()):
            return inventory, decisions
        # Runs that one kind of details protects need no other details.
        what, run_ids, read = next((w, needed[w], read) for w, _, read in details if needed[w])
        try:
            with reporter.phase(Phase.DETAILS, {"runs": len(run_ids)}):
                inventory = read(inventory, run_ids, reporter.advance)
        except ServerError as error:
            return _incomplete(inventory, what, error), decisions
        known[what] |= run_ids
        decisions = decide(inventory, policy)
