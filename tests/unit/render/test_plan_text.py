"""A plan on a screen: what goes, why, how much; what cannot be undone first; what comes next."""

from __future__ import annotations

import io
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit import worlds
from unit.render.screens import HOSTILE, assert_harmless, lines, log, shown, terminal, width
from unit.worlds import AS_OF, POLICY, a_model, a_run, a_version, an_experiment

from mlflow_gc.domain.entities import Capabilities
from mlflow_gc.domain.timestamps import DAY_MS
from mlflow_gc.plan import schema
from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.common.plan_summary import what_server_lacks
from mlflow_gc.render.terminal import plan_text
from mlflow_gc.retention.guards import Guards


def _run(number: int, experiment: str, days: int, **other: Any) -> object:
    at = AS_OF - days * DAY_MS
    return a_run(
        f"{number:032x}",
        experiment_id=experiment,
        run_name=f"run-{number}",
        start_time=at,
        end_time=at,
        **other,
    )


def _version(number: str, days: int, **other: Any) -> object:
    at = AS_OF - days * DAY_MS
    return a_version(number, creation_timestamp=at, last_updated_timestamp=at, **other)


SMALL = worlds.inventory(
    an_experiment("1", name="日本語"),
    an_experiment("2", name="sandbox", creation_time=AS_OF - 50 * DAY_MS),
    _run(1, "1", 40),
    _run(2, "1", 31, status="FAILED"),
    _run(3, "1", 300, tags={"mlflow_gc.keep": "true"}),
    an_experiment("3", name="live"),
    _run(4, "3", 1),
    _run(5, "2", 45),
    a_model(aliases={"2": ("champion",)}),
    _version("1", 400),
    _version("2", 200),
    _version("3", 90),
)


def small(**changes: Any) -> dict[str, Any]:
    """A plan with something of everything."""
    plan = worlds.plan_of(SMALL, replace(POLICY, **changes))
    assert schema.problems(plan, "plan") == []
    # A plan of that day has expired meanwhile.
    return {**plan, "expires_at": "2999-01-01T00:00:00.000Z", "plan_id": "sha256:" + "ab" * 32}


SHOWN = """\
Prune plan for http://mlflow:5000
No policy file; the defaults apply.

Deletes 3 runs, 1 experiment and 1 model version.
1 of the deletions cannot be undone (model version).
The others move to MLflow's trash; mlflow-gc restore brings them back.
Deleted experiments keep their names: set_experiment(name) fails until restore or purge.

                scanned  stale  protected  to delete  share  age
experiments           3      2          1          1   33 %  45 days
runs                  5      4          1          3   60 %  31 to 45 days
model versions        3      3          2          1   33 %  400 days

As of 2026-05-01T10:02:11.123Z, TTL 30 days: last activity before 2026-04-01T10:02:11.123Z.
This server has no accounts, so nothing is protected or hidden because of them.

- will be deleted    ! will be deleted, irreversible

Delete 1 model version (IRREVERSIBLE)
  stage None, no alias, not the highest version
  model fraud: 1 of 3 versions (33 %), 400 days old
    ! fraud/1  400 d

Delete 3 runs (can be restored)
  experiment 1 日本語: 2 of 3 runs (67 %), 31 to 40 days old{gap}FINISHED (1), FAILED (1)
    - 00000000000000000000000000000001  40 d  run-1  FINISHED
    - 00000000000000000000000000000002  31 d  run-2  FAILED
  experiment 2 sandbox: 1 of 1 run (100 %), 45 days old; deleted as a whole{gap}FINISHED
    - 00000000000000000000000000000005  45 d  run-5

Delete 1 experiment (can be restored)
  - 2  sandbox  45 d  its only run is deleted

Protected, stale but retained: 4 (one example for each reason)
  1  experiment     it holds a run that is retained (live_run)
      experiment 1 日本語 <- run 00000000000000000000000000000003 <- keep_tag{break_} <- tag mlflow_gc.keep=true
  1  run            its owner set the keep tag (keep_tag)
      run 00000000000000000000000000000003 <- tag mlflow_gc.keep=true
  1  model version  it has an alias (alias)
      model_version fraud/2 <- alias champion
  1  model version  the highest version of its model or stage (highest_version)
      model_version fraud/3 <- highest version

Plan: 5 to delete (1 permanently), 4 protected.
file     plan.json
plan_id  sha256:{id}
valid    until 2999-01-01T00:00:00.000Z
Check:   mlflow-gc check plan.json
Apply:   mlflow-gc prune plan.json
In CI:   mlflow-gc prune plan.json --expect sha256:{id}
"""


