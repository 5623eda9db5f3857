"""The entities of a plan in a spreadsheet: every one of them, nothing calculated, nothing lost."""

from __future__ import annotations

import csv
import io
import json
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import ROOT
from unit import worlds
from unit.render.hostile_plans import hostile_plans, longer, with_all_kinds
from unit.worlds import OLD, RUN_IDS, a_model, a_run, a_version, an_experiment

from mlflow_gc.domain.kinds import kinds_of
from mlflow_gc.domain.timestamps import DAY_MS, format_ms
from mlflow_gc.render.table.rows import COLUMNS, rows
from mlflow_gc.render.table.spreadsheet import csv_pieces, ndjson_pieces

KINDS = kinds_of({})

STARTS = "=+-@\uff1d\uff0b\uff0d\uff20"
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def _csv(plan):
    return b"".join(csv_pieces(plan)).decode("utf-8-sig")


def _read(plan):
    return list(csv.DictReader(io.StringIO(_csv(plan), newline=""), strict=True))


def _ndjson(plan):
    return b"".join(ndjson_pieces(plan)).decode()


def _plan(*entities):
    return worlds.plan_of(worlds.inventory(*entities))


def _named(name):
    return _read(_plan(an_experiment(), a_run(run_name=name)))[1]["name"]


@given(hostile_plans(most=30))
def test_every_entity_has_a_row_with_its_action(plan):
    for read in (_read(plan), list(map(json.loads, _ndjson(plan).splitlines()))):
        assert [list(row) for row in read] == [list(COLUMNS)] * len(read)
        for kind in KINDS:
            for action, entities in (("delete", plan[kind]), ("keep", plan["protected"][kind])):
                of = [r for r in read if (r["action"], r["kind"]) == (action, KINDS[kind].name)]
                assert len(of) == len(entities)
        assert {row["plan_id"] for row in read} <= {plan["plan_id"]}


@given(hostile_plans(most=30))
def test_json_lines_hold_every_value_as_it_is(plan):
    read = list(map(json.loads, _ndjson(plan).splitlines()))
    assert read == list(rows(plan))
    ids = [row["id"] for row in read if row["action"] == "delete"]
    assert ids == [KINDS[kind].id_of(entity) for kind in KINDS for entity in plan[kind]]


@given(hostile_plans(most=30))
def test_no_line_holds_what_steers_a_terminal_or_breaks_a_line(plan):
    for text in (_csv(plan).replace("\r\n", "\n"), _ndjson(plan)):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]", text)
        assert len(text.splitlines()) == text.count("\n")


@given(hostile_plans(most=2), st.sampled_from(",;|\t"), st.booleans())
def test_no_cell_is_a_formula_whatever_the_separator(plan, separator, quotes):
    """Excel reads with the separator of the country: in many that is a semicolon."""
    quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    lines = io.StringIO(_csv(plan), newline="")
    for row in csv.reader(lines, delimiter=separator, quoting=quoting):
        for cell in row:
            bare = cell.strip() if quotes else cell.strip(' "')
            assert not bare.startswith(tuple(STARTS)) or NUMBER.fullmatch(bare), cell


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1", "'  =1"),
        ("\uff1d1", "'\uff1d1"),
        ("\t=1", "\\t=1"),
        ("\r=1", "\\r=1"),
        ('a";=1', "a\"';=1".replace("';", ";'")),
        ("a; =1", "a;' =1"),
        ("a,@b", "a,'@b"),
        ('"=1"', '"\'=1"'),
        # None of these is a formula anywhere: they stay as they are.
        ("-5", "-5"),
        ("+3.25", "+3.25"),
        ("lr-0.1", "lr-0.1"),
        ("a = b", "a = b"),
        ("a@b", "a@b"),
        ("it's", "it's"),
        ("a, b; c", "a, b; c"),
        ("", ""),
        ("Größe 𝒳", "Größe 𝒳"),
        ("two\nlines", "two\\nlines"),
        ('"quoted"', '"quoted"'),
    ],
)
def test_cells(name, cell):
    assert _named(name) == cell


def test_only_guarded_cells_differ_from_the_text():
    assert {_named(name) for name in ("a", "1e5", "007", "x" * 40)} == {"a", "1e5", "007", "x" * 40}
    ids = [row["id"] for row in _read(_plan(an_experiment("123456789012345678"), a_run()))]
    assert "123456789012345678" in ids


def test_the_form_is_that_of_rfc_4180_with_a_mark_for_excel():
    raw = b"".join(csv_pieces(_plan(an_experiment(name='a "b", c'))))
    assert raw.startswith(b"\xef\xbb\xbf" + ",".join(COLUMNS).encode() + b"\r\n")
    assert raw.count(b"\xef\xbb\xbf") == 1
    assert raw.count(b"\n") == raw.count(b"\r\n") == 2
    assert raw.endswith(b"\r\n")
    assert b',"a ""b"", c",' in raw


