"""Resolving the policy from options, environment and policy file."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from pathlib import Path

from mlflow_gc.domain.timestamps import DAY_MS, format_ms, now_ms, parse_time
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
    reporter: Reporter,
    ttl: str | None = None,
    as_of: str | None = None,
    policy_file: Path | None = None,
    no_policy: bool = False,
    accept_partial_view: bool = False,
    verbose: bool = False,
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


def with_trash_options(
    policy: Policy, *, older_than: str | None, keep_files: bool, keep_rows: bool
) -> Policy:
    """Return the policy with options about the trash.

    Args:
        policy: of a file, or the default.
        older_than: days in the trash; replaces the default ``purge_after``, except ``never``.
        keep_files: delete only rows.
        keep_rows: delete only files.

    Raises:
        UsageProblem: the days are not a whole number, or the options contradict each other.
    """
    if keep_files and keep_rows:
        raise UsageProblem(
            "--keep-files and --keep-rows cannot be combined: nothing would be deleted.",
            hint="Leave one of them out.",
        )
    if keep_files or keep_rows:
        left = "files" if keep_files else "rows"
        policy = replace(policy, purge=replace(policy.purge, keep=left))
    if older_than is None or policy.default.purge_after_ms is None:
        return policy
    if not re.fullmatch(r"[0-9]{1,5}", older_than, re.ASCII):
        raise UsageProblem(
            f"--older-than {older_than[:40]!r} is not a whole number of days.",
            hint="Give whole days, for example 30; 0 is everything in the trash.",
        )
    default = replace(policy.default, purge_after_ms=int(older_than) * DAY_MS)
    return replace(policy, default=default)


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