def _filled(template: str, **other: str) -> list[str]:
    filled = template.format(id="ab" * 32, **other)
    return [line.rstrip() for line in filled.split("\n")[:-1]]


def test_a_plan_in_a_log() -> None:
    console = log()
    plan_text.show(small(), console, path="plan.json", everything=False)
    assert lines(console) == _filled(SHOWN, gap="  ", break_="")
    assert "\x1b" not in console.file.getvalue()


@pytest.mark.parametrize(
    ("capabilities", "said"),
    [
        (Capabilities(), None),
        (Capabilities(accounts=True, aliases=True, logged_models=True, traces=True), None),
        (Capabilities(traces=False), "no traces, so"),
        (
            Capabilities(accounts=False, aliases=False, traces=False),
            "no accounts, aliases or traces, so",
        ),
    ],
)
def test_what_a_server_lacks(capabilities: Capabilities, said: str | None) -> None:
    """Nothing is said of what is unknown, by plans of older versions, or of unknown names."""
    plan = small()
    found = asdict(capabilities)
    plan["server"] = {**plan["server"], "capabilities": {**found, "teleporters": False}}
    sentence = what_server_lacks(plan)
    assert sentence is None if said is None else said in str(sentence)
    del plan["server"]["capabilities"]
    assert what_server_lacks(plan) is None


def test_a_plan_on_a_terminal_of_80_cells() -> None:
    """What does not fit stands on a line of its own, ids whole."""
    console = terminal(80)
    plan_text.show(small(), console, path="plan.json", everything=False)
    expected = _filled(SHOWN, gap="\n      ", break_="\n       ")
    assert lines(console) == expected
    raw = console.file.getvalue()
    assert "\x1b[1;31m1 of the deletions cannot be undone" in raw
    assert "\x1b[1;31m!" in raw


@pytest.mark.parametrize("everything", [False, True])
def test_an_edited_plan_that_counts_what_it_does_not_list_is_shown(everything: bool) -> None:
    """With a warning from who reads it; here it only has to be shown."""
    console = log()
    plan = {**small(), "model_versions": []}
    plan_text.show(plan, console, path="plan.json", everything=everything)
    assert lines(console)[3:5] == [
        "Deletes 3 runs and 1 experiment.",
        "1 of the deletions cannot be undone.",
    ]


SUMMARY = """\
Prune plan for http://mlflow:5000
No policy file; the defaults apply.

Deletes 3 runs, 1 experiment and 1 model version.
1 of the deletions cannot be undone (model version).
The others move to MLflow's trash; mlflow-gc restore brings them back.
Deleted experiments keep their names: set_experiment(name) fails until restore or purge.

                scanned  stale  protected  to delete  share  age
experiments           3      2          1          1   33 %  45 days
runs                  5      4          1          3   60 %  31 to 45 days
model versions        3      3          2          1   33 %  400 days

  ! 1 of 3 versions  33 %  400 days  model fraud

  - 2 of 3 runs   67 %  31 to 40 days  experiment 1 日本語
  -  1 of 1 run  100 %  45 days        experiment 2 sandbox

Plan: 5 to delete (1 permanently), 4 protected.
file     my plan.json
plan_id  sha256:{id}
valid    until 2999-01-01T00:00:00.000Z
Review:  mlflow-gc show 'my plan.json'
Check:   mlflow-gc check 'my plan.json'
Apply:   mlflow-gc prune 'my plan.json'
In CI:   mlflow-gc prune 'my plan.json' --expect sha256:{id}
"""


def test_the_summary_of_a_report() -> None:
    """The next commands can be pasted into a shell."""
    console = log()
    plan_text.summary(small(), console, path="my plan.json")
    assert lines(console) == _filled(SUMMARY)


def test_bars_are_for_terminals_with_colours_only() -> None:
    for console, has_bars in (
        (terminal(80), True),
        (terminal(80, no_color=True), False),
        (log(), False),
    ):
        plan_text.summary(small(), console, path="p")
        assert ("━" in shown(console)) == has_bars


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        ("plan.json", "plan.json"),
        ("it's.json", "'it'\"'\"'s.json'"),
        ("-rf", "./-rf"),
        ("-", "PLAN"),
        ("$(id).json", "'$(id).json'"),
    ],
)
def test_the_next_command_is_quoted_for_a_shell(path: str, quoted: str) -> None:
    console = log()
    plan_text.show(small(), console, path=path, everything=False)
    assert f"Apply:   mlflow-gc prune {quoted}" in lines(console)


