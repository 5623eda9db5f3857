"""The policy file: every key does what it says, and every mistake is refused with its line."""

from __future__ import annotations

import contextlib
import json
import re
import zoneinfo
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from support import ROOT
from unit.worlds import AS_OF, POLICY, an_experiment, inventory, plan_of

from mlflow_gc import settings
from mlflow_gc.domain.kinds import kinds_of
from mlflow_gc.domain.timestamps import DAY_MS
from mlflow_gc.errors import ExitCode, GcError, UsageProblem
from mlflow_gc.plan import schema
from mlflow_gc.plan.strict_json import parse_json
from mlflow_gc.plan.writer import render
from mlflow_gc.policy import yaml_loader
from mlflow_gc.policy.loader import Mistakes, apply_policy, near_misses, read_policy_file
from mlflow_gc.retention.keep_rules import ALL, Best, Keep
from mlflow_gc.retention.policy import Evidence, Guards, Policy, PurgeSettings
from mlflow_gc.retention.rules import Rule, Selector
from mlflow_gc.workflows import policy as policies
from mlflow_gc.workflows.reporter import Reporter

GUARDED = ("total", *kinds_of({}))
SHARED = (*GUARDED, "experiment", "registered_model")


@pytest.fixture
def read(tmp_path):
    """Write a policy file and return the policy it makes of the default one."""

    def write_and_read(text: str | bytes, policy: Policy = POLICY) -> Policy:
        path = tmp_path / "p.yml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return apply_policy(read_policy_file(path), policy)

    return write_and_read


@pytest.fixture
def refused(read):
    """The message about a file that is refused as a usage error."""

    def output(text: str | bytes) -> str:
        with pytest.raises(UsageProblem) as caught:
            read(text)
        assert caught.value.exit_code == ExitCode.USAGE
        assert "p.yml" in caught.value.message
        return caught.value.message

    return output


# -- what it says --------------------------------------------------------------------------------


def test_version_alone_changes_nothing(read):
    assert read("version: 1\n") == POLICY


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("min_age: 14d", {"min_age_ms": 14 * DAY_MS}),
        ("min_age: 2w", {"min_age_ms": 14 * DAY_MS}),
        ("min_age: 90m", {"min_age_ms": 90 * 60_000}),
        ("min_age: 1s", {"min_age_ms": 1000}),
        ("keep_last: {runs: 5}", {"keep_last_runs": 5}),
        ("keep_last: {model_versions: 3}", {"keep_last_versions": 3}),
        ("keep_last: {runs: 0, model_versions: 0}", {}),
        ("keep_last: {}", {}),
        ("evaluation_runs: delete", {"delete_evaluations": True}),
        ("evaluation_runs: keep", {}),
        ("free_experiment_names: true", {"free_experiment_names": True}),
        ("free_experiment_names: false", {}),
        ("expire_after: 1h", {"expire_after_ms": 3_600_000}),
        ("expire_after: never", {"expire_after_ms": None}),
        ("max_scan_duration: 30m", {"evidence": Evidence(max_scan_ms=30 * 60_000)}),
        ("max_clock_skew: 10s", {"evidence": Evidence(max_clock_skew_ms=10_000)}),
        (
            "max_scan_duration: 1h\nmax_clock_skew: 1m",
            {"evidence": Evidence(max_scan_ms=3_600_000, max_clock_skew_ms=60_000)},
        ),
        ("grace: 14d", {"grace_ms": 14 * DAY_MS}),
        ("grace: off", {}),
        ("time_zone: Europe/Berlin", {"time_zone": "Europe/Berlin"}),
        ("time_zone: UTC", {}),
        ("owners: {may_shorten: false}", {"owners_may_shorten": False}),
        ("owners: {may_shorten: true}", {}),
        (
            "owners: {may_shorten_irreversible: true}",
            {"owners_may_shorten_irreversible": True},
        ),
        ("owners: {shortest_ttl: 2w}", {"owners_shortest_ttl_ms": 14 * DAY_MS}),
        ("owners: {}", {}),
        ("defaults: {}", {}),
        ("rules: []", {}),
        ("guards: {}", {}),
        ("guards: {max_deletions: {}, max_share: {}}", {}),
        *[
            (f"guards: {{max_deletions: {{{key}: 7}}}}", {"guards": Guards({key: 7})})
            for key in GUARDED
        ],
        *[
            (f"guards: {{max_share: {{{key}: 7%}}}}", {"guards": Guards({}, {key: 7})})
            for key in SHARED
        ],
        ("purge: {max_bytes: 2 kB}", {"purge": PurgeSettings(max_bytes=2_000)}),
        ("purge: {max_share: 7%}", {"purge": PurgeSettings(max_share_percent=7)}),
        ("purge: {unknown_since: '1970-01-02'}", {"purge": PurgeSettings(unknown_since_ms=DAY_MS)}),
        ("guards: {max_deletions: {runs: 0}}", {"guards": Guards({"runs": 0})}),
        ("guards: {max_share: {runs: 0%}}", {"guards": Guards({}, {"runs": 0})}),
        ("guards: {max_share: {runs: 100%}}", {"guards": Guards({}, {"runs": 100})}),
    ],
)
def test_each_key_changes_its_own_field_and_no_other(read, text, changes):
    found = read(f"version: 1\n{text}\n")
    expected = {
        **{name: getattr(POLICY, name) for name in POLICY.__dataclass_fields__},
        **changes,
    }
    assert {name: getattr(found, name) for name in expected} == expected


