"""Announcements: tags that tell when an entity may be deleted, and their withdrawal."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from mlflow_gc.backend.interface import ABORT_ON, Failure, Gateway, ServerError
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.kinds import BY_NAME
from mlflow_gc.domain.timestamps import format_ms
from mlflow_gc.inventory.lookup import chunks
from mlflow_gc.retention.decision import Decisions, Verdict
from mlflow_gc.retention.owner_tags import DELETE_AFTER, delete_after_ms, is_outdated
from mlflow_gc.retention.policy import Policy

_BATCH = 200
WITHDRAWN = format_ms(0)
"""The value of a tag that the server cannot remove: older than any activity, it announces nothing."""


@dataclass(frozen=True)
class Change:
    """One tag to set or to delete.

    Attributes:
        kind: ``experiment``, ``run``, ``model_version`` or ``registered_model``.
        entity_id: its id; ``name/version`` for a version.
        value: when it may be deleted, RFC 3339; None to withdraw the announcement.
    """

    kind: str
    entity_id: str
    value: str | None


@dataclass
class Announcements:
    """Announcements to write and to withdraw, and their outcomes.

    Attributes:
        changes: tags to set and to delete.
        counts: by (kind, outcome): ``marked``, ``unchanged``, ``unreadable``, ``unmarked``, ``gone``,
            ``failed``.
        failures: (kind, id, message).
        fatal: why it ended early, or None.
    """

    changes: list[Change] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    fatal: ServerError | None = None


class _Entity(NamedTuple):
    kind: str
    key: Any
    """In an inventory and in decisions."""
    entity_id: str
    tags: Mapping[str, str]
    active_ms: int
    """Last activity, ms since the epoch; 0 if unknown."""


def plan_announcements(inventory: Inventory, decisions: Decisions, policy: Policy) -> Announcements:
    """Return the announcements to write and to withdraw.

    The decisions were made with ``checks_announcements=False``.
    """
    announcements = Announcements()
    grace_ms = policy.grace_ms or 0
    value = format_ms(policy.as_of_ms + grace_ms)
    for entity in _entities(inventory):
        decision = getattr(decisions, BY_NAME[entity.kind].entries).get(entity.key)
        is_deleted = decision is not None and decision.verdict is Verdict.DELETE
        is_announced = _is_announced(entity.tags)
        after_ms = delete_after_ms(entity.tags, policy.zone) if is_announced else None
        if is_announced and after_ms is None:
            # The owner wrote an invalid value: it protects the entity and is not changed.
            announcements.counts[entity.kind, "unreadable"] += 1
        elif not is_deleted and is_announced:
            announcements.changes.append(Change(entity.kind, entity.entity_id, None))
        elif is_deleted and (
            after_ms is None or is_outdated(after_ms, entity.active_ms or None, grace_ms)
        ):
            announcements.changes.append(Change(entity.kind, entity.entity_id, value))
        elif is_deleted:
            announcements.counts[entity.kind, "unchanged"] += 1
    return announcements


def plan_withdrawals(inventory: Inventory) -> Announcements:
    """Return the withdrawal of all announcements, valid or not."""
    announced = (entity for entity in _entities(inventory) if _is_announced(entity.tags))
    return Announcements([Change(e.kind, e.entity_id, None) for e in announced])


def _is_announced(tags: Mapping[str, str]) -> bool:
    """Tell whether tags announce a deletion, or try to."""
    return tags.get(DELETE_AFTER, WITHDRAWN) != WITHDRAWN


def _entities(inventory: Inventory) -> Iterator[_Entity]:
    """Yield all entities that can be announced; those in the trash cannot be deleted again."""
    newest: dict[str, int] = defaultdict(int)
    runs = []
    for i, r in inventory.runs.items():
        if r.lifecycle_stage == "active":
            at = r.last_activity_time(inventory.experiments.get(r.experiment_id)) or 0
            newest[r.experiment_id] = max(newest[r.experiment_id], at)
            runs.append(_Entity("run", i, i, r.tags, at))
    for i, e in inventory.experiments.items():
        if e.lifecycle_stage == "active":
            at = max(e.creation_time or 0, e.last_update_time or 0, newest[i])
            yield _Entity("experiment", i, i, e.tags, at)
    yield from runs
    for key, v in inventory.model_versions.items():
        yield _Entity("model_version", key, v.key, v.tags, v.active_ms)
    for name, m in inventory.registered_models.items():
        at = max(m.creation_timestamp or 0, m.last_updated_timestamp or 0)
        yield _Entity("registered_model", name, name, m.tags, at)


def write_announcements(
    gateway: Gateway,
    announcements: Announcements,
    stop: threading.Event,
    on_record: Callable[[Mapping[str, Any]], None],
) -> None:
    """Set and delete the tags; failures are counted and do not stop the others.

    ``announcements`` gets the counts and failures.  ``on_record`` is called with the outcome of
    each, in the form of a journal's record.
    """
    with ThreadPoolExecutor(gateway.max_parallel) as pool:
        for batch in chunks(announcements.changes, _BATCH):
            if stop.is_set() or announcements.fatal:
                return
            for change, error in zip(
                batch, pool.map(partial(_attempt, gateway), batch), strict=True
            ):
                on_record(_count(announcements, change, error))


def _attempt(gateway: Gateway, change: Change) -> ServerError | None:
    try:
        if change.value is None:
            _withdraw(gateway, change)
        else:
            gateway.set_tag(change.kind, change.entity_id, DELETE_AFTER, change.value)
    except ServerError as error:
        is_gone = error.failure is Failure.REJECTED and _is_in_trash(gateway, change)
        return ServerError(error.message, Failure.NOT_FOUND) if is_gone else error
    return None


def _withdraw(gateway: Gateway, change: Change) -> None:
    """Remove a tag; where the server cannot do that, let the tag announce nothing.

    Raises:
        ServerError: neither can be done.
    """
    try:
        gateway.delete_tag(change.kind, change.entity_id, DELETE_AFTER)
    except ServerError as error:
        # docs/explanation/mlflow-facts.md#old-servers-keep-experiment-tags
        if change.kind != "experiment" or error.failure is not Failure.UNSUPPORTED:
            raise
        gateway.set_tag(change.kind, change.entity_id, DELETE_AFTER, WITHDRAWN)


def _is_in_trash(gateway: Gateway, change: Change) -> bool:
    """Tell whether a server refused a tag because the entity was deleted meanwhile."""
    try:
        if change.kind == "run":
            run = gateway.get_run(change.entity_id)
            return run is None or run.lifecycle_stage != "active"
        if change.kind == "experiment":
            experiment = gateway.get_experiment(change.entity_id)
            return experiment is None or experiment.lifecycle_stage != "active"
    except ServerError:
        pass  # unknown; the refusal of the tag is reported
    return False


def _count(
    announcements: Announcements, change: Change, error: ServerError | None
) -> dict[str, Any]:
    """Count the outcome of a change and return it as a record."""
    done = "unmarked" if change.value is None else "marked"
    record = {"kind": change.kind, "id": change.entity_id, "outcome": done, "reason": None}
    if error is None:
        announcements.counts[change.kind, done] += 1
    elif error.failure is Failure.NOT_FOUND:
        # The entity, or its tag, was deleted meanwhile.
        announcements.counts[change.kind, "gone"] += 1
        record |= {"outcome": "skipped", "reason": "gone"}
    else:
        announcements.counts[change.kind, "failed"] += 1
        announcements.failures.append((change.kind, change.entity_id, error.message))
        record |= {"outcome": "failed", "detail": error.message}
        if error.failure in ABORT_ON:
            announcements.fatal = error
    return record


def dry_counts(
    changes: Sequence[Change], on_record: Callable[[Mapping[str, Any]], None] = lambda _record: None
) -> Counter[tuple[str, str]]:
    """Return the counts as if all changes were made; ``on_record`` is called with each outcome."""
    announcements = Announcements()
    for change in changes:
        on_record(_count(announcements, change, None))
    return announcements.counts
