"""From a server to a plan: connect, scan, decide, build."""

from __future__ import annotations

import gc
import os
import shlex
import time
from dataclasses import replace
from pathlib import Path

from mlflow_gc.backend.interface import Gateway, ServerError
from mlflow_gc.domain.entities import INCOMPLETE_SCAN, Diagnostic, Inventory, ServerInfo
from mlflow_gc.domain.timestamps import format_ms, now_ms, parse_time
from mlflow_gc.errors import UsageProblem
from mlflow_gc.inventory.reader import Reader, open_reader
from mlflow_gc.inventory.scan import refused_names
from mlflow_gc.plan.builder import build_plan
from mlflow_gc.plan.lazy_entries import Document
from mlflow_gc.policy.lint import warnings
from mlflow_gc.policy.loader import (
    DEFAULT_NAMES,
    apply_policy,
    find_policy_file,
    near_misses,
    read_policy,
)
from mlflow_gc.retention.decision import Decisions, Verdict
from mlflow_gc.retention.engine import (
    decide,
    decide_after_look,
    experiments_to_probe,
    runs_that_may_read,
    runs_to_know,
    trash_since,
)
from mlflow_gc.retention.policy import Evidence, Policy
from mlflow_gc.retention.rules import NEVER, Rule
from mlflow_gc.retention.scan_quality import judge_scan
from mlflow_gc.settings import POLICY, Connection, resolve, resolve_ttl_days
from mlflow_gc.workflows.reporter import Phase, Reporter


def resolve_policy(
    *,
    ttl: str | None,
    as_of: str | None,
    policy_file: Path | None,
    no_policy: bool = False,
    accept_partial_view: bool,
    verbose: bool,
    reporter: Reporter,
) -> Policy:
    """Resolve the policy from flags, environment and policy file.

    Args:
        ttl: of the flag.
        as_of: of the flag.
        policy_file: of the flag.
        no_policy: of the flag: use no policy file, wherever there is one.
        accept_partial_view: of the flag.
        verbose: say where each comes from.
        reporter: told where each comes from, and of what is wrong with the file.

    Raises:
        UsageProblem: the TTL, the time or the policy file cannot be used.
        GcError: the policy file cannot be read.
    """
    ttl_days, origin = resolve_ttl_days(ttl)
    if verbose:
        reporter.note(origin.describe())
    if as_of is None:
        as_of_ms = now_ms()
    else:
        try:
            as_of_ms = parse_time(as_of)
            format_ms(as_of_ms)
        except ValueError as error:
            raise UsageProblem(f"--as-of: {error}.") from error
    policy = Policy(
        as_of_ms=as_of_ms,
        default=Rule.of_days(ttl_days),
        evidence=Evidence(accept_partial_view=accept_partial_view),
    )
    path = _policy_path(policy_file, no_policy=no_policy, verbose=verbose, reporter=reporter)
    if path is None:
        return policy
    document, source = read_policy(path)
    for warning in warnings(document):
        reporter.warning(None, f"{path}: {warning}")
    said_ttl = document.get("defaults", {}).get("ttl")
    if origin.origin != "default" and said_ttl == NEVER:
        # Somebody's variable, which may be set for all commands, must not switch deletion on.
        reporter.warning(
            None,
            f"The TTL of {ttl_days} days (from {origin.origin}) is not used: {path} says "
            "defaults.ttl: never.",
        )
    elif origin.origin != "default" and said_ttl is not None:
        reporter.note(
            f"The TTL of {ttl_days} days (from {origin.origin}) is used in place of {path}'s."
        )
    resolved = apply_policy(document, policy, ttl_is_default=origin.origin == "default")
    return replace(resolved, source=source)


def _policy_path(
    flag: Path | None, *, no_policy: bool, verbose: bool, reporter: Reporter
) -> Path | None:
    """Return the policy file that counts, or None for none.

    Raises:
        UsageProblem: two could be meant.
    """
    if no_policy and flag is not None:
        raise UsageProblem(
            "--policy and --no-policy cannot be combined.", hint="Leave one of them out."
        )
    chosen = resolve(POLICY, str(flag) if flag else None)
    here = Path()
    if no_policy:
        ignored = chosen.text or ", ".join(n for n in DEFAULT_NAMES if os.path.lexists(n))
        if ignored:
            reporter.note(f"The policy {ignored} is not used (--no-policy).")
        return None
    path = Path(chosen.text) if chosen.text is not None else find_policy_file(here)
    if path is None:
        for name in near_misses(here):
            reporter.warning(
                None,
                f"{name} is not read: a policy file that counts without being named is called "
                f"{' or '.join(DEFAULT_NAMES)}. To use this one: --policy {shlex.quote(name)}",
            )
    elif verbose or chosen.text is None:
        # A file that is found without having been named is always mentioned.
        where = "working directory" if chosen.text is None else chosen.origin
        reporter.note(f"Policy {path} (from {where})")
    return path


def open_server(connection: Connection, *, verbose: bool, reporter: Reporter) -> Gateway:
    """Open the server that the settings name; it is not contacted yet.

    Args:
        connection: the settings.
        verbose: say where each comes from.
        reporter: told about the seconds that MLflow takes to be imported, and of warnings.

    Raises:
        GcError: a setting cannot be used.
    """
    from mlflow_gc.backend.connect import connect

    if verbose:
        for line in connection.describe():
            reporter.note(line)
    with reporter.phase(Phase.LOAD):
        gateway = connect(connection)
    for warning in gateway.warnings():
        reporter.warning(None, warning)
    return gateway


def make_plan(gateway: Gateway, policy: Policy, reporter: Reporter) -> Document:
    """Scan a server and return the plan.

    Raises:
        ServerError: the server cannot be reached or read.
    """
    inventory, decisions, server = survey(gateway, policy, reporter)
    with reporter.phase(Phase.DECIDE):
        return build_plan(inventory, decisions, policy, server)


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
    decisions = decide_after_look(inventory, policy, decisions)
    inventory = replace(inventory, diagnostics=(*inventory.diagnostics, *doubts))
    return inventory, decisions, server


def _with_traces(reader: Reader, inventory: Inventory, reporter: Reporter) -> Inventory:
    """Return the inventory with what traces say, also where no run is deleted.

    Deleting an experiment deletes the runs in its trash once more, and assessments with them.
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
        ("inputs of runs", runs_that_may_read, reader.read_inputs),
        ("histories of metrics", runs_to_know, reader.read_histories),
        ("traces", runs_to_know, reader.read_traces),
        ("contents of runs", runs_to_know, reader.read_contents),
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
