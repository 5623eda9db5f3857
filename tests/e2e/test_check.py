"""``check PLAN``: read-only, would each entry still be deleted?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from support.proxy import deletions
from support.world import FRESH

if TYPE_CHECKING:
    from support.bench import Bench
    from support.proxy import Proxy


def test_a_plan_that_still_holds(bench: Bench) -> None:
    """0, also with the detailed exit code."""
    bench.world.bulk_runs(bench.world.experiment(age=FRESH), 4)
    plan = bench.report()
    bench.cli("check", plan.path).expect(0)
    bench.cli("check", plan.path, "--detailed-exitcode").expect(0)


def test_counts_of_matching_changed_and_gone(bench: Bench, proxy: Proxy) -> None:
    """5 match, 1 changed, 1 is gone; 2 with the detailed exit code; nothing is written."""
    world = bench.world
    runs = world.bulk_runs(world.experiment(age=FRESH), 7)
    plan = bench.report()
    world.resume(runs[0])
    world.purge_run(runs[1])
    before = bench.state()
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    shown = bench.cli("check", plan.path, env=env).expect(0).text
    bench.cli("check", plan.path, "--detailed-exitcode", env=env).expect(2)
    assert bench.state() == before
    assert not deletions(proxy.seen)
    for count, word in ((5, "match"), (1, "changed"), (1, "gone")):
        assert re.search(rf"\b{count}\b[^\n]*{word}|{word}[^\n]*\b{count}\b", shown), shown
    assert list(bench.dir.iterdir()) == [plan.path], "a check keeps no journal"


def test_what_was_pruned_is_gone(bench: Bench) -> None:
    """After the prune nothing matches any more."""
    world = bench.world
    world.bulk_runs(world.experiment(age=FRESH), 3)
    plan = bench.report()
    bench.prune(plan)
    bench.cli("check", plan.path).expect(0)
