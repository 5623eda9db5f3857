"""What a pull request shows of a difference: the same order, one table a kind, and it fits."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from unit.differing import BASE, HEAD, YESTERDAY, many_runs, plan, poisoned
from unit.worlds import a_model, a_version, an_experiment

from mlflow_gc.domain.timestamps import DAY_MS
from mlflow_gc.plan.diff import diff_plans
from mlflow_gc.plan.verification import applicability
from mlflow_gc.render.common.budget import DEFAULT as COMMENT
from mlflow_gc.render.markdown import diff_markdown
from mlflow_gc.retention.rules import Rule, Selector


def _page(base, head, *, budget=COMMENT):
    return diff_markdown.diff(diff_plans(base, head), applicability(head), most_bytes=budget)


def _rows(page, first_cell=""):
    return [line for line in page.splitlines() if line.startswith(f"| {first_cell}")]


def test_the_whole_picture():
    """The headline, the warning, numbers, then a table for each kind, irreversible ones first."""
    page = _page(BASE, HEAD)
    lines = page.splitlines()
    assert lines[0] == "## Changes of the prune plan: 5 → 5 deletions (+0)"
    assert lines[2] == "**2 new deletions cannot be undone.**"
    assert "| runs | 3 | 4 | 2 | 1 | 1 |" in lines
    titles = re.findall(r"<summary>(.*?)</summary>", page)
    assert titles == [
        "Model versions (irreversible): 1 new, 2 withdrawn",
        "Runs: 2 new, 1 withdrawn, 1 changed",
    ]
    new = _rows(page, "**new**")
    assert new[0].startswith("| **new**, protected before, **cannot be undone** | `fraud/1` |")
    assert "before: it has an alias `(alias)`, alias blue; now: not updated for" in new[0]
    assert new[1].startswith("| **new**, became stale, **cannot be undone** | `5555")
    assert new[2].startswith("| **new**, protected before | `3333")
    retained = _rows(page, "withdrawn, protected now")
    assert retained[0].endswith("| it has an alias `(alias)`, alias champion |")
    assert _rows(page, "withdrawn, gone, or in the trash")
    assert _rows(page, "changed | `4444")[0].endswith("| tags `(or name)` changed |")
    assert f"After: plan_id `{HEAD['plan_id']}`" in page
    assert f"Before: plan_id `{BASE['plan_id']}`" in page
    assert "cut to fit" not in page


def test_no_difference():
    assert _page(BASE, BASE) == "## Changes of the prune plan\n\nNo differences.\n"


def test_server_and_policy_stand_in_the_open():
    """A table of their own before all others, and not folded."""
    rules = (Rule("sandboxes", Selector(experiment="sandbox/*"), ttl_ms=7 * DAY_MS),)
    head = plan(an_experiment(), policy=replace(YESTERDAY, rules=rules))
    head["server"] = {**head["server"], "identity": "other"}
    head["diagnostics"] = [{"code": "guard", "message": "Too much."}]
    page = _page(plan(an_experiment()), head)
    assert page.splitlines()[2].startswith("**THESE PLANS WERE MADE FOR DIFFERENT SERVERS")
    assert "<details>" not in page.split("**Server, policy and warnings**")[0]
    row = next(row for row in _rows(page) if "sandboxes" in row)
    assert row.startswith("| **policy** `rules.sandboxes` | none | name sandboxes,")
    assert "| **warning** `guard` |  | Too much. |" in page
    back = _page(head, plan(an_experiment()))
    assert "| **warning** `guard` | Too much. |  |" in back


def test_it_fits_into_a_comment_and_says_what_was_cut():
    """What is shown and what is said to be left out make all; the plan is what gets approved."""
    page = _page(plan(), many_runs(3000))
    assert len(page.encode()) <= COMMENT
    shown = len(_rows(page, "**new**"))
    ((some, total),) = re.findall(r"^Shown: ([\d,]+) of ([\d,]+) changes\.$", page, re.MULTILINE)
    assert total == "3,000"
    assert int(some) + 1 == shown  # and the experiment itself
    assert shown > 100
    assert "**What gets approved is the digest of the plan, not this text**" in page
    assert "<summary>Runs: 3,000 new</summary>" in page
    whole = _page(plan(), many_runs(3000), budget=None)
    assert len(_rows(whole, "**new**")) == 3001
    assert "cut to fit" not in whole


@pytest.mark.parametrize("count", [10, 100, 150, 200, 250, 300, 400, 1000])
@pytest.mark.parametrize("budget", [20_000, COMMENT])
def test_it_fits_at_any_size(count, budget):
    page = _page(plan(), many_runs(count, experiments=1 + count // 20), budget=budget)
    assert len(page.encode()) <= budget
    shown, left = len(_rows(page, "**new**")), 0
    for some, total in re.findall(r"^Shown: ([\d,]+) of ([\d,]+) changes\.$", page, re.MULTILINE):
        left += int(total.replace(",", "")) - int(some.replace(",", ""))
    assert shown + left == count + 1 + count // 20
    assert ("cut to fit" in page) == bool(left)


def test_a_row_that_can_never_fit_does_not_hide_the_others():
    """Ids are never cut; a name of a megabyte is left out as a whole, and counted."""
    long = "m" * 1_000_000
    versions = [a_version(str(n), long) for n in (1, 2)] + [a_version(str(n)) for n in (1, 2)]
    page = _page(plan(), plan(a_model(), a_model(long), *versions))
    assert len(page.encode()) <= COMMENT
    assert "| `fraud/1` |" in page
    assert re.search(r"^Shown: 1 of 2 changes\.$", page, re.MULTILINE)


_OUR_TAGS = {"details", "/details", "summary", "/summary", "code", "/code"}


def test_a_renderer_sees_the_same():
    """A table of each kind with all its rows, and no element of anybody else."""
    markdown_it = pytest.importorskip("markdown_it", reason="comes with the documentation's tools")
    parser = markdown_it.MarkdownIt("commonmark").enable("table")
    for base, head in ((BASE, HEAD), (BASE, poisoned(HEAD)), (poisoned(BASE), HEAD)):
        page = _page(base, head)
        html = parser.render(page)
        tags = set(re.findall(r"<([^> ]*)", html))
        assert {tag.lstrip("/") for tag in tags} <= {
            *("details", "summary", "code", "h2", "p", "strong"),
            *("table", "thead", "tbody", "tr", "th", "td"),
        }
        tables = len(_rows(page, "---"))
        assert html.count("<table>") == tables >= 3
        assert html.count("<tr>") == len(_rows(page)) - tables


@pytest.mark.parametrize("budget", [COMMENT, None])
def test_hostile_text_is_harmless_everywhere(budget):
    """No tag, link, cell, mention, code or line of theirs."""
    for base, head in ((BASE, poisoned(HEAD)), (poisoned(BASE), HEAD)):
        page = _page(base, head, budget=budget)
        assert "pwned" in page
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", page)
        assert set(re.findall(r"<([^>]*)>", page)) <= _OUR_TAGS
        for line in page.splitlines():
            assert not line.lstrip().startswith(("::", "##[", "##vso", "pwned"))
            if line.startswith("| ") and "pwned" in line:
                assert line.count("|") - 1 in {3, 4, 5}
                # Inside of code it is only text.
                outside = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", line)
                assert not re.search(r"\[|\]|@|https?:", outside), line


def test_the_command_at_the_end_is_no_markup():
    page = diff_markdown.diff(diff_plans(BASE, HEAD), applicability(HEAD), head="my `plan`<b>.json")
    assert page.splitlines()[-1].startswith("Apply: `` mlflow-gc prune ")
    assert "<b>" not in page
