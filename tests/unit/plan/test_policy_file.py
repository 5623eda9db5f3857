"""The policy file: every key does what it says, and every mistake is refused with its line."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from unit.worlds import AS_OF, POLICY, an_experiment, inventory, plan_of

from mlflow_gc import settings
from mlflow_gc.cli import planning
from mlflow_gc.clock import DAY_MS
from mlflow_gc.errors import ExitCode, GcError, UsageProblem
from mlflow_gc.plan import schema
from mlflow_gc.plan.file import parse_json, render
from mlflow_gc.plan.policy_file import apply_policy, read_policy_file
from mlflow_gc.retention.guards import KINDS
from mlflow_gc.retention.policy import Evidence, Guards, Policy
from mlflow_gc.retention.rules import Rule

ROOT = Path(__file__).parents[3]
GUARDED = ("total", *KINDS)
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

    def said(text: str | bytes) -> str:
        with pytest.raises(UsageProblem) as caught:
            read(text)
        assert caught.value.exit_code == ExitCode.USAGE
        assert "p.yml" in caught.value.message
        return caught.value.message

    return said


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
        ("expire_after: 1h", {"expire_after_ms": 3_600_000}),
        ("expire_after: never", {"expire_after_ms": None}),
        ("max_scan_duration: 30m", {"evidence": Evidence(max_scan_ms=30 * 60_000)}),
        ("max_clock_skew: 10s", {"evidence": Evidence(max_clock_skew_ms=10_000)}),
        (
            "max_scan_duration: 1h\nmax_clock_skew: 1m",
            {"evidence": Evidence(max_scan_ms=3_600_000, max_clock_skew_ms=60_000)},
        ),
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
        "guards",
        "expire_after",
        "max_scan_duration",
        "max_clock_skew",
    }
    guards = document["properties"]["guards"]["properties"]
    assert set(guards) == {"max_deletions", "max_share"}
    assert set(guards["max_deletions"]["properties"]) == set(GUARDED)
    assert set(guards["max_share"]["properties"]) == set(SHARED)
    assert set(document["properties"]["keep_last"]["properties"]) == {"runs", "model_versions"}


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
    assert Policy.from_document(plan["policy"], as_of=plan["as_of"]) == policy


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
    "tab": ("version: 1\nkeep_last:\n\truns: 5\n", 3),
    "two documents": ("version: 1\n---\nversion: 1\n", 2),
    "open brace": ("version: 1\nguards: {max_share: {runs: 1%}\n", 3),
    "open quote": ("version: 1\nmin_age: '14d\n", 3),
    "colon": ("version: 1\nmin_age: 14d: x\n", 2),
    "alias of nothing": ("version: 1\nmin_age: *age\n", 2),
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
}


@pytest.mark.parametrize("text", [t for t, _ in MISTAKES.values()], ids=MISTAKES)
def test_a_mistake_is_refused(refused, text):
    """As a usage error that names the file; in one short sentence or a few."""
    said = refused(text)
    assert len(said) < 1000, said
    assert "Traceback" not in said


@pytest.mark.parametrize(("text", "line"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_line(refused, text, line):
    said = refused(text)
    assert re.search(rf"p\.yml line {line}\b", said), said


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
    said = refused("version: 2\nx: 1\nmin_age: 1\nguards: {max_share: {runs: 1}}\n")
    assert [int(n) for n in re.findall(r"line (\d+):", said)] == [1, 2, 3, 4]


def test_of_many_mistakes_the_first_are_listed(refused):
    said = refused("version: 1\n" + "".join(f"key{n}: 1\n" for n in range(500)))
    assert "key0" in said
    assert "key499" not in said


def test_an_unknown_key_is_named_with_the_known_ones(refused):
    said = refused("version: 1\nguards: {max_share: {run: 1%}}\n")
    assert "guards.max_share.run" in said
    assert all(key in said for key in SHARED)


def test_a_share_without_percent_is_told_how_it_is_written(refused):
    said = refused("version: 1\nguards: {max_share: {runs: 30}}\n")
    assert "guards.max_share.runs" in said
    assert "20%" in said


def test_a_long_value_is_cut(refused):
    assert len(refused(f"version: 1\nmin_age: {'x' * 100_000}\n")) < 500


def test_a_long_key_is_cut(refused):
    assert len(refused(f"version: 1\n{'x' * 900}: 1\n")) < 1500


@pytest.mark.parametrize("text", ['"\\e[31mred"', '"a\\nError: b"', '"\\u202egnp.exe"'])
def test_strange_text_does_not_reach_the_terminal_as_it_is(refused, text):
    """Neither as a key nor as a value."""
    for line in (f"{text}: 1", f"min_age: {text}"):
        said = refused(f"version: 1\n{line}\n")
        assert said.isprintable(), said


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


def test_deep_nesting_is_refused(refused):
    refused("version: 1\nguards: " + "{a: " * 2000)


_BOUNDED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1_000_000_000,) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (20,) * 2)
from pathlib import Path
from mlflow_gc.errors import UsageProblem
from mlflow_gc.plan.policy_file import read_policy_file
try:
    read_policy_file(Path(sys.argv[1]))
except UsageProblem as problem:
    print(problem.message)
"""


