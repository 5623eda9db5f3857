"""The files of ``--all-workspaces``: one for each workspace, whatever its name is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.render.screens import HOSTILE, assert_harmless, lines, log
from unit.worlds import an_experiment, inventory, plan_of

from mlflow_gc.cli.workspaces import path_for
from mlflow_gc.render.terminal.plans_text import Facts, show

OUT = Path("plans/prune-plan.json")


@pytest.mark.parametrize(
    ("out", "workspace", "path"),
    [
        ("prune-plan.json", "team-a", "prune-plan.team-a.json"),
        ("plans/p.json", "default", "plans/p.default.json"),
        ("p", "0" * 63, f"p.{'0' * 63}"),
        ("p.json", "Team A", "p.team-a_e18d322f14c8.json"),
    ],
)
def test_the_name_of_a_workspace_is_in_the_name_of_its_file(
    out: str, workspace: str, path: str
) -> None:
    assert path_for(Path(out), workspace) == Path(path)


@given(st.lists(st.text() | st.sampled_from([".", "..", "a/b", "A", "a", "nul"]), unique=True))
def test_each_workspace_has_a_file_of_its_own_in_the_directory(names: list[str]) -> None:
    """Also on a file system that ignores case."""
    paths = [path_for(OUT, name) for name in names]
    assert all(path.parent == OUT.parent for path in paths)
    assert all(re.fullmatch(r"prune-plan\.[a-z0-9_-]{1,63}\.json", path.name) for path in paths)
    assert len({path.name for path in paths}) == len(names)


def test_names_of_workspaces_are_harmless_in_the_table() -> None:
    console = log()
    facts = Facts.of(plan_of(inventory(an_experiment())))
    files = {name: path_for(OUT, name) for name in HOSTILE}
    show(files, dict.fromkeys(list(files.values())[:3], facts), console)
    assert_harmless(console)
    assert len(lines(console)) == len(HOSTILE) + 3
