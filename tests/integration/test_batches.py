"""Runs go in batches: each is looked at, deleted and looked back at, and may end the prune."""

from __future__ import annotations

import json
import math
import os
import re
from collections import defaultdict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support import depth
from support.proxy import TOO_MANY_NOW, UNAUTHORIZED, Fault, Seen, deletions
from support.world import FRESH, KEEP_TAG

from mlflow_gc.apply import batching

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.bench import Bench
    from support.plans import Plan
    from support.proxy import Proxy

# Several batches.
BATCH = 30 if depth.chosen.smoke else batching.BATCH
RUNS = 3 * BATCH + BATCH // 2


@pytest.fixture(autouse=True)
def _batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "BATCH", BATCH)


def _plan(bench: Bench, runs: int = RUNS) -> Plan:
    bench.world.bulk_runs(bench.world.experiment(age=FRESH), runs)
    return bench.report()


def _named(seen: Seen) -> set[str]:
    """The runs that a search asks for by id."""
    if not seen.path.endswith("runs/search"):
        return set()
    return set(re.findall(r"[0-9a-f]{32}", json.loads(seen.body).get("filter", "")))


def _looks(requests: Iterable[Seen]) -> dict[str, list[int]]:
    """When each run was looked at, by how many requests came before."""
    looks: dict[str, list[int]] = defaultdict(list)
    for seen in requests:
        for run in _named(seen):
            looks[run].append(seen.index)
    return looks


def _deletes(requests: Iterable[Seen]) -> dict[str, int]:
    """When each run was deleted, in the same way."""
    return {run: seen.index for seen in requests for _, run in deletions([seen])}


def test_each_run_is_looked_at_before_and_after(bench: Bench, proxy: Proxy) -> None:
    """Whatever batch it is in, and however long each answer takes."""
    plan = _plan(bench)
    proxy.delay_all(seed=1, most_s=0.01)
    bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    looks, deletes = _looks(proxy.seen), _deletes(proxy.seen)
    assert deletes.keys() == plan.runs
    for run, deleted in deletes.items():
        assert min(looks[run]) < deleted < max(looks[run])


@pytest.mark.parametrize("fault", [UNAUTHORIZED, TOO_MANY_NOW], ids=str)
def test_what_was_deleted_before_the_end_of_a_batch_is_recorded_and_checked_again(
    bench: Bench, proxy: Proxy, fault: Fault
) -> None:
    """What went before it is in the journal, and the next prune looks back and finishes."""
    plan = _plan(bench)
    before = bench.state()
    # In the midst of a later batch, after its looks: a slow machine makes smaller ones.
    no_more_looks = partial(proxy.fail, "POST", "runs/search$", fault, times=float("inf"))
    first = replace(fault, then=no_more_looks)
    midst = BATCH + BATCH // 2
    proxy.fail("POST", "runs/delete$", first, after=midst)
    proxy.fail("POST", "runs/delete$", fault, after=midst, times=float("inf"))
    outcome, journal = bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri}, codes=(1,))
    gone = bench.state().gone_since(before)
    assert BATCH < len(gone) < RUNS
    assert journal.with_outcome("deleted") == gone
    assert outcome.err

    proxy.forget()
    bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    assert bench.state().gone_since(before) == plan.entities
    looked_at = _looks(proxy.seen)
    assert all(run in looked_at for _, run in gone)


def test_a_server_that_shows_no_run_any_more_is_not_asked_for_all_of_them(
    bench: Bench, proxy: Proxy
) -> None:
    """Each would fail after several attempts: it ends with what the server says."""
    plan = _plan(bench, 350)
    before = bench.state()
    proxy.fail("POST", "runs/search$", TOO_MANY_NOW, after=3, times=float("inf"))
    outcome, journal = bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri}, codes=(1,))
    assert bench.state() == before
    assert "429" in outcome.err
    assert journal.lines[-1]["ended"] == "failed"
    assert len(proxy.seen) < 350


