"""Warnings about what is well formed and cannot do anything: told where true, and only there."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from unit.worlds import (
    AS_OF,
    POLICY,
    RUN_IDS,
    a_model,
    a_run,
    a_version,
    an_experiment,
    inventory,
)

from mlflow_gc.clock import DAY_MS
from mlflow_gc.inventory.entities import Inventory
from mlflow_gc.plan import schema
from mlflow_gc.plan.policy_file import apply_policy, starter, warnings
from mlflow_gc.retention.decide import decide
from mlflow_gc.retention.decision import Decision, Verdict
from mlflow_gc.retention.keep import ALL, CALENDAR, Keep, Member, kept
from mlflow_gc.retention.rules import Selector

ROOT = Path(__file__).parents[3]
Document = dict[str, Any]


def _warnings(document: Document) -> list[str]:
    """Of a document that the schema allows."""
    document = {"version": 1, **document}
    assert schema.problems(document, "policy") == []
    return list(warnings(document))


def _rules(*rules: Document, **top: Any) -> list[str]:
    named = [{"name": f"r{n}", **rule} for n, rule in enumerate(rules, 1)]
    return _warnings({"rules": named, **top})


# -- what needs none -----------------------------------------------------------------------------


def _examples() -> list[str]:
    page = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return [block for block in blocks if "cases:" not in block]


@pytest.mark.parametrize("text", [*_examples(), starter()])
def test_the_examples_and_the_starter_need_no_warning(text: str) -> None:
    """What people copy is sound."""
    assert _warnings(YAML(typ="safe").load(text)) == []


def test_nothing_needs_no_warning() -> None:
    assert _warnings({}) == []
    assert _warnings({"rules": [], "defaults": {}, "keep_last": {}}) == []


# -- rules behind rules --------------------------------------------------------------------------

COVERED = [
    ({"tags": {"a": "*"}}, {"tags": {"a": "x"}}),
    ({"experiment": "*"}, {"experiment": "prod/*"}),
    ({"experiment": "*"}, {"experiment_regex": "^prod"}),
    ({"experiment": "*"}, {"status": "FAILED"}),
    ({"experiment": "prod/*"}, {"experiment": "prod/*"}),
    ({"experiment": "prod/*"}, {"experiment": "prod/eu/*"}),
    ({"experiment": "prod/*"}, {"experiment": "prod/x", "status": "FAILED"}),
    ({"experiment": "p?od"}, {"experiment": "prod"}),
    ({"experiment_regex": "^a"}, {"experiment_regex": "^a", "user": "u"}),
    ({"status": ["FAILED", "KILLED"]}, {"status": "KILLED"}),
    ({"user": "*"}, {"run_name": "x"}),
    ({"model": "*"}, {"model_regex": "x"}),
    ({"model": "a*"}, {"model": "ab"}),
    ({"tags": {"a": "x*"}}, {"tags": {"a": "xy", "b": "z"}, "model": "m"}),
    ({"workspace": "*"}, {"experiment": "e"}),
    ({"workspace": "*"}, {"model": "m"}),
]
NOT_COVERED = [
    ({"experiment": "*"}, {"model": "*"}),
    ({"experiment": "*"}, {"tags": {"a": "x"}}),
    ({"experiment": "prod/*"}, {"experiment": "prod*"}),
    ({"experiment": "prod/*"}, {"experiment": "Prod/x"}),
    ({"experiment": "prod/*", "status": "FAILED"}, {"experiment": "prod/*"}),
    ({"experiment": "a", "user": "*"}, {"experiment": "a"}),
    ({"experiment": "[ab]*"}, {"experiment": "[ab]c*"}),
    ({"experiment": "?"}, {"experiment": "*"}),
    ({"experiment": "prod"}, {"experiment": "pro?"}),
    ({"status": "FAILED"}, {"status": ["FAILED", "KILLED"]}),
    ({"status": ["FINISHED", "FAILED", "KILLED", "RUNNING", "SCHEDULED"]}, {"experiment": "e"}),
    ({"tags": {"a": "*"}}, {"tags": {"b": "*"}}),
    ({"tags": {"a": "x"}}, {"tags": {"a": "*"}}),
    ({"workspace": "w"}, {"experiment": "e"}),
    ({"model": "m"}, {"tags": {"a": "*"}}),
]


@pytest.mark.parametrize(("first", "second"), COVERED)
def test_a_rule_behind_one_that_matches_all_it_matches_is_named(
    first: Document, second: Document
) -> None:
    """With both names."""
    (said,) = _rules({"match": first, "ttl": "1d"}, {"match": second, "ttl": "2d"})
    assert "'r2' never matches" in said
    assert "'r1'" in said


@pytest.mark.parametrize(("first", "second"), NOT_COVERED)
def test_a_rule_that_can_match_something_is_not_named(first: Document, second: Document) -> None:
    assert not [
        w
        for w in _rules({"match": first, "ttl": "1d"}, {"match": second, "ttl": "2d"})
        if "never matches" in w
    ]


def test_the_first_of_several_rules_before_is_named() -> None:
    match = {"user": "u"}
    said = _rules(*[{"match": match, "ttl": f"{n}d"} for n in (1, 2, 3)])
    assert len(said) == 2
    assert all("'r1' before it" in each for each in said)


def test_names_are_quoted_in_a_warning() -> None:
    """They may hold anything; whoever prints it makes it plain."""
    rules = [{"name": name, "match": {"user": "u"}} for name in ("a\x1b[31m", "b\nError: x")]
    (said,) = _warnings({"rules": rules})
    assert "\x1b" not in said
    assert "\n" not in said


_GLOBS = ["*", "a*", "ab*", "a", "ab", "*b", "?b", "[ab]*", "a?", "", "[!a]*", "a/*", "a/b", "**"]
_NAMES = ["a", "b", "ab", "aab", "bb", "a/b", "", "A", "ba\nb"]
_REGEXES = ["^a", "b$", "a"]
_KEYS = ["k", "l"]
_glob = st.sampled_from([g for g in _GLOBS if g])
_statuses = st.lists(st.sampled_from(["FINISHED", "FAILED", "RUNNING"]), unique=True)
_selectors = st.builds(
    Selector,
    experiment=st.none() | _glob,
    experiment_regex=st.none() | st.none() | st.sampled_from(_REGEXES),
    tags=st.dictionaries(st.sampled_from(_KEYS), st.sampled_from(_GLOBS), max_size=2),
    status=_statuses.map(tuple),
    user=st.none() | st.none() | _glob,
    run_name=st.none() | st.none() | _glob,
    workspace=st.none() | st.none() | _glob,
) | st.builds(
    Selector,
    model=st.none() | _glob,
    model_regex=st.none() | st.none() | st.sampled_from(_REGEXES),
    tags=st.dictionaries(st.sampled_from(_KEYS), st.sampled_from(_GLOBS), max_size=2),
    workspace=st.none() | st.none() | _glob,
)


@st.composite
def _pairs(draw: Any) -> tuple[Selector, Selector]:
    """One selector, and one of the same shape that asks for less: it often covers the other."""
    second: Selector = draw(_selectors)
    changes: dict[str, Any] = {}
    for name in ("experiment", "model", "user", "run_name", "workspace"):
        if getattr(second, name):
            changes[name] = draw(st.sampled_from([getattr(second, name), None, "*"]) | _glob)
    for name in ("experiment_regex", "model_regex"):
        changes[name] = draw(st.sampled_from([getattr(second, name), None]))
    kept_tags = {k: v for k, v in second.tags.items() if draw(st.booleans())}
    changes["tags"] = {k: draw(st.sampled_from([v, "*", "a*"])) for k, v in kept_tags.items()}
    changes["status"] = draw(st.sampled_from([(), second.status, ("FINISHED", "FAILED")]))
    return replace(second, **changes), second


_tags = st.dictionaries(st.sampled_from(_KEYS), st.sampled_from(_NAMES))
_name = st.sampled_from(_NAMES)


@settings(max_examples=150)
@given(_pairs() | st.tuples(_selectors, _selectors), st.data())
def test_what_covers_matches_all_that_the_other_one_does(
    pair: tuple[Selector, Selector], data: st.DataObject
) -> None:
    """Otherwise the warning would talk people into taking a rule away that counts."""
    first, second = pair
    assume(first.covers(second))
    for _ in range(3):
        workspace = data.draw(st.none() | _name)
        experiment = an_experiment(name=data.draw(_name), tags=data.draw(_tags))
        run = a_run(
            status=data.draw(st.sampled_from(["FINISHED", "FAILED", "RUNNING", "ODD"])),
            user_id=data.draw(_name),
            run_name=data.draw(_name),
            tags=data.draw(_tags),
        )
        model = a_model(data.draw(_name), tags=data.draw(_tags))
        tags = data.draw(_tags)

        def matches(selector: Selector) -> tuple[bool, bool, bool]:
            return (
                selector.matches_experiment(experiment, workspace),  # noqa: B023
                selector.matches_place(experiment, workspace)  # noqa: B023
                and selector.matches_run(run, experiment),  # noqa: B023
                selector.matches_model(model.name, tags, model, workspace),  # noqa: B023
            )

        for covering, covered in zip(matches(first), matches(second), strict=True):
            assert covering or not covered


@given(_selectors)
def test_every_selector_covers_itself(selector: Selector) -> None:
    assert selector.covers(selector)


# -- keys that can do nothing --------------------------------------------------------------------

OF_RUNS = {"user": "u"}
OF_MODELS = {"model": "m"}
OF_EXPERIMENTS = {"experiment": "e"}
AGES: dict[str, Any] = {
    "ttl": "9d",
    "failed_ttl": "9d",
    "statuses": ["FINISHED", "FAILED"],
    "zombies": "9d",
    "empty_experiments": "9d",
    "empty_models": "9d",
    "keep": {"best": {"metric": "a", "mode": "max", "count": 1}},
}


@pytest.mark.parametrize(
    ("match", "idle"),
    [
        (OF_EXPERIMENTS, {"empty_models"}),
        (OF_RUNS, {"empty_experiments", "empty_models"}),
        ({"run_name": "n", "experiment": "e"}, {"empty_experiments", "empty_models"}),
        (
            {"status": "FINISHED"},
            {"failed_ttl", "zombies", "empty_experiments", "empty_models"},
        ),
        ({"status": "FAILED"}, {"ttl", "zombies", "empty_experiments", "empty_models"}),
        (
            {"status": "KILLED"},  # not among the statuses of the rule
            {"ttl", "failed_ttl", "zombies", "empty_experiments", "empty_models"},
        ),
        (
            {"status": ["RUNNING", "SCHEDULED"]},
            {"ttl", "failed_ttl", "statuses", "empty_experiments", "empty_models"},
        ),
        (OF_MODELS, {"failed_ttl", "statuses", "zombies", "empty_experiments", "keep.best"}),
        ({"model_regex": "m"}, {"failed_ttl", "statuses", "zombies", "empty_experiments", "keep.best"}),
        ({"tags": {"a": "*"}}, set()),
        ({"workspace": "w"}, set()),
    ],
)  # fmt: skip
def test_keys_that_set_nothing_for_what_a_rule_is_about_are_named(
    match: Document, idle: set[str]
) -> None:
    said = [w for w in _rules({"match": match, **AGES}) if "can do nothing for" in w]
    named = set(said[0].split(": ", 1)[1].removesuffix(" can do nothing for what it is about").split(", ")) if said else set()  # fmt: skip
    assert named == idle


def test_a_ttl_alone_sets_what_becomes_of_failed_runs() -> None:
    assert _rules({"match": {"status": "FAILED"}, "ttl": "9d"}) == []
    assert (
        _rules({"match": {"status": "KILLED"}, "ttl": "9d"}, defaults={"statuses": ["KILLED"]})
        == []
    )


def test_never_switches_zombies_off_so_it_does_something_for_running_runs() -> None:
    """``ttl: never`` is the shortest way to keep what the defaults let go."""
    rule = {"match": {"status": "RUNNING"}, "ttl": "never"}
    assert _rules(rule, defaults={"zombies": "30d"}) == []


# -- keep rules ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        ({"last": "all", "daily": 3}, "keep.last: all"),
        ({"last": "all", "within": "3d"}, "keep.last: all"),
        ({"daily": 7, "weekly": 1}, "keep.daily: 7"),
        ({"daily": 31, "monthly": 1}, "keep.daily: 31"),
        ({"daily": 366, "yearly": 1}, "keep.daily: 366"),
        ({"monthly": 36, "yearly": 3}, "keep.monthly: 36"),
        ({"daily": "all", "weekly": "all"}, "keep.weekly: all"),
        ({"monthly": "all", "yearly": 9}, "keep.yearly: 9"),
    ],
)
@pytest.mark.parametrize("where", ["rule", "defaults"])
def test_a_keep_rule_that_another_one_swallows_is_named(
    where: str, keep: Document, words: str
) -> None:
    if where == "rule":
        (said,) = _rules({"match": OF_EXPERIMENTS, "keep": keep})
        assert "'r1'" in said
    else:
        (said,) = _warnings({"defaults": {"keep": keep}})
        assert said.startswith("defaults: ")
    assert words in said


@pytest.mark.parametrize(
    "keep",
    [
        {"last": "all"},
        {"daily": 6, "weekly": 1},
        {"daily": 30, "monthly": 1},
        {"daily": 365, "yearly": 1},
        {"monthly": 35, "yearly": 3},
        {"weekly": "all", "monthly": "all"},
        {"weekly": 53, "yearly": 1},
        {"daily": 7, "weekly": "all"},
        {"daily": 7, "weekly": 4, "monthly": 12, "yearly": 3, "last": 10},
    ],
)
def test_keep_rules_that_add_to_each_other_are_not_named(keep: Document) -> None:
    assert _rules({"match": OF_EXPERIMENTS, "keep": keep}) == []


_TINY = {"daily": (7, 14, 31, 62), "weekly": (1, 2), "monthly": (1, 2, 12, 24), "yearly": (1, 2)}
_DAYS = st.lists(st.integers(0, 900 * 24), min_size=1, max_size=60)


@st.composite
def _swallowing(draw: Any) -> tuple[Keep, str, str]:
    """A keep rule that is said to swallow another one, and the two names."""
    fine, coarse = draw(st.sampled_from([(f, c) for f in CALENDAR for c in CALENDAR if f != c]))
    many = draw(st.sampled_from([ALL, 366, 732, *_TINY[fine]]))
    few = draw(st.sampled_from([ALL, *_TINY[coarse]]))
    keep = Keep(calendar={fine: many, coarse: few})
    said = _rules({"match": OF_EXPERIMENTS, "keep": keep.to_document()})
    swallowed = [
        match[1] for each in said if (match := re.search(r"keeps all that keep\.(\w+)", each))
    ]
    assume(swallowed)
    return keep, fine, swallowed[0]


@settings(max_examples=100)
@given(_swallowing(), st.randoms(use_true_random=False), st.booleans())
def test_what_is_said_to_be_swallowed_keeps_nothing_more(
    case: tuple[Keep, str, str], rng: Any, is_ordered: bool
) -> None:
    """On any days, in any zone, also for versions whose numbers are not in the order of days."""
    keep, _, swallowed = case
    rest = Keep(calendar={k: n for k, n in keep.calendar.items() if k != swallowed})
    # The newest may be on any day of a week or year; some histories have something every day.
    newest = rng.randrange(500) * 24
    span = range(newest, newest + rng.choice([300, 2000, 900 * 24]))
    hours = [*span[::20]] if rng.random() < 0.5 else rng.choices(span, k=rng.randint(1, 120))
    members = [
        Member(
            n,
            AS_OF - hour * 3_600_000,
            ((AS_OF - hour * 3_600_000, str(n)) if is_ordered else (n,)),
            AS_OF,
        )
        for n, hour in enumerate(hours)
    ]
    zone = ZoneInfo(rng.choice(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"]))
    found, without = (set(kept(members, each, as_of_ms=AS_OF, zone=zone)) for each in (keep, rest))
    assert found == without


def test_the_warning_knows_never() -> None:
    """What never goes needs nothing to keep it."""
    for rule in (
        {"match": OF_EXPERIMENTS, "ttl": "never", "keep": {"last": 3}},
        {"match": OF_MODELS, "ttl": "never", "keep": {"last": 3}},
    ):
        (said,) = _rules(rule)
        assert "never lets anything go" in said
    (said,) = _rules({"match": OF_MODELS, "keep": {"last": 3}}, defaults={"ttl": "never"})
    assert "never lets anything go" in said


@pytest.mark.parametrize("other", [{"failed_ttl": "3d"}, {"zombies": "3d"}])
def test_beside_another_age_never_lets_something_go(other: Document) -> None:
    rule = {"match": OF_EXPERIMENTS, "ttl": "never", "keep": {"last": 3}}
    assert _rules({**rule, **other}) == []
    # The defaults' own never counts for failed runs only where they do not say otherwise.
    inherits = {"match": OF_EXPERIMENTS, "keep": {"last": 3}}
    assert _rules(inherits, defaults={"ttl": "never", **other}) == []


@pytest.mark.parametrize(
    ("rule", "is_idle"),
    [
        ({"ttl": "30d", "keep": {"within": "30d"}}, True),
        ({"ttl": "30d", "keep": {"within": "1d"}}, True),
        ({"ttl": "30d", "keep": {"within": "31d"}}, False),
        ({"ttl": "30d", "failed_ttl": "7d", "keep": {"within": "14d"}}, False),
        ({"ttl": "30d", "failed_ttl": "14d", "keep": {"within": "14d"}}, True),
        ({"ttl": "30d", "zombies": "7d", "keep": {"within": "14d"}}, False),
        ({"keep": {"within": "1d"}}, False),
    ],
)
def test_within_has_to_be_longer_than_the_ttl(rule: Document, is_idle: bool) -> None:
    """Where the file says both; the TTL may also come from a variable."""
    said = _rules({"match": OF_EXPERIMENTS, **rule}, owners={"may_shorten": False})
    assert [("keep.within" in each) for each in said] == [True] * is_idle


def test_within_can_keep_zombies_of_the_defaults() -> None:
    rule = {"match": OF_EXPERIMENTS, "ttl": "30d", "keep": {"within": "10d"}}
    assert _rules(rule, defaults={"zombies": "3d"}) == []


@pytest.mark.parametrize(
    ("match", "last", "floors", "is_idle"),
    [
        (OF_EXPERIMENTS, 3, {"runs": 3}, True),
        (OF_EXPERIMENTS, 4, {"runs": 3}, False),
        (OF_EXPERIMENTS, 3, {"model_versions": 3}, False),
        (OF_EXPERIMENTS, "all", {"runs": 3}, False),
        (OF_MODELS, 3, {"model_versions": 5}, True),
        (OF_MODELS, 3, {"runs": 5}, False),
    ],
)
def test_last_has_to_be_more_than_the_floor(
    match: Document, last: Any, floors: Document, is_idle: bool
) -> None:
    said = _rules({"match": match, "keep": {"last": last}}, keep_last=floors)
    assert [("keep.last" in each) for each in said] == [True] * is_idle


@pytest.mark.parametrize("match", [{"status": "FAILED"}, OF_RUNS, {"tags": {"a": "*"}}])
def test_the_floor_is_of_the_whole_experiment_and_last_of_what_the_rule_is_about(
    match: Document,
) -> None:
    """The newest three failures are kept, however many newer runs there are."""
    rule = {"match": match, "keep": {"last": 3}}
    assert _rules(rule, keep_last={"runs": 5, "model_versions": 5}) == []


def test_the_example_of_good_runs_is_right_beside_a_floor() -> None:
    """The floor may be used up by failures, which another rule is about."""
    rules = YAML(typ="safe").load(_examples()[1])["rules"]
    assert [rule["keep"]["last"] for rule in rules if "keep" in rule] == [5]
    assert _warnings({"rules": rules, "keep_last": {"runs": 5}}) == []


# -- warnings are true ---------------------------------------------------------------------------

_ages = st.sampled_from(["3d", "10d", "30d"])
_age_or = lambda word: st.sampled_from([word, "3d", "10d", "30d"])  # noqa: E731
_settings_of_rules = {
    "ttl": _age_or("never"),
    "failed_ttl": _age_or("never"),
    "statuses": st.lists(st.sampled_from(["FINISHED", "FAILED"]), min_size=1, unique=True),
    "zombies": _age_or("off"),
    "empty_experiments": _age_or("never"),
    "empty_models": _age_or("off"),
    "keep": st.sampled_from(
        [
            {"last": 1},
            {"last": 2},
            {"within": "3d"},
            {"within": "10d"},
            {"best": {"metric": "m", "mode": "max", "count": 1}},
        ]
    ),
}
_matches = st.sampled_from(
    [
        {"status": "FINISHED"},
        {"status": ["FAILED"]},
        {"status": "RUNNING"},
        {"experiment": "exp-1"},
        {"experiment": "*", "user": "ada"},
        {"model": "*"},
        {"tags": {"a": "*"}},
    ]
)
_all_rules = st.fixed_dictionaries({"match": _matches}, optional=_settings_of_rules)
_documents = st.fixed_dictionaries(
    {"rules": st.lists(_all_rules, min_size=1, max_size=2)},
    optional={
        "defaults": st.fixed_dictionaries({}, optional=_settings_of_rules),
        "keep_last": st.sampled_from([{"runs": 2}, {"runs": 1, "model_versions": 1}]),
    },
)
# What is said of keep rules depends on the defaults that a rule inherits.
_ages_of_rules = {"ttl": _age_or("never"), "failed_ttl": _ages, "zombies": _ages}
_about_keep = st.builds(
    lambda match, rule, keep, defaults, last: {
        "rules": [{"match": match, **rule, "keep": keep}],
        "defaults": defaults,
        "keep_last": {"runs": last, "model_versions": last},
    },
    _matches,
    st.fixed_dictionaries({}, optional=_ages_of_rules),
    st.sampled_from([{"last": 1}, {"last": 2}, {"within": "3d"}, {"within": "10d"}]),
    st.fixed_dictionaries({}, optional=_ages_of_rules),
    st.sampled_from([0, 2, 3]),
)
_when = st.sampled_from([1, 5, 20, 50]).map(lambda days: AS_OF - days * DAY_MS)


@st.composite
def _worlds(draw: Any) -> Inventory:
    """Runs, versions and empty things around the ages above; nobody has a tag of ours."""
    runs = []
    for run_id in RUN_IDS[:6]:
        at = draw(_when)
        runs.append(
            a_run(
                run_id,
                experiment_id=draw(st.sampled_from("12")),
                status=draw(st.sampled_from(["FINISHED", "FAILED", "RUNNING"])),
                user_id=draw(st.sampled_from(["ada", "bob"])),
                start_time=at,
                end_time=at,
                tags=draw(st.sampled_from([{}, {"a": "x"}])),
                metrics=(("m", draw(st.sampled_from([1.0, 2.0]))),),
            )
        )
    versions = []
    for number in "1234":
        at = draw(_when)
        versions.append(a_version(number, creation_timestamp=at, last_updated_timestamp=at))
    empty = a_model("empty", creation_timestamp=draw(_when), last_updated_timestamp=draw(_when))
    experiments = [an_experiment(n, tags=draw(st.sampled_from([{}, {"a": "x"}]))) for n in "123"]
    return inventory(*experiments, *runs, a_model(), *versions, empty)


def _gone(document: Document, found: Inventory) -> set[object]:
    decisions = decide(found, apply_policy(document, POLICY))
    by_kind: list[tuple[str, dict[Any, Decision]]] = [
        (kind, dict(getattr(decisions, kind)))
        for kind in ("runs", "experiments", "model_versions", "registered_models")
    ]
    return {
        (kind, key)
        for kind, of_kind in by_kind
        for key, decision in of_kind.items()
        if decision.verdict is Verdict.DELETE
    }


def _without(document: Document, number: int, key: str) -> Document:
    rules = [dict(rule) for rule in document["rules"]]
    if key.startswith("keep."):
        keep = {k: v for k, v in rules[number]["keep"].items() if k != key.removeprefix("keep.")}
        # A rule without keep would inherit one; an empty one is what is left.
        rules[number]["keep"] = keep
    else:
        del rules[number][key]
    return {**document, "rules": rules}


@settings(max_examples=150)
@given(_documents | _about_keep, _worlds())
def test_what_is_said_to_do_nothing_does_nothing(document: Document, found: Inventory) -> None:
    """Take away what the warning names, and the same goes as before."""
    rules = [{"name": f"r{n}", **rule} for n, rule in enumerate(document["rules"])]
    document = {"version": 1, **document, "rules": rules}
    said = _warnings(document)
    assume(said)
    before = _gone(document, found)
    for words in said:
        name = re.match(r"rule '(\w+)'", words)
        if name is None:
            continue
        number = int(name[1][1:])
        if "never matches" in words:
            fewer = {**document, "rules": [r for r in rules if r["name"] != name[1]]}
            assert _gone(fewer, found) == before, words
        elif "can do nothing for" in words:
            keys = words.split(": ", 1)[1].removesuffix(" can do nothing for what it is about")
            for key in keys.split(", "):
                assert _gone(_without(document, number, key), found) == before, words
        elif match := re.search(r"(keep\.\w+) keeps (only|no more)", words):
            assert _gone(_without(document, number, match[1]), found) == before, words
        elif "its keep rules can do nothing" in words:
            emptied = [{**r, "keep": {}} if r["name"] == name[1] else r for r in rules]
            assert _gone({**document, "rules": emptied}, found) == before, words
