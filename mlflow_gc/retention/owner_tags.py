"""Tags with which owners decide on the spot, on the thing itself, visible in MLflow's own UI."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo

from mlflow_gc.domain.entities import Diagnostic, Inventory
from mlflow_gc.domain.reasons import Link
from mlflow_gc.domain.tag_selection import DELETE_AFTER, KEEP, TTL, is_misspelt
from mlflow_gc.domain.timestamps import parse_duration, parse_time

__all__ = ["DELETE_AFTER", "KEEP", "MALFORMED", "TTL"]

MALFORMED = "malformed_tag"
"""Diagnostic code: a tag of ours that cannot be understood; what carries it is kept."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_YES = {"true", "yes", "1"}
_NO = {"false", "no", "0"}
_MOST_NAMED = 20
_LONGEST = 100


@dataclass(frozen=True, slots=True)
class Wish:
    """What a tag asks for.

    Attributes:
        tag: that asks for it.
        ttl_ms: an age; None for never.
        is_malformed: nobody knows what it asks for.
    """

    tag: Link
    ttl_ms: int | None = None
    is_malformed: bool = False


def keeps(tags: Mapping[str, str], key: str, *, as_of_ms: int, zone: tzinfo) -> bool:
    """Tell whether the keep tag keeps what carries it.

    Anything but a clear no, or a day that is over, keeps: an owner who made a typing mistake
    wanted the thing kept.
    """
    value = tags.get(key)
    if value is None:
        return False
    text = value.strip().lower()
    until = _until(text, zone)
    return as_of_ms < until if until is not None else text not in _NO


def misspelt_key(tags: Mapping[str, str]) -> str | None:
    """Return a key that means one of our tags and is none, or None; of several the first.

    Whoever set it wanted to be heard, and nobody knows what was to be said, so it keeps.
    """
    return next((key for key in sorted(tags) if is_misspelt(key)), None)


def wished_ttl(tags: Mapping[str, str]) -> Wish | None:
    """Return what a TTL tag asks for, or None where there is none."""
    value = tags.get(TTL)
    if value is None:
        return None
    tag = Link("tag", f"{TTL}={value}")
    if value.strip() == "never":
        return Wish(tag)
    try:
        ttl_ms = parse_duration(value.strip())
    except ValueError:
        ttl_ms = 0
    # An age of zero is no age: everything would be stale at once.
    return Wish(tag, ttl_ms, is_malformed=not ttl_ms)


def delete_after_ms(tags: Mapping[str, str], zone: tzinfo) -> int | None:
    """Return when a mark lets something go, ms since the epoch; None without a (readable) mark.

    Args:
        tags: of the thing itself.
        zone: in which a plain day begins; a time without a zone is UTC.
    """
    text = tags.get(DELETE_AFTER, "").strip()
    try:
        if _DAY.fullmatch(text):
            return _midnight(date.fromisoformat(text), zone)
        return parse_time(text)
    except (ValueError, OverflowError):
        return None


def is_outdated(after_ms: int, active_ms: int | None, grace_ms: int) -> bool:
    """Tell whether a mark was written before the last activity of what carries it.

    Args:
        after_ms: when the mark lets it go, ms since the epoch.
        active_ms: its last activity, ms since the epoch; None when it is not known.
        grace_ms: how long before that time a mark is written.
    """
    return active_ms is not None and after_ms - grace_ms <= active_ms


def malformed_tags(inventory: Inventory, keep_tag: str, zone: tzinfo) -> Iterator[Diagnostic]:
    """Yield what nobody can understand among our tags; it keeps what carries it."""
    found = []
    carriers: tuple[tuple[str, Iterator[tuple[str, Mapping[str, str]]]], ...] = (
        ("experiment", ((e.experiment_id, e.tags) for e in inventory.experiments.values())),
        ("run", ((r.run_id, r.tags) for r in inventory.runs.values())),
        ("registered model", ((m.name, m.tags) for m in inventory.registered_models.values())),
        ("model version", ((v.key, v.tags) for v in inventory.model_versions.values())),
    )
    for kind, entities in carriers:
        for entity_id, tags in entities:
            found += [
                f"{kind} {entity_id}: {key[:_LONGEST]}={tags[key][:_LONGEST]}"
                for key in _unreadable(tags, keep_tag, zone)
            ]
    for sentence in sorted(found)[:_MOST_NAMED]:
        yield Diagnostic(MALFORMED, f"A tag cannot be understood, so it keeps. {sentence}")
    if len(found) > _MOST_NAMED:
        more = len(found) - _MOST_NAMED
        yield Diagnostic(MALFORMED, f"{more:,} more tags cannot be understood, so they keep.")


def _unreadable(tags: Mapping[str, str], keep_tag: str, zone: tzinfo) -> Iterator[str]:
    if keep_tag in tags:
        text = tags[keep_tag].strip().lower()
        if text not in _YES | _NO and _until(text, zone) is None:
            yield keep_tag
    wish = wished_ttl(tags) if TTL in tags else None
    if wish and wish.is_malformed:
        yield TTL
    if DELETE_AFTER in tags and delete_after_ms(tags, zone) is None:
        yield DELETE_AFTER
    yield from filter(is_misspelt, sorted(tags))


def _until(text: str, zone: tzinfo) -> int | None:
    """Return when the last day of ``until:2027-01-31`` is over, ms since the epoch."""
    match = re.fullmatch(r"until:\s*(\d{4}-\d{2}-\d{2})", text, re.ASCII)
    if not match:
        return None
    try:
        return _midnight(date.fromisoformat(match[1]) + timedelta(days=1), zone)
    except (ValueError, OverflowError):
        return None


def _midnight(day: date, zone: tzinfo) -> int:
    """Return when a day begins, ms since the epoch."""
    return (datetime(day.year, day.month, day.day, tzinfo=zone) - _EPOCH) // timedelta(
        milliseconds=1
    )