def test_an_older_plan_has_no_shares() -> None:
    plan = small()
    del plan["statistics"]
    console = log()
    plan_text.show(plan, console, path="p", everything=False)
    assert "  experiment 1 日本語: 2 runs, 31 to 40 days old  FINISHED (1), FAILED (1)" in lines(
        console
    )
    assert "  model fraud: 1 version, 400 days old" in lines(console)
    short = log()
    plan_text.summary(plan, short, path="p")
    assert "  ! 1 version  400 days  model fraud" in lines(short)


def test_the_question_says_by_which_policy_and_what_stays_taken() -> None:
    plan = {**small(), "policy_source": {"path": "a\x1b[31m.yml", "digest": f"sha256:{'ab' * 32}"}}
    asked = plan_text.question(plan)
    assert "\x1b" not in asked
    assert ".yml (sha256:abababababab)." in asked
    assert "Deleted experiments keep their names: set_experiment(name) fails" in asked
    assert asked.endswith("Only 'yes' is accepted: ")
    assert "Policy file: this plan does not say." in plan_text.question(
        {key: value for key, value in plan.items() if key != "policy_source"}
    )


def test_the_question_says_what_deleted_experiments_are_called() -> None:
    plan = small()
    policy = {**plan["policy"], "free_experiment_names": True}
    asked = plan_text.question({**plan, "policy": policy})
    assert "Deleted experiments are renamed, so their names are free" in asked
    assert "keep their names" not in asked
    older = {key: value for key, value in policy.items() if key != "free_experiment_names"}
    assert "keep their names" in plan_text.question({**plan, "policy": older})


def test_nothing_to_delete() -> None:
    plan = worlds.plan_of(worlds.inventory())
    console = log()
    plan_text.show(plan, console, path="p", everything=False)
    found = lines(console)
    assert "Nothing to delete." in found
    assert not [line for line in found if "mlflow-gc" in line], "no command to run"
    assert "Plan: 0 to delete, 0 protected." in found


def nothing(*entities: Any, **changes: Any) -> list[str]:
    """The summary of a plan without deletions, below its numbers."""
    plan = worlds.plan_of(worlds.inventory(*entities), replace(POLICY, **changes))
    assert not plan["runs"]
    assert not plan["experiments"]
    console = log()
    plan_text.summary(plan, console, path="plan.json")
    found = lines(console)
    number = next(n for n, line in enumerate(found) if line.startswith("model versions"))
    return found[number + 2 :]


def test_nothing_to_delete_says_what_is_protected_and_what_to_ask_next() -> None:
    found = nothing(
        an_experiment("1"),
        _run(1, "1", 300, tags={"mlflow_gc.keep": "true"}),
        _run(2, "1", 200, tags={"mlflow_gc.keep": "true"}),
        _run(3, "1", 100, status="RUNNING"),
        _run(4, "1", 1),
    )
    del found[-7:-4]  # file, plan_id, valid
    assert found == [
        "Stale, but protected:",
        "  2  runs  its owner set the keep tag (keep_tag)",
        "  1  run   status RUNNING or SCHEDULED (not_terminal)",
        "Nothing else is stale (TTL 30 days: last activity before 2026-04-01T10:02:11.123Z).",
        "",
        "Plan: 0 to delete, 3 protected.",
        "Review:  mlflow-gc show plan.json",
        "Explain: mlflow-gc policy explain --run 00000000000000000000000000000001",
        "Younger: mlflow-gc report --ttl 15",
        "Space:   mlflow-gc usage",
    ]


def test_nothing_to_delete_where_nothing_is_stale_names_the_age() -> None:
    found = nothing(an_experiment("1"), _run(1, "1", 3))
    assert found[0].startswith("Nothing is stale (TTL 30 days: last activity before 2026-04-01")
    assert not [line for line in found if line.startswith("Explain:")], (
        "there is nothing to explain"
    )


def test_nothing_to_delete_on_an_empty_server_asks_whether_it_is_the_right_one() -> None:
    found = nothing()
    assert found[0] == "This server has no runs and no model versions. Is it the one you mean?"


