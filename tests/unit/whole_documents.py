"""Whole documents as users get them, of worlds that never change: what the golden files hold.

Each world becomes a plan, and the plan all views of it; each two neighbours a diff; some a check
and a journal.  ``python tests/unit/whole_documents.py`` writes ``tests/unit/documents/`` anew: run
it after a change that is meant to be seen, and read the difference before it is committed.
"""

from __future__ import annotations

import io
import itertools
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest.mock import patch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import orjson
from rich.console import Console
from support.cli import Cli
from unit import worlds
from unit.differing import KEEP, UGLY
from unit.retention import test_golden as decisions

from mlflow_gc.apply.check import check_document
from mlflow_gc.apply.journal.writer import Journal
from mlflow_gc.apply.outcomes import Result
from mlflow_gc.apply.recheck.checker import Finding
from mlflow_gc.domain import timestamps
from mlflow_gc.domain.kinds import KINDS
from mlflow_gc.domain.reasons import Link, Reason
from mlflow_gc.plan.writer import render
from mlflow_gc.render.markdown import check_markdown
from mlflow_gc.render.terminal import check_text
from mlflow_gc.retention.decision import protect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow_gc.plan.document import Json

DIRECTORY = Path(__file__).parent / "documents"
NOW_MS = timestamps.parse_time("2026-05-02T08:00:00.000Z")

# Together they show nearly every reason, verdict and key of a policy.
WORLDS = (
    "evaluation-let-go",
    "experiment-gateway",
    "experiment-logged-models",
    "experiment-traces",
    "model-in-use-from-run-to-run",
    "policy-all-together",
    "refused-name",
    "rules-default-where-none-matches",
    "rules-empty-models-owners",
    "rules-empty-models-protected",
    "rules-grace-not-marked",
    "rules-keep-restic-like",
    "rules-keep-yearly-berlin",
    "rules-min-age-above-rules",
    "rules-recent-trash-counts-by-the-rule",
    "rules-ttl-tag-malformed-holds-what-is-in-it",
    "rules-ttl-tag-shorter-irreversible",
    "rules-until-on-all-kinds",
    "unknown-time-experiment",
    "unknown-time-version",
    "version-copied",
    "version-order-of-reasons",
    "version-unknown-model",
)
VIEWS = {
    "show.txt": ("show",),
    "show.md": ("show", "--format", "markdown"),
    "page-data.json": ("show", "--format", "html"),
    "show.csv": ("show", "--format", "csv"),
}
DIFFS = {
    "diff.txt": (),
    "diff.md": ("--format", "markdown"),
    "diff.json": ("--format", "json"),
}


def documents() -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each document."""
    with tempfile.TemporaryDirectory() as name, _at(NOW_MS):
        directory = Path(name)
        cli = Cli(directory, {"COLUMNS": "100", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
        before: Path | None = None
        for world, plan in _plans():
            path = directory / f"{world}.plan.json"
            path.write_bytes(render(plan))
            yield f"{world}/plan.json", path.read_bytes()
            for ending, (command, *more) in VIEWS.items():
                shown = cli(command, path.name, *more, cwd=directory).expect(0).out
                yield f"{world}/{ending}", _data(shown).encode()
            if before is not None:
                for ending, more in DIFFS.items():
                    shown = (
                        cli("diff", before.name, path.name, *more, cwd=directory).expect(0, 2).out
                    )
                    yield f"{world}/{ending}", shown.encode()
            yield from _checked(world, plan)
            yield f"{world}/journal.jsonl", _journal(directory / "journal.jsonl", plan)
            before = path


def _plans() -> Iterator[tuple[str, Json]]:
    for world in WORLDS:
        output = decisions.read(decisions.DIRECTORY / f"{world}.json")
        yield world, worlds.plan_of(decisions.inventory_of(output), decisions.policy_of(output))
    ugly = worlds.plan_of(
        worlds.inventory(
            worlds.an_experiment("1", name=UGLY),
            worlds.a_run(worlds.RUN_IDS[0], run_name=UGLY, user_id=UGLY),
            worlds.a_run(worlds.RUN_IDS[1], run_name=UGLY, tags=KEEP),
            worlds.a_model(UGLY),
            worlds.a_version("1", name=UGLY, description=UGLY, source=UGLY, tags={UGLY: UGLY}),
        )
    )
    yield "ugly-names", ugly


def _data(shown: str) -> str:
    """Of a page of HTML its data: scripts and styles are tested in a browser."""
    if not shown.startswith("<!doctype html>"):
        return shown
    return shown.partition('<script type="application/json" id="data">')[2].rpartition("</script>")[
        0
    ]


def _checked(world: str, plan: Json) -> Iterator[tuple[str, bytes]]:
    """Yield a check in which each entity of a plan met another fate."""
    fates = itertools.cycle(_FATES)
    findings = {
        (KINDS[kind].name, KINDS[kind].id_of(entry)): finding
        for kind in KINDS
        for entry in plan.get(kind, ())
        if (finding := next(fates)) is not None
    }
    found = check_document(plan, Result(), findings, ["the plan has expired"])
    yield f"{world}/check.json", orjson.dumps(found, option=orjson.OPT_INDENT_2)
    yield f"{world}/check.md", check_markdown.check(found).encode()
    file = io.StringIO()
    console = Console(file=file, width=100, no_color=True, highlight=False)
    check_text.check(found, console, path="plan.json", everything=True)
    yield f"{world}/check.txt", file.getvalue().encode()


_FATES = (
    None,
    Finding(
        "changed", "its tags changed", changes=({"field": "tags", "planned": "", "current": "x"},)
    ),
    Finding("gone", "it no longer exists"),
    Finding(
        "protected", "alias champion", protection=protect(Reason.ALIAS, Link("alias", "champion"))
    ),
    Finding("already_deleted", "it is in the trash already"),
)


def _journal(path: Path, plan: Json) -> bytes:
    """Return the journal of a prune in which each entity met another fate."""
    path.unlink(missing_ok=True)
    outcomes = itertools.cycle(("deleted", "skipped", "failed"))
    with Journal(path, plan) as journal:
        for kind in KINDS:
            ids = [KINDS[kind].id_of(entry) for entry in plan.get(kind, ())]
            if ids:
                journal.intend(KINDS[kind].name, ids, {"experiment_id": "1"})
            for entity_id, outcome in zip(ids, outcomes, strict=False):
                reason = "changed" if outcome == "skipped" else None
                detail = None if outcome == "deleted" else f"why it was {outcome}"
                journal.record(KINDS[kind].name, entity_id, outcome, reason=reason, detail=detail)
        journal.close("completed")
    return path.read_bytes()


@contextmanager
def _at(ms: int) -> Iterator[None]:
    """Stop the clock."""
    stopped = SimpleNamespace(**vars(time) | {"time_ns": lambda: ms * 1_000_000})
    with patch.object(timestamps, "time", stopped):
        yield


if __name__ == "__main__":
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    for name, content in documents():
        (DIRECTORY / name).parent.mkdir(parents=True, exist_ok=True)
        (DIRECTORY / name).write_bytes(content)
