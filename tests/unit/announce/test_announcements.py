"""Marks: what is announced, what is left as it is, what is taken back, and how writing goes."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.worlds import (
    AS_OF,
    NEW,
    OLD,
    POLICY,
    RUN_IDS,
    a_model,
    a_run,
    a_version,
    an_experiment,
    inventories,
    inventory,
)

from mlflow_gc.announce.announcements import (
    WITHDRAWN,
    Announcements,
    Change,
    dry_counts,
    plan_announcements,
    plan_withdrawals,
    write_announcements,
)
from mlflow_gc.backend.interface import Failure, ServerError
from mlflow_gc.domain.entities import Experiment, Run
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.kinds import KINDS
from mlflow_gc.domain.reasons import Reason
from mlflow_gc.domain.timestamps import DAY_MS, format_ms, parse_time
from mlflow_gc.policy.loader import apply_policy
from mlflow_gc.retention.decision import Decisions, Verdict
from mlflow_gc.retention.engine import decide
from mlflow_gc.retention.policy import Policy

MARK = "mlflow_gc.delete_after"
GRACE = 14 * DAY_MS
WITH_GRACE = replace(POLICY, grace_ms=GRACE)
ANNOUNCED = format_ms(AS_OF + GRACE)


def _plan(found: Inventory, policy: Policy = WITH_GRACE) -> Announcements:
    """As the command does: decided marks aside."""
    return plan_announcements(
        found, decide(found, replace(policy, checks_announcements=False)), policy
    )


def _announced(at_ms: int) -> dict[str, str]:
    return {MARK: format_ms(at_ms)}


def _changes(announcements: Announcements) -> dict[tuple[str, str], str | None]:
    return {(c.kind, c.entity_id): c.value for c in announcements.changes}


# -- what is planned -----------------------------------------------------------------------------


def test_all_that_would_be_deleted_is_announced_with_now_and_the_grace() -> None:
    """Of every kind; nothing else."""
    policy = apply_policy({"grace": "14d", "defaults": {"empty_models": "30d"}}, POLICY)
    found = inventory(
        an_experiment("1"),
        an_experiment("2"),
        a_run(RUN_IDS[0]),
        a_run(RUN_IDS[1], experiment_id="2", start_time=NEW, end_time=NEW),
        a_run(RUN_IDS[2], experiment_id="2", tags={"mlflow_gc.keep": "true"}),
        a_model("fraud"),
        *(a_version(n) for n in "12"),
        a_model("empty", creation_timestamp=OLD),
    )
    assert _changes(_plan(found, policy)) == {
        ("run", RUN_IDS[0]): ANNOUNCED,
        ("experiment", "1"): ANNOUNCED,
        ("model_version", "fraud/1"): ANNOUNCED,
        ("registered_model", "empty"): ANNOUNCED,
    }


@pytest.mark.parametrize(
    "after", [AS_OF + 1, AS_OF + GRACE, AS_OF + 400 * DAY_MS, AS_OF, AS_OF - 1]
)
def test_what_is_announced_keeps_its_time(after: int) -> None:
    """Also a later one that an owner set, and one that is over: the next prune takes it."""
    announcements = _plan(
        inventory(an_experiment(last_update_time=NEW), a_run(tags=_announced(after)))
    )
    assert announcements.changes == []
    assert announcements.counts == {("run", "unchanged"): 1}


@pytest.mark.parametrize(("made_before_activity", "is_new"), [(1, True), (0, True), (-1, False)])
def test_an_announcement_older_than_the_last_activity_is_written_again(
    made_before_activity: int, is_new: bool
) -> None:
    """It was written one grace before its time; at the same moment counts as older."""
    active = AS_OF - 40 * DAY_MS
    tags = _announced(active - made_before_activity + GRACE)
    run = a_run(start_time=active, end_time=active, tags=tags)
    announcements = _plan(inventory(an_experiment(last_update_time=NEW), run))
    assert _changes(announcements) == ({("run", run.run_id): ANNOUNCED} if is_new else {})


def test_an_experiment_whose_runs_were_active_after_its_announcement_is_announced_again() -> None:
    """Its last activity is that of its runs, too; a run goes earlier than an experiment may."""
    policy = replace(apply_policy({"grace": "60d"}, POLICY))
    active = AS_OF - 40 * DAY_MS
    run = a_run(start_time=active, end_time=active)
    experiment = an_experiment(tags=_announced(AS_OF + DAY_MS))
    assert (
        decide(inventory(experiment, run), replace(policy, checks_announcements=False))
        .experiments["1"]
        .verdict
        is Verdict.DELETE
    )
    announcements = _plan(inventory(experiment, run), policy)
    assert _changes(announcements)["experiment", "1"] == format_ms(AS_OF + 60 * DAY_MS)


@pytest.mark.parametrize("value", ["soon", "", "2027-13-01", "14d", "\x1b[31m"])
@pytest.mark.parametrize("is_stale", [True, False])
def test_an_announcement_that_nobody_can_read_is_left_for_its_owner(
    value: str, is_stale: bool
) -> None:
    """And keeps."""
    at = OLD if is_stale else NEW
    run = a_run(tags={MARK: value}, start_time=at, end_time=at)
    found = inventory(an_experiment(last_update_time=NEW), run)
    announcements = _plan(found)
    assert announcements.changes == []
    assert announcements.counts == {("run", "unreadable"): 1}
    assert decide(found, WITH_GRACE).runs[run.run_id].verdict is not Verdict.DELETE


@pytest.mark.parametrize("value", ["2026-01-01", "2026-01-01T10:00", "2027-01-01T00:00:00+02:00"])
def test_an_announcement_by_hand_may_be_any_time(value: str) -> None:
    run = a_run(tags={MARK: value})
    announcements = _plan(inventory(an_experiment(last_update_time=NEW), run))
    assert announcements.counts == {("run", "unchanged"): 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"end_time": NEW},
        {"newest_metric_time": NEW, "oldest_metric_time": NEW},
        {"tags": {"mlflow_gc.keep": "true"}},
        {"tags": {"mlflow_gc.ttl": "never"}},
        {"status": "RUNNING"},
    ],
)
def test_what_is_no_longer_stale_or_protected_loses_its_announcement(
    changes: dict[str, Any],
) -> None:
    tags = {**_announced(AS_OF + DAY_MS), **changes.pop("tags", {})}
    run = a_run(tags=tags, **changes)
    announcements = _plan(inventory(an_experiment(last_update_time=NEW), run))
    assert _changes(announcements) == {("run", run.run_id): None}


def test_fresh_entities_of_every_kind_lose_their_announcements() -> None:
    """Whether a decision was made about them or not."""
    tags = _announced(AS_OF - DAY_MS)
    found = inventory(
        an_experiment(last_update_time=NEW, tags=tags),
        a_model("full", tags=tags),
        a_model("empty", tags=tags),
        a_version("1", "full", creation_timestamp=NEW, tags=tags),
    )
    assert _changes(_plan(found)) == dict.fromkeys(
        [
            ("experiment", "1"),
            ("registered_model", "full"),
            ("registered_model", "empty"),
            ("model_version", "full/1"),
        ]
    )


def test_what_lies_in_the_trash_is_neither_announced_nor_withdrawn() -> None:
    tags = _announced(AS_OF)
    gone = "deleted"
    found = inventory(
        an_experiment("1", last_update_time=NEW),
        an_experiment("2", lifecycle_stage=gone),
        an_experiment("3", lifecycle_stage=gone, tags=tags),
        a_run(RUN_IDS[0], lifecycle_stage=gone),
        a_run(RUN_IDS[1], lifecycle_stage=gone, tags=tags),
    )
    assert _plan(found).changes == []
    assert plan_withdrawals(found).changes == []


def test_clearing_takes_all_announcements_away() -> None:
    """Readable or not, stale or not."""
    found = inventory(
        an_experiment("1", tags=_announced(AS_OF)),
        an_experiment("2"),
        a_run(RUN_IDS[0], tags={MARK: "soon"}),
        a_run(RUN_IDS[1]),
        a_model(tags={MARK: ""}),
        a_version(tags=_announced(OLD)),
    )
    assert _changes(plan_withdrawals(found)) == dict.fromkeys(
        [
            ("experiment", "1"),
            ("run", RUN_IDS[0]),
            ("model_version", "fraud/1"),
            ("registered_model", "fraud"),
        ]
    )


def test_what_was_withdrawn_is_no_announcement() -> None:
    """An old server keeps the tag: it is announced again like anything else, and not cleared."""
    found = inventory(
        an_experiment("1", tags={MARK: WITHDRAWN}),
        an_experiment("2", last_update_time=NEW, tags={MARK: WITHDRAWN}),
        a_run(RUN_IDS[0], tags={MARK: WITHDRAWN}),
    )
    announced = dict.fromkeys([("experiment", "1"), ("run", RUN_IDS[0])], ANNOUNCED)
    assert _changes(_plan(found)) == announced
    assert plan_withdrawals(found).changes == []
    decisions = decide(found, WITH_GRACE)
    assert decisions.runs[RUN_IDS[0]].reason is Reason.GRACE
    decisions = decide(found, POLICY)
    assert decisions.runs[RUN_IDS[0]].verdict is Verdict.DELETE


@pytest.mark.parametrize("kind", ["experiment", "run", "model_version", "registered_model"])
def test_a_server_that_cannot_remove_a_tag(kind: str) -> None:
    """Before MLflow 3.2 that is so for experiments; of other kinds it is a failure."""
    gateway = _Gateway(keeps_tags=True)
    gateway.tags[kind, "x"] = _announced(AS_OF)
    announcements = Announcements([Change(kind, "x", None)])
    write_announcements(gateway, announcements, threading.Event(), lambda _: None)  # type: ignore[arg-type]
    if kind == "experiment":
        assert gateway.tags[kind, "x"] == {MARK: WITHDRAWN}
        assert announcements.counts == {(kind, "unmarked"): 1}
    else:
        assert gateway.tags[kind, "x"] == _announced(AS_OF)
        assert announcements.counts == {(kind, "failed"): 1}


def test_the_longest_grace_that_a_policy_may_ask_for_can_be_written() -> None:
    """What ``validate`` praises must not end ``mark``."""
    policy = apply_policy({"version": 1, "grace": "2900000d"}, POLICY)
    found = inventory(an_experiment(last_update_time=NEW), a_run())
    assert parse_time(str(_plan(found, policy).changes[0].value)) == AS_OF + 2_900_000 * DAY_MS


def test_dry_counts_are_those_of_success() -> None:
    changes = [Change("run", "a", None), Change("run", "b", "x"), Change("experiment", "1", "x")]
    announcements = Announcements(changes)
    write_announcements(
        _Gateway(tags={("run", "a"): {MARK: "x"}}), announcements, threading.Event(), _no_tick
    )  # type: ignore[arg-type]
    assert dry_counts(changes) == announcements.counts


# -- writing -------------------------------------------------------------------------------------


@dataclass
class _Gateway:
    """All of a server that announcements touches: tags in memory."""

    max_parallel: int = 4
    tags: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    fails: dict[str, Failure] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    lock: Any = field(default_factory=threading.Lock)
    before: Any = None
    looks: dict[str, str | Failure | None] = field(default_factory=dict)
    """What a look at an entity finds: its stage, nothing, or a failure; active if not set."""
    keeps_tags: bool = False

    def _enter(self, entity_id: str) -> None:
        with self.lock:
            self.calls[entity_id] += 1
            if self.before:
                self.before()
        if entity_id in self.fails:
            raise ServerError(f"{entity_id} failed", self.fails[entity_id])

    def set_tag(self, kind: str, entity_id: str, key: str, value: str) -> None:
        self._enter(entity_id)
        with self.lock:
            self.tags.setdefault((kind, entity_id), {})[key] = value

    def delete_tag(self, kind: str, entity_id: str, key: str) -> None:
        self._enter(entity_id)
        if self.keeps_tags:
            raise ServerError("no such endpoint", Failure.UNSUPPORTED)
        with self.lock:
            del self.tags[kind, entity_id][key]

    def _look(self, entity_id: str) -> str | None:
        found = self.looks.get(entity_id, "active")
        if isinstance(found, Failure):
            raise ServerError(f"the look at {entity_id} failed", found)
        return found

    def get_run(self, run_id: str) -> Run | None:
        stage = self._look(run_id)
        return a_run(run_id, lifecycle_stage=stage) if stage else None

    def get_experiment(self, experiment_id: str) -> Experiment | None:
        stage = self._look(experiment_id)
        return an_experiment(experiment_id, lifecycle_stage=stage) if stage else None


def _no_tick(_: object) -> None:
    pass


def _runs(count: int) -> list[Change]:
    return [Change("run", f"r{n}", "2027-01-01T00:00:00.000Z") for n in range(count)]


def _write(
    gateway: _Gateway, changes: list[Change], stop: threading.Event | None = None
) -> Announcements:
    announcements = Announcements(changes)
    write_announcements(gateway, announcements, stop or threading.Event(), _no_tick)  # type: ignore[arg-type]
    return announcements


def test_writing_sets_and_takes_away_and_counts_each() -> None:
    gateway = _Gateway(tags={("run", "old"): {MARK: "x", "other": "y"}})
    ticks: Counter[str] = Counter()
    announcements = Announcements(
        [*_runs(3), Change("experiment", "1", "z"), Change("run", "old", None)]
    )
    write_announcements(
        gateway, announcements, threading.Event(), lambda record: ticks.update([record["kind"]])
    )  # type: ignore[arg-type]
    assert gateway.tags[("run", "old")] == {"other": "y"}
    assert gateway.tags[("experiment", "1")] == {MARK: "z"}
    assert gateway.tags[("run", "r2")] == {MARK: "2027-01-01T00:00:00.000Z"}
    assert announcements.counts == {
        ("run", "marked"): 3,
        ("experiment", "marked"): 1,
        ("run", "unmarked"): 1,
    }
    assert ticks == {"run": 4, "experiment": 1}
    assert announcements.failures == []
    assert announcements.fatal is None


@pytest.mark.parametrize(
    "failure",
    [
        Failure.FORBIDDEN,
        Failure.REJECTED,
        Failure.AMBIGUOUS,
        Failure.THROTTLED,
        Failure.UNSUPPORTED,
    ],
)
def test_one_failure_is_counted_and_does_not_stop_the_others(failure: Failure) -> None:
    """Across batches."""
    gateway = _Gateway(fails={"r7": failure})
    announcements = _write(gateway, _runs(450))
    assert announcements.counts == {("run", "marked"): 449, ("run", "failed"): 1}
    assert announcements.failures == [("run", "r7", "r7 failed")]
    assert announcements.fatal is None


def test_what_is_not_there_any_more_is_gone_and_no_failure() -> None:
    """It, or its mark."""
    gateway = _Gateway(fails={"r7": Failure.NOT_FOUND, "old": Failure.NOT_FOUND})
    announcements = _write(gateway, [*_runs(10), Change("run", "old", None)])
    assert announcements.counts == {("run", "marked"): 9, ("run", "gone"): 2}
    assert announcements.failures == []


@pytest.mark.parametrize("kind", ["run", "experiment"])
@pytest.mark.parametrize("stage", ["deleted", None])
def test_what_came_into_the_trash_meanwhile_is_gone_and_no_failure(
    kind: str, stage: str | None
) -> None:
    """MLflow refuses tags on it as it refuses a bad value, so it is looked at."""
    gateway = _Gateway(fails={"x": Failure.REJECTED}, looks={"x": stage})
    announcements = _write(gateway, [*_runs(3), Change(kind, "x", "y")])
    assert announcements.counts == Counter({("run", "marked"): 3}) + Counter({(kind, "gone"): 1})
    assert announcements.failures == []


@pytest.mark.parametrize("kind", ["run", "experiment"])
@pytest.mark.parametrize("failure", [Failure.AMBIGUOUS, Failure.FORBIDDEN, Failure.THROTTLED])
def test_a_re_check_that_fails_is_a_failure_of_that_one_only(kind: str, failure: Failure) -> None:
    """The others are marked and counted all the same."""
    gateway = _Gateway(fails={"x": Failure.REJECTED}, looks={"x": failure})
    announcements = _write(gateway, [Change(kind, "x", "y"), *_runs(300)])
    assert announcements.counts == Counter({("run", "marked"): 300}) + Counter(
        {(kind, "failed"): 1}
    )
    assert [failed[:2] for failed in announcements.failures] == [(kind, "x")]


@pytest.mark.parametrize(
    "failure", [Failure.UNAUTHORIZED, Failure.UNREACHABLE, Failure.INVALID_RESPONSE]
)
def test_what_would_fail_for_all_ends_it_early(failure: Failure) -> None:
    """The batch is finished, no other begins; every attempt is counted."""
    gateway = _Gateway(fails={"r7": failure})
    announcements = _write(gateway, _runs(1000))
    assert announcements.fatal is not None
    assert announcements.fatal.failure is failure
    tried = sum(gateway.calls.values())
    assert 8 <= tried < 1000
    assert sum(announcements.counts.values()) == tried
    assert announcements.counts["run", "failed"] == 1


def test_a_stop_before_the_first_batch_touches_nothing() -> None:
    stop = threading.Event()
    stop.set()
    gateway = _Gateway()
    announcements = _write(gateway, _runs(10), stop)
    assert not gateway.calls
    assert not announcements.counts


def test_a_stop_on_the_way_ends_it_with_all_that_was_done_counted() -> None:
    stop = threading.Event()
    gateway = _Gateway(before=stop.set)
    announcements = _write(gateway, _runs(1000), stop)
    assert 0 < len(gateway.tags) < 1000
    assert announcements.counts == {("run", "marked"): len(gateway.tags)}


# -- mark, wait, prune ---------------------------------------------------------------------------


def _applied(found: Inventory, announcements: Announcements) -> Inventory:
    """The inventory as it is once the tags are written."""
    wanted = _changes(announcements)

    def tagged(kind: str, entity_id: str, entity: Any) -> Any:
        if (kind, entity_id) not in wanted:
            return entity
        value = wanted[kind, entity_id]
        tags = {k: v for k, v in entity.tags.items() if k != MARK}
        return replace(entity, tags=tags if value is None else {**tags, MARK: value})

    return replace(
        found,
        experiments={i: tagged("experiment", i, e) for i, e in found.experiments.items()},
        runs={i: tagged("run", i, r) for i, r in found.runs.items()},
        model_versions={
            k: tagged("model_version", v.key, v) for k, v in found.model_versions.items()
        },
        registered_models={
            n: tagged("registered_model", n, m) for n, m in found.registered_models.items()
        },
    )


def _gone(decisions: Decisions) -> set[tuple[str, str]]:
    return {
        (KINDS[kind].name, "/".join(key) if isinstance(key, tuple) else key)
        for kind in ("experiments", "runs", "model_versions", "registered_models")
        for key, decision in getattr(decisions, kind).items()
        if decision.verdict is Verdict.DELETE
    }


def _announcements_of(found: Inventory) -> dict[tuple[str, str], str]:
    """The marks of what is not in the trash."""
    carriers: list[tuple[str, str, Any]] = [
        *(("experiment", i, e) for i, e in found.experiments.items()),
        *(("run", i, r) for i, r in found.runs.items()),
        *(("model_version", v.key, v) for v in found.model_versions.values()),
        *(("registered_model", n, m) for n, m in found.registered_models.items()),
    ]
    return {
        (kind, i): e.tags[MARK]
        for kind, i, e in carriers
        if MARK in e.tags and getattr(e, "lifecycle_stage", "active") == "active"
    }


_MARKS = st.sampled_from(
    [
        *[None] * 12,
        *(format_ms(AS_OF + days * DAY_MS) for days in (-600, -300, -100, -1, 0, 1, 13, 90)),
        "soon",
    ]
)


@st.composite
def _announced_worlds(draw: Any) -> Inventory:
    """Random servers in which somebody marked things before."""
    found: Inventory = draw(inventories())

    def maybe(entity: Any) -> Any:
        mark = draw(_MARKS)
        return replace(entity, tags={**entity.tags, MARK: mark}) if mark else entity

    names = ("experiments", "runs", "model_versions", "registered_models")
    return replace(found, **{n: {k: maybe(e) for k, e in getattr(found, n).items()} for n in names})


_policies = st.builds(
    lambda grace, ttl, floor: apply_policy(
        {
            "grace": grace,
            "defaults": {"ttl": ttl, "empty_models": ttl, "zombies": "200d"},
            "keep_last": {"runs": floor},
        },
        POLICY,
    ),
    st.sampled_from(["1d", "14d", "200d"]),
    st.sampled_from(["30d", "450d"]),
    st.sampled_from([0, 0, 2]),
)


def test_a_run_in_the_trash_is_no_activity_of_its_experiment() -> None:
    """Else the experiment would be marked anew each night, and never go."""
    policy = apply_policy({"grace": "1d"}, POLICY)
    gone = a_run(lifecycle_stage="deleted", end_time=AS_OF)
    found = inventory(an_experiment("1"), gone)
    announcements = _plan(found, policy)
    assert [change.kind for change in announcements.changes] == ["experiment"]
    assert _plan(_applied(found, announcements), policy).changes == []


@given(_announced_worlds(), _policies)
def test_marking_again_changes_nothing(found: Inventory, policy: Policy) -> None:
    """At the same moment, after the tags were written."""
    announcements = _plan(found, policy)
    again = _plan(_applied(found, announcements), policy)
    assert again.changes == []
    written = Counter(c.kind for c in announcements.changes if c.value)
    standing = Counter(
        {k: n for (k, what), n in announcements.counts.items() if what == "unchanged"}
    )
    assert {
        k: n for (k, what), n in again.counts.items() if what == "unchanged"
    } == written + standing


@given(_announced_worlds(), _policies)
def test_what_is_announced_is_what_is_deleted_when_its_time_has_come(
    found: Inventory, policy: Policy
) -> None:
    """If nothing else changes: exactly that, not a moment before."""
    without_announcements = replace(policy, checks_announcements=False)
    would_go = _gone(decide(found, without_announcements))
    after = _applied(found, _plan(found, policy))
    readable = {key: mark for key, mark in _announcements_of(after).items() if mark != "soon"}
    assert set(readable) <= would_go
    assert would_go - set(readable) == {
        key for key in would_go if _announcements_of(after).get(key) == "soon"
    }
    latest = max([AS_OF + (policy.grace_ms or 0), *map(parse_time, readable.values())])
    later = _gone(decide(after, replace(policy, as_of_ms=latest)))
    assert later <= set(readable)
    # What holds something unreadable stays, and so does what it protects.
    if "soon" not in _announcements_of(after).values():
        assert later == would_go
    now = _gone(decide(after, policy))
    assert all(parse_time(readable[key]) <= AS_OF for key in now)


def test_a_minute_before_its_time_it_is_retained() -> None:
    """At the moment itself it goes."""
    run = a_run(tags=_announced(AS_OF))
    found = inventory(an_experiment(last_update_time=NEW), run)
    before = decide(found, replace(WITH_GRACE, as_of_ms=AS_OF - 1)).runs[run.run_id]
    assert before.reason is Reason.GRACE
    assert decide(found, WITH_GRACE).runs[run.run_id].verdict is Verdict.DELETE
