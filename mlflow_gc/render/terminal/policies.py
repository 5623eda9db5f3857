"""A policy, its decision on one entity, and the results of its tests, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlflow_gc.domain.reasons import in_days
from mlflow_gc.domain.timestamps import DAY_MS, format_duration, format_ms
from mlflow_gc.render.common import policy_sentences
from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.common.lines import NAME, line
from mlflow_gc.retention.owner_tags import DELETE_AFTER
from mlflow_gc.retention.rules import NEVER

if TYPE_CHECKING:
    from rich.console import Console

    from mlflow_gc.domain.inventory import Inventory
    from mlflow_gc.policy.test_runner import CaseResult
    from mlflow_gc.retention.explain import Explanation
    from mlflow_gc.retention.policy import Policy


def policy(policy: Policy, console: Console, *, whole: bool) -> None:
    """Print the source of a policy, and the whole of it in English."""
    source = {"path": policy.source.path, "digest": policy.source.digest}
    line(console, policy_sentences.source(source))
    if not whole:
        return
    document = policy.to_document()
    for sentence in policy_sentences.explain(document):
        line(console, sentence)
    line(console, "")
    line(console, "Purge", "bold")
    for sentence in policy_sentences.explain({**document, "purge": policy.purge.to_document()}):
        line(console, sentence)


def last_active(active_ms: int, as_of_ms: int) -> str:
    """Return a time, ms since the epoch, and its distance to another in days, rounded down."""
    distance, side = as_of_ms - active_ms, "before"
    if distance < 0:
        # The clock of whoever logged it was wrong, or `--as-of` names the past.
        distance, side = -distance, "after"
    return f"{format_ms(active_ms)}, {in_days(distance // DAY_MS)} {side}"


def explanation(
    inventory: Inventory, policy: Policy, kind: str, key: Any, found: Explanation, console: Console
) -> None:
    """Print the rule for one entity, and why it is deleted or retained."""
    line(console, _headline(inventory, kind, key), "bold")
    match = policy_sentences.subject(found.rule.match.to_document())
    is_default = found.rule is policy.default
    rule = "none matches, the default counts" if is_default else f"{found.rule.name}: {match}"
    rows = [("rule", rule), ("stale", _stale_after(found))]
    if found.age.ignored:
        rows.append(("ignored", found.age.ignored))
    if found.active_ms is not None:
        rows.append(("last active", last_active(found.active_ms, policy.as_of_ms)))
    if DELETE_AFTER in found.tags:
        rows.append(("announced", f"{DELETE_AFTER}={found.tags[DELETE_AFTER]}"))
    if found.is_deleted:
        rows.append(("verdict", "delete: " + "; ".join(found.decision.why)))
    elif found.code == NEVER:
        rows.append(("verdict", f"keep: it is never stale ({', '.join(found.via)})"))
    elif found.decision.reason is None:
        rows.append(("verdict", "keep: it is not stale"))
    else:
        rows.append(("verdict", f"keep: {', '.join([found.code, *found.via])}"))
    for name, value in rows:
        line(console, f"  {name:<12} {plain(value)}")


def policy_tests(
    path: str, results: Sequence[CaseResult], console: Console, *, quiet: bool
) -> None:
    """Print the results of a file of policy tests."""
    for result in results:
        if not result.failures and not quiet:
            line(console, f"ok    {result.name}", "green")
        if result.failures:
            line(console, f"FAIL  {result.name}", "bold red")
        for failure in result.failures:
            line(console, f"      {path} line {failure.line}: {failure.entity}")
            line(console, f"        expected {failure.expected}")
            line(console, f"        found    {failure.found}")
    failed = sum(bool(result.failures) for result in results)
    checked = sum(result.checked for result in results)
    verdict = f"{failed:,} of {len(results):,} cases failed" if failed else "all as expected"
    line(console, f"{path}: {len(results):,} cases, {checked:,} expectations, {verdict}.")


def _headline(inventory: Inventory, kind: str, key: Any) -> str:
    if kind == "run":
        run = inventory.runs[key]
        experiment = inventory.experiments.get(run.experiment_id)
        where = plain(experiment.name, most=NAME) if experiment else ""
        return f"run {key} {plain(run.run_name, most=NAME)}, experiment {run.experiment_id} {where}"
    if kind == "experiment":
        return f"experiment {key} {plain(inventory.experiments[key].name, most=NAME)}"
    if kind == "model_version":
        return f"model version {plain(key[0])}/{key[1]}"
    return f"registered model {plain(key)}, without versions"


def _stale_after(found: Explanation) -> str:
    if found.age.malformed:
        return f"unknown: {found.age.malformed}"
    if found.age.ms is None:
        return f"never ({found.age.by or 'the default'})"
    age = policy_sentences.span(format_duration(found.age.ms))
    return f"after {age}, says {found.age.by or 'the default'}"
