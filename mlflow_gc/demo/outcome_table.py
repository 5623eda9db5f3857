"""Tables of the outcome; all names come from a server and are escaped."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mlflow_gc.demo.outcome import FRESH, KINDS, PROMPT, Outcome, RetainedGroup
from mlflow_gc.domain.kinds import BY_NAME
from mlflow_gc.render.common.escape import plain
from mlflow_gc.retention.decision import Reason

_REASON_TEXTS: dict[str, str] = {
    FRESH: "not stale: used or changed within the last 30 days",
    PROMPT: "a prompt, which is never pruned",
    Reason.KEEP_TAG: "its owner set the keep tag",
    Reason.REGISTERED_MODEL: "a registered model version needs it",
    Reason.ALIAS: "has an alias",
    Reason.STAGE: "is in a stage",
    Reason.HIGHEST_VERSION: "the newest version of its model or stage",
    Reason.COPIED: "another version was copied from it",
    Reason.DEFAULT_EXPERIMENT: "the default experiment",
    Reason.TREE: "nested with a run that is retained",
    Reason.GENAI_EVALUATE: "an evaluation run: its scores could not be restored",
    Reason.NOT_TERMINAL: "RUNNING or SCHEDULED, or so it says",
    Reason.UNKNOWN_TIME: "its times make no sense",
    Reason.LIVE_RUN: "holds a run that is retained",
    Reason.HAS_LOGGED_MODELS: "holds logged models",
    Reason.HAS_TRACES: "holds traces",
    Reason.HAS_CONTENTS: "holds scorers, issues, review queues or evaluation datasets",
    Reason.RECENT_TRASH: "a run in it was used not long before it was deleted",
}


def outcome_tables(outcome: Outcome) -> RenderableType:
    """Return the counts per kind and, below, what was retained and why."""
    counts = Table()
    counts.add_column("")
    for heading in ("before", "deleted", "kept"):
        counts.add_column(heading, justify="right")
    for kind in KINDS:
        before, deleted = outcome.before[kind], outcome.deleted[kind]
        counts.add_row(BY_NAME[kind].plural, str(before), str(deleted), str(before - deleted))

    retained = Table()
    retained.add_column("kept", justify="right")
    retained.add_column("because")
    # Folded, not truncated: the end of the text may be important.
    retained.add_column("for example", overflow="fold")
    last_kind = None
    for group in outcome.retained:
        if group.kind != last_kind:
            retained.add_section()
            last_kind = group.kind
        retained.add_row(
            f"{group.count} {BY_NAME[group.kind].nouns[group.count > 1]}",
            _because(group),
            _example(group),
        )
    return Group(
        Text("What was done", style="bold"),
        counts,
        Text("\nWhat was retained, and why", style="bold"),
        retained,
    )


def _because(group: RetainedGroup) -> Text:
    text = _REASON_TEXTS.get(group.reason, group.reason.replace("_", " "))
    if group.skipped_by_prune:
        return Text(f"planned, but skipped by prune: {text}", style="yellow")
    return Text(text)


def _example(group: RetainedGroup) -> Text:
    text = Text(plain(group.example))
    if group.via:
        text.append(f"\n<- {plain(', '.join(group.via))}", style="dim")
    return text
