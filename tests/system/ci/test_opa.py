"""docs/how-to/opa.md: the sample Rego policy, on plans of a real server.

Neither conftest nor OPA is a package of Python or Node.js, so another interpreter of Rego takes
their place.  What the page shows is compared, except the last line of conftest, which counts rules.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support import ROOT
from support.pages import blocks
from support.world import FRESH, OLD

if TYPE_CHECKING:
    from support.bench import Bench
    from support.world import World

sys.path.insert(0, str(ROOT / "docs" / "_record"))

from session import steps

regopy = pytest.importorskip(
    "regopy", reason=f"regopy has no release for Python {sys.version_info[0]}.{sys.version_info[1]}"
)
POLICY = ROOT / "docs" / "how-to" / "opa"
PAGE = POLICY.with_suffix(".md")
TEXT = PAGE.read_text(encoding="utf-8")
TESTS = (POLICY / "prune_plan_test.rego").read_text(encoding="utf-8")
_TEST = re.compile(r"^(test_\w+) if \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_WITH = re.compile(r"^\t(.+) with input as (.+)$", re.MULTILINE)


def judge(document: dict[str, Any]) -> tuple[set[str], set[str]]:
    """What the policy denies and what it warns of."""
    engine = regopy.Interpreter()
    engine.add_module("prune_plan", (POLICY / "prune_plan.rego").read_text())
    engine.set_input(document)
    deny, warn = (
        set(engine.query(f"data.main.{rule}").results[0].expressions[0])
        for rule in ("deny", "warn")
    )
    return deny, warn


def fill(world: World) -> None:
    """Old work of a sandbox, a registry with an alias."""
    world.bulk_runs(world.experiment("sandbox/ann", age=FRESH), 3)
    run = world.run(world.experiment("preprod", age=FRESH), age=OLD)
    model = world.model("fraud")
    world.version(model, run_id=run, source=f"runs:/{run}/model", aliases=["champion"])
    world.spare_version(model)


@pytest.fixture
def document(bench: Bench) -> dict[str, Any]:
    """A plan that nobody minds."""
    fill(bench.world)
    return dict(bench.report().document)


def test_a_plan_that_nobody_minds(document: dict[str, Any]) -> None:
    """As the program writes it."""
    assert document["summary"]["irreversible"] == 1
    assert judge(document) == (set(), set())


def test_what_cannot_be_applied(document: dict[str, Any]) -> None:
    """Whatever the reason is."""
    document["applyable"] = False
    assert judge(document)[0] == {"The plan cannot be applied: see its diagnostics."}


def test_a_plan_without_end(document: dict[str, Any]) -> None:
    """null is what the policy file's ``expire_after: never`` makes of it."""
    document["expires_at"] = None
    assert judge(document)[0] == {"The plan never expires: set expire_after in the policy."}


@pytest.mark.parametrize(("count", "denied"), [(20, False), (21, True)])
def test_too_much_that_cannot_be_undone(count: int, denied: bool, document: dict[str, Any]) -> None:
    """At the limit, and one more."""
    document["summary"]["irreversible"] = count
    words = {"21 deletions cannot be undone; 20 are allowed."}
    assert judge(document)[0] == (words if denied else set())


@pytest.mark.parametrize("name", ["prod", "Production-2", "prod/fraud", "prod_x"])
def test_production(name: str, bench: Bench) -> None:
    """Once for each experiment, whether the plan deletes it or its runs."""
    world = bench.world
    world.bulk_runs(world.experiment(name, age=FRESH), 3)
    world.bulk_runs(world.experiment(f"{name} too", age=OLD), 2)
    deny, _ = judge(bench.report().document)
    names = [name] if name == "prod" else [name, f"{name} too"]
    assert deny == {
        f"The plan deletes the production experiment {json.dumps(each)} or runs in it."
        for each in names
    }


