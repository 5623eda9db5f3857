"""Facts about MLflow stand in docs/explanation/mlflow-facts.md, and the code cites them there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from support import ROOT

PAGE = ROOT / "docs" / "explanation" / "mlflow-facts.md"
CITED = re.compile(r"mlflow-facts\.md#([\w-]+)")
# As GitHub and the site make anchors of headings; both agree on words of plain letters.
HEADINGS = re.findall(r"^### (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
ANCHORS = [heading.lower().replace(" ", "-") for heading in HEADINGS]


def files() -> list[Path]:
    """All text of the repository that may cite a fact."""
    listed = subprocess.run(
        [
            *["git", "ls-files", "--cached", "--others", "--exclude-standard", "--"],
            *["mlflow_gc", "docs", "tests", "scripts", "benchmarks", "README.md"],
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    kinds = {".py", ".md", ".js", ".yml", ".json", ".sh"}
    found = [ROOT / name for name in listed.stdout.splitlines()]
    return [file for file in found if file.suffix in kinds and file.exists()]


def citations() -> list[tuple[str, str]]:
    """Return (file, anchor) of every citation."""
    return [
        (str(file.relative_to(ROOT)), anchor)
        for file in files()
        for anchor in CITED.findall(file.read_text(encoding="utf-8"))
    ]


def test_each_cited_fact_exists() -> None:
    """A heading that the code cites is neither renamed nor removed."""
    cited = citations()
    assert len({file for file, _ in cited if file.startswith("mlflow_gc/")}) > 10
    assert not [(file, anchor) for file, anchor in cited if anchor not in ANCHORS]


def test_each_fact_has_an_anchor_of_its_own() -> None:
    """Made of plain words, so that GitHub and the site call it the same."""
    assert len(ANCHORS) == len(set(ANCHORS))
    assert not [heading for heading in HEADINGS if not re.fullmatch(r"[A-Za-z0-9 ]+", heading)]


@pytest.mark.parametrize("fact", PAGE.read_text(encoding="utf-8").split("\n### ")[1:])
def test_each_fact_says_where_it_was_seen(fact: str) -> None:
    """With a version of MLflow, in the paragraph at its end."""
    last = fact.split("\n## ", maxsplit=1)[0].strip().split("\n\n")[-1]
    assert re.match(r"(Seen in|Source,) [23]\.\d+", last), last


def test_nothing_cites_notes_that_users_do_not_have() -> None:
    """Neither by name nor by number."""
    name = "HAZ" + "ARDS"
    assert not [str(f) for f in files() if name in f.read_text(encoding="utf-8")]
