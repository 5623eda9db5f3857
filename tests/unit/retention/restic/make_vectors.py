"""Ask restic itself which snapshots it keeps, and write its answers to ``vectors.json``.

The calendar rules of ``keep`` are promised to be those of ``restic forget`` (docs/policy.md), so
restic is asked, and nothing here or in the package is copied from it:

    python tests/unit/retention/restic/make_vectors.py [RESTIC]

RESTIC is a restic from 0.16 on (the first with ``unlimited``; its oldest-snapshot rule is in all of
these).  The script makes a throw-away repository with one empty, backdated backup per moment of
``WORLDS`` (one host each, so that restic judges each on its own), runs ``restic forget --dry-run
--json`` once for each of ``SETTINGS``, and takes some minutes.  ``test_restic.py`` compares; it
needs no restic.

restic's calendar is that of the UTC offset that a backup was made with, and ``forget`` does not
change it.  So each backup is made with the time zone of its world, or, in the hour that a clock
reads twice, with the fixed offset that is meant.  The offset that restic stored is checked.

What is in ``vectors.json``: ``settings`` as in a policy file, and for each world its time zone, its
moments from the newest to the oldest, and, for each of the settings, one letter per moment: ``k``
for kept.  Of backups made at the same moment it does not matter which are kept, but how many;
those kept come first.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

OUTPUT = Path(__file__).with_name("vectors.json")
HOUR = timedelta(hours=1)


def _some(zone: str, seed: int, count: int, days: int) -> list[str]:
    """Return made-up moments to the millisecond in so many days, some of them twice."""
    rng = random.Random(seed)
    start = datetime(2022, 5, 1, tzinfo=ZoneInfo(zone))
    found = [
        (start + timedelta(milliseconds=rng.randrange(days * 86_400_000))).isoformat(
            timespec="milliseconds"
        )
        for _ in range(count)
    ]
    return [*found, *found[:3]]


def _hourly(zone: str, start: str, count: int) -> list[str]:
    """Return hours that really pass, across changes of the clock."""
    first = datetime.fromisoformat(start).astimezone(timezone.utc)
    return [(first + n * HOUR).astimezone(ZoneInfo(zone)).isoformat() for n in range(count)]


# Local times without an offset, and where a clock reads one twice, with it.
_NEW_YEARS = [
    *("2015-12-31T12:00:00", "2016-01-01T12:00:00", "2016-01-03T23:59:59", "2016-01-04T00:00:00"),
    *("2020-12-27T23:59:59", "2020-12-28T00:00:00", "2020-12-31T08:00:00", "2021-01-01T08:00:00"),
    *("2021-01-03T23:59:59.999", "2021-01-04T00:00:00", "2024-12-29T22:00:00"),
    *("2024-12-30T00:00:00", "2024-12-31T23:59:59.999", "2025-01-01T00:00:00"),
    "2025-01-06T00:00:00",
]
WORLDS: dict[str, tuple[str, list[str]]] = {
    "one": ("UTC", ["2026-01-01T00:00:00"]),
    "two of one day": ("UTC", ["2026-01-01T00:00:00", "2026-01-01T23:59:59.999"]),
    "one second": (
        "UTC",
        [
            *("2026-02-03T04:05:06", "2026-02-03T04:05:06", "2026-02-03T04:05:06"),
            *("2026-02-03T04:05:06.001", "2026-02-03T04:05:06.999", "2026-02-03T04:05:06.999"),
        ],
    ),
    "the same moments over days": (
        "UTC",
        [
            *["2026-02-03T04:05:06"] * 2,
            *["2026-02-02T04:05:06.5"] * 2,
            *["2026-01-31T23:59:59.999"] * 3,
            *["2025-12-31T00:00:00"] * 2,
        ],
    ),
    "Berlin, summer time begins": (
        "Europe/Berlin",
        [
            *("2026-03-27T12:00:00", "2026-03-28T00:00:00", "2026-03-28T23:30:00"),
            *("2026-03-29T00:00:00", "2026-03-29T00:30:00", "2026-03-29T01:59:59.999"),
            *("2026-03-29T03:00:00", "2026-03-29T23:59:59.999", "2026-03-30T00:00:00"),
            *("2026-03-30T00:30:00", "2026-03-31T23:30:00", "2026-04-01T00:30:00"),
        ],
    ),
    "Berlin, summer time ends": (
        "Europe/Berlin",
        [
            *("2026-10-24T23:59:59", "2026-10-25T00:00:00", "2026-10-25T02:30:00+02:00"),
            *("2026-10-25T02:30:00+01:00", "2026-10-25T23:30:00", "2026-10-26T00:00:00"),
            *("2026-10-31T23:30:00", "2026-11-01T00:30:00", "2026-12-31T23:30:00"),
            "2027-01-01T00:30:00",
        ],
    ),
    "New York, both changes": (
        "America/New_York",
        [
            *("2025-11-01T23:59:59.999", "2025-11-02T01:30:00-04:00", "2025-11-02T01:30:00-05:00"),
            *("2025-11-02T23:59:59", "2025-11-03T00:00:00", "2025-12-31T19:30:00"),
            *("2026-01-01T00:00:00", "2026-03-07T23:59:00", "2026-03-08T01:59:59"),
            *("2026-03-08T03:00:00", "2026-03-08T23:30:00", "2026-03-09T00:30:00"),
        ],
    ),
    "leap days": (
        "UTC",
        [
            *("2020-02-29T12:00:00", "2023-02-28T12:00:00", "2024-02-28T23:59:59.999"),
            *("2024-02-29T00:00:00", "2024-02-29T23:59:59.999", "2024-03-01T00:00:00"),
            *("2024-03-31T10:00:00", "2025-02-28T12:00:00", "2025-03-01T12:00:00"),
        ],
    ),
    "ISO weeks at New Year": ("UTC", _NEW_YEARS),
    "ISO weeks at New Year in Auckland": ("Pacific/Auckland", _NEW_YEARS),
    "sparse years": (
        "UTC",
        [
            *("2016-07-01T00:00:00", "2018-01-01T00:00:00", "2018-12-31T23:59:59"),
            *("2021-06-15T12:00:00", "2021-06-15T12:00:01", "2026-11-24T00:00:00"),
        ],
    ),
    "Auckland, hour by hour": (
        "Pacific/Auckland",
        _hourly("Pacific/Auckland", "2026-04-03T20:00:00+00:00", 30),
    ),
    "half an hour from UTC": (
        "Asia/Kolkata",
        [
            *("2025-12-31T23:59:59.999", "2026-01-01T00:00:00", "2026-01-01T05:29:59"),
            *("2026-01-01T05:30:00", "2026-01-04T23:59:59", "2026-01-05T00:00:00"),
        ],
    ),
    "Apia had no 30 December 2011": (
        "Pacific/Apia",
        [
            *("2011-12-28T12:00:00", "2011-12-29T00:00:00", "2011-12-29T23:59:59.999"),
            *("2011-12-31T00:00:00", "2011-12-31T12:00:00", "2012-01-01T00:00:00"),
            "2012-01-02T00:00:00",
        ],
    ),
    "some weeks": ("Europe/Berlin", _some("Europe/Berlin", 1, 25, 40)),
    "some years": ("America/New_York", _some("America/New_York", 2, 32, 1700)),
}

_ALONE: list[dict[str, int | str]] = [
    {rule: count}
    for rule in ("last", "daily", "weekly", "monthly", "yearly")
    for count in (1, 2, 3, 5, 12, "all")
]
SETTINGS: list[dict[str, int | str]] = [
    *_ALONE,
    {"last": 1, "daily": 2},
    {"last": 4, "yearly": 1},
    {"daily": 3, "weekly": 2},
    {"daily": 2, "monthly": 2},
    {"weekly": 2, "monthly": 3},
    {"weekly": 4, "yearly": 2},
    {"monthly": 2, "yearly": 2},
    {"weekly": "all", "daily": 1},
    {"monthly": "all", "last": 3},
    {"yearly": "all", "weekly": 1},
    {"daily": 7, "weekly": 4, "monthly": 12, "yearly": 3},
    {"last": 2, "daily": 2, "weekly": 2, "monthly": 2, "yearly": 2},
    {"last": 5, "daily": 7, "weekly": 4, "monthly": 12, "yearly": "all"},
]


class Restic:
    """A restic and a repository of its own below a directory."""

    def __init__(self, program: str, directory: Path) -> None:
        self._program = program
        self._empty = directory / "empty"
        self._empty.mkdir()
        self._environment = {
            **os.environ,
            "RESTIC_REPOSITORY": str(directory / "repository"),
            "RESTIC_PASSWORD": "throw-away",
        }
        self.ask("init")

    def ask(self, *arguments: str, zone: str = "UTC") -> str:
        """Run a command and return what it prints."""
        return subprocess.run(
            [self._program, "--no-cache", "--quiet", *arguments],
            env={**self._environment, "TZ": zone},
            check=True,
            text=True,
            stdout=subprocess.PIPE,
        ).stdout

    def back_up(self, host: str, moment: datetime) -> None:
        """Make an empty backup with the UTC offset of a moment."""
        zone = str(moment.tzinfo)
        if moment.utcoffset() != moment.replace(fold=1 - moment.fold).utcoffset():
            hours = (moment.utcoffset() or timedelta()) // HOUR
            # The signs of these zones are those of POSIX, the other way round.
            zone = f"Etc/GMT{-hours:+}"
        shown = moment.strftime("%Y-%m-%d %H:%M:%S.%f")
        self.ask("backup", "--host", host, "--time", shown, str(self._empty), zone=zone)

    def forget(self, setting: dict[str, int | str]) -> dict[str, list[str]]:
        """Return the times that a setting keeps, by host."""
        flags = [
            f"--keep-{rule}={'unlimited' if count == 'all' else count}"
            for rule, count in setting.items()
        ]
        groups = json.loads(self.ask("forget", "--dry-run", "--json", *flags))
        return {group["host"]: [snapshot["time"] for snapshot in group["keep"]] for group in groups}


def _moment(text: str, zone: ZoneInfo) -> datetime:
    moment = datetime.fromisoformat(_six_digits(text))
    # Through UTC, which sets the fold, and moves a time that the clock skips.
    local = moment if moment.tzinfo else moment.replace(tzinfo=zone)
    return local.astimezone(timezone.utc).astimezone(zone)


def _six_digits(text: str) -> str:
    """Return a time that Python 3.10 reads, too."""
    head, dot, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return f"{head}.{digits.ljust(6, '0')}{rest[len(digits) :]}" if dot else text


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")


def make(program: str) -> dict[str, Any]:
    """Return the vectors."""
    with tempfile.TemporaryDirectory() as directory:
        restic = Restic(program, Path(directory))
        worlds: list[dict[str, Any]] = []
        for name, (zone, texts) in WORLDS.items():
            moments = [_moment(text, ZoneInfo(zone)) for text in texts]
            moments.sort(key=datetime.timestamp, reverse=True)
            for moment in moments:
                restic.back_up(name, moment)
            worlds.append(
                {"name": name, "zone": zone, "times": [_written(m) for m in moments], "kept": []}
            )
            print(name, len(moments), file=sys.stderr)
        _check_stored(worlds, json.loads(restic.ask("snapshots", "--json")))
        for setting in SETTINGS:
            retained = restic.forget(setting)
            for world in worlds:
                left = Counter(_written(_of_restic(text)) for text in retained[world["name"]])
                letters = ""
                for text in world["times"]:
                    letters += "k" if left[text] > 0 else "."
                    left[text] -= 1
                world["kept"].append(letters)
        return {
            "restic": restic.ask("version").split(" compiled")[0],
            "settings": SETTINGS,
            "worlds": worlds,
        }


def _of_restic(text: str) -> datetime:
    return datetime.fromisoformat(_six_digits(text.replace("Z", "+00:00")))


def _check_stored(worlds: list[dict[str, Any]], snapshots: list[dict[str, Any]]) -> None:
    wanted = Counter((world["name"], text) for world in worlds for text in world["times"])
    stored = Counter((s["hostname"], _written(_of_restic(s["time"]))) for s in snapshots)
    if wanted != stored:
        sys.exit(f"restic stored other times: {wanted - stored}, {stored - wanted}")


def _render(vectors: dict[str, Any]) -> str:
    """Return JSON with one setting, one world's times or one answer to a line."""

    def lines(values: list[Any], indent: int) -> str:
        pad = "\n" + " " * indent
        return f"[{pad}" + f",{pad}".join(json.dumps(value) for value in values) + "]"

    worlds = ",\n".join(
        f'  {{"name": {json.dumps(world["name"])}, "zone": {json.dumps(world["zone"])},\n'
        f'   "times": {lines(world["times"], 4)},\n'
        f'   "kept": {lines(world["kept"], 4)}}}'
        for world in vectors["worlds"]
    )
    return (
        f'{{"restic": {json.dumps(vectors["restic"])},\n'
        f' "settings": {lines(vectors["settings"], 2)},\n'
        f' "worlds": [\n{worlds}]}}\n'
    )


if __name__ == "__main__":
    OUTPUT.write_text(_render(make(sys.argv[1] if len(sys.argv) > 1 else "restic")), "utf-8")
