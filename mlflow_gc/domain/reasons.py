"""Reasons to delete or to protect, and chains to what protects: as data, and as the text in a plan."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from mlflow_gc.domain.timestamps import DAY_MS, format_ms, is_writable

_WITH_IDS = ("run", "deleted run", "model_version", "registered_model", "logged_model", "alias")


class Reason(str, Enum):
    """Why an entity is protected: the codes in a plan under ``protected``, with what views say."""

    _value_: str
    sentence: str

    def __new__(cls, code: str, sentence: str = "") -> Reason:
        """Return a member; its value is the code alone."""
        reason = str.__new__(cls, code)
        reason._value_ = code
        reason.sentence = sentence
        return reason

    KEEP_TAG = "keep_tag", "its owner set the keep tag"
    REGISTERED_MODEL = "registered_model", "a registered model version needs it"
    ALIAS = "alias", "it has an alias"
    STAGE = "stage", "it is in a stage"
    HIGHEST_VERSION = "highest_version", "the highest version of its model or stage"
    COPIED = "copied", "another version was copied from it"
    PROMPT = "prompt", "a prompt; its text would be deleted with it"
    REFUSED_NAME = "refused_name", "the server refuses the name of its registered model"
    UNKNOWN_MODEL = "unknown_model", "its registered model was not listed"
    DEFAULT_EXPERIMENT = "default_experiment", "MLflow's default experiment"
    GATEWAY = "gateway", "MLflow's gateway needs it"
    TREE = "tree", "nested with a run that is retained"
    MODEL_IN_USE = "model_in_use", "it made a model that a retained run uses"
    GENAI_EVALUATE = "genai_evaluate", "assessments would be lost with it"
    TRACES_UNREAD = "traces_unread", "its traces could not be read"
    EXPERIMENT_DELETED = "experiment_deleted", "its experiment is already in the trash"
    NOT_TERMINAL = "not_terminal", "status RUNNING or SCHEDULED"
    UNKNOWN_TIME = "unknown_time", "its timestamps are missing or implausible"
    LIVE_RUN = "live_run", "it holds a run that is retained"
    HAS_LOGGED_MODELS = "has_logged_models", "it holds logged models"
    HAS_TRACES = "has_traces", "it holds traces"
    HAS_CONTENTS = (
        "has_contents",
        "it holds scorers, issues, review queues, label schemas or evaluation datasets",
    )
    RECENT_TRASH = "recent_trash", "a run in its trash was active not long ago"
    NOT_SEEN = "not_seen", "the scan could not read it"
    KEEP_LAST = "keep_last", "one of the newest, by a keep rule"
    KEEP_BEST = "keep_best", "one of the best, by a keep rule"
    KEEP_DAILY = "keep_daily", "the newest of a day, by a keep rule"
    KEEP_WEEKLY = "keep_weekly", "the newest of a week, by a keep rule"
    KEEP_MONTHLY = "keep_monthly", "the newest of a month, by a keep rule"
    KEEP_YEARLY = "keep_yearly", "the newest of a year, by a keep rule"
    KEEP_WITHIN = "keep_within", "recently active, by a keep rule"
    MALFORMED_TAG = "malformed_tag", "a tag of its owner cannot be understood"
    GRACE = "grace", "not announced, or not for long enough"
    MIN_AGE = "min_age", "younger than the policy's minimum age"
    # Only in purge plans; there HIGHEST_VERSION means that MLflow would use its number again.
    ACTIVE = "active", "something active needs it"
    NEEDED_FILES = (
        "needed_files",
        "files of something else are within its folder, or around it",
    )
    UNKNOWN_LAYOUT = "unknown_layout", "its files are not in a folder of its own"
    UNKNOWN_DELETION_TIME = "unknown_deletion_time", "MLflow did not store when it was deleted"
    UNREACHABLE_STORE = (
        "unreachable_store",
        "its artifact store cannot be read, or looks as if it were not mounted",
    )
    TOMBSTONE = "tombstone", "the row that MLflow keeps of a deleted model version"
    # Only during a prune.
    CHANGED = "changed", "it changed since the plan was made"


@dataclass(frozen=True, slots=True)
class Link:
    """One link of a chain; a plan contains its text.

    Attributes:
        kind: a kind of entity, ``alias``, ``stage``, ``tag`` or ``rule``; empty if it names
            nothing.
        id: the id of the named entity.
        note: text after the id, or alone; may begin with a comma.
    """

    kind: str = ""
    id: str = ""
    note: str = ""

    def __str__(self) -> str:
        if not self.kind:
            return self.note
        gap = "" if not self.note or self.note.startswith(",") else " "
        return f"{self.kind} {self.id}{gap}{self.note}"


def ends_in_id(text: str) -> bool:
    """Tell whether the text of a link ends in an id, so that it must not be truncated."""
    return text.startswith(tuple(f"{kind} " for kind in _WITH_IDS))


@dataclass(frozen=True, slots=True)
class Inactivity:
    """The whole days without a sign, such as ``no activity``; kinds but runs have no status."""

    sign: str
    days: int
    status: str = ""

    @classmethod
    def since(cls, ms: int, as_of_ms: int, sign: str, status: str = "") -> Inactivity:
        """Return the inactivity between two moments, ms since the epoch."""
        return cls(sign, (as_of_ms - ms) // DAY_MS, status)

    def __str__(self) -> str:
        began = f"{self.status}, " if self.status else ""
        return f"{began}{self.sign} for {in_days(self.days)}"


def in_days(days: int) -> str:
    """Return ``1 day`` or ``412 days``."""
    return f"{days} day" if days == 1 else f"{days} days"


def show(name: str, ms: int | None) -> str:
    """Return ``end_time 1970-01-01T00:00:00.005Z``, or ``no end_time`` for None."""
    if ms is None:
        return f"no {name}"
    return f"{name} {format_ms(ms)}" if is_writable(ms) else f"{name} {ms} ms"


NO_ACTIVITY = "no activity"
NO_SIGN_OF_LIFE = "no sign of life"
"""For an unfinished run."""
NOT_CHANGED = "not changed"
IN_TRASH = "in the trash"
NOT_UPDATED = "not updated"

_AGE = re.compile(
    rf"(^|, )({NO_ACTIVITY}|{NO_SIGN_OF_LIFE}|{NOT_CHANGED}|{NOT_UPDATED}|{IN_TRASH}) for [\d,]+ days?$"
)


def without_age(text: str) -> str:
    """Return the text of a reason without its inactivity, which tables show in a column."""
    return _AGE.sub("", text)


DeleteReason = Inactivity | Link | str
"""A reason for a deletion: inactivity, the rule or tag that sets the age, or text."""
