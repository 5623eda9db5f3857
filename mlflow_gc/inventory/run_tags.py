"""What is kept of the tags of a run: what a decision may need, and a digest over all of them.

A million runs have a dozen tags each (git commits, notes, notebook URLs).  All of them are part of
what was reviewed, so a digest is made when a run is read; in memory stay only those that somebody
may ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mlflow_gc.canonical import digest

OWN_TAGS = "mlflow_gc."
"""Tags of this prefix are instructions to this program: they are obeyed, not compared."""

USER_TAG = "mlflow.user"

NO_TAGS: Mapping[str, str] = MappingProxyType({})
"""One for all the runs that have none."""

_ALWAYS = frozenset({"mlflow.parentRunId", "mlflow.runType"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a policy asks of runs beyond what always counts.

    Attributes:
        metrics: whose latest values to keep.
        tags: which tags to keep besides those that every decision looks at.
    """

    metrics: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()

    def of(self, tags: Mapping[str, str], user_id: str) -> dict[str, str]:
        """Return the tags to keep.

        Args:
            tags: all tags of a run.
            user_id: of the run; a user tag that says the same is left out.
        """
        return {
            key: value
            for key, value in tags.items()
            if key in _ALWAYS
            or key.startswith(OWN_TAGS)
            or key in self.tags
            or (key == USER_TAG and value != user_id)
        }


ALWAYS_WANTED = Wanted()
"""What counts under any policy."""


def tags_digest(tags: Mapping[str, str], *also: str) -> str:
    """Return a digest over tags, instructions to this program aside, and some more texts."""
    own_left_out = {key: value for key, value in tags.items() if not key.startswith(OWN_TAGS)}
    return digest([own_left_out, *also])[: len("sha256:") + 32]
