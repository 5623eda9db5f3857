"""Tests that users write beside their policy: every field, every verdict, every mistake's line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML
from support import ROOT
from unit.worlds import a_model, a_run, a_version, an_experiment, inventory

from mlflow_gc.domain.timestamps import DAY_MS, parse_time
from mlflow_gc.errors import ExitCode, GcError, UsageProblem
from mlflow_gc.plan import schema
from mlflow_gc.policy.loader import apply_policy
from mlflow_gc.policy.test_runner import (
    CaseResult,
    read_policy_tests,
    run_policy_tests,
    untested_rules,
)
from mlflow_gc.retention.decision import Verdict
from mlflow_gc.retention.engine import decide
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rules import Rule

AS_OF = parse_time("2026-11-24")
Run = Callable[..., list[CaseResult]]


def _page(number: int) -> str:
    page = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return str(blocks[number])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Write a policy and a file of cases, and run it."""

    def run_cases(cases: str, policy: str = "", top: str = "") -> list[CaseResult]:
        (tmp_path / "p.yml").write_text(f"version: 1\n{policy}\n")
        path = tmp_path / "t.yml"
        path.write_text(
            f"version: 1\npolicy: p.yml\nas_of: 2026-11-24\n{top}cases:\n{cases}\n",
            encoding="utf-8",
        )
        return list(run_policy_tests(read_policy_tests(path)))

    return run_cases


@pytest.fixture
def holds(run: Run) -> Callable[..., bool]:
    """Whether all of one case is as expected; something has to be expected."""

    def one(case: str, policy: str = "") -> bool:
        (result,) = run(f"- {{name: c, {case}}}", policy)
        assert result.checked
        return not result.failures

    return one


def test_the_example_of_the_documentation_passes_as_printed(tmp_path: Path) -> None:
    """Beside the page's own policy; and both can fail."""
    (tmp_path / "mlflow-gc.yml").write_text(_page(0))
    path = tmp_path / "t.yml"
    text = next(_page(n) for n in range(5) if "cases:" in _page(n))
    path.write_text(text)
    suite = read_policy_tests(path)
    results = list(run_policy_tests(suite))
    assert [result.failures for result in results] == [(), (), ()]
    assert sum(result.checked for result in results) == 8
    assert untested_rules(suite.policy, results) == ["production"]
    path.write_text(text.replace("expect: keep", "expect: delete"))
    assert all(result.failures for result in run_policy_tests(read_policy_tests(path)))


