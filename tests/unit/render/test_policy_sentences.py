"""A policy in English: every line is true, every rule is named, no name is believed."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from support import ROOT
from unit.worlds import POLICY

from mlflow_gc.plan import schema
from mlflow_gc.policy.loader import apply_policy, starter
from mlflow_gc.render.common.escape import plain
from mlflow_gc.render.common.policy_sentences import ages, explain, limits, subject

# What a line may say, and which kinds it means by that.
MEANS = {
    "FINISHED": ["FINISHED runs"],
    "FAILED": ["FAILED runs"],
    "KILLED": ["KILLED runs"],
    "RUNNING": ["RUNNING runs"],
    "SCHEDULED": ["SCHEDULED runs"],
    "experiments with runs (once all of these are deleted)": ["experiments with runs"],
    "experiments without runs": ["experiments without runs"],
    "experiments (once all their runs are deleted)": [
        "experiments with runs",
        "experiments without runs",
    ],
    "model versions": ["model versions"],
    "registered models without versions": ["registered models without versions"],
}
KINDS = list(dict.fromkeys(kind for kinds in MEANS.values() for kind in kinds))


def _lines(document: dict[str, Any]) -> list[str]:
    document = {"version": 1, **document}
    assert schema.problems(document, "policy") == []
    return list(explain(apply_policy(document, POLICY).to_document()))


def _of_rule(**rule: Any) -> list[str]:
    """What is said below the head of a policy's only rule."""
    lines = _lines({"rules": [{"name": "the rule", "match": {"tags": {"a": "*"}}, **rule}]})
    start = next(n for n, line in enumerate(lines) if "1. the rule" in line)
    return [line.strip() for line in lines[start : lines.index("", start)]]


def _ages(lines: list[str]) -> dict[str, str]:
    """The age that is told of each kind."""
    found = {}
    for line in lines:
        age, _, output = line.partition(": ")
        if re.fullmatch(r"never|[\d,]+ (second|minute|hour|day|week)s?", age):
            for words in re.split(r", | and ", re.sub(r" runs(?=,|$)", "", output)):
                for kind in MEANS[words if words in MEANS else f"{words} runs"]:
                    assert kind not in found, f"{kind} is told twice"
                    found[kind] = age
    return found


@pytest.mark.parametrize(
    ("rule", "reported"),
    [
        ({}, ["30 days"] * 3 + ["never"] * 2 + ["30 days"] * 3 + ["never"]),
        ({"ttl": "1d"}, ["1 day"] * 3 + ["never"] * 2 + ["1 day"] * 3 + ["never"]),
        (
            {"ttl": "2w", "failed_ttl": "12h", "empty_experiments": "90m"},
            ["14 days", "12 hours", "12 hours", "never", "never", "14 days", "90 minutes", "14 days", "never"],
        ),
        (
            {"statuses": ["FAILED"], "zombies": "45s", "empty_models": "9d"},
            ["never", "30 days", "never", "45 seconds", "45 seconds", "30 days", "30 days", "30 days", "9 days"],
        ),
        (
            {"ttl": "never", "failed_ttl": "3d"},
            ["never", "3 days", "3 days"] + ["never"] * 6,
        ),
        ({"failed_ttl": "never"}, ["30 days"] + ["never"] * 4 + ["30 days"] * 3 + ["never"]),
        ({"ttl": "1000d"}, ["1,000 days"] * 3 + ["never"] * 2 + ["1,000 days"] * 3 + ["never"]),
    ],
)  # fmt: skip
def test_each_kind_is_reported_with_its_age(rule: dict[str, Any], reported: list[str]) -> None:
    assert _ages(_of_rule(**rule)) == dict(zip(KINDS, reported, strict=True))


@pytest.mark.parametrize(
    ("match", "kinds"),
    [
        ({"experiment": "e"}, KINDS[:7]),
        ({"model": "m"}, KINDS[7:]),
        ({"user": "u"}, KINDS[:5]),
        ({"status": ["FAILED", "RUNNING"]}, [KINDS[1], KINDS[3]]),
        ({"workspace": "w"}, KINDS),
    ],
)
def test_only_kinds_that_the_rule_can_be_about_are_reported(
    match: dict[str, Any], kinds: list[str]
) -> None:
    assert sorted(_ages(_of_rule(match=match))) == sorted(kinds)