def test_a_registry_that_nobody_saw(document: dict[str, Any]) -> None:
    """Stale versions, and not one is protected by an alias."""
    document["protected"]["model_versions"] = []
    document["protected"]["runs"] = []
    deny, warn = judge(document)
    assert not deny
    assert warn == {"Nothing is protected by: alias, registered_model"}
    document["summary"]["model_versions"]["stale"] = 0
    assert judge(document)[1] == set()


def test_a_partial_view(document: dict[str, Any]) -> None:
    """Applied at one's own risk."""
    document["complete"] = False
    assert judge(document)[1] == {"The plan was made with a partial view of the server."}


# ---------------------------------------------------------------------------- the page


def test_the_console_of_the_page(bench: Bench) -> None:
    """What the program prints, and what conftest prints of what the rules say."""
    report, check, verify = steps(TEXT)
    fill(bench.world)
    bench.world.bulk_runs(bench.world.experiment("prod/fraud", age=FRESH), 3)
    words = shlex.split(report.command)[1:]
    done = bench.cli(*words, cwd=bench.dir).expect(0)
    assert done.out == report.output
    deny, warn = judge(json.loads((bench.dir / words[-1]).read_text(encoding="utf-8")))
    *options, file = shlex.split(check.command)[2:]
    assert file == words[-1]
    marked = [("WARN", warn), ("FAIL", deny)]
    lines = [f"{mark} - {file} - main - {text}" for mark, texts in marked for text in sorted(texts)]
    assert check.output.splitlines() == [*lines, "..."]
    assert shlex.split(verify.command)[2:] == options
    assert verify.output == ""


def test_the_table_of_the_page() -> None:
    """A row for each rule, with its number and its names."""
    rules = (POLICY / "prune_plan.rego").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (deny|warn) \| (.*) \|$", TEXT, re.MULTILINE)
    assert sorted(kind for kind, _ in rows) == sorted(
        re.findall(r"^(deny|warn) contains", rules, re.MULTILINE)
    )
    (number,) = re.findall(r"^max_irreversible := (\d+)$", rules, re.MULTILINE)
    assert f"more than {number} deletions" in TEXT
    (pattern,) = re.findall(r"^production := `(.*)`$", rules, re.MULTILINE)
    (row,) = [text for _, text in rows if "production" in text]
    names = re.findall(r"`(.*?)`", row)
    assert len(names) == 3
    assert all(re.search(pattern, name) for name in names)


def test_the_query_of_the_page_gives_what_is_denied(document: dict[str, Any]) -> None:
    """For OPA alone: one result for each message."""
    (command,) = [b.text for b in blocks(PAGE) if b.text.startswith("opa eval")]
    document["expires_at"] = None
    engine = regopy.Interpreter()
    engine.add_module("prune_plan", (POLICY / "prune_plan.rego").read_text())
    engine.set_input(document)
    results = engine.query(shlex.split(command)[-1]).results
    assert {each.expressions[0] for each in results} == judge(document)[0] != set()


@pytest.mark.parametrize("name", [name for name, _ in _TEST.findall(TESTS)])
def test_what_conftest_would_verify(name: str) -> None:
    """The tests in Rego, in two steps: the interpreter has no ``with``."""
    (body,) = [body for found, body in _TEST.findall(TESTS) if found == name]
    (plan,) = re.findall(r"^plan := \{.*?^\}", TESTS, re.MULTILINE | re.DOTALL)
    asserted = _WITH.findall(body)
    assert asserted
    for condition, expression in asserted:
        engine = regopy.Interpreter()
        module = f"package probe\nimport rego.v1\n{plan}\n"
        local = _WITH.sub("", body)
        engine.add_module(
            "probe", f"{module}given := value if {{\n{local}\tvalue := {expression}\n}}"
        )
        given = engine.query("data.probe.given").results[0].expressions[0]
        engine = regopy.Interpreter()
        rules = (POLICY / "prune_plan.rego").read_text()
        engine.add_module("prune_plan", f"{rules}\nholds if {{ {condition} }}\n")
        engine.set_input(given)
        assert list(engine.query("data.main.holds").results[0].expressions) == [True]