# What a rule, or the defaults, can set, and the fields of the rule that it sets.
SETTINGS = {
    "ttl: 12h": dict.fromkeys(("ttl_ms", "failed_ttl_ms", "empty_ms"), DAY_MS // 2),
    "ttl: never": dict.fromkeys(
        ("ttl_ms", "failed_ttl_ms", "empty_ms", "abandoned_ms", "empty_model_ms", "purge_after_ms")
    ),
    "failed_ttl: 2w": {"failed_ttl_ms": 14 * DAY_MS},
    "failed_ttl: never": {"failed_ttl_ms": None},
    "statuses: [FAILED]": {"statuses": ("FAILED",)},
    "statuses: [KILLED, FINISHED]": {"statuses": ("KILLED", "FINISHED")},
    "zombies: 90m": {"abandoned_ms": 90 * 60_000},
    "zombies: off": {"abandoned_ms": None},
    "experiments: 50d": dict.fromkeys(("experiments_ms", "empty_ms"), 50 * DAY_MS),
    "experiments: never": dict.fromkeys(("experiments_ms", "empty_ms")),
    "empty_experiments: 1d": {"empty_ms": DAY_MS},
    "empty_experiments: never": {"empty_ms": None},
    "empty_models: 9d": {"empty_model_ms": 9 * DAY_MS},
    "empty_models: off": {"empty_model_ms": None},
    "purge_after: 9d": {"purge_after_ms": 9 * DAY_MS},
    "purge_after: never": {"purge_after_ms": None},
    "keep: {last: 1}": {"keep": Keep(last=1)},
    "keep: {last: all}": {"keep": Keep(last=ALL)},
    "keep: {daily: 7, weekly: all}": {"keep": Keep(calendar={"daily": 7, "weekly": ALL})},
    "keep: {monthly: 12, yearly: 3}": {"keep": Keep(calendar={"monthly": 12, "yearly": 3})},
    "keep: {within: 60d}": {"keep": Keep(within_ms=60 * DAY_MS)},
    "keep: {best: {metric: auc, mode: max, count: 3}}": {
        "keep": Keep(best=(Best("auc", "max", 3),))
    },
    "keep: {best: [{metric: a, mode: min, count: 1}, {metric: b/c, mode: max, count: 2}]}": {
        "keep": Keep(best=(Best("a", "min", 1), Best("b/c", "max", 2)))
    },
}
# All different, so that a field that changes by mistake shows.
DEFAULTS = """
defaults:
  ttl: 101d
  failed_ttl: 102d
  statuses: [FINISHED, KILLED]
  zombies: 103d
  empty_experiments: 104d
  empty_models: 105d
  purge_after: 106d
  keep: {yearly: 9}
"""
ALL_DEFAULTS = Rule(
    "default",
    ttl_ms=101 * DAY_MS,
    failed_ttl_ms=102 * DAY_MS,
    statuses=("FINISHED", "KILLED"),
    abandoned_ms=103 * DAY_MS,
    empty_ms=104 * DAY_MS,
    empty_model_ms=105 * DAY_MS,
    purge_after_ms=106 * DAY_MS,
    keep=Keep(calendar={"yearly": 9}),
)


def _fields(rule: Rule) -> dict[str, object]:
    return {name: getattr(rule, name) for name in rule.__dataclass_fields__}


def test_the_defaults_are_the_last_rule(read):
    """Each key its own field."""
    found = read(f"version: 1{DEFAULTS}")
    assert found.default == ALL_DEFAULTS
    assert found.rules == ()


@pytest.mark.parametrize(("text", "changes"), SETTINGS.items())
def test_what_a_rule_does_not_set_is_as_in_the_defaults(read, text, changes):
    """``ttl`` stands for failed runs and empty experiments, ``never`` for zombies and models."""
    found = read(f"version: 1{DEFAULTS}rules:\n- name: a\n  match: {{user: u}}\n  {text}\n")
    expected = {**_fields(ALL_DEFAULTS), "name": "a", "match": Selector(user="u"), **changes}
    assert _fields(found.rules[0]) == expected
    assert found.default == ALL_DEFAULTS


@pytest.mark.parametrize(("text", "changes"), SETTINGS.items())
def test_what_the_defaults_do_not_set_is_as_without_them(read, text, changes):
    found = read(f"version: 1\ndefaults: {{{text}}}\n")
    assert _fields(found.default) == {**_fields(POLICY.default), **changes}


@pytest.mark.parametrize("other", [t for t in SETTINGS if not t.startswith("ttl")])
@pytest.mark.parametrize("ttl", ["ttl: 12h", "ttl: never"])
@pytest.mark.parametrize("is_first", [True, False])
def test_what_stands_beside_a_ttl_counts_for_itself(read, ttl, other, is_first):
    """``failed_ttl`` and the others win over what ``ttl`` brings along, in any order."""
    texts = [ttl, other] if is_first else [other, ttl]
    lines = "".join(f"  {text}\n" for text in texts)
    found = read(f"version: 1{DEFAULTS}rules:\n- name: a\n  match: {{user: u}}\n{lines}")
    both = {**SETTINGS[ttl], **SETTINGS[other]}
    assert _fields(found.rules[0]) == {
        **_fields(ALL_DEFAULTS),
        "name": "a",
        "match": Selector(user="u"),
        **both,
    }


@pytest.mark.parametrize(
    ("match", "selector"),
    [
        ("experiment: 'prod/*'", Selector(experiment="prod/*")),
        ("experiment_regex: '^(a|b)/'", Selector(experiment_regex="^(a|b)/")),
        ("model: '*-candidate'", Selector(model="*-candidate")),
        ("model_regex: x$", Selector(model_regex="x$")),
        ("tags: {team: fraud, 'a b': '*'}", Selector(tags={"team": "fraud", "a b": "*"})),
        ("tags: {team: ''}", Selector(tags={"team": ""})),
        ("status: FAILED", Selector(status=("FAILED",))),
        ("status: [RUNNING, KILLED]", Selector(status=("RUNNING", "KILLED"))),
        ("user: ada", Selector(user="ada")),
        ("run_name: 'trial-?'", Selector(run_name="trial-?")),
        ("workspace: team-a", Selector(workspace="team-a")),
        (
            "experiment: e, experiment_regex: r, tags: {k: v}, status: [FAILED], user: u, run_name: n, workspace: w",
            Selector(
                experiment="e", experiment_regex="r", tags={"k": "v"}, status=("FAILED",),
                user="u", run_name="n", workspace="w",
            ),
        ),
    ],
)  # fmt: skip
def test_each_selector_is_read(read, match, selector):
    found = read(f"version: 1\nrules: [{{name: a, match: {{{match}}}}}]\n")
    assert found.rules == (Rule("a", selector),)


def test_the_order_of_the_rules_is_that_of_the_file(read):
    names = [f"rule {n}" for n in (3, 1, 2)]
    rules = "".join(f"- {{name: {name}, match: {{user: u}}}}\n" for name in names)
    assert [rule.name for rule in read(f"version: 1\nrules:\n{rules}").rules] == names


def test_a_ttl_that_a_flag_sets_comes_before_that_of_the_defaults_only(tmp_path):
    """It does not touch the rules, nor the other defaults."""
    path = tmp_path / "p.yml"
    path.write_text(
        "version: 1\ndefaults: {ttl: 90d, failed_ttl: 9d}\n"
        "rules: [{name: a, match: {user: u}, ttl: 5d}, {name: b, match: {user: v}}]\n"
    )
    found = apply_policy(read_policy_file(path), POLICY, ttl_is_default=False)
    assert (found.default.ttl_ms, found.default.failed_ttl_ms) == (30 * DAY_MS, 9 * DAY_MS)
    assert found.default.empty_ms == 30 * DAY_MS
    assert [rule.ttl_ms for rule in found.rules] == [5 * DAY_MS, 30 * DAY_MS]


@pytest.mark.parametrize(
    ("defaults", "rule", "expected"),
    [
        # A run that never ended, an empty model and the experiment are no less dear than the runs.
        ("zombies: 31d, empty_models: 100d", "ttl: 2555d", {"abandoned_ms": 2555, "empty_model_ms": 2555}),
        ("zombies: 31d, empty_models: 100d", "ttl: 7d", {"abandoned_ms": 31, "empty_model_ms": 100}),
        ("zombies: 31d", "ttl: 2555d, zombies: 40d", {"abandoned_ms": 40}),
        ("zombies: off, empty_models: off", "ttl: 2555d", {"abandoned_ms": None, "empty_model_ms": None}),
        ("zombies: 31d", "failed_ttl: 1d", {"abandoned_ms": 31}),
        ("experiments: 180d", "ttl: 7d", {"experiments_ms": 180, "empty_ms": 180}),
        ("experiments: 180d", "ttl: 365d", {"experiments_ms": 365, "empty_ms": 365}),
        ("experiments: never", "ttl: 7d", {"experiments_ms": None, "empty_ms": None}),
        ("experiments: never, empty_experiments: 9d", "ttl: 7d", {"experiments_ms": None, "empty_ms": 9}),
        ("experiments: never", "ttl: 7d, experiments: 8d", {"experiments_ms": 8, "empty_ms": 8}),
    ],
)  # fmt: skip
def test_what_a_rule_inherits_is_never_shorter_than_its_own_ttl(read, defaults, rule, expected):
    text = (
        f"version: 1\ndefaults: {{{defaults}}}\nrules: [{{name: a, match: {{user: u}}, {rule}}}]\n"
    )
    (found,) = read(text).rules
    days = {name: None if n is None else n * DAY_MS for name, n in expected.items()}
    assert {name: getattr(found, name) for name in days} == days


def test_a_thousand_rules_are_read(read):
    text = "".join(
        f"- {{name: r{n}, match: {{experiment: e{n}-*}}, ttl: 7d}}\n" for n in range(1000)
    )
    assert len(read(f"version: 1\nrules:\n{text}").rules) == 1000


def test_the_ttl_and_what_flags_say_stay(read):
    """A policy file has no say in them."""
    policy = Policy(
        as_of_ms=AS_OF, default=Rule.of_days(3), evidence=Evidence(accept_partial_view=True)
    )
    found = read("version: 1\nmax_clock_skew: 1m\nmin_age: 1d\n", policy)
    assert (found.as_of_ms, found.ttl_days, found.keep_tag) == (AS_OF, 3, policy.keep_tag)
    assert found.evidence.accept_partial_view


def test_the_schema_has_no_key_that_does_nothing():
    """What the test above does not name would be accepted and ignored."""
    document = json.loads(schema.schema_text("policy"))
    assert set(document["properties"]) == {
        "version",
        "time_zone",
        "defaults",
        "rules",
        "owners",
        "grace",
        "min_age",
        "keep_last",
        "evaluation_runs",
        "free_experiment_names",
        "guards",
        "purge",
        "expire_after",
        "max_scan_duration",
        "max_clock_skew",
    }
    guards = document["properties"]["guards"]["properties"]
    assert set(guards) == {"max_deletions", "max_share"}
    assert set(guards["max_deletions"]["properties"]) == set(GUARDED)
    assert set(guards["max_share"]["properties"]) == set(SHARED)
    assert set(document["properties"]["keep_last"]["properties"]) == {"runs", "model_versions"}
    owners = {"may_shorten", "may_shorten_irreversible", "shortest_ttl"}
    assert set(document["properties"]["owners"]["properties"]) == owners
    settings_of_rules = {text.split(":")[0] for text in SETTINGS}
    assert set(document["properties"]["defaults"]["properties"]) == settings_of_rules
    rule = document["properties"]["rules"]["items"]["properties"]
    assert set(rule) == {"name", "match", *settings_of_rules}
    assert set(rule["match"]["properties"]) == set(Selector.__dataclass_fields__)
    keep = document["$defs"]["keep"]["properties"]
    assert set(keep) == {"last", "daily", "weekly", "monthly", "yearly", "within", "best"}
    assert set(document["$defs"]["best"]["properties"]) == set(Best.__dataclass_fields__)


def test_nothing_in_it_can_switch_deletion_on():
    """No key of the schema is about applying."""
    words = schema.schema_text("policy").lower()
    for word in ("apply", "auto", '"yes"', "enabled", "dry_run", "as_of", "keep_tag"):
        assert f'"{word}' not in words


def _example() -> str:
    page = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return str(blocks[0])


def test_the_example_of_the_documentation_is_valid_and_says_what_it_says(read):
    """Read out of the page; another YAML reader finds the same in it."""
    found = read(_example())
    assert found.min_age_ms == 3 * DAY_MS
    assert found.grace_ms == 14 * DAY_MS
    assert [rule.name for rule in found.rules] == [
        "production",
        "sandboxes",
        "nightly training",
        "candidates",
    ]
    assert (found.default.ttl_ms, found.default.failed_ttl_ms) == (90 * DAY_MS, 14 * DAY_MS)
    assert (found.keep_last_runs, found.keep_last_versions) == (5, 3)
    assert not found.delete_evaluations
    assert found.guards == Guards(
        {"total": 5000, "experiments": 20, "model_versions": 50},
        {"runs": 30, "experiment": 90, "registered_model": 50},
    )
    assert found.expire_after_ms == 7 * DAY_MS
    assert found.evidence == Evidence(max_scan_ms=2 * 3_600_000, max_clock_skew_ms=5 * 60_000)
    assert schema.problems(YAML(typ="safe").load(_example()), "policy") == []


def test_the_example_of_the_documentation_names_every_key():
    document = json.loads(schema.schema_text("policy"))
    assert set(yaml.safe_load(_example())) == set(document["properties"])


def test_a_policy_survives_the_way_through_the_plan(read):
    """The plan carries the resolved policy in full: ``prune PLAN`` needs no policy file."""
    policy = read(_example())
    plan = parse_json(render(plan_of(inventory(an_experiment()), policy)), "plan")
    assert policy.purge != PurgeSettings()
    found = Policy.from_document(plan["policy"], as_of=plan["as_of"])
    # What only a purge needs is in its plan.
    assert found == replace(policy, purge=PurgeSettings())
    settings = policy.purge.to_document()
    assert PurgeSettings.from_document(settings) == policy.purge


# -- the form ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfversion: 1\nmin_age: 14d\n",
        b"version: 1\r\nmin_age: 14d\r\n",
        b"version: 1\nmin_age: 14d",
        b"%YAML 1.2\n---\nversion: 1\nmin_age: 14d\n...\n",
        b'{"version": 1, "min_age": "14d"}',
        b"min_age: '14d'  # \xc3\xa4\nversion: 1\n",
        b"version: 1\nmin_age: &age 14d\nmax_scan_duration: 2h\n",
        b"version: 1\n<<: {min_age: 14d}\n",
        b"version: 1\n<<: {min_age: 1d}\nmin_age: 14d\n",
    ],
    ids=["bom", "crlf", "no line end", "directive", "JSON", "comment", "anchor", "merge", "both"],
)
def test_any_yaml_will_do(read, text):
    assert read(text).min_age_ms == 14 * DAY_MS


