"""What the table's script reads is the plan, all of it, escaped."""

from __future__ import annotations

from hypothesis import given
from support import depth
from unit import worlds
from unit.busy_server import busy_plan
from unit.render.html.reading import read

from mlflow_gc.render.common.escape import plain

FIELD, EXPECTED, EXPECTED_AS_IS = 0, 1, 2


def rebuilt(data, row):
    """What the details of a row are made of: the entry's fields and its expectations."""
    place = data["places"][data["place"][row]]
    kind, name = data["kinds"][data["kind"][row]], data["strings"][data["name"][row]]
    fields = {
        "experiment": {"experiment_id": data["id"][row], "name": name},
        "run": {
            "run_id": data["id"][row],
            "run_name": name,
            "experiment_id": place["id"],
            "experiment_name": place.get("name"),
            "user_id": data["strings"][data["owner"][row]],
            "status": data["strings"][data["status"][row]],
        },
        "model_version": {"name": name, "version": data["id"][row]},
        "registered_model": {"name": name},
    }[kind]
    expected = {}
    shape, *values = data["more"][row]
    remaining = iter(values)
    for how, field in data["shapes"][shape]:
        if how == FIELD:
            fields[field] = next(remaining)
        else:
            expected[field] = next(remaining) if how == EXPECTED else fields[field]
    return kind, fields, expected


def shown(value):
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain(k): shown(v) for k, v in value.items()}
    return [shown(v) for v in value] if isinstance(value, list) else value


def check(plan):
    data = read(plan).data
    entities = [(k, e) for k in data["kinds"] for e in plan[f"{k}s"]]
    order = sorted(entities, key=lambda found: found[1]["reversible"])
    for row, (kind, entity) in enumerate(order):
        _, fields, expected = rebuilt(data, row)
        assert expected == shown(entity["expect"])
        apart = {"expect", "reasons", "reversible"}
        assert fields == {k: shown(v) for k, v in entity.items() if k not in apart}
        assert data["reasons"][data["why"][row]]["words"] == shown(entity["reasons"])
        assert data["fate"][row] == int(entity["reversible"])
        assert data["kinds"][data["kind"][row]] == kind
    protected = [(k, e) for k in data["kinds"] for e in plan["protected"][f"{k}s"]]
    for row, (_, entity) in enumerate(protected, len(order)):
        assert data["fate"][row] == 2
        via = [data["strings"][step] for step in data["via"][row]]
        assert via == shown(entity["via"])
        (group,) = data["reasons"][data["why"][row]]["groups"]
        assert data["groups"][group]["key"] == entity["reason"]


def test_every_field_of_every_entity_is_there():
    check(busy_plan(400, worlds.AS_OF))


@given(worlds.inventories(), worlds.policies)
@depth.examples(0.7)
def test_whatever_a_server_holds(inventory, policy):
    check(worlds.plan_of(inventory, policy))


def test_words_that_repeat_stand_there_once():
    plan = busy_plan(2_000, worlds.AS_OF)
    data = read(plan).data
    assert len(data["strings"]) == len(set(data["strings"]))
    assert len(data["shapes"]) < 20


def test_fields_of_newer_versions_are_shown_whatever_they_hold():
    plan = busy_plan(60, worlds.AS_OF)
    deep: object = "end"
    for _ in range(30):
        deep = {"<x>": [deep]}
    plan["runs"][0] |= {"=new": 2**70, "!odd": 1.5, "deep": deep, "none": None}
    plan["runs"][0]["expect"] |= {"=new": 2**70, "newer": True}
    data = read(plan).data
    row = data["id"].index(plan["runs"][0]["run_id"])
    _, fields, expected = rebuilt(data, row)
    assert fields["=new"] == expected["=new"] == str(2**70)
    assert fields["!odd"] == 1.5
    assert fields["none"] is None
    assert expected["newer"] is True
    assert "…" in str(fields["deep"])


def test_names_keep_what_a_link_needs():
    """Escaped for the eye, percent-encoded for the address."""
    name = "gr\u00f6\u00dfe \u202e/%"
    found = worlds.inventory(
        worlds.an_experiment("1"),
        worlds.a_model(name),
        *(worlds.a_version(n, name) for n in ("1", "2")),
    )
    data = read(worlds.plan_of(found)).data
    (place,) = [p for p in data["places"] if p["model"]]
    assert place["id"] == "größe \\u202e/%"
    assert place["code"] == "gr%C3%B6%C3%9Fe%20%E2%80%AE%2F%2525"
