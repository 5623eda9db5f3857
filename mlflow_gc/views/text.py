"""A plan, its difference and its outcome as text, on a terminal or in a job's log."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_gc.clock import format_duration, format_ms, now_ms, parse_time
from mlflow_gc.retention.age import days_before
from mlflow_gc.retention.owner_tags import DELETE_AFTER
from mlflow_gc.views import policy_in_words
from mlflow_gc.views.escape import plain

if TYPE_CHECKING:
    from rich.console import Console

    from mlflow_gc.apply.executor import Result
    from mlflow_gc.apply.undo import Undo
    from mlflow_gc.inventory.entities import Inventory
    from mlflow_gc.plan.policy_tests import CaseResult
    from mlflow_gc.retention.explain import Explanation
    from mlflow_gc.retention.policy import Policy

_CUT_AT = 20
_NAME = 40
_KIND_WORDS = {
    "experiments": ("experiment", "experiments"),
    "runs": ("run", "runs"),
    "model_versions": ("model version", "model versions"),
    "registered_models": ("registered model", "registered models"),
}


def summary(plan: dict[str, Any], console: Console, *, path: str) -> None:
    """Print the numbers of a plan and the next command."""
    rows: list[tuple[str, ...]] = [("", "scanned", "stale", "kept", "to delete")]
    for kind, (_, words) in _kinds(plan):
        counts = plan["summary"][kind]
        numbers = (counts[key] for key in ("scanned", "stale", "protected", "delete"))
        rows.append((words, *(f"{n:,}" for n in numbers)))
    _table(console, rows)
    irreversible = plan["summary"]["irreversible"]
    if irreversible:
        _line(
            console,
            f"{irreversible:,} of the deletions cannot be undone ({_what_is_irreversible(plan)}).",
            "bold red",
        )
    _line(console, f"Plan {path}  {plan['plan_id']}")
    _line(console, _validity(plan))
    if plan["applyable"] and any(plan[kind] for kind in _KIND_WORDS):
        _line(console, f"Review: mlflow-gc show {path}")
        _line(console, f"Apply:  mlflow-gc prune {path}")


def _what_is_irreversible(plan: dict[str, Any]) -> str:
    words = [_KIND_WORDS[kind][1] for kind in ("model_versions", "registered_models") if plan[kind]]
    if any(not run["reversible"] for run in plan["runs"]):
        words.append("assessments of evaluation runs")
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


def show(plan: dict[str, Any], console: Console, *, path: str, everything: bool) -> None:
    """Print what a plan deletes by experiment and model, what it keeps and why."""
    server, policy = plan["server"], plan["policy"]
    _line(console, f"Prune plan of {server['tracking_uri']}", "bold")
    if server["registry_uri"] != server["tracking_uri"]:
        _line(console, f"Registry {server['registry_uri']}")
    if server["workspace"]:
        _line(console, f"Workspace {server['workspace']}")
    ages = policy_in_words.ages(policy)
    _line(console, f"As of {plan['as_of']}, {ages}.")
    for line in policy_in_words.limits(policy):
        _line(console, line)
    _experiments(plan, console, everything=everything)
    _runs(plan, console, everything=everything)
    _versions(plan, console, everything=everything)
    _models(plan, console, everything=everything)
    _kept(plan, console, everything=everything)
    for diagnostic in plan["diagnostics"]:
        _line(console, f"Warning: {diagnostic['message']}", "yellow")
    _line(console, "")
    summary(plan, console, path=path)


def diff(changes: dict[str, Any], console: Console) -> None:
    """Print what changed between two plans; server and policy first."""
    if not changes["different"]:
        _line(console, "No differences.")
        return
    for part in ("server", "policy", "state"):
        for field in changes[part]:
            _line(console, f"! {part} {_change(field)}", "bold yellow")
    counts = []
    for kind, (word, words) in _KIND_WORDS.items():
        lists = changes[kind]
        for sign, key, style in (("+", "added", "red"), ("-", "removed", "green")):
            for entity in lists[key]:
                name = plain(entity["name"], most=_NAME)
                _line(console, f"{sign} {word} {entity['id']}  {name}  {entity['why']}", style)
        for entity in lists["changed"]:
            name = plain(entity["name"], most=_NAME)
            fields = "; ".join(_change(field) for field in entity["fields"])
            _line(console, f"~ {word} {entity['id']}  {name}  {fields}", "yellow")
        numbers = [len(lists[key]) for key in ("added", "removed", "changed")]
        if any(numbers) or kind != "registered_models":
            counts.append("{} +{} -{} ~{}".format(words, *numbers))
    _line(console, "; ".join(counts))


def outcome(
    result: Result, skips: Sequence[dict[str, Any]], console: Console, *, journal: Path | None
) -> None:
    """Print how a prune ended: counts, and why what was not deleted stayed."""
    verb = "deleted" if journal else "would be deleted"
    rows: list[tuple[str, ...]] = [("", verb, "skipped", "failed")]
    for kind, words in _by_record_kind():
        outcomes: Counter[str] = Counter()
        for (of_kind, name), count in result.counts.items():
            if of_kind == kind:
                outcomes[name.split(":", 1)[0]] += count
        if outcomes or kind != "registered_model":
            rows.append((words, *(f"{outcomes[o]:,}" for o in ("deleted", "skipped", "failed"))))
    _table(console, rows)
    if put_back := result.total("restored"):
        _line(
            console,
            f"{put_back:,} of the deleted were put back at once: somebody needed them.",
            "bold red",
        )
    totals = [f"{result.total(o):,}" for o in ("deleted", "skipped", "failed")]
    _line(console, "In all {} {}, {} skipped, {} failed.".format(totals[0], verb, *totals[1:]))
    _skips(skips, console)
    if journal:
        _line(console, f"Journal {journal}")
    else:
        _line(console, "Dry run: nothing was deleted and no journal was written.")


def check(result: Result, skips: Sequence[dict[str, Any]], console: Console) -> None:
    """Print how many entries of a plan match, changed or are gone."""
    rows: list[tuple[str, ...]] = [("", "matching", "changed", "gone", "failed")]
    totals = [0, 0, 0, 0]
    for kind, words in _by_record_kind():
        of_kind = {name: n for (k, name), n in result.counts.items() if k == kind}
        gone = sum(of_kind.get(f"skipped:{code}", 0) for code in ("gone", "already_deleted"))
        skipped = sum(n for name, n in of_kind.items() if name.startswith("skipped:"))
        numbers = (of_kind.get("deleted", 0), skipped - gone, gone, of_kind.get("failed", 0))
        totals = [total + n for total, n in zip(totals, numbers, strict=True)]
        if of_kind or kind != "registered_model":
            rows.append((words, *(f"{n:,}" for n in numbers)))
    _table(console, rows)
    _line(console, "In all {:,} matching, {:,} changed, {:,} gone, {:,} failed.".format(*totals))
    _skips(skips, console)


def marks(
    counts: Counter[tuple[str, str]], console: Console, *, may_go: str, dry_run: bool
) -> None:
    """Print what was marked and unmarked.

    Args:
        counts: by (kind, what), of a marking.
        console: where to.
        may_go: when what was marked now may go.
        dry_run: nothing was written.
    """
    would = "would be " if dry_run else ""
    rows: list[tuple[str, ...]] = [
        ("", f"{would}marked", "marked before", f"{would}unmarked", "failed")
    ]
    for kind, words in _by_record_kind():
        of_kind = {what: n for (k, what), n in counts.items() if k == kind}
        if of_kind or kind != "registered_model":
            keys = ("marked", "standing", "unmarked", "failed")
            rows.append((words, *(f"{of_kind.get(key, 0):,}" for key in keys)))
    _table(console, rows)
    if may_go and any(what == "marked" for _, what in counts):
        _line(console, f"What {'would be' if dry_run else 'was'} marked now may go after {may_go}.")
        _line(console, "Its owner can object with a tag mlflow_gc.keep, or write a later time.")
    if unreadable := sum(n for (_, what), n in counts.items() if what == "unreadable"):
        _line(
            console,
            f"{unreadable:,} have a tag mlflow_gc.delete_after that nobody can read: they stay.",
            "yellow",
        )
    if dry_run:
        _line(console, "Dry run: nothing was marked.")


def policy(document: dict[str, Any], console: Console) -> None:
    """Print a whole policy in English."""
    for line in policy_in_words.explain(document):
        _line(console, line)


def explanation(
    inventory: Inventory, policy: Policy, kind: str, key: Any, found: Explanation, console: Console
) -> None:
    """Print which rule is about one entity, and why it is kept or deleted."""
    _line(console, _headline(inventory, kind, key), "bold")
    match = policy_in_words.subject(found.rule.match.to_document())
    is_default = found.rule is policy.default
    rule = "none matches, the default counts" if is_default else f"{found.rule.name}: {match}"
    rows = [("rule", rule), ("stale", _stale_after(found))]
    if found.active_ms is not None:
        ago = days_before(found.active_ms, policy.as_of_ms)
        rows.append(("last active", f"{format_ms(found.active_ms)}, {ago} before"))
    if DELETE_AFTER in found.tags:
        rows.append(("announced", f"{DELETE_AFTER}={found.tags[DELETE_AFTER]}"))
    if found.goes:
        rows.append(("verdict", "delete: " + "; ".join(found.decision.reasons)))
    elif found.decision.reason is None:
        rows.append(("verdict", "keep: it is not stale"))
    else:
        why = ", ".join([found.decision.reason.value, *found.decision.via])
        rows.append(("verdict", f"keep: {why}"))
    for name, value in rows:
        _line(console, f"  {name:<12} {plain(value)}")


def warnings(messages: Iterable[str], console: Console) -> None:
    """Print warnings, a line each."""
    for message in messages:
        _line(console, f"Warning: {message}", "yellow")


def policy_tests(
    path: str, results: Sequence[CaseResult], console: Console, *, quiet: bool
) -> None:
    """Print how a file of policy tests went."""
    for result in results:
        if not result.failures and not quiet:
            _line(console, f"ok    {result.name}", "green")
        if result.failures:
            _line(console, f"FAIL  {result.name}", "bold red")
        for failure in result.failures:
            _line(console, f"      {path} line {failure.line}: {failure.entity}")
            _line(console, f"        expected {failure.expected}")
            _line(console, f"        found    {failure.found}")
    failed = sum(bool(result.failures) for result in results)
    checked = sum(result.checked for result in results)
    words = f"{failed:,} of {len(results):,} cases failed" if failed else "all as expected"
    _line(console, f"{path}: {len(results):,} cases, {checked:,} expectations, {words}.")


def _headline(inventory: Inventory, kind: str, key: Any) -> str:
    if kind == "run":
        run = inventory.runs[key]
        experiment = inventory.experiments.get(run.experiment_id)
        where = plain(experiment.name, most=_NAME) if experiment else ""
        return (
            f"run {key} {plain(run.run_name, most=_NAME)}, experiment {run.experiment_id} {where}"
        )
    if kind == "experiment":
        return f"experiment {key} {plain(inventory.experiments[key].name, most=_NAME)}"
    if kind == "model_version":
        return f"model version {plain(key[0])}/{key[1]}"
    return f"registered model {plain(key)}, without versions"


def _stale_after(found: Explanation) -> str:
    if found.age.malformed:
        return f"nobody knows: {found.age.malformed}"
    if found.age.ms is None:
        return f"never{f', says {found.age.by}' if found.age.by else ''}"
    age = policy_in_words.span(format_duration(found.age.ms))
    return f"after {age}, says {found.age.by or 'the default'}"


def undo(plan: Undo, console: Console) -> None:
    """Print what a restore is going to bring back, and what it cannot."""
    _line(console, f"Restore {len(plan.experiments):,} experiments and {len(plan.runs):,} runs.")
    if plan.without_assessments:
        _line(
            console,
            f"{len(plan.without_assessments):,} of the runs come back without their assessments: "
            "MLflow wiped these for good.",
            "bold red",
        )
    if plan.registered_models:
        names = ", ".join(
            plain(name, most=_NAME) for name in list(plan.registered_models)[:_CUT_AT]
        )
        _line(
            console,
            f"{len(plan.registered_models):,} registered models cannot be restored: {names}",
            "bold red",
        )
    if not plan.model_versions:
        return
    _line(console, f"{len(plan.model_versions):,} model versions cannot be restored:", "bold red")
    _list(
        console,
        [
            (plain(key), f"run {known.get('run_id') or 'none'}", plain(known.get("source", "")))
            for key, known in plan.model_versions.items()
        ],
        everything=False,
    )


def restored(
    counts: Counter[tuple[str, str]],
    skips: Sequence[dict[str, Any]],
    console: Console,
    journal: Path | None,
) -> None:
    """Print how a restore ended."""
    for kind, words in _by_record_kind()[:2]:
        done = counts[kind, "restored"]
        _line(console, f"{words}: {done:,} {'restored' if journal else 'would be restored'}")
    _skips([s for s in skips if s["reason"] != "irreversible"], console, verb="restored")
    if journal:
        _line(console, f"Journal {journal}")


def question(plan: dict[str, Any]) -> str:
    """Return what prune asks before it applies a plan made on the spot."""
    counts = ", ".join(
        f"{plan['summary'][kind]['delete']:,} {words}" for kind, (_, words) in _kinds(plan)
    )
    irreversible = plan["summary"]["irreversible"]
    uri = plain(plan["server"]["tracking_uri"])
    return (
        f"\nDelete {counts} on {uri}?\n"
        f"{irreversible:,} of these deletions are irreversible. Only 'yes' is accepted: "
    )


def _experiments(plan: dict[str, Any], console: Console, *, everything: bool) -> None:
    entries = plan["experiments"]
    _heading(console, "experiments", len(entries), "can be restored")
    _list(
        console,
        [
            (e["experiment_id"], plain(e["name"], most=_NAME), "; ".join(e["reasons"]))
            for e in entries
        ],
        everything=everything,
    )


def _runs(plan: dict[str, Any], console: Console, *, everything: bool) -> None:
    lossy = sum(not run["reversible"] for run in plan["runs"])
    undo = f"{lossy:,} of them lose their assessments: IRREVERSIBLE" if lossy else "can be restored"
    _heading(console, "runs", len(plan["runs"]), undo)
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for run in plan["runs"]:
        groups[run["experiment_id"], run["experiment_name"]].append(run)
    for (experiment_id, name), runs in groups.items():
        _line(
            console, f"  experiment {experiment_id} {plain(name, most=_NAME)}: {len(runs):,} runs"
        )
        _list(
            console,
            [
                (
                    r["run_id"],
                    plain(r["run_name"], most=_NAME),
                    (r["last_activity_time"] or "")[:10],
                    "; ".join(r["reasons"]),
                )
                for r in runs
            ],
            everything=everything,
            indent=4,
            cut_at=_CUT_AT if len(groups) <= 3 else 5,
        )


def _versions(plan: dict[str, Any], console: Console, *, everything: bool) -> None:
    _heading(console, "model_versions", len(plan["model_versions"]), "IRREVERSIBLE")
    _list(
        console,
        [
            (
                f"{plain(v['name'])}/{v['version']}",
                (v["last_updated_timestamp"] or "")[:10],
                "; ".join(v["reasons"]),
            )
            for v in plan["model_versions"]
        ],
        everything=everything,
    )


def _models(plan: dict[str, Any], console: Console, *, everything: bool) -> None:
    entries = plan["registered_models"]
    if not entries:
        return
    _heading(console, "registered_models", len(entries), "IRREVERSIBLE")
    _list(
        console,
        [
            (plain(m["name"]), (m["last_updated_timestamp"] or "")[:10], "; ".join(m["reasons"]))
            for m in entries
        ],
        everything=everything,
    )


def _kinds(plan: dict[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield kinds with their words; registered models only where the policy looks at them."""
    for kind, words in _KIND_WORDS.items():
        if kind != "registered_models" or plan["summary"][kind]["scanned"]:
            yield kind, words


