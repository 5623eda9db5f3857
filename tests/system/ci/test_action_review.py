"""What a reviewer reads: cut to the limits, and never in a way that hides what follows."""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import ROOT

if TYPE_CHECKING:
    from types import ModuleType

PLAN_ID = "sha256:" + "ab" * 32


def load(name: str) -> ModuleType:
    """Import a script of the action."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".github" / "action" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


review = load("review")


def plan(**changes: Any) -> dict[str, Any]:
    """As much of a plan as the facts need."""
    counts = {"experiments": 1, "runs": 2, "model_versions": 3, "registered_models": 0}
    summary = {kind: {"delete": count} for kind, count in counts.items()}
    return {
        "plan_id": PLAN_ID,
        "expires_at": None,
        "applyable": True,
        "summary": {**summary, "irreversible": 3},
        **changes,
    }


def table(rows: int) -> str:
    """Markdown as the program writes it: two folded tables."""
    body = "\n".join(f"| run {n} | {'€' * 30} |" for n in range(rows))
    section = f"<details><summary>Runs: {rows}</summary>\n\n| run | why |\n| --- | --- |\n{body}\n"
    return f"## Plan\n\n{section}\n</details>\n\n{section}\n</details>\n"


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("earlier", "deletes", "changes"),
    [
        ("none", 6, "true"),
        ("none", 0, "false"),
        ("unknown", 6, "true"),
        ("same", 6, "false"),
        ("different", 6, "true"),
        ("different", 0, "true"),
    ],
)
def test_what_counts_as_a_change(earlier: str, deletes: int, changes: str) -> None:
    """A difference; where nothing can be compared, that it deletes something."""
    document = plan()
    if not deletes:
        for kind in review.KINDS:
            document["summary"][kind]["delete"] = 0
    found = review.facts(document, earlier)
    assert found["deletes"] == str(deletes)
    assert found["changes"] == changes


@pytest.mark.parametrize("plan_id", ["sha256:x", f"{PLAN_ID}\n", f"{PLAN_ID}\nx=y", ""])
def test_a_plan_id_that_is_no_digest_becomes_no_output(plan_id: str) -> None:
    """Outputs are what later jobs trust."""
    with pytest.raises(ValueError, match="plan_id"):
        review.facts(plan(plan_id=plan_id), "none")


@pytest.mark.smoke
def test_the_heading_says_what_matters() -> None:
    """Counts, what cannot be undone, whether it can be applied, until when; the digest."""
    document = plan(applyable=False, expires_at="2026-05-01T10:02:11.123Z")
    text = review.head(document, "x", review.facts(document, "none"))
    for words in ("6 to delete", "3 of them cannot", "cannot be applied", "2026-05-01", PLAN_ID):
        assert words in text


@given(rows=st.integers(0, 60), budget=st.integers(600, 9000))
def test_texts_fit_and_stay_whole(rows: int, budget: int) -> None:
    """Never more than the budget; as many sections closed as opened; cut only where needed."""
    text = table(rows)
    fitted = review.fit(text, budget)
    assert len(fitted.encode()) <= budget
    assert fitted.count("<details") == fitted.count("</details>")
    assert (fitted == text) == (len(text.encode()) <= budget)
    if fitted != text:
        assert fitted.endswith(review._CUT)
        for line in fitted.splitlines():
            assert line in text.splitlines() or line in {"", "</details>", review._CUT}


@given(
    changed=st.integers(0, 400),
    rows=st.integers(0, 400),
    budget=st.sampled_from([review.COMMENT_BYTES, 20_000, 4_000]),
)
def test_a_comment_always_shows_heading_and_digest(changed: int, rows: int, budget: int) -> None:
    """However long the rest is, and what changed goes before the whole plan."""
    top = review.head(plan(), "x", review.facts(plan(), "different"))
    text = review.compose(top, table(changed), table(rows), budget)
    assert text.startswith(top)
    assert len(text.encode()) <= budget
    assert text.count("<details") == text.count("</details>")
    if len(table(changed).encode()) < budget / 2:
        assert table(changed) in text
    if len((table(changed) + table(rows)).encode()) < budget - 1000:
        assert table(rows) in text
        assert "Cut here" not in text


def test_the_limits_are_those_of_github() -> None:
    """65,536 characters with marker and link, and 1 MiB."""
    assert review.COMMENT_BYTES + 1000 < 65_536
    assert review.SUMMARY_BYTES < 1024 * 1024
    assert re.search("plan id", review._CUT)