def test_an_exceeded_guard_is_the_first_and_the_last_thing_to_see() -> None:
    plan = small(guards=Guards(max_deletions={"runs": 1}))
    console = terminal(80)
    plan_text.show(plan, console, path="p", everything=False)
    found = lines(console)
    assert found[1] == "CANNOT BE APPLIED: a guard is exceeded."
    assert "CANNOT BE APPLIED: a guard is exceeded." in found[-4:]
    assert any(line.startswith("Problem: guards.max_deletions.runs:") for line in found)
    assert not [line for line in found if line.startswith(("Apply:", "In CI:", "Check:"))]
    assert "\x1b[1;31mCANNOT BE APPLIED" in console.file.getvalue()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"expires_at": "2020-01-01T00:00:00.000Z"}, "it expired at 2020-01-01T00:00:00.000Z."),
        (
            {
                "applyable": False,
                "complete": False,
                "diagnostics": [
                    {"code": "incomplete_scan", "message": "x"},
                    {"code": "clock_skew", "message": "y"},
                ],
            },
            "the server could not be read to its end.",
        ),
        (
            {"applyable": False, "diagnostics": [{"code": "forecast", "message": "x"}]},
            "it is a forecast as of ",
        ),
        ({"applyable": False}, "the plan says so."),
    ],
)
def test_why_a_plan_cannot_be_applied(change: dict[str, Any], words: str) -> None:
    console = log()
    plan_text.summary({**small(), **change}, console, path="p")
    assert lines(console)[1].startswith(f"CANNOT BE APPLIED: {words}")


def test_what_is_only_to_be_looked_at_is_a_warning() -> None:
    plan = small()
    plan["diagnostics"] = [{"code": "unused_rule", "message": "The rule 'x' is about nothing."}]
    console = log()
    plan_text.show(plan, console, path="p", everything=False)
    assert "Warning: The rule 'x' is about nothing." in lines(console)


def test_a_flood_of_warnings_does_not_hide_what_stops_the_plan() -> None:
    plan = small(guards=Guards(max_deletions={"runs": 1}))
    plan["diagnostics"] = [
        *({"code": "malformed_tag", "message": f"tag {n}"} for n in range(100)),
        *plan["diagnostics"],
    ]
    console = log()
    plan_text.show(plan, console, path="p", everything=False)
    output = [line for line in lines(console) if line.startswith(("Problem: ", "Warning: "))]
    assert len(output) == 20
    assert output[0].startswith("Problem: guards.")
    assert "... and 81 more warnings (--all shows them)" in lines(console)


def test_runs_that_lose_something_permanently_are_marked_and_come_first() -> None:
    found = worlds.inventory(
        an_experiment("1"),
        _run(1, "1", 40),
        _run(2, "1", 35, tags={"mlflow.runType": "genai_evaluate"}),
    )
    plan = worlds.plan_of(found, replace(POLICY, delete_evaluations=True))
    console = log()
    plan_text.show(plan, console, path="p", everything=False)
    listed = [line for line in lines(console) if "0" * 31 in line]
    assert listed[0].startswith(f"    ! {2:032x}")
    assert listed[1].startswith(f"    - {1:032x}")
    assert "Delete 2 runs (1 of them lose their assessments: IRREVERSIBLE)" in lines(console)