@pytest.mark.parametrize(
    "place",
    [
        "bomb: {}",
        "min_age: {}",
        "expire_after: {}",
        "keep_last: {}",
        "keep_last: {{runs: {}}}",
        "guards: {{max_share: {}}}",
        "guards: {{max_share: {{runs: {}}}}}",
        "evaluation_runs: {}",
        "? {}\n: 1",
    ],
)
def test_a_billion_laughs_do_not_fill_the_memory(tmp_path, place):
    """Ten lists of ten names for the list before: refused without ever being written out."""
    laughs = "l0: &l0 [ha,ha,ha,ha,ha,ha,ha,ha,ha,ha]\n" + "".join(
        f"l{n}: &l{n} [{','.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 11)
    )
    path = tmp_path / "p.yml"
    path.write_text(f"version: 1\n{laughs}{place.format('*l10')}\n")
    ended = subprocess.run(
        [sys.executable, "-c", _BOUNDED, path],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "p.yml" in ended.stdout
    assert len(ended.stdout) < 2000


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


@given(
    st.fixed_dictionaries(
        {"version": st.just(1)},
        optional={
            "min_age": st.from_regex(r"[1-9][0-9]{0,2}[smhdw]", fullmatch=True),
            "keep_last": st.dictionaries(
                st.sampled_from(["runs", "model_versions"]), st.integers(0, 10**6)
            ),
            "evaluation_runs": st.sampled_from(["keep", "delete"]),
            "guards": st.fixed_dictionaries(
                {},
                optional={
                    "max_deletions": st.dictionaries(
                        st.sampled_from(GUARDED), st.integers(0, 10**9)
                    ),
                    "max_share": st.dictionaries(
                        st.sampled_from(SHARED), st.integers(0, 100).map("{}%".format)
                    ),
                },
            ),
            "expire_after": st.one_of(
                st.just("never"), st.from_regex(r"[1-9][0-9]{0,2}[smhdw]", fullmatch=True)
            ),
            "max_scan_duration": st.from_regex(r"[1-9][0-9]{0,2}[smhdw]", fullmatch=True),
            "max_clock_skew": st.from_regex(r"[1-9][0-9]{0,2}[smhdw]", fullmatch=True),
        },
    )
)
def test_every_valid_policy_survives_the_way_through_the_plan(folder, document):
    """Whatever the schema allows can be written into a plan and read back the same."""
    path = folder / "p.yml"
    path.write_text(yaml.safe_dump(document))
    policy = apply_policy(read_policy_file(path), POLICY)
    plan = plan_of(inventory(an_experiment()), policy)
    assert schema.problems(plan, "plan") == []
    again = parse_json(render(plan), "plan")
    assert Policy.from_document(again["policy"], as_of=again["as_of"]) == policy


# -- the file ------------------------------------------------------------------------------------


def test_an_ae5_secret_file_names_the_policy_like_any_setting(tmp_path, monkeypatch):
    """After flag and variable, before the working directory; a line end is no part of the name."""
    monkeypatch.chdir(tmp_path)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name, runs in (("flag", 1), ("variable", 2), ("secret", 3), ("mlflow-gc", 4)):
        (tmp_path / f"{name}.yml").write_text(f"version: 1\nkeep_last: {{runs: {runs}}}\n")
    secret = secrets / "MLFLOW_GC_POLICY"
    secret.write_text(f"{tmp_path / 'secret.yml'}\n")

    def runs_kept(flag: Path | None, variable: str) -> int:
        monkeypatch.setattr(
            planning,
            "resolve",
            partial(
                settings.resolve,
                environ={"MLFLOW_GC_POLICY": variable},
                secrets_directory=secrets,
            ),
        )
        return planning.resolve_policy(
            ttl="30", as_of=None, policy_file=flag, accept_partial_view=False, verbose=False
        ).keep_last_runs

    assert runs_kept(tmp_path / "flag.yml", str(tmp_path / "variable.yml")) == 1
    assert runs_kept(None, str(tmp_path / "variable.yml")) == 2
    assert runs_kept(None, " ") == 3
    secret.write_text(" \n")
    assert runs_kept(None, "") == 4
    secret.unlink()
    (tmp_path / "mlflow-gc.yml").unlink()
    assert runs_kept(None, "") == 0


def _unread(path: Path) -> GcError:
    with pytest.raises(GcError) as caught:
        read_policy_file(path)
    assert str(path) in caught.value.message
    return caught.value


def test_a_missing_file_is_an_error(tmp_path):
    assert _unread(tmp_path / "none.yml").exit_code == ExitCode.ERROR
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


def test_a_device_that_never_ends_is_refused():
    """Reading it would end with the memory."""
    code = _BOUNDED.replace("UsageProblem", "GcError")
    ended = subprocess.run(
        [sys.executable, "-c", code, "/dev/zero"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stderr[-500:]
    assert "/dev/zero" in ended.stdout