# -- entities ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entity", "deleted"),
    [
        ("runs: [{%s}]", True),
        ("experiments: [{name: e, %s}]", True),
        ("registered_models: [{name: m, %s}]", False),
        ("model_versions: [{model: m, version: 2}, {model: m, version: 1, %s}]", True),
        ("model_versions: [{model: m, version: 1, %s}]", False),
        ("runs: [{age: 31d, %s}]", True),
        ("runs: [{age: 30d, %s}]", False),
        ("runs: [{age: 1s, %s}]", False),
        ("runs: [{status: FAILED, %s}]", True),
        ("runs: [{status: RUNNING, %s}]", False),
        ("runs: [{start_time: 2026-11-23, %s}]", False),
        ("runs: [{end_time: '2026-11-23T10:00:00Z', %s}]", False),
        ("runs: [{last_metric_time: 2026-11-23, %s}]", False),
        ("runs: [{start_time: 2026-01-01, end_time: 2025-01-01, %s}]", False),
        ("runs: [{tags: {mlflow_gc.keep: 'true'}, %s}]", False),
        ("runs: [{tags: {mlflow_gc.ttl: never}, %s}]", False),
        ("runs: [{id: a, age: 1d}, {parent: a, %s}]", False),
        ("runs: [{id: a, %s}, {parent: a, age: 1d}]", False),
        ("runs: [{id: a, %s}, {id: b}, {parent: b, age: 1d}]", True),
        ("runs: [{id: a, %s}], model_versions: [{model: m, version: 1, run: a}]", False),
        ("runs: [{id: a, %s}, {id: b}], model_versions: [{model: m, version: 1, run: b}]", True),
        ("experiments: [{name: e, age: 5d, %s}]", False),
        ("experiments: [{name: Default, %s}]", False),
        ("experiments: [{name: e, has_traces: true, %s}]", False),
        ("experiments: [{name: e, has_traces: false, %s}]", True),
        ("experiments: [{name: e, %s}], runs: [{experiment: e}]", True),
        ("experiments: [{name: e, %s}], runs: [{experiment: f, age: 1d}]", True),
        ("experiments: [{name: e, %s}], runs: [{experiment: e, age: 1d}]", False),
        ("experiments: [{name: e, tags: {mlflow_gc.keep: x}}], runs: [{experiment: e, %s}]", False),
        (
            "registered_models: [{name: m, aliases: {champion: 1}}], model_versions: [{model: m, version: 2}, {model: m, version: 1, %s}]",
            False,
        ),
        (
            "registered_models: [{name: m, aliases: {champion: '2'}}], model_versions: [{model: m, version: 2}, {model: m, version: 1, %s}]",
            True,
        ),
        (
            "registered_models: [{name: m, tags: {mlflow_gc.keep: x}}], model_versions: [{model: m, version: 2}, {model: m, version: 1, %s}]",
            False,
        ),
        ("model_versions: [{model: m, version: 2}, {model: m, version: 1, stage: Production, %s}]", False),
        ("model_versions: [{model: m, version: 2}, {model: m, version: 1, age: 3d, %s}]", False),
    ],
)  # fmt: skip
def test_each_field_counts(holds: Callable[..., bool], entity: str, deleted: bool) -> None:
    """Plain means: of five years ago, finished, without anything that protects."""
    assert holds(entity % "expect: delete") is deleted
    assert holds(entity % "expect: keep") is not deleted


@pytest.mark.parametrize(
    ("field", "rule"),
    [
        ("user: ada", "{user: a*}"),
        ("run_name: trial-1", "{run_name: trial-?}"),
        ("experiment: prod/x", "{experiment: prod/*}"),
        ("tags: {team: fraud}", "{tags: {team: '*'}}"),
        ("status: KILLED", "{status: [FAILED, KILLED]}"),
    ],
)
def test_each_selector_can_be_tested(holds: Callable[..., bool], field: str, rule: str) -> None:
    policy = f"rules: [{{name: a, match: {rule}, ttl: never}}]"
    assert holds(f"runs: [{{{field}, expect: keep, rule: a}}]", policy)
    assert holds("runs: [{expect: delete, rule: default}]", policy)
    assert not holds(f"runs: [{{{field}, expect: keep, rule: default}}]", policy)


def test_a_case_can_be_a_workspace(holds: Callable[..., bool]) -> None:
    policy = "rules: [{name: a, match: {workspace: team-*}, ttl: never}]"
    assert holds("workspace: team-a, runs: [{expect: keep, rule: a}]", policy)
    assert holds("workspace: other, runs: [{expect: delete, rule: default}]", policy)
    assert holds("runs: [{expect: delete, rule: default}]", policy)


def test_an_empty_model_can_go_where_the_policy_says_so(holds: Callable[..., bool]) -> None:
    policy = "defaults: {empty_models: 90d}"
    assert holds("registered_models: [{name: m, expect: delete}]", policy)
    assert holds("registered_models: [{name: m, age: 90d, expect: keep, reason: fresh}]", policy)
    case = "registered_models: [{name: m, aliases: {a: 1}, expect: keep, reason: alias}]"
    assert holds(case, policy)
    case = "registered_models: [{name: m, expect: keep}], model_versions: [{model: m, version: 1}]"
    assert holds(case, policy)


