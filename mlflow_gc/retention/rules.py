"""Rules: a selector of entities, and the ages and keep rules for these."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import translate
from functools import cached_property, lru_cache
from math import prod
from typing import Any

import regex  # type: ignore[import-untyped]

from mlflow_gc.domain.entities import TERMINAL_STATUSES, Experiment, RegisteredModel, Run
from mlflow_gc.domain.tag_selection import USER_TAG
from mlflow_gc.domain.timestamps import DAY_MS, format_duration, parse_duration
from mlflow_gc.errors import Refused
from mlflow_gc.retention.keep_rules import Keep

UNFINISHED_STATUSES = ("RUNNING", "SCHEDULED")
NEVER = "never"
OFF = "off"
AS_TTL = -1
"""The age is the rule's TTL."""

AGES = {
    "failed_ttl": "failed_ttl_ms",
    "zombies": "abandoned_ms",
    "experiments": "experiments_ms",
    "empty_experiments": "empty_ms",
    "empty_models": "empty_model_ms",
    "purge_after": "purge_after_ms",
}
"""Keys of a rule besides ``ttl`` that set an age, and the fields they set."""

DEFAULT_PURGE_AFTER_MS = 30 * DAY_MS

_WILD = re.compile(r"[*?\[]")
_FINDS_ANYTHING = {".*", "^", "^.*", "$", ".*$"}
SCOPES = {
    "runs": ("status", "user", "run_name"),
    "models": ("model", "model_regex"),
    "experiments": ("experiment", "experiment_regex"),
}
"""Keys of a selector that restrict it to such entities; those of experiments allow their runs, too."""


