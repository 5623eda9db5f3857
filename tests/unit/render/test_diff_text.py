"""What a reviewer sees of a difference on a terminal: the gravest first, nothing hidden, nothing run."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console
from unit.differing import BASE, HEAD, YESTERDAY, many_runs, plan, poisoned
from unit.worlds import RUN_IDS, a_model, a_run, a_version, an_experiment

from mlflow_gc.domain.timestamps import DAY_MS, format_ms, now_ms
from mlflow_gc.plan.diff import diff_plans
from mlflow_gc.plan.verification import Applicability, applicability
from mlflow_gc.render.terminal import diff_text
from mlflow_gc.retention.rules import Rule, Selector

EDITED = Applicability(("it was edited",), is_genuine=False)


def _shown(base, head, *, everything=False, color=False, **edited):
    stream = io.StringIO()
    console = Console(
        file=stream,
        force_terminal=color,
        soft_wrap=True,
        highlight=False,
        markup=False,
        emoji=False,
    )
    changes = diff_plans(base, head, **edited)
    later = applicability(head, [EDITED] if changes["head"]["edited"] else [])
    diff_text.diff(changes, later, console, base="b.json", head="h.json", everything=everything)
    return stream.getvalue()


def _lines(text):
    return [line.rstrip() for line in text.splitlines()]


def test_the_whole_picture():
    """Numbers, then what cannot be undone, then the rest, then how to go on."""
    lines = _lines(_shown(BASE, HEAD))
    expected = f"""\
From b.json to h.json of http://mlflow:5000
No policy file; the defaults apply.
to delete       before  after  new  withdrawn  changed
experiments          0      0    0          0        0
runs                 3      4    2          1        1
model versions       2      1    1          2        0
Total: 5 -> 5 deletions (+0), of which 2 -> 2 cannot be undone (+0).
- new deletion    ! new deletion, irreversible    = no longer to delete    ~ changed

New deletions, protected before, CANNOT BE UNDONE: 1 model version
  model fraud: 1 model version
    ! fraud/1  2025-03-27  before: it has an alias (alias), alias blue; now: not updated for N days; stage None, no alias, not the highest version

New deletions, became stale, CANNOT BE UNDONE: 1 run
  experiment 1 fraud: 1 run
    ! {RUN_IDS[4]}  judged  2025-03-27  FINISHED, no activity for N days; IRREVERSIBLE: its assessments are deleted permanently

New deletions, protected before: 1 run
  experiment 1 fraud: 1 run
    - {RUN_IDS[2]}  released  2025-03-27  before: its owner set the keep tag (keep_tag), tag mlflow_gc.keep=true; now: FINISHED, no activity for N days

No longer to delete, protected now: 1 run, 1 model version
  experiment 1 fraud: 1 run
    = {RUN_IDS[1]}  saved  2025-03-27  its owner set the keep tag (keep_tag), tag mlflow_gc.keep=true
  model fraud: 1 model version
    = fraud/2  2025-03-27  it has an alias (alias), alias champion

No longer to delete, gone, or in the trash: 1 model version
  model fraud: 1 model version
    = fraud/3  2025-03-27

Still to delete, but changed: 1 run
  experiment 1 fraud: 1 run
    ~ {RUN_IDS[3]}  retagged  2025-03-27  tags (or name) changed
