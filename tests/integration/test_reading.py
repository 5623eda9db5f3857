"""Commands that change nothing send no request that could, whatever the account may do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.world import FRESH

if TYPE_CHECKING:
    from support.bench import Bench
    from support.proxy import Proxy

# MLflow reads with POST where a filter is too long for an address.
READS = re.compile(r"/[a-z-]+/search$")


@pytest.mark.parametrize(
    "command", ["report", "report --sizes", "check", "prune", "restore", "mark", "usage"]
)
def test_nothing_but_reads_is_sent(bench: Bench, proxy: Proxy, command: str) -> None:
    world = bench.world
    home = world.experiment(age=FRESH)
    world.logged_model(home, world.run(home))
    world.trace(home)
    pruned = bench.report(name="pruned.json")
    bench.prune(pruned)
    world.run(world.experiment())
    world.spare_version(world.model())
    plan = bench.report()
    policy = bench.dir / "policy.yml"
    policy.write_text("version: 1\ngrace: 14d\n")
    args: dict[str, tuple[object, ...]] = {
        "report": ("report", "-o", bench.dir / "new.json"),
        "report --sizes": ("report", "--sizes", "-o", bench.dir / "new.json"),
        "check": ("check", plan.path),
        "prune": ("prune", plan.path, "--dry-run"),
        "restore": ("restore", bench.journal_path(pruned), "--dry-run"),
        "mark": ("mark", "--dry-run", "--policy", policy),
        "usage": ("usage", "-q"),
    }
    before = bench.state()
    bench.cli(*args[command], env={"MLFLOW_TRACKING_URI": proxy.uri}).expect(0)
    assert bench.state() == before
    writes = [
        (seen.method, seen.path)
        for seen in proxy.seen
        if seen.method != "GET" and not (seen.method == "POST" and READS.search(seen.path))
    ]
    assert proxy.seen
    assert not writes