@pytest.mark.parametrize(
    ("best", "worse"),
    [
        ("1", "0.5"), ("1e3", "999.5"), (".inf", "1e300"), ("0.1", "-.inf"), ("-1", "-.inf"),
        ("0", ".nan"), ("'1'", "'0'"), ("+2", "1"), (".5", "-.5"), ("1e-3", "1e-4"),
        ("99999999999999999999", "1"), (".Inf", "0"), ("-.INF", ".NaN"),
    ],
)  # fmt: skip
def test_metrics_are_numbers_as_yaml_writes_them(
    holds: Callable[..., bool], best: str, worse: str
) -> None:
    """Infinities, too; NaN is never the best."""
    policy = "defaults: {keep: {best: {metric: m, mode: max, count: 1}}}"
    case = (
        "runs: [{metrics: {m: %s}, expect: %s}, {metrics: {m: %s}, expect: %s}, {expect: delete}]"
    )
    assert holds(case % (best, "keep, reason: keep_best", worse, "delete"), policy)
    assert holds(case % (worse, "delete", best, "keep, reason: max m"), policy)


def test_editors_take_the_example_and_all_numbers_that_yaml_has() -> None:
    """They check what YAML itself makes of a file, in which 0.99 is a number and no text."""
    text = next(_page(n) for n in range(5) if "cases:" in _page(n))
    # Days are texts in YAML 1.2.
    document = json.loads(json.dumps(YAML(typ="safe").load(text), default=str))
    assert schema.problems(document, "policy-tests") == []
    for number in ("1", "0.5", "-1e3", ".inf", "-.inf", ".nan", "'2'"):
        case = YAML(typ="safe").load(f"{{name: c, runs: [{{metrics: {{m: {number}}}}}]}}")
        assert schema.problems({**HEAD, "cases": [case]}, "policy-tests") == []
    assert schema.problems(
        {**HEAD, "cases": [{"name": "c", "runs": [{"metrics": {"m": "high"}}]}]}, "policy-tests"
    )


def test_so_many_runs_that_are_alike(run: Run) -> None:
    (result,) = run("- {name: c, runs: [{count: 7, expect: delete}, {age: 1d, count: 2}]}")
    assert (result.checked, result.failures) == (7, ())
    (result,) = run("- {name: c, runs: [{count: 7, expect: keep}]}")
    assert len(result.failures) == 7


def test_a_run_may_have_any_id(holds: Callable[..., bool]) -> None:
    """Also one that nameless runs might have got."""
    for name in ("run-1", "run-2", "run-3"):
        runs = f"{{id: {name}, expect: delete}}, {{expect: delete}}, {{expect: delete}}"
        assert holds(f"runs: [{runs}]")
        assert holds(f"runs: [{{expect: delete}}, {{id: {name}, expect: delete}}]")


def test_the_ttl_where_the_policy_sets_none(run: Run) -> None:
    """As the variable would; the policy's own comes first, and 30 days without either."""
    case = "- {name: c, runs: [{age: 60d, expect: delete}]}"
    assert run(case)[0].failures == ()
    assert run(case, top="ttl_days: 90\n")[0].failures
    assert run(case, "defaults: {ttl: 10d}", "ttl_days: 90\n")[0].failures == ()


def test_marks_are_set_aside_unless_a_case_has_one(run: Run) -> None:
    """Of any kind; then all of the case has to be announced."""
    mark = "tags: {mlflow_gc.delete_after: '%s'}"
    over, ahead = mark % "2026-11-01", mark % "2026-12-01"
    cases = f"""
- {{name: none, runs: [{{expect: delete}}]}}
- {{name: over, runs: [{{{over}, expect: delete}}, {{expect: keep, reason: grace}}]}}
- {{name: ahead, runs: [{{{ahead}, expect: keep, reason: grace}}]}}
- {{name: other, experiments: [{{name: e, {ahead}}}], runs: [{{expect: keep, reason: grace}}]}}
"""
    assert [result.failures for result in run(cases, "grace: 14d")] == [(), (), (), ()]
    # What lies ahead is kept to also where the policy has no grace any more.
    assert run(f"- {{name: a, runs: [{{{ahead}, expect: keep, reason: grace}}]}}")[0].failures == ()