def test_an_alias_stands_for_its_value_everywhere(read):
    found = read(
        "version: 1\nguards:\n  max_deletions: &all {runs: 3}\nkeep_last: *all\nexpire_after: 1d\n"
    )
    assert (found.guards.max_deletions, found.keep_last_runs) == ({"runs": 3}, 3)


# Each with the line of the mistake.
MISTAKES = {
    "empty": ("", 1),
    "comment": ("# nothing\n", 1),
    "null": ("~\n", 1),
    "list": ("- version: 1\n", 1),
    "scalar": ("keep everything\n", 1),
    "number": ("1\n", 1),
    "no version": ("min_age: 1d\n", 1),
    "version 2": ("version: 2\n", 1),
    "version as text": ("version: '1'\n", 1),
    "version true": ("version: true\n", 1),
    "unknown key": ("version: 1\nminage: 1d\n", 2),
    "unknown key of another case": ("version: 1\nMin_Age: 1d\n", 2),
    "unknown guard": ("version: 1\nguards:\n  max_deletion: {}\n", 3),
    "unknown kind": ("version: 1\nguards:\n  max_deletions:\n    total: 1\n    run: 1\n", 5),
    "group without a limit": ("version: 1\nguards:\n  max_deletions: {experiment: 1}\n", 3),
    "unknown kind to keep": ("version: 1\nkeep_last:\n\n  experiments: 1\n", 4),
    "unknown key, merged": ("version: 1\n<<: {yes: 1}\n", 2),
    "number as a key": ("version: 1\n2: 1\n", 2),
    "null as a key": ("version: 1\n~: 1\n", 2),
    "list as a key": ("version: 1\n? [a]\n: 1\n", 2),
    "key twice": ("version: 1\nmin_age: 1d\nmin_age: 2d\n", 3),
    "key twice, the same": ("version: 1\nversion: 1\n", 2),
    "key twice below": ("version: 1\nguards:\n  max_deletions:\n    runs: 1\n    runs: 9\n", 5),
    "key twice in braces": ("version: 1\nguards: {max_share: {runs: 1%, runs: 90%}}\n", 2),
    "two merges": ("version: 1\n<<: {min_age: 1d}\n<<: {min_age: 2d}\n", 3),
    "section twice": ("version: 1\nguards: {}\nkeep_last: {}\nguards: {}\n", 4),
    "share without %": ("version: 1\nguards:\n  max_share:\n    runs: 30\n", 4),
    "share above 100": ("version: 1\nguards:\n  max_share:\n    runs: 101%\n", 4),
    "share below 0": ("version: 1\nguards:\n  max_share:\n    runs: -1%\n", 4),
    "share with a fraction": ("version: 1\nguards:\n  max_share:\n    runs: 0.5%\n", 4),
    "share as a fraction": ("version: 1\nguards:\n  max_share:\n    runs: 0.3\n", 4),
    "share with a space": ("version: 1\nguards:\n  max_share:\n    runs: 30 %\n", 4),
    "share with zeros": ("version: 1\nguards:\n  max_share:\n    runs: 007%\n", 4),
    "share with a line end": ('version: 1\nguards: {max_share: {runs: "30%\\n"}}\n', 2),
    "share true": ("version: 1\nguards: {max_share: {runs: true}}\n", 2),
    "count in percent": ("version: 1\nguards:\n  max_deletions:\n    runs: 30%\n", 4),
    "count below 0": ("version: 1\nguards:\n  max_deletions:\n    runs: -1\n", 4),
    "count true": ("version: 1\nguards:\n  max_deletions:\n    runs: yes\n", 4),
    "count bool": ("version: 1\nguards:\n  max_deletions:\n    runs: true\n", 4),
    "count with a fraction": ("version: 1\nguards:\n  max_deletions:\n    runs: 1.5\n", 4),
    "count infinite": ("version: 1\nguards:\n  max_deletions:\n    runs: .inf\n", 4),
    "count no number": ("version: 1\nguards:\n  max_deletions:\n    runs: .nan\n", 4),
    "count as text": ("version: 1\nguards:\n  max_deletions:\n    runs: '5'\n", 4),
    "count null": ("version: 1\nguards:\n  max_deletions:\n    runs:\n", 4),
    "count a list": ("version: 1\nguards:\n  max_deletions:\n    runs: [5]\n", 4),
    "count huge": ("version: 1\nguards:\n  max_deletions:\n    runs: 9007199254740993\n", 4),
    "count beyond 64 bits": ("version: 1\nkeep_last:\n  runs: 99999999999999999999\n", 3),
    "count of 5000 digits": (f"version: 1\nkeep_last:\n  runs: {'9' * 5000}\n", 3),
    "keep below 0": ("version: 1\nkeep_last:\n  runs: -1\n", 3),
    "keep true": ("version: 1\nkeep_last:\n  model_versions: true\n", 3),
    "keep a number": ("version: 1\nkeep_last: 5\n", 2),
    "keep null": ("version: 1\nkeep_last:\n", 2),
    "guards null": ("version: 1\nguards:\n", 2),
    "guards a list": ("version: 1\nguards:\n- max_share\n", 2),
    "age a number": ("version: 1\nmin_age: 14\n", 2),
    "age 0": ("version: 1\nmin_age: 0d\n", 2),
    "age below 0": ("version: 1\nmin_age: -1d\n", 2),
    "age with a fraction": ("version: 1\nmin_age: 1.5d\n", 2),
    "age in months": ("version: 1\nmin_age: 2M\n", 2),
    "age in words": ("version: 1\nmin_age: two weeks\n", 2),
    "age never": ("version: 1\nmin_age: never\n", 2),
    "age a date": ("version: 1\nmin_age: 2026-05-01\n", 2),
    "age null": ("version: 1\nmin_age:\n", 2),
    "age huge": ("version: 1\nmin_age: 999999999w\n", 2),
    "age of many digits": ("version: 1\nmin_age: 9999999999d\n", 2),
    "scan huge": ("version: 1\nmax_scan_duration: 999999999w\n", 2),
    "skew huge": ("version: 1\nmax_clock_skew: 999999999w\n", 2),
    "expiry a number": ("version: 1\nexpire_after: 7\n", 2),
    "expiry in capitals": ("version: 1\nexpire_after: NEVER\n", 2),
    "expiry beyond 9999": ("version: 1\nexpire_after: 999999999w\n", 2),
    "evaluation yes": ("version: 1\nevaluation_runs: yes\n", 2),
    "evaluation true": ("version: 1\nevaluation_runs: true\n", 2),
    "names a text": ("version: 1\nfree_experiment_names: 'yes'\n", 2),
    "tab": ("version: 1\nkeep_last:\n\truns: 5\n", 3),
    "two documents": ("version: 1\n---\nversion: 1\n", 2),
    "open brace": ("version: 1\nguards: {max_share: {runs: 1%}\n", 3),
    "open quote": ("version: 1\nmin_age: '14d\n", 3),
    "colon": ("version: 1\nmin_age: 14d: x\n", 2),
    "alias of nothing": ("version: 1\nmin_age: *age\n", 2),
    "anchor twice": ("version: &a 1\nkeep_last:\n  runs: &a 2\n", 3),
    "itself": ("version: 1\nguards: &g\n  max_share: *g\n", 2),
    "python object": ("version: 1\nmin_age: !!python/object/apply:os.abort []\n", 2),
    "python name": ("version: 1\nmin_age: !!python/name:os.abort ''\n", 2),
    "python object as a policy": ("!!python/object/apply:os.abort []\n", 1),
    "tag on a value": ("version: 1\nmin_age: !days 14d\n", 2),
    "tag on a mapping": (
        "version: 1\nguards: !!python/object/apply:os.abort {max_deletions: {runs: 1}}\n",
        2,
    ),
    "NUL": (b"version: 1\n\x00: 1\n", 2),
    "no UTF-8": (b"version: 1\n# \xff\n", 2),
    "control character": (b"version: 1\n\n# \x07\n", 3),
    "bad date": ("version: 1\nmin_age: 2026-99-99\n", 2),
    "zone that is none": ("version: 1\ntime_zone: Europe/Nowhere\n", 2),
    "zone in lower case": ("version: 1\ntime_zone: europe/nowhere\n", 2),
    "zone that is a folder": ("version: 1\n\ntime_zone: Europe\n", 3),
    "zone of the machine": ("version: 1\ntime_zone: localtime\n", 2),
    "zone without a meaning": ("version: 1\ntime_zone: Factory\n", 2),
    "zone of POSIX rules": ("version: 1\ntime_zone: posixrules\n", 2),
    "zone with leap seconds": ("version: 1\ntime_zone: right/Europe/Berlin\n", 2),
    "zone of a copy": ("version: 1\ntime_zone: posix/Europe/Berlin\n", 2),
    "zone that is a path": ("version: 1\ntime_zone: ../../etc/passwd\n", 2),
    "zone that is an absolute path": ("version: 1\ntime_zone: /etc/passwd\n", 2),
    "zone empty": ("version: 1\ntime_zone: ''\n", 2),
    "zone a number": ("version: 1\ntime_zone: 1\n", 2),
    "zone with NUL": ('version: 1\ntime_zone: "UTC\\0"\n', 2),
    "zone beyond Unicode": ('version: 1\ntime_zone: "\\ud800"\n', 2),
    "zone too long": (f"version: 1\ntime_zone: {'A' * 5000}\n", 2),
    "grace 0": ("version: 1\ngrace: 0d\n", 2),
    "grace never": ("version: 1\ngrace: never\n", 2),
    "grace false": ("version: 1\ngrace: false\n", 2),
    "grace a number": ("version: 1\ngrace: 14\n", 2),
    "grace beyond 9999": ("version: 1\ngrace: 999999999w\n", 2),
    "owners null": ("version: 1\nowners:\n", 2),
    "owners text": ("version: 1\nowners: {may_shorten: 'false'}\n", 2),
    "owners shortest never": ("version: 1\nowners: {shortest_ttl: never}\n", 2),
    "owners shortest too long": ("version: 1\nowners:\n  shortest_ttl: 999999999d\n", 3),
    "owners no": ("version: 1\nowners:\n  may_shorten: no\n", 3),
    "owners unknown": ("version: 1\nowners:\n  may_lengthen: true\n", 3),
    "defaults null": ("version: 1\ndefaults:\n", 2),
    "defaults a list": ("version: 1\ndefaults: []\n", 2),
    "defaults with a match": ("version: 1\ndefaults:\n  match: {user: u}\n", 3),
    "defaults with a name": ("version: 1\ndefaults:\n  name: n\n", 3),
    "default age 0": ("version: 1\ndefaults:\n  ttl: 0d\n", 3),
    "default age off": ("version: 1\ndefaults:\n  ttl: off\n", 3),
    "default age a number": ("version: 1\ndefaults:\n  ttl: 90\n", 3),
    "default age beyond the year 1": ("version: 1\ndefaults:\n  ttl: 999999999w\n", 3),
    "rules null": ("version: 1\nrules:\n", 2),
    "rules a mapping": ("version: 1\nrules: {name: a}\n", 2),
    "rule a text": ("version: 1\nrules:\n- a\n", 3),
    "rule null": ("version: 1\nrules:\n-\n", 3),
}
# In a rule that begins on line 3, ``name`` on it, ``match`` on line 4, and this from line 5.
IN_A_RULE = {
    "unknown key": "ttls: 1d",
    "experiment beside match": "experiment: e",
    "ttl 0": "ttl: 0d",
    "ttl 00": "ttl: 00d",
    "ttl a number": "ttl: 7",
    "ttl off": "ttl: off",
    "ttl null": "ttl:",
    "ttl with a line end": 'ttl: "7d\\n"',
    "ttl beyond the year 1": "ttl: 999999w",
    "failed_ttl 0": "failed_ttl: 0s",
    "failed_ttl off": "failed_ttl: off",
    "zombies 0": "zombies: 0h",
    "zombies never": "zombies: never",
    "zombies true": "zombies: true",
    "empty_experiments 0": "empty_experiments: 0d",
    "empty_experiments off": "empty_experiments: off",
    "empty_models 0": "empty_models: 0w",
    "empty_models never": "empty_models: never",
    "statuses text": "statuses: FAILED",
    "statuses none": "statuses: []",
    "statuses twice": "statuses: [FAILED, FAILED]",
    "statuses unfinished": "statuses: [RUNNING]",
    "statuses lower case": "statuses: [failed]",
    "keep null": "keep:",
    "keep empty": "keep: {}",
    "keep a number": "keep: 5",
    "keep unknown": "keep: {hourly: 5}",
    "keep last 0": "keep: {last: 0}",
    "keep last below 0": "keep: {last: -1}",
    "keep last text": "keep: {last: '5'}",
    "keep last ALL": "keep: {last: ALL}",
    "keep last true": "keep: {last: true}",
    "keep last a fraction": "keep: {last: 1.5}",
    "keep daily 0": "keep: {daily: 0}",
    "keep weekly 0": "keep: {weekly: 0}",
    "keep monthly 0": "keep: {monthly: 0}",
    "keep yearly 0": "keep: {yearly: 0}",
    "keep within 0": "keep: {within: 0d}",
    "keep within all": "keep: {within: all}",
    "keep within a number": "keep: {within: 90}",
    "best a text": "keep: {best: auc}",
    "best none": "keep: {best: []}",
    "best without metric": "keep: {best: {mode: max, count: 1}}",
    "best without mode": "keep: {best: {metric: auc, count: 1}}",
    "best without count": "keep: {best: {metric: auc, mode: max}}",
    "best count 0": "keep: {best: {metric: auc, mode: max, count: 0}}",
    "best count all": "keep: {best: {metric: auc, mode: max, count: all}}",
    "best mode": "keep: {best: {metric: auc, mode: highest, count: 1}}",
    "best metric empty": "keep: {best: {metric: '', mode: max, count: 1}}",
    "best metric a number": "keep: {best: {metric: 1, mode: max, count: 1}}",
    "best unknown": "keep: {best: {metric: auc, mode: max, count: 1, step: 1}}",
    "best in a list": "keep: {best: [{metric: a, mode: max, count: 1}, {metric: b}]}",
    "name twice": "name: b",
    "itself": "keep: &k {best: *k}",
    "alias of nothing": "keep: *k",
    "tag of YAML": "ttl: !days 7d",
    "merged nothing": "<<: 7d",
}  # fmt: skip
MATCHES = {
    "empty": "{}",
    "null": "",
    "a text": "prod/*",
    "a list": "[{user: u}]",
    "unknown": "{experiments: e}",
    "experiment empty": "{experiment: ''}",
    "experiment a number": "{experiment: 7}",
    "experiment a list": "{experiment: [a, b]}",
    "experiment null": "{experiment: }",
    "bad regex of experiments": "{experiment_regex: '('}",
    "bad regex of models": "{model_regex: '[a'}",
    "regex with a huge count": "{experiment_regex: 'a{99999999999999}'}",
    "regex too deep": f"{{model_regex: '{'(' * 4000}{')' * 4000}'}}",
    "model and experiment": "{model: m, experiment: e}",
    "model_regex and experiment_regex": "{model_regex: m, experiment_regex: e}",
    "model and status": "{model: m, status: FAILED}",
    "model and user": "{model: m, user: u}",
    "model_regex and run_name": "{model_regex: m, run_name: u}",
    "tags a number": "{tags: {team: 5}}",
    "tags true": "{tags: {team: true}}",
    "tags null": "{tags: {team: }}",
    "tags a list": "{tags: {team: [a]}}",
    "tags none": "{tags: {}}",
    "tags a text": "{tags: team}",
    "status unknown": "{status: DONE}",
    "status none": "{status: []}",
    "status lower case": "{status: [failed]}",
    "tag twice": "{tags: {a: b, a: c}}",
}  # fmt: skip
MISTAKES |= {
    f"rule, {name}": (f"version: 1\nrules:\n- name: a\n  match: {{user: u}}\n  {text}\n", 5)
    for name, text in IN_A_RULE.items()
}
MISTAKES |= {
    f"match, {name}": (f"version: 1\nrules: [\n  {{name: a,\n   match: {text}}}]\n", None)
    for name, text in MATCHES.items()
}
MISTAKES |= {
    "no name": ("version: 1\nrules:\n- {name: a, match: {user: u}}\n- match: {user: u}\n", 4),
    "no match": ("version: 1\nrules:\n- {name: a, match: {user: u}}\n- name: b\n", 4),
    "name empty": ("version: 1\nrules:\n- name: ''\n  match: {user: u}\n", 3),
    "name a number": ("version: 1\nrules:\n- match: {user: u}\n  name: 5\n", 4),
    "name too long": (f"version: 1\nrules:\n- match: {{user: u}}\n  name: {'x' * 101}\n", 4),
    "name default": ("version: 1\nrules:\n\n- name: default\n  match: {user: u}\n", 4),
    "two of one name": (
        "version: 1\nrules:\n- {name: a, match: {user: u}}\n- {name: a, match: {user: v}}\n",
        4,
    ),
    "unknown key, merged into a rule": (
        "version: 1\nrules:\n- {name: a, match: {user: u}}\n- <<: {x: 1}\n  name: b\n  match: {user: v}\n",
        4,
    ),
}


