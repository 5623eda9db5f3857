"""A plan as text, on a terminal or in a job's log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlflow_gc.clock import now_ms, parse_time
from mlflow_gc.views import policy_in_words
from mlflow_gc.views.escape import plain
from mlflow_gc.views.lines import CUT_AT, KIND_WORDS, NAME, line, listing, table

if TYPE_CHECKING:
    from rich.console import Console


def summary(plan: dict[str, Any], console: Console, *, path: str) -> None:
    """Print the numbers of a plan and the next command."""
    rows: list[tuple[str, ...]] = [("", "scanned", "stale", "kept", "to delete")]
    for kind, (_, words) in _kinds(plan):
        counts = plan["summary"][kind]
        numbers = (counts[key] for key in ("scanned", "stale", "protected", "delete"))
        rows.append((words, *(f"{n:,}" for n in numbers)))
    table(console, rows)
    irreversible = plan["summary"]["irreversible"]
    if irreversible:
        line(
            console,
            f"{irreversible:,} of the deletions cannot be undone ({_what_is_irreversible(plan)}).",
            "bold red",
        )
    line(console, f"Plan {path}  {plan['plan_id']}")
    line(console, _validity(plan))
    if plan["applyable"] and any(plan[kind] for kind in KIND_WORDS):
        line(console, f"Review: mlflow-gc show {path}")
        line(console, f"Apply:  mlflow-gc prune {path}")


def _what_is_irreversible(plan: dict[str, Any]) -> str:
    words = [KIND_WORDS[kind][1] for kind in ("model_versions", "registered_models") if plan[kind]]
    if any(not run["reversible"] for run in plan["runs"]):
        words.append("assessments of evaluation runs")
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


def show(plan: dict[str, Any], console: Console, *, path: str, everything: bool) -> None:
    """Print what a plan deletes by experiment and model, what it keeps and why."""
    server, policy = plan["server"], plan["policy"]
    line(console, f"Prune plan of {server['tracking_uri']}", "bold")
    if server["registry_uri"] != server["tracking_uri"]:
        line(console, f"Registry {server['registry_uri']}")
    if server["workspace"]:
        line(console, f"Workspace {server['workspace']}")
    ages = policy_in_words.ages(policy)
    line(console, f"As of {plan['as_of']}, {ages}.")
    for sentence in policy_in_words.limits(policy):
        line(console, sentence)
    _experiments(plan, console, everything=everything)
    _runs(plan, console, everything=everything)
    _versions(plan, console, everything=everything)
    _models(plan, console, everything=everything)
    _kept(plan, console, everything=everything)
    for diagnostic in plan["diagnostics"]:
        line(console, f"Warning: {diagnostic['message']}", "yellow")
    line(console, "")
    summary(plan, console, path=path)


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
    listing(
        console,
        [
            (e["experiment_id"], plain(e["name"], most=NAME), "; ".join(e["reasons"]))
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
        line(console, f"  experiment {experiment_id} {plain(name, most=NAME)}: {len(runs):,} runs")
        listing(
            console,
            [
                (
                    r["run_id"],
                    plain(r["run_name"], most=NAME),
                    (r["last_activity_time"] or "")[:10],
                    "; ".join(r["reasons"]),
                )
                for r in runs
            ],
            everything=everything,
            indent=4,
            cut_at=CUT_AT if len(groups) <= 3 else 5,
        )


def _versions(plan: dict[str, Any], console: Console, *, everything: bool) -> None:
    _heading(console, "model_versions", len(plan["model_versions"]), "IRREVERSIBLE")
    listing(
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
    listing(
        console,
        [
            (plain(m["name"]), (m["last_updated_timestamp"] or "")[:10], "; ".join(m["reasons"]))
            for m in entries
        ],
        everything=everything,
    )


def _kinds(plan: dict[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield kinds with their words; registered models only where the policy looks at them."""
    for kind, words in KIND_WORDS.items():
        if kind != "registered_models" or plan["summary"][kind]["scanned"]:
            yield kind, words


def _kept(plan: dict[str, Any], console: Console, *, everything: bool) -> None:
    protected = plan["protected"]
    total = sum(len(protected[kind]) for kind in KIND_WORDS)
    line(console, "")
    line(console, f"Kept although old: {total:,}", "bold")
    for kind, (word, _) in KIND_WORDS.items():
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
                line(console, f"  {head:<22} {reason:<20} {lead}{example}")


def _id_of(kind: str, entry: dict[str, Any]) -> str:
    if kind == "runs":
        return str(entry["run_id"])
    if kind == "experiments":
        return f"{entry['experiment_id']} {plain(entry['name'], most=NAME)}"
    return f"{entry['name']}/{entry['version']}" if "version" in entry else str(entry["name"])


def _heading(console: Console, kind: str, count: int, undo: str) -> None:
    line(console, "")
    word = KIND_WORDS[kind][0 if count == 1 else 1]
    style = "bold red" if "IRREVERSIBLE" in undo and count else "bold"
    line(console, f"Delete {count:,} {word}" + (f" ({undo})" if count else ""), style)


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