def test_guards_do_not_count_and_cases_do_not_see_each_other(run: Run) -> None:
    policy = "guards: {max_deletions: {total: 0}}\nkeep_last: {runs: 1}"
    case = "- {name: %s, runs: [{age: 90d, expect: keep}, {age: 91d, expect: delete}]}\n"
    results = run(case % "a" + case % "b", policy)
    assert [result.failures for result in results] == [(), ()]


# -- expectations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "is_true"),
    [
        ("alias", True),
        ("champion", True),
        ("alias champion", True),
        ("fresh", False),
        ("stage", False),
        ("keep_last", False),
    ],
)
def test_a_reason_is_a_code_or_words(
    holds: Callable[..., bool], reason: str, is_true: bool
) -> None:
    models = "registered_models: [{name: m, aliases: {champion: 1}}]"
    versions = (
        "model_versions: [{model: m, version: 1, expect: keep, reason: %s}, {model: m, version: 2}]"
    )
    assert holds(f"{models}, {versions % reason}") is is_true


@pytest.mark.parametrize(
    ("reason", "is_true"),
    [("keep_last", True), ("keep_monthly", True), ("keep_within", True), ("keep_daily", False)],
)
def test_any_keep_rule_that_keeps_it_is_a_reason(
    holds: Callable[..., bool], reason: str, is_true: bool
) -> None:
    """The plan names one; which of them comes first is not what a user wants to test."""
    policy = "defaults: {ttl: 3d, keep: {last: 1, monthly: 2, within: 90d}}"
    assert holds(f"runs: [{{age: 60d, expect: keep, reason: {reason}}}]", policy) is is_true


def test_the_words_of_a_deletion_are_reasons(holds: Callable[..., bool]) -> None:
    assert holds("runs: [{age: 40d, expect: delete, reason: 40 days}]")
    assert not holds("runs: [{age: 40d, expect: delete, reason: fresh}]")
    assert not holds("runs: [{age: 40d, expect: delete, reason: 41 days}]")


def test_fresh_is_what_is_not_stale_and_nothing_else(holds: Callable[..., bool]) -> None:
    """A run that stays for a fresh one of its tree is stale itself."""
    tree = "runs: [{id: a, expect: keep, reason: %s}, {id: fresh-child, parent: a, age: 1d}]"
    assert holds(tree % "tree")
    assert not holds(tree % "fresh")


@pytest.mark.parametrize(
    ("policy", "case"),
    [
        ("defaults: {ttl: never}", "runs: [{expect: keep, reason: %s}]"),
        ("defaults: {statuses: [FINISHED]}", "runs: [{status: FAILED, expect: keep, reason: %s}]"),
        ("", "runs: [{tags: {mlflow_gc.ttl: never}, expect: keep, reason: %s}]"),
        ("defaults: {experiments: never}", "experiments: [{name: e, expect: keep, reason: %s}]"),
        ("", "registered_models: [{name: m, expect: keep, reason: %s}]"),
    ],
)
def test_what_never_goes_is_not_called_fresh(
    holds: Callable[..., bool], policy: str, case: str
) -> None:
    """Whether the policy says so, the status, or an owner."""
    assert holds(case % "never", policy)
    assert not holds(case % "fresh", policy)


def test_a_failure_names_the_line_of_its_entity(run: Run) -> None:
    cases = """
- name: first
  runs:
    - {expect: delete}
    - age: 1d
      expect: delete
- name: second
  experiments:

    - {name: e, expect: keep}
"""
    first, second = run(cases)
    assert [(f.line, f.expected) for f in first.failures] == [(9, "delete")]
    assert [f.line for f in second.failures] == [14]
    assert "experiment e" in second.failures[0].entity
    assert first.failures[0].found.startswith("keep")


