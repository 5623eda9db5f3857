"""The resolved policy of a plan: every value that decisions depend on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timezone, tzinfo
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mlflow_gc.domain.reasons import Link, Reason
from mlflow_gc.domain.tag_selection import Wanted
from mlflow_gc.domain.timestamps import (
    DAY_MS,
    format_duration,
    format_ms,
    is_writable,
    parse_duration,
    parse_time,
)
from mlflow_gc.errors import Refused, UsageProblem
from mlflow_gc.retention import owner_tags
from mlflow_gc.retention.decision import Decision, protect
from mlflow_gc.retention.rules import OFF, Rule, format_age, parse_age

DEFAULT_EXPIRY_MS = 7 * DAY_MS
DEFAULT_SHORTEST_TTL_MS = 7 * DAY_MS
UTC = "UTC"

# Clients send start, end and metric times, sometimes in seconds or zero
# (docs/explanation/mlflow-facts.md#clients-send-times).  MLflow was published in 2018; a time
# before 2015 is implausible, even if it was imported.
_PLAUSIBLE_SINCE_MS = parse_time("2015-01-01")
_PLAUSIBLE_AHEAD_MS = DAY_MS

DURATIONS = {
    "min_age": "min_age_ms",
    "expire_after": "expire_after_ms",
    "grace": "grace_ms",
    "owners_shortest_ttl": "owners_shortest_ttl_ms",
}
"""Settings of plans and files that are durations, and the fields that they set."""
LIMITS = {"max_scan_duration": "max_scan_ms", "max_clock_skew": "max_clock_skew_ms"}
"""The same for :class:`Evidence`."""
_PLAIN = (
    "time_zone",
    "owners_may_shorten",
    "owners_may_shorten_irreversible",
    "free_experiment_names",
)


@dataclass(frozen=True)
class Guards:
    """Limits on what one plan may delete; a plan that exceeds one is refused as a whole.

    Attributes:
        max_deletions: maximum number of deletions, by ``total``, ``experiments``, ``runs`` or
            ``model_versions``; a missing key sets no limit, 0 allows none.
        max_share_percent: maximum deletions in percent (0 to 100) of what exists: by the same keys,
            or in any one ``experiment`` (of its runs) or ``registered_model`` (of its versions).
    """

    max_deletions: Mapping[str, int] = field(default_factory=dict)
    max_share_percent: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PurgeSettings:
    """What only ``purge`` needs.

    Attributes:
        max_bytes: maximum size of the files that one plan deletes; None for no limit.
        max_share_percent: maximum share of all runs, logged models and experiments, in the trash
            and outside, that one plan deletes.  Below 100 by default: a plan that deletes
            everything is a mistake.
        unknown_since_ms: from when runs without a deletion time count as deleted; None retains
            them.
        keep: ``nothing``, or what is not deleted: ``files`` or ``rows``.
        orphans_after_ms: age from which orphaned files and rows are deleted; None for never.
        tombstones: delete also the rows that MLflow keeps of deleted model versions.
    """

    max_bytes: int | None = None
    max_share_percent: int = 99
    unknown_since_ms: int | None = None
    keep: str = "nothing"
    orphans_after_ms: int | None = None
    tombstones: bool = False

    def to_document(self) -> dict[str, Any]:
        """Return the form used in purge plans."""
        since = self.unknown_since_ms
        orphans = self.orphans_after_ms
        return {
            "max_bytes": self.max_bytes,
            "max_share_percent": self.max_share_percent,
            "unknown_since": None if since is None else format_ms(since),
            "keep": self.keep,
            "orphans_after": None if orphans is None else format_duration(orphans),
            "tombstones": self.tombstones,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> PurgeSettings:
        """Return the settings of a purge plan."""
        since, orphans = document["unknown_since"], document["orphans_after"]
        return cls(
            max_bytes=document["max_bytes"],
            max_share_percent=document["max_share_percent"],
            unknown_since_ms=None if since is None else parse_time(since),
            keep=document["keep"],
            orphans_after_ms=None if orphans is None else parse_duration(orphans),
            tombstones=document.get("tombstones", False),
        )


@dataclass(frozen=True)
class Evidence:
    """The requirements on a scan for its plan to be applicable.

    Attributes:
        accept_partial_view: continue although the server may hide entities from this account.
        max_scan_ms: maximum duration of a scan; what was read first is too old then.
        max_clock_skew_ms: maximum difference between the clocks of this machine and the server.
    """

    accept_partial_view: bool = False
    max_scan_ms: int = 2 * 60 * 60 * 1000
    max_clock_skew_ms: int = 5 * 60 * 1000


@dataclass(frozen=True)
class PolicySource:
    """The path of the policy file, as given, and ``sha256:<hex>`` over its bytes; None without."""

    path: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Policy:
    """What is stale relative to ``as_of``, what is protected, and how much may be deleted.

    Attributes:
        as_of_ms: the time of the decision, ms since the epoch, UTC.
        default: the rule for entities that no other rule matches.
        rules: the first that matches decides.
        time_zone: IANA name; time zone of the calendar rules and ``until:``.
        keep_tag: name of the tag that protects an entity.
        owners_may_shorten: whether a TTL tag may set a shorter age than the rule.
        owners_may_shorten_irreversible: the same for irreversible deletions.
        owners_shortest_ttl_ms: the shortest age that a TTL tag can set.
        grace_ms: the grace period from announcement to deletion; None without announcements.
        checks_age: False only for runs that somebody moved to the trash; never in a plan.
        checks_announcements: False only to find out what to announce; never in a plan.
        expire_after_ms: how long a plan may be applied, from ``as_of``; None without limit.
        min_age_ms: nothing younger is deleted, whatever the rules say.
        keep_last_runs: number of newest runs of each experiment that are always retained.
        keep_last_versions: number of newest versions of each registered model that are always
            retained.
        delete_evaluations: delete runs of ``mlflow.genai.evaluate``, permanently with their
            assessments.
        free_experiment_names: rename experiments before their deletion, so that the names can be
            used again; no effect on decisions.
        guards: limits on what one plan may delete.
        evidence: requirements on the scan.
        source: origin; no effect on decisions.
        purge: settings of ``purge``; no effect on ``prune``.
    """

    as_of_ms: int
    default: Rule
    rules: tuple[Rule, ...] = ()
    time_zone: str = UTC
    keep_tag: str = owner_tags.KEEP
    owners_may_shorten: bool = True
    owners_may_shorten_irreversible: bool = False
    owners_shortest_ttl_ms: int = DEFAULT_SHORTEST_TTL_MS
    grace_ms: int | None = None
    checks_age: bool = True
    checks_announcements: bool = True
    expire_after_ms: int | None = DEFAULT_EXPIRY_MS
    min_age_ms: int = 0
    keep_last_runs: int = 0
    keep_last_versions: int = 0
    delete_evaluations: bool = False
    free_experiment_names: bool = False
    guards: Guards = field(default_factory=Guards)
    evidence: Evidence = field(default_factory=Evidence)
    source: PolicySource = PolicySource()
    purge: PurgeSettings = PurgeSettings()

    def __post_init__(self) -> None:
        """Refuse times that no plan can write."""
        for rule in self.all_rules():
            oldest = max(rule.ages_ms, default=0)
            if not is_writable(self.as_of_ms - oldest):
                days = oldest // DAY_MS
                raise UsageProblem(f"A TTL of {days} days reaches behind the year 1.")
        if self.expires_at_ms is not None and not is_writable(self.expires_at_ms):
            raise UsageProblem("The plan would expire after the year 9999.", hint="Use never.")

    def all_rules(self) -> Iterator[Rule]:
        """Yield the rules in order, the default last."""
        yield from self.rules
        yield self.default

    @cached_property
    def zone(self) -> tzinfo:
        """The time zone of the calendar.

        Raises:
            Refused: This machine does not know it.
        """
        if self.time_zone == UTC:
            return timezone.utc
        try:
            return ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise Refused(
                f"This machine does not know the time zone {self.time_zone!r} of the policy.",
                hint="Install the time zone database of the system, or Python's tzdata.",
            ) from error

    @cached_property
    def wanted(self) -> Wanted:
        """The data of runs that the rules need; other metrics and tags are not kept in memory."""
        rules = list(self.all_rules())
        return Wanted(
            metrics=frozenset(best.metric for rule in rules for best in rule.keep.best),
            tags=frozenset({self.keep_tag, *(key for rule in rules for key in rule.match.tags)}),
        )

    @property
    def needs_groups(self) -> bool:
        """Whether a decision on a run needs all runs of its experiment."""
        return bool(self.keep_last_runs) or any(r.keep.needs_group for r in self.all_rules())

    @property
    def ranks_versions(self) -> bool:
        """Whether a decision on a model version needs all versions of its model."""
        return bool(self.keep_last_versions) or any(not r.keep.is_empty for r in self.all_rules())

    @property
    def ttl_days(self) -> int | None:
        """The TTL of the default rule in days; None if it is never or not in whole days."""
        ttl_ms = self.default.ttl_ms
        return None if ttl_ms is None or ttl_ms % DAY_MS else ttl_ms // DAY_MS

    @property
    def cutoff_ms(self) -> int | None:
        """The cutoff of the default rule: strictly older is stale, equal is not; None for never."""
        return None if self.default.ttl_ms is None else self.as_of_ms - self.default.ttl_ms

    @property
    def expires_at_ms(self) -> int | None:
        """The time at which a plan by this policy expires, or None."""
        return None if self.expire_after_ms is None else self.as_of_ms + self.expire_after_ms

    def is_plausible(self, ms: int | None) -> bool:
        """Tell whether a timestamp is plausible; a missing one is not."""
        return ms is not None and _PLAUSIBLE_SINCE_MS <= ms <= self.as_of_ms + _PLAUSIBLE_AHEAD_MS

    def is_too_young(self, ms: int) -> bool:
        """Tell whether something last active at this time is younger than ``min_age``."""
        return ms >= self.as_of_ms - self.min_age_ms

    def protected_by(self, tags: Mapping[str, str], *holder: Link) -> Decision | None:
        """Return a decision if these tags protect an entity and everything in it.

        Args:
            tags: of the entity, its experiment or its registered model.
            holder: the entity with these tags, if it is another one.
        """
        if self.keep_tag in tags and owner_tags.keep_tag_applies(
            tags, self.keep_tag, as_of_ms=self.as_of_ms, zone=self.zone
        ):
            return protect(
                Reason.KEEP_TAG, *holder, Link("tag", f"{self.keep_tag}={tags[self.keep_tag]}")
            )
        if key := owner_tags.misspelt_key(tags):
            return protect(Reason.MALFORMED_TAG, *holder, Link("tag", f"{key}={tags[key]}"))
        return None

    def to_document(self) -> dict[str, Any]:
        """Return the form used in plans."""
        return {
            "ttl_days": self.ttl_days,
            "cutoff": None if self.cutoff_ms is None else format_ms(self.cutoff_ms),
            "keep_tag": self.keep_tag,
            "run_statuses": list(self.default.statuses),
            "sensible_since": format_ms(_PLAUSIBLE_SINCE_MS),
            "default": self.default.to_document(),
            "rules": [rule.to_document() for rule in self.rules],
            "time_zone": self.time_zone,
            "owners_may_shorten": self.owners_may_shorten,
            "owners_may_shorten_irreversible": self.owners_may_shorten_irreversible,
            "owners_shortest_ttl": format_duration(self.owners_shortest_ttl_ms),
            "grace": format_age(self.grace_ms, OFF),
            "min_age": format_duration(self.min_age_ms),
            "keep_last": {"runs": self.keep_last_runs, "model_versions": self.keep_last_versions},
            "evaluation_runs": "delete" if self.delete_evaluations else "keep",
            "free_experiment_names": self.free_experiment_names,
            "guards": {
                "max_deletions": dict(sorted(self.guards.max_deletions.items())),
                "max_share_percent": dict(sorted(self.guards.max_share_percent.items())),
            },
            "expire_after": format_age(self.expire_after_ms),
            "accept_partial_view": self.evidence.accept_partial_view,
            "max_scan_duration": format_duration(self.evidence.max_scan_ms),
            "max_clock_skew": format_duration(self.evidence.max_clock_skew_ms),
        }

    @classmethod
    def from_document(cls, policy: Mapping[str, Any], *, as_of: str) -> Policy:
        """Return the policy of a plan."""
        guards = policy["guards"]
        return cls(
            as_of_ms=parse_time(as_of),
            default=Rule.from_document(policy["default"]),
            rules=tuple(Rule.from_document(rule) for rule in policy["rules"]),
            keep_tag=policy["keep_tag"],
            expire_after_ms=parse_age(policy["expire_after"]),
            guards=Guards(guards["max_deletions"], guards["max_share_percent"]),
            evidence=Evidence(accept_partial_view=policy["accept_partial_view"]),
            purge=PurgeSettings.from_document(policy["purge"])
            if "purge" in policy
            else PurgeSettings(),
        ).with_settings(policy)

    def with_settings(self, document: Mapping[str, Any]) -> Policy:
        """Return the policy with the settings that a plan and a policy file write alike.

        Args:
            document: the policy of a plan, or a policy file.  What it lacks (plans before 1.1 some
                settings, files any) stays as it is.
        """
        changes = {key: document[key] for key in _PLAIN if key in document}
        changes |= {
            field: parse_age(document[key]) for key, field in DURATIONS.items() if key in document
        }
        limits: dict[str, Any] = {
            field: parse_duration(document[key]) for key, field in LIMITS.items() if key in document
        }
        last = document.get("keep_last") or {}
        if "evaluation_runs" in document:
            changes["delete_evaluations"] = document["evaluation_runs"] == "delete"
        return replace(
            self,
            keep_last_runs=last.get("runs", self.keep_last_runs),
            keep_last_versions=last.get("model_versions", self.keep_last_versions),
            evidence=replace(self.evidence, **limits),
            **changes,
        )