@pytest.mark.parametrize("text", [t for t, _ in MISTAKES.values()], ids=MISTAKES)
def test_a_mistake_is_refused(refused, text):
    """As a usage error that names the file; in one short sentence or a few."""
    output = refused(text)
    assert len(output) < 1000, output
    assert "Traceback" not in output


@pytest.mark.parametrize(("text", "line"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_line(refused, text, line):
    output = refused(text)
    # A match of many kinds is named with its own line or that of its rule.
    lines = f"(?:{line})" if line else "[34]"
    assert re.search(rf"p\.yml line {lines}\b", output), output


def test_of_many_mistakes_the_first_are_named_and_the_others_counted(tmp_path):
    """None is cut in the middle; ``found`` has them all, in the order of the file."""
    path = tmp_path / "p.yml"
    path.write_text("version: 1\n" + "".join(f"unknown_{n}: 1\n" for n in range(20)))
    with pytest.raises(Mistakes) as caught:
        read_policy_file(path)
    problem = caught.value
    assert [re.findall(r"line (\d+)", each) for each in problem.found] == [
        [str(n)] for n in range(2, 22)
    ]
    named = re.findall(r"'unknown_(\d+)' \(known here: [^)]*\)\.", problem.message)
    assert named == [str(n) for n in range(len(named))]
    assert named
    assert problem.message.endswith(f"\nAnd {20 - len(named)} more: mlflow-gc validate names all.")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("keep: {best: {metric: a, mode: high, count: 1}}", r"keep\.best\.mode: 'high'\. max or min"),
        ("keep: {best: {metric: a, mode: max, count: 0}}", r"keep\.best\.count: 0\. A whole number"),
        ("keep: {best: {metric: a, mode: max}}", r"keep\.best needs 'count'"),
        ("keep: {best: [{metric: a, mode: max, count: 1}, {metric: a}]}", r"keep\.best\.1 needs 'mode'"),
        ("keep: {best: {metric: a, mode: max, count: 1, step: 1}}", r"unknown key '\S*best\.step'"),
        ("keep: {best: auc}", r"keep\.best: 'auc'\. One or a list of metric, mode"),
        ("keep: {best: []}", r"keep\.best: an empty list\. "),
        ("keep: {last: 0}", r"keep\.last: 0\. A whole number, at least 1, or all"),
        ("keep: {last: '5'}", r"keep\.last: '5'\. A whole number, at least 1, or all"),
        ("keep: {}", r"keep: an empty mapping\. "),
        ("statuses: [FAILED, FAILED]", r"statuses: a list with one thing twice\. "),
        ("statuses: [RUNNING]", r"statuses\.0: 'RUNNING'\. .*zombies"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_its_line_and_a_message(refused, text, words):
    """Not that something is wrong with all that is around it."""
    assert re.search(rf"line 2: \S*{words}", refused(f"version: 1\ndefaults: {{{text}}}\n"))


@pytest.mark.skipif(find_spec("tzdata") is not None, reason="Python's own zones are always there")
def test_a_machine_without_time_zones_is_told_so(read, refused):
    """Their names are right all the same; UTC is always there."""
    zoneinfo.ZoneInfo.clear_cache()
    zoneinfo.reset_tzpath(to=())
    try:
        assert "install tzdata" in refused("version: 1\ntime_zone: Europe/Berlin\n")
        assert read("version: 1\ntime_zone: UTC\n") == POLICY
    finally:
        zoneinfo.reset_tzpath()


def test_what_is_nested_too_deeply_is_refused(refused):
    """In words of people, not of Python."""
    output = refused(f"version: 1\ndefaults: {'[' * 3000}{']' * 3000}\n")
    assert "nested too deeply" in output
    assert "recursion" not in output


def test_a_regular_expression_gives_no_warning_of_python(read):
    """What Python thinks of a set in a set is not for whoever reads stderr."""
    found = read("version: 1\nrules: [{name: a, match: {experiment_regex: 'x[[a]'}}]\n")
    assert found.rules[0].match.experiment_regex == "x[[a]"


@pytest.mark.parametrize(
    "rule",
    [
        '{name: "a\\ud800", match: {user: u}}',
        '{name: a, match: {user: "\\ud800"}}',
        '{name: a, match: {tags: {"\\udfff": x}}}',
        '{name: a, match: {user: u}, keep: {best: {metric: "\\ud800", mode: max, count: 1}}}',
    ],
)
def test_half_a_character_is_refused_before_a_plan_has_to_hold_it(read, rule):
    """No UTF-8 can write it: what validate praises must not end a report."""
    with contextlib.suppress(UsageProblem):
        render(plan_of(inventory(an_experiment()), read(f"version: 1\nrules: [{rule}]\n")))


@pytest.mark.parametrize("name", ["\\e[31mred", "a\\nError: b", "\\u202egnp.exe", "\\0"])
def test_strange_names_of_rules_do_not_reach_the_terminal_as_they_are(refused, name):
    rule = f'- {{name: "{name}", match: {{user: u}}}}\n'
    output = refused(f"version: 1\nrules:\n{rule}{rule}")
    assert output.isprintable(), output


def test_an_anchor_and_a_merge_can_share_what_rules_have_in_common(read):
    """An alias stands for its value, also in a rule; what a rule says itself comes first."""
    found = read(
        "version: 1\nrules:\n"
        "- &base {name: a, match: &m {user: u}, ttl: 7d, keep: &k {last: 3}}\n"
        "- {<<: *base, name: b, ttl: 8d}\n"
        "- {name: c, match: {<<: *m, status: FAILED}, keep: *k}\n"
    )
    assert [rule.name for rule in found.rules] == ["a", "b", "c"]
    assert [rule.ttl_ms for rule in found.rules] == [n * DAY_MS for n in (7, 8, 30)]
    assert {rule.keep.last for rule in found.rules} == {3}
    assert found.rules[2].match == Selector(user="u", status=("FAILED",))


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nkeep_last: {runs: 0x10}\n",
        "version: 1\nkeep_last: {runs: 0o20}\n",
        "%YAML 1.1\n---\nversion: 1\nkeep_last: {runs: 020}\n",
        "%YAML 1.1\n---\nversion: 1\nkeep_last: {runs: 1:30}\n",
    ],
    ids=["hexadecimal", "octal", "octal of YAML 1.1", "sixties of YAML 1.1"],
)
def test_a_number_that_readers_take_differently_is_what_yaml_says_or_refused(read, text):
    """Never something third."""
    try:
        found = read(text)
    except UsageProblem:
        return
    meant = yaml.safe_load(text)["keep_last"]["runs"]
    assert found.keep_last_runs in ({16} if isinstance(meant, str) else {meant})


def test_all_mistakes_are_listed_in_the_order_of_the_file(refused):
    output = refused("version: 2\nx: 1\nmin_age: 1\nguards: {max_share: {runs: 1}}\n")
    assert [int(n) for n in re.findall(r"line (\d+):", output)] == [1, 2, 3, 4]


def test_of_many_mistakes_the_first_are_listed(refused):
    output = refused("version: 1\n" + "".join(f"key{n}: 1\n" for n in range(500)))
    assert "key0" in output
    assert "key499" not in output


def test_an_unknown_key_is_named_with_the_known_ones(refused):
    output = refused("version: 1\nguards: {max_share: {run: 1%}}\n")
    assert "guards.max_share.run" in output
    assert all(key in output for key in SHARED)


def test_a_share_without_percent_is_told_how_it_is_written(refused):
    output = refused("version: 1\nguards: {max_share: {runs: 30}}\n")
    assert "guards.max_share.runs" in output
    assert "20%" in output


def test_a_long_value_is_cut(refused):
    assert len(refused(f"version: 1\nmin_age: {'x' * 100_000}\n")) < 500


def test_a_long_key_is_cut(refused):
    assert len(refused(f"version: 1\n{'x' * 900}: 1\n")) < 1500


@pytest.mark.parametrize("text", ['"\\e[31mred"', '"a\\nError: b"', '"\\u202egnp.exe"'])
def test_strange_text_does_not_reach_the_terminal_as_it_is(refused, text):
    """Neither as a key nor as a value."""
    for line in (f"{text}: 1", f"min_age: {text}"):
        output = refused(f"version: 1\n{line}\n")
        assert output.isprintable(), output


def test_a_large_file_is_refused(refused):
    """Two megabytes, of a comment or of keys."""
    assert "100,000 bytes" in refused("version: 1\n#" + "x" * 2_000_000)
    assert "100,000 bytes" in refused("version: 1\n" + "k: 1\n" * 400_000)


@pytest.mark.parametrize("key", ["[x]", "[[x]]", "{a: [x]}", "[{a: [x]}]", "!!set {x}", "&a [*a]"])
def test_a_key_that_is_no_text_is_refused(refused, key):
    """YAML allows lists and mappings, which no mapping of Python can hold."""
    refused(f"version: 1\n? {key}\n: 1\n")
    refused(f"version: 1\nguards:\n  ? {key}\n  : 1\n")
    refused(f"version: 1\nmin_age: &k {key}\n? *k\n: 1\n")


@pytest.mark.parametrize("depth", [20, 100, 240, 300])
@pytest.mark.parametrize(("left", "right"), [("{a: ", "}"), ("[", "]")])
@pytest.mark.parametrize("key", ["guards", "rules"])
def test_deep_nesting_is_refused(refused, key, left, right, depth):
    refused(f"version: 1\n{key}: {left * depth}{right * depth}\n")


def test_very_deep_nesting_is_refused(refused):
    refused("version: 1\nguards: " + "{a: " * 2000)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_policy_or_refused(folder, content):
    path = folder / "p.yml"
    path.write_bytes(content)
    with contextlib.suppress(UsageProblem):
        read_policy_file(path)


_yaml_words = st.sampled_from(
    ["version: 1\n", "min_age: ", "14d", "\n", "  ", "guards:", "keep_last:", "{", "}", "[", "]",
     "*a", "&a ", "<<: ", "? ", ": ", "!!str ", "!x ", "- ", "runs: 5", ",", "~", "'", '"', "|", "#",
     "---\n", "max_share: ", "30%", "true", "1"]
)  # fmt: skip


@given(st.lists(_yaml_words, max_size=14).map("".join))
def test_any_yaml_is_a_policy_or_refused(folder, text):
    """Anchors, merges, tags and complex keys in any place: never a crash."""
    path = folder / "p.yml"
    path.write_text("version: 1\n" + text)
    with contextlib.suppress(UsageProblem):
        found = read_policy_file(path)
        assert schema.problems(yaml.safe_load(path.read_text()), "policy") == [], found


_durations = st.from_regex(r"[1-9][0-9]{0,2}[smhdw]", fullmatch=True)
_counts = st.one_of(st.just("all"), st.integers(1, 10**12))
_words = st.one_of(
    st.sampled_from(["*", "prod/*", "a?", "[!a]*", "never", "1", "true", "", "Größe"]),
    # An exclamation mark in front is refused: it would be taken for a "not".
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda t: t[:1] != "!"),
)
_texts = _words.filter(bool)
_regexes = st.sampled_from(["^a", "b$", "^(x|y)/", "[a-z]+", ".", "(?i)Prod"])
_tag_globs = st.dictionaries(_texts, _words, min_size=1, max_size=2)
_any_status = st.sampled_from(["FINISHED", "FAILED", "KILLED", "RUNNING", "SCHEDULED"])
_best = st.fixed_dictionaries(
    {"metric": _texts, "mode": st.sampled_from(["max", "min"]), "count": st.integers(1, 10**12)}
)
_keep = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("last", "daily", "weekly", "monthly", "yearly"), _counts),
        "within": _durations,
        "best": st.one_of(_best, st.lists(_best, min_size=1, max_size=2)),
    },
).filter(bool)
_rule_settings = {
    "ttl": st.one_of(st.just("never"), _durations),
    "failed_ttl": st.one_of(st.just("never"), _durations),
    "statuses": st.lists(
        st.sampled_from(["FINISHED", "FAILED", "KILLED"]), min_size=1, unique=True
    ),
    "zombies": st.one_of(st.just("off"), _durations),
    "empty_experiments": st.one_of(st.just("never"), _durations),
    "empty_models": st.one_of(st.just("off"), _durations),
    "keep": _keep,
}
_anything = {"tags": _tag_globs, "workspace": _texts}
_matches = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "experiment": _texts,
            "experiment_regex": _regexes,
            "status": st.one_of(_any_status, st.lists(_any_status, min_size=1, max_size=5)),
            "user": _texts,
            "run_name": _texts,
            **_anything,
        },
    ),
    st.fixed_dictionaries({}, optional={"model": _texts, "model_regex": _regexes, **_anything}),
).filter(bool)
_rules = st.lists(
    st.fixed_dictionaries(
        {"name": _texts.filter(lambda name: name != "default"), "match": _matches},
        optional=_rule_settings,
    ),
    max_size=3,
    unique_by=lambda rule: rule["name"],
)
_policies = st.fixed_dictionaries(
    {"version": st.just(1)},
    optional={
        "time_zone": st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "Etc/GMT+12"]),
        "defaults": st.fixed_dictionaries({}, optional=_rule_settings),
        "rules": _rules,
        "owners": st.fixed_dictionaries({}, optional={"may_shorten": st.booleans()}),
        "grace": st.one_of(st.just("off"), _durations),
        "min_age": _durations,
        "keep_last": st.dictionaries(
            st.sampled_from(["runs", "model_versions"]), st.integers(0, 10**6)
        ),
        "evaluation_runs": st.sampled_from(["keep", "delete"]),
        "free_experiment_names": st.booleans(),
        "guards": st.fixed_dictionaries(
            {},
            optional={
                "max_deletions": st.dictionaries(st.sampled_from(GUARDED), st.integers(0, 10**9)),
                "max_share": st.dictionaries(
                    st.sampled_from(SHARED), st.integers(0, 100).map("{}%".format)
                ),
            },
        ),
        "expire_after": st.one_of(st.just("never"), _durations),
        "max_scan_duration": _durations,
        "max_clock_skew": _durations,
    },
)