def test_never_for_all_of_it_is_said_in_one_line() -> None:
    assert _of_rule(ttl="never")[1:] == ["never: all of it is retained"]
    assert _of_rule(ttl="never", keep={"last": 3})[1:] == ["never: all of it is retained"]
    assert "never: all of it is retained" not in _of_rule(ttl="never", zombies="3d")


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        ({"last": 5}, ["the newest 5"]),
        ({"last": 1500}, ["the newest 1,500"]),
        ({"last": "all"}, ["all"]),
        ({"daily": 7}, ["the newest of each of the last 7 days that have something"]),
        (
            {"weekly": 1, "yearly": 1},
            ["the newest of each of the last 1 ISO week and 1 year that have something"],
        ),
        (
            {"daily": 7, "weekly": 4, "yearly": 3},
            ["the newest of each of the last 7 days, 4 ISO weeks and 3 years that have something"],
        ),
        ({"monthly": "all"}, ["the newest of each of all months"]),
        ({"within": "60d"}, ["what was active within 60 days"]),
        ({"best": {"metric": "auc", "mode": "max", "count": 3}}, ["the 3 with the highest auc (runs only)"]),
        (
            {"best": [{"metric": "a", "mode": "min", "count": 1}, {"metric": "b", "mode": "max", "count": 2}]},
            ["the 1 with the lowest a (runs only)", "the 2 with the highest b (runs only)"],
        ),
    ],
)  # fmt: skip
def test_what_is_retained_is_reported(keep: dict[str, Any], words: list[str]) -> None:
    lines = _of_rule(keep=keep)
    start = lines.index("Always retained, per experiment and model:")
    assert lines[start + 1 :] == words


@pytest.mark.parametrize(
    ("match", "words"),
    [
        ({"experiment": "prod/*"}, "experiments named prod/*, and their runs"),
        ({"experiment_regex": "^a"}, "experiments whose name matches ^a, and their runs"),
        ({"model": "m"}, "registered models named m, and their versions"),
        ({"user": "u"}, "runs of user u"),
        ({"status": ["FAILED", "KILLED"]}, "runs that are FAILED or KILLED"),
        ({"run_name": "n", "experiment": "e"}, "runs named n in experiments named e"),
        (
            {"tags": {"a": "*", "b": "c"}},
            "experiments, runs, registered models and their versions; with a tag a and with the tag b=c",
        ),
        (
            {"model": "m", "workspace": "w"},
            "registered models named m, and their versions; in workspace w",
        ),
    ],
)  # fmt: skip
def test_what_a_match_is_about(match: dict[str, Any], words: str) -> None:
    assert subject(match) == words


@pytest.mark.parametrize(
    ("document", "there", "not_there"),
    [
        ({}, "applied for 7 days", "announced"),
        ({"expire_after": "never"}, "applied for ever", "applied for 7 days"),
        ({"grace": "14d"}, "announced 14 days before", "off"),
        ({"min_age": "3d"}, "Nothing younger than 3 days is deleted", " 0 days"),
        ({}, "Evaluation runs are retained", "Nothing younger"),
        ({"evaluation_runs": "delete"}, "Evaluation runs are deleted", "Evaluation runs are retained"),
        ({"free_experiment_names": True}, "experiments are renamed", "never for less"),
        ({}, "Evaluation runs are retained", "renamed"),
        ({"owners": {"may_shorten": False}}, "never for less", "down to"),
        ({"owners": {"may_shorten": True}}, "never for model versions", "never for less"),
        ({"owners": {"shortest_ttl": "14d"}}, "for less, down to 14 days, where a", "also where"),
        ({"owners": {"may_shorten_irreversible": True}}, "also where a deletion is", "undone"),
        ({"time_zone": "Asia/Kathmandu"}, "those of Asia/Kathmandu", "UTC"),
        ({"keep_last": {"runs": 5}}, "5 runs", "0 model versions"),
        ({"keep_last": {"runs": 1}}, "each group: 1 run", "1 runs"),
        ({"guards": {"max_share": {"runs": "30%"}}}, "runs 30 %", "total"),
        ({"guards": {"max_deletions": {"total": 5000}}}, "total 5,000", "%"),
    ],
)  # fmt: skip
def test_the_limits_are_reported(document: dict[str, Any], there: str, not_there: str) -> None:
    output = "\n".join(_lines(document))
    assert there in output
    assert not_there not in output


def _example() -> str:
    page = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    return re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[0]


@pytest.mark.parametrize("text", [starter(), _example()])
def test_the_starter_and_the_example_can_be_told(text: str) -> None:
    document = YAML(typ="safe").load(text)
    output = "\n".join(_lines(document))
    assert all(rule["name"] in output for rule in document.get("rules", ()))


