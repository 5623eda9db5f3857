"""Reasons and protections as groups: the texts of a plan are specific to each entity."""

from __future__ import annotations

import re
from functools import lru_cache

from mlflow_gc.domain.reasons import Reason

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_COUNT = re.compile(r"(?<![\w.,/=-])\d+ (day|hour|run|version|time)s?(?![\w.-])")
_MISSING = re.compile(r"^([a-z_ ]+) .* is in no table$", re.DOTALL)
# Names given by people: their numbers are significant.
_NAMED = ("rule ", "tag ")


def protection_text(code: str) -> str:
    """Return why an entity is protected, with the code of a plan; which may be unknown."""
    try:
        sentence = Reason(code).sentence
    except ValueError:  # of a newer version
        sentence = code.replace("_", " ")
    return f"{sentence} ({code})"


@lru_cache(maxsize=100_000)
def reason_group(reason: str) -> str:
    """Return the group of a reason to delete: its text without ages, counts, times and missing ids."""
    if missing := _MISSING.match(reason):
        return f"{missing[1]} … is in no table"
    if reason.startswith(_NAMED):
        return reason
    return _COUNT.sub(r"N \1s", _TIME.sub("…", reason))
