"""What `validate` says of files that are valid."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from mlflow_gc.cli import app

JOURNAL = Path(__file__).parents[1] / "documents" / "version-copied" / "journal.jsonl"


def test_a_journal_is_counted(tmp_path: Path) -> None:
    """One session, and two after the same plan was applied again."""
    records = sum(json.loads(line)["type"] == "record" for line in JOURNAL.read_text().splitlines())
    twice = tmp_path / "journal.jsonl"
    twice.write_bytes(JOURNAL.read_bytes() * 2)
    for path, counts in (
        (JOURNAL, f"1 session, {records} record{'' if records == 1 else 's'}"),
        (twice, f"2 sessions, {2 * records} records"),
    ):
        outcome = CliRunner().invoke(app, ["validate", str(path)])
        assert outcome.output.strip() == f"{path}: valid journal, {counts}"
