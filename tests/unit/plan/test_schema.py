"""Two validators, one verdict: what the fast one lets through, the thorough one does, too."""

from __future__ import annotations

import copy
import itertools
import sys
import tempfile
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import depth
from unit import worlds
from unit.mutants import holder_of, mutants, places
from unit.worlds import RUN_IDS, a_model, a_run, a_version, an_experiment

from mlflow_gc.apply.journal.writer import Journal
from mlflow_gc.domain.timestamps import parse_time
from mlflow_gc.errors import GcError
from mlflow_gc.plan import schema
from mlflow_gc.plan.diff import diff_plans
from mlflow_gc.plan.verification import load_plan
from mlflow_gc.plan.writer import render
from mlflow_gc.policy import loader
from mlflow_gc.policy.yaml_loader import read_yaml

longer = depth.examples(2.5)
STARTER = Path(loader.__file__).parent / "template.yml"
PLAN = worlds.plan_of(
    worlds.inventory(
        an_experiment("1", name="Größe 𝒳"),
        an_experiment("2"),
        a_run(RUN_IDS[0]),
        a_run(RUN_IDS[2], experiment_id="2", tags={"mlflow_gc.keep": "true"}),
        a_model(aliases={"3": ("champion",)}),
        a_version("1", description="a\nb", tags={"ü": "𝒳"}),
        a_version("2"),
        a_version("3"),
    )
)
DIFF = diff_plans(worlds.plan_of(worlds.inventory()), PLAN)
POLICY = {
    **read_yaml(STARTER, "policy").document,
    "rules": [
        {"name": "a", "match": {"experiment": "x/*", "status": ["FAILED"]}, "ttl": "7d"},
        {
            "name": "b",
            "match": {"tags": {"team": "*"}},
            "keep": {"last": 3, "best": {"metric": "auc", "mode": "max", "count": 1}},
        },
    ],
    "guards": {"max_deletions": {"total": 5}, "max_share": {"runs": "30%"}},
}
POLICY_TESTS = {
    "version": 1,
    "policy": "p.yml",
    "as_of": "2026-11-24",
    "cases": [
        {
            "name": "c",
            "runs": [{"experiment": "e", "age": "3d", "expect": "keep", "reason": "fresh"}],
        }
    ],
}


def _journal() -> list[object]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "j")
        journal = Journal(path, PLAN)
        journal.intend("experiment", ["1"], undo={"deleted_runs": ["x"]})
        journal.record("run", "a", "skipped", reason="changed", detail="ü\n")
        journal.record("model_version", "f/1", "deleted", undo={"tags": {"a": "b"}, "run_id": "r"})
        journal.close("completed")
        return [orjson.loads(line) for line in path.read_bytes().splitlines()]


DOCUMENTS = [
    ("plan", PLAN),
    ("diff", DIFF),
    ("policy", POLICY),
    ("policy-tests", POLICY_TESTS),
    *(("journal", line) for line in _journal()),
]


def _quick(document: object, name: str) -> bool:
    return schema.is_surely_valid(document, name)


def _thorough(document: object, name: str) -> list[str]:
    return [error.message for error in schema.thorough_validator(name).iter_errors(document)]


@pytest.mark.parametrize(("name", "document"), DOCUMENTS)
def test_what_we_write_takes_the_fast_path(name, document):
    assert _thorough(document, name) == []
    assert _quick(document, name)


@pytest.mark.parametrize(("name", "document"), DOCUMENTS)
def test_every_value_left_out_or_of_another_type(name, document):
    """Each place in turn, with a value of each type: the same verdict."""
    refused = 0
    for place in places(document):
        if any(isinstance(part, int) and part for part in place):
            continue  # the second in a list is like the first
        for value in depth.some(["x", None, -1, {}, True, 1.0, []], 4):
            changed = copy.deepcopy({"": document})
            holder_of(changed, ("", *place))[("", *place)[-1]] = value
            is_valid = schema.thorough_validator(name).is_valid(changed[""])
            assert _quick(changed[""], name) == is_valid, (place, value)
            refused += not is_valid
    assert refused > 20, "a schema that lets everything through"


@longer
@given(st.sampled_from(DOCUMENTS), st.data())
def test_random_changes_get_the_same_verdict(example, data):
    name, document = example
    changed = data.draw(mutants({"": document}, [("", *p) for p in places(document)]))
    if "" not in changed:
        return
    thorough = _thorough(changed[""], name)
    if _quick(changed[""], name):
        assert thorough == []
    elif not thorough:
        # A year before 1000, an infinity: what the fast one leaves to the thorough one.
        text = repr(changed[""])
        assert any(odd in text for odd in ("inf", "nan", "'0")), text