""".splitlines()
    shown = [re.sub(r"for \d+ days", "for N days", line) for line in lines]
    first = shown.index(expected[0])
    for number, line in enumerate(expected):
        assert shown[first + number] == line
    assert lines[-1] == f"Apply:  mlflow-gc prune h.json --expect {HEAD['plan_id']}"
    assert lines[-2] == "Review: mlflow-gc show h.json"


def test_no_difference_is_one_line():
    assert _shown(BASE, BASE) == "No differences.\n"


def test_new_deletions_that_cannot_be_undone_are_red():
    """On a terminal; where there is none, the words say it."""
    colored = _shown(BASE, HEAD, color=True)
    line = next(line for line in colored.splitlines() if "! fraud/1" in line)
    assert line.startswith("\x1b[1;31m")
    assert "\x1b" not in _shown(BASE, HEAD)


def test_server_policy_and_state_come_first():
    """Each on a line with the old and the new value, before any number."""
    rules = (Rule("sandboxes", Selector(experiment="sandbox/*"), ttl_ms=7 * DAY_MS),)
    default = replace(YESTERDAY.default, ttl_ms=20 * DAY_MS)
    head = plan(an_experiment(), policy=replace(YESTERDAY, default=default, rules=rules))
    head["server"] = {**head["server"], "identity": "other", "tracking_uri": "http://elsewhere"}
    head["applyable"] = False
    head["diagnostics"] = [{"code": "guard", "message": "Too much."}]
    lines = _lines(_shown(plan(an_experiment()), head))
    assert lines[1] == "THESE PLANS WERE MADE FOR DIFFERENT SERVERS: equal ids mean nothing."
    numbers = next(n for n, line in enumerate(lines) if line.startswith("to delete"))
    first = lines[2:numbers]
    assert "! server tracking_uri: http://mlflow:5000 -> http://elsewhere" in first
    assert "! policy default.ttl: 30d -> 20d" in first
    assert "! plan applyable: yes -> no" in first
    assert "! new warning guard: Too much." in first
    assert not [line for line in first if "ttl_days" in line], "the same again"
    rule = next(line for line in first if "rules.sandboxes" in line)
    assert "none -> name sandboxes, match experiment sandbox/*, ttl 7d" in rule
    assert lines[-1] == "Review: mlflow-gc show h.json"
    assert lines[-2] == "The later plan CANNOT BE APPLIED: a guard is exceeded."


def test_warnings_about_a_plan_stand_above_all():
    """Edited, incomplete, the wrong way round."""
    older = plan(policy=replace(YESTERDAY, as_of_ms=YESTERDAY.as_of_ms - 1))
    head = {**older, "complete": False, "applyable": False}
    lines = _lines(_shown(plan(an_experiment(), a_run()), head, edited=(False, True)))
    assert lines[1] == "The later plan was edited after it was made: prune refuses it."
    assert lines[2] == "The later plan is incomplete: its scan was incomplete."
    assert lines[3].startswith("The later plan is the older one: as of ")
    assert lines[-2] == "The later plan CANNOT BE APPLIED: it was edited."


def test_an_expired_plan_is_not_to_be_applied():
    head = {**HEAD, "expires_at": format_ms(now_ms() - 1)}
    text = _shown(BASE, head)
    assert "CANNOT BE APPLIED: it expired at" in text
    assert "--expect" not in text


@pytest.mark.parametrize("experiments", [1, 2, 8, 9, 50])
def test_long_lists_are_cut_with_a_count(experiments):
    """What is shown and what is said to be left out make all of them; ``--all`` shows all."""
    found = many_runs(500, experiments=experiments)
    text = _shown(plan(), found)
    shown = len(re.findall(r"^ +- [0-9a-f]{32} ", text, re.MULTILINE))
    left = [int(n) for n in re.findall(r"\.\.\. and (\d+) runs ", text)]
    assert 0 < shown <= 28
    assert shown + sum(left) == 500
    assert text.count("--all shows them") == len(left) + text.count("experiments more")
    everything = _shown(plan(), found, everything=True)
    assert len(re.findall(r"^ +- [0-9a-f]{32} ", everything, re.MULTILINE)) == 500
    assert "--all" not in everything


def test_the_largest_group_comes_first_with_its_count():
    runs = [a_run(f"{n:032x}", experiment_id="2" if n else "1") for n in range(4)]
    lines = _lines(_shown(plan(), plan(an_experiment("1"), an_experiment("2"), *runs)))
    groups = [line for line in lines if line.startswith("  experiment ")]
    assert groups == ["  experiment 2 exp-2: 3 runs", "  experiment 1 exp-1: 1 run"]


def test_ids_are_never_cut_and_names_are():
    long = "m" * 5000
    versions = [a_version(str(n), long) for n in range(1, 4)]
    text = _shown(plan(), plan(a_model(long), *versions))
    assert f"{long}/1" in text
    named = _shown(plan(), plan(an_experiment(name="e" * 5000), a_run()))
    assert "e" * 39 + "…" in named
    assert "e" * 40 not in named


def test_one_long_id_does_not_spread_the_others():
    versions = [*(a_version(str(n)) for n in (1, 2)), a_version("1", "m" * 5000)]
    models = [a_model(), a_model("m" * 5000), a_version("2", "m" * 5000)]
    text = _shown(plan(), plan(*versions, *models))
    assert max(len(line) for line in text.splitlines() if "fraud/1" in line) < 300


@pytest.mark.parametrize("everything", [True, False])
def test_hostile_text_is_harmless_everywhere(everything):
    """In ids, names, reasons, chains, fields, rules, warnings: on both sides."""
    for base, head in ((BASE, poisoned(HEAD)), (poisoned(BASE), HEAD)):
        text = _shown(base, head, everything=everything)
        assert "pwned" in text
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", text)
        assert not re.search(r"^\s*(::|##|\|)", text, re.MULTILINE)
        assert "##vso[" not in text
        assert "[red]x[/red]" in text, "shown as it is"


def test_values_as_text():
    assert diff_text.format_value(None) == "none"
    assert diff_text.format_value(True) == "yes"
    assert diff_text.format_value("") == "empty"
    assert diff_text.format_value(["a", "b"]) == "a, b"
    assert diff_text.format_value([]) == "none"
    assert diff_text.format_value({"a": {"b": 1}}) == "a b 1"
    assert diff_text.format_value([{"a": 1}]) == '[{"a":1}]'


def test_a_path_is_quoted_for_the_shell():
    stream = io.StringIO()
    console = Console(file=stream, soft_wrap=True)
    later = applicability(HEAD)
    diff_text.diff(diff_plans(BASE, HEAD), later, console, base="b", head="my plan; rm -rf x.json")
    assert "mlflow-gc show 'my plan; rm -rf x.json'" in stream.getvalue()
