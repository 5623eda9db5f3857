"""Where this repository is stands in pyproject.toml; every other file names the same place."""

from __future__ import annotations

import re

import pytest
from support import REPOSITORY, ROOT

from mlflow_gc import __version__

# Our own repository, as an address or as an action, with the revision that may follow.
_OURS = re.compile(
    r"(?:github\.com[/:]|uses: |--repo |--signer-workflow )([\w.<>-]+/mlflow-gc)\b"
    r"(?:\.git)?(?:@(v?[\w.-]+))?"
)
_BLANK = re.compile(r"\b(?:OWNER|REVISION)\b")


NAMES = ("README.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml", "action.yml", "Dockerfile")
FOLDERS = ("docs", "mlflow_gc", "schemas", "scripts", ".github")
TEXTS = {
    file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
    for file in [*ROOT.glob("*.yml"), *map(ROOT.joinpath, NAMES)]
    + [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.*")]
    if file.is_file() and file.suffix not in {".png", ".pyc"}
}


def ours(text: str) -> set[tuple[str, str]]:
    """Repository and revision of every place that names this repository."""
    return {(repository, revision) for repository, revision in _OURS.findall(text)}


def test_every_file_names_the_repository_of_pyproject():
    named = {name: found for name, text in TEXTS.items() if (found := ours(text))}
    assert {"README.md", "pyproject.toml", "docs/how-to/github.md"} <= set(named)
    wrong = {
        (name, repository)
        for name, found in named.items()
        for repository, _ in found
        if repository != REPOSITORY
    }
    assert not wrong


def test_the_revision_is_the_tag_of_this_version():
    revisions = {revision for text in TEXTS.values() for _, revision in ours(text) if revision}
    assert revisions == {f"v{__version__}"}
    checked_out = re.findall(
        r"(?:--detach |rev: |MLFLOW_GC_COMMIT = ')(v?[\w.]+)", "\n".join(TEXTS.values())
    )
    assert len(checked_out) > 2
    assert set(checked_out) == {f"v{__version__}"}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_nothing_is_left_to_fill_in(name):
    assert not _BLANK.search(TEXTS[name])


def test_another_place_would_be_found():
    text = "uses: someone/mlflow-gc@v9\nhttps://github.com/OWNER/mlflow-gc"
    assert ours(text) == {("someone/mlflow-gc", "v9"), ("OWNER/mlflow-gc", "")}
    assert _BLANK.search(text)
