"""The tags of a run that a decision may need, and a digest over all of them.

A million runs have a dozen tags each (git commits, notes, notebook URLs).  All of them are part of
the review, so a digest is computed when a run is read; only tags that a decision may need are kept
in memory.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType

from mlflow_gc.domain.canonical_json import short_digest

KEEP = "mlflow_gc.keep"
TTL = "mlflow_gc.ttl"
DELETE_AFTER = "mlflow_gc.delete_after"

OWN_TAGS = frozenset({KEEP, TTL, DELETE_AFTER})
"""Instructions to this program: they are applied, not compared."""

USER_TAG = "mlflow.user"
RUN_NAME_TAG = "mlflow.runName"
PARENT_TAG = "mlflow.parentRunId"
PROMPT_TAG = "mlflow.prompt.is_prompt"

# ``mlflow-gc``, ``MLflow GC/keep``, ``mlflow.gc_anything``; not ``mlflow.gcp_project``.
_OWN_NAMESPACE = re.compile(r"[\W_]*mlflow[\W_]*gc(?:[\W_]|\Z)", re.IGNORECASE)
_NAMES = ("keep", "ttl", "deleteafter")
_IN_FULL = tuple(f"mlflowgc{name}" for name in _NAMES)
_PREFIXES = ("mlflowgc", "gcmlflow", "mlflow", "mlgc", "gc")
_MEANT = frozenset(
    word for prefix in _PREFIXES for name in _NAMES for word in (prefix + name, name + prefix)
)
_SIMILAR = 0.86
"""Allows two wrong, missing or swapped letters of twelve."""


@lru_cache(maxsize=65_536)
def is_misspelt(key: str) -> bool:
    """Tell whether a key was meant to be one of this program's tags and is not.

    The key may have another case, other separators or spaces, another prefix or a typing mistake,
    or be unknown in this program's namespace.
    """
    if key in OWN_TAGS:
        return False
    text = unicodedata.normalize("NFKC", key)
    if _OWN_NAMESPACE.match(text):
        return True
    letters = "".join(character for character in text.casefold() if character.isalnum())
    # A foreign namespace in front of the whole key.
    if letters.endswith(_IN_FULL) or letters in _MEANT:
        return True
    return bool(get_close_matches(letters, _IN_FULL, n=1, cutoff=_SIMILAR))


NO_TAGS: Mapping[str, str] = MappingProxyType({})
"""Shared by all runs without tags."""

_ALWAYS = frozenset({PARENT_TAG, "mlflow.runType"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """The data of runs that a policy needs in addition to what every policy needs.

    Attributes:
        metrics: names of metrics whose latest values to keep.
        tags: tags to keep besides those that every decision reads.
        content_digest: whether to compute the digest of the other content (run_content.py).
    """

    metrics: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    content_digest: bool = False

    def of(self, tags: Mapping[str, str], user_id: str) -> dict[str, str]:
        """Return the tags to keep.

        Args:
            tags: all tags of a run.
            user_id: of the run; a user tag with the same value is left out.
        """
        return {
            key: value
            for key, value in tags.items()
            if key in _ALWAYS
            or key in OWN_TAGS
            or is_misspelt(key)
            or key in self.tags
            or (key == USER_TAG and value != user_id)
        }


ALWAYS_WANTED = Wanted()
"""The data that every policy needs."""


def tags_digest(tags: Mapping[str, str], *also: str) -> str:
    """Return a digest over tags, without instructions to this program, and more texts."""
    own_left_out = {key: value for key, value in tags.items() if key not in OWN_TAGS}
    return short_digest([own_left_out, *also])
