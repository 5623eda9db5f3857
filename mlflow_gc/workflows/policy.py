"""Resolving the policy from options, environment and policy file."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path

from mlflow_gc.domain.timestamps import format_ms, now_ms, parse_time
from mlflow_gc.errors import UsageProblem
from mlflow_gc.policy.lint import warnings
from mlflow_gc.policy.loader import (
    DEFAULT_NAMES,
    apply_policy,
    find_policy_file,
    near_misses,
    read_policy,
)
from mlflow_gc.retention.policy import Evidence, Policy
from mlflow_gc.retention.rules import NEVER, Rule
from mlflow_gc.settings import POLICY, resolve, resolve_ttl_days
from mlflow_gc.workflows.reporter import Reporter


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
    """Resolve the policy from options, environment and policy file.

    ``verbose`` reports the origin of each value.

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
    file_ttl = document.get("defaults", {}).get("ttl")
    if origin.origin != "default" and file_ttl == NEVER:
        # A variable that may be set for all commands must not enable deletion.
        reporter.warning(
            None,
            f"The TTL of {ttl_days} days (from {origin.origin}) is not used: {path} says "
            "defaults.ttl: never.",
        )
    elif origin.origin != "default" and file_ttl is not None:
        reporter.note(
            f"The TTL of {ttl_days} days (from {origin.origin}) is used in place of {path}'s."
        )
    resolved = apply_policy(document, policy, ttl_is_default=origin.origin == "default")
    return replace(resolved, source=source)


def _policy_path(
    flag: Path | None, *, no_policy: bool, verbose: bool, reporter: Reporter
) -> Path | None:
    """Return the policy file to use, or None.

    Raises:
        UsageProblem: Two files match.
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
        # A file that was found by default is always reported.
        where = "working directory" if chosen.text is None else chosen.origin
        reporter.note(f"Policy {path} (from {where})")
    return path