@dataclass(frozen=True)
class Selector:
    """The selector of a rule; all set fields must match.

    Globs are case-sensitive shell globs, and ``*`` also matches ``/``; regular expressions are
    Python's and may match anywhere in a name.

    Attributes:
        experiment, experiment_regex: name of the experiment (or of the experiment of a run).
        model, model_regex: name of the registered model.
        tags: glob by key; the tag may be on the entity or on its experiment or model.
        status: statuses of a run.
        user, run_name: globs.
        workspace: glob; matches servers without workspaces only if it is ``*``.
    """

    experiment: str | None = None
    experiment_regex: str | None = None
    model: str | None = None
    model_regex: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    status: tuple[str, ...] = ()
    user: str | None = None
    run_name: str | None = None
    workspace: str | None = None

    def to_document(self) -> dict[str, Any]:
        """Return the fields that are set."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        found["tags"] = dict(sorted(self.tags.items()))
        found["status"] = list(self.status)
        return {name: value for name, value in found.items() if value}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Selector:
        """Return the selector in a plan or a policy file."""
        status = document.get("status") or ()
        texts = cls.__dataclass_fields__.keys() - {"tags", "status"}
        return cls(
            **{name: str(document[name]) for name in texts if document.get(name)},
            tags={str(k): str(v) for k, v in (document.get("tags") or {}).items()},
            status=tuple([status] if isinstance(status, str) else map(str, status)),
        )

    @cached_property
    def is_of_models(self) -> bool:
        """Whether it can only match registered models and their versions."""
        return any(getattr(self, name) for name in SCOPES["models"])

    @cached_property
    def is_of_runs(self) -> bool:
        """Whether it can only match runs."""
        return any(getattr(self, name) for name in SCOPES["runs"])

    @cached_property
    def is_of_experiments(self) -> bool:
        """Whether it can only match experiments and runs."""
        return self.is_of_runs or any(getattr(self, name) for name in SCOPES["experiments"])

    def covers(self, other: Selector) -> bool:
        """Tell whether it certainly matches everything that another one can match.

        If the texts alone do not decide (one glob or regular expression within another), the result
        is False.
        """
        # Whether every entity that the other one matches has such a name.
        has = {
            "experiment": other.is_of_experiments,
            "model": other.is_of_models,
            "user": other.is_of_runs,
            "run_name": other.is_of_runs,
            "workspace": True,
        }
        return (
            all(
                self._covers_glob(getattr(self, name), getattr(other, name), anything=has[name])
                for name in has
            )
            and all(
                self._covers_regex(other, name, anything=has[name])
                for name in ("experiment", "model")
            )
            and (not self.status or (other.status != () and {*other.status} <= {*self.status}))
            and all(
                key in other.tags and self._covers_glob(glob, other.tags[key])
                for key, glob in self.tags.items()
            )
        )

    @staticmethod
    def _covers_glob(glob: str | None, other: str | None, *, anything: bool = False) -> bool:
        """Tell whether a glob matches all that another one does; None is any text or none."""
        if glob is None or glob == other:
            return True
        if other is None:
            return anything and glob == "*"
        start = _WILD.split(other, maxsplit=1)[0]
        if start == other:
            return _glob(glob, other)
        return glob.endswith("*") and not has_wildcards(glob[:-1]) and start.startswith(glob[:-1])

    def _covers_regex(self, other: Selector, key: str, *, anything: bool) -> bool:
        """Tell whether a regular expression matches all names that another selector matches."""
        pattern, name = getattr(self, f"{key}_regex"), getattr(other, key)
        if pattern is None or pattern == getattr(other, f"{key}_regex"):
            return True
        if name is not None and not has_wildcards(name):
            return finds(pattern, name)
        return anything and pattern in _FINDS_ANYTHING

    def matches_experiment(self, experiment: Experiment, workspace: str | None) -> bool:
        """Tell whether it matches an experiment itself."""
        return (
            not self.is_of_models
            and not self.is_of_runs
            and self.may_match_runs_in(experiment, workspace)
            and self._tags_match(experiment.tags, {})
        )

    def may_match_runs_in(self, experiment: Experiment, workspace: str | None) -> bool:
        """Tell whether runs of an experiment can match, by its name and workspace."""
        return (
            not self.is_of_models
            and self._name_matches("experiment", experiment.name)
            and self.applies_in(workspace)
        )

    def applies_in(self, workspace: str | None) -> bool:
        """Tell whether it can match anything in a workspace; None for a server without any."""
        return _glob(self.workspace, workspace or "")

    def matches_run(self, run: Run, experiment: Experiment) -> bool:
        """Tell whether it matches a run of an experiment that :meth:`may_match_runs_in`."""
        # MLflow's UI shows the tag as the user; clients that set none send "unknown" as user_id.
        return (
            (not self.status or run.status in self.status)
            and (self.user is None or _glob(self.user, run.tags.get(USER_TAG) or run.user_id))
            and _glob(self.run_name, run.run_name)
            and self._tags_match(run.tags, experiment.tags)
        )

    def matches_model(
        self,
        name: str,
        tags: Mapping[str, str],
        model: RegisteredModel | None,
        workspace: str | None,
    ) -> bool:
        """Tell whether it matches a registered model or a version with these tags."""
        return (
            not self.is_of_experiments
            and self._name_matches("model", name)
            and self.applies_in(workspace)
            and self._tags_match(tags, model.tags if model else {})
        )

    def _name_matches(self, key: str, name: str) -> bool:
        pattern = getattr(self, f"{key}_regex")
        return _glob(getattr(self, key), name) and (pattern is None or finds(pattern, name))

    def _tags_match(self, own: Mapping[str, str], inherited: Mapping[str, str]) -> bool:
        return not self.tags or all(
            (key in own and _glob(value, own[key]))
            or (key in inherited and _glob(value, inherited[key]))
            for key, value in self.tags.items()
        )


def has_wildcards(glob: str) -> bool:
    """Tell whether a glob can match more than one text."""
    return _WILD.search(glob) is not None


_DEADLINE_S = 1.0
_LONGEST_REGEX = 1_000
_MOST_REPEATS = 10_000
_COUNTED = re.compile(r"\{([0-9]+)?,?([0-9]+)?\}", re.ASCII)
_SHOWN = 80


def regex_problem(pattern: str) -> str | None:
    """Return a message why a regular expression cannot be used, or None."""
    if len(pattern) > _LONGEST_REGEX:
        return f"it has more than {_LONGEST_REGEX:,} characters"
    # No valid number has more digits; int() is slow for a million digits.
    numbers = [[int(n[:6]) for n in found if n] for found in _COUNTED.findall(pattern)]
    counts = [max(found, default=1) or 1 for found in numbers]
    # Compile time grows with the product of nested counted repetitions.
    if prod(counts) > _MOST_REPEATS:
        return f"it repeats more than {_MOST_REPEATS:,} times"
    try:
        regex.compile(pattern)
    except RecursionError:
        return "it is nested too deeply"
    except (regex.error, OverflowError, ValueError) as error:
        return str(error)
    return None


@lru_cache(maxsize=4096)
def finds(pattern: str, text: str) -> bool:
    """Tell whether a regular expression matches anywhere in a text.

    Nested repetitions can take exponential time on a crafted name.  The standard library's re
    cannot be interrupted; regex times out after a second.

    Raises:
        Refused: The time is over; nothing is decided.
    """
    try:
        return regex.search(pattern, text, timeout=_DEADLINE_S) is not None
    except TimeoutError:
        raise Refused(
            f"The regular expression {pattern[:_SHOWN]!r} of the policy takes too long on the name "
            f"{text[:_SHOWN]!r}.",
            hint="Take repetitions within repetitions out of it, or use a glob.",
        ) from None


def _glob(pattern: str | None, text: str) -> bool:
    return pattern is None or _compiled(pattern).match(text) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


@dataclass(frozen=True)
class Rule:
    """The ages and keep rules of the entities that a selector matches.

    Attributes:
        name: for people.
        match: which entities.
        ttl_ms: the age from which they are stale; None for never.
        failed_ttl_ms: the same for runs that FAILED or were KILLED.
        statuses: statuses in which a run may be deleted.
        abandoned_ms: the time without a sign of life after which a RUNNING or SCHEDULED run is
            abandoned; None for never.
        experiments_ms: age from which an experiment is stale whose runs are all deleted; None for
            never, :data:`AS_TTL` for the TTL of finished runs.
        empty_ms: age from which an experiment without runs is stale.
        empty_model_ms: age from which a registered model without versions is stale; None for never.
        purge_after_ms: time in the trash after which ``purge`` deletes permanently; None for never.
        keep: keep rules.
    """

    name: str
    match: Selector = field(default_factory=Selector)
    ttl_ms: int | None = 30 * DAY_MS
    failed_ttl_ms: int | None = 30 * DAY_MS
    statuses: tuple[str, ...] = TERMINAL_STATUSES
    abandoned_ms: int | None = None
    experiments_ms: int | None = AS_TTL
    empty_ms: int | None = 30 * DAY_MS
    empty_model_ms: int | None = None
    purge_after_ms: int | None = DEFAULT_PURGE_AFTER_MS
    keep: Keep = field(default_factory=Keep)

    def ttl_of(self, run: Run) -> int | None:
        """Return the age from which a run is stale, ms; None for never."""
        if run.status in TERMINAL_STATUSES:
            if run.status not in self.statuses:
                return None
            return self.ttl_ms if run.status == "FINISHED" else self.failed_ttl_ms
        return self.abandoned_ms

    @property
    def experiment_ttl_ms(self) -> int | None:
        """The age from which an experiment with runs is stale, ms; None for never."""
        return self.ttl_ms if self.experiments_ms == AS_TTL else self.experiments_ms

    @property
    def ages_ms(self) -> list[int]:
        """All its ages, without those that are never."""
        ages = (self.ttl_ms, self.failed_ttl_ms, self.abandoned_ms)
        of_others = (self.experiment_ttl_ms, self.empty_ms, self.empty_model_ms)
        return [ms for ms in (*ages, *of_others) if ms is not None]

    @classmethod
    def of_days(cls, days: int) -> Rule:
        """Return the default rule of a server without a policy file."""
        ttl_ms = days * DAY_MS
        return cls("default", ttl_ms=ttl_ms, failed_ttl_ms=ttl_ms, empty_ms=ttl_ms)

    def to_document(self) -> dict[str, Any]:
        """Return the form used in plans: every value, inherited ones included."""
        document = {
            "name": self.name,
            "match": self.match.to_document(),
            "ttl": format_age(self.ttl_ms),
            "failed_ttl": format_age(self.failed_ttl_ms),
            "statuses": list(self.statuses),
            "zombies": format_age(self.abandoned_ms, OFF),
            "experiments": format_age(self.experiments_ms),
            "empty_experiments": format_age(self.empty_ms),
            "empty_models": format_age(self.empty_model_ms, OFF),
            "purge_after": format_age(self.purge_after_ms),
            "keep": self.keep.to_document(),
        }
        # Versions before 1.1 refuse a rule with an unknown key.
        if self.experiments_ms == AS_TTL:
            del document["experiments"]
        if self.purge_after_ms == DEFAULT_PURGE_AFTER_MS:
            del document["purge_after"]
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any], base: Rule | None = None) -> Rule:
        """Return a rule of a plan or a policy file, with missing values inherited from ``base``.

        A rule that sets only ``ttl`` sets it for failed runs and empty experiments, too, and raises
        its other inherited ages to its ``ttl``: a TTL of seven years is not meant to delete
        unfinished runs, empty models or the experiment itself after a month.  A rule that sets
        ``experiments`` sets it for empty experiments, too: an experiment is empty once its runs are
        deleted.

        Args:
            document: one of the rules of a checked document, or its defaults with a name.
            base: the rule to inherit from; a rule of a plan inherits nothing.
        """
        base = base or cls("")
        changes: dict[str, Any] = {}
        if "ttl" in document:
            ttl_ms = parse_age(document["ttl"])
            changes = {"ttl_ms": ttl_ms, "failed_ttl_ms": ttl_ms, "empty_ms": ttl_ms}
            raised = ["abandoned_ms", "empty_model_ms"]
            if base.experiments_ms != AS_TTL:
                raised += ["experiments_ms", "empty_ms"]
            changes |= {field: _longest(getattr(base, field), ttl_ms) for field in raised}
            if ttl_ms is None:
                # What is to be retained for ever is not deleted from the trash either.
                changes["purge_after_ms"] = None
        if "experiments" in document:
            changes["empty_ms"] = parse_age(document["experiments"])
        changes |= {
            field: parse_age(document[key]) for key, field in AGES.items() if key in document
        }
        if "statuses" in document:
            changes["statuses"] = tuple(document["statuses"])
        if "keep" in document:
            changes["keep"] = Keep.from_document(document["keep"])
        match = Selector.from_document(document.get("match") or {})
        return replace(base, name=document["name"], match=match, **changes)


def _longest(*ages: int | None) -> int | None:
    """Return the longest of some ages, ms; None for never."""
    known = [ms for ms in ages if ms is not None]
    return max(known) if len(known) == len(ages) else None


def format_age(ms: int | None, never: str = NEVER) -> str:
    """Return an age as in a policy file; None is ``never`` or another word."""
    return never if ms is None else format_duration(ms)


def parse_age(text: str) -> int | None:
    """Return an age of a policy file in ms; None for ``never`` and ``off``."""
    return None if text in {NEVER, OFF} else parse_duration(text)