DATES = [
    f"{year}-{month:02}-{day:02}"
    for year in ("0000", "0001", "0004", "1000", "1900", "2000", "2023", "2024", "2100", "9999")
    for month in range(14)
    for day in range(33)
]
CLOCKS = [
    f"{hour}:{minute}:{second}"
    for hour, minute, second in itertools.product(
        ("00", "09", "19", "23", "24", "29", "30"), ("00", "59", "60"), ("00", "59", "60", "99")
    )
]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([f"{date}T10:02:11.123Z" for date in DATES], 9 * 365 + 3),
        ([f"2026-05-01T{clock}.123Z" for clock in CLOCKS], 4 * 2 * 2),
        (
            [
                "2026-05-01T10:02:11.123Z\n",
                "\n2026-05-01T10:02:11.123Z",
                "2026-05-01T10:02:11.123Z\n2026-05-01T10:02:11.123Z",
                "2026-05-01t10:02:11.123z",
                "2026-05-01 10:02:11.123Z",
                "2026-05-01T10:02:11.123+00:00",
                "2026-05-01T10:02:11.1234Z",
                "2026-05-01T10:02:11Z",
                "2026-05-01",
                "٢٠٢٦-05-01T10:02:11.123Z",
                " 2026-05-01T10:02:11.123Z ",
            ],
            0,
        ),
    ],
    ids=["days", "clocks", "forms"],
)
def test_the_times_that_there_are(times, expected):
    """What the fast one takes for a time has a place in the calendar and the form of our times."""
    document = next(line for name, line in DOCUMENTS if name == "journal" and "ended" in line)
    there_are = 0
    for text in times:
        thorough = _thorough({**document, "time": text}, "journal")
        assert _quick({**document, "time": text}, "journal") == (not thorough), text
        if not thorough:
            parse_time(text)
            there_are += 1
    assert there_are == expected


@pytest.mark.parametrize("end", ["\n", "\r", "\u2028", " "])
def test_the_end_of_a_pattern_is_the_end_of_the_text(end):
    """``$`` of Python's expressions also fits before a line end; that of JSON Schema does not."""
    for place in (("plan_id",), ("format_version",), ("policy", "grace")):
        document = copy.deepcopy(PLAN)
        holder = holder_of(document, place)
        holder[place[-1]] += end
        assert not _quick(document, "plan")
        assert schema.problems(document, "plan")


@pytest.mark.parametrize(
    "value",
    [float("inf"), float("nan"), "\ud800", {1: 2}, 10**400, (1, 2), {"a": {3}}],
    ids=lambda value: ascii(value)[:12],
)
def test_what_no_json_holds_is_left_to_the_thorough_one(value):
    """No exception, and no yes where the other says no."""
    for place in (("future",), ("policy", "ttl_days"), ("server", "workspace")):
        document = copy.deepcopy(PLAN)
        holder_of(document, place)[place[-1]] = value
        assert not _quick(document, "plan") or _thorough(document, "plan") == []


@pytest.fixture
def _without_the_fast_one(monkeypatch):
    """As where ``jsonschema-rs`` is not installed."""
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    schema.quick_validator.cache_clear()
    yield
    schema.quick_validator.cache_clear()


def _output(path: Path) -> str:
    try:
        load_plan(path)
    except GcError as error:
        return f"{error.message} {error.hint} {error.exit_code}"
    return ""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """A good plan and bad ones: a missing name, a wrong type, a day that there is not."""
    folder = tmp_path_factory.mktemp("plans")
    changes = [{}, {"complete": 1}, {"as_of": "2026-02-30T00:00:00.000Z"}, {"runs": [{}]}]
    paths = [folder / f"{number}.json" for number in range(len(changes))]
    for path, change in zip(paths, changes, strict=True):
        path.write_bytes(render({**PLAN, **change}))
    return paths


@pytest.fixture(scope="module")
def messages_with_both(files) -> list[str]:
    return [_output(path) for path in files]


@pytest.mark.usefixtures("_without_the_fast_one")
def test_without_the_fast_one_the_words_are_the_same(files, messages_with_both):
    """The package is optional: the thorough validator alone does."""
    assert not _quick(PLAN, "plan"), "it is really gone"
    assert messages_with_both[0] == ""
    assert all(messages_with_both[1:])
    assert [_output(path) for path in files] == messages_with_both
    assert schema.problems(PLAN, "plan") == []
    assert schema.violations(POLICY, "policy") == []


def test_a_large_valid_plan_never_meets_the_thorough_one(monkeypatch):
    """It takes minutes for what the fast one does in a second."""
    large = {**PLAN, "runs": PLAN["runs"] * 1000}
    orjson.dumps(large)
    monkeypatch.setattr(
        schema, "thorough_validator", lambda _name: pytest.fail("asked all the same")
    )
    assert schema.problems(large, "plan") == []