def _kept(plan: dict[str, Any], console: Console, *, everything: bool) -> None:
    protected = plan["protected"]
    total = sum(len(protected[kind]) for kind in _KIND_WORDS)
    _line(console, "")
    _line(console, f"Kept although old: {total:,}", "bold")
    for kind, (word, _) in _KIND_WORDS.items():
        by_reason: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for entry in protected[kind]:
            by_reason[entry["reason"]].append(entry)
        for reason in sorted(by_reason):
            entries = by_reason[reason]
            shown = entries if everything else entries[:1]
            for index, entry in enumerate(shown):
                head = (
                    f"{len(entries):,} {word}{'s' if len(entries) > 1 else ''}" if not index else ""
                )
                chain = ", ".join(entry["via"])
                example = f"{_id_of(kind, entry)}{': ' + chain if chain else ''}"
                lead = "" if everything or len(entries) == 1 else "for example "
                _line(console, f"  {head:<22} {reason:<20} {lead}{example}")


def _id_of(kind: str, entry: dict[str, Any]) -> str:
    if kind == "runs":
        return str(entry["run_id"])
    if kind == "experiments":
        return f"{entry['experiment_id']} {plain(entry['name'], most=_NAME)}"
    return f"{entry['name']}/{entry['version']}" if "version" in entry else str(entry["name"])


