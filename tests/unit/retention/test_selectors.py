"""What a rule is about: globs, regular expressions, tags and workspaces, as docs/policy.md says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.worlds import a_model, a_run, an_experiment

from mlflow_gc.errors import Refused
from mlflow_gc.retention.rules import Selector, finds, regex_problem

GLOBS = [
    ("prod/*", "prod/eu/7", True),
    ("prod/*", "prod/", True),
    ("prod/*", "prod", False),
    ("prod/*", "Prod/eu", False),
    ("PROD", "prod", False),
    ("*", "", True),
    ("*", "a/b\nc", True),
    ("*/x", "a/b/x", True),
    ("prod", "my prod", False),
    ("prod", "prod 2", False),
    ("a?c", "abc", True),
    ("a?c", "a/c", True),
    ("a?c", "a\nc", True),
    ("a?c", "ac", False),
    ("?", "𝒳", True),
    ("?", "é", True),
    ("[ab]x", "ax", True),
    ("[ab]x", "bx", True),
    ("[ab]x", "cx", False),
    ("[ab]x", "Ax", False),
    ("[a-c]", "b", True),
    ("[a-c]", "d", False),
    ("[!a]x", "bx", True),
    ("[!a]x", "ax", False),
    ("[!a]x", "x", False),
    ("[a", "[a", True),
    ("[a", "a", False),
    ("[*]", "*", True),
    ("[*]", "a", False),
    ("[?]", "?", True),
    ("a.b", "a.b", True),
    ("a.b", "axb", False),
    ("a+", "a+", True),
    ("a+", "aa", False),
    ("(a|b)", "(a|b)", True),
    ("(a|b)", "a", False),
    ("^a$", "^a$", True),
    ("^a$", "a", False),
    ("a{2}", "a{2}", True),
    ("a{2}", "aa", False),
    ("\\d", "\\d", True),
    ("\\d", "1", False),
    ("a", "a\n", False),
    ("a*", "a\n", True),
    ("a*b", "a\n\nb", True),
    ("Größe*", "Größe 𝒳", True),
    # Composed and decomposed letters are two texts; MLflow does not fold them either.
    ("Gr\u00f6ße", "Gro\u0308ße", False),
    ("ß", "SS", False),
    ("\u202e*", "\u202egnp", True),
    ("~tmp", "~tmp", True),
    ("{a,b}", "a", False),
    ("**", "a/b", True),
]


def _is_about_run(selector: Selector, experiment: Any = None, run: Any = None) -> bool:
    experiment = experiment or an_experiment()
    return selector.may_match_runs_in(experiment, None) and selector.matches_run(
        run or a_run(), experiment
    )


@pytest.mark.parametrize(("glob", "text", "fits"), GLOBS)
def test_a_glob_fits_the_whole_text_with_case(glob: str, text: str, fits: bool) -> None:
    """Everywhere the same."""
    experiment = an_experiment(name=text)
    assert Selector(experiment=glob).matches_experiment(experiment, None) is fits
    assert _is_about_run(Selector(experiment=glob), experiment) is fits
    assert Selector(model=glob).matches_model(text, {}, a_model(text), None) is fits
    assert _is_about_run(Selector(user=glob), run=a_run(user_id=text)) is fits
    assert _is_about_run(Selector(run_name=glob), run=a_run(run_name=text)) is fits
    assert _is_about_run(Selector(tags={"k": glob}), run=a_run(tags={"k": text})) is fits
    assert Selector(workspace=glob).matches_experiment(an_experiment(), text) is fits
    assert Selector(workspace=glob).matches_model("m", {}, None, text) is fits


@given(st.text(st.characters(exclude_characters="*?["), min_size=1))
def test_without_a_wildcard_a_glob_fits_itself_only(text: str) -> None:
    """Whatever the characters mean to a regular expression."""
    assert Selector(experiment=text).matches_experiment(an_experiment(name=text), None)
    for other in (f"{text}x", f"x{text}", text[1:], f"{text}\n"):
        assert not Selector(experiment=text).matches_experiment(an_experiment(name=other), None)


@pytest.mark.parametrize(
    ("regex", "text", "fits"),
    [
        ("^(sandbox|tmp)/", "sandbox/ann", True),
        ("^(sandbox|tmp)/", "my sandbox/ann", False),
        ("box", "sandbox/ann", True),
        ("box$", "sandbox", True),
        ("box$", "sandbox/ann", False),
        ("^$", "", True),
        ("BOX", "sandbox", False),
        ("(?i)BOX", "sandbox", True),
        (".", "\n", False),
        ("(?s).", "\n", True),
        (r"\d{4}", "run 2026", True),
        ("^b", "a\nb", False),
        (r"\w", "ö", True),
    ],
)
def test_a_regular_expression_may_fit_anywhere(regex: str, text: str, fits: bool) -> None:
    """Python's, without flags."""
    experiment = an_experiment(name=text)
    assert Selector(experiment_regex=regex).matches_experiment(experiment, None) is fits
    assert _is_about_run(Selector(experiment_regex=regex), experiment) is fits
    assert Selector(model_regex=regex).matches_model(text, {}, None, None) is fits
    assert bool(re.search(regex, text)) is fits


