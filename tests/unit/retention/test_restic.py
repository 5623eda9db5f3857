"""The calendar rules of ``keep`` are restic's: what ``restic forget`` kept, for each of its answers.

The answers are restic's own, to questions that ``restic/make_vectors.py`` asked it.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mlflow_gc.domain.timestamps import parse_time
from mlflow_gc.retention.keep_rules import CALENDAR, Candidate, Keep, winners

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "restic/vectors.json").read_bytes())
SETTINGS: list[dict[str, int | str]] = VECTORS["settings"]
WORLDS: list[dict[str, Any]] = VECTORS["worlds"]
AS_OF = parse_time("2030-01-01")

each_world = pytest.mark.parametrize("world", WORLDS, ids=lambda world: world["name"])
each_setting = pytest.mark.parametrize(
    "number", range(len(SETTINGS)), ids=lambda n: json.dumps(SETTINGS[n])
)


def _of_restic(world: dict[str, Any], number: int) -> Counter[int]:
    """How many restic kept of each moment."""
    pairs = zip(world["times"], world["kept"][number], strict=True)
    return Counter(parse_time(text) for text, letter in pairs if letter == "k")


def _of_ours(world: dict[str, Any], setting: dict[str, int | str], seed: int = 0) -> Counter[int]:
    candidates = []
    for number, text in enumerate(world["times"]):
        ms = parse_time(text)
        # The id tells those of one moment apart, as run ids do; which of them stay is ours to say.
        candidates.append(Candidate(key=number, time_ms=ms, order=(ms, str(number)), active_ms=ms))
    random.Random(seed).shuffle(candidates)
    found = winners(
        candidates, Keep.from_document(setting), as_of_ms=AS_OF, zone=ZoneInfo(world["zone"])
    )
    times = {candidate.key: candidate.time_ms for candidate in candidates}
    return Counter(times[key] for key in found)


@each_world
@each_setting
def test_what_restic_kept_is_kept_and_nothing_else(world, number):
    """The same moments, and as many of each."""
    assert _of_ours(world, SETTINGS[number]) == _of_restic(world, number)


@each_world
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_members_does_not_matter(world, seed):
    """restic sorts its snapshots, a server lists runs in any order."""
    for setting in SETTINGS:
        assert _of_ours(world, setting, seed + 1) == _of_ours(world, setting)


def test_there_are_vectors_for_all_that_is_promised():
    """Each rule alone, ``all``, all together; two clocks that change; many answers that differ."""
    assert len(SETTINGS) * len(WORLDS) >= 500
    for rule in ("last", *CALENDAR):
        assert {rule: 1} in SETTINGS
        assert {rule: "all"} in SETTINGS
    assert any(set(setting) == {"last", *CALENDAR} for setting in SETTINGS)
    assert {"UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland"} <= {
        world["zone"] for world in WORLDS
    }
    answers = {(w["name"], letters) for w in WORLDS for letters in w["kept"]}
    assert len(answers) >= 150


@each_world
def test_every_answer_is_about_every_moment_and_some_drop_one(world):
    """Newest first, as they are written; a world of one moment has nothing to drop."""
    moments = [parse_time(text) for text in world["times"]]
    assert moments == sorted(moments, reverse=True)
    assert len(world["kept"]) == len(SETTINGS)
    for letters in world["kept"]:
        assert len(letters) == len(moments)
        assert set(letters) <= {"k", "."}
        # The newest is the first of every bucket.
        assert letters[0] == "k"
    assert len(moments) == 1 or any("." in letters for letters in world["kept"])