def test_rules_without_a_case_are_named_in_their_order(tmp_path: Path) -> None:
    """An entity without an expectation does not test anything."""
    (tmp_path / "p.yml").write_text(
        "version: 1\nrules:\n" + "".join(f"- {{name: {n}, match: {{user: {n}}}}}\n" for n in "cab")
    )
    path = tmp_path / "t.yml"
    path.write_text(
        "version: 1\npolicy: p.yml\nas_of: 2026-11-24\n"
        "cases: [{name: x, runs: [{user: a, expect: delete}, {user: b}]}]\n"
    )
    suite = read_policy_tests(path)
    assert untested_rules(suite.policy, list(run_policy_tests(suite))) == ["c", "b"]


# -- mistakes ------------------------------------------------------------------------------------

# The head takes four lines, the case begins on the fifth.
IN_A_CASE = {
    "unknown list": ("trials: []", 6),
    "unknown field of a run": ("runs:\n  - {ages: 1d}", 7),
    "unknown field of an experiment": ("experiments:\n  - {name: e, status: FAILED}", 7),
    "unknown field of a model": ("registered_models:\n  - {name: m, version: 1}", 7),
    "unknown field of a version": ("model_versions:\n  - {model: m, version: 1, alias: a}", 7),
    "experiment without a name": ("experiments:\n  - {age: 1d}", 7),
    "version without a model": ("model_versions:\n  - {version: 1}", 7),
    "version without a number": ("model_versions:\n  - {model: m}", 7),
    "version 0": ("model_versions:\n  - {model: m, version: 0}", 7),
    "two runs of one id": ("runs:\n  - {id: a}\n  - {id: a}", 8),
    "two experiments of one name": ("experiments:\n  - {name: e}\n  - {name: e}", 8),
    "two models of one name": ("registered_models:\n  - {name: m}\n  - {name: m}", 8),
    "a version twice": ("model_versions:\n  - {model: m, version: 1}\n  - {model: m, version: '1'}", 8),
    "count with id": ("runs:\n  - {id: a, count: 2}", 7),
    "count 0": ("runs:\n  - {count: 0}", 7),
    "count too large": ("runs:\n  - {count: 1001}", 7),
    "reason without expect": ("runs:\n  - {reason: fresh}", 7),
    "rule without expect": ("runs:\n  - {rule: default}", 7),
    "expect unknown": ("runs:\n  - {expect: stay}", 7),
    "age a number": ("runs:\n  - {age: 5}", 7),
    "age 0": ("runs:\n  - {age: 0d}", 7),
    "age never": ("runs:\n  - {age: never}", 7),
    "age behind 2015": ("runs:\n  - {age: 5000d}", 7),
    "age behind the year 1": ("runs:\n  - {age: 999999999w}", 7),
    "bad time": ("runs:\n  - start_time: yesterday", 7),
    "no such day": ("runs:\n  - {age: 1d,\n     end_time: 2026-02-30}", 8),
    "metric a text": ("runs:\n  - {metrics: {m: high}}", 7),
    "metric true": ("runs:\n  - {metrics: {m: true}}", 7),
    "tag a number": ("runs:\n  - {tags: {a: 1}}", 7),
    "status unknown": ("runs:\n  - {status: DONE}", 7),
    "runs a mapping": ("runs: {age: 1d}", 6),
    "has_traces a text": ("experiments:\n  - {name: e, has_traces: 'yes'}", 7),
    "unknown parent": ("runs:\n  - {id: a}\n  - {parent: A}", 8),
    "unknown run of a version": ("model_versions:\n  - {model: m, version: 1,\n     run: a}", 8),
    "unknown version of an alias": (
        "registered_models:\n  - {name: m, aliases: {a: 2}}\nmodel_versions:\n  - {model: m, version: 1}", 7
    ),
    "unknown rule": ("runs:\n  - {expect: keep, rule: sandboxs}", 7),
    "alias of version 0": ("registered_models:\n  - {name: m, aliases: {a: 0}}", 7),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line"), IN_A_CASE.values(), ids=IN_A_CASE)
def test_a_mistake_is_refused_with_its_line(run: Run, text: str, line: int) -> None:
    body = text.replace("\n", "\n  ")
    with pytest.raises(UsageProblem) as caught:
        run(f"- name: c\n  {body}")
    assert re.search(rf"t\.yml line {line}\b", caught.value.message), caught.value.message
    assert caught.value.exit_code == ExitCode.USAGE


HEAD = {"version": 1, "policy": "p.yml", "as_of": "2026-11-24", "cases": [{"name": "c"}]}


@pytest.mark.parametrize(
    "changes",
    [
        {"version": None}, {"version": 2}, {"policy": None}, {"policy": ""}, {"as_of": None},
        {"as_of": "2026"}, {"as_of": "today"}, {"as_of": "2026-13-01"}, {"as_of": 20261124},
        {"cases": None}, {"cases": []}, {"cases": [{}]}, {"cases": {}}, {"ttl_days": 0},
        {"ttl_days": "30"}, {"x": 1},
    ],
)  # fmt: skip
def test_a_bad_head_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    (tmp_path / "p.yml").write_text("version: 1\n")
    path = tmp_path / "t.yml"
    path.write_text(json.dumps(HEAD))
    read_policy_tests(path)
    path.write_text(json.dumps({k: v for k, v in {**HEAD, **changes}.items() if v is not None}))
    with pytest.raises(UsageProblem, match=r"t\.yml line 1"):
        read_policy_tests(path)


def test_the_policy_lies_beside_the_tests(tmp_path: Path) -> None:
    """Its path is relative to the file; another one can be named in its place."""
    below = tmp_path / "below"
    below.mkdir()
    (tmp_path / "p.yml").write_text("version: 1\nmin_age: 5d\n")
    path = below / "t.yml"
    path.write_text(json.dumps({**HEAD, "policy": "../p.yml"}))
    assert read_policy_tests(path).policy.min_age_ms == 5 * DAY_MS
    other = tmp_path / "other.yml"
    other.write_text("version: 1\nmin_age: 6d\n")
    assert read_policy_tests(path, policy_file=other).policy.min_age_ms == 6 * DAY_MS
    path.write_text(json.dumps({**HEAD, "policy": str(other)}))
    assert read_policy_tests(path).policy.min_age_ms == 6 * DAY_MS
    path.write_text(json.dumps({**HEAD, "policy": "none.yml"}))
    with pytest.raises(GcError, match=r"none\.yml") as caught:
        read_policy_tests(path)
    assert caught.value.exit_code == ExitCode.ERROR


# -- the schema ----------------------------------------------------------------------------------


def test_the_schema_is_one_and_describes_every_field() -> None:
    document = json.loads(schema.schema_text("policy-tests"))
    Draft202012Validator.check_schema(document)
    missing = []

    def walk(node: Any, key_path: str) -> None:
        if isinstance(node, dict):
            for key, value in node.get("properties", {}).items():
                if not value.get("description") and "$ref" not in value:
                    missing.append(f"{key_path}/{key}")
                if value.get("type") == "object":
                    assert "additionalProperties" in value, f"{key_path}/{key}"
        children = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in children:
            if isinstance(value, (dict, list)):
                walk(value, f"{key_path}/{key}")

    walk(document, "")
    assert missing == []


# -- the same engine -----------------------------------------------------------------------------

_runs = st.lists(
    st.fixed_dictionaries(
        {"age": st.sampled_from(["1d", "20d", "40d", "100d"])},
        optional={
            "experiment": st.sampled_from(["a", "b"]),
            "status": st.sampled_from(["FINISHED", "FAILED", "RUNNING"]),
            "user": st.sampled_from(["ada", "bob"]),
            "tags": st.sampled_from([{"mlflow_gc.keep": "true"}, {"mlflow_gc.ttl": "15d"}]),
            "metrics": st.sampled_from([{"m": 1}, {"m": 2}]),
        },
    ),
    max_size=6,
)
_versions = st.lists(st.sampled_from(["1d", "20d", "40d"]), max_size=4)
_POLICY = {
    "version": 1,
    "rules": [
        {"name": "ada", "match": {"user": "ada"}, "ttl": "10d", "keep": {"last": 1}},
        {
            "name": "a",
            "match": {"experiment": "a"},
            "keep": {"best": {"metric": "m", "mode": "max", "count": 1}},
        },
    ],
    "keep_last": {"model_versions": 2},
}


@given(_runs, _versions)
def test_the_verdict_is_that_of_a_plan(
    folder: Path, runs: list[dict[str, Any]], versions: list[str]
) -> None:
    """For what the same words make of the same entities."""
    policy = apply_policy(_POLICY, Policy(as_of_ms=AS_OF, default=Rule.of_days(30)))

    def ago(text: str) -> int:
        return AS_OF - int(text[:-1]) * DAY_MS

    old = AS_OF - 5 * 365 * DAY_MS
    names = list(dict.fromkeys(each.get("experiment", "experiment") for each in runs))
    found = inventory(
        *(
            an_experiment(str(n), name=name, creation_time=old, last_update_time=old)
            for n, name in enumerate(names, 1)
        ),
        *(
            a_run(
                f"run-{n}",
                experiment_id=str(names.index(each.get("experiment", "experiment")) + 1),
                user_id=each.get("user", ""),
                status=each.get("status", "FINISHED"),
                start_time=ago(each["age"]),
                end_time=None if each.get("status") == "RUNNING" else ago(each["age"]),
                tags=each.get("tags", {}),
                metrics=tuple((k, float(v)) for k, v in each.get("metrics", {}).items()),
            )
            for n, each in enumerate(runs, 1)
        ),
        *([a_model("m")] if versions else []),
        *(
            a_version(str(n), "m", creation_timestamp=ago(age), last_updated_timestamp=ago(age))
            for n, age in enumerate(versions, 1)
        ),
    )
    decisions = decide(found, policy)

    def word(verdict: Verdict) -> str:
        return "delete" if verdict is Verdict.DELETE else "keep"

    case = {
        "name": "all",
        "experiments": [
            {"name": name, "expect": word(decisions.experiments[str(n)].verdict)}
            for n, name in enumerate(names, 1)
        ],
        "runs": [
            {**each, "expect": word(decisions.runs[f"run-{n}"].verdict)}
            for n, each in enumerate(runs, 1)
        ],
        "model_versions": [
            {
                "model": "m",
                "version": n,
                "age": age,
                "expect": word(decisions.model_versions["m", str(n)].verdict),
            }
            for n, age in enumerate(versions, 1)
        ],
    }
    (folder / "p.yml").write_text(json.dumps(_POLICY))
    path = folder / "t.yml"
    path.write_text(json.dumps({**HEAD, "cases": [case]}))
    (result,) = run_policy_tests(read_policy_tests(path))
    assert result.failures == ()
    assert result.checked == len(names) + len(runs) + len(versions)


def test_a_run_is_no_older_than_its_experiment(holds: Callable[..., bool]) -> None:
    """One that is there without a word about its age is older than all runs."""
    seven_years = "defaults: {ttl: 2555d}"
    run = "{age: 2920d, experiment: e, expect: %s}"
    assert holds(f"runs: [{run % 'delete'}]", seven_years)
    assert holds(f"experiments: [{{name: e}}], runs: [{run % 'delete'}]", seven_years)
    young = "experiments: [{name: e, age: 2190d}]"
    assert holds(f"{young}, runs: [{run % 'keep'}]", seven_years)
