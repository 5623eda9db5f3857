"""The page holds its policy, its assets, and nothing that a server could put there."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from hypothesis import given
from support import depth
from unit import worlds
from unit.busy_server import busy_plan
from unit.render.hostile_plans import poisoned
from unit.render.html.reading import Reader, read

from mlflow_gc.render.html.page import SCRIPTS, STYLE, asset, content_security_policy

PLAN = busy_plan(300, worlds.AS_OF)
OUR_TAGS = {tag for tag, _ in read(PLAN).tags} | {"ol", "time", "strong", "p", "details"}


def _hashes(directive: str) -> set[str]:
    return set(re.findall(r"'(sha256-[^']+)'", directive))


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def test_the_policy_names_exactly_what_is_inlined():
    reader = read(PLAN)
    (policy,) = [
        attributes["content"]
        for tag, attributes in reader.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    assert directives["default-src"] == "'none'"
    assert directives["base-uri"] == directives["form-action"] == "'none'"
    assert "unsafe" not in policy
    *scripts, data = reader.raw["script"]
    assert _hashes(directives["script-src"]) == {_digest(script) for script in scripts}
    assert _hashes(directives["style-src"]) == {_digest(style) for style in reader.raw["style"]}
    assert data.startswith("{")
    assert policy == content_security_policy()


def test_the_policy_comes_before_all_that_it_governs():
    order = [tag for tag, _ in read(PLAN).tags]
    first = order.index("meta", order.index("meta") + 1)
    assert order[:first] == ["html", "head", "meta"]
    assert first < order.index("style") < order.index("script")


def test_no_attribute_runs_or_styles_or_loads_anything():
    for tag, attributes in read(PLAN).tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in {"style", "src", "srcset", "srcdoc", "action", "data", "ping"}
            if name == "href":
                assert tag == "a"
                assert (value or "").startswith(("#", "https://mlflow.example.com/ml/#/"))


@pytest.mark.parametrize("name", [STYLE, "table.html", *SCRIPTS])
def test_assets_cannot_end_their_element_and_load_nothing(name):
    content = asset(name)
    assert not re.search(r"</(script|style)|<!--|<script", content, re.IGNORECASE)
    assert not re.search(r"url\(|@import|https?://(?!\S*\$)|\beval\b|new Function", content)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", content)
    assert "\t" not in content
    assert "\r" not in content


def test_the_same_plan_gives_the_same_page():
    first = read(PLAN, file_name="a.json")
    assert first.raw == read(PLAN, file_name="a.json").raw
    assert first.words == read(PLAN, file_name="a.json").words


def test_the_command_names_the_file_as_a_shell_needs_it():
    plan = busy_plan(50, worlds.POLICY.as_of_ms)
    plan["expires_at"] = None
    words = " ".join(read(plan, file_name="my plan; rm -rf.json").words)
    assert f"mlflow-gc prune 'my plan; rm -rf.json' --expect {plan['plan_id']}" in words


def test_a_plan_of_an_older_version_is_shown():
    """One without ``statistics`` says less about what stays."""
    old = {name: value for name, value in PLAN.items() if name != "statistics"}
    reader = read(old)
    assert "of an older version" in " ".join(reader.words)
    assert len(reader.data["kind"]) == len(read(PLAN).data["kind"])


@given(worlds.inventories(), worlds.policies)
@depth.examples(0.7)
def test_whatever_a_server_holds_the_page_is_ours(inventory, policy):
    """No tag that is not of the page itself; every entity of the plan is in the data."""
    plan = worlds.plan_of(inventory, policy)
    reader = read(plan)
    assert {tag for tag, _ in reader.tags} <= OUR_TAGS
    data = reader.data
    listed = sum(len(plan[f"{kind}s"]) for kind in data["kinds"])
    protected = sum(len(plan["protected"][f"{kind}s"]) for kind in data["kinds"])
    assert data["fate"].count(2) == protected
    assert len(data["fate"]) == listed + protected
    assert data["fate"].count(0) == plan["summary"]["irreversible"]


@pytest.mark.parametrize("before", ["", "</script >", "<!--<script >"])
def test_no_text_of_a_plan_becomes_markup(before):
    """A browser ends the data of the scripts, or reads on behind it, at more than ``</script>``."""
    reader = read(poisoned(PLAN, lambda: f"{before}<img src=x onerror=alert(1)>"))
    assert {tag for tag, _ in reader.tags} <= OUR_TAGS
    assert reader.data
    assert not {*"<>&"} & {*reader.raw["script"][-1]}


def test_the_reader_notices_a_foreign_tag():
    """What the tests above rely on."""
    page = "<p><img src=x onerror=alert(1)></p>"
    assert "img" not in OUR_TAGS
    assert [tag for tag, _ in Reader(page).tags] == ["p", "img"]