OWN, HOLDERS = {"team": "fraud"}, {"team": "churn"}


@pytest.mark.parametrize(
    ("wanted", "own", "holder", "fits"),
    [
        ({"team": "fraud"}, OWN, {}, True),
        ({"team": "fraud"}, {}, OWN, True),
        ({"team": "fraud"}, OWN, HOLDERS, True),
        ({"team": "churn"}, OWN, HOLDERS, True),
        ({"team": "other"}, OWN, HOLDERS, False),
        ({"team": "*"}, {}, {}, False),
        ({"team": "*"}, {"team": ""}, {}, True),
        ({"team": "*"}, {}, {"team": ""}, True),
        ({"team": ""}, {"team": ""}, {}, True),
        ({"team": ""}, {}, {}, False),
        ({"team": ""}, OWN, {}, False),
        ({"Team": "*"}, OWN, OWN, False),
        ({"te*": "*"}, OWN, OWN, False),
        ({"team": "fraud", "env": "test"}, OWN, {"env": "test"}, True),
        ({"team": "fraud", "env": "test"}, OWN, {"env": "prod"}, False),
        ({"team": "fraud", "env": "test"}, OWN, {}, False),
        ({"mlflow.user": "a*"}, {"mlflow.user": "ann"}, {}, True),
    ],
)
def test_every_tag_named_is_on_the_thing_or_on_what_holds_it(
    wanted: dict[str, str], own: dict[str, str], holder: dict[str, str], fits: bool
) -> None:
    """Runs and versions look at their experiment or model as well; these only at themselves."""
    selector = Selector(tags=wanted)
    assert _is_about_run(selector, an_experiment(tags=holder), a_run(tags=own)) is fits
    assert selector.matches_model("m", own, a_model("m", tags=holder), None) is fits
    on_itself = all(
        key in own and (glob == "*" or own[key] == glob or (glob, own[key]) == ("a*", "ann"))
        for key, glob in wanted.items()
    )
    assert selector.matches_experiment(an_experiment(tags=own), None) is on_itself
    assert selector.matches_model("m", own, None, None) is on_itself


STATUSES = ("FINISHED", "FAILED", "KILLED", "RUNNING", "SCHEDULED")


@pytest.mark.parametrize("wanted", [("FAILED",), ("FAILED", "KILLED"), STATUSES])
@pytest.mark.parametrize("status", [*STATUSES, "", "failed", "ODD"])
def test_a_status_is_one_of_those_named(wanted: tuple[str, ...], status: str) -> None:
    assert _is_about_run(Selector(status=wanted), run=a_run(status=status)) is (status in wanted)


