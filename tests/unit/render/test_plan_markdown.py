"""A plan in a pull request: never too large, never broken, never anything but its text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit import worlds
from unit.render.hostile_plans import hostile_plans, longer, poisoned, with_all_kinds
from unit.render.markdown_reader import assert_inert, parse, tables, visible
from unit.worlds import RUN_IDS, a_model, a_run, a_version, an_experiment

from mlflow_gc.domain.kinds import kinds_of
from mlflow_gc.domain.reasons import Reason
from mlflow_gc.render.common.budget import DEFAULT, LEAST
from mlflow_gc.render.common.reason_text import protection_text
from mlflow_gc.render.markdown.plan_markdown import show

KINDS = kinds_of({})

GITHUB_COMMENT = 65_536
WORLD = (
    an_experiment("1", name="one"),
    an_experiment("2", name="two"),
    *(a_run(run_id) for run_id in RUN_IDS[:3]),
    *(a_run(run_id, experiment_id="2") for run_id in RUN_IDS[3:8]),
    a_run(RUN_IDS[8], experiment_id="2", tags={"mlflow_gc.keep": "true"}),
    a_model(aliases={"1": ("champion",)}),
    *(a_version(str(number)) for number in range(1, 5)),
)


def _plan(*entities, **changes):
    return {**worlds.plan_of(worlds.inventory(*(entities or WORLD))), **changes}


def _shown(text):
    """The lists of a document: what they are headed by, rows, and how many there should be."""
    for block in re.split(r"(?=<details>)", text)[1:]:
        (title,) = re.findall("<summary>(?:<strong>)?(.*?)(?:</strong>)?</summary>", block)
        (rows, *_) = tables(parse(block)) or [[[]]]
        note = re.search(r"\nShown: ([\d,]+) of ([\d,]+) ", block)
        counts = [int(number.replace(",", "")) for number in note.groups()] if note else None
        yield title, rows[1:], counts


@given(hostile_plans(), st.integers(LEAST, 120_000))
def test_no_plan_is_larger_than_the_budget_or_broken(plan, budget):
    text = show(plan, budget)
    assert len(text.encode()) <= budget
    tokens = parse(text)
    assert_inert(tokens)
    html = [token.content for token in tokens if token.type == "html_block"]
    kinds = ["open" if block.startswith("<details>") else "close" for block in html]
    assert kinds == ["open", "close"] * (len(html) // 2)
    for table in tables(tokens):
        assert len({len(cells) for cells in table}) == 1
    cut = False
    for title, rows, counts in _shown(text):
        if counts:
            assert title == "Policy" or counts[0] == len(rows)
            assert counts[0] < counts[1]
            cut = True
    assert ("This text was cut" in text) == (cut or "\nShown: " in text)
    # Nothing ends within a list: a short table stands open.
    assert text.endswith(("</details>\n\n", "|\n\n")) or not html


@given(hostile_plans(most=30))
def test_without_a_budget_every_entity_is_there(plan):
    text = show(plan, None)
    assert "Shown: " not in text
    assert_inert(parse(text))
    rows = 0
    for title, cells, _ in _shown(text):
        if title.startswith("Delete "):
            assert title.startswith(f"Delete {len(cells):,} ")
            rows += len(cells)
    assert rows == sum(len(plan[kind]) for kind in KINDS)


def test_the_default_fits_a_comment_on_github():
    plan = longer(with_all_kinds(_plan(), irreversible=True), 2_000)
    text = show(plan)
    assert GITHUB_COMMENT * 0.9 < len(text.encode()) <= DEFAULT < GITHUB_COMMENT


def test_the_worst_headline_fits_the_least_budget():
    """What cannot be cut is bounded: addresses, numbers, the frames of all lists."""
    plan = longer(with_all_kinds(_plan(), irreversible=True), 40)
    plan = poisoned(plan, lambda: "|😀<`" * 300)
    for entities in (plan["experiments"], plan["model_versions"]):
        for number, entity in enumerate(entities):
            entity["reversible"] = number % 2 > 0
            entity["name"] += str(number)
    plan["server"]["workspace"] = plan["server"]["tracking_uri"]
    plan["server"]["registry_uri"] += "x"
    plan["expires_at"] = None
    plan["policy"]["default"]["ttl"] = "999999999999s"
    for counts in plan["summary"].values():
        if isinstance(counts, dict):
            counts.update(dict.fromkeys(counts, 2**53 - 1))
    for holder in (plan, plan["protected"]):
        for kind in KINDS:
            assert holder[kind] or kind == "experiments"
    text = show(plan, LEAST)
    assert len(text.encode()) <= LEAST
    assert "Shown: 0 of " in text
    assert_inert(parse(text))


def test_irreversible_things_are_first_and_bold():
    text = show(_plan(expires_at=None))
    tokens = parse(text)
    lines = [visible(token) for token in tokens if token.type == "inline"]
    assert lines[0] == "Prune plan of http://mlflow:5000"
    assert lines[1] == "2 of 11 deletions cannot be undone: 2 model versions."
    assert "**2 of 11 deletions cannot be undone: 2 model versions.**" in text
    titles = [title for title, _, _ in _shown(text)]
    assert titles[0] == "Delete 2 model versions: irreversible"


def test_runs_that_lose_their_assessments_are_told_apart():
    text = show(with_all_kinds(_plan(), irreversible=True))
    titles = [title for title, _, _ in _shown(text)]
    assert titles[:3] == [
        "Delete 2 model versions: irreversible",
        "Delete 1 registered model: irreversible",
        "Delete 4 runs: irreversible",
    ]
    assert "4 runs, 2 model versions, 1 registered model.**" in text
    assert "lose their assessments" in text
    assert "Delete 4 runs" in titles[3:]


def test_what_cannot_be_undone_gets_more_room():
    plan = longer(with_all_kinds(_plan(), irreversible=True), 1_000)
    lists = {title: len(rows) for title, rows, counts in _shown(show(plan)) if counts}
    irreversible = lists["Delete 4,000 runs: irreversible"]
    assert irreversible > 4 * lists["Delete 4,000 runs"] > 0


def test_a_cut_plan_says_so_and_what_gets_approved():
    text = show(longer(_plan(), 1_000))
    (line,) = [line for line in text.splitlines() if "cut" in line]
    assert "**What gets approved is the digest of the plan, not this text**" in line
    assert "`mlflow-gc show --all prune-plan.json`" in line
    assert text.index(line) < text.index("| scanned |")
    assert re.search(r"^Shown: [\d,]+ of 8,000 runs\.$", text, re.MULTILINE)
    assert "cut" not in show(_plan())


def test_the_plan_id_is_there_whatever_the_size():
    plan = longer(_plan(), 1_000)
    for budget in (LEAST, DEFAULT, None):
        assert f"Plan `{plan['plan_id']}`" in show(plan, budget)


def test_groups_are_counted_largest_first():
    (_, groups) = [
        table for table in tables(parse(show(_plan()))) if table[0][1].endswith("delete")
    ]
    assert groups == [
        ["experiment", "runs to delete", "protected", "fresh", "newest to delete"],
        ["two 2", "5", "1", "0", "2025-03-27"],
        ["one 1 is deleted as a whole", "3", "0", "0", "2025-03-27"],
    ]


def test_an_older_plan_without_statistics_is_shown_too():
    plan = _plan()
    del plan["statistics"]
    assert "| `two` `2` | 5 | 1 |  | 2025-03-27 |" in show(plan)


def test_the_many_other_groups_are_folded():
    homes = [an_experiment(str(number), name=f"e{number}") for number in range(1, 41)]
    runs = [a_run(f"{number:032x}", experiment_id=str(number % 40 + 1)) for number in range(100)]
    text = show(_plan(*homes, *runs))
    (others,) = [rows for title, rows, _ in _shown(text) if title == "30 more experiments"]
    assert len(others) == 30
    assert int(others[0][1]) >= int(others[-1][1]) > 0


def test_what_is_retained_is_reported_by_reason_with_an_example():
    text = show(_plan())
    (retained,) = [
        rows for title, rows, _ in _shown(text) if title.startswith("Protected, stale but retained")
    ]
    assert [f"{reason}: {count}" for reason, count, _, _ in retained] == [
        "it holds a run that is retained (live_run): 1 experiment",
        "it has an alias (alias): 1 model version",
        "the highest version of its model or stage (highest_version): 1 model version",
        "its owner set the keep tag (keep_tag): 1 run",
    ]
    assert retained[1][2:] == ["fraud/1", "alias champion"]
    texts = {protection_text(reason.value) for reason in Reason}
    assert {reason for reason, *_ in retained} <= texts


def test_a_long_chain_is_counted():
    plan = _plan()
    plan["protected"]["runs"][0]["via"] = [f"alias a{number}" for number in range(9)]
    assert "alias `a4`, and 4 more |" in show(plan)


def test_diagnostics_come_before_the_numbers():
    plan = _plan(diagnostics=[{"code": "guard", "message": "The guard max_deletions.runs is hit."}])
    text = show(plan)
    assert "* **Warning:** The guard `max_deletions.runs` is hit.\n" in text
    assert text.index("Warning") < text.index("| scanned |")
    lists = [token for token in parse(text) if token.type == "bullet_list_open"]
    assert len(lists) == 2, "not one list with the facts that follow"


@pytest.mark.parametrize(
    ("changes", "output", "applies"),
    [
        ({"expires_at": None}, "- It does not expire.", True),
        ({"expires_at": "2999-01-01T00:00:00.000Z"}, "- Valid until `2999-01-01T00:00:00.000Z`.", True),
        ({"expires_at": "2020-01-01T00:00:00.000Z"}, "\n**CANNOT BE APPLIED: it expired at `2020", False),
        ({"applyable": False, "expires_at": None}, "\n**CANNOT BE APPLIED: the plan says so.**", False),
        ({"applyable": False, "complete": False, "expires_at": None}, "\n**CANNOT BE APPLIED: the scan is incomplete.**", False),
        (
            {"applyable": False, "diagnostics": [{"code": "forecast", "message": "Later."}]},
            "\n**CANNOT BE APPLIED: it is a forecast as of ",
            False,
        ),
    ],
)  # fmt: skip
def test_applicability_is_reported_and_how_to_apply_what_can_be(changes, output, applies):
    plan = _plan(**changes)
    text = show(plan)
    assert output in text
    assert (f"`mlflow-gc prune prune-plan.json --expect {plan['plan_id']}`" in text) == applies


def test_another_registry_and_a_workspace_are_named():
    plan = _plan()
    assert "registry" not in show(plan)
    plan["server"] |= {"registry_uri": "http://registry", "workspace": "team-a"}
    text = show(plan)
    assert "- Model registry `http://registry`\n" in text
    assert "- Workspace `team-a`\n" in text


def test_a_plan_that_deletes_nothing():
    text = show(_plan(an_experiment(), a_run(status="RUNNING")))
    assert "**Nothing to delete.**" in text
    assert "Delete" not in text
    assert "| status RUNNING or SCHEDULED `(not_terminal)` | 1 run |" in text


def test_what_can_be_restored_is_reported():
    text = show(_plan(an_experiment(), a_run()))
    assert "2 deletions: 1 experiment, 1 run. All of it can be restored.\n" in text
    assert "rreversible:" not in text
