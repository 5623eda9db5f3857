"""Warnings about what is well formed and cannot do anything: told where true, and only there."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from support import ROOT, depth
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

from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.timestamps import DAY_MS
from mlflow_gc.plan import schema
from mlflow_gc.policy.lint import warnings
from mlflow_gc.policy.loader import apply_policy, starter
from mlflow_gc.retention.decision import Decision, Verdict
from mlflow_gc.retention.engine import decide
from mlflow_gc.retention.keep_rules import ALL, CALENDAR, Candidate, Keep, winners
from mlflow_gc.retention.rules import Selector

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
    ({"experiment_regex": "^prod/"}, {"experiment": "prod/x"}),
    ({"experiment_regex": ".*"}, {"experiment": "prod/*"}),
    ({"experiment_regex": "^"}, {"status": "FAILED"}),
    ({"model_regex": "d$"}, {"model": "fraud", "tags": {"a": "x"}}),
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
    ({"experiment_regex": "^prod/"}, {"experiment": "prod"}),
    ({"experiment_regex": "^prod/"}, {"experiment": "prod/*"}),
    ({"experiment_regex": ".*"}, {"tags": {"a": "x"}}),
    ({"experiment_regex": ".*"}, {"model": "m"}),
    ({"model_regex": "d$"}, {"model": "frau?"}),
]


@pytest.mark.parametrize(("first", "second"), COVERED)
def test_a_rule_behind_one_that_matches_all_it_matches_is_named(
    first: Document, second: Document
) -> None:
    """With both names."""
    (output,) = _rules({"match": first, "ttl": "1d"}, {"match": second, "ttl": "2d"})
    assert "'r2' never matches" in output
    assert "'r1'" in output


@pytest.mark.parametrize(("first", "second"), NOT_COVERED)
def test_a_rule_that_can_match_something_is_not_named(first: Document, second: Document) -> None:
    assert not [
        w
        for w in _rules({"match": first, "ttl": "1d"}, {"match": second, "ttl": "2d"})
        if "never matches" in w
    ]


def test_the_first_of_several_rules_before_is_named() -> None:
    match = {"user": "u"}
    output = _rules(*[{"match": match, "ttl": f"{n}d"} for n in (1, 2, 3)])
    assert len(output) == 2
    assert all("'r1' before it" in each for each in output)


def test_names_are_quoted_in_a_warning() -> None:
    """They may hold anything; whoever prints it makes it plain."""
    rules = [{"name": name, "match": {"user": "u"}} for name in ("a\x1b[31m", "b\nError: x")]
    (output,) = _warnings({"rules": rules})
    assert "\x1b" not in output
    assert "\n" not in output


_GLOBS = ["*", "a*", "ab*", "a", "ab", "*b", "?b", "[ab]*", "a?", "", "[!a]*", "a/*", "a/b", "**"]
_NAMES = ["a", "b", "ab", "aab", "bb", "a/b", "", "A", "ba\nb"]
_REGEXES = ["^a", "b$", "a", ".*", "^", "^.*"]
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
        regexes = _REGEXES if name.startswith("model") == second.is_of_models else []
        changes[name] = draw(st.sampled_from([getattr(second, name), None, *regexes]))
    retained_tags = {k: v for k, v in second.tags.items() if draw(st.booleans())}
    changes["tags"] = {k: draw(st.sampled_from([v, "*", "a*"])) for k, v in retained_tags.items()}
    changes["status"] = draw(st.sampled_from([(), second.status, ("FINISHED", "FAILED")]))
    return replace(second, **changes), second


_tags = st.dictionaries(st.sampled_from(_KEYS), st.sampled_from(_NAMES))
_name = st.sampled_from(_NAMES)


@depth.examples(2.5)
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
                selector.may_match_runs_in(experiment, workspace)  # noqa: B023
                and selector.matches_run(run, experiment),  # noqa: B023
                selector.matches_model(model.name, tags, model, workspace),  # noqa: B023
            )

        for covering, covered in zip(matches(first), matches(second), strict=True):
            assert covering or not covered


@given(_selectors)
def test_every_selector_covers_itself(selector: Selector) -> None:
    assert selector.covers(selector)


def test_one_name_that_the_expression_does_not_find_never_matches() -> None:
    (output,) = _rules({"match": {"experiment": "prod/x", "experiment_regex": "y$"}, "ttl": "1d"})
    assert "'r1' never matches" in output
    for match in (
        {"experiment": "prod/y", "experiment_regex": "y$"},
        {"experiment": "prod/*", "experiment_regex": "y$"},
        {"model": "a", "model_regex": "a"},
    ):
        assert _rules({"match": match, "ttl": "1d"}) == []


# -- keys without effect --------------------------------------------------------------------

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
    output = [w for w in _rules({"match": match, **AGES}) if "no effect on" in w]
    named = (
        set(re.split(r": | ha(?:s|ve) no effect", output[0])[1].split(", ")) if output else set()
    )
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


@pytest.mark.parametrize(
    "key", ["ttl", "failed_ttl", "zombies", "empty_experiments", "empty_models"]
)
@pytest.mark.parametrize(("age", "is_short"), [("6d", True), ("7d", False), ("1w", False)])
def test_an_age_below_min_age_is_named(key: str, age: str, is_short: bool) -> None:
    """The defaults', and a rule's; what is never or off is no age."""
    found = [
        _warnings({"defaults": {key: age}, "min_age": "7d"}),
        _rules({"match": {"tags": {"a": "*"}}, key: age}, min_age="7d"),
    ]
    for output in found:
        assert [f"{key}: {age} is shorter than min_age: 7d" in each for each in output] == (
            [True] * is_short
        )
    word = "off" if key in {"zombies", "empty_models"} else "never"
    assert _warnings({"defaults": {key: word}, "min_age": "7d"}) == []


# -- guards and floors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guards", "words"),
    [
        ({"max_share": {"runs": "100%"}}, "max_share.runs: 100% stops nothing"),
        ({"max_share": {"experiment": "100%"}}, "max_share.experiment: 100% stops nothing"),
        (
            {"max_deletions": {"total": 10, "runs": 10}},
            "max_deletions.runs: 10 stops nothing that total: 10",
        ),
    ],
)
def test_a_guard_that_stops_nothing_is_named(guards: Document, words: str) -> None:
    (output,) = _warnings({"guards": guards})
    assert words in output


@pytest.mark.parametrize(
    "guards",
    [
        {"max_share": {"runs": "99%", "total": "0%"}},
        {"max_deletions": {"total": 10, "runs": 9}},
        {"max_deletions": {"runs": 0}},
        {"max_share": {"registered_model": "3%"}},
    ],
)
def test_a_guard_that_can_stop_a_plan_is_not_named(guards: Document) -> None:
    assert _warnings({"guards": guards}) == []


def test_a_floor_that_keeps_nothing_more_is_named() -> None:
    for floor, words in (
        ({"runs": 0}, "keep_last.runs: 0 keeps nothing"),
        ({"model_versions": 0}, "keep_last.model_versions: 0 keeps nothing"),
    ):
        (output,) = _warnings({"keep_last": floor})
        assert words in output
    assert _warnings({"keep_last": {"runs": 1, "model_versions": 2}}) == []


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
        ({"daily": 22, "weekly": 4}, "keep.daily: 22"),
        ({"daily": 32, "monthly": 2}, "keep.daily: 32"),
        ({"daily": 367, "yearly": 2}, "keep.daily: 367"),
        ({"monthly": 25, "yearly": 3}, "keep.monthly: 25"),
        (
            {"best": [{"metric": "a", "mode": "max", "count": n} for n in (2, 5)]},
            "count 5 of max 'a' keeps all that count 2 would",
        ),
        ({"monthly": "all", "yearly": 9}, "keep.yearly: 9"),
    ],
)
@pytest.mark.parametrize("where", ["rule", "defaults"])
def test_a_keep_rule_that_another_one_swallows_is_named(
    where: str, keep: Document, words: str
) -> None:
    if where == "rule":
        (output,) = _rules({"match": OF_EXPERIMENTS, "keep": keep})
        assert "'r1'" in output
    else:
        (output,) = _warnings({"defaults": {"keep": keep}})
        assert output.startswith("defaults: ")
    assert words in output


@pytest.mark.parametrize(
    "keep",
    [
        {"last": "all"},
        {"daily": 21, "weekly": 4},
        {"daily": 31, "monthly": 2},
        {"daily": 366, "yearly": 2},
        {"monthly": 24, "yearly": 3},
        {"weekly": "all", "monthly": "all"},
        {"weekly": 530, "yearly": 2},
        {"last": 1},
        {"daily": 1},
        {"last": 1, "within": "90d"},
        {"last": 2, "daily": 2},
        {"best": [{"metric": "a", "mode": m, "count": 2} for m in ("max", "min")]},
        {"best": [{"metric": m, "mode": "max", "count": 2} for m in ("a", "b")]},
        {"daily": 7, "weekly": "all"},
        {"daily": 7, "weekly": 4, "monthly": 12, "yearly": 3, "last": 10},
    ],
)
def test_keep_rules_that_add_to_each_other_are_not_named(keep: Document) -> None:
    assert _rules({"match": OF_EXPERIMENTS, "keep": keep}) == []


_TINY = {
    "daily": (1, 2, 8, 15, 32, 62),
    "weekly": (1, 2, 3),
    "monthly": (1, 2, 12, 13, 24),
    "yearly": (1, 2, 3),
}


@st.composite
def _swallowing(draw: Any) -> tuple[Keep, str]:
    """A keep rule that is said to swallow another one, and the name of that one."""
    names = draw(st.permutations(CALENDAR))[:2]
    count = lambda name: st.sampled_from([ALL, 366, 367, 732, *_TINY[name]])  # noqa: E731
    keep = Keep(calendar={name: draw(count(name)) for name in names})
    output = _rules({"match": OF_EXPERIMENTS, "keep": keep.to_document()})
    swallowed = [
        match[1] for each in output if (match := re.search(r"keeps all that keep\.(\w+)", each))
    ]
    assume(swallowed)
    return keep, swallowed[0]


@depth.examples(1.7)
@given(_swallowing(), st.randoms(use_true_random=False), st.booleans())
def test_what_is_said_to_be_swallowed_keeps_nothing_more(
    case: tuple[Keep, str], rng: Any, is_ordered: bool
) -> None:
    """On any days, in any zone, also for versions whose numbers are not in the order of days."""
    keep, swallowed = case
    rest = Keep(calendar={k: n for k, n in keep.calendar.items() if k != swallowed})
    # The newest may be on any day of a week or year; some histories have something every day.
    newest = rng.randrange(500) * 24
    span = range(newest, newest + rng.choice([300, 2000, 900 * 24]))
    hours = [*span[::20]] if rng.random() < 0.5 else rng.choices(span, k=rng.randint(1, 120))
    candidates = [
        Candidate(
            n,
            AS_OF - hour * 3_600_000,
            ((AS_OF - hour * 3_600_000, str(n)) if is_ordered else (n,)),
            AS_OF,
        )
        for n, hour in enumerate(hours)
    ]
    zone = ZoneInfo(rng.choice(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"]))
    found, without = (
        set(winners(candidates, each, as_of_ms=AS_OF, zone=zone)) for each in (keep, rest)
    )
    assert found == without


@pytest.mark.parametrize(("within", "is_idle"), [("6d", True), ("7d", True), ("8d", False)])
def test_within_has_to_be_longer_than_min_age(within: str, is_idle: bool) -> None:
    """Wherever the TTL comes from."""
    output = _rules({"match": OF_EXPERIMENTS, "keep": {"within": within}}, min_age="7d")
    assert [("keep.within retains only" in each) for each in output] == [True] * is_idle


# -- warnings are true ---------------------------------------------------------------------------

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
            {"daily": 1},
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
_owners = st.builds(lambda may: {"may_shorten": may}, st.booleans())
_all_rules = st.fixed_dictionaries({"match": _matches}, optional=_settings_of_rules)
_documents = st.fixed_dictionaries(
    {"rules": st.lists(_all_rules, min_size=1, max_size=2)},
    optional={
        "defaults": st.fixed_dictionaries({}, optional=_settings_of_rules),
        "keep_last": st.sampled_from([{"runs": 2}, {"runs": 1, "model_versions": 1}]),
        "min_age": st.sampled_from(["3d", "10d", "20d"]),
        "owners": _owners,
    },
)
_when = st.sampled_from([1, 5, 20, 50]).map(lambda days: AS_OF - days * DAY_MS)


@st.composite
def _worlds(draw: Any) -> Inventory:
    """Runs, versions and empty things around the ages above, some with an age of their own."""
    tags = st.sampled_from([{}, {"a": "x"}, {"mlflow_gc.ttl": "2d"}])
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
                tags=draw(tags),
                metrics=(("m", draw(st.sampled_from([1.0, 2.0]))),),
            )
        )
    versions = []
    for number in "1234":
        at = draw(_when)
        when = {"creation_timestamp": at, "last_updated_timestamp": at}
        versions.append(a_version(number, **when, tags=draw(tags)))
    empty = a_model("empty", creation_timestamp=draw(_when), last_updated_timestamp=draw(_when))
    experiments = [an_experiment(n, tags=draw(tags)) for n in "123"]
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


def test_of_two_keys_that_do_the_same_one_does_something() -> None:
    """Without both of them failed runs would be deleted after 30 days."""
    rule = {"name": "r", "match": {"status": "FAILED"}, "ttl": "never", "statuses": ["FINISHED"]}
    output = _warnings({"version": 1, "rules": [rule]})
    assert output == ["rule 'r': ttl has no effect on what the rule applies to"]


@depth.examples(2.5)
@given(_documents, _worlds())
def test_what_is_said_to_do_nothing_does_nothing(document: Document, found: Inventory) -> None:
    """Take away what the warning names, and the same goes as before."""
    rules = [{"name": f"r{n}", **rule} for n, rule in enumerate(document["rules"])]
    document = {"version": 1, **document, "rules": rules}
    output = _warnings(document)
    assume(output)
    before = _gone(document, found)
    for words in output:
        assert _gone(_without_what(words, document), found) == before, words
    # And all of it at once, as somebody would who tidies up.
    tidy = document
    for words in output:
        about = re.match(r"rule '(\w+)'", words)
        if not about or about[1] in {rule["name"] for rule in tidy["rules"]}:
            tidy = _without_what(words, tidy)
    assert _gone(tidy, found) == before, output


def _without_what(words: str, document: Document) -> Document:
    """The document without what a warning names, or with what is said to count in its place."""
    rules = document["rules"]
    defaults = dict(document.get("defaults", {}))
    name = re.match(r"rule '(\w+)'", words)
    rule = next((r for r in rules if name and r["name"] == name[1]), defaults)
    if short := re.search(r"(\w+): \w+ is shorter than min_age: (\w+)", words):
        changed = {**rule, short[1]: short[2]}
    elif "never matches" in words:
        return {**document, "rules": [r for r in rules if r is not rule]}
    elif "no effect on" in words:
        listed = re.sub(r"^[^:]*: | (has|have) no effect .*", "", words)
        changed = _lacking(rule, *listed.split(", "))
    elif match := re.search(r"(keep\.\w+) retains only", words):
        changed = _lacking(rule, match[1])
    else:
        floor = re.match(r"keep_last\.(\w+)", words)
        assert floor, words
        return {**document, "keep_last": _lacking(document["keep_last"], floor[1])}
    if rule is defaults:
        return {**document, "defaults": changed}
    return {**document, "rules": [changed if r is rule else r for r in rules]}


def _lacking(settings: Document, *keys: str) -> Document:
    left = dict(settings)
    for key in keys:
        if key.startswith("keep."):
            left["keep"] = {k: v for k, v in left["keep"].items() if f"keep.{k}" != key}
        else:
            del left[key]
    return left