@given(_policies)
def test_every_valid_policy_survives_the_way_through_the_plan(folder, document):
    """Whatever the schema allows can be written into a plan and read back the same."""
    path = folder / "p.yml"
    path.write_text(yaml.safe_dump(document))
    policy = apply_policy(read_policy_file(path), POLICY)
    plan = plan_of(inventory(an_experiment()), policy)
    assert schema.problems(plan, "plan") == []
    again = parse_json(render(plan), "plan")
    assert Policy.from_document(again["policy"], as_of=again["as_of"]) == policy


def _allowed(node: dict[str, object], root: dict[str, object]) -> st.SearchStrategy[object]:
    """Documents of a schema's grammar, and now and then what it does not allow."""
    strange = st.sampled_from([None, True, 0, -1, "", "0d", "never", [], {}, "x", 10**20, "\\d"])
    return st.integers(0, 60).flatmap(lambda n: strange if n == 0 else _grammar(node, root))


def _grammar(node: dict[str, object], root: dict[str, object]) -> st.SearchStrategy[object]:
    ref = node.get("$ref")
    if isinstance(ref, str):
        return _grammar(root["$defs"][ref.rsplit("/", 1)[1]], root)  # type: ignore[index]
    if "const" in node:
        return st.just(node["const"])
    if "enum" in node:
        return st.sampled_from(node["enum"])  # type: ignore[arg-type]
    if "oneOf" in node:
        return st.one_of([_allowed(each, root) for each in node["oneOf"]])  # type: ignore[attr-defined]
    if node["type"] == "object":
        known = node.get("properties", {})
        needed = node.get("required", [])
        free = node["additionalProperties"]
        if isinstance(free, dict):
            return st.dictionaries(st.text(max_size=5), _allowed(free, root), max_size=3)
        members = {key: _allowed(value, root) for key, value in known.items()}  # type: ignore[attr-defined]
        return st.fixed_dictionaries(
            {key: members[key] for key in members if key in needed},  # type: ignore[operator]
            optional={key: members[key] for key in members if key not in needed},  # type: ignore[operator]
        )
    if node["type"] == "array":
        return st.lists(_allowed(node["items"], root), max_size=3)  # type: ignore[arg-type]
    if node["type"] == "integer":
        return st.integers(0, 10**9)
    if node["type"] == "boolean":
        return st.booleans()
    if "pattern" in node:
        return st.from_regex(str(node["pattern"]))
    return st.one_of(st.text(max_size=8), st.sampled_from(["(", "[a", "a{9}", "*", "UTC"]))