def _skips(skips: Sequence[dict[str, Any]], console: Console, verb: str = "deleted") -> None:
    """Print what was left alone and why; of what was gone already only how much."""
    gone = {"gone": "are gone", "already_deleted": "are in the trash already"}
    telling = [skip for skip in skips if skip["reason"] not in gone]
    for skip in telling[:_CUT_AT]:
        code = skip["reason"] or skip["outcome"]
        _line(
            console,
            f"  not {verb}: {skip['kind']} {skip['id']}  {code}: {skip.get('detail', '')}",
        )
    if len(telling) > _CUT_AT:
        _line(console, f"  ... and {len(telling) - _CUT_AT:,} more")
    for reason, words in gone.items():
        if count := sum(skip["reason"] == reason for skip in skips):
            _line(console, f"  {count:,} {words}")


def _heading(console: Console, kind: str, count: int, undo: str) -> None:
    _line(console, "")
    word = _KIND_WORDS[kind][0 if count == 1 else 1]
    style = "bold red" if "IRREVERSIBLE" in undo and count else "bold"
    _line(console, f"Delete {count:,} {word}" + (f" ({undo})" if count else ""), style)


def _list(
    console: Console,
    rows: Sequence[tuple[str, ...]],
    *,
    everything: bool,
    indent: int = 2,
    cut_at: int = _CUT_AT,
) -> None:
    """Print aligned rows; a long list is cut with a count."""
    shown = rows if everything else rows[:cut_at]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        # The dash keeps names that look like a CI system's commands off the start of a line.
        _line(console, " " * indent + "- " + "  ".join(cells).rstrip())
    if len(rows) > len(shown):
        _line(console, " " * indent + f"... and {len(rows) - len(shown):,} more (--all shows them)")


