"""The decision on an entity, and its reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from mlflow_gc.domain.kinds import PRUNED
from mlflow_gc.domain.reasons import DeleteReason, Link, Reason


class Verdict(Enum):
    """What happens to an entity."""

    DELETE = "delete"
    PROTECT = "protect"
    """Stale, or of unknown age, and retained for a reason that the plan names."""
    FRESH = "fresh"
    """Not stale; not listed in a plan."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on one entity.

    Attributes:
        verdict: delete, protect or fresh.
        reason: why it is protected; None for other verdicts.
        via: the chain that leads to what protects it, nearest first.
        reasons: why it is deleted; empty for other verdicts.
        reversible: whether MLflow can bring it back, if deleted.
        also: the other keep rules that protect it.
    """

    verdict: Verdict
    reason: Reason | None = None
    via: tuple[Link, ...] = ()
    reasons: tuple[DeleteReason, ...] = ()
    reversible: bool = True
    also: tuple[Reason, ...] = ()

    @property
    def chain(self) -> tuple[str, ...]:
        """The chain to what protects it, as a plan writes it."""
        return tuple(map(str, self.via))

    @property
    def why(self) -> tuple[str, ...]:
        """Why it is deleted, as a plan writes it."""
        return tuple(map(str, self.reasons))


FRESH = Decision(Verdict.FRESH)


def protect(reason: Reason, *via: Link | str) -> Decision:
    """Return a decision to protect; text in ``via`` becomes a link that names nothing."""
    links = (Link(note=link) if isinstance(link, str) else link for link in via)
    return Decision(Verdict.PROTECT, reason, tuple(links))


@lru_cache(maxsize=100_000)
def delete(*reasons: DeleteReason | None, reversible: bool = True) -> Decision:
    """Return a decision to delete, cached by its reasons; None among them is ignored."""
    return Decision(Verdict.DELETE, reasons=tuple(filter(None, reasons)), reversible=reversible)


@dataclass(frozen=True)
class Decisions:
    """The decisions on all active experiments and runs, model versions and empty models."""

    experiments: Mapping[str, Decision]
    runs: Mapping[str, Decision]
    model_versions: Mapping[tuple[str, str], Decision]
    registered_models: Mapping[str, Decision]
    """Only registered models without versions."""
    unused_rules: tuple[str, ...] = ()
    """Rules of the policy that apply to nothing in the inventory."""

    @property
    def by_kind(self) -> dict[str, Mapping[Any, Decision]]:
        """The decisions on each kind, by the field of a plan that lists it."""
        return {kind.entries: getattr(self, kind.entries) for kind in PRUNED}
