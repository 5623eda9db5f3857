"""What a server lacks is in its plan, and what it lost since refuses the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.proxy import NO_ENDPOINT, deletions
from support.world import FRESH

if TYPE_CHECKING:
    from support.bench import Bench
    from support.proxy import Proxy

ALL = {"aliases": True, "logged_models": True, "traces": True}
ENDPOINTS = {
    "aliases": ("GET", "registered-models/alias$"),
    "logged_models": ("POST", "logged-models/search$"),
    "traces": ("POST", "traces/search$"),
}
SAYS_ITS_VERSION = (("GET", "server-info$"), ("GET", "/version$"))


def _hide(proxy: Proxy, *names: str) -> dict[str, str]:
    """Let a server look as if it were of a version without these."""
    hidden = [ENDPOINTS[name] for name in names]
    hidden += [("GET", "2.0/mlflow/traces$")] if "traces" in names else []
    for method, path in (*SAYS_ITS_VERSION, *hidden):
        proxy.fail(method, path, NO_ENDPOINT, times=float("inf"))
    return {"MLFLOW_TRACKING_URI": proxy.uri}


def test_each_way_to_read_a_server_finds_the_same(bench: Bench) -> None:
    """But for accounts: those of a server are not in its database."""
    bench.world.run(bench.world.experiment())
    database = f"sqlite:///{bench.world.database}"
    found = {
        way: bench.report(*args, name=f"{way}.json", env=env).document["server"]["capabilities"]
        for way, args, env in (
            ("rest", (), None),
            ("database", ("--backend-store-uri", database), None),
            ("direct", (), {"MLFLOW_TRACKING_URI": database}),
        )
    }
    assert found["rest"] == found["database"] == {"accounts": False, **ALL}
    assert found["direct"] == {"accounts": None, **ALL}
    assert list(found["rest"]) == sorted(found["rest"])
    shown = bench.cli("show", bench.dir / "rest.json").expect(0).out
    assert "This server has no accounts, so nothing is protected or hidden because of" in shown
    assert "This server has no" not in bench.cli("show", bench.dir / "direct.json").expect(0).out


def test_what_is_lacking_is_said_in_the_plan(bench: Bench, proxy: Proxy) -> None:
    bench.world.run(bench.world.experiment())
    plan = bench.report(env=_hide(proxy, *ENDPOINTS))
    assert plan.document["server"]["mlflow_version"] is None
    assert set(plan.document["server"]["capabilities"].values()) == {False}
    sentence = (
        "This server has no accounts, aliases, logged models or traces, so nothing is protected or "
        "hidden because of them."
    )
    for view in ("text", "markdown", "html"):
        shown = bench.cli("show", plan.path, "--format", view).expect(0).out
        assert shown.count(sentence) == 1, view


@pytest.mark.parametrize("lost", ENDPOINTS)
def test_a_server_that_no_longer_has_what_protects_is_refused(
    bench: Bench, proxy: Proxy, lost: str
) -> None:
    """An experiment with a new trace would look empty."""
    bench.world.run(bench.world.experiment())
    plan = bench.report()
    before = bench.state()
    env = _hide(proxy, lost)
    refused, _ = bench.prune(plan, env=env, codes=(5,))
    assert f"The server had {lost.replace('_', ' ')} when" in refused.err
    assert not deletions(proxy.seen)
    assert bench.state() == before
    checked = bench.cli("check", plan.path, "--format", "json", env=env).expect(0).json()
    assert [r for r in checked["refusals"] if f"had {lost.replace('_', ' ')} when" in r]


def test_what_a_server_has_in_addition_protects(bench: Bench, proxy: Proxy) -> None:
    """As after an upgrade between the report and the prune; nothing is refused for that."""
    world = bench.world
    traced, plain = world.experiment(), world.experiment()
    named = world.spare_version(world.model())
    maker = world.run(world.experiment(age=FRESH))
    plan = bench.report(env=_hide(proxy, *ENDPOINTS))
    planned = {("experiment", traced), ("experiment", plain), ("model_version", named)}
    assert planned | {("run", maker)} == plan.entities
    world.trace(traced)
    world.alias(named, "champion")
    user = world.run(world.experiment(age=FRESH), age=FRESH)
    world.use_model(user, world.logged_model(world.experiment(age=FRESH), maker))
    _, journal = bench.prune(plan)
    assert journal.with_outcome("deleted") == {("experiment", plain)}
    assert bench.state().active >= {
        ("experiment", traced),
        ("model_version", named),
        ("run", maker),
    }
