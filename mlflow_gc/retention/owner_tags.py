"""Tags with which owners protect or expire their own entities, visible in MLflow's UI."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from itertools import chain

from mlflow_gc.domain.entities import Diagnostic
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.reasons import Link
from mlflow_gc.domain.tag_selection import DELETE_AFTER, KEEP, TTL, is_misspelt
from mlflow_gc.domain.timestamps import parse_duration, parse_time

__all__ = ["DELETE_AFTER", "KEEP", "MALFORMED", "TTL"]

MALFORMED = "malformed_tag"
"""Diagnostic code: an invalid tag of this program; the tagged entity is retained."""

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_YES = {"true", "yes", "1"}
_NO = {"false", "no", "0"}
_MOST_NAMED = 20
_LONGEST = 100


@dataclass(frozen=True, slots=True)
class TtlOverride:
    """The age that a TTL tag sets; None for never."""

    tag: Link
    ttl_ms: int | None = None
    is_malformed: bool = False


def keep_tag_applies(tags: Mapping[str, str], key: str, *, as_of_ms: int, zone: tzinfo) -> bool:
    """Tell whether the keep tag protects its entity.

    Any value protects, except a clear no or a day in the past: an owner who mistyped the value
    wanted protection.
    """
    value = tags.get(key)
    if value is None:
        return False
    text = value.strip().lower()
    until = _until(text, zone)
    return as_of_ms < until if until is not None else text not in _NO


def misspelt_key(tags: Mapping[str, str]) -> str | None:
    """Return the first misspelt key of a tag of this program, or None.

    It protects the entity, because the intention of its owner is unknown.
    """
    return next((key for key in sorted(tags) if is_misspelt(key)), None)


def ttl_override(tags: Mapping[str, str]) -> TtlOverride | None:
    """Return the age that a TTL tag sets, or None without such a tag."""
    value = tags.get(TTL)
    if value is None:
        return None
    tag = Link("tag", f"{TTL}={value}")
    if value.strip() == "never":
        return TtlOverride(tag)
    try:
        ttl_ms = parse_duration(value.strip())
    except ValueError:
        ttl_ms = 0
    # An age of zero is invalid: everything would be stale at once.
    return TtlOverride(tag, ttl_ms, is_malformed=not ttl_ms)


def delete_after_ms(tags: Mapping[str, str], zone: tzinfo) -> int | None:
    """Return the announced time of deletion, ms since the epoch; None if missing or invalid.

    Args:
        tags: of the entity itself.
        zone: time zone of a plain day; a time without a zone is UTC.
    """
    text = tags.get(DELETE_AFTER, "").strip()
    try:
        if _DAY.fullmatch(text):
            return _midnight(date.fromisoformat(text), zone)
        return parse_time(text)
    except (ValueError, OverflowError):
        return None


def is_outdated(after_ms: int, active_ms: int | None, grace_ms: int) -> bool:
    """Tell whether an entity was active after its deletion at ``after_ms`` was announced.

    The announcement was made a grace period earlier.
    """
    return active_ms is not None and after_ms - grace_ms <= active_ms


def malformed_tags(inventory: Inventory, keep_tag: str, zone: tzinfo) -> Iterator[Diagnostic]:
    """Yield diagnostics on invalid tags of this program; they protect their entities."""
    tagged = chain(
        ((f"experiment {e.experiment_id}", e.tags) for e in inventory.experiments.values()),
        ((f"run {r.run_id}", r.tags) for r in inventory.runs.values()),
        ((f"registered model {m.name}", m.tags) for m in inventory.registered_models.values()),
        ((f"model version {v.key}", v.tags) for v in inventory.model_versions.values()),
    )
    found = [
        f"{entity}: {key[:_LONGEST]}={tags[key][:_LONGEST]}"
        for entity, tags in tagged
        for key in _unreadable(tags, keep_tag, zone)
    ]
    for sentence in sorted(found)[:_MOST_NAMED]:
        yield Diagnostic(MALFORMED, f"A tag cannot be parsed, so it protects. {sentence}")
    if len(found) > _MOST_NAMED:
        more = len(found) - _MOST_NAMED
        yield Diagnostic(MALFORMED, f"{more:,} more tags cannot be parsed, so they protect.")


def _unreadable(tags: Mapping[str, str], keep_tag: str, zone: tzinfo) -> Iterator[str]:
    if keep_tag in tags:
        text = tags[keep_tag].strip().lower()
        if text not in _YES | _NO and _until(text, zone) is None:
            yield keep_tag
    if (override := ttl_override(tags)) and override.is_malformed:
        yield TTL
    if DELETE_AFTER in tags and delete_after_ms(tags, zone) is None:
        yield DELETE_AFTER
    yield from filter(is_misspelt, sorted(tags))


def _until(text: str, zone: tzinfo) -> int | None:
    """Return the end of the day of ``until:2027-01-31``, ms since the epoch."""
    match = re.fullmatch(r"until:\s*(\d{4}-\d{2}-\d{2})", text, re.ASCII)
    if not match:
        return None
    try:
        return _midnight(date.fromisoformat(match[1]) + timedelta(days=1), zone)
    except (ValueError, OverflowError):
        return None


def _midnight(day: date, zone: tzinfo) -> int:
    """Return the begin of a day, ms since the epoch."""
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1000
