"""Guards: limits on how much one plan may delete.  Pure arithmetic over counts.

A guard does not choose what is deleted: it stops a plan that is larger than expected because the
policy, a clock or the server is not as people think.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.kinds import PRUNED
from mlflow_gc.retention.decision import Decision, Decisions, Verdict
from mlflow_gc.retention.policy import Guards

COUNTED = {"total", *(kind.entries for kind in PRUNED)}
"""The keys of limits."""

GROUPS = {"experiment": "runs", "registered_model": "versions"}
"""The entities that a share per group counts."""


@dataclass(frozen=True)
class Share:
    """The number of deletions and of existing entities."""

    deleted: int
    existing: int

    def exceeds(self, percent: int) -> bool:
        """Tell whether more than ``percent`` of what exists is deleted; without rounding."""
        return self.deleted * 100 > percent * self.existing


@dataclass(frozen=True)
class Tally:
    """The shares of existing entities that a plan deletes.

    Attributes:
        kinds: by ``experiments``, ``runs``, ``model_versions``, ``registered_models``; existing means
            active.
        experiments: runs, by experiment id.
        registered_models: versions, by name.
    """

    kinds: Mapping[str, Share]
    experiments: Mapping[str, Share] = field(default_factory=dict)
    registered_models: Mapping[str, Share] = field(default_factory=dict)

    @property
    def total(self) -> Share:
        """All kinds together."""
        return Share(
            sum(share.deleted for share in self.kinds.values()),
            sum(share.existing for share in self.kinds.values()),
        )


def tally(inventory: Inventory, decisions: Decisions) -> Tally:
    """Count the deletions and the existing entities."""
    kinds = {
        kind: _share(Counter(decision.verdict for decision in of_kind.values()))
        for kind, of_kind in decisions.by_kind.items()
    }
    if decisions.registered_models:
        # Decisions exist only for models without versions, a share counts all models.  If no rule
        # applies to empty models, none of them counts, not in the total either.
        empty = kinds["registered_models"]
        kinds["registered_models"] = Share(empty.deleted, len(inventory.registered_models))
    runs, versions = decisions.runs.items(), decisions.model_versions.items()
    by_experiment = verdicts_by_group((inventory.runs[r].experiment_id, d) for r, d in runs)
    by_model = verdicts_by_group((name, d) for (name, _), d in versions)
    return Tally(
        kinds,
        {group: _share(counts) for group, counts in by_experiment.items()},
        {group: _share(counts) for group, counts in by_model.items()},
    )


def verdicts_by_group(decided: Iterable[tuple[str, Decision]]) -> dict[str, Counter[Verdict]]:
    """Count the verdicts in each group; sorted by group."""
    groups: dict[str, Counter[Verdict]] = defaultdict(Counter)
    for group, decision in decided:
        groups[group][decision.verdict] += 1
    return dict(sorted(groups.items()))


def _share(counts: Counter[Verdict]) -> Share:
    return Share(counts[Verdict.DELETE], counts.total())


def exceeded(guards: Guards, tally: Tally) -> Iterator[str]:
    """Yield a sentence with the numbers for each exceeded guard."""
    counts = {"total": tally.total, **tally.kinds}
    for key, share in counts.items():
        noun = "entities" if key == "total" else key.replace("_", " ")
        most = guards.max_deletions.get(key)
        if most is not None and share.deleted > most:
            yield (
                f"guards.max_deletions.{key}: the plan deletes {share.deleted:,} {noun}, "
                f"at most {most:,} may be deleted."
            )
        percent = guards.max_share_percent.get(key)
        if percent is not None and share.exceeds(percent):
            yield (
                f"guards.max_share.{key}: the plan deletes {share.deleted:,} of "
                f"{share.existing:,} {noun}, at most {percent} % may be deleted."
            )
    for key, groups in (
        ("experiment", tally.experiments),
        ("registered_model", tally.registered_models),
    ):
        percent = guards.max_share_percent.get(key)
        if percent is None:
            continue
        broken = [(name, share) for name, share in groups.items() if share.exceeds(percent)]
        for name, share in broken[:3]:
            yield (
                f"guards.max_share.{key}: {key.replace('_', ' ')} {name} loses "
                f"{share.deleted:,} of its {share.existing:,} {GROUPS[key]}, at most {percent} % "
                "may be deleted."
            )
        if len(broken) > 3:
            yield (
                f"guards.max_share.{key}: and {len(broken) - 3:,} more lose more than {percent} %."
            )
