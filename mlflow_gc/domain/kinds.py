"""The kinds of entities: names, identity, and properties of each kind.

All plain data that differs between kinds is defined here, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """One kind of entity.

    Attributes:
        name: singular, in journals, events and messages: ``model_version``.
        identity: the fields of an entry that identify it; together they are its id.
        display_name: the field with its name.
        belongs_to: ``experiment`` or ``registered_model``, which belong to themselves; empty for
            kinds that belong to neither.
        active: the fields with the times of its activity, that of its creation first; two plans
            are compared by the last of them.
        is_reused: whether the id of a deleted entity can be assigned again.
        is_recoverable: whether MLflow can restore it from the trash.
    """

    name: str
    identity: tuple[str, ...]
    display_name: str
    belongs_to: str
    active: tuple[str, ...]
    is_reused: bool
    is_recoverable: bool

    @property
    def entries(self) -> str:
        """The field of a plan that lists them: ``model_versions``."""
        return f"{self.name}s"

    @property
    def singular(self) -> str:
        """For people: ``model version``."""
        return self.name.replace("_", " ")

    @property
    def plural(self) -> str:
        """For people: ``model versions``."""
        return f"{self.singular}s"

    @property
    def nouns(self) -> tuple[str, str]:
        """The singular and the plural."""
        return self.singular, self.plural

    @property
    def created(self) -> str:
        """The field with the time of its creation."""
        return self.active[0]

    def id_of(self, entry: Mapping[str, Any]) -> str:
        """Return the id of an entry of a plan: a run id, an experiment id or ``name/version``."""
        return "/".join([str(entry[field]) for field in self.identity])

    def name_of(self, entry: Mapping[str, Any]) -> str:
        """Return the name in an entry of a plan."""
        name: str = entry[self.display_name]
        return name

    @property
    def has_name(self) -> bool:
        """Whether people can give it a name beside its id."""
        return self.display_name.endswith("name") and self.display_name not in self.identity

    def last_activity(self, entry: Mapping[str, Any]) -> str | None:
        """Return the latest of the times of an entry, or None."""
        # All times have the same RFC 3339 form, so the order of texts is the order of times.
        return max((time for field in self.active if (time := entry.get(field))), default=None)


EXPERIMENT = Kind(
    name="experiment",
    identity=("experiment_id",),
    display_name="name",
    belongs_to="experiment",
    active=("creation_time", "last_update_time", "last_activity_time"),
    # SQLite assigns ids again after ``mlflow gc``.
    is_reused=True,
    is_recoverable=True,
)
RUN = Kind(
    name="run",
    identity=("run_id",),
    display_name="run_name",
    belongs_to="experiment",
    active=("start_time", "last_activity_time"),
    is_reused=False,
    is_recoverable=True,
)
MODEL_VERSION = Kind(
    name="model_version",
    identity=("name", "version"),
    display_name="name",
    belongs_to="registered_model",
    active=("creation_timestamp", "last_updated_timestamp"),
    # The versions of a model that is created again begin at 1.
    is_reused=True,
    is_recoverable=False,
)
REGISTERED_MODEL = Kind(
    name="registered_model",
    identity=("name",),
    display_name="name",
    belongs_to="registered_model",
    active=("creation_timestamp", "last_updated_timestamp"),
    is_reused=True,
    is_recoverable=False,
)
LOGGED_MODEL = Kind(
    name="logged_model",
    identity=("model_id",),
    display_name="name",
    belongs_to="experiment",
    active=("creation_timestamp", "last_updated_timestamp"),
    is_reused=False,
    # Only by SQL.
    is_recoverable=False,
)
FILE = Kind(
    name="file",
    identity=("uri",),
    display_name="uri",
    belongs_to="",
    active=("last_modified_time",),
    is_reused=True,
    is_recoverable=False,
)
"""A folder with the files of a run, logged model or trace that no longer exists."""
LINK = Kind(
    name="link",
    identity=("table", "source", "destination"),
    display_name="missing",
    belongs_to="",
    active=("created_time",),
    is_reused=True,
    is_recoverable=False,
)
"""A row that links two entities, of which one at least no longer exists."""

PRUNED = (EXPERIMENT, RUN, MODEL_VERSION, REGISTERED_MODEL)
"""The kinds in a plan of ``prune``, in its order."""

PURGED = (EXPERIMENT, RUN, MODEL_VERSION, LOGGED_MODEL, FILE, LINK)
"""The kinds in a plan of ``purge``, in its order; of model versions only the tombstones."""

ALL = (*PRUNED, LOGGED_MODEL, FILE, LINK)
"""In the order of the lists of a plan; those of the other action are empty."""

KINDS = {kind.entries: kind for kind in ALL}
"""By the field of a plan that lists them."""

IRREVERSIBLE_FIRST = (*(kind for kind in ALL if not kind.is_recoverable), RUN, EXPERIMENT)
"""All kinds, those that MLflow cannot restore first."""

PRUNE, PURGE = "prune", "purge"
"""The actions of a plan."""

RARE = {
    PRUNE: frozenset({REGISTERED_MODEL, LINK}),
    PURGE: frozenset({REGISTERED_MODEL, LINK, MODEL_VERSION}),
}
"""By action, the kinds that views show only where there are any."""


def ordered(*first: Kind, among: Sequence[Kind] = ALL) -> tuple[Kind, ...]:
    """Return kinds, some of them first: a view with an order of its own leaves none out."""
    return (*first, *(kind for kind in among if kind not in first))


def action_of(document: Mapping[str, Any]) -> str:
    """Return the action of a plan (or a document about plans); plans before 1.1 do not name it."""
    action: str = document.get("action", PRUNE)
    return action


def is_purge(document: Mapping[str, Any]) -> bool:
    """Tell whether a plan (or a document about plans) deletes permanently from the trash."""
    return action_of(document) == PURGE


def kinds_of(document: Mapping[str, Any]) -> dict[str, Kind]:
    """Return the kinds that a plan (or a document about plans) lists, by their fields, in order."""
    found = PURGED if is_purge(document) else PRUNED
    return {kind.entries: kind for kind in found}


BY_NAME = {kind.name: kind for kind in ALL}
"""By ``Kind.name``."""