_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9)
_spans = st.from_regex(r"[1-9][0-9]{0,3}[smhdw]", fullmatch=True)
_counts = st.one_of(st.just("all"), st.integers(1, 9999))


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "name": _texts,
                "match": st.sampled_from(
                    ["experiment", "model", "user", "run_name", "workspace"]
                ).flatmap(lambda key: st.fixed_dictionaries({key: _texts})),
            },
            optional={
                "ttl": st.just("never") | _spans,
                "zombies": st.just("off") | _spans,
                "statuses": st.lists(
                    st.sampled_from(["FINISHED", "FAILED"]), min_size=1, unique=True
                ),
                "keep": st.dictionaries(
                    st.sampled_from(["last", "daily", "weekly", "monthly", "yearly"]),
                    _counts,
                    min_size=1,
                ),
            },
        ),
        max_size=4,
    ),
    st.booleans(),
)
def test_any_policy_can_be_told_with_all_its_rules(rules: Any, has_grace: bool) -> None:
    """In lines that stay lines on a terminal; the head of a plan names them, too."""
    grace = {"grace": "1d"} if has_grace else {}
    document = apply_policy({"version": 1, "rules": rules, **grace}, POLICY).to_document()
    shown = [plain(line) for line in explain(document)]
    for number, rule in enumerate(rules, 1):
        assert sum(f"{number}. {plain(rule['name'])}: " in line for line in shown) >= 1
        assert any(plain(rule["name"]) in plain(line) for line in limits(document))
    # Other spaces than the plain one count as not printable, and do no harm.
    assert all(
        char.isprintable() or char == "\u200d" or unicodedata.category(char) == "Zs"
        for line in shown
        for char in line
    )
    assert "TTL 30 days" in ages(document)


def _purge(document: dict[str, Any]) -> dict[str, Any]:
    """The policy as a purge plan holds it."""
    document = {"version": 1, **document}
    assert schema.problems(document, "policy") == []
    policy = apply_policy(document, POLICY)
    return {**policy.to_document(), "purge": policy.purge.to_document()}


def test_a_purge_plan_is_told_what_concerns_a_purge() -> None:
    """And nothing of ages, keep rules and grace, which decide about a prune."""
    rules = [
        {"name": "sandboxes", "match": {"experiment": "sandbox/*"}, "purge_after": "2d"},
        {"name": "audit", "match": {"experiment": "audit/*"}, "ttl": "never"},
    ]
    policy = _purge(
        {
            "defaults": {"ttl": "90d", "purge_after": "40d", "keep": {"last": 7}},
            "grace": "14d",
            "rules": rules,
            "purge": {
                "orphans_after": "60d",
                "tombstones": True,
                "unknown_since": "2026-01-01",
                "max_bytes": "20 GB",
                "max_share": "50%",
            },
            "guards": {"max_deletions": {"runs": 1000}},
        }
    )
    assert list(explain(policy)) == [
        "What has been in the trash for longer than the time below is purged, unless something protects it.",
        "",
        "Where no rule matches",
        "  40 days",
        "",
        "Rules (the first match applies)",
        "  1. sandboxes: experiments named sandbox/*, and their runs",
        "     2 days",
        "  2. audit: experiments named audit/*, and their runs",
        "     never",
        "",
        "Owners",
        "  Whatever has the tag mlflow_gc.keep is retained, with everything in it.",
        "",
        "Limits",
        "  Runs without a deletion time count as deleted at 2026-01-01T00:00:00.000Z.",
        "  Files of what no longer exists are deleted after 60 days, and links to it.",
        "  The rows that MLflow keeps of deleted model versions are deleted.",
        "  Guards: at most runs 1,000, 20.0 GB of files, 50 % of all runs, logged models and experiments",
        "  A plan can be applied for 7 days.",
    ]
    first, *rest = limits(policy)
    assert first == "Rules (the first match applies): sandboxes (2 days); audit (never)"
    assert not [line for line in rest if "newest" in line or "announced" in line]
    plain_policy = _purge({"defaults": {"purge_after": "never"}})
    assert "  never" in explain(plain_policy)
    assert list(limits(plain_policy)) == [
        "Guards: at most 99 % of all runs, logged models and experiments"
    ]
    first, *_ = limits({**plain_policy, "purge": {**plain_policy["purge"], "keep": "rows"}})
    assert first == "Only files are deleted."