_SCHEMA = json.loads(schema.schema_text("policy"))


@given(_grammar(_SCHEMA, _SCHEMA))
def test_what_the_schema_allows_is_read_or_refused_with_a_message(folder, document):
    """Never a traceback, and what is read can be planned with."""
    path = folder / "p.yml"
    path.write_text(json.dumps(document))
    try:
        policy = apply_policy(read_policy_file(path), POLICY)
    except UsageProblem as problem:
        output, policy = problem.message, POLICY
    else:
        output = ""
    assert output == "" or (output.replace("\n", "").isprintable() and "p.yml line" in output)
    assert schema.problems(plan_of(inventory(an_experiment()), policy), "plan") == []


# -- the file ------------------------------------------------------------------------------------


def test_an_ae5_secret_file_names_the_policy_like_any_setting(tmp_path, monkeypatch):
    """After flag and variable, before the working directory; a line end is no part of the name."""
    monkeypatch.chdir(tmp_path)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name, runs in (("flag", 1), ("variable", 2), ("secret", 3), ("mlflow-gc", 4)):
        (tmp_path / f"{name}.yml").write_text(f"version: 1\nkeep_last: {{runs: {runs}}}\n")
    monkeypatch.setattr(settings, "SECRETS_DIRECTORY", secrets)
    secret = secrets / "MLFLOW_GC_POLICY"
    secret.write_text(f"{tmp_path / 'secret.yml'}\n")

    def runs_retained(flag: Path | None, variable: str) -> int:
        monkeypatch.setenv("MLFLOW_GC_POLICY", variable)
        return policies.resolve_policy(
            ttl="30",
            as_of=None,
            policy_file=flag,
            accept_partial_view=False,
            verbose=False,
            reporter=Reporter(),
        ).keep_last_runs

    assert runs_retained(tmp_path / "flag.yml", str(tmp_path / "variable.yml")) == 1
    assert runs_retained(None, str(tmp_path / "variable.yml")) == 2
    assert runs_retained(None, " ") == 3
    secret.write_text(" \n")
    assert runs_retained(None, "") == 4
    secret.unlink()
    (tmp_path / "mlflow-gc.yml").unlink()
    assert runs_retained(None, "") == 0


