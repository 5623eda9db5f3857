"""What users copy and what GitHub runs keeps to its schemas and to what linters know."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from support import REPOSITORY, ROOT
from support.pages import PAGES, Block, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = Path(sys.executable).parent
ACTION = ROOT / "action.yml"
SCRIPTS = [*sorted((ROOT / ".github" / "action").glob("*.sh")), ROOT / "scripts" / "install.sh"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ALL_BLOCKS = [block for page in PAGES for block in blocks(page)]
RECIPES = [block for block in ALL_BLOCKS if block.file.startswith(".github/workflows/")]
SHELL = [block for block in ALL_BLOCKS if block.language in {"sh", "bash"}]
A_COMMIT = "0123456789abcdef0123456789abcdef01234567 # v0.1.0"


def run(*words: object) -> None:
    """Run a linter; what it finds fails the test."""
    program, *rest = map(str, words)
    done = subprocess.run(
        [str(BIN / program), *rest], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr


def filled_in(block: Block, directory: Path) -> Path:
    """Write a workflow of the documentation with a commit in place of our tag, as its page asks."""
    file = directory / ".github" / "workflows" / Path(block.file).name
    file.parent.mkdir(parents=True)
    text = block.text.replace(f"{REPOSITORY}@v0.1.0", f"{REPOSITORY}@{A_COMMIT}")
    file.write_text(text)
    return file


@pytest.mark.smoke
def test_there_is_something_to_look_at() -> None:
    """The collections above are not empty by accident."""
    assert len(SCRIPTS) >= 5
    assert len(WORKFLOWS) >= 2
    assert len(RECIPES) >= 3
    assert len(SHELL) >= 5


def test_the_action_keeps_to_its_schema() -> None:
    """JSON Schema of action.yml."""
    run("check-jsonschema", "--builtin-schema", "vendor.github-actions", ACTION)


@pytest.mark.smoke
@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_workflows_keep_to_their_schema(workflow: Path) -> None:
    """Those of this repository; each job has a time limit."""
    for schema in ("vendor.github-workflows", "custom.github-workflows-require-timeout"):
        run("check-jsonschema", "--builtin-schema", schema, workflow)


@pytest.mark.parametrize("block", RECIPES, ids=str)
def test_recipes_keep_to_their_schema(block: Block, tmp_path: Path) -> None:
    """Those of the documentation."""
    file = filled_in(block, tmp_path)
    for schema in ("vendor.github-workflows", "custom.github-workflows-require-timeout"):
        run("check-jsonschema", "--builtin-schema", schema, file)


@pytest.mark.parametrize("file", [ACTION, *WORKFLOWS], ids=lambda file: file.name)
def test_zizmor_finds_nothing(file: Path) -> None:
    """Injections, unpinned actions, permissions, credentials left behind."""
    run("zizmor", "--offline", "--no-progress", "--quiet", file)


@pytest.mark.parametrize("block", RECIPES, ids=str)
def test_zizmor_finds_nothing_in_recipes(block: Block, tmp_path: Path) -> None:
    """What people copy should be no worse than what is here."""
    run("zizmor", "--offline", "--no-progress", "--quiet", filled_in(block, tmp_path))


def test_zizmor_would_find_something(tmp_path: Path) -> None:
    """An expression in a script, and the linter says so."""
    bad = tmp_path / "action.yml"
    bad.write_text(
        ACTION.read_text().replace(
            'run: exec "$GITHUB_ACTION_PATH/.github/action/report.sh"',
            "run: echo ${{ inputs.plan }}",
        )
    )
    with pytest.raises(AssertionError, match="template-injection"):
        run("zizmor", "--offline", "--no-progress", bad)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    """The action's scripts, with what they source."""
    run("shellcheck", "--external-sources", script)


def steps(document: object) -> Iterator[dict[str, str]]:
    """Every step of an action or a workflow."""
    if isinstance(document, dict):
        if "run" in document or "uses" in document:
            yield document
        for value in document.values():
            yield from steps(value)
    elif isinstance(document, list):
        for value in document:
            yield from steps(value)


@pytest.mark.smoke
@pytest.mark.parametrize(
    "text",
    [ACTION.read_text(), *(w.read_text() for w in WORKFLOWS), *(b.text for b in RECIPES)],
    ids=[ACTION.name, *(w.name for w in WORKFLOWS), *map(str, RECIPES)],
)
def test_steps_are_sound(text: str, tmp_path: Path) -> None:
    """No expression in a script; shellcheck has nothing to say; actions are pinned to commits."""
    found = list(steps(yaml.safe_load(text)))
    assert found
    for step in found:
        if "run" in step:
            assert "${{" not in step["run"]
            script = tmp_path / "step.sh"
            script.write_text(f"#!/usr/bin/env bash\n{step['run']}\n")
            run("shellcheck", script)
        elif step["uses"] not in {"./", f"{REPOSITORY}@v0.1.0"}:
            assert re.search(rf"{step['uses']} # v\d+\.\d+\.\d+\n", text), step["uses"]
            assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])


@pytest.mark.smoke
def test_an_action_has_the_same_version_everywhere() -> None:
    """In the workflows, in the action, and in what people copy."""
    texts = [ACTION.read_text(), *(w.read_text() for w in WORKFLOWS), *(b.text for b in RECIPES)]
    pinned: dict[str, set[str]] = {}
    for name, version in re.findall(r"uses: (actions/[a-z-]+)@(\S+ # \S+)", "\n".join(texts)):
        pinned.setdefault(name, set()).add(version)
    assert "actions/checkout" in pinned
    assert not {name: versions for name, versions in pinned.items() if len(versions) > 1}


@pytest.mark.smoke
def test_the_nightly_run_leaves_nothing_out() -> None:
    """Its parts, together, are all tests."""
    nightly = yaml.safe_load((ROOT / ".github/workflows/nightly.yml").read_text())
    parts = nightly["jobs"]["test-all"]["strategy"]["matrix"]["part"]
    taken, ignored = set(), set()
    for part in parts:
        words = part["tests"].split()
        ignored |= {words[n + 1] for n, word in enumerate(words) if word == "--ignore"}
        taken |= {w for w in words if not w.startswith("--")} - ignored
    tiers = {f.parent for f in ROOT.glob("tests/*/**/test_*.py") if "node_modules" not in f.parts}
    assert ignored <= taken
    steps = nightly["jobs"]["compat"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["make compat"]
    for folder in tiers - {ROOT / "tests/compat"}:
        assert any((ROOT / name) in (folder, *folder.parents) for name in taken), folder


@pytest.mark.smoke
@pytest.mark.parametrize("block", SHELL, ids=str)
def test_shellcheck_finds_nothing_in_the_documentation(block: Block, tmp_path: Path) -> None:
    """Scripts and commands that people copy."""
    script = tmp_path / "block.sh"
    first = "" if block.text.startswith("#!") else f"#!/usr/bin/env {block.language}\n"
    # <version> and the like are for people to fill in.
    script.write_text(first + re.sub(r"<(\w+)>", r"\1", block.text))
    # Files of settings are not here, and set what others use.
    run("shellcheck", "--exclude=SC1091,SC2034", script)
