"""Time as MLflow stores it: whole milliseconds since 1970-01-01 UTC.

Plans contain times as RFC 3339 UTC with three decimals, without loss.
"""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta, timezone
from functools import lru_cache

DAY_MS = 86_400_000

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MAX_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z, the last instant RFC 3339 can write
_MIN_MS = -62_135_596_800_000  # 0001-01-01T00:00:00.000Z
_TIME = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})"
    r"(?:[Tt ](?P<clock>\d{2}:\d{2}(?::\d{2})?)(?:\.(?P<fraction>\d{1,9}))?"
    r"(?P<zone>[Zz]|[+-]\d{2}:\d{2})?)?",
    re.ASCII,
)


def now_ms() -> int:
    """Return this machine's clock in ms since the epoch, UTC."""
    return time.time_ns() // 1_000_000


def format_ms(ms: int) -> str:
    """Return ``2026-05-01T10:02:11.123Z`` for a time in ms since the epoch.

    Raises:
        ValueError: the time lies outside the years 1 to 9999.
    """
    if not is_writable(ms):
        msg = f"{ms} ms is outside the years 1 to 9999"
        raise ValueError(msg)
    days, ms = divmod(ms, DAY_MS)
    minutes, ms = divmod(ms, 60_000)
    seconds, ms = divmod(ms, 1000)
    return f"{_date(days)}T{_MINUTES[minutes]}:{_SECONDS[seconds]}.{_MILLISECONDS[ms]}Z"


# Plans contain millions of times; formatting the numbers takes three times as long.
_MINUTES = tuple(f"{minute // 60:02}:{minute % 60:02}" for minute in range(24 * 60))
_SECONDS = tuple(f"{second:02}" for second in range(60))
_MILLISECONDS = tuple(f"{ms:03}" for ms in range(1000))


@lru_cache(maxsize=4096)  # of some hundred days
def _date(days: int) -> str:
    return (_EPOCH + timedelta(days=days)).date().isoformat()


def is_writable(ms: int) -> bool:
    """Tell whether :func:`format_ms` can write this time (years 1 to 9999)."""
    return _MIN_MS <= ms <= _MAX_MS


def parse_time(text: str) -> int:
    """Return ms since the epoch for an RFC 3339 time or a plain date (midnight).

    A time without a zone is UTC.  Digits below one millisecond are cut off.

    Raises:
        ValueError: the text is not such a time.
    """
    match = _TIME.fullmatch(text.strip())
    if not match:
        msg = f"{text!r} is not a time such as 2026-05-01 or 2026-05-01T10:02:11.123Z"
        raise ValueError(msg)
    clock = match["clock"] or "00:00:00"
    if len(clock) == len("00:00"):
        clock += ":00"
    zone = match["zone"] or "Z"
    zone = "+00:00" if zone in "Zz" else zone
    instant = datetime.fromisoformat(f"{match['date']}T{clock}{zone}")
    whole_seconds = (instant - _EPOCH) // timedelta(seconds=1)
    return whole_seconds * 1000 + int((match["fraction"] or "0").ljust(3, "0")[:3])


_UNITS_MS = {"w": 7 * DAY_MS, "d": DAY_MS, "h": 3_600_000, "m": 60_000, "s": 1000}


def parse_duration(text: str) -> int:
    """Return ms for ``45s``, ``30m``, ``12h``, ``30d`` or ``4w``.

    Raises:
        ValueError: the text is not a whole number of one of these units.
    """
    match = re.fullmatch(r"(\d{1,12})([smhdw])", text, re.ASCII)
    if not match:
        msg = f"{text!r} is not a duration such as 30d (units: s, m, h, d, w)"
        raise ValueError(msg)
    return int(match[1]) * _UNITS_MS[match[2]]


def format_duration(ms: int) -> str:
    """Return a duration of whole seconds in its largest unit up to days: ``7d``, ``90m``."""
    unit = next((u for u in "dhm" if ms % _UNITS_MS[u] == 0), "s")
    return f"{ms // _UNITS_MS[unit]}{unit}"