def _unread(path: Path) -> GcError:
    with pytest.raises(GcError) as caught:
        read_policy_file(path)
    assert str(path) in caught.value.message
    return caught.value


def test_a_missing_file_is_an_error(tmp_path):
    missing = _unread(tmp_path / "none.yml")
    assert missing.exit_code == ExitCode.ERROR
    assert "mlflow-gc policy init" in str(missing.hint)
    assert _unread(tmp_path / "none" / "p.yml").exit_code == ExitCode.ERROR


def test_a_directory_is_an_error(tmp_path):
    assert _unread(tmp_path).exit_code == ExitCode.ERROR


def test_a_file_below_a_file_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    assert _unread(tmp_path / "file" / "p.yml").exit_code == ExitCode.ERROR


def test_a_link_in_a_circle_is_an_error(tmp_path):
    (tmp_path / "a.yml").symlink_to("b.yml")
    (tmp_path / "b.yml").symlink_to("a.yml")
    assert _unread(tmp_path / "a.yml").exit_code == ExitCode.ERROR


def test_a_file_that_may_not_be_read_is_an_error(tmp_path):
    path = tmp_path / "p.yml"
    path.write_text("version: 1\n")
    path.chmod(0)
    try:
        path.read_bytes()
    except PermissionError:
        assert _unread(path).exit_code == ExitCode.ERROR
    else:
        pytest.skip("this user may read everything")