@pytest.mark.parametrize("kind", ["experiment", "model_version"])
def test_what_cannot_be_looked_at_time_and_again_ends_it(
    bench: Bench, proxy: Proxy, kind: str
) -> None:
    """Not only runs: each look would fail after several attempts."""
    if kind == "experiment":
        for _ in range(60):
            bench.world.experiment()
        proxy.fail("POST", "runs/search$", TOO_MANY_NOW, body="DELETED_ONLY", times=float("inf"))
    else:
        for _ in range(60):
            bench.world.spare_version(bench.world.model())
        proxy.fail("GET", "model-versions/get$", TOO_MANY_NOW, times=float("inf"))
    plan = bench.report()
    assert len(plan.entities) == 60
    before = bench.state()
    outcome, journal = bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri}, codes=(1,))
    assert bench.state() == before
    assert 25 <= len(journal.with_outcome("failed")) < 60
    assert "25 re-checks or deletions failed one after the other" in outcome.err
    assert journal.lines[-1]["ended"] == "failed"


def test_failed_re_checks_between_others_do_not_end_it(bench: Bench, proxy: Proxy) -> None:
    """Each failure is told, and the rest goes."""
    name = bench.world.model()
    for _ in range(60):
        bench.world.version(name)
    bench.world.version(name, age=FRESH)
    plan = bench.report()
    even = {("model_version", f"{name}/{number}") for number in range(2, 61, 2)}
    assert len(plan.entities) == 60
    assert even < plan.entities
    before = bench.state()
    proxy.fail(
        "GET", "model-versions/get$", TOO_MANY_NOW, query=r"version=\d*[02468]$", times=float("inf")
    )
    _, journal = bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri}, codes=(3,))
    assert journal.with_outcome("failed") == even
    assert bench.state().gone_since(before) == plan.entities - even


def test_a_tag_set_while_earlier_batches_go_saves_its_run(bench: Bench, proxy: Proxy) -> None:
    """A run of the last batch, tagged when the first deletion is on its way."""
    plan = _plan(bench)
    last = plan.document["runs"][-1]["run_id"]
    proxy.before("POST", "runs/delete$", lambda: bench.world.tag_run(last, KEEP_TAG, "true"))
    _, journal = bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    assert ("run", last) in bench.state().active
    assert journal.skips == {("run", last): "protected"}
    assert len(journal.with_outcome("deleted")) == RUNS - 1


def test_a_plan_that_was_applied_before_is_gone_through_in_large_batches(
    bench: Bench, proxy: Proxy
) -> None:
    """What protects is read once for each: not for every hundred runs that are gone already."""
    bench.world.bulk_runs(bench.world.experiment(age=FRESH), 1_100)
    plan = bench.report()
    bench.world.sql("UPDATE runs SET lifecycle_stage = 'deleted'")
    _, journal = bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    assert set(journal.skips.values()) == {"already_deleted"}
    assert len(journal.skips) == 1_100
    # New experiments are asked for once for each batch, and once at the start.
    assert len(proxy.requests("POST", "experiments/search$")) < 8


def test_a_deletion_is_sent_when_its_intent_is_on_disk_and_the_batch_before_it_is_recorded(
    bench: Bench, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut at any moment: the journal on the disk leads to all that was deleted."""
    plan = _plan(bench)
    journal_path = bench.journal_path(plan)
    on_disk = [b""]
    fsync = os.fsync

    def note(handle: int) -> None:
        fsync(handle)
        if journal_path.exists():
            on_disk.append(journal_path.read_bytes())

    def judge() -> None:
        (seen,) = [s for s in proxy.seen if s.path.endswith("runs/delete")][-1:]
        lines = [json.loads(line) for line in on_disk[-1].splitlines()]
        batches = [set(line["ids"]) for line in lines if line["type"] == "intent"]
        recorded = {line["id"] for line in lines if line["type"] == "record"}
        assert any(run in seen.body.decode() for batch in batches for run in batch)
        assert set().union(*batches[:-1]) <= recorded

    monkeypatch.setattr(os, "fsync", note)
    proxy.before("POST", "runs/delete$", judge, times=math.inf)
    _, journal = bench.prune(plan, "--max-parallel", 1, env={"MLFLOW_TRACKING_URI": proxy.uri})
    proxy.settle()
    assert len(journal.with_outcome("deleted")) == RUNS