def _table(console: Console, rows: Iterable[tuple[str, ...]]) -> None:
    """Print a small table of numbers, first column left, the rest right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *rest = row
        numbers = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        _line(console, f"{first.ljust(widths[0])}  {'  '.join(numbers)}")


def _validity(plan: dict[str, Any]) -> str:
    if not plan["applyable"]:
        if not plan["complete"]:
            return "Incomplete: it cannot be applied."
        codes = {diagnostic["code"] for diagnostic in plan["diagnostics"]}
        why = "A forecast" if "forecast" in codes else "A guard is tripped"
        return f"{why}: it cannot be applied."
    if plan["expires_at"] and parse_time(plan["expires_at"]) <= now_ms():
        return f"Expired at {plan['expires_at']}: it cannot be applied any more."
    return f"Valid until {plan['expires_at']}." if plan["expires_at"] else "It does not expire."


def _change(field: dict[str, Any]) -> str:
    return f"{field['field']} {_value(field['old'])} -> {_value(field['new'])}"


def _value(value: Any) -> str:
    return plain("none" if value is None else str(value), most=_NAME * 2)


def _by_record_kind() -> list[tuple[str, str]]:
    return [(kind[:-1], words) for kind, (_, words) in _KIND_WORDS.items()]


def _line(console: Console, text: str, style: str | None = None) -> None:
    # Every line passes here: whatever a server put into it cannot leave the line.
    console.print(plain(text), style=style, soft_wrap=True)