def test_mistakes_name_their_rule_and_the_key_that_was_meant_a_line_each(refused):
    problem = refused(
        "version: 1\n"
        "rules:\n"
        "- {name: sandboxes, match: {experimant: 'a*'}}\n"
        "- {name: nightly, match: {user: a}, tll: 3d}\n"
        "- {match: {user: a}}\n"
        "- {name: scratch, ttl: 3d}\n"
    )
    first, second, third, fourth = problem.split("\n")
    assert "line 3: rule 'sandboxes': unknown key 'match.experimant' (did you mean 'exper" in first
    assert "line 4: rule 'nightly': unknown key 'tll' (did you mean 'ttl'?" in second
    assert "line 5: rules.2 needs 'name'" in third
    assert "line 6: rule 'scratch': needs 'match'" in fourth


@pytest.mark.parametrize(
    "match",
    [
        *("experiment: '!prod/*'", "model: '!*-prod'", "user: '!ada'", "run_name: '!a'"),
        *("workspace: '!a'", "tags: {team: '!fraud'}"),
    ],
)
def test_a_glob_has_no_not(refused, match):
    """It would be taken literally, and a rule that protects would protect nothing."""
    problem = refused(f"version: 1\nrules:\n- name: a\n  match: {{{match}}}\n  ttl: never\n")
    assert "rule 'a'" in problem
    assert "a glob has no ! for not" in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: " + "[" * 90_000, "nested too deeply"),
        ("a: " + "{b: " * 20_000, "nested too deeply"),
        ("a: [" + "a," * 45_000 + "]", "too large"),
        ("- a\n" * 20_000, "too large"),
        ("a: &a [" + "*a," * 20_000 + "]", "too large"),
    ],
)
def test_parsing_stops_where_a_file_becomes_too_large(refused, text, words):
    """Not at its end: the parser takes seconds for what nobody wrote by hand."""
    parsed = []
    with mock.patch.object(yaml_loader, "_Reader", parsed.append):
        assert words in refused(text)
    assert not parsed


@pytest.mark.parametrize(
    "name",
    [
        *("mlflow_gc.yml", "mlflowgc.yaml", ".mlflow-gc.yml", "MLflow-GC.yml", "mlflow-gc.yml.txt"),
        *(
            "mlflow-gc.json",
            "mlfow-gc.yml",
            "mlflow-gc.yal",
            "mlflow-gc-policy.yml",
            "mlflow.gc.yml",
        ),
        *("mlflow-gc", "mlflow_gc", "mlflow-gc.toml", "mlflow-gc.conf"),
    ],
)
def test_a_near_miss_of_the_name_is_found(tmp_path, name):
    (tmp_path / name).write_text("version: 1\n")
    assert near_misses(tmp_path) == [name]


def test_other_files_are_no_near_misses(tmp_path):
    names = ["mlflow-gc.yml", "mlflow-gc.yaml", "mlflow-gc.tests.yml", "mlflow.yml", "config.yml"]
    names += ["mlflow_gc.py", "mlflow-gc.log", "prune-plan.json", "retention-policy.v1.schema.json"]
    for name in [*names, "mlflow-gc-data.csv", "x" * 200]:
        (tmp_path / name).touch()
    (tmp_path / "mlflow_gc.yml").mkdir()
    assert near_misses(tmp_path) == []
    assert near_misses(tmp_path / "none") == []