def test_pandas_reads_it_without_being_told_anything(tmp_path):
    plan = with_all_kinds(
        _plan(an_experiment(name="Größe"), a_run(user_id="-x")), irreversible=True
    )
    path = tmp_path / "plan.csv"
    path.write_bytes(b"".join(csv_pieces(plan)))
    frame = pd.read_csv(path)
    assert list(frame.columns) == list(COLUMNS)
    assert list(frame["action"]) == ["delete", "delete", "delete", "keep"]
    assert frame["name"][0] == "Größe"
    assert frame["owner"][1] == "'-x"
    assert frame["age_days"][1] == 399
    (tmp_path / "plan.ndjson").write_bytes(b"".join(ndjson_pieces(plan)))
    lines = pd.read_json(tmp_path / "plan.ndjson", lines=True)
    assert list(lines.columns) == list(COLUMNS)
    assert lines["owner"][1] == "-x"


def test_long_plans_come_in_pieces():
    plan = longer(_plan(an_experiment(), a_run()), 5_000)
    # The first piece of CSV is its header.
    for pieces in (list(csv_pieces(plan))[1:], list(ndjson_pieces(plan))):
        assert len(pieces) == 10
        assert max(map(len, pieces)) < 2 * min(map(len, pieces))


def test_a_plan_that_names_nothing_is_a_header():
    assert _read(_plan()) == []
    assert _csv(_plan()).count("\r\n") == 1
    assert _ndjson(_plan()) == ""


def _row(plan, entity_id):
    (row,) = [row for row in rows(plan) if row["id"] == entity_id]
    return {key: value for key, value in row.items() if value is not None and key != "plan_id"}


def test_what_a_run_that_is_deleted_says():
    run = a_run(RUN_IDS[1], parent=RUN_IDS[0], newest_metric_time=OLD + 2 * DAY_MS)
    row = _row(_plan(an_experiment(name="home"), a_run(), run), RUN_IDS[1])
    assert row == {
        "action": "delete",
        "kind": "run",
        "id": RUN_IDS[1],
        "name": "run-22",
        "experiment_id": "1",
        "experiment_name": "home",
        "owner": "ada",
        "status": "FINISHED",
        "created": format_ms(OLD),
        "last_activity": format_ms(OLD + 2 * DAY_MS),
        "age_days": 398,
        "reversible": True,
        "why": "FINISHED, no activity for 398 days",
        "parent_run_id": RUN_IDS[0],
    }


def test_what_an_experiment_that_is_deleted_says():
    row = _row(_plan(an_experiment(name="home", last_update_time=OLD + DAY_MS), a_run()), "1")
    assert row == {
        "action": "delete",
        "kind": "experiment",
        "id": "1",
        "name": "home",
        "experiment_id": "1",
        "experiment_name": "home",
        "created": format_ms(OLD),
        "last_activity": format_ms(OLD + DAY_MS),
        "age_days": 399,
        "reversible": True,
        "why": "its only run is deleted; not changed for 399 days",
        "run_count": 1,
    }


def test_what_a_version_that_is_deleted_says():
    version = a_version("1", description="first", source="s3://bucket/m", run_id=RUN_IDS[0])
    row = _row(_plan(a_model(), version, a_version("2")), "fraud/1")
    assert row == {
        "action": "delete",
        "kind": "model_version",
        "id": "fraud/1",
        "name": "fraud",
        "model": "fraud",
        "version": "1",
        "created": format_ms(OLD),
        "last_activity": format_ms(OLD),
        "age_days": 400,
        "reversible": False,
        "why": "not updated for 400 days; stage None, no alias, not the highest version",
        "source_run_id": RUN_IDS[0],
        "source": "s3://bucket/m",
        "description": "first",
    }


def test_what_is_retained_says_why():
    plan = _plan(an_experiment(name="home"), a_run(tags={"mlflow_gc.keep": "true"}))
    assert _row(plan, RUN_IDS[0]) == {
        "action": "keep",
        "kind": "run",
        "id": RUN_IDS[0],
        "name": "run-11",
        "experiment_id": "1",
        "experiment_name": "home",
        "reason": "keep_tag",
        "via": "tag mlflow_gc.keep=true",
    }
    del plan["statistics"]
    assert _row(plan, RUN_IDS[0])["experiment_name"] == "home"


def test_times_that_no_calendar_has_have_no_age():
    """The schema of a plan is about the form of a time only."""
    plan = _plan(an_experiment(), a_run())
    plan["runs"][0]["last_activity_time"] = "2025-04-31T00:00:00.000Z"
    assert "age_days" not in _row(plan, RUN_IDS[0])


def test_the_columns_are_documented():
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    section = text[text.index("### CSV and JSON lines") :]
    section = section[: section.index("CSV is for spreadsheets")]
    assert tuple(re.findall(r"^\| `(\w+)` \| .+ \|$", section, re.MULTILINE)) == COLUMNS