def _many() -> dict[str, Any]:
    runs = [_run(1000 * e + n, str(e), 40 + n) for e in range(1, 31) for n in range(1 + e // 2)]
    return worlds.plan_of(worlds.inventory(*(an_experiment(str(e)) for e in range(1, 31)), *runs))


def test_long_lists_are_cut_with_a_count_and_all_shows_them() -> None:
    plan = _many()
    cut, whole = log(), log()
    plan_text.show(plan, cut, path="p", everything=False)
    plan_text.show(plan, whole, path="p", everything=True)
    for run in plan["runs"]:
        assert run["run_id"] in shown(whole)
    assert "more" not in shown(whole)
    groups = [line for line in lines(cut) if line.startswith("  experiment ")]
    assert len(groups) == 20
    sizes = [int(line.split(": ")[1].split(" ")[0]) for line in groups]
    assert sizes == sorted(sizes, reverse=True), "the largest come first"
    named = sum(run["run_id"] in shown(cut) for run in plan["runs"])
    in_groups = sum(size - 5 for size in sizes if size > 5)
    output = sum(int(line.split()[2]) for line in lines(cut) if line.startswith("    ... and"))
    (rest,) = [line for line in lines(cut) if "experiments with" in line]
    assert output == in_groups
    assert (
        rest
        == f"  ... and 10 more experiments with {len(plan['runs']) - named - output} runs (--all shows them)"
    )


def test_a_report_names_the_five_largest_and_counts_the_rest() -> None:
    console = log()
    plan = _many()
    plan_text.summary(plan, console, path="p")
    named = [line for line in lines(console) if "  experiment " in line]
    assert len(named) == 5
    largest = sum(int(line.split()[1]) for line in named)
    assert f"    {len(plan['runs']) - largest} more in 25 other experiments" in lines(console)


def test_the_protected_are_one_line_for_each_reason_or_all_of_them() -> None:
    runs = [_run(n, "1", 40, tags={"mlflow_gc.keep": "true"}) for n in range(30)]
    plan = worlds.plan_of(worlds.inventory(an_experiment("1"), *runs))
    console = log()
    plan_text.show(plan, console, path="p", everything=False)
    text = lines(console)
    group = text.index("  30  runs        its owner set the keep tag (keep_tag)")
    assert text[group + 1] == f"      run {0:032x} <- tag mlflow_gc.keep=true"
    assert sum("<- tag" in line and line.startswith("      run") for line in text) == 1
    whole = log()
    plan_text.show(plan, whole, path="p", everything=True)
    assert all(f"{n:032x} <- tag" in shown(whole) for n in range(30))


hostile = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=80))


@st.composite
def hostile_plans(draw: Any) -> dict[str, Any]:
    """A plan in which every text of a server is hostile."""
    found = worlds.inventory(
        an_experiment("1", name=draw(hostile)),
        an_experiment("2", name=draw(hostile)),
        an_experiment("3", name=draw(hostile), tags={"mlflow_gc.keep": draw(hostile)}),
        *(
            a_run(f"{n:032x}", run_name=draw(hostile), experiment_id=draw(st.sampled_from("12")))
            for n in range(4)
        ),
        a_run("f" * 32, run_name=draw(hostile), tags={"mlflow_gc.keep": draw(hostile)}),
        a_model(name := draw(hostile), aliases={"2": (draw(hostile),)}),
        a_version("1", name, description=draw(hostile)),
        a_version("2", name),
        a_version("3", name),
    )
    plan = worlds.plan_of(found)
    plan["diagnostics"] = [{"code": "malformed_tag", "message": draw(hostile)}]
    return plan


@given(hostile_plans(), st.integers(60, 160), st.booleans())
def test_a_hostile_plan_is_harmless_and_keeps_to_the_width(
    plan: dict[str, Any], cells: int, everything: bool
) -> None:
    """Only what holds ids that are never cut, a sentence or a command may be wider."""
    for console in (terminal(cells), log()):
        plan_text.show(plan, console, path="p", everything=everything)
        plan_text.summary(plan, console, path="p")
        assert_harmless(console)
    wide = terminal(cells)
    plan_text.show(plan, wide, path="p", everything=everything)
    in_lists = [line for line in lines(wide) if line.startswith("    - ")]
    assert len(in_lists) == len(plan["runs"])
    uncut = (
        "  model ",
        "  ! ",
        "    ! ",
        "      ",
        "Warning: ",
        "As of ",
        "In CI: ",
        "plan_id ",
        "file ",
    )
    for line in lines(wide):
        if not line.startswith(uncut):
            assert width(line) <= max(cells, 90), line


@given(hostile_plans())
def test_ids_are_never_cut(plan: dict[str, Any]) -> None:
    console = terminal(60)
    plan_text.show(plan, console, path="p", everything=False)
    for run in plan["runs"]:
        assert run["run_id"] in shown(console)
    for version in plan["model_versions"]:
        assert plain(f"model {version['name']}").rstrip() in shown(console)
    assert plan["plan_id"] in shown(console)


def test_a_name_of_white_space_is_shown() -> None:
    plan = small()
    plan["model_versions"][0]["name"] = "\r"
    console = terminal(60)
    plan_text.show(plan, console, path="p", everything=False)
    assert f"model {plain(chr(13))}:" in shown(console)


def test_the_output_can_be_ascii_only() -> None:
    """A job's log may know nothing else: a bar would be noise there."""
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    console = log()
    console.file = file
    plan_text.summary(small(), console, path="p")
    file.flush()
    assert b"\\u65e5" in file.buffer.getvalue()  # type: ignore[attr-defined]