@pytest.mark.parametrize(
    ("selector", "experiments", "runs", "models"),
    [
        (Selector(experiment="*"), True, True, False),
        (Selector(experiment_regex="."), True, True, False),
        (Selector(status=("FINISHED",)), False, True, False),
        (Selector(user="*"), False, True, False),
        (Selector(run_name="*"), False, True, False),
        (Selector(experiment="*", run_name="*"), False, True, False),
        (Selector(model="*"), False, False, True),
        (Selector(model_regex="."), False, False, True),
        (Selector(tags={"k": "v"}), True, True, True),
        (Selector(workspace="*"), True, True, True),
        (Selector(tags={"k": "v"}, user="*"), False, True, False),
        (Selector(tags={"k": "v"}, model="*"), False, False, True),
    ],
)
def test_what_a_match_is_about(
    selector: Selector, experiments: bool, runs: bool, models: bool
) -> None:
    """The table of the documentation; status, user and run name make it about runs only."""
    experiment = an_experiment(tags={"k": "v"})
    assert selector.matches_experiment(experiment, None) is experiments
    assert _is_about_run(selector, experiment) is runs
    assert selector.matches_model("m", {"k": "v"}, None, None) is models


@pytest.mark.parametrize(
    ("glob", "workspace", "fits"),
    [
        ("team-*", "team-a", True),
        ("team-*", "other", False),
        ("team-a", None, False),
        ("*", None, True),
        ("?*", None, False),
        ("default", None, False),
    ],
)
def test_a_server_without_workspaces_is_in_none(
    glob: str, workspace: str | None, fits: bool
) -> None:
    """Only ``*`` stands for that as well."""
    selector = Selector(workspace=glob)
    assert selector.matches_experiment(an_experiment(), workspace) is fits
    assert selector.may_match_runs_in(an_experiment(), workspace) is fits
    assert selector.matches_model("m", {}, None, workspace) is fits


_text = st.sampled_from(["*", "a*", "exp-1", "ada", "x"])


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "experiment": _text,
            "experiment_regex": _text.filter(lambda t: t != "*"),
            "tags": st.dictionaries(st.sampled_from(["k", "l"]), _text, min_size=1),
            "status": st.lists(st.sampled_from(STATUSES), min_size=1, unique=True),
            "user": _text,
            "run_name": _text,
            "workspace": _text,
        },
    ),
    st.sampled_from([{}, {"k": "x"}, {"l": "ab"}]),
    st.sampled_from([None, "ada"]),
)
def test_all_that_stands_in_one_match_must_fit(
    document: dict[str, Any], tags: dict[str, str], workspace: str | None
) -> None:
    """A match fits exactly if each of its parts alone does."""
    run, experiment = a_run(tags=tags), an_experiment(tags={"k": "ab"})

    def fits(part: dict[str, Any]) -> bool:
        selector = Selector.from_document(part)
        return selector.may_match_runs_in(experiment, workspace) and selector.matches_run(
            run, experiment
        )

    assert fits(document) is all(fits({key: value}) for key, value in document.items())
    assert Selector.from_document(Selector.from_document(document).to_document()) == (
        Selector.from_document(document)
    )


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("(a|a)*$", "a" * 60 + "!"), ("^(a|aa)+$", "a" * 80 + "!")],
)
def test_a_regular_expression_that_takes_for_ever_is_stopped(pattern: str, text: str) -> None:
    """Nothing is decided then: neither that it matches nor that it does not."""
    with pytest.raises(Refused, match="takes too long on the name"):
        finds(pattern, text)


@pytest.mark.parametrize(
    "pattern",
    ["(((a{1000}){1000}){1000})", "(a{,9999}){9999}", "a{999999999999}", "a" * 1001, "(", "*a"],
)
def test_a_regular_expression_that_takes_for_ever_to_compile_is_none(pattern: str) -> None:
    assert regex_problem(pattern)


@pytest.mark.parametrize("pattern", [r"^\d{4}-\d{2}-\d{2}$", "^(?!prod/)", "(?i)tmp|x{2,}", "a{b"])
def test_a_plain_regular_expression_is_one(pattern: str) -> None:
    assert regex_problem(pattern) is None
