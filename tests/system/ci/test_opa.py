"""The sample Rego policy, on plans of a real server."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support import ROOT
from support.world import FRESH, OLD

if TYPE_CHECKING:
    from support.bench import Bench

regopy = pytest.importorskip(
    "regopy", reason=f"regopy has no release for Python {sys.version_info[0]}.{sys.version_info[1]}"
)
POLICY = ROOT / "docs" / "how-to" / "opa"


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


@pytest.fixture
def document(bench: Bench) -> dict[str, Any]:
    """A plan that nobody minds: old work of a sandbox, a registry with an alias."""
    world = bench.world
    world.bulk_runs(world.experiment("sandbox/ann", age=FRESH), 3)
    run = world.run(world.experiment("preprod", age=FRESH), age=OLD)
    model = world.model("fraud")
    world.version(model, run_id=run, source=f"runs:/{run}/model", aliases=["champion"])
    world.spare_version(model)
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
