"""The kinds of entities: what a kind is called, how one is identified, what happens to it.

What differs from kind to kind and is plain data stands here, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """One kind of entity.

    Attributes:
        name: of one, in journals, events and messages: ``model_version``.
        entries: of the list in a plan: ``model_versions``.
        word: for people, of one: ``model version``.
        words: for people, of many: ``model versions``.
        identity: the fields of an entry that identify it; together they are its id.
        display_name: the field with the name that people gave it.
        created: the field with the time of its creation.
        active: the fields with the times of what was done to it, the creation included.
        last_active: that of them by which two plans are compared.
        is_reused: whether the id of one that is gone is handed out again.
        is_recoverable: whether MLflow can restore one (it has a trash).
    """

    name: str
    entries: str
    word: str
    words: str
    identity: tuple[str, ...]
    display_name: str
    created: str
    active: tuple[str, ...]
    last_active: str
    is_reused: bool
    is_recoverable: bool

    @property
    def nouns(self) -> tuple[str, str]:
        """The words for one and for many."""
        return self.word, self.words

    def id_of(self, entry: Mapping[str, Any]) -> str:
        """Return the id of an entry of a plan: a run id, an experiment id or ``name/version``."""
        return "/".join([str(entry[field]) for field in self.identity])

    def name_of(self, entry: Mapping[str, Any]) -> str:
        """Return the name that people gave it."""
        name: str = entry[self.display_name]
        return name

    def last_activity(self, entry: Mapping[str, Any]) -> str | None:
        """Return the latest of the times of an entry, None when it has none."""
        # RFC 3339, all of the same form: the order of the texts is that of the times.
        return max((time for field in self.active if (time := entry.get(field))), default=None)


EXPERIMENT = Kind(
    name="experiment",
    entries="experiments",
    word="experiment",
    words="experiments",
    identity=("experiment_id",),
    display_name="name",
    created="creation_time",
    active=("creation_time", "last_update_time", "last_activity_time"),
    last_active="last_activity_time",
    # SQLite does so after ``mlflow gc``.
    is_reused=True,
    is_recoverable=True,
)
RUN = Kind(
    name="run",
    entries="runs",
    word="run",
    words="runs",
    identity=("run_id",),
    display_name="run_name",
    created="start_time",
    active=("start_time", "last_activity_time"),
    last_active="last_activity_time",
    is_reused=False,
    is_recoverable=True,
)
MODEL_VERSION = Kind(
    name="model_version",
    entries="model_versions",
    word="model version",
    words="model versions",
    identity=("name", "version"),
    display_name="name",
    created="creation_timestamp",
    active=("creation_timestamp", "last_updated_timestamp"),
    last_active="last_updated_timestamp",
    # The versions of a model that is made again begin at 1.
    is_reused=True,
    is_recoverable=False,
)
REGISTERED_MODEL = Kind(
    name="registered_model",
    entries="registered_models",
    word="registered model",
    words="registered models",
    identity=("name",),
    display_name="name",
    created="creation_timestamp",
    active=("creation_timestamp", "last_updated_timestamp"),
    last_active="last_updated_timestamp",
    is_reused=True,
    is_recoverable=False,
)

ALL = (EXPERIMENT, RUN, MODEL_VERSION, REGISTERED_MODEL)
"""In the order of the lists of a plan."""

KINDS = {kind.entries: kind for kind in ALL}
"""By the name of their list in a plan, in its order."""

BY_NAME = {kind.name: kind for kind in ALL}
"""By the name of one."""
